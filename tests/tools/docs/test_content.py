"""The document, read back from each rendering: its numbers are those of layouts/ and writer/."""

import re
import subprocess
import sys
from importlib.resources import files

import pytest

from runstate_abi.layouts.abi import ABIS
from runstate_abi.layouts.conditions import CONDITIONS, UNASSERTED
from runstate_abi.layouts.structs.runstate import CLAIMS, COMPAT, NATIVE, RUNSTATES
from runstate_abi.tools.docs import command
from runstate_abi.tools.docs.sources import REFERENCES
from runstate_abi.tools.rendering import blocks

PAGE = 4096
LAYOUTS = {"native": NATIVE, "compat": COMPAT}
LAYOUT_TABLE = "Offsets and sizes in bytes"
ABI_TABLE = "What struct vcpu_runstate_info is on each ABI; sizes and alignments in bytes"


def cell(row, column, header):
    """A cell of a row: in a man page that is a list, cells are lines `header: cell`."""
    if header:
        return row[column]
    return row[column].partition(": ")[2]


def test_offsets_and_sizes_are_those_of_the_layouts(read_back, form):
    header, *rows = read_back(form)[LAYOUT_TABLE]
    assert header == ["member", "C type", "native", "compat", "size"]
    table = {row[0].partition("[")[0]: [*row, "", "", ""][:5] for row in rows}
    for column, layout in ((2, NATIVE), (3, COMPAT)):
        for row in layout.members:
            assert table[row.name][column] == str(row.offset)
            assert table[row.name][4] == str(row.size)
        assert table["update byte"][column] == str(layout.offsetof("state_entry_time") + 7)
        assert table["sizeof"][column] == str(layout.size)
    assert table["(padding)"][2:5] == ["4", "none", "4"]
    alignments = [str(NATIVE.alignment), str(CLAIMS["x86_64"].compat_xen.alignment)]
    assert table["_Alignof"][2:4] == alignments


def test_every_abi_is_there_with_its_size_and_alignment(read_back, form):
    header, *rows = read_back(form)[ABI_TABLE]
    assert [row[0] for row in rows] == [abi.name for abi in ABIS]
    for row in rows:
        native = CLAIMS[row[0]].native
        assert cell(row, 2, header) == str(native.size)
        assert cell(row, 3, header) == str(native.alignment)
        word = {NATIVE.size: "native", COMPAT.size: "compat"}[native.size]
        assert cell(row, 1, header) == word


def test_the_states_are_there_with_their_values(read_back, form):
    header, *rows = read_back(form)["The values of state"]
    found = [(row[0], cell(row, 1, header), cell(row, 2, header)) for row in rows]
    assert found == [(str(s.value), s.constant, s.meaning) for s in RUNSTATES]


@pytest.mark.parametrize(
    ("caption", "conditions"),
    [
        ("The BUILD_BUG_ON conditions of KVM's writer", CONDITIONS),
        ("What nobody asserts", UNASSERTED),
    ],
)
def test_the_conditions_are_there_in_the_kernels_words(read_back, form, caption, conditions):
    header, *rows = read_back(form)[caption]
    words = [(row[0], " ".join(cell(row, 1, header).replace("*", "").split())) for row in rows]
    assert words == [(c.id, " ".join(c.text.replace("*", "").split())) for c in conditions]


# The same as the tables, by counting bytes one by one.
def ranges(text):
    if text == "none":
        return []
    numbers = [int(word) for word in re.findall(r"\b\d+\b(?! *x)", text.partition("(")[0])]
    return list(range(numbers[0], numbers[-1] + 1))


def pages_of(layout, name, start):
    row = layout.field(name)
    return {(start + offset) // PAGE for offset in range(row.offset, row.end)}


def both(name):
    return lambda layout, start: len(pages_of(layout, name, start)) == 2


def update_byte(layout):
    return layout.offsetof("state_entry_time") + 7


ASKED = {
    "ends with its page": lambda x, a: a + x.size == PAGE,
    "crosses into the next page": lambda x, a: a + x.size > PAGE,
    "has the update byte in the second page": lambda x, a: a + update_byte(x) >= PAGE,
    "has state_entry_time in both pages": both("state_entry_time"),
    "has state in both pages": both("state"),
    "is in one page, and would not be in the native layout": lambda x, a: (
        a + x.size <= PAGE < a + NATIVE.size
    ),
}


def test_the_special_page_offsets_are_where_counting_finds_them(read_back, form):
    header, *rows = read_back(form)["Page offsets of the area at which it"]
    assert [row[0] for row in rows] == list(ASKED)
    for row in rows:
        for column, layout in ((1, NATIVE), (2, COMPAT)):
            counted = [a for a in range(PAGE) if ASKED[row[0]](layout, a)]
            assert ranges(cell(row, column, header)) == counted


@pytest.mark.parametrize("word", ["native", "compat"])
def test_each_member_is_in_the_page_where_counting_finds_it(read_back, form, word):
    layout = LAYOUTS[word]
    header, *rows = read_back(form)[f"{word.capitalize()}: 1 is the first page, 2 the second"]
    covered = []
    for row in rows:
        for start in ranges(row[0]):
            covered.append(start)
            for column, member in enumerate(layout.members, 1):
                pages = pages_of(layout, member.name, start)
                expected = "both" if len(pages) == 2 else str(pages.pop() + 1)
                assert cell(row, column, header) == expected
            update = (start + layout.offsetof("state_entry_time") + 7) // PAGE + 1
            assert cell(row, 4, header) == str(update)
    assert covered == list(range(PAGE - layout.size, PAGE))


def test_all_renderings_have_the_same_tables(read_back):
    tables = {form: read_back(form) for form in ("markdown", "rst", "html")}
    assert tables["markdown"] == tables["rst"]
    assert tables["html"] == tables["rst"]
    assert set(read_back("man")) == set(tables["rst"])
    assert len(tables["rst"]) > 25


def texts():
    folder = files("runstate_abi.tools.docs").joinpath("prose")
    return {place.name: place.read_text() for place in folder.iterdir()}


KNOWN = {NATIVE.size, COMPAT.size, PAGE - NATIVE.size, PAGE - COMPAT.size, 15, 11, 4081, 4085}


def spelt(text):
    """The numbers that a text spells and that the tables know."""
    return {int(word) for word in re.findall(r"(?<![\w.-])\d+(?![\w.-])", text)} & KNOWN


def test_the_prose_spells_no_number_that_the_tables_know():
    assert spelt("48 bytes, 12.48, and byte 11") == {48, 11}
    # Each row of thread.table is a command that test_thread.py runs.
    others = {name: text for name, text in texts().items() if name != "thread.table"}
    assert {name: spelt(text) for name, text in others.items() if spelt(text)} == {}


def test_every_source_is_cited_and_every_citation_has_its_source():
    cited = set(re.findall(r"\[\^([\w.-]+)\]", "".join(texts().values())))
    named = "".join(texts().values())
    keys = [key for key, _ in REFERENCES]
    assert cited <= set(keys)
    assert [key for key in keys if key not in named] == []
    assert len(keys) == len(set(keys))


def uncited(text):
    """The paragraphs, lists and notes of a prose file that name no source of REFERENCES.

    Text that ends with a colon is about what follows it.
    """
    keys = {key for key, _ in REFERENCES}
    for part in re.split(r"\n{2,}", text.strip()):
        if not part.startswith(("#", "{{")) and not part.endswith(":"):
            cited = set(re.findall(r"\[\^([\w.-]+)\]", part))
            if not cited or not cited <= keys:
                yield part


def test_each_paragraph_names_a_source():
    accepted = "# T\n\nIt is so. [^time.c]\n\nThus:\n\n{{thread}}\n\n- one [^race]\n- two"
    assert list(uncited(accepted)) == []
    refused = "# T\n\nIt is so.\n\n! Note: it is. [^nobody]\n\n- one [^race] [^no.c]\n- two"
    assert len(list(uncited(refused))) == 3
    prose = {name: text for name, text in texts().items() if name.endswith(".txt")}
    del prose["sources.txt"]  # It says what the list of sources is.
    assert len(prose) == len(command.SECTIONS) - 1
    assert {name: list(uncited(text)) for name, text in prose.items() if list(uncited(text))} == {}


def test_every_piece_that_is_made_is_shown(monkeypatch):
    own = "".join(text for name, text in texts().items() if name.endswith(".txt"))
    asked = set(re.findall(r"\{\{([a-z0-9-]+)\}\}", own))
    made = {name for module in command.MODULES for name in module.pieces()}
    assert asked == made | set(command.TABLES) | {"sources-list", "player"}


def strings(section):
    """The marked texts of a section and of those in it."""
    for _, block in blocks.parts((section,)):
        if isinstance(block, blocks.Paragraph | blocks.Note):
            yield block.text
        elif isinstance(block, blocks.Bullets):
            yield from block.items
        elif isinstance(block, blocks.Table):
            yield from (cell for row in block.rows for cell in row)


def test_what_a_table_cites_is_among_the_sources():
    sections = command.document().sections
    (sources,) = (b for _, b in blocks.parts(sections) if isinstance(b, blocks.References))
    keys = [key for key, _ in sources.entries]
    cited = [span for s in sections for text in strings(s) for span in blocks.marked(text)]
    assert {span.text for span in cited if span.mark == "cite"} <= set(keys)
    assert len(keys) == len(set(keys))


def test_no_mark_is_left_in_the_text():
    for section in command.document().sections:
        for text in strings(section):
            rest = "".join(span.text for span in blocks.marked(text) if not span.mark)
            assert not re.search(r"[`{}\\]|\[\^|\[\[|\]\]|<<", rest), text


def test_the_page_is_the_same_whatever_the_hash_seed_and_names_no_machine():
    code = (
        "from runstate_abi.tools.docs import command as docs\n"
        "for form in docs.FORMATS: print(*docs.rendered(form), sep='\\n')"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout.decode()
        for seed in ("1", "2")
    ]
    assert runs[0] == runs[1]
    assert not re.search(r"object at 0x|built-in|/home/|/tmp/", runs[0])
