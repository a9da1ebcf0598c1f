"""The event log of counters: what the API tells of it, and what the page of the device shows."""

import pytest_asyncio

from support import pages
from support.evidence import METER, PERIOD_US, START_US, reading
from support.pages import PLACE

WH = [1000, 1100, 1200, 0, 0, 1500, 1600, 40, 90, 190, *range(290, 4000, 100)]


@pytest_asyncio.fixture
async def client(tmp_path):
    """Half a day of a meter whose count shows 0 for a while and then begins anew."""
    site = pages.site_documents()
    profile = site.profile(METER)
    rows = [
        reading(
            profile,
            METER,
            START_US + k * PERIOD_US,
            {
                "energy_wh": wh,
                "power_w": 400,
                "power_factor_ratio": 1,
                "reactive_lagging_varh": 7,
                "reactive_leading_varh": 7,
            },
        )
        for k, wh in enumerate(WH)
    ]
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


async def test_the_page_shows_the_log_in_both_languages(client):
    english = (await client.get(f"{PLACE}?lang=en")).text
    assert "What the counters did besides counting" in english
    assert "it began anew: the step books nothing" in english
    assert "적산값 이벤트" in (await client.get(f"{PLACE}?lang=ko")).text
