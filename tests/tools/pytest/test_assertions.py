"""What the plugin's fixtures compare, without pytest around them."""

import ctypes

import pytest

from runstate_abi.layouts import ctypes_structs
from runstate_abi.layouts.witnesses import survey
from runstate_abi.tools.pytest import assertions
from runstate_abi.writer.variants import Refused
from runstate_abi.writer.vcpu import Runstate

RUNSTATE = Runstate(2, 1000, (1, 2, 3, 4))


def test_a_packed_mirror_of_the_compat_struct_is_equal():
    class Packed(ctypes.Structure):
        _pack_ = 1
        _layout_ = "ms"
        _fields_ = ctypes_structs.STRUCTS["compat_vcpu_runstate_info"]._fields_

    check = assertions.checker({"cc": (), "btf": (), "dwarf": ()}, frozenset(), lambda _: None)
    assert check("compat", Packed)
    assert check("compat", ctypes_structs.STRUCTS["compat_vcpu_runstate_info"])


def test_a_word_that_is_none_is_refused():
    check = assertions.checker({"cc": (), "btf": (), "dwarf": ()}, frozenset(), lambda _: None)
    with pytest.raises(pytest.fail.Exception, match="no struct 'nativ': there are native, compat"):
        check("nativ", "construct")
    with pytest.raises(pytest.fail.Exception, match="against 'gcc': there are cc, btf"):
        check("native", "gcc")


@pytest.mark.host64
def test_an_encoding_that_drifts_fails(monkeypatch):
    structs = ctypes_structs.STRUCTS
    monkeypatch.setitem(structs, "vcpu_runstate_info", structs["compat_vcpu_runstate_info"])
    check = assertions.checker({"cc": (), "btf": (), "dwarf": ()}, frozenset(), lambda _: None)
    with pytest.raises(pytest.fail.Exception, match="size-mismatch vcpu_runstate_info"):
        check("native", "ctypes")


def test_every_compiler_here_is_asked_when_none_is_named(monkeypatch):
    asked = []
    monkeypatch.setattr(survey, "compilers_here", lambda: asked.append(1) or ())
    check = assertions.checker({"cc": (), "btf": (), "dwarf": ()}, frozenset(), lambda _: None)
    with pytest.raises(pytest.fail.Exception, match="against cc: nobody has it"):
        check("native", "cc")
    assert asked == [1]


@pytest.mark.parametrize("variant", ["linux-5.14", "linux-6.2", "upstream", "xen-va"])
@pytest.mark.parametrize("abi", ["native", "compat"])
def test_what_a_version_writes_is_what_is_expected(variant, abi):
    pages = assertions.TwoPages()
    area = pages.area(abi, 0x100)
    assertions.write(pages, area, RUNSTATE, variant)
    pages.expect(area, RUNSTATE)


def test_a_version_that_does_not_take_the_area_says_so():
    pages = assertions.TwoPages()
    with pytest.raises(Refused, match=r"linux-6\.1: registering the area fails"):
        assertions.write(pages, pages.area("native", 0xFF0), RUNSTATE, "linux-6.1")
    with pytest.raises(ValueError, match="no version 'linux-9'"):
        assertions.write(pages, pages.area("native", 0), RUNSTATE, "linux-9")


@pytest.mark.parametrize("offset", [-1, 0, 4, 15, 16, 47, 48])
def test_one_wrong_byte_anywhere_is_found(offset):
    pages = assertions.TwoPages()
    area = pages.area("native", 0xFF0)
    assertions.write(pages, area, RUNSTATE)
    pages.data[area.offset + offset] ^= 0x41
    with pytest.raises(pytest.fail.Exception, match="1 byte is not as it should be:") as caught:
        pages.expect(area, RUNSTATE)
    assert f"  byte {offset:+#05x} (" in str(caught.value)


def test_padding_may_be_zero_or_untouched_and_nothing_else():
    pages = assertions.TwoPages()
    area = pages.area("native", 0)
    assertions.write(pages, area, RUNSTATE)
    for filler, fits in ((b"\xa5", True), (b"\0", True), (b"\1", False)):
        for row in area.shape.layout.padding:
            pages.data[row.offset : row.end] = filler * row.size
        if fits:
            pages.expect(area, RUNSTATE)
        else:
            with pytest.raises(pytest.fail.Exception, match="4 bytes are not"):
                pages.expect(area, RUNSTATE)


U64, I32 = ctypes.c_uint64, ctypes.c_int32
TIMES = ("time", U64 * 4)


class Inner(ctypes.Structure):
    _fields_ = (("state_entry_time", U64), TIMES)


class First(ctypes.Structure):
    _fields_ = (("state", I32),)


class Entry(ctypes.Union):
    _fields_ = (("state_entry_time", U64), ("entered", U64))


def mirror(*fields, base=ctypes.Structure, **others):
    return type("Mine", (base,), {"_fields_": fields, **others})


ENTRY = ("state_entry_time", U64)
# A mirror of whatever kind, and what is said of it; nothing if it is right.
MIRRORS = {
    "a base class": (mirror(ENTRY, TIMES, base=First), None),
    "a class without fields of its own": (
        type("Mine", (mirror(ENTRY, TIMES, base=First),), {}),
        None,
    ),
    "an anonymous struct": (mirror(("state", I32), ("x", Inner), _anonymous_=("x",)), None),
    "an array of arrays": (mirror(("state", I32), ENTRY, ("time", (U64 * 2) * 2)), None),
    "too short an array": (mirror(("state", I32), ENTRY, ("time", U64 * 3)), "count-mismatch"),
    "a named union": (mirror(("state", I32), ("state_entry_time", Entry), TIMES), "seen=union"),
    "a pointer": (
        mirror(("state", I32), ("state_entry_time", ctypes.c_void_p), TIMES),
        "seen=pointer",
    ),
    "an object": (
        mirror(("state", I32), ("state_entry_time", ctypes.py_object), TIMES),
        "seen=pointer",
    ),
    "characters": (mirror(("state", I32), ENTRY, ("time", ctypes.c_char * 32)), "seen=no number"),
    "doubles": (mirror(("state", I32), ENTRY, ("time", ctypes.c_double * 4)), "seen=floating"),
    "a member missing": (First, "missing-member vcpu_runstate_info.time"),
    "a bitfield": (
        mirror(("state", ctypes.c_int, 3)),
        "class Mine: state is a bitfield; bitfields and",
    ),
    "an anonymous union": (
        mirror(("state", I32), ("u", Entry), TIMES, _anonymous_=("u",)),
        "class Mine: u is an anonymous union; bitfields and unions are not compared",
    ),
    "a union": (Entry, "class Entry: a union"),
    "no fields": (type("Mine", (ctypes.Structure,), {}), "class Mine: it has no _fields_"),
    "another class": (int, "class int: no ctypes.Structure"),
    "no class": (None, "against None: there are cc, btf"),
}


@pytest.mark.host64
@pytest.mark.parametrize("kind", MIRRORS)
def test_a_mirror_is_right_or_fails_with_a_reason(kind):
    check = assertions.checker({"cc": (), "btf": (), "dwarf": ()}, frozenset(), lambda _: None)
    mine, said = MIRRORS[kind]
    if said is None:
        (finding,) = check("native", mine)
        assert finding.compared == 14
    else:
        with pytest.raises(pytest.fail.Exception) as failure:
            check("native", mine)
        assert said in str(failure.value)
        assert failure.value.pytrace is False


def test_a_mirror_of_the_other_byte_order_is_refused():
    class Mine(ctypes.BigEndianStructure):
        _fields_ = (
            ("state", ctypes.c_int),
            ("state_entry_time", ctypes.c_uint64),
            ("time", ctypes.c_uint64 * 4),
        )

    check = assertions.checker({"cc": (), "btf": (), "dwarf": ()}, frozenset(), lambda _: None)
    with pytest.raises(pytest.fail.Exception, match=r"seen=big-endian .*Mine"):
        check("native", Mine)
