"""The symbols of a kernel image: tables as each version of scripts/kallsyms.c writes them."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runstate_abi.layouts.model import WitnessError
from runstate_abi.writer.witnesses.guests import kallsyms
from runstate_abi.writer.witnesses.guests.kallsyms import KernelSymbol

BASE = {8: 0xFFFF_FFFF_8100_0000, 4: 0xC100_0000}
WORDS = (b"xen_", b"runstate", b"_get", b"per_cpu")
# A code that no name has stands for a word, or for what is in no name either.
TOKENS = [
    bytes([code]) if code < 128 and (chr(code).isalnum() or chr(code) in "_.$") else b"?%d" % code
    for code in range(256)
]
for number, word in enumerate(WORDS):
    TOKENS[200 + number] = word
ORDERS = ("base first", "base last", "relative")
NAMES = st.lists(
    st.text("abcdefgXYZ0123456789_.", min_size=1, max_size=300), min_size=70, max_size=600
)


def encoded(name):
    data = name.encode()
    for number, word in enumerate(WORDS):
        data = data.replace(word, bytes([200 + number]))
    size = len(data)
    return (bytes([size]) if size < 128 else bytes([size & 0x7F | 0x80, size >> 7])) + data


def image(symbols, order, pointer, per_cpu=False, front=b"code" * 40):
    """The bytes of an image that is at BASE, with the tables of these symbols."""
    base = BASE[pointer]
    out = bytearray(front)

    def align(size=pointer):
        out.extend(bytes(-len(out) % size))

    def offsets():
        align(4 if order == "relative" else pointer)
        for one in symbols:
            if order == "relative":
                value = one.address - (base + len(out))
            elif not per_cpu:
                value = one.address - base
            else:
                value = one.address if one.address < 1 << 31 else base - 1 - one.address
            out.extend((value & 0xFFFF_FFFF).to_bytes(4, "little"))

    def relative_base():
        align()
        out.extend(base.to_bytes(pointer, "little"))

    if order == "base first":
        offsets()
        relative_base()
    align(4 if order == "relative" else pointer)
    out.extend(struct.pack("<I", len(symbols)))
    align(4 if order == "relative" else pointer)
    names, markers = len(out), []
    for number, one in enumerate(symbols):
        if number % 256 == 0:
            markers.append(len(out) - names)
        out.extend(encoded(one.kind + one.name))
    align(4)
    out.extend(struct.pack(f"<{len(markers)}I", *markers))
    align()
    index = [sum(len(one) + 1 for one in TOKENS[:n]) for n in range(256)]
    out.extend(b"".join(one + b"\0" for one in TOKENS))
    align(4)
    out.extend(struct.pack("<256H", *index))
    if order != "base first":
        offsets()
    if order == "base last":
        relative_base()
    return bytes(out) + b"the rest"


def some(count=300, pointer=8, per_cpu=False):
    own = [KernelSymbol(f"cpu_{n}", "A", 64 * n) for n in range(10)] if per_cpu else []
    code = [
        KernelSymbol(f"xen_get_runstate{n}", "Tt"[n % 2], BASE[pointer] + 0x1000 + 16 * n)
        for n in range(count)
    ]
    return own + code


def read(content, pointer):
    return kallsyms.symbols(content, pointer, lambda offset: BASE[pointer] + offset)


@pytest.mark.parametrize("pointer", [4, 8])
@pytest.mark.parametrize("order", ORDERS)
def test_each_order_of_the_tables_is_read(order, pointer):
    symbols = some(pointer=pointer)
    assert read(image(symbols, order, pointer), pointer) == symbols


@pytest.mark.parametrize("order", ORDERS[:2])
def test_absolute_per_cpu_symbols_are_below_the_others(order):
    symbols = some(per_cpu=True)
    assert read(image(symbols, order, 8, per_cpu=True), 8) == symbols


@pytest.mark.parametrize("order", ORDERS)
def test_any_names_are_read(order):
    @settings(max_examples=30, deadline=None)
    @given(NAMES)
    def hold(names):
        symbols = [KernelSymbol(name, "t", BASE[8] + 16 * n) for n, name in enumerate(names)]
        assert read(image(symbols, order, 8), 8) == symbols

    hold()


def test_what_looks_like_tokens_before_them_is_passed_over():
    symbols = some()
    front = b"0123" + kallsyms.DIGITS + b"\0" * 300
    assert read(image(symbols, "base last", 8, front=front.ljust(1024, b"\0")), 8) == symbols


@pytest.mark.parametrize("order", ORDERS)
def test_unsorted_addresses_are_not_believed(order):
    symbols = some()
    symbols[5], symbols[200] = symbols[200], symbols[5]
    with pytest.raises(WitnessError, match="the addresses of its kallsyms cannot be read"):
        read(image(symbols, order, 8), 8)


def test_an_image_without_them_says_so():
    for content in (b"", b"code" * 5000, kallsyms.DIGITS, image(some(), "relative", 8)[:2000]):
        with pytest.raises(WitnessError, match="no symbols: neither a symbol table nor kallsyms"):
            read(content, 8)


@pytest.mark.parametrize("order", ORDERS)
def test_damaged_tables_are_symbols_or_a_reason(order):
    whole = image(some(), order, 8)

    @settings(max_examples=60, deadline=None)
    @given(
        st.integers(0, len(whole)),
        st.lists(st.tuples(st.integers(0, len(whole) - 1), st.integers(0, 255)), max_size=8),
    )
    def hold(end, changes):
        content = bytearray(whole)
        for at, byte in changes:
            content[at] = byte
        try:
            found = read(bytes(content[:end]), 8)
        except WitnessError:
            return
        assert len(found) >= kallsyms.COUNT_MIN
        assert sorted(found, key=lambda one: one.address) == found

    hold()
