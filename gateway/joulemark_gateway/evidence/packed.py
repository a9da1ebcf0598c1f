"""Rows that take little memory: in Python's own byte form, unpacked block by block when needed."""

from __future__ import annotations

import marshal
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar, overload

Row = TypeVar("Row")
_BLOCK = 256


class Packed(Sequence[Row], Generic[Row]):
    """Rows that are appended, and then read in order."""

    def __init__(self, plain: Callable[[Row], Any], row: Callable[[Any], Row]) -> None:
        """Begin with none.

        Args:
            plain: what a row is made of: numbers, texts, bytes, and tuples and maps of these.
            row: the row of that.
        """
        self._plain, self._row = plain, row
        self._blocks: list[bytes] = []
        self._open: list[Any] = []
        self._held: tuple[int, list[Row]] = (-1, [])

    def append(self, row: Row) -> None:
        """Add a row at the end."""
        self._open.append(self._plain(row))
        if len(self._open) == _BLOCK:
            self._blocks.append(marshal.dumps(self._open))
            self._open = []

    def __len__(self) -> int:
        return len(self._blocks) * _BLOCK + len(self._open)

    def __iter__(self) -> Iterator[Row]:
        yield from map(self._row, self.plain())

    def plain(self) -> Iterator[Any]:
        """What each row is made of."""
        for block in self._blocks:
            yield from marshal.loads(block)  # noqa: S302 -- our own, made above
        yield from self._open

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        places = range(len(self))[index]
        if isinstance(places, int):
            return self._at(places)
        return [self._at(place) for place in places]

    def _at(self, place: int) -> Row:
        number, at = divmod(place, _BLOCK)
        return self._row(self._open[at]) if number == len(self._blocks) else self._block(number)[at]

    def _block(self, number: int) -> list[Row]:
        if self._held[0] != number:
            rows = marshal.loads(self._blocks[number])  # noqa: S302 -- our own, made above
            self._held = number, [self._row(plain) for plain in rows]
        return self._held[1]
