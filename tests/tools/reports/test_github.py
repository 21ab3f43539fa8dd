"""Workflow commands: one annotation for each struct, ten at most, and the step's summary."""

import re

import pytest

from runstate_abi.tools.reports import github

COMMAND = re.compile(r"::(?P<kind>error|notice)(?: (?P<properties>[^:]*))?::(?P<message>.*)")


@pytest.fixture(autouse=True)
def outside_github(monkeypatch):
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)


def commands(findings):
    """The commands as the runner reads them: [(kind, properties, message)]."""
    read = []
    for line in github.render(findings).splitlines():
        match = COMMAND.fullmatch(line)
        assert match, line
        pairs = [pair.split("=", 1) for pair in match["properties"].split(",")]
        read.append(
            (match["kind"], {n: unescaped(v) for n, v in pairs}, unescaped(match["message"]))
        )
    return read


def unescaped(text):
    for code, character in (("%0A", "\n"), ("%0D", "\r"), ("%3A", ":"), ("%2C", ","), ("%25", "%")):
        text = text.replace(code, character)
    return text


def test_there_is_an_error_when_the_verdict_fails(verdict):
    findings, code = verdict
    assert any(kind == "error" for kind, *_ in commands(findings)) == (code != 0)


def test_witnesses_that_disagree_about_a_struct_share_one(findings):
    wrong = findings.different._replace(found=findings.equal.found)
    (only,) = commands([wrong, wrong._replace(witness="clang -m32")])
    assert only[1]["title"] == "runstate check: vcpu_runstate_info differs"
    assert [line.split(" ")[0] for line in only[2].splitlines()] == ["gcc", "clang"]


def test_the_file_is_named_as_it_was_given(findings):
    names = {"a,b:c%d.ko": "a,b:c%d.ko"}
    for path, shown in names.items():
        ((_, properties, _),) = commands([findings.different._replace(path=path)])
        assert properties["file"] == shown


def test_there_are_no_more_than_ten(findings):
    many = [
        findings.needed._replace(not_checked=(findings.part.not_checked[0]._replace(what=f"s{n}"),))
        for n in range(25)
    ]
    read = commands(many)
    assert len(read) == 10
    assert read[-1][2] == "and 16 more: see the step's summary"


def test_a_skip_is_a_notice(findings):
    ((kind, _, message),) = commands([findings.equal, findings.allowed])
    assert (kind, message) == ("notice", "clang: not installed")


def test_the_summary_is_added_to(findings, tmp_path, monkeypatch):
    summary = tmp_path / "summary.md"
    summary.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    github.render([findings.different])
    assert summary.read_text().startswith("before\n### runstate check: there are differences\n")
