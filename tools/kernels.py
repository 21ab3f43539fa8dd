"""Kernel files as witnesses: which of them belong together, what each says, what none of them has.

A vmlinux and the kvm.ko built with it are one question: the module's BTF is split and counts on
from the kernel's, and KVM's compat struct is in the module alone.

Law of this file: pure functions from paths to Findings; reading is layouts/witnesses' business.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from runstate_abi.layouts.abi import Abi
from runstate_abi.layouts.invariants import KVM_SIZES
from runstate_abi.layouts.model import WitnessError
from runstate_abi.layouts.runstate import (
    KVM_VCPU_XEN,
    NATIVE,
    RUNSTATE_STRUCTS,
    claim,
    structs_expected,
)
from runstate_abi.layouts.witnesses import btf, vmlinuz
from runstate_abi.layouts.witnesses.vmlinuz import KernelImage
from runstate_abi.tools.survey import (
    Finding,
    NotChecked,
    evaluate_what_is_there,
    holding,
    judged,
    unchecked,
)

WITNESS = "btf"


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
    """Yield one Finding per file, and one for each struct that a group of files does not have."""
    images: list[KernelImage] = []
    needed = WITNESS not in question.allowed
    for path in paths:
        try:
            images.append(vmlinuz.open_image(path))
        except WitnessError as error:
            yield unchecked(WITNESS, path, str(error), needed)
    given_base = vmlinuz.open_image(question.btf_base) if question.btf_base else None
    for group in _groups(images, given_base, needed):
        if isinstance(group, Finding):
            yield group
        else:
            yield from _asked_of_group(group, question)


def _groups(
    images: Sequence[KernelImage], given_base: KernelImage | None, needed: bool
) -> Iterator[Group | Finding]:
    whole: list[Group] = []
    for image in images:
        if not image.split or image.distilled_base:
            try:
                whole.append(Group((image,), (vmlinuz.read_btf(image),)))
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


# A module fits one base: with any other its names and type ids point nowhere, which btf notices.
def _with_its_base(image: KernelImage, bases: Sequence[Group]) -> tuple[int, btf.Btf]:
    complaint = None
    for place, group in enumerate(bases):
        try:
            return place, vmlinuz.read_btf(image, group.readings[0])
        except WitnessError as error:
            complaint = complaint or error
    if complaint:
        raise complaint
    return 0, vmlinuz.read_btf(image)  # which says that a base is needed


def _asked_of_group(group: Group, question: Question) -> Iterator[Finding]:
    # A base that was only given to resolve a module is not itself asked.
    readings = group.readings[len(group.readings) - len(group.images) :]
    findings = [_asked(i, r, question) for i, r in zip(group.images, readings, strict=True)]
    found = {layout.name for finding in findings for layout in finding.found}
    missing = [
        NotChecked(f"struct {name}", _why_missing(name, group), name not in question.allowed)
        for name in structs_expected(findings[-1].abi)
        if name not in found
    ]
    last = findings[-1]
    findings[-1] = last._replace(not_checked=last.not_checked + tuple(missing))
    yield from findings


def _asked(image: KernelImage, reading: btf.Btf, question: Question) -> Finding:
    abi = image.abi or question.abi
    seen = btf.observe(reading, RUNSTATE_STRUCTS, abi)
    claims = {name: claim(name, abi.name) for name in RUNSTATE_STRUCTS}
    assumed = image.abi is None and not question.abi_given
    finding = holding(WITNESS, seen, claims, abi, assumed)._replace(
        source=f"{image.path}: {image.kind}, {_short(vmlinuz.identity(image))}",
        path=image.path,
    )
    if not evaluate_what_is_there(seen.found, abi.name, KVM_SIZES):
        return finding
    copies, note = _kvm_copies(reading, abi)
    for kvm_sizes in copies:
        finding = judged(finding, evaluate_what_is_there(seen.found, abi.name, kvm_sizes))
    return finding._replace(notes=(*finding.notes, note)) if note else finding


# As git abbreviates a commit; the JSON has all of it.
def _short(identity: str) -> str:
    kind, _, digits = identity.partition(" ")
    return f"{kind} {digits[:12]}"


# The sizes of KVM's own copies, once for each way the file defines them: a name may be defined
# more than once. Xen, and a kernel without KVM, has none; then the conditions that mention them
# are about what KVM's source declares.
def _kvm_copies(reading: btf.Btf, abi: Abi) -> tuple[list[dict[str, int]], str]:
    declared = "sizeof(vx->...) is what KVM's source declares: "
    try:
        seen = btf.observe(reading, (KVM_VCPU_XEN,), abi).found
    except WitnessError as error:
        return [KVM_SIZES], f"{declared}{error}"
    ways = {
        tuple((row.name, row.size) for row in layout.members if row.name in KVM_SIZES)
        for layout in seen
    }
    if not ways:
        return [KVM_SIZES], f"{declared}there is no struct {KVM_VCPU_XEN} here"
    return [dict(way) for way in sorted(ways)], ""


def _why_missing(name: str, group: Group) -> str:
    names = ", ".join(image.path for image in group.images)
    modules = [image.path for image in group.images if image.split or image.is_module]
    if name == NATIVE.name:
        return f"not in {names}: a kernel built without CONFIG_XEN does not have it"
    if modules:
        return f"not in {names}: is this a module built without CONFIG_KVM_XEN?"
    return (
        f"not in {names}: KVM declares it in arch/x86/kvm/xen.h, so it is in kvm.ko "
        "when KVM is a module; give kvm.ko too"
    )
