"""A site with its authority, certificates good and bad, and a mosquitto that knows them."""

from __future__ import annotations

import os
import queue
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from pwd import getpwuid

from cryptography import x509
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, LogLevel, MQTTProtocolVersion

from joulemark_agent.tls import TlsFiles, client_context, key_pem, new_key
from joulemark_gateway.ingest.registered import Agent
from joulemark_gateway.pki.authority import Holder, Role, agent_holder, issue, new_authority
from joulemark_gateway.pki.mosquitto import CONFIG, OWN, write_broker
from joulemark_gateway.pki.site_ca import SiteCa, pem, written
from support.servers import free_port, program

HOST = "127.0.0.1"
RELOADING = "Reloading config"  # said when it begins to, before it serves anybody else
WAIT_S = 20.0


def now() -> datetime:
    """The time, aware."""
    return datetime.now(UTC)


@dataclass
class PlantCa:
    """The authority of a plant, and files of certificates, each with its key."""

    ca: SiteCa
    folder: Path

    def own(self, name: str, holder: Holder, *, days: int = 365) -> TlsFiles:
        """A certificate that the authority gives out."""
        key = new_key()
        made = self.ca.certify(key.public_key(), holder, now(), days)
        return self._files(name, pem(made) + key_pem(key))

    def agent(self, agent: str, name: str | None = None, *, site: str = "plant") -> TlsFiles:
        """An agent's."""
        return self.own(name or agent, agent_holder(site, agent))

    def expired(self, agent: str) -> TlsFiles:
        """One that the authority gave out and that has ended."""
        key = new_key()
        then = now() - timedelta(days=2)
        made = issue(self.ca.authority, key.public_key(), agent_holder("plant", agent), then, 1)
        self.ca.records.keep(made, Role.AGENT, agent, then)
        return self._files(f"{agent}-expired", pem(made) + key_pem(key))

    def rogue(self, agent: str) -> TlsFiles:
        """One in the same name, of an authority that calls itself as ours does."""
        key, other = new_key(), new_authority(new_key(), now())
        name = self.ca.authority.certificate.subject
        as_ours = x509.CertificateBuilder(
            issuer_name=name,
            subject_name=name,
            public_key=other.key.public_key(),
            serial_number=x509.random_serial_number(),
            not_valid_before=other.certificate.not_valid_before_utc,
            not_valid_after=other.certificate.not_valid_after_utc,
            extensions=list(other.certificate.extensions),
        ).sign(other.key, other.certificate.signature_hash_algorithm)  # type: ignore[arg-type]
        twin = type(other)(as_ours, other.key)
        made = issue(twin, key.public_key(), agent_holder("plant", agent), now())
        return self._files(f"{agent}-rogue", pem(made) + key_pem(key))

    def _files(self, name: str, data: bytes) -> TlsFiles:
        path = self.folder / f"{name}.pem"
        written(path, data)
        return TlsFiles(self.ca.folder / "ca.pem", path)


@contextmanager
def plant_ca(folder: Path) -> Iterator[PlantCa]:
    """A new authority."""
    with SiteCa.created(folder / "ca", now()) as ca:
        yield PlantCa(ca, folder / "certificates")


@dataclass
class Mosquitto:
    """A running mosquitto that was configured by us."""

    port: int
    folder: Path
    process: subprocess.Popen[bytes]

    def reload(self) -> None:
        """Have it read its files again; who connects after this meets the new ones."""
        before, until_s = self.log.count(RELOADING), time.monotonic() + WAIT_S
        self.process.send_signal(signal.SIGHUP)
        while self.log.count(RELOADING) == before:
            assert time.monotonic() < until_s, self.log
            time.sleep(0.01)

    @property
    def log(self) -> str:
        """What it said."""
        return (self.folder / "log").read_text()


@contextmanager
def mosquitto_of(
    plant: PlantCa,
    folder: Path,
    agents: list[Agent],
    *,
    own: Path | None = None,
    without: str | None = None,
) -> Iterator[Mosquitto]:
    """A mosquitto that runs from the folder which `broker config` writes.

    Args:
        plant: whose certificates count.
        folder: where the files go.
        agents: who may send.
        own: another certificate that it shows.
        without: the key of a line that is left out, as a control.
    """
    port = free_port()
    write_broker(folder, plant.ca, agents, now(), hosts=[HOST], port=port, host=HOST)
    if own is not None:
        (folder / OWN).write_bytes(own.read_bytes())
    config = folder / CONFIG
    # Tests may run as root, and mosquitto would give its rights up and then not read the folder.
    lines = [line for line in config.read_text().splitlines() if line.split()[0] != without]
    added = [f"user {getpwuid(os.getuid()).pw_name}", "log_type information"]
    config.write_text("\n".join([*lines, *added, ""]))
    path = program("mosquitto")
    assert path is not None
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([path, "-c", str(config)], stdout=log, stderr=log)
    try:
        until_s = time.monotonic() + WAIT_S
        while not is_serving(port):
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < until_s
            time.sleep(0.01)
        yield Mosquitto(port, folder, process)
    finally:
        process.terminate()
        process.wait(WAIT_S)


def is_serving(port: int) -> bool:
    """Whether a server answers in TLS: before that a signal to read its files again may end it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with socket.create_connection((HOST, port), 1) as plain, context.wrap_socket(plain):
            return True
    except OSError:
        return False


@dataclass
class Talker:
    """An MQTT client over TLS, and everything it heard."""

    client: Client
    heard: queue.Queue[tuple[str, bytes]] = field(default_factory=queue.Queue)
    answers: queue.Queue[tuple[str, int]] = field(default_factory=queue.Queue)
    errors: list[str] = field(default_factory=list)

    def publish(self, topic: str, payload: bytes) -> int:
        """Send with QoS 1; the reason the broker gives."""
        self.client.publish(topic, payload, qos=1)
        return self._answer("puback")

    def subscribe(self, topic: str) -> int:
        """Ask for a topic; the reason the broker gives."""
        self.client.subscribe(topic, qos=1)
        return self._answer("suback")

    def next(self) -> tuple[str, bytes]:
        """What is heard next."""
        return self.heard.get(timeout=WAIT_S)

    def ended(self) -> int:
        """The reason for which the broker ends the connection."""
        return self._answer("gone")

    def heard_before(self, topic: str) -> list[str]:
        """The topics that were heard before this one, which somebody sent as the last."""
        found = []
        while (heard := self.next()[0]) != topic:
            found.append(heard)
        return found

    def _answer(self, kind: str) -> int:
        found, reason = self.answers.get(timeout=WAIT_S)
        assert found == kind, (found, reason)
        return reason


class Refused(Exception):  # noqa: N818 - an outcome, not a mistake
    """The broker did not take the connection."""


@contextmanager
def mqtt_client(
    port: int,
    files: TlsFiles | None,
    ca: Path,
    name: str,
    *,
    version: MQTTProtocolVersion = MQTTProtocolVersion.MQTTv5,
) -> Iterator[Talker]:
    """A client that is connected.

    Args:
        port: of the broker.
        files: its certificate; None: it has none.
        ca: whom it believes.
        name: its client id.
        version: of MQTT.

    Raises:
        Refused: it may not connect.
    """
    client = Client(
        CallbackAPIVersion.VERSION2, client_id=name, protocol=version, reconnect_on_failure=False
    )
    client.tls_set_context(ssl.create_default_context(cafile=ca) if files is None
                           else client_context(files))  # fmt: skip
    found = Talker(client)
    client.on_connect = lambda _c, _u, _f, reason, _p: found.answers.put(("connack", reason.value))
    client.on_subscribe = lambda _c, _u, _m, reasons, _p: found.answers.put(
        ("suback", reasons[0].value)
    )
    client.on_publish = lambda _c, _u, _m, reason, _p: found.answers.put(("puback", reason.value))
    client.on_message = lambda _c, _u, m: found.heard.put((m.topic, bytes(m.payload)))
    client.on_disconnect = lambda _c, _u, _f, reason, _p: found.answers.put(("gone", reason.value))
    client.on_log = lambda _c, _u, level, text: (
        found.errors.append(text) if level == LogLevel.MQTT_LOG_ERR else None
    )
    try:
        client.connect(HOST, port, keepalive=15)
        client.loop_start()
        kind, reason = found.answers.get(timeout=WAIT_S)
        if kind != "connack" or reason >= 0x80:
            raise Refused(f"{kind} {reason} {found.errors}")
        yield found
    except ssl.SSLError as error:
        raise Refused(str(error)) from error
    finally:
        client.disconnect()
        client.loop_stop()
        client._reset_sockets()  # or the garbage collector warns of what wakes its thread
