"""The small questions for other checkers: enough of both verdicts, and the text says which."""

from agreement import cbmc, litmus
from agreement.small import chosen


def test_the_questions_carry_our_verdict_and_are_as_many_as_they_must_be():
    made = [litmus.lkmm(one) for one in chosen("weak")]
    made += [litmus.x86(one) for one in chosen("x86-tso")]
    assert len(made) >= 300
    for words in ("Expect: Never", "Expect: Sometimes"):
        assert sum(words in text for text in made) > 60
    programs = [cbmc.c_source(one) for one in chosen("x86-tso")]
    assert len(programs) >= 24
    assert all("Expect: VERIFICATION" in text for text in programs)
