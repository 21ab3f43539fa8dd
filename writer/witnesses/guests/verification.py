"""Is what was found of a reader all that there is to it?

Whether it accepts is asked for every combination of versions and flags, for values of its own and
for differences that cancel each other; and what it does after a change is followed to its end.
Anything that the row of a Reader does not say is refused (WitnessError).
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, product
from typing import TYPE_CHECKING

from runstate_abi.writer.witnesses.guests.machine import LOADS_MAX, Attempt, Seen

if TYPE_CHECKING:
    from runstate_abi.writer.witnesses.guests.inquiry import Changes, Inquiry, Rule

COMBINATIONS_MAX, SURE_MAX = 1024, 12  # 2^12 combinations at most
DIFFERENCES, HALVES = 16, 8
VALUES = (0, 1, 2, 3, 1 << 20, (1 << 63) - 1)  # that a reader may take for something of their own
NO_COMPARISON = "whether it accepts is no comparison of its loads and test of the flag"
PERIODS = (31, 127)  # of changes: a prime that is larger than the loads of an iteration


def verify(asked: "Inquiry", rule: "Rule") -> None:
    """Hold a reader against a rule (WitnessError: it does more, or something else).

    Every combination of versions and flags in the loads of the entry time; if these are too many,
    in those that decide, and any in the others. What it refuses it must retry, or say it failed.
    """
    _verify_others(asked)
    _verify_values(asked, rule)
    _verify_words(asked, rule)
    _verify_cpus(asked)
    _verify_differences(asked, rule)
    _verify_halves(asked, rule)
    has_top = [n for n in asked.deciding if asked.bytes_of(n, range(asked.top, asked.top + 1))]
    # What may differ, the loads that decide first.
    kinds = [(n, False) for n in asked.deciding] + [(n, True) for n in has_top]
    kinds.sort(key=lambda kind: not rule.decides(kind[0]))
    those = sum(rule.decides(n) for n, _ in kinds)
    sure = len(kinds) if 1 << len(kinds) <= COMBINATIONS_MAX else min(those, SURE_MAX)
    chance = random.Random(1)
    for way in product((False, True), repeat=sure):
        rest = (chance.random() < 0.5 for _ in kinds[sure:])
        chosen = {kind for kind, is_so in zip(kinds, (*way, *rest), strict=True) if is_so}
        new, up = ({n for n, is_flag in chosen if is_flag == which} for which in (False, True))
        changes = {n: asked.changed(n, n in new, n in up) for n in asked.deciding}
        wanted = _agrees(asked, rule, new, up) and not any(rule.flags[n] for n in up)
        if asked.accepts(changes) != wanted:
            raise asked.machine.refused(NO_COMPARISON)
        if not wanted:
            _retried(asked, changes)
    _verify_retries(asked, rule)
    _verify_patience(asked, rule)


def _agrees(asked: "Inquiry", rule: "Rule", new: set[int], up: set[int]) -> bool:
    for at in asked.entry:
        those = [n for n in asked.deciding if at in rule.compared[n]]
        is_up = {n: at == asked.top and n in up and n not in rule.masked for n in those}
        if len({(n in new, is_up[n]) for n in those}) > 1:
            return False
    return True


# Nothing but the guard's word may decide.
def _verify_others(asked: "Inquiry") -> None:
    chance = random.Random(2)
    for _ in range(16):
        changes = {}
        for number, one in enumerate(asked.loads):
            places = range(one.offset, one.offset + one.size)
            free = (at for at in places if at not in asked.entry)
            changes[number] = {at: asked.allowed(at, chance.randrange(256)) for at in free}
        if not asked.accepts(changes):
            raise asked.machine.refused("whether it accepts depends on other members too")


# Nor may one value of a member, or of the entry time: neither what is refused nor what is accepted.
def _verify_values(asked: "Inquiry", rule: "Rule") -> None:
    for element in asked.layout.elements():
        for value in VALUES:
            patch = {n: asked.valued(n, element, value) for n in range(len(asked.loads))}
            refuses = asked.accepts(patch)
            for number, change in _kinds(asked, rule, 1):
                one = patch[number]
                both = {at: one.get(at, 0) ^ change.get(at, 0) for at in (*one, *change)}
                refuses = refuses and not asked.accepts({**patch, number: both})
            if not refuses:
                why = f"whether it accepts depends on the value of {element.name}"
                raise asked.machine.refused(why)


# Values of the guard's word that are near each other: one of the loads that decide sees one, the
# others another. The rule says which of them are taken.
def _verify_words(asked: "Inquiry", rule: "Rule") -> None:
    end = 1 << 8 * len(asked.entry)
    base = int.from_bytes(asked.base[asked.entry.start : asked.entry.stop], "little")
    up = asked.guard.bit << 8 * (asked.top - asked.entry.start)
    deciding = [number for number in asked.deciding if rule.decides(number)]
    for number in (*deciding[:1], *deciding[1:][-1:]):
        for first in (base, base | up, 0, up, 1, 2, end - 1, end - 2):
            near = (first + step for step in (0, 1, -1, 2, -2, 256))
            for second in (*near, *(first ^ bits for bits in (1, 3, 4, 6, 7, 1 << 31))):
                words = dict.fromkeys(asked.deciding, second % end) | {number: first}
                changes = {n: asked.valued_word(n, word) for n, word in words.items()}
                if asked.accepts(changes) != _takes(asked, rule, words):
                    raise asked.machine.refused(NO_COMPARISON)


# Does a reader that follows the rule take these values of the word?
def _takes(asked: "Inquiry", rule: "Rule", words: Mapping[int, int]) -> bool:
    def byte(number: int, at: int) -> int:
        value = words[number] >> 8 * (at - asked.entry.start) & 0xFF
        masked = number in rule.masked and at == asked.top
        return value & ~asked.guard.bit if masked else value

    for at in asked.entry:
        if len({byte(n, at) for n, places in rule.compared.items() if at in places}) > 1:
            return False
    flags = (number for number, refuses in rule.flags.items() if refuses)
    return not any(byte(number, asked.top) & asked.guard.bit for number in flags)


# rdtscp also names the CPU: if that is another one the second time, it must begin again at most.
def _verify_cpus(asked: "Inquiry") -> None:
    machine = asked.machine
    for cpus in ((1,), (0, 1)) if machine.names_cpu else ():
        machine.cpus = cpus
        run = machine.follow(asked.base, {})
        machine.cpus = (0,)
        same = (run.returned, run.result) == (asked.quiet.returned, asked.quiet.result)
        if not same or not _last_iteration(asked, run.loads):
            raise machine.refused("what it does depends on the CPU that rdtscp names")


# Differences that a sum or a fold of the bytes would not show.
def _verify_differences(asked: "Inquiry", rule: "Rule") -> None:
    chance = random.Random(3)
    for number, places in rule.compared.items():
        for turn in range(DIFFERENCES if len(places) > 1 else 0):
            half = chance.randrange(1, 1 << 32)
            forms = half, half | half << 32, half | (-half & 0xFFFF_FFFF) << 32, half * 0x1_0001
            whole = forms[turn % len(forms)].to_bytes(8, "little")
            bits = {
                at: whole[at - asked.entry.start] & ~(asked.guard.bit * (at == asked.top))
                for at in places
            }
            if any(bits.values()) and asked.accepts({number: bits}):
                raise asked.machine.refused(NO_COMPARISON)


# The same in two loads of other bytes, as a reader of halves compares them.
def _verify_halves(asked: "Inquiry", rule: "Rule") -> None:
    chance = random.Random(4)
    parts = {n: places for n, places in rule.compared.items() if 0 < len(places) < len(asked.entry)}
    for (one, these), (two, those) in combinations(parts.items(), 2):
        if len(these) != len(those) or not set(these).isdisjoint(those):
            continue
        for round_ in range(HALVES):
            bits = chance.randrange(1, 1 << 8 * len(these) - 1)
            other = -bits & (1 << 8 * len(those)) - 1 if round_ & 1 else bits
            changes = {
                number: dict(zip(places, value.to_bytes(len(places), "little"), strict=True))
                for number, places, value in ((one, these, bits), (two, those, other))
            }
            for change in changes.values():
                if asked.top in change:
                    change[asked.top] &= ~asked.guard.bit
            if asked.accepts(changes):
                raise asked.machine.refused(NO_COMPARISON)


# (load, change) for each kind of change that a load refuses.
def _kinds(asked: "Inquiry", rule: "Rule", bit: int) -> Iterator[tuple[int, dict[int, int]]]:
    for number in asked.deciding:
        if rule.flags[number]:
            yield number, {asked.top: asked.guard.bit}
        for at in rule.compared[number][:1]:
            yield number, {at: asked.differing(at, bit)}


# What does it do after it saw this change, if nothing changes any more? The same again, from its
# first load or from a later one on, or it says that it failed. Return where the loads of the last
# iteration are: it takes what these saw, and nothing of the other data before.
def _retried(asked: "Inquiry", changes: "Changes") -> list[int]:
    others = {n: asked.data_of(one) for n, one in enumerate(asked.loads)}
    changed = asked.versions({n: {**data, **changes.get(n, {})} for n, data in others.items()})
    run = asked.machine.follow(asked.base, changed)
    end = len(run.loads) if run.parted is None else run.parted
    return _same_again(asked, run, {n: one for n, one in changed.items() if n < end})


# Its last iteration is what the loads of one iteration that saw the same would have given.
def _same_again(asked: "Inquiry", run: Attempt, versions: Mapping[int, bytes]) -> list[int]:
    if asked.failed(run):
        return []
    places = _last_iteration(asked, run.loads)
    last = asked.replayed({n: versions[at] for n, at in enumerate(places) if at in versions})
    same = last.parted is None and (run.returned, run.result) == (last.returned, last.result)
    if not places or not same:
        raise asked.machine.refused("after it saw a change it does something else than it did")
    return places


# Does it ask again what it asked before, and take what it took? A change of each kind, and after it
# one in each load of the last iteration.
def _verify_retries(asked: "Inquiry", rule: "Rule") -> None:
    machine = asked.machine
    for number, change in _kinds(asked, rule, 1):
        first = asked.struct(change)
        places = _retried(asked, {number: change})
        before = machine.follow(asked.base, {number: first}, stays=True)
        barriers, _ = machine.traced(asked.base, {number: first})
        if places:
            _verify_last(asked, number, change, before, places)
            _verify_order(asked, barriers, places)
        for index, second in _kinds(asked, rule, 2) if places else ():
            place = places[index]
            if place == number:
                continue
            both = {number: first, place: asked.struct(second)}
            run = machine.follow(asked.base, both, stays=True)
            if run.loads[: number + 1] != before.loads[: number + 1]:
                continue  # a loop before the first change saw the second one
            _same_again(asked, run, both)


# Is its result made of the same loads of the last iteration as of a quiet one?
def _verify_last(
    asked: "Inquiry", number: int, change: dict[int, int], before: Attempt, places: Sequence[int]
) -> None:
    seen = {n: change for n, at in enumerate(places) if at == number}
    for place in range(before.parted or 0, len(before.loads)):
        one = before.loads[place]
        data = asked.data_of(one)
        if not data or place == number:
            continue
        versions = {number: asked.struct(change), place: asked.struct(data)}
        run = asked.machine.follow(asked.base, versions, stays=True)
        there = {n: data for n, at in enumerate(places) if at == place}
        wanted = asked.replayed(asked.versions({**seen, **there}))
        if (run.returned, run.result) != (wanted.returned, wanted.result):
            raise asked.machine.refused("after it saw a change it takes other loads than it did")


# Has the last iteration the read barriers of a quiet one, between the same loads?
def _verify_order(
    asked: "Inquiry", barriers: Sequence[tuple[int, int]], places: Sequence[int]
) -> None:
    for before, _ in asked.barriers:
        if 0 < before < len(places):
            between = range(places[before - 1] + 1, places[before] + 1)
            if not any(number in between for number, _ in barriers):
                raise asked.machine.refused("after it saw a change it has a barrier less")
    if any(places[number] not in asked.machine.acquired for number in asked.acquired):
        raise asked.machine.refused("after it saw a change it has a load-acquire less")


# Does it ever give up, and take what it has? With the flag up for ever, or another entry time at
# each load, it must come back to a state in which it was.
def _verify_patience(asked: "Inquiry", rule: "Rule") -> None:
    compares, refuses = any(rule.compared.values()), any(rule.flags.values())
    period = PERIODS[len(asked.loads) >= PERIODS[0]]
    kinds = [(True, False)] * refuses + [(False, True)] * compares
    kinds += [(True, True)] * (refuses and compares)
    for up, changes in kinds:
        restless = _Restless(asked, up, period if changes else 1)
        run = asked.machine.endures(asked.base, restless, restless.period)
        if run is not None and not asked.failed(run):
            raise asked.machine.refused("it accepts after it has tried a number of times")
        if run is None and asked.machine.since:
            _verify_third(asked, rule)


# Its second retry begins in another state than its first: does it still do what it did?
def _verify_third(asked: "Inquiry", rule: "Rule") -> None:
    machine = asked.machine
    for number, change in _kinds(asked, rule, 1):
        first = {number: asked.struct(change)}
        places = _last_iteration(asked, machine.follow(asked.base, first).loads)
        for index, second in _kinds(asked, rule, 2) if places else ():
            two = {**first, places[index]: asked.struct(second)}
            before = machine.follow(asked.base, two, stays=True)
            later = _last_iteration(asked, before.loads) if len(two) == 2 else []
            for third_index, third in _kinds(asked, rule, 4) if later else ():
                if later[third_index] not in two:
                    three = {**two, later[third_index]: asked.struct(third)}
                    run = machine.follow(asked.base, three, stays=True)
                    if run.loads[: places[index] + 1] == before.loads[: places[index] + 1]:
                        _same_again(asked, run, three)


# Where the loads of a quiet iteration are in a longer run that ends with one. What is loaded before
# the loop, or was loaded at the end of the iteration before, is looked for in front of it. From the
# last look at the guard's word on it is the same code.
def _last_iteration(asked: "Inquiry", loads: Sequence[Seen]) -> list[int]:
    wanted = asked.loads
    same = len(wanted) - max(asked.deciding, default=0)
    if loads[-same:] != wanted[-same:]:
        return []
    places: list[int] = []
    at = len(loads)
    for one in reversed(wanted):
        at -= 1
        while at >= 0 and loads[at][1:] != one[1:]:
            at -= 1
        if at < 0:
            return []
        places.append(at)
    found = places[::-1]
    skipped = [n for n in range(found[0], len(loads)) if n not in found]
    body = [one[1:] for one in wanted]
    return found if all(loads[n][1:] in body for n in skipped) else []


class _Restless(Mapping[int, bytes]):
    """Versions for a struct with another guard's word at each load of a period, up or down.

    They are of every number.
    """

    def __init__(self, inquiry: "Inquiry", up: bool, period: int) -> None:
        self.inquiry, self.up, self.period = inquiry, up, period

    def __getitem__(self, number: int) -> bytes:
        turn = number % self.period
        changes = {at: self.inquiry.differing(at, turn) for at in self.inquiry.entry}
        changes[self.inquiry.top] |= self.inquiry.guard.bit if self.up else 0
        return self.inquiry.struct(changes)

    def __iter__(self) -> Iterator[int]:
        return iter(range(LOADS_MAX))

    def __len__(self) -> int:
        return LOADS_MAX
