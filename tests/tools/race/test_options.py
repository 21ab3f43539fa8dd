"""The options of ``runstate race``: what is refused, and that the help says what there is."""

import pytest

from runstate_abi.tools.race.command import parsed
from runstate_abi.writer.guest import READERS
from runstate_abi.writer.racing.drops import READER_DROPS, WRITER_DROPS
from runstate_abi.writer.racing.patterns import ENTRY_TIMES
from runstate_abi.writer.variants import VARIANTS


@pytest.mark.parametrize(
    "arguments",
    [
        ["--drop", "nothing"],
        ["--entry-times", "a-b-a"],
        ["--all", "--recorded", "x"],
        ["--variant", "upstream", "--kernel", "x"],
        ["--recorded", "x", "--variant", "upstream"],
        ["--kernel", "x", "--model", "weak"],
        ["--at", "-1"],
        ["--updates", "4"],
    ],
)
def test_wrong_usage_exits_2(arguments):
    with pytest.raises(SystemExit) as error:
        parsed(arguments)
    assert error.value.code == 2


def test_types_without_a_kernel_are_of_nothing(capsys):
    with pytest.raises(SystemExit):
        parsed(["--btf", "x"])
    assert "--btf is the types of --kernel" in capsys.readouterr().err
    assert parsed(["--btf", "x", "--kernel", "y"]).btf == "x"


def test_weak_order_is_not_in_x86_code_and_that_is_said(capsys):
    with pytest.raises(SystemExit):
        parsed(["--kernel", "x", "--model", "weak"])
    said = capsys.readouterr().err
    assert "--model weak: --kernel is x86 code, in which a barrier leaves no instruction" in said
    assert said.count("\n") == 1
    assert parsed(["--kernel", "x", "--model", "x86-tso"]).model == "x86-tso"


@pytest.mark.parametrize(
    ("arguments", "nothing"),
    [([], True), (["--grain", "8"], True), (["--at", "0"], False), (["--all"], False),
     (["--model", "weak"], False), (["--drop", "wmb-set"], True)],
)  # fmt: skip
def test_what_ships_is_asked_where_no_question_is_named(arguments, nothing):
    assert parsed(arguments).nothing_named is nothing


@pytest.fixture
def help_text(capsys, monkeypatch):
    """Return the help, on a terminal of 100 columns."""
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit):
        parsed(["--help"])
    return capsys.readouterr().out


def test_the_help_explains_every_choice(help_text):
    lines = [line.split() for line in help_text.splitlines()]
    explained = {words[0] for words in lines if len(words) > 1}
    for table in ({r.name for r in READERS}, ENTRY_TIMES, WRITER_DROPS, READER_DROPS):
        assert set(table) <= explained
    assert all(variant.name in help_text for variant in VARIANTS)


def test_every_option_has_a_text_in_the_help(help_text):
    options = help_text.split("options:\n")[1].split("\n\n")[0]
    entries = [entry for entry in ("\n" + options).split("\n  -") if entry]
    assert len(entries) > 15
    for entry in entries:
        first, *rest = entry.splitlines()
        assert rest or "  " in first.strip(), entry


def test_the_help_fits_a_terminal_and_has_no_markup(help_text):
    assert max(map(len, help_text.splitlines())) <= 100
    assert "``" not in help_text
