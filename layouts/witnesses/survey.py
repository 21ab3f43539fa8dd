"""Ask witnesses about the structs, and compare their answers with the claims, a Finding for each.

What could not be asked is in the Finding, as NotChecked.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from runstate_abi.layouts import conditions
from runstate_abi.layouts.abi import ABIS, X86_64, Abi, c_layout
from runstate_abi.layouts.findings import Finding, NotChecked, unchecked
from runstate_abi.layouts.model import (
    Difference,
    Layout,
    LayoutError,
    Layouts,
    WitnessError,
    compare,
)
from runstate_abi.layouts.structs.mirrors import AS_CLAIMED, Mirrors
from runstate_abi.layouts.structs.runstate import (
    CLAIMS,
    COMPAT,
    MEMBERS,
    NATIVE,
    RUNSTATE_STRUCTS,
    XEN_COMPAT,
    claim,
)

if TYPE_CHECKING:
    from runstate_abi.layouts.witnesses.compiler import Measurement


def holding(
    witness: str,
    seen: Layouts,
    claims: Mapping[str, Layout],
    abi: Abi,
    assumed: bool = False,
    mirrors: Mirrors = AS_CLAIMED,
    signed: frozenset[tuple[str, str]] = frozenset(),
) -> Finding:
    """Compare every definition of a witness with the claim of its name.

    Another sign is a note, but of the members (struct, name) in ``signed`` a difference.
    """
    found = tuple(layout for layout in seen.found if layout.name in claims)
    given, claims = claims, {name: mirrors.claimed(one) for name, one in claims.items()}
    names = dict(mirrors.members)
    results = [compare(claims[layout.name], layout, seen.source) for layout in found]
    every = [difference for result in results for difference in result.differences]
    differences = tuple(d for d in every if d.kind != SIGN or (d.struct, d.member) in signed)
    contradicting = {d.struct for d in differences}
    sized = {(d.struct, d.member) for d in differences if d.kind == "element-size-mismatch"}
    signs = {name for member in mirrors.signs for name in names.get(member, (member,))}
    notes = [_other_abi(layout) for layout in found if layout.name in contradicting]
    # Equality is by bytes, so a member in the place of padding is no difference. But an update that
    # clears or copies the padding changes that member.
    notes += [
        f"struct {layout.name} has a member {row.declaration} at offset {row.offset}, "
        f"size {row.size}, where the claim has padding: equal by bytes"
        for layout in found
        for row in layout.members
        if claims[layout.name].hides(row)
        and row.name not in {r.name for r in claims[layout.name].rows}
    ]
    notes += [
        f"struct {d.struct}: {d.member} is {d.seen} here and {d.spec} in the claim: equal by bytes"
        for d in every
        if d.kind == SIGN
        and d not in differences
        and d.member not in signs
        and (d.struct, d.member) not in sized
    ]
    wrong = [layout for layout in found if layout.name in contradicting]
    # --member is for runstate's members.
    own = [layout for layout in wrong if layout.name in (*RUNSTATE_STRUCTS, XEN_COMPAT)]
    notes += [_by_other_names(given[layout.name], layout) for layout in own]
    return Finding(
        witness,
        seen.source,
        abi.name,
        assumed,
        found=found,
        compared=sum(result.compared for result in results),
        differences=differences,
        unrecorded=tuple(dict.fromkeys(text for result in results for text in result.unknown)),
        notes=tuple(dict.fromkeys(filter(None, notes))),
    )


# a sign changes no byte, and KVM's selftest has an unsigned state: so only a note
SIGN = "signedness-mismatch"


# The --member options that make a layout equal: where the claim has a member, there are integers of
# other names and the same bytes.
def _by_other_names(claimed: Layout, seen: Layout) -> str:
    options, left = [], {row for row in seen.members if not claimed.hides(row)}
    for row in claimed.members:
        own = [r for r in seen.members if row.offset <= r.offset and r.end <= row.end]
        left -= set(own)
        alike = all((r.type.size, r.type.kind) == (row.type.size, row.type.kind) for r in own)
        if sum(r.size for r in own) != row.size or not alike:
            return ""
        if [r.name for r in own] != [row.name]:
            options.append(f"--member {row.name}={','.join(r.name for r in own)}")
    if left or not options or claimed.size != seen.size:
        return ""
    return f"struct {seen.name}: equal by bytes, only names differ: {' '.join(options)}"


# A layout that contradicts its own ABI's claim but fits another's: a likely explanation.
def _other_abi(seen: Layout) -> str:
    if seen.name not in RUNSTATE_STRUCTS:
        return ""
    bytes_only = seen._replace(alignment=None)
    fitting = [x for x in CLAIMS if not compare(claim(seen.name, x), bytes_only, "").differences]
    if not fitting or seen.abi in fitting:
        return ""
    return f"struct {seen.name} here is what it is on {', '.join(fitting)} (see --abi)"


def judged(
    finding: Finding, evaluations: Iterable[conditions.Evaluation], fails: bool = True
) -> Finding:
    """Add evaluated conditions: a false one is a difference, one not evaluated is not checked."""
    false, unknown, every = [], [], tuple(evaluations)
    for condition, holds, numbers, why in every:
        if holds is None:
            unknown.append(NotChecked(f"condition {condition.id}", why, fails))
        elif not holds:
            where = (finding.abi, f"BUILD_BUG_ON({condition.text})", numbers, finding.source)
            false.append(Difference("condition-false", condition.id, "", *where))
    return finding._replace(
        evaluations=finding.evaluations + every,
        differences=(*finding.differences, *false),
        not_checked=(*finding.not_checked, *unknown),
    )


def encodings() -> Iterator[Finding]:
    """Yield what the encodings written by hand and the C layout rule say, and the conditions."""
    from runstate_abi.layouts import constructs, ctypes_structs

    # Construct has no alignment, and ctypes packs to 4 as Xen and i386 do, not to 1 as KVM does.
    as_i386_aligns = {NATIVE.name: NATIVE, COMPAT.name: CLAIMS["x86_64"].compat_xen}
    for name, module in (("construct", constructs), ("ctypes", ctypes_structs)):
        try:
            seen = module.observe(RUNSTATE_STRUCTS, X86_64.name)
        except (WitnessError, LayoutError) as error:
            # A WitnessError says that this machine's ABI cannot express the structs.
            file, fails = module.__name__.rsplit(".")[-1], isinstance(error, LayoutError)
            yield unchecked(name, f"layouts/{file}.py", str(error), fails)
            continue
        yield holding(name, seen, as_i386_aligns, X86_64)
    yield c_rule()
    for abi_name in ("x86_64", "i386"):
        claims = {name: claim(name, abi_name) for name in RUNSTATE_STRUCTS}
        table = Finding("conditions", "layouts/structs/runstate.py", abi_name)
        yield judged(
            table,
            conditions.evaluate_all(
                (*conditions.CONDITIONS, *conditions.UNASSERTED), claims, abi_name
            ),
        )


def c_rule() -> Finding:
    """Lay out the members by each ABI's C rule, natural and packed, and compare: one Finding."""
    findings = []
    for abi in ABIS:
        native = c_layout(NATIVE.name, MEMBERS, abi)
        found = (native, c_layout(COMPAT.name, MEMBERS, abi, packed=True))
        claims = {name: claim(name, abi.name) for name in RUNSTATE_STRUCTS}
        findings.append(holding("", Layouts("C rule", "layouts/abi.py", found), claims, abi))
    return Finding(
        "C rule",
        "layouts/abi.py",
        f"{len(ABIS)} ABIs",
        compared=sum(finding.compared for finding in findings),
        differences=tuple(d for finding in findings for d in finding.differences),
    )


def compilers_here() -> tuple[str, ...]:
    """Return the compilers to try: gcc and clang, on x86 64-bit and 32-bit."""
    x86 = os.uname().machine in ("x86_64", "i686", "i586", "i386")
    flags = (" -m64", " -m32") if x86 else ("",)
    return tuple(name + flag for name in ("gcc", "clang") for flag in flags)


def not_installed(command: str) -> Finding | None:
    """Return the Finding of a compiler that this machine does not have, None if it has it."""
    import shutil

    if shutil.which(command.split()[0]):
        return None
    return unchecked(command, "", "not installed", fails=False)


def asked_of_compilers(commands: Sequence[str], named: bool, abi: Abi | None) -> Iterator[Finding]:
    """Yield each compiler's layouts of our declarations; if ``named``, it must exist."""
    from runstate_abi.layouts.witnesses import compiler

    for command in commands:
        if not named and (lacking := not_installed(command)):
            yield lacking
            continue
        try:
            observed = compiler.observe(compiler.OURS, command, abi)
        except WitnessError as error:
            yield unchecked(command, "", str(error).removeprefix(f"{command}: "))
            continue
        claims = CLAIMS[observed.abi.name].by_name()
        finding = _as_guests_get_it(holding(command, observed.layouts, claims, observed.abi))
        refused = {condition.id for condition in observed.refused}
        yield judged(
            finding,
            (
                conditions.Evaluation(
                    c, c.id not in refused, "refused" if c.id in refused else "asserted"
                )
                for c in observed.asserted
            ),
        )


# A 32-bit Windows driver that declares the struct as Xen's header does reads it 4 bytes off.
def _as_guests_get_it(finding: Finding) -> Finding:
    native = any(x.name == NATIVE.name and x.size == NATIVE.size for x in finding.found)
    if finding.abi != "i386-windows" or not native:
        return finding
    note = (
        f"struct {NATIVE.name} is {NATIVE.size} bytes here, as Microsoft's compilers align it; a "
        f"32-bit guest is given {COMPAT.size}: declare it with #pragma pack(4)"
    )
    return finding._replace(notes=(*finding.notes, note))


def claims_for(found: Iterable[Layout], abi: Abi) -> dict[str, Layout]:
    """Return the claims by name. Both ways to declare the compat form are in use: where what was
    found is aligned as Xen aligns it, that is the claim, and KVM's packed one otherwise.
    """
    claims = CLAIMS[abi.name]
    expected = claims.by_name()
    if any(x.name == COMPAT.name and x.alignment == claims.compat_xen.alignment for x in found):
        expected[COMPAT.name] = claims.compat_xen
    return expected


def asked_of_source(
    observe: "Callable[..., Measurement]",
    command: str,
    path: str,
    mirrors: Mirrors,
    abi: Abi | None,
) -> Finding:
    """Return a compiler's layouts of the user's structs; ``observe``: header.py's or rust.py's."""
    forms = {NATIVE.name: mirrors.claimed(NATIVE), COMPAT.name: mirrors.claimed(COMPAT)}
    seen = [observe(path, name, forms[claimed], command, abi) for name, claimed in mirrors.structs]
    found_abi = seen[0].abi
    found = tuple(layout for observed in seen for layout in observed.layouts.found)
    expected = claims_for(found, found_abi)
    names = ", ".join(name for name, _ in mirrors.structs)
    layouts = Layouts("compiler", f"{path}: {names}; {seen[0].layouts.source}", found)
    finding = holding(command, layouts, expected, found_abi, mirrors=mirrors)
    finding = _as_guests_get_it(finding)
    unrecorded = [text for observed in seen for text in observed.unrecorded]
    notes = [observed.note for observed in seen if observed.note]
    finding = finding._replace(
        path=path,
        names=tuple((claimed, name) for name, claimed in mirrors.structs),
        unrecorded=tuple(dict.fromkeys((*finding.unrecorded, *unrecorded))),
        notes=tuple(dict.fromkeys((*finding.notes, *notes))),
    )
    as_claimed = map(mirrors.named_as_claimed, found)
    return judged(finding, evaluate_what_is_there(as_claimed, found_abi.name, conditions.KVM_SIZES))


def evaluate_what_is_there(
    found: Iterable[Layout], abi: str, kvm_sizes: Mapping[str, int]
) -> tuple[conditions.Evaluation, ...]:
    """Evaluate the kernel's conditions on the layouts found; none if one of the two is absent."""
    layouts = {layout.name: layout for layout in found}
    if not set(RUNSTATE_STRUCTS) <= set(layouts):
        return ()
    return conditions.evaluate_all(conditions.CONDITIONS, layouts, abi, kvm_sizes)
