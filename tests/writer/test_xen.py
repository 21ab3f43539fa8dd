"""Xen's own writer: the virtual and the physical area."""

import pytest

from runstate_abi.writer.gpc import Caches
from runstate_abi.writer.host import EACCES, ENXIO, INVALID_GPA, Host
from runstate_abi.writer.memory import Window, play
from runstate_abi.writer.steps import Copy, Store, line
from runstate_abi.writer.variants import VARIANT, prepare
from runstate_abi.writer.vcpu import Area
from runstate_abi.writer.xen import phys_error, unregisters


def test_the_virtual_area_is_copied_whole_between_two_byte_copies(lines_of):
    assert lines_of("xen-va", "compat", 4085) == [
        "copy p2+0 1 91",
        "wmb",
        "copy p1+4085 11 0100000088776655443322",
        "copy p2+0 33 910101010101010101020202020202020203030303030303030404040404040404",
        "wmb",
        "copy p2+0 1 11",
    ]


def test_without_the_assist_it_is_one_copy_and_no_barrier(lines_of):
    assert lines_of("xen-va", "compat", update_flag=False) == [
        "copy p1+256 44 010000008877665544332211"
        "0101010101010101020202020202020203030303030303030404040404040404"
    ]


def test_the_virtual_area_writes_the_padding_as_zeros_always(vcpu):
    for offset in (256, 4081):
        window = Window(b"\xa5")
        area = Area("native", offset)
        caches = prepare(VARIANT["xen-va"], area)
        play(window, VARIANT["xen-va"].update(vcpu, area, caches, False))
        assert window.read(offset + 4, 4) == bytes(4)


def test_what_is_not_mapped_is_not_written_and_the_rest_stays_flagged(vcpu):
    host = Host(pages={0: 1})
    area = Area("native", 4081)
    caches = prepare(VARIANT["xen-va"], area, host)
    lines = [line(one) for one in VARIANT["xen-va"].update(vcpu, area, caches, False)]
    assert lines == ["wmb", "copy p1+4081 15 010000000000000088776655443322", "wmb"]


def test_the_physical_area_is_set_and_cleared_by_eight_bytes(lines_of):
    assert lines_of("xen-phys", "native") == [
        "store p1+264 8 8877665544332291",
        "wmb",
        "copy p1+256 48 01000000000000008877665544332291"
        "0101010101010101020202020202020203030303030303030404040404040404",
        "wmb",
        "store p1+264 8 8877665544332211",
    ]


def test_a_compat_physical_area_is_translated_field_by_field(steps_of):
    stores = [step for step in steps_of("xen-phys", "compat") if isinstance(step, Store)]
    assert [(one.offset - 256, len(one.data)) for one in stores] == [
        *((4, 8), (0, 4), (4, 8), (12, 8), (20, 8), (28, 8), (36, 8), (4, 8))
    ]


@pytest.mark.parametrize(
    ("abi", "offset", "error"),
    [
        ("native", 256, 0),
        ("native", 260, -ENXIO),
        ("native", 4048, 0),
        ("native", 4056, -ENXIO),
        ("compat", 260, 0),
        ("compat", 258, -ENXIO),
        ("compat", 4052, 0),
        ("compat", 4056, -ENXIO),
    ],
)
def test_a_physical_area_is_aligned_and_in_one_page_or_refused(abi, offset, error):
    assert phys_error(Area(abi, offset), Host()) == error


def test_a_physical_area_in_a_page_that_may_not_be_written_is_refused():
    assert phys_error(Area("native", 256), Host(read_only={0})) == -EACCES


def test_the_address_of_all_ones_takes_the_area_away(vcpu):
    area = Area("native", INVALID_GPA)
    assert unregisters(area)
    assert phys_error(area, Host()) == 0
    caches = prepare(VARIANT["xen-phys"], Area("native", 256))
    assert tuple(VARIANT["xen-phys"].update(vcpu, area, caches, False)) == ()


def test_a_virtual_area_that_is_not_mapped_is_taken_and_not_written(vcpu):
    """Xen ignores the result of the copy that registering the area makes."""
    area = Area("native", 256)
    caches = prepare(VARIANT["xen-va"], area, Host(pages={}))
    steps = tuple(VARIANT["xen-va"].update(vcpu, area, caches, False))
    assert not [one for one in steps if isinstance(one, Copy)]


def test_a_physical_area_is_aligned_as_the_domain_is_wide_not_as_its_layout():
    assert phys_error(Area("native", 260), Host()) == -ENXIO
    assert phys_error(Area("native", 260, domain="compat"), Host()) == 0
    assert phys_error(Area("compat", 260), Host()) == 0
    assert phys_error(Area("compat", 260, domain="native"), Host()) == -ENXIO
    with pytest.raises(ValueError, match="domain"):
        Area("native", 260, domain="x32")


@pytest.mark.parametrize("address", [260, 4090, INVALID_GPA])
def test_nothing_is_written_to_an_area_that_registration_refuses(vcpu, address):
    assert list(VARIANT["xen-phys"].update(vcpu, Area("native", address), Caches(), False)) == []
