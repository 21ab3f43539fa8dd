"""Our verdicts against CBMC's, on x86-TSO: a model checker that knows nothing of memory models'
axioms.
"""

import pytest

from agreement import cbmc as exporter
from agreement.small import chosen

pytestmark = pytest.mark.network


@pytest.fixture(scope="module")
def questions():
    found = list(chosen("x86-tso"))[::4]
    assert len(found) >= 24
    assert {one.torn for one in found} == {True, False}
    return found


def test_cbmc_agrees(cbmc, questions, tmp_path):
    differences = []
    for one in questions:
        path = tmp_path / "small.c"
        path.write_text(exporter.c_source(one))
        done = cbmc.run("--mm", "tso", path)
        words = {0: False, 10: True}  # VERIFICATION SUCCESSFUL, FAILED
        assert done.returncode in words, done.stdout + done.stderr
        if words[done.returncode] != one.torn:
            differences.append((one.name, one.torn, done.stdout.splitlines()[-1]))
    assert differences == []
