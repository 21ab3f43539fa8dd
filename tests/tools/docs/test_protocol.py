"""The pages of structs with a version: what they say of readers and writers, and their programs."""

import html
import json
import re
import struct
import subprocess
import sys

import pytest

from agreement import execution
from runstate_abi.layouts.structs.families import families, family
from runstate_abi.layouts.structs.family_names import MODULES, VERSIONED
from runstate_abi.tools.docs import command as docs
from runstate_abi.tools.docs import deceptions, kinds, parties, protocol
from runstate_abi.tools.docs import families as documents
from runstate_abi.tools.race import of_family as race_verb
from runstate_abi.tools.rendering import blocks
from runstate_abi.tools.rendering.blocks import Code, Table
from runstate_abi.writer.guard import guard_of
from runstate_abi.writer.race import Proof
from runstate_abi.writer.versions.readers import READERS
from runstate_abi.writer.versions.writers import WRITERS

OTHERS = tuple(name for name in MODULES if name not in VERSIONED)
BLOCKS_OF_C = {"pvclock": 4, "steal_time": 5, "hyperv": 3}


@pytest.fixture(params=VERSIONED)
def name(request):
    """Each family in turn whose structs have a version."""
    return request.param


def section(name, which):
    """The blocks of a section, those of its parts too."""
    (found,) = (x for x in documents.document(family(name)).sections if x.name == which)
    return [block for _, block in blocks.parts((found,))]


def tables(name, which):
    return [block for block in section(name, which) if isinstance(block, Table)]


def plain(text):
    return blocks.plain(text)


# The programs.


def programs(name):
    """The C of a page in its order: what all share, the declarations, the readers."""
    return [
        "\n".join(block.lines)
        for block in section(name, "reading")
        if isinstance(block, Code) and block.language == "c"
    ]


STRICT = ("-Wall", "-Wextra", "-Werror", "-std=gnu11", "-O2")


@pytest.mark.x86
@pytest.mark.parametrize("width", ["-m64", "-m32"])
def test_the_programs_of_a_page_compile_as_they_are_printed(name, width, tool, tmp_path):
    found = programs(name)
    assert len(found) == BLOCKS_OF_C[name]
    (tmp_path / "page.c").write_text("\n".join(found))
    tool("gcc", width, *STRICT, "-c", tmp_path / "page.c", "-o", tmp_path / "page.o")


@pytest.mark.parametrize("compiler", ["aarch64-linux-gnu-gcc", "arm-linux-gnueabihf-gcc"])
@pytest.mark.parametrize("name", ["pvclock", "steal_time"])
def test_what_is_for_arm_compiles_for_arm(name, compiler, tool, tmp_path):
    found = [part for part in programs(name) if "rdtsc_ordered();" not in part]
    shared = re.sub(r"(?s)/\* The time stamp counter.*?\n}", "", found[0])
    (tmp_path / "page.c").write_text("\n".join([shared, *found[1:]]))
    tool(compiler, *STRICT, "-S", tmp_path / "page.c", "-o", tmp_path / "page.s")


# A function that a compiler for arm64 makes of this has the barrier between its loads.
def test_the_barrier_of_arm64_is_in_the_code(tool, tmp_path):
    call = "int f(const struct sbi_sta_struct *a, u64 *s) { return sbi_steal_try(a, s); }\n"
    (tmp_path / "page.c").write_text("\n".join([*programs("steal_time"), call]))
    tool("aarch64-linux-gnu-gcc", *STRICT, "-S", tmp_path / "page.c", "-o", tmp_path / "page.s")
    made = re.findall(r"^\t(ldr|ldrb|dmb)\s(\w+)", (tmp_path / "page.s").read_text(), re.M)
    assert [word for word, _ in made] == ["ldr", "dmb", "ldr", "dmb", "ldr"]
    assert [what for word, what in made if word == "dmb"] == ["ishld", "ishld"]


@pytest.fixture(params=["-m64", "-m32"])
def run(request, tool, tmp_path):
    """Return a function: what a main() prints that is compiled behind a page's programs."""

    def run(name, body, data=b""):
        main = '#include "page.c"\n#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n'
        main += "static _Alignas(64) u8 bytes[4096];\n"
        main += f"int main(void)\n{{\n\tfread(bytes, 1, sizeof(bytes), stdin);\n{body}\n}}\n"
        (tmp_path / "page.c").write_text("\n".join(programs(name)))
        (tmp_path / "main.c").write_text(main)
        words = ["gcc", request.param, "-std=gnu11", "-O2", "-w", tmp_path / "main.c"]
        tool(*words, "-o", tmp_path / "main")
        done = subprocess.run([tmp_path / "main"], input=data, capture_output=True, timeout=20)
        assert done.returncode == 0, "it hangs or crashes"
        return done.stdout.decode().split()

    run.width = request.param
    return run


# counter, timestamp, time, multiplier, shift: of real guests, and at the edges.
# fmt: off
TIMES = (
    (5_000_000_000, 1_000_000_000, 77, 0x80000000, 1),
    (2**63 + 12345, 2**62, 2**40 + 1, 0xffffffff, -1),
    (2**40, 0, 0, 0xb6db6db7, -3),
    (1 << 33, (1 << 33) - 1, 10**18, 0xfffffffe, 31),
    (0, 0, 5, 0, 0),
)
# fmt: on


@pytest.mark.x86
def test_the_time_is_what_big_numbers_give(run):
    body = ""
    for tsc, stamp, time, mul, shift in TIMES:
        values = f"{tsc}ull, {stamp}ull, {time}ull, {mul}u, {shift}, 0"
        body += f"{{ struct pvclock_copy c = {{ {values} }};"
        body += ' printf("%llu\\n", (unsigned long long)pvclock_time(&c)); }\n'
    expected = []
    for tsc, stamp, time, mul, shift in TIMES:
        delta = (tsc - stamp) % 2**64
        delta = delta >> -shift if shift < 0 else delta << shift
        expected.append((time + (delta % 2**64 * mul >> 32)) % 2**64)
    assert list(map(int, run("pvclock", body))) == expected


def time_info(version):
    return struct.pack("<IIQQIbB2x", version, 0, 11, 22, 33, -4, 5)


@pytest.mark.x86
@pytest.mark.parametrize(("version", "taken"), [(2, 1), (3, 0), (0, 1), (2**32 - 1, 0)])
def test_a_time_info_is_copied_whole_and_an_odd_one_is_refused(run, version, taken):
    body = """\tstruct pvclock_copy c;
\tint whole = pvclock_try((const void *)bytes, &c);
\tprintf("%d %d %d %u %d %d\\n", whole, (int)c.tsc_timestamp, (int)c.system_time,
\t       c.tsc_to_system_mul, c.tsc_shift, c.flags);"""
    assert list(map(int, run("pvclock", body, time_info(version)))) == [taken, 11, 22, 33, -4, 5]


@pytest.mark.x86
def test_the_wall_clock_is_found_in_shared_info(run):
    page, upper = bytearray(4096), 0
    for layout in family("vcpu_info").claims["x86_64" if run.width == "-m64" else "i386"]:
        rows = {row.name: row.offset for row in layout.rows}
        if layout.name == "shared_info":
            upper = rows.get("wc_sec_hi", rows["arch"] + 24)
        if "wc_sec" in rows and layout.name == "shared_info":
            for member, value in (("wc_version", 8), ("wc_sec", 1234), ("wc_nsec", 5678)):
                struct.pack_into("<I", page, rows[member], value)
    struct.pack_into("<I", page, upper, 3)
    body = """\tstruct wall_time t;
\tint whole = xen_wall_clock_try(bytes, &t);
\tprintf("%d %llu %u\\n", whole, (unsigned long long)t.sec, t.nsec);"""
    assert list(map(int, run("pvclock", body, bytes(page)))) == [1, (3 << 32) + 1234, 5678]


@pytest.mark.x86
@pytest.mark.parametrize(("version", "whole"), [(6, 1), (7, 0)])
def test_a_wall_clock_without_upper_seconds_has_none(run, version, whole):
    data = struct.pack("<IIII", version, 9, 10, 0xFFFFFFFF)
    body = """\tstruct wall_time t;
\tint whole = wall_clock_try((const void *)bytes, 0, &t);
\tprintf("%d %llu %u\\n", whole, (unsigned long long)t.sec, t.nsec);"""
    assert list(map(int, run("pvclock", body, data))) == [whole, 9, 10]


@pytest.mark.x86
@pytest.mark.parametrize(("version", "whole"), [(4, 1), (5, 0)])
def test_the_steal_times_are_read_and_an_odd_version_is_refused(run, version, whole):
    kvm = struct.pack("<QII", 2**40 + 5, version, 0) + b"\3" + bytes(47)
    sbi = struct.pack("<IIQ", version, 0, 2**41 + 6) + bytes(48)
    arm = struct.pack("<IIQ", 0, 0, 2**42 + 7) + bytes(48)
    body = """\tu64 kvm = 0, sbi = 0;
\tprintf("%d\\n", kvm_steal_try((const void *)bytes, &kvm));
\tprintf("%d\\n", sbi_steal_try((const void *)(bytes + 64), &sbi));
\tprintf("%llu %llu %llu %d %d\\n", (unsigned long long)kvm, (unsigned long long)sbi,
\t       (unsigned long long)stolen_time((const void *)(bytes + 128)),
\t       kvm_vcpu_is_preempted((const void *)bytes),
\t       stolen_time_is_known((const void *)(bytes + 128)));"""
    found = list(map(int, run("steal_time", body, kvm + sbi + arm)))
    assert found == [whole, whole, 2**40 + 5, 2**41 + 6, 2**42 + 7, 1, 1]


@pytest.mark.x86
@pytest.mark.parametrize(("sequence", "taken"), [(0, -1), (1, 1), (2, 1)])
def test_a_page_of_hyper_v_is_given_up_at_0_and_nothing_else(run, sequence, taken):
    data = struct.pack("<IIQq", sequence, 0, 2**63 + 1, -7)
    body = """\tstruct tsc_page_copy c = { 1, 2, 3 };
\tu64 time = 99;
\tint whole = tsc_page_try((const void *)bytes, &c);
\tint read = tsc_page_read((const void *)bytes, &time);
\tprintf("%d %d %d\\n", whole, read, time == 99);
\tif (whole == 1)
\t\tprintf("%llu %lld\\n", (unsigned long long)c.tsc_scale, (long long)c.tsc_offset);"""
    given_up = taken < 0
    expected = [taken, int(not given_up), int(given_up), *([] if given_up else [2**63 + 1, -7])]
    assert list(map(int, run("hyperv", body, data))) == expected


PRODUCTS = ((2**64 - 1, 2**64 - 1, -1), (12345678901, 2**63 + 3, 0), (2**32, 2**32, 5), (1, 1, -9))


@pytest.mark.x86
def test_the_time_of_the_page_is_what_big_numbers_give(run):
    body, expected = "", []
    for tsc, scale, offset in PRODUCTS:
        body += f"{{ struct tsc_page_copy c = {{ {tsc}ull, {scale}ull, {offset} }};"
        body += ' printf("%llu\\n", (unsigned long long)tsc_page_time(&c)); }\n'
        expected.append(((tsc * scale >> 64) + offset) % 2**64)
    assert list(map(int, run("hyperv", body))) == expected


# What the search is asked about is what the page prints.
def test_the_model_of_the_page_s_reader_takes_what_its_programs_load(name):
    text = "\n".join(programs(name)[2:])
    loaded = set(re.findall(r"READ_ONCE\(\*?(?:\w+->)?(\w+)\)", text))
    words = {guard_of(layout).name(layout) for layout in parties.layouts(name)} - {""}
    taken = {m for x in parties.layouts(name) for r in parties.ours(name, x) for m in r.reader.uses}
    unguarded = {"preempted", "stolen_time", "revision", "attributes"}
    assert loaded - words - unguarded == taken
    assert words <= loaded


# The tables.


def asked_of_race(name, capsys):
    race_verb.main(["--family", name, "--all", "--json"], name)
    return json.loads(capsys.readouterr().out)


def cells(table):
    """{(reader, writer): cell}."""
    across = [plain(head) for head in table.header[1:]]
    return {
        (plain(row[0]), w): cell
        for row in table.rows
        for w, cell in zip(across, row[1:], strict=True)
    }


def test_the_answers_are_those_of_runstate_race(name, capsys):
    said = {}
    for one in asked_of_race(name, capsys):
        key = one["reader"], one["variant"], one["model"]
        said[key] = one["verdict"] if one["reachable"] or one["verdict"] == "safe" else "(torn)"
    found = {}
    for table in tables(name, "compared"):
        if "on x86 / on a weak machine" in table.caption:
            for pair, cell in cells(table).items():
                if pair[0].startswith(parties.OURS) or cell == "-":
                    continue
                x86, _, weak = cell.partition(" / ")
                found |= {(*pair, "x86-tso"): x86, (*pair, "weak"): weak or x86}
    assert found == said


SAFE, TORN = "safe", "torn"
# fmt: off
OF_OURS = {
    "pvclock": {
        "kvm-time": SAFE, "kvm-time-6.12": SAFE, "xen-time": SAFE, "xen-time-va": SAFE,
        "xen-time-phys": SAFE, "bhyve-time": "safe / (torn)",
        "kvm-wallclock": "safe / (torn)", "kvm-xen-wallclock": SAFE, "xen-wallclock": SAFE,
    },
    "steal_time": {
        "kvm-x86-steal": SAFE, "kvm-x86-preempted": SAFE, "kvm-loongarch-steal": SAFE,
        "kvm-loongarch-preempted": SAFE, "kvm-riscv64-steal": SAFE, "kvm-riscv32-steal": "-",
    },
    "hyperv": {"kvm-tsc-page": SAFE, "xen-tsc-page": "(torn)"},
}
# fmt: on


def test_the_reader_of_the_page_is_safe_with_every_writer_that_has_its_barriers(name):
    found = {}
    for table in tables(name, "compared"):
        if "on x86 / on a weak machine" in table.caption:
            found |= {w: cell for (r, w), cell in cells(table).items() if r == parties.OURS}
    assert found == OF_OURS[name]


def test_the_32_bit_form_of_it_is_torn_where_the_writer_has_no_barrier():
    found = {}
    for table in tables("steal_time", "compared"):
        found |= {w: c for (r, w), c in cells(table).items() if r == f"{parties.OURS}, 32 bits"}
    assert found["kvm-riscv32-steal"] == "safe / torn"
    assert found["kvm-x86-steal"] == "safe / (torn)"


# x86 and weak, with one step left out.
# fmt: off
KNOWN = {
    "nothing":    (SAFE, SAFE),
    "wmb-set":    (SAFE, TORN),
    "wmb-body":   (SAFE, TORN),
    "set":        (TORN, TORN),
    "body-odd":   (TORN, TORN),
    "rmb-copy":   (SAFE, TORN),
    "rmb-reread": (SAFE, TORN),
    "reread":     (TORN, TORN),
    "odd-check":  (TORN, TORN),
    "zero-check": (TORN, TORN),
}
WITHOUT = {
    "pvclock_vcpu_time_info": {"zero-check"},
    "pvclock_wall_clock": {"zero-check", "body-odd"},
    "kvm_steal_time": {"zero-check", "body-odd"},
    "ms_hyperv_tsc_page": {"odd-check", "body-odd"},
}
# fmt: on


@pytest.mark.parametrize("at", range(4))
def test_each_step_is_for_what_is_known_of_it(at):
    every = [t for one in VERSIONED for t in tables(one, "compared") if "one step" in t.caption]
    assert len(every) == len(WITHOUT)
    table = every[at]
    struct_name = re.match(r"`(\w+)`", table.caption)[1]
    names = {words: key for held in (parties.ODD, parties.ZERO) for key, words in held.items()}
    rows = {names.get(row[0], row[0]): row for row in table.rows}
    assert set(rows) == set(KNOWN) - WITHOUT[struct_name]
    for key, row in rows.items():
        assert row[-2:] == KNOWN[key], key
        # A steal time of one word is whole whatever is left out.
        if struct_name == "kvm_steal_time":
            assert row[2:4] == (SAFE, SAFE)
        else:
            assert row[2:4] == KNOWN[key]


# fmt: off
UPDATES = {
    "kvm-time":            "odd 4 | copy 32 | even 4",
    "kvm-time-6.12":       "odd 4 | copy 32, flags 1 | even 4",
    "xen-time":            "odd 4 | copy 32 | even 4",
    "xen-time-va":         "copy odd 4 | copy 32 | copy even 4",
    "xen-time-phys":       "odd 4 | copy 32 | even 4",
    "bhyve-time":          "odd 4, tsc_timestamp 8, system_time 8, tsc_to_system_mul 4, "
                           "tsc_shift 1, flags 1, even 4",
    "kvm-wallclock":       "copy odd 4, copy 12, copy even 4",
    "kvm-xen-wallclock":   "odd 4 | nsec 4, sec 4, sec_hi 4 | even 4",
    "xen-wallclock":       "odd 4 | sec 4, nsec 4, sec_hi 4 | even 4",
    "kvm-x86-steal":       "preempted 1, odd 4 | steal 8, even 4",
    "kvm-x86-preempted":   "preempted 1",
    "kvm-loongarch-steal": "preempted 1, odd 4 | steal 8 | even 4",
    "kvm-loongarch-preempted": "preempted 1",
    "kvm-riscv64-steal":   "odd 4, steal 8, even 4",
    "kvm-riscv32-steal":   "odd 4, steal low 4, steal high 4, even 4",
    "kvm-arm64-steal":     "stolen_time 8",
    "kvm-tsc-page":        "0 4 | copy 24 | the next number 4",
    "xen-tsc-page":        "tsc_scale 8, tsc_offset 8 | the next number 4",
}
# fmt: on


def test_each_writer_is_there_step_by_step_with_who_runs_and_its_source(name):
    (table,) = tables(name, "writing")
    assert [plain(row[0]) for row in table.rows] == [one.name for one in WRITERS[name]]
    for row, one in zip(table.rows, WRITERS[name], strict=True):
        assert row[2] == UPDATES[one.name]
        assert row[4] == one.source
        words = {"all": "all", "others": "the others", "none": "none"}
        assert row[3] == words[one.running]
        assert one.layout.name in row[1]


def test_each_reader_is_there_with_its_class_whose_struct_and_its_source(name):
    table = next(t for t in tables(name, "compared") if t.caption == "Who reads, and how")
    for row, one in zip(table.rows, READERS[name], strict=True):
        assert (plain(row[0]), plain(row[1])) == (one.name, one.reader.summary)
        assert (row[2], row[3]) == ("its own vCPU's" if one.own else "any", one.reader.source)


# A table that somebody typed would stay as it is.
def test_a_writer_that_loses_a_barrier_changes_the_page(monkeypatch):
    before = documents.document(family("hyperv"))
    first, second = WRITERS["hyperv"]

    def bare(update, place):
        return (s for s in first.update(update, place) if type(s).__name__ != "Barrier")

    changed = {**WRITERS, "hyperv": (first._replace(update=bare), second)}
    for module in (parties, kinds):
        monkeypatch.setattr(module, "WRITERS", changed)
    parties.layouts.cache_clear()
    after = documents.document(family("hyperv"))
    parties.layouts.cache_clear()
    changed = [a.name for a, b in zip(before.sections, after.sections, strict=True) if a != b]
    assert changed == ["writing", "compared", "wrong"]


# The deceptions.

# fmt: off
FOUND = {
    "pvclock":    ["ONCE", "UNLOOKED", "UNORDERED", "LACKING"],
    "steal_time": ["LACKING"],
    "hyperv":     ["UNMARKED"],
}
# fmt: on


def test_everything_that_is_torn_is_of_one_kind(name, capsys):
    every = kinds.torn(name)
    assert [kind.name for kind in every] == FOUND[name]
    said = {(m.reader.name, m.writer.name, m.model.name) for each in every.values() for m in each}
    found = asked_of_race(name, capsys)
    assert said == {(o["reader"], o["variant"], o["model"]) for o in found if o["verdict"] == TORN}


def test_the_kinds_are_told_by_who_can_meet():
    first = {kind.name: each[0] for kind, each in kinds.torn("pvclock").items()}
    assert (first["UNLOOKED"].unreachable, first["UNLOOKED"].model) == ("", deceptions.X86)
    assert first["ONCE"].reader.name == "openbsd-wallclock"
    (lacking,) = kinds.torn("steal_time").values()
    assert (lacking[0].writer.name, lacking[0].unreachable) == ("kvm-riscv32-steal", "")


def questions(name):
    return [kinds.question(each[0]) for each in kinds.torn(name).values()]


def test_an_execution_that_is_told_ends_in_a_mixture(name):
    for question in questions(name):
        found = deceptions.answer(question)
        execution.replay(found.case.images[0], found.events)  # every load sees what memory holds
        for image in found.case.images:
            assert any(found.accepted[o] != image[o] for o in found.witness)
        table = deceptions.told("T", question)
        assert len(table.rows) == len(found.events) + 1
        assert table.rows[-1][1].startswith("accepts ")
        assert re.search("old.*new|new.*old|parts of several", table.rows[-1][1])


def test_the_state_of_the_version_is_said_where_it_is_loaded_and_stored():
    unlooked = kinds.torn("pvclock")[kinds.Kind.UNLOOKED]
    question = kinds.question(next(m for m in unlooked if m.reader.name == "osv-wallclock"))
    rows = deceptions.told("T", question).rows
    guest = [row[1] for row in rows if "`version`" in row[1]]
    assert guest == [
        "loads `version`: old, `version` odd",
        "loads again `version`: old, `version` odd",
    ]
    assert rows[0][0] == "stores `version`: old, `version` odd"


def test_a_byte_is_named_whole_and_a_sequence_of_0_is_0():
    text = str(section("pvclock", "wrong")) + str(section("hyperv", "wrong"))
    assert "`tsc_shift` high half" not in text
    assert "stores `tsc_sequence`: 0" in text


def test_each_execution_is_followed_by_what_it_means_and_who_is_such(name):
    found = [b for b in section(name, "wrong") if isinstance(b, blocks.Bullets)][1:]
    for each, bullets in zip(kinds.torn(name).items(), found, strict=True):
        kind, meetings = each
        assert re.match(r"In time: (the|by) [^.]+\.", bullets.items[0])
        said = " ".join(map(plain, bullets.items[1:]))
        for one in meetings:
            party = one.writer if kind in kinds.OF_WRITERS else one.reader
            assert party.name in said
            assert (
                one.writer.source if kind in kinds.OF_WRITERS else one.reader.reader.source
            ) in said
    osv = "`osv-wallclock`, on x86. OSv arch/x64/pvclock-abi.cc, pvclock::wall_clock_boot() "
    if name == "pvclock":
        assert osv + "(read in 0e34e4dc2b27)." in found[1].items


def test_a_version_that_comes_back_deceives_the_reader_of_each_page(name):
    last = tables(name, "wrong")[-1]
    assert last.caption.startswith(kinds.COMES_BACK)
    assert "old = second" in str(last.rows[-2])
    assert len(tables(name, "wrong")) == len(kinds.torn(name)) + 1


def test_the_reader_of_the_page_needs_a_version_that_comes_back(name):
    for layout in parties.layouts(name):
        for reader in parties.ours(name, layout):
            for writer in WRITERS[name]:
                if writer.layout == layout and parties._is_whole(writer):
                    meeting = kinds.Meeting(writer, reader, deceptions.WEAK)
                    assert isinstance(deceptions.answer(kinds.question(meeting)), Proof)


# The text.


def strings(block):
    if isinstance(block, blocks.Paragraph | blocks.Note):
        yield block.text
    elif isinstance(block, blocks.Bullets):
        yield from block.items
    elif isinstance(block, Table):
        yield from (block.caption, *block.header, *(cell for row in block.rows for cell in row))


def test_no_mark_is_left_in_the_text(name):
    for which in protocol.SECTIONS:
        for block in section(name, which):
            for text in strings(block):
                rest = "".join(span.text for span in blocks.marked(text) if not span.mark)
                assert not re.search(r"[`{}\\@]|\[\^|\[\[|\]\]|<<|\*", rest), text


def test_the_sections_are_between_the_bytes_and_the_assertions(name):
    names = [one.name for one in documents.document(family(name)).sections]
    assert names[names.index("bytes") + 1 : names.index("asserted")] == list(protocol.SECTIONS)


@pytest.mark.parametrize("other", OTHERS)
def test_another_family_has_none_of_these_sections(other):
    names = {one.name for one in documents.document(family(other)).sections}
    assert not names & set(protocol.SECTIONS)


# What the sources say, where they were once told otherwise.
# fmt: off
SAID = {
    "pvclock": ("fd36783567ce", "bfe5260389b4", "0e34e4dc2b27", "e694d066d20d", "8.2.1",
                "does not see to that"),
    "steal_time": ("odd between the updates", "makes an odd version even first"),
    "hyperv": ("ends at 1",),
}
# fmt: on


def test_what_goes_wrong_names_the_versions_that_were_read(name):
    written = next(b for b in section(name, "wrong") if isinstance(b, blocks.Bullets))
    text = " ".join(written.items)
    assert [word for word in SAID[name] if word not in text] == []
    about = str(documents.about(family(name)))
    assert "2df3c0293aa2" not in about


# A rendering's own marks taken out of a line of a program.
def shown(form, text):
    if form == "html":
        return html.unescape(text)
    if form == "man":
        text = re.sub(r"(?m)^\\&", "", text)
        return (
            text.replace("\\-", "-")
            .replace("\\(aq", "'")
            .replace("\\(dq", '"')
            .replace("\\e", "\\")
        )
    return text


@pytest.mark.parametrize("form", list(docs.FORMATS))
def test_every_rendering_has_the_programs_and_the_tables(name, form):
    text = shown(form, "\n".join(docs.rendered(form, name)))
    for program in programs(name):
        for line in filter(None, program.splitlines()):
            assert line.strip() in text, line
    bare = re.sub(r"<[^>]*>|\\f[BIRP]|\\[:&]|[`\\*]", "", text)
    for which in protocol.SECTIONS:
        for table in tables(name, which):
            assert plain(table.caption).replace("*", "") in " ".join(bare.split())


def test_readers_and_writers_are_imported_for_these_pages_alone():
    code = "import sys\nfrom runstate_abi.tools.docs import command\n"
    code += "list(command.rendered('html', {name!r}))\n"
    code += "print('runstate_abi.writer.versions.writers' in sys.modules)"
    for name, said in ((OTHERS[0], "False"), (VERSIONED[0], "True")):
        words = [sys.executable, "-c", code.format(name=name)]
        done = subprocess.run(words, capture_output=True, text=True)
        assert (done.stdout.strip(), done.returncode) == (said, 0)


def test_the_offsets_of_the_wall_clock_are_those_of_its_table():
    (table,) = (t for t in tables("pvclock", "reading") if t.caption.startswith("Offsets"))
    said = {row[0]: tuple(int(cell, 16) for cell in row[1:]) for row in table.rows}
    assert said["x86_64"] == (0xC00, 0xC04, 0xC08, 0xC0C)
    assert said["i386"] == (0x900, 0x904, 0x908, 0x924)
    assert said["arm64"] == said["arm32"] == (0x430, 0x434, 0x438, 0x43C)
    assert all(one.name for one in families("all"))
