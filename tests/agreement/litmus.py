"""Small questions as litmus tests: for the Linux kernel's memory model, and for x86.

Law of this file: text for herd7, with this checker's verdict written in as the expected result.
"""

from collections.abc import Iterator

from agreement.small import Small
from agreement.versions import VersionQuestion

Asked = Small | VersionQuestion

REGISTERS = ("EAX", "EBX", "ECX", "EDX", "ESI", "EDI", "EBP", "ESP")


def verdict(small: Asked) -> str:
    """Return herd's word for our verdict: may what ``exists`` says come about?"""
    return "Sometimes" if small.torn else "Never"


def lkmm(small: Asked) -> str:
    """Return the test for linux-kernel.cfg."""
    parameters = ", ".join(f"int *{name}" for name in small.variables())
    return "\n".join(
        (
            f"C {small.name}",
            "",
            f"(* Expect: {verdict(small)} *)",
            "",
            _initially(small),
            "",
            f"P0({parameters})",
            "{",
            *(
                f"\tWRITE_ONCE(*{one.variable}, {one.value});" if one.variable else "\tsmp_wmb();"
                for one in small.writes()
            ),
            "}",
            "",
            f"P1({parameters})",
            "{",
            *(f"\tint {one.register};" for one in small.reads() if one.variable),
            *(
                f"\t{one.register} = READ_ONCE(*{one.variable});"
                if one.variable
                else "\tsmp_rmb();"
                for one in small.reads()
            ),
            "}",
            "",
            _exists(small, {one.register: one.register for one in small.reads()}),
            "",
        )
    )


def x86(small: Asked) -> str:
    """Return the test for x86tso.cat: barriers are the compiler's alone there."""
    stores = [f"MOV [{one.variable}],${one.value}" for one in small.writes() if one.variable]
    loads = [one for one in small.reads() if one.variable]
    registers = {one.register: REGISTERS[index] for index, one in enumerate(loads)}
    columns = stores, [f"MOV {registers[one.register]},[{one.variable}]" for one in loads]
    return "\n".join(
        (
            f"X86 {small.name}",
            f'"Expect: {verdict(small)}"',
            _initially(small),
            *_two_columns(*columns),
            _exists(small, registers),
            "",
        )
    )


def _initially(small: Asked) -> str:
    return "{ " + " ".join(f"{name}={value};" for name, value in small.variables().items()) + " }"


def _two_columns(left: list[str], right: list[str]) -> Iterator[str]:
    width = max(map(len, left), default=2)
    yield f" {'P0':<{width}} | P1 ;"
    for index in range(max(len(left), len(right))):
        one = left[index] if index < len(left) else ""
        other = right[index] if index < len(right) else ""
        yield f" {one:<{width}} | {other} ;"


def _exists(small: Asked, names: dict[str, str]) -> str:
    ways = (
        "(" + " /\\ ".join(f"1:{names[name]}={value}" for name, value in way) + ")"
        for way in small.accepted()
    )
    return "exists (" + " \\/\n        ".join(ways) + ")"
