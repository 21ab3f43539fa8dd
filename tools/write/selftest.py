"""``runstate write --selftest``: the kernel's own test of the area, on a version of the writer.

8acc35186ed6 ("KVM: x86/xen: Add runstate tests for 32-bit mode and crossing page boundary") (in
v6.2), patch 4/4 of the thread, moves the area byte by byte over a page boundary: 64 addresses, each
as a 32-bit guest and then, without registering it again, as a 64-bit one. After each update it
checks the struct and the eight bytes after it, and nothing else. --every does more: all 4096
offsets, the flag asked for or not, checked after every barrier, and every byte of memory.
"""

from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

from runstate_abi.layouts.abi import PAGE_SIZE
from runstate_abi.layouts.exit_status import DIFFERENT, EQUAL
from runstate_abi.writer.gpc import Blocked, Caches
from runstate_abi.writer.host import errno_name
from runstate_abi.writer.memory import Overrun, Window, apply
from runstate_abi.writer.steps import Barrier
from runstate_abi.writer.variants import Refused, Variant, prepare
from runstate_abi.writer.vcpu import FLAG, Area, Runstate, runstate_of

ADDRESSES = range(PAGE_SIZE - 60, PAGE_SIZE + 4)
FILL = 0xA5
UNFLAGGED_FILL = 0x25  # FILL without the flag's bit: the flag is set only if a store set it
BEHIND = 8  # bytes after the struct that must keep FILL: "Structure overrun"
PAGES = 4

# Every byte differs, and state_entry_time is the sum of the times, as KVM requires.
_TIMES = (0x1817161514131211, 0x0827262524232221, 0x0837363534333231, 0x0947464544434241)
VCPU = Runstate(1, sum(_TIMES), _TIMES)


class Bad(NamedTuple):
    """One update that the test does not accept: where, in which mode, and why."""

    address: int
    mode: str
    why: str

    def __str__(self) -> str:
        page = f", {self.address // PAGE_SIZE} page on" * (self.address >= PAGE_SIZE)
        return f"bad page offset {self.address % PAGE_SIZE:#x}{page}, {self.mode}: {self.why}"


def report(variant: Variant, host: str, every: bool) -> tuple[list[str], int]:
    """Return the lines to print and the exit status; ``host`` is one of vcpu.HOSTS."""
    if every:
        bad, total = list(everywhere(variant, host)), len(list(_placements(variant, host)))
        lines = list(map(str, bad))
        lines.append(f"{variant.name}: {len(bad)} of {total} updates bad")
        return lines, DIFFERENT if bad else EQUAL
    lines = []
    failed: set[int] = set()
    try:
        for one in selftest(variant, host):
            lines.append(str(one))
            failed.add(one.address)
    except Stuck as stuck:
        bad_one: Bad = stuck.args[0]
        failed.add(bad_one.address)
        never = ADDRESSES.stop - bad_one.address - 1
        lines += (str(bad_one), f"{never} addresses are never reached")
    passes = "32-bit, a 32-bit host has no other" if host == "i386" else "32-bit, then 64-bit"
    lines.append(f"{variant.name}: {len(failed)} of {len(ADDRESSES)} bad ({passes})")
    return lines, DIFFERENT if failed else EQUAL


class Stuck(Exception):
    """The update waits for a lock that is never released, so the test never ends: the Bad one."""


def selftest(variant: Variant, host: str) -> Iterator[Bad]:
    """Yield what the kernel's test would report for a version, on one vCPU (Stuck)."""
    caches = Caches(code=variant.pfncache)
    window = Window(b"\0", PAGES)
    for address in ADDRESSES:
        for mode, abi in (("32-bit", "compat"), ("64-bit", "native"))[: 1 + (host != "i386")]:
            area = Area(abi, address, True, host)
            size = area.shape.size
            window.data[address : address + size + BEHIND] = bytes([FILL]) * (size + BEHIND)
            try:
                why = _update(variant, area, caches, window, register=mode == "32-bit")
            except Blocked as blocked:
                raise Stuck(Bad(address, mode, f"blocks: {blocked}")) from None
            why = why or _looked_at(window, area)
            if why:
                yield Bad(address, mode, why)
                break


# Register the area and make one update; return what the ioctl says if it refuses.
def _update(variant: Variant, area: Area, caches: Caches, window: Window, register: bool) -> str:
    error = variant.register(area, caches) if register else 0
    if error:
        return f"registering fails with -{errno_name(error)}"
    outside = ""
    for step in variant.update(VCPU, area, caches, False):
        try:
            apply(window, step)
        except Overrun as overrun:  # the kernel would go on, and so must the locks
            outside = outside or str(overrun)
    return outside


# The assertions of the selftest.
def _looked_at(window: Window, area: Area) -> str:
    size = area.shape.size
    seen = runstate_of(area.shape, window.read(area.address, size))
    if seen != VCPU:
        names = ("state", "entry_time", "times")
        differing = [name for name in names if getattr(seen, name) != getattr(VCPU, name)]
        return f"{', '.join(differing)} differ"
    if window.read(area.address + size, BEHIND) != bytes([FILL]) * BEHIND:
        return "the bytes behind the struct were written"
    return ""


def _placements(variant: Variant, host: str) -> Iterator[Area]:
    abis = ("compat",) if host == "i386" else ("compat", "native")
    flags = (True,) if variant.always_flagged else (True, False)
    for abi, flag, offset in product(abis, flags, range(PAGE_SIZE)):
        yield Area(abi, offset, flag, host)


def everywhere(variant: Variant, host: str) -> Iterator[Bad]:
    """Yield each placement where memory is wrong after some barrier of one update.

    With the flag, at each barrier the flag must be set, or the whole struct old, or the whole
    struct new. Without it, the whole struct must be new at the last barrier. No other byte may ever
    change.
    """
    for area in _placements(variant, host):
        try:
            why = _after_barriers(variant, area)
        except Refused as refused:
            why = str(refused).partition(": ")[2]
        except (Overrun, Blocked) as error:
            why = str(error)
        if why:
            flag = "flag" if area.update_flag else "no flag"
            yield Bad(area.offset, f"{area.abi}, {flag}", why)


def _after_barriers(variant: Variant, area: Area) -> str:
    window = Window(bytes([UNFLAGGED_FILL]), 2)
    old, end = bytes(window.data), area.offset + area.shape.size
    barriers = 0
    for step in variant.update(VCPU, area, prepare(variant, area), False):
        apply(window, step)
        if not isinstance(step, Barrier):
            continue
        barriers += 1
        data = window.data
        if data[: area.offset] != old[: area.offset] or data[end:] != old[end:]:
            return f"barrier {barriers}: a byte outside the struct was written"
        struct = bytes(data[area.offset : end])
        flag_up = struct[area.shape.update_byte] & FLAG
        whole = struct == old[area.offset : end] or runstate_of(area.shape, struct) == VCPU
        if area.update_flag and not flag_up and not whole:
            return f"barrier {barriers}: neither old nor new, and the flag is down"
    if runstate_of(area.shape, bytes(window.data[area.offset : end])) != VCPU:
        return "the struct is not what the hypervisor knows"
    return "" if barriers else "no barrier was reached"
