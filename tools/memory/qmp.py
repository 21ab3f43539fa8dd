"""A live QEMU over QMP: guest-physical memory as the monitor prints it, and whether it runs.

A machine that runs changes memory while it is read, so each look reads twice, and says whether both
readings were the same. The extra `live` is the library qemu.qmp.

Law of this file: it looks and changes nothing; a machine that is stopped stays stopped.
"""

import asyncio
import time
from collections.abc import Generator
from typing import Any, NamedTuple

from runstate_abi.layouts.model import WitnessError
from runstate_abi.tools.memory.area import SMALLEST
from runstate_abi.tools.memory.image import Image, read
from runstate_abi.tools.memory.text import pasted as text

TRIES = 8
PATIENCE = 10.0  # seconds for an answer


class Look(NamedTuple):
    """Memory at one moment, ``seconds`` after the first look.

    ``stable`` says that two readings in a row were equal; ``running``, that the guest ran.
    """

    image: Image
    seconds: float
    running: bool
    stable: bool


def looks(
    socket: str, address: int, size: int, lead: int, seconds: float, interval: float
) -> Generator[Look, None, None]:
    """Yield looks at ``size`` bytes for so many seconds, at least one (WitnessError).

    An area begins ``lead`` bytes behind ``address``: what it needs must be there, the rest may be.
    """
    try:
        from qemu.qmp import QMPClient, QMPError
    except ImportError:
        raise WitnessError(
            "--qmp needs the library qemu.qmp: pip install 'runstate-abi[live]'"
        ) from None
    client: Any = QMPClient("runstate")
    with asyncio.Runner() as runner:

        def run(work: Any) -> Any:
            try:
                return runner.run(asyncio.wait_for(work, PATIENCE))
            except (QMPError, OSError, EOFError, TimeoutError) as error:
                reason = " ".join(str(error).split()) or type(error).__name__
                raise WitnessError(f"QMP {socket}: {reason}") from None

        run(client.connect(_place(socket)))
        try:
            begun = time.monotonic()
            while True:
                now = time.monotonic() - begun
                yield run(_look(client, socket, address, size, lead, now))
                left = seconds - (time.monotonic() - begun)
                if left <= 0:
                    return
                time.sleep(min(interval, left))
        finally:
            run(client.disconnect())


# A path, or HOST:PORT.
def _place(socket: str) -> str | tuple[str, int]:
    host, colon, port = socket.rpartition(":")
    return (host, int(port)) if colon and port.isdigit() and "/" not in socket else socket


async def _look(client: Any, socket: str, address: int, size: int, lead: int, now: float) -> Look:
    running = (await client.execute("query-status"))["running"]
    begin = address + lead
    for first, count in ((address, size), (begin, size - lead), (begin, SMALLEST)):
        last = await _printed(client, first, count)
        # QEMU prints nothing of a line of eight bytes that goes beyond the memory's end.
        if "Cannot access" not in last:
            break
    address, size, lead = first, count, begin - first
    for _ in range(TRIES):
        again = await _printed(client, address, size)
        if again == last:
            return Look(_image(last, socket, address, lead), now, running, True)
        last = again
    return Look(_image(last, socket, address, lead), now, running, False)


async def _printed(client: Any, address: int, size: int) -> str:
    command = f"xp /{size}xb {address:#x}"
    answer = await client.execute("human-monitor-command", {"command-line": command})
    return str(answer)


def _image(printed: str, socket: str, address: int, lead: int) -> Image:
    source = f"QMP {socket}"
    data = memoryview(printed.encode())
    if not text.is_text(data):
        said = " ".join(printed.split())[:80]
        raise WitnessError(f"{source}: no memory at {address:#x}: the monitor says {said!r}")
    shown = text.image(data, source)
    read(shown, address + lead, SMALLEST)
    return shown
