"""Epochs, what a reader may see in them, padding: held against playing the update."""

import re

import pytest

from runstate_abi.tools.docs import updates
from runstate_abi.writer.memory import Window, play
from runstate_abi.writer.steps import Barrier
from runstate_abi.writer.variants import VARIANT, update
from runstate_abi.writer.vcpu import Area, image


def states_in_between(area):
    """Every memory that some prefix of an update leaves, by epoch: sets of bytes by offset."""
    window = Window(bytes(1))
    size = area.shape.size
    window.data[area.offset : area.offset + size] = image(
        area.shape, updates.OLD, updates.OLD.entry_time
    )
    epochs = [[window.read(area.offset, size)]]
    for step in update(VARIANT["upstream"], updates.NEW, area):
        if isinstance(step, Barrier):
            epochs.append([epochs[-1][-1]])
        else:
            play(window, [step])
            epochs[-1].append(window.read(area.offset, size))
    return [[set(column) for column in zip(*memories, strict=True)] for memories in epochs]


@pytest.mark.parametrize("abi", ["native", "compat"])
@pytest.mark.parametrize("start", [0, 4096 - 20, 4095])
@pytest.mark.parametrize("flag", [True, False])
def test_what_a_byte_may_be_is_what_playing_the_update_shows(abi, start, flag):
    area = Area(abi, start, update_flag=flag)
    old = image(area.shape, updates.OLD, updates.OLD.entry_time)
    shown = list(updates.seen(updates.CURRENT, area))
    for epoch, bytes_ in zip(shown, states_in_between(area), strict=False):
        for offset, (kind, values) in enumerate(zip(epoch.kinds, bytes_, strict=True)):
            up = {value & 0x80 for value in values}
            if kind == "flag":
                assert offset == area.shape.update_byte
                assert up == {0x80}
            elif kind == "either":
                assert len(values) == 2
            else:
                assert len(values) == 1
                assert (values == {old[offset]}) == (kind == "old")


def test_with_the_flag_there_are_three_epochs_and_the_middle_one_is_flagged():
    found = list(updates.seen(updates.CURRENT, Area("native", 0)))
    assert [len(epoch.writes) for epoch in found] == [1, 3, 1]
    flag = Area("native", 0).shape.update_byte
    assert [epoch.kinds[flag] for epoch in found] == ["either", "flag", "either"]
    words = [updates.reader_sees(epoch, Area("native", 0)) for epoch in found]
    assert "must try again" in words[1]
    assert words[0].startswith("old")
    assert words[2].startswith("new")


@pytest.mark.parametrize("start", [0, 4081])
@pytest.mark.parametrize(("flag", "barriers"), [(True, 3), (False, 1)])
def test_every_epoch_is_ended_by_a_barrier(start, flag, barriers):
    area = Area("native", start, update_flag=flag)
    steps = update(updates.CURRENT, updates.NEW, area)
    assert sum(isinstance(step, Barrier) for step in steps) == barriers
    assert len(list(updates.seen(updates.CURRENT, area))) == barriers
    (figure,) = updates.pieces()["timeline-flag" if flag else "timeline-plain"]
    assert sum("smp_wmb()" in line for line in figure.text) == barriers


def test_xen_at_a_virtual_address_has_the_same_epochs_but_for_padding_and_the_last_barrier():
    for abi in ("native", "compat"):
        area = Area(abi, 0)
        padding = {o for row in area.shape.layout.padding for o in range(row.offset, row.end)}
        linux, xen = (
            [
                [kind for offset, kind in enumerate(epoch.kinds) if offset not in padding]
                for epoch in updates.seen(VARIANT[name], area)
            ]
            for name in ("upstream", "xen-va")
        )
        assert linux == xen
        steps = update(VARIANT["xen-va"], updates.NEW, area)
        assert sum(isinstance(step, Barrier) for step in steps) == len(xen) - 1


def test_without_the_flag_there_is_one_epoch_and_no_warning():
    area = Area("compat", 0, update_flag=False)
    (only,) = updates.seen(updates.CURRENT, area)
    assert "no flag to say so" in updates.reader_sees(only, area)


def test_stores_are_named_by_what_they_store():
    area = Area("native", 0)
    labels = [updates.label(w, area) for e in updates.seen(updates.CURRENT, area) for w in e.writes]
    assert labels == [
        "update byte, flag up",
        "state",
        "state_entry_time, flag up",
        "time[4]",
        "update byte, flag down",
    ]
    cut = Area("compat", 4096 - 20)
    labels = [updates.label(w, cut) for e in updates.seen(updates.CURRENT, cut) for w in e.writes]
    assert labels[1:3] == ["bytes 0 to 19, to page 1", "bytes 20 to 43, to page 2"]


# fmt: off
PADDING = (
    ("linux-6.1",   "left alone", "not allowed"),
    ("two-paths",   "left alone", "zeroed"),
    ("reconciled",  "left alone", "zeroed"),
    ("single-path", "zeroed",     "zeroed"),
    ("upstream",    "left alone", "zeroed"),
    ("xen-va",      "zeroed",     "zeroed"),
    ("xen-phys",    "zeroed",     "not allowed"),
)
# fmt: on


def test_the_padding_is_what_real_hypervisors_leave(read_back, form):
    _, *rows = read_back(form)["The padding of the native struct after one update"]
    assert [tuple(row) for row in rows] == list(PADDING)


LOOKS = ("Grey is old", "red the update byte", "hatched")


@pytest.mark.parametrize("form", ["markdown", "rst", "man"])
def test_a_figure_in_characters_is_not_said_to_have_colours(page, form):
    assert not [words for words in LOOKS if words.lower() in page(form).lower()]
    assert "grey" not in page(form)


def test_a_figure_that_is_drawn_says_what_its_colours_mean(page):
    drawn = page("html").replace('<figure class="player"', "")  # its caption is its own
    captions = " ".join(re.findall("<figure id.*\n<figcaption>(.*?)</figcaption>", drawn))
    assert [captions.count(words) for words in LOOKS] == [2, 2, 1]
