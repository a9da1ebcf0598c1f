"""Numbers as they stand in records, many at once: text to whole numbers and back, exactly.

A numeral is a whole number and how many of its digits stand behind the point. In a record zeros at
the end are left out (`canonical.decimal_text`), so a line of numerals shares one place of the point
and each is written without the zeros that it does not need. Values of machines repeat: each text is
read once, and each number written once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

MOST_DIGITS = 18
_FORM = re.compile(rb"(-?)(0|[1-9][0-9]*)(?:\.([0-9]*[1-9]))?")
_ZERO = ord("0")
_SIGNS = b"-.0123456789"
_EXACT = 10**15  # so many digits a double holds
_TENS = np.array([10**k for k in range(MOST_DIGITS + 1)], np.int64)

Numbers = NDArray[np.int64]


def looks_like(text: bytes) -> bool:
    """Whether it may be a numeral."""
    return 0 < len(text) <= MOST_DIGITS and not text.strip(_SIGNS)


def read(columns: Sequence[Sequence[bytes]]) -> tuple[Numbers, Numbers, NDArray[np.bool_]]:
    """The numbers of columns of equal length, one line each.

    Returns:
        whole numbers, shape (n, rows); places behind the point, shape (n,); whether `written` gives
        the column back: where not, its numbers mean nothing.
    """
    cells = list(chain.from_iterable(columns))
    number_of: dict[bytes, int] = {}
    places_of: dict[bytes, int] = {}
    for cell in set(cells):
        number_of[cell], places_of[cell] = _read(cell)
    shape = len(columns), -1
    places = np.fromiter(map(places_of.__getitem__, cells), np.int64, len(cells)).reshape(shape)
    numbers = np.fromiter(map(number_of.__getitem__, cells), np.int64, len(cells)).reshape(shape)
    point = places.max(axis=1)
    factor = _TENS[point[:, None] - np.maximum(places, 0)]
    is_held = (places >= 0).all(axis=1) & (np.abs(numbers) <= _TENS[MOST_DIGITS] // factor).all(
        axis=1
    )
    return numbers * factor, point, is_held


def _read(cell: bytes) -> tuple[int, int]:
    """The whole number and how many places stand behind its point; -1: it is no numeral."""
    if cell.isdigit() and len(cell) <= MOST_DIGITS and (cell[0] != _ZERO or cell == b"0"):
        return int(cell), 0  # most of them
    found = _FORM.fullmatch(cell) if len(cell) <= MOST_DIGITS else None
    if found is None or cell == b"-0":
        return 0, -1
    sign, whole, part = found.groups(b"")
    return int(sign + whole + part), len(part)


def written(numbers: Numbers, point: Sequence[int]) -> list[list[bytes]]:
    """The texts of the numbers, line by line.

    Args:
        numbers: whole numbers, shape (n, rows).
        point: how many digits of a line stand behind the point, n of 0 to `MOST_DIGITS`.
    """
    lines = numbers.tolist()
    found: list[list[bytes]] = [[]] * len(lines)
    for places in set(point):
        chosen = [at for at, own in enumerate(point) if own == places]
        known = list(set(chain.from_iterable(lines[at] for at in chosen)))
        text_of = dict(zip(known, _texts(known, places), strict=True)).__getitem__
        for at in chosen:
            found[at] = list(map(text_of, lines[at]))
    return found


def _texts(numbers: Sequence[int], places: int) -> Iterable[bytes]:
    if not places:
        return map(b"%d".__mod__, numbers)
    if -_EXACT < min(numbers, default=0) <= max(numbers, default=0) < _EXACT:
        scale = 10.0**places  # the quotient of exact numbers; its shortest text has all digits
        texts = "\n".join([repr(number / scale) for number in numbers])
        if "e" not in texts:
            return (f"{texts}\n".replace(".0\n", "\n")).encode().split(b"\n")[:-1]
    return [_text(number, places) for number in numbers]


def _text(number: int, places: int) -> bytes:
    digits = b"%0*d" % (places + 1, abs(number))
    part = digits[-places:].rstrip(b"0")
    sign = b"-" if number < 0 else b""
    return b"%b%b.%b" % (sign, digits[:-places], part) if part else sign + digits[:-places]
