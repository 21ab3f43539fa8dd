"""Who may import whom: the rooms of the house, read from the source text itself."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

HOUSE = Path(__file__).resolve().parent.parent
MODULES = sorted(p for room in ("layouts", "writer", "tools") for p in (HOUSE / room).rglob("*.py"))

# Packages that cost more to start than most commands take: only ever inside a function.
HEAVY = {"rich", "drgn", "hypothesis", "zstandard", "numpy", "qemu", "pytest", "unicorn"}


def imports(path, top_level_only=False):
    """The modules that a file imports, those inside functions too unless told otherwise."""
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level_only else ast.walk(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room(path):
    """Where a file lives, as the rules below name it."""
    parts = path.relative_to(HOUSE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def ours(path):
    return {name.removeprefix("runstate_abi.") for name in imports(path) if name.startswith("run")}


# A door imports the parts in its room; no part knows its door, or another door's parts.
DOORS = {
    "writer.racing": ("writer.race", "writer.rules", "writer.rulebook"),
    "writer.rulebook": ("writer.rules", "writer.race", "writer.racing"),
}


def violations(where, imported):
    """What a module of this room may not import."""
    for name in imported:
        top = name.split(".")[0]
        forbidden = {
            "layouts": top in ("writer", "tools", "tests"),
            "writer": top in ("tools", "tests"),
            "tools": top == "tests",
        }[where.split(".")[0]]
        if where == "layouts.model":
            forbidden = True
        elif where.startswith("layouts") and "witnesses" not in where:
            forbidden |= "witnesses" in name
        elif where.startswith("writer"):
            witnesses = where.startswith("writer.witnesses")
            allowed = ("layouts.model", "layouts.abi", "layouts.runstate", "writer")
            allowed += ("layouts.witnesses",) if witnesses else ()
            forbidden |= not any(name == a or name.startswith(a + ".") for a in allowed)
            forbidden |= not witnesses and name.startswith("writer.witnesses")
            closed = DOORS.get(where.rpartition(".")[0], ())
            forbidden |= any(name == door or name.startswith(door + ".") for door in closed)
        if forbidden:
            yield f"{where} imports {name}"


@pytest.mark.parametrize("path", MODULES, ids=room)
def test_a_room_imports_only_what_it_may(path):
    # `from runstate_abi.layouts import model` also yields the bare package: not an import of ours.
    imported = {name for name in ours(path) if name not in ("layouts", "writer", "tools", "")}
    assert list(violations(room(path), imported)) == []


def test_the_rule_itself_refuses_what_it_should():
    assert list(violations("layouts.model", {"layouts.abi"}))
    assert list(violations("layouts.abi", {"writer.steps"}))
    assert list(violations("layouts.invariants", {"layouts.witnesses.btf"}))
    assert list(violations("writer.steps", {"layouts.constructs"}))
    assert list(violations("writer.steps", {"writer.witnesses.recorded"}))
    assert list(violations("writer.steps", {"tools.cli"}))
    assert list(violations("writer.racing.scene", {"writer.race.Question"}))
    assert list(violations("writer.racing.scene", {"layouts.constructs"}))
    assert list(violations("writer.rulebook.evidence", {"writer.rules"}))
    assert not list(violations("writer.race", {"writer.racing.scene"}))
    assert not list(violations("writer.witnesses.recorded", {"layouts.witnesses.elf"}))
    assert not list(violations("tools.check", {"layouts.witnesses.btf", "writer.steps"}))


def test_construct_is_imported_by_one_module_alone():
    importers = [
        room(p) for p in MODULES if any(n.split(".")[0] == "construct" for n in imports(p))
    ]
    assert importers == ["layouts.constructs"]


@pytest.mark.parametrize("path", MODULES, ids=room)
def test_heavy_packages_are_imported_at_the_place_of_use(path):
    top = {name.split(".")[0] for name in imports(path, top_level_only=True) if name}
    allowed = {"pytest"} if room(path) == "tools.pytest_plugin" else set()
    assert not top & HEAVY - allowed


@pytest.mark.parametrize("path", MODULES, ids=room)
def test_imports_of_ours_are_absolute(path):
    tree = ast.parse(path.read_text())
    assert not [n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.level]


LIGHT = {
    "--help": [],
    "show": [],
    "hexdump": [
        str(Path(__file__).parent / "data" / "pages" / "xen417_busy.elfcore"),
        "--gpa",
        "0x175f4ba0",
    ],
}


@pytest.mark.parametrize("verb", LIGHT)
def test_starting_a_light_command_loads_nothing_heavy(verb):
    code = (
        "import sys; from runstate_abi.tools import cli; cli.main(sys.argv[1:]);"
        "print(*sorted(m for m in sys.modules if '.' not in m), file=sys.stderr)"
    )
    command = [sys.executable, "-c", code, verb, *LIGHT[verb]]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0
    unwanted = {"construct", "ctypes", "subprocess", "hashlib", "inspect", "xml"}
    assert not set(done.stderr.split()) & (HEAVY | unwanted)
