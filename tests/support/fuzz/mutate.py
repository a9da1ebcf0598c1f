"""How true inputs become hostile ones; everything comes from the generator that is given."""

from __future__ import annotations

import copy
import gzip
import json
import random
import re
import struct
import zlib
from collections.abc import Callable, Sequence
from typing import Any

Mutator = Callable[[random.Random, bytes, Sequence[bytes]], bytes]

MOST_BYTES = 200_000
_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_FORMS = (">B", ">H", "<H", ">I", "<I", ">Q", "<Q")
_NASTY: tuple[Any, ...] = (
    None, True, False, 0, -1, 2**31, 2**53 - 1, "", "0", "-1", "00", "x", "9" * 19, "9" * 20,
    "9" * 400, "18446744073709551615", "9223372036854775808", "1e9", "1e999999999", "NaN", "0x1",
    "é", "\u202e", "\x7f", "\x1b[2J", "\n", "a\r\nb", "../../x", "#", "+", "'; DROP TABLE x; --",
    [], {}, [[]], [None] * 50, {"": ""}, {"a": 1}, {"__proto__": 1}, [[[[[[]]]]]], "A" * 5000,
    "2018-13-01", "🏭" * 40, "\u0660\u0661", "=1+1", "<script>", "%s%n", "{0.__class__}",
)  # fmt: skip
_LINES = (
    "a: &a [x, *a]", "<<: *x", "? [a]\n: b", "!!python/object/apply:os.system [x]", "- - - - -",
    "key: !!binary zz", "\tx: 1", "...", "---", "%YAML 9.9", "a: |\n  x", '"\\UFFFFFFFF": 1',
    '"\\uD800": 1', "'", '"', "[", "{", "a: [", "a: 1e999999999", "a: 0x" + "f" * 90, "a: .nan",
)  # fmt: skip
_WORD = re.compile(r"[^\s:,\[\]{}]+")


def octets(rng: random.Random, data: bytes, corpus: Sequence[bytes]) -> bytes:
    """Some bytes flipped, set, taken out, doubled or put in."""
    made = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        made = _changed(rng, made, corpus)
    return bytes(made[:MOST_BYTES])


def _changed(rng: random.Random, data: bytearray, corpus: Sequence[bytes]) -> bytearray:
    at, how = rng.randrange(len(data) + 1), rng.randrange(9)
    size = rng.choice((1, 2, 4, 8, 30))
    if how == 0 and at < len(data):
        data[at] ^= 1 << rng.randrange(8)
    elif how == 1 and at < len(data):
        data[at] = rng.randrange(256)
    elif how == 2:
        form = rng.choice(_FORMS)
        width = struct.calcsize(form)
        data[at : at + width] = struct.pack(form, rng.choice(_NUMBERS) & (1 << 8 * width) - 1)
    elif how == 3:
        del data[at : at + size]
    elif how == 4:
        data[at:at] = data[at : at + size] * rng.choice((1, 2, 50))
    elif how == 5:
        data[at:at] = rng.randbytes(size)
    elif how == 6:
        del data[at:]
    elif how == 7:
        other = rng.choice(corpus)
        data[at:] = other[rng.randrange(len(other) + 1) :]
    else:
        data += rng.randbytes(size)
    return data


def json_text(rng: random.Random, data: bytes, corpus: Sequence[bytes]) -> bytes:
    """A place in JSON replaced, taken out, doubled or named anew; now and then only its bytes."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return octets(rng, data, corpus)
    if rng.random() < 0.15:
        return octets(rng, data, corpus)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        value = replaced(rng, value)
    separators = (",", ":") if rng.random() < 0.95 else (", ", ": ")
    return json.dumps(value, sort_keys=True, separators=separators, ensure_ascii=False).encode(
        errors="surrogatepass"
    )


def replaced(rng: random.Random, value: Any) -> Any:
    """The value with something at one of its places."""
    if not isinstance(value, dict | list) or not value or rng.random() < 0.05:
        return _other(rng, value)
    keys = list(value) if isinstance(value, dict) else range(len(value))
    key, how = rng.choice(keys), rng.random()
    if how < 0.08:
        del value[key]
    elif how < 0.12 and isinstance(value, dict):
        value[rng.choice(("", "zz", "é", "type", "v", key + "x"))] = nasty(rng)
    elif how < 0.16 and isinstance(value, list):
        value.insert(rng.randrange(len(value) + 1), value[key])
    else:
        value[key] = replaced(rng, value[key])
    return value


def _other(rng: random.Random, value: Any) -> Any:
    if isinstance(value, str) and value and rng.random() < 0.4:
        at = rng.randrange(len(value))
        return value[:at] + rng.choice(("", "0", "x", "=", "\n", "é", value)) + value[at + 1 :]
    if isinstance(value, int) and rng.random() < 0.4:
        return value + rng.choice((-1, 1, 2**31))
    return nasty(rng)


def nasty(rng: random.Random) -> Any:
    """A value that is seldom what is due."""
    return copy.deepcopy(rng.choice(_NASTY))  # it may be changed in turn


def deflated(inside: Mutator) -> Mutator:
    """What is changed is what the bytes unpack to; now and then the bytes themselves."""

    def changed(rng: random.Random, data: bytes, corpus: Sequence[bytes]) -> bytes:
        if rng.random() < 0.1:
            return octets(rng, data, corpus)
        return zlib.compress(inside(rng, zlib.decompress(data), [b"{}"]), 1)

    return changed


def gzipped(inside: Mutator) -> Mutator:
    """The same with gzip."""

    def changed(rng: random.Random, data: bytes, corpus: Sequence[bytes]) -> bytes:
        if rng.random() < 0.1:
            return octets(rng, data, corpus)
        plain = gzip.decompress(data)
        return gzip.compress(inside(rng, plain, [plain]), 1, mtime=0)

    return changed


def words(rng: random.Random, data: bytes, corpus: Sequence[bytes]) -> bytes:
    """Lines and words of a text that people write, exchanged; now and then only its bytes."""
    how = rng.random()
    if how < 0.2:
        return octets(rng, data, corpus)
    lines = data.decode(errors="replace").split("\n")
    at = rng.randrange(len(lines))
    if how < 0.35:
        lines.insert(at, rng.choice(_LINES))
    elif how < 0.45:
        del lines[at]
    elif how < 0.55:
        lines.insert(at, lines[rng.randrange(len(lines))])
    else:
        found = list(_WORD.finditer(lines[at]))
        if found:
            start, end = rng.choice(found).span()
            lines[at] = lines[at][:start] + _written(rng) + lines[at][end:]
    return "\n".join(lines).encode(errors="surrogatepass")


def _written(rng: random.Random) -> str:
    value = nasty(rng)
    return value if isinstance(value, str) and rng.random() < 0.5 else json.dumps(value)
