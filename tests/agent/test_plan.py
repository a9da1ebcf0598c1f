"""The request plan is the least possible and splits no value."""

import math
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import joulemark_profiles
from joulemark_agent.contract.errors import ConfigError
from joulemark_agent.contract.profile import (
    AnyPoint,
    Golden,
    NodePoint,
    NumberType,
    Point,
    Profile,
    Protocol,
    ScaleRegister,
    SunspecPoint,
    Table,
)
from joulemark_agent.documents import load_profile
from joulemark_agent.drivers.base import MAX_WORDS, Request
from joulemark_agent.plan import (
    TCP,
    Cost,
    PlannedDevice,
    Span,
    fields_of,
    plan_requests,
    plan_spans,
    span_of,
)

TYPES: tuple[NumberType, ...] = ("uint16", "int32", "float32", "uint64")


def profile(points: Sequence[Point], max_words: int = 125) -> Profile:
    words = points[0].words + (points[0].scale_register is not None)
    golden = Golden(point=points[0].name, words=(0,) * words, value=None)
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


def least_cost(
    points: Sequence[Point],
    max_words: int,
    request_words: Fraction | None = None,
    best: tuple[Any, int, int] = (math.inf, 0, 0),
) -> tuple[Fraction, int, int]:
    """The least (cost, requests, words) over every way to put the points into groups, and best."""
    groups: list[tuple[str, int, int]] = []

    def of_groups() -> tuple[Fraction, int, int]:
        words = sum(end - start for _, start, end in groups)
        total = Fraction(0) if request_words is None else len(groups) * request_words + words
        return total, len(groups), words

    def put(i: int) -> None:
        nonlocal best
        if of_groups()[:2] > best[:2]:  # another span makes no group shorter
            return
        if i == len(points):
            best = min(best, of_groups())
            return
        table, (start, end) = points[i].table, points[i].span
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
    """Up to 10 points, crowded and overlapping, in one or two tables, with a small cap.

    Some have a scale register, before or behind them.
    """
    tables: tuple[Table, ...] = ("holding", "input")
    places = draw(
        st.lists(
            st.tuples(
                st.integers(0, 40),
                st.sampled_from(TYPES),
                st.sampled_from(tables[: draw(st.integers(1, 2))]),
                st.sampled_from([None, None, None, -2, -1, 4, 6]),
            ),
            min_size=1,
            max_size=10,
        )
    )
    points = [
        point(i, address + 2, kind, table).model_copy(
            update={"scale_register": step and ScaleRegister(address=address + 2 + step)}
        )
        for i, (address, kind, table, step) in enumerate(places)
    ]
    return points, draw(st.integers(7, 24))


@settings(deadline=None)
@given(layouts())
def test_no_other_grouping_needs_fewer_requests_or_as_many_with_fewer_words(
    layout: tuple[list[Point], int],
) -> None:
    points, max_words = layout

    assert cost(plan_requests(profile(points, max_words))) == least_cost(points, max_words)[1:]


@settings(deadline=None)
@given(layouts(), st.fractions(0, 20))
def test_no_other_grouping_costs_less_whatever_a_request_costs(
    layout: tuple[list[Point], int], request_words: Fraction
) -> None:
    points, max_words = layout
    found = cost(plan_requests(profile(points, max_words), Cost(request_words)))

    total = found[0] * request_words + found[1]
    assert (total, *found) == least_cost(points, max_words, request_words)


@given(layouts())
def test_every_point_lies_whole_in_one_request_and_no_request_is_too_long(
    layout: tuple[list[Point], int],
) -> None:
    points, max_words = layout
    requests = plan_requests(profile(points, max_words))

    for p in points:
        assert any(
            r.table == p.table and r.address <= p.span[0] and p.span[1] <= r.address + r.count
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


# Registers (start, words) of five public maps, by function code.
MAPS: dict[str, list[tuple[int, int]]] = {
    # volkszaehler/mbmd fb8f9c2, meters/rs485/sdm.go
    "Eastron SDM630": [
        *((a, 2) for a in range(0, 36, 2)),
        *((a, 2) for a in (52, 56, 60, 62, 70, 72, 74, 76, 78, 248, 342)),
        *((a, 2) for a in range(346, 357, 2)),
    ],
    # volkszaehler/mbmd fb8f9c2, meters/rs485/iem3000.go
    "Schneider iEM3000": [
        *((a, 2) for a in (2999, 3001, 3003, 3009, 3027, 3029, 3031, 3053, 3055, 3057, 3059)),
        *((a, 2) for a in (3067, 3075, 3109)),
        *((a, 4) for a in (3203, 3207, 3219, 3223, 3517, 3521, 3525)),
    ],
    # OpenEMS/openems 0e4ea88, MeterJanitzaUmg96rmeImpl.java
    "Janitza UMG96RM-E": [
        *((a, 2) for a in (19000, 19002, 19004, 19012, 19014, 19016, 19018, 19020, 19022, 19024)),
        *((a, 2) for a in (19026, 19036, 19038, 19040, 19042, 19050, 19068, 19076)),
    ],
    # wlcrs/huawei-solar-lib 873c1b3, registers.py; without the 15 words of the model's name
    "Huawei SUN2000": [
        *((a, 2) for a in (30073, 32064, 32080, 32106, 32114, 37113, 37119, 37121, 40000)),
        *((a, 1) for a in (32000, 32016, 32017, 32066, 32069, 32084, 32085, 32086, 32087, 32089)),
    ],
    # Eurotherm HA026230 issue 3
    "Eurotherm 2400": [
        (a, 1) for a in (1, 2, 3, 4, 5, 35, 56, 58, 75, 80, 163, 258, 259, 273)
    ],
}  # fmt: skip


def of_map(name: str) -> list[Point]:
    kinds: dict[int, NumberType] = {1: "uint16", 2: "float32", 4: "int64"}
    return [point(i, start, kinds[words]) for i, (start, words) in enumerate(sorted(MAPS[name]))]


def merged(points: Sequence[Point], hole: int, max_words: int = 125) -> list[Request]:
    """What other readers do: neighbours are one request while the hole is no larger than this."""
    found: list[Request] = []
    for table, (start, end) in sorted({(p.table, p.span) for p in points}):
        last = found[-1] if found and found[-1].table == table else None
        if last and start - (last.address + last.count) <= hole:
            count = max(last.count, end - last.address)
            if count <= max_words:
                found[-1] = Request(table, last.address, count)
                continue
        found.append(Request(table, start, end - start))
    return found


def serial_s(requests: Sequence[Request], baud: int = 9600, latency_s: float = 0.02) -> float:
    """The time on a serial line: 13 bytes and two silences of 3.5 characters a request. [s]"""
    number, words = cost(requests)
    return number * (latency_s + (8 + 5 + 2 * 3.5) * 11 / baud) + words * 2 * 11 / baud


@pytest.mark.parametrize(
    ("name", "requests", "seconds", "least"),
    [
        ("Eastron SDM630", (35, 8, 4, 3), (1.66, 0.50, 0.36, 0.35), (3, 0.35)),
        ("Schneider iEM3000", (21, 10, 6, 3), (1.03, 0.56, 0.44, 0.47), (5, 0.43)),
        ("Janitza UMG96RM-E", (18, 6, 2, 1), (0.85, 0.34, 0.23, 0.22), (1, 0.22)),
        ("Huawei SUN2000", (19, 13, 7, 4), (0.88, 0.62, 0.42, 0.47), (5, 0.41)),
        ("Eurotherm 2400", (14, 9, 7, 3), (0.63, 0.42, 0.34, 0.35), (5, 0.32)),
    ],
)
def test_a_plan_for_9600_baud_is_never_worse_than_the_best_fixed_hole(
    name: str,
    requests: tuple[int, ...],
    seconds: tuple[float, ...],
    least: tuple[int, float],
) -> None:
    points = of_map(name)
    fixed = [[Request("holding", p.address, p.words) for p in points]]
    fixed += [merged(points, hole) for hole in (0, 10, 50)]
    plan = plan_requests(profile(points), Cost.rtu(9600, 0.02))

    assert tuple(len(plan) for plan in fixed) == requests
    assert tuple(round(serial_s(plan), 2) for plan in fixed) == seconds
    assert (len(plan), round(serial_s(plan), 2)) == least
    assert serial_s(plan) <= min(serial_s(merged(points, hole)) for hole in range(126)) + 1e-12


@given(layouts(), st.integers(0, 24), st.sampled_from([300, 9600, 19_200, 115_200]))
def test_no_fixed_hole_is_better_on_any_line(
    layout: tuple[list[Point], int], hole: int, baud: int
) -> None:
    points, max_words = layout
    plan = plan_requests(profile(points, max_words), Cost.rtu(baud, 0.02))

    assert serial_s(plan, baud) <= serial_s(merged(points, hole, max_words), baud) + 1e-12


@pytest.mark.parametrize("name", joulemark_profiles.names("devices"))
def test_the_plan_of_a_shipped_profile_is_the_least(name: str) -> None:
    """By every grouping up to 12 points of a table; of all, by every fixed hole."""
    shipped, _ = load_profile(name)
    line = Cost.rtu(9600, 0.02)
    device = planned(shipped, line)
    for due_us in {device.due(second * 1_000_000) for second in range(86_400)}:
        points = [p for p in shipped.registers if (p.every_s or 0) * 1_000_000 in {0, *due_us}]
        check_least(points, device.plan(due_us), shipped.max_words, line)


def check_least(
    registers: Sequence[Point], plan: Sequence[Request], max_words: int, line: Cost
) -> None:
    for table in {p.table for p in registers}:
        points = [p for p in registers if p.table == table]
        found = cost([request for request in plan if request.table == table])
        if len(points) <= 12:
            least = least_cost(points, max_words, line.request_words, line.of(*found))
            assert line.of(*found) == least
        for hole in range(max_words):
            assert line.of(*found) <= line.of(*cost(merged(points, hole, max_words)))


def slow(layout: Sequence[Point], periods: Sequence[int | None]) -> Profile:
    """The points with periods of their own; the first is always due."""
    given = (None, *periods)
    return profile(
        [p.model_copy(update={"every_s": every}) for p, every in zip(layout, given, strict=False)]
    )


def planned(subject: Profile, line: Cost) -> PlannedDevice:
    device = PlannedDevice("meter", "modbus-tcp://h", 1, 1_000_000, plan_requests(subject, line))
    return replace(device, fields=fields_of(subject), max_words=subject.max_words, cost=line)


@settings(deadline=None)
@given(layouts(), st.fractions(0, 20), st.lists(st.sampled_from([None, 5, 60]), min_size=10))
def test_of_each_set_of_points_that_are_due_together_the_plan_is_the_least(
    layout: tuple[list[Point], int], request_words: Fraction, periods: list[int | None]
) -> None:
    line = Cost(request_words)
    device = planned(slow(layout[0], periods).model_copy(update={"max_words": layout[1]}), line)
    for slot_s in (1, 5, 60, 65, 300):
        every = zip(layout[0], (None, *periods), strict=False)
        due = [p for p, every_s in every if not every_s or slot_s % every_s == 0]
        plan = device.plan(device.due(slot_s * 1_000_000))

        assert line.of(*cost(plan)) == least_cost(due, layout[1], request_words)
    assert device.plan(device.due(None)) == device.requests, "what is shown and read by hand is all"


@settings(deadline=None)
@given(layouts(), st.sets(st.integers(0, 60), max_size=6))
def test_around_what_is_refused_the_plan_is_the_least_that_asks_for_none_of_it(
    layout: tuple[list[Point], int], holes: set[int]
) -> None:
    points, max_words = layout
    spans = {Span(p.table, *p.span) for p in points}
    refused = [Span(table, hole, hole + 1) for hole in holes for table in ("holding", "input")]
    left = [s for s in spans if not any(s.contains(hole) for hole in refused)]
    plan = plan_spans(spans, max_words, TCP, refused)

    assert not any(span_of(request).contains(hole) for request in plan for hole in refused)
    assert all(any(span_of(request).contains(span) for request in plan) for span in left)
    assert len(plan) <= len(left)
    greedy = 0
    for table in ("holding", "input"):  # leftmost first: fewest blocks of a line of spans
        end = first = -1
        for span in sorted(s for s in left if s.table == table):
            block = Span(table, first, max(end, span.end))
            if first < 0 or block.end - first > max_words or any(map(block.contains, refused)):
                greedy, first, end = greedy + 1, span.first, span.end
            end = max(end, span.end)
    assert len(plan) <= greedy


def test_the_hole_that_pays_grows_with_speed_and_delay() -> None:
    found = [Cost.rtu(*line).request_words for line in ((9600, 0.02), (115_200, 0.02), (9600, 0))]

    assert [round(float(words or 0), 1) for words in found] == [18.7, 114.7, 10.0]
    points = [point(0, 0), point(1, 20)]  # a hole of 19
    assert len(plan_requests(profile(points), Cost.rtu(9600, 0.02))) == 2
    assert len(plan_requests(profile(points), Cost.rtu(9600, 0.025))) == 1
    assert len(plan_requests(profile(points), TCP)) == len(plan_requests(profile(points))) == 1


def test_a_value_is_never_parted_from_its_scale_register() -> None:
    far = point(0, 0).model_copy(update={"scale_register": ScaleRegister(address=39)})

    assert plan_requests(profile([far]), Cost.rtu(9600, 0)) == (Request("holding", 0, 40),)
    assert plan_requests(profile([far, point(1, 20)]), Cost.rtu(9600, 0)) == (
        Request("holding", 0, 40),
    )
    with pytest.raises(ConfigError, match=r"takes 40 words with its scale register .* to 40 or"):
        plan_requests(profile([far], 39))
    beyond = point(0, 0).model_copy(update={"scale_register": ScaleRegister(address=125)})
    with pytest.raises(ConfigError, match=r"takes 126 words .* Leave it out"):
        plan_requests(profile([beyond]))


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
        assert sum(r.count for r in requests) >= max(p.words for p in shipped.registers)


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
