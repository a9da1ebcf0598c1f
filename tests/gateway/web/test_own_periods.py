"""Points that are asked for more seldom than their device: no gap, no bad value, no doubt."""

import numpy as np
import pytest
import pytest_asyncio

from joulemark_agent.contract.profile import Profile
from joulemark_agent.contract.reading import Gap, Reading, Response, TimeQuality
from joulemark_agent.equipment.readings import of_records, slow_gauges_us
from joulemark_gateway.evidence import history
from joulemark_gateway.measure.intervals import counted
from support import pages
from support.counters import with_own_period
from support.evidence import METER, START_US, build_tree, documents, leaves_of
from support.pages import PLACE

PERIOD_S, OWN_S = 900, 3600
PERIOD_US, EVERY = PERIOD_S * 1_000_000, OWN_S // PERIOD_S
SLOTS = 48  # half a day
HOLE, BAD = range(9, 12), 24  # slots without a reading; a due slot without an answer
MAPPING = with_own_period(OWN_S).model_dump(mode="json", exclude_unset=True)


def rows(every=EVERY) -> list[Reading]:
    """Energy every so many slots, power at each, and once the energy is not answered."""
    found = []
    for k in range(SLOTS + 1):
        if k in HOLE:
            continue
        responses = [Response("holding", 8, (400).to_bytes(2, "big"))]
        if k % every == 0 and k != BAD:
            responses.insert(0, Response("holding", 0, (5000 + 100 * k).to_bytes(4, "big")))
        slot_us = START_US + k * PERIOD_US
        quality = TimeQuality("ntp", 0)
        mono_ns = k * PERIOD_US * 1000 + 1
        found.append(Reading(METER, slot_us, slot_us + 20_000, mono_ns, quality, tuple(responses)))
    return found


def site():
    return documents(period_s=PERIOD_S, profiles={METER: MAPPING})


def filled(readings):
    """With the gaps an agent states."""
    gap = Gap(METER, START_US + HOLE[0] * PERIOD_US, START_US + HOLE[-1] * PERIOD_US, 3, "timeout")
    return [*readings[: HOLE[0]], gap, *readings[HOLE[0] :]]


@pytest_asyncio.fixture
async def client(tmp_path):
    async with pages.asking_of(tmp_path, site(), METER, filled(rows())) as asked:
        yield asked


async def test_only_what_was_due_and_not_answered_is_missing(client):
    quality = (await client.get(f"/api/v1{PLACE}/quality")).json()["shares"]
    due = SLOTS + 1 + SLOTS // EVERY + 1
    assert quality["due"] == due
    assert quality["good"] == due - len(HOLE) - 1
    assert quality["bad"] == 0
    assert quality["missing"] == len(HOLE) + 1


async def test_the_newest_value_of_a_slow_point_is_its_last_good_one(client):
    points = (await client.get(f"/api/v1{PLACE}/points")).json()["points"]
    [energy] = [row for row in points if row["name"] == "energy_wh"]
    assert energy["latest"]["quality"] == "good"
    assert energy["latest"]["value"] == 5000 + 100 * SLOTS


async def test_its_energy_is_measured_and_the_slot_without_an_answer_a_sum(client):
    [day] = (await client.get(f"/api/v1{PLACE}/days")).json()["devices"][0]["days"][-1:]
    assert day["energy_wh"] == 100 * SLOTS
    assert day["estimated_us"] == 2 * OWN_S * 1_000_000
    assert day["missing_us"] == 20_000  # since the last slot


async def test_the_chart_joins_what_was_read_from_due_to_due(client):
    chart = (await client.get(f"{PLACE}?point=energy_wh")).text
    assert chart.count('<path class="line value"') == 2 * 2  # one slot was not answered
    assert '<circle class="point"' not in chart


def test_a_step_from_due_to_due_is_measured_and_a_longer_one_says_why():
    tree = history.parse_tree(leaves_of(build_tree(site(), METER, filled(rows()))))
    found = counted(history.history_of(tree, site().by_digest(METER)), _point(MAPPING))
    inside = list(found.spans_in(START_US, START_US + SLOTS * PERIOD_US))
    assert [(span.is_estimated, span.reasons) for span in inside] == [(True, ("no_reading",))]


def _point(mapping):
    return Profile.model_validate(mapping).point("energy_wh")


@pytest.mark.parametrize("lost", [None, 16])
def test_a_slow_gauge_holds_its_value_until_it_is_due_again_and_no_longer(lost):
    energy, power = MAPPING["points"]
    slow = {**MAPPING, "points": [{**energy, "every_s": None}, {**power, "every_s": OWN_S}]}
    slow["points"][0].pop("every_s")
    profile = Profile.model_validate(slow)
    tree = history.parse_tree(leaves_of(build_tree(site(), METER, rows(1))))
    records = []
    for record in tree.records:
        slot = (record.slot_us - START_US) // PERIOD_US
        values, quality = dict(record.values), dict(record.quality)
        if slot % EVERY or slot == lost:
            del values["power_w"]
            quality["power_w"] = "not_due"
        records.append(record._replace(values=values, quality=quality))
    found = of_records(
        records, ["energy_wh", "power_w"], PERIOD_US, slow_us=slow_gauges_us(profile)
    )
    without = of_records(records, ["energy_wh", "power_w"], PERIOD_US)
    assert np.isnan(without.values["power_w"]).sum() > 30  # the naive way
    slots = (found.t_us - 20_000 - START_US) // PERIOD_US
    gone = [] if lost is None else [lost + 3]  # it held from four slots before, for six
    assert slots[np.isnan(found.values["power_w"])].tolist() == gone
