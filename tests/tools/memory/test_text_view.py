import pytest

from runstate_abi.layouts.structs.runstate import NATIVE, label, update_byte
from runstate_abi.tools.memory.area import LAYOUTS, AreaBytes, Edge, Part, Span, edges
from runstate_abi.tools.memory.text_view import rows, steal

# Every offset in a page at which an area goes on in the next page: 47 native and 43 compat.
SPLITS = [
    (abi, offset) for abi, known in LAYOUTS.items() for offset in range(4097 - known.size, 4096)
]


def whole(abi, address):
    return AreaBytes(LAYOUTS[abi], (Span(address, bytes(range(LAYOUTS[abi].size))),))


@pytest.mark.parametrize(("abi", "offset"), SPLITS)
def test_a_split_area_is_cut_at_the_page_edge_and_nowhere_loses_a_byte(abi, offset):
    shown = list(rows(whole(abi, 0x7000 + offset)))
    cells = [row for row in shown if isinstance(row, Part)]
    covered = [at for row in cells for at in range(row.first, row.last)]
    assert covered == list(range(LAYOUTS[abi].size))
    for row in cells:
        assert row.address == 0x7000 + offset + row.first
        assert row.address // 64 == (row.address + row.size - 1) // 64
        assert row.element.offset <= row.first < row.last <= row.element.offset + row.element.size
    pages = [item for item in shown if isinstance(item, Edge) and item.page]
    assert [(edge.address, edge.offset) for edge in pages] == [(0x8000, 4096 - offset)]
    place = shown.index(pages[0])
    assert shown[place + 1].address == 0x8000
    assert shown[place - 1].address + shown[place - 1].size == 0x8000


@pytest.mark.parametrize(("abi", "offset"), SPLITS)
def test_the_byte_with_the_flag_is_marked_once_at_its_own_address(abi, offset):
    layout = LAYOUTS[abi]
    marked = [
        r for r in rows(whole(abi, 0x7000 + offset)) if isinstance(r, Part) and r.flag is not None
    ]
    assert [row.flag for row in marked] == [update_byte(layout)]
    assert marked[0].first <= marked[0].flag < marked[0].last
    assert marked[0].address + marked[0].flag - marked[0].first == 0x7000 + offset + marked[0].flag


@pytest.mark.parametrize(("abi", "offset"), SPLITS)
def test_a_second_page_elsewhere_has_its_own_addresses(abi, offset):
    data = bytes(range(LAYOUTS[abi].size))
    here = 4096 - offset
    split = AreaBytes(LAYOUTS[abi], (Span(0x7000 + offset, data[:here]), Span(0x3000, data[here:])))
    assert (split.data, split.address) == (data, 0x7000 + offset)
    cells = [row for row in rows(split) if isinstance(row, Part)]
    assert next(row.address for row in cells if row.first >= here) == 0x3000
    edge = next(edge for edge in edges(split) if edge.page)
    assert (edge.offset, edge.address, edge.elsewhere) == (here, 0x3000, True)


def test_a_second_page_that_a_file_holds_at_an_odd_place_is_a_page_edge_too():
    data = bytes(range(48))
    split = AreaBytes(LAYOUTS["native"], (Span(0x1FF0, data[:16]), Span(0x3013, data[16:])))
    assert [(e.offset, e.address) for e in edges(split) if e.page] == [(16, 0x3013)]


@pytest.mark.parametrize("at", [0x7040, 0x8000])
def test_where_an_area_begins_is_no_edge_of_it(at):
    assert edges(whole("native", at)) == ()


@pytest.mark.parametrize("abi", LAYOUTS)
def test_an_area_that_ends_with_its_page_has_no_page_edge(abi):
    found = edges(whole(abi, 0x8000 - LAYOUTS[abi].size))
    assert not [edge for edge in found if edge.page]


def test_a_cache_line_that_ends_between_two_numbers_is_ruled_between_them():
    shown = list(rows(whole("native", 0xBA0)))
    place = next(index for index, item in enumerate(shown) if isinstance(item, Edge))
    assert (shown[place].page, shown[place].address) == (False, 0xBC0)
    assert shown[place + 1].element.name == "time[2]"


def test_the_times_are_named_by_their_states():
    labels = [label(element) for element in NATIVE.elements()]
    assert labels == [
        "state",
        "pad_04",
        "state_entry_time",
        "time[0] running",
        "time[1] runnable",
        "time[2] blocked",
        "time[3] offline",
    ]


def test_the_steal_time_is_said_where_the_numbers_are_right_and_where_something_is_wrong(make):
    right = make(entry=100, times=(50, 20, 10, 5)).values
    huge = make(entry=100, times=(50, 2**64 - 10, 10, 5)).values
    flagged = make(entry=100 | 1 << 63, times=(50, 20, 10, 5)).values

    def said(seen, verdict):
        return ["".join(ink.text for ink in line) for line in steal(seen, verdict)]

    assert said(right, "normal")[0].endswith("25 ns  25 ns, 29.4% of the four times")
    assert said(huge, "normal") == said(flagged, "in-flight") == []
    assert said(huge, "wrong")[0].endswith(", more than the entry time")
    assert said(flagged, "wrong")[0].endswith("25 ns  25 ns, but it waits while the flag is set")
