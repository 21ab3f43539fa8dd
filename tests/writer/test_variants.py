"""The table of versions, and what they have in common; boundaries by name, never by luck."""

import pytest

from runstate_abi.layouts import constructs, ctypes_structs
from runstate_abi.layouts.abi import PAGE_SIZE
from runstate_abi.writer.gpc import Caches
from runstate_abi.writer.host import EINVAL
from runstate_abi.writer.memory import Window, play
from runstate_abi.writer.steps import Activate, Check, Copy, Store, barriers, line
from runstate_abi.writer.variants import (
    VARIANT,
    VARIANTS,
    Refused,
    prepare,
    register_one_page,
    register_patch_2of4,
    register_two_pages,
    update,
)
from runstate_abi.writer.vcpu import SHAPES, Area, split

# fmt: off
NAMES = [
    "linux-5.14", "linux-5.16", "linux-6.1", "split-memcpy", "patch-2of4", "two-paths",
    "single-path", "reconciled", "linux-6.2", "upstream",
    "embedded-struct", "split-helper", "two-hva-caches", "gpc-lock", "xen-va", "xen-phys",
]
# fmt: on
TWO_PAGES = [one.name for one in VARIANTS if one.pages == 2 and one.name != "embedded-struct"]

# exact fit, one-byte spill, update byte last in page 1 and first in page 2, state split
BOUNDARIES = [
    *(("native", offset) for offset in (4048, 4049, 4080, 4081, 4093, 4094, 4095)),
    *(("compat", offset) for offset in (4052, 4053, 4084, 4085, 4093, 4094, 4095)),
]


def test_the_names_are_those_that_others_rely_on():
    assert [one.name for one in VARIANTS] == NAMES


def test_every_version_says_where_it_comes_from():
    for variant in VARIANTS:
        assert variant.source.commit or variant.source.message
        assert str(variant.source)


@pytest.mark.parametrize("offset", [4049, 4050, 4051, 4052])
def test_the_draft_refuses_a_32_bit_area_that_fits_where_the_native_one_would_not(offset):
    with pytest.raises(Refused, match="-EINVAL"):
        prepare(VARIANT["split-memcpy"], Area("compat", offset))
    prepare(VARIANT["split-memcpy"], Area("compat", 4048))
    prepare(VARIANT["split-memcpy"], Area("compat", 4053))  # split: two caches, room for both
    prepare(VARIANT["reconciled"], Area("compat", offset))


def test_the_thread_and_the_merge_are_told_apart():
    assert str(VARIANT["reconciled"].source).startswith("bf9d04e1c597 (")
    assert str(VARIANT["linux-6.2"].source).startswith(
        'd8ba8ba4c801 ("KVM: x86/xen: Allow XEN_RUNSTATE_UPDATE flag behaviour to be configured")'
        " (in v6.2)"
    )


# The draft keeps room for the native struct, so it refuses a compat area that just fits.
PLACEMENTS = [
    (name, abi, offset)
    for name in TWO_PAGES
    for abi, offset in BOUNDARIES
    if (name, abi, offset) != ("split-memcpy", "compat", 4052)
]


@pytest.mark.host64
@pytest.mark.parametrize(("name", "abi", "offset"), PLACEMENTS)
def test_construct_and_ctypes_read_the_written_bytes_back_at_each_boundary(
    name, abi, offset, vcpu, steps_of
):
    window = Window(b"\xa5")
    play(window, steps_of(name, abi, offset))
    shape = SHAPES[abi]
    written = window.read(offset, shape.size)
    parsed = constructs.parse(shape.layout.name, written)
    overlay = ctypes_structs.STRUCTS[shape.layout.name].from_buffer(bytearray(written))
    expected = (vcpu.state, vcpu.entry_time, vcpu.times)
    assert (parsed["state"], parsed["state_entry_time"], tuple(parsed["time"])) == expected
    assert (overlay.state, overlay.state_entry_time, tuple(overlay.time)) == expected


# The first store is the update byte alone.
BY_BYTE = [one for one in PLACEMENTS if one[0] != "linux-5.14"]


@pytest.mark.parametrize(("name", "abi", "offset"), BY_BYTE)
def test_the_update_byte_is_in_the_page_that_the_split_says(name, abi, offset, steps_of):
    first = next(step for step in steps_of(name, abi, offset) if isinstance(step, Store | Copy))
    place = offset + SHAPES[abi].update_byte
    assert (first.page, first.offset) == (1 + place // PAGE_SIZE, place % PAGE_SIZE)
    assert len(first.data) == 1


@pytest.mark.parametrize(
    ("abi", "offset", "page"),
    [("native", 4080, 1), ("native", 4081, 2), ("compat", 4084, 1), ("compat", 4085, 2)],
)
def test_the_update_byte_is_last_in_page_1_or_first_in_page_2(abi, offset, page, steps_of):
    stores = [step for step in steps_of("upstream", abi, offset) if isinstance(step, Store)]
    place = {1: PAGE_SIZE - 1, 2: 0}[page]
    assert {(one.page, one.offset) for one in stores} == {(page, place)}


@pytest.mark.parametrize(("abi", "offset"), [("native", 4048), ("compat", 4052)])
def test_an_exact_fit_is_one_page_and_leaves_gpc2_alone(abi, offset, lines_of):
    lines = lines_of("upstream", abi, offset)
    assert not any("gpc2" in one or "p2" in one for one in lines)


@pytest.mark.parametrize(("abi", "offset"), [("native", 4049), ("compat", 4053)])
def test_a_spill_of_one_byte_is_the_top_byte_of_the_last_time(abi, offset, lines_of):
    assert "copy p2+0 1 04" in lines_of("upstream", abi, offset)


@pytest.mark.parametrize("offset", [4093, 4094, 4095])
@pytest.mark.parametrize("abi", ["native", "compat"])
def test_state_itself_is_split(abi, offset, lines_of):
    lines = lines_of("upstream", abi, offset)
    first = split(offset, SHAPES[abi].size).first
    assert f"copy p1+{offset} {first} {'01000000'[: 2 * first]}" in lines


@pytest.mark.parametrize("offset", [4049, 4050, 4051, 4052])
def test_the_mode_switch_needs_a_second_page_at_four_offsets(offset, vcpu):
    caches = Caches()
    assert register_two_pages(Area("compat", offset), caches) == 0
    assert not caches.gpc2.active
    steps = tuple(VARIANT["upstream"].update(vcpu, Area("native", offset), caches, False))
    (activation,) = [step for step in steps if isinstance(step, Activate)]
    assert (activation.gpa, activation.size) == (PAGE_SIZE, offset + 48 - PAGE_SIZE)


@pytest.mark.parametrize("offset", [4048, 4053])
def test_beside_those_four_the_mode_switch_activates_nothing(offset, vcpu):
    caches = Caches()
    assert register_two_pages(Area("compat", offset), caches) == 0
    steps = tuple(VARIANT["upstream"].update(vcpu, Area("native", offset), caches, False))
    wider = [step for step in steps if isinstance(step, Activate)]
    # At 4053 the compat struct crossed already, and the length given then does not matter.
    assert wider == []
    assert len([step for step in steps if isinstance(step, Check)]) == 1 + (offset == 4053)


@pytest.mark.parametrize("name", ["linux-5.16", "linux-6.1"])
@pytest.mark.parametrize("abi", ["native", "compat"])
def test_old_kernels_refuse_an_area_that_48_bytes_would_not_fit(name, abi):
    assert prepare(VARIANT[name], Area(abi, 4048))
    with pytest.raises(Refused, match=f"{name}: registering the area fails with -EINVAL"):
        prepare(VARIANT[name], Area(abi, 4049))


def test_6_1_refuses_a_compat_area_that_ends_with_its_page():
    assert register_one_page(Area("compat", 4052), Caches()) == -EINVAL
    assert register_two_pages(Area("compat", 4052), Caches()) == 0


def test_patch_2of4_as_posted_activates_gpc2_for_nothing_on_an_exact_fit():
    posted, merged = Caches(), Caches()
    assert register_patch_2of4(Area("native", 4048), posted) == 0
    assert register_two_pages(Area("native", 4048), merged) == 0
    assert posted.gpc2.active
    assert not merged.gpc2.active


def test_a_second_page_that_is_missing_gives_both_caches_up():
    caches = Caches()
    caches.host.slot_end = 1
    assert register_two_pages(Area("native", 4081), caches) != 0
    assert not caches.gpc1.active
    assert not caches.gpc2.active


@pytest.mark.parametrize(
    ("name", "flag", "count"),
    [
        ("linux-5.14", True, 2),
        ("linux-5.16", True, 3),
        ("linux-6.1", True, 3),
        ("split-memcpy", True, 3),
        ("reconciled", True, 3),
        ("linux-6.2", True, 3),
        ("linux-6.2", False, 1),
        ("upstream", True, 3),
        ("upstream", False, 1),
        ("xen-va", True, 2),
        ("xen-va", False, 0),
        ("xen-phys", True, 2),
    ],
)
def test_each_version_has_its_number_of_barriers(name, flag, count, steps_of):
    assert barriers(steps_of(name, update_flag=flag)) == count


@pytest.mark.parametrize("name", [one.name for one in VARIANTS if one.always_flagged])
def test_a_version_without_a_switch_flags_whatever_the_guest_asked_for(name, vcpu):
    asked, not_asked = (
        update(VARIANT[name], vcpu, Area("native", 256, flag)) for flag in (True, False)
    )
    assert asked == not_asked


def test_xen_has_no_32_bit_host():
    with pytest.raises(Refused, match="64-bit x86 only"):
        prepare(VARIANT["xen-va"], Area("compat", 0, True, "i386"))


@pytest.mark.parametrize("name", NAMES)
def test_the_address_of_all_ones_is_no_area(name):
    with pytest.raises(Refused, match="nothing is written"):
        prepare(VARIANT[name], Area("native", (1 << 64) - 1))


def test_an_update_can_be_stopped_between_two_steps(vcpu):
    caches = prepare(VARIANT["upstream"], Area("native", 256))
    steps = VARIANT["upstream"].update(vcpu, Area("native", 256), caches, False)
    assert line(next(steps)) == "lock gpc1 irqsave"
    caches.gpc1.valid = False  # a notifier that came just before the lock
    assert line(next(steps)) == "check gpc1 len=48 -> 0"
