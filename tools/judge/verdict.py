"""One shipped kernel's verdict: what was judged, what it came to, and the worst of it explained.

Law of this file: it opens, asks and gathers. How that reads is text.py's business, and the
formats of ``check`` get it as a Finding.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from runstate_abi.layouts.abi import X86_64
from runstate_abi.layouts.findings import Finding, NotChecked
from runstate_abi.layouts.model import Difference, Layouts, WitnessError, compare
from runstate_abi.layouts.structs.runstate import RUNSTATE_STRUCTS, claim
from runstate_abi.layouts.witnesses import elf
from runstate_abi.tools.judge import tallies
from runstate_abi.tools.judge.packed import unpacked
from runstate_abi.tools.judge.tallies import Tally, counted
from runstate_abi.writer.rulebook.requests import HVM, Request, everything, quick, without_caches
from runstate_abi.writer.rules import NEWEST, PROFILE, RULES, Profile, Rule, not_judged
from runstate_abi.writer.witnesses import object_file
from runstate_abi.writer.witnesses.c_types import Types
from runstate_abi.writer.witnesses.machine_code import KvmWriter, require_entry
from runstate_abi.writer.witnesses.object_file import ObjectFile
from runstate_abi.writer.witnesses.observation import RECORDS, Observation
from runstate_abi.writer.witnesses.shipped import boot_patches, open_code, open_types
from runstate_abi.writer.witnesses.xen_code import ENTRY, XenWriter

WITNESS = "machine-code"


class WrongRequest(Exception):
    """A profile or a scenario of Xen's for KVM's writer, or the other way."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What was judged, before anything is said about how it did."""

    path: str
    file: ObjectFile
    writer: KvmWriter | XenWriter
    profile: Profile
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
    tally: Tally
    passed_over: tuple[tuple[str, str], ...]
    shown: dict[str, Observation]

    @property
    def right(self) -> bool:
        """Is every rule kept, and every struct as claimed?"""
        return not self.tally.broken and not self.judged.differences

    @property
    def untested(self) -> tuple[tuple[str, str], ...]:
        """(rule, why) of each rule that none of the updates asked about."""
        passed_over = {name for name, _ in self.passed_over}
        return tuple(
            (rule.name, f"not asked: it takes {rule.wanted}")
            for rule in RULES
            if rule.name not in passed_over
            and not self.tally.tested[rule.name]
            and rule.name not in self.tally.broken
        )


def opened(path: str, btf_path: str, entry: str = "", profile: str = "") -> Judged:
    """Open a kernel's or a hypervisor's code and its debug info, with the profile for it.

    WitnessError says why it cannot be judged, WrongRequest that this is no profile for it.
    """
    with unpacked(path, btf_path) as (binary, btf):
        file = open_code(binary)
        rules = _profile(file, profile)
        if not rules.name.startswith("xen"):
            require_entry(file, entry)
        types = open_types(file, btf)
    writer = _writer(file, types, entry, rules)
    seen = types.layouts(RUNSTATE_STRUCTS)
    held = [compare(claim(one.name, X86_64.name), one, types.source) for one in seen.found]
    symbol = file.find(writer.entry.name)
    return Judged(
        path,
        file,
        writer,
        rules,
        _release(file),
        elf.build_id(file.file) or "",
        object_file.compiler(file),
        boot_patches(file, symbol) if symbol else {},
        seen,
        tuple(difference for one in held for difference in one.differences),
        sum(one.compared for one in held),
    )


# Xen has its own writer, and its own profiles.
def _profile(file: ObjectFile, name: str) -> Profile:
    is_xen = file.find(ENTRY) is not None
    name = name or ("xen-va" if is_xen else NEWEST.name)
    if name.startswith("xen") != is_xen:
        raise WrongRequest(f"--profile {name}: not for {'Xen' if is_xen else 'KVM'}'s writer")
    return PROFILE[name]


def _writer(file: ObjectFile, types: Types, entry: str, profile: Profile) -> KvmWriter | XenWriter:
    if profile.name.startswith("xen"):
        return XenWriter(file, types, physical=profile.name == "xen-phys")
    return KvmWriter(file, types, entry)


def requests(judged: Judged, boundaries_only: bool) -> list[Request]:
    """Return what a writer is asked: every placement, or the boundaries and the failures alone."""
    if isinstance(judged.writer, XenWriter):
        return [one for one in without_caches(boundaries_only) if judged.writer.takes(one)]
    return list(quick() if boundaries_only else everything())


def refuse(judged: Judged, requests: Sequence[Request]) -> None:
    """Refuse a scenario that is another writer's (WrongRequest)."""
    for one in requests:
        if one.scenario == HVM and not isinstance(judged.writer, XenWriter):
            raise WrongRequest(f"--case {one}: hvm is for Xen's writer")


def verdict(
    judged: Judged,
    requests: Sequence[Request],
    jobs: int = 1,
    progress: Callable[[int], None] = lambda done: None,
) -> Verdict:
    """Ask for every update, judge it, and run again what breaks a rule, to be looked at."""
    writer, profile = judged.writer, judged.profile

    def another() -> KvmWriter | XenWriter:
        # Each process has an emulator of its own.
        name = writer.entry.name
        return _writer(writer.file, writer.types, name, profile) if jobs > 1 else writer

    found = tallies.judged(another, requests, profile, jobs, progress)
    if not found.asked:
        raise WitnessError(f"{judged.path}: cannot judge: it takes none of these requests")
    shown = {rule: writer.observe(one.request, places=True) for rule, one in found.broken.items()}
    return Verdict(
        judged,
        found,
        not_judged(RECORDS, profile),
        shown,
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


def findings(seen: Verdict) -> Iterator[Finding]:
    """Yield a verdict as the formats of ``check`` have it: the structs, and then each rule."""
    judged, total = seen.judged, seen.tally.asked
    unjudged = (*seen.passed_over, *seen.untested)
    skipped = [NotChecked(f"rule {rule}", why, False) for rule, why in unjudged]
    for name in judged.layouts.missing:
        why = "not in the debug info (clang drops what only sizeof uses): as claimed here"
        skipped.append(NotChecked(f"struct {name}", why, False))
    if seen.tally.skipped:
        why = "this writer has one cache, so its area must not cross a page"
        skipped.append(NotChecked(counted(seen.tally.skipped, "update"), why, False))
    prints = ", ".join(f"{name} {text}" for name, text in seen.tally.prints._asdict().items())
    notes = (
        f"profile {judged.profile.name}",
        f"{counted(total, 'update')}; fingerprints: {prints}",
    )
    whole = Finding(WITNESS, judged.source, X86_64.name, path=judged.path, notes=notes)
    yield whole._replace(
        found=judged.layouts.found,
        compared=judged.compared,
        differences=judged.differences,
        not_checked=tuple(skipped),
        about="writer",
    )
    for rule in RULES:
        if rule.name not in dict(unjudged):
            yield whole._replace(
                compared=seen.tally.tested[rule.name],
                differences=_broken(seen, rule),
                about=f"rule {rule.name}",
            )


def _broken(seen: Verdict, rule: Rule) -> tuple[Difference, ...]:
    one = seen.tally.broken.get(rule.name)
    if one is None:
        return ()
    count = f"{one.times} of {counted(seen.tally.asked, 'update')}"
    said = f"{count}, first {one.request}: {one.violation.why}"
    function = seen.judged.writer.entry.name
    return (
        Difference(
            "rule-broken", function, rule.name, X86_64.name, rule.sentence, said, seen.judged.source
        ),
    )
