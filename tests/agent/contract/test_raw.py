"""Requests for raw records, and the file in which they are handed out."""

import gzip
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulemark_agent.contract.batch import Batch
from joulemark_agent.contract.canonical import canonical_bytes, parse_canonical
from joulemark_agent.contract.errors import ConfigError, EvidenceError
from joulemark_agent.contract.raw import (
    RawRequest,
    instant_us,
    parse_raw_file,
    parse_request,
    raw_file,
    signed_request,
)
from joulemark_agent.contract.signature import public_key

KEY = bytes(range(32))
REQUEST = RawRequest(
    "0123456789abcdef" * 2, "joulemark/site/meter/1", 5, 36, 0, 900, 1_700_000_000_000_000, "col"
)
BATCHES = [
    Batch(0, (b"a", b"b"), "note\n", {}),
    Batch(2, (b"c",), "note\n", {}),
]


def test_a_request_comes_back_if_the_key_signed_it():
    data = signed_request(REQUEST, KEY)
    assert parse_request(data, public_key(KEY)) == REQUEST
    assert REQUEST.place == ("site", "meter", 1)


@given(st.data())
def test_a_request_with_any_bit_flipped_is_none(data):
    whole = bytearray(signed_request(REQUEST, KEY))
    place = data.draw(st.integers(0, 8 * len(whole) - 1))
    whole[place // 8] ^= 1 << place % 8
    with pytest.raises(EvidenceError):
        parse_request(bytes(whole), public_key(KEY))


def test_a_request_of_another_collector_is_named_as_such():
    with pytest.raises(EvidenceError) as caught:
        parse_request(signed_request(REQUEST, bytes(32)), public_key(KEY))
    assert caught.value.code == "bad_signature"


@pytest.mark.parametrize(
    "change",
    [
        {"first_seq": 40}, {"id": "x"}, {"id": "0" * 31}, {"origin": "joulemark/site/meter/0"},
        {"origin": "joulemark/site/meter"}, {"from_us": -1}, {"by": 7},
    ],
)  # fmt: skip
def test_a_request_that_makes_no_sense_is_refused_though_it_is_signed(change):
    with pytest.raises(EvidenceError):
        parse_request(signed_request(replace(REQUEST, **change), KEY), public_key(KEY))


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"null", b" " * 5000, b'{"request":{}}'])
def test_what_is_no_request_is_refused(data):
    with pytest.raises(EvidenceError):
        parse_request(data, public_key(KEY))


def test_an_export_comes_back_and_a_person_can_read_it():
    data = raw_file(BATCHES)
    assert parse_raw_file(data) == BATCHES
    lines = gzip.decompress(data).decode().splitlines()
    assert lines[0] == '{"format":"joulemark-raw/1"}'
    assert [parse_canonical(line.encode())["first_seq"] for line in lines[1:]] == ["0", "2"]
    assert raw_file(BATCHES) == data


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"plain",
        raw_file(BATCHES)[:-9],
        raw_file(BATCHES) + b"more",
        gzip.compress(b"{}\n"),
        gzip.compress(b'{"format":"joulemark-raw/2"}\n'),
        gzip.compress(b'{"format":"joulemark-raw/1"}'),
        gzip.compress(b'{"format":"joulemark-raw/1"}\n{"first_seq":"0"}\n'),
        gzip.compress(b'{"format":"joulemark-raw/1"}\n' + canonical_bytes([]) + b"\n"),
    ],
    ids=[f"file{number}" for number in range(9)],
)
def test_what_is_no_export_is_refused(data):
    with pytest.raises(EvidenceError):
        parse_raw_file(data)


def test_an_instant_has_an_offset():
    assert instant_us("1970-01-01T09:00:01+09:00") == 1_000_000
    for text in ("2026-11-23T09:00:00", "noon", "", "0001-01-01T00:00:00+00:00", "1969-12-31Z"):
        with pytest.raises(ConfigError):
            instant_us(text)
