"""Our verdicts against herd7's, on the Linux kernel's memory model and on x86-TSO."""

import re

import pytest

from agreement import litmus, versions
from agreement.small import ARM, LOW_HIGH_HIGH_LOW, chosen, fenced, read_by
from runstate_abi.writer.guest import READER

pytestmark = pytest.mark.network

OBSERVATION = re.compile(r"^Observation (\S+) (Never|Sometimes|Always)", re.MULTILINE)


@pytest.fixture(scope="module")
def questions():
    found = {model: list(chosen(model)) for model in ("weak", "x86-tso")}
    assert sum(map(len, found.values())) >= 300
    return found


def disagreements(small, observed):
    """[(name, ours, herd's)]: "Always" is a stronger "Sometimes"; what herd left out is None."""
    words = {"Never": "Never", "Sometimes": "Sometimes", "Always": "Sometimes", None: None}
    return [
        (one.name, litmus.verdict(one), observed.get(one.name))
        for one in small
        if words[observed.get(one.name)] != litmus.verdict(one)
    ]


def run(herd7, tmp_path, small, text, *options, cwd=None):
    paths = []
    for number, one in enumerate(small):
        paths.append(tmp_path / f"{number}.litmus")
        paths[-1].write_text(text(one))
    library = herd7.root / "usr/share/herdtools7/herd"
    done = herd7.run("-set-libdir", library, *options, *paths, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return dict(OBSERVATION.findall(done.stdout))


def test_the_linux_kernels_memory_model_agrees(herd7, memory_model, questions, tmp_path):
    options = "-conf", "linux-kernel.cfg"
    observed = run(herd7, tmp_path, questions["weak"], litmus.lkmm, *options, cwd=memory_model)
    assert disagreements(questions["weak"], observed) == []
    assert {one.torn for one in questions["weak"]} == {True, False}


def test_x86_tso_agrees(herd7, questions, tmp_path):
    observed = run(herd7, tmp_path, questions["x86-tso"], litmus.x86, "-cat", "x86tso.cat")
    assert disagreements(questions["x86-tso"], observed) == []
    assert {one.torn for one in questions["x86-tso"]} == {True, False}


@pytest.mark.parametrize("model", ["weak", "x86-tso"])
def test_versions_are_judged_the_same(herd7, memory_model, tmp_path, model):
    small = list(versions.questions(model))
    text = litmus.lkmm if model == "weak" else litmus.x86
    options = {"weak": ("-conf", "linux-kernel.cfg"), "x86-tso": ("-cat", "x86tso.cat")}[model]
    observed = run(herd7, tmp_path, small, text, *options, cwd=memory_model)
    assert disagreements(small, observed) == []
    count = sum(one.torn for one in small)
    assert min(count, len(small) - count) > 30


# The readers whose loads of halves a machine may reorder, as Arm does: with a barrier in neither
# reading, in one of them and in both; and Linux's loop of a 32-bit guest, without and with them.
def test_barriers_between_the_halves_are_judged_the_same(herd7, memory_model, tmp_path):
    readers = {f"lh-hl-{at}": fenced("split-lh-hl", *at) for at in LOW_HIGH_HIGH_LOW}
    readers |= {name: READER[name] for name in ARM}
    small = [one for name, reader in readers.items() for one in read_by(name, reader, "weak")]
    small = [one._replace(name=f"question-{number}") for number, one in enumerate(small)]
    options = "-conf", "linux-kernel.cfg"
    observed = run(herd7, tmp_path, small, litmus.lkmm, *options, cwd=memory_model)
    assert disagreements(small, observed) == []
    assert {one.torn for one in small} == {True, False}


def test_a_wrong_verdict_of_ours_would_be_noticed(herd7, questions, tmp_path):
    safe = [one for one in questions["x86-tso"] if not one.torn][:2]
    observed = run(herd7, tmp_path, safe, litmus.x86, "-cat", "x86tso.cat")
    liars = [one._replace(torn=True) for one in safe]
    assert [name for name, _, _ in disagreements(liars, observed)] == [one.name for one in safe]
