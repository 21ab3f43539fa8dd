"""``runstate hexdump``: a runstate area in real memory, explained byte by byte.

This module reads the arguments and finds the place; explanation.py shows the area, and of_family.py
a struct of another family.
"""
# ruff: noqa: E501

import argparse
import os
import sys

from runstate_abi.layouts.abi import ABI, PAGE_SIZE
from runstate_abi.layouts.structs.family_names import ALL, RUNSTATE
from runstate_abi.tools import output
from runstate_abi.tools.memory import explanation, sources
from runstate_abi.tools.memory.area import LARGEST, LAYOUTS
from runstate_abi.tools.memory.explanation import Location
from runstate_abi.tools.memory.image import Image
from runstate_abi.tools.options import add_family, add_format, address, new_parser

DESCRIPTION = """\
Explain the runstate area in a memory image, an ELF core (QEMU's dump-guest-memory, Xen's
dump-core), a LiME dump, either of them compressed, a live QEMU, or a text: xxd, hexdump, od, gdb,
lldb, crash, WinDbg, QEMU's xp, print_hex_dump, bare hex, an array, a printed struct. With --family:
the fields of another struct that a guest shares."""
EPILOG = """\
examples:
  runstate find guest.elfcore                          where are the areas?
  runstate hexdump guest.elfcore --gpa 0x175f4ba0      what is in this one?
  runstate hexdump page.bin --at 0xba0 --before earlier.bin
  gdb ... -ex 'x/48xb &xen_runstate' | runstate hexdump -
  runstate hexdump --qmp /run/vm.qmp --gpa 0x175f4ba0 --watch 5
  runstate hexdump guest.elfcore --family hyperv --gpa 0x7ffe000
  runstate hexdump --pages-view svg --abi compat --at 0xfec -o split.svg

exit status: 0 nothing is wrong (in flight and normal are not wrong), 1 something is wrong,
  2 wrong usage, 3 the memory could not be read, or its layout could not be decided"""


def main(argv: list[str]) -> int:
    made = parser()
    options = made.parse_args(argv)
    _check(made, options)
    if options.family != RUNSTATE:
        return _of_family(made, options)
    if options.pages_view and options.file is None:
        return explanation.pages(options, LAYOUTS[options.abi], _asked(options) or Location(0))
    if options.qmp:
        from runstate_abi.tools.memory import watching

        return watching.main(options)
    if options.drgn or options.percpu:
        return _dumped(options)
    image = sources.asked(options.file or "-", options)
    place = _place(made, options, image, LARGEST)
    return explanation.explain(options, image, place)


def _of_family(parser: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    from runstate_abi.tools.memory import of_family

    try:
        if options.drgn:
            from runstate_abi.tools.memory import kdump

            opened, size = kdump.program(options.file), of_family.largest(options.family)
            image = kdump.image(opened, options.file, options.gpa, size=size)
            return of_family.explain(options, image, Location(options.gpa))
        image = sources.asked(options.file or "-", options)
        return of_family.explain(options, image, _place(parser, options, image, image.size))
    except of_family.Unclear as error:
        parser.error(str(error))


# An area of a kernel dump at --gpa, or that of each CPU: return the worst exit code.
def _dumped(options: argparse.Namespace) -> int:
    from runstate_abi.tools.memory import kdump

    opened = kdump.program(options.file)
    if not options.percpu:
        image = kdump.image(opened, options.file, options.gpa)
        return explanation.explain(options, image, Location(options.gpa))
    kdump.add_symbols(opened, options.file)
    if options.abi is None:
        options.abi, options.abi_reason = kdump.abi(opened), "the kernel is built so"
    codes = []
    for cpu, place in kdump.percpu(opened, options.file):
        name = f"{options.file} CPU {cpu}"
        image = kdump.image(opened, name, place, physical=False)
        codes.append(explanation.explain(options, image, Location(place)))
    return max(codes)


def _pair(text: str) -> tuple[int, int]:
    first, comma, second = text.partition(",")
    if not comma:
        raise argparse.ArgumentTypeError(f"{text}: two addresses with a comma between them wanted")
    return address(first), address(second)


# FILE or FILE:ADDR. A dump of the same memory has the area at the same place, one page has not.
def _earlier(text: str) -> tuple[str, int | None]:
    name, colon, place = text.rpartition(":")
    if not colon or not place[:1].isdigit() or os.path.exists(text):
        return text, None
    return name, address(place)


def _elsewhere(text: str) -> tuple[str, int]:
    name, colon, offset = text.rpartition(":")
    if not colon:
        raise argparse.ArgumentTypeError(f"{text}: FILE:OFFSET wanted")
    return name, address(offset)


def parser() -> argparse.ArgumentParser:
    made = new_parser("hexdump", DESCRIPTION, EPILOG)
    add = made.add_argument
    add("file", nargs="?", metavar="FILE", help="image, core or text; - is standard input")
    add("--at", type=address, metavar="OFFSET", help="where the area begins in a raw image")
    add("--gpa", type=address, metavar="ADDR", help="its guest-physical address")
    abi = f"the layout, {' or '.join(LAYOUTS)}; without it, the bytes decide. With --family: {', '.join(ABI)}"
    add("--abi", choices=(*LAYOUTS, *ABI), metavar="ABI", help=abi)
    add_family(made)
    add(
        "--struct",
        metavar="NAME",
        help="with --family: which struct of it, if the size does not tell",
    )
    add("--all-fields", action="store_true", help="with --family: show each field that is zero")
    second = "where it continues, in another file"
    add("--second-page", type=_elsewhere, metavar="FILE:OFFSET", help=second)
    add("--pages", type=_pair, metavar="P1,P2", help="the two pages' addresses in the image")
    where = "an earlier dump: show what changed since; the area there is at ADDR, or at the same "
    add("--before", type=_earlier, metavar="FILE[:ADDR]", help=f"{where}place")
    sources.add_options(made)
    add("--qmp", metavar="SOCKET", help="read a live QEMU over QMP (extra `live`)")
    watch = "with --qmp: look again and again, for so long"
    add("--watch", type=float, metavar="SECONDS", help=watch)
    add("--interval", type=float, default=0.5, metavar="SECONDS", help="between two looks (0.5)")
    drgn = "read FILE, a vmcore or kdump, with drgn (extra `drgn`)"
    add("--drgn", action="store_true", help=drgn)
    add("--percpu", action="store_true", help="with drgn: show each CPU's xen_runstate in FILE")
    add("--pages-view", choices=("text", "svg"), help="show which field lies in which page")
    add_format(made, "text", "json")
    add("--color", choices=output.CHOICES, default="auto", help="auto: on a terminal")
    add("-o", "--output", metavar="FILE", help="write there, not to standard output")
    made.set_defaults(abi_reason="--abi says so")
    return made


# What argparse cannot check: options that need or contradict each other.
def _check(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    if options.family == RUNSTATE:
        _check_runstate(parser, options)
    else:
        _check_family(parser, options)
    given = options.file or options.qmp or options.pages_view
    watch = options.watch is not None
    drgn = options.drgn or options.percpu
    # fmt: off
    refused = (
        (options.percpu and (options.gpa is not None or options.at is not None), "--percpu finds the addresses itself"),
        (options.drgn and not options.percpu and options.gpa is None, "--drgn needs --gpa, or --percpu"),
        (drgn and not options.file, "--drgn and --percpu read a FILE"),
        (watch and not options.qmp, "--watch needs --qmp"),
        (watch and options.output, "--watch writes to standard output alone"),
        (not options.interval > 0 or (watch and not options.watch >= 0), "--watch and --interval are seconds"),
        (options.qmp and options.gpa is None, "--qmp needs --gpa"),
        (options.qmp and (options.file or drgn), "--qmp reads a live machine: no FILE, and no drgn"),
        (watch and (options.before or options.pages_view), "--watch has no --before and no --pages-view"),
        (options.at is not None and options.gpa is not None, "--at and --gpa both say where: give one"),
        (options.second_page and options.pages, "--second-page and --pages both say where the area goes on: give one"),
        (options.before and options.second_page, "--before needs both pages in one image: --pages, not --second-page"),
        (options.pages_view and options.file is None and not options.abi, "--pages-view without a FILE needs --abi"),
        (not given and (sys.stdin is None or sys.stdin.isatty()), "give a FILE"),
    )
    # fmt: on
    for wrong, message in refused:
        if wrong:
            parser.error(message)


def _check_runstate(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    if options.abi and options.abi not in LAYOUTS:
        known = ", ".join(LAYOUTS)
        parser.error(f"argument --abi: invalid choice: {options.abi!r} (choose from {known})")
    if options.struct or options.all_fields:
        parser.error(f"{'--struct' if options.struct else '--all-fields'} needs --family NAME")


# What only a runstate area has.
def _check_family(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    for word in ("before", "qmp", "watch", "percpu", "pages_view"):
        given = getattr(options, word)
        if given is not None and given is not False:
            parser.error(f"--{word.replace('_', '-')} is for --family {RUNSTATE} alone")
    if options.family == ALL:
        parser.error(f"--family {ALL}: the bytes are of one family: name it")
    if options.abi in LAYOUTS:
        known = ", ".join(ABI)
        parser.error(f"--abi {options.abi} is for --family {RUNSTATE} alone: here it is {known}")


# The place that the options give, None if they give none.
def _asked(options: argparse.Namespace) -> Location | None:
    address: int | None = options.gpa if options.gpa is not None else options.at
    if options.pages:
        first, second = options.pages
        return Location(first + (address or 0) % PAGE_SIZE, second)
    return None if address is None else Location(address)


# Of raw bytes, more than ``most`` need a place.
def _place(
    parser: argparse.ArgumentParser, options: argparse.Namespace, image: Image, most: int
) -> Location:
    asked = _asked(options)
    finds = options.family == RUNSTATE
    if image.placed and options.at is not None and not options.pages:
        parser.error(f"{image.source} is an {image.kind}: --gpa ADDR, or --raw --at OFFSET")
    if asked is None:
        if image.placed:
            hint = f" (`runstate find {image.source}` looks for areas)" if finds else ""
            parser.error(f"say where: --gpa ADDR{hint}")
        if image.kind == sources.KIND and image.size > most:
            why = f"`runstate find {options.file or '-'}` looks for areas"
            parser.error(f"raw bytes: say where, --at OFFSET ({why})")
        return Location(image.pieces[0].address)
    if options.at is not None and not options.pages:
        return Location(asked.address + options.base)
    return asked
