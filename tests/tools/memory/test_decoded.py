"""``runstate hexdump --family``: clocks and steal times decoded, and what is wrong with them."""

import json
import re
import struct
from functools import partial
from importlib import resources

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runstate_abi.layouts.structs.families import families, family
from runstate_abi.tools.memory import clock_rules, clocks, decoded, fields, of_family
from runstate_abi.tools.memory.observations import NORMAL, WRONG

MOST = 2**64 - 1
TIME_INFO = ("pvclock", "pvclock_vcpu_time_info")
WALL_CLOCK = ("pvclock", "pvclock_wall_clock")
STEAL = ("steal_time", "kvm_steal_time")
SBI = ("steal_time", "sbi_sta_struct")
STOLEN = ("steal_time", "pvclock_vcpu_stolen_time")
TSC_PAGE = ("hyperv", "ms_hyperv_tsc_page")


def time_info(version=4, ns=34_810_466_931, mul=0xAAAAAAAA, shift=-1, flags=1, pads=b""):
    return struct.pack("<I4sQQIbB2s", version, pads, 77, ns, mul, shift, flags, pads)


def wall_clock(version=2, seconds=1_795_857_302, ns=123_456_789):
    return struct.pack("<III", version, seconds, ns)


def steal(ns=15_266_606_859, version=14, flags=0, preempted=0):
    return struct.pack("<QIIB47x", ns, version, flags, preempted)


def sbi(ns=15_266_606_859, version=14, flags=0, preempted=0):
    return struct.pack("<IIQB47x", version, flags, ns, preempted)


def stolen(ns=15_266_606_859, revision=0, attributes=0):
    return struct.pack("<IIQ48x", revision, attributes, ns)


def tsc_page(sequence=7, scale=(10_000 << 64) // 2_900_000, offset=-50_000_000):
    return struct.pack("<I4xQq", sequence, scale, offset)


@pytest.fixture
def run(runstate):
    """Return a function: the exit code, standard output and standard error of one command."""
    return partial(runstate, "hexdump")


@pytest.fixture
def shown(run, tmp_path):
    """Return a function: the exit code, the text without line ends, and the JSON of some bytes."""

    def explained(data, struct, *words):
        path = tmp_path / "page.bin"
        path.write_bytes(data)
        argv = (path, "--family", struct[0], "--struct", struct[1], *words)
        code, text, err = run(*argv, "--color", "never")
        assert (err, run(*argv, "--json")[0]) == ("", code)
        seen = json.loads(run(*argv, "--json")[1])
        schema = resources.files("runstate_abi.schemas") / "runstate-hexdump-1.json"
        jsonschema.validate(seen, json.loads(schema.read_text()))
        return code, re.sub(r"\n +", " ", text), seen

    return explained


def clocks_in(data, layout, chosen):
    """Return the clocks and steal times that are found in some bytes of a struct."""
    return decoded.find(fields.rows(of_family.flat(layout, chosen), data))


def layout_of(family_name, struct_name, abi="x86_64"):
    chosen = family(family_name)
    return next(one for one in chosen.claims[abi] if one.name == struct_name), chosen


# The bytes, and what is printed: behind a number, and below the rows.
DECODED = [
    (TIME_INFO, time_info(), "34810466931  0x81add9273  34,810,466,931 ns  00:00:34.8\n"),
    (TIME_INFO, time_info(), "0x1  PVCLOCK_TSC_STABLE_BIT\n"),
    (TIME_INFO, time_info(flags=0), "flags              uint8_t     0  0x0\n"),
    (TIME_INFO, time_info(flags=2), "0x2  PVCLOCK_GUEST_STOPPED\n"),
    (TIME_INFO, time_info(flags=0x13), "PVCLOCK_TSC_STABLE_BIT | PVCLOCK_GUEST_STOPPED | 0x10\n"),
    (
        TIME_INFO,
        time_info(),
        "\nTSC        3,000,000 kHz, from tsc_to_system_mul and tsc_shift, as ",
    ),
    (TIME_INFO, time_info(mul=0), "\nTSC        no frequency, from tsc_to_system_mul and"),
    (TIME_INFO, time_info(ns=MOST - 69), "ba  -70 ns  -70 ns\n"),
    (
        TIME_INFO,
        time_info(version=5),
        "has it (an update was in progress: it may be of two updates",
    ),
    (WALL_CLOCK, wall_clock(), "\nwall clock 2026-11-28 09:15:02.123456789 UTC, when the system "),
    (WALL_CLOCK, wall_clock(version=3), "time was 0 (an update was in progress: it may be of two"),
    (WALL_CLOCK, wall_clock(ns=10**9), "no date (1,795,857,302 s and 1,000,000,000 ns after 1970)"),
    (STEAL, steal(), "0x38df5ef0b  15,266,606,859 ns  00:00:15.2\n"),
    (STEAL, steal(preempted=0), "0x0  not preempted\n"),
    (STEAL, steal(preempted=1), "0x1  KVM_VCPU_PREEMPTED\n"),
    (STEAL, steal(preempted=3), "0x3  KVM_VCPU_PREEMPTED | KVM_VCPU_FLUSH_TLB\n"),
    (STEAL, steal(preempted=5), "0x5  KVM_VCPU_PREEMPTED | 0x4\n"),
    (SBI, sbi(), "0x38df5ef0b  15,266,606,859 ns  00:00:15.2\n"),
    (SBI, sbi(preempted=0xFF), "0xff  preempted\n"),
    (SBI, sbi(), "0x0  not preempted\n"),
    (STOLEN, stolen(), "0x38df5ef0b  15,266,606,859 ns  00:00:15.2\n"),
    (TSC_PAGE, tsc_page(), "\nTSC        2,900,000 kHz, from tsc_scale\n"),
    (TSC_PAGE, tsc_page(), "  -50,000,000 x 100 ns  -00:00:05.0\n"),
    (TSC_PAGE, tsc_page(sequence=0), "2,900,000 kHz, from tsc_scale (the page is not valid)\n"),
    (TSC_PAGE, tsc_page(scale=1), "\nTSC        no frequency, from tsc_scale\n"),
]


@pytest.mark.parametrize(("struct", "data", "told"), DECODED)
def test_what_numbers_mean_is_printed_behind_them_or_below(shown, struct, data, told):
    assert told in shown(data, struct)[1]


VALUES = [
    (
        TIME_INFO,
        time_info(ns=MOST - 69, flags=0x13),
        {
            "kind": "time_info",
            "system_time_ns": -70,
            "tsc_khz": 3_000_000,
            "flags": ["PVCLOCK_TSC_STABLE_BIT", "PVCLOCK_GUEST_STOPPED", "0x10"],
        },
    ),
    (
        WALL_CLOCK,
        wall_clock(),
        {
            "kind": "wall_clock",
            "seconds": 1_795_857_302,
            "nsec": 123_456_789,
            "utc": "2026-11-28T09:15:02.123456789Z",
        },
    ),
    (
        STEAL,
        steal(preempted=1),
        {
            "kind": "kvm_steal_time",
            "steal_ns": 15_266_606_859,
            "preempted": ["KVM_VCPU_PREEMPTED"],
        },
    ),
    (SBI, sbi(ns=5), {"kind": "sbi_sta", "steal_ns": 5, "preempted": []}),
    (STOLEN, stolen(ns=MOST), {"kind": "stolen_time", "steal_ns": -1}),
    (
        TSC_PAGE,
        tsc_page(),
        {
            "kind": "tsc_page",
            "valid": True,
            "tsc_khz": 2_900_000,
            "tsc_offset_ns": -5_000_000_000,
        },
    ),
]


@pytest.mark.parametrize(("struct", "data", "values"), VALUES)
def test_the_same_is_in_the_json(shown, struct, data, values):
    expected = {"path": "", "update_in_progress": False, **values}
    assert shown(data, struct)[2]["decoded"] == [expected]


def test_an_odd_version_is_an_update_in_the_json(shown):
    for name, data in ((TIME_INFO, time_info(5)), (WALL_CLOCK, wall_clock(3)), (SBI, sbi(9, 7))):
        (value,) = shown(data, name)[2]["decoded"]
        assert value["update_in_progress"]
    # and that of a page of Hyper-V is no version
    (value,) = shown(tsc_page(sequence=7), TSC_PAGE)[2]["decoded"]
    assert not value["update_in_progress"]


# The bytes, the class of the observation, and what it says.
OBSERVED = [
    (TIME_INFO, time_info(shift=-36), WRONG, "tsc_shift is -36, which no frequency gives"),
    (TIME_INFO, time_info(shift=32), WRONG, "tsc_shift is 32, which no frequency gives"),
    (TIME_INFO, time_info(shift=-128), WRONG, "tsc_shift is -128, which no frequency gives"),
    (TIME_INFO, time_info(mul=0), NORMAL, "tsc_to_system_mul is 0, so there is no frequency"),
    (
        TIME_INFO,
        time_info(mul=349_525, shift=12),
        NORMAL,
        "tsc_to_system_mul is 0x55555, less than",
    ),
    (TIME_INFO, time_info(flags=0x80), NORMAL, "flags is 0x80, with a bit that has no name"),
    (TIME_INFO, time_info(flags=4), NORMAL, "flags has PVCLOCK_COUNTS_FROM_ZERO, which is"),
    (TIME_INFO, time_info(ns=2**63), NORMAL, "system_time is negative as a signed number"),
    (
        WALL_CLOCK,
        wall_clock(ns=10**9),
        WRONG,
        "the wall clock has 1000000000 ns, which is a second",
    ),
    (WALL_CLOCK, wall_clock(0, 0, 2**32 - 1), WRONG, "the wall clock has 4294967295 ns"),
    (STEAL, steal(ns=MOST), WRONG, "steal is -1 ns as a signed number: time was taken from it"),
    (STEAL, steal(ns=2**63), WRONG, "steal is -106751 d 23:47:16.8 as a signed number"),
    (STEAL, steal(flags=1), WRONG, "flags is 0x1, not 0"),
    (STEAL, steal(preempted=2), NORMAL, "preempted is 0x2, which Linux does not write"),
    (STEAL, steal(preempted=5), NORMAL, "preempted is 0x5, which Linux does not write"),
    (SBI, sbi(ns=MOST), WRONG, "steal is -1 ns as a signed number: time was taken from it"),
    (SBI, sbi(flags=1 << 31), WRONG, "flags is 0x80000000, not 0"),
    (STOLEN, stolen(ns=MOST), WRONG, "steal is -1 ns as a signed number: time was taken from it"),
    (STOLEN, stolen(revision=1), WRONG, "revision is 0x1, not 0"),
    (STOLEN, stolen(attributes=2), WRONG, "attributes is 0x2, not 0"),
    (TSC_PAGE, tsc_page(scale=0), WRONG, "tsc_scale is 0, though tsc_sequence says that the page"),
]


@pytest.mark.parametrize(("struct", "data", "kind", "text"), OBSERVED)
def test_what_is_odd_is_told_with_its_class_and_its_fact(shown, struct, data, kind, text):
    code, out, seen = shown(data, struct)
    (found,) = [one for one in seen["observations"] if text in one["text"]]
    assert (found["class"], seen["verdict"]) == (kind, kind)
    assert found["fact"] in clock_rules.FACTS.values()
    assert code == (kind == WRONG)
    assert f"{kind:<10} {text[:20]}" in out
    assert found["fact"][:40] in out


# The last that is right before each of these.
RIGHT = [
    (TIME_INFO, time_info()),
    (TIME_INFO, time_info(version=0)),
    (TIME_INFO, time_info(shift=-35)),
    (TIME_INFO, time_info(shift=31)),
    (TIME_INFO, time_info(mul=clocks.LEAST_MULTIPLIER, flags=3)),
    (TIME_INFO, time_info(ns=2**63 - 1)),
    (WALL_CLOCK, wall_clock(ns=999_999_999)),
    (WALL_CLOCK, wall_clock(seconds=2**32 - 1)),
    (STEAL, steal(ns=2**63 - 1)),
    (STEAL, steal(preempted=1)),
    (STEAL, steal(preempted=3)),
    (SBI, sbi(ns=2**63 - 1, preempted=0xFF)),
    (STOLEN, stolen(ns=2**63 - 1)),
    (TSC_PAGE, tsc_page(scale=1)),
    (TSC_PAGE, tsc_page(sequence=2**32 - 1)),
]


@pytest.mark.parametrize(("struct", "data"), RIGHT)
def test_nothing_is_told_of_what_a_writer_writes(shown, struct, data):
    code, _, seen = shown(data, struct)
    assert (code, seen["observations"], seen["verdict"]) == (0, [], NORMAL)


def test_every_rule_is_met_by_a_case_above_or_by_one_with_upper_seconds():
    texts = " ".join(text for *_, text in OBSERVED)
    for rule in (rule for rules in clock_rules.RULES.values() for rule in rules):
        assert rule.text.partition("{")[0][:30] in texts or rule.fact == "offset"
    used = {rule.fact for rules in clock_rules.RULES.values() for rule in rules}
    used |= {fact for _, fact in (*clock_rules.ZEROS.values(), clock_rules.NOT_UPDATED)}
    assert used | {"adds"} == set(clock_rules.FACTS)


UPDATING = [
    (TIME_INFO, time_info(version=5, mul=0, shift=127, flags=0xFF, ns=MOST)),
    (WALL_CLOCK, wall_clock(version=1, ns=2**32 - 1)),
    (STEAL, steal(version=15, ns=MOST, flags=7, preempted=8)),
    (SBI, sbi(version=15, ns=MOST, flags=7)),
]


@pytest.mark.parametrize(("struct", "data"), UPDATING)
def test_during_an_update_nothing_is_wrong(shown, struct, data):
    code, _, seen = shown(data, struct)
    assert (code, seen["verdict"]) == (0, "in-flight")
    assert [one["class"] for one in seen["observations"]] == ["in-flight"]


def test_a_page_that_is_not_valid_is_not_wrong(shown):
    code, _, seen = shown(tsc_page(sequence=0, scale=0, offset=1), TSC_PAGE)
    assert (code, seen["decoded"][0]["valid"]) == (0, False)


@pytest.mark.parametrize(
    ("struct", "size", "told"),
    [
        (TIME_INFO, 32, "every number is 0: not updated yet"),
        (("pvclock", "vcpu_time_info"), 32, "every number is 0: not updated yet"),
        (WALL_CLOCK, 12, "every number is 0: not updated yet"),
        (STEAL, 64, "every number is 0: not updated yet"),
        (SBI, 64, "every number is 0: not updated yet"),
        (STOLEN, 64, "every number is 0: nothing was stolen yet, or it was never written"),
        (TSC_PAGE, 24, "every number is 0: not updated yet, or cleared because the TSC cannot be"),
    ],
)
def test_zeros_were_never_written_and_are_not_decoded(shown, struct, size, told):
    code, out, seen = shown(bytes(size), struct)
    assert (code, seen["decoded"], told in out) == (0, [], True)
    assert not re.search("TSC  |wall clock 1970|not preempted|kHz", out)


def test_padding_that_is_not_zero_is_no_number(shown):
    _, out, seen = shown(time_info(0, 0, 0, 0, 0, b"\1\2"), TIME_INFO)
    assert seen["decoded"] == []
    assert "padding is not zero: pad0 from +0x04 on, pad from +0x1e on" in out


def test_of_a_shared_page_with_one_vcpu_the_others_are_one_line(shown):
    data = bytearray(3136)
    data[3 * 64 + 32 : 4 * 64] = time_info()
    data[0xC00:0xC0C] = wall_clock()
    code, out, seen = shown(data, ("vcpu_info", "shared_info"))
    paths = [one["path"] for one in seen["decoded"]]
    assert (code, paths) == (0, ["vcpu_info[3].time", "wc"])
    (told,) = [one["text"] for one in seen["observations"]]
    assert told == (
        "every number is 0: not updated yet (vcpu_info[0].time, vcpu_info[1].time, "
        "vcpu_info[2].time, vcpu_info[4].time, and 27 more)"
    )
    assert "as Linux's pvclock_tsc_khz() has it: vcpu_info[3].time\n" in out
    assert "when the system time was 0: wc\n" in out


def test_vcpus_with_one_frequency_are_one_line(shown):
    data = bytearray(3136)
    for number in range(32):
        start = 64 * number + 32
        data[start : start + 32] = time_info(shift=-1 if number < 30 else 0)
    _, out, seen = shown(data, ("vcpu_info", "shared_info"))
    assert out.count("\nTSC  ") == 2
    assert "vcpu_info[2].time, vcpu_info[3].time, and 26 more\n" in out
    assert "vcpu_info[30].time, vcpu_info[31].time\n" in out
    assert len(seen["decoded"]) == 32


def test_what_is_wrong_inside_is_told_with_the_path(shown):
    data = bytearray(3136)
    data[5 * 64 + 32 : 6 * 64] = time_info(shift=64)
    data[7 * 64 + 32 : 8 * 64] = time_info(version=1, shift=64)
    code, out, _ = shown(data, ("vcpu_info", "shared_info"))
    assert code == 1
    assert "wrong      vcpu_info[5].time: tsc_shift is 64, which no frequency gives" in out
    assert "vcpu_info[7].time: tsc_shift" not in out


def _pages():
    for abi, layouts in family("vcpu_info").claims.items():
        yield from ((abi, one) for one in layouts if one.name.endswith("shared_info"))


# Of each: where the wall clock begins, and where its upper seconds are, as offsets.
@pytest.mark.parametrize(
    ("abi", "layout"),
    [(abi, one) for abi, one in _pages() if not one.name.endswith("arch_shared_info")],
)
def test_the_upper_seconds_are_found_wherever_a_page_has_them(abi, layout):
    chosen = family("vcpu_info")
    places = {row.name: row.offset for row in of_family.flat(layout, chosen).members}
    first = places.get("wc.version", places.get("wc_version"))
    upper = next(
        places[name] for name in ("wc.sec_hi", "wc_sec_hi", "arch.wc_sec_hi") if name in places
    )
    known = {"x86_64": (0xC00, 0xC0C), "i386": (0x900, 0x924), "arm64": (0x430, 0x43C)}
    if layout.name == "compat_shared_info":
        assert (first, upper) == known["i386"]
    elif abi in known:
        assert (first, upper) == known[abi]
    for high, date in ((1, "2106-02-07T06:28:21"), (2, "2242-03-16T12:56:37"), (2**31, None)):
        data = bytearray(layout.size)
        struct.pack_into("<III", data, first, 2, 5, 0)
        struct.pack_into("<I", data, upper, high)
        found = clocks_in(data, layout, chosen)
        (clock,) = decoded.as_json(found)
        assert clock["utc"] == (date and f"{date}.000000000Z")
        told = [one.text for one in decoded.observe(found) if "before 1970" in one.text]
        assert len(told) == (high == 2**31)


def test_the_wall_clock_of_arm_has_its_upper_seconds_in_it(shown):
    data = wall_clock(2, 5, 7) + struct.pack("<I", 1)
    words = ("--abi", "arm64")
    (value,) = shown(data, WALL_CLOCK, *words)[2]["decoded"]
    assert value["utc"] == "2106-02-07T06:28:21.000000007Z"
    (value,) = shown(wall_clock(2, 5, 7) + b"\xff" * 4, WALL_CLOCK, *words)[2]["decoded"]
    assert (value["seconds"], value["utc"]) == (5 - 2**32, "1833-11-24T17:31:49.000000007Z")


def test_the_upper_seconds_of_no_other_struct_are_taken():
    layout, chosen = layout_of("vcpu_info", "compat_arch_shared_info")
    assert clocks_in(b"\1" * layout.size, layout, chosen) == ()


@pytest.mark.parametrize(
    ("name", "data"),
    [
        (TIME_INFO, time_info(shift=99)[:28]),
        (TIME_INFO, time_info(mul=1)[:27]),
        (WALL_CLOCK, wall_clock(ns=2**32 - 1)[:8]),
        (WALL_CLOCK, wall_clock(ns=2**32 - 1)[:11]),
        (STEAL, steal(flags=MOST >> 32)[:16]),
        (TSC_PAGE, tsc_page(scale=0)[:23]),
    ],
)
def test_of_a_struct_that_ends_before_its_last_number_nothing_is_decoded(name, data):
    layout, chosen = layout_of(*name)
    assert clocks_in(data, layout, chosen) == ()


def test_a_number_without_a_meaning_has_nothing_behind_it():
    layout, chosen = layout_of(*TIME_INFO)
    found = clocks_in(time_info(ns=5, flags=0), layout, chosen)
    assert decoded.meanings(found) == {16: "5 ns  5 ns"}


def test_the_declaration_without_flags_is_decoded():
    old = [one for one in family("pvclock").claims["x86_64"] if one.name == "vcpu_time_info"][1]
    (found,) = clocks_in(time_info(flags=0xFF), old, family("pvclock"))
    assert decoded.decode(found).values["flags"] == []
    assert decoded.observe([found]) == ()


CLOCKS = {
    "pvclock_vcpu_time_info": ["time_info"],
    "vcpu_time_info": ["time_info"],
    "pvclock_wall_clock": ["wall_clock"],
    "kvm_steal_time": ["kvm_steal_time"],
    "sbi_sta_struct": ["sbi_sta"],
    "pvclock_vcpu_stolen_time": ["stolen_time"],
    "ms_hyperv_tsc_page": ["tsc_page"],
    "vcpu_info": ["time_info"],
    "compat_vcpu_info": ["time_info"],
}


def test_in_each_struct_of_each_family_the_clocks_are_found_and_nothing_else():
    for one in families("all"):
        for abi, layouts in one.claims.items():
            for layout in layouts:
                kinds = [clock.kind for clock in clocks_in(b"\2" * layout.size, layout, one)]
                expected = CLOCKS.get(layout.name, [])
                if layout.name in ("shared_info", "compat_shared_info"):
                    vcpus = 1 if abi.startswith("arm") else 32
                    expected = ["time_info"] * vcpus + ["wall_clock"]
                assert sorted(kinds) == sorted(expected), (abi, layout.name)


def any_bytes():
    """Return bytes of each struct that has a clock: any, and some with numbers at their limits."""
    names = [TIME_INFO, WALL_CLOCK, STEAL, SBI, STOLEN, TSC_PAGE]
    edge = st.sampled_from([b"\0", b"\xff", b"\x80", b"\1"]).map(lambda byte: byte * 64)
    mixed = st.lists(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]), min_size=64, max_size=64).map(bytes)
    return st.sampled_from(names), st.one_of(st.binary(min_size=64, max_size=64), edge, mixed)


@given(*any_bytes())
def test_any_bytes_are_decoded_without_a_traceback(struct, data):
    layout, chosen = layout_of(*struct)
    found = clocks_in(data[: layout.size], layout, chosen)
    assert len(found) == 1
    json.dumps(decoded.as_json(found))
    assert len([*decoded.lines(found)]) <= 1
    assert all(text for text in decoded.meanings(found).values())
    kinds = {one.kind for one in decoded.observe(found)}
    assert kinds <= {WRONG, NORMAL}
    assert not (kinds and found[0].updating)


# test_clocks.py shows that KVM and Xen compute no other multiplier and shift than these.
SCALES = st.tuples(
    st.integers(clocks.LEAST_MULTIPLIER, 2**32 - 1),
    st.integers(clocks.SHIFTS[0], clocks.SHIFTS[-1]),
)
OPENBSD = st.integers(10**6, 10**10).map(lambda hz: ((10**9 << 20) // hz, 12))


@given(
    st.one_of(SCALES, OPENBSD, st.just((0, 12))),
    st.integers(0, MOST),
    st.sampled_from([0, 1, 2, 3]),
    st.sampled_from([b"", b"\xaa\xbb"]),
)
def test_no_time_info_that_a_writer_writes_is_wrong(scale, ns, flags, pads):
    layout, chosen = layout_of(*TIME_INFO)
    found = clocks_in(time_info(2, ns, *scale, flags, pads), layout, chosen)
    assert WRONG not in {one.kind for one in decoded.observe(found)}


@given(st.integers(1_000_000, 5_000_000), st.integers(-(2**63), 2**63 - 1))
def test_no_page_that_xen_writes_is_wrong(khz, offset):
    layout, chosen = layout_of(*TSC_PAGE)
    data = tsc_page(1, ((10_000 << 32) // khz) << 32, offset)
    assert decoded.observe(clocks_in(data, layout, chosen)) == ()
