"""QR codes for paper and terminals; the only file that knows the library.

The same text always gives the same squares: the page of a report is made again from the report and
compared byte by byte.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

import segno

QUIET = 4  # squares of light around it, ISO/IEC 18004
_HALVES = {(True, True): " ", (True, False): "▄", (False, True): "▀", (False, False): "█"}
Squares = tuple[tuple[bool, ...], ...]


def squares(text: str) -> Squares:
    """The rows of squares, True where dark, with the quiet zone around."""
    made = segno.make(text.encode(), error="m", micro=False, boost_error=False)
    side = (False,) * QUIET
    rows = [(*side, *map(bool, row), *side) for row in made.matrix]
    empty = [(False,) * len(rows[0])] * QUIET
    return (*empty, *rows, *empty)


def svg(text: str, label: str) -> str:
    """A drawing, one unit a square, dark on light wherever it is shown.

    Args:
        text: what it holds.
        label: what it is called for who does not see it, safe in an attribute.
    """
    rows = squares(text)
    size = len(rows)
    runs = "".join(
        f"M{x} {y}h1v1h-1z"
        for y, row in enumerate(rows)
        for x, is_dark in enumerate(row)
        if is_dark
    )
    return (
        f'<svg viewBox="0 0 {size} {size}" width="{4 * size}" height="{4 * size}" role="img"'
        f' aria-label="{label}">'
        f'<rect width="{size}" height="{size}" fill="#ffffff"/>'
        f'<path d="{runs}" fill="#000000"/></svg>'
    )


def terminal(text: str) -> str:
    """Lines of half blocks for a terminal of light letters on dark."""
    rows = list(squares(text))
    rows += [(False,) * len(rows[0])] * (len(rows) % 2)
    pairs = zip(rows[::2], rows[1::2], strict=True)
    return "\n".join("".join(map(_HALVES.__getitem__, zip(a, b, strict=True))) for a, b in pairs)


def _runs(row: tuple[bool, ...]) -> Iterator[tuple[int, int]]:
    """Where the dark runs of a row begin, and how long they are."""
    x = 0
    for is_dark, run in groupby(row):
        width = len(list(run))
        if is_dark:
            yield x, width
        x += width
