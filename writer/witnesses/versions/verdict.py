"""The verdict on one function: every update that it can be asked, held against its family's rules.

Updates are asked in order, the plainest first: the first that breaks a rule is the one to look at.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from runstate_abi.layouts.model import WitnessError
from runstate_abi.writer.witnesses.versions.rules import NO_BARRIERS, Rule, judge
from runstate_abi.writer.witnesses.versions.updates import Asked, Breach, Fault, Update

if TYPE_CHECKING:
    from runstate_abi.writer.witnesses.versions.opened import Writer


class First(NamedTuple):
    """The first update that breaks a rule, run again for its places."""

    update: Update
    breach: Breach

    @property
    def place(self) -> str:
        """The instruction that breaks it, "" if that shows at return only."""
        at, places = self.breach.at, self.update.places
        return places[at] if at < len(places) else ""


class Outcome(NamedTuple):
    """What was found about one rule."""

    rule: Rule
    tested: int  # updates that could break it
    broken: int  # updates that do
    first: First | None


@dataclass(frozen=True, slots=True)
class Verdict:
    updates: int
    outcomes: tuple[Outcome, ...]
    notes: tuple[str, ...]
    used: tuple[str, ...]  # functions of the kernel that were called

    @property
    def right(self) -> bool:
        return not any(outcome.broken for outcome in self.outcomes)


@dataclass(slots=True)
class _Tally:
    updates: int = 0
    tested: Counter[str] = field(default_factory=Counter)
    broken: Counter[str] = field(default_factory=Counter)
    first: dict[str, Asked] = field(default_factory=dict)
    notes: dict[str, None] = field(default_factory=dict)  # each once, in order
    odd: set[int] = field(default_factory=set)  # numbers of accesses whose fault leaves it odd
    lost: list[str] = field(default_factory=list)

    def add(self, rules: tuple[Rule, ...], update: Update) -> None:
        self.updates += 1
        self.tested.update(rule.name for rule in rules if rule.judge and rule.asked(update))
        for name in judge(rules, update):
            self.broken[name] += 1
            self.first.setdefault(name, update.asked)
        self.notes |= dict.fromkeys(update.notes)
        if update.last_version & 1 and not update.asked.version & 1:
            self.odd |= {one.number for one in update.events if isinstance(one, Fault)}


def judged(writer: "Writer", rules: tuple[Rule, ...]) -> Verdict:
    """Ask for every update and judge it.

    WitnessError: an update cannot be followed, and none that can breaks a rule.
    """
    tally = _Tally()
    for asked in writer.requests():
        try:
            tally.add(rules, writer.run(asked))
        except WitnessError as error:
            tally.lost.append(f"{error} ({asked})")
    if not tally.broken and (tally.lost or not tally.updates):
        raise WitnessError(next(iter(tally.lost), f"{writer.function}(): nothing can be asked"))
    outcomes = tuple(_outcome(writer, rule, rules, tally) for rule in rules)
    return Verdict(tally.updates, outcomes, tuple(_notes(tally)), writer.kernel.used)


def _outcome(writer: "Writer", rule: Rule, rules: tuple[Rule, ...], tally: _Tally) -> Outcome:
    first = None
    if rule.name in tally.first:
        update = writer.run(tally.first[rule.name], places=True)
        first = First(update, judge(rules, update)[rule.name])
    return Outcome(rule, tally.tested[rule.name], tally.broken[rule.name], first)


def _notes(tally: _Tally) -> Iterator[str]:
    if tally.odd:
        *others, last = map(str, sorted(tally.odd))
        numbers = f"{', '.join(others)} or {last}" if others else last
        yield (
            f"a fault at access {numbers} of an update to guest memory leaves the version odd: the "
            "guest's reader waits for the next update"
        )
    yield from tally.notes
    if tally.lost:
        count = f"{len(tally.lost)} update{'s' * (len(tally.lost) != 1)}"
        yield f"{count} could not be followed: {tally.lost[0]}"
    yield NO_BARRIERS
