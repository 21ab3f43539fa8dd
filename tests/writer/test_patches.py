"""The patches to the cache, one by one: the scenario that tells with from without, or none does."""

import pytest

from runstate_abi.writer.gpc import Gpc, Pfncache
from runstate_abi.writer.host import EIO, Host, Place
from runstate_abi.writer.patches import KHVA_FIX, NO_REINIT, ONE_DEACTIVATE, PATCHES, UP_TO_6_2

COMMITS = [patch.commit for patch in PATCHES]
TELLING = [patch.commit for patch in PATCHES if patch.shows]


def events(gpc, act):
    """What happens inside a cache while ``act`` runs."""
    gpc.inner = []
    return act(), tuple(gpc.inner)


def life(code):
    """All that a cache shows in one life: set up, moved, lost, refreshed, taken away, set up."""
    gpc = Gpc("gpc1", Host(), code)
    seen = []
    for act in (
        lambda: gpc.activate_now(0x020, 48),
        lambda: gpc.activate_now(0x820, 48),
        lambda: gpc.invalidate(0, 4096),
        lambda: gpc.refresh_now(48),
        lambda: gpc.deactivate_now(),
        lambda: gpc.activate_now(0x020, 48),
    ):
        seen.append((*events(gpc, act), gpc.khva, gpc.valid, gpc.active, gpc.is_valid(48)))
    gpc.active = False  # a bug elsewhere: valid and not active
    seen.append((*events(gpc, lambda: gpc.activate_now(0x020, 48)), gpc.khva))
    return seen


def without(commit):
    return Pfncache("6.2 but for one", UP_TO_6_2 - {commit})


def test_the_thread_carried_eleven_patches_of_three_people():
    authors = [patch.author for patch in PATCHES]
    assert [authors.count(name) for name in ("Luczaj", "Christopherson", "Woodhouse")] == [6, 4, 1]
    assert len(set(COMMITS)) == 11
    for patch in PATCHES:
        assert bool(patch.shows) != bool(patch.nothing), patch


@pytest.mark.parametrize("commit", COMMITS)
def test_a_patch_shows_in_the_life_of_a_cache_exactly_if_it_says_so(commit):
    assert (life(without(commit)) != life(Pfncache("6.2", UP_TO_6_2))) == (commit in TELLING)


def test_without_the_khva_fix_a_move_in_the_page_keeps_the_old_place():
    assert life(without(KHVA_FIX))[1][2] == Place(1, 0x020)
    assert life(Pfncache("6.2", UP_TO_6_2))[1][2] == Place(1, 0x820)


def test_one_deactivate_takes_the_lock_once_and_before_it_took_it_twice():
    _, once, *_ = life(Pfncache("6.2", UP_TO_6_2))[4]
    _, twice, *_ = life(without(ONE_DEACTIVATE))[4]
    locked = ("write_lock_irq gpc1", "write_unlock_irq gpc1")
    assert once == (*locked, "kunmap")
    assert twice == (*locked, "mutex_lock gpc1", *locked, "mutex_unlock gpc1", "kunmap")


def test_a_cache_that_is_valid_and_not_active_is_refused_and_before_its_mapping_was_lost():
    refused, inner, _ = life(Pfncache("6.2", UP_TO_6_2))[-1]
    assert (refused, inner) == (-EIO, ())
    taken, inner, _ = life(without(NO_REINIT))[-1]
    assert taken == 0
    assert "kunmap" not in inner
