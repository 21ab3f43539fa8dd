"""5.14, 5.16 and 6.1: what they could do that nobody does any more."""

import pytest

from runstate_abi.writer.gpc import PFNCACHE_6_1_BROKEN, Caches
from runstate_abi.writer.host import Host
from runstate_abi.writer.memory import Window, apply, play
from runstate_abi.writer.steps import Barrier, Copy, Dirty, Store, line
from runstate_abi.writer.variants import VARIANT, Refused, prepare, register_one_page
from runstate_abi.writer.vcpu import Area

AREA = Area("native", 256)


def started(name):
    variant = VARIANT[name]
    return variant, prepare(variant, AREA)


def test_5_14_copies_four_times_and_marks_the_page_dirty_each_time(lines_of):
    assert [one.split()[0] for one in lines_of("linux-5.14")] == [
        *("copy", "dirty", "wmb", "copy", "dirty", "copy", "dirty", "wmb", "copy", "dirty")
    ]


def test_5_16_assigns_to_user_space_and_marks_dirty_once(lines_of):
    assert [one.split()[0] for one in lines_of("linux-5.16")] == [
        *("store", "wmb", "store", "copy", "wmb", "store", "wmb", "dirty")
    ]


def test_5_14_takes_an_area_that_crosses_a_page_and_copies_it_page_by_page(lines_of):
    lines = lines_of("linux-5.14", "native", 4081)
    assert [one for one in lines if not one.startswith("dirty")] == [
        "copy p1+4089 7 88776655443322",
        "copy p2+0 1 91",
        "wmb",
        "copy p1+4081 4 01000000",
        "copy p2+1 32 0101010101010101020202020202020203030303030303030404040404040404",
        "wmb",
        "copy p1+4089 7 88776655443322",
        "copy p2+0 1 11",
    ]
    assert lines.count("dirty gfn=+0") == 3
    assert lines.count("dirty gfn=+1") == 3


def test_5_14_needs_memory_under_both_pages_and_5_16_refuses_to_cross(vcpu):
    host = Host(missing={1})
    with pytest.raises(Refused, match="-EFAULT"):
        prepare(VARIANT["linux-5.14"], Area("native", 4081), host)
    with pytest.raises(Refused, match="-EINVAL"):
        prepare(VARIANT["linux-5.16"], Area("native", 4081))


@pytest.mark.parametrize("page", [0, 1])
def test_a_fault_in_either_page_ends_an_update_of_5_14_that_crosses(page, vcpu):
    area = Area("native", 4081)
    caches = prepare(VARIANT["linux-5.14"], area)
    caches.host.pages[page] = 0
    steps = tuple(VARIANT["linux-5.14"].update(vcpu, area, caches, False))
    assert [one.page for one in steps if isinstance(one, Copy)] == [1] * page


@pytest.mark.parametrize("name", ["linux-5.14", "linux-5.16"])
@pytest.mark.parametrize("after", [1, 2, 3])
def test_a_page_that_goes_away_in_between_leaves_the_flag_up_for_good(name, after, vcpu):
    variant, caches = started(name)
    window, written = Window(), 0
    for step in variant.update(vcpu, AREA, caches, False):
        apply(window, step)
        written += isinstance(step, Store | Copy)
        if written == after:
            caches.host.pages[0] = 0
    assert window.data[256 + 15] == 0x91
    assert written == after


@pytest.mark.parametrize("name", ["linux-5.14", "linux-5.16"])
def test_a_page_that_is_gone_before_is_not_written_at_all(name, vcpu):
    variant, caches = started(name)
    caches.host.pages[0] = 0
    steps = tuple(variant.update(vcpu, AREA, caches, False))
    assert not [step for step in steps if isinstance(step, Store | Copy)]


def test_5_16_marks_the_page_dirty_even_after_a_fault_and_5_14_does_not(vcpu):
    for name, dirty in (("linux-5.16", 1), ("linux-5.14", 0)):
        variant, caches = started(name)
        caches.host.pages[0] = 0
        assert tuple(variant.update(vcpu, AREA, caches, False)) == (Dirty(0),) * dirty


def test_5_16_cannot_sleep_for_a_swapped_page_in_the_scheduler_and_5_14_does(vcpu):
    for name, writes in (("linux-5.16", 0), ("linux-5.14", 4)):
        variant, caches = started(name)
        caches.host.swapped.add(0)
        steps = tuple(variant.update(vcpu, AREA, caches, True))
        assert len([step for step in steps if isinstance(step, Store | Copy)]) == writes


def test_5_16_waits_for_a_swapped_page_where_it_may_sleep(vcpu):
    variant, caches = started("linux-5.16")
    caches.host.swapped.add(0)
    assert len(tuple(variant.update(vcpu, AREA, caches, False))) == 8


@pytest.mark.parametrize("name", ["linux-5.14", "linux-5.16"])
def test_a_slot_that_is_gone_after_the_memslots_changed_ends_the_update(name, vcpu):
    variant, caches = started(name)
    caches.host.generation += 1
    caches.host.missing.add(0)
    assert tuple(variant.update(vcpu, AREA, caches, False)) == ()


def test_a_slot_that_goes_away_before_the_last_copy_of_5_14_leaves_the_flag_up(vcpu):
    """Each of the four copies looks whether the memslots have changed, and so does the last."""
    variant, caches = started("linux-5.14")
    window, passed = Window(), 0
    for step in variant.update(vcpu, AREA, caches, False):
        apply(window, step)
        passed += isinstance(step, Barrier)
        if passed == 2 and isinstance(step, Barrier):
            caches.host.generation += 1
            caches.host.missing.add(0)
    assert window.data[256 + 15] == 0x91


def test_6_1_sets_the_flag_by_eight_bytes_and_clears_it_by_reading_them_back(steps_of):
    writes = [step for step in steps_of("linux-6.1") if isinstance(step, Store | Copy)]
    assert [line(one).split()[2] for one in writes] == ["8", "4", "32", "8"]
    assert [bool(one.keep) for one in writes if isinstance(one, Store)] == [False, False, True]


def test_6_1_holds_its_lock_to_the_last_store_and_then_marks_the_page(lines_of):
    lines = lines_of("linux-6.1")
    assert lines[:2] == ["lock gpc1 irqsave", "check gpc1 len=48 -> 1"]
    assert lines[-3:] == ["wmb", "unlock gpc1 irqrestore", "dirty gfn=+0"]


def test_6_1_keeps_what_a_guest_wrote_into_the_entry_time_meanwhile(vcpu):
    variant, caches = started("linux-6.1")
    window, passed = Window(), 0
    for step in variant.update(vcpu, AREA, caches, False):
        apply(window, step)
        passed += isinstance(step, Barrier)
        if passed == 2 and isinstance(step, Barrier):
            window.data[256 + 8] = 0xEE
    assert window.read(256 + 8, 8) == bytes.fromhex("ee77665544332211")


def test_6_1_writes_nothing_in_the_scheduler_if_its_cache_is_stale(vcpu):
    variant, caches = started("linux-6.1")
    caches.invalidate(256)
    lines = [line(one) for one in variant.update(vcpu, AREA, caches, True)]
    assert lines == ["lock gpc1 irqsave", "check gpc1 len=48 -> 0", "unlock gpc1 irqrestore"]


def test_6_1_refreshes_a_stale_cache_where_it_may_sleep(vcpu):
    variant, caches = started("linux-6.1")
    caches.invalidate(256)
    lines = [line(one) for one in variant.update(vcpu, AREA, caches, False)]
    assert lines[2:5] == ["unlock gpc1 irqrestore", "refresh gpc1 len=48 -> 0", "lock gpc1 irqsave"]


def test_6_1_gives_up_where_the_refresh_fails(vcpu):
    variant, caches = started("linux-6.1")
    caches.invalidate(256)
    caches.host.pages[0] = 0
    lines = [line(one) for one in variant.update(vcpu, AREA, caches, False)]
    assert lines[-1] == "refresh gpc1 len=48 -> -14"


def test_6_1_without_the_khva_fix_writes_the_wrong_place_but_stays_in_the_page(vcpu):
    caches = Caches(code=PFNCACHE_6_1_BROKEN)
    for offset in (4000, 0x100):
        assert register_one_page(Area("native", offset), caches) == 0
    window = Window()
    play(window, VARIANT["linux-6.1"].update(vcpu, Area("native", 0x100), caches, False))
    assert window.read(0x100, 48) == bytes(48)
    assert window.data[4000] == 1


def test_5_16_ends_with_the_first_store_that_faults(vcpu):
    variant, caches = started("linux-5.16")
    steps = variant.update(vcpu, AREA, caches, False)
    written = 0
    for step in steps:
        written += isinstance(step, Store)
        if written == 2:  # the entry time, then state
            break
    caches.ghc.hva = None
    assert [type(step) for step in steps] == [Dirty]
