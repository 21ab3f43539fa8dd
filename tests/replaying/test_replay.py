"""``runstate replay``: N of N for what was recorded, and a miss for what was not."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from replaying.replay import main, replay

DATA = Path(__file__).parent.parent / "data"

# What each file of recordings holds, and how the count must read.
FILES = {
    "oracle/vectors_public.json": "432 of 432 vectors",
    "oracle/gpc_scenarios.json": "26 of 26 scenarios, 101 of 101 in the versions named",
    "kvm/kvm_golden_linux6.12.107.jsonl": "444 of 444 final states",
    "kvm/kvm_stores_linux6.12.107.jsonl": "192 of 192 store traces",
    "kvm/kvm_stores_linux6.1.192.jsonl": "12 of 12 store traces",
    "kvm/kvm_single_linux6.1.192.jsonl": "222 of 222 registrations",
    "kvm/kvm_move_same_page_linux6.1.192_fixed.txt": "6 of 6 lines of a transcript",
    "kvm/kvm_move_same_page_linux6.1.192_khva_fix_reverted.txt": "6 of 6 lines of a transcript",
    "kvm/kvm_edge_run_linux6.12.107.txt": "55 of 55 lines of a transcript",
    "kvm/kvm_torn_reads_linux6.12.107.txt": "16 of 16 lines of a transcript",
    "xen/xen_pv_native_4.17.jsonl": "208 of 208 Xen areas",
    "xen/xen_hvm_native_4.17.jsonl": "264 of 264 Xen areas",
    "xen/xen_hvm_compat_4.17.jsonl": "256 of 256 Xen areas",
    "xen/xen_pv_stores_4.17.jsonl": "10 of 10 updates and areas of a store log",
    "xen/xen_hvm_compat_stores_4.17.jsonl": "66 of 66 updates and areas of a store log",
}


@pytest.mark.parametrize("name", FILES)
def test_the_model_does_what_was_recorded(name, capsys):
    assert main([str(DATA / name)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"{DATA / name}: {FILES[name]}"


def test_a_folder_of_tests_that_is_a_program():
    file = DATA / "xen/xen_pv_stores_4.17.jsonl"
    command = [sys.executable, str(Path(__file__).parent), str(file), "nosuch.jsonl"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 3
    assert done.stdout == f"{file}: {FILES['xen/xen_pv_stores_4.17.jsonl']}\n"
    assert done.stderr == "replaying: nosuch.jsonl: No such file or directory\n"


def test_what_a_file_is_its_content_says_and_not_its_name(tmp_path, capsys):
    renamed = tmp_path / "notes.bin"
    renamed.write_bytes((DATA / "xen/xen_pv_stores_4.17.jsonl").read_bytes())
    assert main([str(renamed)]) == 0


def lines_of(name):
    return (DATA / name).read_text().splitlines()


def differences(lines):
    """The differences of a recording, all cases together; malformed lines are marked as such."""
    text = lines if isinstance(lines, str) else "\n".join(lines)
    replayed = replay("here", text.encode())
    found = [one for case in replayed.cases for one in case.differences]
    return found + [f"malformed {one}" for one in replayed.malformed]


def changed(name, number, **fields):
    """A file of records in which some fields of one line are others."""
    lines = lines_of(name)
    lines[number - 1] = json.dumps(json.loads(lines[number - 1]) | fields)
    return lines


GOLDEN = "kvm/kvm_golden_linux6.12.107.jsonl"
STORES = "kvm/kvm_stores_linux6.12.107.jsonl"
OLD_STORES = "kvm/kvm_stores_linux6.1.192.jsonl"
SINGLE = "kvm/kvm_single_linux6.1.192.jsonl"
AREAS = "xen/xen_hvm_native_4.17.jsonl"


def with_byte(digits, index, value):
    return digits[: 2 * index] + f"{value:02x}" + digits[2 * index + 2 :]


@pytest.mark.parametrize(
    ("index", "place"),
    [
        (0, "a byte outside the struct"),
        (8, "state byte 0"),
        (12, "pad_04"),
        (23, r"state_entry_time byte 7 \(the update byte\)"),
        (24, r"time\[0\] byte 0"),
        (63, "a byte outside the struct"),
    ],
)
def test_a_wrong_byte_of_a_final_state_is_named_by_its_field(index, place):
    record = json.loads(lines_of(GOLDEN)[1])
    value = int(record["win"][2 * index : 2 * index + 2], 16) ^ 0x81
    (first, *_) = differences(changed(GOLDEN, 2, win=with_byte(record["win"], index, value)))
    assert re.search(place, first)


@pytest.mark.parametrize(
    "fields",
    [
        {"len1": 2},
        {"len2": 46},
        {"outside": 1},
        {"poison": "ab"},
        {"state": 3},
        {"layout": "compat"},
        {"off": 20478},
        {"kind": "start"},
        {"state": "two"},
        {"layout": "both"},
        {"win": "00"},
        {"surprise": 1},
    ],
    ids=str,
)
def test_a_final_state_that_contradicts_itself_is_a_miss_or_malformed(fields):
    assert differences(lines_of(GOLDEN)) == []
    found = differences(changed(GOLDEN, 2, **fields))
    assert found
    # A field that is no number or word names itself; a wrong value shows in what it decides.
    assert all("malformed" not in one or next(iter(fields)) in one for one in found)


def reordered(record, first, second):
    stores = record["stores"]
    stores[first], stores[second] = stores[second], stores[first]
    return {"stores": stores}


def test_a_body_store_before_the_flag_is_a_miss():
    record = json.loads(lines_of(STORES)[1])
    (found,) = differences(changed(STORES, 2, **reordered(record, 0, 1)))
    assert "is not what epoch 1 of 3 does" in found


def test_a_body_store_after_the_clear_is_a_miss():
    record = json.loads(lines_of(STORES)[1])
    found = differences(changed(STORES, 2, **reordered(record, 6, 7)))
    assert "is not what epoch 2 of 3 does" in found[-1]


def test_body_stores_in_another_order_are_no_miss():
    record = json.loads(lines_of(STORES)[1])
    assert not differences(changed(STORES, 2, **reordered(record, 2, 5)))


def test_a_trace_without_its_clear_is_a_miss():
    record = json.loads(lines_of(STORES)[1])
    found = differences(changed(STORES, 2, stores=record["stores"][:-1]))
    assert any("epoch 3 of 3: state_entry_time byte 7" in one for one in found)


def test_a_trace_without_a_body_store_is_a_miss():
    record = json.loads(lines_of(STORES)[1])
    del record["stores"][3]
    assert differences(changed(STORES, 2, stores=record["stores"]))


def test_a_store_outside_the_area_is_a_miss():
    record = json.loads(lines_of(STORES)[1])
    stores = [*record["stores"][:3], ["f", 48, "00"], *record["stores"][3:]]
    assert differences(changed(STORES, 2, stores=stores))
    stores[3] = ["f", 2000, "00"]
    assert any("far outside" in one for one in differences(changed(STORES, 2, stores=stores)))


def test_a_store_that_is_said_to_change_a_byte_must():
    record = json.loads(lines_of(STORES)[1])
    record["stores"].insert(3, ["f", 16, record["stores"][3][2]])
    assert any(
        "does not" in one for one in differences(changed(STORES, 2, stores=record["stores"]))
    )


def test_6_1_sets_the_flag_by_eight_bytes_at_once():
    record = json.loads(lines_of(OLD_STORES)[1])
    assert differences(changed(OLD_STORES, 2, **reordered(record, 0, 1)))


def test_times_of_6_1_must_add_up():
    lines = lines_of(SINGLE)
    number = next(n for n, line in enumerate(lines, 1) if '"win"' in line and n > 1)
    window = json.loads(lines[number - 1])["win"]
    found = differences(changed(SINGLE, number, win=with_byte(window, 16, 0x01)))
    assert any("is not the sum of the times" in one for one in found)


def test_an_area_that_6_1_refuses_cannot_be_said_to_be_taken():
    assert differences(changed(SINGLE, 2, set_addr="ok"))
    lines = lines_of(SINGLE)
    taken = next(n for n, line in enumerate(lines, 1) if '"ok"' in line)
    assert differences(changed(SINGLE, taken, set_addr="EINVAL"))


def test_xens_padding_must_be_zero():
    record = json.loads(lines_of(AREAS)[1])
    found = differences(changed(AREAS, 2, after_update=with_byte(record["after_update"], 13, 1)))
    assert any("pad_04" in one for one in found)


def test_a_vcpu_born_at_another_time_is_a_miss():
    record = json.loads(lines_of(AREAS)[1])
    windows = {name: with_byte(record[name], 24, 0x55) for name in ("at_register", "after_update")}
    assert any("in the other cases" in one for one in differences(changed(AREAS, 2, **windows)))


@pytest.mark.parametrize("drop", range(1, 9))
def test_each_store_of_a_log_of_xens_matters_if_it_changes_anything(drop):
    lines = lines_of("xen/xen_pv_stores_4.17.jsonl")
    number = 16 + drop
    silent = json.loads(lines[number])["changed"] is None
    del lines[number]
    assert bool(differences(lines)) != silent


def test_a_log_that_ends_within_an_update_is_said_to():
    lines = lines_of("xen/xen_pv_stores_4.17.jsonl")[:-1]
    replayed = replay("here", "\n".join(lines).encode())
    assert any("ends within an update" in one for one in replayed.remarks)


def test_a_log_whose_update_never_ends_is_a_miss():
    lines = lines_of("xen/xen_hvm_compat_stores_4.17.jsonl")
    # Line 17 takes the flag down, line 18 raises it again.
    assert differences([*lines[:16], *lines[27:]])


def vectors():
    return json.loads((DATA / "oracle/vectors_public.json").read_text())


def one_vector(change):
    document = vectors()
    (case,) = [one for one in document["cases"] if one["id"].startswith("048")]
    document["cases"] = [case]
    change(case)
    return differences(json.dumps(document))


@pytest.mark.parametrize(
    "change",
    [
        lambda case: case.update(state=3),
        lambda case: case.update(state_entry_time="0x1"),
        lambda case: case["time"].reverse() or case["time"].__setitem__(0, "0x9"),
        lambda case: case.update(offset=4080),
        lambda case: case.update(abi="compat"),
        lambda case: case.update(atomic=True),
        lambda case: case.update(fill="a4"),
        lambda case: case.update(len1=14),
        lambda case: case["before"]["p1"].update(start=4064),
        lambda case: case["expect"]["paolo"].update(locks_held_at_return={"gpc1": 0, "gpc2": 1}),
        lambda case: case["expect"]["upstream_6_12"].update(irqs_off_at_return=True),
        lambda case: case["expect"]["upstream_6_12"].update(mem_sha256="0" * 64),
        lambda case: case["expect"]["upstream_6_12"].update(full_sha256="0" * 64),
        lambda case: case["expect"]["upstream_6_12"].update(epoch_sha256="0" * 64),
        lambda case: case["expect"]["upstream_6_12"]["snapshots"].pop(),
        lambda case: case["expect"]["upstream_6_12"]["trace"].pop(),
        lambda case: case["expect"]["upstream_6_12"]["trace"][-2].update(held=[]),
        lambda case: case["expect"]["upstream_6_12"].update(mystery=1),
        lambda case: case["expect"].update(linux_9="=upstream_6_12"),
        lambda case: case["expect"].update(post_seed="=upstream_6_12"),
        lambda case: case["expect"].update(post_seed="=post_seed"),
        lambda case: case.pop("fill"),
    ],
)
def test_whatever_a_vector_says_is_compared(change):
    assert one_vector(lambda case: None) == []
    assert one_vector(change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda case: case["expect"].clear(), "field 'expect' is empty"),
        (lambda case: case["expect"]["upstream_6_12"].pop("trace"), "field 'trace' is missing"),
        (lambda case: case["expect"]["paolo"].clear(), "field 'trace' is missing"),
        (
            lambda case: case["expect"]["upstream_6_12"].pop("snapshots"),
            "field 'snapshots' is missing",
        ),
        (lambda case: case["expect"]["upstream_6_12"].pop("after"), "field 'after' is missing"),
    ],
    ids=["expect", "trace", "everything", "snapshots", "after"],
)
def test_a_vector_that_leaves_out_what_to_compare_is_malformed(change, message):
    said = one_vector(change)
    assert any(one.startswith("malformed") and message in one for one in said)


def scenario(name, change=lambda scenario: None):
    document = json.loads((DATA / "oracle/gpc_scenarios.json").read_text())
    (found,) = [one for one in document["scenarios"] if one["id"] == name]
    document["scenarios"] = [found]
    change(found)
    return differences(json.dumps(document))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("C01", lambda one: one["setup"][2].update(gpa=769)),
        ("C01", lambda one: one["versions"]["post_seed"]["register2"]["gpc1"].update(khva_off=1)),
        ("C01", lambda one: one["versions"]["post_seed"]["update"]["wrote"][0].update(off=1)),
        ("C05", lambda one: one["setup"].pop(2)),
        ("C05", lambda one: one["versions"]["post_seed"]["update"]["inner"].pop()),
        ("C05", lambda one: one["versions"]["post_seed"]["update"].pop("inner")),
        ("C16", lambda one: one["setup"][3].update(frame=2)),
        ("C25", lambda one: one["setup"][3].update(page=1)),
        ("C32", lambda one: one["setup"][2].update(gpc=2)),
        ("C50", lambda one: one["versions"]["upstream_6_12"].update(lost_dirty=[0])),
        ("C50", lambda one: one["setup"][2].update(after="wmb")),
        ("C60", lambda one: one["versions"]["paolo"].update(then_activate_gpc2="ok")),
        ("C60", lambda one: one["versions"]["paolo"].pop("then_activate_gpc2")),
        ("C60", lambda one: one["versions"]["paolo"]["update2"].update(wrote_nothing=False)),
        ("C60", lambda one: one["setup"][0].update(op="modus")),
        ("C70", lambda one: one["versions"]["old_6_1"].update(mystery=1)),
    ],
)
def test_whatever_a_scenario_says_is_compared(name, change):
    assert scenario(name) == []
    assert scenario(name, change)


def test_33_bytes_beyond_the_page_are_told_as_the_recording_would():
    def write(one):
        one["setup"] = [
            {"op": "mode", "abi": "native", "update_flag": True},
            {"op": "register", "gpa": 4081},
            {"op": "register", "gpa": 256},
            {"op": "update", "atomic": False, "result": "update"},
        ]
        one["versions"] = {"post_seed_nofix": {"update": {"wrote": []}}}

    found = scenario("C01", write)
    (wrote,) = [one for one in found if one.startswith("update.wrote:")]
    assert "'bytes_beyond_page_end': 33" in wrote
    assert "'off': 4081, 'size': 4" in wrote


MOVED = "kvm/kvm_move_same_page_linux6.1.192_fixed.txt"


def test_a_transcript_of_one_kernel_has_the_fix_or_has_it_not():
    fixed = lines_of(MOVED)
    reverted = lines_of("kvm/kvm_move_same_page_linux6.1.192_khva_fix_reverted.txt")
    assert differences([*fixed[:3], *reverted[3:]])


def test_bytes_that_land_nowhere_are_a_miss():
    reverted = lines_of("kvm/kvm_move_same_page_linux6.1.192_khva_fix_reverted.txt")
    label = reverted[4].rpartition(" ")[0]
    assert differences([*reverted[:4], f"{label} {'aa' * 64}", *reverted[5:]])


def test_a_transcript_line_that_nobody_knows_is_malformed():
    assert any(one.startswith("malformed") for one in differences([*lines_of(MOVED), "HELLO 1"]))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("ERR sum mismatch r=-1 errno=22", "ERR sum mismatch r=-1 errno=14"),
        ("ERR addr outside slot r=-1 errno=14", "ERR addr outside slot r=0 errno=14"),
        ("EDGE lm=1 flag=1", "EDGE lm=1 flag=0"),
        ("GROW native@-44", "GROW native@-48"),
        ("GETDATA state=0", "GETDATA state=1"),
        (
            "reader=linux reads=6212352 writes=339796 inconsistent=0",
            "reader=linux reads=6212352 writes=339796 inconsistent=1",
        ),
    ],
)
def test_a_transcript_that_says_something_else_is_a_miss(old, new):
    for name in ("kvm/kvm_edge_run_linux6.12.107.txt", "kvm/kvm_torn_reads_linux6.12.107.txt"):
        text = (DATA / name).read_text()
        if old in text:
            assert differences(text.replace(old, new, 1))
            return
    pytest.fail("no transcript has that line")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "there is nothing in it"),
        ("\n\n", "there is nothing in it"),
        ("hello", "is no line of a transcript"),
        ("[1, 2]", "without a format"),
        ('{"a": 1}', "without a format"),
        ('{"format": "else/1"}', "'else/1' is none of"),
        ('{"format": "runstate-oracle-public/1"}', "field 'cases' is missing"),
        ("{\n broken", "not JSON"),
        ('{"win": ""}\n{"win": ""}\n', "line 1: field 'meta' is missing"),
    ],
)
def test_what_is_no_recording_is_one_line_and_could_not_be_checked(text, message, tmp_path, capsys):
    path = tmp_path / "file"
    path.write_text(text)
    assert main([str(path)]) == 3
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.splitlines()) == 1
    assert re.search(message, said.err)


def test_a_broken_line_among_many_is_named_and_the_others_are_replayed(tmp_path, capsys):
    lines = lines_of(GOLDEN)
    lines[4] = lines[4][:-10]
    path = tmp_path / "file"
    path.write_text("\n".join(lines))
    assert main([str(path)]) == 3
    said = capsys.readouterr()
    assert "443 of 443 final states" in said.out
    assert f"{path}: line 5: not JSON" in said.err


def test_a_missing_file_could_not_be_checked_and_the_others_are(capsys):
    assert main([str(DATA / "no such file"), str(DATA / MOVED)]) == 3
    assert "6 of 6" in capsys.readouterr().out


def test_a_miss_outranks_what_could_not_be_checked(tmp_path, capsys):
    path = tmp_path / "file"
    path.write_text("\n".join(changed(GOLDEN, 2, state=3)))
    assert main([str(DATA / "no such file"), str(path)]) == 1
    assert "443 of 444 final states" in capsys.readouterr().out


def test_binary_data_is_no_recording(capsys):
    assert main([str(DATA / "pages/xen417_busy_d0_cpu0.page.bin")]) == 3


def test_a_recording_may_come_from_stdin(monkeypatch, capsys):
    import io
    import sys

    class Stdin:
        buffer = io.BytesIO((DATA / MOVED).read_bytes())

    monkeypatch.setattr(sys, "stdin", Stdin)
    assert main(["-"]) == 0
    assert "6 of 6" in capsys.readouterr().out
