"""The execution in sentences: each word is held against its bytes, or changes with them."""

import re
from dataclasses import replace

import pytest

from runstate_abi.tools.race import explanation
from runstate_abi.writer.guest import READER, drop
from runstate_abi.writer.race import Question, Race, find_race, of_variant
from runstate_abi.writer.racing.ordering import MODEL
from runstate_abi.writer.variants import VARIANT
from runstate_abi.writer.vcpu import Area

NEW, OLD = "from the update", "from before the update"


def race(variant, reader, model="x86-tso", abi="native", at=0x1000, **more):
    found = find_race(
        Question(of_variant(VARIANT[variant]), READER[reader], MODEL[model], Area(abi, at), **more)
    )
    assert isinstance(found, Race)
    return found


def sentences(found, reader):
    took, accepted = explanation.explained(found, reader)
    return took, accepted


def taken(sentence):
    """``The guest took a and b from X, and c from Y.`` -> {a: from X, b: from X, c: from Y}"""
    found = {}
    for part in sentence.removeprefix("The guest took ").removesuffix(".").split(", and "):
        names, _, whose = part.partition(" from ")
        found |= dict.fromkeys(re.split(", | and ", names), f"from {whose}")
    return found


def slice_of(offsets):
    return slice(offsets.start, offsets.stop)


@pytest.fixture(scope="module")
def lines_torn():
    """The 6.1 writer across a cache line, read by linux-64: its set tears."""
    return race("linux-6.1", "linux-64", abi="compat", at=0x1038)


TORN = [
    ("upstream", "naive", "x86-tso"),
    ("upstream", "split-hl-lh", "x86-tso"),
    ("upstream", "linux-32", "weak"),
    ("patch-2of4", "split-lh-lh", "weak"),
    ("xen-phys", "split-hl-hl", "weak"),
]


@pytest.mark.parametrize("abi", ["native", "compat"])
@pytest.mark.parametrize("asked", TORN)
def test_each_member_is_from_where_its_bytes_are(asked, abi):
    found = race(*asked, abi=abi)
    old, new = found.case.images
    layout = found.case.layout
    whose = taken(sentences(found, READER[asked[1]])[0])
    assert set(whose.values()) == {OLD, NEW}
    state, time = layout.field("state"), layout.field("time")
    places = {"state": range(state.offset, state.end)}
    for index in range(time.count):
        start = time.offset + index * time.type.size
        places[f"time[{index}]"] = range(start, start + time.type.size)
    assert set(whose) == set(places)
    for name, offsets in places.items():
        image = {OLD: old, NEW: new}[whose[name]]
        assert [found.accepted[offset] for offset in offsets] == list(image[slice_of(offsets)])


def test_other_bytes_are_other_words(lines_torn):
    reader = READER["linux-64"]
    before = taken(sentences(lines_torn, reader)[0])
    case = lines_torn.case._replace(images=lines_torn.case.images[::-1])
    after = taken(sentences(lines_torn._replace(case=case), reader)[0])
    swap = {OLD: NEW, NEW: OLD}
    assert after == {name: swap[whose] for name, whose in before.items()}


def test_a_member_of_two_updates_is_said_to_be(lines_torn):
    offset = lines_torn.case.layout.field("time").offset
    accepted = lines_torn.accepted | {offset: lines_torn.case.images[1][offset]}
    took, _ = sentences(lines_torn._replace(accepted=accepted), READER["linux-64"])
    assert f"time[0] in part {NEW}, in part {OLD}" in took


def test_several_updates_have_numbers():
    found = race("upstream", "linux-64", updates=2, entry_times="a-b-a")
    took, accepted = sentences(found, READER["linux-64"])
    assert set(taken(took).values()) == {"from update 1", "from update 2"}
    assert "(from before or from update 2)" in accepted


def test_what_was_read_is_told_with_whose_it_is(lines_torn):
    _, accepted = sentences(lines_torn, READER["linux-64"])
    assert accepted.startswith(
        "Its two reads of state_entry_time were equal, 14 14 14 24 14 14 14 14 (from the update), "
        "and the flag was clear: so it accepted."
    )


def test_a_store_that_a_reading_saw_half_of_is_named(lines_torn):
    _, accepted = sentences(lines_torn, READER["linux-64"])
    half = "The first read fell into the middle of store p1+60 8 1414142414141494."
    assert accepted.endswith(half)
    whole = race("upstream", "linux-64", entry_times="equal")
    assert "middle" not in sentences(whole, READER["linux-64"])[1]


def edited(found, name, change):
    """The race with the bytes of one load changed."""
    events = tuple(
        event._replace(data=change(event.data)) if event.name == name else event
        for event in found.events
    )
    return found._replace(events=events)


def test_readings_that_differ_would_be_said_to(lines_torn):
    other = edited(lines_torn, "t2", lambda data: bytes(len(data)))
    assert (
        "two reads of state_entry_time were different," in sentences(other, READER["linux-64"])[1]
    )


def test_an_entry_time_that_never_was_would_be_said_to_be(lines_torn):
    for name in ("t1", "t2"):
        lines_torn = edited(lines_torn, name, lambda data: bytes([1] * len(data)))
    _, accepted = sentences(lines_torn, READER["linux-64"])
    assert "were equal, 01 01 01 01 01 01 01 01 (of no update), and" in accepted


def test_a_flag_that_is_up_would_be_said_to_be(lines_torn):
    up = edited(lines_torn, "t1", lambda data: data[:-1] + bytes([data[-1] | 0x80]))
    assert (
        "(from the update, with the flag up), and the flag was set:"
        in sentences(up, READER["linux-64"])[1]
    )


def test_a_reader_that_compares_nothing_is_said_to():
    found = race("upstream", "naive")
    assert sentences(found, READER["naive"])[1].startswith("It compares nothing")


@pytest.mark.parametrize(
    ("name", "there", "not_there"),
    [("reread", "Its one read of", "two"), ("bit-check", "Its two reads of", "the flag was")],
)
def test_a_step_that_is_left_away_is_not_told(name, there, not_there):
    found = race("upstream", "linux-64", dropped=(name,))
    _, accepted = sentences(found, drop(READER["linux-64"], name))
    assert there in accepted
    assert not_there not in accepted


def test_a_believed_flag_is_said_to_be_up():
    found = race("upstream", "copied-time", dropped=("bit-check",))
    took, _ = sentences(found, replace(READER["copied-time"], bit_check=False))
    assert "state_entry_time with the flag up" in took


@pytest.mark.parametrize(
    ("names", "text"), [(["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c"], "a, b and c")]
)
def test_names_are_listed_as_people_do(names, text):
    assert explanation.listed(names) == text
