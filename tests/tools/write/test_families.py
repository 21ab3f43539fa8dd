"""runstate write --family: the updates of structs with a version, byte by byte."""

import json
import re
import struct
import subprocess
import sys

import pytest

from runstate_abi.layouts.structs.family_names import MODULES, VERSIONED
from runstate_abi.tools.write.command import main
from runstate_abi.tools.write.family_update import new_image, write
from runstate_abi.writer.guard import guard_of
from runstate_abi.writer.steps import Write
from runstate_abi.writer.versions.writers import WRITERS

EVERY = [(family, one) for family in VERSIONED for one in WRITERS[family]]
IDS = [one.name for _, one in EVERY]
AT = 0x1100


@pytest.fixture
def document(run):
    """Return a function: the JSON of one update."""

    def document(*arguments):
        code, out, err = run(*arguments, "--json")
        assert (code, err) == (0, "")
        return json.loads(out)

    return document


def test_an_update_of_the_time_info_is_printed_step_by_step(run):
    zeros = "0000000000000000 0000000000000000 00000000 00 00 0000"
    full = "2222222222222222 3333333333333333 44444444 55 66 0000"
    assert run("--family", "pvclock") == (
        0,
        "lock gpc irqsave\n"
        "check gpc len=32 -> 1\n"
        "store p1+256 4 01000000\n"
        f"    01000000 00000000 {zeros}  version 1: an update is in flight\n"
        "wmb\n"
        f"copy p1+256 32 0100000000000000{full.replace(' ', '')}\n"
        f"    01000000 00000000 {full}  version 1: an update is in flight\n"
        "wmb\n"
        "store p1+256 4 02000000\n"
        f"    02000000 00000000 {full}  version 2\n"
        "dirty gfn=+0\n"
        "unlock gpc irqrestore\n",
        "",
    )


def test_a_struct_that_crosses_a_page_is_split_by_a_writer_that_copies(run):
    code, out, _ = run("--family", "pvclock", "--variant", "xen-time-va", "--at", 0xFFFFF0)
    steps = [line for line in out.splitlines() if line.startswith("copy")]
    assert code == 0
    assert [line.rpartition(" ")[0] for line in steps] == [
        "copy p1+4080 4",
        "copy p1+4080 16",
        "copy p2+0 16",
        "copy p1+4080 4",
    ]
    structs = [line for line in out.splitlines() if line.startswith("    ")]
    assert structs[-1].startswith("    02000000 00000000 2222222222222222|3333333333333333 ")


def test_a_writer_that_cannot_cross_a_page_refuses_and_says_so(run):
    refused = "runstate write: {} takes no struct that crosses a page\n"
    for family, one in EVERY:
        at = 0x1000 - one.layout.size + 1
        code, out, err = run("--family", family, "--variant", one.name, "--at", at)
        if one.name in ("xen-time-va", "kvm-wallclock"):  # copies to an address, page by page
            assert (code, err) == (0, "")
        else:
            assert (code, out, err) == (1, "", refused.format(one.name))


def test_the_last_address_that_fits_in_a_page_is_taken(run):
    assert run("--family", "pvclock", "--at", 0xFE0)[0] == 0


def test_the_table_has_a_row_a_step_and_one_of_before(run):
    code, out, _ = run(
        *("--family", "steal_time", "--variant", "kvm-riscv32-steal", "--format", "table"),
        *("--set", "steal=0x1122334455667788", "--old", "04"),
    )
    rows = [re.split(r"  +", line) for line in out.splitlines()]
    assert code == 0
    assert rows[0] == ["#", "step", "struct", "version"]
    assert rows[1] == ["0", "04000000 00000000 0000000000000000 00 ..", "sequence 4"]
    up = "sequence 5: an update is in flight"
    assert rows[2:] == [
        ["1", "store p1+256 4", "05000000 00000000 0000000000000000 00 ..", up],
        ["2", "store p1+264 4", "05000000 00000000 8877665500000000 00 ..", up],
        ["3", "store p1+268 4", "05000000 00000000 8877665544332211 00 ..", up],
        ["4", "store p1+256 4", "06000000 00000000 8877665544332211 00 ..", "sequence 6"],
        ["5", "dirty gfn=+0"],
    ]


@pytest.mark.parametrize(("family", "one"), EVERY, ids=IDS)
def test_every_writer_s_steps_are_those_of_its_generator(family, one, document):
    found = document("--family", family, "--variant", one.name)
    memory = bytearray(one.layout.size)
    for step in found["steps"]:
        kind, _, rest = step["step"].partition(" ")
        if kind in ("store", "copy"):
            place, size, data = rest.split()
            at = int(place.removeprefix("p1+")) - AT % 4096
            memory[at : at + int(size)] = bytes.fromhex(data)
            assert step["struct"] == memory.hex()
        else:
            assert set(step) == {"step"}
    assert found["bytes"] == memory.hex()
    assert (found["variant"], found["source"], found["struct"]) == (
        one.name,
        one.source,
        one.layout.name,
    )
    assert len(found["barriers"]) == [step["step"] for step in found["steps"]].count("wmb")


# Names of what is on its way while the struct says so, and of all that is stored.
@pytest.mark.parametrize(("family", "one"), EVERY, ids=IDS)
def test_the_version_says_in_flight_between_the_first_store_and_the_last(family, one, document):
    found = document(
        "--family", family, "--variant", one.name, "--old", "01000000" if family == "hyperv" else ""
    )
    states = [step["in_flight"] for step in found["steps"] if "in_flight" in step]
    if not guard_of(one.layout).name(one.layout):
        assert states == [None]
    elif one.name in ("kvm-x86-preempted", "kvm-loongarch-preempted", "xen-tsc-page"):
        assert not any(states)
    else:
        up = states.index(True)
        assert states[up:] == [True] * (len(states) - up - 1) + [False]
        before = [step["field"] for step in found["steps"] if "field" in step][:up]
        assert before in ([], ["preempted"])


def test_the_fields_of_a_step_are_named(document):
    found = document("--family", "pvclock", "--variant", "kvm-xen-wallclock")
    assert [s["field"] for s in found["steps"] if "field" in s] == [
        *("version", "nsec", "sec", "sec_hi", "version"),
    ]
    found = document("--family", "pvclock", "--variant", "kvm-wallclock")
    assert [s["field"] for s in found["steps"]] == ["version", "version..nsec", "version"]


# What each leaves, from what was there. Linux arch/x86/kvm/x86.c, Xen include/xen/time.h:
# (version + 1) | 1, and then 1 more. Linux arch/x86/kvm/hyperv.c, Xen viridian/time.c: 1 more.
# fmt: off
VERSIONS = (
    ("pvclock", "kvm-time",      0,          (1, 2)),
    ("pvclock", "kvm-time",      4,          (5, 6)),
    ("pvclock", "kvm-time",      5,          (7, 8)),
    ("pvclock", "xen-time",      0xff,       (0x101, 0x102)),
    ("pvclock", "xen-wallclock", 0xfffffffe, (0xffffffff, 0)),
    ("pvclock", "kvm-wallclock", 0xffffffff, (1, 2)),
    ("steal_time", "kvm-riscv64-steal", 2,   (3, 4)),
    ("hyperv",  "kvm-tsc-page",  1,          (0, 2)),
    ("hyperv",  "kvm-tsc-page",  0,          (1,)),
    ("hyperv",  "kvm-tsc-page",  0xfffffffe, (0, 1)),
    ("hyperv",  "kvm-tsc-page",  0xffffffff, (0, 1)),
    ("hyperv",  "xen-tsc-page",  0xfffffffe, (0xffffffff,)),
    ("hyperv",  "xen-tsc-page",  0xffffffff, (1,)),
)
# fmt: on


@pytest.mark.parametrize(("family", "name", "old", "expected"), VERSIONS)
def test_the_version_goes_on_from_the_old_one(family, name, old, expected, document):
    given = struct.pack("<I", old).hex()
    found = document("--family", family, "--variant", name, "--old", given)
    layout = next(one.layout for one in WRITERS[family] if one.name == name)
    word = guard_of(layout).word(layout)
    images = [bytes.fromhex(step["struct"]) for step in found["steps"] if "struct" in step]
    seen = [int.from_bytes(image[word[0] : word[-1] + 1], "little") for image in images]
    changes = [b for a, b in zip([old, *seen], seen, strict=False) if a != b]
    assert tuple(changes) == expected


def test_a_sequence_that_riscv_would_leave_odd_is_not_made_up(run):
    code, out, err = run("--family", "steal_time", "--variant", "kvm-riscv64-steal", "--old", "03")
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "adds 1 to an odd sequence too" in err


def test_members_are_what_set_says_and_the_others_differ_from_each_other(document):
    words = ("--set", "tsc_shift=-3", "--set", "system_time=0x100")
    after = bytes.fromhex(document("--family", "pvclock", *words)["bytes"])
    version, _, stamp, time, mul, shift, flags = struct.unpack("<IIQQIbB2x", after)
    assert (version, time, shift) == (2, 0x100, -3)
    assert (stamp, mul, flags) == (0x2222222222222222, 0x44444444, 0x66)


@pytest.mark.parametrize(("family", "one"), EVERY, ids=IDS)
def test_no_two_members_have_equal_defaults(family, one):
    image = new_image(one, 0, {})
    seen = [image[row.offset] for row in one.layout.members]
    word = guard_of(one.layout).name(one.layout)
    seen = [byte for byte, row in zip(seen, one.layout.members, strict=True) if row.name != word]
    assert len(seen) == len(set(seen))
    assert 0 not in seen


def test_what_was_there_and_is_not_written_stays(document):
    old = bytes(range(0x10, 0x50))
    found = document(
        *("--family", "steal_time", "--variant", "kvm-x86-preempted", "--old", old.hex()),
        *("--set", "preempted=1"),
    )
    assert bytes.fromhex(found["bytes"]) == old[:16] + b"\1" + old[17:]
    assert found["steps"][0]["field"] == "preempted"


@pytest.mark.parametrize(("family", "one"), EVERY, ids=IDS)
def test_the_place_is_the_same_at_any_address_of_a_page(family, one, document):
    near = document("--family", family, "--variant", one.name, "--at", "0x40")
    far = document("--family", family, "--variant", one.name, "--at", "0xfffffffffffff040")
    assert near["steps"] == far["steps"]
    assert (near["at"], far["at"]) == (0x40, 0xFFFFFFFFFFFFF040)


@pytest.mark.parametrize("family", VERSIONED)
def test_the_default_is_the_first_writer_and_list_names_all(family, run, document):
    assert document("--family", family)["variant"] == WRITERS[family][0].name
    code, out, _ = run("--family", family, "--list")
    rows = [re.split(r"  +", line) for line in out.splitlines()]
    assert code == 0
    assert rows == [[x.name, x.layout.name, x.summary, x.source] for x in WRITERS[family]]
    listed = json.loads(run("--family", family, "--list", "--json")[1])
    assert [list(one.values()) for one in listed["writers"]] == rows
    assert (listed["schema"], listed["family"]) == ("runstate-writers-family/1", family)


# fmt: off
REFUSED = (
    (("--state", "1"),                "unrecognized arguments: --state 1"),
    (("--entry-time", "1"),           "unrecognized arguments: --entry-time 1"),
    (("--selftest",),                 "unrecognized arguments: --selftest"),
    (("--abi", "compat"),             "unrecognized arguments: --abi compat"),
    (("--variant", "kvm-tme"),        "did you mean kvm-time?"),
    (("--variant", "upstream"),       "--variant upstream: no such writer"),
    (("--set", "version=3"),          "the writer counts it"),
    (("--set", "sytem_time=3"),       "did you mean system_time?"),
    (("--set", "flags=256"),          "it has 8 bits"),
    (("--set", "flags=-1"),           "it has 8 bits"),
    (("--set", "tsc_shift=-129"),     "it has 8 bits"),
    (("--set", "flags"),              "is not MEMBER=NUMBER"),
    (("--set", "=1"),                 "is not MEMBER=NUMBER"),
    (("--set", "flags=x"),            "is not a number"),
    (("--set", "pad0=1"),             "not a member of"),
    (("--old", "0"),                  "is not hex digits"),
    (("--old", "00" * 33),            "33 bytes, and struct"),
    (("--at", "-1"),                  "is not a 64-bit number"),
    (("--format", "canonical"),       "invalid choice"),
)
# fmt: on


@pytest.mark.parametrize(("words", "why"), REFUSED, ids=lambda x: " ".join(x)[:30])
def test_wrong_usage_is_one_line(words, why, wrong):
    assert why in wrong("--family", "pvclock", *words)


def test_a_member_that_the_writer_does_not_store_is_refused(run):
    code, out, err = run("--family", "steal_time", "--set", "flags=3")
    assert (code, out, err) == (1, "", "runstate write: kvm-x86-steal does not store flags\n")


@pytest.mark.parametrize("family", [name for name in MODULES if name not in VERSIONED])
def test_a_family_without_a_version_has_no_writer(family, wrong):
    assert "no writer of this family yet" in wrong("--family", family)


def test_the_family_may_be_written_in_either_way(run):
    assert run("--family=hyperv") == run("--family", "hyperv")


def test_help_names_the_family_s_own_options(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--family", "hyperv", "--help"])
    said = capsys.readouterr().out
    assert end.value.code == 0
    assert "--set MEMBER=NUMBER" in said
    assert "--state" not in said
    assert "kvm-tsc-page" in said


def test_the_examples_of_the_help_run(run, capsys):
    with pytest.raises(SystemExit):
        main(["--family", "hyperv", "--help"])
    lines = re.findall(r"^  runstate write (.*)", capsys.readouterr().out, re.M)
    assert len(lines) == 5
    for line in lines:
        assert run(*line.split())[0] == 0


def test_runstate_s_own_update_does_not_import_the_others():
    code = "import sys\nfrom runstate_abi.tools.write import command\ncommand.main(['--at', '0'])\n"
    code += "print('runstate_abi.writer.versions.writers' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "False"


def test_values_are_those_that_are_written():
    one = next(x for x in WRITERS["hyperv"] if x.name == "kvm-tsc-page")
    written = write(one, 0, struct.pack("<IIQq", 7, 0, 1, 2), {"tsc_offset": -5})
    assert struct.unpack("<IIQq", written.after) == (8, 0, 0x2222222222222222, -5)
    stores = [moment for moment in written.moments if isinstance(moment.step, Write)]
    assert [written.struct(moment)[:4] for moment in stores][:2] == [bytes(4), bytes(4)]
