"""Zig: it takes the module for targets of both widths, and refuses a shifted field."""

import pytest


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
def test_it_compiles(built, emitted, target):
    built(emitted("zig"), target)


def test_a_shifted_field_is_refused_by_a_whole_sentence(built, emitted, changed):
    text = changed(emitted("zig"), "pad_04: [4]u8", "pad_04: [8]u8")
    said = built(text, "x86_64-linux", fails=True)
    assert "VcpuRunstateInfo64" in said
    assert "must be" in said


def test_members_that_change_places_are_refused_by_their_offsets(built, emitted, changed):
    first, second = "    state_entry_time: u64 align(4), // offset 4\n", "    time: [4]u64 align(4)"
    text = changed(emitted("zig"), first, "")
    text = changed(text, f"{second}, // offset 12\n", f"{second},\n{first}")
    said = built(text, "x86-linux", fails=True)
    assert "VcpuRunstateInfo32.state_entry_time must be at offset 4, right behind state" in said
