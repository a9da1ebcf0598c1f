"""What a device says that cannot be true: found again from the evidence, and shown."""

from decimal import Decimal

import pytest_asyncio

from joulemark_agent.kernels.checks import failures, in_windows, sample_of
from joulemark_agent.kernels.decode import decode_responses
from joulemark_gateway.web.words import WORDS
from support import pages
from support.evidence import METER, PERIOD_US, START_US, reading
from support.pages import PLACE

SITE_PAPERS = pages.site_documents()
READINGS = [
    reading(
        SITE_PAPERS.profile(METER),
        METER,
        START_US + k * PERIOD_US,
        {
            "energy_wh": 1000 - 10 * (k == 20),
            "power_w": 400,
            "power_factor_ratio": Decimal("1.7") if k > 4 else 1,
            "reactive_lagging_varh": 7,
            "reactive_leading_varh": 7,
        },
    )
    for k in range(24)
]


@pytest_asyncio.fixture
async def client(tmp_path):
    """Six hours of a meter with a power factor that none can have."""
    async with pages.asking_of(tmp_path, SITE_PAPERS, METER, READINGS) as asked:
        yield asked


async def test_the_collector_finds_what_the_agent_found(client):
    told = (await client.get(f"/api/v1{PLACE}/checks")).json()
    profile = SITE_PAPERS.profile(METER)
    seen = [sample_of(r.t_utc_us / 1e6, *decode_responses(profile, r.responses)) for r in READINGS]
    assert told["newest_us"] == READINGS[-1].t_utc_us
    assert [(row["rule"], row["points"], row["found"]) for row in told["findings"]] == [
        (v.rule, list(v.points), v.found) for v in failures(profile, seen)
    ]
    assert [row["rule"] for row in told["findings"]] == ["range", "monotonic"]


async def test_where_nothing_was_compared_nothing_is_said_to_hold(tmp_path):
    async with pages.asking_of(tmp_path, SITE_PAPERS, METER, READINGS[:2]) as client:
        told = (await client.get(f"/api/v1{PLACE}/checks")).json()
        assert (told["readings"], told["findings"]) == (0, [])
        page = (await client.get(f"{PLACE}?lang=en")).text
        assert "contradict neither" not in page
        assert "Too few readings" in page


async def test_the_page_says_how_many_readings_were_compared(tmp_path):
    async with pages.asking_of(tmp_path, SITE_PAPERS, METER, READINGS[:5]) as client:
        assert "The last 5 readings looked at" in (await client.get(f"{PLACE}?lang=en")).text


async def test_the_page_says_it_in_both_languages(client):
    english = (await client.get(f"{PLACE}?lang=en")).text
    assert "A value that cannot be" in english
    assert "Check address, type, word order and scale of power_factor_ratio." in english
    korean = (await client.get(f"{PLACE}?lang=ko")).text
    assert "있을 수 없는 값" in korean
    assert "power_factor_ratio의 주소" in korean
    assert "energy_wh이(가) 1,000에서 990(으)로 감소" in korean


def test_a_window_holds_what_an_agent_would_look_at():
    every_s = [0.0, 59.9, 120.0, *range(21_000, 21_601)]
    short, long = in_windows([float(t_s) for t_s in every_s])
    assert [every_s[i] for i in short][:2] == [21_000, 21_005]
    assert [every_s[i] for i in long][:4] == [0.0, 59.9, 120.0, 21_000]
    assert in_windows([1.0, 2.0]) == [[], []]
    assert in_windows([]) == [[], []]


def test_every_check_has_a_name_and_its_advice_is_translated():
    assert (
        WORDS["ko"]
        .told("Check scale, address and transformer ratios of energy_wh and power_w.")
        .startswith("energy_wh과(와) power_w의 배율")
    )
