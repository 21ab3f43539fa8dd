"""The list of changes that no test can notice is about the lines that there are."""

from pathlib import Path

import mutants


def test_every_line_that_is_explained_is_there():
    assert mutants.stale() == []


def test_every_module_and_its_tests_are_there():
    paths = {*mutants.CORE, *(path for tests in mutants.CORE.values() for path in tests)}
    assert [path for path in sorted(paths) if not (Path(mutants.HOUSE) / path).exists()] == []
