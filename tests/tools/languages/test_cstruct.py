"""dissect.cstruct: it loads the text, without align=True, and reads the fields where they are."""

import pytest

from runstate_abi.tools.languages.promises import GUESTS


@pytest.fixture
def read(package, area):
    """Return a function: what dissect.cstruct makes of the bytes with a text."""
    cstruct = package("dissect.cstruct").cstruct
    try:
        cstruct().load("struct any { char byte; };")
    except ValueError as error:  # 4.7 on Python 3.15: re.Scanner refuses groups there
        pytest.skip(f"dissect.cstruct loads nothing on this Python: {error}")

    def numbers(text):
        loaded = cstruct().load(text)
        return {g.word: flat(getattr(loaded, g.layout.name)(area)) for g in GUESTS}, loaded

    return numbers


def flat(struct):
    times = {f"time[{index}]": int(value) for index, value in enumerate(struct.time)}
    return {"state": struct.state, "state_entry_time": struct.state_entry_time, **times}


def test_it_reads_each_field_where_the_layouts_have_it(read, emitted, fields):
    found, loaded = read(emitted("cstruct"))
    assert found == fields
    sizes = [len(getattr(loaded, guest.layout.name)) for guest in GUESTS]
    assert sizes == [guest.layout.size for guest in GUESTS]
    assert (loaded.RUNSTATE_offline, loaded.XEN_RUNSTATE_UPDATE) == (3, 1 << 63)


def test_a_shifted_field_reads_otherwise(read, emitted, changed, fields):
    found, _ = read(changed(emitted("cstruct"), "pad_04[4]", "pad_04[3]"))
    assert found["native"] != fields["native"]
    assert found["compat"] == fields["compat"]
