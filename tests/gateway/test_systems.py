"""Systems of devices at the collector: which there are, and their route and page."""

import math
import time
from dataclasses import replace
from decimal import Decimal

import pytest
import pytest_asyncio

from joulemark_agent.contract.canonical import parse_canonical
from joulemark_agent.contract.document import document_bytes
from joulemark_agent.contract.errors import EvidenceError
from joulemark_gateway.evidence.store import FILE, SqliteStore
from joulemark_gateway.series.embedded import EmbeddedSeries
from joulemark_gateway.series.mirror import catch_up
from joulemark_gateway.systems import System, analysis_of, require_right, systems_of
from joulemark_gateway.web.application import application
from support.book import NOW_US, Book, registry
from support.evidence import METER, SITE, START_US, build_tree, documents, meter_readings, reading
from support.pages import State, asking, compressor_profile, gate

HOUSE = {
    "id": "air",
    "kind": "compressor_house",
    "members": {"compressors": ["a-1", "b-1"]},
    "parameters": {},
}
SUN = {
    "id": "building",
    "kind": "site_balance",
    "members": {"pv": ["pv-1"], "grid": [METER], "loads": ["a-1", "b-1"]},
    "parameters": {"reversed": []},
}
OLD = {**HOUSE, "id": "old", "members": {"compressors": ["a-1", "gone-1"]}}
TWICE = {**HOUSE, "id": "twice", "members": {"compressors": ["a-1", "a-1"]}}
API, PAGES = f"/api/v1/sites/{SITE}/systems", f"/sites/{SITE}/systems"
STEPS = 96  # one day


def power_profile(kind, point):
    """A machine of which only power is read."""
    points = [{"name": point, "table": "holding", "address": 0, "type": "float32"}]
    golden = [{"point": point, "words": [0x3F80, 0], "value": 1}]
    return compressor_profile(model=f"test_{kind}", kind=kind, points=points, golden=golden)


def site_documents(systems):
    """The virtual site with two compressors and an inverter, and these systems."""
    machine = power_profile("air_compressor", "power_w")
    inverter = power_profile("pv_inverter", "ac_power_w")
    levels = {"equipment": {"loaded_w": 30_000, "unloaded_w": 9_000}}
    made = documents(
        profiles={"a-1": machine, "b-1": machine, "gone-1": machine, "pv-1": inverter},
        settings={"a-1": levels, "b-1": levels, "gone-1": levels},
    )
    return replace(made, site=document_bytes({**parse_canonical(made.site), "systems": systems}))


def of_power(site, device, point, powers):
    profile, period_us = site.profile(device), site.period_us(device)
    return [
        reading(profile, device, START_US + k * period_us, {point: Decimal(power)})
        for k, power in enumerate(powers)
    ]


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A day in which one compressor loads and unloads, and the other only idles beside it."""
    folder = tmp_path_factory.mktemp("systems")
    site = site_documents([HOUSE, SUN, OLD, TWICE])
    trim = [30_000 if k // 3 % 2 else 9_000 for k in range(STEPS)]
    idle = [9_000] * STEPS
    sun = [max(0, round(50_000 * math.sin((k - 24) * math.pi / 48))) for k in range(STEPS)]
    results = {
        METER: meter_readings(site, [5_000] * STEPS),
        "a-1": of_power(site, "a-1", "power_w", trim),
        "b-1": of_power(site, "b-1", "power_w", idle),
        "pv-1": of_power(site, "pv-1", "ac_power_w", sun),
        "gone-1": of_power(site, "gone-1", "power_w", idle[:4]),
    }
    book = Book(registry(devices=tuple(results)))
    with SqliteStore(folder / FILE) as store:
        for device, rows in results.items():
            for batch in build_tree(site, device, rows):
                verdict, note = book.accepted(batch)
                store.accept(verdict, note=note, received_us=NOW_US)
        series = EmbeddedSeries(folder / "series.duckdb")
        while catch_up(store, series):
            pass
        series.close()
    with State(folder, folder).sources() as sources:
        yield sources, application(sources, gate(folder))


@pytest_asyncio.fixture
async def client(served):
    async with asking(*served) as asked:
        yield asked


async def test_the_systems_of_a_site_are_listed(client):
    found = (await client.get(API)).json()["systems"]
    assert {row["id"]: row["kind"] for row in found} == {
        "air": "compressor_house",
        "building": "site_balance",
        "old": "compressor_house",
        "twice": "compressor_house",
    }
    assert found[0]["members"] == HOUSE["members"]


async def test_a_house_says_what_its_machines_used_together(client):
    found = (await client.get(f"{API}/air")).json()
    figures = {figure["name"]: figure for figure in found["figures"]}
    assert found["system"]["id"] == "air"
    assert figures["energy_wh"]["value"] > 0
    assert figures["energy_wh"]["unit"] == "Wh"
    assert figures["b_1_idle_s"]["value"] > 23 * 3_600
    assert figures["specific_power_j_m3"]["value"] is None
    assert "flow" in figures["specific_power_j_m3"]["why"]


async def test_a_balance_says_what_was_used_of_the_sun(client):
    found = (await client.get(f"{API}/building")).json()
    figures = {figure["name"]: figure for figure in found["figures"]}
    assert figures["generated_wh"]["value"] > 0
    assert 0 < figures["self_consumption_ratio"]["value"] <= 1
    assert {span["kind"] for span in found["spans"]} == {"balance"}


async def test_a_span_may_be_asked_for(client):
    span = "?from=2018-01-01T06:00:00%2B09:00&to=2018-01-01T08:00:00%2B09:00"
    found = (await client.get(f"{API}/building{span}")).json()
    assert found["end_us"] - found["start_us"] == 2 * 3_600_000_000
    answer = await client.get(f"{API}/building?from=2018-01-01T06:00:00")
    assert answer.json()["code"] == "no_offset"


async def test_a_device_that_is_gone_is_no_reason_to_refuse_the_others(client):
    answer = await client.get(f"{API}/old?from=2018-01-01T06:00:00%2B09:00")
    assert answer.status_code == 200, answer.text
    assert answer.json()["end_us"] > START_US + (STEPS - 1) * 900_000_000


async def test_nothing_is_read_for_a_system_with_mistakes(client, monkeypatch):
    monkeypatch.setattr("joulemark_gateway.api.machines.samples_of", None)
    answer = await client.get(f"{API}/twice")
    assert answer.json()["code"] == "bad_document"
    page = await client.get(f"{PAGES}/twice")
    assert page.status_code == 200
    assert "is named 2 times" in page.text


async def test_the_slots_of_all_members_count_together(client, monkeypatch):
    monkeypatch.setattr("joulemark_gateway.api.systems._MOST_TOGETHER", 40)
    day = "from=2018-01-01T00:00:00%2B09:00&to=2018-01-02T00:00:00%2B09:00"
    answer = await client.get(f"{API}/building?{day}")
    assert answer.json()["code"] == "span_too_long"
    unasked = (await client.get(f"{API}/building")).json()
    assert unasked["end_us"] - unasked["start_us"] == 10 * 900_000_000


@pytest.mark.parametrize("path", [f"{API}/none", f"{PAGES}/none"])
async def test_a_system_that_is_not_there_is_told(client, path):
    answer = await client.get(path)
    assert answer.status_code == 404


@pytest.mark.parametrize(("language", "says"), [("en", "compressor house"), ("ko", "압축공기실")])
async def test_a_system_has_a_page_in_both_languages(client, language, says):
    answer = await client.get(f"{PAGES}/air?lang={language}")
    assert answer.status_code == 200
    assert says in answer.text
    for name in ("a-1", "b-1"):
        assert f'href="/sites/{SITE}/devices/{name}"' in answer.text
    assert "<svg" in answer.text or "refusals" in answer.text


async def test_the_page_of_a_balance_has_its_days(client):
    text = (await client.get(f"{PAGES}/building")).text
    assert "self-consumption" in text
    assert "Balance by day" in text


async def test_the_page_of_a_site_links_its_systems(client):
    text = (await client.get(f"/sites/{SITE}")).text
    for name in ("air", "building"):
        assert f'href="{PAGES}/{name}"' in text


def test_a_system_counts_where_the_documents_of_all_its_members_have_it():
    one, other = {"systems": [HOUSE]}, {"systems": [SUN, HOUSE]}
    assert set(systems_of({"a-1": one, "b-1": other})) == {"air"}
    assert systems_of({"a-1": one, "b-1": {}}) == {}
    changed = {"systems": [{**HOUSE, "parameters": {"flow": None}}]}
    assert systems_of({"a-1": one, "b-1": changed}) == {}
    assert systems_of({"a-1": one}) == {}


@pytest.mark.parametrize(
    "row", [None, "air", {}, {**HOUSE, "members": ["a-1"]}, {**HOUSE, "kind": 1}]
)
def test_what_is_no_system_is_none(row):
    assert systems_of({"a-1": {"systems": [row]}, "b-1": {"systems": row}}) == {}


def test_mistakes_in_a_signed_section_are_told():
    system = System("air", "no_such_kind", {}, {})
    with pytest.raises(EvidenceError, match="no_such_kind") as caught:
        analysis_of(system, {})
    assert caught.value.code == "bad_document"


BALANCE = {"id": "sun", "kind": "site_balance", "members": {"pv": ["pv-1"]}, "parameters": {}}


@pytest.mark.parametrize(
    "changes",
    [
        {"members": {}},
        {"members": {"pv": []}},
        {"id": "sun/../<b>"},
        {"members": {"pv": ["pv-1", "<b>"]}},
    ],
)
def test_a_system_without_members_or_with_a_name_that_is_none_is_no_system(changes):
    row = {**BALANCE, **changes}
    assert systems_of({"pv-1": {"systems": [row]}, "<b>": {"systems": [row]}}) == {}


def test_many_systems_of_many_devices_are_found_at_once():
    def document():
        members = [{"pv": [f"d{(i + j) % 60}" for j in range(10)]} for i in range(300)]
        return {"systems": [{**BALANCE, "id": f"s{i}", "members": members[i]} for i in range(300)]}

    documents = {f"d{i}": document() for i in range(60)}
    began = time.process_time()
    assert len(systems_of(documents)) == 300
    assert time.process_time() - began < 2.0, "not once per member of each"


def test_a_member_that_is_named_a_hundred_thousand_times_is_told_at_once():
    system = System("sun", "site_balance", {"pv": ["pv-1"] * 100_000}, {})
    began = time.process_time()
    with pytest.raises(EvidenceError, match="is named 100000 times"):
        require_right(system, {"pv-1": "pv_inverter"})
    assert time.process_time() - began < 1.0


def test_a_mistake_is_told_in_few_words_however_long_what_was_written():
    system = System("sun", "site_balance", {"pv": ["pv-1"]}, {"reversed": "y" * 100_000})
    with pytest.raises(EvidenceError) as caught:
        require_right(system, {"pv-1": "pv_inverter"})
    assert len(caught.value.what) < 500
