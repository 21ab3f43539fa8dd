"""What the tests of the parts of ``runstate race`` share."""

import json

import pytest

from runstate_abi.tools.cli import main


@pytest.fixture
def answers(capsys):
    """Return a function: arguments -> (exit code, the answers of --json)."""

    def ask(*arguments):
        code = main(["race", *arguments, "--json"])
        return code, json.loads(capsys.readouterr().out)["answers"]

    return ask
