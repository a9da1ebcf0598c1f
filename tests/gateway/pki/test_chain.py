"""The whole way by its commands: authority, broker, an agent that joins, sends, and is revoked."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import pwd
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from joulemark_agent import app as agent_app
from joulemark_agent.answers import Collector
from joulemark_agent.approved import evidence_key
from joulemark_agent.cli import main
from joulemark_agent.contract.errors import UplinkError
from joulemark_agent.contract.signature import encode64, public_key
from joulemark_agent.enrolment import enrolled_files, pinned_collector
from joulemark_agent.mqtt import Connection
from joulemark_agent.outbox import Outbox
from joulemark_agent.settings import SiteSettings, load_site
from joulemark_agent.tls import own_certificate
from joulemark_agent.uplink import Timing, Uplink
from joulemark_gateway import app as collector_app
from joulemark_gateway.evidence.store import FILE, SqliteStore
from joulemark_gateway.settings import load_collector
from support import evidence
from support.evidence import AGENT, COUNTER, KEYS, METER, SITE
from support.identities import HOST, is_serving
from support.recording import recorded, recorder, state
from support.servers import free_port, program

pytestmark = [pytest.mark.endurance, pytest.mark.service, pytest.mark.usefixtures("mosquitto")]

DOCUMENTS = evidence.documents()
READINGS = evidence.meter_readings(DOCUMENTS, [1000] * 40)
QUICK = Timing(receipt_s=5.0, retry_s=0.02, longest_retry_s=0.1, refused_s=0.2)
WAIT_S = 30.0
_COLLECTOR = """\
broker: {{url: "mqtts://{host}:{broker}", tls: {{}}, config: broker}}
accept_simulated: true
operators: ["{operator}"]
pages: null
enrolment: {{host: {host}, port: {port}}}
"""
_SITE = """\
site: {site}
agent: {agent}
time_zone: Asia/Seoul
state_dir: state
factors: {{set: korea, rule_set: ESG, jurisdiction: KR}}
uplink: {{url: "mqtts://{host}:{broker}", tls: {{}}}}
devices:
  - {{id: {meter}, profile: virtual_main_meter, url: "modbus-tcp://192.0.2.8", unit: 1,
     period_s: 900}}
  - {{id: {counter}, profile: virtual_production_counter, url: "modbus-tcp://192.0.2.8", unit: 2,
     period_s: 900}}
"""


@dataclass
class Site:
    """Collector and broker on one machine, and the gateway's own folder."""

    folder: Path
    capsys: pytest.CaptureFixture[str]
    broker_port: int = field(default_factory=free_port)
    port: int = field(default_factory=free_port)

    @property
    def collector(self) -> Path:
        """The collector's file."""
        return self.folder / "collector" / "collector.yaml"

    @property
    def agent(self) -> Path:
        """The agent's site file."""
        return self.folder / "gateway" / "site.yaml"

    def run(self, *words: str, code: int = 0) -> str:
        """What a command prints."""
        self.capsys.readouterr()
        assert main([*words]) == code, self.capsys.readouterr()
        return self.capsys.readouterr().out

    def told(self, *words: str) -> Any:
        """What a command of the collector prints as JSON."""
        said = self.run(*words, "-c", str(self.collector), "--json")
        return json.loads(said.splitlines()[-1])  # before it stands what an agent says meanwhile


@pytest.fixture
def place(tmp_path, capsys) -> Site:
    made = Site(tmp_path, capsys)
    for path, text in ((made.collector, _COLLECTOR), (made.agent, _SITE)):
        path.parent.mkdir()
        path.write_text(
            text.format(
                host=HOST, broker=made.broker_port, port=made.port, site=SITE, agent=AGENT,
                meter=METER, counter=COUNTER, operator=encode64(public_key(KEYS.operator)),
            )
        )  # fmt: skip
    key = made.agent.parent / "state" / "agent.key"
    key.parent.mkdir()
    key.write_text(encode64(KEYS.agent))
    key.chmod(0o600)
    return made


@contextmanager
def broker_of(place: Site) -> Iterator[subprocess.Popen[bytes]]:
    """mosquitto from the folder that the command writes."""
    out = place.collector.parent / "broker"
    place.told("broker", "config", "--out", str(out), "--host", HOST, "--listen", HOST,
               "--port", str(place.broker_port))  # fmt: skip
    config = out / "mosquitto.conf"
    config.write_text(f"{config.read_text()}user {pwd.getpwuid(os.getuid()).pw_name}\n")
    path = program("mosquitto")
    assert path is not None
    with (out / "log").open("wb") as log:
        process = subprocess.Popen([path, "-c", str(config)], stdout=log, stderr=log)
    try:
        until(lambda: is_serving(place.broker_port))
        yield process
    finally:
        process.terminate()
        process.wait(WAIT_S)


@contextmanager
def collecting(place: Site) -> Iterator[None]:
    """The collector as its service runs, in a thread."""
    stop = threading.Event()
    settings = load_collector(place.collector)
    thread = threading.Thread(target=collector_app.collect, args=(settings, stop))
    thread.start()
    try:
        until(lambda: is_serving(place.port))
        yield
    finally:
        stop.set()
        thread.join()


def until(holds: Callable[[], bool], limit_s: float = WAIT_S) -> None:
    end_s = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < end_s
        time.sleep(0.01)


def enrol(place: Site, monkeypatch) -> None:
    """Token, application, comparison and approval."""
    token = place.told("collector", "enroll-token", AGENT, "--site", SITE, "--devices",
                       f"{METER},{COUNTER}")["token"]  # fmt: skip
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{token}\n"))
    monkeypatch.setattr("joulemark_agent.enrolment.ASK_EVERY_S", 0.02)
    words = ["agent", "enroll", "-c", str(place.agent), "--collector",
             f"https://{HOST}:{place.port}", "--token-file", "-"]  # fmt: skip
    codes: list[int] = []
    agent = threading.Thread(target=lambda: codes.append(main(words)))
    agent.start()
    waiting: list[dict[str, Any]] = []
    while not waiting:
        waiting = place.told("collector", "enrolments")["enrolments"]
    said = place.run("collector", "enrolments", "-c", str(place.collector))
    assert waiting[0]["fingerprint"] in said
    place.told("collector", "enrolments", "approve", waiting[0]["id"][:6])
    agent.join()
    assert codes == [0]
    settings = load_site(place.agent)
    assert evidence_key(settings).fingerprint == waiting[0]["fingerprint"]


def uplink_of(settings: SiteSettings, box: Outbox) -> Uplink:
    name, key = pinned_collector(settings)
    collector = Collector(settings.site, settings.agent, name, key)
    return Uplink(agent_app._login(settings), collector, box, QUICK)


def test_from_an_empty_folder_to_evidence_and_to_a_gateway_that_is_lost(
    place, tmp_path, monkeypatch, caplog
):
    caplog.set_level(logging.INFO)
    place.told("collector", "ca", "init", "--host", HOST)
    with broker_of(place) as broker, collecting(place):
        enrol(place, monkeypatch)
        broker.send_signal(1)
        settings = load_site(place.agent)
        box = Outbox(state(tmp_path))
        try:
            asyncio.run(sends_and_is_revoked(place, broker, settings, box, caplog))
        finally:
            box.close()
    store = place.collector.parent / "state" / FILE
    with SqliteStore(store, create=False) as held:
        [head] = held.heads()
    assert head.size > 20
    events = [record.getMessage() for record in caplog.records]
    assert {"enrolment_waits", "registry_changed", "certificate_renewed"} <= set(events)
    text = " ".join(str(vars(record)) for record in caplog.records)
    assert "joulemark1." not in text


async def sends_and_is_revoked(
    place: Site, broker: subprocess.Popen[bytes], settings: SiteSettings, box: Outbox, caplog
) -> None:
    writer = recorder(box, recorded(DOCUMENTS), slots=4)
    writer.commit(READINGS[:20])
    uplink = uplink_of(settings, box)
    uplink.start()
    try:
        await asyncio.wait_for(uplink.wait_drained(), WAIT_S)
        # Renewed meanwhile: what is there is used from the next connection on.
        path = enrolled_files(settings.state_dir).certificate
        before = own_certificate(path).serial_number
        words = ("agent", "renew", "-c", str(place.agent))
        assert "nothing to do" in await asyncio.to_thread(place.run, *words)
        await asyncio.to_thread(place.run, *words, "--within", "400")
        assert own_certificate(path).serial_number != before
    finally:
        await uplink.close()
    uplink = uplink_of(settings, box)
    uplink.start()
    try:
        uplink.offer(writer.commit(READINGS[20:30]))
        await asyncio.wait_for(uplink.wait_drained(), WAIT_S)
        begun_s = time.monotonic()
        said = await asyncio.to_thread(place.told, "collector", "revoke", AGENT, "--reason", "lost")
        assert said["certificates"] == 2
        broker.send_signal(1)
        uplink.offer(writer.commit(READINGS[30:40]))
        while not [r for r in caplog.records if r.getMessage() == "uplink_trouble"]:
            await asyncio.sleep(0.01)
            assert time.monotonic() - begun_s < 60
        assert uplink.unconfirmed
    finally:
        await uplink.close()
    with pytest.raises(UplinkError) as caught:
        await Connection(agent_app._login(settings), lambda _: None).open("joulemark/v1/down/#")
    assert caught.value.code == "certificate_refused"
    assert time.monotonic() - begun_s < 60
