"""Frames of columns, opened and closed again: what is changed inside keeps its checksum."""

from __future__ import annotations

import random
import zlib
from collections.abc import Sequence

from joulemark_agent.contract import frame
from support.fuzz.mutate import octets

_HEAD = len(frame.MAGIC) + 4
_PARTS = 6  # digests, texts, counts, and three sections of numbers
_LIMIT = 1 << 24


def framed(digests: bytes, text: bytes, *sections: bytes) -> bytes:
    """A frame of any parts that is whole as a frame."""
    parts = [digests, frame._deflated(text, frame._DICTIONARY), *map(frame._deflated, sections)]
    body = b"".join([*(len(part).to_bytes(4, "big") for part in parts), *parts])
    return frame.MAGIC + zlib.crc32(body).to_bytes(4, "big") + body


def opened(data: bytes) -> list[bytes]:
    """The parts of a frame, as `framed` takes them."""
    at = _HEAD + 4 * _PARTS
    sizes = [int.from_bytes(data[head : head + 4], "big") for head in range(_HEAD, at, 4)]
    found = []
    for number, size in enumerate(sizes):
        part = data[at : at + size]
        dictionary = frame._DICTIONARY if number == 1 else b""
        found.append(frame._inflated(part, _LIMIT, dictionary) if number else part)
        at += size
    return found


def reframed(rng: random.Random, data: bytes, corpus: Sequence[bytes]) -> bytes:
    """Something inside a frame changed; now and then the frame itself."""
    if rng.random() < 0.1:
        return octets(rng, data, corpus)
    parts = opened(data)
    at = rng.choice([at for at, part in enumerate(parts) if part])
    parts[at] = octets(rng, parts[at], [parts[at]])
    return framed(*parts)
