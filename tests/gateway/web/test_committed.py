"""The pages and the series of a device whose raw records stay at its gateway."""

import pytest
import pytest_asyncio

from joulemark_gateway.api.plant import sites_of
from joulemark_gateway.api.slots import slots_of
from joulemark_gateway.evidence.store import FILE, SqliteStore
from joulemark_gateway.series.embedded import EmbeddedSeries
from joulemark_gateway.series.mirror import catch_up
from support.committed import INTERVAL_US, SLOTS, documents, offer, readings, run, sparse
from support.evidence import METER, SITE, START_US
from support.intakes import new_intake
from support.pages import PLACE, State, asking

BATCHES = run(readings(documents(), 8 * SLOTS))
HERE = "series.duckdb"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("committed")
    intake = new_intake(made / FILE)
    for batch in sparse(BATCHES):
        offer(intake, batch)
    intake.close()
    project(made)
    return made


def project(folder, leaves=7):
    """The series, in rounds that cut every run of withheld leaves."""
    (folder / HERE).unlink(missing_ok=True)
    series = EmbeddedSeries(folder / HERE)
    with SqliteStore(folder / FILE, create=False) as store:
        while catch_up(store, series, leaves=leaves):
            pass
    series.close()


def rows(folder):
    series = EmbeddedSeries(folder / HERE)
    found = series.amounts(SITE, METER, "energy_wh", START_US, START_US + 8 * INTERVAL_US)
    points = series.samples(SITE, METER, "energy_wh", START_US, START_US + 9 * INTERVAL_US)
    series.close()
    return found.start_us.tolist(), found.amount.tolist(), points.t_utc_us.size


def test_the_series_has_the_energy_of_every_interval(folder):
    starts, amounts, points = rows(folder)
    assert starts == [START_US + k * INTERVAL_US for k in range(8)]
    steps = [40 + i % 7 for i in range(8 * SLOTS)]
    assert amounts == [sum(steps[k * SLOTS : (k + 1) * SLOTS]) for k in range(8)]
    assert points == 9


def test_a_series_made_anew_has_the_raw_records_that_have_come_since(tmp_path):
    intake = new_intake(tmp_path / FILE)
    for batch in sparse(BATCHES):
        offer(intake, batch)
    project(tmp_path)
    starts, amounts, _ = rows(tmp_path)
    for whole in BATCHES[3:5]:
        offer(intake, whole)
    intake.close()
    project(tmp_path, leaves=1000)
    again = rows(tmp_path)
    assert again == (starts, amounts, 9 + 2 * (SLOTS - 1))


@pytest_asyncio.fixture
async def client(folder):
    with State(folder, folder).sources(reports=[]) as sources:
        async with asking(sources) as asked:
            yield asked


HOURS = "from=2018-01-01T00:00:00%2B09:00&to=2018-01-01T02:00:00%2B09:00"
API = f"/api/v1{PLACE}"


@pytest.mark.parametrize(
    "path",
    [
        "/", f"/sites/{SITE}", PLACE, f"{PLACE}/records?{HOURS}", f"/api/v1/sites/{SITE}",
        f"/api/v1/sites/{SITE}/days", f"/api/v1/sites/{SITE}/latest", API, f"{API}/days",
        f"{API}/quality", f"{API}/slots", f"{API}/counters", f"{API}/clocks", f"{API}/checks",
    ],
)  # fmt: skip
async def test_every_page_shows_what_is_here(client, path):
    answer = await client.get(path)
    assert answer.status_code == 200, answer.text[:300]


async def test_the_records_are_those_that_are_here(client):
    told = (await client.get(f"{API}/records?{HOURS}")).json()
    kinds = [leaf["kind"] for leaf in told["leaves"]]
    assert kinds.count("record") == 7, "of the first hundred leaves"
    assert told["leaves_in_all"] > 100


async def test_a_leaf_that_stays_away_has_no_proof_and_another_has(client):
    away, here = BATCHES[3].first_seq, BATCHES[3].size - 1
    refused = await client.get(f"{API}/proof?seq={away}")
    assert refused.status_code == 409
    assert "fetch" in refused.text
    assert (await client.get(f"{API}/proof?seq={here}")).json()["leaf_index"] == here


def test_the_slots_of_withheld_records_are_counted_on_the_grid_of_reading(folder):
    """An interval holds many slots; of most of them the record is at the gateway."""
    end_us = START_US + 8 * INTERVAL_US + 1
    with SqliteStore(folder / FILE, create=False) as store:
        device = sites_of(store)[SITE].devices[METER]
        found = slots_of(store, device, (START_US, end_us), end_us)
    slots = 8 * SLOTS + 1
    assert (found.expected, found.received, found.at_gateway) == (slots, slots, slots - 9)
    assert (found.twice, found.unaccounted, found.reconciles) == (0, 0, True)
