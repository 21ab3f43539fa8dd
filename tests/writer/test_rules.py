"""The rule book: which version of the update breaks which rule, and that each rule can fail."""

import os
from collections import Counter
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from replaying.evidence import judge, of_model
from runstate_abi.layouts.abi import PAGE_SIZE
from runstate_abi.writer.rulebook import guest_rules, host_rules
from runstate_abi.writer.rulebook.evidence import (
    BARRIERS,
    CALLS,
    READS,
    RETURN,
    Evidence,
    Read,
    ledger,
)
from runstate_abi.writer.rulebook.requests import FINE, SCENARIO, SCENARIOS
from runstate_abi.writer.rules import (
    NEWEST,
    PROFILE,
    PROFILES,
    RULE,
    RULES,
    judges,
    not_judged,
)
from runstate_abi.writer.steps import (
    Activate,
    Barrier,
    Check,
    Copy,
    Dirty,
    IrqRestore,
    IrqSave,
    Lock,
    Refresh,
    Store,
    TryLock,
    Unlock,
    Write,
)
from runstate_abi.writer.variants import VARIANT, VARIANTS, Refused, is_xen, prepare, uses_gpc
from runstate_abi.writer.vcpu import SHAPES, Area, Runstate, image, unflagged

GOLDENS = Path(__file__).parent.parent / "golden"
GOLDEN, BREACHES = GOLDENS / "rules.txt", GOLDENS / "breaches.txt"
ENTRY_TIME = 0x1122334455667788
VCPU = Runstate(1, ENTRY_TIME, (0x0101010101010101, 2, 3, 0x0404040404040404))
ODD = replace(VCPU, entry_time=ENTRY_TIME | 1 << 63)


def offsets(shape):
    """One page, the exact fit, each kind of split."""
    size = shape.size
    inside = (1, size - shape.update_byte, size - shape.update_byte - 1, size - 1)
    return (256, PAGE_SIZE - size, *(PAGE_SIZE - size + at for at in inside))


# How each scenario comes about in the model. A page that is lost in the middle of an update only
# hurts those that write through user addresses.
def disturbed(variant, area, scenario, lost_midway=False):
    """The caches of a registered area, and what happens to them meanwhile: (after which step, do)."""
    caches = prepare(variant, area)
    host = caches.host
    meanwhile = (Write, lambda: host.pages.pop(0, None)) if lost_midway else (None, None)
    if scenario.stale == 1:
        caches.invalidate(0)
    if scenario.stale == 2:
        caches.gpc2.deactivate_now()
    if scenario.error:
        host.pages.pop(scenario.stale - 1)
        host.missing.add(scenario.stale - 1)
    if scenario.busy:
        (caches.gpc1, caches.gpc2)[scenario.busy - 1].contended = True
    if scenario.again:
        meanwhile = (Activate, lambda: caches.invalidate(0))
    return caches, meanwhile


def played(variant, vcpu, area, atomic, scenario=FINE, lost_midway=False):
    caches, (after, act) = disturbed(variant, area, scenario, lost_midway)
    for step in variant.update(vcpu, area, caches, atomic):
        yield step
        if after and isinstance(step, after):
            act()


def updates(variant):
    """(evidence, its name) of every update that a version is judged by."""
    uses_caches = uses_gpc(variant)
    scenarios = [s for s in SCENARIOS if uses_caches and not s.no_slot] or [FINE]
    for (abi, shape), flag, atomic in product(SHAPES.items(), (True, False), (False, True)):
        for offset, scenario in product(offsets(shape), scenarios):
            if scenario.busy and not atomic:
                continue
            area = Area(abi, offset, flag)
            for vcpu in (VCPU, ODD) if scenario is FINE else (VCPU,):
                name = f"{abi}@{offset:#x}{',flag' * flag}{',atomic' * atomic}"
                name += f",{scenario.name}" * bool(scenario.name) + ",bit63" * (vcpu is ODD)
                try:
                    steps = tuple(played(variant, vcpu, area, atomic, scenario))
                except Refused:
                    continue
                yield of_model(steps, vcpu, area, atomic), name
        area = Area(abi, 256, flag)
        if is_xen(variant):
            continue  # a guest that unmaps its own area has itself to blame
        steps = tuple(played(variant, VCPU, area, atomic, lost_midway=True))
        yield of_model(steps, VCPU, area, atomic), f"{abi}@0x100{',flag' * flag},lost-midway"


def broken(variant, profile):
    """{rule: (how many updates break it, of how many, the first)}."""
    count, first, total = Counter(), {}, 0
    for evidence, name in updates(variant):
        total += 1
        for violation in judge(evidence, profile):
            count[violation.rule] += 1
            first.setdefault(violation.rule, (name, violation.why))
    return {rule: (number, total, *first[rule]) for rule, number in count.items()}


# The golden table: version, profile, rule, and what history says; the rest is prose.
def table():
    rows = [row for row in GOLDEN.read_text().splitlines() if row and not row.startswith("#")]
    for row in rows:
        variant, profile, rule, cases, first, *_ = [c.strip() for c in row.split("  ") if c.strip()]
        yield variant, profile, rule, cases, first


def profiles(variant):
    if is_xen(variant):
        return (PROFILE[variant.name],)
    early = variant.name in ("linux-5.14", "linux-5.16", "linux-6.1")
    return (PROFILE["linux-6.2+"], PROFILE["linux-6.1"]) if early else (PROFILE["linux-6.2+"],)


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_each_version_breaks_the_rules_that_history_says_and_no_other(variant):
    seen = {
        (profile.name, rule): (f"{number} of {total}", first)
        for profile in profiles(variant)
        for rule, (number, total, first, _) in broken(variant, profile).items()
    } or {(profiles(variant)[0].name, "-"): ("0", "-")}
    for profile in profiles(variant):
        if not any(name == profile.name for name, _ in seen):
            seen[profile.name, "-"] = ("0", "-")
    said = {(p, r): (cases, first) for name, p, r, cases, first in table() if name == variant.name}
    assert {k: v for k, v in seen.items() if k[1] != "-"} == {
        k: v for k, v in said.items() if k[1] != "-"
    }
    assert {k[0] for k in said} == {profile.name for profile in profiles(variant)}


# Each rule by itself, on the newest version's steps: what it accepts, and what it must reject.

NATIVE = of_model(
    tuple(played(VARIANT["upstream"], VCPU, Area("native", 256), False)), VCPU, Area("native", 256)
)
SPLIT_AREA = Area("native", PAGE_SIZE - 15)
SPLIT = of_model(tuple(played(VARIANT["upstream"], VCPU, SPLIT_AREA, False)), VCPU, SPLIT_AREA)
ATOMIC = of_model(
    tuple(played(VARIANT["upstream"], VCPU, SPLIT_AREA, True)), VCPU, SPLIT_AREA, atomic=True
)
LOST = of_model(
    tuple(played(VARIANT["upstream"], VCPU, SPLIT_AREA, False, SCENARIO["lost2"])),
    VCPU,
    SPLIT_AREA,
)
QUIET = of_model(
    tuple(played(VARIANT["upstream"], VCPU, Area("native", 256, False), False)),
    VCPU,
    Area("native", 256, False),
)


def without(evidence, *indexes):
    steps = tuple(s for i, s in enumerate(evidence.steps) if i not in indexes)
    return replace(evidence, steps=steps)


def at(evidence, kind, number=0):
    return [i for i, step in enumerate(evidence.steps) if isinstance(step, kind)][number]


def put(evidence, index, *steps, instead=0):
    all_steps = evidence.steps
    return replace(evidence, steps=(*all_steps[:index], *steps, *all_steps[index + instead :]))


def changed(evidence, index, **fields):
    return put(evidence, index, replace(evidence.steps[index], **fields), instead=1)


def swapped(evidence, one, two):
    steps = list(evidence.steps)
    steps[one], steps[two] = steps[two], steps[one]
    return replace(evidence, steps=tuple(steps))


FLAG_UP, STATE, ENTRY, TIMES, FLAG_DOWN = (at(NATIVE, Store | Copy, n) for n in range(5))
BYTE = Store(1, 255, b"\0")
# As x86 code has them: without barriers.
BARE = tuple(step for step in NATIVE.steps if not isinstance(step, Barrier))
RECORDED = frozenset((CALLS, READS, RETURN))
TIMES_BARE = BARE.index(NATIVE.steps[TIMES])

# What is done to a good update, and the rules that must then be broken: these and no others.
# fmt: off
BROKEN = {
    "the flag is never set":               (without(NATIVE, FLAG_UP),                              {"set-first"}),
    "the flag is set after the body":      (swapped(NATIVE, FLAG_UP, TIMES),                       {"set-first"}),
    "the flag's byte is not the new one":  (changed(NATIVE, FLAG_UP, data=b"\x80"),                {"set-first"}),
    "no barrier behind the flag":          (without(NATIVE, at(NATIVE, Barrier)),                  {"set-first"}),
    "the body has no flag":                (changed(NATIVE, ENTRY, data=ENTRY_TIME.to_bytes(8, "little")), {"window"}),
    "the times are missing":               (without(NATIVE, TIMES),                                {"complete", "final"}),
    "the times come after the clear":      (swapped(NATIVE, TIMES, FLAG_DOWN),                     {"window", "clear-last"}),
    "no barrier before the clear":         (without(NATIVE, at(NATIVE, Barrier, 1)),               {"complete"}),
    "nothing is written":                  (without(NATIVE, *range(FLAG_UP, FLAG_DOWN + 2), at(NATIVE, Dirty)), {"complete"}),
    "the flag stays up":                   (without(NATIVE, FLAG_DOWN),                            {"clear-last", "final"}),
    "the clear changes more":              (changed(NATIVE, FLAG_DOWN, offset=256 + 14, data=b"\0\x11"), {"clear-last", "final"}),
    "the state is wrong":                  (changed(NATIVE, STATE, data=b"\2\0\0\0"),              {"complete", "final"}),
    "a byte before the struct":            (put(NATIVE, STATE, BYTE),                              {"outside"}),
    "a byte behind the struct":            (put(NATIVE, STATE, Store(1, 256 + 48, b"\0")),         {"outside"}),
    "past the end of page 1":              (put(SPLIT, at(SPLIT, Copy), Copy(1, PAGE_SIZE, b"\0")), {"outside"}),
    "memory elsewhere has changed":        (replace(NATIVE, changed=("p2+7",)),                    {"outside"}),
    "the padding is stored in one page":   (put(NATIVE, STATE, Store(1, 260, b"\0\0\0\0")),        {"padding"}),
    "the padding leaks where it is split": (changed(SPLIT, at(SPLIT, Copy), data=SPLIT.steps[at(SPLIT, Copy)].data[:4] + b"\1" + SPLIT.steps[at(SPLIT, Copy)].data[5:]), {"padding"}),
    "a flag that nobody asked for":        (put(QUIET, at(QUIET, Store), Store(1, 271, b"\x91"), Barrier()), {"no-flag"}),
    "a read-modify-write":                 (changed(NATIVE, FLAG_DOWN, keep=b"\0"),                {"read"}),
    "a read":                              (replace(NATIVE, reads=(Read(3, 1, 256, 4),)),          {"read"}),
    "gpc2 is never unlocked":              (without(SPLIT, at(SPLIT, Unlock)),                     {"locks"}),
    "no lock is ever unlocked":            (without(SPLIT, at(SPLIT, Unlock), at(SPLIT, Unlock, 1)), {"locks", "irqs"}),
    "gpc1 is locked twice":                (put(SPLIT, at(SPLIT, Lock, 1) + 1, Lock("gpc1"), Unlock("gpc1")), {"locks", "calls"}),
    "gpc2 is locked twice":                (put(SPLIT, at(SPLIT, Unlock), Lock("gpc2"), Unlock("gpc2")), {"locks"}),
    "gpc2 is unlocked twice":              (put(SPLIT, len(SPLIT.steps), Unlock("gpc2")),          {"locks"}),
    "gpc2 is locked before gpc1":          (put(without(SPLIT, at(SPLIT, Lock, 1)), 0, Lock("gpc2")), {"locks", "irqs"}),
    "a store after the unlock":            (put(SPLIT, at(SPLIT, Unlock) + 1, Store(2, 0, b"\x11")), {"locks", "calls", "dirty", "window"}),
    "interrupts stay off":                 (changed(NATIVE, at(NATIVE, Unlock), irqrestore=False), {"irqs"}),
    "interrupts stay off, as measured":    (replace(NATIVE, irqs_off_at_return=True),              {"irqs"}),
    "interrupts are never off":            (changed(NATIVE, at(NATIVE, Lock), irqsave=False),      {"irqs"}),
    "interrupts are never off, trylock":   (replace(without(ATOMIC, 0), irqs_off=False),                    {"irqs"}),
    "interrupts come back too early":      (changed(SPLIT, at(SPLIT, Unlock), irqrestore=True),    {"irqs"}),
    "it sleeps with interrupts off":       (put(NATIVE, 0, IrqSave(), Refresh("gpc1", 48, 0), IrqRestore()), {"irqs"}),
    "it spins":                            (put(ATOMIC, at(ATOMIC, TryLock), Lock("gpc1"), instead=1), {"atomic"}),
    "it sleeps":                           (put(ATOMIC, 0, Refresh("gpc1", 15, 0)),                {"atomic"}),
    "it goes on after a refusal":          (replace(LOST, steps=LOST.steps + SPLIT.steps),         {"refused"}),
    "page 2 is not marked":                (without(SPLIT, at(SPLIT, Dirty)),                      {"dirty"}),
    "a page too many is marked":           (put(NATIVE, at(NATIVE, Dirty), Dirty(1)),              {"dirty"}),
    "marked before the last store":        (swapped(NATIVE, at(NATIVE, Dirty), STATE),             {"dirty", "window", "clear-last"}),
    "marked after the unlock":             (swapped(NATIVE, at(NATIVE, Dirty), at(NATIVE, Unlock)), {"dirty"}),
    "no check":                            (without(NATIVE, at(NATIVE, Check)),                    {"calls"}),
    "checked for too few bytes":           (changed(NATIVE, at(NATIVE, Check), size=47),           {"calls"}),
    "checked for one byte":                (changed(NATIVE, at(NATIVE, Check), size=1),            {"calls"}),
    "checked before the lock":             (swapped(NATIVE, at(NATIVE, Check), at(NATIVE, Lock)),  {"calls"}),
    "a write although the check failed":   (changed(NATIVE, at(NATIVE, Check), result=False),      {"calls"}),
    "set up under the lock":               (put(NATIVE, at(NATIVE, Check), Refresh("gpc1", 48, 0)), {"calls"}),
    "set up at another address":           (put(SPLIT, 0, Activate("gpc2", 0, 33, 0)),             {"calls"}),
    "set up for the wrong size":           (put(SPLIT, 0, Activate("gpc2", 4096, 48, 0)),          {"calls"}),
    "set up although another is locked":   (put(SPLIT, at(SPLIT, Store), Refresh("gpc1", 15, 0)),  {"calls"}),
    "it never returns":                    (replace(NATIVE, ended="it runs into ud2"),             {"ends"}),
    "it never returns from a store outside": (replace(put(without(NATIVE, FLAG_DOWN), STATE, BYTE), ended="it runs into ud2"), {"outside", "ends"}),
    "a register is lost":                  (replace(NATIVE, owed=("rbx is not as it was at entry",)), {"caller"}),
    "a time is stored non-temporally":     (replace(NATIVE, steps=BARE, streamed=frozenset((TIMES_BARE,)), records=RECORDED), {"set-first", "complete"}),
    "the flag is stored non-temporally":   (replace(NATIVE, steps=BARE, streamed=frozenset((FLAG_UP,)), records=RECORDED), {"set-first", "complete"}),
    "the clear is non-temporal":           (replace(NATIVE, steps=BARE, streamed=frozenset((len(BARE) - 3,)), records=RECORDED), {"set-first", "complete"}),
    "something that no step is a word for": (replace(NATIVE, odd=((3, "a strange memslot"),)),     {"calls"}),
}
# fmt: on


@pytest.mark.parametrize("good", [NATIVE, SPLIT, ATOMIC, LOST, QUIET])
def test_a_good_update_breaks_no_rule(good):
    assert judge(good) == ()


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_update_breaks_its_rule_and_no_other(case):
    evidence, rules = BROKEN[case]
    assert {violation.rule for violation in judge(evidence)} == rules


def test_what_is_said_of_a_breach_names_the_step_the_page_and_the_bytes():
    """RUNSTATE_RECORD=1 records them anew; the difference is to be reviewed."""
    said = "".join(
        f"{case}\n" + "".join(f"  {one.rule:10} {one.at:2}  {one.why}\n" for one in judge(evidence))
        for case, (evidence, _) in BROKEN.items()
    )
    if os.environ.get("RUNSTATE_RECORD"):
        BREACHES.write_text(said)
    assert said == BREACHES.read_text()


def test_every_rule_has_been_seen_to_fail():
    assert {rule for _, rules in BROKEN.values() for rule in rules} == set(RULE)


def test_a_page_that_is_not_the_areas_is_not_given_a_cache():
    stale = judge(put(NATIVE, STATE, Store(4, 256, b"\0")))
    marked = judge(put(NATIVE, at(NATIVE, Dirty), Dirty(4885527466)))
    said = {violation.rule: violation.why for violation in (*stale, *marked)}
    assert said["locks"] == said["calls"] == "a page that is no longer the area's is written"
    assert said["dirty"] == "frame +4885527466 is marked dirty and is not the area's"


def test_a_violation_points_at_the_step():
    (violation,) = judge(changed(NATIVE, at(NATIVE, Check), size=47))
    assert violation.at == at(NATIVE, Check)
    (violation,) = judge(without(SPLIT, at(SPLIT, Unlock)))
    assert violation.at == len(SPLIT.steps) - 1


# Orders that the book leaves free: nothing between two barriers has one.
# fmt: off
HARMLESS = {
    "the times before the state":      swapped(NATIVE, STATE, TIMES),
    "page 2 before page 1":            swapped(SPLIT, at(SPLIT, Copy), at(SPLIT, Copy, 1)),
    "a byte stored twice":             put(NATIVE, TIMES, NATIVE.steps[STATE]),
    "gpc2 locked for one page, freed": put(put(NATIVE, at(NATIVE, Check) + 1, Lock("gpc2")), at(NATIVE, Dirty) + 1, Unlock("gpc2")),
    "non-temporal, between fences":    replace(NATIVE, streamed=frozenset((TIMES,))),
    "a refresh that was not needed":   put(NATIVE, 0, Refresh("gpc1", 48, 0)),
}
# fmt: on


@pytest.mark.parametrize("case", HARMLESS)
def test_what_no_guest_and_no_kernel_can_tell_is_allowed(case):
    assert judge(HARMLESS[case]) == ()


def test_a_rule_that_needs_what_is_not_recorded_is_not_judged_and_that_is_said():
    bare = replace(without(NATIVE, at(NATIVE, Check)), records=frozenset())
    assert judge(bare) == ()
    assert dict(not_judged(frozenset())) == {
        rule.name: f"{rule.needs} {'is' if rule.needs == RETURN else 'are'} not recorded"
        for rule in RULES
        if rule.needs
    }
    assert not_judged(frozenset((CALLS, READS, BARRIERS, RETURN))) == ()


def test_without_recorded_barriers_the_order_of_stores_is_all_there_is():
    steps = tuple(step for step in NATIVE.steps if not isinstance(step, Barrier))
    evidence = replace(NATIVE, steps=steps, records=frozenset((CALLS, READS)))
    assert judge(evidence) == ()


def test_two_stores_alone_need_a_barrier_too():
    area = NATIVE.area
    up = next(step for step in NATIVE.steps if isinstance(step, Write))
    down = Store(1, area.offset, image(area.shape, NATIVE.vcpu, unflagged(NATIVE.vcpu.entry_time)))
    for between, is_broken in ((), True), ((Barrier(),), False):
        found = judge(replace(NATIVE, steps=(up, *between, down)))
        assert ("set-first" in {one.rule for one in found}) == is_broken


def test_what_the_last_store_puts_right_is_told_where_it_was_wrong():
    area, vcpu = NATIVE.area, NATIVE.vcpu
    up = next(step for step in NATIVE.steps if isinstance(step, Write))
    body = bytearray(image(area.shape, vcpu, vcpu.entry_time | 1 << 63))
    body[area.shape.time] ^= 1
    down = Store(1, area.offset, image(area.shape, vcpu, unflagged(vcpu.entry_time)))
    steps = (up, Barrier(), Copy(1, area.offset, bytes(body)), Barrier(), down)
    (complete,) = (x for x in judge(replace(NATIVE, steps=steps)) if x.rule == "complete")
    assert (complete.at, complete.why) == (2, "the flag goes down, and time[0] is not in place")


def test_something_strange_is_told_aside():
    found = judge(replace(NATIVE, odd=((3, "a strange memslot"),)))
    assert [(one.at, one.aside) for one in found] == [(3, True)]


def test_a_lock_that_sleeps_leaves_interrupts_alone():
    steps = (IrqSave(), *ATOMIC.steps[1:])
    evidence = replace(changed(NATIVE, at(NATIVE, Lock), irqsave=False), locks_sleep=True)
    assert judge(evidence) == ()
    left_off = replace(ATOMIC, steps=steps, locks_sleep=True, irqs_off_at_return=True)
    assert [violation.rule for violation in judge(left_off)] == ["irqs"]


def test_no_page_is_marked_where_there_is_no_memslot():
    unmarked = without(NATIVE, at(NATIVE, Dirty))
    assert [violation.rule for violation in judge(unmarked)] == ["dirty"]
    assert judge(replace(unmarked, no_slot=True)) == ()


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
def test_a_profile_relaxes_rules_of_the_book_and_says_why(profile):
    assert {one.rule for one in profile.relaxed} <= set(RULE)
    assert all(len(one.why) > 10 for one in profile.relaxed)
    changed_rules = {rule.name for rule, look in judges(profile) if look is not rule.judge}
    assert changed_rules == {one.rule for one in profile.relaxed}


def test_the_newest_profile_is_the_whole_book():
    assert NEWEST.relaxed == ()
    assert [look for _, look in judges(NEWEST)] == [rule.judge for rule in RULES]


OLD_AREA = Area("native", 256)
OLD = of_model(tuple(played(VARIANT["linux-6.1"], VCPU, OLD_AREA, False)), VCPU, OLD_AREA)
OLD_ATOMIC = of_model(
    tuple(played(VARIANT["linux-6.1"], VCPU, OLD_AREA, True)), VCPU, OLD_AREA, True
)
XEN = of_model(tuple(played(VARIANT["xen-va"], VCPU, OLD_AREA, False)), VCPU, OLD_AREA)
SET = at(OLD, Store)

# A weaker rule is still a rule.
# fmt: off
WEAKER = {
    "6.1 sets a flag that is not its own": ("linux-6.1", changed(OLD, SET, data=bytes(7) + b"\x80"), {"set-first", "complete", "final"}),
    "6.1 reads the state":                 ("linux-6.1", replace(OLD, reads=(Read(3, 1, 256, 4),)),  {"read"}),
    "6.1 reads and writes the times":      ("linux-6.1", changed(OLD, at(OLD, Store, 1), keep=bytes(4)), {"read"}),
    "6.1 sleeps":                          ("linux-6.1", put(OLD_ATOMIC, 0, Refresh("gpc1", 48, 0)), {"atomic"}),
    "6.1 forgets the dirty page":          ("linux-6.1", without(OLD, at(OLD, Dirty)),               {"dirty"}),
    "Xen leaks by the padding":            ("xen-va",    changed(XEN, at(XEN, Copy, 1), data=XEN.steps[at(XEN, Copy, 1)].data[:4] + b"\7" + XEN.steps[at(XEN, Copy, 1)].data[5:]), {"padding"}),
}
# fmt: on


@pytest.mark.parametrize("case", WEAKER)
def test_a_weaker_rule_can_still_be_broken(case):
    profile, evidence, rules = WEAKER[case]
    assert {violation.rule for violation in judge(evidence, PROFILE[profile])} == rules


def test_reading_the_entry_time_back_is_what_6_1_does():
    machine = replace(OLD, reads=(Read(7, 1, 264, 8),))
    assert judge(machine, PROFILE["linux-6.1"]) == ()
    assert "read" in {violation.rule for violation in judge(machine)}


@pytest.mark.parametrize(
    ("page", "start", "size", "fine"),
    [(1, 4089, 7, True), (2, 0, 1, True), (1, 4088, 1, False), (2, 0, 2, False), (2, 1, 1, False)],
)
def test_an_entry_time_in_two_pages_may_be_read_in_both_and_nothing_else(page, start, size, fine):
    machine = replace(SPLIT, reads=(Read(3, page, start, size),))
    broken = {violation.rule for violation in judge(machine, PROFILE["linux-6.1"])}
    assert ("read" in broken) is not fine


@pytest.mark.parametrize(("size", "said"), [(1, "1 byte of"), (2, "2 bytes of")])
def test_how_much_was_read_is_told(size, said):
    machine = replace(NATIVE, reads=(Read(2, 1, 300, size),))
    (why,) = [one.why for one in judge(machine) if one.rule == "read"]
    assert why.startswith(said)


def test_a_write_across_a_border_of_the_struct_is_cut_there():
    evidence = Evidence(OLD_AREA, VCPU, False, bytes(48), (Store(1, 252, bytes(range(8))),))
    book = ledger(evidence)
    assert [(w.start, w.data) for w in book.landed] == [(0, bytes((4, 5, 6, 7)))]
    assert [(s.page, s.offset, s.data) for s in book.strays] == [(1, 252, bytes(range(4)))]


def test_the_first_breach_of_each_rule_is_the_one_that_is_told():
    twice = put(put(NATIVE, TIMES, BYTE), FLAG_UP, BYTE)
    (violation,) = [v for v in judge(twice) if v.rule == "outside"]
    assert violation.at == FLAG_UP
    # One page is never marked, and the other when its lock is gone, which is earlier.
    late = swapped(SPLIT, at(SPLIT, Dirty, 1), at(SPLIT, Unlock, 1))
    (violation,) = [v for v in judge(without(late, at(late, Dirty))) if v.rule == "dirty"]
    assert violation.at < len(late.steps) - 1


def test_rules_without_their_function_would_not_be_missed():
    """Every public rule function is in the book or in a profile."""
    used = {rule.judge for rule in RULES}
    used |= {one.instead for profile in PROFILES for one in profile.relaxed}
    public = {
        value
        for module in (guest_rules, host_rules)
        for name, value in vars(module).items()
        if callable(value)
        and getattr(value, "__module__", "") == module.__name__
        and name[0] != "_"
    }
    assert public == used - {None}


def test_a_read_modify_write_across_a_border_is_cut_with_its_mask():
    step = Store(1, 252, bytes(range(8)), keep=b"\xf0" * 8)
    book = ledger(Evidence(OLD_AREA, VCPU, False, b"\xa5" * 48, (step,)))
    assert [(w.start, w.data) for w in book.landed] == [(0, bytes((0xA4, 0xA5, 0xA6, 0xA7)))]
