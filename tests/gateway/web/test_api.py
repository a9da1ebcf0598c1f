"""The JSON API: bounded, additive, and the same figures as the evidence gives."""

import re
from dataclasses import replace
from datetime import date
from decimal import Decimal

import pytest

from joulemark_agent.contract.canonical import parse_canonical
from joulemark_agent.contract.factor import FactorSet
from joulemark_gateway.api import energy
from support.evidence import COUNTER, METER, SITE, START_US
from support.pages import COMPRESSOR, DAY_US, PLACE, energies, fill, site_documents

API = f"/api/v1/sites/{SITE}"
METER_API = f"/api/v1{PLACE}"


async def test_a_simulated_site_has_a_clock_that_stands_in_the_past(client):
    [site] = (await client.get("/api/v1/sites")).json()["sites"]
    assert site["simulated"]
    assert site["now_us"] == START_US + 4 * DAY_US + 20_000
    assert site["day"] == "2018-01-04"
    assert site["power_of"] == [METER], "a meter and the machines behind it are never added"
    assert {device["id"] for device in site["devices"]} == {METER, COUNTER, COMPRESSOR}


async def test_a_live_site_says_how_old_its_values_are(tmp_path):
    from support.pages import asking  # noqa: PLC0415

    state = fill(tmp_path / "state", days=3, clock="system")
    now_us = START_US + 3 * DAY_US + 3_600_000_000
    with state.sources(now_us=lambda: now_us) as sources:
        async with asking(sources) as client:
            site = (await client.get(API)).json()
            assert site["now_us"] == now_us
            meter = next(row for row in site["devices"] if row["id"] == METER)
            assert meter["state"] == "late"
            assert site["power_w"] is None, "a value of an hour ago is not the power now"
            text = (await client.get(f"/sites/{SITE}")).text
            assert "Simulated" not in text
            for part in ("clock", "now", "device-rows"):
                assert re.search(f'id="{part}"[^>]* data-live', text), "what ages is kept fresh"


async def test_days_are_the_sums_of_the_steps_and_of_the_energy_that_was_put_in(client):
    found = (await client.get(f"{METER_API}/days?from=2018-01-01&to=2018-01-04")).json()
    [device] = found["devices"]
    given = energies(4)
    assert device["days"][0]["energy_wh"] == sum(given[:96])
    assert device["total_wh"] == sum(day["energy_wh"] for day in device["days"])
    hole = device["days"][1]
    assert hole["missing_us"] == 900_000_000, "the hole in which nothing counted"
    assert hole["energy_wh"] == sum(given[96:192]) - given[130]
    gapped = device["days"][2]
    assert gapped["estimated_us"] == 4 * 900_000_000
    for day in device["days"]:
        whole = day["covered_us"] + day["estimated_us"] + day["missing_us"]
        assert whole == day["end_us"] - day["start_us"]


async def test_a_device_without_any_value_that_day_counts_as_missing(client, monkeypatch):
    """Left out of the site's share it would read as 100 % measured."""
    days_of = energy.days_of

    def silent(reader, site, device, *rest):
        found = days_of(reader, site, device, *rest)
        if device.id != COMPRESSOR:
            return found
        blank = [
            replace(day, energy_wh=None, covered_us=0, missing_us=DAY_US) for day in found.days
        ]
        return replace(found, days=tuple(blank), total_wh=None)

    monkeypatch.setattr("joulemark_gateway.api.plant.METER_KIND", "none")
    whole = (await client.get(API)).json()
    assert whole["energy_of"] == [COMPRESSOR, METER]
    monkeypatch.setattr(energy, "days_of", silent)
    site = (await client.get(API)).json()
    assert site["energy_of"] == [METER]
    assert site["passed_us"] - site["covered_us"] >= DAY_US


async def test_co2e_is_summed_first_and_rounded_last(client):
    found = (await client.get(f"{METER_API}/days?from=2018-01-01&to=2018-01-04")).json()
    [device] = found["devices"]
    factors = FactorSet.model_validate(parse_canonical(site_documents().factors))
    factor = factors.choose(rule_set="ESG", jurisdiction="KR", day=date(2018, 1, 1))
    exact = Decimal(int(device["total_wh"])) / 1000 * factor.factor_kg_per_kwh
    assert abs(Decimal(device["carbon"]["co2e_kg"]) - exact) <= Decimal("0.0000005")
    assert device["carbon"]["factors"] == [factor.id]


async def test_without_a_factor_there_is_no_co2e_and_the_reason_is_said(client):
    found = (await client.get(f"{METER_API}/days?from=2016-12-30&to=2016-12-31")).json()
    carbon = found["devices"][0]["days"][0]["carbon"]
    assert (carbon["co2e_kg"], carbon["why"]) == (None, "no_energy")


async def test_shares_of_quality_add_up_to_what_was_due(client):
    found = (await client.get(f"{METER_API}/quality?from=2018-01-01&to=2018-01-04")).json()
    shares = found["shares"]
    assert shares["due"] == 4 * 96 * 5
    assert sum(value for name, value in shares.items() if name != "due") == shares["due"]
    assert shares["missing"] == 3 * 5
    assert shares["bad"] == 1, "the power that was beyond its range"
    assert [gap["slots"] for gap in found["gaps"]] == [3]


@pytest.mark.parametrize(("kind", "point"), [("samples", "power_w"), ("amounts", "energy_wh")])
async def test_pages_of_rows_leave_none_out(client, kind, point):
    url = f"{METER_API}/{kind}?point={point}"
    whole = (await client.get(url + "&limit=10000")).json()
    rows, start = [], ""
    while True:
        part = (await client.get(f"{url}&limit=100{start}")).json()
        rows += part[kind]
        if part["next_us"] is None:
            break
        moment = _iso(part["next_us"])
        start = f"&from={moment}"
    assert rows == whole[kind]
    assert whole["next_us"] is None


def _iso(time_us: int) -> str:
    from joulemark_gateway.api.answers import iso  # noqa: PLC0415

    return iso(time_us)


@pytest.mark.parametrize(
    ("path", "code"),
    [
        (f"{METER_API}/samples?point=power_w&from=2018-01-01T00:00:00", "no_offset"),
        (f"{METER_API}/samples?point=power_w&from=2019-01-01T00:00:00Z", "bad_span"),
        (f"{METER_API}/samples?point=nothing_w", "no_point"),
        (f"{METER_API}/samples?point=<script>", "bad_parameter"),
        (f"{METER_API}/samples", "bad_parameter"),
        (f"{METER_API}/amounts?point=power_w", "no_counter"),
        (f"{METER_API}/days?from=2018-02-01&to=2018-01-01", "bad_span"),
        (f"{METER_API}/days?from=2018-01-01&to=2020-01-01", "span_too_long"),
        (f"{METER_API}/days?from=0001-01-01&to=0001-01-02", "bad_span"),
        (f"{METER_API}/days?to=9999-12-31", "bad_span"),
        (f"{METER_API}/days?from=9999-12-31", "bad_span"),
        (f"{METER_API}/records?seq=-1", "bad_parameter"),
        (f"{METER_API}/analysis?to=9999-12-31T00:00:00Z", "span_too_long"),
        (f"{API}/devices/none", "no_device"),
        ("/api/v1/sites/none", "no_site"),
        ("/api/v1/sites/..%2F..", "no_address"),
        ("/api/v1/projects/none", "no_project"),
    ],
)
async def test_what_cannot_be_given_is_refused_with_its_code(client, path, code):
    answer = await client.get(path)
    assert answer.status_code in {404, 422}
    assert answer.json()["code"] == code


async def test_an_equipment_model_says_figures_spans_and_refusals(client):
    found = (await client.get(f"{API}/devices/{COMPRESSOR}/analysis")).json()
    figures = {figure["name"]: figure for figure in found["figures"]}
    assert found["has_model"]
    assert figures["leak_pa_s"]["value"] == pytest.approx(-4000 / 900, rel=1e-3)
    assert figures["specific_power_j_m3"]["value"] is None
    assert "no flow meter" in figures["specific_power_j_m3"]["why"]
    assert {"leak", "load", "unload", "off"} <= {span["kind"] for span in found["spans"]}


async def test_a_device_without_a_model_has_no_analysis(client):
    found = (await client.get(f"{API}/devices/{COUNTER}/analysis")).json()
    assert not found["has_model"]
    assert not found["figures"]


async def test_health_says_what_can_be_read(client):
    found = (await client.get("/health")).json()
    assert (found["status"], found["evidence"], found["series"], found["trees"]) == (
        "ok",
        "ok",
        "ok",
        3,
    )
