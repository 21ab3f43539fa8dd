"""Small inputs made after public bug reports: what `check` and the pytest fixture say of each."""

from pathlib import Path

import pytest

from runstate_abi.tools import cli

NATIVE = ("--struct", "vcpu_runstate_info")
BASE = (str(Path(__file__).parents[2] / "data/cases/18-btf-distilled-base-pair/base.btf"),)
COMPAT_ALLOWED = ("--allow-missing", "compat_vcpu_runstate_info")
CASES = {
    "01-xen-public-header-no-stdint/vcpu.h": (NATIVE, 0, "native 48; 14 compared, 0 differ"),
    "08-selftest-packed-native/m.h": (NATIVE, 1, "size-mismatch vcpu_runstate_info [x86_64] spec="),
    "12-coff-x64/vcpu.h": (
        (*NATIVE, "--cc", "clang --target=x86_64-pc-windows-msvc"),
        0,
        "[x86_64-windows]  native 48; 14 compared, 0 differ",
    ),
    "13-thousands-of-errors/many.h": (
        (*NATIVE, "--cc", "gcc -m32"),
        3,
        "many.h:2:20: error: width of 'a0' exceeds",
    ),
    "18-btf-distilled-base-pair/kvm.ko": (
        (*BASE,),
        0,
        "native 48, compat 44; 26 compared, 0 differ; 16 of 16 conditions hold",
    ),
    "30-bzimage-lz4/vmlinuz": ((), 0, "native 48, compat 44; 26 compared, 0 differ"),
    "04-big-endian-storage-order-header/be.h": (
        NATIVE,
        1,
        "time [x86_64] spec=unsigned seen=big-endian",
    ),
    "06-members-are-pointers/ptr.h": (NATIVE, 1, "type-mismatch vcpu_runstate_info.time"),
    "09-selftest-uint32-state/s.h": (NATIVE, 0, "note: struct vcpu_runstate_info: state is uns"),
    "14-btf-big-endian/be.btf": ((), 3, "big-endian): no ABI here is that machine's"),
    "16-btf-enum64-float-decltag/k.btf": ((), 0, "native 48, compat 44; 26 compared, 0 differ"),
    "22-dwarf-two-definitions/gtb.o": ((), 1, "native 48, native 44, compat 44; 39 compared"),
    "23-dwarf-gz-relocatable/z.o": ((), 0, "native 48, compat 44; 26 compared, 0 differ"),
    "26-dwarf-rust-namespace/rs.o": ((), 0, "native 48, compat 44; 28 compared, 0 differ"),
    "28-dwarf-cpp-inheritance/d.o": (COMPAT_ALLOWED, 0, "native 48; 13 compared, 0 differ"),
}


# What the host's own compiler and ctypes are asked about: on a 32-bit host they make 44 bytes.
def on_64_bits(case, *others):
    return pytest.param(case, *others, marks=pytest.mark.host64)


BY_THE_HOST = (
    "04-big-endian-storage-order-header/be.h",
    "01-xen-public-header-no-stdint/vcpu.h",
    "08-selftest-packed-native/m.h",
)
NEEDS = {"12-coff-x64/vcpu.h": ["clang"], "13-thousands-of-errors/many.h": ["gcc"]}


@pytest.mark.parametrize("case", [on_64_bits(c) if c in BY_THE_HOST else c for c in CASES])
def test_a_reported_input_has_the_right_answer(data, capsys, installed, case):
    options, code, text = CASES[case]
    installed(*NEEDS.get(case, ()))
    if "lz4" in case:
        pytest.importorskip("lz4.block")
    path = str(data / "cases" / case)
    argv = ["--header", path, *options] if path.endswith(".h") else [path, *options]
    assert cli.main(["check", *argv]) == code
    said = capsys.readouterr()
    assert text in said.out + said.err


@pytest.mark.parametrize("flags", [("--abi", "x86_64"), ("--abi", "i386")])
def test_big_endian_btf_differs_from_any_abi_that_is_named(data, capsys, flags):
    path = str(data / "cases/14-btf-big-endian/be.btf")
    assert cli.main(["check", path, *flags]) == 1
    assert "vcpu_runstate_info.time" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("case", "text"),
    [
        on_64_bits("80-ctypes-inheritance", "*1 passed*"),
        ("81-ctypes-nested-big-endian", "*seen=big-endian*"),
    ],
)
def test_a_reported_mirror_has_the_right_answer(data, pytester, case, text):
    pytester.makepyfile((data / "cases" / case / "mirror.py").read_text())
    pytester.runpytest("-p", "no:cacheprovider").stdout.fnmatch_lines([text])
