"""An OPC UA DataValue in its binary encoding: a number, and what the server says of it.

A reading keeps each DataValue in these bytes, so that a stranger decodes it again without an OPC UA
library. Anything but one scalar number of the declared type is refused by its code.
Source: OPC UA specification part 6 (1.05), sections 5.2.2.16 (Variant) and 5.2.2.17 (DataValue);
part 4, section 7.39 (StatusCode: the two highest bits are the severity).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

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
_FORMS = {number: (name, struct.Struct(form)) for name, (number, form) in NUMBERS.items()}
_VALUE, _STATUS, _SOURCE_TIME, _SERVER_TIME, _SOURCE_PICO, _SERVER_PICO = 1, 2, 4, 8, 16, 32
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


def parse(data: bytes) -> DataValue | None:
    """The DataValue; None: the bytes are no whole DataValue, or its value is no number."""
    try:
        return _parse(data)
    except (struct.error, IndexError):
        return None


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


def _parse(data: bytes) -> DataValue | None:
    mask, at = data[0], 1
    name, raw, status = None, b"", 0
    source_us: int | None = None
    server_us: int | None = None
    if mask & _VALUE and data[at] == _NULL:
        at += 1
    elif mask & _VALUE:
        form = _FORMS.get(data[at])  # an array has bit 7 set and is in no table
        if form is None:
            return None
        name, layout = form
        raw, at = data[at + 1 : at + 1 + layout.size][::-1], at + 1 + layout.size
        if len(raw) != layout.size:
            return None
    if mask & _STATUS:
        (status,) = struct.unpack_from("<I", data, at)
        at += 4
    if mask & _SOURCE_TIME:
        source_us, at = _time_us(data, at), at + 8
    at += 2 * bool(mask & _SOURCE_PICO)
    if mask & _SERVER_TIME:
        server_us, at = _time_us(data, at), at + 8
    at += 2 * bool(mask & _SERVER_PICO)
    is_whole = at == len(data) and not mask >> 6
    return DataValue(name, raw, status, source_us, server_us) if is_whole else None


def _time_us(data: bytes, at: int) -> int:
    (ticks,) = struct.unpack_from("<q", data, at)
    return int(ticks - _EPOCH_TICKS) // _TICKS_PER_US
