"""Construct reads and builds every byte, and its own offsets agree with the table."""

import construct
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runstate_abi.layouts import constructs
from runstate_abi.layouts.model import differences
from runstate_abi.layouts.structs.runstate import COMPAT, NATIVE

BY_NAME = {NATIVE.name: NATIVE, COMPAT.name: COMPAT}


def images(name):
    size = BY_NAME[name].size
    return st.binary(min_size=size, max_size=size)


@pytest.mark.parametrize("name", BY_NAME)
def test_construct_agrees_with_the_table(name):
    (seen,) = constructs.observe((name,), "x86_64").found
    assert differences(BY_NAME[name], seen, "construct") == ()
    assert [(r.offset, r.name, r.size) for r in seen.rows] == [
        (r.offset, r.name, r.size) for r in BY_NAME[name].rows
    ]


@given(data=st.data(), name=st.sampled_from(list(BY_NAME)))
def test_parse_and_build_keep_every_byte_padding_included(data, name):
    image = data.draw(images(name))
    assert constructs.build(name, constructs.parse(name, image)) == image


@given(image=images(NATIVE.name))
def test_the_padding_is_read_as_it_is(image):
    assert constructs.parse(NATIVE.name, image)["pad_04"] == image[4:8]


def test_an_image_of_another_size_is_refused():
    with pytest.raises(ValueError, match="has 44 bytes, not 48"):
        constructs.parse(COMPAT.name, bytes(48))


def test_a_wrong_definition_is_seen(monkeypatch):
    without_padding = constructs.compat_vcpu_runstate_info
    monkeypatch.setitem(constructs.STRUCTS, NATIVE.name, without_padding)
    (seen,) = constructs.observe((NATIVE.name,), "x86_64").found
    kinds = {difference.kind for difference in differences(NATIVE, seen, "construct")}
    assert kinds == {"size-mismatch", "offset-mismatch"}


def test_an_unsigned_state_is_seen(monkeypatch):
    unsigned = construct.Struct(
        "state" / construct.Int32ul, *constructs.compat_vcpu_runstate_info.subcons[1:]
    )
    monkeypatch.setitem(constructs.STRUCTS, COMPAT.name, unsigned)
    (seen,) = constructs.observe((COMPAT.name,), "x86_64").found
    assert [d.kind for d in differences(COMPAT, seen, "construct")] == ["signedness-mismatch"]


@pytest.mark.parametrize(
    ("other", "kind"),
    [
        (construct.Int64ub, "big-endian"),
        (construct.Int64sb, "big-endian"),
        (construct.Float64l, "floating"),
        (construct.Struct("ns" / construct.Int64ul), "struct"),
    ],
)
@pytest.mark.parametrize("place", [1, 2])
def test_a_definition_of_another_kind_is_seen(monkeypatch, other, kind, place):
    members = [
        "state" / construct.Int32sl,
        "state_entry_time" / construct.Int64ul,
        "time" / construct.Array(4, construct.Int64ul),
    ]
    changed = members[place].name / (other if place == 1 else construct.Array(4, other))
    members[place] = changed
    monkeypatch.setitem(constructs.STRUCTS, COMPAT.name, construct.Struct(*members))
    (seen,) = constructs.observe((COMPAT.name,), "x86_64").found
    differing = [(d.kind, d.member, d.seen) for d in differences(COMPAT, seen, "construct")]
    assert differing == [("type-mismatch", changed.name, kind)]
