"""Replay what real kernels wrote: final images, and every store that a watchpoint saw (KVM).

Law of this file: one function a kind of record, told by the fields that it has. A record is
compared in all that it says; what the clock decided is taken from the bytes, and must add up.
"""

from collections.abc import Iterator

from replaying.accounting import total
from replaying.fields import known, octets, text
from replaying.following import Region, follows
from replaying.outcomes import differ, differ_bytes
from runstate_abi.layouts.abi import PAGE_SIZE, U32, U64
from runstate_abi.writer.gpc import Caches
from runstate_abi.writer.memory import Window, play, trace
from runstate_abi.writer.steps import Step, Steps, line, writes
from runstate_abi.writer.variants import VARIANT, Variant
from runstate_abi.writer.vcpu import (
    OFFLINE,
    RUNNING,
    TIME_COUNT,
    Area,
    Runstate,
    Shape,
    runstate_of,
    split,
)
from runstate_abi.writer.witnesses.recorded import (
    Malformed,
    Record,
    area_of,
    choice,
    field,
    number,
    number_of,
    record_of,
    sequence,
    steps_of_watchpoints,
    truth,
)

WINDOW = 64  # bytes of a recorded window
MARGIN = 8  # bytes of it before the area

# Which variant a kernel of this version is; the first row that is not newer. The recording names
# its kernel, and whether it did what the variant does is then a matter of bytes.
# fmt: off
KERNELS = (
    ((6, 12), "upstream"),
    ((6, 2),  "linux-6.2"),
    ((6, 1),  "linux-6.1"),
    ((5, 16), "linux-5.16"),
    ((5, 12), "linux-5.14"),
)
# fmt: on

TIMES = ("time_running", "time_runnable", "time_blocked", "time_offline")


def kernel_variant(meta: Record) -> Variant:
    """Return the variant of the kernel that the recording's first line names."""
    words = text(meta, "kernel").split(".")
    try:
        named = (int(words[0]), int(words[1].split("-")[0]))
    except (ValueError, IndexError):
        raise Malformed(f"field 'kernel': {meta['kernel']!r} begins with no version") from None
    for first, name in KERNELS:
        if named >= first:
            return VARIANT[name]
    raise Malformed(f"field 'kernel': {meta['kernel']!r} is older than the runstate area")


def values_of(meta: Record, state: int) -> Runstate:
    """Return the values that the recording was made with."""
    values = record_of(field(meta, "values_hex_u64"), "field 'values_hex_u64'")
    known(values, frozenset((*TIMES, "state_entry_time")))
    first, second, third, fourth = (_hex_number(values, name) for name in TIMES)
    return Runstate(state, _hex_number(values, "state_entry_time"), (first, second, third, fourth))


def _hex_number(values: Record, name: str) -> int:
    return number_of(f"0x{text(values, name)}", name, 0, U64)


def differ_split(record: Record, area: Area) -> Iterator[str]:
    """Yield lines if the record's own arithmetic is wrong."""
    parts = split(area.address, area.shape.size)
    yield from differ("len1", number(record, "len1", 0, PAGE_SIZE), parts.first)
    yield from differ("len2", number(record, "len2", 0, PAGE_SIZE), parts.second)
    # Some recordings say why a place was chosen.
    seen = {
        "split": parts.second > 0,
        "start": area.offset == 0,
        "end": area.offset + area.shape.size == PAGE_SIZE,
        "align": parts.second == 0,
    }
    if "kind" in record and not seen[choice(record, "kind", tuple(seen))]:
        yield f"kind: recorded {record['kind']}, and offset {area.offset} is not that"


def poison_of(record: Record) -> bytes:
    """Return the byte that memory was filled with."""
    poison = octets(record, "poison")
    if len(poison) != 1:
        raise Malformed("field 'poison' is not one byte")
    return poison


def window_of(record: Record, name: str) -> bytes:
    """Return a recorded window."""
    window = octets(record, name)
    if len(window) != WINDOW:
        raise Malformed(f"field '{name}': {len(window)} bytes, not {WINDOW}")
    return window


def struct_in(window: bytes, shape: Shape) -> bytes:
    """Return the struct's bytes of a window."""
    return window[MARGIN : MARGIN + shape.size]


def plausible(name: str, vcpu: Runstate) -> Iterator[str]:
    """Yield lines if no hypervisor has such a runstate."""
    if vcpu.state > OFFLINE:
        yield f"{name}: state {vcpu.state} is none of the four"


def written(variant: Variant, vcpu: Runstate, area: Area, poison: bytes) -> bytes:
    """Return the window that one update of freshly poisoned memory leaves."""
    window = Window(poison)
    play(window, _update(variant, vcpu, area))
    return around(window, area, poison)


def around(window: Window, area: Area, poison: bytes) -> bytes:
    """Return the recorded part of memory; what lies before page 1 nobody writes."""
    missing = max(0, MARGIN - area.offset)
    seen = window.read(max(0, area.offset - MARGIN), WINDOW - missing)
    return poison * missing + seen


def _update(variant: Variant, vcpu: Runstate, area: Area) -> Iterator[Step]:
    caches = Caches(code=variant.pfncache)
    here = Area(area.abi, area.offset, area.update_flag)
    error = variant.register(here, caches)
    if error:
        raise Malformed(f"{variant.name} refuses this area, and the record has its bytes")
    return variant.update(vcpu, here, caches, False)


GOLDEN = frozenset(
    ("kind", "layout", "update_flag", "off", "len1", "len2", "poison", "outside", "win", "state")
)


def golden(meta: Record, record: Record) -> Iterator[str]:
    """A final state with known values: 64 bytes of memory must be the model's."""
    known(record, GOLDEN)
    area = area_of(record, truth(record, "update_flag"))
    yield from differ_split(record, area)
    vcpu = values_of(meta, number(record, "state", 0, U32))
    yield from _differ_window(kernel_variant(meta), vcpu, area, record)


def _differ_window(variant: Variant, vcpu: Runstate, area: Area, record: Record) -> Iterator[str]:
    poison, window = poison_of(record), window_of(record, "win")
    seen = written(variant, vcpu, area, poison)
    yield from differ_bytes("win", window, seen, area.shape, MARGIN)
    outside = window[:MARGIN] + window[MARGIN + area.shape.size :]
    changed = len(outside) - outside.count(poison)
    yield from differ("bytes changed outside", number(record, "outside", 0, U64), changed)


SINGLE = frozenset(
    ("kind", "layout", "off", "len1", "len2", "poison", "set_addr", "win", "outside")
)


def single(meta: Record, record: Record) -> Iterator[str]:
    """Registering an area, and where that succeeds the state after a run of the vCPU."""
    known(record, SINGLE)
    area, variant = area_of(record, False), kernel_variant(meta)
    yield from differ_split(record, area)
    answer = choice(record, "set_addr", ("ok", "EINVAL"))
    yield from differ("set_addr", answer, "EINVAL" if _refuses(variant, area) else "ok")
    if answer != "ok":
        if "win" in record:
            yield "win: the area was refused, and yet there are bytes of it"
        return
    struct = struct_in(window_of(record, "win"), area.shape)
    vcpu = runstate_of(area.shape, struct)
    yield from differ("state after a run", vcpu.state, RUNNING)
    yield from _adds_up(meta, vcpu)
    yield from _differ_window(variant, vcpu, area, record)


def _refuses(variant: Variant, area: Area) -> bool:
    here = Area(area.abi, area.offset, area.update_flag)
    return variant.register(here, Caches(code=variant.pfncache)) != 0


# Times that the clock moved on: each at least what it was set to, and their sum the entry time.
def _adds_up(meta: Record, vcpu: Runstate) -> Iterator[str]:
    if vcpu.entry_time != total(vcpu):
        yield f"state_entry_time {vcpu.entry_time:#x} is not the sum of the times {total(vcpu):#x}"
    start = values_of(meta, vcpu.state)
    for index in range(TIME_COUNT):
        if vcpu.times[index] < start.times[index]:
            yield f"time[{index}] {vcpu.times[index]:#x} went back from {start.times[index]:#x}"


STORES = frozenset(("layout", "update_flag", "off", "len1", "len2", "poison", "stores", "final"))


def stores(meta: Record, record: Record) -> Iterator[str]:
    """Every store of one update: the epochs, in order, and nothing else."""
    known(record, STORES)
    area, variant = area_of(record, truth(record, "update_flag")), kernel_variant(meta)
    yield from differ_split(record, area)
    poison, recorded = poison_of(record), sequence(record, "stores")
    if _refuses(variant, area):
        yield from differ("stores of a refused area", recorded, [])
        yield from differ("final bytes of a refused area", field(record, "final"), None)
        return
    final = octets(record, "final")
    if len(final) != area.shape.size:
        raise Malformed(f"field 'final': {len(final)} bytes, not {area.shape.size}")
    vcpu = values_of(meta, number(meta, "state", 0, U32))
    if variant.pages == 1:
        # These kernels can only be made to write by running the vCPU: the clock decides.
        vcpu = runstate_of(area.shape, final)
        yield from _adds_up(meta, vcpu)
    machine = steps_of_watchpoints(recorded, area.offset)
    region, window = Region(area, max(0, area.offset - MARGIN), WINDOW), Window(poison)
    outside = tuple(_outside(machine, region))
    if outside:
        yield from outside
        return
    before = region.of(bytes(window.data))
    states = [region.of(moment.memory) for moment in trace(window, machine)]
    yield from _narrow(machine, [before, *states], region)
    end = (states or [before])[-1][region.margin :][: area.shape.size]
    yield from differ_bytes("final", final, end, area.shape)
    yield from follows(before, states, tuple(_update(variant, vcpu, area)), region)


# What is recorded of a store is what it changed: from the first byte that became another to the
# last. A byte there that already had its value tells that the memory before was not this.
def _narrow(machine: Steps, states: list[bytes], region: Region) -> Iterator[str]:
    for number_, write in enumerate(writes(machine)):
        first = region.place(write)
        last = first + len(write.data) - 1
        # A store across the page boundary is two writes here: its inner ends may be unchanged.
        inner = write.offset + len(write.data) == PAGE_SIZE, write.offset == 0
        for place, cut in ((first, inner[1]), (last, inner[0])):
            inside = 0 <= place < len(states[0])
            if inside and not cut and states[number_][place] == states[number_ + 1][place]:
                yield f"store {number_ + 1}: {region.field(place)} is said to change, and does not"


def _outside(machine: Steps, region: Region) -> Iterator[str]:
    for number_, write in enumerate(writes(machine), 1):
        if not region.holds(write):
            yield f"store {number_} is far outside the area: {line(write)}"
