"""The kernel's selftest of the area on the model, the lengths of the thread, and --rules."""

import pytest

from runstate_abi.layouts.abi import PAGE_SIZE
from runstate_abi.tools import cli
from runstate_abi.tools.write import selftest
from runstate_abi.writer import two_pages
from runstate_abi.writer.steps import Barrier
from runstate_abi.writer.variants import VARIANT, VARIANTS, is_xen
from runstate_abi.writer.vcpu import SHAPES


@pytest.fixture
def write(capsys):
    """Return a function: (exit status, output, errors) of `runstate write`."""

    def run(*argv):
        code = cli.main(["write", *argv])
        return (code, *capsys.readouterr())

    return run


# What the kernel's test would say of each version: addresses that are bad, of 64.
# fmt: off
BAD = {
    "linux-5.14": 0, "linux-5.16": 47, "linux-6.1": 47,  # a crossing area is -EINVAL
    "split-memcpy": 4,  # 32-bit at 4049 to 4052: -EINVAL
    "patch-2of4": 0, "two-paths": 0, "reconciled": 0, "linux-6.2": 0, "upstream": 0,
    "single-path": 1,  # and there it hangs
    "embedded-struct": 64, "split-helper": 0, "two-hva-caches": 0, "gpc-lock": 4,
}
# fmt: on


@pytest.mark.parametrize("name", [one.name for one in VARIANTS if not is_xen(one)])
def test_how_many_of_64_addresses_are_bad(write, name):
    code, out, _ = write("--selftest", "--variant", name)
    assert f"{name}: {BAD[name]} of 64 bad" in out.splitlines()[-1]
    assert code == (1 if BAD[name] else 0)


def test_the_pre_image_is_bad_at_every_split_on_a_32_bit_host(write):
    code, out, _ = write("--selftest", "--variant", "two-paths", "--host", "i386")
    assert (code, out.splitlines()[-1].partition(" (")[0]) == (1, "two-paths: 43 of 64 bad")
    assert write("--selftest", "--variant", "reconciled", "--host", "i386")[0] == 0


def test_bonzinis_version_blocks_on_gpc2_where_the_area_first_crosses(write):
    code, out, _ = write("--selftest", "--variant", "single-path")
    bad, left, _ = out.splitlines()
    assert bad.startswith("bad page offset 0xfd1, 64-bit: blocks: gpc2: write_lock_irq")
    assert left == "50 addresses are never reached"
    assert code == 1


def test_it_moves_the_area_over_the_boundary_as_the_kernels_does():
    assert (len(selftest.ADDRESSES), selftest.ADDRESSES[0], selftest.ADDRESSES[-1]) == (
        64,
        0xFC4,
        PAGE_SIZE + 3,
    )


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("upstream", "upstream: 0 of 16384 updates bad"),
        ("reconciled", "reconciled: 0 of 8192 updates bad"),
        ("linux-6.1", "linux-6.1: 94 of 8192 updates bad"),
    ],
)
def test_every_offset_after_every_barrier(write, name, line):
    assert write("--selftest", "--every", "--variant", name)[1].splitlines()[-1] == line


# Broken copies of upstream: what each of the two tests notices.


def broken(monkeypatch, how):
    variant = VARIANT["upstream"]
    if how == "wrong page for the update byte":
        place = two_pages.place_in

        def off(caches, area, offset):
            in_first = offset == caches.split(area).first
            return place(caches, area, offset - in_first).plus(in_first)

        monkeypatch.setattr(two_pages, "place_in", off)
        return variant

    def update(vcpu, area, caches, atomic):
        steps = list(variant.update(vcpu, area, caches, atomic))
        barriers = [n for n, step in enumerate(steps) if isinstance(step, Barrier)]
        if how == "no flag" and len(barriers) == 3:
            del steps[barriers[0] - 1]
        if how == "times after the last barrier" and len(barriers) == 3:
            times = steps[barriers[1] - 1]
            if len(times.data) == 32:  # the times and nothing else
                steps.remove(times)
                steps.insert(barriers[2], times)
        yield from steps

    return type(variant)(**{**fields(variant), "update": update})


def fields(variant):
    return {name: getattr(variant, name) for name in variant.__slots__}


@pytest.mark.parametrize(
    ("how", "kernels", "every"),
    [
        ("wrong page for the update byte", 2, True),
        ("no flag", 0, False),
        ("times after the last barrier", 0, True),
    ],
)
def test_what_the_kernels_test_misses_the_other_finds(monkeypatch, how, kernels, every):
    variant = broken(monkeypatch, how)
    assert len(list(selftest.selftest(variant, "x86_64"))) == kernels
    assert bool(next(selftest.everywhere(variant, "x86_64"), None)) == every


def test_it_is_kvms(write):
    code, _, err = write("--selftest", "--variant", "xen-va")
    assert code == 2
    assert "is Xen's" in err


# The length of a cache.


def accepted(write, abi, length):
    shape = SHAPES[abi]
    offsets = (0, 4048, 4049, 4052, 4053, 4095)
    found = {
        at
        for at in offsets
        if write("--at", str(at), "--abi", abi, "--length", length, "--memory")[0] == 0
    }
    return found, shape


def test_length_48_refuses_a_compat_area_that_fits_and_1_and_per_use_refuse_nothing(write):
    assert accepted(write, "compat", "48")[0] == {0, 4048}
    assert accepted(write, "native", "48")[0] == {0, 4048}
    for length in ("1", "per-use"):
        for abi in SHAPES:
            assert accepted(write, abi, length)[0] == {0, 4048, 4049, 4052, 4053, 4095}


def test_the_length_shows_in_the_check(write):
    assert "check gpc1 len=1 -> 1" in write("--at", "0", "--length", "1")[1]
    assert "check gpc1 len=48 -> 1" in write("--at", "0", "--length", "48", "--abi", "compat")[1]
    assert "check gpc1 len=44 -> 1" in write("--at", "0", "--abi", "compat")[1]


def test_length_1_with_one_cache_writes_past_the_page(write):
    code, out, err = write("--at", "0xff1", "--variant", "linux-6.1", "--length", "1")
    assert (code, out) == (1, "")
    assert "bytes outside the mapping of page 1, at p1+4096" in err


@pytest.mark.parametrize("argv", [("--length", "7"), ("--variant", "xen-va", "--length", "1")])
def test_a_length_that_nobody_proposed_or_that_nothing_uses_is_wrong_usage(write, argv):
    code, _, err = write("--at", "0", *argv)
    assert code == 2
    assert "--length" in err


# --rules and --fault-at.


def test_rules_says_which_are_broken(write):
    code, out, _ = write("--at", "0x100", "--rules")
    assert (code, out) == (0, "upstream: 0 of 17 rules broken (profile linux-6.2+)\n")
    code, out, _ = write("--at", "0x100", "--rules", "--variant", "embedded-struct")
    assert code == 1
    assert out.splitlines()[0].split()[:2] == ["broken", "window"]
    assert write("--at", "0x100", "--rules", "--variant", "xen-va")[0] == 0


def test_fault_at_leaves_the_flag_up(write):
    argv = ("--at", "0xff1", "--variant", "two-hva-caches", "--fault-at", "3")
    code, out, _ = write(*argv, "--fill", "25")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == [
        "store", "wmb", "copy", "dirty", "dirty",
    ]  # fmt: skip
    code, out, _ = write(*argv, "--rules")
    assert code == 1
    assert "broken   final" in out
