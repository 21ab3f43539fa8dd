"""ctypes works the offsets out by itself, and its view lies over a bytearray at any place."""

import ctypes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runstate_abi.layouts import constructs, ctypes_structs
from runstate_abi.layouts.model import WitnessError, differences
from runstate_abi.layouts.structs.runstate import COMPAT, COMPAT_XEN, NATIVE

pytestmark = pytest.mark.host64
PAGE = 4096
# ctypes packs to 4, which is Xen's alignment of the compat form and i386's, not KVM's.
BY_NAME = {NATIVE.name: NATIVE, COMPAT.name: COMPAT_XEN}


@pytest.mark.parametrize("name", BY_NAME)
def test_ctypes_agrees_with_the_table(name):
    (seen,) = ctypes_structs.observe((name,), "x86_64").found
    assert differences(BY_NAME[name], seen, "ctypes") == ()


@given(
    name=st.sampled_from(list(BY_NAME)),
    at=st.one_of(st.integers(PAGE - 48, PAGE), st.integers(0, PAGE)),
    image=st.binary(min_size=48, max_size=48),
)
def test_an_overlay_reads_what_construct_reads_at_any_offset(name, at, image):
    memory, size = bytearray(2 * PAGE), BY_NAME[name].size
    memory[at : at + size] = image[:size]
    seen, fields = (
        ctypes_structs.STRUCTS[name].from_buffer(memory, at),
        constructs.parse(name, image[:size]),
    )
    assert seen.state == fields["state"]
    assert seen.state_entry_time == fields["state_entry_time"]
    assert list(seen.time) == fields["time"]


def test_an_overlay_writes_into_the_bytearray_across_the_page_edge():
    memory = bytearray(2 * PAGE)
    area = ctypes_structs.STRUCTS[COMPAT.name].from_buffer(memory, PAGE - 15)
    area.state_entry_time = 0x8877665544332211
    assert memory[PAGE - 11 : PAGE - 3].hex() == "1122334455667788"
    area.time[3] = 0x0102030405060708
    assert memory[PAGE + 21 : PAGE + 29].hex() == "0807060504030201"


def test_an_overlay_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="too small"):
        ctypes_structs.STRUCTS[NATIVE.name].from_buffer(bytearray(47))


def test_a_host_that_cannot_express_the_native_struct_says_so(monkeypatch):
    monkeypatch.setattr(ctypes, "alignment", lambda _: 4)
    with pytest.raises(WitnessError, match="cannot express"):
        ctypes_structs.observe((NATIVE.name,), "x86_64")


def test_a_wrong_structure_is_seen(monkeypatch):
    monkeypatch.setitem(
        ctypes_structs.STRUCTS, NATIVE.name, ctypes_structs.compat_vcpu_runstate_info
    )
    (seen,) = ctypes_structs.observe((NATIVE.name,), "x86_64").found
    kinds = {difference.kind for difference in differences(NATIVE, seen, "ctypes")}
    assert kinds == {"size-mismatch", "alignment-mismatch", "offset-mismatch"}
