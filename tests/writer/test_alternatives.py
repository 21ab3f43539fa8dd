"""The ideas of the thread that nobody merged: what each would have broken, and where."""

import pytest

from replaying.evidence import of_model
from runstate_abi.writer.alternatives import kvm_gpc_lock
from runstate_abi.writer.memory import Window, play
from runstate_abi.writer.rulebook.evidence import ledger
from runstate_abi.writer.rules import judge
from runstate_abi.writer.steps import Copy, Dirty, Refresh, Store, line, memory_text
from runstate_abi.writer.variants import VARIANT, Registration, prepare, update
from runstate_abi.writer.vcpu import SHAPES, Area, runstate_of

FLAG = 0x80
SPLIT = 4081  # native: the update byte is the first byte of page 2


def broken(steps, vcpu, area, atomic=False):
    return {one.rule for one in judge(ledger(of_model(steps, vcpu, area, atomic)))}


@pytest.mark.parametrize("offset", [256, SPLIT])
def test_an_embedded_struct_takes_the_flag_down_in_the_middle(offset, vcpu, steps_of):
    steps = steps_of("embedded-struct", "native", offset)
    window = Window(b"\xa5")
    barrier = steps.index(next(one for one in steps if line(one) == "wmb"))
    play(window, steps[: barrier + 1])
    top = offset + SHAPES["native"].update_byte
    assert window.data[top] & FLAG
    copies = [one for one in steps[barrier:] if isinstance(one, Copy)]
    play(window, copies)
    assert not window.data[top] & FLAG


@pytest.mark.parametrize("offset", [256, SPLIT])
def test_an_embedded_struct_gives_a_compat_guest_padding_where_it_has_state(offset, vcpu, steps_of):
    window = Window(b"\xa5")
    play(window, steps_of("embedded-struct", "compat", offset))
    seen = runstate_of(SHAPES["compat"], window.read(offset, 44))
    assert seen.state == 0 != vcpu.state
    assert (seen.entry_time, seen.times) == (vcpu.entry_time, vcpu.times)


def test_on_a_32_bit_host_the_embedded_struct_is_the_compat_one(vcpu, steps_of):
    window = Window(b"\xa5")
    play(window, steps_of("embedded-struct", "compat", 256, host="i386"))
    assert runstate_of(SHAPES["compat"], window.read(256, 44)) == vcpu


@pytest.mark.parametrize(("abi", "offset"), [("native", 256), ("native", 4093), ("compat", 4085)])
def test_the_split_helper_keeps_every_rule(abi, offset, vcpu, steps_of):
    for flag in (True, False):
        area = Area(abi, offset, flag)
        assert broken(update(VARIANT["split-helper"], vcpu, area), vcpu, area) == set()
    copies = [one for one in steps_of("split-helper", abi, offset) if isinstance(one, Copy)]
    assert max(len(one.data) for one in copies) <= 32  # field by field, never the whole struct


def faulted(vcpu, area, number, atomic=False):
    """Memory and steps of an update whose ``number``-th user access faults."""
    variant = VARIANT["two-hva-caches"]
    window = Window(b"\x25")
    caches = prepare(variant, area, how=Registration(fault_at=number))
    return window, play(window, variant.update(vcpu, area, caches, atomic))


# flag, part in page 1, part in page 2, flag down: what a fault at each of them leaves.
@pytest.mark.parametrize(("number", "stuck"), [(1, False), (2, True), (3, True), (4, True)])
def test_two_hva_caches_with_a_fault_at_every_copy(number, stuck, vcpu):
    area = Area("native", SPLIT)
    window, steps = faulted(vcpu, area, number)
    struct = window.read(SPLIT, 48)
    assert bool(struct[area.shape.update_byte] & FLAG) == stuck
    assert sum(isinstance(one, Store | Copy) for one in steps) == number - 1
    if number == 3:  # page 1 is new, page 2 is old but for the flag
        assert struct[:4] == vcpu.state.to_bytes(4, "little")
        assert struct[16:] == b"\x25" * 32
    assert sum(isinstance(one, Dirty) for one in steps) == 2


def test_two_hva_caches_end_each_part_of_the_update_with_a_barrier(steps_of, vcpu):
    said = [line(one).split()[0] for one in steps_of("two-hva-caches", "native", SPLIT)]
    assert said == ["store", "wmb", "copy", "copy", "wmb", "store", "wmb", "dirty", "dirty"]
    area = Area("native", SPLIT, update_flag=False)
    update_ = VARIANT["two-hva-caches"].update(
        vcpu, area, prepare(VARIANT["two-hva-caches"], area), False
    )
    assert [line(one).split()[0] for one in update_] == ["copy", "copy", "wmb", "dirty", "dirty"]


def test_two_hva_caches_without_a_fault_write_what_upstream_writes(vcpu, steps_of):
    for abi, offset in (("native", 4048), ("native", SPLIT), ("compat", 4085)):
        windows = [Window(b"\0"), Window(b"\0")]
        for window, name in zip(windows, ("two-hva-caches", "upstream"), strict=True):
            play(window, steps_of(name, abi, offset))
        assert windows[0].data == windows[1].data


def test_two_hva_caches_find_the_second_page_after_a_switch_to_64_bits(vcpu):
    variant = VARIANT["two-hva-caches"]
    caches = prepare(variant, Area("compat", 4052))
    assert not caches.ghc2.active
    window = Window(b"\xa5")
    play(window, variant.update(vcpu, Area("native", 4052), caches, False))
    assert runstate_of(SHAPES["native"], window.read(4052, 48)) == vcpu


def test_two_hva_caches_write_nothing_if_the_second_page_has_no_slot(vcpu):
    variant = VARIANT["two-hva-caches"]
    caches = prepare(variant, Area("compat", 4052))
    caches.host.missing.add(1)
    assert tuple(variant.update(vcpu, Area("native", 4052), caches, False)) == ()


def test_kvm_gpc_lock_covers_the_common_case(vcpu, steps_of):
    """For the first cache it makes the steps of what was merged, stale or not."""
    for stale in (False, True):
        seen = []
        for name in ("gpc-lock", "reconciled"):
            caches = prepare(VARIANT[name], Area("native", 256))
            if stale:
                caches.invalidate(0)
            steps = VARIANT[name].update(vcpu, Area("native", 256), caches, False)
            seen.append([line(one) for one in steps if not isinstance(one, Store | Copy | Dirty)])
        assert seen[0][: len(seen[1]) // 2] == seen[1][: len(seen[1]) // 2]
    for offset in (256, SPLIT):
        same = [memory_text(steps_of(name, offset=offset)) for name in ("gpc-lock", "upstream")]
        assert same[0] == same[1]


def test_kvm_gpc_lock_cannot_serve_the_second_cache(vcpu):
    area = Area("native", SPLIT)
    caches = prepare(VARIANT["gpc-lock"], area)
    caches.invalidate(4096)
    steps = tuple(VARIANT["gpc-lock"].update(vcpu, area, caches, False))
    assert broken(steps, vcpu, area) == {"calls"}
    refresh = [line(one) for one in steps].index("refresh gpc2 len=33 -> 0")
    before = [line(one) for one in steps[:refresh]]
    assert "lock gpc1 irqsave" in before
    assert "unlock gpc1 irqrestore" not in before
    # After a switch from 32 to 64 bits there is nothing to refresh.
    caches = prepare(VARIANT["gpc-lock"], Area("compat", 4052))
    steps = tuple(VARIANT["gpc-lock"].update(vcpu, Area("native", 4052), caches, False))
    assert [one.result for one in steps if isinstance(one, Refresh)] == [-22]
    assert not [one for one in steps if isinstance(one, Store | Copy)]
    assert caches.held() == {"gpc1": 0, "gpc2": 0}


def test_kvm_gpc_lock_does_not_sleep_where_it_must_not(vcpu):
    caches = prepare(VARIANT["gpc-lock"], Area("native", 256))
    caches.invalidate(0)
    gpc = caches.gpc1
    steps = [line(one) for one in kvm_gpc_lock(gpc, 48, irqsave=True, atomic=True)]
    assert steps == ["lock gpc1 irqsave", "check gpc1 len=48 -> 0", "unlock gpc1 irqrestore"]
    assert gpc.readers == 0
