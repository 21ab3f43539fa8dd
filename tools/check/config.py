"""[tool.runstate]: the options of ``runstate check`` that a project keeps in its pyproject.toml.

A key has the option's name. An unknown key, or a value of the wrong type, must be an error. Paths
are relative to the file that has them.
"""

import argparse
import os
import stat
import sys
from pathlib import Path
from typing import NamedTuple

from runstate_abi.layouts.findings import spaced
from runstate_abi.layouts.model import WitnessError
from runstate_abi.tools.options import nearest


class Key(NamedTuple):
    """One key: the option it sets, its type in TOML, and whether its text is a path."""

    name: str
    option: str
    type: type
    is_path: bool = False


# fmt: off
KEYS = (
    Key("files",         "files",         list, is_path=True),
    Key("btf-base",      "btf_base",      str,  is_path=True),
    Key("abi",           "abi",           str),
    Key("allow-missing", "allow_missing", list),
    Key("family",        "family",        str),
    Key("cc",            "cc",            list),
    Key("header",        "header",        str,  is_path=True),
    Key("rust",          "rust",          str,  is_path=True),
    Key("struct",        "structs",       list),
    Key("member",        "members",       list),
    Key("allow",         "allow",         list),
    Key("format",        "formats",       list),
    Key("coverage",      "coverage",      bool),
    Key("require",       "require",       list),
    Key("golden",        "golden",        str,  is_path=True),
    Key("jobs",          "jobs",          int),
    Key("dask",          "dask",          str),
    Key("cache",         "cache",         str,  is_path=True),
    Key("no-cache",      "no_cache",      bool),
)
# fmt: on
# Bytes of a file that people write; characters of a wrong value that a complaint shows.
SIZE_MAX = 1 << 20
SHOWN = 60
NAMES = {key.name: key for key in KEYS}


def apply(options: argparse.Namespace, path: str) -> str:
    """Set the options left open; return what is wrong, or "" (WitnessError: no file to read)."""
    table, complaint = _table(path)
    for name, value in table.items():
        key = NAMES.get(name)
        if key is None:
            return f"{path}: [tool.runstate] has no key {name!r}{nearest(name, NAMES)}"
        strings = not isinstance(value, list) or all(isinstance(item, str) for item in value)
        if type(value) is not key.type or not strings:
            return f"{path}: [tool.runstate] {name}: {_WANTED[key.type]}, not {repr(value)[:SHOWN]}"
        if "\0" in "".join(value if isinstance(value, list) else [str(value)]):
            return f"{path}: [tool.runstate] {name}: has a null byte"
        if not getattr(options, key.option):
            folder = Path(path).parent
            if key.is_path and isinstance(value, list):
                value = [str(folder / item) for item in value]
            elif key.is_path:
                value = str(folder / str(value))
            setattr(options, key.option, value)
    return complaint


def _table(path: str) -> tuple[dict[str, object], str]:
    import tomllib

    try:
        document = tomllib.loads(contents(path).decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        return {}, f"{path}: not TOML: {spaced(error)}"
    tool = document.get("tool", {})
    table = tool.get("runstate", {}) if isinstance(tool, dict) else {}
    if not isinstance(table, dict):
        return {}, f"{path}: tool.runstate is not a table"
    return table, ""


def contents(path: str) -> bytes:
    """Return the bytes of a small file (WitnessError: not a regular one of at most SIZE_MAX)."""
    try:
        # Opened without waiting: a pipe has no end, and neither has /dev/zero.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode) or status.st_size > SIZE_MAX:
                raise WitnessError(f"{path}: not a file of at most {SIZE_MAX} bytes")
            return file.read(SIZE_MAX)
    except OSError as error:
        raise WitnessError(f"{path}: {error.strerror or error}") from None


_WANTED = {list: "a list of strings", str: "a string", bool: "true or false", int: "a number"}


def say(options: argparse.Namespace) -> None:
    """Print the options in effect on stderr, as they would stand in the table."""
    import json

    given = [(key.name, getattr(options, key.option)) for key in KEYS]
    given = [(name, value) for name, value in given if value not in (None, [], False)]
    table = "[tool.runstate]" if given else "the defaults, and no option"
    print(f"runstate: in effect: {table}", file=sys.stderr)
    for name, value in given:
        print(f"runstate:   {name} = {json.dumps(value)}", file=sys.stderr)
