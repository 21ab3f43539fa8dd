"""Small questions as C for CBMC, a bounded model checker of C with two threads.

Law of this file: text for ``cbmc --mm tso``, with this checker's verdict written in.
"""

from agreement.small import Small


def c_source(small: Small) -> str:
    """Return a program whose assertion fails if the reader can accept what was never true."""
    ways = (
        " && ".join(f"{register} == {value}" for register, value in way) for way in small.accepted()
    )
    return "\n".join(
        (
            f"/* {small.name}",
            f"   Expect: VERIFICATION {'FAILED' if small.torn else 'SUCCESSFUL'} */",
            *(f"int {name} = {value};" for name, value in small.variables().items()),
            "",
            "void *writer(void *unused)",
            "{",
            *(f"\t{one.variable} = {one.value};" for one in small.writes() if one.variable),
            "\treturn 0;",
            "}",
            "",
            "int main(void)",
            "{",
            "__CPROVER_ASYNC_1:",
            "\twriter(0);",
            *(f"\tint {one.register} = {one.variable};" for one in small.reads() if one.variable),
            "\t__CPROVER_assert(!(" + " ||\n\t\t".join(f"({way})" for way in ways) + '), "torn");',
            "\treturn 0;",
            "}",
            "",
        )
    )
