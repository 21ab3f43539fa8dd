"""The rules of the structs that have a version, by family: what an update must do, in which order.

A rule of hyperv is a sentence alone: the function that writes its page is not emulated.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from runstate_abi.writer.witnesses.versions import guest_rules as guest
from runstate_abi.writer.witnesses.versions import host_rules as host
from runstate_abi.writer.witnesses.versions.updates import Breach, Breaches, Update


class Rule(NamedTuple):
    name: str
    sentence: str
    judge: Callable[[Update], Breaches] | None = None  # None: a sentence alone
    asked: Callable[[Update], bool] = lambda update: True  # could this update break it at all?


def _writes(update: Update) -> bool:
    return not update.asked.refused


def _whole(update: Update) -> bool:
    return update.whole


def _refused(update: Update) -> bool:
    return update.asked.refused


ODD = (
    "The version becomes odd, (v + 1) | 1, in one store of four bytes, before any other byte of "
    "the struct changes."
)
WINDOW = "Until the last store, and while any other byte is stored, the version stays this odd one."
EVEN = "The last store makes the version even, one more, in one store of four bytes."
CALLER = "At return the caller's registers, stack and direction flag are as they were."

PVCLOCK = (
    Rule("odd-first", ODD, guest.odd_first, _writes),
    Rule("window", WINDOW, guest.window, _writes),
    Rule("even-last", EVEN, guest.even_last, _whole),
    Rule(
        "final",
        "Afterwards the struct says what the hypervisor knows, and GUEST_STOPPED if its guest has "
        "not yet taken that down, or if the request to set it was served.",
        guest.final,
        _whole,
    ),
    Rule("outside", "No byte outside the 32 of the struct is ever stored.", guest.outside),
    Rule(
        "locks",
        "Guest memory is used under the cache's lock only, after a check of the cache for the "
        "whole struct; a refresh, which sleeps, comes without the lock.",
        host.locks,
    ),
    Rule("irqs", "Interrupts are off while the lock is held, and on again at return.", host.irqs),
    Rule(
        "dirty", "The page is marked dirty after the last store, and no other page is.", host.dirty
    ),
    Rule("refused", "If the cache cannot be refreshed, nothing is stored.", host.refused, _refused),
    Rule("ends", "An update returns: no stack overwritten, no endless retry.", host.ends),
    Rule("caller", CALLER, host.caller, _whole),
)

STEAL_TIME = (
    Rule("odd-first", ODD, guest.odd_first, _writes),
    Rule("window", WINDOW, guest.window, _writes),
    Rule("even-last", EVEN, guest.even_last, _whole),
    Rule(
        "final",
        "Afterwards steal is what the guest had and the time that has been added since; all but "
        "steal, version and preempted is as the guest left it.",
        guest.final,
        _whole,
    ),
    Rule(
        "preempted",
        "preempted is cleared alone, by xchg if the guest may ask for a TLB flush in it; the flush "
        "that it asked for is done.",
        guest.preempted,
        _writes,
    ),
    Rule("outside", "No byte outside the 64 of the struct is ever stored.", guest.outside),
    Rule(
        "cache",
        "A cache of other memslots or of another address is set up anew, for the whole struct, "
        "before the guest's memory is used.",
        host.cache,
    ),
    Rule(
        "faults",
        "Each access to guest memory may fault: the exception table has it, and after a fault no "
        "other access follows.",
        host.faults,
        _writes,
    ),
    Rule(
        "dirty", "The page is marked dirty after the last store, and no other page is.", host.dirty
    ),
    Rule(
        "refused",
        "If the guest did not enable it, or the address cannot be mapped, nothing is stored.",
        host.refused,
        _refused,
    ),
    Rule("ends", "An update returns: no stack overwritten, no BUG().", host.ends),
    Rule("caller", CALLER, host.caller, _whole),
)

HYPERV = (
    Rule(
        "zero-first",
        "tsc_sequence becomes 0, which sends the guest to the MSR, in one store of four bytes, "
        "before scale or offset changes.",
    ),
    Rule("window", "tsc_sequence stays 0 while scale and offset are stored."),
    Rule(
        "sequence-last",
        "The last store gives tsc_sequence another number than before the update, never 0 and "
        "never 0xffffffff.",
    ),
    Rule("final", "Afterwards scale and offset are what the hypervisor knows."),
    Rule("outside", "No byte outside the 24 of the struct is ever stored."),
)

RULES: Mapping[str, tuple[Rule, ...]] = {
    "pvclock": PVCLOCK,
    "steal_time": STEAL_TIME,
    "hyperv": HYPERV,
}

# What an update breaks that never returned, whatever it would have done.
AT_ONCE = frozenset(
    ("odd-first", "window", "outside", "refused", "locks", "irqs", "faults", "ends")
)

# Of any x86 code: smp_wmb() is no instruction there.
NO_BARRIERS = "barriers: not judged, x86 code has none"


def judge(rules: tuple[Rule, ...], update: Update) -> dict[str, Breach]:
    """Return the first breach of each rule that an update breaks, in the order of the rules."""
    found: dict[str, Breach] = {}
    for rule in rules:
        if rule.judge is None or not rule.asked(update):
            continue
        breach = min(rule.judge(update), default=None)
        if breach and (not update.ended or rule.name in AT_ONCE):
            found[rule.name] = breach
    return found
