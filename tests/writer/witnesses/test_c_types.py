"""What debug info says of parameters and members, and what it says where there is no answer."""

import subprocess

import pytest

from runstate_abi.layouts.model import WitnessError

pytest.importorskip("drgn")
pytestmark = pytest.mark.needs("gcc")

SOURCE = """
struct inner { int a; union { long word; char byte; }; };
struct outer { struct inner first; struct inner *far; const struct inner second; };
typedef struct outer outer_t;
int elsewhere(struct outer *);
int here(const outer_t *one, unsigned long two) { return elsewhere((outer_t *)one) + (int)two; }
"""


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dwarf")
    (folder / "one.c").write_text(SOURCE)

    def compile_(*flags):
        output = folder / f"one{len(flags)}.o"
        subprocess.run(["gcc", "-m64", *flags, "-c", folder / "one.c", "-o", output], check=True)
        return str(output)

    return compile_


@pytest.fixture(scope="module")
def types(compiled):
    from runstate_abi.writer.witnesses.c_types import open_dwarf

    return open_dwarf(compiled("-g"))


def test_a_function_names_its_parameters_and_what_they_point_to(types):
    parameters = types.parameters("here")
    assert list(parameters) == ["one", "two"]
    assert (parameters["one"].pointed().name, parameters["one"].pointed().size) == ("outer", 40)
    assert parameters["two"].size == 8


@pytest.mark.parametrize("name", ["elsewhere", "nowhere", "outer"])
def test_a_function_without_named_parameters_is_not_known(types, name):
    assert types.parameters(name) is None


def test_what_is_no_pointer_points_nowhere(types):
    with pytest.raises(WitnessError, match=r"one1\.o: unsigned long is no pointer"):
        types.parameters("here")["two"].pointed()


def test_members_are_found_by_their_path_and_by_their_place(types):
    (outer,) = types.structs("outer")
    assert outer.find("second.word").offset == 32
    assert outer.find("far").type.pointed().name == "inner"
    assert list(outer.paths_at(8)) == ["first.word", "first.byte"]
    assert list(outer.paths_at(40)) == []


@pytest.mark.parametrize("path", ["third", "first.b", "first.a.b", "far.a", ""])
def test_a_path_that_leads_nowhere_has_no_member(types, path):
    (outer,) = types.structs("outer")
    assert outer.find(path) is None


def test_an_unknown_struct_is_no_struct(types):
    assert list(types.structs("nothing")) == []
    assert types.layouts(("vcpu_runstate_info",)).missing == ("vcpu_runstate_info",)


def test_a_file_without_dwarf_has_no_types(compiled):
    from runstate_abi.writer.witnesses.c_types import open_dwarf

    assert open_dwarf(compiled()) is None
