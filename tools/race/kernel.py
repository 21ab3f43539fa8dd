"""The writer of a shipped kernel, run in an emulator, as rows of ``runstate race``.

Law of this file: it opens a kernel and asks it for updates; who judges them is elsewhere.
"""

from collections import Counter
from collections.abc import Iterator

from runstate_abi.tools.race.rows import Row, Wanted, models
from runstate_abi.writer.guest import READERS
from runstate_abi.writer.race import Question, Writer, ask
from runstate_abi.writer.racing.placements import Placement, placements
from runstate_abi.writer.rulebook.requests import Request
from runstate_abi.writer.steps import Steps
from runstate_abi.writer.vcpu import SHAPES, Area, Runstate


def rows(path: str, btf: str, wanted: Wanted, left_out: Counter[str]) -> Iterator[Row]:
    """Yield the answers for a kernel's machine code: in program order, so on x86-TSO alone."""
    from runstate_abi.tools.judge import verdict

    judged = verdict.opened(path, btf)

    def steps(vcpu: Runstate, area: Area) -> Steps:
        asked = Request(area.abi, area.offset, area.update_flag, False, vcpu)
        return judged.writer.observe(asked).steps()

    writer = Writer(judged.release or path, steps, always_flagged=False)
    for abi in [abi for abi in SHAPES if wanted.abi in (None, abi)]:
        places = [Placement("", wanted.at)] if wanted.at is not None else list(placements(abi))
        for place in places:
            area = Area(abi, place.address)
            takes = judged.writer.takes(Request(abi, area.offset, True, False, _NOBODY))
            for model in [model for model in models(wanted) if not model.barriers]:
                for reader in [r for r in READERS if wanted.reader in (None, r.name)]:
                    if not takes:
                        left_out[f"{writer.name} has one cache, for one page"] += 1
                        continue
                    times = wanted.updates, wanted.entry_times
                    question = Question(writer, reader, model, area, *times, None, wanted.dropped)
                    yield Row(question, place.kind, ask(question))


_NOBODY = Runstate(0, 0, (0, 0, 0, 0))
