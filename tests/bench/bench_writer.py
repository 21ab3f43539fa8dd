"""How fast is an update? Run by hand: ``python tests/bench/bench_writer.py``.

One run prints everything, because only ratios within a run mean anything: plain struct.pack_into,
a ctypes overlay, Construct's build of the same struct, our generators, and the same update in C
(writer_floor.c) for the floor if there is a compiler. Then the sweep: 4096 offsets x
2 ABIs x flag on and off, every byte checked at every barrier against a closed form.
"""

import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from runstate_abi.layouts import constructs, ctypes_structs
from runstate_abi.layouts.abi import PAGE_SIZE
from runstate_abi.layouts.structs.runstate import NATIVE, XEN_RUNSTATE_UPDATE
from runstate_abi.writer.memory import Window, play, snapshots, trace
from runstate_abi.writer.steps import canonical
from runstate_abi.writer.variants import VARIANT, prepare
from runstate_abi.writer.vcpu import SHAPES, Area, Runstate, split

VCPU = Runstate(1, 0x1122334455667788, (1, 2, 3, 4))
UPSTREAM = VARIANT["upstream"]
ONE_PAGE, SPLIT = 256, 4081


def best(function: Callable[[], object], seconds: float = 0.2, rounds: int = 5) -> float:
    """Return ns per call: the fastest of some rounds, each of about ``seconds / rounds``."""
    count = 1
    while _time(function, count) < seconds / rounds / 2:
        count *= 2
    return min(_time(function, count) for _ in range(rounds)) / count * 1e9


def _time(function: Callable[[], object], count: int) -> float:
    loop = range(count)
    start = time.perf_counter()
    for _ in loop:
        function()
    return time.perf_counter() - start


def floor() -> tuple[float, float] | None:
    """Return ns per update of the C program, one page and split; None without a compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if not compiler:
        return None
    with tempfile.TemporaryDirectory() as folder:
        program = str(Path(folder) / "floor")
        source = str(Path(__file__).with_name("writer_floor.c"))
        subprocess.run([compiler, "-O2", "-o", program, source], check=True)
        shown = subprocess.run([program], check=True, capture_output=True, text=True).stdout
    one_page, split_ = map(float, shown.split())
    return one_page, split_


def rows() -> list[tuple[str, float]]:
    """Return what was measured: name and ns per update, native, flag on."""
    memory = bytearray(2 * PAGE_SIZE)
    packer = struct.Struct("<I4xQ4Q")
    state, entry_time, times = VCPU.state, VCPU.entry_time, VCPU.times
    overlay = ctypes_structs.STRUCTS[NATIVE.name].from_buffer(memory, ONE_PAGE)
    found = [
        (
            "struct.pack_into",
            best(lambda: packer.pack_into(memory, ONE_PAGE, state, entry_time, *times)),
        ),
        ("ctypes overlay, kept", best(lambda: _assign(overlay))),
        ("construct build", best(_construct_build())),
        ("generator played, one page", best(lambda: _generator(ONE_PAGE))),
        ("generator played, split", best(lambda: _generator(SPLIT))),
        ("generator with canonical text, split", best(lambda: canonical(_generator(SPLIT)))),
    ]
    native = floor()
    if native:
        found += [("C, one page", native[0]), ("C, split", native[1])]
    return found


def _generator(offset: int) -> tuple[object, ...]:
    area = Area("native", offset)
    return play(WINDOW, UPSTREAM.update(VCPU, area, prepare(UPSTREAM, area), False))


WINDOW = Window(b"\xa5")


def _assign(overlay: Any) -> None:
    overlay.state = VCPU.state
    overlay.state_entry_time = VCPU.entry_time
    overlay.time[0], overlay.time[1], overlay.time[2], overlay.time[3] = VCPU.times


def _construct_build() -> Callable[[], object]:
    native = constructs.vcpu_runstate_info
    value = {
        "state": VCPU.state,
        "pad_04": b"\0" * 4,
        "state_entry_time": VCPU.entry_time,
        "time": list(VCPU.times),
    }
    return lambda: native.build(value)


def sweep() -> tuple[float, int, int]:
    """Return seconds, updates and snapshots of the whole sweep; AssertionError at a wrong byte."""
    fill = 0xA5
    count = checked = 0
    start = time.perf_counter()
    for abi, shape in SHAPES.items():
        blank = bytes([fill]) * shape.size
        for flag in (True, False):
            expected = {half: _closed_form(abi, flag, half, blank) for half in (False, True)}
            for offset in range(PAGE_SIZE):
                area, window = Area(abi, offset, flag), Window(bytes([fill]))
                steps = UPSTREAM.update(VCPU, area, prepare(UPSTREAM, area), False)
                seen = list(snapshots(trace(window, steps), offset, shape.size))
                assert seen == expected[offset + shape.size > PAGE_SIZE], (abi, flag, offset)
                window.data[offset : offset + shape.size] = blank
                assert window.data.count(fill) == len(window.data)  # nothing outside the area
                count += 1
                checked += len(seen)
    return time.perf_counter() - start, count, checked


# The area at each barrier, said without the writer: struct.pack and two overwritten bytes.
def _closed_form(abi: str, flag: bool, crosses: bool, blank: bytes) -> list[bytes]:
    padding = "4x" if abi == "native" else ""
    entry_time = VCPU.entry_time | (XEN_RUNSTATE_UPDATE if flag else 0)
    body = bytearray(struct.pack(f"<I{padding}Q4Q", VCPU.state, entry_time, *VCPU.times))
    if padding and not crosses:
        body[4:8] = blank[4:8]
    if not flag:
        return [bytes(body)]
    top = len(body) - 33
    first = bytearray(blank)
    first[top] = body[top]
    last = bytearray(body)
    last[top] &= 0x7F
    return [bytes(first), bytes(body), bytes(last)]


def main() -> None:
    """Print the table and the sweep."""
    found = rows()
    base = dict(found)
    print(f"Python {sys.version.split()[0]}; one update, native layout, flag on")
    print(f"{'':<40}{'ns':>10}{'x pack_into':>13}{'x construct':>13}")
    for name, ns in found:
        to_pack, to_construct = ns / base["struct.pack_into"], ns / base["construct build"]
        print(f"{name:<40}{ns:>10.1f}{to_pack:>13.2f}{to_construct:>13.2f}")
    seconds, count, checked = sweep()
    print(
        f"sweep: {count} placements, {checked} snapshots checked in {seconds:.3f} s, "
        f"{seconds / count * 1e9:.0f} ns each"
    )
    assert split(ONE_PAGE, NATIVE.size).second == 0 < split(SPLIT, NATIVE.size).second


if __name__ == "__main__":
    main()
