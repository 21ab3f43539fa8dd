"""Memory of real machines, for the tests of tools/memory."""

import json
import struct

import pytest

from runstate_abi.tools.memory import raw
from runstate_abi.tools.memory.area import LAYOUTS, Area, Span, Window, area, window
from runstate_abi.tools.memory.image import Image, Piece


@pytest.fixture(scope="session")
def real_pages(data):
    """Every record of pages.json that says where its area is, with the file's path.

    Those of 4.17.7 that are no area look like none as soon as one looks, and are for `find` only.
    """
    records = json.loads((data / "pages" / "pages.json").read_text())
    return [
        {**r, "path": data / "pages" / r["file"]}
        for r in records
        if "area_offset" in r and (r["xen"], r["what"][:5]) != ("4.17.7", "false")
    ]


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
def open_page():
    """Return a function: the Image of a file at an address."""

    def opened(path, base=0):
        return raw.image(raw.content(str(path)), str(path), base)

    return opened


@pytest.fixture(scope="session")
def area_of(open_page):
    """Return a function: the native Area of a record of pages.json."""

    def made(record):
        return area(LAYOUTS["native"], window(open_page(record["path"]), record["area_offset"]))

    return made


@pytest.fixture(scope="session")
def make():
    """Return a function: an Area of these values, at an address."""

    def made(abi="native", state=0, entry=0, times=(0, 0, 0, 0), padding=0, address=0x1000):
        head = struct.pack("<II", state, padding) if abi == "native" else struct.pack("<I", state)
        data = head + struct.pack("<5Q", entry, *times)
        return Area(LAYOUTS[abi], (Span(address, data),))

    return made


@pytest.fixture(scope="session")
def window_of():
    """Return a function: a Window of bytes, with what stands before them."""

    def made(data, address=0x1000, before=b""):
        return Window((Span(address, data),), before)

    return made


@pytest.fixture(scope="session")
def image_of():
    """Return a function: an Image of (address, bytes) pieces."""

    def made(*pieces):
        return Image(
            "a test", "raw", tuple(Piece(at, len(data), memoryview(data)) for at, data in pieces)
        )

    return made
