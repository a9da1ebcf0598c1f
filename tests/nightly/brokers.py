"""QoS 1 of every broker that is supported, as it is run; and end to end on each, nothing is lost.

Seven questions about what MQTT 5 promises, asked of mosquitto from the folder that `broker config`
writes (deploy/mosquitto: certificates, access list), of mosquitto as `joulemark broker` starts it
on one machine, and of the embedded broker. The first is to keep all of it but over kill -9; what
the others do not keep is told, and no part of the chain asks for it.

Then the chain itself on each of the latter two, its broker killed again and again; and on a broker
that acknowledges every message and forgets it until it is changed for a true one. What the virtual
factory served is compared, word by word, with what the collector holds. A queue that deletes on the
broker's word, beside it, must lose readings.
"""

from __future__ import annotations

import os
import random
import ssl
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from pwd import getpwuid

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from joulemark_agent.tls import TlsFiles, client_context
from joulemark_gateway.broker import Kind, RunningBroker, start_broker
from joulemark_gateway.ingest.registered import Agent
from joulemark_gateway.pki.authority import Role, server_holder
from joulemark_gateway.pki.mosquitto import CONFIG, write_broker
from support.accounts import accounted
from support.chains import PRELOAD, Compared, ForkedChain, compared
from support.forks import Forked, Forks, until
from support.identities import PlantCa, is_serving, now, plant_ca
from support.needed import service
from support.qos1 import HOST, QUESTIONS, READER, TOPIC, Broker
from support.servers import free_port

KILLS, SHORTEST_S, LONGEST_S, DELAY_S, SLOTS = 40, 0.1, 0.6, 0.001, 60_000
FORGOTTEN, NAIVE = 20, 50
AGENTS = [
    Agent("edge-1", "plant", bytes(32), frozenset({"meter"})),
    Agent("edge-2", "plant", bytes([1]) * 32, frozenset({"press"})),
]
DEPLOYED, LOCAL, EMBEDDED = "mosquitto as in deploy/", "mosquitto on loopback", "embedded"
WANTED = {  # of the broker of deploy/; the others' answers are told, not demanded
    "a subscription with QoS 1": "QoS 1 is granted, QoS 1 delivered",
    "offline session": "200/200, in order; PUBACK: success",
    "un-acknowledged, after a broken connection": "100/100, DUP on 100",
    "offline session over an orderly restart": "200/200, in order; PUBACK: success",
    "shared subscription": "50 + 50 of 100; 0 twice, 0 lost",
    "a topic that the access list forbids": "not authorized (0x87), not passed on",
}


@dataclass
class Deployed:
    """mosquitto from the folder of `broker config`, as its service runs it."""

    plant: PlantCa
    folder: Path
    port: int = field(default_factory=free_port)
    _process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        holders = {
            "reader-0": server_holder(Role.COLLECTOR, [HOST]),
            "reader-1": server_holder(Role.COLLECTOR, [HOST], "two"),
        }
        own = {name: self.plant.own(name, holder) for name, holder in holders.items()}
        self._files: dict[str, TlsFiles] = {**own, "writer-0": self.plant.agent("edge-1")}
        write_broker(
            self.folder, self.plant.ca, AGENTS, now(), hosts=[HOST], port=self.port, host=HOST
        )
        config = self.folder / CONFIG  # as root it would give its rights up and not read the folder
        config.write_text(f"{config.read_text()}user {getpwuid(os.getuid()).pw_name}\n")

    def start(self) -> None:
        """Return when it serves."""
        words = [service("mosquitto", "mosquitto"), "-c", str(self.folder / CONFIG)]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(words, stdout=log, stderr=log, cwd=self.folder)
        until(lambda: is_serving(self.port), "mosquitto serves")

    def stop(self) -> None:
        """SIGTERM."""
        assert self._process is not None
        self._process.terminate()
        self._process.wait(20)

    def kill(self) -> None:
        """SIGKILL."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(20)

    def identity(self, who: str, number: int) -> tuple[str, ssl.SSLContext | None]:
        """Of the collector, or of an agent: the broker takes the certificate's name for the id."""
        return f"{who}-{number}", client_context(self._files[f"{who}-{number}"])


@dataclass
class Local:
    """A broker as `joulemark broker` starts it: on this machine, open to whoever is on it."""

    kind: Kind
    port: int = 0
    _running: RunningBroker | None = None

    def start(self) -> None:
        """Return when it serves."""
        self._running = start_broker(self.kind, self.port)
        self.port = self._running.port

    def stop(self) -> None:
        """SIGTERM."""
        assert self._running is not None
        self._running.stop()

    def kill(self) -> None:
        """SIGKILL."""
        assert self._running is not None
        self._running.kill()

    def identity(self, who: str, number: int) -> tuple[str, ssl.SSLContext | None]:
        """Any name does."""
        return f"{who}-{number}", None


def run(seed: int, *, full: bool) -> dict[str, str]:
    """All questions; `full=False` a tenth of the kills, and no word of the loopback mosquitto."""
    found: dict[str, str] = {}
    for name, answers in asked(full=full).items():
        found |= {f"{name}: {question}": answer for question, answer in answers.items()}
        if name == DEPLOYED:
            wrong = {q: answers[q] for q, wanted in WANTED.items() if answers[q] != wanted}
            assert not wrong, wrong
    draw, kills = random.Random(seed), KILLS if full else KILLS // 10
    with (
        tempfile.TemporaryDirectory(prefix="joulemark-brokers-") as folder,
        Forks(*PRELOAD, "support.forgetful_broker") as forks,
    ):
        kinds: tuple[Kind, ...] = ("mosquitto", "embedded")
        for kind in kinds:
            told = _killed(Path(folder) / kind, forks, kind, draw, kills)
            found[f"end to end, {kind} killed {kills} times"] = told
        told, control = _forgotten(Path(folder) / "forgetful", forks)
    found["end to end, a broker that acknowledges and forgets everything"] = told
    found["control, a queue that deletes on PUBACK there"] = control
    return found


def asked(*, full: bool) -> dict[str, dict[str, str]]:
    """What each broker answers to each question."""
    service("mosquitto", "mosquitto")
    answers: dict[str, dict[str, str]] = {}
    with tempfile.TemporaryDirectory(prefix="joulemark-qos1-") as name, ExitStack() as stack:
        plant = stack.enter_context(plant_ca(Path(name)))
        brokers: dict[str, Broker] = {
            DEPLOYED: Deployed(plant, Path(name) / "broker"),
            LOCAL: Local("mosquitto"),
            EMBEDDED: Local("embedded"),
        }
        for title, broker in brokers.items():
            if not full and title == LOCAL:
                continue
            broker.start()
            try:
                answers[title] = {name: ask(broker) for name, ask in QUESTIONS.items()}
            finally:
                broker.stop()
    return answers


# ------------------------------------------------------------------ end to end


@contextmanager
def _chain(folder: Path, forks: Forks) -> Iterator[ForkedChain]:
    folder.mkdir()
    chain = ForkedChain(folder, forks, slots=SLOTS, delay_s=DELAY_S)
    chain.prepare()
    try:
        yield chain
    finally:
        chain.stop()


def _whole(chain: ForkedChain) -> str:
    """What the collector holds in the end, which must be all there was."""
    chain.end_soon()
    chain.wait(lambda _: None, poll_s=0.05)
    chain.stop()
    found: Compared = compared(chain)
    assert found.is_whole, found
    account = accounted(chain.store_file)
    assert account.total.received == found.served
    wrong = f"{found.lost} lost, {found.twice} twice, {found.altered} altered"
    return f"{found.served:,} readings: {wrong}"


def _killed(folder: Path, forks: Forks, kind: Kind, draw: random.Random, kills: int) -> str:
    with _chain(folder, forks) as chain:
        chain.broker_kind = kind
        chain.begin()
        until(lambda: chain.leaves_held() > 0, "the first batch is held")
        for _ in range(kills):
            time.sleep(draw.uniform(SHORTEST_S, LONGEST_S))  # not to be safe: to hit any moment
            chain.kill("broker")
            chain.start_only("broker")
        return _whole(chain)


def _forgotten(folder: Path, forks: Forks) -> tuple[str, str]:
    with _chain(folder, forks) as chain:
        chain.broker_kind = "embedded"
        forgetful = forks.start(
            "support.forgetful_broker:main", [str(chain.ports["broker"])], folder / "forgetful.txt"
        )
        until(lambda: "ready" in forgetful.said(), "the broker is ready")
        for name in ("factory", "collector", "agent"):
            chain.start(name)
        until(lambda: forgetful.said().count("forgot") >= FORGOTTEN, "batches are forgotten")
        control = _naive(chain, forgetful)
        held, forgotten = chain.leaves_held(), forgetful.said().count("forgot")
        assert held == 0, "control: the broker passed something on"
        forgetful.kill()
        forgetful.wait(20)
        chain.start("broker")
        until(lambda: chain.leaves_held() > 0, "the first batch is held")
        return f"{_whole(chain)} ({forgotten} messages had been forgotten)", control


def _naive(chain: ForkedChain, forgetful: Forked) -> str:
    """What deletes a message as soon as the broker says yes."""
    queue = list(range(NAIVE))
    before = forgetful.said().count("forgot")
    client = Client(
        CallbackAPIVersion.VERSION2, client_id=READER, protocol=MQTTProtocolVersion.MQTTv5
    )

    def published(*_: object) -> None:
        queue.pop()

    client.on_publish = published
    client.connect(HOST, chain.ports["broker"])
    client.loop_start()
    for number in range(NAIVE):
        client.publish(TOPIC, str(number).encode(), qos=1)
    until(lambda: not queue, "the naive queue is empty")
    client.disconnect()
    client.loop_stop()
    client._reset_sockets()
    assert forgetful.said().count("forgot") >= before + NAIVE
    return f"{NAIVE} of {NAIVE} lost"
