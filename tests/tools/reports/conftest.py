"""Findings of every sort, and a stand-in for what a verdict depends on."""

from types import SimpleNamespace

import pytest

from runstate_abi.layouts.findings import Finding, NotChecked, unchecked
from runstate_abi.layouts.model import Difference
from runstate_abi.layouts.structs.runstate import NATIVE

EQUAL = Finding("gcc", "gcc, 12", "x86_64", found=(NATIVE,), compared=14)
DIFFERENCE = Difference("size-mismatch", NATIVE.name, "", "i386", "44", "48", "gcc -m32, 12")
DIFFERENT = Finding("gcc -m32", "gcc -m32, 12", "i386", compared=14, differences=(DIFFERENCE,))
ALLOWED = unchecked("clang", "", "not installed", fails=False)
NEEDED = unchecked("btf", "vmlinux", "vmlinux: truncated")
PART = Finding(
    "btf", "vmlinux", "x86_64", compared=7, not_checked=(NotChecked("struct c", "not in it", True),)
)


@pytest.fixture(scope="session")
def findings():
    """One Finding of each sort, by name, and the difference that one of them has."""
    return SimpleNamespace(
        equal=EQUAL,
        different=DIFFERENT,
        difference=DIFFERENCE,
        allowed=ALLOWED,
        needed=NEEDED,
        part=PART,
    )


@pytest.fixture(scope="session")
def verdicts(findings):
    """Lists of findings, by what is the matter with them, with the exit code they come to."""
    equal, different, allowed = findings.equal, findings.different, findings.allowed
    return {
        "equal": ([equal], 0),
        "equal, and one that is not needed": ([equal, allowed], 0),
        "a difference": ([equal, different], 1),
        "a difference outweighs what could not be checked": ([different, findings.needed], 1),
        "a difference that nothing was compared for": ([different._replace(compared=0)], 1),
        "a witness that is needed": ([equal, findings.needed], 3),
        "a struct that is needed": ([equal, findings.part], 3),
        "nothing": ([], 3),
        "nothing compared": ([allowed], 3),
        "a name that formats have to escape": (
            [different._replace(path="a:b,c#d%<&>\n\x01é.ko")],
            1,
        ),
    }


@pytest.fixture(
    params=[
        "equal",
        "equal, and one that is not needed",
        "a difference",
        "a difference outweighs what could not be checked",
        "a difference that nothing was compared for",
        "a witness that is needed",
        "a struct that is needed",
        "nothing",
        "nothing compared",
        "a name that formats have to escape",
    ]
)
def verdict(request, verdicts):
    """One of the verdicts: (findings, exit code)."""
    return verdicts[request.param]
