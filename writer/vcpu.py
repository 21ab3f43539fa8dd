"""What the hypervisor knows (Runstate) and where it must write it (Area).

Offsets and sizes come from the table in layouts/structs/runstate.py.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from struct import unpack_from
from typing import NamedTuple

from runstate_abi.layouts.abi import PAGE_MASK, PAGE_SIZE, U32, U64
from runstate_abi.layouts.model import Layout
from runstate_abi.layouts.structs.runstate import (
    COMPAT,
    NATIVE,
    RUNSTATES,
    XEN_RUNSTATE_UPDATE,
    update_byte,
)
from runstate_abi.writer.guard import Guard, guard_of


class Shape(NamedTuple):
    """A runstate struct as a writer sees it: the size and the four offsets it uses, in bytes."""

    layout: Layout
    size: int
    state: int
    entry_time: int
    time: int
    update_byte: int
    guard: Guard


def _shape(layout: Layout) -> Shape:
    state, entry_time, time = map(layout.offsetof, ("state", "state_entry_time", "time"))
    guarded = update_byte(layout), guard_of(layout)
    return Shape(layout, layout.size, state, entry_time, time, *guarded)


# by the words of the command line: a 64-bit guest has native, a 32-bit guest compat
SHAPES = {"native": _shape(NATIVE), "compat": _shape(COMPAT)}

# The host kernels. On a 32-bit host vcpu_runstate_info is the compat struct, and no guest is
# 64-bit.
HOSTS = ("x86_64", "i386")

STATE_SIZE = NATIVE.field("state").size
ENTRY_TIME_SIZE = NATIVE.field("state_entry_time").size
TIME_SIZE = NATIVE.field("time").size
TIME_COUNT = NATIVE.field("time").count
TIME_ELEMENT_SIZE = NATIVE.field("time").type.size
TOP_BYTE_SHIFT = 8 * (ENTRY_TIME_SIZE - 1)  # of state_entry_time: 56
FLAG = XEN_RUNSTATE_UPDATE >> TOP_BYTE_SHIFT  # the update flag in its byte


@dataclass(frozen=True, slots=True)
class Runstate:
    """A vCPU's runstate: a u32 and five u64, in ns. ValueError if a value does not fit."""

    state: int
    entry_time: int
    times: tuple[int, int, int, int]

    def __post_init__(self) -> None:
        if not 0 <= self.state <= U32:
            raise ValueError(f"state {self.state} is not a 32-bit number")
        if not 0 <= self.entry_time <= U64:
            raise ValueError(f"state_entry_time {self.entry_time} is not a 64-bit number")
        if len(self.times) != TIME_COUNT or not all(0 <= time <= U64 for time in self.times):
            raise ValueError(f"time[] is {TIME_COUNT} 64-bit numbers, not {self.times}")


@dataclass(frozen=True, slots=True)
class Area:
    """Where a guest's runstate struct is, and how it is written."""

    abi: str
    address: int  # guest-physical for KVM and for Xen's phys area, virtual for Xen's VA area
    update_flag: bool = True  # the guest has asked for the update flag
    host: str = "x86_64"
    # Xen's view of the guest's width (has_32bit_shinfo()), "" if it is the same as ``abi``. A phys
    # area has the layout of the hypercall that registered it, but the alignment of the domain.
    domain: str = ""

    def __post_init__(self) -> None:
        for name, known in (("abi", SHAPES), ("domain", ("", *SHAPES)), ("host", HOSTS)):
            value = getattr(self, name)
            if value not in known:
                raise ValueError(f"{name} {value!r}: there are {', '.join(filter(None, known))}")
        if self.host == "i386" and self.abi == "native":
            raise ValueError("abi 'native': a 32-bit host has no 64-bit guests")
        if not 0 <= self.address <= U64:
            raise ValueError(f"address {self.address} is not a 64-bit number")

    @property
    def shape(self) -> Shape:
        return SHAPES[self.abi]

    @property
    def offset(self) -> int:
        return self.address & PAGE_MASK


class Split(NamedTuple):
    """Bytes of the struct in the first and in the second page: user_len1 and user_len2."""

    first: int
    second: int


def split(address: int, size: int) -> Split:
    """Split ``size`` bytes at ``address`` as the kernel does.

    The kernel has >= instead of >. The result is the same: in an exact fit the second part is 0.
    """
    offset = address & PAGE_MASK
    if offset + size >= PAGE_SIZE:
        return Split(PAGE_SIZE - offset, size - (PAGE_SIZE - offset))
    return Split(size, 0)


def state_bytes(vcpu: Runstate) -> bytes:
    """Return the state field as it is in memory."""
    return vcpu.state.to_bytes(STATE_SIZE, "little")


def entry_bytes(entry_time: int) -> bytes:
    """Return a state_entry_time as it is in memory."""
    return entry_time.to_bytes(ENTRY_TIME_SIZE, "little")


def times_bytes(vcpu: Runstate) -> bytes:
    """Return time[] as it is in memory."""
    return b"".join(time.to_bytes(TIME_ELEMENT_SIZE, "little") for time in vcpu.times)


def top_byte(entry_time: int) -> bytes:
    """Return ``state_entry_time >> 56``: the byte that holds the flag."""
    return bytes([entry_time >> TOP_BYTE_SHIFT])


def flagged(entry_time: int) -> int:
    return entry_time | XEN_RUNSTATE_UPDATE


def unflagged(entry_time: int) -> int:
    return entry_time & ~XEN_RUNSTATE_UPDATE


def image(shape: Shape, vcpu: Runstate, entry_time: int) -> bytes:
    """Return the whole struct with zero padding, as it is built on the stack before a copy."""
    struct = bytearray(shape.size)
    struct[shape.state : shape.state + STATE_SIZE] = state_bytes(vcpu)
    struct[shape.entry_time : shape.entry_time + ENTRY_TIME_SIZE] = entry_bytes(entry_time)
    struct[shape.time : shape.time + TIME_SIZE] = times_bytes(vcpu)
    return bytes(struct)


def runstate_of(shape: Shape, struct: bytes) -> Runstate:
    """Return the Runstate in the bytes of a struct; a set flag stays in entry_time."""
    if len(struct) != shape.size:
        raise ValueError(f"{len(struct)} bytes where struct {shape.layout.name} has {shape.size}")

    (state,) = unpack_from("<I", struct, shape.state)
    (entry_time,) = unpack_from("<Q", struct, shape.entry_time)
    first, second, third, fourth = unpack_from("<4Q", struct, shape.time)
    return Runstate(state, entry_time, (first, second, third, fourth))


def field_at(shape: Shape, offset: int) -> str:
    """Return the name of the byte at an offset of the struct: ``state_entry_time byte 7``."""
    if offset == shape.update_byte:
        return f"state_entry_time byte {ENTRY_TIME_SIZE - 1} (the update byte)"
    for row in shape.layout.rows:
        if row.offset <= offset < row.end:
            element, byte = divmod(offset - row.offset, row.type.size)
            name = f"{row.name}[{element}]" if row.count > 1 else row.name
            return f"{name} byte {byte}" if row.type.size > 1 else name
    return f"a byte outside the struct (offset {offset:+d})"


def runs(numbers: Iterable[int]) -> Iterator[list[int]]:
    """Yield the runs of consecutive numbers."""
    for _, run in groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0]):
        yield [number for _, number in run]


def elements(layout: Layout) -> Iterator[tuple[str, range]]:
    """Yield the C name and the offsets of each number of a struct, and of each run of padding."""
    return ((one.name, range(one.offset, one.end)) for one in layout.elements())


def place_of(layout: Layout, offset: int, size: int) -> str:
    """Return the C name of bytes of a struct: ``state``, ``time[0] byte 7 .. time[1]``."""
    parts = []
    for element in layout.elements():
        first = max(offset - element.offset, 0)
        last = min(offset + size - element.offset, element.size) - 1
        if first == 0 and last == element.size - 1:
            parts.append(element.name)
        elif first <= last:
            byte = f"byte {first}" if first == last else f"bytes {first}..{last}"
            parts.append(f"{element.name} {byte}")
    return parts[0] if len(parts) == 1 else f"{parts[0]} .. {parts[-1]}"


# The RUNSTATE_* values by name.
RUNNING, RUNNABLE, BLOCKED, OFFLINE = (name.value for name in RUNSTATES)
