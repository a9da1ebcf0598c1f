"""Time stamps judged from the evidence: a device's own, and those of the agent's clock."""

from dataclasses import replace

import pytest

from joulemark_agent.contract.profile import NODE
from joulemark_agent.contract.reading import Reading, Response, TimeQuality
from joulemark_agent.kernels.datavalue import DataValue, encode
from joulemark_gateway.evidence import history
from joulemark_gateway.evidence.clocks import agent_clock_events, clock_events
from support.evidence import (
    METER,
    PERIOD_US,
    START_US,
    build_tree,
    documents,
    leaves_of,
    meter_readings,
    profile_mapping,
    reading,
)

DEVICE = "compressor"


def events(stamps_s, **keys):
    """Of a machine that states these times at the slots from the first on."""
    mapping = profile_mapping("virtual_compressor_a1")
    [point] = [row for row in mapping["points"] if row["name"] == "sampled_at_s"]
    point |= keys
    mapping["golden"] = [row for row in mapping["golden"] if row["point"] != "sampled_at_s"]
    site = documents(profiles={DEVICE: mapping})
    profile = site.profile(DEVICE)
    readings = [
        reading(
            profile,
            DEVICE,
            START_US + i * PERIOD_US,
            {"power_w": 100_000, "header_gauge_pressure_pa": 0, "sampled_at_s": stamp_s},
        )
        for i, stamp_s in enumerate(stamps_s)
    ]
    tree = history.parse_tree(leaves_of(build_tree(site, DEVICE, readings)))
    return tree, clock_events(tree, profile)


def test_a_clock_that_goes_on_is_silent():
    assert events([100, 1000, 1900])[1] == ()


def test_a_step_back_names_the_reading_that_shows_it_and_how_far():
    tree, found = events([7000, 8000, 4700, 8000])

    assert [(e.code, e.slot_us, e.seq) for e in found] == [
        ("clock_step", tree.records[2].slot_us, tree.records[2].seq),
        ("repeated_stamp", tree.records[3].slot_us, tree.records[3].seq),
    ]
    assert found[0].step_us == -3_300_000_000
    assert {event.point for event in found} == {"sampled_at_s"}


def test_a_number_that_can_be_no_time_is_passed_over():
    assert events([500, 2**64 - 1, 600], type="uint64", address=100)[1] == ()


def test_a_variable_keeps_its_source_time_until_it_changes():
    """It tells when the value changed last (OPC UA part 4, SourceTimestamp): that is no fault."""
    variable = {"name": "power_w", "node": "nsu=urn:x;i=1", "type": "int32"}
    machine = {
        "model": "a_server",
        "kind": "furnace",
        "protocol": "opcua",
        "source": "made for a test",
        "confidence": "bench",
        "points": [variable],
    }
    site = documents(profiles={DEVICE: machine})
    readings = [
        Reading(
            DEVICE,
            START_US + i * PERIOD_US,
            START_US + i * PERIOD_US,
            i + 1,
            TimeQuality("ntp", 0),
            (Response(NODE, 0, encode(DataValue("int32", bytes(4), 0, at_s * 1_000_000))),),
        )
        for i, at_s in enumerate([100, 100, 100, 200, 150, 200])
    ]
    tree = history.parse_tree(leaves_of(build_tree(site, DEVICE, readings)))
    found = clock_events(tree, site.profile(DEVICE))
    assert [(e.code, e.seq - tree.records[0].seq) for e in found] == [
        ("clock_step", 4),
        ("repeated_stamp", 5),
    ]


@pytest.mark.parametrize("times", [2, 3])
def test_a_stamp_that_is_shown_again_is_a_repeat(times):
    assert [e.code for e in events([500] * times)[1]] == ["repeated_stamp"] * (times - 1)


def agents_events(steps_us, *, sync="ntp"):
    """Of six readings before each of which the agent's clock was set by so much."""
    site, set_by_us, rows = documents(clock="system", first_slot_us=None), 0, []
    made = [r for r in meter_readings(site, [100] * 5, sync=sync) if isinstance(r, Reading)]
    for i, (one, step_us) in enumerate(zip(made, steps_us, strict=True)):
        set_by_us += step_us
        at_us = START_US + i * PERIOD_US
        rows.append(replace(one, t_utc_us=at_us + set_by_us, t_mono_ns=at_us * 1000))
    tree = history.parse_tree(leaves_of(build_tree(site, METER, rows)))
    events = agent_clock_events(tree)
    slots = [r.slot_us for r in tree.records]
    return [(e.code, e.point, slots.index(e.slot_us), e.step_us) for e in events]


def test_every_step_of_the_agents_clock_names_its_reading_and_how_far_it_went():
    steps_us = [0, -1_000_000, 0, 3_600_000_000, 0, -1_000_000]
    assert agents_events(steps_us) == [
        ("agent_clock_set", "agent", i, steps_us[i]) for i in (1, 3, 5)
    ]


def test_a_clock_that_runs_a_little_faster_or_is_simulated_was_not_set():
    assert agents_events([0, 90_000, -90_000, 400_000, 0, 0]) == []
    assert agents_events([0, 10**9, 0, -(10**9), 0, 0], sync="simulated") == []
