"""The kernel's assertions about the two structs, in its own words, and what nobody asserts.

KVM's writer begins with BUILD_BUG_ON conditions. Each is a row here, verbatim except for white
space. evaluate() puts a witness's numbers in the place of sizeof(), offsetof() and sizeof_field(),
and does the arithmetic; compilers get the same text as a _Static_assert. A condition of which a
number is not known is None, "not checked", and never True.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from runstate_abi.layouts.model import Field, Layout
from runstate_abi.layouts.structs.runstate import KVM_VCPU_XEN, RUNSTATES, XEN_RUNSTATE_UPDATE


class Stage(NamedTuple):
    """A version of kvm_xen_update_runstate_guest() that changed its list of conditions."""

    name: str
    conditions: int
    source: str


# fmt: off
STAGES = (
    Stage("linux-5.14",  12, '30b5c851af79 ("KVM: x86/xen: Add support for vCPU runstate information") (in v5.12)'),
    Stage("linux-5.16",  14, 'fcb732d8f8cf ("KVM: x86/xen: Fix runstate updates to be atomic when preempting vCPU") (in v5.17)'),
    Stage("patch-2of4",  15, "posted 19 Nov 2022, message 20221119094659.11868-2-dwmw2@infradead.org; in the thread's pre-image too"),
    Stage("reconciled",  16, 'bf9d04e1c597, posted 24 Nov 2022, merged as part of 5ec3289b31ab ("KVM: x86/xen: Compatibility fixes for shared runstate area") (in v6.2)'),
)
# fmt: on


class Condition(NamedTuple):
    id: str
    text: str  # what must NOT be true
    since: int  # an index of STAGES
    x86_64_only: bool  # it is under #ifdef CONFIG_X86_64
    sentence: str


# arch/x86/kvm/xen.c, kvm_xen_update_runstate_guest(), in the order of the source since v6.2. The text of
# A13 and A14 is 6.1's: 6.12 has sizeof(uint64_t) there.
# fmt: off
CONDITIONS = (
    Condition("A1",  "offsetof(struct vcpu_runstate_info, state) != 0", 1, False, "state is the first member of the native struct"),
    Condition("A2",  "offsetof(struct compat_vcpu_runstate_info, state) != 0", 1, False, "state is the first member of the compat struct"),
    Condition("A3",  "sizeof(struct compat_vcpu_runstate_info) != 0x2c", 0, False, "the compat struct is 44 bytes"),
    Condition("A4",  "offsetof(struct vcpu_runstate_info, state_entry_time) != offsetof(struct compat_vcpu_runstate_info, state_entry_time) + 4", 0, True, "4 bytes of padding come before the native state_entry_time"),
    Condition("A5",  "offsetof(struct vcpu_runstate_info, time) != offsetof(struct compat_vcpu_runstate_info, time) + 4", 0, True, "the same 4 bytes shift the native time[]"),
    Condition("A6",  "sizeof(struct vcpu_runstate_info) != 0x2c + 4", 3, True, "the native struct is 4 bytes longer, with no padding at its end"),
    Condition("A7",  "offsetof(struct vcpu_runstate_info, state) != offsetof(struct compat_vcpu_runstate_info, state)", 0, False, "state is in the same place in both"),
    Condition("A8",  "sizeof_field(struct vcpu_runstate_info, state) != sizeof(vx->current_runstate)", 0, False, "the native state is as wide as KVM's own copy of it"),
    Condition("A9",  "sizeof_field(struct compat_vcpu_runstate_info, state) != sizeof(vx->current_runstate)", 0, False, "so is the compat state"),
    Condition("A10", "sizeof_field(struct vcpu_runstate_info, state_entry_time) != sizeof(uint64_t)", 0, False, "the native state_entry_time is 64 bits"),
    Condition("A11", "sizeof_field(struct compat_vcpu_runstate_info, state_entry_time) != sizeof(uint64_t)", 0, False, "so is the compat one"),
    Condition("A12", "(XEN_RUNSTATE_UPDATE >> 56) != 0x80", 2, False, "the update flag is the top bit of the last byte of state_entry_time"),
    Condition("A13", "offsetof(struct vcpu_runstate_info, state_entry_time) != offsetof(struct vcpu_runstate_info, time) - sizeof(u64)", 0, False, "the native time[] follows state_entry_time at once"),
    Condition("A14", "offsetof(struct compat_vcpu_runstate_info, state_entry_time) != offsetof(struct compat_vcpu_runstate_info, time) - sizeof(u64)", 0, False, "so does the compat time[]"),
    Condition("A15", "sizeof_field(struct vcpu_runstate_info, time) != sizeof_field(struct compat_vcpu_runstate_info, time)", 0, False, "time[] is equally long in both"),
    Condition("A16", "sizeof_field(struct vcpu_runstate_info, time) != sizeof(vx->runstate_times)", 0, False, "time[] is as long as KVM's own copy of it"),
)

# What no kernel and no hypervisor asserts, in the same notation; witnesses/probe.py defines
# is_signed() and sizeof_element() for compilers.
UNASSERTED = (
    Condition("U1",  "_Alignof(struct vcpu_runstate_info) != offsetof(struct vcpu_runstate_info, state_entry_time)", 0, False, "the native struct is aligned as its 64-bit members are: 8 on x86-64, 4 on i386"),
    Condition("U2",  "_Alignof(struct compat_vcpu_runstate_info) != 1", 0, False, "KVM's compat struct is packed: alignment 1 (Xen's is 4)"),
    Condition("U3",  "is_signed(struct vcpu_runstate_info, state) != 1", 0, False, "the native state is signed (KVM's selftest declares it u32)"),
    Condition("U4",  "is_signed(struct compat_vcpu_runstate_info, state) != 1", 0, False, "so is the compat state"),
    Condition("U5",  "is_signed(struct vcpu_runstate_info, state_entry_time) != 0", 0, False, "the native state_entry_time is unsigned"),
    Condition("U6",  "is_signed(struct compat_vcpu_runstate_info, state_entry_time) != 0", 0, False, "so is the compat one"),
    Condition("U7",  "sizeof_element(struct vcpu_runstate_info, time) != sizeof(uint64_t)", 0, False, "an element of the native time[] is 64 bits (only the 32 bytes of the whole are asserted)"),
    Condition("U8",  "sizeof_element(struct compat_vcpu_runstate_info, time) != sizeof(uint64_t)", 0, False, "so is one of the compat time[]"),
    Condition("U9",  "RUNSTATE_running != 0 || RUNSTATE_runnable != 1 || RUNSTATE_blocked != 2 || RUNSTATE_offline != 3", 0, False, "the RUNSTATE_* values are in the order that time[] is indexed by"),
    Condition("U10", "sizeof_field(struct vcpu_runstate_info, time) != sizeof_element(struct vcpu_runstate_info, time) * (RUNSTATE_offline + 1)", 0, False, "time[] has one element for each RUNSTATE_* value"),
)
# fmt: on


def conditions_of(stage: int) -> tuple[Condition, ...]:
    """Return the conditions of the version ``STAGES[stage]``: 12, 14, 15 or 16."""
    return tuple(condition for condition in CONDITIONS if condition.since <= stage)


class Evaluation(NamedTuple):
    """A condition and whether it holds. None: not checked, and ``why`` says what was missing."""

    condition: Condition
    holds: bool | None
    numbers: str
    why: str = ""


class _Missing(LookupError):
    pass


# KVM's own copies, arch/x86/include/asm/kvm_host.h: u32 current_runstate; u64 runstate_times[4].
KVM_SIZES = {"current_runstate": 4, "runstate_times": 32}
ByName = Mapping[str, Layout]
Sizes = Mapping[str, int]


def evaluate(condition: Condition, layouts: ByName, kvm_sizes: Sizes = KVM_SIZES) -> Evaluation:
    """Evaluate a condition on the layouts of a witness, by struct name.

    ``kvm_sizes`` are the sizes in bytes of members of struct kvm_vcpu_xen, for
    ``sizeof(vx->FIELD)``; empty if the witness does not know them.
    """
    try:
        numbers = _OPERAND.sub(lambda m: _operand(m, layouts, kvm_sizes), condition.text)
    except _Missing as missing:
        return Evaluation(condition, None, "", str(missing))
    return Evaluation(condition, not _arithmetic(numbers), numbers)


def evaluate_all(
    conditions: Iterable[Condition], layouts: ByName, abi: str, kvm_sizes: Sizes = KVM_SIZES
) -> tuple[Evaluation, ...]:
    """Evaluate those of ``conditions`` that a kernel of this ABI compiles."""
    return tuple(evaluate(c, layouts, kvm_sizes) for c in conditions if applies(c, abi))


def applies(condition: Condition, abi: str) -> bool:
    """Does a kernel of this ABI compile the condition? Some are CONFIG_X86_64's."""
    return abi == "x86_64" or not condition.x86_64_only


def structs_of(condition: Condition) -> frozenset[str]:
    """Return the structs that a condition names."""
    return frozenset(re.findall(r"struct (\w+)", condition.text))


# This is no C parser: the texts above use only these forms, and _arithmetic() accepts only digits
# and the operators that mean the same in C and in Python.
_OPERAND = re.compile(r"(\w+)\((struct |vx->)?(\w+)(?:, ([\w.]+))?\)|[A-Z]\w+")
_ARITHMETIC = re.compile(r"(?:0x[0-9a-f]+|\d+|!=|>>|[-+*() ]|\|\|)+")
_CONSTANTS = {runstate.constant: runstate.value for runstate in RUNSTATES}
_CONSTANTS["XEN_RUNSTATE_UPDATE"] = XEN_RUNSTATE_UPDATE
_SCALARS = {"uint64_t": 8, "u64": 8}
_MEMBER: dict[str, Callable[[Field], int | bool | None]] = {
    "offsetof": lambda row: row.offset,
    "sizeof_field": lambda row: row.size,
    "sizeof_element": lambda row: row.type.size,
    "is_signed": lambda row: row.type.signed,
}


# An operand's number; what has another form stays as it is.
def _operand(match: re.Match[str], layouts: ByName, kvm_sizes: Sizes) -> str:
    function, kind, name, member = match.groups()
    if function is None:
        return str(_CONSTANTS.get(match[0], match[0]))
    if kind == "struct ":
        found = _of_struct(function, name, member, layouts)
    elif function != "sizeof" or member:
        found = None
    elif kind:
        if name not in kvm_sizes:
            raise _Missing(f"no struct {KVM_VCPU_XEN} with a member {name}")
        found = kvm_sizes[name]
    else:
        found = _SCALARS.get(name)
    return match[0] if found is None else str(found)


def _of_struct(function: str, name: str, member: str | None, layouts: ByName) -> int | None:
    if name not in layouts:
        raise _Missing(f"no struct {name}")
    layout = layouts[name]
    if member and function in _MEMBER:
        row = _row(layout, member, layouts)
        return _known(_MEMBER[function](row), f"the signedness of {layout.name}.{row.name}")
    if function == "sizeof":
        return layout.size
    if function == "_Alignof":
        return _known(layout.alignment, f"the alignment of struct {layout.name}")
    return None


# ``arch.wc_sec_hi``: a member of a struct that is a member.
def _row(layout: Layout, path: str, layouts: ByName) -> Field:
    for row in layout.rows:
        if row.name == path:
            return row
        if path.startswith(f"{row.name}."):
            inner = row.type.name.removeprefix("struct ")
            if inner not in layouts:
                raise _Missing(f"no struct {inner}")
            found = _row(layouts[inner], path[len(row.name) + 1 :], layouts)
            return found._replace(offset=row.offset + found.offset)
    raise _Missing(f"struct {layout.name} has no member {path}")


def _known(value: int | bool | None, what: str) -> int:
    if value is None:
        raise _Missing(f"{what} is not recorded")
    return int(value)


def _arithmetic(numbers: str) -> bool:
    if not _ARITHMETIC.fullmatch(numbers):
        raise ValueError(f"not a condition that this can evaluate: {numbers}")
    return bool(eval(numbers.replace("||", " or "), {"__builtins__": {}}))
