"""What rustc makes of a struct in a user's own Rust file, read out of its debug info.

The file is compiled as a crate by itself, with an item added at its end that keeps the struct in
the debug info. For a file that needs its own crate, check the object that Cargo makes.
"""

import os
import tempfile

from runstate_abi.layouts.abi import Abi
from runstate_abi.layouts.model import Layout, WitnessError
from runstate_abi.layouts.witnesses import compiler, dwarf, elf

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
) -> compiler.Measurement:
    """Measure a struct of a Rust file, ``module::Name`` (WitnessError, as header.observe())."""
    try:
        with open(path, "rb") as file:
            text = file.read() + KEPT.format(name=name).encode()
    except OSError as error:
        raise WitnessError(f"{path}: {error.strerror}") from None
    folder = os.path.dirname(os.path.abspath(path))
    words, first = compiler.command_words(command), ""
    for edition in EDITIONS:
        # From standard input, so that `mod name;` finds its file beside the user's.
        asked = [*words, f"--edition={edition}", *OPTIONS]
        with tempfile.TemporaryDirectory(prefix="runstate-") as place:
            output = os.path.join(place, "probe.o")
            answer = compiler.made(asked, command, output, text, folder)
        if isinstance(answer, bytes):
            break
        first = first or answer
    else:
        raise compiler.does_not_compile(command, first)
    object_ = elf.parse(answer, f"the object of {command}")
    target = object_.abi or abi
    if target is None:
        why = f"compiles for {object_.description}, an ABI without a claim"
        raise WitnessError(f"{command}: {why}")
    seen = dwarf.observe(dwarf.Source(object_.source, object_, ""), [name], target)
    if not seen.found:
        raise WitnessError(f"{path}: {command} finds no struct {name} in it")
    found = tuple(layout._replace(name=claimed.name) for layout in seen.found)
    _, said = compiler.ran([*words, "--version"], command)
    version = said.removeprefix("rustc ").split(" ")[0]
    layouts = seen._replace(source=f"{command}, {version}", found=found)
    return compiler.Measurement(layouts, target, (), ())
