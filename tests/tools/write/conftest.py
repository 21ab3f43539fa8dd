"""What the tests of runstate write share."""

import pytest

from runstate_abi.tools.write.command import main


@pytest.fixture
def run(capsys):
    """Return a function: exit code, stdout, stderr of the command."""

    def run(*arguments):
        code = main([str(one) for one in arguments])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


@pytest.fixture
def wrong(capsys):
    """Return a function: the one line that the command says about wrong usage."""

    def wrong(*arguments):
        with pytest.raises(SystemExit) as end:
            main([str(one) for one in arguments])
        said = capsys.readouterr()
        assert (end.value.code, said.out, said.err.count("\n")) == (2, "", 1)
        return said.err

    return wrong
