"""Memory of real machines, for the tests of tools/memory."""

import asyncio
import json
import os
import re
import shutil
import socket
import struct
import subprocess
import time

import pytest

from runstate_abi.tools.memory.area import LAYOUTS, AreaBytes, Excerpt, Span, excerpt, read_as
from runstate_abi.tools.memory.image import Image, Piece


@pytest.fixture(scope="session")
def goldens(data):
    """Every final state that a hypervisor wrote: (layout, page offset, 64 bytes from area - 8)."""
    found = []
    for name in sorted([*data.glob("kvm/*golden*.jsonl"), *data.glob("xen/xen_*e_4.17.jsonl")]):
        found += _final_states(name)
    found += _final_states(data / "xen" / "xen_hvm_compat_4.17.jsonl")
    assert len(found) > 1500
    return found


def _final_states(path):
    for line in path.read_text().splitlines()[1:]:
        record = json.loads(line)
        for key in ("win", "at_register", "after_update"):
            if key in record:
                yield record["layout"], record["off"] % 4096, bytes.fromhex(record[key])


@pytest.fixture(scope="session")
def mid_updates(data):
    """Every state between two stores while the flag was set: (layout, bytes of the area)."""
    found = []
    for path in sorted(data.glob("kvm/*stores*.jsonl")):
        for line in path.read_text().splitlines()[1:]:
            found += list(_between_stores(json.loads(line)))
    assert len(found) > 500
    return found


def _between_stores(record):
    layout = LAYOUTS[record["layout"]]
    image = bytearray(bytes.fromhex(record["poison"]) * layout.size)
    for _, offset, stored in record.get("stores", ()):
        if offset is not None:
            image[offset : offset + len(stored) // 2] = bytes.fromhex(stored)
        yield record["layout"], bytes(image)


@pytest.fixture(scope="session")
def area_of(open_page):
    """Return a function: the native AreaBytes of a record of pages.json."""

    def made(record):
        return read_as(LAYOUTS["native"], excerpt(open_page(record["path"]), record["area_offset"]))

    return made


@pytest.fixture(scope="session")
def make():
    """Return a function: an AreaBytes of these values, at an address."""

    def made(abi="native", state=0, entry=0, times=(0, 0, 0, 0), padding=0, address=0x1000):
        head = struct.pack("<II", state, padding) if abi == "native" else struct.pack("<I", state)
        data = head + struct.pack("<5Q", entry, *times)
        return AreaBytes(LAYOUTS[abi], (Span(address, data),))

    return made


@pytest.fixture(scope="session")
def window_of():
    """Return a function: an Excerpt of bytes, with what stands before them."""

    def made(data, address=0x1000, before=b""):
        return Excerpt((Span(address, data),), before)

    return made


@pytest.fixture(scope="session")
def image_of():
    """Return a function: an Image of (address, bytes) pieces."""

    def made(*pieces):
        return Image(
            "a test", "raw", tuple(Piece(at, len(data), memoryview(data)) for at, data in pieces)
        )

    return made


class Machine:
    """A QEMU under software emulation, reached over QMP and its gdbstub."""

    def __init__(self, folder, argv):
        self.qmp, self.gdb = str(folder / "qmp"), str(folder / "gdb")
        self.console = folder / "console"
        self.process = subprocess.Popen(
            [
                *("qemu-system-x86_64", "-accel", "tcg", "-display", "none", "-no-reboot", *argv),
                *("-qmp", f"unix:{self.qmp},server=on,wait=off", "-serial", f"file:{self.console}"),
                *("-chardev", f"socket,id=gdb,path={self.gdb},server=on,wait=off"),
                *("-gdb", "chardev:gdb"),
            ],
            stderr=subprocess.PIPE,
        )
        for _ in range(100):
            if os.path.exists(self.qmp) and os.path.exists(self.gdb):
                return
            time.sleep(0.05)
        raise AssertionError("QEMU did not start")

    def wait_for(self, text, seconds=150):
        """Return what the guest's console says once it says `text`."""
        for _ in range(seconds * 5):
            said = self.console.read_text("latin-1") if self.console.exists() else ""
            if text in said:
                return said
            assert self.process.poll() is None, said[-2000:]
            time.sleep(0.2)
        raise AssertionError(f"no {text!r} in {seconds} s: {said[-2000:]}")

    def dump(self, path):
        """Write all of the guest's memory as an ELF core."""
        from qemu.qmp import QMPClient

        async def asked():
            client = QMPClient("dump")
            await client.connect(self.qmp)
            argument = {"paging": False, "protocol": f"file:{path}"}
            await client.execute("dump-guest-memory", argument)
            await client.disconnect()

        asyncio.run(asked())
        return path

    def load(self, address, size):
        """Read guest memory through the gdbstub."""
        answers = self._asked("Qqemu.PhyMemMode:1", f"m{address:x},{size:x}")
        assert len(answers[-1]) == 2 * size, answers
        return bytes.fromhex(answers[-1])

    def store(self, address, data):
        """Write guest memory through the gdbstub; a running machine goes on running."""
        text = f"M{address:x},{len(data):x}:{data.hex()}"
        assert self._asked("Qqemu.PhyMemMode:1", text)[-1] == "OK"

    def _asked(self, *texts):
        with socket.socket(socket.AF_UNIX) as stub:
            stub.connect(self.gdb)
            stub.settimeout(5)
            # What follows waits for the OK of the detach: QEMU says RESUME before it, and that
            # event could come in front of the greeting of a QMP client that connects meanwhile.
            answers = [self._ask(stub, text) for text in ("?", *texts, "D")]
        return answers[1:-1]

    def _ask(self, stub, text):
        stub.sendall(f"${text}#{sum(text.encode()) % 256:02x}".encode())
        answer = self._packet(stub)
        # That the machine has stopped for us may be said once more, later.
        return answer if text == "?" or not answer.startswith("T") else self._packet(stub)

    def _packet(self, stub):
        answer = b""
        while not re.search(rb"\$([^#]*)#..", answer):
            answer += stub.recv(1)
        stub.sendall(b"+")
        return re.search(rb"\$([^#]*)#..", answer)[1].decode()

    def close(self):
        """End it, whatever it is doing."""
        self.process.kill()
        self.process.communicate(timeout=10)


@pytest.fixture(scope="session")
def launch():
    """Return a function of a folder and arguments that starts a QEMU, or skip."""
    if shutil.which("qemu-system-x86_64") is None:
        pytest.skip("qemu-system-x86_64: not installed")
    return Machine


@pytest.fixture
def qemu(launch, tmp_path):
    """Return a function that starts a QEMU with the given arguments; each is stopped at the end."""
    started = []

    def start(*argv):
        folder = tmp_path / f"qemu{len(started)}"
        folder.mkdir()
        started.append(launch(folder, argv))
        return started[-1]

    yield start
    for one in started:
        one.close()
