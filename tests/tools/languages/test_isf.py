"""Volatility 3: its schema takes the ISF, its symbol table loads it, and it reads real bytes."""

import json

import pytest

from runstate_abi.tools.languages import isf
from runstate_abi.tools.languages.promises import GUESTS

# Volatility's schemas name a metaschema that jsonschema warns of.
pytestmark = pytest.mark.filterwarnings("ignore:The metaschema:DeprecationWarning")


@pytest.fixture
def read(package, area, tmp_path):
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
            guest.word: flat(context.object(f"runstate!{guest.layout.name}", "memory", 0))
            for guest in GUESTS
        }, table

    return numbers


def flat(struct):
    times = {f"time[{index}]": int(value) for index, value in enumerate(struct.time)}
    entry = int(struct.state_entry_time)
    return {"state": int(struct.state), "state_entry_time": entry, **times}


def test_it_reads_each_field_where_the_layouts_have_it(read, emitted, fields):
    found, table = read(emitted("isf"))
    assert found == fields
    sizes = [table.get_type(guest.layout.name).size for guest in GUESTS]
    assert sizes == [guest.layout.size for guest in GUESTS]


def test_a_shifted_field_reads_otherwise(read, emitted, changed, fields):
    found, _ = read(changed(emitted("isf"), '"offset": 8', '"offset": 9'))
    assert found["native"] != fields["native"]
    assert found["compat"] == fields["compat"]


def test_volatilitys_own_schema_takes_it(package):
    package("volatility3")
    jsonschema = package("jsonschema")
    from importlib.resources import files

    name = f"schema-{isf.FORMAT}.json"
    schema = json.loads(files("volatility3.schemas").joinpath(name).read_text())
    validator = jsonschema.Draft7Validator(schema)
    assert list(validator.iter_errors(isf.as_json())) == []
    broken = isf.as_json()
    broken["user_types"][GUESTS[0].layout.name]["fields"]["time"]["offset"] = "16"
    assert list(validator.iter_errors(broken))
