"""The fact tables: every byte a row, and the update byte where both hypervisors put it."""

import pytest

from runstate_abi.layouts.structs.runstate import (
    CLAIMS,
    COMPAT,
    COMPAT_XEN,
    NATIVE,
    RUNSTATES,
    XEN_RUNSTATE_UPDATE,
    claim,
    structs_expected,
    update_byte,
)


def test_the_update_byte_is_15_and_11():
    assert (update_byte(NATIVE), update_byte(COMPAT)) == (15, 11)


def test_the_update_flag_is_the_top_bit_of_its_byte():
    assert XEN_RUNSTATE_UPDATE.to_bytes(8, "little") == bytes(7) + b"\x80"


@pytest.mark.parametrize("layout", [NATIVE, COMPAT])
def test_every_byte_belongs_to_one_row(layout):
    covered = [byte for row in layout.rows for byte in range(row.offset, row.end)]
    assert covered == list(range(layout.size))


def test_the_sizes_are_48_and_44():
    assert (NATIVE.size, COMPAT.size) == (48, 44)


def test_three_alignments_are_told_apart():
    assert (NATIVE.alignment, COMPAT.alignment, COMPAT_XEN.alignment) == (8, 1, 4)
    assert CLAIMS["i386"].native.alignment == 4


def test_32_bit_is_not_44_bytes():
    sizes = {abi: CLAIMS[abi].native.size for abi in ("i386", "x32", "arm32", "i386-windows")}
    assert sizes == {"i386": 44, "x32": 48, "arm32": 48, "i386-windows": 48}


def test_time_has_one_element_for_each_runstate_in_order():
    assert [runstate.value for runstate in RUNSTATES] == list(range(NATIVE.field("time").count))
    assert [r.name for r in RUNSTATES] == ["running", "runnable", "blocked", "offline"]


def test_only_an_x86_64_kernel_is_expected_to_have_the_compat_struct():
    assert structs_expected("x86_64") == (NATIVE.name, COMPAT.name)
    assert structs_expected("arm64") == (NATIVE.name,)


def test_a_claim_carries_the_abi_and_name_it_was_asked_for():
    for abi in CLAIMS:
        for name in (NATIVE.name, COMPAT.name):
            assert (claim(name, abi).abi, claim(name, abi).name) == (abi, name)
