"""Inputs made after public reports: the exit code and the facts that each must give."""

import json

import pytest

from runstate_abi.tools import cli

STRUCT = {
    "state": 0,
    "state_entry_time": 1_000_000_000_000,
    "time": [400_123_456_789, 100_000_000_011, 479_876_543_211, 19_999_999_989],
}


@pytest.fixture
def told(data, capsys):
    def run(verb, *argv):
        named = [str(data / "reports" / word) if "." in word else word for word in argv]
        code = cli.main([verb, *named])
        return (code, *capsys.readouterr())

    return run


@pytest.mark.parametrize(
    "name", ["44-crash-rd-x.txt", "45-byte-order-mark.txt", "48-fence.txt", "50-lldb.txt"]
)
@pytest.mark.parametrize("abi", [[], ["--abi", "native"]])
def test_a_paste_is_read_as_it_was_meant(name, abi, told):
    code, out, _ = told("hexdump", name, "--json", *abi)
    seen = json.loads(out)
    assert (code, seen["abi"], seen["fields"]) == (0, "native", STRUCT)
    assert seen["steal"] == 120_000_000_000


def test_two_readings_of_one_address_are_refused(told):
    code, out, err = told("hexdump", "47-two-reads.txt")
    assert (code, out) == (3, "")
    assert "address 0x0 is given twice, with other bytes" in err


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("60.core.gz", 0x1_0000_1BA0),
        ("61.core.gz", 0x7F00_0010_1BA0),
        ("62.core.gz", 0x2BA0),
        ("63.lime.gz", 0x10_1BA0),
    ],
)
def test_an_area_in_a_dump_has_its_address(name, address, told):
    code, out, _ = told("find", name, "--json")
    found = json.loads(out)["candidates"]
    assert (code, [item["address"] for item in found]) == (0, [address])
    assert told("hexdump", name, "--gpa", str(address))[0] == 0


def test_a_big_endian_core_is_refused(told):
    code, out, err = told("find", "65.core.gz")
    assert (code, out, "not little-endian" in err) == (3, "", True)


def test_times_that_went_back_may_be_a_migration_and_it_says_so(told):
    code, out, _ = told("hexdump", "70-after.bin", "--before", "70-before.bin")
    said = " ".join(out.split())
    assert code == 1
    assert "was the machine migrated or restored between the dumps" in said
    assert "at a migration or a restore (Linux commit 5e25f5db6abb exists for that)" in said
    assert "never taken back" not in said


def test_a_negative_time_is_wrong(told):
    code, out, _ = told("hexdump", "71-negative.bin")
    assert (code, "runnable is -00:00:50.0 as a signed number" in out) == (1, True)
