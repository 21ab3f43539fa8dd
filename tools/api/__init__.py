"""The public names of runstate-abi. Nothing is loaded before it is asked for.

.github/CHANGELOG.md says what of them may change, and when.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runstate_abi.calls import check_files, find_race, judge, read_area, updates
    from runstate_abi.layouts.model import Layout, WitnessError, compare
    from runstate_abi.layouts.structs.runstate import COMPAT, NATIVE
    from runstate_abi.writer.vcpu import Runstate

    __version__: str

# fmt: off
_MODULES = {
    "COMPAT":       "layouts.structs.runstate",
    "NATIVE":       "layouts.structs.runstate",
    "Layout":       "layouts.model",
    "Runstate":     "writer.vcpu",
    "WitnessError": "layouts.model",
    "check_files":  "calls",
    "compare":      "layouts.model",
    "find_race":    "calls",
    "judge":        "calls",
    "read_area":    "calls",
    "updates":      "calls",
}
# fmt: on

__all__ = [
    "COMPAT",
    "NATIVE",
    "Layout",
    "Runstate",
    "WitnessError",
    "__version__",
    "check_files",
    "compare",
    "find_race",
    "judge",
    "read_area",
    "updates",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("runstate-abi")
    if name not in _MODULES:
        raise AttributeError(f"module 'runstate_abi' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"runstate_abi.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
