"""Which rules an update puts to the test: one without the flag says nothing about the flag.

A rule that no update asked about is not kept, and is not broken: it has to be said.

Law of this file: a row for each rule of the book. A row says when its rule could have been broken,
by what was asked for and how the update ended, and what to ask for where nothing did.
"""

from collections.abc import Callable
from typing import NamedTuple

from runstate_abi.layouts.runstate import XEN_RUNSTATE_UPDATE
from runstate_abi.writer.rulebook.evidence import Ledger
from runstate_abi.writer.steps import Activate, Check, Dirty, Refresh, Write


class Asks(NamedTuple):
    """When an update puts a rule to the test, and which update would."""

    of: Callable[[Ledger], bool]
    wanted: str


def _always(book: Ledger) -> bool:
    return True


def _writes(book: Ledger) -> bool:
    return bool(book.landed)


def _flag(book: Ledger) -> bool:
    return bool(book.landed) and book.evidence.area.update_flag


# Bit 63 of an entry time is the flag's: whoever has it there may see it.
def _no_flag(book: Ledger) -> bool:
    evidence = book.evidence
    odd = evidence.vcpu.entry_time & XEN_RUNSTATE_UPDATE
    return bool(book.landed) and not evidence.area.update_flag and not odd


def _completes(book: Ledger) -> bool:
    return bool(book.landed) or book.refusal is None


def _padding(book: Ledger) -> bool:
    return bool(book.landed) and bool(book.evidence.area.shape.layout.padding)


def _atomic(book: Ledger) -> bool:
    return book.evidence.atomic


def _refused(book: Ledger) -> bool:
    return book.refusal is not None


# With no memslot there is nothing to mark, but a page that nothing wrote must not be marked either.
def _dirty(book: Ledger) -> bool:
    marked = any(isinstance(step, Dirty) for step in book.evidence.steps)
    return marked or (bool(book.landed) and not book.evidence.no_slot)


def _uses_caches(book: Ledger) -> bool:
    used = any(isinstance(s, Check | Refresh | Activate | Write) for s in book.evidence.steps)
    return used or bool(book.evidence.odd)


_FLAGGED = "an update that is written, with the flag (native@0x100,flag)"
_MADE = "an update that is written (native@0x100)"
_PADDED = "an update that is written, of a struct with padding (native@0x100)"
# fmt: off
ASKS = {
    "set-first":  Asks(_flag,        _FLAGGED),
    "window":     Asks(_flag,        _FLAGGED),
    "complete":   Asks(_completes,   "an update that nothing refuses (native@0x100)"),
    "clear-last": Asks(_flag,        _FLAGGED),
    "final":      Asks(_writes,      _MADE),
    "outside":    Asks(_always,      ""),
    "padding":    Asks(_padding,     _PADDED),
    "no-flag":    Asks(_no_flag,     "an update that is written, without the flag (native@0x100)"),
    "read":       Asks(_always,      ""),
    "locks":      Asks(_always,      ""),
    "irqs":       Asks(_always,      ""),
    "atomic":     Asks(_atomic,      "an update by the scheduler (native@0x100,atomic)"),
    "refused":    Asks(_refused,     "an update that is refused (native@0x100,lost1)"),
    "dirty":      Asks(_dirty,       _MADE),
    "calls":      Asks(_uses_caches, "an update that gets as far as a cache (native@0x100)"),
}
# fmt: on


def asked(book: Ledger) -> frozenset[str]:
    """Return the names of the rules that an update puts to the test."""
    return frozenset(name for name, row in ASKS.items() if row.of(book))
