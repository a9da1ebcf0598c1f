"""Tables of whole numbers as few bytes: the parts of equal weight of all numbers stand together.

A table has a line for each thing that was seen again and again, such as one register over time.
Its numbers are folded (0, -1, 1, -2 ... become 0, 1, 2, 3 ...), each line is as wide as its largest
number needs, and what the reader does not know already is how wide. All arithmetic is modulo 2^64,
so nothing can be too large and everything comes back.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Table = NDArray[np.int64]

SECTIONS = 4  # counts and widths; the bytes of narrow lines; the lowest of wide ones; the others
_STEPS = np.array([256**k for k in range(8)], np.uint64)  # from which on a byte more is needed
_MEAN, _STEP, _SLOPE, _BEND = range(4)  # how a line goes on: `_expected`
_PAYS = np.array([[1.0], [1.0], [1.5], [1.5]])  # a slope takes room too


def folded(table: Table) -> NDArray[np.uint64]:
    """0, -1, 1, -2 ... as 0, 1, 2, 3 ..."""
    return ((table << 1) ^ (table >> 63)).view(np.uint64)


def unfolded(table: NDArray[np.uint64]) -> Table:
    """The numbers of `folded`."""
    return (table >> np.uint64(1)).view(np.int64) ^ -(table & np.uint64(1)).view(np.int64)


class Writer:
    """Takes tables and gives the sections that hold them."""

    def __init__(self) -> None:
        self._sections: list[list[bytes]] = [[] for _ in range(SECTIONS)]

    def put_row(self, counts: Sequence[int]) -> None:
        """Keep a few counts, none negative; a reader must know how many."""
        width = (max(counts, default=0).bit_length() + 7) // 8
        row = [bytes([width])] if counts else []
        if width == 1:
            row.append(bytes(counts))
        elif width:
            row += [count.to_bytes(width, "little") for count in counts]
        self._sections[0] += row

    def put(self, table: Table) -> None:
        """Keep a table of any numbers; a reader must know its shape."""
        if not table.size:
            return
        plain = folded(table)
        widths = np.searchsorted(_STEPS, plain.max(axis=1), side="right")
        planes = plain.astype("<u8", order="C").view(np.uint8).reshape(*table.shape, 8)
        self._sections[0].append(widths.astype(np.uint8).tobytes())
        self._sections[1].append(planes[widths == 1, :, 0].tobytes())
        for plane in range(int(widths.max())):
            chosen = widths > max(plane, 1)
            self._sections[2 if plane == 0 else 3].append(planes[chosen, :, plane].tobytes())

    def put_series(self, table: Table) -> None:
        """Keep a table whose lines go on as they went: what is expected costs nothing."""
        if not table.size:
            return
        first = table[:, 0]
        units = _units(table - first[:, None])
        slopes, rests = _expected((table - first[:, None]) // units[:, None])
        cost = np.abs(rests).sum(axis=2, dtype=np.float64) * _PAYS
        order, index = cost.argmin(axis=0), np.arange(len(table))
        self.put_row(order.tolist())
        self.put_row(units.tolist())
        self.put(np.diff(first, prepend=0).reshape(-1, 1))
        self.put(slopes[order, index].reshape(-1, 1))
        self.put(rests[order, index])

    def sections(self) -> list[bytes]:
        """What was put, in `SECTIONS` parts."""
        return [b"".join(parts) for parts in self._sections]


class Reader:
    """Gives tables back in the order in which they were put."""

    def __init__(self, sections: Sequence[bytes], most_numbers: int) -> None:
        self._sections, self._at = sections, [0] * SECTIONS
        self._left = most_numbers

    def take_row(self, length: int) -> list[int]:
        """The next few counts.

        Raises:
            ValueError: there are none, or they would be more numbers than may be.
        """
        self._spend(length)
        if not length:
            return []
        [width] = self._next(0, 1)
        if width > 8:
            raise ValueError("a count is wider than 8 bytes")
        row = self._next(0, length * width)
        if width <= 1:
            return list(row) if width else [0] * length
        return [int.from_bytes(row[at : at + width], "little") for at in range(0, len(row), width)]

    def take(self, lines: int, length: int) -> Table:
        """The next table of this shape.

        Raises:
            ValueError: there is none, or it would be more numbers than may be.
        """
        self._spend(lines * length)
        if not lines * length:
            return np.zeros((lines, length), np.int64)
        widths = np.frombuffer(self._next(0, lines), np.uint8)
        if widths.max() > 8:
            raise ValueError("a number is wider than 8 bytes")
        planes = np.zeros((lines, length, 8), np.uint8)
        self._put_in(planes, widths == 1, 0, 1)
        for plane in range(int(widths.max())):
            self._put_in(planes, widths > max(plane, 1), plane, 2 if plane == 0 else 3)
        return unfolded(planes.view("<u8").astype(np.uint64).reshape(lines, length))

    def take_series(self, lines: int, length: int) -> Table:
        """The next table of `put_series`.

        Raises:
            ValueError: there is none, or it would be more numbers than may be.
        """
        if not lines * length:
            return np.zeros((lines, length), np.int64)
        order = np.array(self.take_row(lines))
        units = np.array(self.take_row(lines), np.uint64).view(np.int64)
        first, slopes = np.cumsum(self.take(lines, 1)[:, 0]), self.take(lines, 1)
        found = self.take(lines, length)
        if (order > _BEND).any():
            raise ValueError("a line goes on in no known way")
        bends, goes = order == _BEND, order != _MEAN
        found[bends] = np.cumsum(found[bends], axis=1)
        found += slopes
        found[goes, 0] -= slopes[goes, 0]
        found[goes] = np.cumsum(found[goes], axis=1)
        return found * units[:, None] + first[:, None]

    def check_end(self) -> None:
        """Raise ValueError where something is left."""
        if any(at != len(part) for at, part in zip(self._at, self._sections, strict=True)):
            raise ValueError("it holds more bytes than its tables")

    def _put_in(
        self, planes: NDArray[np.uint8], chosen: NDArray[np.bool_], plane: int, section: int
    ) -> None:
        shape = int(chosen.sum()), planes.shape[1]
        if shape[0]:
            part = self._next(section, shape[0] * shape[1])
            planes[chosen, :, plane] = np.frombuffer(part, np.uint8).reshape(shape)

    def _next(self, section: int, count: int) -> bytes:
        at = self._at[section]
        part = self._sections[section][at : at + count]
        if len(part) != count:
            raise ValueError("a table is cut short")
        self._at[section] = at + count
        return part

    def _spend(self, count: int) -> None:
        self._left -= count
        if self._left < 0:
            raise ValueError("it holds more numbers than are meant")


def _units(steps: Table) -> Table:
    """The largest number of which all of a line are multiples; 1 where there is none."""
    found: Table = np.gcd.reduce(steps, axis=1)
    return np.where(found > 0, found, 1)


def _expected(table: Table) -> tuple[Table, Table]:
    """For each way to go on, from 0: by what lines go on, and what is left of them."""
    lines, length = table.shape
    slopes = np.zeros((4, lines), np.int64)
    rests = np.zeros((4, lines, length), np.int64)
    slopes[_MEAN] = np.rint(table.mean(axis=1)).astype(np.int64)
    rests[_MEAN] = table - slopes[_MEAN, :, None]
    if length > 1:
        steps = table[:, 1:] - table[:, :-1]
        middle = (length - 1) // 2
        slopes[_SLOPE:] = np.partition(steps, middle, axis=1)[:, middle]
        rests[_STEP, :, 1:] = steps
        rests[_SLOPE, :, 1:] = steps - slopes[_SLOPE, :, None]
        rests[_BEND] = rests[_SLOPE]
        rests[_BEND, :, 1:] -= rests[_SLOPE, :, :-1]
    return slopes, rests
