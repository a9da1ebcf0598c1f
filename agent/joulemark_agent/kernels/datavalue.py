"""An OPC UA DataValue in its binary encoding: a number, and what the server says of it.

A reading keeps each DataValue in these bytes, so that a stranger decodes it again without an OPC UA
library. Anything but one scalar number of the declared type is refused by its code.
Source: OPC UA specification part 6 (1.05), sections 5.2.2.16 (Variant) and 5.2.2.17 (DataValue);
part 4, section 7.39 (StatusCode: the two highest bits are the severity).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

UNCERTAIN, BAD_STATUS, TYPE, STALE = "uncertain", "bad_status", "type", "stale"

# Built-in type numbers: part 6, table 1.
NUMBERS: dict[str, tuple[int, str]] = {
    "bool": (1, "<B"),
    "int8": (2, "<b"),
    "uint8": (3, "<B"),
    "int16": (4, "<h"),
    "uint16": (5, "<H"),
    "int32": (6, "<i"),
    "uint32": (7, "<I"),
    "int64": (8, "<q"),
    "uint64": (9, "<Q"),
    "float32": (10, "<f"),
    "float64": (11, "<d"),
}
_VALUE, _STATUS, _SOURCE_TIME, _SERVER_TIME, _SOURCE_PICO, _SERVER_PICO = 1, 2, 4, 8, 16, 32
# After the value: the bits of the mask and how many bytes each stands for, in order.
FIELDS = ((_STATUS, 4), (_SOURCE_TIME, 8), (_SOURCE_PICO, 2), (_SERVER_TIME, 8), (_SERVER_PICO, 2))
_NULL = 0  # the type of a Variant that holds nothing
_SEVERITY = 30  # bits below it
_TICKS_PER_US = 10
_EPOCH_TICKS = 116_444_736_000_000_000  # 1601-01-01 to 1970-01-01 in 100 ns


@dataclass(frozen=True)
class DataValue:
    """One scalar DataValue; `raw` is the value in big-endian order, as registers have it."""

    type: str | None  # a key of NUMBERS; None: there is no value
    raw: bytes
    status: int = 0
    source_time_us: int | None = None  # when the value was measured, UTC
    server_time_us: int | None = None  # when the server had it, by its own clock, UTC


class Shape(NamedTuple):
    """Where everything stands in a DataValue of one number or none; 0: that is not in it."""

    type: str | None  # a key of NUMBERS
    size: int  # of all of it
    value_end: int  # where its Variant ends; 1: it has none
    status_at: int
    source_time_at: int
    server_time_at: int


def _shapes() -> dict[bytes, Shape]:
    """Every shape there is, by the bytes that tell it: the mask, and the type where it has one."""
    sizes = {number: (name, struct.calcsize(form)) for name, (number, form) in NUMBERS.items()}
    found = {}
    for mask in range(_SERVER_PICO << 1):
        values = {_NULL: (None, 0), **sizes} if mask & _VALUE else {None: (None, -1)}
        for number, (name, size) in values.items():
            lengths = [length if mask & bit else 0 for bit, length in FIELDS]
            *places, end = accumulate(lengths, initial=2 + size)
            at = [
                place if mask & bit else 0 for place, (bit, _) in zip(places, FIELDS, strict=True)
            ]
            key = bytes([mask] if number is None else [mask, number])
            found[key] = Shape(name, end, places[0], at[0], at[1], at[3])
    return found


_SHAPES = _shapes()


def shape_at(data: bytes, at: int) -> Shape | None:
    """The shape of the DataValue that begins there; None: its value is no number."""
    return _SHAPES.get(data[at : at + 2]) or _SHAPES.get(data[at : at + 1])


def shape_of(data: bytes) -> Shape | None:
    """The shape of a DataValue; None: the bytes are no whole one, or its value is no number."""
    shape = shape_at(data, 0)
    return None if shape is None or shape.size != len(data) else shape


def parse(data: bytes) -> DataValue | None:
    """The DataValue; None: the bytes are no whole DataValue, or its value is no number."""
    shape = shape_of(data)
    if shape is None:
        return None
    raw = b"" if shape.type is None else data[shape.value_end - 1 : 1 : -1]
    source_us, server_us = (
        _time_us(data, at) if at else None for at in (shape.source_time_at, shape.server_time_at)
    )
    return DataValue(shape.type, raw, _status(data, shape), source_us, server_us)


def status_of(data: bytes) -> int:
    """The StatusCode of a DataValue; good where it has none."""
    if data and not data[0] & _STATUS:  # as most, and then nothing else of it matters
        return 0
    shape = shape_of(data)
    return 0 if shape is None else _status(data, shape)


def number_of(data: bytes, wanted: str) -> tuple[int | bytes | None, str | None]:
    """The number and its quality code.

    Args:
        data: the DataValue.
        wanted: the declared type, a key of `NUMBERS`.

    Returns:
        an integer, or the big-endian bytes of a float; None where there is none. Then the code:
        None good, `uncertain`, `bad_status`, or `type` where the server holds something else.
    """
    found = parse(data)
    if found is None:
        return None, TYPE
    if is_bad(found.status):
        return None, BAD_STATUS
    if found.type != wanted:
        return None, TYPE
    code = UNCERTAIN if found.status >> _SEVERITY else None
    if wanted.startswith("float"):
        return found.raw, code
    number = int.from_bytes(found.raw, "big", signed=wanted.startswith("int"))
    return (int(number != 0) if wanted == "bool" else number), code


def is_older(data: bytes, age_us: int) -> bool:
    """Whether the value is older than that, or its age cannot be told, by the server's own words.

    Source and server time come in one answer, so neither the agent's clock nor the way counts. A
    source in the future by as much has no age that can be told.
    """
    found = parse(data)
    if found is None or found.source_time_us is None or found.server_time_us is None:
        return True
    return abs(found.server_time_us - found.source_time_us) > age_us


def is_bad(status: int) -> bool:
    """Whether a StatusCode is bad, or of a severity that is not defined."""
    return status >> _SEVERITY >= 2


def encode(value: DataValue) -> bytes:
    """The binary encoding of a DataValue."""
    mask = (_VALUE if value.type else 0) | (_STATUS if value.status else 0)
    times = (_SOURCE_TIME, value.source_time_us), (_SERVER_TIME, value.server_time_us)
    mask |= sum(bit for bit, time_us in times if time_us is not None)
    parts = [bytes([mask])]
    if value.type:
        parts += [bytes([NUMBERS[value.type][0]]), value.raw[::-1]]
    if value.status:
        parts.append(struct.pack("<I", value.status))
    for _, time_us in times:
        if time_us is not None:
            parts.append(struct.pack("<q", time_us * _TICKS_PER_US + _EPOCH_TICKS))
    return b"".join(parts)


def _status(data: bytes, shape: Shape) -> int:
    at = shape.status_at
    return int.from_bytes(data[at : at + 4], "little") if at else 0


def _time_us(data: bytes, at: int) -> int:
    (ticks,) = struct.unpack_from("<q", data, at)
    return int(ticks - _EPOCH_TICKS) // _TICKS_PER_US
