"""``runstate diff``: two layouts, each shift with the rule that explains it."""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from runstate_abi.layouts.abi import ABI, X86_64
from runstate_abi.layouts.exit_status import DIFFERENT, EQUAL, NOT_CHECKED
from runstate_abi.layouts.findings import Finding
from runstate_abi.layouts.model import Layout, WitnessError, compare
from runstate_abi.layouts.structs.family_names import RUNSTATE
from runstate_abi.layouts.structs.runstate import CLAIMS, RUNSTATE_STRUCTS
from runstate_abi.tools.compare import shifts
from runstate_abi.tools.compare.shifts import END, Pair, Shift
from runstate_abi.tools.options import add_family, add_format, new_parser
from runstate_abi.tools.output import aligned

if TYPE_CHECKING:
    from runstate_abi.layouts.structs.families import Family

SCHEMA = "runstate-diff/1"
CLAIM_WORDS = ("native", "compat", "xen-compat")

_DESCRIPTION = "Two layouts, each shift with the rule that explains it."
_EPILOG = f"""\
A and B are each one of
  {", ".join(CLAIM_WORDS)}   the claim, for x86_64; native@i386 is that of another ABI
  cc:COMMAND                   what a compiler makes of our declarations: 'cc:gcc -m32'
  STRUCT                       the claim of another family, for x86_64 or @ABI: STRUCT@arm64
  FILE                         vmlinux, vmlinuz, kvm.ko, raw BTF: all it knows of both structs
                               (of those of --family); - is stdin

Equal bytes are equal, whatever the holes are called. Two claims are compared with each other;
otherwise structs of the same name are, and one that only one side has is "could not check".

exit status: 0 equal, 1 different, 2 wrong usage, 3 could not check
"""


class Side(NamedTuple):
    """One of the two sides."""

    label: str
    layouts: tuple[Layout, ...]
    claim: bool  # it is a single layout, which is compared even if the names differ


class Compared(NamedTuple):
    """What was compared, and complaints about what only one side has (or neither)."""

    pairs: tuple[Pair, ...]
    alone: tuple[str, ...]


def main(argv: list[str]) -> int:
    """Compare two sides and print each pair of layouts."""
    made = parser()
    options = made.parse_args(argv)
    families = _families(options)
    for text in (options.first, options.second):
        word, _, abi = text.partition("@")
        if (word in CLAIM_WORDS or _family_of(word)) and abi and abi not in ABI:
            made.error(f"{text}: no ABI {abi!r}: there are {', '.join(ABI)}")
        if (one := _family_of(word)) and not _claims(one, text):
            made.error(f"{text}: no struct {word} on {abi or X86_64.name}")
    if [options.first, options.second, options.btf_base].count("-") > 1:
        made.error("-: standard input is one file, and can be one side")
    first, second = _sides(options, families)
    names = tuple(name for one in families for name in one.structs) or RUNSTATE_STRUCTS
    outcome = compared(first, second, frozenset(options.allow_missing), names)
    for text in outcome.alone:
        print(f"runstate: {text}", file=sys.stderr)
    if options.format == "json":
        print(json.dumps(as_json(first, second, outcome), indent=2))
    else:
        print("\n".join(as_text(first, second, outcome)))
    return exit_code(outcome)


def parser() -> argparse.ArgumentParser:
    made = new_parser("diff", _DESCRIPTION, _EPILOG)
    add = made.add_argument
    add("first", metavar="A", help="a claim, a compiler or a file: see below")
    add("second", metavar="B", help="another")
    add("--btf-base", metavar="FILE", help="the kernel of a module's split BTF")
    missing = "a struct that one side need not have (repeatable)"
    add("--allow-missing", metavar="NAME", action="append", default=[], help=missing)
    add_family(made)
    add_format(made, "text", "json")
    return made


def _family_of(word: str) -> "Family | None":
    if not word.isidentifier() or word in RUNSTATE_STRUCTS or word in CLAIM_WORDS:
        return None
    from runstate_abi.layouts.structs.families import of_struct

    return of_struct(word)


# The families that files are asked about: the one named, or those of the claims.
def _families(options: argparse.Namespace) -> "tuple[Family, ...]":
    if options.family != RUNSTATE:
        from runstate_abi.layouts.structs.families import families

        return families(options.family)
    found = (_family_of(text.partition("@")[0]) for text in (options.first, options.second))
    return tuple({one.name: one for one in found if one}.values())


# Two declarations in use are two claims.
def _claims(family: "Family", text: str) -> tuple[Layout, ...]:
    from runstate_abi.layouts.structs.families import inner_claims, known_structs

    name, _, abi = text.partition("@")
    found = tuple(x for x in family.claims.get(abi or X86_64.name, ()) if x.name == name)
    known = known_structs(abi or X86_64.name)
    inner = (each for claim in found for each in inner_claims(claim, known).values())
    return (*found, *(layout for each in inner for layout in each))


def _sides(options: argparse.Namespace, families: "tuple[Family, ...]") -> tuple[Side, Side]:
    texts = [options.first, options.second, options.btf_base]
    if "-" not in texts:
        return _side(texts[0], texts[2], families), _side(texts[1], texts[2], families)
    from runstate_abi.layouts.witnesses import standard_input

    with standard_input.as_file() as path:
        first, second, base = (path if text == "-" else text for text in texts)
        sides = _side(first, base, families), _side(second, base, families)
    named = [side._replace(label=side.label.replace(path, standard_input.NAME)) for side in sides]
    return named[0], named[1]


def _side(text: str, btf_base: str | None, families: "tuple[Family, ...]") -> Side:
    word, _, abi = text.partition("@")
    if word in CLAIM_WORDS:
        return Side(text, (CLAIMS[abi or X86_64.name][CLAIM_WORDS.index(word)],), claim=True)
    if family := _family_of(word):
        return Side(text, _claims(family, text), claim=True)
    if not text.startswith("cc:"):
        return Side(text, _of_file(text, btf_base, families), claim=False)
    if families:
        from runstate_abi.layouts.witnesses import of_family

        command = text.removeprefix("cc:")
        said = [of_family.asked_of_compilers(one, [command], True, None) for one in families]
        return Side(text, _found(finding for one in said for finding in one), claim=False)
    from runstate_abi.layouts.witnesses import compiler

    found = compiler.observe(compiler.OURS, text.removeprefix("cc:")).layouts.found
    return Side(text, tuple(x for x in found if x.name in RUNSTATE_STRUCTS), claim=False)


# A definition that a file has twice, byte for byte, is one.
def _of_file(path: str, btf_base: str | None, families: "tuple[Family, ...]") -> tuple[Layout, ...]:
    from runstate_abi.layouts.witnesses import kernels

    allowed = frozenset((*RUNSTATE_STRUCTS, *(one.name for one in families)))
    settings = kernels.Settings(None, btf_base, allowed, families=families, runstate=not families)
    return _found(kernels.asked_of_files([path], settings))


def _found(findings: Iterable[Finding]) -> tuple[Layout, ...]:
    found: list[Layout] = []
    for finding in findings:
        # Two layouts are compared, and not the conditions.
        unread = (x for x in finding.not_checked if not x.what.startswith("condition "))
        failed = [item for item in unread if item.fails]
        if failed:
            raise WitnessError(failed[0].why)
        # Raw BTF has no machine in it, and to compare two files takes none.
        unsaid = "ABI not recorded" if finding.assumed else ""
        found += (layout._replace(abi=unsaid or layout.abi) for layout in finding.found)
    return tuple(dict.fromkeys(found))


def compared(
    first: Side,
    second: Side,
    allowed: frozenset[str] = frozenset(),
    structs: tuple[str, ...] = RUNSTATE_STRUCTS,
) -> Compared:
    """Pair the layouts of two sides: two claims in any case, all others by name."""
    if first.claim and second.claim:
        return Compared((shifts.pair(first.layouts[0], second.layouts[0], second.label),), ())
    names = {x.name for side in (first, second) if side.claim for x in side.layouts}
    pairs: list[Pair] = []
    alone: list[str] = []
    inner = (x.name for side in (first, second) for x in side.layouts if "." in x.name)
    for name in dict.fromkeys((*structs, *inner)):
        if names and name not in names:
            continue
        here, there = ([x for x in s.layouts if x.name == name] for s in (first, second))
        here = _fitting(here, there) if first.claim else here
        there = _fitting(there, here) if second.claim else there
        pairs += (shifts.pair(a, b, second.label) for a in here for b in there)
        lacking = [s.label for s, found in ((first, here), (second, there)) if not found]
        # Of a struct in a struct, what is around it says that it is not there.
        if len(lacking) == 1 and name not in allowed and "." not in name:
            alone.append(f"could not check struct {name}: not in {lacking[0]}")
    if not pairs and not alone:
        alone.append(f"nothing to compare: {first.label} and {second.label} share no struct")
    return Compared(tuple(pairs), tuple(alone))


# Of two declarations in use the one that is like what it is compared with.
def _fitting(claims: list[Layout], seen: list[Layout]) -> list[Layout]:
    if len(claims) < 2 or not seen:
        return claims[:1]
    return [min(claims, key=lambda claim: len(compare(claim, seen[0], "").differences))]


def exit_code(outcome: Compared) -> int:
    """Return 1 if anything differs, else 3 if something could not be compared, else 0."""
    if any(pair.differences for pair in outcome.pairs):
        return DIFFERENT
    return NOT_CHECKED if outcome.alone else EQUAL


def as_text(first: Side, second: Side, outcome: Compared) -> Iterator[str]:
    """Yield, for each pair: both names, the members with their shifts, the differences."""
    for number, (a, b, shifted, facts, different) in enumerate(outcome.pairs):
        if number:
            yield ""
        yield f"--- {_title(first.label, a)}"
        yield f"+++ {_title(second.label, b)}"
        table = [["member", "---", "+++", "shift", "rule"], *map(_row, shifted)]
        if a.alignment is not None and b.alignment is not None:
            rule = shifts.alignment_rule(a, b)
            table.append(["_Alignof", f"{a.alignment:8}", f"{b.alignment:8}", "", rule])
        yield from aligned(table)
        yield from map(str, different)
        differ = f"{len(different)} of {facts} facts differ"
        yield differ if different else f"equal: {facts} facts compared, 0 differ"


def _title(label: str, layout: Layout) -> str:
    known = "not recorded" if layout.alignment is None else str(layout.alignment)
    return f"{label}: struct {layout.name} [{layout.abi}], {layout.size} bytes, alignment {known}"


def _row(shift: Shift) -> list[str]:
    places = ["-" if x is None else f"{x:#04x} {x:>3}" for x in (shift.first, shift.second)]
    moved = "" if not shift.bytes else f"{shift.bytes:+d}"
    return ["sizeof" if shift.name == END else shift.name, *places, moved, shift.rule]


def as_json(first: Side, second: Side, outcome: Compared) -> dict[str, object]:
    """Return the same as JSON values; offsets and sizes in bytes."""
    return {
        "schema": SCHEMA,
        "first": first.label,
        "second": second.label,
        "pairs": [_pair_json(pair) for pair in outcome.pairs],
        "not_checked": list(outcome.alone),
        "exit": exit_code(outcome),
    }


def _pair_json(pair: Pair) -> dict[str, object]:
    return {
        "structs": [
            {"name": x.name, "abi": x.abi, "size": x.size, "alignment": x.alignment}
            for x in (pair.first, pair.second)
        ],
        "shifts": [
            {
                "member": shift.name,
                "first": shift.first,
                "second": shift.second,
                "shift": shift.bytes,
                "causes": [cause._asdict() for cause in shift.causes],
            }
            for shift in pair.shifts
        ],
        "compared": pair.compared,
        "differences": [{**d._asdict(), "line": str(d)} for d in pair.differences],
    }
