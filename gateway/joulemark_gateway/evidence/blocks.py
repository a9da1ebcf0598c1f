"""Old batches of a tree side by side in one long block: what they repeat is kept once.

A device that is read once a second closes a small batch every few seconds, and what frames it costs
more than its values. A block holds the lines and the cosigned notes of many of them, byte for byte;
nothing that was hashed or signed is touched, and each batch keeps its row, without them.

| column | unpacked |
|---|---|
| leaves | the lines of each batch, parted by line breaks; batches parted by RECORD_END |
| notes | the note of each batch, parted by RECORD_END |

Neither byte can stand in canonical JSON or in a note. Packed with LZMA2, whose window holds a whole
block (docs/decisions/0029).
"""

from __future__ import annotations

import lzma
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from joulemark_agent.contract.errors import EvidenceError

SCHEMA = """
CREATE TABLE IF NOT EXISTS block (
    tree INTEGER NOT NULL REFERENCES tree, first_seq INTEGER NOT NULL, size INTEGER NOT NULL,
    leaves BLOB NOT NULL, notes BLOB NOT NULL, UNIQUE (tree, first_seq));
"""
PLAIN_BYTES = 2 * 1024 * 1024  # of leaves in a block, about: unpacking one takes some 20 ms
RECORD_END = b"\x1e"
MARK = b"sha256:"  # of a block that is an object; XZ begins with other bytes
MARK_BYTES = len(MARK) + 64
AWAY, LOST = "objects_away", "object_lost"  # the store, or one object of it
OUTSIDE = {AWAY, LOST}  # codes of what holds up those who need it, and nobody else
_WINDOW = 4 * 1024 * 1024
_MOST_PLAIN = 64 * 1024 * 1024
_FILTERS: list[dict[str, Any]] = [
    {
        "id": lzma.FILTER_LZMA2,
        "preset": 6,
        "dict_size": _WINDOW,
        "lc": 4,  # it is text
        "pb": 0,
        "nice_len": 273,  # in which long runs repeat,
        "depth": 16,  # so that the first few places to look at are enough
    }
]
_MEMORY = 2 * _WINDOW


class Outside(Protocol):
    """Where blocks may stand outside of the ledger: `objects.Objects`."""

    def put(self, data: bytes) -> bytes:
        """Keep the bytes; what stands in the ledger instead of them."""

    def get(self, mark: bytes) -> bytes:
        """The bytes that a mark stands for.

        Raises:
            StoreError: one of the codes OUTSIDE.
        """


class Content(NamedTuple):
    """What is moved of one batch."""

    first_seq: int
    lines: bytes
    note: str

    @property
    def after_seq(self) -> int:
        """The leaf after the last; all are here."""
        return self.first_seq + self.lines.count(b"\n") + 1


def packed(batches: Sequence[Content]) -> tuple[bytes, bytes]:
    """The two columns of a block of these batches, which give back exactly these.

    Raises:
        EvidenceError: they do not.
    """
    leaves = _pack(RECORD_END.join(batch.lines for batch in batches))
    notes = _pack(RECORD_END.join(batch.note.encode() for batch in batches))
    if unpacked(leaves) != [b.lines for b in batches] or notes_of(notes) != [
        b.note for b in batches
    ]:
        raise EvidenceError(
            f"The block from leaf {batches[0].first_seq} on does not give back its batches.",
            "Nothing was changed; this is a fault of the program: report it.",
            code="bad_block",
        )
    return leaves, notes


def unpacked(leaves: bytes) -> list[bytes]:
    """The lines of each batch.

    Raises:
        EvidenceError: it is damaged.
    """
    return _unpack(leaves).split(RECORD_END)


def notes_of(notes: bytes) -> list[str]:
    """The note of each batch; errors as `unpacked`."""
    try:
        return _unpack(notes).decode().split(RECORD_END.decode())
    except UnicodeDecodeError as error:
        raise _damaged(str(error)) from error


class Blocks:
    """Reads the blocks of one store, over its connection; keeps the last that was unpacked."""

    def __init__(self, rows: Callable[..., list[Any]], outside: Outside | None = None) -> None:
        """Nothing is read yet.

        Args:
            rows: gives all rows of a query with its values.
            outside: where blocks are that do not stand in their rows; None: all do.
        """
        self._rows, self._outside = rows, outside
        self._last: tuple[int, int, dict[int, bytes]] | None = None

    def lines(self, tree: int, first_seq: int) -> bytes:
        """The lines of a batch that stands in a block.

        Raises:
            EvidenceError: it does not, or the block is damaged.
        """
        if self._last is None or self._last[0] != tree or first_seq not in self._last[2]:
            sql = (
                "SELECT first_seq, leaves FROM block WHERE tree = ? AND first_seq <= ? "
                "ORDER BY first_seq DESC LIMIT 1"
            )
            rows = self._rows(sql, tree, first_seq)
            start, leaves = rows[0] if rows else (first_seq, b"")
            self._last = (tree, start, _placed(start, unpacked(self._whole(leaves))))
        if first_seq not in self._last[2]:
            raise _damaged(f"no block holds the batch at leaf {first_seq}")
        return self._last[2][first_seq]

    def _whole(self, leaves: bytes) -> bytes:
        """The block itself."""
        if not leaves.startswith(MARK):
            return leaves
        if self._outside is None:
            raise _damaged("it is an object, and the collector's file does not say where those are")
        return self._outside.get(leaves)

    def note(self, tree: int, first_seq: int) -> str:
        """The note of such a batch; errors as `lines`."""
        sql = (
            "SELECT notes, (SELECT count(*) FROM batch WHERE tree = block.tree AND first_seq >= "
            "block.first_seq AND first_seq < ?) FROM block WHERE tree = ? AND first_seq <= ? "
            "ORDER BY first_seq DESC LIMIT 1"
        )
        for notes, place in self._rows(sql, first_seq, tree, first_seq):
            if place < len(found := notes_of(notes)):
                return str(found[place])
        raise _damaged(f"no block holds the note of the batch at leaf {first_seq}")

    def notes(self, tree: int) -> list[str]:
        """The notes of all batches of a tree that stand in blocks, in order."""
        rows = self._rows("SELECT notes FROM block WHERE tree = ? ORDER BY first_seq", tree)
        return [note for (notes,) in rows for note in notes_of(notes)]


def _placed(first_seq: int, batches: Sequence[bytes]) -> dict[int, bytes]:
    """The lines of each batch by its first leaf: in a block no leaf is missing."""
    found = {}
    for lines in batches:
        found[first_seq] = lines
        first_seq += lines.count(b"\n") + 1
    return found


def _pack(plain: bytes) -> bytes:
    return lzma.compress(plain, format=lzma.FORMAT_XZ, check=lzma.CHECK_CRC32, filters=_FILTERS)


def _unpack(data: bytes) -> bytes:
    reader = lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=_MEMORY)
    try:
        plain = reader.decompress(data, _MOST_PLAIN + 1)
    except lzma.LZMAError as error:
        raise _damaged(str(error)) from error
    if not reader.eof or reader.unused_data or len(plain) > _MOST_PLAIN:
        raise _damaged("it is cut short, followed by other bytes, or larger than any")
    return plain


def _damaged(why: str) -> EvidenceError:
    return EvidenceError(
        f"A block of evidence is damaged: {why}.",
        "Stop the collector, keep the file, and restore the last copy.",
        code="bad_block",
    )
