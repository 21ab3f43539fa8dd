"""``runstate write``: one update of a guest's area, step by step, in any of its versions."""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict

from runstate_abi.layouts.exit_status import DIFFERENT, EQUAL
from runstate_abi.layouts.structs.runstate import RUNSTATES
from runstate_abi.tools import output
from runstate_abi.tools.options import (
    add_format,
    add_writers,
    address,
    count,
    new_parser,
    number,
    refuse_families,
    version_family,
)
from runstate_abi.tools.output import aligned
from runstate_abi.tools.write import selftest
from runstate_abi.tools.write.written import Written, as_json, memory_rows, table, until, write
from runstate_abi.writer import variants
from runstate_abi.writer.memory import Overrun, Window
from runstate_abi.writer.rulebook.evidence import Evidence, ledger
from runstate_abi.writer.rules import NEWEST, PROFILE, RULES, judge
from runstate_abi.writer.steps import canonical
from runstate_abi.writer.vcpu import HOSTS, SHAPES, TIME_COUNT, Area, Runstate

_DESCRIPTION = "One update of a guest's area, step by step, in any of its versions."
_EPILOG = """\
The default output is the canonical trace: one line a step, page-relative addresses, bytes in
memory order. --until-barrier N stops there and prints memory as it then is. In --format table
each step has the struct as it is after it; .. is a byte that no step has stored yet, | is where
page 2 begins, and row 0 is what memory held before.

A pattern of --fill is repeated from the first byte of page 1 on, through both pages.

exit status: 0 done, 1 a version refused the area or wrote outside it, or broke a rule, or failed
the selftest, 2 wrong usage
"""

# The default values of the vCPU: every byte shows which field it belongs to.
_STATE = "1"
_ENTRY_TIME = "0x1122334455667788"
_TIMES = "0x0101010101010101,0x0202020202020202,0x0303030303030303,0x0404040404040404"
_FILL = "a5"


def main(argv: list[str]) -> int:
    family = version_family(argv)
    if family:
        from runstate_abi.tools.write import of_family

        return of_family.main(argv, family)
    return _of_runstate(argv)


def _of_runstate(argv: list[str]) -> int:
    made = parser()
    options = made.parse_args(argv)
    refuse_families(made, options)
    if options.list:
        return _list(options.format == "json")
    variant = variants.VARIANT[options.variant]
    if options.selftest:
        if variants.is_xen(variant):
            made.error(f"--selftest is KVM's, and {variant.name} is Xen's")
        lines, code = selftest.report(variant, options.host, options.every)
        print("\n".join(lines))
        return code
    if options.output != "-" and options.format != "html":
        made.error("-o: the page of --format html")
    if options.at is None:
        made.error("--at GPA is missing (or --list, or --selftest)")
    if options.length and not variants.uses_gpc(variant):
        made.error(f"--length: {variant.name} has no gfn_to_pfn_cache")
    try:
        vcpu = Runstate(options.state, options.entry_time, options.times)
        area = Area(
            options.abi, options.at, not options.no_update_flag, options.host, options.domain or ""
        )
        how = variants.Registration(options.length, options.fault_at)
        written = write(variant, vcpu, area, options.atomic, Window(options.fill), how)
        if options.until_barrier is not None:
            written = until(written, options.until_barrier)
    except ValueError as error:
        made.error(str(error))
    except (variants.Refused, Overrun) as refused:
        print(f"runstate write: {refused}", file=sys.stderr)
        return DIFFERENT
    if variant.always_flagged and not area.update_flag:
        print(f"runstate write: {variant.name} has no switch: it flags always", file=sys.stderr)
    if options.rules:
        return _print_rules(variant, written, options)
    if options.format == "html":
        from runstate_abi.tools.write import player

        page = player.lines(variant, written, options.atomic, how)
        return output.deliver(page, options.output, None, "")
    print("\n".join(_shown(options, variant, written)))
    return EQUAL


def parser() -> argparse.ArgumentParser:
    made = new_parser("write", _DESCRIPTION, _EPILOG)
    add_writers(made)
    add = made.add_argument
    names = list(variants.VARIANT)
    add("--variant", choices=names, default="upstream", metavar="NAME", help="see --list")
    add("--abi", choices=list(SHAPES), default="native", help="the guest's ABI (native)")
    add("--at", metavar="GPA", type=address, help="where the guest registered its area: 0xc0001ff1")
    add("--no-update-flag", action="store_true", help="the guest did not ask for the flag")
    states = range(len(RUNSTATES))
    what = "the runstate to write: 0 to 3"
    add("--state", metavar="N", type=count, choices=states, default=_STATE, help=what)
    add("--entry-time", metavar="N", type=address, default=_ENTRY_TIME, help="state_entry_time, ns")
    add("--times", metavar="A,B,C,D", type=_times, default=_TIMES, help="time[], ns")
    add("--fill", metavar="HEX", type=_fill, default=_FILL, help="what memory holds before")
    add("--atomic", action="store_true", help="from the scheduler: it must not sleep")
    add("--host", choices=HOSTS, default=HOSTS[0], help="the kernel that writes")
    width = "how wide Xen takes the guest to be, which is what aligns a phys area (as --abi)"
    add("--domain", choices=list(SHAPES), help=width)
    add_format(made, "canonical", "table", "json", "html")
    page = "where the page of --format html goes (default: -, stdout)"
    add("-o", "--output", metavar="FILE", default="-", help=page)
    add("--until-barrier", metavar="N", type=number, help="stop at the N-th barrier, show memory")
    known, words = variants.LENGTHS, "48|1|per-use"
    lengths = "the length that a gfn_to_pfn_cache is set up for: 48, 1, or what each use needs"
    add("--length", choices=known, type=_length, default=0, metavar=words, help=lengths)
    faults = "the N-th access to user memory faults (versions without a gfn_to_pfn_cache)"
    add("--fault-at", metavar="N", type=count, default=0, help=faults)
    add("--rules", action="store_true", help="print the rules that this update breaks; exit 1")
    add("--selftest", action="store_true", help="the kernel's own test: 64 addresses, both modes")
    add("--every", action="store_true", help="--selftest at all offsets, after every barrier")
    add("--memory", action="store_true", help="show memory around the area")
    add("--list", action="store_true", help="the versions and where they come from")
    return made


def _print_rules(variant: variants.Variant, written: Written, options: argparse.Namespace) -> int:
    # All KVM versions are judged by all rules, so that the rules which a version breaks are shown.
    profile = PROFILE[variant.name] if variants.is_xen(variant) else NEWEST
    before = written.struct(written.before)
    vcpu = Runstate(options.state, options.entry_time, options.times)
    # The steps as made, not as executed: only there is a read-modify-write still one.
    how = variants.Registration(options.length, options.fault_at)
    caches = variants.prepare(variant, written.area, how=how)
    steps = tuple(variant.update(vcpu, written.area, caches, options.atomic))
    evidence = Evidence(written.area, vcpu, options.atomic, before, steps)
    found = judge(ledger(evidence), profile)
    for breach in found:
        print(f"broken   {breach.rule:<10}  {breach.why}")
    print(f"{variant.name}: {len(found)} of {len(RULES)} rules broken (profile {profile.name})")
    return DIFFERENT if found else EQUAL


def _length(text: str) -> int:
    return 0 if text == "per-use" else count(text)


def _times(text: str) -> tuple[int, ...]:
    times = tuple(map(address, text.split(",")))
    if len(times) != TIME_COUNT:
        raise argparse.ArgumentTypeError(f"{len(times)} values, not {TIME_COUNT}")
    return times


def _fill(text: str) -> bytes:
    try:
        fill = bytes.fromhex(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is not hex digits") from None
    if not fill:
        raise argparse.ArgumentTypeError("it is empty")
    return fill


def _shown(
    options: argparse.Namespace, variant: variants.Variant, written: Written
) -> Iterator[str]:
    memory = options.memory or options.until_barrier is not None
    if options.format == "json":
        yield json.dumps(as_json(written, variant, memory), indent=2)
        return
    if options.format == "table":
        yield from table(written)
    else:
        yield from canonical(written.steps).splitlines()
    if memory:
        yield ""
        yield from memory_rows(written)


def _list(in_json: bool) -> int:
    if in_json:
        versions = [
            {
                "name": variant.name,
                "summary": variant.summary,
                **asdict(variant.source),
                "always_flagged": variant.always_flagged,
                "pages": variant.pages,
            }
            for variant in variants.VARIANTS
        ]
        print(json.dumps({"schema": "runstate-versions/1", "versions": versions}, indent=2))
    else:
        rows = [(one.name, one.summary, str(one.source)) for one in variants.VARIANTS]
        output.write(output.plain(aligned(rows)))
    return EQUAL
