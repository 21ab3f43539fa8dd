"""The gfn_to_pfn_cache: its life, its locks, its refusals."""

import pytest

from runstate_abi.layouts.abi import PAGE_SIZE
from runstate_abi.writer.gpc import (
    PFNCACHE_6_1,
    PFNCACHE_6_1_BROKEN,
    PFNCACHE_6_2,
    PFNCACHE_6_12,
    Blocked,
    Caches,
    Gpc,
)
from runstate_abi.writer.host import EFAULT, EINVAL, INVALID_GPA, Host, Place, errno_name
from runstate_abi.writer.steps import Activate, Check, Lock, Refresh, TryLock, Unlock

EVERY = [PFNCACHE_6_1, PFNCACHE_6_1_BROKEN, PFNCACHE_6_2, PFNCACHE_6_12]


def active(code=PFNCACHE_6_12, gpa=256, size=48, **host):
    gpc = Gpc("gpc1", Host(**host), code)
    assert gpc.activate_now(gpa, size) == 0
    return gpc


@pytest.mark.parametrize("code", EVERY, ids=lambda code: code.name)
def test_an_active_cache_maps_the_page_at_the_areas_offset(code):
    gpc = active(code, gpa=PAGE_SIZE + 16)
    assert gpc.khva == Place(2, 16)
    assert gpc.is_valid(48)


@pytest.mark.parametrize("code", EVERY, ids=lambda code: code.name)
def test_a_cache_that_was_never_set_up_is_not_valid_and_cannot_be_refreshed(code):
    gpc = Gpc("gpc1", Host(), code)
    assert not gpc.is_valid(1)
    assert gpc.refresh_now(1) == -EINVAL


@pytest.mark.parametrize("code", EVERY, ids=lambda code: code.name)
def test_a_length_that_crosses_the_page_is_refused_and_one_that_just_fits_is_not(code):
    assert Gpc("gpc1", Host(), code).activate_now(PAGE_SIZE - 48, 48) == 0
    assert Gpc("gpc1", Host(), code).activate_now(PAGE_SIZE - 47, 48) == -EINVAL


@pytest.mark.parametrize("size", [1, 48, PAGE_SIZE - 256])
def test_the_length_given_at_activation_decides_nothing_later(size):
    gpc = active(size=size)
    assert gpc.is_valid(48)
    assert not gpc.is_valid(PAGE_SIZE - 255)


def test_each_thing_that_makes_check_fail_does():
    for spoil in (
        lambda gpc: gpc.deactivate_now(),
        lambda gpc: setattr(gpc.host, "generation", 2),
        lambda gpc: gpc.invalidate(0, PAGE_SIZE),
        lambda gpc: setattr(gpc, "uhva", None),
    ):
        gpc = active()
        spoil(gpc)
        assert not gpc.is_valid(48)


def test_check_of_6_1_compares_the_address_it_is_given():
    gpc = active(PFNCACHE_6_1)
    assert gpc.is_valid(48, gpc.gpa)
    assert not gpc.is_valid(48, gpc.gpa + 8)


def test_a_refresh_makes_an_invalidated_cache_valid_again():
    gpc = active()
    gpc.invalidate(0, PAGE_SIZE)
    assert gpc.refresh_now(48) == 0
    assert gpc.is_valid(48)


def test_a_page_that_moved_is_found_by_the_refresh():
    gpc = active()
    gpc.invalidate(0, PAGE_SIZE)
    gpc.host.pages[0] = 3
    assert gpc.refresh_now(48) == 0
    assert gpc.khva == Place(3, 256)


def test_an_invalidation_of_another_page_does_not_matter():
    gpc = active()
    gpc.invalidate(PAGE_SIZE, 2 * PAGE_SIZE)
    assert gpc.is_valid(48)


@pytest.mark.parametrize(
    "spoilt",
    [{"slot_end": 0}, {"missing": {0}}, {"read_only": {0}}, {"pages": {}}],
    ids=["no slot", "a hole", "read-only", "no page"],
)
@pytest.mark.parametrize("code", EVERY, ids=lambda code: code.name)
def test_memory_that_cannot_be_written_is_efault_and_leaves_no_mapping(code, spoilt):
    gpc = Gpc("gpc1", Host(**spoilt), code)
    assert gpc.activate_now(256, 48) == -EFAULT
    assert gpc.active
    assert not gpc.valid
    assert gpc.khva is None


def test_a_refresh_that_fails_takes_the_mapping_away():
    gpc = active()
    gpc.invalidate(0, PAGE_SIZE)
    gpc.host.pages[0] = 0
    assert gpc.refresh_now(48) == -EFAULT
    assert gpc.khva is None


def test_the_khva_follows_a_move_within_the_page_only_with_the_fix():
    fixed, broken = active(PFNCACHE_6_1), active(PFNCACHE_6_1_BROKEN)
    for gpc in (fixed, broken):
        assert gpc.activate_now(768, 48) == 0
        assert gpc.gpa == 768
        assert gpc.is_valid(48)
    assert fixed.khva == Place(1, 768)
    assert broken.khva == Place(1, 256)


def test_a_move_to_another_page_is_right_even_without_the_fix():
    gpc = active(PFNCACHE_6_1_BROKEN)
    assert gpc.activate_now(PAGE_SIZE + 128, 48) == 0
    assert gpc.khva == Place(2, 128)


def test_deactivation_keeps_the_addresses_and_drops_the_mapping():
    gpc = active()
    gpc.deactivate_now()
    assert (gpc.active, gpc.valid, gpc.khva, gpc.pfn) == (False, False, None, None)
    assert (gpc.gpa, gpc.uhva) == (256, 256)


def test_the_user_address_has_the_offset_in_it_only_in_the_newest_code():
    assert active(PFNCACHE_6_1).uhva == 0
    assert active(PFNCACHE_6_12).uhva == 256


def test_no_address_is_refused_by_the_newest_code():
    assert Gpc("gpc1", Host()).activate_now(INVALID_GPA, 1) == -EINVAL


def test_a_notifier_during_the_lookup_makes_it_look_again():
    gpc = active()
    gpc.invalidate(0, PAGE_SIZE)
    seen = []

    def migrate(event):
        seen.append(event)
        if event.startswith("hva_to_pfn") and len(seen) < 6:
            gpc.host.pages[0] = 3
            gpc.host.invalidations += 1

    gpc.host.watch = migrate
    assert gpc.refresh_now(48) == 0
    assert [one for one in seen if one.startswith("hva")] == [
        "hva_to_pfn ret=1",
        "hva_to_pfn ret=3",
    ]
    assert gpc.khva == Place(3, 256)


def test_a_page_that_was_mapped_in_vain_is_unmapped_before_the_next_look():
    gpc = active()
    gpc.invalidate(0, PAGE_SIZE)
    gpc.host.pages[0] = 3
    seen = []

    def migrate(event):
        seen.append(event)
        if event == "hva_to_pfn ret=3":
            gpc.host.pages[0] = 4
            gpc.host.invalidations += 1

    gpc.host.watch = migrate
    assert gpc.refresh_now(48) == 0
    mapped = [event for event in seen if event.startswith(("kmap", "kunmap"))]
    assert mapped == ["kmap", "kunmap", "kmap", "kunmap"]  # page 3, then 4; at last the old one


def test_locks_count_their_readers_and_tell_their_steps():
    gpc = active()
    assert list(gpc.lock(irqsave=True)) == [Lock("gpc1", irqsave=True)]
    assert list(gpc.trylock()) == [TryLock("gpc1", True)]
    assert (gpc.readers, gpc.host.irqs_off) == (2, True)
    assert list(gpc.unlock()) == [Unlock("gpc1")]
    assert list(gpc.unlock(irqrestore=True)) == [Unlock("gpc1", irqrestore=True)]
    assert (gpc.readers, gpc.host.irqs_off) == (0, False)


def test_contention_makes_trylock_fail_and_holds_nothing():
    gpc = active()
    gpc.contended = True
    assert list(gpc.trylock()) == [TryLock("gpc1", False)]
    assert gpc.readers == 0


def test_a_writer_cannot_pass_a_reader():
    gpc = active()
    list(gpc.lock())
    with pytest.raises(Blocked, match="gpc1: write_lock_irq on a lock still read-held"):
        gpc.refresh_now(48)


def test_check_and_refresh_tell_what_they_found():
    gpc = active()
    assert list(gpc.check(48)) == [Check("gpc1", 48, True)]
    (step,) = gpc.refresh(48)
    assert (step.result, step.inner[0]) == (0, "mutex_lock gpc1")
    assert Refresh("gpc1", 48, 0, step.inner) == step
    (step,) = gpc.activate(512, 48)
    assert Activate("gpc1", 512, 48, 0, step.inner) == step
    assert step.inner[0] == "mutex_lock gpc1"


def test_a_cache_with_a_length_of_its_own_is_checked_and_set_up_for_it():
    gpc = active()
    gpc.length = 40
    steps = [*gpc.check(8), *gpc.refresh(8), *gpc.activate(PAGE_SIZE - 40, 8)]
    assert [(step.size, step.result) for step in steps] == [(40, True), (40, 0), (40, 0)]
    assert gpc.activate_now(PAGE_SIZE - 39, 8) == -EINVAL


def test_the_newest_code_warns_of_what_has_no_address():
    gpc = Gpc("gpc1", Host())
    assert gpc.refresh_now(1) == gpc.activate_now(INVALID_GPA, 1) == -EINVAL
    assert gpc.inner == ["mutex_lock gpc1", "WARN", "mutex_unlock gpc1", "WARN"]


def test_a_notifier_reaches_both_caches():
    caches = Caches()
    caches.gpc1.activate_now(256, 48)
    caches.gpc2.activate_now(512, 48)
    caches.invalidate(300)
    assert not caches.gpc1.valid
    assert not caches.gpc2.valid


def test_errors_have_names():
    assert [errno_name(one) for one in (-EFAULT, EINVAL)] == ["EFAULT", "EINVAL"]


@pytest.mark.parametrize("code", EVERY, ids=lambda code: code.name)
def test_a_refresh_elsewhere_must_fit_the_page_there(code):
    assert active(code, gpa=256).refresh_now(48, PAGE_SIZE - 6) == -EINVAL
    assert active(code, gpa=256).refresh_now(48, PAGE_SIZE - 48) == 0


# What each call does, in the order of the C source (virt/kvm/pfncache.c at 0318f207d1c2 for 6.1, at
# 06e155c44aa0 for 6.2). "lock" and "unlock" are the write lock's, "[" and "]" the refresh mutex's.
MAP, MOVE = "lock unlock hva=1 kmap lock unlock", "lock unlock hva=2 kmap lock unlock"
CALLS = {
    "activate":          (lambda gpc: gpc.activate_now(256, 48), 0),
    "refresh":           (lambda gpc: gpc.refresh_now(48), 0),
    "activate at 4096":  (lambda gpc: gpc.activate_now(PAGE_SIZE, 48), 0),
    "invalidate":        (lambda gpc: gpc.invalidate(PAGE_SIZE, 2 * PAGE_SIZE), None),
    "move the page":     (lambda gpc: gpc.host.pages.update({1: 7}), None),
    "refresh again":     (lambda gpc: gpc.refresh_now(48), 0),
    "deactivate":        (lambda gpc: gpc.deactivate_now(), None),
    "deactivate again":  (lambda gpc: gpc.deactivate_now(), None),
    "refresh inactive":  (lambda gpc: gpc.refresh_now(48), -EINVAL),
    "activate too long": (lambda gpc: gpc.activate_now(PAGE_SIZE - 47, 48), -EINVAL),
    "take the page":     (lambda gpc: gpc.host.pages.update({0: 0}), None),
    "activate no page":  (lambda gpc: gpc.activate_now(0, 1), -EFAULT),
}  # fmt: skip
COMMON = {
    "refresh": "[ lock unlock ]",
    "invalidate": "lock unlock",
    "move the page": "",
    "take the page": "",
    "refresh inactive": "[ lock unlock ]",
}
OLD = COMMON | {
    "activate": f"lock unlock [ {MAP} ]",
    "activate at 4096": f"[ {MOVE} ] kunmap",
    "refresh again": "[ lock unlock hva=7 kmap lock unlock ] kunmap",
    "deactivate": "lock unlock [ lock unlock ] kunmap",
    "deactivate again": "",
    "activate too long": "lock unlock",  # it is active now
    "activate no page": "[ lock unlock hva=-1 lock unlock ]",
}
MODERN = COMMON | {
    "activate": f"[ lock unlock {MAP} ]",
    "activate at 4096": f"[ {MOVE} kunmap ]",
    "refresh again": "[ lock unlock hva=7 kmap lock unlock kunmap ]",
    "deactivate": "[ lock unlock kunmap ]",
    "deactivate again": "[ ]",
    "activate too long": "",
    "activate no page": "[ lock unlock lock unlock hva=-1 lock unlock ]",
}
SHORT = {"write_lock_irq gpc1": "lock", "write_unlock_irq gpc1": "unlock",
         "mutex_lock gpc1": "[", "mutex_unlock gpc1": "]"}  # fmt: skip


@pytest.mark.parametrize(
    ("code", "expected"),
    [(PFNCACHE_6_1_BROKEN, OLD), (PFNCACHE_6_1, OLD),
     (PFNCACHE_6_2, OLD | {"deactivate": "lock unlock kunmap"}), (PFNCACHE_6_12, MODERN)],
    ids=lambda one: getattr(one, "name", ""),
)  # fmt: skip
def test_each_call_takes_the_locks_that_the_source_takes_in_its_order(code, expected):
    gpc, seen = Gpc("gpc1", Host(), code), []
    gpc.host.watch = seen.append
    for name, (call, result) in CALLS.items():
        seen.clear()
        assert call(gpc) == result, name
        said = " ".join(SHORT.get(one, one.replace("hva_to_pfn ret", "hva")) for one in seen)
        assert said == expected[name], name
