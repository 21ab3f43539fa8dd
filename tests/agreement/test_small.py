"""The small questions for other checkers: enough of both verdicts, and the text says which."""

import pytest

from agreement import cbmc, litmus
from agreement.small import ARM, LOW_HIGH_HIGH_LOW, chosen, fenced, read_by, reads
from runstate_abi.writer.guest import READER


def test_the_questions_carry_our_verdict_and_are_as_many_as_they_must_be():
    made = [litmus.lkmm(one) for one in chosen("weak")]
    made += [litmus.x86(one) for one in chosen("x86-tso")]
    assert len(made) >= 300
    for words in ("Expect: Never", "Expect: Sometimes"):
        assert sum(words in text for text in made) > 60
    programs = [cbmc.c_source(one) for one in chosen("x86-tso")]
    assert len(programs) >= 24
    assert all("Expect: VERIFICATION" in text for text in programs)


@pytest.mark.parametrize(("readings", "torn"), LOW_HIGH_HIGH_LOW.items())
def test_a_reader_of_halves_needs_a_barrier_in_both_readings(readings, torn):
    found = read_by("lh-hl", fenced("split-lh-hl", *readings), "weak")
    assert any(one.torn for one in found) == torn
    assert sum(one.variable is None for one in reads(found[0])) == 2 + len(readings)


@pytest.mark.parametrize(("name", "torn"), ARM.items())
def test_a_32_bit_guest_of_arm_needs_barriers_between_the_halves(name, torn):
    assert any(one.torn for one in read_by(name, READER[name], "weak")) == torn
