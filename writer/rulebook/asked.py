"""Which updates put a rule to the test: one without the flag says nothing about the flag.

Each function says whether the update in a ledger could have broken the rules that name it in
writer/rules.py.
"""

from runstate_abi.layouts.structs.runstate import XEN_RUNSTATE_UPDATE
from runstate_abi.writer.rulebook.evidence import Ledger
from runstate_abi.writer.steps import Activate, Check, Dirty, Refresh, Write


def always(book: Ledger) -> bool:
    """Return True: every update puts the rule to the test."""
    return True


def writes(book: Ledger) -> bool:
    """Does the update store anything?"""
    return bool(book.landed)


def flag(book: Ledger) -> bool:
    """Does it store anything, for a guest that asked for the flag?"""
    return bool(book.landed) and book.evidence.area.update_flag


# Bit 63 of an entry time is the flag's: whoever has it there may see it.
def no_flag(book: Ledger) -> bool:
    """Does it store anything, for a guest that did not ask for the flag?"""
    evidence = book.evidence
    odd = evidence.vcpu.entry_time & XEN_RUNSTATE_UPDATE
    return bool(book.landed) and not evidence.area.update_flag and not odd


def completes(book: Ledger) -> bool:
    """Does it store anything, or should it have?"""
    return bool(book.landed) or book.refusal is None


def padding(book: Ledger) -> bool:
    """Does it store anything, into a struct with padding?"""
    return bool(book.landed) and bool(book.evidence.area.shape.layout.padding)


def atomic(book: Ledger) -> bool:
    """Must it not sleep?"""
    return book.evidence.atomic


def refused(book: Ledger) -> bool:
    """Was it refused before it could write?"""
    return book.refusal is not None


# With no memslot there is nothing to mark, but a page that nothing wrote must not be marked either.
def dirty(book: Ledger) -> bool:
    """Does it mark a page dirty, or should it have?"""
    marked = any(isinstance(step, Dirty) for step in book.evidence.steps)
    return marked or (bool(book.landed) and not book.evidence.no_slot)


def uses_caches(book: Ledger) -> bool:
    """Does it get as far as using a cache?"""
    used = any(isinstance(s, Check | Refresh | Activate | Write) for s in book.evidence.steps)
    return used or bool(book.evidence.odd)
