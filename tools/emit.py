"""``runstate emit``: the layouts in other people's languages, with assertions that hold them."""

import argparse
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

from runstate_abi.layouts.abi import ABI
from runstate_abi.layouts.structs.runstate import COMPAT, RUNSTATE_STRUCTS, claim
from runstate_abi.tools import output
from runstate_abi.tools.options import new_parser

if TYPE_CHECKING:
    from runstate_abi.tools.languages.c import Macro


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

_DESCRIPTION = "The layouts in other people's languages, with assertions that hold them."
_EPILOG = """\
--struct holds structs of your own headers: --struct 'struct my_info=vcpu_runstate_info' gives
assertions alone, for --abi, with the --macro of your tree. A struct that mirrors the compat form
may be aligned to 1 (KVM packs it) or to 4 (Xen, i386): its alignment is not asserted.

exit status: 0 printed, written, or as committed; 1 stale (--check), 2 wrong usage,
  3 FILE cannot be read or written
"""


def main(argv: list[str]) -> int:
    """Print one language's file, or write it, or say whether a committed one is stale."""
    made = parser()
    options = made.parse_args(argv)
    if options.structs and options.language != "c":
        made.error("--struct is for C: emit c --struct NAME=CLAIM")
    if options.macro and options.language not in WITH_MACROS:
        made.error("--macro is for C: emit c, emit c-reader")
    for text in options.structs or ():
        c_type, claimed = _mirrored(text)
        tag = c_type.removeprefix("struct ")
        if not (tag.isascii() and tag.isidentifier()):
            made.error(f"--struct {text}: {c_type!r} is no type of C: 'struct my_info'")
        if claimed not in RUNSTATE_STRUCTS:
            choices = " or ".join(f"{c_type}={name}" for name in RUNSTATE_STRUCTS)
            made.error(f"--struct {text}: say which struct it mirrors: {choices}")
    command = " ".join(("runstate emit", *argv))
    return output.deliver(_lines(options), options.output, options.check, command)


def parser() -> argparse.ArgumentParser:
    """Return the parser of ``runstate emit``."""
    from runstate_abi.tools.languages.c import MACROS

    languages = "\n".join(f"  {one.word:<12} {one.summary}" for one in LANGUAGES)
    made = new_parser("emit", f"{_DESCRIPTION}\n\nlanguages:\n{languages}", _EPILOG)
    add = made.add_argument
    add("language", metavar="LANGUAGE", choices=list(LANGUAGE), help="one of the above")
    names = ", ".join(f"{macro.name} ({macro.whose})" for macro in MACROS)
    add("--macro", choices=[m.name for m in MACROS], metavar="NAME", help=f"for C: {names}")
    add(
        "--struct",
        dest="structs",
        action="append",
        metavar="NAME[=CLAIM]",
        help=f"your own struct, and which of {' or '.join(RUNSTATE_STRUCTS)} it mirrors",
    )
    abis = f"of --struct (default: x86_64): {', '.join(ABI)}"
    add("--abi", choices=list(ABI), default="x86_64", metavar="ABI", help=abis)
    output.add_delivery(made)
    return made


def _lines(options: argparse.Namespace) -> Iterator[str]:
    from runstate_abi.tools.languages import c

    macro = c.MACRO[options.macro] if options.macro else c.MACROS[0]
    if not options.structs:
        return emitted(options.language, macro)
    mirrors = []
    for c_type, claimed in map(_mirrored, options.structs):
        layout = claim(claimed, options.abi)
        layout = layout._replace(alignment=None) if claimed == COMPAT.name else layout
        mirrors.append(c.Mirror(c_type, layout))
    return c.mirrored(mirrors, macro)


def emitted(word: str, macro: "Macro | None" = None) -> Iterator[str]:
    """Yield the lines of one language; ``macro`` is how C asserts (KeyError: no such language)."""
    language = LANGUAGE[word]
    module = import_module(f"runstate_abi.tools.languages.{language.module}")
    function: Callable[..., Iterator[str]] = getattr(module, language.function)
    return function(macro) if macro and word in WITH_MACROS else function()


# (the C type, the claim's name) of ``NAME[=CLAIM]``.
def _mirrored(text: str) -> tuple[str, str]:
    name, _, claimed = text.partition("=")
    return name, claimed or name.removeprefix("struct ")
