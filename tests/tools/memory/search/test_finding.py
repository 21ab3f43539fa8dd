"""The whole search: which way an image is searched, by its size."""

import pytest

from runstate_abi.tools.memory import sources
from runstate_abi.tools.memory.search import finding


@pytest.mark.parametrize(
    ("size", "installed", "plain"),
    [
        (finding.PLAIN_MOST, True, True),
        (finding.PLAIN_MOST + 1, True, False),
        (finding.PLAIN_MOST + 1, False, True),
    ],
)
def test_numpy_is_loaded_only_for_an_image_that_is_worth_it(monkeypatch, size, installed, plain):
    ways = []
    monkeypatch.setattr(finding, "has_numpy", lambda: installed)
    monkeypatch.setattr(finding, "entries", lambda piece, way, progress: ways.append(way) or ())
    finding.find(sources.raw_image(memoryview(bytes(size)), "zeros"), None, lambda count: None)
    assert ways == [plain]
