"""One message of texts and tables: what is packed, what may be unpacked of it, and how far.

MAGIC, CRC-32 of what follows, the length of each part, then the parts: digests as they are, texts
and the sections of the tables (`integers`) deflated. Numbers of the frame are big-endian.
"""

from __future__ import annotations

import re
import zlib
from base64 import b64decode, b64encode
from collections.abc import Sequence

from joulemark_agent.contract.integers import SECTIONS, Reader, Writer

MAGIC = b"JMC\x01"  # no zlib stream begins so
MAX_NUMBERS = 1 << 19  # of all tables
_LENGTH_BYTES = 4


def is_packed(data: bytes) -> bool:
    """Whether the bytes begin as those of `pack`."""
    return data.startswith(MAGIC)


class Shelf:
    """Texts and numbers, as they are put."""

    def __init__(self) -> None:
        self.numbers = Writer()
        self._texts: list[bytes] = []

    def put(self, texts: Sequence[bytes]) -> None:
        """Keep texts; a reader must know how many."""
        self.numbers.put_row([len(text) for text in texts])
        self._texts.extend(texts)

    def packed(self) -> bytes:
        """All of it."""
        text, digests = _without_digests(b"".join(self._texts))
        parts = [digests, _deflated(text, _DICTIONARY)]
        counts, *planes = self.numbers.sections()
        parts += [_deflated(counts), *(_deflated(plane, strategy=zlib.Z_RLE) for plane in planes)]
        body = b"".join([*(len(part).to_bytes(_LENGTH_BYTES, "big") for part in parts), *parts])
        return MAGIC + zlib.crc32(body).to_bytes(4, "big") + body


class Held:
    """Texts and numbers, as they were put."""

    def __init__(self, data: bytes, limit: int) -> None:
        begin = len(MAGIC) + 4
        at = begin + _LENGTH_BYTES * (2 + SECTIONS)
        if not is_packed(data) or len(data) < at:
            raise ValueError("it does not begin as such")
        if zlib.crc32(data[begin:]).to_bytes(4, "big") != data[len(MAGIC) : begin]:
            raise ValueError("it was damaged on its way")
        parts = []
        for head in range(begin, at, _LENGTH_BYTES):
            size = int.from_bytes(data[head : head + _LENGTH_BYTES], "big")
            parts.append(data[at : at + size])
            at += size
        if at != len(data):
            raise ValueError("it is cut short or followed by other bytes")
        self._texts = _with_digests(_inflated(parts[1], limit, _DICTIONARY), parts[0], limit)
        self._at, self._left = 0, limit
        self.numbers = Reader([_inflated(part, limit) for part in parts[2:]], MAX_NUMBERS)

    def spend(self, size: int) -> None:
        """Know of so many bytes more that the lines will have."""
        self._left -= size
        if self._left < 0:
            raise ValueError("it unpacks to more bytes than are meant")

    def take(self, count: int) -> list[bytes]:
        """The next texts.

        Raises:
            ValueError: there are not so many, or they are more bytes than are meant.
        """
        sizes = self.numbers.take_row(count)
        if sizes and min(sizes) < 0:
            raise ValueError("a text has less than no bytes")
        total = sum(sizes)
        self.spend(total)
        found, at = [], self._at
        for size in sizes:
            found.append(self._texts[at : at + size])
            at += size
        if at > len(self._texts):
            raise ValueError("a text is cut short")
        self._at = at
        return found

    def check_end(self) -> None:
        """Raise ValueError where something is left."""
        self.numbers.check_end()
        if self._at != len(self._texts):
            raise ValueError("it holds more text than its lines")


def _deflated(
    plain: bytes, dictionary: bytes = b"", strategy: int = zlib.Z_DEFAULT_STRATEGY
) -> bytes:
    if not plain:
        return b""
    window = -min(15, max(9, (len(plain) + len(dictionary)).bit_length()))
    stream = zlib.compressobj(9, zlib.DEFLATED, window, 8, strategy, dictionary)
    return stream.compress(plain) + stream.flush()


def _inflated(packed: bytes, limit: int, dictionary: bytes = b"") -> bytes:
    if not packed:
        return b""
    stream = zlib.decompressobj(-15, dictionary)
    try:
        plain = stream.decompress(packed, limit + 1)
    except zlib.error as error:
        raise ValueError(f"its compression is damaged: {error}") from error
    if len(plain) > limit:
        raise ValueError(f"it unpacks to more than {limit} bytes")
    if not stream.eof or stream.unused_data:
        raise ValueError("its compression is cut short or followed by other bytes")
    return plain


# What deflates texts does not shorten digests and signatures: they leave as what they stand for. A
# mark stands in their place, and only in texts that hold none of the marks themselves.

_DIGEST = re.compile(rb"[0-9a-f]{64}|[A-Za-z0-9+/]{91}=|[A-Za-z0-9+/]{43}=")
_MARKS = {64: b"\0", 92: b"\1", 44: b"\2"}
_BYTES_OF = {b"\0": 32, b"\1": 68, b"\2": 32}
_MARK = re.compile(rb"[\0\1\2]")


def _without_digests(text: bytes) -> tuple[bytes, bytes]:
    found: list[bytes] = []
    if _MARK.search(text):
        return text, b""

    def leave(match: re.Match[bytes]) -> bytes:
        own = match[0]
        mark = _MARKS[len(own)]
        data = bytes.fromhex(own.decode()) if mark == b"\0" else b64decode(own)
        if _digest_text(mark, data) != own:
            return own
        found.append(data)
        return mark

    return _DIGEST.sub(leave, text), b"".join(found)


def _with_digests(text: bytes, digests: bytes, limit: int) -> bytes:
    if not digests:
        return text
    marks = _MARK.findall(text)
    if sum(map(_BYTES_OF.__getitem__, marks)) != len(digests):
        raise ValueError("its digests are not those of its texts")
    if len(text) + 2 * len(digests) > limit:
        raise ValueError(f"it unpacks to more than {limit} bytes")
    at = 0

    def put(match: re.Match[bytes]) -> bytes:
        nonlocal at
        begin, at = at, at + _BYTES_OF[match[0]]
        return _digest_text(match[0], digests[begin:at])

    return _MARK.sub(put, text)


def _digest_text(mark: bytes, data: bytes) -> bytes:
    return data.hex().encode() if mark == b"\0" else b64encode(data)


# What texts may refer to as if it had been sent: how records and envelopes are written, with what
# is most frequent last. Changing a letter of it is another MAGIC.
_DICTIONARY = (
    b'{"checkpoint":"joulemark/","documents":{},"first_seq":"","leaves":[""],"v":1}'
    b'{"cause":"timeout","dev":"","epoch":1,"first_slot":"","last_slot":"","seq":"","slots":"1",'
    b'"type":"gap","v":1}'
    b'{"dev":"","documents":{"factors":"","profile":"","site":"","software":""},"energy":{"co2e_kg":'
    b'null,"covered_us":"","energy_wh":"","estimated_us":"0","missing_us":"0","point":"energy_wh"},'
    b'"epoch":1,"first_seq":"","first_slot":"","gap_slots":0,"last_seq":"","last_slot":"","previous"'
    b':{"root":"=","size":""},"records":,"sealed_us":"","seq":"","slots":,"time":{"unsynchronised":0'
    b'},"type":"batch","v":1,"values":}'
    b'{"boot":1,"dev":"","epoch":1,"q":{},"raw":[["input",0,""],["holding",0,""]],"seq":"","slot":"",'
    b'"t_mono_ns":"","t_utc_us":"","tq":{"err_us":"","sync":"ntp"},"v":1,"val":{"energy_wh":"",'
    b'"_pa":"","_k":"","_a":"","_v":"","_w":"","power_w":""}}'
)
