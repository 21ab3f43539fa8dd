"""What the lines of a test program's transcript say, each held against the model (KVM).

Law of this file: one function a kind of line. It yields differences, or returns None where a line
only tells what later ones build on, or does not say enough to be compared.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from replaying.accounting import total
from replaying.ioctls import (
    STATE_UNCHANGED,
    Vm,
    adjust,
    finish,
    set_address,
    set_data,
    set_long_mode,
)
from replaying.outcomes import differ, differ_bytes
from replaying.recordings import (
    MARGIN,
    WINDOW,
    around,
    plausible,
    struct_in,
    written,
)
from runstate_abi.layouts.abi import PAGE_SIZE, U64
from runstate_abi.writer.gpc import PFNCACHE_6_1, PFNCACHE_6_1_BROKEN, Caches
from runstate_abi.writer.host import INVALID_GPA
from runstate_abi.writer.memory import Window, play
from runstate_abi.writer.variants import VARIANT, register_one_page
from runstate_abi.writer.vcpu import (
    BLOCKED,
    RUNNABLE,
    RUNNING,
    SHAPES,
    Area,
    Runstate,
    Shape,
    runstate_of,
)
from runstate_abi.writer.witnesses.recorded import Malformed

MODES = {"0": "compat", "1": "native"}


@dataclass(slots=True)
class Transcript:
    """What earlier lines said that later ones build on."""

    clock: int = 0
    abi: str = "native"
    last: Runstate | None = None
    vm: Vm | None = None
    moved: Area | None = None
    khva_fix: bool | None = None
    ended: bool = False
    remarks: list[str] = field(default_factory=list)


Found = re.Match[str]
Differences = Iterator[str]
Compare = Callable[[Transcript, Found], Differences | None]


def _window(found: Found) -> bytes:
    window = bytes.fromhex(found["win"])
    if len(window) != WINDOW:
        raise Malformed(f"field 'win': {len(window)} bytes, not {WINDOW}")
    return window


def done(so_far: Transcript, found: Found) -> None:
    """The transcript's last line: it is complete."""
    so_far.ended = True


def clock(so_far: Transcript, found: Found) -> None:
    """The VM's clock, in hex: what RUNSTATE_DATA may not be ahead of."""
    so_far.clock = int(found["clock"], 16)


def ran(so_far: Transcript, found: Found) -> Iterator[str]:
    """RUN: the state after the vCPU ran; the clock decided the values, the sum must hold."""
    yield from _final(so_far, found)
    assert so_far.last is not None  # set by the line just compared
    if so_far.last.state not in (RUNNING, RUNNABLE):
        yield f"state {so_far.last.state} right after the vCPU ran"


def _final(so_far: Transcript, found: Found) -> Iterator[str]:
    if found["lm"]:
        so_far.abi = MODES[found["lm"]]
    window, shape = _window(found), SHAPES[so_far.abi]
    vcpu = runstate_of(shape, struct_in(window, shape))
    yield from plausible("win", vcpu)
    yield from _whole(so_far, window, vcpu)
    yield from _adds_up(vcpu)
    if found["clock"] and int(found["clock"]) < vcpu.entry_time:
        yield f"state_entry_time {vcpu.entry_time} is later than the clock {found['clock']}"
    if so_far.last is not None and so_far.last.entry_time <= vcpu.entry_time:
        for index, pair in enumerate(zip(so_far.last.times, vcpu.times, strict=True)):
            if pair[1] < pair[0]:
                yield f"time[{index}] {pair[1]} went back from {pair[0]}"
    so_far.last = vcpu


def current(so_far: Transcript, found: Found) -> Iterator[str]:
    """CURRENT: the state after RUNSTATE_CURRENT said blocked."""
    yield from _final(so_far, found)
    assert so_far.last is not None  # set by the line just compared
    yield from differ("state", BLOCKED, so_far.last.state)


# Played on freshly poisoned memory, in the middle of a page, the model leaves these bytes.
def _whole(so_far: Transcript, window: bytes, vcpu: Runstate) -> Iterator[str]:
    area = Area(so_far.abi, PAGE_SIZE // 2)
    seen = written(VARIANT["upstream"], vcpu, area, window[:1])
    # Nothing tells whether the area was split: padding is poison or zero, and both are right.
    if window != seen:
        seen = written(VARIANT["xen-va"], vcpu, area, window[:1])
    yield from differ_bytes("win", window, seen, area.shape, MARGIN)


def _adds_up(vcpu: Runstate) -> Iterator[str]:
    if vcpu.entry_time != total(vcpu):
        yield f"state_entry_time {vcpu.entry_time:#x} is not the sum of the times {total(vcpu):#x}"


def got(so_far: Transcript, found: Found) -> Iterator[str]:
    """GETDATA: what the ioctl reads back is what memory had last."""
    first, second, third, fourth = (int(one) for one in found["times"].split(","))
    vcpu = Runstate(int(found["state"]), int(found["entry"]), (first, second, third, fourth))
    yield from _adds_up(vcpu)
    if so_far.last is not None:
        yield from differ("what the ioctl reads back", vcpu, so_far.last)
    so_far.last = None


def edge_data(so_far: Transcript, found: Found) -> Iterator[str]:
    """EDGE data: RUNSTATE_DATA took the values."""
    yield from differ("answer", found["answer"], "0")


def edge(so_far: Transcript, found: Found) -> Iterator[str]:
    """EDGE: the values that RUNSTATE_DATA took, bit 63 of the entry time and all."""
    window, abi = _window(found), MODES[found["lm"]]
    shape = SHAPES[abi]
    seen = runstate_of(shape, struct_in(window, shape))
    # The flag hides bit 63 in memory; the sum has it still.
    vm = Vm(update_flag=found["flag"] == "1", clock=so_far.clock)
    set_long_mode(vm, abi == "native")
    memory = Window(window[:1])
    address = PAGE_SIZE // 2
    play(memory, finish(set_address(vm, address))[1])
    error, _ = finish(set_data(vm, seen.state, total(seen), seen.times))
    yield from differ("RUNSTATE_DATA", 0, error)
    memory = Window(window[:1])
    play(memory, finish(adjust(vm, STATE_UNCHANGED, 0, (0, 0, 0, 0)))[1])
    area = Area(abi, address)
    yield from differ_bytes("win", window, around(memory, area, window[:1]), shape, MARGIN)


def error(so_far: Transcript, found: Found) -> Differences | None:
    """ERR: what was asked, by name, and what the kernel answered."""
    asked = REFUSALS.get(found["asked"])
    if found["asked"] == "adjust future":
        so_far.remarks.append("'adjust future' not compared: it does not say how far")
        return None
    if asked is None:
        raise Malformed(f"nobody knows what {found['asked']!r} asked")
    error = asked()
    answer = "0" if found["answer"] == "0" else f"-{found['errno']}"
    return differ("answer", answer, str(error))


def _ready() -> Vm:
    vm = Vm(clock=U64)
    vm.caches.host.slot_end = 1
    return vm


# fmt: off
REFUSALS: dict[str, Callable[[], int]] = {
    "state4 data":                   lambda: finish(set_data(_ready(), 4, 0, (0, 0, 0, 0)))[0],
    "sum mismatch":                  lambda: finish(set_data(_ready(), 0, 1, (0, 0, 0, 0)))[0],
    "adjust mismatch":               lambda: finish(adjust(_ready(), STATE_UNCHANGED, 1, (0, 0, 0, 0)))[0],
    "addr outside slot":             lambda: finish(set_address(_ready(), PAGE_SIZE))[0],
    "addr second page outside slot": lambda: finish(set_address(_ready(), PAGE_SIZE - 1))[0],
    "addr ~0 (disable)":             lambda: finish(set_address(_ready(), INVALID_GPA))[0],
}
# fmt: on


def mode(so_far: Transcript, found: Found) -> Iterator[str]:
    """GROW and SHRINK: the guest's mode changes, the area stays."""
    if so_far.vm is None:
        raise Malformed("the mode changes before there is an area")
    error = set_long_mode(so_far.vm, found["lm"] == "1")
    yield from differ("answer", found["answer"], "0" if error == 0 else "-1")


def resized(so_far: Transcript, found: Found) -> Iterator[str]:
    """GROW and SHRINK: the area, where a compat struct just fits, in the mode of now."""
    window, shape = _window(found), SHAPES[found["abi"]]
    vcpu = runstate_of(shape, struct_in(window, shape))
    area = Area(found["abi"], PAGE_SIZE - int(found["before"]))
    if so_far.vm is None:
        so_far.vm = Vm(update_flag=True, clock=U64)
        set_long_mode(so_far.vm, found["abi"] == "native")
        yield from differ("RUNSTATE_ADDR", 0, finish(set_address(so_far.vm, area.address))[0])
    yield from differ("mode", found["abi"], so_far.vm.abi)
    yield from differ("RUNSTATE_DATA", 0, _load(so_far.vm, vcpu))
    memory = Window(window[:1])
    play(memory, finish(adjust(so_far.vm, STATE_UNCHANGED, 0, (0, 0, 0, 0)))[1])
    yield from differ_bytes("win", window, around(memory, area, window[:1]), shape, MARGIN)


def _load(vm: Vm, vcpu: Runstate) -> int:
    return finish(set_data(vm, vcpu.state, vcpu.entry_time, vcpu.times))[0]


def moved_first(so_far: Transcript, found: Found) -> Iterator[str]:
    """MOVE1: the area before it moves within its page."""
    so_far.abi = MODES[found["lm"]]
    so_far.moved = Area(so_far.abi, int(found["place"]))
    window = _window(found)
    yield from _image(so_far, window, window[:1], so_far.moved, so_far.moved)


def moved_old(so_far: Transcript, found: Found) -> Iterator[str]:
    """MOVE: the old place. Bytes there tell of a cache without the khva fix, all the time."""
    window, place = _window(found), int(found["place"])
    if found["lm"]:
        so_far.abi = MODES[found["lm"]]
    so_far.moved = so_far.moved or Area(so_far.abi, place)
    yield from differ("old place", place, so_far.moved.address)
    fixed = window == window[:1] * WINDOW
    if so_far.khva_fix is None:
        so_far.khva_fix = fixed
        if not fixed:
            so_far.remarks.append("bytes land at the old place: a cache without the khva fix")
    yield from differ("bytes at the old place", not fixed, not so_far.khva_fix)
    if not fixed:
        new = Area(so_far.abi, place + 1)  # anywhere else in this page
        yield from _image(so_far, window, window[:1], so_far.moved, new)


def moved_new(so_far: Transcript, found: Found) -> Iterator[str]:
    """MOVE: the new place: bytes are here if they are not at the old one."""
    window = _window(found)
    if so_far.moved is None or so_far.khva_fix is None:
        raise Malformed("the new place comes before the old one")
    old, so_far.moved = so_far.moved, None
    blank = window == window[:1] * WINDOW
    yield from differ("bytes at the new place", not blank, so_far.khva_fix)
    if not blank:
        # The old area's ABI is the last line's that said one; this line may not say it.
        for abi in (old.abi, *(one for one in SHAPES if one != old.abi and not found["lm"])):
            new = Area(abi, int(found["place"]))
            start = Area(abi, old.address)
            differences = tuple(_image(so_far, window, window[:1], start, new))
            if not differences:
                return
        yield from differences


# Register at one place, then at another, update, and look where bytes must be.
def _image(so_far: Transcript, window: bytes, poison: bytes, old: Area, new: Area) -> Iterator[str]:
    shape: Shape = new.shape
    vcpu = runstate_of(shape, struct_in(window, shape))
    yield from plausible("win", vcpu)
    yield from _adds_up(vcpu)
    broken = so_far.khva_fix is False
    caches = Caches(code=PFNCACHE_6_1_BROKEN if broken else PFNCACHE_6_1)
    for area in (old, new):
        yield from differ("RUNSTATE_ADDR", 0, register_one_page(area, caches))
    memory = Window(poison)
    play(memory, VARIANT["linux-6.1"].update(vcpu, new, caches, False))
    where = old if broken else new
    yield from differ_bytes("win", window, around(memory, where, poison), shape, MARGIN)


def torn(so_far: Transcript, found: Found) -> Iterator[str]:
    """TORN: readers that keep the protocol of a flagged area saw no snapshot that never was."""
    inconsistent, reads = int(found["inconsistent"]), int(found["reads"])
    if inconsistent > reads:
        yield f"{inconsistent} inconsistent of {reads} reads"
    if found["reader"] == "linux":
        yield from differ("update bits accepted", int(found["seen"]), 0)
        if found["flag"] == "1":
            yield from differ("inconsistent reads with the flag", inconsistent, 0)
    yield from differ("an example", bool(found["example"]), inconsistent > 0)
    if found["example"]:
        shape = SHAPES[MODES[found["lm"]]]
        struct = bytes.fromhex(found["example"])[: shape.size]
        if len(struct) != shape.size:
            raise Malformed(f"field 'example': {len(struct)} bytes, not {shape.size}")
        vcpu = runstate_of(shape, struct)
        if vcpu.entry_time == total(vcpu):
            yield "the example is consistent"
