"""The arithmetic of the clocks: frequencies, dates, and the names of bits."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runstate_abi.tools.memory import clocks

MOST = 2**64 - 1


def kernel_scale(hz):
    """Return the multiplier and shift that KVM and Xen compute for a frequency.

    The frequency is halved or doubled until it is above 10^9 and at most 2 * 10^9.
    """
    shift = 0
    while hz >> -shift > 2 * 10**9:
        shift -= 1
    hz >>= -shift
    while hz <= 10**9:
        hz, shift = hz * 2, shift + 1
    return (10**9 << 32) // hz, shift


@given(st.integers(1, 2**32 - 1))
def test_a_frequency_comes_back_but_for_the_bits_that_linux_shifts_out(khz):
    multiplier, shift = kernel_scale(khz * 1000)
    found = clocks.tsc_khz(multiplier, shift)
    assert abs(found - khz) <= max(1, 2**-shift)


@given(st.integers(1, 4_000_000))
def test_a_frequency_up_to_4_ghz_comes_back_within_2_khz(khz):
    assert abs(clocks.tsc_khz(*kernel_scale(khz * 1000)) - khz) <= 2


@given(st.integers(10_000, 10_000_000))
def test_the_frequency_of_a_hyperv_page_comes_back_within_3_khz(khz):
    multiplier, shift = kernel_scale(khz * 1000)
    kvm = (multiplier << 32 + shift) // 100
    xen = ((10_000 << 32) // khz) << 32
    assert abs(clocks.reference_khz(kvm) - khz) <= 1
    assert abs(clocks.reference_khz(xen) - khz) <= 3


@given(st.integers(1, MOST))
def test_each_frequency_has_a_shift_and_a_multiplier_that_are_accepted(hz):
    multiplier, shift = kernel_scale(hz)
    assert multiplier.bit_length() == 32
    assert multiplier >= clocks.LEAST_MULTIPLIER
    assert shift in clocks.SHIFTS


def test_the_shifts_of_the_least_and_the_greatest_frequency():
    assert (kernel_scale(1)[1], kernel_scale(MOST)[1]) == (30, -34)
    assert (clocks.SHIFTS[0], clocks.SHIFTS[-1]) == (-35, 31)


@pytest.mark.parametrize(
    ("multiplier", "shift", "khz"),
    [
        (0x80000000, 0, 2_000_000),
        (0xAAAAAAAA, -1, 3_000_000),  # 2863311530, what KVM computes for 3 GHz
        (0xB33B6B86, -1, 2_856_630),  # an odd last kHz is lost
        (0xFFFFFFFF, 3, 125_000),
        (349_525, 12, 3_000_002),  # OpenBSD's vmm, for 3 GHz
        (0x80000000, 31, 0),
        (1, 0, 10**6 << 32),
        (1, -11, (10**6 << 32) << 11),
        (1, -13, None),  # more than 64 bits
        (0, 0, None),
        (0, -1, None),
        (0x80000000, -36, None),
        (0x80000000, 32, None),
        (0xFFFFFFFF, -128, None),
        (0xFFFFFFFF, 127, None),
    ],
)
def test_a_multiplier_and_a_shift_are_a_frequency(multiplier, shift, khz):
    assert clocks.tsc_khz(multiplier, shift) == khz


@pytest.mark.parametrize(
    ("scale", "khz"), [(0, None), (1, None), (MOST, 10_000), (2**63, 20_000), (10_000, 1 << 64)]
)
def test_a_scale_is_a_frequency(scale, khz):
    assert clocks.reference_khz(scale) == (khz if khz != 1 << 64 else None)


@pytest.mark.parametrize(
    ("seconds", "ns", "date"),
    [
        (0, 0, "1970-01-01T00:00:00.000000000Z"),
        (1_795_857_302, 123_456_789, "2026-11-28T09:15:02.123456789Z"),
        (951_782_400, 1, "2000-02-29T00:00:00.000000001Z"),
        (2**31, 0, "2038-01-19T03:14:08.000000000Z"),
        (2**32 - 1, 999_999_999, "2106-02-07T06:28:15.999999999Z"),
        (2**32, 0, "2106-02-07T06:28:16.000000000Z"),
        (253_402_300_799, 0, "9999-12-31T23:59:59.000000000Z"),
        (253_402_300_800, 0, None),
        (-1, 5, "1969-12-31T23:59:59.000000005Z"),
        (-62_135_596_800, 0, "0001-01-01T00:00:00.000000000Z"),
        (-62_135_596_801, 0, None),
        (2**63 - 1, 0, None),
        (-(2**63), 0, None),
        (0, 10**9, None),
        (0, 2**32 - 1, None),
    ],
)
def test_seconds_since_1970_are_a_date_if_the_calendar_has_it(seconds, ns, date):
    assert clocks.utc(seconds, ns) == date


def test_a_date_in_words():
    date = clocks.utc(1_795_857_302, 123_456_789)
    assert clocks.date_words(date) == "2026-11-28 09:15:02.123456789 UTC"


@pytest.mark.parametrize(
    ("number", "names", "unnamed"),
    [
        (0, [], 0),
        (1, ["PVCLOCK_TSC_STABLE_BIT"], 0),
        (6, ["PVCLOCK_GUEST_STOPPED", "PVCLOCK_COUNTS_FROM_ZERO"], 0),
        (0x8A, ["PVCLOCK_GUEST_STOPPED", "0x8", "0x80"], 0x88),
    ],
)
def test_each_bit_has_its_name_or_its_number(number, names, unnamed):
    assert list(clocks.names(number, clocks.TIME_FLAGS)) == names
    assert clocks.unnamed(number, clocks.TIME_FLAGS) == unnamed


@pytest.mark.parametrize(
    ("number", "signed"), [(0, 0), (2**63 - 1, 2**63 - 1), (2**63, -(2**63)), (MOST, -1)]
)
def test_a_number_of_64_bits_may_be_signed(number, signed):
    assert clocks.signed(number) == signed


def test_a_date_is_what_loads_the_calendar():
    code = (
        "import sys; from runstate_abi.tools.memory import decoded\n"
        "assert 'datetime' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
