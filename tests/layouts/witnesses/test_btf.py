"""The BTF reader: what real blobs read as, what hand-made ones must, and what is refused."""

import mmap
import re
import subprocess
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runstate_abi.layouts.abi import ABI, I386, X86_64
from runstate_abi.layouts.model import FLOATING, INTEGER, WitnessError, differences
from runstate_abi.layouts.structs.runstate import COMPAT, NATIVE, claim
from runstate_abi.layouts.witnesses import btf_blob, elf
from runstate_abi.layouts.witnesses.btf import DEFINITIONS_MAX, MEMBERS_MAX, Btf, observe
from runstate_abi.layouts.witnesses.btf_blob import FEW, GIVE_BASE, STRIDE
from runstate_abi.layouts.witnesses.btf_header import is_split

NAMES = (NATIVE.name, COMPAT.name)
SIGNED = 1 << 24


def one(blob, name="vcpu_runstate_info", abi=X86_64, base=None):
    """Return the only definition of a struct."""
    (layout,) = observe(Btf(blob, base, "blob"), [name], abi).found
    return layout


def complaint(read, *arguments):
    """Return what a WitnessError says, if there is one; any other exception is the test's."""
    try:
        read(*arguments)
    except WitnessError as error:
        return str(error)
    return "read"


def read_runstate(blob):
    return observe(Btf(blob), NAMES, X86_64)


def offsets(layout):
    return {row.declaration: row.offset for row in layout.members}


# Real blobs ---------------------------------------------------------------------------------

# fmt: off
REAL = (
    #  blob                       ABI       what it must define                    and lack
    ("6.12.107+deb13-amd64-kvm",  "x86_64", NAMES,                                 ()),
    ("xen-syms-from-dwarf",       "x86_64", NAMES,                                 ()),
    ("i386-from-dwarf",           "i386",   NAMES[:1],                             NAMES[1:]),
    ("armmp-from-dwarf",          "arm32",  NAMES[:1],                             NAMES[1:]),
)
SIZES = (
    #  blob                       shared_info  compat  vcpu_info  arch_shared_info
    ("6.12.107+deb13-amd64-kvm",  3136,        2344,   64,        48),
    ("xen-syms-from-dwarf",       3136,        2344,   64,        48),
    ("i386-from-dwarf",           2344,        None,   64,        28),
    ("armmp-from-dwarf",          1096,        None,   48,        0),
)
# fmt: on


@pytest.mark.parametrize("part", ["R", "ALL"])
@pytest.mark.parametrize(("stem", "abi", "found", "missing"), REAL)
def test_a_real_blob_has_the_runstate_structs_as_claimed(data, part, stem, abi, found, missing):
    blob = (data / "btf" / f"{stem}.{part}.btf").read_bytes()
    seen = observe(Btf(blob, source=stem), NAMES, ABI[abi])
    assert tuple(layout.name for layout in seen.found) == found
    assert seen.missing == missing
    for layout in seen.found:
        assert differences(claim(layout.name, abi), layout, stem) == ()
        assert layout.size == claim(layout.name, abi).size


@pytest.mark.parametrize(("stem", "shared", "compat", "vcpu", "arch"), SIZES)
def test_the_other_structs_of_a_real_blob_have_their_sizes(data, stem, shared, compat, vcpu, arch):
    blob = (data / "btf" / f"{stem}.ALL.btf").read_bytes()
    names = ["shared_info", "vcpu_info", "arch_shared_info"] + ["compat_shared_info"] * bool(compat)
    seen = observe(Btf(blob, source=stem), names, X86_64)
    expected = [shared, vcpu, arch] + [compat] * bool(compat)
    assert [layout.size for layout in seen.found] == expected


def test_shared_info_has_its_members_at_their_offsets(data):
    blob = (data / "btf" / "6.12.107+deb13-amd64-kvm.ALL.btf").read_bytes()
    assert offsets(one(blob, "shared_info")) == {
        "vcpu_info[32]": 0,
        "evtchn_pending[64]": 2048,
        "evtchn_mask[64]": 2560,
        "wc": 3072,
        "wc_sec_hi": 3084,
        "arch": 3088,
    }


def test_a_record_says_how_many_members_it_has(data):
    blob = (data / "btf" / "6.12.107+deb13-amd64-kvm.ALL.btf").read_bytes()
    (runstate,) = Btf(blob).named("vcpu_runstate_info")
    assert (runstate.vlen, len(runstate.parts)) == (3, 9)


# What records say ---------------------------------------------------------------------------


def test_names_types_and_signs_are_what_the_records_say(runstate_btf):
    btf = runstate_btf()
    btf.runstate()
    rows = one(btf.build()).members
    assert [(row.type.name, row.type.size, row.type.signed) for row in rows] == [
        ("int", 4, True),
        ("uint64_t", 8, False),
        ("uint64_t", 8, False),
    ]
    assert one(btf.build()).alignment is None


def member(assembler, make, abi=X86_64, size=64):
    """Return the row of a struct whose only member is of the type that ``make(btf)`` adds."""
    btf = assembler()
    btf.struct("holder", size, ("it", make(btf), 0))
    return one(btf.build(), "holder", abi).field("it")


def facts(row):
    return row.type.name, row.type.size, row.type.signed, row.count


def test_the_outermost_typedef_gives_the_name(assembler):
    def make(btf):
        inner = btf.type("TYPEDEF", "__u32", btf.int("unsigned int", 4))
        return btf.type("TYPEDEF", "u32", inner)

    assert facts(member(assembler, make)) == ("u32", 4, False, 1)


@pytest.mark.parametrize("kind", ["CONST", "VOLATILE", "RESTRICT", "TYPE_TAG"])
def test_qualifiers_change_nothing(assembler, kind):
    row = member(assembler, lambda btf: btf.type(kind, "", btf.int("short", 2, SIGNED)))
    assert facts(row) == ("short", 2, True, 1)


def test_an_array_of_arrays_is_one_row_of_all_elements(assembler):
    def make(btf):
        line = btf.type("TYPEDEF", "line_t", btf.array(btf.int("unsigned char", 1), 4))
        return btf.array(btf.type("CONST", "", line), 3)

    assert facts(member(assembler, make)) == ("unsigned char", 1, False, 12)


@pytest.mark.parametrize(("flag", "signed"), [(0, False), (1, True)])
@pytest.mark.parametrize(("kind", "words"), [("ENUM", 2), ("ENUM64", 3)])
def test_an_enum_has_its_size_and_sign(assembler, kind, words, flag, signed):
    def make(btf):
        return btf.type(kind, "mode", 4, [0] * words, vlen=1, flag=flag)

    assert facts(member(assembler, make)) == ("enum mode", 4, signed, 1)


def test_a_float_that_was_encoded_as_an_integer_is_told_by_its_name(assembler):
    for name in ("float", "double", "long double"):
        assert member(assembler, lambda btf, name=name: btf.int(name, 8)).type.kind == FLOATING


def test_a_float_has_no_sign_and_is_no_integer(assembler):
    row = member(assembler, lambda btf: btf.type("FLOAT", "double", 8))
    assert facts(row) == ("double", 8, None, 1)
    assert row.type.kind == FLOATING
    assert member(assembler, lambda btf: btf.int("long", 8, SIGNED)).type.kind == INTEGER


@pytest.mark.parametrize(("abi", "size"), [("x86_64", 8), ("i386", 4), ("x32", 4), ("arm64", 8)])
def test_a_pointer_is_as_large_as_the_abi_says(assembler, abi, size):
    row = member(assembler, lambda btf: btf.type("PTR", "", btf.struct("kvm", 8)), ABI[abi])
    assert facts(row) == ("struct kvm *", size, None, 1)


@pytest.mark.parametrize("kind", ["STRUCT", "UNION"])
def test_a_named_member_is_one_row_whatever_it_holds(assembler, kind):
    def make(btf):
        number = btf.int("int", 4, SIGNED)
        return btf.struct("inner", 8, ("a", number, 0), ("b", number, 0), kind=kind)

    assert facts(member(assembler, make)) == (f"{kind.lower()} inner", 8, None, 1)


def test_a_char_is_signed_only_if_its_encoding_says_so(assembler):
    assert member(assembler, lambda btf: btf.int("char", 1, SIGNED)).type.signed is True
    assert member(assembler, lambda btf: btf.int("char", 1)).type.signed is False


def test_members_of_an_anonymous_struct_are_the_structs_own(assembler):
    btf = assembler()
    number = btf.int("int", 4, SIGNED)
    inner = btf.struct("", 8, ("b", number, 0), ("c", number, 4))
    btf.struct("outer", 16, ("a", number, 0), ("", inner, 4), ("d", number, 12))
    assert offsets(one(btf.build(), "outer")) == {"a": 0, "b": 4, "c": 8, "d": 12}


def test_an_anonymous_struct_in_an_anonymous_struct_is_where_both_put_it(assembler):
    btf = assembler()
    number = btf.int("int", 4, SIGNED)
    inner = btf.struct("", 8, ("c", number, 0), ("d", number, 4))
    middle = btf.struct("", 12, ("b", number, 0), ("", inner, 4))
    btf.struct("outer", 16, ("a", number, 0), ("", middle, 4))
    assert offsets(one(btf.build(), "outer")) == {"a": 0, "b": 4, "c": 8, "d": 12}


def test_a_member_without_bytes_has_no_row(assembler):
    btf = assembler()
    number = btf.int("int", 4, SIGNED)
    btf.struct("open", 4, ("a", number, 0), ("data", btf.array(number, 0), 4))
    assert offsets(one(btf.build(), "open")) == {"a": 0}


def test_holes_become_rows(runstate_btf):
    btf = runstate_btf()
    btf.runstate()
    assert [row.name for row in one(btf.build()).padding] == ["pad_04"]


# What has no word for it is refused ----------------------------------------------------------


def refused(btf, name, message):
    with pytest.raises(WitnessError, match=f"^blob: struct {name}: .*{message}"):
        observe(Btf(btf.build(), source="blob"), [name], X86_64)


def test_a_bitfield_is_refused_by_its_name(assembler):
    btf = assembler()
    number = btf.int("int", 4, SIGNED)
    btf.struct("bits", 4, ("whole", number, 0, 0), ("part", number, 8, 3), flag=1)
    refused(btf, "bits", "member part is a bitfield")


def test_a_bitfield_of_eight_bits_on_a_byte_is_refused_too(assembler):
    btf = assembler()
    btf.struct("bits", 4, ("part", btf.int("int", 4, SIGNED), 8, 8), flag=1)
    refused(btf, "bits", "member part is a bitfield")


def test_a_member_at_no_whole_byte_is_refused(assembler):
    btf = assembler()
    name, number = btf.string("odd"), btf.int("int", 4, SIGNED)
    btf.type("STRUCT", "bits", 4, [name, number, 3], vlen=1)
    refused(btf, "bits", "member odd is a bitfield")


def test_a_bitfield_as_older_kernels_wrote_it_is_refused(assembler):
    btf = assembler()
    narrow = btf.type("INT", "int", 4, [SIGNED | 5])
    btf.struct("bits", 4, ("part", narrow, 0))
    refused(btf, "bits", "member part is a bitfield")


def test_an_anonymous_union_is_refused(assembler):
    btf = assembler()
    number = btf.int("int", 4, SIGNED)
    inner = btf.struct("", 4, ("b", number, 0), ("c", number, 0), kind="UNION")
    btf.struct("outer", 8, ("a", number, 0), ("", inner, 4))
    refused(btf, "outer", "the member at bit 32 is an anonymous union")


def test_a_union_is_refused(assembler):
    btf = assembler()
    btf.struct("either", 4, ("a", btf.int("int", 4, SIGNED), 0), kind="UNION")
    refused(btf, "either", "it is a union")


def test_members_that_overlap_are_refused(assembler):
    btf = assembler()
    number = btf.int("int", 4, SIGNED)
    btf.struct("twice", 8, ("a", number, 0), ("b", number, 2))
    refused(btf, "twice", "overlaps")


def test_a_member_behind_the_end_of_its_struct_is_refused(runstate_btf):
    btf = runstate_btf()
    btf.runstate(size=40)
    refused(btf, "vcpu_runstate_info", "the rows end at 0x30, but the struct ends at 0x28")


@pytest.mark.parametrize("kind", ["FWD", "FUNC_PROTO", "FUNC", "VAR", "DATASEC", "DECL_TAG"])
def test_a_member_of_a_type_without_size_is_refused(assembler, kind):
    btf = assembler()
    parts = {"VAR": [0], "DECL_TAG": [0]}.get(kind, [])
    btf.struct("holder", 8, ("it", btf.type(kind, "x", 0, parts), 0))
    refused(btf, "holder", f"member it is of BTF type 1, {kind}, which has no size")


# Which definitions there are ------------------------------------------------------------------


def test_every_definition_of_a_name_is_found(runstate_btf):
    btf = runstate_btf()
    btf.runstate()
    btf.runstate(size=44, entry_time=4, time=12)
    seen = observe(Btf(btf.build()), NAMES[:1], X86_64)
    assert [layout.size for layout in seen.found] == [48, 44]


def test_a_forward_declaration_is_no_definition(assembler):
    btf = assembler()
    btf.type("FWD", NATIVE.name)
    seen = observe(Btf(btf.build()), NAMES[:1], X86_64)
    assert (seen.found, seen.missing) == ((), NAMES[:1])


def test_a_name_that_only_a_member_or_an_integer_has_is_missing(assembler):
    btf = assembler()
    number = btf.int(NATIVE.name, 4, SIGNED)
    btf.struct("other", 4, (NATIVE.name, number, 0))
    assert observe(Btf(btf.build()), NAMES[:1], X86_64).missing == NAMES[:1]


def test_a_typedef_of_an_anonymous_struct_is_found_by_its_name(assembler):
    btf = assembler()
    anonymous = btf.struct("", 4, ("a", btf.int("int", 4, SIGNED), 0))
    btf.type("TYPEDEF", "foo_t", btf.type("CONST", "", anonymous))
    assert one(btf.build(), "foo_t").name == "foo_t"


def test_a_struct_and_the_typedef_of_the_same_name_are_one_definition(runstate_btf):
    btf = runstate_btf()
    btf.type("TYPEDEF", NATIVE.name, btf.runstate())
    assert one(btf.build()).size == 48


def test_a_typedef_of_something_else_is_no_definition(assembler):
    btf = assembler()
    btf.type("TYPEDEF", NATIVE.name, btf.int("int", 4, SIGNED))
    assert observe(Btf(btf.build()), NAMES[:1], X86_64).missing == NAMES[:1]


def test_a_name_that_is_the_tail_of_another_string_is_found(runstate_btf):
    btf = runstate_btf()
    longer = btf.string("compat_vcpu_runstate_info")
    btf.runstate(name=longer + len("compat_"))
    assert one(btf.build()).size == 48


def test_a_name_that_is_the_tail_of_many_strings_is_found(runstate_btf):
    btf = runstate_btf()
    for number in range(20):
        last = btf.string(f"x{number}_vcpu_runstate_info")
    btf.runstate(name=last + len("x19_"))
    assert one(btf.build()).size == 48


def test_the_tail_of_many_strings_is_no_name_of_the_structs_beside_it(runstate_btf):
    btf = runstate_btf()
    for number in range(9):
        btf.struct(f"x{number}_vcpu_runstate_info", 4, ("other", btf.int32, 0))
    seen = Btf(btf.build())
    assert observe(seen, NAMES[:1], X86_64).missing == NAMES[:1]
    assert seen.named(NATIVE.name) == []
    btf.runstate()
    assert [record.name for record in Btf(btf.build()).named(NATIVE.name)] == [NATIVE.name]


def test_bytes_that_look_like_a_record_inside_another_are_not_believed(runstate_btf):
    btf = runstate_btf()
    name = btf.string(NATIVE.name)
    info = 4 << 24 | 3  # a struct of three members
    btf.type("ENUM", "trap", 4, [name, info, 48, 0], vlen=2)
    assert observe(Btf(btf.build()), NAMES[:1], X86_64).missing == NAMES[:1]


def test_a_name_that_occurs_too_often_to_look_at_each_place_is_found(runstate_btf):
    btf = runstate_btf()
    name = btf.string(NATIVE.name)
    btf.type("ENUM", "often", 4, [name, 5 << 24] * 6000, vlen=6000)
    btf.runstate(name=name)
    assert one(btf.build()).size == 48


# Ids ------------------------------------------------------------------------------------------


def several(assembler, count=300):
    """Return an assembler of structs of different lengths: s_0, s_1, ..."""
    btf = assembler()
    number = btf.int("int", 4, SIGNED)
    for index in range(count):
        members = [(f"m{n}", number, 4 * n) for n in range(index % 5 + 1)]
        btf.struct(f"s_{index}", 4 * len(members), *members)
    return btf


@pytest.mark.parametrize("count", [0, 1, 62, 63, 64, 126, 127, 128, 300])
def test_every_id_is_the_record_that_was_put_there(assembler, count):
    blob = several(assembler, count).build()
    for id_ in [1, *range(2, count + 2)]:
        record = Btf(blob).record(id_)
        assert record.name == ("int" if id_ == 1 else f"s_{id_ - 2}")
    assert Btf(blob).end_id() == count + 2
    with pytest.raises(WitnessError, match=f"there is no BTF type {count + 2}"):
        Btf(blob).record(count + 2)


@pytest.mark.parametrize("count", [1, 62, 63, 64, 128, 300])
def test_every_struct_is_found_by_its_name(assembler, count):
    blob = several(assembler, count).build()
    for index in range(count):
        assert one(blob, f"s_{index}").size == 4 * (index % 5 + 1)


@pytest.mark.parametrize("id_", [0, 999, 0xFFFFFFFF])
def test_an_id_that_is_no_type_is_refused(assembler, id_):
    btf = assembler()
    btf.struct("holder", 4, ("it", id_, 0))
    with pytest.raises(WitnessError, match=f"there is no BTF type {id_}"):
        one(btf.build(), "holder")


@pytest.mark.parametrize("kind", ["TYPEDEF", "CONST", "TYPE_TAG"])
def test_a_type_that_refers_to_itself_is_refused(assembler, kind):
    btf = assembler()
    btf.struct("holder", 4, ("it", btf.type(kind, "loop", 1), 0))
    with pytest.raises(WitnessError, match="its chain of types does not end"):
        one(btf.build(), "holder")


def test_an_array_of_itself_is_refused(assembler):
    btf = assembler()
    btf.struct("holder", 4, ("it", btf.type("ARRAY", parts=[1, 1, 1]), 0))
    with pytest.raises(WitnessError, match="its chain of types does not end"):
        one(btf.build(), "holder")


def test_a_pointer_to_itself_has_the_size_of_a_pointer(assembler):
    assert member(assembler, lambda btf: btf.type("PTR", "", 1)).size == 8


def test_a_struct_that_holds_itself_without_a_name_is_refused(assembler):
    btf = assembler()
    btf.struct("loop", 4, ("", 1, 0), ("", 1, 0))
    refused(btf, "loop", "at bit 0")


def test_an_array_too_long_for_any_struct_is_refused(assembler):
    btf = assembler()
    inner = btf.array(btf.int("int", 4, SIGNED), 0xFFFFFFFF)
    btf.struct("huge", 4, ("it", btf.array(inner, 0xFFFFFFFF), 0))
    with pytest.raises(WitnessError, match="an array of"):
        one(btf.build(), "huge")


def test_a_struct_of_too_many_members_is_refused(assembler):
    btf = assembler()
    number = btf.int("int", 4, SIGNED)
    members = [(f"m{n}", number, 4 * n) for n in range(MEMBERS_MAX + 1)]
    btf.struct("wide", 4 * len(members), *members)
    btf.struct("fits", 4 * MEMBERS_MAX, *members[:MEMBERS_MAX])
    assert one(btf.build(), "fits").size == 4 * MEMBERS_MAX
    refused(btf, "wide", f"more than {MEMBERS_MAX} members")


def test_too_many_definitions_are_refused(assembler):
    btf = assembler()
    name = btf.string("many")
    for _ in range(DEFINITIONS_MAX + 1):
        btf.type("STRUCT", name, 4)
    with pytest.raises(WitnessError, match=f"many has more than {DEFINITIONS_MAX} definitions"):
        observe(Btf(btf.build()), ["many"], X86_64)


# Kinds, headers, byte orders -------------------------------------------------------------------

# fmt: off
RECORDS = (
    #  kind          words behind the first three, and vlen
    ("INT",          [32],           0),
    ("PTR",          [],             0),
    ("ARRAY",        [1, 1, 1],      0),
    ("STRUCT",       [0] * 6,        2),
    ("UNION",        [0] * 6,        2),
    ("ENUM",         [0] * 4,        2),
    ("FWD",          [],             0),
    ("TYPEDEF",      [],             0),
    ("VOLATILE",     [],             0),
    ("CONST",        [],             0),
    ("RESTRICT",     [],             0),
    ("FUNC",         [],             1),  # vlen is the linkage here, and has no parts
    ("FUNC_PROTO",   [0] * 4,        2),
    ("VAR",          [0],            0),
    ("DATASEC",      [0] * 6,        2),
    ("FLOAT",        [],             0),
    ("DECL_TAG",     [0xFFFFFFFF],   0),
    ("TYPE_TAG",     [],             0),
    ("ENUM64",       [0] * 6,        2),
)
# fmt: on


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("kind", "parts", "vlen"), RECORDS)
def test_a_record_of_each_kind_is_as_long_as_it_is(runstate_btf, order, kind, parts, vlen):
    btf = runstate_btf(order)
    btf.type(kind, "before", 0, parts, vlen)
    btf.runstate()
    assert offsets(one(btf.build())) == {"state": 0, "state_entry_time": 8, "time[4]": 16}


def test_a_big_endian_blob_reads_like_a_little_endian_one_but_its_integers(runstate_btf):
    blobs = []
    for order in "<>":
        btf = runstate_btf(order)
        btf.runstate()
        blobs.append(btf.build())
    assert blobs[0] != blobs[1]
    assert blobs[1].startswith(b"\xeb\x9f")
    little, big = one(blobs[0]), one(blobs[1])
    assert [r[:2] for r in little.rows] == [r[:2] for r in big.rows]
    assert {r.type.kind for r in little.members} == {"integer"}
    assert {r.type.kind for r in big.members} == {"big-endian"}


def test_a_record_may_have_more_parts_than_sixteen_bits_count(runstate_btf):
    btf = runstate_btf()
    btf.type("ENUM", "wide", 4, [0, 0] * 70000, vlen=70000)
    btf.runstate()
    assert one(btf.build()).size == 48


@pytest.mark.parametrize("size", [28, 32, 64])
def test_a_longer_header_is_stepped_over(runstate_btf, size):
    btf = runstate_btf()
    btf.runstate()
    assert one(btf.build(header_size=size)).size == 48


def test_a_gap_before_the_strings_is_stepped_over(runstate_btf):
    btf = runstate_btf()
    btf.runstate()
    assert one(btf.build(gap=bytes(8))).size == 48


# Bytes once and bytes each for kinds 0 to 19, as include/uapi/linux/btf.h has their structs.
LAYOUT = [
    (0, 0), (4, 0), (0, 0), (12, 0), (0, 12), (0, 12), (0, 8), (0, 0), (0, 0), (0, 0),
    (0, 0), (0, 0), (0, 0), (0, 8), (4, 0), (0, 12), (0, 0), (4, 0), (0, 0), (0, 12),
]  # fmt: skip


def test_an_unknown_kind_is_stepped_over_where_the_layout_section_tells_its_length(runstate_btf):
    btf = runstate_btf()
    btf.type(20, "new", 0, [1, 2, 3, 4, 5], vlen=2)  # four bytes once and eight each
    btf.runstate()
    assert one(btf.build(layout=[*LAYOUT, (4, 8)])).size == 48


def test_an_unknown_kind_without_a_layout_section_is_named(runstate_btf):
    btf = runstate_btf()
    btf.type(20, "new", 0)
    btf.runstate()
    with pytest.raises(WitnessError, match=r"^blob: BTF type 3 is of kind 20, which is not known"):
        one(btf.build())


@pytest.mark.parametrize("kind", [0, 20, 31, 127])
def test_an_unknown_kind_far_behind_is_named_with_its_id(assembler, kind):
    btf = several(assembler, 200)
    last = btf.type(kind, "new", 0)
    with pytest.raises(WitnessError, match=f"BTF type {last} is of kind {kind}"):
        Btf(btf.build()).end_id()


def test_a_struct_that_an_unknown_kind_defines_is_refused(runstate_btf):
    btf = runstate_btf()
    btf.type(20, NATIVE.name)
    with pytest.raises(WitnessError, match="vcpu_runstate_info is BTF type 3 of kind 20"):
        one(btf.build(layout=[*LAYOUT, (0, 0)]))


def test_a_member_of_an_unknown_kind_is_refused(assembler):
    btf = assembler()
    btf.struct("holder", 4, ("it", btf.type(20, "new", 4), 0))
    with pytest.raises(WitnessError, match="member it is of BTF type 1, kind 20"):
        one(btf.build(layout=[*LAYOUT, (0, 0)]), "holder")


def test_a_layout_section_that_contradicts_what_is_known_is_refused(runstate_btf):
    btf = runstate_btf()
    layout = [*LAYOUT]
    layout[4] = (0, 16)
    with pytest.raises(WitnessError, match="kind STRUCT has parts of 0 and 16 bytes"):
        Btf(btf.build(layout=layout))


def test_a_layout_of_no_whole_words_is_refused(runstate_btf):
    with pytest.raises(WitnessError, match="kind 20 has parts of 3 and 0 bytes"):
        Btf(runstate_btf().build(layout=[*LAYOUT, (3, 0)]))


# Lies -----------------------------------------------------------------------------------------

# fmt: off
LIES = (
    #  what                     where  word         the error says
    ("another magic",           0,     0x0001EB9E,  "not BTF"),
    ("another version",         0,     0x0002EB9F,  "BTF version 2"),
    ("a header too short",      4,     20,          "a BTF header of 20 bytes"),
    ("a header too long",       4,     0xFFFFFFFF,  "a BTF header of"),
    ("types off the words",     8,     2,           "types section is not aligned"),
    ("types behind the data",   8,     0xFFFFFFFC,  "types section ends at"),
    ("types too long",          12,    0xFFFFFFFC,  "types section ends at"),
    ("types of no whole words", 12,    130,         "types section is not aligned"),
    ("strings behind the data", 16,    0xFFFFFFFF,  "strings section ends at"),
    ("strings too long",        20,    0xFFFFFFFF,  "strings section ends at"),
    ("strings on the types",    16,    0,           "overlap"),
    ("strings cut",             20,    6,           "do not end with a NUL"),
)
# fmt: on


@pytest.mark.parametrize(("at", "word", "message"), [row[1:] for row in LIES])
def test_a_header_that_lies_is_refused(runstate_btf, at, word, message):
    btf = runstate_btf()
    btf.runstate()
    blob = bytearray(btf.build())
    blob[at : at + 4] = word.to_bytes(4, "little")
    with pytest.raises(WitnessError, match=f"^blob: .*{message}"):
        one(blob)


def test_a_blob_cut_anywhere_is_refused(runstate_btf):
    btf = runstate_btf()
    btf.runstate()
    blob = btf.build()
    for size in range(len(blob)):
        with pytest.raises(WitnessError, match=r"^blob: "):
            one(blob[:size])


@pytest.mark.parametrize("count", [0, 61, 62, 63, 126])
@pytest.mark.parametrize("vlen", [1, 2, 0xFFFFFF])
def test_a_last_record_that_reaches_behind_the_types_is_refused(assembler, count, vlen):
    btf = several(assembler, count)
    last = btf.type("STRUCT", NATIVE.name, 48, [0] * (3 * min(vlen, 2) - 3), vlen)
    if vlen == 1:
        btf.types = btf.types[:-4]
    with pytest.raises(WitnessError, match=f"BTF type {last} ends behind the type section"):
        one(btf.build())
    with pytest.raises(WitnessError, match=f"BTF type {last} ends behind the type section"):
        observe(Btf(btf.build()), ["not_there"], X86_64)


@pytest.mark.parametrize("offset", [0x10000, 0xFFFFFFFF])
def test_a_name_behind_the_strings_is_refused(assembler, offset):
    btf = assembler()
    btf.type("STRUCT", "holder", 4, [offset, btf.int("int", 4, SIGNED), 0], vlen=1)
    with pytest.raises(WitnessError):
        one(btf.build(), "holder")


@pytest.mark.parametrize("name", ["two\nlines", "\x1b[31m", "x" * 2000])
def test_a_name_that_is_no_name_is_refused(assembler, name):
    btf = assembler()
    btf.struct("holder", 4, (name, btf.int("int", 4, SIGNED), 0))
    with pytest.raises(WitnessError) as caught:
        one(btf.build(), "holder")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(("size", "fine"), [(1023, True), (1024, False)])
def test_a_name_and_its_nul_have_at_most_1024_bytes(assembler, size, fine):
    btf = assembler()
    btf.struct("holder", 4, ("x" * size, btf.int("int", 4, SIGNED), 0))
    said = complaint(one, btf.build(), "holder")
    assert (said == "read") is fine
    assert fine or said.startswith("blob: there is no BTF string at")


def test_no_more_bytes_are_read_than_any_kernel_has(runstate_btf, monkeypatch):
    blob = runstate_btf().build()
    monkeypatch.setattr(btf_blob, "SIZE_MAX", len(blob))
    assert complaint(Btf, blob) == "read"
    monkeypatch.setattr(btf_blob, "SIZE_MAX", len(blob) - 1)
    assert complaint(Btf, blob) == f"BTF: {len(blob)} bytes of BTF; no kernel has so much"


def test_256_mib_of_btf_are_read_and_no_more():
    said = [complaint(Btf, mmap.mmap(-1, (256 << 20) + more)) for more in (0, 1)]
    assert ["no kernel has so much" in one for one in said] == [False, True]


def test_a_member_may_have_any_name(assembler):
    btf = assembler()
    btf.struct("holder", 4, ("__pad", btf.int("int", 4, SIGNED), 0))
    (layout,) = observe(Btf(btf.build()), ["holder"], X86_64).found
    assert [row.name for row in layout.members] == ["__pad"]


@settings(max_examples=400, deadline=10_000)
@given(st.binary(max_size=300))
def test_any_bytes_behind_a_magic_number_raise_nothing_but_witness_errors(noise):
    for start in (b"", b"\x9f\xeb\x01\x00\x18\x00\x00\x00", b"\xeb\x9f\x01\x00\x00\x00\x00\x18"):
        assert complaint(read_runstate, start + noise).isprintable()


@settings(max_examples=600, deadline=10_000)
@given(
    changes=st.lists(st.tuples(st.integers(0, 700), st.integers(0, 255)), min_size=1, max_size=8),
    kvm=st.booleans(),
)
def test_a_mutated_blob_raises_nothing_but_witness_errors(data, changes, kvm):
    name = "6.12.107+deb13-amd64-kvm.ALL.btf" if kvm else "i386-from-dwarf.R.btf"
    blob = bytearray((data / "btf" / name).read_bytes())
    for at, value in changes:
        blob[at * 4 % len(blob)] = value

    def read():
        btf = Btf(blob)
        observe(btf, (*NAMES, "shared_info", "vcpu_info"), I386)
        for id_ in range(1, btf.end_id()):
            btf.record(id_)

    assert complaint(read).isprintable()


def hostile_places(assembler):
    btf = assembler()
    name = btf.string(NATIVE.name)
    btf.type("ENUM", "many", 4, [name, 4 << 24] * 300_000, vlen=300_000)
    return btf


def hostile_infos(assembler):
    btf = assembler()
    for vlen in range(20_000):  # a pointer has no parts, whatever its vlen says
        btf.type("PTR", 0, 0, vlen=vlen)
    return btf


def hostile_nesting(assembler):
    btf = assembler()
    members = [("", btf.first_id, 0)] * 50_000
    btf.struct(NATIVE.name, 48, *members)
    return btf


def hostile_tails(assembler):
    btf = several(assembler, 20_000)
    btf.strings += b"vcpu_runstate_info\0" * 100_000
    return btf


@pytest.mark.parametrize(
    "hostile",
    [hostile_places, hostile_infos, hostile_nesting, hostile_tails],
    ids=lambda f: f.__name__,
)
def test_a_hostile_blob_is_answered_or_refused_within_seconds(assembler, hostile):
    blob = hostile(assembler).build()
    started = time.monotonic()
    assert complaint(read_runstate, blob).isprintable()
    assert time.monotonic() - started < 5


# What a bound saves is time and memory, which no answer shows: these two look inside.


def test_lengths_of_records_are_not_remembered_without_end(assembler):
    btf = Btf(hostile_infos(assembler).build())
    assert btf.end_id() == 20_001
    assert len(btf._lengths) <= FEW + 1


def test_places_that_are_too_many_are_not_looked_at_one_by_one(assembler):
    blob = hostile_places(assembler)
    assert Btf(blob.build())._places({1}) is None


# Split BTF ------------------------------------------------------------------------------------


def pair(runstate_btf, base_extra=0):
    """Return (base, module): the native struct in one, the compat struct in the other."""
    kernel = runstate_btf()
    kernel.type("FUNC_PROTO")
    kernel.runstate()
    for number in range(base_extra):
        kernel.int(f"extra{number}", 4)
    module = runstate_btf(base=kernel)
    module.struct(
        COMPAT.name, 44,
        ("state", 1, 0),                          # both types are the base's
        ("state_entry_time", 2, 4),
        ("time", module.array(module.u64, 4), 12),  # and this one is its own
    )  # fmt: skip
    proto = module.type("FUNC_PROTO")
    module.type("FUNC", "kvm_xen_update_runstate", proto)
    return kernel, module


def test_a_module_has_its_own_structs_and_its_kernels(runstate_btf):
    kernel, module = pair(runstate_btf)
    seen = observe(Btf(module.build(), Btf(kernel.build())), NAMES, X86_64)
    assert [(layout.name, layout.size) for layout in seen.found] == [
        (NATIVE.name, 48),
        (COMPAT.name, 44),
    ]
    assert seen.missing == ()


def test_a_struct_that_kernel_and_module_define_is_found_twice(runstate_btf):
    kernel, module = pair(runstate_btf)
    module.runstate(size=44, entry_time=4, time=12)
    seen = observe(Btf(module.build(), Btf(kernel.build())), NAMES[:1], X86_64)
    assert [layout.size for layout in seen.found] == [48, 44]


def test_a_module_may_take_a_structs_name_from_the_kernels_strings(runstate_btf):
    kernel, _ = pair(runstate_btf)
    name = kernel.string(COMPAT.name)
    module = runstate_btf(base=kernel)
    module.runstate(name=name, size=44, entry_time=4, time=12)
    assert one(module.build(), COMPAT.name, base=Btf(kernel.build())).size == 44


def test_split_btf_may_build_on_split_btf(runstate_btf):
    kernel, module = pair(runstate_btf)
    third = runstate_btf(base=module)
    members = ("a", kernel.u64, 0), ("b", module.int32, 8), ("c", third.int32, 12)
    third.struct("holder", 16, *members)
    layout = one(third.build(), "holder", base=Btf(module.build(), Btf(kernel.build())))
    assert offsets(layout) == {"a": 0, "b": 8, "c": 12}


def test_only_a_module_is_split(runstate_btf):
    kernel, module = pair(runstate_btf)
    assert not is_split(kernel.build())
    assert is_split(module.build())


def test_a_module_without_its_kernel_says_what_it_needs(runstate_btf):
    _, module = pair(runstate_btf)
    with pytest.raises(WitnessError, match=r"^kvm.ko: split BTF: give the vmlinux \(or its BTF\)"):
        Btf(module.build(), source="kvm.ko")


def test_a_base_for_what_is_not_split_is_refused(runstate_btf):
    kernel, _ = pair(runstate_btf)
    with pytest.raises(WitnessError, match="not split BTF"):
        Btf(kernel.build(), Btf(kernel.build()))


def test_a_base_of_another_byte_order_is_refused(runstate_btf):
    _, module = pair(runstate_btf)
    with pytest.raises(WitnessError, match="another byte order"):
        Btf(module.build(), Btf(runstate_btf(">").build()))


def wrong_strings(kernel):
    kernel.string("a")


def wrong_types(kernel):
    kernel.types += kernel.words(0, 1 << 24, 4, 32)


def fewer_types(kernel):
    kernel.types = b""


def test_a_kernel_with_other_strings_is_refused_at_once(runstate_btf):
    kernel, module = pair(runstate_btf)
    built = module.build()
    wrong_strings(kernel)
    with pytest.raises(WitnessError, match=r"^kvm.ko: vmlinux is the wrong base"):
        Btf(built, Btf(kernel.build(), source="vmlinux"), "kvm.ko")


# The same names and other types: to see that, the kernel must be walked to its end, which is done
# when an answer needs to know where the module's own ids begin.
@pytest.mark.parametrize("spoil", [wrong_types, fewer_types])
def test_a_kernel_with_other_types_is_refused_when_ids_matter(runstate_btf, spoil):
    kernel, module = pair(runstate_btf)
    built = module.build()
    right = Btf(kernel.build(), source="vmlinux")
    own = Btf(built, right, "kvm.ko").end_id() - right.end_id()
    spoil(kernel)
    btf = Btf(built, Btf(kernel.build(), source="vmlinux"), "kvm.ko")
    with pytest.raises(WitnessError, match=r"^kvm.ko: vmlinux is the wrong base") as refused:
        btf.end_id()
    if spoil is fewer_types:
        assert re.search(rf"it refers to type \d+ of {own}\)", str(refused.value))


# One type in so many is looked at, from the first one on; here the second has a wrong name.
@pytest.mark.parametrize(("types", "refused"), [(2, True), (255, True), (256, False)])
def test_of_many_types_128_or_more_are_held_against_the_base(assembler, types, refused):
    kernel = assembler()
    inside = kernel.string("name") + 1
    module = assembler(base=kernel)
    for number in range(types):
        module.type("FUNC_PROTO", inside if number == 1 else 0)
    module.string("own")
    said = complaint(Btf, module.build(), Btf(kernel.build()))
    assert said.endswith(GIVE_BASE) is refused
    assert (said == "read") is not refused


# Of very many, one in each few blocks, and the last block may be full.
@pytest.mark.parametrize(
    ("types", "wrong", "refused"),
    [
        (128 * STRIDE, STRIDE, True),
        (128 * STRIDE, STRIDE + 1, False),
        (128 * STRIDE, 127 * STRIDE, True),
        (384 * STRIDE, 3 * STRIDE, True),
        (384 * STRIDE, STRIDE, False),
        (128 * STRIDE + 1, 128 * STRIDE, True),
    ],
)
def test_of_very_many_types_one_in_a_block_is_held_against_the_base(
    assembler, types, wrong, refused
):
    kernel = assembler()
    inside = kernel.string("name") + 1
    module = assembler(base=kernel)
    for number in range(types):
        module.type("FUNC_PROTO", inside if number == wrong else 0)
    module.string("own")
    said = complaint(Btf, module.build(), Btf(kernel.build()))
    assert said.endswith(GIVE_BASE) is refused
    assert (said == "read") is not refused


def test_a_type_is_read_without_what_is_far_behind_it(assembler):
    btf = assembler()
    for number in range(300):
        btf.int(f"number{number}", 4)
    btf.type("UNKN")
    blob = Btf(btf.build())
    assert blob.record(1).name == "number0"
    with pytest.raises(WitnessError, match="BTF type 301 is of kind 0"):
        blob.end_id()


def test_a_distilled_base_numbers_types_but_defines_nothing(runstate_btf):
    base = runstate_btf()
    stand_in = base.struct(NATIVE.name, 48)
    module = runstate_btf(base=base)
    module.struct("holder", 48, ("it", stand_in, 0))
    btf = Btf(module.build(), Btf(base.build(), distilled=True))
    seen = observe(btf, [NATIVE.name, "holder"], X86_64)
    assert [(layout.name, layout.size) for layout in seen.found] == [("holder", 48)]
    assert seen.missing == (NATIVE.name,)


# A compiler and pahole ------------------------------------------------------------------------

SOURCE = """
typedef unsigned long long uint64_t;
struct vcpu_runstate_info { int state; uint64_t state_entry_time; uint64_t time[4]; } a;
struct compat_vcpu_runstate_info {
    int state; uint64_t state_entry_time; uint64_t time[4];
} __attribute__((packed)) b;
struct zoo {
    char c; signed char sc; _Bool flag; short s[3][2]; void *p; struct zoo *next; double d;
    enum { low = -1, high } e; union { int i; float f; } u; struct { long x, y; };
} c;
"""


def encoded(tmp_path, bits):
    """Return an object's BTF as pahole encodes it from DWARF."""
    source, out = tmp_path / "unit.c", tmp_path / "unit.o"
    source.write_text(SOURCE)
    subprocess.run(["gcc", f"-m{bits}", "-g", "-c", "-o", out, source], check=True)
    subprocess.run(["pahole", "-J", out], check=True, capture_output=True)
    return elf.parse(out.read_bytes(), str(out)), out


@pytest.mark.x86
@pytest.mark.needs("gcc", "pahole")
@pytest.mark.parametrize("bits", ["64", "32"])
def test_what_pahole_encodes_is_what_is_claimed(tmp_path, bits):
    file, _ = encoded(tmp_path, bits)
    seen = observe(Btf(file.section(".BTF"), source="unit.o"), NAMES, file.abi)
    assert len(seen.found) == 2
    for layout in seen.found:
        assert differences(claim(layout.name, file.abi.name), layout, "unit.o") == ()


@pytest.mark.x86
@pytest.mark.needs("gcc", "pahole")
@pytest.mark.parametrize("bits", ["64", "32"])
def test_each_member_is_where_pahole_prints_it(tmp_path, bits):
    file, out = encoded(tmp_path, bits)
    printed = subprocess.run(
        ["pahole", "-F", "btf", "-C", "zoo", out], capture_output=True, text=True, check=True
    ).stdout
    # "	short int  s[3][2];   /*     4    12 */"
    rows = re.findall(r"^\t+.*?(\w+)(?:\[\d+\])*;\s*/\*\s+(\d+)\s+(\d+)", printed, re.MULTILINE)
    expected = {name: (int(offset), int(size)) for name, offset, size in rows}
    layout = one(file.section(".BTF"), "zoo", file.abi)
    assert {row.name for row in layout.members} >= {"c", "sc", "s", "p", "d", "x", "y"}
    for row in layout.members:
        if row.name in expected:
            assert (row.offset, row.size) == expected[row.name], row.name
    assert len(expected) >= 8
