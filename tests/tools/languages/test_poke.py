"""GNU poke: it loads the pickle and maps both structs over real bytes."""

import pytest

from runstate_abi.tools.languages.promises import GUESTS


@pytest.fixture
def read(tool, area, fields, tmp_path):
    """Return a function: what poke makes of the bytes with a pickle."""

    def numbers(text, data=area):
        (tmp_path / "runstate.pk").write_text(text)
        (tmp_path / "area.bin").write_bytes(data)
        # poke loads by name, along its path, which has the current folder in it.
        script = ['load "runstate.pk";', 'var ios = open ("area.bin");']
        for guest in GUESTS:
            script.append(f"var {guest.word} = {guest.layout.name} @ ios : 0#B;")
            for path in (*fields[guest.word], "update_in_progress"):
                script.append(f'printf ("{guest.word} {path} %u64d\\n", {guest.word}.{path});')
        (tmp_path / "script.pk").write_text("\n".join(script) + "\n")
        found = {guest.word: {} for guest in GUESTS}
        for line in tool("poke", "-q", "-L", "script.pk", cwd=tmp_path).splitlines():
            word, path, number = line.split()
            found[word][path] = int(number)
        flags = {word: values.pop("update_in_progress") for word, values in found.items()}
        return found, flags

    return numbers


def test_it_reads_each_field_where_the_layouts_have_it(read, emitted, fields):
    assert read(emitted("poke")) == (fields, {"native": 0, "compat": 0})


def test_a_shifted_field_reads_otherwise(read, emitted, changed, fields):
    found, _ = read(changed(emitted("poke"), "time @ 16#B", "time @ 15#B"))
    assert found["native"] != fields["native"]
    assert found["compat"] == fields["compat"]


def test_it_knows_the_flag(read, emitted, area):
    native = GUESTS[0].layout
    flag = native.offsetof("state_entry_time") + 7
    data = area[:flag] + b"\x80" + area[flag + 1 :]
    assert read(emitted("poke"), data)[1]["native"] == 1
