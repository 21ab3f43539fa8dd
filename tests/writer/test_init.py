"""The list of public names names what there is."""

import importlib
import re

import runstate_abi.writer


def test_every_module_of_the_list_exists_and_says_what_it_is():
    rows = re.findall(r"^    ([a-z_, ]+?)  ", runstate_abi.writer.__doc__, re.MULTILINE)
    names = [name for row in rows for name in row.split(", ")]
    assert {"variants", "steps", "gpc", "hva"} <= set(names)
    for name in names:
        assert importlib.import_module(f"runstate_abi.writer.{name}").__doc__
