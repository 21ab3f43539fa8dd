"""Kernel files as witnesses: which belong together, what each says, what all of them lack.

A vmlinux and the kvm.ko built with it are asked together: the module's BTF continues the kernel's,
and KVM's compat struct may be in the module only. Files that have DWARF and no BTF (xen-syms, a
compiler's object) are one group. A file that has both is asked twice.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from runstate_abi.layouts.abi import Abi
from runstate_abi.layouts.conditions import KVM_SIZES
from runstate_abi.layouts.findings import Finding, NotChecked, unreadable
from runstate_abi.layouts.model import NOWHERE, Inside, Layouts, WitnessError
from runstate_abi.layouts.structs.runstate import (
    KVM_VCPU_XEN,
    NATIVE,
    RUNSTATE_STRUCTS,
    structs_expected,
)
from runstate_abi.layouts.witnesses import btf, btf_header, elf, survey, vmlinuz
from runstate_abi.layouts.witnesses.debug_info import BTF, DebugInfo, abi_of, of_no_abi
from runstate_abi.layouts.witnesses.debug_info import Settings as Settings
from runstate_abi.layouts.witnesses.debug_info import identity as identity
from runstate_abi.layouts.witnesses.vmlinuz import KernelImage

if TYPE_CHECKING:
    from runstate_abi.layouts.witnesses import dwarf

DWARF = "dwarf"
Paths = Sequence[str]


class Group(NamedTuple):
    """A kernel and the modules that were built with it, or one file by itself."""

    images: tuple[KernelImage, ...]
    readings: tuple[btf.Btf, ...]

    def with_(self, image: KernelImage, reading: btf.Btf) -> "Group":
        return Group((*self.images, image), (*self.readings, reading))


def asked_of_files(paths: Sequence[str], settings: Settings) -> Iterator[Finding]:
    """Yield one Finding per file and kind of debug info, with what is missing from a group."""
    images: list[KernelImage] = []
    bare: list[dwarf.Source] = []
    unread: dict[str, str] = {}
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
        # Not inside the except: the exception keeps all inflated data alive. A file whose DWARF
        # cannot be read had no readable BTF either, which is reported.
        from runstate_abi.layouts.witnesses.dwarf import opened

        source = None
        with suppress(WitnessError):
            source = opened(path)
        # Damaged BTF is reported even if the file has DWARF too.
        if source is None or has_btf:
            unread[path] = complaint
        if source is not None:
            bare.append(source)
    given_base = vmlinuz.open_image(settings.btf_base) if settings.btf_base else None
    if unread and not given_base and all(image.needs_base for image in images):
        # One cause, one line: without the kernel its modules cannot be read either.
        first, why = next(iter(unread.items()))
        modules = "".join(f"; {image.path} needs the BTF of its kernel" for image in images)
        unread[first], images = why + modules, []
    for path, why in unread.items():
        yield settings.unchecked(path, why)
    if bare:
        asked = [source.path for source in bare]
        yield from _of_all(
            [_of_dwarf(source) for source in bare], asked, [], list(unread), settings
        )
    for group in _groups(images, given_base, settings):
        if isinstance(group, Finding):
            yield group
        else:
            yield from _asked_of_group(group, list(unread), settings)


def _groups(
    images: Sequence[KernelImage], given_base: KernelImage | None, settings: Settings
) -> Iterator[Group | Finding]:
    whole: list[Group] = []
    for image in (image for image in images if not image.split):
        try:
            reading = vmlinuz.read_btf(image)
        except WitnessError as error:
            yield settings.unchecked(image.path, str(error))
            continue
        # A build tree has a vmlinux and the bzImage made of it: two files, one kernel, one BTF.
        blob = bytes(image.btf)
        same = (n for n, group in enumerate(whole) if bytes(group.images[0].btf) == blob)
        place = next(same, None)
        if place is None:
            whole.append(Group((image,), (reading,)))
        else:
            whole[place] = whole[place].with_(image, reading)
    bases = [Group((), (vmlinuz.read_btf(given_base),))] if given_base else list(whole)
    served = dict(enumerate(bases))
    for image in images:
        if image.split:
            try:
                place, reading = _with_its_base(image, bases)
            except WitnessError as error:
                yield settings.unchecked(image.path, str(error))
                continue
            served[place] = served.get(place, Group((), ())).with_(image, reading)
    yield from (whole if given_base else ())
    yield from (group for group in served.values() if group.images)


# A module fits one base. With any other its names and type ids are wrong, which btf detects.
# A module with a distilled base can be read alone, in a group without a kernel.
def _with_its_base(image: KernelImage, bases: Sequence[Group]) -> tuple[int, btf.Btf]:
    if image.distilled_base and not bases:
        return -1, vmlinuz.read_btf(image)
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


def _asked_of_group(group: Group, unread: Sequence[str], settings: Settings) -> Iterator[Finding]:
    # A base that was only given to resolve a module is not asked itself.
    readings = group.readings[len(group.readings) - len(group.images) :]
    infos: list[DebugInfo] = []
    for image, reading in zip(group.images, readings, strict=True):
        infos.append(_of_btf(image, reading, group.readings[0], settings))
        if image.has_dwarf:
            from runstate_abi.layouts.witnesses import dwarf

            source = dwarf.opened(image.path)
            infos += [_of_dwarf(source)] if source else []
    modules = [image.path for image in group.images if image.split or image.is_module]
    asked = [image.path for image in group.images]
    yield from _of_all(infos, asked, modules, unread, settings)


# What some files that belong together say: of runstate each for itself, of a family all at once.
def _of_all(
    infos: Sequence[DebugInfo], paths: Paths, modules: Paths, unread: Paths, settings: Settings
) -> Iterator[Finding]:
    if settings.runstate:
        findings = [_asked(info, settings) for info in infos]
        yield from _with_missing(findings, paths, modules, unread, settings)
    if settings.families:
        from runstate_abi.layouts.witnesses import of_family

        yield from of_family.asked_of_files(infos, paths, settings)


# Structs missing from all files are reported once, on the last Finding.
def _with_missing(
    findings: list[Finding], paths: Paths, modules: Paths, unread: Paths, settings: Settings
) -> list[Finding]:
    found = {layout.name for finding in findings for layout in finding.found}
    asked = [finding for finding in findings if finding.abi]
    # A file that could not be asked may have what is missing: that it could not is the one cause.
    if not asked or any(map(unreadable, findings)):
        return findings
    expected = structs_expected(asked[-1].abi)
    wanted = settings.mirrors.structs or tuple((name, name) for name in expected)
    missing = [
        NotChecked(
            f"struct {name}",
            _why_missing(name, paths, modules, unread),
            not {name, claimed} & settings.allowed,
        )
        for name, claimed in wanted
        if claimed not in found
    ]
    last = findings[-1]
    return [*findings[:-1], last._replace(not_checked=last.not_checked + tuple(missing))]


# Split BTF defines what its base does; a distilled base stands for the kernel's types.
def _of_btf(image: KernelImage, reading: btf.Btf, kernel: btf.Btf, settings: Settings) -> DebugInfo:
    def observe(names: Sequence[str], abi: Abi, inside: Inside) -> Layouts:
        seen = btf.observe(reading, names, abi, inside)
        if not image.distilled_base or kernel is reading:
            return seen
        others = btf.observe(kernel, seen.missing, abi, inside)
        return others._replace(source=seen.source, found=others.found + seen.found)

    return DebugInfo(
        BTF,
        image.path,
        image.abi,
        image.foreign,
        image.kind,
        image.build_id,
        observe,
        (settings.btf_base or "") if image.needs_base else "",
        reading.note,
    )


def _of_dwarf(source: "dwarf.Source") -> DebugInfo:
    from runstate_abi.layouts.witnesses import dwarf

    def observe(names: Sequence[str], abi: Abi, inside: Inside) -> Layouts:
        return dwarf.observe(source, names, abi, inside)

    return DebugInfo(
        DWARF,
        source.path,
        source.file.abi,
        "" if source.file.abi else source.file.description,
        dwarf.description(source),
        elf.build_id(source.file),
        observe,
    )


def _asked(info: DebugInfo, settings: Settings) -> Finding:
    witness, path, abi = info.witness, info.path, abi_of(info, settings)
    if why := of_no_abi(info, settings):
        return settings.unchecked(path, why, witness)
    try:
        seen = info.observe([name for name, _ in settings.names()], abi, NOWHERE)
    except WitnessError as error:
        return settings.unchecked(path, str(error), witness)
    mirrors, claimed = settings.mirrors, dict(settings.names())
    seen = seen._replace(found=tuple(x._replace(name=claimed[x.name]) for x in seen.found))
    claims = survey.claims_for(seen.found, abi)
    assumed = info.abi is None and settings.abi is None
    finding = survey.holding(witness, seen, claims, abi, assumed, mirrors)
    names = tuple((claimed, name) for name, claimed in mirrors.structs if name != claimed)
    source = f"{path}: {info.kind}, {identity(path, info.build_id)}"
    notes = (*finding.notes, *filter(None, [info.note]))
    finding = finding._replace(source=source, path=path, base=info.base, names=names, notes=notes)
    found = [mirrors.named_as_claimed(layout) for layout in finding.found]
    if not survey.evaluate_what_is_there(found, abi.name, KVM_SIZES):
        return finding
    copies, note = _kvm_copies(info, abi)
    for kvm_sizes in copies:
        finding = survey.judged(finding, survey.evaluate_what_is_there(found, abi.name, kvm_sizes))
    return finding._replace(notes=(*finding.notes, note)) if note else finding


# The sizes of KVM's own copies, once for each definition in the file. Xen, and a kernel without
# KVM, has none. Then the conditions that mention them use what KVM's source declares.
def _kvm_copies(info: DebugInfo, abi: Abi) -> tuple[list[dict[str, int]], str]:
    declared = "sizeof(vx->...) is what KVM's source declares: "
    try:
        seen = info.observe((KVM_VCPU_XEN,), abi, NOWHERE).found
    except WitnessError as error:
        return [KVM_SIZES], f"{declared}{error}"
    sized = [[(r.name, r.size) for r in x.members if r.name in KVM_SIZES] for x in seen]
    ways = set(map(tuple, sized))
    if not ways:
        return [KVM_SIZES], f"{declared}there is no struct {KVM_VCPU_XEN} here"
    return [dict(way) for way in sorted(ways)], ""


def _why_missing(name: str, paths: Paths, modules: Paths, unread: Paths) -> str:
    where = f"not in {', '.join(paths)}:"
    if unread:
        return f"{where} {', '.join(unread)} could not be read"
    if name not in RUNSTATE_STRUCTS:
        return where.removesuffix(":")
    if name == NATIVE.name:
        return f"{where} a kernel built without CONFIG_XEN does not have it (else: --struct)"
    if modules:
        return f"{where} is this a module built without CONFIG_KVM_XEN? (--allow-missing {name})"
    return (
        f"{where} KVM declares it in arch/x86/kvm/xen.h, so it is in kvm.ko "
        "when KVM is a module; give kvm.ko too"
    )
