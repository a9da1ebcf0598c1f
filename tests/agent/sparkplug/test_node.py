"""What an edge node says, message by message, without a broker."""

from __future__ import annotations

from joulemark_agent.sparkplug.node import (
    BAD,
    GOOD,
    BornDevice,
    EdgeNode,
    Known,
    Message,
    Sample,
    known_with,
)
from joulemark_agent.sparkplug.payload import Metric, parse_payload
from support.sparkplug_plant import COUNTER, DEVICE, GROUP, NAME, POINT, PROFILE

BORN = [BornDevice(DEVICE, PROFILE, {"epoch": "1"})]
FIRST = Sample(DEVICE, 1000, {POINT: "1500.5", COUNTER: "12345.678"}, {})
LATER = Sample(DEVICE, 2000, {POINT: "1600"}, {})  # a slow point was not due


def node(*samples: Sample) -> EdgeNode:
    known: Known = {}
    for sample in samples:
        known = known_with(known, sample)
    return EdgeNode(GROUP, NAME, BORN, 3, newest={DEVICE: known} if known else {})


def metrics(message: Message) -> dict[str | None, Metric]:
    return {metric.name: metric for metric in parse_payload(message.payload).metrics}


def quality(metric: Metric) -> object:
    return next(one.value for one in metric.properties if one.key == "Quality")


def test_a_birth_has_the_newest_value_of_every_point_also_of_those_that_are_read_rarely() -> None:
    _, birth = node(FIRST, LATER).births(3000)
    found = metrics(birth)
    assert (found[POINT].value, found[POINT].timestamp_ms) == (1600.0, 2000)
    assert (found[COUNTER].value, found[COUNTER].timestamp_ms) == (12345.678, 1000)
    assert quality(found[COUNTER]) == GOOD
    never = next(point.name for point in PROFILE.points if point.name not in FIRST.values)
    assert (found[never].value, quality(found[never])) == (None, BAD)


def test_a_birth_after_data_knows_what_the_data_said() -> None:
    speaking = node()
    speaking.data(FIRST, 1000)
    speaking.data(LATER, 2000)
    _, birth = speaking.births(3000)
    assert metrics(birth)[COUNTER].value == 12345.678


def test_the_metrics_of_a_birth_are_in_the_order_of_their_times() -> None:
    _, birth = node(FIRST, LATER).births(3000)
    times = [metric.timestamp_ms or 0 for metric in parse_payload(birth.payload).metrics]
    assert times == sorted(times)


def test_what_a_counter_shows_after_the_point_is_not_cut_off() -> None:
    _, data = node().data(FIRST, 1000)
    assert {metric.value for metric in parse_payload(data.payload).metrics} == {1500.5, 12345.678}


def test_a_reading_without_a_point_that_is_known_says_nothing() -> None:
    assert node(FIRST).data(Sample(DEVICE, 3000, {"other_w": "1"}, {}), 3000) == []
    assert node(FIRST).data(Sample("stranger", 3000, {POINT: "1"}, {}), 3000) == []


def test_what_waited_does_not_become_the_state_of_now() -> None:
    speaking = node(FIRST, LATER)
    speaking.data(Sample(DEVICE, 500, {POINT: "7"}, {}), 3000, is_historical=True)
    _, birth = speaking.births(4000)
    assert metrics(birth)[POINT].value == 1600.0
