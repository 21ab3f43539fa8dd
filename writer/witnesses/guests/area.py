"""Where a guest's function has its area: a parameter, an object, a per-CPU one, or unknown."""

import re
from collections import Counter

from runstate_abi.layouts.model import Layout, WitnessError
from runstate_abi.writer.guard import guard_of
from runstate_abi.writer.witnesses.guests.cpus import Signature
from runstate_abi.writer.witnesses.guests.kernel import is_per_cpu, per_cpu_offset
from runstate_abi.writer.witnesses.guests.machine import AREA, ReaderMachine
from runstate_abi.writer.witnesses.object_file import SHF_EXECINSTR, ObjectFile, Symbol

ADDRESS = re.compile("0x[0-9a-fA-F]{1,16}")
FEW = 8  # loads in a message


def opened(
    file: ObjectFile,
    function: str,
    signature: Signature,
    layout: Layout,
    area: str = "",
    offset: int = 0,
) -> ReaderMachine:
    """Return a machine with a function in it; ``area`` is a global area's symbol, or its address.

    ``offset`` is where the struct is behind that symbol, or behind what a parameter points to.
    WitnessError: there is no such function, or area.
    """
    symbol = require(file, function)
    if not area and "area" not in signature.takes:
        why = "takes no pointer: which object is the area? (--area OBJECT)"
        raise WitnessError(f"{file.source}: {function} {why}")
    address, per_cpu = AREA, per_cpu_offset(file)
    if area:
        place = file.find(area)
        if place is None and not ADDRESS.fullmatch(area):
            without = ReaderMachine(file, symbol.address, signature, layout, per_cpu=per_cpu)
            why = _loaded(without, symbol, function)
            raise WitnessError(f"{file.source}: no object {area}{why}")
        address = (place.address if place else int(area, 16)) + offset
        if is_per_cpu(file, address):
            address = address + per_cpu & (1 << file.file.elf_class) - 1
    behind = 0 if area else offset
    return ReaderMachine(file, symbol.address, signature, layout, address, per_cpu, behind)


def require(file: ObjectFile, function: str) -> Symbol:
    """Return the symbol of a function (WitnessError: there is none)."""
    symbol = file.find(function)
    if symbol is None or not file.sections[symbol.section].flags & SHF_EXECINSTR:
        raise WitnessError(f"{file.source}: no function {function}")
    return symbol


# What a function loads, if that may tell where the area is.
def _loaded(machine: ReaderMachine, symbol: Symbol, function: str) -> str:
    seen = machine.elsewhere(range(symbol.address, symbol.address + symbol.size))
    if not seen:
        return ""
    word, size = guard_of(machine.layout).word(machine.layout), machine.layout.size
    times = Counter(at + n for at, width in seen for n in range(width))
    for at, _ in seen:
        looks = word and all(times[at + n] > 1 for n in range(len(word)))
        if looks and all(times[at - word[0] + n] for n in range(size)):
            first = f"{at - word[0]:#x}"
            return f"; {function} loads the {size} bytes at {first}: --area {first}"
    loads = ", ".join(f"{width} bytes at {at:#x}" for at, width in [*dict.fromkeys(seen)][:FEW])
    return f"; {function} loads {loads}: --area ADDRESS"
