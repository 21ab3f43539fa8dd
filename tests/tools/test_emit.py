"""runstate emit: the verb; what the languages make is tried in tests/tools/languages/."""

import subprocess

import pytest

from runstate_abi.layouts.model import WitnessError
from runstate_abi.tools import emit
from runstate_abi.tools.languages.c import MACROS


def test_help_names_every_language(capsys):
    with pytest.raises(SystemExit):
        emit.main(["--help"])
    said = capsys.readouterr().out
    assert all(f"  {language.word} " in said for language in emit.LANGUAGES)


def test_no_macro_of_c_is_said_to_be_for_cpp():
    assert "C++" not in emit.LANGUAGE["c"].summary
    assert not [macro.name for macro in MACROS if "C++" in macro.whose]


@pytest.mark.parametrize("language", [language.word for language in emit.LANGUAGES])
def test_a_file_that_was_written_is_not_stale(language, tmp_path, capsys):
    path = str(tmp_path / "out")
    assert emit.main([language, "-o", path]) == 0
    assert emit.main([language, "--check", path]) == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("language", [language.word for language in emit.LANGUAGES])
def test_no_file_names_the_machine_or_the_day(language):
    text = "\n".join(emit.emitted(language))
    assert not any(word in text for word in ("/home", "/root", "/usr/", "/tmp", "202"))


def test_a_stale_file_is_exit_1_and_a_short_diff(tmp_path, capsys):
    path = tmp_path / "runstate.h"
    emit.main(["c", "-o", str(path)])
    path.write_text(path.read_text().replace("uint64_t time[4]", "uint64_t time[5]"))
    assert emit.main(["c", "--check", str(path)]) == 1
    said = capsys.readouterr()
    assert "-\tuint64_t time[5];" in said.out
    assert "+\tuint64_t time[4];" in said.out
    assert f"{path} is stale: runstate emit c" in said.err


def test_a_file_with_other_line_ends_is_stale(tmp_path, capsys):
    path = tmp_path / "runstate.h"
    emit.main(["c", "-o", str(path)])
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert emit.main(["c", "--check", str(path)]) == 1
    assert "line ends" in capsys.readouterr().out


def test_a_file_that_is_missing_or_no_text_could_not_be_checked(tmp_path):
    with pytest.raises(WitnessError, match="nosuch: cannot be read"):
        emit.main(["c", "--check", str(tmp_path / "nosuch")])
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(WitnessError, match="is not UTF-8 text"):
        emit.main(["c", "--check", str(tmp_path / "binary")])


def test_a_file_that_cannot_be_written_is_one_line(tmp_path):
    with pytest.raises(WitnessError, match="cannot be written"):
        emit.main(["c", "-o", str(tmp_path / "no" / "such")])


@pytest.mark.parametrize("macro", [macro.name for macro in MACROS])
def test_a_macro_is_used_throughout(macro, capsys):
    assert emit.main(["c", "--macro", macro]) == 0
    said = capsys.readouterr().out
    others = {"_Static_assert(", "BUILD_BUG_ON(", "CTASSERT("} - {f"{macro}("}
    assert said.count(f"{macro}(") > 20
    assert not any(f"\n{other}" in said or f"\t{other}" in said for other in others)


def test_structs_of_ones_own_get_assertions_and_no_declarations(capsys):
    words = ["--struct", "struct mine=vcpu_runstate_info", "--abi", "i386"]
    assert emit.main(["c", *words]) == 0
    said = capsys.readouterr().out
    assert "offsetof(struct mine, time) == 12" in said
    assert "struct mine {" not in said
    assert "#define" not in said


def test_the_alignment_of_a_mirror_of_the_compat_form_is_left_open(capsys):
    emit.main(["c", "--struct", "compat_t=compat_vcpu_runstate_info"])
    assert "_Alignof" not in capsys.readouterr().out
    emit.main(["c", "--struct", "native_t=vcpu_runstate_info"])
    assert "_Alignof(native_t) == 8" in capsys.readouterr().out


# One mirror that is right and one that is wrong, and what builds them with emitted assertions.
BUILDS = {
    "c": (
        "struct mine {{ int state; {0} entered; unsigned long long time[4]; }};\n",
        "struct mine=native",
        ["gcc", "-xc", "-fsyntax-only", "-include", "stddef.h"],
    ),
    "cpp": (
        "namespace xen "
        "{{ struct mine {{ int state; {0} entered; unsigned long long time[4]; }}; }}\n",
        "xen::mine=native",
        ["g++", "-xc++", "-fsyntax-only", "-include", "stddef.h"],
    ),
    "cpp, an enumeration": (
        "enum class State : int {{ a }};\n"
        "struct mine {{ State state; {0} entered; unsigned long long time[4]; }};\n",
        "mine=native",
        ["g++", "-xc++", "-fsyntax-only", "-include", "stddef.h"],
    ),
    "rust": (
        "mod xen {{ #[repr(C)] pub struct Mine "
        "{{ pub state: i32, pub entered: {0}, pub time: [u64; 4] }} }}\n",
        "xen::Mine=native",
        ["rustc", "--edition=2021", "--crate-type=lib", "--emit=metadata", "-Adead_code"],
    ),
}
WIDE, NARROW = {"rust": "u64"}, {"rust": "[u16; 4]"}


@pytest.mark.host64
@pytest.mark.parametrize("language", BUILDS)
def test_emitted_assertions_hold_a_right_mirror_and_no_other(
    language, capsys, tmp_path, installed, request
):
    text, struct, command = BUILDS[language]
    installed(command[0])
    if language == "rust":
        request.getfixturevalue("offset_of")
    options = ["--struct", struct, "--member", "state_entry_time=entered"]
    assert emit.main([language.split(",")[0], *options]) == 0
    asserted = capsys.readouterr().out
    outcomes = []
    for kind in (WIDE.get(language, "unsigned long long"), NARROW.get(language, "unsigned")):
        source = tmp_path / "mine"
        source.write_text(text.format(kind) + asserted)
        done = subprocess.run([*command, source], cwd=tmp_path, capture_output=True, text=True)
        outcomes.append((done.returncode == 0, "must be" in done.stderr))
    assert outcomes == [(True, False), (False, True)]


# fmt: off
WRONG = (
    ["pascal"],
    ["rust", "--macro", "CTASSERT"],
    ["cpp", "--macro", "CTASSERT"],
    ["c", "--macro", "ASSERT_OR_SO"],
    ["c", "--struct", "struct mine"],
    ["c", "--struct", "struct mine=my_info"],
    ["c", "--struct", "struct a;system=vcpu_runstate_info"],
    ["c", "--struct", "struct 2a=vcpu_runstate_info"],
    ["c", "--struct", "struct é=vcpu_runstate_info"],
    ["c", "--struct", "a b=vcpu_runstate_info"],
    ["c", "--struct", "struct =vcpu_runstate_info"],
    ["zig", "--struct", "struct mine=vcpu_runstate_info"],
    ["c", "--struct", "typeof(x); int y=native"],
    ["c", "--member", "time=a"],
    ["c", "--struct", "native", "--member", "tim=a"],
    ["c", "-o", "x", "--check", "x"],
)
# fmt: on


@pytest.mark.parametrize("words", WRONG, ids=" ".join)
def test_wrong_usage_is_exit_2(words, capsys):
    with pytest.raises(SystemExit) as stopped:
        emit.main(words)
    assert stopped.value.code == 2
