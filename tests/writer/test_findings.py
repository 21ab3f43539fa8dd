"""What running the kernel's own code showed, one test a finding."""

import pytest

from runstate_abi.layouts.abi import PAGE_SIZE
from runstate_abi.writer.gpc import PFNCACHE_6_1, PFNCACHE_6_1_BROKEN, Blocked, Caches
from runstate_abi.writer.memory import Overrun, Window, apply, play, snapshots, trace
from runstate_abi.writer.steps import Dirty, Store, line, memory_text
from runstate_abi.writer.two_pages import linux_6_2, reconciled, upstream
from runstate_abi.writer.variants import VARIANT, prepare, register_two_pages
from runstate_abi.writer.vcpu import SHAPES, Area, Runstate, Split, image, split

PLACES = [(abi, offset) for abi in SHAPES for offset in (0, 1, 256, *range(4040, PAGE_SIZE))]
BIT_63 = Runstate(1, 0xC000000000000001, (1, 2, 3, 4))
TODAY = ("linux-6.2", "upstream")


def after(variant, vcpu, abi, offset, fill=b"\xa5", update_flag=True):
    window = Window(fill)
    area = Area(abi, offset, update_flag)
    play(window, VARIANT[variant].update(vcpu, area, prepare(VARIANT[variant], area), False))
    return window


def at_barriers(steps, offset, size):
    return snapshots(trace(Window(b"\xa5"), steps), offset, size)


@pytest.mark.parametrize(("abi", "offset"), [("native", 256), ("native", 4081), ("compat", 4085)])
def test_finding_1_the_contract_is_bytes_per_epoch_not_the_order_within_one(abi, offset, steps_of):
    steps = list(steps_of("upstream", abi, offset))
    size = SHAPES[abi].size
    barrier = [n for n, step in enumerate(steps) if line(step) == "wmb"]
    body = slice(barrier[0] + 1, barrier[1])
    turned = steps[:]
    turned[body] = reversed(steps[body])
    assert turned != steps
    assert at_barriers(turned, offset, size) == at_barriers(steps, offset, size)
    # Across a barrier the order is the contract.
    moved = [*steps[: barrier[0]], *steps[body], steps[barrier[0]], *steps[barrier[1] :]]
    assert at_barriers(moved, offset, size) != at_barriers(steps, offset, size)


def test_finding_2_the_reconciling_changed_no_byte_and_no_order(steps_of):
    for abi, offset in PLACES:
        for vcpu in (Runstate(1, 2, (3, 4, 5, 6)), BIT_63):
            before = steps_of("two-paths", abi, offset, vcpu=vcpu)
            assert steps_of("reconciled", abi, offset, vcpu=vcpu) == before


def test_finding_2_both_sides_leave_a_bit_63_of_the_entry_time_up_and_today_clears_it():
    for abi, offset in (("native", 256), ("compat", 4085)):
        top = offset + SHAPES[abi].update_byte
        for variant in ("two-paths", "reconciled"):
            assert after(variant, BIT_63, abi, offset).data[top] == 0xC0
        for variant in TODAY:
            assert after(variant, BIT_63, abi, offset).data[top] == 0x40


def test_finding_2_beside_bit_63_all_of_them_make_the_same_memory_sequence(steps_of):
    for abi, offset in PLACES:
        today = memory_text(steps_of("upstream", abi, offset))
        for variant in ("patch-2of4", "two-paths", "reconciled", "linux-6.2"):
            assert memory_text(steps_of(variant, abi, offset)) == today


@pytest.mark.parametrize("variant", TODAY)
def test_finding_3_with_the_flag_off_there_is_no_update_byte_and_one_barrier(variant, steps_of):
    for abi, offset in PLACES:
        text = memory_text(steps_of(variant, abi, offset, update_flag=False))
        assert text.count("wmb") == 1
        assert not [one for one in text.splitlines() if one.startswith("store") and " 1 " in one]


def test_finding_4_padding_is_kept_in_one_page_zeroed_when_split_and_always_by_bonzini(vcpu):
    (padding,) = SHAPES["native"].layout.padding
    for variant, kept in (
        *((one, True) for one in ("patch-2of4", "two-paths", "reconciled", *TODAY)),
        ("single-path", False),
    ):
        for offset in (256, 4048, 4049, 4095):
            window = after(variant, vcpu, "native", offset)
            seen = window.read(offset + padding.offset, padding.size)
            one_page = split(offset, 48).second == 0
            assert seen == (b"\xa5" if kept and one_page else b"\0") * padding.size


def test_finding_4_no_version_leaks_anything_on_a_64_bit_host():
    zero = Runstate(0, 0, (0, 0, 0, 0))
    for name, variant in VARIANT.items():
        for abi, offset in PLACES:
            refused = name == "split-memcpy" and abi == "compat" and 4049 <= offset <= 4052
            if variant.pages == 2 and not refused:
                window = after(name, zero, abi, offset, fill=b"\0")
                assert not any(window.data), (name, abi, offset)


def test_finding_5_bonzinis_version_keeps_gpc2_locked_after_every_one_page_update(vcpu):
    leaking = 0
    for abi, shape in SHAPES.items():
        for offset in range(PAGE_SIZE):
            area = Area(abi, offset)
            caches = prepare(VARIANT["single-path"], area)
            for _ in VARIANT["single-path"].update(vcpu, area, caches, False):
                pass
            assert caches.gpc2.readers == (split(offset, shape.size).second == 0)
            leaking += caches.gpc2.readers
    # Every placement of both structs but the 47 and 43 in which the struct is split.
    assert leaking == 2 * PAGE_SIZE - sum(shape.size - 1 for shape in SHAPES.values())


def test_finding_5_the_next_writer_of_gpc2_waits_for_ever(vcpu):
    area = Area("native", 256)
    caches = prepare(VARIANT["single-path"], area)
    for _ in VARIANT["single-path"].update(vcpu, area, caches, False):
        pass
    with pytest.raises(Blocked, match="gpc2: write_lock_irq on a lock still read-held"):
        caches.gpc2.activate_now(PAGE_SIZE, 16)


def moved(code, first, second):
    caches = Caches(code=code)
    for offset in (first, second):
        assert register_two_pages(Area("native", offset), caches) == 0
    return caches


@pytest.mark.parametrize(("code", "place"), [(PFNCACHE_6_1_BROKEN, 0x100), (PFNCACHE_6_1, 0x300)])
def test_finding_6_without_the_khva_fix_a_move_in_the_page_writes_at_the_old_offset(
    code, place, vcpu
):
    window = Window()
    play(window, reconciled(vcpu, Area("native", 0x300), moved(code, 0x100, 0x300), False))
    written = [offset for offset in (0x100, 0x300) if any(window.read(offset, 48))]
    assert written == [place]


def test_finding_6_without_the_fix_33_bytes_land_beyond_the_page(vcpu):
    window, outside = Window(), set()
    caches = moved(PFNCACHE_6_1_BROKEN, 4081, 0x100)
    for step in reconciled(vcpu, Area("native", 0x100), caches, False):
        try:
            apply(window, step)
        except Overrun as overrun:
            start = overrun.offset
            outside.update((overrun.page, start + n) for n in range(len(overrun.data)))
    assert outside == {(1, offset) for offset in range(4096, 4096 + 33)}


def test_finding_7_a_move_right_after_the_unlock_makes_the_thread_mark_the_wrong_frame(vcpu):
    for update, code, marked in (
        (reconciled, PFNCACHE_6_1, 2),
        (linux_6_2, PFNCACHE_6_1, 2),
        (upstream, PFNCACHE_6_1, 0),
    ):
        caches = Caches(code=code)
        assert register_two_pages(Area("native", 256), caches) == 0
        dirty = []
        for step in update(vcpu, Area("native", 256), caches, False):
            if isinstance(step, Dirty):
                dirty.append(step.gfn)
            if line(step) == "unlock gpc1 irqrestore":
                caches.gpc1.activate_now(2 * PAGE_SIZE + 64, 48)
        assert dirty == [marked]


def switched(offset, atomic, vcpu):
    caches = Caches()
    assert register_two_pages(Area("compat", offset), caches) == 0
    window = Window(b"\xa5")
    steps = play(window, upstream(vcpu, Area("native", offset), caches, atomic))
    return [line(one) for one in steps], window


@pytest.mark.parametrize("offset", [4049, 4050, 4051, 4052])
def test_finding_8_the_mode_switch_locks_and_checks_gpc1_again(offset, vcpu):
    lines, _ = switched(offset, False, vcpu)
    assert lines.count("lock gpc1 irqsave") == lines.count(f"check gpc1 len={4096 - offset} -> 1")
    assert lines.count("lock gpc1 irqsave") == 2


@pytest.mark.parametrize("offset", [4049, 4050, 4051, 4052])
def test_finding_8_in_the_scheduler_the_mode_switch_writes_nothing(offset, vcpu):
    lines, window = switched(offset, True, vcpu)
    assert window.data == b"\xa5" * 2 * PAGE_SIZE
    assert lines[-1] == "unlock gpc1 irqrestore"


def test_finding_9_greater_and_greater_or_equal_cannot_be_told_apart():
    for size in (44, 48):
        for offset in range(PAGE_SIZE):
            crosses = offset + size > PAGE_SIZE
            strict = Split(PAGE_SIZE - offset, offset + size - PAGE_SIZE) if crosses else (size, 0)
            assert split(offset, size) == strict


def test_finding_10_a_flag_missing_from_the_body_shows_in_the_epochs_only(vcpu, steps_of):
    steps = steps_of("upstream")
    broken = [
        Store(step.page, step.offset, step.data[:-1] + bytes([step.data[-1] & 0x7F]))
        if isinstance(step, Store) and len(step.data) == 8
        else step
        for step in steps
    ]
    assert at_barriers(broken, 256, 48)[-1] == at_barriers(steps, 256, 48)[-1]
    assert at_barriers(broken, 256, 48)[1] != at_barriers(steps, 256, 48)[1]


@pytest.mark.parametrize("variant", ["two-paths", "reconciled", *TODAY])
def test_finding_11_the_abi_is_decided_once_an_update(variant, vcpu):
    """A guest that changes its mode in the middle still gets one whole struct of one ABI."""
    area = Area("compat", 256)
    caches = prepare(VARIANT[variant], area)
    window = Window()
    for step in VARIANT[variant].update(vcpu, area, caches, False):
        apply(window, step)
        area = Area("native", 256)
    shape = SHAPES["compat"]
    assert window.read(256, shape.size) == image(shape, vcpu, vcpu.entry_time)
