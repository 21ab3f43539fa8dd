"""What rustc makes of a struct in a user's own Rust file: read out of the debug info it writes.

The file is compiled as a crate by itself, with an item at its end that keeps each struct in the
debug info. What needs a crate of its own is compiled by Cargo, and its object is asked.
"""

import os
import tempfile

from runstate_abi.layouts.abi import Abi
from runstate_abi.layouts.model import Layout, WitnessError
from runstate_abi.layouts.witnesses import dwarf, elf
from runstate_abi.layouts.witnesses.compiler import (
    Measurement,
    command_words,
    does_not_compile,
    ran,
)

COMMANDS = ("rustc",)
EDITIONS = ("2021", "2015")  # `async` is a word of one and a name of the other
OPTIONS = ("--crate-type=lib", "--emit=obj", "-g", "-Cpanic=abort", "-Awarnings", "-")
KEPT = """
fn runstate_kept(_: *const {name}) {{}}
#[used]
static RUNSTATE_KEPT: fn(*const {name}) = runstate_kept;
"""


def observe(
    path: str, name: str, claimed: Layout, command: str, abi: Abi | None = None
) -> Measurement:
    """Measure a struct of a Rust file, ``module::Name`` (WitnessError, as header.observe())."""
    try:
        with open(path, "rb") as file:
            text = file.read() + KEPT.format(name=name).encode()
    except OSError as error:
        raise WitnessError(f"{path}: {error.strerror}") from None
    folder = os.path.dirname(os.path.abspath(path))
    words, first = command_words(command), ""
    for edition in EDITIONS:
        answer = _compiled([*words, f"--edition={edition}"], command, text, folder)
        if isinstance(answer, bytes):
            break
        first = first or answer
    else:
        raise does_not_compile(command, first)
    file_ = elf.parse(answer, f"the object of {command}")
    target = file_.abi or abi
    if target is None:
        raise WitnessError(f"{command}: compiles for {file_.description}, an ABI without a claim")
    seen = dwarf.observe(dwarf.Source(f"the object of {command}", file_, ""), [name], target)
    if not seen.found:
        raise WitnessError(f"{path}: {command} finds no struct {name} in it")
    found = tuple(layout._replace(name=claimed.name) for layout in seen.found)
    _, said = ran([*words, "--version"], command)
    version = said.removeprefix("rustc ").split(" ")[0]
    layouts = seen._replace(source=f"{command}, {version}", found=found)
    return Measurement(layouts, target, (), ())


def _compiled(words: list[str], command: str, text: bytes, folder: str) -> bytes | str:
    with tempfile.TemporaryDirectory(prefix="runstate-") as place:
        output = os.path.join(place, "probe.o")
        # From standard input, so that `mod name;` finds its file beside the user's.
        status, said = ran([*words, "-o", output, *OPTIONS], command, text, folder)
        if status or not os.path.exists(output):
            return said
        with open(output, "rb") as file:
            return file.read()
