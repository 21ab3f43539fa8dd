"""Columns of text that line up: what every verb prints its tables with."""

from collections.abc import Iterator, Sequence


def aligned(rows: Sequence[Sequence[str]], gap: int = 2) -> Iterator[str]:
    """Yield one line per row, each column as wide as its widest cell, no blanks at the end.

    The last cell of a row does not widen its column, so that a long remark costs nothing.
    """
    widths: list[int] = []
    for row in rows:
        widths += [0] * (len(row) - len(widths))
        for column, cell in enumerate(row[:-1]):
            widths[column] = max(widths[column], len(cell))
    for row in rows:
        padded = (cell.ljust(widths[column] + gap) for column, cell in enumerate(row))
        yield "".join(padded).rstrip()
