"""Kernels as Debian ships them: their updates of clock and steal time, run and judged.

They come out of Debian's packages, streamed (marker network). No kernel breaks a rule; each of its
stores, and each call that matters, is missed if it is taken out.
"""

import re
import shutil
import subprocess

import pytest

from runstate_abi.layouts.model import WitnessError
from runstate_abi.writer.witnesses.versions.rules import RULES
from runstate_abi.writer.witnesses.versions.updates import DIRTY, LOCK, UNLOCK, Call, Store

pytestmark = pytest.mark.network

# (suite, metapackage): 6.1 and 6.12 keep what the guest gets in vcpu->arch.hv_clock, 7.x passes it.
KERNELS = {
    "6.1": ("bookworm", "linux-image-cloud-amd64"),
    "6.12": ("trixie", "linux-image-cloud-amd64"),
    "6.12-rt": ("trixie", "linux-image-rt-amd64"),
    "7.3": ("trixie-backports", "linux-image-cloud-amd64"),
    "forky": ("forky", "linux-image-cloud-amd64"),  # by a newer compiler
}
FAMILIES = ("pvclock", "steal_time")
MUTATED = ("6.12", "forky")
NOP = b"\x90"


@pytest.fixture(scope="module")
def shipped_writer(debian):
    """Return a function (version, family) -> the writer of a shipped kernel, made anew."""
    pytest.importorskip("unicorn")
    from runstate_abi.writer.witnesses.shipped import open_code, open_types
    from runstate_abi.writer.witnesses.versions.opened import WRITERS

    files = {}

    def open_(version, family):
        if version not in files:
            members = [r"vmlinuz.*", r"kvm\.ko.*"]
            vmlinuz, module = map(str, debian.kernel(*KERNELS[version], members))
            file = open_code(module)
            files[version] = file, open_types(file, vmlinuz)
        return WRITERS[family](*files[version])

    return open_


@pytest.mark.parametrize("version", KERNELS)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_shipped_kernel_is_right_and_every_rule_is_tested(
    shipped_writer, verdict_on, version, family
):
    seen = verdict_on(family, shipped_writer(version, family))
    assert {one.rule.name: one.first for one in seen.outcomes if one.broken} == {}
    assert [one.rule for one in seen.outcomes] == list(RULES[family])
    assert all(one.tested >= 30 for one in seen.outcomes)
    # One more parameter doubles what 6.12 is asked.
    expected = {"steal_time": 375, "pvclock": 1215 if version.startswith("6.12") else 675}
    assert seen.updates == expected[family]


@pytest.mark.parametrize("version", KERNELS)
def test_a_fault_after_the_odd_version_leaves_it_odd(shipped_writer, verdict_on, version):
    seen = verdict_on("steal_time", shipped_writer(version, "steal_time"))
    assert seen.notes[0].startswith("a fault at access 4, 5 or 6 of an update")


def test_the_clock_is_where_each_kernel_keeps_it(shipped_writer):
    parameters = {
        version: tuple(shipped_writer(version, "pvclock").entry.parameters)
        for version in ("6.1", "6.12", "7.3")
    }
    assert parameters["6.1"] == ("v", "gpc", "offset")
    assert parameters["6.12"] == (*parameters["6.1"], "force_tsc_unstable")
    assert parameters["7.3"] == ("ref_hv_clock", "vcpu", "gpc", "offset")


# What is changed: one instruction of the shipped code.


@pytest.fixture(scope="module")
def lengths(tmp_path_factory):
    """Return a function: writer -> offset -> (length, text) of each instruction, by objdump."""
    if shutil.which("objdump") is None:
        pytest.skip("objdump: not installed")
    path = tmp_path_factory.mktemp("code") / "function.bin"

    def lengths_(writer):
        symbol = writer.entry.symbol
        code = writer.kernel.machine.peek(symbol.address, symbol.size)
        path.write_bytes(code)
        command = ["objdump", "-D", "-b", "binary", "-m", "i386:x86-64", path]
        command.append("--no-show-raw-insn")
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        rows = re.findall(r"^\s*([0-9a-f]+):\t(\S.*)$", text, re.MULTILINE)
        starts = [int(at, 16) for at, _ in rows]
        ends = [*starts[1:], len(code)]
        texts = (" ".join(text.split()) for _, text in rows)
        return {a: (b - a, text) for a, b, text in zip(starts, ends, texts, strict=True)}

    return lengths_


def offset(place):
    return int(place.partition("+")[2], 16)


def without(writer, at, length):
    """The writer, without the instruction at an offset of its function."""
    writer.kernel.machine.poke(writer.entry.symbol.address + at, NOP * length)
    return writer


@pytest.mark.parametrize("version", MUTATED)
@pytest.mark.parametrize("family", FAMILIES)
def test_each_store_that_is_taken_out_is_missed(
    shipped_writer, broken_by, lengths, version, family
):
    good = shipped_writer(version, family)
    update = good.run(next(good.requests()), places=True)
    length = lengths(good)
    guarded = [at for at, _, _ in update.guarded]
    assert len(guarded) == {"pvclock": 6, "steal_time": 3}[family]
    for at in guarded:
        where = offset(update.places[at])
        broken = broken_by(
            family, without(shipped_writer(version, family), where, length[where][0])
        )
        expected = {guarded[0]: "odd-first", guarded[-1]: "even-last"}.get(at, "final")
        assert expected in broken, update.places[at]


# A call's place is the return address; a tail call's is none.
@pytest.mark.parametrize("version", MUTATED)
@pytest.mark.parametrize("family", FAMILIES)
def test_each_call_that_is_taken_out_is_missed(shipped_writer, broken_by, lengths, version, family):
    good = shipped_writer(version, family)
    update = good.run(next(good.requests()), places=True)
    length = {at + size: size for at, (size, _) in lengths(good).items()}
    expected = {LOCK: "locks", UNLOCK: "locks", DIRTY: "dirty"}
    taken_out = 0
    for event, place in zip(update.events, update.places, strict=True):
        if isinstance(event, Call) and event.does in expected and "+" in place:
            behind = offset(place)
            size = length[behind]
            mutant = without(shipped_writer(version, family), behind - size, size)
            assert broken_by(family, mutant) & {expected[event.does], "cannot judge"}, place
            taken_out += 1
    assert taken_out == {"pvclock": 3, "steal_time": 0}[family]


@pytest.mark.parametrize("version", MUTATED)
def test_a_version_that_is_only_counted_up_is_found(shipped_writer, broken_by, lengths, version):
    """(v + 1) | 1 without the last part: from an odd version it becomes even."""
    good = shipped_writer(version, "pvclock")
    found = [
        (at, size) for at, (size, text) in lengths(good).items() if text.startswith("or $0x1,%e")
    ]
    assert len(found) == 1
    mutant = without(good, *found[0])
    assert broken_by("pvclock", mutant) >= {"odd-first", "even-last"}


@pytest.mark.parametrize("version", MUTATED)
def test_preempted_that_is_cleared_without_xchg_is_found(
    shipped_writer, broken_by, lengths, version
):
    good = shipped_writer(version, "steal_time")
    update = good.run(next(good.requests()), places=True)
    at = next(n for n, one in enumerate(update.events) if isinstance(one, Store) and one.locked)
    where = offset(update.places[at])
    size, text = lengths(good)[where]
    assert text.startswith("xchg")
    # mov %reg8, place has opcode 88 where xchg has 86.
    # The code of one that has run already stays as it was translated.
    mutant = shipped_writer(version, "steal_time")
    address = mutant.entry.symbol.address + where
    code = mutant.kernel.machine.peek(address, size)
    mutant.kernel.machine.poke(address, code.replace(b"\x86", b"\x88", 1))
    assert "preempted" in broken_by("steal_time", mutant)


def test_a_kernel_from_before_the_function_cannot_be_judged(debian):
    from runstate_abi.writer.witnesses.versions.opened import opened

    members = [r"vmlinuz.*", r"kvm\.ko.*"]
    files = debian.kernel("bullseye", "linux-image-cloud-amd64", members)
    vmlinuz, module = map(str, files)
    with pytest.raises(WitnessError, match="no function kvm_setup_guest_pvclock: inlined"):
        opened(module, vmlinuz, "pvclock")
