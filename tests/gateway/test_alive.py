"""The collector's service manager hears of it only while every loop goes on."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from paho.mqtt.enums import MQTTProtocolVersion
from paho.mqtt.publish import single

from joulemark_agent.contract.signature import encode64, public_key
from joulemark_agent.contract.topics import batch_topic
from joulemark_agent.watchdog import ServiceManager
from joulemark_gateway import alive as alive_module
from joulemark_gateway.alive import Alive
from joulemark_gateway.broker import RunningBroker, start_broker
from joulemark_gateway.children import environment
from joulemark_gateway.ingest.intake import Answer
from joulemark_gateway.ingest.mqtt import Subscriber
from joulemark_gateway.settings import BrokerSettings
from support.child import search_path
from support.evidence import KEYS
from support.notified import Heard

WITHIN_S, PING = 0.4, "WATCHDOG=1"


@pytest.fixture
def manager(tmp_path, monkeypatch) -> Iterator[tuple[Heard, dict[str, str]]]:
    """What systemd listens on, and the environment it gives."""
    monkeypatch.setattr(alive_module, "_LOOK_S", 0.02)
    path = str(tmp_path / "notify")
    with closing(Heard(path)) as heard:
        yield heard, {"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "200000"}


@pytest.fixture(scope="module")
def broker() -> Iterator[RunningBroker]:
    with start_broker("embedded") as running:
        yield running


class Hanging:
    """A taker whose store does not return until it is let go."""

    def __init__(self) -> None:
        self.has_begun, self.may_go_on = threading.Event(), threading.Event()

    def take(self, topic: str, payload: bytes) -> Answer | None:
        del topic, payload
        self.has_begun.set()
        self.may_go_on.wait()
        return None

    def expected(self, agent: str, device: str) -> None:
        raise AssertionError(agent, device)

    def reopen(self) -> None:
        raise AssertionError


@contextmanager
def subscribed(broker: RunningBroker, taker: Hanging, alive: Alive) -> Iterator[None]:
    """The collector's own loop, as `app.collect` starts it."""
    stop = threading.Event()
    loop = Subscriber(
        BrokerSettings(url=broker.url), taker, agents=frozenset({"edge-1"}), waiting_batches=4,
        on_turn=alive.beat("messages", WITHIN_S).on,
    )  # fmt: skip
    thread = threading.Thread(target=loop.run, args=(stop,))
    thread.start()
    assert loop.is_ready.wait(20)
    alive.start()
    try:
        yield
    finally:
        taker.may_go_on.set()
        stop.set()
        thread.join()
        alive.ending()
        alive.stop()


def send_one(broker: RunningBroker) -> None:
    single(
        batch_topic("edge-1", "meter"), b"1", qos=1, hostname="127.0.0.1", port=broker.port,
        client_id="edge-1", protocol=MQTTProtocolVersion.MQTTv5,
    )  # fmt: skip


def silence_of(heard: Heard) -> bool:
    """Whether no ping comes for as long as ten of them would take."""
    before = heard.so_far.count(PING)
    time.sleep(10 * 0.02)
    return heard.so_far.count(PING) == before


def test_a_loop_that_hangs_in_its_store_ends_the_pings_until_it_goes_on(manager, broker, caplog):
    heard, given = manager
    taker, alive = Hanging(), Alive(ServiceManager(given))
    with subscribed(broker, taker, alive):
        heard.until(lambda said: said.count(PING) > 5)
        send_one(broker)
        assert taker.has_begun.wait(20)
        heard.until(lambda _: "collector_stuck" in caplog.messages)
        assert silence_of(heard)
        taker.may_go_on.set()
        before = heard.so_far.count(PING)
        heard.until(lambda said: said.count(PING) > before + 5)
    assert heard.so_far[0] == "READY=1"
    assert "STOPPING=1" in heard.so_far
    assert caplog.messages.count("collector_stuck") == 1


def test_control_a_thread_that_only_pings_goes_on_while_the_loop_hangs(manager, broker):
    """The naive watchdog: nobody says when they will be seen again, so nobody is late."""
    heard, given = manager
    taker, alive = Hanging(), Alive(ServiceManager(given))
    alive.beat = lambda *_: alive_module.QUIET  # type: ignore[method-assign]
    with subscribed(broker, taker, alive):
        send_one(broker)
        assert taker.has_begun.wait(20)
        time.sleep(2 * WITHIN_S)
        assert not silence_of(heard)


def test_any_of_several_loops_is_enough_and_who_waits_hangs_not(manager):
    heard, given = manager
    alive = Alive(ServiceManager(given))
    waits, hangs = alive.beat("series", 0.05), alive.beat("pages", 0.05)
    waits.on()
    waits.off()
    alive.start()
    heard.until(lambda said: said.count(PING) > 10)
    hangs.on()
    heard.until(lambda _: silence_of(heard))
    hangs.off()
    before = heard.so_far.count(PING)
    heard.until(lambda said: said.count(PING) > before)
    alive.stop()


def test_where_there_is_no_manager_a_file_tells(tmp_path):
    told = ServiceManager({"JOULEMARK_ALIVE_FILE": str(tmp_path / "alive")})
    told.ping()
    assert (tmp_path / "alive").stat().st_size == 0
    ServiceManager({"JOULEMARK_ALIVE_FILE": str(tmp_path / "gone/alive")}).ping()  # nothing breaks


def test_the_collector_s_own_loops_tell_their_manager(manager, broker, tmp_path):
    """The command as its unit runs it: every loop that is watched goes on."""
    heard, given = manager
    file = tmp_path / "collector.yaml"
    file.write_text(
        f'broker: {{url: "{broker.url}"}}\noperators: ["{encode64(public_key(KEYS.operator))}"]\n'
        f"agents: [{{agent: edge-1, site: plant, devices: [meter],"
        f' key: "{encode64(public_key(KEYS.agent))}"}}]\npages: null\n'
    )
    beat = tmp_path / "alive"
    process = subprocess.Popen(
        [sys.executable, "-m", "joulemark_agent.cli", "collector", "run", "-c", str(file)],
        env={**environment(), **given, "PYTHONPATH": search_path(),
             "JOULEMARK_ALIVE_FILE": str(beat)},
        stderr=subprocess.PIPE,
    )  # fmt: skip
    with process:
        heard.until(lambda said: said.count(PING) > 3)
        assert beat.exists()
        process.terminate()
        _, log = process.communicate(timeout=30)
    assert process.returncode == 0, log
    said = heard.all()
    assert said[0] == "READY=1"
    assert said.count("STOPPING=1") == 1
    assert Path(tmp_path / "state").is_dir()
