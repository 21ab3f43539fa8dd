"""The player as HTML: its controls, its data as JSON, and the script that plays them."""

import json
from collections.abc import Iterator, Mapping
from html import escape
from importlib.resources import files
from typing import Any

CHOICES = ("writer", "layout", "reader", "machine")


def lines(caption: str, data: Mapping[str, Any]) -> Iterator[str]:
    """Yield the figure. It is hidden until its script runs, so a page is complete without it."""
    yield '<figure class="player" id="player" hidden>'
    yield f"<figcaption>{escape(caption, quote=False)}</figcaption>"
    if story := data.get("story"):
        yield '<div class="story">'
        for one in story:
            yield f'<button type="button" aria-pressed="false">{escape(one["title"])}</button>'
        yield from ("</div>", '<p data-told aria-live="polite"></p>')
    yield '<div class="choices">'
    for name in CHOICES:
        yield f'<label data-label="{name}">{name} <select data-choice="{name}"></select></label>'
    yield '<label data-label="flag"><input type="checkbox" data-choice="flag">'
    yield "the guest asked for the flag</label>"
    yield "</div>"
    yield '<div class="strip" aria-hidden="true"><div data-area></div></div>'
    yield '<label class="place" data-label="at"><span data-place></span>'
    yield '<input type="range" data-choice="at"></label>'
    yield '<p class="verdict" data-verdict role="status"></p>'
    yield '<div class="modes">'
    yield '<button type="button" data-mode="update">The update</button>'
    yield '<button type="button" data-mode="race">How the guest is deceived</button>'
    yield "</div>"
    yield '<div class="boards">'
    for name, said in (("memory", "Memory"), ("copy", "What the guest has loaded")):
        yield f'<div data-board="{name}"><p>{said}</p>'
        yield f'<div class="bytes" data-bytes="{name}" role="img" aria-label="{said}"></div></div>'
    yield "</div>"
    yield '<div class="steps">'
    yield '<button type="button" data-go="-1">Back</button>'
    yield '<button type="button" data-go="1">Next</button>'
    yield '<label data-label="step"><span data-count></span>'
    yield '<input type="range" data-choice="step" min="0"></label>'
    yield "</div>"
    yield from ('<ol class="log" data-log></ol>', '<p class="now" data-now role="status"></p>')
    yield f'<script type="application/json">{_in_a_page(data)}</script>'
    yield from ("<script>", *_file("player.js"), "</script>", "</figure>")


def style() -> list[str]:
    """Return the lines of the player's CSS."""
    return _file("player.css")


def _file(name: str) -> list[str]:
    path = files("runstate_abi.tools.player").joinpath(name)
    return path.read_text(encoding="utf-8").splitlines()


# Nothing in it may end the script element.
def _in_a_page(data: Mapping[str, Any]) -> str:
    return json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
