"""An edge node before a real broker: what it does when broker, host or machine come and go."""

from __future__ import annotations

import time

import pytest

from joulemark_agent.mqtt import Login
from joulemark_agent.sparkplug.node import BDSEQ, BornDevice, Sample
from joulemark_agent.sparkplug.payload import DOUBLE, Metric, Payload, parse_payload, payload_bytes
from joulemark_agent.sparkplug.session import Node, Session
from support.mqtt_wire import Connect
from support.sparkplug_plant import DEVICE, GROUP, HOST, NAME, POINT, PROFILE, metric_of


def test_the_sequence_number_begins_again_after_255(plant):
    for _ in range(300):
        plant.read()
    plant.until_published("DDATA", 300)
    assert plant.seqs() == [n % 256 for n in range(302)]


def test_nothing_that_arrives_makes_it_do_anything_else(plant):
    plant.read()
    plant.until_published("DDATA", 1)
    write = payload_bytes(Payload(1, (Metric(POINT, datatype=DOUBLE, value=1.0),)))
    for kind in ("NCMD", "DCMD"):
        suffix = "" if kind == "NCMD" else f"/{DEVICE}"
        for payload in (write, b"\xff" * 40, b""):
            plant.say(f"spBv1.0/{GROUP}/{kind}/{NAME}{suffix}", payload)
    plant.read()
    plant.until_published("DDATA", 2)
    assert len(plant.published("NBIRTH")) == 1


def test_a_flood_of_requests_to_be_born_again_gives_few_births_and_loses_nothing(plant, caplog):
    plant.read()
    plant.until_published("DDATA", 1)
    for number in range(300):
        plant.ask_for_birth()
        if number % 100 == 0:
            plant.read()
        plant.say(f"spBv1.0/{GROUP}/NCMD/{NAME}", b"\xff" * 40)
    plant.until_published("DDATA", 4)
    plant.until_published("NBIRTH", 2)
    assert len(plant.published("NBIRTH")) <= 3
    assert caplog.text.count("sparkplug_command_refused") <= 1


def test_bdseq_goes_on_over_connections_and_restarts_and_begins_again_after_255(plant, tmp_path):
    plant.until_published("NBIRTH", 1)
    (tmp_path / "sparkplug.json").write_text('{"bdseq": 254}')
    plant.wire.cut()
    births = plant.until_published("NBIRTH", 2)
    assert [metric_of(p, BDSEQ).value for p in births] == [0, 255]
    plant.session.close()
    login = Login(f"mqtt://127.0.0.1:{plant.wire.port}", NAME)
    after = Session(login, Node(GROUP, NAME, None, 10, {}), tmp_path)
    after.start()
    births = plant.until_published("NBIRTH", 3)
    after.close()
    assert [metric_of(p, BDSEQ).value for p in births] == [0, 255, 0]
    wills = [p for p in plant.wire.packets if isinstance(p, Connect)]
    assert [parse_payload(p.will_payload).metrics[0].value for p in wills] == [0, 255, 0]


@pytest.mark.parametrize("plant", [{"host": HOST, "buffered": 5}], indirect=True)
def test_what_waited_for_the_host_is_historical(plant):
    for _ in range(8):
        plant.read()
    plant.state(online=True, time_ms=1000)
    old = plant.until_published("DDATA", 5)
    plant.read()
    *_, new = plant.until_published("DDATA", 6)
    assert len(old) == 5, "the oldest gave way"
    assert all(m.is_historical for p in old for m in parse_payload(p.payload).metrics)
    assert not any(m.is_historical for m in parse_payload(new.payload).metrics)


@pytest.mark.parametrize("plant", [{"host": HOST, "buffered": 2000}], indirect=True)
def test_a_connection_that_breaks_in_the_middle_of_what_waited_loses_no_more_than_was_on_its_way(
    plant,
):
    now_ms = time.time_ns() // 1_000_000
    for number in range(1500):
        plant.session.offer(Sample(DEVICE, now_ms + number, {POINT: str(number)}, {}))
    plant.state(online=True, time_ms=1000)
    plant.until(lambda: len(plant.published("DDATA")) > 300)
    plant.wire.cut()
    plant.until(lambda: _numbers(plant) >= {1499.0})
    assert len(_numbers(plant)) >= 1300


def _numbers(plant) -> set[object]:
    """The values that left."""
    return {
        metric.value
        for one in plant.published("DDATA")
        for metric in parse_payload(one.payload).metrics
    }


def test_devices_that_change_while_it_connects_are_born(plant, monkeypatch):
    plant.until_published("NBIRTH", 1)
    session, edge_node = plant.session, Session._edge_node

    def changes(self):
        made = edge_node(self)
        if not session._devices[1:]:
            both = [BornDevice(name, PROFILE, {}) for name in (DEVICE, "second")]
            session.change(both, {DEVICE: 60.0, "second": 60.0})
        return made

    monkeypatch.setattr(Session, "_edge_node", changes)
    plant.wire.cut()
    plant.until(lambda: len(session._devices) == 2)
    session.offer(Sample("second", time.time_ns() // 1_000_000, {POINT: "1"}, {}))
    plant.until(lambda: any(p.topic.endswith("/second") for p in plant.published("DBIRTH")))


def test_a_name_at_the_broker_is_as_unique_as_the_node(tmp_path):
    login = Login("mqtt://127.0.0.1:1", NAME)
    names = set()
    for group in ("north", "south"):
        session = Session(login, Node(group, NAME, None, 10, {}), tmp_path)
        names.add(session._client(session._edge_node())._client_id)
    assert len(names) == 2


def test_control_a_node_that_forgets_its_bdseq_is_seen(plant, tmp_path):
    """Hosts tell an old death from a new one by it: one that begins at 0 again would be found."""
    plant.until_published("NBIRTH", 1)
    (tmp_path / "sparkplug.json").unlink()
    plant.wire.cut()
    births = plant.until_published("NBIRTH", 2)
    assert [metric_of(p, BDSEQ).value for p in births] == [0, 0]
