"""Evidence as the tests of the rule book make it, and the judge asked about Evidence."""

from runstate_abi.writer import rules
from runstate_abi.writer.memory import Window
from runstate_abi.writer.rulebook.evidence import Evidence, ledger
from runstate_abi.writer.rules import NEWEST, Profile, Violation
from runstate_abi.writer.steps import Steps
from runstate_abi.writer.vcpu import Area, Runstate


def judge(evidence: Evidence, profile: Profile = NEWEST) -> tuple[Violation, ...]:
    """Return the first breach of each rule by one update."""
    return rules.judge(ledger(evidence), profile)


def of_model(
    steps: Steps, vcpu: Runstate, area: Area, atomic: bool = False, fill: bytes = b"\xa5"
) -> Evidence:
    """Return what a variant's steps say, in memory filled with a pattern."""
    before = Window(fill).read(area.offset, area.shape.size)
    return Evidence(area, vcpu, atomic, before, steps)
