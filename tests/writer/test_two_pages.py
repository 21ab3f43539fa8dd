"""The drafts of the thread and what was merged: order, locks, dirty pages, the stack."""

import pytest

from runstate_abi.writer.gpc import Caches
from runstate_abi.writer.memory import Window, play
from runstate_abi.writer.steps import Copy, Dirty, Lock, Store, Unlock, line
from runstate_abi.writer.two_pages import KERNEL_STACK
from runstate_abi.writer.variants import VARIANT, prepare
from runstate_abi.writer.vcpu import Area, Runstate

THREAD = ["split-memcpy", "patch-2of4", "two-paths", "single-path", "reconciled"]
MERGED = ["linux-6.2", "upstream"]


def stepped(name, vcpu, abi="native", offset=256, atomic=False, spoil=lambda caches: None):
    variant, area = VARIANT[name], Area(abi, offset)
    caches = prepare(variant, area)
    spoil(caches)
    return tuple(variant.update(vcpu, area, caches, atomic)), caches


OK1, OK2 = "check gpc1 len=15 -> 1", "check gpc2 len=33 -> 1"
BAD1, BAD2 = "check gpc1 len=15 -> 0", "check gpc2 len=33 -> 0"
LOCK, UNLOCK, BUSY = "lock gpc1 irqsave", "unlock gpc1 irqrestore", "trylock gpc2 -> 0"


# What comes before the first store, or all where there is none.
@pytest.mark.parametrize(
    ("atomic", "spoil", "expected"),
    [
        (False, lambda caches: caches.invalidate(0),
         [LOCK, BAD1, UNLOCK, "refresh gpc1 len=15 -> 0", LOCK, OK1, "lock gpc2", OK2]),
        (False, lambda caches: caches.gpc2.deactivate_now(),
         [LOCK, OK1, "lock gpc2", BAD2, "unlock gpc2", UNLOCK, "activate gpc2 gpa=4096 len=33 -> 0",
          LOCK, OK1, "lock gpc2", OK2]),
        (True, lambda caches: setattr(caches.gpc1, "contended", True),
         ["irq save", "trylock gpc1 -> 0", "irq restore"]),
        (True, lambda caches: caches.invalidate(0),
         ["irq save", "trylock gpc1 -> 1", BAD1, UNLOCK]),
        (True, lambda caches: setattr(caches.gpc2, "contended", True),
         ["irq save", "trylock gpc1 -> 1", OK1, BUSY, UNLOCK]),
        (True, lambda caches: caches.invalidate(4096),
         ["irq save", "trylock gpc1 -> 1", OK1, "trylock gpc2 -> 1", BAD2, "unlock gpc2", UNLOCK]),
    ],
    ids=["gpc1 stale", "gpc2 lost", "gpc1 busy", "gpc1 stale, atomic", "gpc2 busy", "gpc2 stale"],
)  # fmt: skip
@pytest.mark.parametrize("name", MERGED)
def test_both_caches_are_locked_and_valid_before_the_first_store(
    name, atomic, spoil, expected, vcpu
):
    steps, caches = stepped(name, vcpu, offset=4081, atomic=atomic, spoil=spoil)
    lines = [line(step) for step in steps]
    first = next((index for index, one in enumerate(lines) if one.startswith("store")), len(lines))
    assert lines[:first] == expected
    assert (caches.held(), caches.host.irqs_off) == ({"gpc1": 0, "gpc2": 0}, False)


@pytest.mark.parametrize("name", [*THREAD, *MERGED])
@pytest.mark.parametrize("page", [0, 1])
def test_nothing_is_written_and_nothing_marked_where_it_must_not_refresh(name, page, vcpu):
    def lost(caches):
        caches.invalidate(page * 4096)

    steps, caches = stepped(name, vcpu, offset=4081, atomic=True, spoil=lost)
    assert not [step for step in steps if isinstance(step, Store | Copy | Dirty)]
    assert caches.held() == {"gpc1": 0, "gpc2": 0}


def test_the_draft_writes_each_field_by_itself_and_the_top_byte_last(lines_of):
    assert [one for one in lines_of("split-memcpy") if "p1" in one] == [
        "store p1+271 1 80",
        "copy p1+256 4 01000000",
        "copy p1+272 32 0101010101010101020202020202020203030303030303030404040404040404",
        "copy p1+264 7 88776655443322",
        "store p1+271 1 11",
    ]


def test_the_draft_ors_the_flag_into_what_the_guest_has_there(vcpu):
    steps, _ = stepped("split-memcpy", vcpu)
    window = Window(b"\x21")
    played = play(window, steps)
    assert next(step for step in played if isinstance(step, Store)).data == b"\xa1"


def test_the_draft_splits_a_field_that_crosses_the_page(lines_of):
    lines = lines_of("split-memcpy", "native", 4084)
    assert "copy p1+4092 4 88776655" in lines
    assert "copy p2+0 3 443322" in lines


def test_the_draft_lets_interrupts_in_while_gpc1_is_still_locked(vcpu):
    variant, area = VARIANT["split-memcpy"], Area("native", 4081)
    caches = prepare(variant, area)
    for step in variant.update(vcpu, area, caches, False):
        if step == Unlock("gpc2", irqrestore=True):
            assert (caches.gpc1.readers, caches.host.irqs_off) == (1, False)
            return
    pytest.fail("gpc2 was never unlocked")


@pytest.mark.parametrize("offset", [256, 4081])
def test_patch_2of4_makes_the_same_steps_as_the_pre_image(offset, steps_of):
    assert steps_of("patch-2of4", offset=offset) == steps_of("two-paths", offset=offset)


@pytest.mark.parametrize("name", THREAD + MERGED)
def test_gpc1_is_locked_before_gpc2_and_unlocked_after_it(name, steps_of):
    steps = [step for step in steps_of(name, offset=4081) if isinstance(step, Lock | Unlock)]
    assert [one.cache for one in steps] == ["gpc1", "gpc2", "gpc2", "gpc1"]


@pytest.mark.parametrize("name", THREAD)
def test_the_thread_locks_without_trying_in_the_scheduler(name, vcpu):
    steps, _ = stepped(name, vcpu, atomic=True)
    assert steps[0] == Lock("gpc1", irqsave=True)


@pytest.mark.parametrize("name", MERGED)
def test_the_merged_code_only_tries_in_the_scheduler(name, vcpu):
    lines = [line(one) for one in stepped(name, vcpu, offset=4081, atomic=True)[0]]
    assert lines[:5] == [
        "irq save",
        "trylock gpc1 -> 1",
        "check gpc1 len=15 -> 1",
        "trylock gpc2 -> 1",
        "check gpc2 len=33 -> 1",
    ]


@pytest.mark.parametrize("name", MERGED)
def test_a_contended_first_lock_writes_nothing_and_restores_interrupts(name, vcpu):
    steps, caches = stepped(
        name, vcpu, atomic=True, spoil=lambda caches: setattr(caches.gpc1, "contended", True)
    )
    assert [line(one) for one in steps] == ["irq save", "trylock gpc1 -> 0", "irq restore"]
    assert not caches.host.irqs_off


@pytest.mark.parametrize("name", MERGED)
def test_a_contended_second_lock_gives_the_first_one_back(name, vcpu):
    steps, caches = stepped(
        name,
        vcpu,
        offset=4081,
        atomic=True,
        spoil=lambda caches: setattr(caches.gpc2, "contended", True),
    )
    assert [line(one) for one in steps[-2:]] == ["trylock gpc2 -> 0", "unlock gpc1 irqrestore"]
    assert caches.held() == {"gpc1": 0, "gpc2": 0}


# The draft refreshes a second cache that is stale; everything later sets it up anew.
def set_up(name):
    return "refresh gpc2 len=33" if name == "split-memcpy" else "activate gpc2 gpa=4096 len=33"


@pytest.mark.parametrize("name", THREAD + MERGED)
def test_a_stale_second_cache_sends_the_update_all_the_way_back(name, vcpu):
    steps, _ = stepped(name, vcpu, offset=4081, spoil=lambda caches: caches.invalidate(4096))
    lines = [line(one) for one in steps]
    again = lines.index(f"{set_up(name)} -> 0") + 1
    assert lines[again : again + 2] == ["lock gpc1 irqsave", "check gpc1 len=15 -> 1"]


@pytest.mark.parametrize("name", THREAD + MERGED)
def test_a_first_cache_that_goes_stale_meanwhile_is_refreshed_too(name, vcpu):
    variant, area = VARIANT[name], Area("native", 4081)
    caches = prepare(variant, area)
    caches.invalidate(4096)
    lines = []
    for step in variant.update(vcpu, area, caches, False):
        lines.append(line(step))
        if lines[-1].startswith(set_up(name)):
            caches.invalidate(4081)
    assert lines.count("check gpc1 len=15 -> 0") == 1
    assert "refresh gpc1 len=15 -> 0" in lines
    assert lines[-1].startswith(("dirty", "unlock"))


def test_the_draft_restores_the_interrupts_at_each_unlock(steps_of):
    """So they come back while gpc1 is still locked; afterwards they are as before."""
    unlocks = [one for one in steps_of("split-memcpy", offset=4081) if isinstance(one, Unlock)]
    assert unlocks == [Unlock("gpc2", irqrestore=True), Unlock("gpc1", irqrestore=True)]


def test_the_draft_stops_where_a_lock_cannot_be_had(vcpu):
    caches = prepare(VARIANT["split-memcpy"], Area("native", 256))
    caches.invalidate(0)
    caches.host.pages[0] = 0
    steps = tuple(VARIANT["split-memcpy"].update(vcpu, Area("native", 256), caches, False))
    assert line(steps[-1]) == "refresh gpc1 len=48 -> -14"


def test_the_draft_writes_nothing_after_a_switch_to_64_bits(vcpu):
    """gpc2 was never set up, and to refresh it fails; what was merged activates it."""
    for name, written in (("split-memcpy", False), ("reconciled", True)):
        caches = prepare(VARIANT[name], Area("compat", 4048))
        caches.gpc1.activate_now(4052, 44)
        steps = tuple(VARIANT[name].update(vcpu, Area("native", 4052), caches, False))
        assert any(isinstance(one, Copy | Store) for one in steps) == written
        if not written:
            assert line(steps[-1]) == "refresh gpc2 len=4 -> -22"


def test_the_pre_image_is_wrong_on_a_32_bit_host_where_it_is_split(steps_of):
    copies = [s for s in steps_of("two-paths", "compat", 4085, host="i386") if isinstance(s, Copy)]
    struct = b"".join(one.data for one in copies)
    right = [s for s in steps_of("reconciled", "compat", 4085, host="i386") if isinstance(s, Copy)]
    # state is lost, everything is four bytes too early, and four bytes of stack leak.
    assert struct == b"".join(one.data for one in right)[4:] + KERNEL_STACK


def test_the_pre_image_is_right_on_a_32_bit_host_in_one_page(steps_of):
    assert steps_of("two-paths", "compat", host="i386") == steps_of("two-paths", "compat")


def test_bonzinis_version_would_be_wrong_on_a_32_bit_host_always(steps_of):
    (copy,) = [s for s in steps_of("single-path", "compat", host="i386") if isinstance(s, Copy)]
    assert copy.data.endswith(KERNEL_STACK)


def test_the_reconciliation_is_right_on_a_32_bit_host(steps_of):
    for offset in (256, 4085):
        here = steps_of("reconciled", "compat", offset, host="i386")
        assert here == steps_of("reconciled", "compat", offset)


def held_when_dirty(name, vcpu):
    """Of an update of two pages: each frame marked dirty, with the locks held at that moment."""
    variant, area = VARIANT[name], Area("native", 4081)
    caches = prepare(variant, area)
    steps = variant.update(vcpu, area, caches, False)
    return [(step.gfn, caches.held()) for step in steps if isinstance(step, Dirty)]


def test_the_newest_code_marks_pages_dirty_under_their_locks(vcpu):
    held = held_when_dirty("upstream", vcpu)
    assert held == [(1, {"gpc1": 1, "gpc2": 1}), (0, {"gpc1": 1, "gpc2": 0})]


def test_6_2_marks_pages_dirty_after_unlocking_the_first_page_first(vcpu):
    held = held_when_dirty("linux-6.2", vcpu)
    assert held == [(0, {"gpc1": 0, "gpc2": 0}), (1, {"gpc1": 0, "gpc2": 0})]


def test_a_cache_never_set_up_is_asked_for_and_refused():
    caches = Caches()
    zero = Runstate(0, 0, (0, 0, 0, 0))
    steps = tuple(VARIANT["upstream"].update(zero, Area("native", 0), caches, False))
    # INVALID_GPA is the last byte of a page, so one byte would fit.
    assert [line(one) for one in steps] == [
        "lock gpc1 irqsave",
        "check gpc1 len=1 -> 0",
        "unlock gpc1 irqrestore",
        "refresh gpc1 len=1 -> -22",
    ]


def test_split_memcpy_copies_a_field_of_one_page_at_once(steps_of):
    # state and the entry time end with page 1, so all of time[] is in page 2.
    copies = [
        step for step in steps_of("split-memcpy", "native", 4096 - 16) if isinstance(step, Copy)
    ]
    assert [(step.page, len(step.data)) for step in copies if step.page == 2] == [(2, 32)]
