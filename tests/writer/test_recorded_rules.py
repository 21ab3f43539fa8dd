"""The same rule book on what was recorded of running hypervisors: stores seen by watchpoints.

A watchpoint sees bytes that change. It sees no locks, no reads and no barriers, so those rules
are not judged, and what is left is what a guest can see.
"""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from replaying.evidence import judge
from replaying.traces import steps_of_images
from runstate_abi.layouts.abi import PAGE_SIZE
from runstate_abi.writer.rulebook.evidence import Evidence
from runstate_abi.writer.rules import PROFILE, RULES, not_judged
from runstate_abi.writer.vcpu import SHAPES, Area, runstate_of, unflagged
from runstate_abi.writer.witnesses.recorded import steps_of_watchpoints

DATA = Path(__file__).parent.parent / "data"
NOTHING_ELSE = frozenset()


def kvm(name):
    """The evidence of each record of a file of KVM's stores."""
    for line in (DATA / "kvm" / name).read_text().splitlines()[1:]:
        record = json.loads(line)
        if not record["stores"]:
            continue  # this kernel refused the address
        offset = record["off"] % PAGE_SIZE
        area = Area(record["layout"], offset, bool(record["update_flag"]))
        final, poison = bytes.fromhex(record["final"]), bytes.fromhex(record["poison"])
        before = (poison * area.shape.size)[: area.shape.size]
        steps = steps_of_watchpoints(record["stores"], offset)
        vcpu = runstate_of(area.shape, final)
        yield Evidence(area, vcpu, False, before, steps, NOTHING_ELSE)


def broken(evidences, profile):
    found, count = Counter(), 0
    for evidence in evidences:
        found.update(violation.rule for violation in judge(evidence, PROFILE[profile]))
        count += 1
    return dict(found), count


def test_every_recorded_update_of_6_12_keeps_every_rule_that_stores_can_break():
    assert broken(kvm("kvm_stores_linux6.12.107.jsonl"), "linux-6.2+") == ({}, 192)


def test_every_recorded_update_of_6_1_is_right_for_its_time():
    assert broken(kvm("kvm_stores_linux6.1.192.jsonl"), "linux-6.1") == ({}, 10)


def test_every_recorded_update_of_6_1_sets_a_flag_of_eight_bytes_asked_for_or_not():
    found = broken(kvm("kvm_stores_linux6.1.192.jsonl"), "linux-6.2+")
    assert found == ({"set-first": 5, "no-flag": 5}, 10)


# Xen's records are the whole area after each store: an update is what lies between two clears.
def xen(name, abi):
    shape = SHAPES[abi]
    records = [json.loads(line) for line in (DATA / "xen" / name).read_text().splitlines()]
    images = [(r["at"], bytes.fromhex(r["bytes"])) for r in records if "bytes" in r]
    update, before = [], None
    for place, image in images:
        update.append(image)
        clears = place.startswith("update_runstate_area") and not image[shape.update_byte] & 0x80
        if clears:
            if before is not None:
                steps = steps_of_images([before, *update], 0)
                vcpu = runstate_of(shape, image)
                assert vcpu.entry_time == unflagged(vcpu.entry_time)
                yield Evidence(Area(abi, 0, True), vcpu, False, before, steps, NOTHING_ELSE)
            update, before = [], image


def test_every_recorded_update_of_xen_keeps_every_rule_that_stores_can_break():
    rules, count = broken(xen("xen_pv_stores_4.17.jsonl", "native"), "xen-va")
    assert rules == {}
    assert count >= 3


def test_what_a_watchpoint_cannot_see_is_not_judged():
    unseen = {rule for rule, _ in not_judged(NOTHING_ELSE)}
    assert unseen == {rule.name for rule in RULES if rule.needs}
    at_return = {"ends", "caller"}
    assert unseen == at_return | {"read", "locks", "irqs", "atomic", "refused", "dirty", "calls"}


@pytest.mark.parametrize("number", [0, 1, -1])
def test_a_store_that_was_not_recorded_is_missed(number):
    """The rules are not satisfied by anything: a recording with a hole in it breaks one."""
    for evidence in kvm("kvm_stores_linux6.12.107.jsonl"):
        if evidence.area.update_flag:
            steps = list(evidence.steps)
            del steps[number]
            assert judge(replace(evidence, steps=tuple(steps))), evidence.area
