"""An execution that the race search found, replayed on the bytes of the struct."""

from runstate_abi.writer.racing.execution import Event


class Mismatch(AssertionError):
    """A load of the execution does not give what memory holds: the message names the load."""


def replay(before: bytes, events: tuple[Event, ...]) -> dict[int, int]:
    """Execute the events on the bytes of the struct; return offset -> byte of what was copied."""
    memory = bytearray(before)
    copied: dict[int, int] = {}
    for event in events:
        where = range(event.offset, event.offset + len(event.data))
        if event.step >= 0:
            for offset, byte in zip(where, event.data, strict=True):
                if 0 <= offset < len(memory):
                    memory[offset] = byte
            continue
        seen = bytes(memory[event.offset : event.offset + len(event.data)])
        if seen != event.data:
            raise Mismatch(f"{event.name} at {event.offset}: {event.data.hex()}, not {seen.hex()}")
        if event.name in ("copy", "state"):
            copied |= zip(where, event.data, strict=True)
    return dict(sorted(copied.items()))
