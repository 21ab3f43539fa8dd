"""A guest's reader out of its machine code: what it loads, compares, refuses and believes.

The function runs in an emulator on an area whose bytes are chosen load by load. One run with a
quiet area gives its loads. In the others some loads see another version of the struct, or the flag
up: whether it still accepts, and what its result is, shows what it does with each byte of each
load. The result is a Reader, as writer/guest.py has them, and nothing about it is assumed: what
was found is verified, and what cannot be followed is refused (WitnessError) with the instruction.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from runstate_abi.layouts.model import Layout, WitnessError
from runstate_abi.writer.guest import Load, Measured, Op, ReadBarrier, Reader
from runstate_abi.writer.witnesses.guests.inquiry import USUAL, Inquiry, Rule
from runstate_abi.writer.witnesses.guests.machine import ReaderMachine
from runstate_abi.writer.witnesses.guests.verification import VALUES, verify

DECIDING_MAX = 8  # loads of the guard's word: get64() twice has six


class Found(NamedTuple):
    """A reader as its code has it."""

    reader: Reader
    model: str
    machine: str  # a name of cpus.py
    layout: Layout  # of the struct that it reads


def reader_of(
    machine: ReaderMachine, name: str, line: Callable[[int], str], fixed: tuple[str, ...] = ()
) -> Found:
    """Return the reader of a function (WitnessError: it cannot be followed).

    ``line`` names an instruction, for the names of the loads. ``fixed`` are members that never
    change: nothing is said about what it does if they do.
    """
    asked = Inquiry(machine, fixed)
    compared = _compared(asked)
    masked = _masked(asked, compared)
    rule = Rule(compared, _flags(asked, compared, masked), masked)
    many = sum(map(rule.decides, asked.deciding))
    if many > DECIDING_MAX:
        raise machine.refused(f"{many} loads decide whether it accepts, more than {DECIDING_MAX}")
    verify(asked, rule)
    _verify_numbers(asked, rule)
    _refuse_constant(asked)
    believed = _believed(asked, compared)
    members = _members(asked, believed)
    program = tuple(_program(asked, rule, believed, line))
    seen = len(asked.loads)
    summary = f"machine code, {seen} load{'s' * (seen != 1)} in an iteration"
    if fixed:
        summary += f"; {', '.join(fixed)} taken as {', '.join(str(USUAL[x]) for x in fixed)}"
    reader = Reader(
        name,
        program,
        summary,
        f"{machine.file.source}: {name}()",
        bit_check=any(rule.flags.values()),
        uses=members,
    )
    return Found(reader, machine.cpu.model, machine.cpu.name, machine.layout)


# A parameter may be an option: its other values must change nothing.
def _verify_numbers(asked: Inquiry, rule: Rule) -> None:
    for number in asked.numbers:
        asked.with_number(number)
        try:
            verify(asked, rule)
        except WitnessError:
            why = f"with {number} for a parameter it accepts in another way"
            raise asked.machine.refused(why) from None
    if asked.numbers:
        asked.with_number(0)


# A result that says that it failed, where nothing else could: the same whatever it loaded.
def _refuse_constant(asked: Inquiry) -> None:
    others = {n: asked.data_of(one) for n, one in enumerate(asked.loads)}
    before = asked.result({})
    if "result" in asked.machine.signature.takes or asked.result(others) == before:
        return
    for number in asked.deciding:
        change = asked.changed(number, True, False), asked.changed(number, False, True)
        for bits in change if asked.top in change[1] else change[:1]:
            both = {**others, number: {**others[number], **bits}}
            first, second = asked.result({number: bits}), asked.result(both)
            if first == second != before and asked.accepts({number: bits}):
                value = int.from_bytes(first[:8], "little")
                why = f"it returns {value} if the {asked.guard.name(asked.layout)} changes: if that"
                why += " says that it failed, let the result go where a pointer says"
                raise asked.machine.refused(why)


# For each deciding load the offsets of the bytes that must be the same in the others.
def _compared(asked: Inquiry) -> dict[int, tuple[int, ...]]:
    found: dict[int, tuple[int, ...]] = {}
    for number in asked.deciding:
        mine = []
        places = asked.bytes_of(number, asked.entry)
        if all(asked.accepts({number: asked.changed(number, True, up)}) for up in (False, True)):
            places = []  # any comparison would have refused it
        for at in places:
            guards = asked.guard.bit if at == asked.top else 0
            bits = [1 << bit for bit in range(8) if 1 << bit != guards]
            refused = [not asked.accepts({number: {at: bit}}) for bit in bits]
            if any(refused) and not all(refused):
                why = f"it compares only some bits of byte {at} of the struct"
                raise asked.machine.refused(why)
            if all(refused):
                mine.append(at)
        found[number] = tuple(mine)
    return found


# Which loads are compared without the guard's bit: it may be set in this load alone.
def _masked(asked: Inquiry, compared: Mapping[int, tuple[int, ...]]) -> frozenset[int]:
    together = [number for number in asked.deciding if asked.top in compared[number]]
    alone = {asked.top: asked.guard.bit}
    return frozenset(n for n in together if len(together) > 1 and asked.accepts({n: alone}))


# Which loads refuse the flag: asked with the flag in all loads that compare its byte, or in one.
def _flags(
    asked: Inquiry, compared: Mapping[int, tuple[int, ...]], masked: frozenset[int]
) -> dict[int, bool]:
    together = [number for number in asked.deciding if asked.top in compared[number]]
    up = {asked.top: asked.guard.bit}
    refused = bool(together) and not asked.accepts(dict.fromkeys(together, up))
    found = {}
    for number in asked.deciding:
        if not asked.bytes_of(number, range(asked.top, asked.top + 1)):
            found[number] = False
        elif number in together:
            found[number] = refused and number not in masked
        else:
            found[number] = not asked.accepts({number: up})
    return found


# (load, offset) of each byte that the result depends on. Compared bytes are the same in all loads
# that compare them, so the first of these stands for them.
def _believed(asked: Inquiry, compared: Mapping[int, tuple[int, ...]]) -> set[tuple[int, int]]:
    # Asked twice, the second time with other data: what one value hides the other may show.
    others = {n: asked.data_of(one) for n, one in enumerate(asked.loads)}
    return _shown(asked, compared, {}) | _shown(asked, compared, others)


def _shown(
    asked: Inquiry, compared: Mapping[int, tuple[int, ...]], data: Mapping[int, dict[int, int]]
) -> set[tuple[int, int]]:
    def result(changes: Mapping[int, Mapping[int, int]]) -> bytes:
        both = {n: dict(data.get(n, {})) for n in (*data, *changes)}
        for number, places in changes.items():
            for at, bits in places.items():
                both[number][at] = both[number].get(at, 0) ^ bits
        return asked.result(both)

    before = result({})
    found = set()
    for number, one in enumerate(asked.loads):
        for at in range(one.offset, one.offset + one.size):
            those = [number]
            if at in compared.get(number, ()):
                those = [n for n in asked.deciding if at in compared[n]]
                if those[0] != number:
                    continue
            keeps = ~asked.guard.bit if at == asked.top else 0xFF
            bits = (asked.allowed(at, bits & keeps) for bits in (0x7F, 0x01, 0x40, 0x80))
            ways = [{n: {at: one} for n in those} for one in bits]
            if any(result(way) != before for way in ways):
                found.add((number, at))
        for element in asked.layout.elements():
            places = asked.bytes_of(number, range(element.offset, element.end))
            known = all((number, at) in found for at in places)
            if known or any(at in compared.get(number, ()) for at in places):
                continue
            changes = ({number: asked.valued(number, element, value)} for value in VALUES)
            if any(result(change) != before for change in changes):
                found |= {(number, at) for at in places}
    return found


def _members(asked: Inquiry, believed: set[tuple[int, int]]) -> tuple[str, ...]:
    names = tuple(
        row.name
        for row in asked.layout.members
        if any(row.offset <= at < row.end for _, at in believed)
    )
    word = asked.guard.name(asked.layout)
    if not set(names) - {word}:
        why = f"its result has no member but {word}" if names else "it has no result"
        raise asked.machine.refused(why)
    return names


def _program(
    asked: Inquiry,
    rule: Rule,
    believed: set[tuple[int, int]],
    line: Callable[[int], str],
) -> Iterator[Op]:
    read = 0
    for number, one in enumerate(asked.loads):
        yield from (ReadBarrier(line(at)) for before, at in asked.barriers if before == number)
        decides = rule.decides(number)
        read += decides
        takes = tuple(sorted(at for n, at in believed if n == number))
        same = number > 0 and asked.makers[number - 1] == asked.makers[number]
        does = Measured(
            one.offset,
            one.size,
            rule.compared.get(number, ()),
            rule.flags.get(number, False),
            takes,
            same,
            one.copied,
            number in rule.masked,
            number in asked.acquired,
        )
        yield Load(line(one.at), "measured", read if decides else 0, False, does)
