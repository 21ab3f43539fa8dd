"""Which one-line changes of the core do the tests not notice? Run by hand:

    python tests/mutants.py [--seed N] [--count N] [--jobs N] [MODULE.py ...]

Changes one operator, constant, condition, statement or slice of a core module at a time, in a copy
of the checkout, and runs the tests that import the module. Prints each change that no test notices,
and the share that was noticed. A survivor is either explained in EQUIVALENT below, because the
change alters no behaviour, or it is a test that is missing: exit status 1.
"""

import argparse
import ast
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from queue import Queue
from typing import NamedTuple

HOUSE = Path(__file__).resolve().parent.parent
ROOMS = ("layouts", "writer", "tools")

# What the search finds is held against a second search and shown by `runstate race`.
RACING = (
    *(f"racing/test_{name}" for name in ("interleaving", "ordering", "patterns", "guards")),
    "test_race",
)
# Not the tests that run machine code: an emulator of 1 GiB for each exceeds MEMORY_MOST.
RACE_VERB = (
    "command", "explanation", "of_family", "options", "recorded", "rows", "table", "text",
    "timeline",
)  # fmt: skip
RACE = [
    *(f"tests/writer/{name}.py" for name in RACING),
    *(f"tests/tools/race/test_{name}.py" for name in RACE_VERB),
    "tests/writer/racing/test_projection.py",
    "tests/agreement",
]
DUMPS = [
    f"tests/tools/memory/test_{name}.py"
    for name in ("text_view", "comparison", "hexdump", "pages_view", "real_machines", "find")
]
SEARCH = [
    *(f"tests/tools/memory/search/test_{x}.py" for x in ("candidates", "finding", "scan", "kin")),
    "tests/tools/memory/test_find.py",
]
LAYOUTS = [
    *(f"tests/layouts/test_{name}.py" for name in ("constructs", "ctypes_structs", "conditions")),
    "tests/layouts/structs",
    *(f"tests/layouts/witnesses/test_{name}.py" for name in ("btf", "dwarf", "compiler")),
]

VERSIONS = ["tests/writer/versions", "tests/tools/race/test_of_family.py"]

# The core: module -> the tests that must notice a change in it, the likeliest first.
CORE = {
    "layouts/structs/families.py": ["tests/layouts/structs", "tests/tools/check/test_families.py"],
    "layouts/witnesses/of_family.py": [
        "tests/layouts/structs",
        "tests/tools/check/test_families.py",
    ],
    "layouts/witnesses/family_claims.py": [
        "tests/layouts/structs",
        "tests/tools/check/test_families.py",
    ],
    **{
        f"tools/memory/{module}.py": [
            f"tests/tools/memory/test_{name}.py" for name in ("clocks", "decoded")
        ]
        for module in ("clocks", "clock_rules", "decoded")
    },
    "tools/memory/fields.py": ["tests/tools/memory/test_hexdump_families.py"],
    "layouts/constructs.py": LAYOUTS,
    "layouts/abi.py": ["tests/layouts/test_abi.py", *LAYOUTS],
    "layouts/model.py": ["tests/layouts/test_model.py", *LAYOUTS],
    "layouts/conditions.py": ["tests/layouts/test_conditions.py", *LAYOUTS],
    "layouts/witnesses/btf_blob.py": [
        "tests/layouts/witnesses/test_btf.py",
        "tests/layouts/witnesses/test_kernels.py",
    ],
    "layouts/witnesses/streamed.py": ["tests/layouts/witnesses/test_streamed.py"],
    "writer/early.py": ["tests/writer/test_early.py", "tests/writer/test_variants.py"],
    "writer/gpc.py": [
        *(f"tests/writer/test_{name}.py" for name in ("gpc", "life", "variants", "alternatives")),
        "tests/replaying",
    ],
    "writer/memory.py": ["tests/writer/test_memory.py", "tests/writer/test_two_pages.py"],
    "writer/steps.py": ["tests/writer/test_steps.py", "tests/writer/test_properties.py"],
    "writer/two_pages.py": ["tests/writer/test_two_pages.py", "tests/writer/test_variants.py"],
    "writer/vcpu.py": ["tests/writer/test_vcpu.py", "tests/writer/test_variants.py"],
    "writer/xen.py": ["tests/writer/test_xen.py"],
    "writer/alternatives.py": ["tests/writer/test_alternatives.py", "tests/writer/test_rules.py"],
    "writer/guard.py": ["tests/writer/racing/test_guards.py", *VERSIONS],
    "writer/versions/parties.py": VERSIONS,
    "writer/versions/place.py": VERSIONS,
    "writer/versions/writers.py": VERSIONS,
    "writer/guest.py": ["tests/writer/test_guest.py", "tests/writer/test_race.py"],
    "writer/race.py": RACE,
    "writer/racing/execution.py": RACE,
    "writer/racing/interleaving.py": RACE,
    "writer/racing/ordering.py": RACE,
    "writer/racing/patterns.py": RACE,
    "writer/racing/projection.py": RACE,
    "writer/racing/scene.py": RACE,
    "writer/racing/symbols.py": RACE,
    "writer/racing/drops.py": RACE,
    "writer/rulebook/guest_rules.py": ["tests/writer/test_rules.py"],
    "writer/rulebook/host_rules.py": ["tests/writer/test_rules.py"],
    "tools/memory/area.py": DUMPS,
    "tools/memory/decision.py": ["tests/tools/memory/test_decision.py", *DUMPS],
    "tools/memory/observations.py": ["tests/tools/memory/test_observations.py", *DUMPS],
    "tools/memory/search/candidates.py": SEARCH,
    "tools/memory/search/finding.py": [*SEARCH[1:], SEARCH[0]],
    "tools/memory/search/scan.py": [*SEARCH[2:], *SEARCH[:2]],
}

# Asked about what these did not notice: a verb's own tests may.
WIDE = [
    "tests/test_commands.py",
    *sorted(str(path.relative_to(HOUSE)) for path in (HOUSE / "tests/writer").glob("test_*.py")),
    *(f"tests/tools/{verb}" for verb in ("write", "api", "check", "compare", "memory", "docs")),
    "tests/layouts",
]

# It runs pytest with our plugin, which the copies do not have installed.
NEEDS_PLUGIN = "tests/tools/check/test_cases.py"

# Survivors that change nothing that anybody can see: "module: line of source -> its change", why;
# "*" is any change of the line.
EQUIVALENT = {
    "layouts/witnesses/btf_blob.py: self._marks, self._count, self._lengths = ([0], -1,"
    " dict[int, int]()) -> self._marks, self._count, self._lengths = ([0], -2, dict[int, int]())":
        "any negative count says that the types were not counted yet",
    "layouts/witnesses/btf_blob.py: if len(places) > FEW: -> if len(places) >= FEW:":
        "it decides which of two ways is taken: both find the same",
    "layouts/witnesses/btf_blob.py: raise self._overrun(number - (at > len(words))) from None"
    " -> raise self._overrun(number - (at >= len(words))) from None":
        "they are not equal, which the line before it asks",
    "layouts/witnesses/btf_blob.py: FEW_STRINGS, FEW = (8, 4096) -> *":
        "they decide which way is taken, and when lengths are found anew: the result is the same",
    "layouts/witnesses/btf_blob.py: while self._count < 0 and (marks[-1] <= at or len(marks)"
    " * STRIDE <= number + STRIDE): -> while self._count < 1 and (marks[-1] <= at or len(marks)"
    " * STRIDE <= number + STRIDE):":
        "a blob without types is walked once more: it still has none",
    "layouts/witnesses/btf_blob.py: self._walk(sys.maxsize, 0) -> self._walk(sys.maxsize, 1)":
        "no word is behind the largest: it walks to the end either way",
    "layouts/witnesses/btf_blob.py: self._walk(sys.maxsize, 0) -> self._walk(sys.maxsize, -1)":
        "likewise",
    "layouts/witnesses/btf_blob.py: self._walk(at, 0) -> self._walk(at, 1)":
        "records 0 and 1 are before the first mark, and so is every word that has none before it",
    "layouts/witnesses/btf_blob.py: self._walk(at, 0) -> self._walk(at, -1)":
        "likewise",
    "layouts/witnesses/btf_blob.py: self._walk(0, number) -> self._walk(1, number)":
        "words 0 and 1 are of the first record",
    "layouts/witnesses/btf_blob.py: self._walk(0, number) -> self._walk(-1, number)":
        "every record number asks for one mark at least, as word 0 does",
    "layouts/model.py: fault = 'overlaps the row before it' if row.offset < reached else"
    " 'leaves a gap' -> fault = 'overlaps the row before it' if row.offset <= reached else"
    " 'leaves a gap'":
        "if they are equal there is no fault",
    "tools/memory/decision.py: if seen.state < len(RUNSTATES) and seen.total <= seen.entry:"
    " -> if seen.state < len(RUNSTATES) and seen.total < seen.entry:":
        "if they are equal the fit is EXACT, above",
    "tools/memory/search/finding.py: return (item.verdict == COPY, item.seen.times)"
    " -> return (item.verdict != COPY, item.seen.times)":
        "it groups the same candidates under keys with the opposite bit",
    "tools/memory/search/finding.py: data.obj.madvise(mmap.MADV_DONTNEED) -> pass":
        "it gives memory back; what is found is the same",
    "tools/memory/search/finding.py: PLAIN_MOST = 1 << 20 -> *":
        "it decides which of two ways is taken; both find the same",
    "tools/memory/search/scan.py: HIGH_BITS = 127 & ~((AGE_MOST >> 56) - 1)"
    " -> HIGH_BITS = 126 & ~((AGE_MOST >> 56) - 1)":
        "the other side of the & clears the four lowest bits",
    "tools/memory/search/finding.py: high = min(start + STRIDE + TIMES - 1, len(data))"
    " -> high = min(start + STRIDE + TIMES - 0, len(data))":
        "one byte more is looked at; what begins behind the stride is left out below",
    "tools/memory/search/finding.py: high = min(start + STRIDE + TIMES - 1, len(data))"
    " -> high = min(start + STRIDE + TIMES + 1, len(data))":
        "two bytes more: likewise",
    "tools/memory/search/scan.py: if page != _ZEROS[:len(page)]: -> if page != _ZEROS[:]:":
        "a last piece of a page is searched although it is zero: nothing is found in it",
    "tools/memory/search/scan.py: for start in range(0, len(data), PAGE_SIZE):"
    " -> for start in range(1, len(data), PAGE_SIZE):":
        "a run of pages begins early enough either way, and an entry time is never at byte 0",
    "writer/racing/interleaving.py: start = State(0, 0, problem.memory, 0,"
    " (-1,) * len(problem.memory), (-1, -1)) -> start = State(0, 0, problem.memory, 0,"
    " (-1,) * len(problem.memory), (-1, -2))":
        "no value is negative: -2 says as well that the byte was not loaded yet",
    "writer/racing/projection.py: any((x.flag or x.masked for x in stage.looks.sights)) else -1,"
    " tuple(((_value(stage, columns, first, one[first]), _value -> *":
        "the place of the flag's byte where no load refuses the flag: nothing looks there",
    "writer/racing/projection.py: seen.add(key) -> pass":
        "a question that was asked is asked again: the answer is the same",
    "writer/race.py: columns = in_order(columns, len(columns[0])) or columns"
    " -> columns = in_order(columns, len(columns[-1])) or columns":
        "all columns have one value for each version",
    "writer/racing/patterns.py: coarser = islice(_coarser(columns, entry_times), 1 + also_differ)"
    " -> coarser = islice(_coarser(columns, entry_times), 2 + also_differ)":
        "the islice only ends the count as soon as it is too large",
    "writer/racing/patterns.py: coarser = islice(_coarser(columns, entry_times), 1 + also_differ)"
    " -> coarser = islice(_coarser(columns, entry_times), 1 - also_differ)":
        "more patterns are asked, which differ in more bytes: `race --all` prints the same, later",
    "layouts/witnesses/btf_blob.py: at, number = self._step(len(marks) - 1, len(words) - 1)"
    " -> at, number = self._step(len(marks) - 1, len(words) - 0)":
        "the last record ends where the words do, or behind them",
    "layouts/witnesses/btf_blob.py: return sorted(places) -> pass":
        "without places all records are gone through: the result is the same",
    "layouts/witnesses/btf_blob.py: return self._first_id or 1 -> return self._first_id or 0":
        "it is a number by then, and not 0",
    "layouts/witnesses/btf_blob.py: if number >= 0: -> if number >= 1:":
        "the first record needs no walk; an empty blob is refused when it is opened",
    "tools/memory/search/scan.py: return 0 -> return 1":
        "one place more passes the first filter, and _fits() decides",
    "writer/gpc.py: writer: bool = False -> writer: bool = True":
        "the model never reads it: the recordings' replay does",
    "writer/gpc.py: generation: int = 0 -> generation: int = 1":
        "it is set before anything compares it",
    "writer/vcpu.py: return parts[0] if len(parts) == 1 else f'{parts[0]} .. {parts[-1]}'"
    " -> return parts[-1] if len(parts) == 1 else f'{parts[0]} .. {parts[-1]}'":
        "the only one is the first and the last",
    "writer/vcpu.py: struct[shape.entry_time:shape.entry_time + ENTRY_TIME_SIZE] ="
    " entry_bytes(entry_time) -> struct[shape.entry_time:] = entry_bytes(entry_time)":
        "the times, which are all that follows, are put there next",
    "writer/race.py: columns = in_order(columns, len(columns[0])) or columns -> pass":
        "those found so far were in order: only how the bytes look depends on it",
    "layouts/witnesses/btf_blob.py: self._walk(at, 0) -> pass":
        "it is walked there from the last mark that is known",
    "tools/memory/search/candidates.py: XEN_POINTERS = range(18446606359878172672,"
    " 18446612132314218496) -> XEN_POINTERS = range(18446606359878172672, 18446612132314218497)":
        "the first address of a guest is no owner: it is among the words between",
    "tools/memory/search/finding.py: ranks = [candidates.rank(kept[place])[:2] for place in (best,"
    " index)] -> ranks = [candidates.rank(kept[place])[:3] for place in (best, index)]":
        "of two equal ones the first wins either way, and it has the lower address",
    "tools/memory/search/scan.py: _IS_STATE = bytes((byte < STATES for byte in range(256)))"
    " -> _IS_STATE = bytes((byte <= STATES for byte in range(256)))":
        "more passes the first filter; without a state in front of it, it is no candidate",
    "tools/memory/search/scan.py: BLOCK = 1 << 16 -> *":
        "it decides how much is looked at together",
    "tools/memory/search/scan.py: places = two & two >> 2 * _NUMBER & top >> 4 * _NUMBER"
    " -> places = two & two >> 1 * _NUMBER & top >> 4 * _NUMBER":
        "more passes the first filter, and _fits() decides",
    "writer/gpc.py: self.valid = False -> self.valid = True":
        "uhva is None by then, and without one no cache is valid",
    "layouts/witnesses/btf_blob.py: self._learn(words[info], info - 1)"
    " -> self._learn(words[info], info - 2)":
        "a word earlier is inside the record before: the first that begins behind it is the same",
    "writer/gpc.py: self.valid = False -> pass":
        "only an active cache is ever valid; the line is the kernel's",
    "writer/race.py: if not 0 <= offset < area.shape.size: -> if not -1 <= offset <"
    " area.shape.size:":
        "a byte outside the struct has another value, and nobody looks at it",
    "writer/racing/projection.py: stray = STRAY + token -> stray = STRAY - token":
        "any number that no version has, another one for each byte",
    "writer/rulebook/guest_rules.py: return None -> pass":
        "a function that ends returns None",
}  # fmt: skip

# s of a processor: for a list of tests on the unchanged copy, and by how much a change may exceed
# what that took. A change that never ends takes no longer.
CPU_MOST, CPU_FACTOR, CPU_MORE = 400, 2, 10
MEMORY_MOST = 8 << 30
SHOWN = 120  # characters of a line

SWAPS = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.FloorDiv: ast.Mod,
    ast.Mod: ast.FloorDiv, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
    ast.LShift: ast.RShift, ast.RShift: ast.LShift,
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
    ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip


class Place(NamedTuple):
    """Where a change can be made: a node's number in ast.walk(), and which of its changes, or
    which of its statements is left out.
    """

    module: str
    node: int
    change: int = -1
    block: str = ""
    statement: int = -1


class Mutant(NamedTuple):
    """One change: where, what stands there, what is put there, and the whole changed source."""

    module: str
    line: int
    old: str
    new: str
    source: str

    @property
    def key(self) -> str:
        """How EQUIVALENT names it: a line number would not last."""
        return f"{self.module}: {self.old} -> {self.new}"

    @property
    def is_equivalent(self) -> bool:
        """Is it explained in EQUIVALENT?"""
        return not {self.key, f"{self.module}: {self.old} -> *"}.isdisjoint(EQUIVALENT)


def changes(node: ast.AST):
    """Yield functions that change a node in place, each in another way."""
    if isinstance(node, ast.BinOp | ast.BoolOp | ast.AugAssign) and type(node.op) in SWAPS:
        yield lambda n: setattr(n, "op", SWAPS[type(n.op)]())
    if isinstance(node, ast.Compare) and type(node.ops[0]) in SWAPS:
        yield lambda n: n.ops.__setitem__(0, SWAPS[type(n.ops[0])]())
    if isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield lambda n: setattr(n, "value", not n.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int):
        yield lambda n: setattr(n, "value", n.value + 1)
        yield lambda n: setattr(n, "value", n.value - 1)
    if isinstance(node, ast.If | ast.While | ast.IfExp):
        yield lambda n: setattr(n, "test", ast.UnaryOp(ast.Not(), n.test))
    if isinstance(node, ast.Slice) and node.upper is not None:
        yield lambda n: setattr(n, "upper", None)


def unasked(tree: ast.AST) -> set[int]:
    """Return the ids of the nodes whose changes no test can notice.

    Type checkers alone look below ``if TYPE_CHECKING`` and at annotations. ``strict=`` of a zip()
    is an assertion: both are equally long by construction, and it says so. ``slots=`` of a
    dataclass is another one, and ``maxsize=`` of a cache decides how fast it is and nothing else.
    """
    found: list[ast.AST] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            found.append(node)
        if isinstance(node, ast.keyword) and node.arg in ("strict", "slots", "maxsize"):
            found.append(node)
        for name in ("annotation", "returns"):
            if isinstance(one := getattr(node, name, None), ast.AST):
                found.append(one)
    return {id(below) for node in found for below in ast.walk(node)}


def places(module: str):
    """Yield every Place of a module."""
    tree = ast.parse((HOUSE / module).read_text())
    skipped = unasked(tree)
    for number, node in enumerate(ast.walk(tree)):
        if id(node) in skipped:
            continue
        for which, _ in enumerate(changes(node)):
            yield Place(module, number, change=which)
        for name in ("body", "orelse"):
            statements = getattr(node, name, None)
            for index, one in enumerate(statements if isinstance(statements, list) else ()):
                inside = isinstance(node, ast.FunctionDef | ast.If | ast.For | ast.While)
                kinds = ast.Return | ast.Expr | ast.Raise | ast.Assign | ast.AugAssign
                text = isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant)
                if inside and isinstance(one, kinds) and not text:
                    yield Place(module, number, block=name, statement=index)


@cache
def plain(module: str) -> list[str]:
    """Return the lines of a module as ast writes them."""
    return ast.unparse(ast.parse((HOUSE / module).read_text())).splitlines()


def stands(module: str, line: str) -> bool:
    """Is a line that EQUIVALENT names still there?"""
    return any(line in one for one in plain(module))


def stale() -> list[str]:
    """Return the keys of EQUIVALENT whose lines are gone."""
    return [key for key in EQUIVALENT if not stands(*key.split(" -> ")[0].split(": ", 1))]


def made(place: Place) -> Mutant:
    """Return the mutant that has the change of one Place."""
    tree = ast.parse((HOUSE / place.module).read_text())
    node = list(ast.walk(tree))[place.node]
    line = getattr(node, "lineno", 0)
    if place.block:
        body = getattr(node, place.block)
        line = body[place.statement].lineno
        body[place.statement] = ast.Pass()
    else:
        list(changes(node))[place.change](node)
    before, after = plain(place.module), ast.unparse(ast.fix_missing_locations(tree)).splitlines()
    pairs = enumerate(zip(before, after, strict=False))
    first = next((i for i, (old, new) in pairs if old != new), 0)
    old, new = before[first].strip(), after[first].strip()
    # Of a table that is one statement, what is around the change.
    same = len(os.path.commonprefix([old, new]))
    begin = max(0, same - SHOWN // 2) if len(old) > SHOWN else 0
    cut = slice(begin, begin + SHOWN)
    return Mutant(place.module, line, old[cut].strip(), new[cut].strip(), "\n".join(after))


def ran(
    mutant: Mutant, folders, tests: list[str], most: float = CPU_MOST, wide: float = 0
) -> tuple[bool, float]:
    """Run tests against a mutant, in a copy of the checkout of this worker's own.

    If they pass and there is time, in s of a processor, for WIDE, those too. Return whether a test
    fails, and how long the first ones took, in s of a processor.
    """
    copy_of = folders.get()
    try:
        path = copy_of / mutant.module
        original = path.read_text()
        replaced(path, mutant.source + "\n")
        try:
            failed, seconds = fails(tests, copy_of, most)
            if wide and not failed:
                failed, _ = fails(WIDE, copy_of, wide)
            return failed, seconds
        finally:
            replaced(path, original)
    finally:
        folders.put(copy_of)


def replaced(path: Path, source: str) -> None:
    """Write a module, and remove what Python compiled of it: size and second may be the same."""
    path.write_text(source)
    for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
        compiled.unlink()


def fails(tests: list[str], folder: Path, most: float) -> tuple[bool, float]:
    """Run some tests in a copy of the checkout; a hang is a failure."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
    options = ["-p", "_hypothesis_pytestplugin", "--hypothesis-seed=0", f"--ignore={NEEDS_PLUGIN}"]
    process = subprocess.Popen(
        [*command, *options, *tests], cwd=folder, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, env=environment(folder), preexec_fn=lambda: limited(most),
    )  # fmt: skip
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode != 0, used.ru_utime + used.ru_stime


def limited(cpu_most: float) -> None:
    """Bound what an endless loop takes. The clock would count what else the machine does.

    Mapped files do not count: a test maps one of a terabyte.
    """
    resource.setrlimit(resource.RLIMIT_CPU, (int(cpu_most), int(cpu_most)))
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_MOST, MEMORY_MOST))


def environment(folder: Path) -> dict[str, str]:
    """Return an environment in which the copy is what `import runstate_abi` finds."""
    # pytest starts twice as fast without the plugins that are not needed.
    few = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return {**os.environ, **few, "PYTHONPATH": str(folder / "import")}


def copied(folder: Path) -> Path:
    """Copy the checkout, with the rooms linked below the package runstate_abi, as installed."""
    shutil.copytree(
        HOUSE,
        folder,
        ignore=shutil.ignore_patterns(
            ".git", ".venv*", "__pycache__", ".*_cache", ".hypothesis", "import"
        ),
    )
    package = folder / "import" / "runstate_abi"
    shutil.copytree(folder / "tools/api", package)
    for room in ROOMS:
        (package / room).symlink_to(folder / room, target_is_directory=True)
    return folder


def main() -> int:
    """Print the survivors and the share that was noticed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("modules", nargs="*", metavar="MODULE.py", help="default: all of the core")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    if gone := stale():
        print("EQUIVALENT names lines that are gone:", *gone, sep="\n", file=sys.stderr)
        return 2
    every = [one for module in options.modules or CORE for one in places(module)]
    sampled = random.Random(options.seed).sample(every, min(options.count, len(every)))
    chosen = [one for one in map(made, sampled) if not one.is_equivalent]
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(options.jobs) as pool:
        folders: Queue[Path] = Queue()
        for number in range(options.jobs):
            folders.put(copied(Path(scratch) / str(number)))
        # Where the unchanged copy fails, every mutant would seem to be noticed.
        lists = {tuple(CORE[one.module]): one.module for one in chosen}
        lists[tuple(WIDE)] = next(iter(CORE))
        most = {}

        def asked(tests: tuple[str, ...]) -> tuple[bool, float]:
            module = lists[tests]
            same = Mutant(module, 0, "", "", (HOUSE / module).read_text())
            return ran(same, folders, list(tests))

        for tests, (fail, seconds) in zip(lists, pool.map(asked, lists), strict=True):
            if fail:
                print(f"the tests of the unchanged copy fail: {' '.join(tests)}", file=sys.stderr)
                return 2
            most[tests] = CPU_FACTOR * seconds + CPU_MORE

        def noticed(mutant: Mutant) -> bool:
            tests = tuple(CORE[mutant.module])
            return ran(mutant, folders, list(tests), most[tests], most[tuple(WIDE)])[0]

        survivors = 0
        every_one = pool.map(noticed, chosen)
        for number, (one, was) in enumerate(zip(chosen, every_one, strict=True), 1):
            if not was:
                survivors += 1
                print(f"survives  {one.module}:{one.line}: {one.old} -> {one.new}", flush=True)
            if sys.stderr.isatty():
                print(f"\r{number} of {len(chosen)}", end="", file=sys.stderr)
    equivalent = len(sampled) - len(chosen)
    print(f"seed {options.seed}: {len(sampled)} of {len(every)} mutants, {equivalent} equivalent")
    share = 1 - survivors / len(chosen)
    print(f"of the other {len(chosen)}, {share:.1%} noticed; {survivors} survive")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
