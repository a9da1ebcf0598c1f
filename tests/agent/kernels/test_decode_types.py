"""Every type of register in every byte order, against an encoder that knows nothing of ours."""

import os
import struct
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from joulemark_agent.contract.profile import Golden, Identify, Point, Profile
from joulemark_agent.contract.reading import Response
from joulemark_agent.kernels.decode import (
    decode_point,
    decode_responses,
    identifies,
    raw_of,
    shortest,
    text_of,
)
from support.present import present

CODES = {
    "uint16": "H", "int16": "h", "uint32": "I", "int32": "i", "uint64": "Q", "int64": "q",
    "float16": "e", "float32": "f", "float64": "d",
}  # fmt: skip
FOUR = ("ABCD", "CDAB", "BADC", "DCBA")
SIX = ("ABCDEFGH", "GHEFCDAB", "BADCFEHG", "HGFEDCBA", "EFGHABCD", "CDABGHEF")
# The order as a profile names it, and the letters in which the bytes are then sent.
SENT = {
    2: dict(zip(FOUR, ("AB", "AB", "BA", "BA"), strict=True)),
    4: {order: order for order in FOUR},
    8: dict(zip((*FOUR, *SIX[4:], "GHEFCDAB"), (*SIX, "GHEFCDAB"), strict=True)),
}
KINDS = (*CODES, "bcd16", "bcd32")
EVERY = [
    (kind, order)
    for kind in KINDS
    for order in SENT[struct.calcsize(CODES[kind]) if kind in CODES else int(kind[3:]) // 8]
]


def point(kind: str, **fields: Any) -> Point:
    made = {"name": "power_w", "table": "holding", "address": 0, "type": kind, **fields}
    return Point.model_validate(made)


def size_of(kind: str) -> int:
    return struct.calcsize(CODES[kind]) if kind in CODES else int(kind[3:]) // 8


def sent(big_endian: bytes, order: str) -> bytes:
    """The bytes in the order of the letters: A is the first of big-endian."""
    letters = SENT[len(big_endian)][order]
    return bytes(big_endian["ABCDEFGH".index(letter)] for letter in letters)


def values_of(kind: str) -> st.SearchStrategy[Any]:
    if kind.startswith("float"):
        return st.floats(width=8 * size_of(kind), allow_nan=False, allow_infinity=False)  # type: ignore[arg-type] # 16, 32 or 64
    if kind.startswith("bcd"):
        return st.integers(0, 10 ** (2 * size_of(kind)) - 1)
    bits = 8 * size_of(kind)
    low = -(1 << bits - 1) if kind.startswith("int") else 0
    return st.integers(low, low + (1 << bits) - 1)


def encoded(kind: str, value: Any) -> bytes:
    if kind.startswith("bcd"):
        return bytes.fromhex(f"{value:0{2 * size_of(kind)}d}")
    return struct.pack(f">{CODES[kind]}", value)


@pytest.mark.parametrize(("kind", "order"), EVERY)
@given(data=st.data())
def test_every_type_in_every_order_is_read_back(kind: str, order: str, data: st.DataObject) -> None:
    value = data.draw(values_of(kind))
    text, code = decode_point(point(kind, byte_order=order), sent(encoded(kind, value), order))

    assert code is None
    if kind.startswith("float"):
        again = struct.pack(f">{CODES[kind]}", float(present(text)))
        assert again == encoded(kind, value + 0.0)  # zero has no sign in a decimal text
    else:
        assert text == str(value)


def test_the_orders_of_a_number_are_all_different() -> None:
    assert {size: len({sent(bytes(range(size)), o) for o in SENT[size]}) for size in SENT} == {
        2: 2, 4: 4, 8: 6,
    }  # fmt: skip
    for kind, order in EVERY:  # the control: read in big-endian order they are something else
        data = encoded(kind, 1.5 if kind.startswith("float") else 12)
        if sent(data, order) != data:
            assert decode_point(point(kind), sent(data, order)) != decode_point(point(kind), data)


def round_trips(count: int, seed: int) -> int:
    """How many of so many random values of each type and order, judged by numpy, come back wrong.

    All bit patterns are drawn, NaN and infinity among them; BCD from its digits.
    """
    random = np.random.default_rng(seed)
    wrong = 0
    for kind, order in EVERY:
        size = size_of(kind)
        big: NDArray[np.uint8] = random.integers(0, 256, (count, size), dtype=np.uint8)
        if kind.startswith("bcd"):
            big = (
                random.integers(0, 10, big.shape) << 4 | random.integers(0, 10, big.shape)
            ).astype(np.uint8)
        places = ["ABCDEFGH".index(letter) for letter in SENT[size][order]]
        arrived = np.ascontiguousarray(big[:, places])
        made = point(kind, byte_order=order)
        texts = [decode_point(made, row.tobytes())[0] for row in arrived]
        if kind.startswith("float"):
            expected = big.view(f">f{size}").ravel().astype(f"f{size}")
            found = np.array([np.nan if t is None else float(t) for t in texts]).astype(f"f{size}")
            right = np.where(np.isfinite(expected), found == expected, np.isnan(found))
        elif kind.startswith("bcd"):
            tens = 100 ** np.arange(size)[::-1]
            digits = ((big >> 4).astype(np.int64) * 10 + (big & 15)) @ tens
            right = np.array([text == str(d) for text, d in zip(texts, digits, strict=True)])
        else:
            whole = big.view(f">{kind[0]}{size}").ravel()
            right = np.array([text == str(w) for text, w in zip(texts, whole, strict=True)])
        wrong += int((~right).sum())
    return wrong


def test_random_words_of_every_type_and_order_agree_with_numpy() -> None:
    """JOULEMARK_ROUND_TRIPS: values in all; a million takes some 3 s."""
    values = int(os.environ.get("JOULEMARK_ROUND_TRIPS", "20000"))

    assert round_trips(-(-values // len(EVERY)), seed=7) == 0


def test_every_float16_has_the_nearest_decimal_of_the_fewest_digits_that_reads_back() -> None:
    words = np.arange(1 << 16, dtype=np.uint16)
    differs = 0
    for word, value in zip(words.tolist(), words.view(np.float16), strict=True):
        text = shortest(word.to_bytes(2, "big"))
        if not np.isfinite(value):
            assert text is None
            continue
        for digits in range(1, 6):
            with localcontext(prec=digits, rounding=ROUND_HALF_EVEN):
                nearest = +Decimal(float(value))
            if abs(nearest) < 65520 and np.float16(float(nearest)) == value:
                break
        assert Decimal(present(text)) == nearest
        differs += nearest != Decimal(np.format_float_scientific(value, unique=True))
    # 2^-6 and -2^-6: of two decimals as near the even one does not read back; numpy takes the
    # other.
    assert differs == 2


@pytest.mark.parametrize(
    ("kind", "words"),
    [("bcd16", "000a"), ("bcd16", "ffff"), ("bcd16", "a000"), ("bcd32", "0000001f"),
     ("bcd32", "1234f678"), ("float16", "7c00"), ("float16", "fe00")],
)  # fmt: skip
def test_words_that_are_no_number_of_their_type_have_no_value(kind: str, words: str) -> None:
    assert decode_point(point(kind), bytes.fromhex(words)) == (None, "nan")


@given(st.integers(0, 15), st.integers(0, 0xFFFF), st.sampled_from(["ABCD", "BADC"]))
def test_a_bit_is_the_one_it_is_counted_as(bit: int, word: int, order: str) -> None:
    made = point("bit", bit=bit, name="running_state", byte_order=order)

    text, code = decode_point(made, sent(word.to_bytes(2, "big"), order))
    assert (text, code) == (f"{word:016b}"[15 - bit], None)


@pytest.mark.parametrize(
    ("order", "data", "text"),
    [
        ("ABCD", b"SDM630\0\0\xff\xff", "SDM630"),
        ("BADC", b"DS6M03\0\0\0\0", "SDM630"),
        ("ABCD", b"  A-1  \xff\xff\xff", "A-1"),
        ("ABCD", b"\xff" * 10, ""),
        ("ABCD", b"A\x80\nB\xffC    ", "A??B?C"),
    ],
)
def test_a_string_is_text_and_no_number(order: str, data: bytes, text: str) -> None:
    made = point("string", name="model_text", length=5, byte_order=order)

    assert decode_point(made, data) == (None, "text")
    assert text_of(made, data) == text


decimals = st.decimals(
    allow_nan=False, allow_infinity=False, places=4, min_value=-999, max_value=999
)


@given(st.data(), st.sampled_from(KINDS), decimals.filter(bool), decimals, st.integers(-10, 10))
def test_scale_register_scale_and_offset_are_exact(
    data: st.DataObject, kind: str, scale: Decimal, offset: Decimal, factor: int
) -> None:
    value = data.draw(values_of(kind))
    made = point(kind, scale=scale, offset=offset, scale_register={"address": 9})
    words = encoded(kind, value)
    text, code = decode_point(made, words + struct.pack(">h", factor))
    with localcontext(prec=500):
        raw = Decimal(present(shortest(words))) if kind.startswith("float") else Decimal(value)
        expected = raw * Decimal(10) ** factor * scale + offset

        assert code is None
        assert Decimal(present(text)) == expected
    assert "e" not in present(text).lower()


def test_degrees_celsius_become_kelvins_to_the_last_digit() -> None:
    made = point("int16", name="outlet_k", scale="0.1", offset="273.15")

    for raw in range(-2731, 32768):
        text, _ = decode_point(made, raw.to_bytes(2, "big", signed=True))
        assert Fraction(present(text)) == Fraction(raw, 10) + Fraction(27315, 100)
    assert decode_point(made, b"\x01\x5e") == ("308.15", None)
    assert str(35.0 + 273.15) == "308.15" != str(5.1 + 273.15)  # the control: in binary, not always
    assert decode_point(made, (51).to_bytes(2, "big")) == ("278.25", None)


@pytest.mark.parametrize("factor", [-32768, -11, 11, 32767])
def test_without_a_scale_register_that_can_be_there_is_no_value(factor: int) -> None:
    made = point("uint16", scale_register={"address": 9})

    assert decode_point(made, b"\0\1" + struct.pack(">h", factor)) == (None, "scale")


@pytest.mark.parametrize(
    ("words", "fields", "decoded"),
    [
        ("0005 0003", {}, ("5000", None)),
        ("0005 fffe", {}, ("0.05", None)),
        ("0500 0300", {"byte_order": "BADC"}, ("5000", None)),  # the factor is sent likewise
        ("0500 0300", {"byte_order": "DCBA"}, ("5000", None)),
        ("0005 0003", {"byte_order": "CDAB"}, ("5000", None)),
        ("ffff 0001", {"sentinels": [0xFFFF]}, (None, "sentinel")),
        ("ffff 8000", {"sentinels": [0xFFFF]}, (None, "scale")),
        ("0005 0003", {"maximum": 4999}, ("5000", "range")),
        ("0005 0002", {"counter": True, "name": "energy_wh"}, ("500", None)),
        ("0005 ffff", {"counter": True, "name": "energy_wh"}, (None, "scale")),
        ("0005 fffe", {"counter": True, "name": "energy_wh", "scale": 100}, ("5", None)),
    ],
)
def test_a_scale_register_moves_the_point(
    words: str, fields: dict[str, Any], decoded: tuple[str | None, str | None]
) -> None:
    made = point("uint16", scale_register={"address": 9}, **fields)

    assert decode_point(made, bytes.fromhex(words)) == decoded


def profile(*points: Point, **fields: Any) -> Profile:
    zeros = points[0].words + (points[0].scale_register is not None)
    return Profile(
        model="m", kind="power_meter", protocol="modbus", source="made up by a test",
        confidence="bench", points=points,
        golden=(Golden(point=points[0].name, words=(0,) * zeros, value=None),), **fields,
    )  # fmt: skip


def test_a_value_and_its_scale_register_are_of_one_answer_or_there_is_none() -> None:
    made = profile(
        point("uint32", address=10, scale_register={"address": 13}),
        point("uint16", name="front_w", address=12, scale_register={"address": 9}),
    )
    words = struct.pack(">5h", 1, 0, 7, 5, 2)  # registers 9 to 13
    whole = [Response("holding", 9, words)]
    parted = [Response("holding", 9, words[:8]), Response("holding", 13, words[8:])]

    assert decode_responses(made, whole) == ({"power_w": "700", "front_w": "50"}, {})
    assert raw_of(made, whole) == {"power_w": b"\0\0\0\7\0\2", "front_w": b"\0\5\0\1"}
    assert decode_responses(made, parted) == ({"front_w": "50"}, {"power_w": "missing"})


def test_a_disputed_point_is_shown_and_never_good() -> None:
    made = point("uint16", disputed="801 is import in one source, export in another", maximum=9)

    assert decode_point(made, b"\0\7") == ("7", "disputed")
    assert decode_point(made, b"\0\x0a") == ("10", "range")


def test_the_sentinels_of_a_type_are_those_of_each_point_that_names_none() -> None:
    made = profile(
        point("uint16"),
        point("uint16", name="own_w", address=1, sentinels=[0x8000]),
        point("uint16", name="none_w", address=2, sentinels=[]),
        point("int32", name="wide_w", address=3, word_order="little"),
        point("int16", name="other_w", address=5),
        sentinels={"uint16": [0xFFFF, 0xFFFE], "int32": [0x7FFFFFFF]},
    )
    data = bytes.fromhex("fffe ffff ffff ffff7fff ffff")
    values, quality = decode_responses(made, [Response("holding", 0, data)])

    assert quality == {"power_w": "sentinel", "wide_w": "sentinel"}
    assert values == {"own_w": "65535", "none_w": "65535", "other_w": "-1"}
    again = Profile.model_validate(made.model_dump())
    assert decode_responses(again, [Response("holding", 0, data)]) == (values, quality)


@pytest.mark.parametrize(
    ("fields", "words", "is_it"),
    [
        ({"type": "uint16", "equals": 1648}, "0670", True),
        ({"type": "uint16", "equals": 1648}, "0671", False),
        ({"type": "uint16", "one_of": [1, 1648], "byte_order": "BADC"}, "7006", True),
        ({"type": "int16", "equals": -1}, "ffff", True),
        ({"type": "uint64", "equals": "18446744073709551615"}, "ffffffffffffffff", True),
        ({"type": "float32", "equals": "1.5"}, "3fc00000", True),
        ({"type": "float32", "equals": "1.5"}, "7fc00000", False),
        ({"type": "bit", "bit": 3, "equals": 1}, "0008", True),
        ({"type": "bcd16", "equals": 630}, "0630", True),
        ({"type": "bcd16", "equals": 630}, "063a", False),
        ({"type": "string", "length": 3, "equals": "SDM63"}, "53444d363300", True),
        ({"type": "string", "length": 3, "equals": "SDM63"}, "53444d313200", False),
    ],
)
def test_registers_prove_the_model_or_not(fields: dict[str, Any], words: str, is_it: bool) -> None:
    rule = Identify.model_validate({"table": "input", "address": 11, **fields})

    assert identifies(rule, bytes.fromhex(words)) is is_it
