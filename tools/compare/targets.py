"""A compiler for every ABI at once: the ziglang wheel, which carries clang for all of them.

Law of this file: a table of targets, and the command line for each.
"""

import shlex
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from typing import NamedTuple

from runstate_abi.layouts.model import WitnessError
from runstate_abi.tools.checking import survey
from runstate_abi.tools.checking.survey import Finding


class Target(NamedTuple):
    """An ABI of layouts/abi.py, and what Zig calls it."""

    abi: str
    triple: str


# fmt: off
TARGETS = (
    Target("x86_64",       "x86_64-linux-gnu"),
    Target("i386",         "x86-linux-gnu"),
    Target("x32",          "x86_64-linux-gnux32"),
    Target("arm64",        "aarch64-linux-gnu"),
    Target("arm32",        "arm-linux-gnueabihf"),
    Target("riscv64",      "riscv64-linux-gnu"),
    Target("i386-windows", "x86-windows-gnu"),
)
# fmt: on


def asked_of_zig() -> Iterator[Finding]:
    """Yield what Zig's clang makes of our declarations for each ABI (WitnessError: no Zig)."""
    if find_spec("ziglang") is None:
        raise WitnessError("ziglang: not installed (pip install 'runstate-abi[cross]')")
    for target in TARGETS:
        command = f"{shlex.quote(sys.executable)} -m ziglang cc -target {target.triple}"
        for finding in survey.asked_of_compilers([command], named=True, abi=None):
            yield _renamed(finding, command, f"zig cc -target {target.triple}")


# The command line begins with a path of this machine, which is nobody's business.
def _renamed(finding: Finding, command: str, name: str) -> Finding:
    return finding._replace(
        witness=name,
        source=finding.source.replace(command, name),
        not_checked=tuple(
            item._replace(what=item.what.replace(command, name)) for item in finding.not_checked
        ),
    )
