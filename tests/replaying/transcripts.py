"""Replay the transcripts of test programs: lines of text, one measurement each (KVM).

Law of this file: what a line is, its first words say. Lines that could not be compared are not
counted among those that were, and a line that nobody knows is an error.
"""

import re

from replaying import measurements as kinds
from replaying.measurements import Compare, Found, Transcript
from replaying.outcomes import Case, Replayed
from runstate_abi.layouts.model import WitnessError
from runstate_abi.writer.witnesses.recorded import Malformed

_HEX = r"(?:[0-9a-f]{2})+"
# fmt: off
_FORMS: tuple[tuple[str, Compare], ...] = (
    (r"clock now (?P<clock>[0-9a-f]+) flags [0-9a-f]+", kinds.clock),
    (r"EDGE data r=(?P<answer>-?\d+) errno=\d+", kinds.edge_data),
    (rf"EDGE lm=(?P<lm>[01]) flag=(?P<flag>[01]) win=(?P<win>{_HEX})", kinds.edge),
    (r"ERR (?P<asked>.+) r=(?P<answer>-?\d+) errno=(?P<errno>\d+)", kinds.error),
    (r"(?:GROW|SHRINK) set long_mode=(?P<lm>[01]) r=(?P<answer>-?\d+)", kinds.mode),
    (rf"(?:GROW|SHRINK) (?P<abi>native|compat)@-(?P<before>\d+): (?P<win>{_HEX})", kinds.resized),
    (rf"MOVE1 lm=(?P<lm>[01]) @(?P<place>\d+): (?P<win>{_HEX})", kinds.moved_first),
    (rf"MOVE2? (?:lm=(?P<lm>[01]) )?old@(?P<place>\d+): (?P<win>{_HEX})", kinds.moved_old),
    (rf"MOVE2? (?:lm=(?P<lm>[01]) )?new@(?P<place>\d+): (?P<win>{_HEX})", kinds.moved_new),
    (rf"RUN lm=(?P<lm>[01]) k=\d+ r=0 exit=\d+ clock=(?P<clock>\d+) win=(?P<win>{_HEX})", kinds.ran),
    (rf"CURRENT=blocked(?P<lm>)(?P<clock>) win=(?P<win>{_HEX})", kinds.current),
    (r"GETDATA state=(?P<state>\d) entry=(?P<entry>\d+) t=(?P<times>\d+(?:,\d+){3})", kinds.got),
    (rf"TORN lm=(?P<lm>[01]) flag=(?P<flag>[01]) (?:single|split) reader=(?P<reader>naive|linux) reads=(?P<reads>\d+) writes=\d+ "
     rf"inconsistent=(?P<inconsistent>\d+) update_bit_seen=(?P<seen>\d+) retries=\d+(?: example=(?P<example>{_HEX}))?", kinds.torn),
    (r"(?:EDGE|MOVE|TORN) DONE", kinds.done),
)
# fmt: on
LINES = tuple((re.compile(form), compare) for form, compare in _FORMS)


def replay_transcript(source: str, text: str) -> Replayed:
    """Replay each line (WitnessError if the first line is of no transcript that we know)."""
    so_far = Transcript()
    cases, malformed = [], []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            compare, found = _known(line)
            differences = compare(so_far, found)
            if differences is not None:
                name = f"line {number}: {' '.join(line.split()[:2])}"
                cases.append(Case(name, tuple(differences)))
        except Malformed as error:
            if number == 1:
                raise WitnessError(f"{source}: not a recording: {error}") from None
            malformed.append(f"line {number}: {error}")
    if not so_far.ended:
        so_far.remarks.append("the transcript has no last line: it may have been cut")
    return Replayed("lines of a transcript", tuple(cases), tuple(malformed), tuple(so_far.remarks))


def _known(line: str) -> tuple[Compare, Found]:
    for form, compare in LINES:
        if found := form.fullmatch(line):
            return compare, found
    shown = line if len(line) <= 60 else f"{line[:57]}..."
    raise Malformed(f"{shown!r} is no line of a transcript")
