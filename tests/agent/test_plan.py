"""The request plan is the least possible and splits no value."""

from collections.abc import Sequence
from decimal import Decimal
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import joulemark_profiles
from joulemark_agent.contract.errors import ConfigError
from joulemark_agent.contract.profile import (
    WORDS,
    AnyPoint,
    Golden,
    NodePoint,
    NumberType,
    Point,
    Profile,
    Protocol,
    SunspecPoint,
    Table,
)
from joulemark_agent.drivers.base import MAX_WORDS, Request
from joulemark_agent.plan import plan_requests
from joulemark_agent.settings import load_profile

TYPES: tuple[NumberType, ...] = ("uint16", "int32", "float32", "uint64")


def profile(points: Sequence[Point], max_words: int = 125) -> Profile:
    golden = Golden(point=points[0].name, words=(0,) * points[0].words, value=Decimal(0))
    return Profile(
        model="any",
        kind="power_meter",
        protocol="modbus",
        source="made up by a test",
        confidence="bench",
        max_words=max_words,
        points=tuple(points),
        golden=(golden,),
    )


def point(i: int, address: int, kind: NumberType = "uint16", table: Table = "holding") -> Point:
    return Point(name=f"p{i}_w", table=table, address=address, type=kind)


def cost(requests: Sequence[Request]) -> tuple[int, int]:
    return len(requests), sum(request.count for request in requests)


def least_cost(points: Sequence[Point], max_words: int) -> tuple[int, int]:
    """The least (requests, words) over every way to put the points into groups."""
    best = (len(points) + 1, 0)
    groups: list[tuple[str, int, int]] = []

    def put(i: int) -> None:
        nonlocal best
        if len(groups) > best[0]:
            return
        if i == len(points):
            best = min(best, (len(groups), sum(end - start for _, start, end in groups)))
            return
        table, start = points[i].table, points[i].address
        end = start + points[i].words
        for n, group in enumerate(groups):
            merged = (table, min(start, group[1]), max(end, group[2]))
            if table == group[0] and merged[2] - merged[1] <= max_words:
                groups[n] = merged
                put(i + 1)
                groups[n] = group
        groups.append((table, start, end))
        put(i + 1)
        groups.pop()

    put(0)
    return best


@st.composite
def layouts(draw: st.DrawFn) -> tuple[list[Point], int]:
    """Up to 10 points, crowded and overlapping, in one or two tables, with a small cap."""
    tables: tuple[Table, ...] = ("holding", "input")
    places = draw(
        st.lists(
            st.tuples(
                st.integers(0, 40),
                st.sampled_from(TYPES),
                st.sampled_from(tables[: draw(st.integers(1, 2))]),
            ),
            min_size=1,
            max_size=10,
        )
    )
    points = [point(i, address, kind, table) for i, (address, kind, table) in enumerate(places)]
    return points, draw(st.integers(4, 24))


@settings(deadline=None)
@given(layouts())
def test_no_other_grouping_needs_fewer_requests_or_as_many_with_fewer_words(
    layout: tuple[list[Point], int],
) -> None:
    points, max_words = layout

    assert cost(plan_requests(profile(points, max_words))) == least_cost(points, max_words)


@given(layouts())
def test_every_point_lies_whole_in_one_request_and_no_request_is_too_long(
    layout: tuple[list[Point], int],
) -> None:
    points, max_words = layout
    requests = plan_requests(profile(points, max_words))

    for p in points:
        assert any(
            r.table == p.table
            and r.address <= p.address
            and p.address + p.words <= r.address + r.count
            for r in requests
        )
    assert all(r.count <= max_words for r in requests)


@given(layouts(), st.randoms())
def test_the_order_in_the_file_does_not_change_the_plan(
    layout: tuple[list[Point], int], random: Random
) -> None:
    points, max_words = layout
    shuffled = list(points)
    random.shuffle(shuffled)

    assert plan_requests(profile(shuffled, max_words)) == plan_requests(profile(points, max_words))


def test_a_greedy_plan_needs_as_many_requests_but_more_words() -> None:
    """The control: filling each block to the brim from the left is not the least."""
    points = [point(0, 0), point(1, 9), point(2, 10)]
    greedy = [Request("holding", 0, 10), Request("holding", 10, 1)]

    assert cost(plan_requests(profile(points, 10))) == (2, 3) < cost(greedy)


def test_a_field_at_the_edge_of_a_block_goes_to_the_next_one_whole() -> None:
    points = [point(0, 0), point(1, 123, "uint64")]

    assert plan_requests(profile(points)) == (
        Request("holding", 0, 1),
        Request("holding", 123, 4),
    )


def test_a_field_longer_than_a_request_is_told_to_the_one_who_wrote_it() -> None:
    with pytest.raises(ConfigError, match="p0_w takes 4 words and 'max_words' allows 3"):
        plan_requests(profile([point(0, 0, "uint64")], 3))


@pytest.mark.parametrize("name", joulemark_profiles.names("devices"))
def test_every_shipped_profile_is_planned_within_its_cap(name: str) -> None:
    shipped, _ = load_profile(name)
    requests = plan_requests(shipped)

    assert requests
    assert all(r.count <= shipped.max_words for r in requests)
    if shipped.registers:
        assert sum(r.count for r in requests) >= max(WORDS[p.type] for p in shipped.registers)


def other(protocol: Protocol, points: Sequence[AnyPoint], **golden: Any) -> Profile:
    return Profile(
        model="any",
        kind="furnace",
        protocol=protocol,
        source="made up by a test",
        confidence="bench",
        points=tuple(points),
        golden=(Golden(point=points[0].name, value=None, **golden),),
    )


def of_model(name: str, model: int, offset: int, factor: int | None = None) -> SunspecPoint:
    return SunspecPoint(name=name, model=model, offset=offset, type="acc32", scale_offset=factor)


def test_a_model_is_one_request_from_its_id_to_its_last_word_or_scale_factor() -> None:
    points = [
        of_model("a_wh", 160, 22, 5),
        of_model("b_wh", 103, 24, 26),
        of_model("c_wh", 103, 2),
        of_model("d_wh", 103, 4, 40),
    ]

    assert plan_requests(other("sunspec", points, words=(0, 0, 0))) == (
        Request("sunspec", 103, 41),
        Request("sunspec", 160, 24),
    )


def test_a_point_further_in_a_model_than_one_request_reads_is_refused() -> None:
    last = of_model("a_wh", 7, MAX_WORDS - 2)
    assert plan_requests(other("sunspec", [last], words=(0, 0))) == (Request("sunspec", 7, 125),)
    for beyond in (of_model("a_wh", 7, MAX_WORDS - 1), of_model("a_wh", 7, 2, MAX_WORDS)):
        words = (0,) * (3 if beyond.scale_offset else 2)
        with pytest.raises(ConfigError, match=r"a_wh ends 126 words after .* leave the point out"):
            plan_requests(other("sunspec", [beyond], words=words))


def test_the_id_of_a_model_is_no_place_that_its_words_could_reach_beyond() -> None:
    last = SunspecPoint(name="a_w", model=0xFFFE, offset=10, type="int16")

    assert plan_requests(other("sunspec", [last], words=(0,))) == (Request("sunspec", 0xFFFE, 11),)


def test_variables_are_asked_for_in_the_order_of_the_profile() -> None:
    points = [
        NodePoint(name=f"{name}_k", node=f"nsu=urn:x;s={name}", type="float64") for name in "ba"
    ]

    assert plan_requests(other("opcua", points, data="00")) == (
        Request("node", 0, 1, "nsu=urn:x;s=b"),
        Request("node", 1, 1, "nsu=urn:x;s=a"),
    )


def test_the_virtual_main_meter_is_one_request_of_15_words() -> None:
    assert plan_requests(load_profile("virtual_main_meter")[0]) == (Request("holding", 0, 15),)
