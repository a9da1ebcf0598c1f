"""Decoding by the block is decoding one by one: the same float64, the same code."""

import os
import random
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import joulemark_profiles
from joulemark_agent.contract.profile import Profile
from joulemark_agent.contract.reading import Response
from joulemark_agent.documents import load_profile
from joulemark_agent.kernels.decode import decode_responses, place_of
from joulemark_agent.kernels.decode_block import block_plan, decode_block
from joulemark_agent.plan import plan_requests

SHIPPED = {name: load_profile(name)[0] for name in joulemark_profiles.names("devices")}
WORDS = [name for name, profile in SHIPPED.items() if profile.protocol in {"modbus", "sunspec"}]
ALIKE = (b"\0", b"\xff", b"\x80", b"\x7f")
ROWS = int(os.environ.get("JOULEMARK_ROUND_TRIPS", "0")) // 20 or 40


def profile_of(**point):
    name = "value_v" if point.get("type") != "string" else "value_text"
    fields = {"name": name, "table": "holding", "address": 0, **point}
    return Profile.model_validate(
        {
            "model": "one_point",
            "kind": "power_meter",
            "protocol": "modbus",
            "source": "made for the test",
            "confidence": "bench",
            "points": [fields],
            "golden": [{"point": name, "words": [0] * words_of(fields), "value": None}],
        }
    )


def words_of(fields):
    sizes = {"16": 1, "32": 2, "64": 4}
    return fields.get("length") or sizes.get(fields["type"][-2:], 1)


def one_by_one(profile, layout, rows):
    """Values and codes as `decode_responses` gives them."""
    values = np.full((len(rows), len(profile.points)), np.nan)
    codes = []
    for i, row in enumerate(rows):
        responses, at = [], 0
        for table, address, size in layout:
            responses.append(Response(table, address, row[at : at + size]))
            at += size
        texts, quality = decode_responses(profile, responses)
        for k, point in enumerate(profile.points):
            if point.name in texts:
                values[i, k] = float(texts[point.name])
        codes.append([quality.get(point.name) for point in profile.points])
    return values, codes


def assert_same(profile, layout, rows):
    plan = block_plan(profile, layout)
    data = np.frombuffer(b"".join(rows), np.uint8).reshape(len(rows), -1)
    values, quality, names = decode_block(plan, data)
    expected, codes = one_by_one(profile, layout, rows)

    assert [[names[code] for code in row] for row in quality] == codes
    assert values.tobytes() == expected.tobytes()


def some_words(profile, layout, draw):
    """Bytes of one reading: at random or all alike, and of some points those of golden rows."""
    size = sum(row[2] for row in layout)
    data = bytearray(draw.randbytes(size) if draw.random() < 0.5 else draw.choice(ALIKE) * size)
    at = 0
    for table, address, length in layout:
        if table == "sunspec" and draw.random() < 0.9:
            data[at : at + 4] = struct.pack(">HH", address, draw.choice([length // 2 - 2, 0xFFFF]))
        at += length
    for row in draw.sample(profile.golden, k=len(profile.golden) * 2 // 3):
        point = profile.point(row.point)
        place = place_of(point, layout)
        if place is not None:
            index, start, end, factor = place
            before = sum(part[2] for part in layout[:index])
            data[before + start : before + end] = row.raw[: end - start]
            if factor is not None:
                data[before + factor : before + factor + 2] = row.raw[end - start :]
    return bytes(data)


@pytest.mark.parametrize("name", WORDS)
def test_every_shipped_profile_is_decoded_alike(name):
    profile, draw = SHIPPED[name], random.Random(7)
    layout = tuple((r.table, r.address, 2 * r.count) for r in plan_requests(profile))
    assert_same(profile, layout, [some_words(profile, layout, draw) for _ in range(ROWS)])


def test_points_that_were_not_read_are_missing():
    profile = SHIPPED[WORDS[0]]
    assert_same(profile, (("holding", 65_000, 2),), [b"\0\1"])


FLOATS = st.one_of(
    st.floats(width=32),
    st.integers(0, 2**32 - 1).map(lambda bits: struct.unpack(">f", bits.to_bytes(4, "big"))[0]),
    st.integers(-(10**7), 10**7).map(lambda n: np.float32(n / 1000).item()),
)


@given(
    values=st.lists(FLOATS, min_size=1, max_size=20),
    scale=st.sampled_from(["1", "1000", "0.1", "-1", "3600000", "0.277777", "1e9"]),
    offset=st.sampled_from(["0", "273.15", "-1", "0.0001"]),
)
def test_a_float32_is_the_nearest_decimal_of_its_text(values, scale, offset):
    profile = profile_of(type="float32", scale=scale, offset=offset)
    assert_same(profile, (("holding", 0, 4),), [struct.pack(">f", value) for value in values])


@given(
    kind=st.sampled_from(["uint16", "int16", "uint32", "int32", "uint64", "int64", "bcd16",
                          "bcd32", "float16", "float64"]),
    order=st.sampled_from(["ABCD", "CDAB", "BADC", "DCBA"]),
    scale=st.sampled_from(["1", "0.001", "-10", "123456.789", "1e-20", "1e-30", "1e30"]),
    offset=st.sampled_from(["0", "273.15"]),
    low=st.sampled_from([None, "0", "-5.5", "1000000000000000.5"]),
    data=st.data(),
)  # fmt: skip
def test_every_type_and_order_is_decoded_alike(kind, order, scale, offset, low, data):  # noqa: PLR0917
    size = int(kind[-2:]) // 8
    raws = data.draw(
        st.lists(
            st.one_of(st.binary(min_size=size, max_size=size), st.just(b"\0" * size),
                      st.just(b"\xff" * size), st.just(b"\x80" + b"\0" * (size - 1))),
            min_size=1, max_size=12,
        )
    )  # fmt: skip
    limits = {} if low is None else {"minimum": low}
    sentinels = data.draw(st.sampled_from([[], [0], [(1 << 8 * size) - 1, 1 << (8 * size - 1)]]))
    profile = profile_of(
        type=kind, byte_order=order, scale=scale, offset=offset, sentinels=sentinels, **limits
    )
    assert_same(profile, (("holding", 0, size),), raws)


@given(
    counter=st.booleans(),
    words=st.lists(st.tuples(st.integers(0, 0xFFFF), st.integers(-12, 12)), min_size=1, max_size=9),
    order=st.sampled_from(["ABCD", "BADC"]),
)
def test_a_scale_register_counts_as_it_does_one_by_one(counter, words, order):
    fields = {
        "name": "energy_wh", "table": "holding", "address": 0, "type": "uint16", "scale": "100",
        "counter": counter, "byte_order": order, "scale_register": {"address": 1},
    }  # fmt: skip
    base = profile_of(type="uint16").model_dump(mode="json", exclude_unset=True)
    base |= {
        "points": [fields],
        "golden": [{"point": "energy_wh", "words": [1, 0], "value": "100"}],
    }
    code = ">Hh" if order == "ABCD" else "<Hh"
    rows = [struct.pack(code, raw, exponent) for raw, exponent in (*words, (7, -32768))]
    assert_same(Profile.model_validate(base), (("holding", 0, 4),), rows)


SUNSPEC_TYPES = ("int16", "uint16", "acc16", "enum16", "bitfield16", "int32", "uint32", "acc32",
                 "enum32", "bitfield32", "float32", "int64", "uint64", "acc64", "bitfield64",
                 "float64", "string")  # fmt: skip


@given(kind=st.sampled_from(SUNSPEC_TYPES), counter=st.booleans(), data=st.data())
def test_a_model_is_decoded_alike(kind, counter, data):
    """Right and wrong heads, every type, with and without its scale factor."""
    size = 8 if kind == "string" else int(kind[-2:]) // 8
    name = "value_text" if kind == "string" else "value_wh"
    is_counted = counter and (kind.startswith(("uint", "acc", "float")))
    point = {"name": name, "model": 103, "offset": 2, "type": kind}
    point |= {"length": 4} if kind == "string" else {"counter": is_counted}
    point |= {"minimum": "0"} if is_counted and kind.startswith("float") else {}
    factor = kind != "string" and data.draw(st.booleans())
    point |= {"scale_offset": 2 + size // 2} if factor else {}
    words = [0] * (size // 2 + factor)
    profile = Profile.model_validate(
        profile_of(type="uint16").model_dump(mode="json", exclude_unset=True)
        | {"protocol": "sunspec", "points": [point]}
        | {"golden": [{"point": name, "words": words, "value": None}]}
    )
    body = st.one_of(
        st.binary(min_size=size, max_size=size), st.sampled_from(ALIKE).map(lambda b: b * size)
    )
    heads = st.sampled_from([(103, len(words)), (103, 0), (101, len(words))])
    rows = [
        struct.pack(">HH", *data.draw(heads))
        + data.draw(body)
        + (struct.pack(">h", data.draw(st.sampled_from([0, 1, -2, 11, -32768]))) if factor else b"")
        for _ in range(8)
    ]
    assert_same(profile, (("sunspec", 103, len(rows[0])),), rows)


def test_a_profile_of_variables_has_no_blocks():
    [profile, *_] = [profile for profile in SHIPPED.values() if profile.protocol == "opcua"]
    with pytest.raises(ValueError, match="no fixed length"):
        block_plan(profile, ())
