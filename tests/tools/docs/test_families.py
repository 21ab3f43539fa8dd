"""runstate docs --family: each page is read back and held against the family's table."""

import re
import shlex
import subprocess
import sys
from html.parser import HTMLParser
from importlib import import_module
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import pytest

from runstate_abi.layouts.conditions import Condition
from runstate_abi.layouts.model import Field, Layout, Scalar, WitnessError
from runstate_abi.layouts.structs import families, family_names
from runstate_abi.layouts.structs.families import Family, family
from runstate_abi.tools import cli
from runstate_abi.tools.docs import checking, drawings, pages
from runstate_abi.tools.docs import command as docs
from runstate_abi.tools.docs import families as documents
from runstate_abi.tools.race import of_family as race_of_family
from runstate_abi.tools.rendering.blocks import Document, Paragraph, Section

NAMES = tuple(family_names.MODULES)
ROW = 8
VOID = {"meta", "br", "hr", "img", "link", "wbr"}
U32 = Scalar("uint32_t", 4, signed=False)


@pytest.fixture(params=NAMES)
def one(request):
    """Each family in turn."""
    return family(request.param)


class Page(HTMLParser):
    """Collects text, tables by caption, ids and links; ``open`` are the tags not yet closed."""

    def __init__(self, text):
        super().__init__()
        self.open, self.wrong, self.ids, self.links = [], [], [], []
        self.tables, self.caption, self.rows, self.cell = {}, "", [], None
        self.said = ""  # all text but that of programs
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        held = dict(attrs)
        self.ids += [held["id"]] if "id" in held else []
        self.links += [held["href"]] if "href" in held else []
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.rows = []
        elif tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th", "caption"):
            self.cell = ""

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)
        if tag == "table":
            assert self.caption not in self.tables
            self.tables[self.caption] = self.rows
        elif tag == "caption":
            self.caption = self.cell
        elif tag in ("td", "th"):
            self.rows[-1].append(self.cell)

    def handle_data(self, data):
        if self.open and self.open[-1] != "style" and "pre" not in self.open:
            self.said += data
        if self.cell is not None:
            self.cell += data


def markdown_tables(text):
    """{caption: rows of plain cells} of a page in Markdown."""
    found = {}
    for caption, lines in re.findall(r"^\*(.+)\*\n\n((?:\|.*\n)+)", text, re.M):
        rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines.splitlines()]
        plain = [[re.sub(r"[`\\]", "", cell).strip() for cell in row] for row in rows]
        assert caption.replace("`", "") not in found
        found[caption.replace("`", "")] = [plain[0], *plain[2:]]
    return found


def made(name, form):
    return "\n".join(docs.rendered(form, name)) + "\n"


TABLE = re.compile(r"struct (\w+)(?:, declaration (\d+) of (\d+))?: offset:size in bytes")


def read_back(tables):
    """What the tables of a page say: {(struct, ABI, number): (size, alignment, rows)}."""
    found = {}
    for caption, (header, *rows) in tables.items():
        if not (named := TABLE.fullmatch(caption)):
            continue
        assert (header[0], header[-1]) == ("member", "C type")
        for column, abis in list(enumerate(header))[1:-1]:
            cells = {row[0]: row[column] for row in rows[-2:]}
            said = [(row[0], *row[column].split(":")) for row in rows[:-2] if row[column] != "-"]
            held = sorted((int(at), int(size), member_of(title)) for title, at, size in said)
            for abi in abis.split(", "):
                key = named[1], abi, int(named[2] or 1)
                assert key not in found
                found[key] = int(cells["sizeof"]), int(cells["_Alignof"]), held
    return found


def member_of(title):
    """A row's name, and whether it is padding; that of the ABI has no name."""
    name, _, padding = title.partition("(padding)" if "(padding)" in title else "\0")
    return name.strip().partition("[")[0], bool(padding) or title.endswith("(padding)")


def claimed(one):
    """The same, of the claims themselves."""
    found = {}
    for abi, layouts in one.claims.items():
        numbers = {}
        for layout in layouts:
            number = numbers[layout.name] = numbers.get(layout.name, 0) + 1
            rows = []
            for row in layout.rows:
                hole = row.padding and row.name.startswith("pad_")
                rows.append((row.offset, row.size, ("" if hole else row.name, row.padding)))
            found[layout.name, abi, number] = layout.size, layout.alignment, sorted(rows)
    return found


@pytest.mark.parametrize("read", ["markdown", "html"])
def test_the_tables_say_what_is_claimed_on_every_abi(one, read):
    text = made(one.name, read)
    tables = markdown_tables(text) if read == "markdown" else Page(text).tables
    assert read_back(tables) == claimed(one)


def test_a_c_type_of_every_member_is_in_its_row(one):
    tables = Page(made(one.name, "html")).tables
    said = {}
    for caption, rows in tables.items():
        if named := TABLE.fullmatch(caption):
            for row in rows[1:-2]:
                said.setdefault((named[1], member_of(row[0])[0]), set()).update(row[-1].split(", "))
    for layout in (layout for layouts in one.claims.values() for layout in layouts):
        for row in layout.members:
            assert row.type.name in said[layout.name, row.name]


def test_a_member_is_named_with_its_count_if_it_is_the_same_everywhere(one):
    for name in one.structs:
        for columns, table in zip(
            documents.columns(one, name), documents.tables(one, name), strict=True
        ):
            rows = [row for column in columns for x in column.layouts for row in x.rows]
            for title in (row[0] for row in table.rows[:-2] if row[0] != "(padding)"):
                member = title.split("`")[1]
                counts = {row.count for row in rows if row.name == member.partition("[")[0]}
                expected = (
                    {1: ""}.get(min(counts), f"[{min(counts)}]") if len(counts) == 1 else "[]"
                )
                assert member.removeprefix(member.partition("[")[0]) == expected


def test_equal_columns_are_one_and_unequal_ones_are_not(one):
    for name in one.structs:
        for columns in documents.columns(one, name):
            facts = [[(x.size, x.alignment, offsets(x)) for x in held.layouts] for held in columns]
            assert all(fact == column[0] for column in facts for fact in column)
            assert len(facts) == len({repr(column[0]) for column in facts})
            abis = [abi for column in columns for abi in column.abis]
            assert len(abis) == len(set(abis))


def offsets(layout):
    return [(row.offset, row.size, row.name, row.count) for row in layout.rows]


def test_the_page_has_every_condition_note_and_header(one):
    page = Page(made(one.name, "html"))
    said = " ".join(page.said.split())
    for note in one.notes:
        assert note in said
    for header in one.headers.values():
        assert header in said
    of_kind = (("A build stops if one", one.conditions), ("As above, and", one.unasserted))
    for begin, conditions in of_kind:
        rows = next((r for c, r in page.tables.items() if c.startswith(begin)), [[]])[1:]
        expected = [
            [x.id, x.text, f"{x.sentence}{' (x86-64)' if x.x86_64_only else ''}"]
            for x in conditions
        ]
        assert rows == expected
    if not one.conditions:
        assert "no assertion" in said


def test_the_overview_names_every_struct_with_its_size_and_alignment(one):
    rows = Page(made(one.name, "html")).tables["Sizes and alignments in bytes on x86_64"][1:]
    assert [row[0] for row in rows] == list(one.structs)
    for name, size, alignment, _ in rows:
        held = [layout for layout in one.claims["x86_64"] if layout.name == name]
        assert size.split(" or ") == list(dict.fromkeys(str(x.size) for x in held))
        assert set(re.findall(r"\d+", alignment)) == {str(x.alignment) for x in held}
        assert ("packed" in alignment) == (name in one.packed)


@pytest.mark.parametrize("form", ["html", "markdown"])
def test_every_struct_is_drawn_the_compat_form_after_its_native_one(one, form):
    caption = r"(Native: |Compat: |)`?(?:<code>)?struct (\w+)(?:</code>)?`? on x86_64"
    drawn = re.findall(caption, made(one.name, form))
    assert {name for _, name in drawn} == set(one.structs)
    for name in one.structs:
        compat = f"compat_{name}"
        if compat in one.structs:
            places = [at for at, (_, drew) in enumerate(drawn) if drew == compat]
            assert drawn[places[0] - 1] == ("Native: ", name)
            assert {drawn[at][0] for at in places} == {"Compat: "}
        # Declarations that differ in types alone are one drawing.
        held = {repr(offsets(x)) for x in one.claims["x86_64"] if x.name == name}
        assert [drew for _, drew in drawn].count(name) == len(held)


DRAWN_AS = re.compile(r"`struct (\w+)` on x86_64(?:, declaration \d of \d)?: drawn as `(\w+)`")


def test_a_struct_is_drawn_as_another_if_that_one_is_the_same_and_before_it(one):
    def shapes(name):
        return {
            tuple((r.offset, r.size, "" if r.padding else r.name, r.count) for r in x.rows)
            for x in one.claims["x86_64"]
            if x.name == name
        }

    said = DRAWN_AS.findall(made(one.name, "markdown"))
    order = list(one.structs)
    before = [(a, b) for a in order for b in order if order.index(b) < order.index(a)]
    same = {a for a, b in before if shapes(a) & shapes(b) and f"compat_{b}" != a}
    assert {name for name, _ in said} == same
    assert all(shapes(a) & shapes(b) for a, b in said)


def test_what_is_declared_in_two_ways_says_so_at_its_tables(one):
    text = made(one.name, "markdown")
    for name in one.structs:
        count = len(list(documents.tables(one, name)))
        where = f", by {one.headers[name]}" if name in one.headers else ""
        said = f"`{name}` is declared in {count} ways{where}; see [Traps](#traps)."
        assert (said in text) == (count > 1)


def on_x86_64():
    return [x for name in NAMES for x in family(name).claims["x86_64"]]


@pytest.mark.parametrize("layout", on_x86_64(), ids=lambda layout: layout.name)
def test_every_member_is_drawn_at_its_offset(layout):
    held = drawings.drawn(layout)
    assert len(held.starts) == -(-sum(box.size for box in held.boxes) // ROW)
    # Where each byte of the drawing is in the struct: a row begins at the offset on its left.
    place = 0
    for box, row in zip(held.boxes, layout.rows, strict=True):
        first = held.starts[place // ROW] + place % ROW
        last = held.starts[(place + box.size - 1) // ROW] + (place + box.size - 1) % ROW
        short = row.size - box.size
        assert (first, last + (0 if last + 1 == row.end else short)) == (row.offset, row.end - 1)
        assert short % ROW == 0
        assert not short or box.size == -row.offset % ROW + ROW + row.end % ROW
        hole = row.padding and row.name.startswith("pad_")
        label = f"{row.declaration}: {row.size} bytes" if short else row.declaration
        assert box.label == ("padding" if hole else label)
        assert bool(short) == (row.size > (drawings.ROWS_MAX + 1) * ROW - 1)
        assert box.kind == "padding" if row.padding else box.kind in drawings.COLOURS
        place += box.size
    assert held.folds == (sum(box.size for box in held.boxes) < layout.size)
    assert len(held.boxes) < 30


@pytest.mark.parametrize("layout", on_x86_64(), ids=lambda layout: layout.name)
def test_both_drawings_have_the_offsets_of_their_rows_on_the_left(layout):
    held, figure = drawings.drawn(layout), drawings.figure("x", layout)
    labels = [f"{start:#04x}" for start in held.starts]
    assert re.findall(r">(0x[0-9a-f]+)</text>", "\n".join(figure.svg)) == labels
    rows = [line for line in figure.text if line.startswith("0x")]
    assert [line.split()[0] for line in rows] == labels
    bars = {line.index("|") for line in rows}
    assert bars == {line.index("+") for line in figure.text if "+" in line}
    assert ("cut short" in figure.caption) == held.folds
    assert ("hatched" in figure.drawn) == bool(layout.padding)


def test_members_side_by_side_have_different_colours(one):
    for layout in one.claims["x86_64"]:
        kinds = [box.kind for box in drawings.drawn(layout).boxes if box.kind != "padding"]
        assert all(a != b for a, b in pairwise(kinds))


def test_the_commands_are_ones_that_there_are(one, capsys):
    text = made(one.name, "markdown")
    (block,) = re.findall(r"```sh\n(.*?)```", text, re.S)
    whole = re.sub(r" \\\n +", " ", block)  # a long command goes on in a second line
    commands = [line for line in whole.splitlines() if not line.startswith("#")]
    assert f"runstate check --family {one.name} vmlinux kvm.ko" in commands
    for line in commands:
        program, verb, *words = shlex.split(line.replace("ADDRESS", "0x40"))
        assert program == "runstate"
        module = next(x.module for x in cli.VERBS if x.name == verb)
        made_of_family = verb == "race" and "--reader-object" in words
        if made_of_family:
            race_of_family.parser(one.name).parse_args(words)
        else:
            import_module(f"runstate_abi.tools.{module}").parser().parse_args(words)
    assert cli.main(commands[0].split()[1:]) == 0
    assert one.structs[0] in capsys.readouterr().out


@pytest.mark.parametrize("form", list(docs.FORMATS))
def test_a_page_is_written_and_is_not_stale(one, form, tmp_path):
    path = str(tmp_path / "page")
    words = ["--family", one.name, "--format", form]
    assert docs.main([*words, "-o", path]) == 0
    assert docs.main([*words, "--check", path]) == 0
    assert Path(path).read_text() == made(one.name, form)


def test_a_file_s_name_says_the_format_of_a_family_s_page(one, tmp_path):
    path = tmp_path / "a.html"
    assert docs.main(["--family", one.name, "-o", str(path)]) == 0
    assert path.read_text().startswith("<!DOCTYPE html>")
    assert docs.main(["--family", one.name, "--check", str(path)]) == 0


PAD = Field(0, "pad_00", Scalar("uint8_t", 1, False), padding=True)


def longer(layout):
    """A layout with one byte more at its end."""
    last = PAD._replace(offset=layout.size, name=f"pad_{layout.size:x}")
    return layout._replace(size=layout.size + 1, alignment=1, rows=(*layout.rows, last))


def shifted(layout):
    """A layout whose last row begins one byte later, behind a hole."""
    *first, last = layout.rows
    hole = PAD._replace(offset=last.offset, name=f"pad_{last.offset:x}x")
    rows = (*first, hole, last._replace(offset=last.offset + 1))
    return layout._replace(size=layout.size + 1, alignment=1, rows=rows)


def less_aligned(layout):
    return layout._replace(alignment=2 if layout.alignment == 1 else 1)


def renamed(layout):
    row = layout.rows[0]
    return layout._replace(rows=(row._replace(name=f"{row.name}x"), *layout.rows[1:]))


@pytest.mark.parametrize("change", [longer, shifted, less_aligned, renamed])
@pytest.mark.parametrize("abi", ["x86_64", "arm32"])
def test_a_claim_that_changes_makes_the_page_stale(one, change, abi, tmp_path, capsys, monkeypatch):
    path = str(tmp_path / "page.md")
    assert docs.main(["--family", one.name, "-o", path]) == 0
    first, *rest = one.claims[abi]
    other = one._replace(claims={**one.claims, abi: (change(first), *rest)})
    monkeypatch.setattr(sys.modules[family_names.MODULES[one.name]], "FAMILY", other)
    assert docs.main(["--family", one.name, "--check", path]) == 1
    assert f"is stale: runstate docs --family {one.name} --format" in capsys.readouterr().err


def test_a_condition_and_a_note_that_change_make_the_page_stale(one):
    added = Condition("Z1", "sizeof(struct nothing) != 1", 0, False, "it is nothing")
    before = documents.document(one)
    for change in ({"unasserted": (added,)}, {"conditions": (added,)}, {"notes": ("Mind this.",)}):
        assert documents.document(one._replace(**change)) != before


@pytest.mark.parametrize("name", [*NAMES, "index"])
def test_the_html_is_well_formed_and_needs_nothing_else(name, written):
    text = (written("html") / f"{name}.html").read_text()
    page = Page(text)
    assert (page.wrong, page.open) == ([], [])
    assert len(page.ids) == len(set(page.ids))
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)
    assert not re.search(r"<script|<link|<img|@import|url\(|src=|[\ue000\ue001{}]", page.said)
    assert not re.search(r"<script|<link|<img|@import|url\(|src=", text)
    assert text.count("<h1>") == 1


def test_the_page_reader_finds_fault_with_a_broken_page():
    text = made(NAMES[0], "html")
    assert Page(text.replace("</table>", "", 1)).wrong
    assert Page(text.replace("</body>", "")).wrong


def test_a_validator_takes_every_page(tool, node_module, written, tmp_path):
    program = f"{node_module('html-validate')}/bin/html-validate.mjs"
    rules = '{"root": true, "extends": ["html-validate:recommended", "html-validate:document"]}'
    (tmp_path / ".htmlvalidate.json").write_text(rules)
    for path in written("html").iterdir():
        (tmp_path / path.name).write_text(path.read_text())
    tool("node", program, *tmp_path.glob("*.html"), cwd=tmp_path)


def test_man_shows_every_page_without_a_warning(tool, written):
    tool("man", "--version")
    for path in written("man").iterdir():
        words = ["man", "-l", "--warnings", path]
        environment = {"MANWIDTH": "80", "LC_ALL": "C.UTF-8", "MANPAGER": "cat", "PATH": "/usr/bin"}
        done = subprocess.run(words, capture_output=True, text=True, env=environment)
        assert (path.name, done.returncode, done.stderr) == (path.name, 0, "")
        assert done.stdout.count(path.stem) > 0


def test_sphinx_builds_the_folder_without_a_warning(written, tmp_path):
    pytest.importorskip("sphinx", reason="sphinx: not installed")
    for path in written("rst").iterdir():
        (tmp_path / path.name).write_text(path.read_text())
    (tmp_path / "conf.py").write_text('project = "x"\nmaster_doc = "index"\nextensions = []\n')
    words = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-n"]
    out = tmp_path / "out"
    done = subprocess.run([*words, tmp_path, out], capture_output=True, text=True, timeout=110)
    assert (done.returncode, done.stderr) == (0, "")
    text = (out / "index.html").read_text()
    assert all(f'href="{name}.html"' in text for name in (family_names.RUNSTATE, *NAMES))


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Return a function: the folder of all pages in a format."""
    found = {}

    def get(form):
        if form not in found:
            found[form] = tmp_path_factory.mktemp("all") / "new"
            assert docs.main(["--family", "all", "--format", form, "-o", str(found[form])]) == 0
        return found[form]

    return get


EVERY = ("index", family_names.RUNSTATE, *NAMES)


@pytest.mark.parametrize("form", list(docs.FORMATS))
def test_all_is_a_page_a_family_and_an_index(form, written, page):
    suffix = next(s for s, f in docs.SUFFIXES.items() if f == form)
    folder = written(form)
    assert {path.name for path in folder.iterdir()} == {f"{name}{suffix}" for name in EVERY}
    assert (folder / f"runstate{suffix}").read_text() == page(form)
    for name in NAMES:
        assert (folder / f"{name}{suffix}").read_text() == made(name, form)
    assert docs.main(["--family", "all", "--format", form, "--check", str(folder)]) == 0


def test_every_link_of_the_index_has_its_page(written):
    html, markdown = written("html"), written("markdown")
    links = [x for x in Page((html / "index.html").read_text()).links if not x.startswith("#")]
    assert links == [f"{name}.html" for name in EVERY[1:]]
    targets = re.findall(r"\]\((.*?)\)", (markdown / "index.md").read_text())
    assert targets == [f"{name}.md" for name in EVERY[1:]]
    assert all((markdown / target).is_file() for target in targets)
    assert all((html / target).is_file() for target in links)
    rst = (written("rst") / "index.rst").read_text()
    assert re.findall(r":doc:`(.*)`", rst) == re.findall(r"^   (\w+)$", rst, re.M) == [*EVERY[1:]]
    assert re.findall(r"^\\fB(\w+)\\fR\(7\)$", (written("man") / "index.7").read_text(), re.M) == [
        *EVERY[1:]
    ]


def test_the_index_has_each_struct_with_its_sizes_on_x86_64(written):
    text = (written("markdown") / "index.md").read_text()
    (table,) = markdown_tables(text).values()
    rows = {re.match(r"\[(\w+)\]", row[0])[1]: row[2] for row in table[1:]}
    assert rows["runstate"] == "vcpu_runstate_info 48, compat_vcpu_runstate_info 44"
    for name in NAMES:
        for struct, sizes in re.findall(r"(\w+) (\d+(?: or \d+)*)(?:, |$)", rows[name]):
            held = [x.size for x in family(name).claims["x86_64"] if x.name == struct]
            assert [int(size) for size in sizes.split(" or ")] == list(dict.fromkeys(held))
        assert rows[name].count(", ") == len(family(name).structs) - 1


@pytest.fixture
def quick(monkeypatch):
    """Make runstate's own page a short one: it takes seconds, and other tests are about it."""
    own = Document("runstate", "Own", "It.", (Section("a", "A", (Paragraph("Text."),)),))
    monkeypatch.setattr(docs, "document", lambda form="": own)


@pytest.fixture
def folder(quick, tmp_path):
    """Return a folder with all pages in Markdown."""
    assert docs.main(["--family", "all", "-o", str(tmp_path / "pages")]) == 0
    return tmp_path / "pages"


def check(folder, *words):
    return docs.main(["--family", "all", *words, "--check", str(folder)])


@pytest.mark.parametrize("name", EVERY)
def test_a_page_of_the_folder_that_changed_is_stale_and_named(folder, name, capsys):
    assert check(folder) == 0
    path = folder / f"{name}.md"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert check(folder) == 1
    said = capsys.readouterr().err
    assert f"{path} is stale: runstate docs --family all --format markdown" in said
    assert said.count("stale") == 1


def test_a_page_of_the_folder_that_is_not_there_is_named_and_the_others_are_checked(folder, capsys):
    (folder / "index.md").unlink()
    other = folder / f"{NAMES[-1]}.md"
    other.write_text(other.read_text() + "\n")
    assert check(folder) == 1
    said = capsys.readouterr().err
    assert f"{folder / 'index.md'} is missing" in said
    assert f"{other} is stale" in said


def test_a_stale_folder_is_made_current_and_what_else_is_in_it_stays(folder):
    (folder / "own.txt").write_text("mine")
    (folder / "index.md").write_text("old")
    assert docs.main(["--family", "all", "-o", str(folder)]) == 0
    assert check(folder) == 0
    assert (folder / "own.txt").read_text() == "mine"
    assert len(list(folder.iterdir())) == len(EVERY) + 1


def test_pages_can_be_read_by_whom_any_new_file_can(folder):
    (folder / "new").touch()
    assert (folder / "index.md").stat().st_mode == (folder / "new").stat().st_mode


def test_a_folder_that_is_not_there_cannot_be_checked(quick, tmp_path):
    with pytest.raises(WitnessError, match="no such folder"):
        check(tmp_path / "none")


@pytest.mark.parametrize("option", ["-o", "--check"])
@pytest.mark.parametrize("place", ["-", "file", "new.md", "new.html", "new.7"])
def test_several_pages_go_to_no_stdout_and_no_file(option, place, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    with pytest.raises(SystemExit) as stopped:
        docs.main(["--family", "all", option, place])
    said = capsys.readouterr()
    assert (stopped.value.code, said.out, said.err.count("\n")) == (2, "", 1)
    assert f"several pages, so it needs {option} FOLDER" in said.err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_several_pages_without_o_is_the_same_one_line(capsys):
    with pytest.raises(SystemExit) as stopped:
        docs.main(["--family", "all"])
    assert stopped.value.code == 2
    assert "several pages, so it needs -o FOLDER" in capsys.readouterr().err


def test_an_unknown_family_is_wrong_usage_and_the_nearest_is_named(capsys):
    with pytest.raises(SystemExit) as stopped:
        docs.main(["--family", NAMES[0][:-1]])
    said = capsys.readouterr().err
    assert (stopped.value.code, said.count("\n")) == (2, 1)
    assert f"did you mean {NAMES[0]}?" in said


def test_runstate_by_its_name_is_the_document_as_ever(quick, capsys):
    assert docs.main([]) == 0
    ever = capsys.readouterr().out
    assert docs.main(["--family", "runstate"]) == 0
    assert capsys.readouterr().out == ever


def fail(*_, **__):
    raise OSError(28, "No space left on device")


def break_third_page(monkeypatch):
    """Let the third file that is opened for writing take a part of its text and then fail."""
    opened = []

    def opening(path, mode="r", **options):
        file = open(path, mode, **options)  # noqa: SIM115 (as what it stands for)
        opened.append(path)
        if len(opened) == 3:
            file.write("half")
            file.write = fail
        return file

    monkeypatch.setattr(pages, "open", opening, raising=False)


def break_replacing(monkeypatch):
    monkeypatch.setattr(pages.os, "replace", fail)


@pytest.mark.parametrize("break_it", [break_third_page, break_replacing])
def test_what_fails_leaves_an_old_folder_as_it_was(folder, break_it, monkeypatch):
    (folder / "index.md").write_text("old")
    (folder / f"{NAMES[0]}.md").unlink()
    before = {path.name: path.read_text() for path in folder.iterdir()}
    break_it(monkeypatch)
    with pytest.raises(WitnessError, match=r"cannot be written: No space left"):
        docs.main(["--family", "all", "-o", str(folder)])
    assert {path.name: path.read_text() for path in folder.iterdir()} == before


@pytest.mark.parametrize("break_it", [break_third_page, break_replacing])
def test_what_fails_leaves_no_new_folder(quick, break_it, tmp_path, monkeypatch):
    break_it(monkeypatch)
    with pytest.raises(WitnessError):
        docs.main(["--family", "all", "-o", str(tmp_path / "new")])
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_said(quick, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(WitnessError, match="cannot be written: Not a directory"):
        docs.main(["--family", "all", "-o", str(tmp_path / "file" / "new")])


def layout(name, abi, alignment=4):
    rows = (Field(0, "a_b", U32), Field(4, "pad_04", Scalar("uint8_t", 1, False), 4, padding=True))
    return Layout(name, abi, 8, alignment, rows)


@pytest.fixture
def own(monkeypatch):
    """Add a family of a user's: no prose, no x86-64, a compat form alone."""
    made = Family(
        "mine",
        "what I share",
        {"arm64": (layout("thing", "arm64", None),), "arm32": (layout("compat_other", "arm32"),)},
        {},
        {},
        "",
    )
    module = ModuleType("mine_table")
    module.FAMILY = made
    monkeypatch.setitem(sys.modules, "mine_table", module)
    monkeypatch.setitem(family_names.MODULES, "mine", "mine_table")
    return made


@pytest.mark.parametrize("form", list(docs.FORMATS))
def test_a_family_without_prose_has_a_page_without_that_part(own, form):
    text = made("mine", form)
    assert "compat_other" in text.replace("\\:", "")
    assert "they are for" not in text.lower()
    assert "Traps" not in text
    assert ("arm64" in text, "x86_64, " in text) == (True, False)


def test_a_family_s_odd_ends(own):
    rows = markdown_tables(made("mine", "markdown"))
    assert rows["Sizes and alignments in bytes on x86_64"][1:] == [
        ["thing", "8 (arm64)", "-", ""],
        ["compat_other", "8 (arm32)", "4", ""],
    ]
    assert rows["struct thing: offset:size in bytes"] == [
        ["member", "arm64", "C type"],
        ["a_b", "0:4", "uint32_t"],
        ["(padding)", "4:4", ""],
        ["sizeof", "8", ""],
        ["_Alignof", "-", ""],
    ]


def test_a_family_that_was_added_is_in_the_folder_and_the_index(own, quick, tmp_path):
    assert docs.main(["--family", "all", "-o", str(tmp_path)]) == 0
    assert (tmp_path / "mine.md").read_text() == made("mine", "markdown")
    index = (tmp_path / "index.md").read_text()
    assert (
        "| [mine](mine.md) | What I share | `thing` 8 (arm64), `compat_other` 8 (arm32) |" in index
    )


def test_a_heading_is_short_and_the_index_has_the_whole_title(own):
    text = "what a guest and its hypervisor have in common, and much that they have not"
    long = own._replace(title=text)
    assert documents.document(long).title == "What a guest and its hypervisor have in common"
    endless = own._replace(title="word " * 30)
    assert documents.document(endless).title.endswith("word [...]")
    assert len(documents.document(endless).title) <= 70
    assert pages.index("Own", [long]).sections[0].blocks[0].rows[1][1] == f"W{text[1:]}"


def test_two_declarations_in_use_have_a_table_each():
    held = Family(
        "mine", "x", {"i386": (layout("a", "i386"), longer(layout("a", "i386")))}, {}, {}, ""
    )
    captions = [table.caption for table in documents.tables(held, "a")]
    assert [f"declaration {number} of 2" in c for number, c in enumerate(captions, 1)] == [True] * 2


def test_the_members_are_in_the_order_of_each_abi(one):
    for name in one.structs:
        for columns, table in zip(
            documents.columns(one, name), documents.tables(one, name), strict=True
        ):
            for at in range(1, len(columns) + 1):
                cells = (row[at] for row in table.rows[:-2] if row[at] != "-")
                places = [int(cell.partition(":")[0]) for cell in cells]
                assert places == sorted(places)


def test_a_member_that_only_other_abis_have_stands_where_they_have_it():
    a, m, z = (Field(0, name, U32) for name in "amz")
    less = Layout("s", "arm64", 8, 4, (a, z._replace(offset=4)))
    more = Layout("s", "i386", 12, 4, (a, m._replace(offset=4), z._replace(offset=8)))
    held = Family("mine", "x", {"arm64": (less,), "i386": (more,)}, {}, {}, "")
    (table,) = documents.tables(held, "s")
    assert [row[:3] for row in table.rows[:-2]] == [
        ("`a`", "0:4", "0:4"),
        ("`m`", "-", "4:4"),
        ("`z`", "4:4", "8:4"),
    ]


def proses():
    folder = files("runstate_abi.tools.docs").joinpath("prose")
    return {x.name.removesuffix(".family"): x for x in folder.iterdir() if x.name[-7:] == ".family"}


def test_every_family_has_its_prose_and_no_prose_is_without_one():
    assert set(proses()) == set(NAMES)


def test_the_prose_says_who_writes_and_where_it_is_from(one):
    text = proses()[one.name].read_text()
    head, _, sources = text.partition("## Sources\n")
    assert 5 <= len(head.splitlines()[2:]) <= 18
    assert re.search(r"KVM|Xen", head)
    assert "read" in head
    assert all(line.startswith(("- ", "  ")) for line in sources.strip().splitlines())
    assert len(sources.strip().splitlines()) >= 3
    page = Page(made(one.name, "html"))
    first = "What it is for" if "What it is for" in head else "What they are for"
    assert first in page.said
    assert "{" not in "".join(map(str, documents.about(one)))


def test_a_word_that_nobody_knows_in_prose_is_an_error(monkeypatch):
    monkeypatch.setattr(documents, "words", lambda one: {})
    spelt = [name for name in NAMES if re.search(r"\{\w+\.\w+\}", proses()[name].read_text())]
    assert spelt
    with pytest.raises(KeyError):
        documents.document(family(spelt[0]))


def test_a_struct_s_name_is_in_prose_and_tables_only():
    names = {name for one in families.families("all") for name in one.structs}
    for path in files("runstate_abi.tools.docs").iterdir():
        if path.name.endswith(".py"):
            assert set(re.findall(r"\w+", path.read_text())) & names == set(), path.name


# fmt: off
CODED = (
    ("it is wc.sec_hi, not sec",  "it is `wc.sec_hi`, not sec"),
    ("the first of pad1[3].",     "the first of `pad1[3]`."),
    ("vcpu_info[] comes first",   "`vcpu_info[]` comes first"),
    ("shared_info's x86-64",      "`shared_info`'s x86-64"),
    ("5.1 and 0xc0c (1084)",      "5.1 and 0xc0c (1084)"),
)
# fmt: on


@pytest.mark.parametrize(("text", "expected"), CODED)
def test_names_of_c_are_code(text, expected):
    assert checking.coded(text) == expected
