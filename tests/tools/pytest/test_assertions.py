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
    with pytest.raises(ValueError, match="no struct 'nativ': there are native, compat"):
        check("nativ", "construct")
    with pytest.raises(ValueError, match="against 'gcc': there are cc, btf"):
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


def test_a_bitfield_is_refused():
    class Bits(ctypes.Structure):
        _fields_ = (("state", ctypes.c_int, 3),)

    check = assertions.checker({"cc": (), "btf": (), "dwarf": ()}, frozenset(), lambda _: None)
    with pytest.raises(ValueError, match=r"Bits\.state: bitfields and unions are not to be built"):
        check("native", Bits)


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
