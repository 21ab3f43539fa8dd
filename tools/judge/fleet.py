"""Many kernels judged: a row each, those with equal contracts together, and one verdict.

judge_unit() is the work: a plain function of plain values, for any executor.
"""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, as_completed
from contextlib import nullcontext
from typing import NamedTuple

from runstate_abi.layouts.findings import (
    MACHINE_CODE,
    Finding,
    exit_code,
    one_line,
    relabelled,
    spaced,
    unchecked,
)
from runstate_abi.layouts.model import WitnessError
from runstate_abi.layouts.witnesses import elf, packages
from runstate_abi.tools.fleet import Unit, is_module, opened, units, version
from runstate_abi.tools.judge import text, verdict
from runstate_abi.tools.judge.verdict import Verdict
from runstate_abi.tools.output import Bar, aligned, counted
from runstate_abi.writer.rulebook.requests import Request
from runstate_abi.writer.witnesses import shipped
from runstate_abi.writer.witnesses.shipped import Judged, WrongRequest

NAMED_MAX = 4  # kernels of a group that are named in the summary


class Asked(NamedTuple):
    """What every kernel is asked, as values that another process can be sent."""

    btf: str = ""  # where the types are, if not beside the code
    entry: str = ""
    profile: str = ""
    cases: tuple[Request, ...] = ()  # () is every placement
    quick: bool = False
    allowed: frozenset[str] = frozenset()
    verbose: bool = False

    def requests(self, judged: Judged) -> Sequence[Request]:
        """Return the requests for one writer (WrongRequest: a scenario of another writer)."""
        asked = self.cases or verdict.requests(judged, self.quick)
        verdict.refuse(judged, asked)
        return asked


class Row(NamedTuple):
    """What came of one kernel: its verdict, or why there is none."""

    path: str
    findings: tuple[Finding, ...]
    refused: str = ""
    release: str = ""  # what its code was built for
    contract: str = ""
    updates: int = 0
    lines: tuple[str, ...] = ()  # the whole verdict, as of a kernel that is judged alone

    @property
    def name(self) -> str:
        """The kernel's release or version, else the file's name."""
        return self.release or version(self.path) or os.path.basename(self.path)

    @property
    def broken(self) -> tuple[str, ...]:
        """The broken rules, and "layout" if a struct is not as claimed."""
        wrong = (one for finding in self.findings for one in finding.differences)
        names = (one.member if one.kind == "rule-broken" else "layout" for one in wrong)
        return tuple(dict.fromkeys(names))


def refusal(path: str, why: str) -> Row:
    """Return the row of something that cannot be judged."""
    return Row(path, (unchecked(MACHINE_CODE, path, why),), why)


def judged(
    found: Sequence[Unit],
    asked: Asked,
    executor: Executor | None,
    progress: Callable[[str], None] = lambda path: None,
) -> list[Row]:
    """Judge all units by ``executor`` or, without one, here; the rows are in the units' order.

    ``progress`` gets the first path of each unit that is done.
    """
    if executor is None:
        rows = []
        for unit in found:
            rows += judge_unit(unit, asked)
            progress(unit[0])
        return rows
    futures = {executor.submit(judge_unit, unit, asked): unit for unit in found}
    for future in as_completed(futures):
        progress(futures[future][0])
    return [row for future, unit in futures.items() for row in _result(future, unit)]


# A worker that was killed (no memory left) is one unit that could not be judged, not the end.
def _result(future: Future[list[Row]], unit: Unit) -> list[Row]:
    try:
        return list(future.result())
    except Exception as error:
        why = f"{unit[0]}: its worker failed: {type(error).__name__}: {spaced(error)}"
        return [refusal(unit[0], why)]


def chosen(paths: Sequence[str]) -> tuple[list[Unit], list[tuple[str, str]]]:
    """Return the units in files and folders, and (why, path) for folders that have none.

    Files that are named one by one may be anywhere: one module without its kernel and one kernel
    without its module belong together, if these are all. A module that never has a writer is judged
    only with its kernel, or if it is named.
    """
    found, complaints = units(paths)
    modules = [all(map(is_module, unit)) for unit in found]
    if len(found) == 2 and sum(modules) == 1 and not any(map(os.path.isdir, paths)):
        return [(*found[0], *found[1])], complaints
    kept = [u for u in found if not all(map(_has_no_writer, u)) or not set(paths).isdisjoint(u)]
    if found and not kept:
        complaints += [(f"{path}: no kvm.ko in it", path) for path in paths]
    return kept, complaints


WITH_WRITER = ("kvm.ko", "xen-syms")
WITHOUT_WRITER = re.compile(r"kvm-(intel|amd)\.ko.*|.*\.debug")


def _has_no_writer(path: str) -> bool:
    return bool(WITHOUT_WRITER.fullmatch(os.path.basename(path)))


def judge_unit(unit: Unit, asked: Asked, alone: int = 0) -> list[Row]:
    """Judge the kernels of one unit; an archive's files are called ``a.deb!boot/vmlinuz``.

    ``alone``: nothing else is judged, so this many processes may share one kernel's updates, and a
    bar shows how far they are.
    """
    with opened(unit) as (groups, labels, failed):
        rows = [refusal(path, why) for path, why in failed]
        for group in groups:
            names = {path: os.path.basename(labels.get(path, path)) for path in group}
            codes = [path for path in group if _is_code(path, names[path], asked.entry)]
            others = [path for path in group if path not in codes]
            types = [path for path in others if _may_have_types(path, names[path])]
            rows += [_judged_code(code, types, asked, alone) for code in codes]
            strange = [path for path in others if path not in types]
            rows += [refusal(path, _why_not(path, asked)) for path in strange]
            if group and not codes and not strange:
                why = f"{group[0]}: cannot judge: no kvm.ko with it, which has the writer"
                rows.append(refusal(group[0], why))
        if not rows:
            rows = [refusal(unit[0], f"{unit[0]}: no kvm.ko and no xen-syms in this package")]
        return [relabelled(row, labels) for row in rows]


# Is this file run, and not only asked for types? What should have a writer is, and says that it has
# none; so is a vmlinux with KVM built in, and any object file with one.
def _is_code(path: str, name: str, entry: str) -> bool:
    if WITHOUT_WRITER.fullmatch(name):
        return False
    named = name.startswith(WITH_WRITER)
    try:
        file = shipped.open_code(path)
    except WitnessError:
        return named
    return shipped.has_code(file) and (named or shipped.has_writer(file, entry))


def _may_have_types(path: str, name: str) -> bool:
    start = packages.first_bytes(path)
    return packages.wanted(name) or packages.begins_like_a_kernel(start) or start[:4] == elf.MAGIC


# Of a file that nobody would ask if it had not been named.
def _why_not(path: str, asked: Asked) -> str:
    try:
        shipped.opened(path, asked.btf, asked.entry, asked.profile)
    except (WitnessError, WrongRequest) as error:
        return str(error)
    return f"{path}: cannot judge: no writer in it"


def _judged_code(code: str, types: Sequence[str], asked: Asked, alone: int) -> Row:
    try:
        kernel = _opened(code, types, asked)
        requests = asked.requests(kernel)
        with Bar(len(requests), "judging") if alone else nullcontext() as bar:
            done = bar.at if bar else _quiet
            seen = verdict.verdict(kernel, requests, alone or 1, done, asked.allowed)
            return _row(seen, asked.verbose)
    except (WitnessError, WrongRequest) as error:
        return refusal(code, str(error))


def _quiet(done: int) -> None:
    pass


# A module needs the types of its kernel: of several, those that its BTF fits. Code with types of
# its own needs none beside it.
def _opened(code: str, types: Sequence[str], asked: Asked) -> Judged:
    first: WitnessError | None = None
    # The other modules of a kernel have no types that it needs: they come last.
    beside = sorted(types, key=is_module)
    for path in [asked.btf] if asked.btf else [*beside, ""]:
        try:
            return shipped.opened(code, path, asked.entry, asked.profile)
        except WitnessError as error:
            first = first or error
    assert first is not None
    raise first


def _row(seen: Verdict, verbose: bool) -> Row:
    kernel = seen.judged
    return Row(
        kernel.path,
        tuple(verdict.findings(seen)),
        release=kernel.release,
        contract=seen.tally.prints.contract,
        updates=seen.tally.asked,
        lines=tuple(text.lines(seen, verbose)),
    )


def exit_status(rows: Sequence[Row]) -> int:
    """Return the exit status: a broken rule comes before what could not be judged."""
    return exit_code([finding for row in rows for finding in row.findings])


def lines(rows: Sequence[Row]) -> Iterator[str]:
    """Yield the report: a row for each kernel, then the contracts, then the verdict.

    One kernel alone has the report that it has if it is the only file named.
    """
    if len(rows) == 1 and rows[0].lines:
        yield from rows[0].lines
        return
    table = [[_mark(row), row.name, *_cells(row)] for row in rows]
    for line, row in zip(aligned(table), rows, strict=True):
        yield one_line(line)
        yield from (one_line(f"    {said}") for said in _wrong(row))
    yield ""
    yield from _contracts([row for row in rows if not row.refused])
    yield _verdict(rows)


def _mark(row: Row) -> str:
    return "refused" if row.refused else "BROKEN" if row.broken else "right"


def _cells(row: Row) -> list[str]:
    if row.refused:
        return [row.refused]
    return [row.contract, counted(row.updates, "update"), row.path]


def _wrong(row: Row) -> Iterator[str]:
    for finding in row.findings:
        for difference in finding.differences:
            if difference.kind == "rule-broken":
                line = "".join(f", at {code}" for code in difference.code[:1])
                yield f"BROKEN  {difference.member}: {difference.seen}{line}"
            else:
                yield f"DIFFERS  {difference}"
        yield from (note for note in finding.notes if note.startswith("allowed: "))


# Kernels with the same contract write the same bytes in every epoch.
def _contracts(rows: Sequence[Row]) -> Iterator[str]:
    groups: dict[str, list[str]] = {}
    for row in rows:
        groups.setdefault(row.contract, []).append(row.name)
    kernels = counted(len(rows), "kernel")
    if len(groups) == 1:
        yield f"{kernels}, one contract {next(iter(groups))}"
    elif groups:
        yield f"{kernels}, {len(groups)} contracts:"
        cells = [[c, counted(len(names), "kernel"), _named(names)] for c, names in groups.items()]
        yield from (one_line(f"  {line}") for line in aligned(cells))


def _named(names: Sequence[str]) -> str:
    rest = len(names) - NAMED_MAX
    more = [f"and {rest} more"] if rest > 0 else []
    return ", ".join([*names[:NAMED_MAX], *more])


def _verdict(rows: Sequence[Row]) -> str:
    asked = [row for row in rows if not row.refused]
    broken = [row for row in asked if row.broken]
    kernels = counted(len(asked), "kernel")
    more = f", {len(rows) - len(asked)} refused" if len(rows) > len(asked) else ""
    if broken:
        what = ", ".join(dict.fromkeys(name for row in broken for name in row.broken))
        verb = "breaks" if len(broken) == 1 else "break"
        return f"WRONG: {len(broken)} of {kernels} {verb} a rule ({what}){more}"
    return f"not everything was judged: {kernels} right{more}" if more else f"right: {kernels}"
