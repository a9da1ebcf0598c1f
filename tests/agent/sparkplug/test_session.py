"""An edge node before a real broker: what its own TCK asks of one, checked on the bytes it sends.

The names are those of the assertions of the Sparkplug 3.0.0 TCK's classes for edge nodes (session
establishment and termination, send data, receive command, primary host, payload). Templates and
several brokers are not spoken, so their assertions do not apply.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from joulemark_agent.mqtt import Login
from joulemark_agent.settings import load_profile
from joulemark_agent.sparkplug.node import BAD, BDSEQ, GOOD, REBIRTH, BornDevice, Sample
from joulemark_agent.sparkplug.payload import (
    BOOLEAN,
    DOUBLE,
    INT64,
    STRING,
    Metric,
    Payload,
    parse_payload,
    payload_bytes,
)
from joulemark_agent.sparkplug.session import Node, Session
from support.mqtt_wire import Connect, Disconnected, Published, Subscribed, relay

GROUP, NAME, DEVICE, HOST = "plant", "edge-1", "meter", "scada"
PROFILE = load_profile("eastron_sdm630")[0]
POINT = "power_w"
COUNTER = next(point.name for point in PROFILE.points if point.counter)
WAIT_S = 10.0


class Plant:
    """A session, the wire before its broker, and a host that may speak."""

    def __init__(self, wire, session, host) -> None:
        self.wire, self.session, self.host = wire, session, host

    def say(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        self.host.publish(topic, payload, qos=1, retain=retain).wait_for_publish(WAIT_S)

    def state(self, *, online: bool, time_ms: int, host: str = HOST) -> None:
        content = json.dumps({"online": online, "timestamp": time_ms}).encode()
        self.say(f"spBv1.0/STATE/{host}", content, retain=True)

    def read(self, **quality: str) -> None:
        values = {POINT: "1500.5", COUNTER: "10000"}
        now_ms = time.time_ns() // 1_000_000
        self.session.offer(Sample(DEVICE, now_ms, values, quality))

    def published(self, kind: str) -> list[Published]:
        return [p for p in self.wire.packets if isinstance(p, Published) and f"/{kind}/" in p.topic]

    def until(self, what: Callable[[], bool]) -> None:
        end_s = time.monotonic() + WAIT_S
        while not what():
            assert time.monotonic() < end_s, "it did not come"
            time.sleep(0.02)

    def until_published(self, kind: str, count: int) -> list[Published]:
        self.until(lambda: len(self.published(kind)) >= count)
        return self.published(kind)


@pytest.fixture
def plant(broker, tmp_path, request):
    host = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
    host.connect("127.0.0.1", broker.port)
    host.loop_start()
    asked = getattr(request, "param", {})
    with relay(broker.port) as wire:
        login = Login(f"mqtt://127.0.0.1:{wire.port}", NAME)
        node = Node(GROUP, NAME, asked.get("host"), asked.get("buffered", 1000), {"site": "works"})
        session = Session(login, node, tmp_path)
        born = BornDevice(DEVICE, PROFILE, {"epoch": "1", "model": PROFILE.model})
        session.change([born], {DEVICE: asked.get("period_s", 60.0)})
        session.start()
        yield Plant(wire, session, host)
        session.close()
    host.publish(f"spBv1.0/STATE/{HOST}", b"", retain=True).wait_for_publish(WAIT_S)
    host.disconnect()
    host.loop_stop()


def _metric(published: Published, name: str) -> Metric:
    (found,) = [m for m in parse_payload(published.payload).metrics if m.name == name]
    return found


def _seqs(plant) -> list[int | None]:
    """The sequence numbers of all that was sent, the deaths of the node left out."""
    sent = [p for p in plant.wire.packets if isinstance(p, Published) and "/NDEATH/" not in p.topic]
    return [parse_payload(p.payload).seq for p in sent if p.topic.startswith("spBv1.0/")]


def test_session_establishment(plant):
    plant.read()
    (nbirth,), (dbirth,) = plant.until_published("NBIRTH", 1), plant.until_published("DBIRTH", 1)
    plant.until_published("DDATA", 1)
    connect = plant.wire.packets[0]
    assert isinstance(connect, Connect)
    will, birth = parse_payload(connect.will_payload), parse_payload(nbirth.payload)
    device = parse_payload(dbirth.payload)
    aliases = [m.alias for m in device.metrics if m.alias is not None]
    subscribed = [one for p in plant.wire.packets if isinstance(p, Subscribed) for one in p.topics]
    order = [p.topic.split("/")[2] for p in plant.wire.packets if isinstance(p, Published)]
    checks = {
        "principles-persistence-clean-session-50": (connect.clean_start, connect.session_expiry_s)
        == (True, 0),
        "message-flow-edge-node-birth-publish-will-message-topic": connect.will_topic
        == f"spBv1.0/{GROUP}/NDEATH/{NAME}",
        "payloads-ndeath-will-message-qos": connect.will_qos == 1,
        "payloads-ndeath-will-message-retain": not connect.will_retain,
        "payloads-ndeath-seq": will.seq is None,
        "topics-ndeath-payload": [m.name for m in will.metrics] == [BDSEQ],
        "payloads-ndeath-bdseq": will.metrics[0].datatype == INT64,
        "topics-nbirth-topic": nbirth.topic == f"spBv1.0/{GROUP}/NBIRTH/{NAME}",
        "payloads-nbirth-qos": (nbirth.qos, nbirth.retain) == (0, False),
        "payloads-nbirth-seq": birth.seq == 0,
        "payloads-nbirth-timestamp": birth.timestamp_ms is not None,
        "topics-nbirth-bdseq-matching": _metric(nbirth, BDSEQ).value == will.metrics[0].value,
        "topics-nbirth-rebirth-metric": _metric(nbirth, REBIRTH).value is False,
        "operational-behavior-data-commands-rebirth-datatype": _metric(nbirth, REBIRTH).datatype
        == BOOLEAN,
        "operational-behavior-data-commands-rebirth-name-aliases": _metric(nbirth, REBIRTH).alias
        is None,
        "topics-nbirth-metrics": all(
            m.name and m.datatype and m.timestamp_ms and m.value is not None for m in birth.metrics
        ),
        "message-flow-edge-node-ncmd-subscribe": (f"spBv1.0/{GROUP}/NCMD/{NAME}", 1) in subscribed,
        "message-flow-device-dcmd-subscribe": (f"spBv1.0/{GROUP}/DCMD/{NAME}/+", 1) in subscribed,
        "topics-dbirth-topic": dbirth.topic == f"spBv1.0/{GROUP}/DBIRTH/{NAME}/{DEVICE}",
        "payloads-dbirth-qos": (dbirth.qos, dbirth.retain) == (0, False),
        "payloads-dbirth-seq": device.seq == 1,
        "payloads-dbirth-timestamp": device.timestamp_ms is not None,
        "topics-dbirth-metrics": all(m.name and m.datatype for m in device.metrics),
        "payloads-alias-uniqueness": len(set(aliases)) == len(aliases) == len(PROFILE.points),
        "principles-birth-certificates-order": order[:3] == ["NBIRTH", "DBIRTH", "DDATA"],
        "payloads-propertyset-quality-value-value": {
            p.value for m in device.metrics for p in m.properties if p.key == "Quality"
        }
        <= {GOOD, BAD},
        "case-sensitivity-metric-names": len({m.name.lower() for m in device.metrics if m.name})
        == len(device.metrics),
    }
    assert [name for name, holds in checks.items() if not holds] == []


def test_send_data(plant):
    plant.read()
    plant.read(**{POINT: "range"})
    data = plant.until_published("DDATA", 2)
    first, second = (parse_payload(p.payload) for p in data)
    by_alias = {m.alias: m for m in parse_payload(plant.published("DBIRTH")[0].payload).metrics}
    values = {by_alias[m.alias].name: m.value for m in first.metrics}
    doubtful = {by_alias[m.alias].name: m for m in second.metrics}[POINT]
    checks = {
        "topics-ddata-mqtt": all((p.qos, p.retain) == (0, False) for p in data),
        "topics-ddata-seq-num": _seqs(plant) == [0, 1, 2, 3],
        "topics-ddata-timestamp": first.timestamp_ms is not None,
        "topics-ddata-payload": values == {POINT: 1500.5, COUNTER: 10000},
        "payloads-name-in-data-requirement": all(m.name is None for m in first.metrics),
        "payloads-metric-datatype-not-req": all(m.datatype is None for m in first.metrics),
        "payloads-metric-datatype-value": {m.datatype for m in by_alias.values()}
        == {DOUBLE, INT64, STRING},
    }
    assert [name for name, holds in checks.items() if not holds] == []
    assert doubtful.value is None
    assert doubtful.properties[0].value == BAD


def test_the_sequence_number_begins_again_after_255(plant):
    for _ in range(300):
        plant.read()
    plant.until_published("DDATA", 300)
    assert _seqs(plant) == [n % 256 for n in range(302)]


def test_session_termination(plant):
    plant.read()
    plant.until_published("DDATA", 1)
    plant.session.close()
    plant.until(lambda: isinstance(plant.wire.packets[-1], Disconnected))
    *_, death, end = plant.wire.packets
    assert isinstance(death, Published)
    checks = {
        "operational-behavior-edge-node-intentional-disconnect-ndeath": death.topic
        == f"spBv1.0/{GROUP}/NDEATH/{NAME}",
        "operational-behavior-edge-node-intentional-disconnect-packet": isinstance(
            end, Disconnected
        ),
        "payloads-ndeath-will-message-publisher-disconnect-mqtt50": end == Disconnected(0x04),
    }
    assert [name for name, holds in checks.items() if not holds] == []


@pytest.mark.parametrize("plant", [{"period_s": 0.1}], indirect=True)
def test_a_device_that_is_silent_dies_and_is_born_again(plant):
    plant.read()
    (death,) = plant.until_published("DDEATH", 1)
    payload = parse_payload(death.payload)
    checks = {
        "topics-ddeath-topic": death.topic == f"spBv1.0/{GROUP}/DDEATH/{NAME}/{DEVICE}",
        "topics-ddeath-mqtt": (death.qos, death.retain) == (0, False),
        "payloads-ddeath-seq-inc": payload.seq == 3,
        "payloads-ddeath-timestamp": payload.timestamp_ms is not None,
    }
    assert [name for name, holds in checks.items() if not holds] == []
    plant.read()
    assert len(plant.until_published("DBIRTH", 2)) == 2


def _rebirth() -> bytes:
    metric = Metric(REBIRTH, timestamp_ms=1, datatype=BOOLEAN, value=True)
    return payload_bytes(Payload(1, (metric,)))


def test_receive_command(plant):
    plant.read()
    plant.until_published("DDATA", 1)
    plant.say(f"spBv1.0/{GROUP}/NCMD/{NAME}", _rebirth())
    first, again = plant.until_published("NBIRTH", 2)
    plant.until_published("DBIRTH", 2)
    assert _metric(first, BDSEQ).value == _metric(again, BDSEQ).value
    assert parse_payload(again.payload).seq == 0
    assert _seqs(plant)[3:] == [0, 1], "operational-behavior-data-commands-rebirth-action-2"


def test_nothing_that_arrives_makes_it_do_anything_else(plant):
    plant.read()
    plant.until_published("DDATA", 1)
    write = payload_bytes(Payload(1, (Metric(POINT, datatype=DOUBLE, value=1.0),)))
    for kind in ("NCMD", "DCMD"):
        suffix = "" if kind == "NCMD" else f"/{DEVICE}"
        for payload in (write, b"\xff" * 40, b"", _rebirth() if kind == "DCMD" else write):
            plant.say(f"spBv1.0/{GROUP}/{kind}/{NAME}{suffix}", payload)
    plant.read()
    plant.until_published("DDATA", 2)
    assert len(plant.published("NBIRTH")) == 1


def test_bdseq_goes_on_over_connections_and_restarts(plant, tmp_path):
    plant.read()
    plant.until_published("DDATA", 1)
    plant.wire.cut()
    births = plant.until_published("NBIRTH", 2)
    assert [_metric(p, BDSEQ).value for p in births] == [0, 1]
    plant.session.close()
    login = Login(f"mqtt://127.0.0.1:{plant.wire.port}", NAME)
    after = Session(login, Node(GROUP, NAME, None, 10, {}), tmp_path)
    after.start()
    births = plant.until_published("NBIRTH", 3)
    after.close()
    assert [_metric(p, BDSEQ).value for p in births] == [0, 1, 2]
    wills = [p for p in plant.wire.packets if isinstance(p, Connect)]
    assert [parse_payload(p.will_payload).metrics[0].value for p in wills] == [0, 1, 2]


@pytest.mark.parametrize("plant", [{"host": HOST}], indirect=True)
def test_primary_host(plant):
    plant.until(lambda: any(isinstance(p, Subscribed) for p in plant.wire.packets))
    plant.read()
    plant.state(online=True, time_ms=1, host="another")
    plant.state(online=False, time_ms=1000)
    time.sleep(0.6)
    assert plant.published("NBIRTH") == [], "message-flow-edge-node-birth-publish-phid-wait"
    plant.state(online=True, time_ms=2000)
    plant.until_published("NBIRTH", 1)
    plant.state(online=False, time_ms=1999)
    time.sleep(0.6)
    stale = "operational-behavior-edge-node-termination-host-offline-timestamp"
    assert plant.published("NDEATH") == [], stale
    plant.state(online=False, time_ms=3000)
    plant.until_published("NDEATH", 1)
    plant.until(lambda: any(isinstance(p, Disconnected) for p in plant.wire.packets))
    plant.state(online=True, time_ms=4000)
    reconnect = "operational-behavior-edge-node-termination-host-offline-reconnect"
    assert len(plant.until_published("NBIRTH", 2)) == 2, reconnect


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


def test_control_a_node_that_forgets_its_bdseq_is_seen(plant, tmp_path):
    """Hosts tell an old death from a new one by it: one that begins at 0 again would be found."""
    plant.until_published("NBIRTH", 1)
    (tmp_path / "sparkplug.json").unlink()
    plant.wire.cut()
    births = plant.until_published("NBIRTH", 2)
    assert [_metric(p, BDSEQ).value for p in births] == [0, 0]
