"""The event log of counters: what the API tells of it, and what the page of the device shows."""

from dataclasses import replace

import pytest_asyncio

from support import pages
from support.evidence import METER, PERIOD_US, START_US, reading
from support.pages import PLACE

WH = [1000, 1100, 1200, 0, 0, 1500, 1600, 40, 90, 190, *range(290, 4000, 100)]


def row(site, k, wh):
    """What the meter answers at a slot; None: no count."""
    profile = site.profile(METER)
    values = {"energy_wh": wh or 0, "power_w": 400, "power_factor_ratio": 1}
    values |= {"reactive_lagging_varh": 7, "reactive_leading_varh": 7}
    found = reading(profile, METER, START_US + k * PERIOD_US, values)
    return found if wh is not None else replace(found, responses=())


@pytest_asyncio.fixture
async def client(tmp_path):
    """Half a day of a meter whose count shows 0 for a while and then begins anew."""
    site = pages.site_documents()
    rows = [row(site, k, wh) for k, wh in enumerate(WH)]
    async with pages.asking_of(tmp_path, site, METER, rows) as asked:
        yield asked


async def test_every_event_is_told_with_its_counts_and_its_record(client):
    found = (await client.get(f"/api/v1{PLACE}/counters")).json()
    energy = [event for event in found["events"] if event["point"] == "energy_wh"]
    assert [
        (e["code"], (e["at_us"] - START_US) // PERIOD_US, e["before"], e["after"], e["booked"])
        for e in energy
    ] == [("false_zero", 3, "1200", "0", "0"), ("reset", 7, "1600", "40", "0")]
    assert found["by_code"] == {"false_zero": 1, "reset": 1}
    assert found["is_whole"]
    [row] = [row for row in found["counters"] if row["point"] == "energy_wh"]
    assert (row["step"], row["daily"], row["wraps_at"], row["most_per_hour"]) == (
        "1", False, None, None,
    )  # fmt: skip
    leaf = (await client.get(f"/api/v1{PLACE}/records?seq={energy[1]['seq']}&limit=1")).json()
    assert leaf["leaves"][0]["values"]["energy_wh"] == "40"


async def test_the_energy_of_the_day_is_that_of_the_log(client):
    days = (await client.get(f"/api/v1{PLACE}/days")).json()
    [day] = [day for day in days["devices"][0]["days"] if day["energy_wh"]]
    assert day["energy_wh"] == (1600 - 1000) + (WH[-1] - 40)
    assert day["estimated_us"] == 3 * PERIOD_US
    records = (await client.get(day["records"])).json()
    assert records["sum"]["energy_wh"] == day["energy_wh"]


async def test_a_zero_after_a_long_silence_is_judged_by_the_last_count_before_it(tmp_path):
    """Four days without a good count lie between them: more leaves than one look back."""
    site = pages.site_documents()
    silent = dict.fromkeys(range(96, 5 * 96))
    counts = {k: 1000 + k for k in range(6 * 96)} | silent | {5 * 96: 0}
    rows = [row(site, k, wh) for k, wh in sorted(counts.items())]
    async with pages.asking_of(tmp_path, site, METER, rows) as asked:
        day = "from=2018-01-06&to=2018-01-06"
        found = (await asked.get(f"/api/v1{PLACE}/counters?{day}")).json()
        [event] = [event for event in found["events"] if event["point"] == "energy_wh"]
        assert (event["code"], event["before"], event["after"]) == ("wake_up_zero", "1095", "0")
        leaf = await asked.get(f"/api/v1{PLACE}/records?epoch={event['epoch']}&seq={event['seq']}")
        assert leaf.json()["leaves"][0]["values"]["energy_wh"] == "0"


async def test_the_page_says_how_many_of_each_and_that_a_list_is_cut(tmp_path):
    site = pages.site_documents()
    rows = [row(site, k, 0 if k % 3 == 2 else 1000 + k) for k in range(160)]
    async with pages.asking_of(tmp_path, site, METER, rows) as asked:
        text = (await asked.get(f"{PLACE}?lang=en")).text
        assert 'a 0 that was no count: <span class="n">53</span>' in text
        assert "The first 50 of 53 are listed." in text


async def test_the_page_shows_the_log_in_both_languages(client):
    english = (await client.get(f"{PLACE}?lang=en")).text
    assert "What the counters did besides counting" in english
    assert "it began anew: the step books nothing" in english
    assert "적산값 이벤트" in (await client.get(f"{PLACE}?lang=ko")).text
