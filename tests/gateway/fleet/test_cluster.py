"""Dask workers: the same results in the same order, and no door left open."""

import json

import httpx
import pytest

from joulemark_agent.contract.errors import ConfigError, UplinkError
from joulemark_gateway.measure import Plan
from joulemark_gateway.measure.families import Temperature
from joulemark_gateway.measure.fleet import measure_many
from nightly import fleet as nightly_fleet
from support.fleets import fleet, meter_of

pytest.importorskip("distributed", reason="the extra [fleet] is not installed")
from distributed import LocalCluster

from joulemark_gateway.fleet import cluster
from joulemark_gateway.fleet.cluster import Tls, local_workers, measure_on, scheduler_at

PLAN = Plan("caltrack-daily-2.0", "lower-bound-one-sided-95", model=Temperature())
METERS = [meter_of(name, data) for name, data in fleet(12).items()]


@pytest.fixture(scope="module")
def client():
    with local_workers(2) as client:
        yield client


def text(found):
    return [(one.name, json.dumps(one.document)) for one in found]


@pytest.mark.endurance
def test_workers_give_what_one_process_gives_in_the_same_order(client):
    batches = [METERS[:5], METERS[5:6], [], METERS[6:]]
    assert text(measure_on(client, iter(batches), PLAN)) == text(measure_many(METERS, PLAN))


@pytest.mark.endurance
def test_local_workers_talk_tls_to_this_machine_only_and_show_no_page(client):
    info = client.scheduler_info(n_workers=-1)
    addresses = [info["address"], *info["workers"]]
    assert len(addresses) == 3
    assert all(address.startswith("tls://127.0.0.1:") for address in addresses)
    ports = [info["services"]["dashboard"]]
    ports += [worker["services"]["dashboard"] for worker in info["workers"].values()]
    for port in ports:
        for page in (
            "",
            "status",
            "health",
            "metrics",
            "info/main/workers.html",
            "json/counts.json",
        ):
            assert httpx.get(f"http://127.0.0.1:{port}/{page}").status_code == 404, (port, page)


@pytest.mark.endurance
def test_a_worker_with_other_versions_is_refused(client, monkeypatch):
    monkeypatch.setattr(cluster, "_SAME", ("numpy",))
    with pytest.raises(ConfigError, match="Install the same versions"):
        cluster.measure_on(client, iter([METERS]), PLAN)


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("tcp://fleet.example:8786", "another machine without TLS"),
        ("tcp://192.0.2.7:8786", "--plain-tcp"),
        ("http://127.0.0.1:8786", "no address of a scheduler"),
        ("127.0.0.1:8786", "no address of a scheduler"),
        ("tls://fleet.example:8786", "its files are not named"),
    ],
)
def test_an_address_that_is_not_safe_or_none_is_refused(address, told):
    with pytest.raises(ConfigError) as refused:
        scheduler_at(address)
    assert told in str(refused.value)


def test_files_for_tls_must_be_there(tmp_path):
    with pytest.raises(ConfigError, match="There is no file"):
        scheduler_at("tls://127.0.0.1:1", tls=Tls(*[tmp_path / "none"] * 3))


@pytest.mark.endurance
def test_a_scheduler_without_workers_is_told():
    with (
        LocalCluster(n_workers=0, host="127.0.0.1", dashboard_address=":0") as running,
        scheduler_at(running.scheduler_address) as client,
        pytest.raises(UplinkError, match="has no workers"),
    ):
        measure_on(client, iter([METERS]), PLAN)


@pytest.mark.endurance
def test_a_scheduler_that_does_not_answer_is_told(monkeypatch):
    monkeypatch.setattr(cluster, "_TIMEOUT_S", 0.5)
    with pytest.raises(UplinkError, match="cannot be reached"):
        cluster.scheduler_at("tcp://127.0.0.1:9")


@pytest.mark.endurance
def test_a_small_fleet_out_of_files_is_the_same_on_workers():
    assert nightly_fleet.run(1, full=False)["documents that differ"] == "0"
