"""The man pages that each page of the document names under SEE ALSO."""

from runstate_abi.layouts.structs.family_names import MODULES, RUNSTATE

COMMANDS = ("pahole(1)", "runstate(1)", "runstate-docs(1)")


def see_also(name: str) -> tuple[str, ...]:
    """Return what the page of a family names: commands, and the pages of the other families."""
    return (*COMMANDS, *(f"{other}(7)" for other in (RUNSTATE, *MODULES) if other != name))
