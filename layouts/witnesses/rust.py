"""What rustc makes of a struct in a user's own Rust file: read out of the debug info it writes.

The file is compiled as a crate by itself, with an item at its end that keeps each struct in the
debug info. What needs a crate of its own is compiled by Cargo, and its object is asked.
"""

import os
import shlex
import subprocess
import tempfile

from runstate_abi.layouts.abi import Abi
from runstate_abi.layouts.model import Layout, WitnessError
from runstate_abi.layouts.witnesses import dwarf, elf
from runstate_abi.layouts.witnesses.compiler import TIMEOUT_S, Measurement, does_not_compile

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
    first = ""
    for edition in EDITIONS:
        answer = _compiled([*shlex.split(command), f"--edition={edition}"], text, folder)
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
    version = _said([*shlex.split(command), "--version"]).removeprefix("rustc ").split(" ")[0]
    layouts = seen._replace(source=f"{command}, {version}", found=found)
    return Measurement(layouts, target, (), ())


def _compiled(words: list[str], text: bytes, folder: str) -> bytes | str:
    with tempfile.TemporaryDirectory(prefix="runstate-") as place:
        output = os.path.join(place, "probe.o")
        # From standard input, so that `mod name;` finds its file beside the user's.
        said = _said([*words, "-o", output, *OPTIONS], text, folder)
        if not os.path.exists(output):
            return said or "no object file"
        with open(output, "rb") as file:
            return file.read()


def _said(words: list[str], text: bytes = b"", folder: str | None = None) -> str:
    try:
        done = subprocess.run(
            words,
            input=text,
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise WitnessError(f"{words[0]}: still compiling after {TIMEOUT_S} s") from None
    except OSError as error:
        raise WitnessError(f"cannot run {words[0]}: {error.strerror} (Debian: rustc)") from None
    return done.stdout.decode(errors="replace")
