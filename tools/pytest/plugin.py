"""The pytest plugin ``runstate``: layouts and updates in other people's tests.

Every pytest run of every project that has this installed loads this module, so it must import
pytest and nothing else; what the fixtures do is in assertions.py. A fixture whose witness is
missing fails its test; it skips only what --runstate-allow-missing names, and the summary says so.
"""

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from runstate_abi.tools.pytest.assertions import Checker, ReaderOf, TwoPages
    from runstate_abi.writer.steps import Step

# What a test leaves in its report, so that the summary is right with pytest-xdist as well.
PROPERTY = "runstate"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("runstate", "Xen runstate ABI")
    for name, metavar, text in (
        ("--runstate-cc", "COMMAND", "a compiler for against='cc' (default: every one found)"),
        ("--runstate-btf", "FILE", "a file with BTF for against='btf'; a kernel and its kvm.ko"),
        ("--runstate-dwarf", "FILE", "a file with DWARF for against='dwarf'"),
        ("--runstate-allow-missing", "WITNESS", "skip what this witness is needed for"),
    ):
        text = f"{text} (repeatable)"
        group.addoption(name, metavar=metavar, action="append", default=[], help=text)


def pytest_configure(config: pytest.Config) -> None:
    """Say what the marker is."""
    config.addinivalue_line(
        "markers",
        "runstate_abi(*names): run the test once for each ABI of a guest, as the argument `abi`: "
        "'native' (64-bit) and 'compat' (32-bit); both if none is named",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give a marked test its ``abi``."""
    marker = metafunc.definition.get_closest_marker("runstate_abi")
    if marker is None or "abi" not in metafunc.fixturenames:
        return
    names = marker.args or ("native", "compat")
    unknown = [name for name in names if name not in ("native", "compat")]
    if unknown:
        raise pytest.UsageError(f"runstate_abi: no ABI {unknown[0]!r}: there are native, compat")
    metafunc.parametrize("abi", names)


@pytest.fixture
def runstate_check(request: pytest.FixtureRequest) -> "Checker":
    """Return ``check(struct, against)``: fail unless a witness has ``struct`` as the ABI says.

    ``struct`` is native, compat or a struct's name; ``against`` is cc, btf, dwarf, construct,
    ctypes, rule, or a ctypes.Structure of your own. Returns the Findings.
    """
    from runstate_abi.tools.pytest import assertions

    option = request.config.getoption
    return assertions.checker(
        {kind: tuple(option(f"--runstate-{kind}")) for kind in ("cc", "btf", "dwarf")},
        frozenset(option("--runstate-allow-missing")),
        _said(request),
    )


# Takes lines for the summary.
def _said(request: pytest.FixtureRequest) -> "Callable[[str], None]":
    def said(text: str) -> None:
        request.node.user_properties.append((PROPERTY, text))

    return said


@pytest.fixture
def two_pages() -> "TwoPages":
    """Return two adjacent guest pages, filled with a pattern, which tell what is wrong."""
    from runstate_abi.tools.pytest import assertions

    return assertions.TwoPages()


@pytest.fixture
def runstate_writer() -> "Callable[..., tuple[Step, ...]]":
    """Return ``write(two_pages, area, runstate, variant="upstream")``, a hypervisor's update."""
    from runstate_abi.tools.pytest import assertions

    return assertions.write


@pytest.fixture
def runstate_reader(request: pytest.FixtureRequest) -> "ReaderOf":
    """Return ``reader(path, function)``: fail unless this machine code reads the area safely.

    ``signature``, ``area``, ``abi``, ``variant`` and ``at`` are the options of ``runstate race``.
    Fails with the first sentences of the execution if the code is torn with a writer of today, and
    with the reason if it cannot be followed. Returns the Reader.
    """
    from runstate_abi.tools.pytest import assertions

    return assertions.reader_of(_said(request))


# The type is in quotes: pytest has it by this name from 8.4 on.
def pytest_terminal_summary(terminalreporter: "pytest.TerminalReporter") -> None:
    """Say how much was compared, and what was not checked."""
    said = [
        value
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "when", "") == "call"
        for name, value in report.user_properties
        if name == PROPERTY
    ]
    if not said:
        return
    unchecked = sorted({text for text in said if text.startswith("not checked")})
    checked = {text for text in said if not text.startswith("not checked")}
    terminalreporter.write_sep("-", "runstate")
    for text in unchecked:
        terminalreporter.write_line(text)
    terminalreporter.write_line(
        f"runstate: {len(said) - sum(t in unchecked for t in said)} comparisons with "
        f"{len(checked)} witnesses, {len(unchecked)} not checked"
    )
