"""Raw words of every shipped profile, and of every type and byte order, mean the same to both.

The second decoder is written in another language from docs/format.md alone.
"""

import random
import struct
import sys
from typing import Any

import pytest

import joulemark_profiles
from joulemark_agent.contract.canonical import parse_canonical
from joulemark_agent.contract.document import document_bytes, parse_yaml
from joulemark_agent.contract.profile import (
    NODE,
    ORDERS_OF_64_BITS,
    SELECTOR,
    SUNSPEC,
    SUNSPEC_WORDS,
    WORDS,
    NodePoint,
    ObjectPoint,
    Point,
    Profile,
    SelectorPoint,
)
from joulemark_agent.contract.reading import Response
from joulemark_agent.kernels.datavalue import NUMBERS, DataValue, encode
from joulemark_agent.kernels.decode import decode_responses
from support.second_verifier import decoded

RECORDS = 12
POWERS = (2.0**-96, 2.0**87, 2.0**90, 1048576.25, 0.1, -0.0, float("inf"), 2.0**-140)
HEAD = {"kind": "power_meter", "source": "rules of docs/format.md", "confidence": "bench"}


def shipped():
    for name in joulemark_profiles.names("devices"):
        document = parse_yaml(joulemark_profiles.text("devices", name), name, is_shipped=True)
        yield parse_canonical(document_bytes(document.mapping))


def every_register():
    """A Modbus profile with every type in every byte order, scaled, offset and with a power."""
    points: list[dict[str, Any]] = []
    for kind, words in WORDS.items():
        orders = ["ABCD", "CDAB", "BADC", "DCBA", *(ORDERS_OF_64_BITS if words == 4 else ())]
        for k, order in enumerate(orders):
            more: dict[str, Any] = {"bit": 5} if kind == "bit" else {}
            if k % 2 and kind != "bit":
                more["scale_register"] = {"address": 16 * len(points) + 8}
            place = {"table": "holding", "address": 16 * len(points), "type": kind}
            scaled = {
                "scale": ["1", "0.001", "-2.5", "1000"][k % 4],
                "offset": ["0", "273.15"][k % 2],
            }
            name = f"p{len(points)}_unstated"
            points.append({"name": name, "byte_order": order, **place, **scaled, **more})
    points.append({"name": "bounded_w", "table": "input", "address": 0, "type": "int16",
                   "minimum": "0", "maximum": "9000", "disputed": "two sources"})  # fmt: skip
    return {**HEAD, "model": "every_register", "protocol": "modbus", "points": points,
            "sentinels": {"uint16": [65535], "float32": [0x7FC00000]}}  # fmt: skip


def every_model_point():
    points = [
        {"name": f"p{k}_unstated", "model": 1 + k, "offset": 2, "type": kind, "scale": "0.5"}
        | ({"scale_offset": 8} if k % 2 else {})
        for k, kind in enumerate(SUNSPEC_WORDS)
    ]
    return {**HEAD, "model": "every_model_point", "protocol": "sunspec", "points": points}


def every_node():
    points = [
        {"name": f"p{k}_unstated", "node": f"nsu=urn:x;i={k}", "type": kind, "offset": "0.25"}
        | ({"max_age_s": "1.5"} if k % 2 else {})
        for k, kind in enumerate(NUMBERS)
    ]
    return {**HEAD, "model": "every_node", "protocol": "opcua", "points": points}


def words_of(draw, size):
    """Random bytes; now and then zeros, ones, digits, or a float where printers differ."""
    kind = draw.randrange(6)
    if kind == 0 and size >= 4:
        return struct.pack(">f", draw.choice(POWERS)) + bytes(size - 4)
    fill = {1: b"\0", 2: b"\xff", 3: bytes([int(f"{draw.randrange(100):02d}", 16)])}.get(kind)
    return draw.randbytes(size) if fill is None else fill * size


def value_of(draw, kind):
    size = struct.calcsize(NUMBERS[kind][1])
    raw = words_of(draw, size)[:size]
    status = draw.choice([0, 0, 0, 1 << 30, 2 << 30])
    times = [None if draw.random() < 0.2 else draw.randrange(10**7) for _ in range(2)]
    data = encode(DataValue(kind, raw, status, *times))
    return data if draw.random() < 0.9 else draw.randbytes(len(data))


def response_to(draw, index, point):
    """What a device may have answered for a point."""
    if isinstance(point, Point):
        first, last = point.span
        data = words_of(draw, 2 * (last - first))
        if point.scale_register is not None and draw.random() < 0.8:
            at = 2 * (point.scale_register.address - first)
            power = draw.randint(-11, 11).to_bytes(2, "big", signed=True)
            data = data[:at] + power + data[at + 2 :]
        return [Response(point.table, first, data)]
    if isinstance(point, NodePoint):
        return [Response(NODE, index, value_of(draw, point.type))]
    if isinstance(point, SelectorPoint):
        told = [draw.choice(["X", draw.randbytes(4).hex(), "00000a01"]) for _ in point.selectors]
        places = [int(selector, 16) for selector in point.selectors]
        return [Response(SELECTOR, a, t.encode()) for a, t in zip(places, told, strict=True)]
    if isinstance(point, ObjectPoint):
        table, address = point.place
        unit = draw.choice([*(known.unit for known in point.units), "furlong"])
        number = draw.choice(["17396", "-3.250", "1e3", "n/a", str(draw.random())])
        data = f'{{"Id": {address}, "Value": "{number} {unit}", "State": {draw.randrange(4)}}}'
        return [Response(table, address, draw.choice([data.encode(), data.encode(), b"", b"{"]))]
    length = draw.choice([point.end, point.end, 1])
    data = struct.pack(">HH", point.model, length) + words_of(draw, 2 * (point.end - 2))
    return [Response(SUNSPEC, point.model, data)]


def records_of(profile, draw):
    for _ in range(RECORDS):
        kept = [(i, p) for i, p in enumerate(profile.points) if draw.random() < 0.95]
        yield [one for i, point in kept for one in response_to(draw, i, point)]


def cases(documents):
    draw = random.Random(11)
    for document in documents:
        profile = Profile.model_validate(document)
        for responses in records_of(profile, draw):
            yield document, profile, responses


def differences(node, documents):
    """How many values were decoded, and what both do not decode alike."""
    made = list(cases(documents))
    asked = [(d, [[r.table, r.address, r.data.hex()] for r in made_]) for d, _, made_ in made]
    found, wrong, values = decoded(node, asked), [], 0
    for (_, profile, responses), second in zip(made, found, strict=True):
        first = dict(zip(("values", "quality"), decode_responses(profile, responses), strict=True))
        values += len(profile.points)
        if first != second:
            wrong.append((profile.model, first, second))
    return values, wrong


@pytest.mark.parametrize("make", [every_register, every_model_point, every_node])
def test_every_type_in_every_order_is_decoded_alike(make, node):
    values, wrong = differences(node, [make()])
    assert wrong == []
    assert values > 100


@pytest.mark.endurance
def test_words_of_every_shipped_profile_are_decoded_alike(node):
    values, wrong = differences(node, shipped())
    sys.stdout.write(f"{values} values of shipped profiles, {len(wrong)} records differ\n")
    assert wrong == []
    assert values > 1000
