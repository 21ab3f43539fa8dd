"""What the pytest plugin's fixtures do: a struct, memory, a reader's code, each held to the ABI.

A comparison that could not be made must fail, with the reason. The text of a failure shows the rows
side by side, or the annotated dump.
"""

import ctypes
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NoReturn, Protocol

from runstate_abi.layouts.abi import ABI, X86_64
from runstate_abi.layouts.findings import Finding, unchecked
from runstate_abi.layouts.model import Layout, LayoutError, Layouts, WitnessError
from runstate_abi.layouts.structs.runstate import COMPAT, NATIVE, claim
from runstate_abi.layouts.witnesses import survey
from runstate_abi.tools.memory import text_view
from runstate_abi.tools.memory.area import LAYOUTS, Excerpt, Span, read_as
from runstate_abi.tools.output import aligned
from runstate_abi.tools.race import rows, text
from runstate_abi.writer import variants, vcpu
from runstate_abi.writer.guest import Reader
from runstate_abi.writer.memory import Window, play
from runstate_abi.writer.race import TORN
from runstate_abi.writer.racing.ordering import MEASURED_GRAIN
from runstate_abi.writer.racing.patterns import INCREASING
from runstate_abi.writer.steps import Step
from runstate_abi.writer.vcpu import Area, Runstate

STRUCTS = {"native": NATIVE.name, "compat": COMPAT.name}
AGAINST = ("cc", "btf", "dwarf", "construct", "ctypes", "rule")
# What pages hold before anybody writes: no byte of it is a value that a test is likely to write.
PATTERN = b"\xa5"


# What the fixture ``runstate_check`` is: (struct, against) -> what was found.
Against = str | type[ctypes.Structure]
Checker = Callable[[str, Against], tuple[Finding, ...]]


def checker(
    given: Mapping[str, Sequence[str]], allowed: frozenset[str], said: Callable[[str], None]
) -> Checker:
    """Return a function that fails unless ``against`` has ``struct`` as the ABI says.

    ``given`` are the compilers and files of the options; ``said`` takes lines for the summary.
    """

    def check(struct: str, against: Against) -> tuple[Finding, ...]:
        name = STRUCTS.get(struct, struct)
        if name not in STRUCTS.values():
            _fail(f"runstate: no struct {struct!r}: there are {', '.join(STRUCTS)}")
        findings = tuple(_asked(name, against, given))
        told = [f for f in findings if any(layout.name == name for layout in f.found)]
        silent = _silent(findings, told, name)
        if against in ("btf", "dwarf") and not findings:
            silent = f"no file was given: --runstate-{against} FILE"
        elif not told:
            every = [item.why for finding in findings for item in finding.not_checked]
            silent = "; ".join(every) or "nobody has it"
        why = f"not checked: struct {name} against {against}: {silent}"
        if silent:
            said(why)
        if silent and against not in allowed:
            _fail(f"runstate: {why}")
        if not told:
            import pytest

            pytest.skip(why.removeprefix("not checked: "))
        for finding in told:
            said(f"{finding.witness}: {finding.source}")
        wrong = [f for f in told if any(d.struct == name for d in f.differences)]
        if wrong:
            _fail("\n".join(_explained(name, wrong)))
        return tuple(told)

    return check


# Why some witnesses that were named could not say this, while others did: a file is not there, a
# kernel does not have the struct.
def _silent(findings: Sequence[Finding], told: Sequence[Finding], name: str) -> str:
    heard = {finding.path for finding in told if finding.path}
    reasons = [
        item.why
        for finding in findings
        for item in finding.not_checked
        if item.what == f"struct {name}"
        or (item.fails and not finding.found and finding.path not in heard)
    ]
    return "; ".join(dict.fromkeys(reasons))


def _asked(name: str, against: Against, given: Mapping[str, Sequence[str]]) -> Iterator[Finding]:
    if isinstance(against, type):
        yield _of_ctypes(against, name)
    elif against == "cc":
        commands = given["cc"] or survey.compilers_here()
        yield from survey.asked_of_compilers(commands, named=bool(given["cc"]), abi=None)
    elif against in ("btf", "dwarf"):
        yield from _of_files(given[against], against)
    elif against == "rule":
        yield survey.c_rule()._replace(found=(claim(name, X86_64.name),))
    elif against in AGAINST:
        yield from (f for f in survey.encodings() if f.witness == against)
    else:
        _fail(f"runstate: against {against!r}: there are {', '.join(AGAINST)} and ctypes classes")


def _of_files(paths: Sequence[str], kind: str) -> Iterator[Finding]:
    from runstate_abi.layouts.witnesses.kernels import Settings, asked_of_files

    findings = list(asked_of_files(paths, Settings()))
    yield from (f for f in findings if f.witness == kind or not f.found)
    other = {f.path for f in findings if f.witness != kind and f.found}
    for path in sorted(other - {f.path for f in findings if f.witness == kind}):
        yield unchecked(kind, path, f"{path}: no {kind.upper()} in it")


# Without the traceback, which would end in this file.
def _fail(text: str) -> NoReturn:
    import pytest

    pytest.fail(text, pytrace=False)


# The user's own ctypes class for the struct, on the ABI that Python runs on.
def _of_ctypes(mirror: type[ctypes.Structure], name: str) -> Finding:
    from runstate_abi.layouts import ctypes_structs

    try:
        layout = ctypes_structs.layout_of(mirror, name, X86_64.name)
    except (WitnessError, LayoutError) as error:
        _fail(f"runstate: class {mirror.__qualname__}: {error}")
    claimed = claim(name, X86_64.name)
    if layout.alignment and name == COMPAT.name:
        # KVM packs it, Xen and i386 align it to 4; a mirror may do either.
        claimed = claimed._replace(alignment=layout.alignment if layout.alignment < 8 else 1)
    seen = Layouts("ctypes", f"class {mirror.__qualname__}", (layout,))
    return survey.holding("ctypes", seen, {name: claimed}, ABI[X86_64.name])


def _explained(name: str, wrong: Sequence[Finding]) -> Iterator[str]:
    for finding in wrong:
        yield from (str(d) for d in finding.differences if d.struct == name)
        yield from (f"note: {note}" for note in finding.notes)
        for layout in finding.found:
            if layout.name == name:
                yield ""
                yield from _side_by_side(claim(name, layout.abi), layout, finding.source)


def _side_by_side(claimed: Layout, seen: Layout, source: str) -> Iterator[str]:
    rows = [["", f"struct {claimed.name} [{claimed.abi}]", source]]
    names = dict.fromkeys(row.name for row in (*claimed.rows, *seen.rows))
    for name in names:
        texts = (
            {r.name: f"{r.offset:#04x} {r.count} x {r.type.size} {r.name}" for r in layout.rows}
            for layout in (claimed, seen)
        )
        cells = [text.get(name, "-") for text in texts]
        rows.append(["  " if cells[0] == cells[1] else "* ", *cells])
    sizes = [f"size {layout.size:#04x}" for layout in (claimed, seen)]
    rows.append(["  " if sizes[0] == sizes[1] else "* ", *sizes])
    yield from aligned(rows)


class TwoPages:
    """Two adjacent guest pages: ``data`` is all of it, offset 4096 the start of the second."""

    def __init__(self) -> None:
        self.window = Window(PATTERN)

    @property
    def data(self) -> bytearray:
        """The bytes, to be written by the code under test."""
        return self.window.data

    def area(self, abi: str, offset: int, update_flag: bool = True) -> Area:
        """Return the area of a guest that registered it ``offset`` bytes into the first page."""
        return Area(abi, offset, update_flag)

    def runstate(self, area: Area) -> Runstate:
        """Return what the area says; a flag that is up stays in ``entry_time``."""
        return vcpu.runstate_of(area.shape, self.window.read(area.offset, area.shape.size))

    def expect(self, area: Area, runstate: Runstate) -> None:
        """Fail with the annotated dump unless the area says ``runstate``, and nothing else changed.

        Padding may be zero or untouched: the versions of the update differ in that.
        """
        wrong = list(self._differences(area, runstate))
        if wrong:
            _fail("\n".join(self._dump(area, wrong)))

    # Each byte that is wrong: its offset in the area, negative before it; what it should be; is.
    def _differences(self, area: Area, runstate: Runstate) -> Iterator[tuple[int, int, int]]:
        expected = bytearray(PATTERN * len(self.data))
        struct = vcpu.image(area.shape, runstate, runstate.entry_time)
        expected[area.offset : area.offset + len(struct)] = struct
        padding = {
            area.offset + offset
            for row in area.shape.layout.padding
            for offset in range(row.offset, row.end)
        }
        for offset, (want, is_) in enumerate(zip(expected, self.data, strict=True)):
            if want != is_ and not (offset in padding and is_ == PATTERN[0]):
                yield offset - area.offset, want, is_

    def _dump(self, area: Area, wrong: Sequence[tuple[int, int, int]]) -> Iterator[str]:
        data = self.window.read(area.offset, area.shape.size)
        seen = read_as(LAYOUTS[area.abi], Excerpt((Span(area.offset, data),)))
        names = {o: row.name for row in area.shape.layout.rows for o in range(row.offset, row.end)}
        changed = frozenset(offset for offset, _, _ in wrong)
        are = "byte is not as it" if len(wrong) == 1 else "bytes are not as they"
        yield f"{len(wrong)} {are} should be:"
        for line in (*text_view.heading(seen, "two_pages", ()), *text_view.body(seen, changed)):
            yield "".join(ink.text for ink in line).rstrip()
        for offset, expected, is_ in wrong[:8]:
            name = names.get(offset, "outside the area")
            yield f"  byte {offset:+#05x} ({name}): {is_:#04x}, not {expected:#04x}"
        if len(wrong) > 8:
            yield f"  and {len(wrong) - 8} more"


def write(
    pages: TwoPages, area: Area, runstate: Runstate, variant: str = "upstream"
) -> tuple[Step, ...]:
    """Write as a version of the hypervisor does, and return the steps (variants.Refused)."""
    if variant not in variants.VARIANT:
        raise ValueError(f"no version {variant!r}: there are {', '.join(variants.VARIANT)}")
    steps = variants.update(variants.VARIANT[variant], runstate, area)
    return play(pages.window, steps)


class ReaderOf(Protocol):
    """What the fixture ``runstate_reader`` is."""

    def __call__(
        self,
        path: str,
        function: str,
        *,
        signature: str = "",
        area: str = "",
        abi: str | None = None,
        variant: str | None = None,
        at: int | None = None,
    ) -> Reader:
        """Return the reader of a function, proved; the parameters are the options of ``race``."""


def reader_of(said: Callable[[str], None]) -> ReaderOf:
    """Return a function that fails unless a compiled reader is safe with the writers of today.

    ``said`` takes lines for the summary.
    """

    def read(
        path: str,
        function: str,
        *,
        signature: str = "",
        area: str = "",
        abi: str | None = None,
        variant: str | None = None,
        at: int | None = None,
    ) -> Reader:
        for kind, name, known in (("ABI", abi, STRUCTS), ("version", variant, variants.VARIANT)):
            if name not in (None, *known):
                _fail(f"runstate: no {kind} {name!r}: there are {', '.join(known)}")
        wanted = rows.Wanted(variant, None, None, abi, at, 1, INCREASING, (), MEASURED_GRAIN)
        code = rows.Code(f"{path}:{function}", signature, area)
        left_out: Counter[str] = Counter()
        try:
            answers = tuple(rows.of_code(code, wanted, left_out))
            why = "" if answers else "; ".join(left_out) or "no writer takes this area"
        except (WitnessError, variants.Refused, ValueError) as error:
            why = str(error)
        if why:
            said(f"not checked: {code.what}: {why}")
            _fail(f"runstate: not checked: {code.what}: {why}")
        said(f"code: {code.what}")
        if any(row.verdict == TORN for row in answers):
            lines = list(text.first_torn(answers))[1:]
            _fail("\n".join("".join(ink.text for ink in line) for line in lines))
        return answers[0].question.reader

    return read
