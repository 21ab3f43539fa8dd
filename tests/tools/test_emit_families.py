"""runstate emit --family: compilers take the declarations, and the assertions refuse another claim.

A file of a changed claim holds, because its assertions change with it. So the tests put together
the declarations of a changed claim and the assertions of the right one.
"""

import json
import random
import re
from pathlib import Path

import pytest

from runstate_abi.layouts import model
from runstate_abi.layouts.abi import ABI
from runstate_abi.layouts.model import Field, Scalar
from runstate_abi.layouts.structs.families import family, flattened
from runstate_abi.layouts.structs.family_names import ALL, MODULES, RUNSTATE
from runstate_abi.tools import emit
from runstate_abi.tools.languages import c, descriptions, families
from runstate_abi.tools.languages.promises import Mirror, widest

FAMILIES = pytest.mark.parametrize("name", [*MODULES, ALL])
STRICT = "-ffreestanding -O1 -Wall -Wextra -pedantic-errors -Werror -c -o unit.o"
RUSTC = "rustc --edition=2021 --crate-type=lib --emit=metadata -Dwarnings -o unit"
ZIG = "build-obj -fno-emit-bin -target"

# fmt: off
COMPILED = (
    # language, ABI,  what compiles it
    ("c",    "x86_64", "gcc -m64"),
    ("c",    "x86_64", "clang -m64"),
    ("c",    "x86_64", "clang -m32"),
    ("c",    "i386",   "gcc -m32"),
    ("c",    "i386",   "clang -m32"),
    ("c",    "i386",   "gcc -m64"),
    ("c",    "arm64",  "aarch64-linux-gnu-gcc"),
    ("c",    "arm32",  "arm-linux-gnueabihf-gcc"),
    ("cpp",  "x86_64", "g++ -m64"),
    ("cpp",  "x86_64", "clang++ -m64"),
    ("cpp",  "i386",   "g++ -m32"),
    ("rust", "x86_64", ""),
    ("rust", "i386",   ""),
    ("rust", "arm64",  ""),
    ("zig",  "x86_64", "x86_64-linux"),
    ("zig",  "x86_64", "x86-linux"),
    ("zig",  "i386",   "x86-linux"),
    ("zig",  "arm64",  "aarch64-linux"),
)
REFUSED = (
    ("c",    "x86_64", "gcc -m64"),
    ("c",    "i386",   "gcc -m32"),
    ("c",    "x86_64", "clang -m64"),
    ("cpp",  "x86_64", "g++ -m64"),
    ("rust", "x86_64", ""),
    ("zig",  "x86_64", "x86_64-linux"),
)
# fmt: on
SUFFIX = {"c": ".c", "cpp": ".cc", "rust": ".rs", "zig": ".zig"}
# The line with which the assertions of the families begin.
FIRST = {
    "c": "_Static_assert(",
    "cpp": "static_assert(",
    "rust": "const _: () = {",
    "zig": "comptime {",
}


def text_of(word, name, abi, macro=None):
    made = emit.content(name, abi, word)
    return "\n".join(emit.emitted_family(word, made, macro)) + "\n"


@pytest.fixture(scope="session")
def offset_of_path(tool):
    """Skip where rustc is older than 1.82, whose offset_of! takes a path."""
    version = tool("rustc", "--version").split()[1]
    if tuple(map(int, version.split(".")[:2])) < (1, 82):
        pytest.skip(f"rustc {version}: older than 1.82, which a path in offset_of! needs")


@pytest.fixture
def compiled(tool, request, tmp_path):
    """Return a function that compiles a text of a language."""

    def compile_(word, text, command, fails=False):
        source = tmp_path / f"unit{SUFFIX[word]}"
        source.write_text(text)
        words = [*command.split(), *STRICT.split()]
        if word in ("c", "cpp"):
            # What is included may have `#pragma once` and constants that nobody uses.
            source.rename(tmp_path / "unit.h")
            source.write_text('#include "unit.h"\n')
            words.append("-std=c11" if word == "c" else "-std=c++11")
            words += ["-ferror-limit=0"] * command.startswith("clang")
        elif word == "rust":
            request.getfixturevalue("offset_of_path")
            words = RUSTC.split()
        else:
            zig = pytest.importorskip("ziglang", reason="ziglang: not installed")
            words = [Path(zig.__file__).parent / "zig", *ZIG.split(), command]
        return tool(*words, source, fails=fails, cwd=tmp_path)

    return compile_


@FAMILIES
@pytest.mark.parametrize(("word", "abi", "command"), COMPILED)
def test_a_compiler_takes_it_without_a_warning(compiled, name, word, abi, command):
    compiled(word, text_of(word, name, abi), command)


def swapped(layout):
    """The last two members that follow one another, each in the other's place."""
    rows = list(layout.rows)
    pairs = [n for n in range(1, len(rows)) if not (rows[n].padding or rows[n - 1].padding)]
    if not pairs:
        return layout
    first, last = rows[pairs[-1] - 1 : pairs[-1] + 1]
    exchanged = (
        last._replace(offset=first.offset),
        first._replace(offset=first.offset + last.size),
    )
    rows[pairs[-1] - 1 : pairs[-1] + 1] = exchanged
    return layout._replace(rows=tuple(rows))


def longer(layout):
    more = Field(layout.size, "more", Scalar("uint8_t", 1, False), layout.alignment)
    return layout._replace(size=more.end, rows=(*layout.rows, more))


def aligned(layout):
    """Packed where it was not, and not packed where it was."""
    natural = widest(layout.rows)
    while layout.size % natural:
        natural //= 2
    return layout._replace(alignment=natural if layout.alignment == 1 else 1)


# fmt: off
CHANGES = (
    (swapped, "must be at offset"),
    (longer,  "must be [0-9]+ bytes long"),
    (aligned, "must be aligned to"),
)
# fmt: on


@pytest.fixture
def changing(monkeypatch):
    """Return a function: from now on a family's claims are changed ones; the structs that are."""

    def change_all(name, abi, change):
        one = family(name)
        made = {layout: change(layout) for layout in one.layouts(abi).values()}
        found = (one._replace(claims={abi: tuple(made.values())}),)
        monkeypatch.setattr(families, "families", lambda _: found)
        return [old.name for old, new in made.items() if old != new]

    return change_all


def of_both(word, declared, asserted):
    """The declarations of one file and the assertions of another."""
    lines = [text.splitlines() for text in (declared, asserted)]
    cuts = [next(n for n, line in enumerate(x) if line.startswith(FIRST[word])) for x in lines]
    return "\n".join((*lines[0][: cuts[0]], *lines[1][cuts[1] :])) + "\n"


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize(("change", "sentence"), CHANGES, ids=["swapped", "longer", "aligned"])
@pytest.mark.parametrize(("word", "abi", "command"), REFUSED)
def test_each_struct_is_refused_if_its_claim_is_another(
    compiled, changing, name, word, abi, command, change, sentence
):
    right = text_of(word, name, abi)
    structs = changing(name, abi, change)
    text = of_both(word, text_of(word, name, abi), right)
    said = compiled(word, text, command, fails=True)
    for struct in structs:
        # Rust and Zig say the first fault of a struct: members that change places may pad it.
        there = struct if word in ("c", "cpp") else camel(struct)
        fault = "must be" if word in ("rust", "zig") and change == swapped else sentence
        assert re.search(rf"\b{there}(\.\S+)? {fault}", said), said


def camel(struct):
    return "".join(word.capitalize() for word in struct.split("_"))


def test_every_family_has_a_struct_that_each_change_changes():
    for name in MODULES:
        claims = family(name).layouts("x86_64").values()
        assert all(any(change(x) != x for x in claims) for change, _ in CHANGES)


# The structs as their headers declare them keep what is asserted: also through their unions.
DECLARED = """\
#include <stddef.h>
typedef unsigned char u8, uint8_t; typedef signed char s8, int8_t;
typedef unsigned short u16, uint16_t; typedef short s16, int16_t;
typedef unsigned int u32, uint32_t; typedef int s32, int32_t;
typedef unsigned long long u64, uint64_t; typedef long long s64, int64_t;
#define __packed __attribute__((packed))
"""


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize(
    ("abi", "command"),
    [("x86_64", "gcc -m64"), ("i386", "gcc -m32"), ("arm64", "aarch64-linux-gnu-gcc")],
)
def test_the_declarations_of_the_headers_hold(tool, tmp_path, name, abi, command):
    claims = family(name).layouts(abi)
    mirrors = [Mirror(f"struct {one}", emit.mirrored(one, abi)) for one in claims]
    source = tmp_path / "unit.c"
    asserted = "\n".join(c.mirrored(mirrors))
    source.write_text(f"{DECLARED}{family(name).declarations}{asserted}\n")
    tool(*command.split(), "-std=gnu11", "-fsyntax-only", source)


# The languages that assert nothing: what is read of bytes is what the claims say of them.
IMAGE = random.Random(1).randbytes(8192)


def expected(name, abi):
    """{struct: {path: number}} of the claims, read out of the image."""
    structs = {x.claim.name: x.claim for x in emit.content(name, abi, "c").structs}
    found = {}
    for layout in structs.values():
        numbers = found[layout.name] = {}
        for row in flattened(layout, structs).members:
            assert row.type.kind != model.STRUCT
            for index in range(row.count):
                start = row.offset + index * row.type.size
                path = row.name if row.count == 1 else f"{row.name}[{index}]"
                data = IMAGE[start : start + row.type.size]
                numbers[path] = int.from_bytes(data, "little", signed=bool(row.type.signed))
    return found


def walked(value, path, rename=str):
    """The member of an object at a path: ``vcpu_info[3].time.version``."""
    for part in path.split("."):
        member, _, index = part.partition("[")
        value = getattr(value, rename(member))
        value = value[int(index.removesuffix("]"))] if index else value
    return int(value)


KAITAI = (
    "const K = require({!r}); K.compile('python', JSON.parse(require('fs').readFileSync(0)),"
    " null, false).then(r => console.log(JSON.stringify(r)))"
)


@pytest.fixture
def by_kaitai(package, tool, node_module):
    """Return a function: what the parser compiled from a .ksy makes of the bytes."""
    yaml, kaitaistruct = package("yaml"), package("kaitaistruct")
    script = KAITAI.format(node_module("kaitai-struct-compiler"))

    def numbers(text, wanted):
        made = json.loads(tool("node", "-e", script, input=json.dumps(yaml.safe_load(text))))
        ((file, code),) = made.items()
        names = {}
        exec(compile(code, file, "exec"), names)
        whole = names[camel(file.removesuffix(".py"))](
            kaitaistruct.KaitaiStream(kaitaistruct.BytesIO(IMAGE))
        )
        return {
            struct: {p: walked(getattr(whole, struct), p, lambda m: m.lstrip("_")) for p in paths}
            for struct, paths in wanted.items()
        }

    return numbers


@pytest.fixture
def by_poke(tool, tmp_path):
    """Return a function: what poke makes of the bytes with a pickle."""

    def numbers(text, wanted):
        (tmp_path / "structs.pk").write_text(text)
        (tmp_path / "area.bin").write_bytes(IMAGE)
        script = ['load "structs.pk";', 'var ios = open ("area.bin");']
        for struct, paths in wanted.items():
            script.append(f"var the_{struct} = {struct} @ ios : 0#B;")
            for path in paths:
                there = ".".join(map(descriptions.poke_name, path.split(".")))
                value = f"the_{struct}.{there} as int<64>"
                script.append(f'printf ("{struct} {path} %i64d\\n", {value});')
        (tmp_path / "script.pk").write_text("\n".join(script) + "\n")
        found = {struct: {} for struct in wanted}
        for line in tool("poke", "-q", "-L", "script.pk", cwd=tmp_path).splitlines():
            struct, path, number = line.split()
            unsigned = wanted[struct][path] >= 1 << 63
            found[struct][path] = int(number) + (1 << 64) * unsigned
        return found

    return numbers


@pytest.fixture
def by_cstruct(package):
    """Return a function: what dissect.cstruct makes of the bytes with a text."""
    cstruct = package("dissect.cstruct").cstruct
    try:
        cstruct().load("struct any { char byte; };")
    except ValueError as error:
        pytest.skip(f"dissect.cstruct loads nothing on this Python: {error}")

    def numbers(text, wanted):
        loaded = cstruct().load(text)
        objects = {struct: getattr(loaded, struct)(IMAGE) for struct in wanted}
        return {x: {p: walked(objects[x], p) for p in paths} for x, paths in wanted.items()}

    return numbers


@pytest.fixture
def by_isf(package, tmp_path):
    """Return a function: what Volatility makes of the bytes with an ISF."""
    package("volatility3")
    from volatility3.framework import contexts
    from volatility3.framework.layers import physical
    from volatility3.framework.symbols import intermed

    def numbers(text, wanted):
        path = tmp_path / "structs.json"
        path.write_text(text)
        context = contexts.Context()
        memory = physical.BufferDataLayer(context, "config", "memory", IMAGE)
        context.add_layer(memory)
        table = intermed.IntermediateSymbolTable(context, "config", "structs", path.as_uri())
        context.symbol_space.append(table)
        objects = {struct: context.object(f"structs!{struct}", "memory", 0) for struct in wanted}
        return {x: {p: walked(objects[x], p) for p in paths} for x, paths in wanted.items()}

    return numbers


READERS = ("kaitai", "poke", "cstruct", "isf")
METASCHEMA = pytest.mark.filterwarnings("ignore:The metaschema:DeprecationWarning")


@METASCHEMA
@FAMILIES
@pytest.mark.parametrize("abi", ["x86_64", "i386", "arm64"])
@pytest.mark.parametrize("word", READERS)
def test_every_member_is_read_where_the_claims_have_it(request, name, abi, word):
    numbers = request.getfixturevalue(f"by_{word}")
    wanted = expected(name, abi)
    assert numbers(text_of(word, name, abi), wanted) == wanted


@METASCHEMA
@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("word", READERS)
def test_a_changed_claim_is_read_otherwise(request, changing, name, word):
    numbers = request.getfixturevalue(f"by_{word}")
    wanted = expected(name, "x86_64")
    structs = changing(name, "x86_64", swapped)
    found = numbers(text_of(word, name, "x86_64"), wanted)
    assert structs
    assert all(found[struct] != wanted[struct] for struct in structs)


@pytest.mark.parametrize("name", MODULES)
def test_poke_loads_no_struct_of_another_size(by_poke, changed, name):
    text = text_of("poke", name, "x86_64")
    by_poke(text, {})
    with pytest.raises(AssertionError, match="unhandled assertion failure"):
        by_poke(changed(text, "'size == ", "'size == 1"), {})


@METASCHEMA
@FAMILIES
@pytest.mark.parametrize("abi", ABI)
def test_volatilitys_own_schema_takes_it(package, name, abi):
    package("volatility3")
    jsonschema = package("jsonschema")
    from importlib.resources import files

    schema = files("volatility3.schemas").joinpath(f"schema-{descriptions.ISF_FORMAT}.json")
    validator = jsonschema.Draft7Validator(json.loads(schema.read_text()))
    made = json.loads(text_of("isf", name, abi))
    assert list(validator.iter_errors(made)) == []
    used = re.findall(r'"kind": "base",\s*"name": "(\w+)"', json.dumps(made))
    assert set(used) <= set(made["base_types"])


@pytest.mark.parametrize("word", emit.OF_FAMILY)
def test_all_is_runstates_own_output_and_each_struct_once(word, capsys):
    assert emit.main([word, "--family", ALL]) == 0
    said = capsys.readouterr().out
    assert emit.main([word]) == 0
    own = capsys.readouterr().out
    if word == "isf":
        made, first = json.loads(said), json.loads(own)
        kept = {key: made["user_types"][key] for key in first["user_types"]}
        assert kept == first["user_types"]
        return
    assert set(own.splitlines()) <= set(said.splitlines())
    assert word == "kaitai" or said.startswith(own)
    declared = re.findall(
        r"^(?:struct|type|pub struct|pub const|  ) ?(\w+)(?: [{=].*|:)$", said, re.M
    )
    for name in MODULES:
        for struct in family(name).layouts("x86_64"):
            assert declared.count(struct) + declared.count(camel(struct)) == 1 + (word == "kaitai")


@pytest.mark.parametrize("word", emit.OF_FAMILY)
def test_runstate_is_the_default_and_has_no_other_output(word, capsys):
    emit.main([word, "--family", RUNSTATE])
    said = capsys.readouterr().out
    emit.main([word])
    assert capsys.readouterr().out == said


@pytest.mark.parametrize("word", [word for word in emit.OF_FAMILY if word != "isf"])
@pytest.mark.parametrize("name", MODULES)
def test_the_headers_and_the_traps_are_in_it(word, name):
    one, text = family(name), " ".join(re.findall(r"[^\s#/*]+", text_of(word, name, "x86_64")))
    for words in (*one.notes, *(one.headers[x] for x in one.layouts("x86_64"))):
        assert " ".join(re.findall(r"[^\s#/*]+", words)) in text


@pytest.mark.parametrize("macro", [macro for macro in c.MACROS if not macro.in_function])
def test_a_macro_is_used_throughout(macro):
    said = text_of("c", ALL, "x86_64", macro)
    assert said.count(f"\n{macro.name}(") > 100
    assert macro.name == "_Static_assert" or "_Static_assert(" not in said


def test_the_statements_of_all_families_are_in_a_function_of_their_own():
    said = text_of("c", ALL, "x86_64", c.MACRO["BUILD_BUG_ON"])
    functions = re.findall(r"void (\w+)\(void\)", said)
    assert functions == ["runstate_abi_assertions", "runstate_all_assertions"]


# fmt: off
WRONG = (
    (["gdb", "--family", "pvclock"],      "gdb is for runstate; --family is for c, cpp,"),
    (["drgn", "--family", "all"],         "drgn is for runstate; --family is for c, cpp,"),
    (["c-reader", "--family", "uapi"],    "c-reader is for runstate; --family is for c, cpp,"),
    (["rust-reader", "--family", "uapi"], "rust-reader is for runstate; --family is for c, cpp,"),
    (["cpp", "--family", "uapi", "--macro", "CTASSERT"], "--macro is for C"),
    (["c", "--family", "pvclok"],         "did you mean pvclock?"),
)
# fmt: on


@pytest.mark.parametrize(("words", "sentence"), WRONG)
def test_wrong_usage_is_one_line_and_exit_2(words, sentence, capsys):
    with pytest.raises(SystemExit) as stopped:
        emit.main(words)
    said = capsys.readouterr().err
    assert (stopped.value.code, said.count("\n")) == (2, 1)
    assert sentence in said


def test_an_abi_without_a_struct_is_one_line_and_exit_2(monkeypatch, capsys):
    one = family("pvclock")._replace(claims={})
    monkeypatch.setattr(families, "families", lambda _: (one,))
    with pytest.raises(SystemExit) as stopped:
        emit.main(["c", "--family", "pvclock", "--abi", "x32"])
    said = capsys.readouterr().err
    assert (stopped.value.code, said.count("\n")) == (2, 1)
    assert "--family pvclock: it has no struct on x32" in said


# What nothing claims yet: a struct inside a union with holes between and behind, words of the
# languages as names, a struct aligned to more than its members.
def test_paths_become_structs_of_the_same_bytes(compiled, monkeypatch):
    u8, u32, u64 = (Scalar(f"uint{n * 8}_t", n, False) for n in (1, 4, 8))
    handle = Scalar("void *", 8, None, kind=model.POINTER)
    rows = (
        Field(0, "type", u32),
        Field(4, "u.in", u8, 8),
        Field(12, "u.a.test", u8),
        Field(13, "pad_0d", u8, 3, padding=True),
        Field(16, "u.a.y", u64),
        Field(24, "pad_18", u8, 12, padding=True),
        Field(36, "flags", u32),
        Field(40, "match", handle),
    )
    wide = model.Layout("wide", "x86_64", 16, 16, (Field(0, "bytes", u8, 16),))
    layouts = (model.Layout("odd", "x86_64", 48, 8, rows), wide)
    one = family("pvclock")._replace(claims={"x86_64": layouts})
    monkeypatch.setattr(families, "families", lambda _: (one,))
    parts = [part for _, part in emit.content("pvclock", "x86_64", "c").parts]
    assert [(part.name, part.size) for part in parts] == [
        ("odd_u_a", 12),
        ("odd_u", 32),
        ("odd", 48),
        ("wide", 16),
    ]
    for word, abi, command in REFUSED:
        if abi == "x86_64":
            compiled(word, text_of(word, "pvclock", abi), command)


def test_no_name_of_a_struct_is_in_the_languages():
    texts = [path.read_text() for path in Path(families.__file__).parent.glob("*.py")]
    texts.append(Path(emit.__file__).read_text())
    structs = {struct for name in MODULES for struct in family(name).structs}
    assert [x for x in structs if any(x in text for text in texts)] == []


@pytest.mark.parametrize("language", ["c", "cpp", "rust"])
def test_assertions_about_a_struct_of_ones_own_need_no_family(capsys, language):
    words = ("emit", language, "--struct", "my_time=vcpu_time_info")
    assert emit.main(list(words[1:])) == 0
    out = capsys.readouterr().out
    assert "What the ABI asks of the structs below" in out
    assert "my_time.system_time" in out
    assert emit.main([language, "--struct", "my_area=native"]) == 0
    assert "What the Xen runstate ABI asks" in capsys.readouterr().out
