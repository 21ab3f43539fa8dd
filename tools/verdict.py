"""One shipped kernel's verdict: what was judged, what it came to, and the worst of it explained.

Law of this file: it opens, asks and gathers. How that reads is judge_text.py's business, and the
formats of ``check`` get it as a Finding.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from runstate_abi.layouts.abi import X86_64
from runstate_abi.layouts.model import Difference, Layouts, WitnessError, compare
from runstate_abi.layouts.runstate import RUNSTATE_STRUCTS, claim
from runstate_abi.layouts.witnesses import btf, elf
from runstate_abi.tools import judging
from runstate_abi.tools.judging import Tally
from runstate_abi.tools.survey import Finding, NotChecked
from runstate_abi.writer.requests import Request
from runstate_abi.writer.rules import RULE, Profile, not_judged
from runstate_abi.writer.witnesses import object_file
from runstate_abi.writer.witnesses.machine_code import KvmWriter
from runstate_abi.writer.witnesses.object_file import ObjectFile
from runstate_abi.writer.witnesses.observation import RECORDS, Observation
from runstate_abi.writer.witnesses.patching import boot_patches
from runstate_abi.writer.witnesses.shipped import open_code, open_types

WITNESS = "machine-code"


@dataclass(frozen=True, slots=True)
class Judged:
    """What was judged, before anything is said about how it did."""

    path: str
    file: ObjectFile
    writer: KvmWriter
    release: str
    build_id: str
    compiler: str
    patches: dict[str, int]
    layouts: Layouts
    differences: tuple[Difference, ...]
    compared: int

    @property
    def source(self) -> str:
        """The file, the function and what identifies them."""
        name = f"build-id {self.build_id[:12]}" if self.build_id else "no build-id"
        return f"{self.path}: {self.writer.entry.name}, {name}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """How it did: the tally, which rules were passed over, and a run of each broken rule."""

    judged: Judged
    profile: Profile
    tally: Tally
    passed_over: tuple[tuple[str, str], ...]
    shown: dict[str, Observation]
    used: tuple[str, ...]

    @property
    def right(self) -> bool:
        """Is every rule kept, and every struct as claimed?"""
        return not self.tally.broken and not self.judged.differences


def opened(path: str, btf_path: str, entry: str = "") -> Judged:
    """Open a kernel's code and its debug info (WitnessError says why it cannot be judged)."""
    file = open_code(path)
    types = open_types(file, btf_path)
    writer = KvmWriter(file, types, entry)
    seen = btf.observe(types, RUNSTATE_STRUCTS, X86_64)
    held = [compare(claim(one.name, X86_64.name), one, types.source) for one in seen.found]
    symbol = file.find(writer.entry.name)
    return Judged(
        path,
        file,
        writer,
        _release(file),
        elf.build_id(file.file) or "",
        object_file.compiler(file),
        boot_patches(file, symbol) if symbol else {},
        seen,
        tuple(difference for one in held for difference in one.differences),
        sum(one.compared for one in held),
    )


def verdict(
    judged: Judged,
    requests: Sequence[Request],
    profile: Profile,
    jobs: int = 1,
    progress: Callable[[int], None] = lambda done: None,
) -> Verdict:
    """Ask for every update, judge it, and run again what breaks a rule, to be looked at."""
    writer = judged.writer

    def another() -> KvmWriter:
        return KvmWriter(writer.file, writer.btf, writer.entry.name) if jobs > 1 else writer

    found = judging.judged(another, requests, profile, jobs, progress)
    if not found.asked:
        raise WitnessError(f"{judged.path}: cannot judge: it takes none of these requests")
    shown = {rule: writer.observe(one.request, places=True) for rule, one in found.broken.items()}
    if jobs > 1:
        # What the other processes used is not known here: the boundaries use all of it.
        judging.tally(writer, requests[: judging.CHUNK], profile)
    return Verdict(
        judged,
        profile,
        found,
        not_judged(RECORDS, profile),
        shown,
        tuple(sorted(writer.machine.used)),
    )


# vermagic=6.12.107+deb13-amd64 SMP preempt mod_unload: what a module says it was built for.
def _release(file: ObjectFile) -> str:
    try:
        info = bytes(file.file.section(".modinfo") or b"")
    except WitnessError:
        return ""
    for entry in info.split(b"\0"):
        key, _, value = entry.partition(b"=")
        if key == b"vermagic" and value.strip():
            return value.split()[0].decode("ascii", "backslashreplace")
    return ""


def finding(seen: Verdict) -> Finding:
    """Return a verdict as the formats of ``check`` have it."""
    judged, total = seen.judged, seen.tally.asked
    broken = tuple(
        Difference(
            "rule-broken",
            judged.writer.entry.name,
            one.rule,
            X86_64.name,
            RULE[one.rule].sentence,
            f"{one.times} of {total} updates, first {one.request}: {one.violation.why}",
            judged.source,
        )
        for one in seen.tally.broken.values()
    )
    skipped = [NotChecked(f"rule {rule}", why, False) for rule, why in seen.passed_over]
    if seen.tally.skipped:
        why = "this writer has one cache, so its area must not cross a page"
        skipped.append(NotChecked(f"{seen.tally.skipped} updates", why, False))
    prints = ", ".join(f"{k} {v}" for k, v in seen.tally.prints._asdict().items())
    return Finding(
        WITNESS,
        judged.source,
        X86_64.name,
        found=judged.layouts.found,
        compared=judged.compared + total,
        differences=judged.differences + broken,
        not_checked=tuple(skipped),
        notes=(f"profile {seen.profile.name}", f"fingerprints: {prints}"),
        path=judged.path,
    )
