"""Kaitai: its compiler takes the .ksy, and the Python it makes reads the fields where they are."""

import pytest

from runstate_abi.tools.languages.promises import GUESTS

COMPILE = (
    "const K = require({!r}); K.compile('python', JSON.parse(require('fs').readFileSync(0)),"
    " null, false).then(r => console.log(JSON.stringify(r)))"
)


@pytest.fixture
def read(package, node, node_module, area):
    """Return a function: what the parser compiled from a .ksy makes of the bytes."""
    yaml, kaitaistruct = package("yaml"), package("kaitaistruct")
    script = COMPILE.format(node_module("kaitai-struct-compiler"))

    def numbers(text, data=area):
        made = node(script, yaml.safe_load(text))
        names = {}
        exec(compile(made["runstate.py"], "runstate.py", "exec"), names)
        whole = names["Runstate"](kaitaistruct.KaitaiStream(kaitaistruct.BytesIO(data)))
        return {guest.word: flat(getattr(whole, guest.word)) for guest in GUESTS}, whole

    return numbers


def flat(struct):
    times = {f"time[{index}]": value for index, value in enumerate(struct.time)}
    state = getattr(struct.state, "value", struct.state)
    return {"state": state, "state_entry_time": struct.state_entry_time, **times}


def test_it_reads_each_field_where_the_layouts_have_it(read, emitted, fields):
    assert read(emitted("kaitai"))[0] == fields


def test_a_shifted_field_reads_otherwise(read, emitted, changed, fields):
    shifted = read(changed(emitted("kaitai"), "size: 4", "size: 3"))[0]
    assert shifted["native"] != fields["native"]
    assert shifted["compat"] == fields["compat"]


def test_it_knows_the_states_and_the_flag(read, emitted):
    native = GUESTS[0].layout
    data = bytearray(native.size)
    data[native.offsetof("state")] = 2
    quiet = read(emitted("kaitai"), bytes(data))[1].native
    assert (quiet.state.name, quiet.update_in_progress) == ("blocked", False)
    data[native.offsetof("state_entry_time") + 7] = 0x80
    assert read(emitted("kaitai"), bytes(data))[1].native.update_in_progress
