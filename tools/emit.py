"""``runstate emit``: the layouts in other people's languages, with assertions that hold them."""

import argparse
import re
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

from runstate_abi.layouts.abi import ABI
from runstate_abi.layouts.model import LayoutError
from runstate_abi.layouts.structs import mirrors
from runstate_abi.layouts.structs.families import of_struct
from runstate_abi.layouts.structs.family_names import RUNSTATE
from runstate_abi.layouts.structs.runstate import COMPAT, claim
from runstate_abi.tools import output
from runstate_abi.tools.options import add_family, add_mirrors, new_parser

if TYPE_CHECKING:
    from runstate_abi.layouts.model import Layout
    from runstate_abi.tools.languages.c import Macro
    from runstate_abi.tools.languages.families import Content


class Language(NamedTuple):
    """A word of the command line, and the function in tools/languages/ that yields its lines."""

    word: str
    module: str
    function: str
    summary: str


# fmt: off
LANGUAGES = (
    Language("c",           "c",            "header",           "C11 header: both structs, assertions (--macro), offsets as comments"),
    Language("c-reader",    "c",            "with_reader",      "the same, and how a guest reads it: 64-bit and 32-bit, barriers and all"),
    Language("cpp",         "c",            "cpp",              "C++11 header: static_assert"),
    Language("rust",        "rust_zig",     "rust",             "Rust module: #[repr(C)] and const assertions"),
    Language("rust-reader", "rust_zig",     "rust_with_reader", "the same, and how a guest reads it"),
    Language("zig",         "rust_zig",     "zig",              "Zig module: extern structs and a comptime proof"),
    Language("kaitai",      "descriptions", "kaitai",           "Kaitai Struct .ksy"),
    Language("poke",        "descriptions", "poke",             "GNU poke pickle"),
    Language("cstruct",     "descriptions", "cstruct",          "dissect.cstruct definitions"),
    Language("isf",         "descriptions", "isf",              "Volatility 3 intermediate symbol file (JSON)"),
    Language("gdb",         "descriptions", "gdb",              "gdb script: the command runstate ADDRESS [native|compat]"),
    Language("drgn",        "descriptions", "drgn",             "drgn module: runstate(prog, address, \"native\")"),
)
# fmt: on
LANGUAGE = {language.word: language for language in LANGUAGES}
WITH_MACROS = ("c", "c-reader")
# Languages that can assert about a struct of somebody else's, and the function that yields it.
MIRRORED = {"c": "mirrored", "cpp": "cpp_mirrored", "rust": "rust_mirrored"}
# Languages that have other families than runstate, and the function that yields one.
OF_FAMILY = {
    "c": "family",
    "cpp": "cpp_family",
    "rust": "rust_family",
    "zig": "zig_family",
    "kaitai": "kaitai_family",
    "poke": "poke_family",
    "cstruct": "cstruct_family",
    "isf": "isf_family",
}
# A type's name, and nothing that would end the assertion that it stands in.
_TYPE = re.compile(r"((struct|class) )?[a-zA-Z_]\w*(::\w+)*|typeof\([\w\s()*.>&-]+\)", re.ASCII)

_DESCRIPTION = "The layouts in other people's languages, with assertions that hold them."
_EPILOG = """\
--struct is for structs of your own, in C, C++ and Rust: --struct 'struct my_info=native' gives
assertions alone, for --abi, with the --macro of your tree. A struct that mirrors the compat form
may be aligned to 1 (KVM packs it) or to 4 (Xen, i386): its alignment is not asserted.

exit status: 0 printed, written, or as committed; 1 stale (--check), 2 wrong usage,
  3 FILE cannot be read or written
"""


def main(argv: list[str]) -> int:
    made = parser()
    options = made.parse_args(argv)
    if options.structs and options.language not in MIRRORED:
        made.error(f"--struct is for {', '.join(MIRRORED)}: emit c --struct NAME=CLAIM")
    if options.members and not options.structs:
        made.error("--member needs --struct NAME=CLAIM")
    if options.macro and options.language not in WITH_MACROS:
        made.error("--macro is for C: emit c, emit c-reader")
    if options.family != RUNSTATE and options.language not in OF_FAMILY:
        made.error(f"{options.language} is for runstate; --family is for {', '.join(OF_FAMILY)}")
    try:
        options.mirrors = mirrors.mirrors(options.structs or (), options.members or (), ())
    except LayoutError as error:
        made.error(str(error))
    for name, claimed in options.mirrors.structs:
        if not _TYPE.fullmatch(name):
            made.error(f"--struct {name}: {name!r} is no type: 'struct my_info'")
        if mirrored(claimed, options.abi) is None:
            made.error(f"--struct {name}: {claimed} is not on {options.abi}")
    options.content = None
    if options.family != RUNSTATE and not options.structs:
        options.content = content(options.family, options.abi, options.language)
        if not options.content.structs:
            made.error(f"--family {options.family}: it has no struct on {options.abi}")
    command = " ".join(("runstate emit", *argv))
    return output.deliver(_lines(options), options.output, options.check, command)


def parser() -> argparse.ArgumentParser:
    from runstate_abi.tools.languages.c import MACROS

    languages = "\n".join(f"  {one.word:<12} {one.summary}" for one in LANGUAGES)
    made = new_parser("emit", f"{_DESCRIPTION}\n\nlanguages:\n{languages}", _EPILOG)
    add = made.add_argument
    add("language", metavar="LANGUAGE", choices=list(LANGUAGE), help="one of the above")
    names = ", ".join(f"{macro.name} ({macro.whose})" for macro in MACROS)
    add("--macro", choices=[m.name for m in MACROS], metavar="NAME", help=f"for C: {names}")
    add_family(made)
    add_mirrors(made)
    abis = f"of --family and --struct (default: x86_64): {', '.join(ABI)}"
    add("--abi", choices=list(ABI), default="x86_64", metavar="ABI", help=abis)
    output.add_delivery(made)
    return made


def _lines(options: argparse.Namespace) -> Iterator[str]:
    from runstate_abi.tools.languages import c
    from runstate_abi.tools.languages.promises import Mirror

    macro = c.MACRO[options.macro] if options.macro else c.MACROS[0]
    if options.content:
        return emitted_family(options.language, options.content, macro)
    if not options.structs:
        return emitted(options.language, macro)
    found = []
    for name, claimed in options.mirrors.structs:
        layout = mirrored(claimed, options.abi)
        assert layout is not None  # main() made sure
        found.append(Mirror(name, options.mirrors.claimed(layout)))
    asserted = _function(options.language, MIRRORED[options.language])
    return asserted(found, macro) if options.language in WITH_MACROS else asserted(found)


def mirrored(claimed: str, abi: str) -> "Layout | None":
    """Return what a struct that mirrors this one must be, None if it is not on the ABI."""
    if family := of_struct(claimed):
        return family.layouts(abi).get(claimed)
    layout = claim(claimed, abi)
    return layout._replace(alignment=None) if claimed == COMPAT.name else layout


def emitted(word: str, macro: "Macro | None" = None) -> Iterator[str]:
    """Yield the lines of one language; ``macro`` is how C asserts (KeyError: no such language)."""
    function = _function(word, LANGUAGE[word].function)
    return function(macro) if macro and word in WITH_MACROS else function()


def content(family: str, abi: str, word: str) -> "Content":
    """Return what a file of a family has; its structs are () if the family has none on the ABI."""
    from runstate_abi.tools.languages import families

    return families.content(family, abi, word)


def emitted_family(word: str, content: "Content", macro: "Macro | None" = None) -> Iterator[str]:
    """Yield the lines of a family in one language."""
    function = _function(word, OF_FAMILY[word])
    return function(content, macro) if macro and word in WITH_MACROS else function(content)


def _function(word: str, name: str) -> Callable[..., Iterator[str]]:
    module = import_module(f"runstate_abi.tools.languages.{LANGUAGE[word].module}")
    function: Callable[..., Iterator[str]] = getattr(module, name)
    return function
