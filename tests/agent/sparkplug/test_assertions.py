"""What the TCK asserts of an edge node, checked on the bytes of a talk with a real broker.

The names are those of the assertions without their `tck-id-`; tests/data/sparkplug_assertions.txt
lists them by the TCK's test classes. docs/sparkplug.md says of each which check here covers it, or
why none does, and is compared with this file.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import pytest

from joulemark_agent.sparkplug.node import BAD, BDSEQ, GOOD, REBIRTH
from joulemark_agent.sparkplug.payload import (
    BOOLEAN,
    DOUBLE,
    INT32,
    INT64,
    STRING,
    Payload,
    parse_payload,
    payload_bytes,
)
from support.mqtt_wire import Connect, Disconnected, Packet, Published, Subscribed
from support.sparkplug_plant import (
    COUNTER,
    DEVICE,
    GROUP,
    HOST,
    NAME,
    POINT,
    PROFILE,
    Plant,
    metric_of,
    plant_of,
)

ROOT = Path(__file__).parents[3]
Kind = TypeVar("Kind", bound=Packet)
QUIET_S = 0.6  # longer than the node's turn

NOT_SPOKEN = {
    "MQTT 3.1.1 is not spoken, MQTT 5 only": (
        "principles-persistence-clean-session-311",
        "payloads-ndeath-will-message-publisher-disconnect-mqtt311",
    ),
    "the node has no metric of its own that changes, so there is no NDATA": (
        "topics-ndata-mqtt", "topics-ndata-payload", "topics-ndata-seq-num",
        "topics-ndata-timestamp", "payloads-ndata-order", "payloads-ndata-qos",
        "payloads-ndata-retain", "payloads-ndata-seq", "payloads-ndata-timestamp",
    ),
    "commands are sent by hosts": ("payloads-name-cmd-requirement",),
    "no DataSet is sent": (
        "payloads-dataset-column-num-headers", "payloads-dataset-column-size",
        "payloads-dataset-parameter-type-req", "payloads-dataset-types-def",
        "payloads-dataset-types-num", "payloads-dataset-types-type",
        "payloads-dataset-types-value", "payloads-template-dataset-value",
    ),
    "one broker is spoken to": (
        "operational-behavior-primary-application-state-with-multiple-servers-single-server",
        "operational-behavior-primary-application-state-with-multiple-servers-state-subs",
        "operational-behavior-primary-application-state-with-multiple-servers-walk",
    ),
}  # fmt: skip
NO_TEMPLATES = "no Template is sent"  # all whose names begin with payloads-template-


@dataclass
class Talk:
    """All that the node said, and how much of it at which moment."""

    packets: list[Packet] = field(default_factory=list)
    marks: dict[str, int] = field(default_factory=dict)

    def published(self, kind: str, since: str = "", until: str = "") -> list[Published]:
        """The messages of a kind between two moments."""
        part = self.packets[self.marks.get(since, 0) : self.marks.get(until)]
        return [p for p in part if isinstance(p, Published) and f"/{kind}/" in p.topic]

    def payloads(self, kind: str) -> list[Payload]:
        """What the messages of a kind say."""
        return [parse_payload(one.payload) for one in self.published(kind)]

    def of(self, kind: type[Kind]) -> list[Kind]:
        """All packets of a type."""
        return [one for one in self.packets if isinstance(one, kind)]


@pytest.fixture(scope="module")
def talk(broker, tmp_path_factory) -> Talk:
    """A host comes and goes, a machine falls silent, somebody asks for births, the agent ends."""
    found = Talk()
    folder = tmp_path_factory.mktemp("sparkplug")
    with plant_of(broker.port, folder, host=HOST, period_s=0.4) as plant:
        found.packets = plant.wire.packets
        mark = lambda name: found.marks.update({name: len(found.packets)})  # noqa: E731
        plant.until(lambda: bool(found.of(Subscribed)))
        plant.state(online=True, time_ms=1, host="another")
        time.sleep(QUIET_S)
        mark("another host")
        plant.state(online=False, time_ms=1000)
        time.sleep(QUIET_S)
        mark("offline")
        _work(plant, mark)
        plant.state(online=False, time_ms=1999)
        time.sleep(QUIET_S)
        mark("old word")
        plant.state(online=False, time_ms=3000)
        plant.until(lambda: bool(found.of(Disconnected)))
        mark("gone")
        plant.state(online=True, time_ms=2500)  # retained: it is the first word that is heard
        plant.until_published("NBIRTH", 3)
        plant.session.close()
        plant.until(lambda: len(found.of(Disconnected)) == 2)
    return found


def _work(plant: Plant, mark: Callable[[str], None]) -> None:
    plant.state(online=True, time_ms=2000)
    plant.until_published("NBIRTH", 1)
    plant.read()
    plant.until_published("DDATA", 1)
    plant.read(**{POINT: "range"})
    plant.until_published("DDATA", 2)
    plant.until_published("DDEATH", 1)
    plant.read()
    plant.until_published("DDATA", 3)
    mark("asked")
    plant.ask_for_birth()
    plant.until_published("NBIRTH", 2)
    plant.until_published("DBIRTH", 3)


def _establishment(talk: Talk) -> Mapping[str, bool]:
    connect = talk.packets[0]
    assert isinstance(connect, Connect)
    will = parse_payload(connect.will_payload)
    first, device = talk.published("NBIRTH")[0], talk.published("DBIRTH")[0]
    birth, born = parse_payload(first.payload), parse_payload(device.payload)
    aliases = [m.alias for m in (*birth.metrics, *born.metrics) if m.alias is not None]
    subscribed = [one for p in talk.of(Subscribed) for one in p.topics]
    order = [p.topic.split("/")[2] for p in talk.packets if isinstance(p, Published)]
    bdseqs = [(parse_payload(one.will_payload).metrics[0].value) for one in talk.of(Connect)]
    rebirth = metric_of(first, REBIRTH)
    is_will = connect.will_topic == f"spBv1.0/{GROUP}/NDEATH/{NAME}"
    is_nbirth = first.topic == f"spBv1.0/{GROUP}/NBIRTH/{NAME}"
    is_dbirth = device.topic == f"spBv1.0/{GROUP}/DBIRTH/{NAME}/{DEVICE}"
    is_same_bdseq = metric_of(first, BDSEQ).value == will.metrics[0].value == bdseqs[0]
    born_points = [m for m in born.metrics if m.alias is not None]
    return {
        "principles-persistence-clean-session-50": (connect.clean_start, connect.session_expiry_s)
        == (True, 0),
        "message-flow-edge-node-birth-publish-connect": connect.version == 5,
        "message-flow-edge-node-birth-publish-will-message": is_will,
        "message-flow-edge-node-birth-publish-will-message-topic": is_will,
        "message-flow-edge-node-birth-publish-will-message-payload": bool(will.metrics),
        "message-flow-edge-node-birth-publish-will-message-qos": connect.will_qos == 1,
        "message-flow-edge-node-birth-publish-will-message-will-retained": not connect.will_retain,
        "payloads-ndeath-will-message": is_will,
        "payloads-ndeath-will-message-qos": connect.will_qos == 1,
        "payloads-ndeath-will-message-retain": not connect.will_retain,
        "payloads-ndeath-seq": will.seq is None,
        "topics-ndeath-seq": will.seq is None,
        "topics-ndeath-payload": [m.name for m in will.metrics] == [BDSEQ],
        "payloads-ndeath-bdseq": (will.metrics[0].datatype, is_same_bdseq) == (INT64, True),
        "message-flow-edge-node-ncmd-subscribe": (f"spBv1.0/{GROUP}/NCMD/{NAME}", 1) in subscribed,
        "message-flow-device-dcmd-subscribe": (f"spBv1.0/{GROUP}/DCMD/{NAME}/+", 1) in subscribed,
        "topics-nbirth-topic": is_nbirth,
        "message-flow-edge-node-birth-publish-nbirth-topic": is_nbirth,
        "topics-nbirth-mqtt": (first.qos, first.retain) == (0, False),
        "payloads-nbirth-qos": first.qos == 0,
        "payloads-nbirth-retain": not first.retain,
        "message-flow-edge-node-birth-publish-nbirth-qos": first.qos == 0,
        "message-flow-edge-node-birth-publish-nbirth-retained": not first.retain,
        "message-flow-edge-node-birth-publish-nbirth-payload": bool(birth.metrics),
        "message-flow-edge-node-birth-publish-nbirth-payload-seq": birth.seq == 0,
        "payloads-nbirth-seq": birth.seq == 0,
        "topics-nbirth-seq-num": birth.seq == 0,
        "payloads-sequence-num-req-nbirth": birth.seq == 0,
        "payloads-nbirth-timestamp": _is_now(birth.timestamp_ms),
        "topics-nbirth-timestamp": _is_now(birth.timestamp_ms),
        "payloads-nbirth-bdseq": is_same_bdseq,
        "payloads-nbirth-bdseq-repeat": is_same_bdseq,
        "topics-nbirth-bdseq-included": is_same_bdseq,
        "topics-nbirth-bdseq-matching": is_same_bdseq,
        "message-flow-edge-node-birth-publish-nbirth-payload-bdseq": is_same_bdseq,
        "topics-nbirth-rebirth-metric": rebirth.value is False,
        "payloads-nbirth-rebirth-req": rebirth.value is False,
        "operational-behavior-data-commands-rebirth-name": rebirth.name == REBIRTH,
        "operational-behavior-data-commands-rebirth-datatype": rebirth.datatype == BOOLEAN,
        "operational-behavior-data-commands-rebirth-value": rebirth.value is False,
        "operational-behavior-data-commands-rebirth-name-aliases": rebirth.alias is None,
        "topics-nbirth-metrics": all(m.name and m.datatype for m in birth.metrics),
        "operational-behavior-data-publish-nbirth-values": all(
            m.value is not None for m in birth.metrics
        ),
        "topics-dbirth-topic": is_dbirth,
        "message-flow-device-birth-publish-dbirth-topic": is_dbirth,
        "message-flow-device-birth-publish-dbirth-match-edge-node-topic": is_nbirth and is_dbirth,
        "topics-dbirth-mqtt": (device.qos, device.retain) == (0, False),
        "payloads-dbirth-qos": device.qos == 0,
        "payloads-dbirth-retain": not device.retain,
        "message-flow-device-birth-publish-dbirth-qos": device.qos == 0,
        "message-flow-device-birth-publish-dbirth-retained": not device.retain,
        "message-flow-device-birth-publish-dbirth-payload": bool(born.metrics),
        "message-flow-device-birth-publish-nbirth-wait": order[:2] == ["NBIRTH", "DBIRTH"],
        "payloads-dbirth-seq": born.seq == 1,
        "topics-dbirth-seq": born.seq == 1,
        "payloads-dbirth-seq-inc": born.seq == 1,
        "payloads-dbirth-order": order[:3] == ["NBIRTH", "DBIRTH", "DDATA"],
        "payloads-ddata-order": order[:3] == ["NBIRTH", "DBIRTH", "DDATA"],
        "principles-birth-certificates-order": order[:3] == ["NBIRTH", "DBIRTH", "DDATA"],
        "payloads-dbirth-timestamp": _is_now(born.timestamp_ms),
        "topics-dbirth-timestamp": _is_now(born.timestamp_ms),
        "topics-dbirth-metrics": {m.name for m in born_points} == {p.name for p in PROFILE.points},
        "operational-behavior-data-publish-dbirth-values": {
            m.name: m.value for m in born_points if m.value is not None
        }
        == {POINT: 1500.5, COUNTER: 10000.0},
        "payloads-alias-uniqueness": len(set(aliases)) == len(aliases) == len(PROFILE.points),
        "case-sensitivity-metric-names": len({m.name.lower() for m in born.metrics if m.name})
        == len(born.metrics),
    }


def _data(talk: Talk) -> Mapping[str, bool]:
    data = talk.published("DDATA")
    first, second = (parse_payload(p.payload) for p in data[:2])
    by_alias = {m.alias: m.name for m in talk.payloads("DBIRTH")[0].metrics}
    values = {by_alias[m.alias]: m.value for m in first.metrics}
    doubtful = {by_alias[m.alias]: m.value for m in second.metrics}
    seqs = [talk.payloads("NBIRTH")[0].seq, talk.payloads("DBIRTH")[0].seq, first.seq, second.seq]
    return {
        "topics-ddata-mqtt": all((p.qos, p.retain) == (0, False) for p in data),
        "payloads-ddata-qos": all(p.qos == 0 for p in data),
        "payloads-ddata-retain": not any(p.retain for p in data),
        "topics-ddata-seq-num": seqs == [0, 1, 2, 3],
        "payloads-ddata-seq": all(p.seq is not None for p in talk.payloads("DDATA")),
        "topics-ddata-timestamp": _is_now(first.timestamp_ms),
        "payloads-ddata-timestamp": _is_now(first.timestamp_ms),
        "topics-ddata-payload": (values, doubtful)
        == ({POINT: 1500.5, COUNTER: 10000}, {POINT: None, COUNTER: 10000}),
    }


def _payload(talk: Talk) -> Mapping[str, bool]:
    births = [*talk.payloads("NBIRTH"), *talk.payloads("DBIRTH")]
    data, deaths = talk.payloads("DDATA"), talk.payloads("DDEATH")
    in_births = [m for one in births for m in one.metrics]
    in_data = [m for one in data for m in one.metrics]
    properties = [p for m in (*in_births, *in_data) for p in m.properties]
    qualities = [p for p in properties if p.key == "Quality"]
    is_typed = all(p.datatype in {INT32, STRING} for p in properties)
    return {
        "payloads-sequence-num-always-included": all(
            one.seq is not None for one in (*births, *data, *deaths)
        ),
        "payloads-metric-datatype-value-type": all(type(m.datatype) is int for m in in_births),
        "payloads-metric-datatype-value": {m.datatype for m in in_births}
        == {BOOLEAN, DOUBLE, INT64, STRING},
        "payloads-metric-datatype-not-req": all(m.datatype is None for m in in_data),
        "payloads-propertyset-keys-array-size": bool(properties),  # the parser refuses other sizes
        "payloads-propertyset-values-array-size": bool(properties),
        "payloads-metric-propertyvalue-type-type": is_typed,
        "payloads-metric-propertyvalue-type-value": is_typed,
        "payloads-metric-propertyvalue-type-req": is_typed,
        "payloads-propertyset-quality-value-type": {p.datatype for p in qualities} == {INT32},
        "payloads-propertyset-quality-value-value": {p.value for p in qualities} == {GOOD, BAD},
        "payloads-alias-data-cmd-requirement": all(
            m.alias is not None and m.name is None for m in in_data
        ),
        "payloads-name-requirement": all(m.name for m in in_births),
        "payloads-name-birth-data-requirement": all(
            m.timestamp_ms is not None for m in (*in_births, *in_data)
        ),
    }


def _command(talk: Talk) -> Mapping[str, bool]:
    first, again = talk.published("NBIRTH")[:2]
    after = [
        p.topic.split("/")[2]
        for p in talk.packets[talk.marks["asked"] : talk.marks["old word"]]
        if isinstance(p, Published)
    ]
    return {
        "operational-behavior-data-commands-rebirth-action-1": after[0] == "NBIRTH",
        "operational-behavior-data-commands-rebirth-action-2": after[:2] == ["NBIRTH", "DBIRTH"]
        and parse_payload(again.payload).seq == 0,
        "operational-behavior-data-commands-rebirth-action-3": metric_of(first, BDSEQ).value
        == metric_of(again, BDSEQ).value,
    }


def _primary_host(talk: Talk) -> Mapping[str, bool]:
    nothing_before = not talk.published("NBIRTH", until="offline")
    first_bdseq = metric_of(talk.published("NBIRTH")[0], BDSEQ).value
    deaths = talk.published("NDEATH", until="gone")
    is_dead = [parse_payload(p.payload).metrics[0].value for p in deaths] == [first_bdseq]
    is_back = len(talk.published("NBIRTH", since="gone")) == 1 and len(talk.of(Connect)) == 2
    return {
        "message-flow-edge-node-birth-publish-phid-wait": nothing_before,
        "message-flow-edge-node-birth-publish-phid-wait-online": nothing_before,
        "message-flow-edge-node-birth-publish-phid-wait-id": not talk.published(
            "NBIRTH", until="another host"
        ),
        "message-flow-edge-node-birth-publish-phid-wait-timestamp": is_back,
        "message-flow-edge-node-birth-publish-phid-offline": is_dead,
        "operational-behavior-edge-node-birth-sequence-wait": nothing_before,
        "operational-behavior-edge-node-termination-host-offline": is_dead
        and bool(talk.of(Disconnected)),
        "operational-behavior-edge-node-termination-host-offline-reconnect": is_back,
        "operational-behavior-edge-node-termination-host-offline-timestamp": not talk.published(
            "NDEATH", until="old word"
        ),
    }


def _termination(talk: Talk) -> Mapping[str, bool]:
    (silent,) = talk.published("DDEATH")[:1]
    death = parse_payload(silent.payload)
    before = talk.payloads("DDATA")[1].seq
    assert before is not None
    *_, last, end = talk.packets
    is_last = isinstance(last, Published) and last.topic == f"spBv1.0/{GROUP}/NDEATH/{NAME}"
    return {
        "topics-ddeath-topic": silent.topic == f"spBv1.0/{GROUP}/DDEATH/{NAME}/{DEVICE}",
        "topics-ddeath-mqtt": (silent.qos, silent.retain) == (0, False),
        "topics-ddeath-seq-num": death.seq == before + 1,
        "payloads-ddeath-seq": death.seq is not None,
        "payloads-ddeath-seq-inc": death.seq == before + 1,
        "payloads-ddeath-seq-number": death.seq == before + 1,
        "payloads-ddeath-timestamp": _is_now(death.timestamp_ms),
        "operational-behavior-device-ddeath": len(talk.published("DBIRTH")) >= 2,
        "topics-ndeath-topic": is_last,
        "payloads-ndeath-will-message-publisher": is_last,
        "operational-behavior-edge-node-intentional-disconnect-ndeath": is_last,
        "operational-behavior-edge-node-intentional-disconnect-packet": isinstance(
            end, Disconnected
        ),
        "payloads-ndeath-will-message-publisher-disconnect-mqtt50": end == Disconnected(0x04),
    }


def _is_now(time_ms: int | None) -> bool:
    return time_ms is not None and abs(time.time() * 1000 - time_ms) < 600_000


CHECKS = {
    "SessionEstablishmentTest": _establishment,
    "SendDataTest": _data,
    "SendComplexDataTest, PayloadTest": _payload,
    "ReceiveCommandTest": _command,
    "PrimaryHostTest": _primary_host,
    "SessionTerminationTest": _termination,
}


@pytest.mark.parametrize("name", CHECKS)
def test_what_is_asserted_holds_of_the_bytes(talk: Talk, name: str) -> None:
    assert [one for one, holds in CHECKS[name](talk).items() if not holds] == []


def test_every_assertion_is_checked_or_has_a_reason_and_the_page_says_which(talk: Talk) -> None:
    named = {one: name for name, check in CHECKS.items() for one in check(talk)}
    reasons = {one: why for why, ones in NOT_SPOKEN.items() for one in ones}
    rows = ["| tck-id- | checked by, or why not |", "|---|---|"]
    for one in sorted(_asserted()):
        if (why := reasons.get(one)) is None and one not in named:
            assert one.startswith("payloads-template-"), f"{one}: neither checked nor explained"
            why = NO_TEMPLATES
        assert why is None or one not in named, f"{one}: both"
        rows.append(f"| {one} | {f'`{named[one]}`' if why is None else f'not: {why}'} |")
    assert _asserted() >= {*named, *reasons}
    page = (ROOT / "docs/sparkplug.md").read_text("utf-8")
    assert "\n".join(rows) in page, "\n".join(["The page's table is to be:", *rows])


def _asserted() -> set[str]:
    lines = (ROOT / "tests/data/sparkplug_assertions.txt").read_text("utf-8").split("\n")
    return {line for line in lines if line and line[0] not in "#["}


def test_control_a_node_that_says_its_rebirth_is_true_is_found(talk: Talk) -> None:
    bad = Talk(list(talk.packets), talk.marks)
    first = bad.published("NBIRTH")[0]
    content = parse_payload(first.payload)
    metrics = [replace(m, value=True) if m.name == REBIRTH else m for m in content.metrics]
    wrong = payload_bytes(replace(content, metrics=tuple(metrics)))
    bad.packets[bad.packets.index(first)] = replace(first, payload=wrong)
    failed = {one for one, holds in _establishment(bad).items() if not holds}
    assert failed == {
        "topics-nbirth-rebirth-metric",
        "payloads-nbirth-rebirth-req",
        "operational-behavior-data-commands-rebirth-value",
    }
