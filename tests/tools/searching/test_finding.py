"""The whole search: which way an image is searched, by its size."""

import pytest

from runstate_abi.tools.memory import raw
from runstate_abi.tools.searching import finding, scan


@pytest.mark.parametrize(
    ("size", "asked", "plain"),
    [
        (finding.PLAIN_MOST, False, True),
        (finding.PLAIN_MOST + 1, False, False),
        (finding.PLAIN_MOST + 1, True, True),
    ],
)
def test_numpy_is_loaded_only_for_an_image_that_is_worth_it(monkeypatch, size, asked, plain):
    ways = []
    monkeypatch.setattr(scan, "entries", lambda piece, way, progress: ways.append(way) or ())
    finding.find(raw.image(memoryview(bytes(size)), "zeros"), None, asked, lambda count: None)
    assert ways == [plain]
