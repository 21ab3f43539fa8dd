"""Real compilers, for every ABI that has a claim, and what happens when one cannot be asked."""

import pytest

from runstate_abi.layouts.abi import ABI, ABIS
from runstate_abi.layouts.conditions import CONDITIONS
from runstate_abi.layouts.model import WitnessError, compare
from runstate_abi.layouts.structs.runstate import CLAIMS, COMPAT, NATIVE
from runstate_abi.layouts.witnesses import compiler
from runstate_abi.layouts.witnesses.compiler import OURS, header_unit, observe
from runstate_abi.layouts.witnesses.probe import Subject, Unit

# One command line at least for each ABI; clang is a cross compiler by itself.
COMMANDS = {
    "gcc -m64": "x86_64",
    "gcc -m32": "i386",
    "gcc -mx32": "x32",
    "aarch64-linux-gnu-gcc": "arm64",
    "arm-linux-gnueabihf-gcc": "arm32",
    "clang -m64": "x86_64",
    "clang -m32": "i386",
    "clang --target=aarch64-linux-gnu": "arm64",
    "clang --target=armv7-linux-gnueabi": "arm32",
    "clang --target=riscv64-linux-gnu": "riscv64",
    "clang --target=i686-w64-windows-gnu": "i386-windows",
    "clang --target=i686-pc-windows-msvc": "i386-windows",
    "clang --target=x86_64-pc-windows-msvc": "x86_64-windows",
    "clang --target=x86_64-w64-windows-gnu": "x86_64-windows",
}


@pytest.fixture
def command(request, installed):
    """A command line whose compiler is installed: CI installs them all."""
    installed(request.param)
    return request.param


def test_there_is_a_compiler_for_every_abi():
    assert set(COMMANDS.values()) == {abi.name for abi in ABIS}


@pytest.mark.parametrize("command", COMMANDS, indirect=True)
def test_a_compiler_confirms_the_three_declarations(command):
    observed = observe(OURS, command)
    claims = CLAIMS[COMMANDS[command]]
    assert observed.abi.name == COMMANDS[command]
    for seen, claim in zip(observed.layouts.found, claims, strict=True):
        result = compare(claim, seen, command)
        assert (result.compared, result.differences, result.unknown) == (14, (), ())


@pytest.mark.parametrize("command", COMMANDS, indirect=True)
def test_the_conditions_hold_as_static_assertions(command):
    observed = observe(OURS, command)
    assert len(observed.asserted) == (16 if observed.abi.name == "x86_64" else 13)
    assert observed.refused == ()


@pytest.mark.parametrize("command", ["gcc -m32 -malign-double"], indirect=True)
def test_malign_double_contradicts_the_i386_claim(command):
    native = observe(OURS, command).layouts.found[0]
    lines = [str(d) for d in compare(CLAIMS["i386"].native, native, command).differences]
    assert (native.size, native.alignment) == (48, 8)
    assert "offset-mismatch vcpu_runstate_info.time [i386] spec=12 seen=16 (" in lines[-1]


def broken(old, new):
    assert old in OURS.declarations
    return Unit(OURS.declarations.replace(old, new), OURS.subjects, CONDITIONS)


# Edits of our own declarations: the members they move, and the conditions a compiler refuses.
EDITS = {
    "the compat struct is not packed": (
        broken(" __attribute__((packed))", ""),
        {"A3", "A4", "A5"},
        COMPAT,
    ),
    "five times": (
        broken("time[4]; };\nstruct compat", "time[5]; };\nstruct compat"),
        {"A6", "A15", "A16"},
        NATIVE,
    ),
    "a 64-bit state": (
        broken("vcpu_runstate_info { int state", "vcpu_runstate_info { long long state"),
        {"A3", "A4", "A5", "A8", "A9"},
        COMPAT,
    ),
}


@pytest.mark.parametrize("case", EDITS)
@pytest.mark.parametrize("command", ["gcc -m64", "clang -m64"], indirect=True)
def test_an_edited_declaration_is_refused_and_still_measured(command, case):
    unit, ids, layout = EDITS[case]
    observed = observe(unit, command)
    assert {condition.id for condition in observed.refused} == ids
    (seen,) = [x for x in observed.layouts.found if x.name == layout.name]
    assert compare(layout, seen, command).differences


def header(tmp_path, text):
    path = tmp_path / "mine.h"
    path.write_text(text)
    return str(path)


@pytest.mark.host64
@pytest.mark.parametrize("command", ["gcc"], indirect=True)
def test_a_users_header_is_measured(command, tmp_path):
    path = header(
        tmp_path,
        "typedef struct { unsigned state; unsigned long long state_entry_time, time[4]; } mine;",
    )
    (seen,) = observe(header_unit(path, [Subject("mine", NATIVE.name)]), command).layouts.found
    differing = [d.kind for d in compare(NATIVE, seen, command).differences]
    assert differing == ["signedness-mismatch"]


@pytest.mark.host64
@pytest.mark.parametrize("command", ["gcc -I{folder}"], indirect=True)
def test_include_paths_come_with_the_command(command, tmp_path):
    (tmp_path / "types.h").write_text("typedef unsigned long long my64;\n")
    text = "#include <types.h>\nstruct mine { int state; my64 state_entry_time, time[4]; };"
    unit = header_unit(header(tmp_path, text), [Subject("struct mine", NATIVE.name)])
    (seen,) = observe(unit, command.format(folder=tmp_path)).layouts.found
    assert compare(NATIVE, seen, command).differences == ()


BAD_HEADERS = {
    "it does not parse": ("struct mine { int state int; };", "mine.h:1:"),
    "the struct is only declared": ("struct mine;", "struct mine"),
    "a member is missing": ("struct mine { int state; };", "state_entry_time"),
    "a member is a bitfield": (
        "struct mine { int state : 2; long long state_entry_time, time[4]; };",
        "bit-field",
    ),
}


@pytest.mark.parametrize("case", BAD_HEADERS)
@pytest.mark.parametrize("command", ["gcc"], indirect=True)
def test_a_header_that_cannot_be_measured_is_one_line(command, case, tmp_path):
    text, message = BAD_HEADERS[case]
    with pytest.raises(WitnessError) as refusal:
        observe(header_unit(header(tmp_path, text), [Subject("struct mine", NATIVE.name)]), command)
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_header_that_is_not_there_is_named():
    with pytest.raises(WitnessError, match=r"/nowhere/mine\.h: no such header"):
        header_unit("/nowhere/mine.h", [Subject("struct mine", NATIVE.name)])


BAD_COMMANDS = {
    "nosuch-cc -m64": "cannot run nosuch-cc: No such file or directory",
    "": "the compiler's command line is empty",
    "gcc 'unclosed": "No closing quotation",
    "false": "does not compile: exit status 1",
    "true": "does not compile: exit status 0",
    "gcc -flto": "no section",
    "/": "cannot run /: Permission denied",
}


@pytest.mark.parametrize("command", BAD_COMMANDS)
def test_a_compiler_that_cannot_be_asked_is_one_line(command):
    with pytest.raises(WitnessError) as refusal:
        observe(OURS, command)
    assert BAD_COMMANDS[command] in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_compiler_that_never_ends_is_stopped(monkeypatch, tmp_path):
    script = tmp_path / "slow"
    script.write_text("#!/bin/sh\nexec sleep 30\n")
    script.chmod(0o755)
    monkeypatch.setattr(compiler, "TIMEOUT_S", 0.2)
    with pytest.raises(WitnessError, match=r"still compiling after 0\.2 s"):
        observe(OURS, str(script))


@pytest.mark.parametrize("command", ["clang --target=s390x-linux-gnu"], indirect=True)
def test_an_abi_without_a_claim_is_refused_unless_one_is_named(command):
    with pytest.raises(WitnessError, match="an ABI without a claim"):
        observe(OURS, command)
    observed = observe(OURS, command, ABI["arm64"])
    assert [layout.size for layout in observed.layouts.found] == [48, 44, 44]
