"""Kaitai, poke, cstruct, Volatility, gdb and drgn read the fields where the layouts have them."""

import json
import re

import pytest

from runstate_abi.tools.languages import descriptions
from runstate_abi.tools.languages.promises import GUESTS

COMPILE = (
    "const K = require({!r}); K.compile('python', JSON.parse(require('fs').readFileSync(0)),"
    " null, false).then(r => console.log(JSON.stringify(r)))"
)


@pytest.fixture
def kaitai(package, node, node_module, area):
    """Return a function: what the parser compiled from a .ksy makes of the bytes."""
    yaml, kaitaistruct = package("yaml"), package("kaitaistruct")
    script = COMPILE.format(node_module("kaitai-struct-compiler"))

    def numbers(text, data=area):
        made = node(script, yaml.safe_load(text))
        names = {}
        exec(compile(made["runstate.py"], "runstate.py", "exec"), names)
        whole = names["Runstate"](kaitaistruct.KaitaiStream(kaitaistruct.BytesIO(data)))
        return {guest.word: flat_kaitai(getattr(whole, guest.word)) for guest in GUESTS}, whole

    return numbers


def flat_kaitai(struct):
    times = {f"time[{index}]": value for index, value in enumerate(struct.time)}
    state = getattr(struct.state, "value", struct.state)
    return {"state": state, "state_entry_time": struct.state_entry_time, **times}


def test_kaitai_reads_each_field_where_the_layouts_have_it(kaitai, emitted, fields):
    assert kaitai(emitted("kaitai"))[0] == fields


def test_kaitai_reads_a_shifted_field_otherwise(kaitai, emitted, changed, fields):
    shifted = kaitai(changed(emitted("kaitai"), "size: 4", "size: 3"))[0]
    assert shifted["native"] != fields["native"]
    assert shifted["compat"] == fields["compat"]


def test_kaitai_knows_the_states_and_the_flag(kaitai, emitted):
    native = GUESTS[0].layout
    data = bytearray(native.size)
    data[native.offsetof("state")] = 2
    quiet = kaitai(emitted("kaitai"), bytes(data))[1].native
    assert (quiet.state.name, quiet.update_in_progress) == ("blocked", False)
    data[native.offsetof("state_entry_time") + 7] = 0x80
    assert kaitai(emitted("kaitai"), bytes(data))[1].native.update_in_progress


@pytest.fixture
def poke(tool, area, fields, tmp_path):
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


def test_poke_reads_each_field_where_the_layouts_have_it(poke, emitted, fields):
    assert poke(emitted("poke")) == (fields, {"native": 0, "compat": 0})


def test_poke_reads_a_shifted_field_otherwise(poke, emitted, changed, fields):
    found, _ = poke(changed(emitted("poke"), "time @ 16#B", "time @ 15#B"))
    assert found["native"] != fields["native"]
    assert found["compat"] == fields["compat"]


def test_poke_knows_the_flag(poke, emitted, area):
    native = GUESTS[0].layout
    flag = native.offsetof("state_entry_time") + 7
    data = area[:flag] + b"\x80" + area[flag + 1 :]
    assert poke(emitted("poke"), data)[1]["native"] == 1


@pytest.fixture
def cstruct(package, area):
    """Return a function: what dissect.cstruct makes of the bytes with a text."""
    cstruct = package("dissect.cstruct").cstruct
    try:
        cstruct().load("struct any { char byte; };")
    except ValueError as error:  # 4.7 on Python 3.15: re.Scanner refuses groups there
        pytest.skip(f"dissect.cstruct loads nothing on this Python: {error}")

    def numbers(text):
        loaded = cstruct().load(text)
        return {g.word: flat_cstruct(getattr(loaded, g.layout.name)(area)) for g in GUESTS}, loaded

    return numbers


def flat_cstruct(struct):
    times = {f"time[{index}]": int(value) for index, value in enumerate(struct.time)}
    return {"state": struct.state, "state_entry_time": struct.state_entry_time, **times}


def test_cstruct_reads_each_field_where_the_layouts_have_it(cstruct, emitted, fields):
    found, loaded = cstruct(emitted("cstruct"))
    assert found == fields
    sizes = [len(getattr(loaded, guest.layout.name)) for guest in GUESTS]
    assert sizes == [guest.layout.size for guest in GUESTS]
    assert (loaded.RUNSTATE_offline, loaded.XEN_RUNSTATE_UPDATE) == (3, 1 << 63)


def test_cstruct_reads_a_shifted_field_otherwise(cstruct, emitted, changed, fields):
    found, _ = cstruct(changed(emitted("cstruct"), "pad_04[4]", "pad_04[3]"))
    assert found["native"] != fields["native"]
    assert found["compat"] == fields["compat"]


# Volatility's schemas name a metaschema that jsonschema warns of.
METASCHEMA = pytest.mark.filterwarnings("ignore:The metaschema:DeprecationWarning")


@pytest.fixture
def volatility(package, area, tmp_path):
    """Return a function: what Volatility makes of the bytes with an ISF."""
    package("volatility3")
    from volatility3.framework import contexts
    from volatility3.framework.layers import physical
    from volatility3.framework.symbols import intermed

    def numbers(text):
        path = tmp_path / "runstate.json"
        path.write_text(text)
        context = contexts.Context()
        context.add_layer(physical.BufferDataLayer(context, "config", "memory", area))
        table = intermed.IntermediateSymbolTable(context, "config", "runstate", path.as_uri())
        context.symbol_space.append(table)
        return {
            guest.word: flat_isf(context.object(f"runstate!{guest.layout.name}", "memory", 0))
            for guest in GUESTS
        }, table

    return numbers


def flat_isf(struct):
    times = {f"time[{index}]": int(value) for index, value in enumerate(struct.time)}
    entry = int(struct.state_entry_time)
    return {"state": int(struct.state), "state_entry_time": entry, **times}


@METASCHEMA
def test_volatility_reads_each_field_where_the_layouts_have_it(volatility, emitted, fields):
    found, table = volatility(emitted("isf"))
    assert found == fields
    sizes = [table.get_type(guest.layout.name).size for guest in GUESTS]
    assert sizes == [guest.layout.size for guest in GUESTS]


@METASCHEMA
def test_volatility_reads_a_shifted_field_otherwise(volatility, emitted, changed, fields):
    found, _ = volatility(changed(emitted("isf"), '"offset": 8', '"offset": 9'))
    assert found["native"] != fields["native"]
    assert found["compat"] == fields["compat"]


@METASCHEMA
def test_volatilitys_own_schema_takes_it(package):
    package("volatility3")
    jsonschema = package("jsonschema")
    from importlib.resources import files

    name = f"schema-{descriptions.ISF_FORMAT}.json"
    schema = json.loads(files("volatility3.schemas").joinpath(name).read_text())
    validator = jsonschema.Draft7Validator(schema)
    assert list(validator.iter_errors(descriptions.isf_values())) == []
    broken = descriptions.isf_values()
    broken["user_types"][GUESTS[0].layout.name]["fields"]["time"]["offset"] = "16"
    assert list(validator.iter_errors(broken))


@pytest.fixture
def gdb(tool, area, tmp_path):
    """Return a function: what gdb's new command prints of the bytes, by guest and field."""
    tool("gdb", "--version")
    source, program = tmp_path / "area.c", tmp_path / "area.o"
    source.write_text(f"unsigned char area[] = {{{', '.join(map(str, area))}}};\n")
    tool("gcc", "-g", "-c", source, "-o", program)

    def numbers(text, expression="&area"):
        script = tmp_path / "runstate_gdb.py"
        script.write_text(text)
        found = {}
        for guest in GUESTS:
            asked = f"runstate {expression} {guest.word}"
            said = tool("gdb", "-q", "-nx", "-batch", "-x", script, "-ex", asked, program)
            rows = re.findall(r"^0x\w+ \+\d+ +(\S+) +(-?\d+)", said, re.M)
            found[guest.word] = {name: int(value) for name, value in rows}
        return found

    return numbers


def test_gdb_reads_each_field_where_the_layouts_have_it(gdb, emitted, fields):
    assert gdb(emitted("gdb")) == fields


def test_gdb_reads_a_shifted_field_otherwise(gdb, emitted, changed, fields):
    found = gdb(changed(emitted("gdb"), '("time", 16,', '("time", 15,'))
    assert found["native"] != fields["native"]
    assert found["compat"] == fields["compat"]


@pytest.fixture
def drgn(package, area):
    """Return a function: what drgn objects of a module's types read of the bytes."""
    drgn = package("drgn")

    def numbers(text, data=area):
        names = {}
        exec(compile(text, "runstate_drgn.py", "exec"), names)
        little = drgn.PlatformFlags.IS_64_BIT | drgn.PlatformFlags.IS_LITTLE_ENDIAN
        prog = drgn.Program(drgn.Platform(drgn.Architecture.X86_64, little))
        read = lambda address, count, offset, physical: data[offset : offset + count]  # noqa: E731
        prog.add_memory_segment(0x1000, len(data), read)
        objects = {g.word: names["runstate"](prog, 0x1000, g.word) for g in GUESTS}
        found = {word: flat_drgn(struct) for word, struct in objects.items()}
        return found, {w: names["update_in_progress"](o) for w, o in objects.items()}, objects

    return numbers


def flat_drgn(struct):
    times = {f"time[{index}]": value.value_() for index, value in enumerate(struct.time)}
    entry = struct.state_entry_time.value_()
    return {"state": struct.state.value_(), "state_entry_time": entry, **times}


def test_drgn_reads_each_field_where_the_layouts_have_it(drgn, emitted, fields):
    found, flags, objects = drgn(emitted("drgn"))
    assert found == fields
    assert flags == {"native": False, "compat": False}
    assert {w: o.type_.size for w, o in objects.items()} == {g.word: g.layout.size for g in GUESTS}


def test_drgn_reads_a_shifted_field_otherwise(drgn, emitted, changed, fields):
    found = drgn(changed(emitted("drgn"), '("time", 16,', '("time", 15,'))[0]
    assert found["native"] != fields["native"]
    assert found["compat"] == fields["compat"]


def test_drgn_sees_an_update_in_progress(drgn, emitted, area):
    data = area[:15] + b"\x80" + area[16:]
    assert drgn(emitted("drgn"), data)[1] == {"native": True, "compat": False}
