"""Who may import whom, read from the source text itself: one test a law."""

import ast
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest

HOUSE = Path(__file__).resolve().parent.parent
ROOMS = ("layouts", "writer", "tools")
CHAIN_MAX = 10  # modules of ours that import one another, each at its own load

# Packages that cost more to start than most commands take: only ever inside a function.
HEAVY = {"rich", "drgn", "hypothesis", "zstandard", "numpy", "qemu", "pytest", "unicorn"}

# The folders of tools/ that hold verbs; what they share lies beside them or further down.
VERBS = ("check", "compare", "docs", "emit", "judge", "memory", "race", "write")
ABOVE_VERBS = ("api", "packaging", "pytest")  # may import verbs, and no verb imports them

# A door imports the parts in its room; no part knows its door, or another door's parts.
DOORS = {
    "writer.racing": ("writer.race", "writer.rules", "writer.rulebook"),
    "writer.rulebook": ("writer.rules", "writer.race", "writer.racing"),
}


def named(path):
    """The dotted name of a file: ``layouts.witnesses.btf``; a package is its folder."""
    parts = path.relative_to(HOUSE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


MODULES = {named(p): p for room in ROOMS for p in sorted((HOUSE / room).rglob("*.py"))}


def nodes(path, at_load):
    """The import statements of a file: all of them, or those that run when it is loaded."""
    found = ast.parse(path.read_text())
    if not at_load:
        return [node for node in ast.walk(found) if isinstance(node, ast.Import | ast.ImportFrom)]
    return [node for node in found.body if isinstance(node, ast.Import | ast.ImportFrom)]


@cache
def imported(name, at_load=False):
    """Every module that a module imports, by its whole name."""
    found = set()
    for node in nodes(MODULES[name], at_load):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        else:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(found)


@cache
def ours(name, at_load=False):
    """The modules of this house among them."""
    short = {one.removeprefix("runstate_abi.") for one in imported(name, at_load)}
    return frozenset(one for one in short if one in MODULES and one not in ROOMS)


def within(name, *folders):
    """Is a module one of these, or inside one of these folders?"""
    return any(name == folder or name.startswith(folder + ".") for folder in folders)


def may_import(where, name):
    """May the module ``where`` import the module ``name``?"""
    if where == "layouts.model":
        return False
    if within(where, "layouts.witnesses"):
        return within(name, "layouts")
    if within(where, "layouts"):
        return within(name, "layouts") and not within(name, "layouts.witnesses")
    if within(where, "writer"):
        closed = DOORS.get(where.rpartition(".")[0], ())
        if within(name, *closed):
            return False
        if within(where, "writer.witnesses"):
            return within(name, *WRITER_READS, "layouts.witnesses", "writer")
        return within(name, *WRITER_READS, "writer") and not within(name, "writer.witnesses")
    return not within(name, "tools") or may_import_tool(where, name)


WRITER_READS = ("layouts.model", "layouts.abi", "layouts.structs")


def may_import_tool(where, name):
    """The same, of two modules of tools/."""
    verb = next((one for one in VERBS if within(name, f"tools.{one}")), None)
    if within(name, *(f"tools.{one}" for one in ABOVE_VERBS)):
        return within(where, *(f"tools.{one}" for one in ABOVE_VERBS))
    if verb is None:
        return True
    return within(where, f"tools.{verb}", *(f"tools.{one}" for one in ABOVE_VERBS))


def test_a_room_imports_only_what_it_may():
    wrong = [
        f"{where} imports {name}"
        for where in MODULES
        for name in ours(where)
        if not may_import(where, name)
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("where", "name"),
    [
        ("layouts.model", "layouts.abi"),
        ("layouts.abi", "writer.steps"),
        ("layouts.conditions", "layouts.witnesses.btf"),
        ("writer.steps", "layouts.constructs"),
        ("writer.steps", "writer.witnesses.recorded"),
        ("writer.steps", "tools.cli"),
        ("writer.racing.scene", "writer.race"),
        ("writer.racing.scene", "layouts.constructs"),
        ("writer.rulebook.evidence", "writer.rules"),
        ("tools.race.text", "tools.judge.verdict"),
        ("tools.race.text", "tools.pytest.plugin"),
        ("tools.reports.text", "tools.check.command"),
        ("tools.output", "tools.check.command"),
    ],
)
def test_the_law_refuses_what_it_should(where, name):
    assert not may_import(where, name)


@pytest.mark.parametrize(
    ("where", "name"),
    [
        ("writer.race", "writer.racing.scene"),
        ("writer.witnesses.recorded", "layouts.witnesses.elf"),
        ("tools.check.command", "layouts.witnesses.btf"),
        ("tools.check.command", "tools.reports.text"),
        ("tools.check.command", "tools.output"),
        ("tools.pytest.plugin", "tools.check.command"),
    ],
)
def test_the_law_allows_what_it_should(where, name):
    assert may_import(where, name)


def circles():
    """Yield each chain of modules that comes back to where it began."""
    done, chain = set(), []

    def visit(name):
        if name in chain:
            yield " -> ".join([*chain[chain.index(name) :], name])
        elif name not in done:
            chain.append(name)
            for one in sorted(ours(name)):
                yield from visit(one)
            chain.pop()
            done.add(name)

    for name in MODULES:
        yield from visit(name)


def test_no_modules_import_each_other_in_a_circle():
    assert list(circles()) == []


@cache
def chain(name):
    """The longest chain of imports that loading a module starts."""
    longest = max((chain(one) for one in ours(name, at_load=True)), key=len, default=())
    return (name, *longest)


def test_no_chain_of_imports_is_longer_than_it_need_be():
    longest = max(map(chain, MODULES), key=len)
    assert len(longest) <= CHAIN_MAX, " -> ".join(longest)


def test_construct_is_imported_by_the_encodings_alone():
    importers = [n for n in MODULES if any(one.split(".")[0] == "construct" for one in imported(n))]
    encodings = [name for name in MODULES if name.startswith("layouts.encodings.")]
    assert importers == ["layouts.constructs", *encodings]


def test_every_package_is_installed():
    """An editable install has all folders; a wheel those that pyproject.toml names."""
    listed = tomllib.loads((HOUSE / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = {
        path.parent.relative_to(HOUSE).parts
        for room in ROOMS
        for path in (HOUSE / room).rglob("*.py")
    }
    api = ("tools", "api")  # it is runstate_abi itself
    names = {".".join(("runstate_abi", *parts)) for parts in folders if parts != api}
    assert names <= set(listed)


def test_heavy_packages_are_imported_at_the_place_of_use():
    wrong = [
        f"{name} imports {one}"
        for name in MODULES
        for one in imported(name, at_load=True)
        if one.split(".")[0] in HEAVY and not within(name, "tools.pytest")
    ]
    assert wrong == []


def test_imports_of_ours_are_absolute():
    relative = [
        name
        for name, path in MODULES.items()
        for node in nodes(path, at_load=False)
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert relative == []


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
