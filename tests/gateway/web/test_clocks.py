"""What a machine's own clock did: what the API tells of it, and what the device's page shows."""

import pytest_asyncio

from support import pages
from support.evidence import METER, PERIOD_US, SITE, START_US, documents, profile_mapping, reading
from support.pages import PLACE

DEVICE = "compressor"
HERE = f"/sites/{SITE}/devices/{DEVICE}"
STAMPS_S = [1_600_000_000 + 900 * k for k in range(6)] + [1_600_000_000, 1_600_000_900]


@pytest_asyncio.fixture
async def client(tmp_path):
    """A compressor whose clock is set back once, so that it shows two times again."""
    site = documents(profiles={DEVICE: profile_mapping("virtual_compressor_a1")})
    values = {"power_w": 100_000, "header_gauge_pressure_pa": 0}
    rows = [
        reading(
            site.profile(DEVICE),
            DEVICE,
            START_US + k * PERIOD_US,
            {**values, "sampled_at_s": stamp_s},
        )
        for k, stamp_s in enumerate(STAMPS_S)
    ]
    async with pages.asking_of(tmp_path, site, DEVICE, rows) as asked:
        yield asked


async def test_every_event_is_told_with_its_times_and_its_record(client):
    found = (await client.get(f"/api/v1{HERE}/clocks")).json()
    assert [
        (e["code"], (e["at_us"] - START_US) // PERIOD_US, e["before_us"], e["after_us"])
        for e in found["events"]
    ] == [
        ("clock_step", 6, STAMPS_S[5] * 10**6, STAMPS_S[6] * 10**6),
        ("repeated_stamp", 6, STAMPS_S[5] * 10**6, STAMPS_S[6] * 10**6),
        ("repeated_stamp", 7, STAMPS_S[5] * 10**6, STAMPS_S[7] * 10**6),
    ]
    assert found["by_code"] == {"clock_step": 1, "repeated_stamp": 2}
    assert found["is_whole"]
    event = found["events"][0]
    leaf = await client.get(
        f"/api/v1{HERE}/records?epoch={event['epoch']}&seq={event['seq']}&limit=1"
    )
    assert leaf.json()["leaves"][0]["values"]["sampled_at_s"] == str(STAMPS_S[6])


async def test_days_without_such_an_event_show_none(client):
    found = (await client.get(f"/api/v1{HERE}/clocks?from=2017-12-31&to=2017-12-31")).json()
    assert found["events"] == []


async def test_the_page_shows_them_in_both_languages_beside_the_counters(client):
    english = (await client.get(f"{HERE}?lang=en")).text
    assert "earlier than the time before it" in english
    assert "2020-09-13 22:41:40" in english  # the fifth time but one, in Seoul
    assert "<h3>시각 이벤트" in (await client.get(f"{HERE}?lang=ko")).text


async def test_a_device_that_states_no_time_has_no_such_section(tmp_path):
    site = pages.site_documents()
    async with pages.asking_of(tmp_path, site, METER, [only_row(site)]) as asked:
        assert not (await asked.get(f"/api/v1{PLACE}/clocks")).json()["states_time"]
        assert "the machine states" not in (await asked.get(f"{PLACE}?lang=en")).text


def only_row(site):
    """One reading of the meter."""
    profile = site.profile(METER)
    return reading(profile, METER, START_US, {point.name: 1 for point in profile.points})
