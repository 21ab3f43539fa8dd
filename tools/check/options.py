"""The options of ``runstate check``: the command line, and the configuration file behind it."""

import argparse
from typing import TYPE_CHECKING

from runstate_abi.layouts.abi import ABI
from runstate_abi.layouts.model import LayoutError
from runstate_abi.layouts.structs import mirrors
from runstate_abi.layouts.structs.family_names import ALL, RUNSTATE
from runstate_abi.layouts.structs.runstate import RUNSTATE_STRUCTS
from runstate_abi.tools.options import (
    add_family,
    add_mirrors,
    count,
    family_name,
    nearest,
    new_parser,
)
from runstate_abi.tools.reports.formats import COVERAGE, FORMATS

if TYPE_CHECKING:
    from runstate_abi.layouts.structs.families import Family

PROJECT = "pyproject.toml"

_EPILOG = """\
Without FILE: the encodings written by hand, the C layout rule, the kernel's BUILD_BUG_ON
conditions, every compiler found (gcc and clang, -m64 and -m32) and this machine's kernel.
What the machine does not offer is told as "not asked"; a witness that is there and cannot be
asked is "not checked", which is exit 3, and so is whatever was named.

With FILE: those files, a vmlinux or vmlinuz and its kvm.ko together (vmlinuz kvm.ko.xz); a file
that has DWARF is asked for that too; - is standard input. With a folder, a Debian package or a
tarball: every kernel and kvm.ko in it. A struct that a file should have and lacks is "could not
check", exit 3, unless --allow-missing.

exit status: 0 all compared and equal, 1 a difference, 2 wrong usage, 3 could not check

Options can also stand in [tool.runstate] of ./pyproject.toml; the command line wins.
"""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line; an option that was not given is None."""
    parser = new_parser("check", "Hold the layouts against encodings, compilers and kernels.")
    parser.epilog = _EPILOG
    add = parser.add_argument
    files = "vmlinux, vmlinuz, kvm.ko[.xz|.zst|.gz], raw BTF, xen-syms, .o, .deb, .tar, folder"
    add("files", nargs="*", metavar="FILE", help=files)
    add("--btf-base", metavar="FILE", help="the kernel that a module's split BTF belongs to")
    add("--abi", help=f"the ABI of files that do not say (default: x86_64): {', '.join(ABI)}")
    _repeatable(parser, "--allow-missing", "NAME", "a struct or a witness that need not be there")
    _repeatable(parser, "--cc", "COMMAND", "a compiler: 'gcc -m32'")
    add("--header", metavar="FILE", help="measure structs of this C or C++ header with --cc")
    add_family(parser, default=None)
    add("--rust", metavar="FILE", help="measure structs of this Rust file with rustc, or with --cc")
    add_mirrors(parser)
    _repeatable(parser, "--allow", "sign:MEMBER", "of runstate: do not say that its sign differs")
    _report_options(parser)
    add("-j", "--jobs", type=count, metavar="N", help="processes for many files (all cores)")
    add("--dask", metavar="ADDRESS", help="a Dask scheduler whose workers see the same files")
    add("--cache", metavar="FOLDER", help="where results by content are kept")
    add("--no-cache", action="store_const", const=True, help="ask every file again")
    return parser


def _repeatable(
    parser: argparse.ArgumentParser, name: str, metavar: str, text: str, dest: str | None = None
) -> None:
    text = f"{text} (repeatable)"
    dest = dest or name.removeprefix("--").replace("-", "_")
    parser.add_argument(name, metavar=metavar, action="append", help=text, dest=dest)


def _report_options(parser: argparse.ArgumentParser) -> None:
    formats = f"{', '.join(FORMATS)}; to stdout, or to =FILE"
    _repeatable(parser, "--format", "FORMAT[=FILE]", formats, "formats")
    add = parser.add_argument
    add("--json", action="store_const", const=True, help="--format json")
    invariants = "each declared invariant, and which witnesses confirmed it"
    add("--coverage", action="store_const", const=True, help=invariants)
    _repeatable(parser, "--require", "WITNESS,...", "fail if nobody asked: btf, cc, dwarf ...")
    add("--golden", metavar="FILE", help="compare with what was seen before; waive as it says")
    add("--write-golden", metavar="FILE", help="write what is seen, one line per member")
    add("--config", metavar="FILE", help=f"TOML with [tool.runstate] (default: ./{PROJECT})")
    verbose = "say which options are in effect, and what each witness was asked"
    add("-v", "--verbose", action="store_const", const=True, help=verbose)


def parsed(argv: list[str]) -> argparse.Namespace:
    """Return the options in effect; wrong usage exits with status 2 and says why in one line.

    ``reports`` are the (format, file) pairs to write, ``require`` a list of single words,
    ``stdin`` whether standard input is asked.
    """
    the_parser = parser()
    options = the_parser.parse_args(argv)
    if options.config is not None or _project_has_ours():
        from runstate_abi.tools.check import config

        complaint = config.apply(options, options.config or PROJECT)
        if complaint:
            the_parser.error(complaint)
    options.allow_missing = options.allow_missing or []
    options.require = [w for text in options.require or () for w in text.split(",") if w]
    options.stdin = [*options.files, options.btf_base].count("-")
    _refuse(the_parser, options)
    options.asks_runstate = options.family in (None, RUNSTATE, ALL)
    options.families = _families(options.family or RUNSTATE)
    _set_others(the_parser, options)
    options.reports = _reports(the_parser, options)
    if options.verbose:
        from runstate_abi.tools.check import config

        config.say(options)
    return options


# Most folders have no such table, and reading TOML costs as much as reading a kernel's BTF.
def _project_has_ours() -> bool:
    try:
        with open(PROJECT, "rb") as file:
            return b"runstate" in file.read()
    except OSError:
        return False


# The structs named with --struct that mirror another family's claims, and which families these are.
def _set_others(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    named = options.mirrors.structs
    given = options.family
    options.others = tuple(pair for pair in named if pair[1] not in RUNSTATE_STRUCTS)
    if named:
        own = tuple(pair for pair in named if pair not in options.others)
        options.mirrors = options.mirrors._replace(structs=own)
        options.asks_runstate = bool(own)
        found = [_family_of(claim) for _, claim in options.others]
        options.families = tuple({one.name: one for one in found}.values())
        strange = [x.name for x in options.families if given not in (None, ALL, x.name)]
        if strange or (own and given not in (None, ALL, RUNSTATE)):
            parser.error(f"--family {given}: --struct names one of {(*strange, RUNSTATE)[0]}")
    if options.others and (options.members or options.allow):
        parser.error("--member and --allow are about runstate's members")


def _family_of(claim: str) -> "Family":
    from runstate_abi.layouts.structs.families import of_struct

    found = of_struct(claim)
    assert found, claim  # mirrors.struct() took it
    return found


# What argparse cannot say: exit status 2 and one line.
def _refuse(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    if options.abi is not None and options.abi not in ABI:
        parser.error(f"argument --abi: no ABI {options.abi!r}: there are {', '.join(ABI)}")
    if options.family is not None:
        try:
            family_name(options.family)  # pyproject.toml's may be anything
        except argparse.ArgumentTypeError as error:
            parser.error(f"argument --family: {error}")
    source = options.header or options.rust
    if options.header and options.rust:
        parser.error("--header and --rust: one at a time")
    if source and not options.structs:
        parser.error(f"--{'header' if options.header else 'rust'} FILE needs --struct NAME")
    if (options.structs or options.members or options.allow) and not (source or options.files):
        parser.error("--struct, --member and --allow are about --header, --rust or files")
    if options.stdin > 1:
        parser.error("- is standard input, which can be read once")
    if options.jobs is not None and options.jobs < 1:
        parser.error(f"argument -j: {options.jobs} processes")
    try:
        given = (options.structs, options.members, options.allow)
        options.mirrors = mirrors.mirrors(*(one or () for one in given))
    except LayoutError as error:
        parser.error(str(error))
    if options.require:
        from runstate_abi.tools.reports import coverage

        for word in (word for word in options.require if word not in coverage.KINDS):
            parser.error(f"--require {word}: no such witness{nearest(word, coverage.KINDS)}")
    allowable = ALLOWABLE if options.family in (None, RUNSTATE) else _allowable(options.family)
    for word in (word for word in options.allow_missing if word not in allowable):
        near = nearest(word, allowable)
        parser.error(f"--allow-missing {word}: no such struct or witness{near}")


# The structs, and the debug info that a file may be without.
ALLOWABLE = (*RUNSTATE_STRUCTS, "btf", "dwarf")


# With other families their structs, and their names for all of a family.
def _allowable(family: str) -> tuple[str, ...]:
    others = (name for one in _families(family) for name in (one.name, *one.structs))
    return (*ALLOWABLE, *others)


def _families(family: str) -> "tuple[Family, ...]":
    if family == RUNSTATE:
        return ()
    from runstate_abi.layouts.structs.families import families

    return families(family)


def _reports(parser: argparse.ArgumentParser, options: argparse.Namespace) -> list[tuple[str, str]]:
    wanted = []
    for text in [*(options.formats or ()), *(["json"] if options.json else [])]:
        form, _, path = text.partition("=")
        if form not in FORMATS:
            parser.error(f"--format {form}: no such format{nearest(form, FORMATS)}")
        wanted.append((form, path or "-"))
    printed = [form for form, path in wanted if path == "-"] or ["text"]
    if len(set(printed)) > 1:
        both = " and ".join(printed)
        parser.error(f"{both} on stdout: give one a file: --format {printed[0]}=FILE")
    if options.coverage and printed[0] not in ("text", "json"):
        parser.error(f"--coverage is text: --format {printed[0]}=FILE leaves stdout to it")
    files = [(form, path) for form, path in wanted if path != "-"]
    # The JSON has the coverage in it.
    coverage = [(COVERAGE, "-")] if options.coverage and printed[0] == "text" else []
    return [*files, (printed[0], "-"), *coverage]
