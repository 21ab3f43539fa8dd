"""The recording harness's pages."""

from replaying.arena import arena_bytes, window


def test_a_fill_pattern_runs_through_the_arena():
    # Page 1 is the arena's tenth page, page 2 its fourth: 9 * 4096 = 4 and 3 * 4096 = 3 modulo 5.
    pages = window(bytes.fromhex("deadbeef01"))
    assert pages.read(0, 3) == bytes.fromhex("01dead")
    assert pages.page(2)[:3] == bytes.fromhex("ef01de")
    assert arena_bytes(bytes.fromhex("deadbeef01"), 1, -2, 3) == bytes.fromhex("beef01")
