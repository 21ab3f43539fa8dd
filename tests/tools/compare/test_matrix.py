"""runstate matrix: its exit codes, and one matrix in four formats."""

import json

import pytest

from runstate_abi.tools.compare import grid, matrix


def test_a_witness_that_could_not_be_asked_is_exit_3(capsys):
    assert matrix.main(["--cc", "nosuchcompiler -m64"]) == 3
    assert "nosuchcompiler" in capsys.readouterr().err


@pytest.mark.x86
@pytest.mark.needs("gcc")
def test_a_disagreement_is_exit_1_and_comes_before_what_was_not_asked(capsys):
    assert matrix.main(["--cc", "gcc -m32 -malign-double", "--cc", "nosuchcompiler"]) == 1
    assert "4 !8 =1" in capsys.readouterr().out


ALLOW_COMPAT = ("--allow-missing", "compat_vcpu_runstate_info")


def test_a_struct_that_a_file_lacks_could_not_be_asked_unless_that_is_allowed(blobs, capsys):
    xen, arm = blobs
    assert matrix.main(["--cc", "gcc -m64", xen]) == 0
    assert matrix.main(["--cc", "gcc -m64", arm]) == 3
    assert f"not asked: struct compat_vcpu_runstate_info: not in {arm}" in capsys.readouterr().out
    assert matrix.main(["--cc", "gcc -m64", *ALLOW_COMPAT, arm]) == 0


def test_a_file_that_has_neither_struct_could_not_be_asked(tmp_path, capsys):
    path = tmp_path / "nothing.btf"
    path.write_bytes(NO_STRUCT)
    assert matrix.main(["--cc", "gcc -m64", str(path)]) == 3
    assert capsys.readouterr().out.count("not asked: struct ") == 2


# A BTF header (magic, version 1, its own length), one integer, and an empty name.
WORDS = (24, 0, 16, 16, 1, 0, 1 << 24, 4, 32)
NO_STRUCT = b"\x9f\xeb\x01\x00" + b"".join(n.to_bytes(4, "little") for n in WORDS) + b"\0"


@pytest.fixture
def blobs(data):
    """Two raw BTF files: of Xen's and KVM's structs, and of 32-bit Arm's."""
    names = ("xen-syms-from-dwarf.R.btf", "armmp-from-dwarf.R.btf")
    return [str(data / "btf" / name) for name in names]


def test_the_four_formats_have_the_same_cells(blobs, capsys):
    texts = {}
    for form in matrix.FORMATS:
        assert matrix.main(["--format", form, "--cc", "gcc -m64", *ALLOW_COMPAT, *blobs]) == 0
        texts[form] = capsys.readouterr().out
    rows = json.loads(texts["json"])["rows"]
    for row in rows:
        cells = [grid.Cell(c["claim"], c["agree"], c["differ"], ()) for c in row["cells"]]
        expected = [grid.cell_text(cell) for cell in cells]
        title = row["member"] or {"size": "sizeof", "alignment": "_Alignof"}[row["kind"]]
        assert f"| `{title}` | {' | '.join(expected)} |" in texts["markdown"]
        unbroken = texts["html"].replace(matrix.NO_BREAK, " ")
        assert "".join(f"<td>{text}</td>" for text in expected) in unbroken
        words = [text.split() for text in expected]
        assert [title, *(word for cell in words for word in cell)] in [
            line.split() if title != "update byte" else ["update byte", *line.split()[2:]]
            for line in texts["text"].splitlines()
        ]
