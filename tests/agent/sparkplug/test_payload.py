"""Payloads are protobuf of the published schema: another implementation reads and writes them."""

from __future__ import annotations

from contextlib import suppress

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from hypothesis import given
from hypothesis import strategies as st

from joulemark_agent.contract.errors import EvidenceError
from joulemark_agent.sparkplug.payload import (
    BOOLEAN,
    DOUBLE,
    INT32,
    INT64,
    STRING,
    Metric,
    Payload,
    Property,
    parse_payload,
    payload_bytes,
)

_I64 = st.integers(-(2**63), 2**63 - 1)
_U64 = st.integers(0, 2**64 - 1)
_TYPED = st.one_of(
    st.tuples(st.just(INT64), _I64),
    st.tuples(st.just(INT32), st.integers(-(2**31), 2**31 - 1)),
    st.tuples(st.just(DOUBLE), st.floats(allow_nan=False)),
    st.tuples(st.just(BOOLEAN), st.booleans()),
    st.tuples(st.just(STRING), st.text(max_size=20)),
)
_PROPERTIES = st.lists(
    st.tuples(st.text(max_size=8), _TYPED).map(lambda p: Property(p[0], *p[1])), max_size=3
)
_METRICS = st.builds(
    lambda name, alias, time, typed, has_value, is_old, properties: Metric(
        name, alias, time, typed[0], typed[1] if has_value else None, is_old, tuple(properties)
    ),
    st.none() | st.text(max_size=12),
    st.none() | _U64,
    st.none() | _U64,
    _TYPED,
    st.booleans(),
    st.booleans(),
    _PROPERTIES,
)
_PAYLOADS = st.builds(
    lambda time, metrics, seq: Payload(time, tuple(metrics), seq),
    st.none() | _U64,
    st.lists(_METRICS, max_size=5),
    st.none() | st.integers(0, 255),
)


@given(_PAYLOADS)
def test_what_is_written_is_read(payload):
    assert parse_payload(payload_bytes(payload)) == payload


@given(_PAYLOADS)
def test_the_reference_implementation_reads_the_same(payload):
    message = _schema()
    read = message.FromString(payload_bytes(payload))
    assert [m.name if m.HasField("name") else None for m in read.metrics] == [
        m.name for m in payload.metrics
    ]
    for theirs, ours in zip(read.metrics, payload.metrics, strict=True):
        assert theirs.is_historical == ours.is_historical
        assert theirs.is_null == (ours.value is None)
        assert (theirs.alias if theirs.HasField("alias") else None) == ours.alias
        assert _value(theirs, ours.datatype) == ours.value
        assert len(theirs.properties.values) == len(theirs.properties.keys)
    assert (read.seq if read.HasField("seq") else None) == payload.seq
    assert parse_payload(read.SerializeToString()) == payload


@given(st.binary(max_size=200))
def test_anything_else_is_refused_or_read_but_never_breaks(data):
    with suppress(EvidenceError):
        assert isinstance(parse_payload(data), Payload)


@pytest.mark.parametrize("data", [b"\x12\xff\xff\xff\xff\x0f", b"\x0a\x01", b"\x80" * 11, b"\x0b"])
def test_what_does_not_fit_is_refused(data):
    with pytest.raises(EvidenceError, match="no Sparkplug B payload"):
        parse_payload(data)


def _value(metric, datatype):
    if metric.is_null:
        return None
    if datatype == INT64:
        return metric.long_value - (1 << 64) if metric.long_value >> 63 else metric.long_value
    if datatype == INT32:
        return metric.int_value - (1 << 32) if metric.int_value >> 31 else metric.int_value
    return {
        DOUBLE: metric.double_value,
        BOOLEAN: metric.boolean_value,
        STRING: metric.string_value,
    }[datatype]


def _schema():
    """The messages of sparkplug_b.proto, as far as we write them, made by the protobuf package."""
    pool = descriptor_pool.Default()
    try:
        found = pool.FindMessageTypeByName("sparkplug.Payload")
    except KeyError:
        pool.AddSerializedFile(_file().SerializeToString())
        found = pool.FindMessageTypeByName("sparkplug.Payload")
    return message_factory.GetMessageClass(found)


_KINDS = {"u32": 13, "u64": 4, "bool": 8, "double": 1, "float": 2, "text": 9}
_SCHEMA = {
    "Payload": [("timestamp", 1, "u64"), ("metrics", 2, "[Metric]"), ("seq", 3, "u64")],
    "Metric": [
        ("name", 1, "text"), ("alias", 2, "u64"), ("timestamp", 3, "u64"), ("datatype", 4, "u32"),
        ("is_historical", 5, "bool"), ("is_null", 7, "bool"), ("properties", 9, "PropertySet"),
        ("int_value", 10, "u32"), ("long_value", 11, "u64"), ("float_value", 12, "float"),
        ("double_value", 13, "double"), ("boolean_value", 14, "bool"), ("string_value", 15, "text"),
    ],
    "PropertySet": [("keys", 1, "[text]"), ("values", 2, "[PropertyValue]")],
    "PropertyValue": [
        ("type", 1, "u32"), ("is_null", 2, "bool"), ("int_value", 3, "u32"),
        ("long_value", 4, "u64"), ("float_value", 5, "float"), ("double_value", 6, "double"),
        ("boolean_value", 7, "bool"), ("string_value", 8, "text"),
    ],
}  # fmt: skip


def _file():
    file = descriptor_pb2.FileDescriptorProto(
        name="sparkplug.proto", package="sparkplug", syntax="proto2"
    )
    for name, fields in _SCHEMA.items():
        message = file.message_type.add(name=name)
        for field, number, kind in fields:
            inner = kind.strip("[]")
            one = message.field.add(
                name=field, number=number, label=3 if kind.startswith("[") else 1
            )
            if inner in _KINDS:
                one.type = _KINDS[inner]
            else:
                one.type, one.type_name = 11, f".sparkplug.{inner}"
    return file
