"""``runstate show``: the structs side by side in offset order, every byte a row."""

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING

from runstate_abi.layouts.abi import ABI
from runstate_abi.layouts.model import Layout
from runstate_abi.layouts.structs import runstate
from runstate_abi.layouts.structs.family_names import ALL, RUNSTATE
from runstate_abi.tools.options import add_family, add_format, new_parser
from runstate_abi.tools.output import aligned

if TYPE_CHECKING:
    from runstate_abi.layouts.structs.families import Family

COMPAT_PREFIX = "compat_"
SCHEMA = "runstate-show/1"


def main(argv: list[str]) -> int:
    made = parser()
    options = made.parse_args(argv)
    groups = list(_of_runstate(options)) if options.family in (RUNSTATE, ALL) else []
    shown = list(map("\n".join, map(table, groups)))
    if options.family != RUNSTATE:
        from runstate_abi.layouts.structs.families import families

        for family in families(options.family):
            of_family = list(_of_family(family, options.abi))
            groups += of_family
            shown += [
                "\n".join((f"{family.name}: {family.title}", "", *columns(layouts)))
                for layouts in of_family[:1]
            ]
            shown += ["\n".join(columns(layouts)) for layouts in of_family[1:]]
    if not groups:
        made.error(f"--family {options.family}: no struct of it on {', '.join(options.abi)}")
    if options.format == "json":
        import json

        layouts = [as_json(layout) for group in groups for layout in group]
        print(json.dumps({"schema": SCHEMA, "layouts": layouts}, indent=2))
    else:
        print("\n\n".join(shown))
    return 0


def _of_runstate(options: argparse.Namespace) -> Iterator[tuple[Layout, ...]]:
    names = ((name, abi) for abi in options.abi for name in runstate.structs_expected(abi))
    yield tuple(runstate.claim(name, abi) for name, abi in names)


# Each struct of a family on the ABIs asked for, its compat form beside it.
def _of_family(family: "Family", abis: list[str]) -> Iterator[tuple[Layout, ...]]:
    for name in family.structs:
        forms = [name, f"{COMPAT_PREFIX}{name}"]
        if name.startswith(COMPAT_PREFIX) and name.removeprefix(COMPAT_PREFIX) in family.structs:
            continue
        found = [
            x
            for abi in abis
            for form in forms
            for x in family.claims.get(abi, ())
            if x.name == form
        ]
        if found:
            yield tuple(found)


def parser() -> argparse.ArgumentParser:
    made = new_parser("show", "The structs side by side in offset order, every byte a row.")
    which = f"one or more of {', '.join(ABI)} (default: x86_64)"
    add = made.add_argument
    add("--abi", nargs="+", choices=list(ABI), default=["x86_64"], metavar="ABI", help=which)
    add_family(made)
    add_format(made, "text", "json")
    return made


def table(layouts: tuple[Layout, ...]) -> Iterator[str]:
    """Yield the table of runstate's ``layouts``, with the flag and the states."""
    yield from columns(layouts, flag=True)
    yield ""
    for state in runstate.RUNSTATES:
        yield f"time[{state.value}]  {state.constant:<18}  {state.meaning}"


def columns(layouts: tuple[Layout, ...], flag: bool = False) -> Iterator[str]:
    """Yield a table of ``layouts``, a column each: offset (hex and decimal), size in bytes."""
    # A member has different offsets in different columns. The largest one decides, so that padding
    # of only some ABIs is listed before the members that it moves.
    last: dict[str, int] = {}
    for layout in layouts:
        last |= {row.name: max(row.offset, last.get(row.name, 0)) for row in layout.rows}
    rows = [["", "", *(f"{layout.name} [{layout.abi}]" for layout in layouts)]]
    rows.append(["member", "C type", *("offset       size" for _ in layouts)])
    for name in sorted(last, key=lambda name: last[name]):
        rows.append(_row(name, layouts))
        if flag and name == "state_entry_time":
            bit = f"bit {runstate.XEN_RUNSTATE_UPDATE.bit_length() - 1}"
            places = (f"{_number(runstate.update_byte(layout))}  & 0x80" for layout in layouts)
            rows.append(["  XEN_RUNSTATE_UPDATE", bit, *places])
    rows.append(["sizeof", "", *(_number(layout.size) for layout in layouts)])
    rows.append(["_Alignof", "", *(_alignment(layout) for layout in layouts)])
    yield from aligned(rows)


def _row(name: str, layouts: tuple[Layout, ...]) -> list[str]:
    rows = [next((row for row in layout.rows if row.name == name), None) for layout in layouts]
    first = next(row for row in rows if row)
    c_type = "(padding)" if first.padding else first.type.name
    same = len({row.declaration for row in rows if row}) == 1
    title = first.declaration if same and not first.padding else first.name
    return [title, c_type, *(f"{_number(r.offset)}  {r.size:>5}" if r else "-" for r in rows)]


def _number(value: int) -> str:
    return f"0x{value:02x}  {value:>4}"


def _alignment(layout: Layout) -> str:
    text = f"{'':4}  {layout.alignment:>4}"
    if layout.name != runstate.COMPAT.name:
        return text
    return f"{text}  (KVM packs it; {runstate.CLAIMS[layout.abi].compat_xen.alignment} in Xen)"


def as_json(layout: Layout) -> dict[str, object]:
    """Return a layout as JSON values: every row with offset, size and count in bytes/elements."""
    flagged = layout.name in (runstate.NATIVE.name, runstate.COMPAT.name)
    rows = [
        {
            "offset": row.offset,
            "name": row.name,
            "type": row.type.name,
            "element_size": row.type.size,
            "count": row.count,
            "size": row.size,
            "signed": row.type.signed,
            "padding": row.padding,
        }
        for row in layout.rows
    ]
    value = layout._asdict()
    del value["rows"]
    flag = {"update_byte": runstate.update_byte(layout)} if flagged else {}
    return {**value, **flag, "rows": rows}
