"""Sparkplug B payloads in protobuf's wire format: written, and read as far as commands need. Pure.

Source: Sparkplug specification 3.0.0, section 6.4 and sparkplug_b.proto; protobuf encoding guide.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from joulemark_agent.contract.errors import EvidenceError

INT32, INT64, DOUBLE, BOOLEAN, STRING = 3, 4, 10, 11, 12  # data types of the specification
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types of protobuf
_MAX_BYTES, _MAX_METRICS = 256 * 1024, 10_000
_U64 = (1 << 64) - 1

Value = bool | int | float | str


@dataclass(frozen=True)
class Property:
    """A key with a value beside a metric."""

    key: str
    datatype: int
    value: Value


@dataclass(frozen=True)
class Metric:
    """One value of a node or device; a birth names it, data call it by its alias."""

    name: str | None = None
    alias: int | None = None
    timestamp_ms: int | None = None
    datatype: int | None = None
    value: Value | None = None  # None: it has none, and the metric says so
    is_historical: bool = False
    properties: tuple[Property, ...] = ()


@dataclass(frozen=True)
class Payload:
    """What one message says; a death of a node has no sequence number."""

    timestamp_ms: int | None
    metrics: tuple[Metric, ...] = ()
    seq: int | None = None


def payload_bytes(payload: Payload) -> bytes:
    """The message in protobuf."""
    parts = []
    if payload.timestamp_ms is not None:
        parts.append(_integer(1, payload.timestamp_ms))
    parts += [_nested(2, _metric(metric)) for metric in payload.metrics]
    if payload.seq is not None:
        parts.append(_integer(3, payload.seq))
    return b"".join(parts)


def parse_payload(data: bytes) -> Payload:
    """The message in these bytes; values of types that no point of ours has are left out.

    Raises:
        EvidenceError: `bad_sparkplug`: too long, or no protobuf of this form.
    """
    if len(data) > _MAX_BYTES:
        raise _bad(f"it has {len(data)} bytes; {_MAX_BYTES} are the most")
    timestamp_ms, seq = None, None
    metrics: list[Metric] = []
    for number, value in _fields(data):
        if number == 1:
            timestamp_ms = _as_integer(value)
        elif number == 2:
            metrics.append(_parse_metric(_as_bytes(value)))
            if len(metrics) > _MAX_METRICS:
                raise _bad(f"it has more than {_MAX_METRICS} metrics")
        elif number == 3:
            seq = _as_integer(value)
    return Payload(timestamp_ms, tuple(metrics), seq)


def _metric(metric: Metric) -> bytes:
    parts = []
    if metric.name is not None:
        parts.append(_nested(1, metric.name.encode()))
    numbers = ((2, metric.alias), (3, metric.timestamp_ms), (4, metric.datatype))
    parts += [_integer(number, value) for number, value in numbers if value is not None]
    if metric.is_historical:
        parts.append(_integer(5, 1))
    if metric.value is None:
        parts.append(_integer(7, 1))
    if metric.properties:
        parts.append(_nested(9, _property_set(metric.properties)))
    if metric.value is not None:
        parts.append(_value(metric.value, metric.datatype, 10))
    return b"".join(parts)


def _property_set(properties: Sequence[Property]) -> bytes:
    keys = b"".join(_nested(1, one.key.encode()) for one in properties)
    values = (_integer(1, one.datatype) + _value(one.value, one.datatype, 3) for one in properties)
    return keys + b"".join(_nested(2, value) for value in values)


def _value(value: Value, datatype: int | None, first: int) -> bytes:
    """The value as one of the fields from `first` on: int, long, float, double, boolean, text."""
    if isinstance(value, bool):
        return _integer(first + 4, int(value))
    if isinstance(value, str):
        return _nested(first + 5, value.encode())
    if isinstance(value, float):
        return _tag(first + 3, _FIXED64) + struct.pack("<d", value)
    if datatype == INT32:
        return _integer(first, value & 0xFFFF_FFFF)
    return _integer(first + 1, value & _U64)


def _integer(number: int, value: int) -> bytes:
    return _tag(number, _VARINT) + _varint(value)


def _nested(number: int, data: bytes) -> bytes:
    return _tag(number, _BYTES) + _varint(len(data)) + data


def _tag(number: int, wire_type: int) -> bytes:
    return _varint(number << 3 | wire_type)


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)


def _parse_metric(data: bytes) -> Metric:
    found: dict[int, int | bytes] = dict(_fields(data))
    datatype = _optional(found, 4)
    return Metric(
        name=_as_bytes(found[1]).decode("utf-8", "replace") if 1 in found else None,
        alias=_optional(found, 2),
        timestamp_ms=_optional(found, 3),
        datatype=datatype,
        value=_parse_value(found, datatype, 10),
        is_historical=bool(found.get(5)),
        properties=_parse_properties(_as_bytes(found[9])) if 9 in found else (),
    )


def _parse_properties(data: bytes) -> tuple[Property, ...]:
    keys, values = [], []
    for number, value in _fields(data):
        if number == 1:
            keys.append(_as_bytes(value).decode("utf-8", "replace"))
        elif number == 2:
            values.append(dict(_fields(_as_bytes(value))))
    if len(keys) != len(values):
        raise _bad("a set of properties has not as many values as keys")
    found = []
    for key, fields in zip(keys, values, strict=True):
        datatype = _optional(fields, 1)
        told = _parse_value(fields, datatype, 3)
        if datatype is not None and told is not None:
            found.append(Property(key, datatype, told))
    return tuple(found)


def _parse_value(found: dict[int, int | bytes], datatype: int | None, first: int) -> Value | None:
    if first in found:
        whole = _as_integer(found[first])
        return whole - (1 << 32) if datatype == INT32 and whole >> 31 else whole
    if first + 1 in found:
        whole = _as_integer(found[first + 1])
        return whole - (1 << 64) if datatype == INT64 and whole >> 63 else whole
    if first + 3 in found:
        data = _as_bytes(found[first + 3])
        if len(data) != 8:
            raise _bad("a double has another length than 8 bytes")
        return float(struct.unpack("<d", data)[0])
    if first + 4 in found:
        return bool(_as_integer(found[first + 4]))
    if first + 5 in found:
        return _as_bytes(found[first + 5]).decode("utf-8", "replace")
    return None


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Number and content of every field; numbers of 32 and 64 bits come as their bytes."""
    at = 0
    while at < len(data):
        tag, at = _read_varint(data, at)
        number, wire_type = tag >> 3, tag & 7
        if wire_type == _VARINT:
            value, at = _read_varint(data, at)
            yield number, value
            continue
        if wire_type == _BYTES:
            size, at = _read_varint(data, at)
        elif wire_type in {_FIXED64, _FIXED32}:
            size = 8 if wire_type == _FIXED64 else 4
        else:
            raise _bad(f"a field has wire type {wire_type}")
        if number == 0 or at + size > len(data):
            raise _bad("a field does not fit into the message")
        yield number, data[at : at + size]
        at += size


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise _bad("it ends inside a number")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & _U64, at
    raise _bad("a number has more than 64 bits")


def _optional(found: dict[int, int | bytes], number: int) -> int | None:
    return _as_integer(found[number]) if number in found else None


def _as_integer(value: int | bytes) -> int:
    if isinstance(value, bytes):
        raise _bad("bytes stand where a number belongs")
    return value


def _as_bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise _bad("a number stands where bytes belong")
    return value


def _bad(why: str) -> EvidenceError:
    return EvidenceError(
        f"This is no Sparkplug B payload: {why}.",
        "It was not acted upon. Look for who published it.",
        code="bad_sparkplug",
    )
