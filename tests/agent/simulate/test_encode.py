"""Encoding is decoding the other way: for every type and order, and for every shipped profile."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

import joulemark_profiles
from joulemark_agent.contract.errors import ConfigError
from joulemark_agent.contract.profile import (
    ORDERS_OF_64_BITS,
    WORDS,
    Point,
    Profile,
    SunspecPoint,
)
from joulemark_agent.contract.reading import Response
from joulemark_agent.documents import load_profile
from joulemark_agent.kernels.decode import (
    DISPUTED,
    TEXT,
    decode_point,
    decode_responses,
    identifies,
    text_of,
)
from joulemark_agent.plan import plan_requests
from joulemark_agent.simulate.encode import (
    CannotShowError,
    Registers,
    encode_point,
    registers,
    shown,
)
from joulemark_agent.simulate.plausible import plausible
from joulemark_agent.sunspec_models import models

NUMBERS = [kind for kind in WORDS if kind != "bit"]
ORDERS = ["ABCD", "CDAB", "BADC", "DCBA"]
SERVED = [
    name
    for name in joulemark_profiles.names("devices")
    if load_profile(name)[0].protocol in {"modbus", "sunspec"}
]


def point(kind: str, order: str, **more: object) -> Point:
    name = "power_w" if "counter" not in more else "energy_wh"
    return Point.model_validate(
        {"name": name, "table": "holding", "address": 4, "type": kind, "byte_order": order, **more}
    )


@given(data=st.data(), scale=st.sampled_from(["1", "0.1", "1000", "-0.01"]))
def test_what_is_shown_decodes_to_itself_in_every_type_and_order(data, scale) -> None:
    kind = data.draw(st.sampled_from(NUMBERS))
    orders = [*ORDERS, *ORDERS_OF_64_BITS] if WORDS[kind] == 4 else ORDERS
    factor = data.draw(st.sampled_from([None, 20]))
    subject = point(
        kind,
        data.draw(st.sampled_from(orders)),
        scale=Decimal(scale),
        offset=data.draw(st.sampled_from([Decimal(0), Decimal("273.15")])),
        **({} if factor is None else {"scale_register": {"address": factor}}),
    )
    exponent = 0 if factor is None else data.draw(st.integers(-4, 4))
    wished = data.draw(st.decimals(-(10**6), 10**6, places=3))
    try:
        value = shown(subject, wished, exponent)
    except CannotShowError:
        return

    text, code = decode_point(subject, encode_point(subject, wished, exponent))
    assert code is None
    assert text is not None
    assert Decimal(text) == value
    assert encode_point(subject, value, exponent) == encode_point(subject, wished, exponent)


@pytest.mark.parametrize("name", SERVED)
def test_every_golden_value_of_a_shipped_profile_gives_its_golden_words(name: str) -> None:
    profile, _ = load_profile(name)
    for row in profile.golden:
        subject = profile.point(row.point)
        assert isinstance(subject, Point | SunspecPoint)
        if subject.type in {"string", "bit"} or row.value is None:
            continue  # other bits of the word, and the rest of a text, are not in the value
        factor = getattr(subject, "scale_register", None) or getattr(subject, "scale_offset", None)
        last = int.from_bytes(row.raw[-2:], "big", signed=True) if factor is not None else 0

        assert encode_point(subject, row.value, last) == row.raw, row


def answers(profile: Profile, held: Registers) -> list[Response]:
    """What the agent's own plan gets from the registers, SunSpec models found as it finds them."""
    words = held.words["holding"] if profile.protocol == "sunspec" else {}
    places, address = {}, 40_002
    while words and words[address] != 0xFFFF:
        places[words[address]] = address
        address += 2 + words[address + 1]
    found = []
    for request in plan_requests(profile):
        is_model = request.table == "sunspec"
        table = "holding" if is_model else request.table
        at = places[request.address] if is_model else request.address
        data = held.read(table, at, request.count)
        assert data is not None
        found.append(Response(request.table, request.address, data))
    return found


@pytest.mark.parametrize("name", SERVED)
@pytest.mark.parametrize("t_s", [0, 30, 86_430])
def test_a_device_of_any_shipped_profile_shows_plausible_values_that_decode(
    name: str, t_s: int
) -> None:
    profile, _ = load_profile(name)
    held = registers(profile, plausible(profile, t_s))
    values, quality = decode_responses(profile, answers(profile, held))

    assert {key: Decimal(text) for key, text in values.items()} == held.values
    assert set(quality.values()) <= {TEXT, DISPUTED}
    for rule in profile.identify:
        proof = held.read(rule.table, rule.address, rule.words)
        assert proof is not None
        assert identifies(rule, proof)


@pytest.mark.parametrize("name", SERVED)
def test_plausible_values_pass_the_checks_of_their_profile(name: str) -> None:
    profile, _ = load_profile(name)
    before, after = (registers(profile, plausible(profile, t)).values for t in (600, 1200))
    for check in profile.checks:
        if check.rule == "sum_of_phases":
            total, parts = after[check.total], sum(after[part] for part in check.parts)
            assert abs(total - parts) <= check.tolerance_ratio * abs(total), check
        elif check.rule == "monotonic":
            assert before[check.counter] <= after[check.counter], check
        elif check.rule == "rate":
            mean_w = (before[check.power] + after[check.power]) / 2
            counted = after[check.counter] - before[check.counter]
            assert counted >= 0
            assert mean_w == 0 or counted < mean_w, check  # of ten minutes, in hours: a sixth


@pytest.mark.parametrize(
    ("kind", "value", "why"),
    [
        ("uint16", -1, "not within 0 to 65535"),
        ("int16", 40_000, "not within"),
        ("bcd16", 10_000, "not within 0 to 9999"),
        ("float16", 10**6, "no float16"),
        ("uint16", 0xFFFE, "not available"),
        ("uint16", None, ""),
    ],
)
def test_what_words_cannot_hold_is_refused(kind: str, value: int | None, why: str) -> None:
    subject = point(kind, "ABCD", sentinels=(0xFFFE,) if kind == "uint16" else ())
    if value is None:
        assert encode_point(subject, None) == b"\xff\xfe"
        return
    with pytest.raises(CannotShowError, match=why):
        encode_point(subject, value)


def test_what_a_device_cannot_show_is_named_with_its_point() -> None:
    profile, _ = load_profile("virtual_production_counter")
    with pytest.raises(ConfigError, match=r"cannot show -5 as production_kg: raw .* is not within"):
        registers(profile, {"production_kg": -5})


def test_a_text_stands_in_its_words() -> None:
    profile, _ = load_profile("sungrow_sg")
    held = registers(profile, {**plausible(profile, 0), "serial_number_text": "A1234567890"})
    data = held.read("input", 4989, 10)
    subject = profile.point("serial_number_text")
    assert isinstance(subject, Point)
    assert data is not None
    assert text_of(subject, data) == "A1234567890"


def test_outside_its_words_a_device_has_none_and_between_them_zeros() -> None:
    profile, _ = load_profile("sungrow_sg")
    held = registers(profile, plausible(profile, 0))

    assert held.read("input", 4988, 1) is None
    assert held.read("holding", 4989, 1) is None
    assert held.read("input", 5009, 1) == b"\0\0"
    assert held.read("input", 5031, 2) is None


@pytest.mark.parametrize("name", [name for name in SERVED if name.startswith("sunspec")])
def test_the_models_of_a_sunspec_device_are_as_long_as_the_standard_has_them(name: str) -> None:
    profile, _ = load_profile(name)
    words = registers(profile, plausible(profile, 0)).words["holding"]
    address, lengths = 40_002, {}
    while words[address] != 0xFFFF:
        lengths[words[address]] = words[address + 1]
        address += 2 + words[address + 1]

    assert all(models()[model].fits(length) for model, length in lengths.items()), lengths
    assert max(words) == address + 1
