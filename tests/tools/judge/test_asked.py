"""Which rules an update puts to the test: none hides a breach."""

import re

import pytest

from replaying.evidence import of_model
from runstate_abi.writer.rulebook.evidence import ledger
from runstate_abi.writer.rulebook.requests import quick
from runstate_abi.writer.rules import PROFILES, RULE, RULES, could_break
from runstate_abi.writer.rules import judge as judge_book
from runstate_abi.writer.variants import VARIANTS, Refused, update


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_a_rule_that_is_broken_was_asked_about(variant):
    judged = 0
    for request in list(quick())[::5]:
        try:
            steps = update(variant, request.vcpu, request.area, request.atomic)
        except Refused:
            continue
        book = ledger(of_model(steps, request.vcpu, request.area, request.atomic))
        for profile in PROFILES:
            broken = {violation.rule for violation in judge_book(book, profile)}
            assert broken <= could_break(book), (str(request), profile.name)
            judged += 1
    assert judged > 50


@pytest.mark.parametrize("name", [rule.name for rule in RULES if rule.wanted])
def test_what_it_says_to_ask_for_does_ask(judge, c_writer, name):
    (case,) = re.findall(r"\((.*)\)", RULE[name].wanted)
    code, out, _ = judge(c_writer(), "--case", case)
    assert code == 0
    (line,) = [line for line in out.splitlines() if line.split()[1:2] == [name]]
    assert line.startswith("ok ")
