"""The questions for other checkers."""

import pytest

from runstate_abi.layouts.model import WitnessError
from runstate_abi.tools import race
from runstate_abi.tools.racing import export


def test_exports_carry_the_verdict_and_are_as_many_as_they_must_be(tmp_path):
    made = dict(export.files("litmus"))
    assert len(made) >= 300
    for words in ("Expect: Never", "Expect: Sometimes"):
        assert sum(words in text for text in made.values()) > 60
    assert race.main(["--export", "cbmc", "-o", str(tmp_path)]) == 0
    programs = [path.read_text() for path in tmp_path.iterdir()]
    assert len(programs) >= 24
    assert all("Expect: VERIFICATION" in text for text in programs)


def test_an_export_into_what_is_no_folder_is_one_line(tmp_path):
    path = tmp_path / "file"
    path.write_text("")
    with pytest.raises(WitnessError, match="cannot be written"):
        race.main(["--export", "cbmc", "-o", str(path)])
