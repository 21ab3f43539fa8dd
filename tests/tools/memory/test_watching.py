"""Live machines: a real QEMU, no guest, memory loaded as blobs and changed by its gdbstub."""

import itertools
import json
import shutil
import socket
import struct
import subprocess
import sys
from importlib.util import find_spec

import pytest

from runstate_abi.tools import cli

pytestmark = pytest.mark.skipif(
    find_spec("qemu") is None, reason="qemu.qmp: not installed (extra `live`)"
)
PAGE = 0x200000
AREA = PAGE + 0xBA0


@pytest.fixture
def machine(qemu, tmp_path, data):
    """Return a function that starts a QEMU with a page of real memory in it, and no guest."""
    # At the reset vector, a jump to itself: a CPU that runs and does nothing.
    bios = tmp_path / "bios"
    bios.write_bytes((b"\x90" * 0xFFF0 + b"\xeb\xfe").ljust(0x10000, b"\x90"))

    def start(page="xen417_busy_d1_cpu0.page.bin", stopped=False):
        blob = data / "pages" / page
        loader = f"loader,file={blob},addr={PAGE:#x},force-raw=on"
        argv = ["-m", "16", "-nodefaults", "-bios", str(bios), "-device", loader]
        return qemu(*argv, *(["-S"] if stopped else []))

    return start


def looked(capsys, machine, *argv):
    code = cli.main(["hexdump", "--qmp", machine.qmp, "--gpa", hex(AREA), *argv])
    told = capsys.readouterr()
    return code, told.out, told.err


def test_a_live_area_is_read_and_decided_like_a_dumped_one(machine, capsys):
    code, out, err = looked(capsys, machine(stopped=True), "--json")
    seen = json.loads(out)
    assert (code, err, seen["abi"], seen["address"]) == (0, "", "native", AREA)
    assert seen["fields"]["state_entry_time"] == 30_300_450_388


def test_what_the_gdbstub_wrote_is_what_is_read(machine, capsys):
    live = machine(stopped=True)
    area = struct.pack("<II5Q", 2, 0, 10_000_000_000, 3 * 10**9, 10**9, 4 * 10**9 + 7, 10**9)
    live.store(AREA, area)
    seen = json.loads(looked(capsys, live, "--json")[1])
    assert (seen["bytes"], seen["state_name"]) == (area.hex(), "blocked")


def test_a_stopped_machine_with_the_flag_set_is_in_flight_however_long(machine, capsys):
    live = machine("xen417_inflight_cpu0.page.bin", stopped=True)
    code, out, _ = looked(capsys, live, "--watch", "0.5", "--interval", "0.1")
    assert code == 0
    assert "guest stopped" in out
    assert "nothing can finish an update" in " ".join(out.split())
    assert out.endswith("verdict: in flight: a reader must retry, and so must you\n")


def test_a_running_machine_whose_flag_never_clears_is_wrong(machine, capsys):
    live = machine("xen417_inflight_cpu0.page.bin")
    code, out, _ = looked(capsys, live, "--watch", "0.5", "--interval", "0.1")
    assert code == 1
    assert "guest running: unchanged" in out
    assert "no update is in flight" in out


def test_one_look_at_a_running_machine_in_an_update_is_not_wrong(machine, capsys):
    assert looked(capsys, machine("xen417_inflight_cpu0.page.bin"))[0] == 0


def test_a_watch_tells_what_changed_and_how_the_time_was_spent(machine, tmp_path):
    live = machine()
    argv = ["--qmp", live.qmp, "--gpa", hex(AREA), "--watch", "3", "--interval", "0.2", "--json"]
    watch = subprocess.Popen(
        [shutil.sys.executable, "-c", "import sys; from runstate_abi.tools import cli;"
         "sys.exit(cli.main(sys.argv[1:]))", "hexdump", *argv],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    first = json.loads(watch.stdout.readline())
    entry, times = first["fields"]["state_entry_time"], first["fields"]["time"]
    live.store(AREA + 8, struct.pack("<2Q", entry + 1000, times[0] + 1000))
    out, _ = watch.communicate(timeout=20)
    looks = [json.loads(line) for line in out.splitlines()]
    assert looks[-1]["summary"]["changed"] == 1
    assert looks[-2]["fields"]["state_entry_time"] == entry + 1000
    constant = [o["text"] for look in looks[:-1] for o in look["observations"]]
    assert "entry time - sum is constant: 886.1 ms, as on Xen" in constant
    assert watch.returncode == 0


def test_time_that_goes_backwards_while_watched_is_wrong(machine):
    live = machine()
    argv = ["--qmp", live.qmp, "--gpa", hex(AREA), "--watch", "2", "--interval", "0.2"]
    watch = subprocess.Popen(
        [shutil.sys.executable, "-c", "import sys; from runstate_abi.tools import cli;"
         "sys.exit(cli.main(sys.argv[1:]))", "hexdump", *argv],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    head = list(itertools.islice(watch.stdout, 3))
    assert "after 0.0 s, guest running" in head[0]
    live.store(AREA + 16, struct.pack("<Q", 5))
    out, _ = watch.communicate(timeout=20)
    assert watch.returncode == 1
    assert "time[0] running went backwards" in out


@pytest.mark.parametrize(("gpa", "said"), [("0xffffffffffff0000", "Cannot access memory")])
def test_an_address_without_memory_is_one_line_and_3(machine, capsys, gpa, said):
    live = machine(stopped=True)
    code = cli.main(["hexdump", "--qmp", live.qmp, "--gpa", gpa])
    told = capsys.readouterr()
    assert (code, told.out, told.err.count("\n")) == (3, "", 1)
    assert said in told.err


def test_no_machine_is_one_line_and_3(tmp_path, capsys):
    code = cli.main(["hexdump", "--qmp", str(tmp_path / "none"), "--gpa", "0"])
    told = capsys.readouterr()
    assert (code, told.out, told.err.count("\n")) == (3, "", 1)


def test_something_that_speaks_no_qmp_is_one_line_and_3(tmp_path, capsys):
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        other = subprocess.Popen(
            [shutil.sys.executable, "-c", "import socket,sys; s=socket.socket(socket.AF_UNIX);"
             f"s.connect({str(path)!r})"],
        )  # fmt: skip
        accepted, _ = server.accept()
        accepted.close()
        other.wait()
    code = cli.main(["hexdump", "--qmp", str(path), "--gpa", "0"])
    assert (code, capsys.readouterr().err.count("\n")) == (3, 1)


def test_an_area_that_ends_with_the_memory_is_read(qemu, tmp_path, capsys):
    bios = tmp_path / "spin"
    bios.write_bytes((b"\x90" * 0xFFF0 + b"\xeb\xfe").ljust(0x10000, b"\x90"))
    live = qemu("-m", "16", "-nodefaults", "-bios", str(bios), "-S")
    place = (16 << 20) - 44
    area = struct.pack("<I5Q", 2, 10_000_000_007, 3 * 10**9, 10**9, 4 * 10**9 + 7, 10**9)
    live.store(place, area)
    argv = ["hexdump", "--qmp", live.qmp, "--gpa", hex(place), "--abi", "compat", "--json"]
    assert cli.main(argv) == 0
    assert json.loads(capsys.readouterr().out)["bytes"] == area.hex()


def test_a_machine_that_ends_while_it_is_watched_is_one_line_and_3(machine):
    live = machine()
    command = [sys.executable, "-c", "from runstate_abi.tools.cli import run; run()", "hexdump"]
    command += ["--qmp", live.qmp, "--gpa", hex(AREA), "--watch", "30", "--interval", "0.2"]
    watching = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert watching.stdout.readline().startswith("after 0.0 s")
    live.close()
    _, said = watching.communicate(timeout=30)
    assert (watching.returncode, len(said.splitlines())) == (3, 1), said


def test_a_watch_says_why_it_reads_the_layout_that_it_reads(machine, capsys):
    live = machine(stopped=True)
    _, out, _ = looked(capsys, live, "--watch", "0.1", "--interval", "0.2")
    assert "as native the four times fit into the entry time" in out
    _, out, _ = looked(capsys, live, "--watch", "0.1", "--interval", "0.2", "--json")
    assert json.loads(out.splitlines()[0])["abi_reasons"]
