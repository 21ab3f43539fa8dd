"""``python -m runstate_abi`` is the command ``runstate``."""

from runstate_abi.tools.cli import run

run()
