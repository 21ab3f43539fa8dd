"""Kernel files as witnesses: which of them belong together, what each says, what none of them has.

A vmlinux and the kvm.ko built with it are one question: the module's BTF is split and counts on
from the kernel's, and KVM's compat struct is in the module alone. Files that have DWARF and no BTF
(xen-syms, a compiler's object) are one question together. A file that has both is asked for both.

Law of this file: pure functions from paths to Findings; reading is layouts/witnesses' business.
"""

import mmap
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from runstate_abi.layouts.abi import Abi
from runstate_abi.layouts.conditions import KVM_SIZES
from runstate_abi.layouts.findings import Finding, NotChecked, unchecked
from runstate_abi.layouts.model import Layout, Layouts, WitnessError
from runstate_abi.layouts.structs.runstate import (
    KVM_VCPU_XEN,
    NATIVE,
    RUNSTATE_STRUCTS,
    claim,
    structs_expected,
)
from runstate_abi.layouts.witnesses import btf, btf_header, elf, vmlinuz
from runstate_abi.layouts.witnesses.compressed import compression
from runstate_abi.layouts.witnesses.survey import evaluate_what_is_there, holding, judged
from runstate_abi.layouts.witnesses.vmlinuz import KernelImage

if TYPE_CHECKING:
    from runstate_abi.layouts.witnesses import dwarf

WITNESS = "btf"
DWARF = "dwarf"
DWARF_SECTIONS = (".debug_info", ".zdebug_info")


class Question(NamedTuple):
    """How to read the files: ``abi`` where a file does not say, the base given for split BTF."""

    abi: Abi
    abi_given: bool
    btf_base: str | None = None
    allowed: frozenset[str] = frozenset()


class Group(NamedTuple):
    """A kernel and the modules that were built with it, or one file by itself."""

    images: tuple[KernelImage, ...]
    readings: tuple[btf.Btf, ...]


def asked_of_files(paths: Sequence[str], question: Question) -> Iterator[Finding]:
    """Yield one Finding per file and kind of debug info, saying what a group of files lacks."""
    images: list[KernelImage] = []
    bare: list[dwarf.Source] = []
    needed = WITNESS not in question.allowed
    for path in paths:
        has_btf = False
        try:
            image = vmlinuz.open_image(path)
            has_btf = True
            btf_header.header(image.btf, path)
            images.append(image)
            continue
        except WitnessError as error:
            complaint = str(error)
        # Not inside the except: the exception holds all that was inflated.
        source = _dwarf_alone(path)
        # BTF that is there and damaged is told even if the file has DWARF too.
        if source is None or has_btf:
            yield unchecked(WITNESS, path, complaint, needed)
        if source is not None:
            bare.append(source)
    if bare:
        findings = [_asked_for_dwarf(source, question) for source in bare]
        yield from _with_missing(findings, [source.path for source in bare], [], question)
    given_base = vmlinuz.open_image(question.btf_base) if question.btf_base else None
    for group in _groups(images, given_base, needed):
        if isinstance(group, Finding):
            yield group
        else:
            yield from _asked_of_group(group, question)


# What a file has that is not BTF; why its BTF could not be read is told if it has nothing else.
def _dwarf_alone(path: str) -> "dwarf.Source | None":
    from runstate_abi.layouts.witnesses import dwarf

    try:
        return dwarf.opened(path)
    except WitnessError:
        return None


def _groups(
    images: Sequence[KernelImage], given_base: KernelImage | None, needed: bool
) -> Iterator[Group | Finding]:
    whole: list[Group] = []
    for image in images:
        if not image.split or image.distilled_base:
            try:
                _add(whole, image, vmlinuz.read_btf(image))
            except WitnessError as error:
                yield unchecked(WITNESS, image.path, str(error), needed)
    bases = [Group((), (vmlinuz.read_btf(given_base),))] if given_base else whole
    served = dict(enumerate(bases))
    for image in images:
        if image.split and not image.distilled_base:
            try:
                place, reading = _with_its_base(image, bases)
            except WitnessError as error:
                yield unchecked(WITNESS, image.path, str(error), needed)
                continue
            group = served[place]
            served[place] = Group((*group.images, image), (*group.readings, reading))
    yield from (whole if given_base else ())
    yield from (group for group in served.values() if group.images)


# A build tree has a vmlinux and the bzImage made of it: two files, one kernel, one BTF.
def _add(groups: list[Group], image: KernelImage, reading: btf.Btf) -> None:
    for place, group in enumerate(groups):
        other = group.images[0]
        if len(other.btf) == len(image.btf) and bytes(other.btf) == bytes(image.btf):
            groups[place] = Group((*group.images, image), (*group.readings, reading))
            return
    groups.append(Group((image,), (reading,)))


# A module fits one base: with any other its names and type ids point nowhere, which btf notices.
def _with_its_base(image: KernelImage, bases: Sequence[Group]) -> tuple[int, btf.Btf]:
    complaint = None
    for place, group in enumerate(bases):
        try:
            return place, vmlinuz.read_btf(image, group.readings[0])
        except WitnessError as error:
            complaint = complaint or error
    raise complaint or WitnessError(
        f"{image.path}: split BTF: give the vmlinux (or its BTF) that this module was built "
        "against: name it beside the module, or as --btf-base vmlinux"
    )


def _asked_of_group(group: Group, question: Question) -> Iterator[Finding]:
    # A base that was only given to resolve a module is not itself asked.
    readings = group.readings[len(group.readings) - len(group.images) :]
    findings: list[Finding] = []
    for image, reading in zip(group.images, readings, strict=True):
        findings.append(_asked(image, reading, question))
        if _has_dwarf(image):
            from runstate_abi.layouts.witnesses import dwarf

            source = dwarf.opened(image.path)
            if source:
                findings.append(_asked_for_dwarf(source, question))
    modules = [image.path for image in group.images if image.split or image.is_module]
    yield from _with_missing(findings, [i.path for i in group.images], modules, question)


# The last finding of some files that are one question says which structs none of them has.
def _with_missing(
    findings: list[Finding], paths: Sequence[str], modules: Sequence[str], question: Question
) -> list[Finding]:
    found = {layout.name for finding in findings for layout in finding.found}
    # Of a file that could not be asked nobody knows what it has.
    asked = [finding for finding in findings if finding.abi]
    if not asked:
        return findings
    missing = [
        NotChecked(
            f"struct {name}", _why_missing(name, paths, modules), name not in question.allowed
        )
        for name in structs_expected(asked[-1].abi)
        if name not in found
    ]
    last = findings[-1]
    return [*findings[:-1], last._replace(not_checked=last.not_checked + tuple(missing))]


def _has_dwarf(image: KernelImage) -> bool:
    with open(image.path, "rb") as file:
        magic = file.read(8)
        if magic[: len(elf.MAGIC)] == elf.MAGIC:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            sections = elf.parse(data, image.path)
            return any(sections.has(name) for name in DWARF_SECTIONS)
    # A kernel image's payload is stripped; a compressed module may not be.
    return image.is_module and compression(magic) is not None


def _asked(image: KernelImage, reading: btf.Btf, question: Question) -> Finding:
    abi = image.abi or question.abi
    if image.foreign and not question.abi_given:
        return _of_no_abi(WITNESS, image.path, image.foreign, question)
    try:
        seen = btf.observe(reading, RUNSTATE_STRUCTS, abi)
    except WitnessError as error:
        return unchecked(WITNESS, image.path, str(error), WITNESS not in question.allowed)
    finding = _held(WITNESS, seen, abi, assumed=image.abi is None and not question.abi_given)
    finding = finding._replace(
        source=f"{image.path}: {image.kind}, {_short(vmlinuz.identity(image))}",
        path=image.path,
        base=question.btf_base or "" if image.split and not image.distilled_base else "",
    )
    return _conditions(finding, abi, lambda: btf.observe(reading, (KVM_VCPU_XEN,), abi).found)


def _asked_for_dwarf(source: "dwarf.Source", question: Question) -> Finding:
    from runstate_abi.layouts.witnesses import dwarf

    abi = source.file.abi or question.abi
    if source.file.abi is None and not question.abi_given:
        return _of_no_abi(DWARF, source.path, source.file.description, question)
    try:
        seen = dwarf.observe(source, RUNSTATE_STRUCTS, abi)
    except WitnessError as error:
        return unchecked(DWARF, source.path, str(error), DWARF not in question.allowed)
    finding = _held(DWARF, seen, abi, source.file.abi is None and not question.abi_given)
    finding = finding._replace(
        source=f"{source.path}: {dwarf.description(source)}, {_short(dwarf.identity(source))}",
        path=source.path,
    )
    return _conditions(finding, abi, lambda: dwarf.observe(source, (KVM_VCPU_XEN,), abi).found)


# What the machine says is believed; of one without a claim only the user can say the ABI.
def _of_no_abi(witness: str, path: str, machine: str, question: Question) -> Finding:
    why = f"{path}: {machine}: no ABI here is that machine's; --abi says which to compare with"
    return unchecked(witness, path, why, witness not in question.allowed)


def _held(witness: str, seen: Layouts, abi: Abi, assumed: bool) -> Finding:
    claims = {name: claim(name, abi.name) for name in RUNSTATE_STRUCTS}
    return holding(witness, seen, claims, abi, assumed)


def _conditions(
    finding: Finding, abi: Abi, kvm_layouts: Callable[[], tuple[Layout, ...]]
) -> Finding:
    if not evaluate_what_is_there(finding.found, abi.name, KVM_SIZES):
        return finding
    copies, note = _kvm_copies(kvm_layouts)
    for kvm_sizes in copies:
        evaluations = evaluate_what_is_there(finding.found, abi.name, kvm_sizes)
        finding = judged(finding, evaluations)
    return finding._replace(notes=(*finding.notes, note)) if note else finding


# As git abbreviates a commit; the JSON has all of it.
def _short(identity: str) -> str:
    kind, _, digits = identity.partition(" ")
    return f"{kind} {digits[:12]}"


# The sizes of KVM's own copies, once for each way the file defines them: a name may be defined
# more than once. Xen, and a kernel without KVM, has none; then the conditions that mention them
# are about what KVM's source declares.
def _kvm_copies(
    kvm_layouts: Callable[[], tuple[Layout, ...]],
) -> tuple[list[dict[str, int]], str]:
    declared = "sizeof(vx->...) is what KVM's source declares: "
    try:
        seen = kvm_layouts()
    except WitnessError as error:
        return [KVM_SIZES], f"{declared}{error}"
    ways = {
        tuple((row.name, row.size) for row in layout.members if row.name in KVM_SIZES)
        for layout in seen
    }
    if not ways:
        return [KVM_SIZES], f"{declared}there is no struct {KVM_VCPU_XEN} here"
    return [dict(way) for way in sorted(ways)], ""


def _why_missing(name: str, paths: Sequence[str], modules: Sequence[str]) -> str:
    names = ", ".join(paths)
    if name == NATIVE.name:
        return f"not in {names}: a kernel built without CONFIG_XEN does not have it"
    if modules:
        return f"not in {names}: is this a module built without CONFIG_KVM_XEN?"
    return (
        f"not in {names}: KVM declares it in arch/x86/kvm/xen.h, so it is in kvm.ko "
        "when KVM is a module; give kvm.ko too"
    )
