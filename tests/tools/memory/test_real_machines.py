"""Whole memories of machines that really ran: a Xen with a Linux dom0, and a Linux alone.

Debian's own binaries, booted here under software emulation, with a busybox that keeps one vCPU busy
and another mostly idle. Nothing about where an area lies is known but what the guest's own kernel
says: the offset of its per-CPU xen_runstate.
"""

import gzip
import json
import lzma
import re
import shutil
import struct
from importlib.util import find_spec

import pytest

from runstate_abi.tools import cli

pytestmark = [
    pytest.mark.network,
    pytest.mark.skipif(find_spec("qemu") is None, reason="qemu.qmp: not installed (extra `live`)"),
]

PAGE = 4096
# Where a Linux that was told nokaslr maps its own image, and all of memory.
KERNEL, DIRECT_MAP = 0xFFFF_FFFF_8000_0000, 0xFFFF_8880_0000_0000
INIT = """#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc; mount -t sysfs sys /sys
[ ! -e /module.ko ] || insmod /module.ko
grep -E ' (xen_runstate|__per_cpu_offset)$' /proc/kallsyms
echo SYMBOLS SAID
sh -c 'while :; do :; done' &
while :; do usleep 300000; done
"""


def archive(files):
    """Return a cpio archive (newc), as an initramfs is: {name: (mode, data, device)}."""
    out = b""
    for number, (name, (mode, data, device)) in enumerate(
        [*files.items(), ("TRAILER!!!", (0, b"", (0, 0)))], 1
    ):
        fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(name) + 1, 0)
        head = b"070701" + b"".join(b"%08x" % field for field in fields) + name.encode() + b"\0"
        out += head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)
    return gzip.compress(out, 1)


@pytest.fixture(scope="module")
def boot(debian, launch, tmp_path_factory):
    """Return a function that boots the kernel, under a Xen if there is one, and what it said."""
    members = [r"vmlinuz-.*", r"qemu_fw_cfg\.ko\.xz"]
    kernel, module = debian.kernel("trixie", "linux-image-amd64", members)
    (busybox,) = debian.package("bookworm", "busybox-static", [r"busybox"])
    started = []

    def run(xen=None):
        folder = tmp_path_factory.mktemp("machine")
        files = dict.fromkeys(("bin", "dev", "proc", "sys"), (16877, b"", (0, 0)))
        files["dev/console"] = (0o20600, b"", (5, 1))
        files["bin/busybox"] = (0o100755, busybox.read_bytes(), (0, 0))
        files["init"] = (0o100755, INIT.encode(), (0, 0))
        if xen is None:
            files["module.ko"] = (0o100644, lzma.decompress(module.read_bytes()), (0, 0))
        initrd = folder / "initrd"
        initrd.write_bytes(archive(files))
        argv = ["-m", "448" if xen else "256", "-smp", "2", "-cpu", "qemu64", "-net", "none"]
        if xen is None:
            argv += ["-device", "vmcoreinfo", "-kernel", kernel, "-initrd", initrd]
            argv += ["-append", "console=ttyS0 nokaslr"]
        else:
            (folder / "xen").write_bytes(gzip.decompress(xen.read_bytes()))
            argv += ["-kernel", folder / "xen", "-initrd", f"{kernel} console=hvc0,{initrd}"]
            argv += ["-append", "dom0_mem=224M dom0_max_vcpus=3 com1=115200,8n1 console=com1"]
        started.append(launch(folder, [str(word) for word in argv]))
        said = started[-1].wait_for("SYMBOLS SAID")
        symbols = re.findall(r"^([0-9a-f]{16}) . (\w+)\r?$", said, re.MULTILINE)
        return started[-1], {name: int(value, 16) for value, name in symbols}

    yield run
    for machine in started:
        machine.close()


@pytest.fixture(scope="module")
def xen(debian, boot, tmp_path_factory):
    """Two dumps of a machine that runs Xen, and the offset in its page of an area of Linux's."""
    members = [r"xen-4\.20-amd64\.gz"]
    machine, symbols = boot(*debian.package("trixie", "xen-hypervisor-4.20-amd64", members))
    folder = tmp_path_factory.mktemp("dumps")
    dumps = [machine.dump(folder / name) for name in ("earlier.elf", "later.elf")]
    yield [str(dump) for dump in dumps], symbols["xen_runstate"] % PAGE
    machine.close()
    for dump in dumps:
        dump.unlink()


def found(capsys, *argv):
    assert cli.main(["find", "--json", "--limit", "10", *argv]) == 0
    return json.loads(capsys.readouterr().out)["candidates"]


@pytest.mark.parametrize("earlier", [False, True])
def test_the_areas_of_a_whole_machine_come_first_then_xens_copies_and_no_others(
    xen, capsys, earlier
):
    (before, after), offset = xen
    best = found(capsys, after, *(["--before", before] if earlier else []))
    verdicts = [item["verdict"] for item in best]
    assert verdicts[:6] == ["likely"] * 2 + ["hypervisor copy"] * 4
    assert not {"likely", "hypervisor copy"} & set(verdicts[6:])
    assert {item["address"] % PAGE for item in best[:2]} == {offset}
    pointed = [item["points_to"] % PAGE for item in best[2:6] if item["points_to"]]
    assert pointed == [offset, offset]


def test_each_area_that_was_found_is_explained_and_nothing_is_wrong_with_it(xen, capsys):
    (before, after), _ = xen
    for item in found(capsys, after)[:2]:
        argv = ["hexdump", after, "--gpa", hex(item["address"]), "--before", before, "--json"]
        assert cli.main(argv) == 0
        seen = json.loads(capsys.readouterr().out)
        assert (seen["abi"], seen["fields"]) == ("native", item["fields"])
        assert seen["before"]["entry_minus_sum"][0] == seen["before"]["entry_minus_sum"][1]


@pytest.fixture(scope="module")
def linux(boot, tmp_path_factory):
    """An ELF core and a kdump of a Linux whose per-CPU areas hold known bytes, and these."""
    machine, symbols = boot()
    table = machine.load(symbols["__per_cpu_offset"] - KERNEL, 16)
    areas = []
    for cpu, offset in enumerate(struct.unpack("<QQ", table)):
        times = (10_929_573_877 + cpu, 1_394_644_341, 1_449_612_773, 1_514_067_182)
        areas.append(struct.pack("<II5Q", cpu, 0, 983_721_417 + sum(times), *times))
        machine.store(offset + symbols["xen_runstate"] - DIRECT_MAP, areas[-1])
    folder = tmp_path_factory.mktemp("dumps")
    core = machine.dump(folder / "core.elf")
    machine.close()
    yield core, areas
    core.unlink()


def compressed(core, tool):
    """Return a kdump made of a core; makedumpfile wants the program headers behind the header."""
    path = core.with_name("core.plain")
    shutil.copyfile(core, path)
    with path.open("r+b") as file:
        head = bytearray(file.read(64))
        (place,) = struct.unpack_from("<Q", head, 32)
        size, count = struct.unpack_from("<HH", head, 54)
        file.seek(place)
        table = file.read(size * count)
        struct.pack_into("<QQ", head, 32, 64, 0)
        struct.pack_into("<HHHHHH", head, 52, 64, size, count, 64, 0, 0)
        file.seek(0)
        file.write(bytes(head) + table)
    kdump = core.with_name("core.kdump")
    tool("makedumpfile", "-c", "-d", "0", path, kdump)
    path.unlink()
    return kdump


@pytest.mark.parametrize("kind", ["core", "kdump"])
def test_each_cpus_area_is_found_by_drgn_in_a_core_and_in_a_kdump(linux, tool, capsys, kind):
    core, areas = linux
    pytest.importorskip("drgn", reason="drgn: not installed (extra `drgn`)")
    if kind == "kdump":
        core = compressed(core, tool)
        assert core.read_bytes()[:8] == b"KDUMP   "
    assert cli.main(["hexdump", str(core), "--percpu", "--json"]) == 0
    seen = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["bytes"] for one in seen] == [area.hex() for area in areas]
