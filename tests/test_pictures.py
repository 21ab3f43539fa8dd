"""The README's pictures: current, readable in light and in dark mode, and loading nothing."""

import re
import xml.etree.ElementTree as ET

import pictures
import pytest
from contrast import contrast

SVG = "{http://www.w3.org/2000/svg}"
README = """\
```console
$ echo one
$ printf '\\033[1;32mgood\\033[0m  <&>\\n'
```

![Two words](first.svg)

```sh
$ no console
```

![One word](folder/second.svg)
"""


@pytest.fixture
def house(tmp_path):
    """Return a checkout with two pictures, both current."""
    (tmp_path / "README.md").write_text(README)
    (tmp_path / "folder").mkdir()
    assert pictures.main([], tmp_path) == 0
    return tmp_path


def test_the_pictures_of_the_readme_are_current():
    assert pictures.main(["--check"]) == 0


def test_current_pictures_are_no_complaint(house, capsys):
    assert pictures.main(["--check"], house) == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("stale", ["first.svg", "folder/second.svg"])
def test_a_stale_picture_is_exit_1_and_is_named_alone(house, capsys, stale):
    path = house / stale
    path.write_text(path.read_text().replace("good", "bad"))
    assert pictures.main(["--check"], house) == 1
    said = capsys.readouterr()
    assert said.err == f"{stale} is stale: python tests/pictures.py makes it anew\n"
    assert pictures.main([], house) == 0
    assert pictures.main(["--check"], house) == 0


def test_a_picture_of_another_command_is_stale(house):
    path = house / "README.md"
    path.write_text(README.replace("good", "fine"))
    assert pictures.main(["--check"], house) == 1


def test_a_missing_picture_is_stale(house, capsys):
    (house / "first.svg").unlink()
    assert pictures.main(["--check"], house) == 1
    assert "first.svg is stale" in capsys.readouterr().err


def test_a_command_that_fails_makes_no_picture(house):
    (house / "README.md").write_text(README.replace("$ printf", "$ exit 3; printf"))
    before = (house / "first.svg").read_text()
    with pytest.raises(pictures.subprocess.CalledProcessError):
        pictures.main([], house)
    assert (house / "first.svg").read_text() == before


def test_a_picture_is_of_the_last_command_above_it():
    assert [command[:6] for _, command in pictures.wanted(README)] == ["printf", "printf"]
    with pytest.raises(ValueError, match=r"first\.svg: no command is above it"):
        list(pictures.wanted("![x](first.svg)\n"))


def texts(picture):
    """The lines of a picture, read back by where the letters are."""
    lines = {}
    for text in ET.fromstring(picture).iter(f"{SVG}text"):
        column = round((float(text.get("x")) - pictures.EDGE) / pictures.LETTER)
        line = lines.get(text.get("y"), "").ljust(column)
        assert len(line) == column
        lines[text.get("y")] = line + text.text.replace("\u00a0", " ")
    return list(lines.values())


def test_a_picture_shows_the_command_and_what_it_printed():
    ((_, command), *_) = pictures.wanted((pictures.HOUSE / "README.md").read_text())
    text = pictures.printed(command, pictures.HOUSE)
    plain = re.sub("\x1b\\[[0-9;]*m", "", text).splitlines()
    shown = texts(pictures.svg(command, text))
    assert shown == [f"$ {command}", *(line.rstrip() for line in plain if line.strip())]


def test_colours_and_grounds_become_classes():
    picture = pictures.svg("x", "\x1b[1;32mgood\x1b[0m \x1b[2;7m <\x1b[0m")
    assert '<text class="c1 c32" ' in picture
    assert '<rect class="g7" ' in picture
    assert '<text class="c2 c7" ' in picture
    assert ">\u00a0&lt;</text>" in picture


def test_a_code_that_cannot_be_drawn_is_refused():
    with pytest.raises(ValueError, match="no picture of code 5"):
        pictures.svg("x", "\x1b[5mblinks\x1b[0m")


def test_a_picture_loads_nothing(house):
    for path in [*(pictures.HOUSE / ".github").glob("*.svg"), *house.rglob("*.svg")]:
        text = path.read_text().replace(SVG[1:-1], "")
        assert not re.search(r"https?:|url\(|@import|@font-face|href|<image|<script|src=", text)


def test_letters_stand_out_from_what_is_behind_them_in_light_and_dark():
    for mode in (0, 1):
        paper = pictures.PAPER[mode]
        for code, ink in {**pictures.INKS, 0: pictures.INK}.items():
            behind = pictures.GROUNDS[41] if code == 37 else pictures.PAPER
            assert contrast(ink[mode], behind[mode]) >= 4.5, (code, mode)
        assert contrast(paper, pictures.GROUNDS[7][mode]) >= 4.5
