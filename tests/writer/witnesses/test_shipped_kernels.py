"""Kernels and a hypervisor as Debian ships them: the writer in each, run and judged.

They come out of Debian's packages, streamed (marker network). What a kernel breaks is nothing;
what one-instruction mutants of it break is in a golden table.
"""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from runstate_abi.layouts.abi import PAGE_SIZE
from runstate_abi.layouts.model import WitnessError
from runstate_abi.tools.judge.tallies import judged
from runstate_abi.writer.rulebook.requests import Request, everything, quick, without_caches
from runstate_abi.writer.rules import NEWEST, PROFILE, judge
from runstate_abi.writer.vcpu import Runstate
from runstate_abi.writer.witnesses.journal import Piece

pytestmark = pytest.mark.network

DATA = Path(__file__).parent.parent.parent / "data"
GOLDEN = Path(__file__).parent.parent.parent / "golden"
# What every right kernel does to memory, at every placement of rulebook/requests.py, as one number.
CONTRACT = "4e35f88da4"

# (suite, metapackage): a cloud kernel's package is a third of the others'.
KERNELS = {
    "6.12": ("trixie", "linux-image-cloud-amd64"),
    "6.12-generic": ("trixie", "linux-image-amd64"),
    "6.12-rt": ("trixie", "linux-image-rt-amd64"),
    "7.3": ("trixie-backports", "linux-image-amd64"),
    "forky-rt": ("forky", "linux-image-rt-amd64"),  # by a newer compiler
}


@pytest.fixture(scope="module")
def kernel(debian):
    """Return a function: version -> (vmlinuz, kvm.ko)."""
    pytest.importorskip("unicorn")

    def fetch(version):
        return debian.kernel(*KERNELS[version], [r"vmlinuz.*", r"kvm\.ko.*"])

    return fetch


@pytest.fixture(scope="module")
def writers(kernel):
    """Return a function: version -> its writer, made once."""
    from runstate_abi.writer.witnesses.machine_code import KvmWriter
    from runstate_abi.writer.witnesses.shipped import open_code, open_types

    made = {}

    def open_(version, entry=""):
        if (version, entry) not in made:
            vmlinuz, module = map(str, kernel(version))
            file = open_code(module)
            made[version, entry] = KvmWriter(file, open_types(file, vmlinuz), entry)
        return made[version, entry]

    return open_


@pytest.mark.parametrize("version", KERNELS)
def test_a_shipped_kernel_is_right_and_does_what_every_other_does(writers, version):
    tally = judged(lambda: writers(version), list(everything()), NEWEST)
    assert (tally.asked, tally.skipped) == (len(list(everything())), 0)
    assert set(tally.broken) == ({"irqs"} if version.endswith("-rt") else set())
    assert tally.prints.contract == CONTRACT


# local_irq_save() and read_trylock() in the atomic case, read_unlock_irqrestore() at the end: on
# PREEMPT_RT the latter restores nothing. The scheduler has interrupts off anyway; RUNSTATE_CURRENT
# with RUNSTATE_runnable has them on, and gets them back off.
@pytest.mark.parametrize("version", KERNELS)
def test_runnable_by_an_ioctl_leaves_interrupts_off_on_preempt_rt_only(writers, version):
    asked = [replace(one, ioctl=True) for one in quick() if one.atomic]
    tally = judged(lambda: writers(version), asked, NEWEST)
    assert tally.asked == len(asked) > 100
    assert set(tally.broken) == ({"irqs"} if version.endswith("-rt") else set())


def test_a_kernel_without_the_writer_cannot_be_judged(debian):
    from runstate_abi.writer.witnesses.machine_code import require_entry
    from runstate_abi.writer.witnesses.shipped import open_code

    module = debian.kernel("bookworm", "linux-image-cloud-amd64", [r"kvm\.ko.*"])[0]
    with pytest.raises(WitnessError, match="a kernel built without CONFIG_KVM_XEN"):
        require_entry(open_code(str(module)))


def test_stores_and_calls_are_the_same_where_source_and_compiler_are(writers):
    prints = {
        version: judged(lambda v=version: writers(v), list(quick()), NEWEST).prints
        for version in KERNELS
    }
    assert prints["6.12"] == prints["6.12-generic"]
    # 7.3 calls memcpy() where 6.12 has it inline; PREEMPT_RT has other locks.
    assert prints["6.12"].stores == prints["6.12-rt"].stores != prints["7.3"].stores
    assert prints["7.3"].stores == prints["forky-rt"].stores
    assert prints["6.12"].calls == prints["7.3"].calls != prints["6.12-rt"].calls
    assert prints["6.12-rt"].calls == prints["forky-rt"].calls


@pytest.mark.parametrize("version", ["6.12", "7.3"])
def test_it_is_the_same_through_the_function_that_accounts_time(writers, version):
    through = writers(version, "kvm_xen_update_runstate")
    assert through.entry.accounts
    tally = judged(lambda: through, list(quick()), NEWEST)
    direct = judged(lambda: writers(version), list(quick()), NEWEST)
    assert (tally.broken, tally.prints) == ({}, direct.prints)


def test_offsets_are_the_kernels_own(writers):
    """The two generations lay the same structs out differently; nothing of that is written down."""
    offsets = {
        version: {
            name: (cache.gpa, cache.khva, cache.lock)
            for name, cache in writers(version)._structs.caches.items()
        }
        for version in ("6.12", "7.3")
    }
    assert offsets["6.12"].keys() == offsets["7.3"].keys() == {"gpc1", "gpc2"}
    assert offsets["6.12"] != offsets["7.3"]


@pytest.mark.parametrize("version", ["6.12", "7.3"])
def test_a_shipped_kernel_agrees_with_the_recorded_vectors(writers, version, missed):
    cases = json.loads((DATA / "oracle" / "vectors_public.json").read_text())["cases"]
    found = {case["id"]: missed(writers(version), case) for case in cases}
    assert {name: what for name, what in found.items() if what} == {}
    assert len(found) == 104


# Watchpoints on a real, running kernel: every store, its bytes and the instruction after it.


def traces():
    lines = (DATA / "kvm" / "kvm_stores_linux6.12.107.jsonl").read_text().splitlines()
    head, *records = map(json.loads, lines)
    values = {k: int(v, 16) for k, v in head["meta"]["values_hex_u64"].items()}
    times = tuple(values[f"time_{n}"] for n in ("running", "runnable", "blocked", "offline"))
    vcpu = Runstate(head["meta"]["state"], values["state_entry_time"], times)
    return vcpu, records


def changed(memory, start, data):
    """What a watchpoint sees of a store: the first changed byte, the bytes up to the last."""
    differing = [i for i, byte in enumerate(data) if memory[start + i] != byte]
    memory[start : start + len(data)] = data
    if not differing:
        return [None, ""]
    first, last = differing[0], differing[-1]
    return [start + first, data[first : last + 1].hex()]


def as_watchpoints(seen, request):
    """The stores of a run as a watchpoint records them."""
    memory = bytearray(seen.before)
    first = min(len(memory), PAGE_SIZE - request.offset)
    for event in seen.events:
        if isinstance(event, Piece):
            start = event.offset - request.offset if event.page == 1 else event.offset + first
            yield changed(memory, start, event.data)


def test_every_store_of_a_running_kernel_is_seen_one_by_one(writers, tmp_path):
    vcpu, records = traces()
    ours = writers("6.12-generic")
    following = {at: at + length for at, length, _ in instructions(ours, tmp_path)}
    compared = stores = addresses = 0
    for record in records:
        request = Request(
            record["layout"], record["off"] % PAGE_SIZE, bool(record["update_flag"]), False, vcpu,
            bytes.fromhex(record["poison"]),
        )  # fmt: skip
        seen = ours.run(request, places=True)
        found = list(as_watchpoints(seen, request))
        assert found == [store[1:] for store in record["stores"]], record["off"]
        # A watchpoint stops behind the store.
        behind = [f"{ours.entry.name}+{following[at]:#x}" for at in places(seen)]
        compared += 1
        stores += len(found)
        addresses += behind == [store[0] for store in record["stores"]]
    assert compared == len(records) == 192
    assert stores == sum(len(record["stores"]) for record in records) == 1684
    if ours.file.file.section(".modinfo") and b"6.12.107+" in bytes(
        ours.file.file.section(".modinfo")
    ):
        assert addresses == 192


def places(seen):
    """Offsets of the instructions that stored."""
    pairs = zip(seen.events, seen.places, strict=True)
    return [int(p.partition("+")[2], 16) for event, p in pairs if isinstance(event, Piece)]


# Mutants: one instruction is changed.

PREFIXES = (0x66, 0xF2, 0xF3, 0x2E, 0x65, 0x64, 0x3E)
NOP = b"\x90"


def code_of(ours):
    return ours.machine.peek(ours.entry.address, ours.entry.size)


def instructions(ours, folder):
    """(offset, length, text) of each instruction of the function, by objdump."""
    if shutil.which("objdump") is None:
        pytest.skip("objdump: not installed")
    path, code = folder / "function.bin", code_of(ours)
    path.write_bytes(code)
    command = ["objdump", "-D", "-b", "binary", "-m", "i386:x86-64", "--no-show-raw-insn", path]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rows = re.findall(r"^\s*([0-9a-f]+):\t(\S.*)$", text, re.MULTILINE)
    starts = [int(at, 16) for at, _ in rows]
    ends = [*starts[1:], len(code)]
    triples = zip(starts, ends, rows, strict=True)
    # Where a call leads is the judge's own choice of addresses.
    return [
        (start, end - start, "call" if text.startswith("call") else " ".join(text.split()))
        for start, end, (_, text) in triples
    ]


def opcode_at(code):
    at = next(i for i, byte in enumerate(code) if byte not in PREFIXES)
    return at + (0x40 <= code[at] <= 0x4F)


def with_byte(code, at, byte):
    return code[:at] + bytes((byte & 0xFF,)) + code[at + 1 :]


def mutants_of(code, text, stores):
    """(kind, new bytes) for one instruction; ``stores``: it stores into the guest."""
    at = opcode_at(code)
    opcode, name = code[at], text.split()[0]
    if stores and not name.startswith("call"):
        yield "drop store", NOP * len(code)
        modrm = at + 1 + (opcode == 0x0F)
        mode, register = code[modrm] >> 6, code[modrm] & 7
        displacement = modrm + 1 + (register == 4)
        if not name.startswith("rep") and mode in (1, 2):
            yield "move store", with_byte(code, displacement, code[displacement] + 1)
        if not name.startswith("rep") and register not in (4, 5):
            other = 1 if register ^ 1 not in (4, 5) else 2
            yield "retarget store", with_byte(code, modrm, code[modrm] ^ other)
    if 0x70 <= opcode <= 0x7F:
        yield "invert branch", with_byte(code, at, opcode ^ 1)
    if opcode == 0x0F and 0x80 <= code[at + 1] <= 0x8F:
        yield "invert branch", with_byte(code, at + 1, code[at + 1] ^ 1)
    if name.startswith("call"):
        yield "drop call", NOP * len(code)
    if re.search(r"\$0x", text) and "%rsp" not in text.split(",")[-1]:
        wide = opcode in (0x81, 0xC7, 0x3D, 0x25, 0x69) or 0xB8 <= opcode <= 0xBF
        immediate = len(code) - (4 if wide else 1)
        yield "number + 1", with_byte(code, immediate, code[immediate] + 1)


def stores_of(ours):
    found = set()
    for request in quick():
        found.update(places_inside(ours.run(request, places=True), ours.entry.name))
    return found


def places_inside(seen, name):
    for event, place in zip(seen.events, seen.places, strict=True):
        # A copy's place is the return address of its call.
        if isinstance(event, Piece) and not event.copied and place.startswith(f"{name}+"):
            yield int(place.partition("+")[2], 16)


def verdict_of(make, offset, new, requests):
    """How a mutant is found out: the rule, or what stopped it; None if it is not."""
    ours = make()
    ours.machine.poke(ours.entry.address + offset, new)
    known = {}
    try:
        for request in requests:
            seen = ours.run(request)
            key = seen.key()
            if key not in known:
                known[key] = judge(seen.book())
            if known[key]:
                return known[key][0].rule
    except WitnessError:
        return "stopped"
    return None


# The lines of a golden table: kind of mutant, offset, instruction, why it makes no difference.
def explained(table):
    for line in table.splitlines():
        if line and not line.startswith("#"):
            kind, offset, text, *why = [cell.strip() for cell in line.split("  ") if cell.strip()]
            assert why
            yield kind, int(offset, 16), text


# Version -> (its table, mutants at least, found of them at least in a build that has no table).
# Of Debian's 6.12.107 and 7.2.12-rt 11 and 3 are not found, and were looked at: they change nothing
# that memory or a caller sees. Another build may have a few less.
MUTATED = {"6.12": ("rules_mutants.txt", 120, 0.9), "forky-rt": ("rules_mutants_rt.txt", 80, 0.95)}


@pytest.mark.parametrize("version", MUTATED)
def test_mutants_of_a_shipped_writer_are_found_out(kernel, writers, tmp_path, version):
    from runstate_abi.writer.witnesses.machine_code import KvmWriter

    good = writers(version)
    # Where it breaks a rule itself, as PREEMPT_RT does, a mutant shows nothing.
    requests = [one for one in everything() if not one.ioctl or not judge(good.run(one).book())]
    code = code_of(good)
    stores = stores_of(good)
    survivors, found = [], 0

    def make():
        return KvmWriter(good.file, good.types)

    for offset, length, text in instructions(good, tmp_path):
        if offset == 0:
            continue  # __fentry__
        for kind, new in mutants_of(code[offset : offset + length], text, offset in stores):
            if verdict_of(make, offset, new, requests):
                found += 1
            else:
                survivors.append((kind, offset, text))
    total = found + len(survivors)
    name, least, share = MUTATED[version]
    assert total >= least
    assert found >= share * total
    table = (GOLDEN / name).read_text()
    if sha256(code).hexdigest() in table:
        assert sorted(survivors) == sorted(explained(table))


# Xen.


@pytest.fixture(scope="module")
def xen(debian):
    pytest.importorskip("unicorn")
    pytest.importorskip("drgn")
    package = ("sid", "xen-hypervisor-4.20-amd64-dbg")
    return str(debian.package(*package, [r"xen-syms.*"])[0])


@pytest.mark.parametrize(("profile", "asked"), [("xen-va", 32816), ("xen-phys", 3066)])
def test_a_shipped_xen_is_right(xen, profile, asked):
    from runstate_abi.writer.witnesses.shipped import open_code, open_types
    from runstate_abi.writer.witnesses.xen_code import XenWriter

    file = open_code(xen)
    writer = XenWriter(file, open_types(file, ""), physical=profile == "xen-phys")
    tally = judged(lambda: writer, list(without_caches()), PROFILE[profile])
    assert (tally.asked, tally.broken) == (asked, {})


def test_a_shipped_xen_stores_what_a_running_one_was_seen_to_store(xen):
    """50 stores to a paravirtual guest: the update byte, every byte of the struct, the byte."""
    from runstate_abi.writer.rulebook.requests import parse
    from runstate_abi.writer.witnesses.shipped import open_code, open_types
    from runstate_abi.writer.witnesses.xen_code import XenWriter

    file = open_code(xen)
    writer = XenWriter(file, open_types(file, ""), physical=False)
    seen = writer.run(parse("native@0x100,flag"), places=True)
    record = (DATA / "xen" / "xen_pv_stores_4.17.jsonl").read_text().splitlines()[1:]
    functions = [json.loads(line)["at"].partition("+")[0] for line in record[:8]]
    assert functions == ["update_runstate_area", *["copy_to_guest_ll"] * 6, "update_runstate_area"]
    ours = [place.partition("+")[0] for place in seen.places]
    assert ours == ["update_runstate_area", *["copy_to_guest_ll"] * 48, "update_runstate_area"]
    assert [event.offset for event in seen.events] == [271, *range(256, 304), 271]
