"""The rules that an update of a guest's runstate area must keep.

They judge every source of steps: the model's variants, recorded traces, emulated kernels. Each row
of RULES is a rule. A profile does not change a rule. It lists the rules that a generation of
writers does not keep, each with the reason and the weaker rule that it keeps instead, if any.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from runstate_abi.writer.rulebook import evidence
from runstate_abi.writer.rulebook import guest_rules as guest
from runstate_abi.writer.rulebook import host_rules as host
from runstate_abi.writer.rulebook.evidence import CALLS, READS, RETURN, Breach, Ledger

Judge = Callable[[Ledger], Iterator[Breach]]


class Rule(NamedTuple):
    name: str
    sentence: str
    judge: Judge  # yields each breach
    needs: str  # what a source must record for this rule, besides the stores: CALLS, READS or ""
    asked: Callable[[Ledger], bool]  # could this update have broken the rule at all?
    wanted: str  # an update that could, for the message if there was none; "": every update could
    source: str


_FLAG = "Xen 2529c850ea (in 4.8); 5ec3289b31ab (in v6.2)"
_GPC = "a795cd43c5b5"
_FLAGGED = "an update that is written, with the flag (native@0x100,flag)"
_WRITTEN = "an update that is written (native@0x100)"

# fmt: off
RULES = (
    # What the guest sees.
    Rule("set-first",  "The flag goes up before anything else changes: one byte, the top byte of the new entry time.",          guest.set_first,  "",    evidence.writes_flagged,    _FLAGGED,                                                             _FLAG),
    Rule("window",     "Once up, the flag stays up until the last store.",                                                      guest.window,     "",    evidence.writes_flagged,    _FLAGGED,                                                             _FLAG),
    Rule("complete",   "What nothing refused is written, and all of it is in place before the flag goes down.",                 guest.complete,   "",    evidence.completes,         "an update that nothing refuses (native@0x100)",                      _FLAG),
    Rule("clear-last", "The last store takes the flag down and changes nothing else.",                                          guest.clear_last, "",    evidence.writes_flagged,    _FLAGGED,                                                             _FLAG),
    Rule("final",      "Afterwards the struct says what the hypervisor knows, and the flag is down.",                           guest.final,      "",    evidence.writes,            _WRITTEN,                                                             "xen/include/public/vcpu.h"),
    Rule("outside",    "No byte that is not the struct's is ever stored; past the end of a page lies a stranger's.",            guest.outside,    "",    evidence.always,            "",                                                                   "8332f0ed4f18 (in v6.1)"),
    Rule("padding",    "In one page the padding keeps the guest's bytes; where the struct is split it is zero: no leak.",       guest.padding,    "",    evidence.writes_padded,     "an update that is written, of a struct with padding (native@0x100)", "5ec3289b31ab (in v6.2)"),
    Rule("no-flag",    "A guest that did not ask for the flag never sees it.",                                                  guest.no_flag,    "",    evidence.writes_unflagged,  "an update that is written, without the flag (native@0x100)",         "d8ba8ba4c801 (in v6.2)"),
    Rule("read",       "Guest memory is never read: nothing that a guest puts there matters, nor how a compiler orders an &=.", guest.read,       READS, evidence.always,            "",                                                                   "5ec3289b31ab (in v6.2): the compiler may not see that update_bit and rs_times alias"),
    # What the hypervisor relies on.
    Rule("locks",      "Locks are balanced, gpc2 within gpc1 (one lockdep class), and each page is written under its own.",     host.locks,       CALLS, evidence.always,            "",                                                                   _GPC + "; 23e60258aeaf"),
    Rule("irqs",       "Interrupts are off while a lock is held, and at return as they were at entry.",                         host.irqs,        CALLS, evidence.always,            "",                                                                   _GPC),
    Rule("atomic",     "Where it must not block (called from the scheduler) it neither sleeps nor spins.",                      host.atomic,      CALLS, evidence.is_atomic,         "an update by the scheduler (native@0x100,atomic)",                   "fcb732d8f8cf; bbe17c625d68"),
    Rule("refused",    "What cannot be written is not begun: every early return is before the first store.",                    host.refused,     CALLS, evidence.is_refused,        "an update that is refused (native@0x100,lost1)",                     _GPC),
    Rule("dirty",      "Each page written is marked dirty after its last store, under its lock; no other page is.",             host.dirty,       CALLS, evidence.marks_dirty,       _WRITTEN,                                                             "4438355ec6e1, 78b74638eb6d"),
    Rule("ends",       "An update returns: no stack overwritten, no endless retry, no BUG().",                                  host.ends,        RETURN, evidence.always,           "",                                                                   "5ec3289b31ab (in v6.2): a retry follows each activation that succeeds"),
    Rule("caller",     "At return the caller's registers, stack and direction flag are as they were.",                          host.caller,      RETURN, evidence.always,           "",                                                                   "System V AMD64 psABI 1.0, 3.2"),
    Rule("calls",      "A cache is checked under its lock before a store, and set up anew with no lock held, for the right bytes.", host.calls,       CALLS, evidence.uses_caches,       "an update that gets as far as a cache (native@0x100)",               "5ec3289b31ab (in v6.2)"),
)
# fmt: on
RULE = {rule.name: rule for rule in RULES}


class Relaxed(NamedTuple):
    """A rule that a profile does not keep: the reason, and the weaker rule, if any."""

    rule: str
    why: str
    instead: Judge | None = None


@dataclass(frozen=True, slots=True)
class Profile:
    """A generation of writers. It keeps all rules except those in ``relaxed``."""

    name: str
    summary: str
    relaxed: tuple[Relaxed, ...] = ()


_NO_CACHE = "Xen has no cache of a guest page, so no lock of one"

# fmt: off
PROFILES = (
    Profile("linux-6.2+", "two caches, the flag one byte and only if asked for: the whole book"),
    Profile("linux-6.1",  "one cache, always flagged", (
        Relaxed("set-first", "set with all 8 bytes of the entry time, which may tear: until 5ec3289b31ab (in v6.2)", guest.set_by_entry_time),
        Relaxed("no-flag",   "always flagged: until d8ba8ba4c801 (in v6.2)"),
        Relaxed("read",      "clears the flag in what it reads back: until 5ec3289b31ab (in v6.2)",                  guest.read_entry_time_only),
        Relaxed("atomic",    "spins for the lock: until bbe17c625d68",                                               host.never_sleeps),
        Relaxed("dirty",     "marked after the lock is gone: until 4438355ec6e1, 78b74638eb6d",                      host.dirty_at_last),
    )),
    Profile("xen-va",     "Xen, an area at a virtual address", (
        Relaxed("padding",   "copies the whole struct, whose padding is zero, in one page too",                      guest.padding_zero),
        Relaxed("locks",     _NO_CACHE),
        Relaxed("dirty",     "writes through the guest's page tables and marks nothing itself"),
        Relaxed("calls",     _NO_CACHE,                                                                              host.strange),
    )),
    Profile("xen-phys",   "Xen, an area at a guest-physical address", (
        Relaxed("set-first", "set with one 8-byte write_atomic() of the entry time",                                 guest.set_by_entry_time),
        Relaxed("padding",   "copies the whole struct, whose padding is zero",                                       guest.padding_zero),
        Relaxed("no-flag",   "always flagged, as its hypercall says: d5df44275e (in 4.18)"),
        Relaxed("locks",     _NO_CACHE),
        Relaxed("dirty",     "writes through a mapping that stays, and marks nothing"),
        Relaxed("calls",     _NO_CACHE,                                                                              host.strange),
    )),
)
# fmt: on
PROFILE = {profile.name: profile for profile in PROFILES}
NEWEST = PROFILES[0]


def could_break(book: Ledger) -> frozenset[str]:
    """Return the names of the rules that this update could have broken."""
    return frozenset(rule.name for rule in RULES if rule.asked(book))


class Violation(NamedTuple):
    """A broken rule: the index of the step (the number of steps means: at return), and how.

    ``aside``: no step breaks it, but something before the one at ``at``.
    """

    rule: str
    at: int
    why: str
    aside: bool = False


def judges(profile: Profile) -> Iterator[tuple[Rule, Judge | None]]:
    """Yield each rule with the function that judges it under this profile."""
    instead = {relaxed.rule: relaxed.instead for relaxed in profile.relaxed}
    for rule in RULES:
        yield rule, instead.get(rule.name, rule.judge)


# Rules that a step can break, whatever follows: an update that never returned is judged by these.
AT_ONCE = frozenset(("set-first", "outside", "no-flag", "read", "locks", "irqs", "atomic", "calls"))


def judge(book: Ledger, profile: Profile = NEWEST) -> tuple[Violation, ...]:
    """Return the first breach of each rule, in the order of RULES; none for a correct update.

    Rules for which the source does not record enough are skipped: see not_judged().
    """
    found: list[Violation] = []
    for rule, look in judges(profile):
        if look is None or (rule.needs and rule.needs not in book.evidence.records):
            continue
        breach = min(look(book), default=None)
        ended = book.evidence.ended and rule.name != "ends"
        if ended and (rule.name not in AT_ONCE or not breach or breach.at >= _end(book)):
            continue
        if breach:
            found.append(Violation(rule.name, *breach))
    return tuple(found)


def _end(book: Ledger) -> int:
    return len(book.evidence.steps)


# Of any x86 code: smp_wmb() is no instruction there.
NO_BARRIERS = "barriers: not judged, x86 code has none; what each is for: race --drop wmb-set"


def not_judged(records: frozenset[str], profile: Profile = NEWEST) -> tuple[tuple[str, str], ...]:
    """Return (rule, reason) of each rule that is not judged."""
    relaxed = {one.rule: one.why for one in profile.relaxed if one.instead is None}
    verb = {RETURN: "is"}
    return tuple(
        (
            rule.name,
            relaxed.get(rule.name) or f"{rule.needs} {verb.get(rule.needs, 'are')} not recorded",
        )
        for rule in RULES
        if rule.name in relaxed or (rule.needs and rule.needs not in records)
    )
