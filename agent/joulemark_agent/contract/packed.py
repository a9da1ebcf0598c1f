"""Gzip from strangers, unpacked piece by piece: a bomb is known by what its first bytes become.

Source: RFC 1952; zlib packs at most 1032 : 1.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

MAX_RATIO = 160  # of unpacked to packed bytes; a thousand points that never change reach 117
_SMALL_BYTES = 65_536  # so much may become of however few
_PIECE_BYTES = 16_384
_GZIP = 16 + zlib.MAX_WBITS


class Piece(NamedTuple):
    """What a part of the packed bytes unpacks to."""

    plain: bytes
    end: int  # of the packed bytes so far
    stream: Any  # zlib's decompression object; a copy of it goes on from here


def unpacked(data: bytes, limit: int) -> bytes:
    """The plain bytes of one whole gzip member, of at most `limit` bytes.

    Raises:
        ValueError: as `pieces_of`.
    """
    return b"".join([piece.plain for piece in pieces_of(data, limit)])


def pieces_of(data: bytes, limit: int) -> Iterator[Piece]:
    """The same piece by piece, an empty one first; it is whole if the last one is reached.

    Raises:
        ValueError: why not: damaged, cut short, followed by other bytes, or more than is allowed or
            can be meant.
    """
    stream, size = zlib.decompressobj(_GZIP), 0
    yield Piece(b"", 0, stream)
    for at in range(0, len(data), _PIECE_BYTES):
        read = min(at + _PIECE_BYTES, len(data))
        most = min(limit, max(MAX_RATIO * read, _SMALL_BYTES))
        try:
            plain = stream.decompress(data[at:read], most - size + 1)
        except zlib.error as error:
            raise ValueError(f"its compression is damaged: {error}") from error
        size += len(plain)
        if size > limit:
            raise ValueError(f"it unpacks to more than {limit} bytes")
        if size > most:
            raise ValueError(f"its first {read} bytes unpack to more than can be meant")
        if stream.unused_data or (stream.eof and read < len(data)):
            raise ValueError("its compression is followed by other bytes")
        yield Piece(plain, read, stream)
    if not stream.eof:
        raise ValueError("its compression is cut short")
