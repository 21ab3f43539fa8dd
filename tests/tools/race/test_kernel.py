"""The code of a shipped kernel as the writer of a race."""

import json

import pytest

from runstate_abi.tools.cli import main
from runstate_abi.writer.guest import READERS


@pytest.mark.network
def test_the_code_of_a_shipped_kernel_is_safe_with_the_flag_and_torn_without(answers, debian):
    pytest.importorskip("unicorn")
    kernel, module = debian.kernel("trixie", "linux-image-amd64", [r"vmlinuz.*", r"kvm\.ko\.xz"])
    arguments = ["--kernel", str(module), "--btf", str(kernel)]
    code, rows = answers(*arguments)
    assert code == 0
    assert len(rows) == 2 * 3 + 47 + 43
    assert {(row["reader"], row["verdict"]) for row in rows} == {
        ("linux-64", "safe"),
        ("linux-32", "safe"),
    }
    arguments += ["--reader", "linux-64"]
    code, rows = answers(*arguments)
    assert code == 0
    assert len(rows) == 2 * 3 + 47 + 43
    assert {row["verdict"] for row in rows} == {"safe"}
    code, rows = answers(*arguments, "--drop", "flag")
    assert code == 1
    assert {row["verdict"] for row in rows} == {"torn"}


@pytest.mark.network
@pytest.mark.parametrize(("function", "verdict"), [("sound", "safe"), ("late_time", "torn")])
def test_a_compiled_guest_meets_a_shipped_kernel(answers, debian, guest_code, function, verdict):
    kernel, module = debian.kernel("trixie", "linux-image-amd64", [r"vmlinuz.*", r"kvm\.ko\.xz"])
    guest = guest_code("gcc", "-O2", "-g")
    asked = ["--reader-object", f"{guest}:{function}", "--kernel", str(module)]
    code, rows = answers(*asked, "--btf", str(kernel))
    assert code == (verdict == "torn")
    assert {row["verdict"] for row in rows} == {verdict}
    assert len(rows) == 6  # a cache line, and five splits of a page between aligned words


BYTE = "the flag goes up by one byte, and down by one byte"
EIGHT = "the flag goes up by eight bytes, and down by eight bytes, read, changed and written back"


# 0x1100 begins a cache line; at 0x1134 state_entry_time crosses one, and eight bytes tear.
@pytest.mark.parametrize(
    ("source", "at", "code", "stores"),
    [
        ("writer.c", "0x1100", 0, BYTE),
        ("writer.c", "0x1134", 0, BYTE),
        ("old_writer.c", "0x1100", 0, EIGHT),
        ("old_writer.c", "0x1134", 1, EIGHT),
    ],
)
def test_code_is_classified_by_its_stores_and_read_by_linux(
    capsys, c_writer, source, at, code, stores
):
    path = c_writer(source=source)
    assert main(["race", "--kernel", path, "--abi", "native", "--at", at]) == code
    out = capsys.readouterr().out
    assert out.startswith("torn: linux-64 accepts" if code else "safe: linux-64 never accepts")
    assert f"{path}: {stores}" in " ".join(out.split())


def test_the_readers_of_linux_read_their_own_structs_unless_others_are_named(answers, c_writer):
    asked = ["--kernel", c_writer(), "--at", "0x1100"]
    code, rows = answers(*asked)
    assert code == 0
    pairs = [(row["reader"], row["abi"]) for row in rows]
    assert pairs == [("linux-64", "native"), ("linux-32", "compat")]
    code, rows = answers(*asked, "--all")
    assert code == 1
    assert len(rows) == 2 * len(READERS)
    code, rows = answers(*asked, "--reader", "naive")
    assert code == 1
    assert [(row["reader"], row["abi"]) for row in rows] == [
        ("naive", "native"),
        ("naive", "compat"),
    ]


ONE = ("--at", "0x1100")


# A shipped guest against a shipped host: what each of the two lacks is found.
@pytest.mark.parametrize(
    ("function", "writer", "code"),
    [
        ("sound", (), 0),
        ("tries", (), 0),
        ("no_flag", (), 1),
        ("late_time", (), 1),
        ("sound", ("NO_CLEAR",), 0),
        ("sound", ("SET_AFTER_BODY",), 1),
    ],
)
def test_a_guests_code_is_asked_with_a_kernels_code(
    capsys, c_writer, guest_code, function, writer, code
):
    kernel, guest = c_writer(*writer), guest_code("gcc", "-O1", "-g")
    asked = ["race", "--reader-object", f"{guest}:{function}", "--kernel", kernel]
    assert main([*asked, *ONE]) == code
    out = capsys.readouterr().out
    verb = "accepts from" if code else "never accepts from"
    assert out.splitlines()[0].endswith(f": {function} {verb} {kernel} what was never true")


def test_a_guests_code_is_asked_at_the_addresses_that_its_compiler_may_count_on(
    answers, c_writer, guest_code
):
    for bits, size in (("-m64", 8), ("-m32", 4)):
        guest = guest_code("gcc", "-O1", bits)
        _, rows = answers("--reader-object", f"{guest}:tries", "--kernel", c_writer())
        assert {row["model"] for row in rows} == {"x86-tso"}
        assert {row["at"] % size for row in rows} == {0}
        assert len({row["at"] for row in rows}) == {8: 6, 4: 13}[size]
        assert {row["abi"] for row in rows} == {{8: "native", 4: "compat"}[size]}


@pytest.mark.needs("aarch64-linux-gnu-gcc")
def test_a_guest_of_another_machine_is_one_line(capsys, c_writer, guest_code):
    guest = guest_code("aarch64-linux-gnu-gcc", "-O1")
    assert main(["race", "--reader-object", f"{guest}:sound", "--kernel", c_writer()]) == 3
    assert capsys.readouterr().err == (
        f"runstate: {guest}:sound: not x86 code, which {c_writer()} is: they never meet\n"
    )


def test_a_guest_or_a_kernel_that_is_none_is_one_line(capsys, c_writer, guest_code, tmp_path):
    path = tmp_path / "none"
    path.write_bytes(b"neither a guest nor a kernel")
    guest = guest_code("gcc", "-O1")
    for words in ([f"{guest}:sound", "--kernel", str(path)], [f"{path}:f", "--kernel", c_writer()]):
        assert main(["race", "--reader-object", *words]) == 3
        assert capsys.readouterr().err.count("\n") == 1


def test_the_table_and_the_json_have_the_class_once(capsys, c_writer):
    asked = ["race", "--kernel", c_writer(), "--at", "0x1100"]
    assert main(asked) == 0
    assert capsys.readouterr().out.splitlines().count(f"{c_writer()}: {BYTE}") == 1
    assert main([*asked, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["flag_stores"] == {c_writer(): BYTE}


def test_a_kernel_that_is_none_is_one_line(capsys, tmp_path):
    path = tmp_path / "kvm.ko"
    path.write_bytes(b"not a kernel module at all")
    assert main(["race", "--kernel", str(path)]) == 3
    assert capsys.readouterr().err.count("\n") == 1


def test_a_writer_without_the_flag_is_torn(capsys, c_writer):
    asked = ["--kernel", str(c_writer()), "--reader", "linux-64", "--abi", "native", "--at", "0"]
    assert main(["race", *asked, "--drop", "flag"]) == 1
    assert capsys.readouterr().out.startswith("torn: ")
