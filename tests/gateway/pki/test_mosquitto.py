"""A real mosquitto that runs from the folder we write: who gets through, and who is cut off when.

What a client may read is asked of what it hears: SUBACK grants every topic, and the access list
filters what is delivered.
"""

from __future__ import annotations

import itertools
import stat
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from paho.mqtt.enums import MQTTProtocolVersion

from joulemark_agent.contract.errors import ConfigError
from joulemark_agent.contract.topics import batch_topic, receipt_topic
from joulemark_agent.tls import TlsFiles, hosts_of, own_certificate
from joulemark_gateway.ingest.mqtt import Subscriber
from joulemark_gateway.ingest.registered import Agent
from joulemark_gateway.pki.authority import (
    BEHIND,
    BROKER_NAME,
    COLLECTOR_NAME,
    Role,
    common_name,
    server_holder,
)
from joulemark_gateway.pki.mosquitto import (
    ACL,
    CONFIG,
    OWN,
    acl_text,
    config_text,
    write_broker,
    write_rights,
)
from joulemark_gateway.pki.settings import BrokerTls
from joulemark_gateway.settings import BrokerSettings
from support.identities import (
    HOST,
    Mosquitto,
    PlantCa,
    Refused,
    mosquitto_of,
    mqtt_client,
    now,
    plant_ca,
)

pytestmark = [pytest.mark.service, pytest.mark.usefixtures("mosquitto")]

NOT_AUTHORIZED, FIRST_FAILURE = 0x87, 0x80
EXAMPLE = Path(__file__).parents[3] / "deploy/mosquitto"
EDGES = [
    Agent("edge-1", "plant", bytes(32), frozenset({"meter", "furnace"})),
    Agent("edge-2", "plant", bytes([1]) * 32, frozenset({"press"})),
]


@pytest.fixture(scope="module")
def plant(tmp_path_factory) -> Iterator[PlantCa]:
    with plant_ca(tmp_path_factory.mktemp("plant")) as found:
        yield found


@pytest.fixture(scope="module")
def broker(plant, tmp_path_factory) -> Iterator[Mosquitto]:
    with mosquitto_of(plant, tmp_path_factory.mktemp("broker"), EDGES) as found:
        yield found


@pytest.fixture(scope="module")
def files(plant) -> dict[str, TlsFiles]:
    return {
        "edge-1": plant.agent("edge-1"),
        "edge-2": plant.agent("edge-2"),
        "collector": plant.own("collector", server_holder(Role.COLLECTOR, [HOST])),
    }


@pytest.fixture
def connect(plant, broker, files):
    def opened(name: str, client_id: str = "", **options):
        return mqtt_client(broker.port, files[name], plant.ca.folder / "ca.pem",
                           client_id or name, **options)  # fmt: skip

    return opened


def test_an_agent_reaches_the_collector_and_hears_its_answers(connect):
    with connect("collector") as collector, connect("edge-1") as agent:
        collector.subscribe("joulemark/v1/up/+/+/batch")
        agent.subscribe("joulemark/v1/down/edge-1/+/+")
        assert agent.publish(batch_topic("edge-1", "meter"), b"1") == 0
        assert collector.next() == (batch_topic("edge-1", "meter"), b"1")
        assert collector.publish(receipt_topic("edge-1", "meter"), b"2") == 0
        assert agent.next() == (receipt_topic("edge-1", "meter"), b"2")


OWN_TOPIC, OTHERS_ANSWER = batch_topic("edge-1", "meter"), receipt_topic("edge-2", "press")
FORBIDDEN = [
    batch_topic("edge-2", "press"),  # another agent's
    batch_topic("edge-1", "press"),  # another agent's device under the own name
    batch_topic("edge-1", "unknown"),
    receipt_topic("edge-1", "meter"),  # an answer to itself
    receipt_topic("edge-2", "press"),
    "joulemark/v1/up/edge-1",
    "joulemark/v2/up/edge-1/meter/batch",
    "anything",
    "$SYS/broker/uptime",
]


def test_an_agent_publishes_for_its_registered_devices_only(connect):
    with connect("collector") as everybody, connect("edge-2") as other, connect("edge-1") as agent:
        everybody.subscribe("joulemark/#")
        other.subscribe("#")
        reasons = {topic: agent.publish(topic, b"forged") for topic in FORBIDDEN}
        assert reasons == dict.fromkeys(FORBIDDEN, NOT_AUTHORIZED)
        assert agent.publish(OWN_TOPIC, b"last") == 0
        assert everybody.heard_before(OWN_TOPIC) == []
        everybody.publish(OTHERS_ANSWER, b"last")
        assert other.heard_before(OTHERS_ANSWER) == []


def test_control_with_mqtt_3_the_same_looks_like_success(connect):
    """Why the chain speaks MQTT 5 only: a dropped message is acknowledged as delivered."""
    old = MQTTProtocolVersion.MQTTv311
    with connect("collector") as collector, connect("edge-1", version=old) as agent:
        collector.subscribe("joulemark/v1/up/#")
        assert {agent.publish(topic, b"forged") for topic in FORBIDDEN} == {0}
        assert agent.publish(OWN_TOPIC, b"last") == 0
        assert collector.heard_before(OWN_TOPIC) == []


@pytest.mark.parametrize("topics", [["#"], ["joulemark/v1/+/+/+/+", "joulemark/v1/down/edge-2/#"]])
def test_an_agent_hears_only_what_is_for_it(connect, topics):
    with connect("collector") as collector, connect("edge-2") as other, connect("edge-1") as agent:
        assert [agent.subscribe(topic) for topic in topics] == [1] * len(topics), "granted"
        collector.publish(OTHERS_ANSWER, b"secret")
        other.publish(batch_topic("edge-2", "press"), b"secret")
        collector.publish(receipt_topic("edge-1", "meter"), b"last")
        assert agent.heard_before(receipt_topic("edge-1", "meter")) == []


def test_a_foreign_client_id_takes_nobodys_place(connect):
    with connect("collector") as collector, connect("edge-1") as agent:
        collector.subscribe("joulemark/v1/up/#")
        agent.subscribe("joulemark/v1/down/edge-1/#")
        with connect("edge-2", client_id="edge-1") as twin:
            assert twin.publish(batch_topic("edge-1", "meter"), b"forged") == NOT_AUTHORIZED
            assert twin.publish(batch_topic("edge-2", "press"), b"its own") == 0
        assert collector.next() == (batch_topic("edge-2", "press"), b"its own")
        collector.publish(receipt_topic("edge-1", "meter"), b"still here")
        assert agent.next()[1] == b"still here"


@pytest.mark.parametrize("kind", ["none", "expired", "rogue", "broker"])
def test_a_certificate_that_does_not_hold_opens_nothing(plant, broker, kind):
    shown = {
        "none": lambda: None,
        "expired": lambda: plant.expired("edge-1"),
        "rogue": lambda: plant.rogue("edge-1"),
        "broker": lambda: TlsFiles(plant.ca.folder / "ca.pem", broker.folder / OWN),
    }[kind]()
    with (
        pytest.raises(Refused),
        mqtt_client(broker.port, shown, plant.ca.folder / "ca.pem", "edge-1"),
    ):
        pass


def test_control_each_line_of_the_configuration_is_what_keeps_somebody_out(plant, files, tmp_path):
    """With one line left out, the very attempt that is refused above gets through."""
    lost = plant.agent("edge-3", "edge-3")
    plant.ca.records.revoke("edge-3", now())
    with (
        mosquitto_of(plant, tmp_path / "1", EDGES, without="crlfile") as trusting,
        mqtt_client(trusting.port, lost, tmp_path, "edge-3"),
    ):
        pass
    with (
        mosquitto_of(plant, tmp_path / "2", EDGES, without="acl_file") as open_to_all,
        mqtt_client(open_to_all.port, files["collector"], tmp_path, "c") as collector,
        mqtt_client(open_to_all.port, files["edge-2"], tmp_path, "edge-2") as other,
    ):
        collector.subscribe("joulemark/v1/up/#")
        other.publish(OWN_TOPIC, b"forged")
        assert collector.next() == (OWN_TOPIC, b"forged")
    with (
        mosquitto_of(plant, tmp_path / "3", EDGES, without="use_username_as_clientid") as naive,
        mqtt_client(naive.port, files["edge-1"], tmp_path, "edge-1") as victim,
        mqtt_client(naive.port, files["edge-2"], tmp_path, "edge-1"),
    ):
        assert victim.ended() >= FIRST_FAILURE


def test_an_agents_certificate_makes_no_broker(plant, files, tmp_path):
    """Whoever holds an agent's key cannot stand in for the broker: it is no server's."""
    own = files["edge-2"].certificate
    with (
        mosquitto_of(plant, tmp_path, EDGES, own=own) as false,
        pytest.raises(Refused, match=r"unsuitable certificate purpose|mismatch"),
        mqtt_client(false.port, files["edge-1"], tmp_path, "edge-1"),
    ):
        pass


def test_who_is_revoked_is_out_at_the_next_reload_connected_or_not(plant, tmp_path):
    """Measured from the moment the files are written; the limit is 60 s."""
    collector = plant.own("collector-2", server_holder(Role.COLLECTOR, [HOST]))
    own = plant.agent("edge-1", "lost")
    with (
        mosquitto_of(plant, tmp_path / "broker", EDGES) as broker,
        mqtt_client(broker.port, plant.agent("edge-2"), tmp_path, "edge-2") as bystander,
        mqtt_client(broker.port, collector, tmp_path, "c") as hearing,
        mqtt_client(broker.port, own, tmp_path, "edge-1") as lost,
    ):
        hearing.subscribe("joulemark/v1/up/#")
        lost.subscribe("joulemark/v1/down/edge-1/#")
        assert lost.publish(OWN_TOPIC, b"before") == 0
        begun_s = time.monotonic()
        plant.ca.records.revoke("edge-1", now())
        write_rights(broker.folder, plant.ca, EDGES[1:], now())
        broker.reload()
        until(lambda: lost.publish(OWN_TOPIC, b"after") == NOT_AUTHORIZED, begun_s)
        until(lambda: not connects(broker, own), begun_s)
        assert bystander.publish(batch_topic("edge-2", "press"), b"goes on") == 0
        hearing.heard_before(batch_topic("edge-2", "press"))
        assert lost.publish(OWN_TOPIC, b"again") == NOT_AUTHORIZED
        hearing.publish(receipt_topic("edge-1", "meter"), b"for the lost one")
        hearing.publish(OTHERS_ANSWER, b"goes on")
        assert bystander.publish(batch_topic("edge-2", "press"), b"goes on") == 0
        assert hearing.heard_before(batch_topic("edge-2", "press")) == []
        assert lost.heard.empty()


def connects(broker: Mosquitto, files: TlsFiles) -> bool:
    """Whether this certificate opens a connection."""
    try:
        with mqtt_client(broker.port, files, broker.folder, "edge-1"):
            return True
    except Refused:
        return False


def until(holds: Callable[[], bool], begun_s: float, limit_s: float = 60.0) -> None:
    """Return when it holds, which is to be soon enough."""
    while not holds():
        assert time.monotonic() - begun_s < limit_s
    assert time.monotonic() - begun_s < limit_s


def test_control_without_a_reload_the_revoked_one_goes_on(plant, tmp_path):
    with (
        mosquitto_of(plant, tmp_path / "broker", EDGES) as broker,
        mqtt_client(broker.port, plant.agent("edge-1"), tmp_path, "edge-1") as lost,
    ):
        plant.ca.records.revoke("edge-1", now())
        write_rights(broker.folder, plant.ca, EDGES[1:], now())
        assert lost.publish(batch_topic("edge-1", "meter"), b"1") != NOT_AUTHORIZED


def test_a_broker_that_is_renewed_is_reached_on(plant, tmp_path):
    agent = plant.agent("edge-2", "edge-2-again")
    with mosquitto_of(plant, tmp_path / "broker", EDGES) as broker:
        plant.ca.equip(broker.folder / OWN, Role.BROKER, now(), within_days=None)
        new = own_certificate(broker.folder / OWN).public_bytes(Encoding.DER)
        broker.reload()

        def is_new() -> bool:
            with mqtt_client(broker.port, agent, tmp_path, "edge-2") as client:
                secured: Any = client.client.socket()
                return bool(secured.getpeercert(binary_form=True) == new)

        until(is_new, time.monotonic())


class Nobody:
    """Takes nothing."""

    def take(self, topic: str, payload: bytes) -> None:
        raise AssertionError(topic, payload)

    def expected(self, agent: str, device: str) -> None:
        raise AssertionError(agent, device)

    def reopen(self) -> None:
        raise AssertionError


def test_a_collector_says_why_it_believes_no_broker_and_reads_its_files_again(
    plant, broker, files, tmp_path, caplog
):
    with plant_ca(tmp_path / "other") as other:
        wrong = other.ca.certificate_pem
    ca = tmp_path / "ca.pem"
    ca.write_bytes(wrong)
    settings = BrokerSettings(url=f"mqtts://{HOST}:{broker.port}", tls=BrokerTls())
    made = Subscriber(settings, Nobody(), agents=frozenset(), waiting_batches=1,
                      tls=replace(files["collector"], ca=ca))  # fmt: skip
    made._client.reconnect_delay_set(0.05, 0.1)  # type: ignore[arg-type] # paho waits fractions too
    stop = threading.Event()
    thread = threading.Thread(target=made.run, args=(stop,))
    thread.start()
    try:
        until(
            lambda: any(r.getMessage() == "broker_down" for r in caplog.records), time.monotonic()
        )
        [record] = [r for r in caplog.records if r.getMessage() == "broker_down"]
        assert "CERTIFICATE_VERIFY_FAILED" in vars(record)["why"]
        ca.write_bytes(plant.ca.certificate_pem)
        assert made.is_ready.wait(20)
    finally:
        stop.set()
        thread.join()


# ----------------------------------------------------------------- the files


def test_the_folder_holds_what_is_needed_and_nobody_else_reads_the_key(plant, tmp_path):
    folder = tmp_path / "out"
    with pytest.raises(ConfigError, match="--host"):
        write_broker(folder, plant.ca, EDGES, now())
    assert write_broker(folder, plant.ca, EDGES, now(), hosts=["broker.example", HOST])
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert modes == {
        "acl": 0o600, "broker.pem": 0o600, "ca.pem": 0o644, "crl.pem": 0o644,
        "mosquitto.conf": 0o644,
    }  # fmt: skip
    before = (folder / OWN).read_bytes()
    assert not write_broker(folder, plant.ca, EDGES, now())
    assert (folder / OWN).read_bytes() == before
    assert hosts_of(own_certificate(folder / OWN)) == ["broker.example", HOST]
    later = now() + timedelta(days=340)
    assert write_broker(folder, plant.ca, EDGES, later), "30 days before its end it is renewed"
    assert write_broker(folder, plant.ca, EDGES, later, hosts=["other.example"])


def test_every_list_begins_later_than_the_one_before(plant):
    at = now()
    numbers = [plant.ca.records.next_list(at - BEHIND, at) for _ in range(3)]
    assert [number for number, _ in numbers] == list(range(numbers[0][0], numbers[0][0] + 3))
    begins = [since for _, since in numbers]
    assert [b - a for a, b in itertools.pairwise(begins)] == [timedelta(seconds=1)] * 2


def test_nobody_has_rights_who_is_not_named():
    text = acl_text([])
    assert [line for line in text.splitlines() if line.startswith("user")] == [
        f"user {COLLECTOR_NAME}"
    ]
    assert BROKER_NAME not in text
    assert "pattern" not in text, "a pattern would give rights to whoever has a certificate"


def test_each_of_several_collectors_has_a_name_and_keeps_its_place(plant, tmp_path):
    """With one name for both, the second would take the first's place, again and again."""
    first = plant.own("first", server_holder(Role.COLLECTOR, [HOST]))
    second = tmp_path / "second.pem"
    plant.ca.equip(second, Role.COLLECTOR, now(), hosts=[HOST], part="two")
    plant.ca.equip(second, Role.COLLECTOR, now(), within_days=None)
    assert common_name(own_certificate(second)) == f"{COLLECTOR_NAME}.two", "renewed, it keeps it"
    ca = plant.ca.folder / "ca.pem"
    with (
        mosquitto_of(plant, tmp_path / "broker", EDGES) as broker,
        mqtt_client(broker.port, first, ca, "1") as one,
        mqtt_client(broker.port, TlsFiles(ca, second), ca, "2") as two,
        mqtt_client(broker.port, plant.agent("edge-1"), ca, "edge-1") as agent,
    ):
        for each in (one, two):
            each.subscribe("$share/collectors/joulemark/v1/up/#")
        for number in range(10):
            assert agent.publish(OWN_TOPIC, b"%d" % number) == 0
        heard = sorted(one.next()[1] for _ in range(5)) + sorted(two.next()[1] for _ in range(5))
        assert sorted(heard) == [b"%d" % number for number in range(10)]
        assert one.answers.empty(), "nobody took its place"
    plant.ca.records.revoke(f"{COLLECTOR_NAME}.two", now())
    write_rights(broker.folder, plant.ca, EDGES, now())
    assert f"{COLLECTOR_NAME}.two" not in (broker.folder / ACL).read_text()


@pytest.mark.parametrize("name", [CONFIG, ACL])
def test_the_example_is_what_the_command_writes(name):
    """`deploy/mosquitto` shows what stands in /etc/mosquitto/joulemark for two agents."""
    made = {CONFIG: config_text(Path("/etc/mosquitto/joulemark")), ACL: acl_text(EDGES)}
    assert (EXAMPLE / name).read_text("utf-8") == made[name]
