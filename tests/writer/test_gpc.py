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
from runstate_abi.writer.steps import Check, Lock, Refresh, TryLock, Unlock

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
