"""rustc and Zig take the modules, and refuse a shifted field by a whole sentence."""

import pytest


@pytest.fixture
def rustc(tool, offset_of, tmp_path):
    """Return a function that compiles a library."""

    def compile_(text, fails=False, *flags):
        source = tmp_path / "runstate.rs"
        source.write_text(text)
        common = ("--edition=2021", "--crate-type=lib", "--emit=metadata", "-Dwarnings")
        return tool("rustc", *common, *flags, source, "-o", tmp_path / "out", fails=fails)

    return compile_


@pytest.mark.parametrize("word", ["rust", "rust-reader"])
def test_rust_compiles_without_a_warning_and_without_std(rustc, emitted, word):
    rustc("#![no_std]\n" + emitted(word))


COMPARED = """
pub fn is_running(area: &VcpuRunstateInfo64, old: &VcpuRunstateInfo32, copy: &Snapshot) -> bool {
    let states: [u32; 3] = [area.state, old.state, copy.state];
    states == [RUNSTATE_RUNNING; 3] || area.state == RUNSTATE_RUNNABLE
        || old.state == RUNSTATE_BLOCKED || copy.state == RUNSTATE_OFFLINE
}
"""


def test_a_state_is_compared_with_a_constant_without_a_cast(rustc, emitted):
    rustc(emitted("rust-reader") + COMPARED)


# fmt: off
SHIFTS = (
    ("pad_04: [u8; 4]", "pad_04: [u8; 8]", "VcpuRunstateInfo64 must be 48 bytes long"),
    ("packed(4)",       "align(4)",        "VcpuRunstateInfo32 must be 44 bytes long"),
    ("align(8)",        "packed(4)",       "VcpuRunstateInfo64 must be aligned to 8 bytes"),
)
# fmt: on


@pytest.mark.parametrize(("old", "new", "sentence"), SHIFTS)
def test_a_shifted_field_is_refused_by_rust(rustc, emitted, changed, old, new, sentence):
    assert sentence in rustc(changed(emitted("rust"), old, new), True)


def test_members_that_change_places_are_refused_by_rust(rustc, emitted, changed):
    lines = (
        "    pub state_entry_time: u64, // offset 4, 8 bytes\n    pub time: [u64; 4], // offset 12"
    )
    swapped = (
        "    pub time: [u64; 4], // offset 12\n    pub state_entry_time: u64, // offset 4, 8 bytes"
    )
    swapped = swapped.replace("// offset 12\n", "\n")
    said = rustc(changed(emitted("rust"), lines, swapped), True)
    assert "VcpuRunstateInfo32.state_entry_time must be at offset 4, right behind state" in said


@pytest.fixture
def built(zig, tool, tmp_path):
    """Return a function that analyses a module for a target."""

    def build(text, target, fails=False):
        source = tmp_path / "runstate.zig"
        source.write_text(text)
        words = (*zig, "build-obj", "-fno-emit-bin", "-target", target, source)
        return tool(*words, fails=fails, cwd=tmp_path)

    return build


@pytest.mark.parametrize("target", ["x86_64-linux", "x86-linux", "arm-linux", "x86-windows"])
def test_zig_compiles(built, emitted, target):
    built(emitted("zig"), target)


def test_a_shifted_field_is_refused_by_zig(built, emitted, changed):
    text = changed(emitted("zig"), "pad_04: [4]u8", "pad_04: [8]u8")
    said = built(text, "x86_64-linux", fails=True)
    assert "VcpuRunstateInfo64" in said
    assert "must be" in said


def test_members_that_change_places_are_refused_by_zig(built, emitted, changed):
    first, second = "    state_entry_time: u64 align(4), // offset 4\n", "    time: [4]u64 align(4)"
    text = changed(emitted("zig"), first, "")
    text = changed(text, f"{second}, // offset 12\n", f"{second},\n{first}")
    said = built(text, "x86-linux", fails=True)
    assert "VcpuRunstateInfo32.state_entry_time must be at offset 4, right behind state" in said
