"""The pages in Chromium: every width, light and dark, by keyboard, without scripts, printed."""

import json
from pathlib import Path

import pytest

from runstate_abi.layouts.abi import PAGE_SIZE
from runstate_abi.tools.docs import command as docs
from runstate_abi.tools.docs import figure
from runstate_abi.writer.variants import VARIANT
from runstate_abi.writer.vcpu import SHAPES

WIDTHS = (320, 390, 768, 1440)
WIDE_FROM = 900  # pixels, from which the contents are beside the text
RACE = (
    *("race", "--variant", "linux-6.1", "--reader", "linux-32", "--model", "x86-tso"),
    *("--abi", "compat", "--at", "0x1038"),
)
SAFE = [word.replace("linux-6.1", "upstream") for word in RACE]
PVCLOCK = ("race", "--family", "pvclock", "--variant", "xen-wallclock", "--reader",
           "osv-wallclock", "--model", "x86-tso")  # fmt: skip
WRITE = ("write", "--at", "0x1ff1")
FAMILY = ("write", "--family", "hyperv")
PAGES = {"torn": RACE, "safe": SAFE, "pvclock": PVCLOCK, "write": WRITE, "hyperv": FAMILY}

CHOSEN = """((chosen) => {
  const box = document.querySelector('.player'), at = (name) => box.querySelector(
    `[data-choice="${name}"]`);
  box.querySelector('[data-mode="update"]').click();
  for (const [name, value] of Object.entries(chosen)) {
    if (name === 'flag') at(name).checked = Boolean(value); else at(name).value = value;
    at(name).dispatchEvent(new Event('input', { bubbles: true }));
  }
  return [JSON.parse(box.dataset.shown), box.querySelector('[data-verdict]').textContent];
})"""


@pytest.fixture(scope="module")
def document(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "runstate.html"
    path.write_text("\n".join(docs.rendered("html")) + "\n")
    return path


@pytest.fixture
def written(runstate, tmp_path):
    """Return a function that writes one of PAGES and returns its path."""

    def write(name):
        path = tmp_path / f"{name}.html"
        code, out, err = runstate(*PAGES[name], "--format", "html", "-o", path)
        assert (code, out, err) == (int(name in ("torn", "pvclock")), "", "")
        return path

    return write


OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
CUT = """[...document.querySelectorAll('main *')].filter((one) => {
  if (one.closest('svg') || one.closest('[hidden]')) return false;
  const over = one.scrollWidth - one.clientWidth > 1 && one.clientWidth > 0;
  const style = getComputedStyle(one);
  return over && style.overflowX === 'hidden' && style.display !== 'inline';
}).map((one) => one.outerHTML.slice(0, 80))"""
# What scrolls: it must say so by its shadows, or be a program that its own bar scrolls.
SILENT = """[...document.querySelectorAll('section.wide')].filter((one) =>
  one.scrollWidth > one.clientWidth && !getComputedStyle(one).backgroundImage.includes('gradient')
).length"""


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", WIDTHS)
def test_the_document_fits_every_width(browser, document, width, dark):
    browser.open(document, width, dark)
    assert browser.errors == []
    assert browser.js(OVERFLOW) <= 0
    assert browser.js(CUT) == []
    assert browser.js(SILENT) == 0
    for number in range(len(figure.STORY)):
        browser.js(f"document.querySelectorAll('.story button')[{number}].click()")
        assert browser.js(OVERFLOW) <= 0
        assert browser.js(CUT) == []


@pytest.mark.parametrize("name", PAGES)
def test_a_page_of_one_answer_fits_and_plays(browser, written, name, validate):
    path = written(name)
    validate(path.read_text())
    for width in WIDTHS:
        browser.open(path, width)
        assert browser.errors == []
        assert browser.js("document.querySelector('.player').hidden") is False
        assert browser.js(OVERFLOW) <= 0
        assert browser.js(CUT) == []
    last = "document.querySelector('.player [data-now]').textContent"
    browser.js("document.querySelectorAll('.log li').forEach(() => "
               "document.querySelector('[data-go=\"1\"]').click())")  # fmt: skip
    said = browser.js(last)
    true = "accepts a true struct: new."
    assert ("accepts what was never true" if name in ("torn", "pvclock") else true) in said
    verdict = browser.js("document.querySelector('[data-verdict]').textContent")
    shown = {"torn": "torn: ", "pvclock": "torn: ", "safe": "safe: "}
    assert verdict.startswith(shown.get(name, ""))


def test_the_update_of_write_shows_its_own_bytes(browser, written):
    browser.open(written("write"))
    browser.js("document.querySelector('[data-go=\"1\"]').click()")
    cells = browser.js("[...document.querySelectorAll('[data-bytes=memory] span')]"
                       ".map((one) => one.textContent)")  # fmt: skip
    assert (cells[15], cells[14], len(cells)) == ("91", "a5", 48)


def test_the_contents_are_beside_the_text_where_there_is_room(browser, document):
    for width in (WIDE_FROM - 1, WIDE_FROM):
        browser.open(document, width)
        left = browser.js("document.querySelector('nav').getBoundingClientRect().right")
        text = browser.js("document.querySelector('main').getBoundingClientRect().left")
        assert (left <= text) == (width >= WIDE_FROM)


def test_the_keyboard_alone_works_the_figure(browser, document):
    browser.open(document)
    said = "document.querySelector('.player [data-{}]').textContent"
    browser.js("document.querySelector('main p a').focus()")
    for _ in range(50):  # from the first link of the text on to the first case
        if browser.js("document.activeElement === document.querySelector('.story button')"):
            break
        browser.press("Tab", 9)
    browser.press("Tab", 9)  # 2. A flag
    browser.press("Enter", 13, "\r")
    assert browser.js(said.format("told")).startswith("The highest bit")
    before = browser.js(said.format("place"))
    for _ in range(2 + 4 + 1 + 1):  # two cases more, four lists, the flag, the place
        browser.press("Tab", 9)
    browser.press("ArrowRight", 39)
    after = browser.js(said.format("place"))
    assert before != after
    assert str(figure.PLACES[1]) in after
    browser.press("Tab", 9)  # Back
    browser.press("Tab", 9)  # Next
    for count in (1, 2, 3):
        browser.press("Enter", 13, "\r")
        assert browser.js(said.format("count")).startswith(f"step {count} of")
    browser.press("Tab", 9)  # the steps' own slider
    browser.press("ArrowLeft", 37)
    assert browser.js(said.format("count")).startswith("step 2 of")


def test_the_area_can_be_dragged(browser, document):
    browser.open(document)
    strip = "document.querySelector('.strip').getBoundingClientRect()"
    box = browser.js(f"(({{x, y, width, height}}) => ({{x, y, width, height}}))({strip})")
    browser.js("document.querySelector('.strip').scrollIntoView({block: 'center'})")
    box |= {"y": browser.js(f"{strip}.y")}
    spot = {"x": box["x"] + box["width"] * 0.73, "y": box["y"] + box["height"] / 2}
    mouse = {"button": "left", "clickCount": 1, "buttons": 1}
    browser.call("Input.dispatchMouseEvent", type="mousePressed", **spot, **mouse)
    browser.call("Input.dispatchMouseEvent", type="mouseReleased", **spot, **mouse)
    place = browser.js("document.querySelector('.player [data-place]').textContent")
    assert "are in the second page" in place


@pytest.mark.parametrize("name", ["document", *PAGES])
@pytest.mark.parametrize("dark", [False, True])
def test_axe_finds_nothing_serious(browser, document, written, node_module, name, dark):
    axe = Path(node_module("axe-core")) / "axe.min.js"
    browser.open(document if name == "document" else written(name), 390, dark)
    browser.js(axe.read_text() + ";0")
    found = browser.js("axe.run().then((r) => r.violations.filter((v) => "
                       "['serious', 'critical'].includes(v.impact)).map((v) => "
                       "[v.id, v.nodes[0].html.slice(0, 120)]))")  # fmt: skip
    assert found == []


def test_axe_would_find_something(browser, document, node_module):
    axe = Path(node_module("axe-core")) / "axe.min.js"
    browser.open(document)
    browser.js("document.querySelectorAll('.player label').forEach((one) => "
               "one.replaceWith(...one.childNodes))")  # fmt: skip
    browser.js(axe.read_text() + ";0")
    assert "select-name" in browser.js("axe.run().then((r) => r.violations.map((v) => v.id))")


@pytest.mark.parametrize("abi", SHAPES)
@pytest.mark.parametrize("name", figure.WRITERS)
def test_the_figure_shows_every_plan(browser, document, name, abi):
    """Memory after each step, in the browser and in Python, and what a guest accepts then."""
    made = figure.made()
    browser.open(document)
    for flag in (1,) if VARIANT[name].always_flagged else (0, 1):
        row = made["plans_at"][f"{name}/{flag}/{abi}"]
        places = {number: at for at, number in enumerate(row, made["first"])}
        for number, at in places.items():
            reader = figure.READERS[at % len(figure.READERS)]
            chosen = {"writer": name, "layout": abi, "reader": reader, "at": at}
            chosen |= {} if VARIANT[name].always_flagged else {"flag": flag}
            (_, shown), _ = browser.js(f"{CHOSEN}({json.dumps(chosen)})")
            plan = made["plans"][number]
            memory = made["before"][abi]
            expected = [memory]
            for step in [] if isinstance(plan, str) else plan:
                memory = put(memory, step[1], step[2]) if step else memory
                expected.append(memory)
            assert [one[0] for one in shown] == expected
            assert [one[1] for one in shown] == [looked(made, reader, abi, x) for x in expected]


def put(struct, at, marks):
    return "".join(marks[i - at] if at <= i < at + len(marks) else m for i, m in enumerate(struct))


def looked(made, reader, abi, struct):
    known = made["readers"][reader][abi]
    if known["refuses"] and int(struct[SHAPES[abi].update_byte], 32) > 15:
        return "again"
    common = 3
    for offset in known["uses"]:
        common &= int(struct[offset], 32)
    return "true" if common else "mixture"


def test_the_figure_says_200_verdicts(browser, document):
    made = figure.made()
    browser.open(document)
    keys = sorted(made["verdicts"])
    seen = set()
    for number in range(200):
        key = keys[number * 7 % len(keys)]
        name, flag, abi, reader, machine = key.split("/")
        at = made["first"] + number * 31 % figure.WINDOW
        chosen = {"writer": name, "layout": abi, "reader": reader, "machine": machine, "at": at}
        chosen |= {} if VARIANT[name].always_flagged else {"flag": int(flag)}
        (verdict, _), said = browser.js(f"{CHOSEN}({json.dumps(chosen)})")
        found = made["rows"][made["verdicts"][key]][at - made["first"]]
        expected = {figure.SAFE: "safe", figure.REFUSED: "refused"}.get(found, "torn")
        assert verdict == expected
        assert said.startswith(f"{expected}: ")
        seen.add(expected)
    assert seen == {"safe", "torn", "refused"}


def test_an_execution_is_played_to_its_end(browser, document):
    made = figure.made()
    browser.open(document)
    browser.js("document.querySelectorAll('.story button')[2].click()")
    _, shown = json.loads(browser.js("document.querySelector('.player').dataset.shown"))
    chosen = made["story"][2]["set"]
    key = "linux-6.1/1/compat/fenced-32/x86-tso"
    number = made["rows"][made["verdicts"][key]][chosen["at"] - made["first"]]
    execution = made["executions"][number]
    assert len(shown) == len(execution["events"]) + 2
    assert (shown[0][0], shown[-1][2]) == (execution["before"], execution["accepted"])
    now = browser.js("document.querySelector('.player [data-now]').textContent")
    assert now.startswith("The guest accepts what was never true: ")


def test_the_page_is_complete_without_scripts(browser, document):
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open(document, 390)
    finally:
        browser.call("Emulation.setScriptExecutionDisabled", value=False)
    assert browser.js("document.querySelector('.player').getBoundingClientRect().height") == 0
    assert browser.js("document.querySelectorAll('section.wide').length") > 25
    assert browser.js(OVERFLOW) <= 0


def test_it_prints(browser, document):
    browser.open(document)
    browser.resize(794, media="print")
    shown = "getComputedStyle(document.querySelector('{}')).display"
    for part in (".player .choices", "nav", ".here"):
        assert browser.js(shown.format(part)) == "none"
    assert browser.js(shown.format(".player .boards")) != "none"
    page = browser.call("Page.printToPDF", preferCSSPageSize=True)
    assert len(page["data"]) > PAGE_SIZE
