"""``runstate check``: compare the layouts with encodings, compilers and kernels' debug info."""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from runstate_abi.layouts.abi import ABI
from runstate_abi.layouts.findings import (
    Finding,
    complaint,
    exit_code,
    one_line,
    unchecked,
    unreadable,
)
from runstate_abi.layouts.model import WitnessError
from runstate_abi.layouts.structs.mirrors import Mirrors
from runstate_abi.layouts.structs.runstate import RUNSTATE_STRUCTS
from runstate_abi.layouts.witnesses import survey
from runstate_abi.tools.check import options as words
from runstate_abi.tools.check.options import parser as parser
from runstate_abi.tools.reports import formats

if TYPE_CHECKING:
    from runstate_abi.layouts.structs.families import Family

HERE_BTF = ("/sys/kernel/btf/vmlinux", "/sys/kernel/btf/kvm")


def main(argv: list[str]) -> int:
    """Ask the witnesses that the arguments name and print what they say."""
    options = words.parsed(argv)
    findings = _of_standard_input(options) if options.stdin else list(_findings(options))
    if options.require:
        from runstate_abi.tools.reports import coverage

        findings += coverage.absent(findings, options.require)
    if options.golden or options.write_golden:
        from runstate_abi.tools.check import goldens

        findings = goldens.settled(findings, options.golden, options.write_golden)
    if options.verbose:
        from runstate_abi.tools.check import goldens

        goldens.say(findings)
    # What could not be read at all is a line on stderr, and not in the table.
    for finding in filter(unreadable, findings):
        print(f"runstate: could not check {one_line(complaint(finding))}", file=sys.stderr)
    formats.deliver(findings, options.reports)
    return exit_code(findings)


def _of_standard_input(options: argparse.Namespace) -> list[Finding]:
    from runstate_abi.layouts.witnesses import standard_input

    with standard_input.as_file() as path:
        options.files = [path if file == "-" else file for file in options.files]
        options.btf_base = path if options.btf_base == "-" else options.btf_base
        return [standard_input.unnamed(finding, path) for finding in _findings(options)]


def _findings(options: argparse.Namespace) -> Iterator[Finding]:
    if options.header or options.rust:
        yield from _of_source(options)
    elif options.cc:
        yield from _of_compilers(options, options.cc, named=True)
    if options.files:
        yield from _of_files(options.files, options, fails=True)
    if options.files or options.header or options.rust or options.cc:
        return
    if options.asks_runstate:
        yield from survey.encodings()
    for family in options.families:
        from runstate_abi.layouts.witnesses import of_family

        yield from of_family.encodings(family)
    yield from _of_compilers(options, survey.compilers_here(), named=False)
    if here := [path for path in HERE_BTF if os.path.exists(path)]:
        yield from _of_files(here, options, fails=False)
    else:
        why = "no such file: a kernel without CONFIG_DEBUG_INFO_BTF"
        yield unchecked("btf", HERE_BTF[0], why, fails=False)


def _of_compilers(
    options: argparse.Namespace, commands: Sequence[str], named: bool
) -> Iterator[Finding]:
    abi = ABI.get(options.abi)
    if options.asks_runstate:
        yield from survey.asked_of_compilers(commands, named, abi)
    for family in options.families:
        from runstate_abi.layouts.witnesses import of_family

        yield from of_family.asked_of_compilers(family, commands, named, abi)


# Of a header or a Rust file. Where no compiler is named, the first that takes the file is asked.
def _of_source(options: argparse.Namespace) -> Iterator[Finding]:
    from runstate_abi.layouts.witnesses import header, rust

    path = options.header or options.rust
    observe = header.observe if options.header else rust.observe
    known = header.commands(path) if options.header else rust.COMMANDS
    abi = ABI.get(options.abi)
    asks = [
        partial(survey.asked_of_source, observe, path=path, mirrors=group, abi=abi)
        for group in _apart(options.mirrors)
    ]
    if options.others:
        from runstate_abi.layouts.witnesses import of_family

        asks += [
            partial(of_family.asked_of_source, family, observe, path=path, structs=structs, abi=abi)
            for family, structs in _by_family(options)
        ]
    for commands in [[one] for one in options.cc] if options.cc else [known]:
        for ask in asks:
            for command in commands:
                try:
                    finding = ask(command=command)
                    break
                except WitnessError as error:
                    finding = unchecked(command, path, str(error))
            yield finding


# The structs that mirror other families' claims, each family's together.
def _by_family(options: argparse.Namespace) -> "list[tuple[Family, list[tuple[str, str]]]]":
    return [
        (family, [(name, claim) for name, claim in options.others if claim in family.structs])
        for family in options.families
    ]


# Two structs that mirror one claim are asked apart; a native and a compat one are asked together,
# because the kernel's conditions are about both.
def _apart(mirrors: Mirrors) -> list[Mirrors]:
    groups: list[Mirrors] = []
    for name, claim in mirrors.structs:
        free = (n for n, group in enumerate(groups) if claim not in dict(group.structs).values())
        place = next(free, len(groups))
        before = groups[place].structs if place < len(groups) else ()
        groups[place : place + 1] = [mirrors._replace(structs=(*before, (name, claim)))]
    return groups


def _of_files(paths: list[str], options: argparse.Namespace, fails: bool) -> Iterator[Finding]:
    from runstate_abi.layouts.witnesses import kernels, packages

    anything = (*RUNSTATE_STRUCTS, *(one.name for one in options.families))
    allowed = options.allow_missing if fails else anything
    settings = kernels.Settings(
        ABI.get(options.abi),
        options.btf_base,
        frozenset(allowed),
        options.mirrors,
        options.families,
        options.asks_runstate,
        options.others,
    )
    several = any(os.path.isdir(path) or packages.is_archive(path) for path in paths)
    if options.jobs or options.dask or several:
        from runstate_abi.tools.check import fleet

        yield from fleet.asked(paths, settings, options)
    else:
        yield from kernels.asked_of_files(paths, settings)
