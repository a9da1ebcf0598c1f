"""The leaves of a packed file, unpacked block by block, and again whenever they are asked for.

Held in memory are the packed bytes, one block, and for each block what unpacking it needs: a year
of readings takes as much as a day of them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, overload

from joulemark_agent.contract.packed import pieces_of
from joulemark_agent.contract.sparse import Part, parse_line

_BLOCK_BYTES = 1 << 20  # unpacked, or one line if that is longer


class _Mark(NamedTuple):
    """Where a block begins."""

    first: int  # line
    at: int  # of the packed bytes
    stream: Any  # what unpacks from there on; None: nothing more comes
    carried: bytes  # of its first line, unpacked before


class Lines(Sequence[Part]):
    """The parts that the lines of a gzip member hold, in order."""

    def __init__(self, data: bytes, limit: int) -> None:
        """Unpack it once, for whether it can be.

        Args:
            data: the gzip member.
            limit: how much it may unpack to. [bytes]

        Raises:
            ValueError: why it cannot.
        """
        self._data, self._marks = data, list[_Mark]()
        self._held: tuple[int, list[Part]] = (-1, [])
        self.plain_bytes, lines = 0, 0
        rest: list[bytes] = []  # after the last end of a line
        begun = 0  # the block, of the plain bytes
        for piece in pieces_of(data, limit):
            self.plain_bytes += len(piece.plain)
            if found := piece.plain.count(b"\n"):
                lines, rest = lines + found, [piece.plain.rpartition(b"\n")[2]]
            else:
                rest.append(piece.plain)
            is_full = self.plain_bytes - begun >= _BLOCK_BYTES and lines > self._marks[-1].first
            if piece.end == 0 or is_full:
                rest, begun = [b"".join(rest)], self.plain_bytes
                self._marks.append(_Mark(lines, piece.end, piece.stream.copy(), rest[0]))
        self.is_ended = self.plain_bytes > 0 and not any(rest)
        if lines > self._marks[-1].first:
            self._marks.append(_Mark(lines, len(data), None, b""))

    def __len__(self) -> int:
        return self._marks[-1].first

    def __iter__(self) -> Iterator[Part]:
        for number in range(len(self._marks) - 1):
            yield from self._block(number)

    @overload
    def __getitem__(self, index: int) -> Part: ...
    @overload
    def __getitem__(self, index: slice) -> list[Part]: ...
    def __getitem__(self, index: int | slice) -> Part | list[Part]:
        places = range(len(self))[index]
        if isinstance(places, int):
            return self._at(places)
        return [self._at(place) for place in places]

    def _at(self, place: int) -> Part:
        number = bisect_right(self._marks, place, key=lambda mark: mark.first) - 1
        return self._block(number)[place - self._marks[number].first]

    def _block(self, number: int) -> list[Part]:
        if self._held[0] != number:
            begun, ended = self._marks[number : number + 2]
            more = begun.stream.copy().decompress(self._data[begun.at : ended.at])
            plain = begun.carried + more
            lines = plain[: len(plain) - len(ended.carried) - 1].split(b"\n")
            self._held = number, [parse_line(line) for line in lines]
        return self._held[1]
