"""What a kernel would change in a function's code when it boots: the code is judged before that.

Alternatives, tracing, static keys and calls, thunks: each has a section that lists the places.

Law of this file: it counts the entries that point into a function. It patches nothing.
"""

from runstate_abi.writer.witnesses.object_file import SHT_RELA, ObjectFile, Symbol, targets

# Section -> what it lists, one of them, as a person would say it.
# fmt: off
SITES = {
    ".altinstructions":               "alternative",
    ".parainstructions":              "paravirt call",
    "__mcount_loc":                   "ftrace site",
    ".return_sites":                  "return site",
    ".retpoline_sites":               "retpoline",
    "__jump_table":                   "static key",
    ".static_call_sites":             "static call",
    ".smp_locks":                     "lock site",
}
# fmt: on


def boot_patches(file: ObjectFile, function: Symbol) -> dict[str, int]:
    """Return how many places of a function each kind of patching would change (none: absent)."""
    if not file.relocatable:
        return {}
    places = range(function.address, function.address + function.size)
    found: dict[str, int] = {}
    for number, section in enumerate(file.sections):
        what = SITES.get(section.name)
        if what and section.type != SHT_RELA:
            count = sum(target in places for target in targets(file, number))
            if count:
                found[what] = count
    return found
