"""Which one-line changes of the core do the tests not notice? Run by hand:

    python tests/mutants.py [--seed N] [--count N] [--jobs N] [MODULE.py ...]

Changes one operator, constant, condition, statement or slice of a core module at a time, in a copy
of the checkout, and runs the tests that import the module. Prints each change that no test notices,
and the share that was noticed. A survivor is either explained in EQUIVALENT below, because the
change alters no behaviour, or it is a test that is missing: exit status 1.
"""

import argparse
import ast
import copy
import os
import random
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue
from typing import NamedTuple

HOUSE = Path(__file__).resolve().parent.parent
ROOMS = ("layouts", "writer", "tools")

# What the search finds is held against a second search and shown by `runstate race`.
RACE = ["tests/writer/racing", "tests/writer/test_race.py", "tests/tools/race", "tests/agreement"]

# The core: module -> the tests that must notice a change in it.
CORE = {
    "layouts/abi.py": ["tests/layouts/test_abi.py", "tests/layouts"],
    "layouts/model.py": ["tests/layouts/test_model.py", "tests/layouts"],
    "layouts/conditions.py": ["tests/layouts/test_conditions.py", "tests/layouts"],
    "layouts/witnesses/btf_blob.py": ["tests/layouts/witnesses"],
    "writer/early.py": ["tests/writer/test_early.py", "tests/writer/test_variants.py"],
    "writer/gpc.py": ["tests/writer/test_gpc.py", "tests/writer/test_life.py", "tests/replaying"],
    "writer/memory.py": ["tests/writer/test_memory.py", "tests/writer/test_two_pages.py"],
    "writer/steps.py": ["tests/writer/test_steps.py", "tests/writer/test_properties.py"],
    "writer/two_pages.py": ["tests/writer/test_two_pages.py", "tests/writer/test_variants.py"],
    "writer/vcpu.py": ["tests/writer/test_vcpu.py", "tests/writer/test_variants.py"],
    "writer/xen.py": ["tests/writer/test_xen.py"],
    "writer/alternatives.py": ["tests/writer/test_alternatives.py", "tests/writer/test_rules.py"],
    "writer/guest.py": ["tests/writer/test_guest.py", "tests/writer/test_race.py"],
    "writer/race.py": ["tests/writer/racing", "tests/writer/test_race.py", "tests/tools/race"],
    "writer/racing/execution.py": RACE,
    "writer/racing/interleaving.py": RACE,
    "writer/racing/ordering.py": RACE,
    "writer/racing/patterns.py": RACE,
    "writer/racing/projection.py": RACE,
    "writer/racing/scene.py": RACE,
    "writer/rulebook/guest_rules.py": ["tests/writer/test_rules.py"],
    "writer/rulebook/host_rules.py": ["tests/writer/test_rules.py"],
    "tools/memory/area.py": ["tests/tools/memory/test_text_view.py", "tests/tools/memory"],
    "tools/memory/decision.py": ["tests/tools/memory/test_decision.py", "tests/tools/memory"],
    "tools/memory/observations.py": [
        "tests/tools/memory/test_observations.py",
        "tests/tools/memory",
    ],
    "tools/memory/search/candidates.py": ["tests/tools/memory/search", "tests/tools/memory"],
    "tools/memory/search/finding.py": ["tests/tools/memory/search", "tests/tools/memory"],
    "tools/memory/search/scan.py": ["tests/tools/memory/search", "tests/tools/memory"],
}

# Survivors that change nothing that anybody can see: "module: line of source -> its change", why.
EQUIVALENT: dict[str, str] = {}

SWAPS = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.FloorDiv: ast.Mod,
    ast.Mod: ast.FloorDiv, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
    ast.LShift: ast.RShift, ast.RShift: ast.LShift,
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
    ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip


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


def without_statement(body: list[ast.stmt], index: int) -> None:
    """Replace a statement by ``pass``."""
    body[index] = ast.Pass(lineno=body[index].lineno, col_offset=0)


def mutants(module: str):
    """Yield every change of a module."""
    source = (HOUSE / module).read_text()
    tree = ast.parse(source)
    nodes = list(ast.walk(tree))
    for number, node in enumerate(nodes):
        for which, _ in enumerate(changes(node)):
            yield made(module, tree, number, lambda n, w=which: list(changes(n))[w](n))
        for name in ("body", "orelse"):
            statements = getattr(node, name, None)
            for index, one in enumerate(statements if isinstance(statements, list) else ()):
                inside = isinstance(node, ast.FunctionDef | ast.If | ast.For | ast.While)
                kinds = ast.Return | ast.Expr | ast.Raise | ast.Assign | ast.AugAssign
                text = isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant)
                if inside and isinstance(one, kinds) and not text:
                    yield made(
                        module, tree, number,
                        lambda n, name=name, i=index: without_statement(getattr(n, name), i),
                    )  # fmt: skip


def made(module, tree, number, change) -> Mutant:
    """Return one mutant: a copy of the tree in which node ``number`` was changed."""
    changed = copy.deepcopy(tree)
    node = list(ast.walk(changed))[number]
    change(node)
    ast.fix_missing_locations(changed)
    before, after = ast.unparse(tree).splitlines(), ast.unparse(changed).splitlines()
    first = next(
        (i for i, pair in enumerate(zip(before, after, strict=False)) if len({*pair}) > 1), 0
    )
    line = getattr(node, "lineno", 0)
    return Mutant(module, line, before[first].strip(), after[first].strip(), "\n".join(after))


def noticed(mutant: Mutant, folders) -> bool:
    """Run the module's tests against a mutant, in a copy of the checkout of this worker's own."""
    copy_of = folders.get()
    try:
        path = copy_of / mutant.module
        original = path.read_text()
        path.write_text(mutant.source + "\n")
        try:
            return fails(mutant.module, copy_of)
        finally:
            path.write_text(original)
    finally:
        folders.put(copy_of)


def fails(module: str, folder: Path) -> bool:
    """Run the tests of a module in a copy of the checkout; a hang is a failure."""
    command = [sys.executable, "-B", "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
    options = ["-p", "no:randomly", "-p", "no:xdist"]
    try:
        done = subprocess.run(
            [*command, *options, *CORE[module]], cwd=folder, capture_output=True,
            env=environment(folder), timeout=900,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return True
    return done.returncode != 0


def environment(folder: Path) -> dict[str, str]:
    """Return an environment in which the copy is what `import runstate_abi` finds."""
    return {**os.environ, "PYTHONPATH": str(folder / "import"), "PYTHONDONTWRITEBYTECODE": "1"}


def copied(folder: Path) -> Path:
    """Copy the checkout, with the rooms linked below the package runstate_abi, as installed."""
    shutil.copytree(
        HOUSE, folder, ignore=shutil.ignore_patterns(".git", ".venv*", "__pycache__", ".mypy_cache")
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
    every = [one for module in options.modules or CORE for one in mutants(module)]
    chosen = random.Random(options.seed).sample(every, min(options.count, len(every)))
    chosen = [one for one in chosen if one.key not in EQUIVALENT]
    with tempfile.TemporaryDirectory() as scratch:
        folders: Queue[Path] = Queue()
        for number in range(options.jobs):
            folders.put(copied(Path(scratch) / str(number)))
        # Where the unchanged copy fails, every mutant would seem to be noticed.
        first = folders.get()
        broken = [module for module in {one.module for one in chosen} if fails(module, first)]
        folders.put(first)
        if broken:
            print(f"the tests of the unchanged copy fail: {', '.join(broken)}", file=sys.stderr)
            return 2
        survivors = []
        with ThreadPoolExecutor(options.jobs) as pool:
            for one, was in zip(
                chosen, pool.map(lambda m: noticed(m, folders), chosen), strict=True
            ):
                if not was:
                    survivors.append(one)
                    print(f"survives  {one.module}:{one.line}: {one.old} -> {one.new}", flush=True)
    share = 1 - len(survivors) / len(chosen)
    print(f"{len(chosen)} of {len(every)} mutants, seed {options.seed}: {share:.1%} noticed")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
