"""Lines of text as columns: what repeats is sent once, numbers as their differences.

Any lines come back as they were, byte for byte. Lines are cut at every quotation mark, and those
with as many pieces stand below each other, so that pieces make columns. A column that never changes
is part of a template, one of numerals or of hexadecimal words goes into tables (`integers`), and
words that the numbers of their line tell (`foretold`) cost nothing. What fits nowhere stays as it
is.

Nothing here is ever hashed or signed: that is the lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from joulemark_agent.contract import foretold, numerals
from joulemark_agent.contract.errors import EvidenceError
from joulemark_agent.contract.frame import MAX_NUMBERS, Held, Shelf
from joulemark_agent.contract.integers import folded, unfolded

_MOST_TABLES = 16
_MOST_PIECES = 1 << 16  # of one line
_MOST_ROWS = 1 << 16
_FIXED, _NUMERAL, _HEX, _TEXT = range(4)  # what a column is
_CLOCK = 1 << 32  # numbers from here on are times, which follow each other
_PER_CLOCK = (1, 1000)  # us by us, ns by us
_MOST_CLOCKS = 6
_WORD_BYTES = 2

Words = NDArray[np.uint16]
Columns = Sequence[Sequence[bytes]]


def pack(lines: Sequence[bytes]) -> bytes:
    """The lines, in as few bytes as their kind allows."""
    pieces: dict[int, list[list[bytes]]] = {}
    sizes = []
    for line in lines:
        own = line.split(b'"')
        size = len(own) if len(own) <= _MOST_PIECES and b"\0" not in line else 1
        sizes.append(size)
        pieces.setdefault(size, []).append(own)
    tables: dict[int, _Made] = {}
    order: dict[int, int] = {}
    left = MAX_NUMBERS - 2 * len(lines) - 64
    for size, rows in pieces.items():
        if size == 1 or not 1 < len(rows) <= _MOST_ROWS or len(tables) == _MOST_TABLES:
            continue
        made = _Made(list(zip(*rows, strict=True)))
        if made.numbers <= left:
            left -= made.numbers
            tables[size], order[size] = made, len(order) + 1
    of_line = [order.get(size, 0) for size in sizes]
    shelf = Shelf()
    shelf.numbers.put_row([len(lines), len(tables)])
    shelf.numbers.put_row(of_line)
    shelf.put([line for line, number in zip(lines, of_line, strict=True) if not number])
    for made in tables.values():
        made.put(shelf)
    return shelf.packed()


def unpack(data: bytes, limit: int, most_lines: int) -> list[bytes]:
    """The lines of `pack`.

    Raises:
        EvidenceError: it is not what `pack` gives, or more lines or bytes than these.
    """
    try:
        return _unpacked(data, limit, most_lines)
    except ValueError as error:
        raise EvidenceError(
            f"{len(data)} bytes are not lines packed as columns: {error}.",
            "They are quarantined; look at the sender's log for its version, and at its line.",
            code="bad_batch",
        ) from error


def _unpacked(data: bytes, limit: int, most_lines: int) -> list[bytes]:
    held = Held(data, limit)
    count, tables = held.numbers.take_row(2)
    of_line = held.numbers.take_row(_few(count, most_lines))
    if max(of_line, default=0) > _few(tables, _MOST_TABLES):
        raise ValueError("a line is of no table")
    rows = [of_line.count(number) for number in range(tables + 1)]
    found = [iter(held.take(rows[0]))]
    found += [iter(_lines_of(held, count)) for count in rows[1:]]
    held.check_end()
    return [next(found[number]) for number in of_line]


class _Made:
    """Lines with as many pieces each, below each other, and what each column is."""

    def __init__(self, columns: Columns) -> None:
        self.columns, self.rows = columns, len(columns[0])
        self.kinds = [_FIXED] * len(columns)
        self.fixed = [column[0] for column in columns]
        self.values, self.point = self._read()
        self.hexes: list[Sequence[bytes]] = []
        self.texts: list[Sequence[bytes]] = []
        for index, column in enumerate(columns):
            if self.kinds[index] == _NUMERAL:
                self.fixed[index] = b""
            elif column.count(column[0]) != self.rows:
                is_hex = _are_words(column)
                self.kinds[index], self.fixed[index] = _HEX if is_hex else _TEXT, b""
                (self.hexes if is_hex else self.texts).append(column)

    def _read(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The numbers of the columns of numerals, and their places behind the point."""
        index = [
            at for at in range(1, len(self.columns), 2) if numerals.looks_like(self.columns[at][0])
        ]
        if not index:
            return np.zeros((0, self.rows), np.int64), np.zeros(0, np.int64)
        values, point, is_held = numerals.read([self.columns[at] for at in index])
        for at, held in zip(index, is_held.tolist(), strict=True):
            if held:
                self.kinds[at] = _NUMERAL
        return values[is_held], point[is_held]

    @property
    def numbers(self) -> int:
        """How many numbers it puts at most."""
        words = sum(len(column[0]) // 4 for column in self.hexes)
        texts = len(self.texts) * self.rows
        return (len(self.values) + words) * (self.rows + 16) + texts + 2 * len(self.kinds) + 64

    def put(self, shelf: Shelf) -> None:
        """Keep it."""
        numbers = shelf.numbers
        numbers.put_row([len(self.kinds)])
        numbers.put_row(self.kinds)
        shelf.put([b'"'.join(self.fixed)])
        numbers.put_row(self.point.tolist())
        links = _clocks(self.values)
        numbers.put_row([len(links)])
        numbers.put_row([field for link in links for field in link])
        numbers.put_row([len(column[0]) // 4 for column in self.hexes])
        words = _words_in(self.hexes, self.rows)
        rules = foretold.rules_of(words, self.values, self.point)
        numbers.put_row([rules.shape[1]])
        for field in np.diff(rules, axis=1, prepend=0):
            numbers.put_row(folded(field).tolist())
        free = words[foretold.free_of(len(words), rules)].astype(np.int64)
        numbers.put_series(np.concatenate((_unlinked(self.values, links), free)))
        shelf.put([cell for column in self.texts for cell in column])


def _are_words(column: Sequence[bytes]) -> bool:
    """Whether a column is one of words in hexadecimal digits, of as many in each line."""
    size = len(column[0])
    if not size or size % (2 * _WORD_BYTES) or any(len(cell) != size for cell in column):
        return False
    joined = b"".join(column)
    try:
        return bytes.fromhex(joined.decode()).hex().encode() == joined
    except ValueError:
        return False


def _words_in(hexes: Columns, rows: int) -> Words:
    """The words of such columns, shape (words, rows)."""
    joined = b"".join([cell for row in zip(*hexes, strict=True) for cell in row])
    words = np.frombuffer(bytes.fromhex(joined.decode()), ">u2").astype(np.uint16)
    return np.ascontiguousarray(words.reshape(rows, -1).T)


def _lines_of(held: Held, rows: int) -> list[bytes]:
    """The lines of `_Made`."""
    numbers = held.numbers
    [size] = numbers.take_row(1)
    if not 1 < size <= _MOST_PIECES or not rows:
        raise ValueError(f"{rows} lines of {size} pieces make no table")
    kinds = numbers.take_row(size)
    [template] = held.take(1)
    fixed = template.split(b'"')
    if len(fixed) != size or not set(kinds) <= {_FIXED, _NUMERAL, _HEX, _TEXT}:
        raise ValueError("a template does not fit its kinds")
    if any(text for text, kind in zip(fixed, kinds, strict=True) if kind != _FIXED):
        raise ValueError("a template has text where lines have their own")
    held.spend(rows * len(template))
    cells: dict[int, list[list[bytes]]] = {}
    count = kinds.count(_NUMERAL)
    point = numbers.take_row(count)
    if max(point, default=0) > numerals.MOST_DIGITS:
        raise ValueError("a number has more places than are meant")
    [many] = numbers.take_row(1)
    links = _cut(numbers.take_row(3 * _few(many, _MOST_CLOCKS)), 3)
    sizes = numbers.take_row(kinds.count(_HEX))
    if min(sizes, default=1) < 1:
        raise ValueError("a column of words has none")
    total = _few(sum(sizes), MAX_NUMBERS)
    held.spend(2 * _WORD_BYTES * total * rows)
    [many] = numbers.take_row(1)
    many = _few(many, total)
    steps = np.array([numbers.take_row(many) for _ in range(foretold.FIELDS)], np.uint64)
    rules = np.cumsum(unfolded(steps), axis=1)
    is_free = foretold.free_of(total, rules)
    series = numbers.take_series(count + int(is_free.sum()), rows)
    values, words = _linked(series[:count], links), np.zeros((total, rows), np.uint16)
    words[is_free] = series[count:]
    foretold.fill(words, rules, values)
    cells[_NUMERAL] = numerals.written(values, point)
    cells[_HEX] = _hexes_of(words, sizes)
    cells[_TEXT] = _cut(held.take(kinds.count(_TEXT) * rows), rows)
    held.spend(sum(map(len, chain.from_iterable(cells[_NUMERAL]))))
    escaped = template.replace(b"%", b"%%").split(b'"')
    form = b'"'.join([b"%b" if kind else text for text, kind in zip(escaped, kinds, strict=True)])
    columns = {kind: iter(found) for kind, found in cells.items()}
    varied = [next(columns[kind]) for kind in kinds if kind != _FIXED]
    if not varied:
        return [template] * rows
    return [form % row for row in zip(*varied, strict=True)]


def _hexes_of(words: Words, sizes: Sequence[int]) -> list[list[bytes]]:
    """The columns of words in hexadecimal digits."""
    texts = words.T.astype(">u2").tobytes().hex().encode()
    width, found, at = 2 * _WORD_BYTES * len(words), [], 0
    for size in sizes:
        end = at + 2 * _WORD_BYTES * size
        found.append([texts[row + at : row + end] for row in range(0, len(texts), width)])
        at = end
    return found


def _few(count: int, most: int) -> int:
    if not 0 <= count <= most:
        raise ValueError(f"it names {count} of something; {most} are the most")
    return count


def _cut(cells: list[Any], rows: int) -> list[list[Any]]:
    return [cells[at : at + rows] for at in range(0, len(cells), rows)]


# Clocks: a record holds when it was due and when it was read, by two clocks. Each is taken as what
# it differs by from another one, which differs by less.


def _clocks(values: NDArray[np.int64]) -> list[tuple[int, int, int]]:
    """Which lines to take from which others, how many times, in the order of putting back."""
    large = np.flatnonzero((values[:, :1] >= _CLOCK).all(axis=1))[:_MOST_CLOCKS].tolist()
    own = {at: _roughness(values[at]) for at in large}
    found: list[tuple[int, int, int]] = []
    known: list[int] = []
    for at in sorted(large, key=own.__getitem__):
        rest, best = own[at], None
        for other in known:
            for times in _PER_CLOCK:
                rough = _roughness(values[at] - times * values[other])
                if rough < rest / 2:
                    rest, best = rough, (at, other, times)
        if best is not None:
            found.append(best)
        known.append(at)
    return found


def _roughness(line: NDArray[np.int64]) -> int:
    """How far its steps are from each other."""
    steps = line[1:] - line[:-1]
    return int(steps.max()) - int(steps.min())


def _unlinked(
    values: NDArray[np.int64], links: Sequence[tuple[int, int, int]]
) -> NDArray[np.int64]:
    rest = values.copy()
    for at, other, times in links:
        rest[at] -= times * values[other]
    return rest


def _linked(values: NDArray[np.int64], links: Sequence[Sequence[int]]) -> NDArray[np.int64]:
    for at, other, times in links:
        if max(at, other) >= len(values) or times > max(_PER_CLOCK):
            raise ValueError("a clock follows one that is not there")
        values[at] += times * values[other]
    return values
