"""What guards a shared struct: which bytes say that an update is in flight, and when to believe.

A reader loads one member, the guard's word, before and after the data. It believes the data if both
loads gave the same value, and that value does not say that an update is in flight.
"""

from functools import cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from runstate_abi.layouts.model import Layout


class Guard(NamedTuple):
    """The word that a writer changes first and last, and how it shows an update in flight."""

    members: tuple[str, ...]  # what the word is called: a struct has one of these
    at: int  # which byte of the word shows it: 0 for the lowest, -1 for the highest
    bit: int  # that is set in this byte meanwhile; 0: the whole word is 0 meanwhile
    counts: bool  # each update adds to the word, so its lowest byte differs from update to update
    up: str = ""  # the word's state in a sentence
    down: str = ""
    mark: str = ""  # under a byte that was loaded meanwhile, in at most three characters
    legend: str = ""  # what the mark means
    question: str = ""  # what a reader looks for
    check: str = ""  # what it leaves out if it does not look: a name for --drop

    def word(self, layout: "Layout") -> range:
        """Return the offsets of the word in a struct; none if nothing guards it."""
        row = next((row for row in layout.members if row.name in self.members), None)
        return range(row.offset, row.end) if row else range(0)

    def place(self, layout: "Layout") -> int:
        """Return the offset of the byte that shows an update in flight, -1 if there is none."""
        word = self.word(layout)
        return word[self.at] if word else -1

    def name(self, layout: "Layout") -> str:
        """Return what the word is called in a struct, "" if nothing guards it."""
        return next((row.name for row in layout.members if row.name in self.members), "")

    def raised(self, byte: int) -> int:
        """Return what is in this byte of the word while an update is in flight."""
        return byte | self.bit if self.bit else 0

    def is_up(self, byte: int) -> bool:
        """Does this byte of the word say that an update is in flight?"""
        return bool(byte & self.bit) if self.bit else not byte


# Runstate: XEN_RUNSTATE_UPDATE, the top bit of state_entry_time, set first and cleared last.
FLAG = Guard(
    members=("state_entry_time",),
    at=-1,
    bit=0x80,
    counts=False,
    up="the flag was set",
    down="the flag was clear",
    mark="flg",
    legend="with the flag up",
    question="XEN_RUNSTATE_UPDATE is set",
    check="bit-check",
)
# The version protocol: odd while an update is in flight, and 2 more after it. Linux
# Documentation/virt/kvm/x86/msr.rst, Xen xen/include/public/xen.h, the SBI specification.
VERSION = Guard(
    members=("version", "wc_version", "sequence"),
    at=0,
    bit=0x01,
    counts=True,
    up="it was odd",
    down="it was even",
    mark="odd",
    legend="odd: an update was in flight",
    question="the version is odd",
    check="odd-check",
)
# Hyper-V's page: 0 says that the page is not valid, and a reader takes the time from elsewhere.
# Hypervisor Top Level Functional Specification, "Partition Reference TSC Mechanism".
VALIDITY = Guard(
    members=("tsc_sequence",),
    at=0,
    bit=0,
    counts=True,
    up="it was 0",
    down="it was not 0",
    mark="0",
    legend="0: the page was not valid",
    question="the sequence is 0",
    check="zero-check",
)
# A struct whose only datum is one aligned word.
NOTHING = Guard((), at=0, bit=1, counts=False)

# Members that are stored on their own, outside the protocol: no image has them with the others.
APART = ("preempted",)

GUARDS = (FLAG, VERSION, VALIDITY)


@cache
def guard_of(layout: "Layout") -> Guard:
    """Return what guards a struct, by the member that it has; NOTHING if it has none of them."""
    return next((guard for guard in GUARDS if guard.name(layout)), NOTHING)
