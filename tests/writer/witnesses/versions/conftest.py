"""Our own writers of versioned structs, in C, opened; and what of a verdict the tests compare."""

import pytest

from runstate_abi.layouts.model import WitnessError
from runstate_abi.writer.witnesses.versions.rules import RULES

SOURCES = {"pvclock": "clock_writer.c", "steal_time": "steal_writer.c"}


@pytest.fixture(scope="session")
def version_writer(c_writer):
    """Return a function (family, *defines, flags, ...) -> the compiled writer, opened."""
    from runstate_abi.writer.witnesses.shipped import open_code, open_types
    from runstate_abi.writer.witnesses.versions.opened import WRITERS

    def open_(family, *defines, **how):
        file = open_code(c_writer(*defines, source=SOURCES[family], **how))
        return WRITERS[family](file, open_types(file, ""))

    return open_


@pytest.fixture(scope="session")
def verdict_on():
    """Return a function: (family, writer) -> its Verdict."""
    from runstate_abi.writer.witnesses.versions.verdict import judged

    return lambda family, writer: judged(writer, RULES[family])


@pytest.fixture(scope="session")
def broken_by(verdict_on):
    """Return a function: (family, writer) -> the rules that it breaks, or {"cannot judge"}."""

    def broken(family, writer):
        try:
            seen = verdict_on(family, writer)
        except WitnessError:
            return {"cannot judge"}
        return {one.rule.name for one in seen.outcomes if one.broken}

    return broken
