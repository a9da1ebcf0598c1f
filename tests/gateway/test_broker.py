"""What the chain needs of a broker, asked of every broker it runs on."""

from __future__ import annotations

import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.reasoncodes import ReasonCode

from joulemark_agent.contract.batch import MAX_WIRE_BYTES
from joulemark_agent.contract.errors import ConfigError
from joulemark_gateway.broker import RunningBroker, find_mosquitto, start_broker
from support.child import search_path

WAIT_S = 20.0


@dataclass
class Peer:
    """A connected MQTT 5 client and everything it heard."""

    client: Client
    received: queue.Queue[tuple[str, bytes]] = field(default_factory=queue.Queue)
    acked: queue.Queue[tuple[int, int]] = field(default_factory=queue.Queue)
    lost: threading.Event = field(default_factory=threading.Event)

    def send(self, topic: str, payload: bytes) -> int:
        return self.client.publish(topic, payload, qos=1).mid

    def reason_of(self, mid: int) -> int:
        number, reason = self.acked.get(timeout=WAIT_S)
        assert number == mid
        return reason


@contextmanager
def peer(
    port: int, name: str, *topics: str, login: tuple[str, str] | None = None
) -> Iterator[Peer]:
    """A client that is connected and subscribed; ConnectionRefusedError where it may not be."""
    client = Client(
        CallbackAPIVersion.VERSION2,
        client_id=name,
        protocol=MQTTProtocolVersion.MQTTv5,
        reconnect_on_failure=False,
    )
    found = Peer(client)
    answers: queue.Queue[ReasonCode] = queue.Queue()
    if login is not None:
        client.username_pw_set(*login)
    client.on_connect = lambda _c, _u, _f, reason, _p: answers.put(reason)
    client.on_subscribe = lambda _c, _u, _m, reasons, _p: answers.put(reasons[0])
    client.on_publish = lambda _c, _u, mid, reason, _p: found.acked.put((mid, reason.value))
    client.on_message = lambda _c, _u, m: found.received.put((m.topic, bytes(m.payload)))
    client.on_disconnect = lambda *_: found.lost.set()
    client.connect("127.0.0.1", port, keepalive=15, clean_start=True)
    client.loop_start()
    try:
        reason = answers.get(timeout=WAIT_S)
        if reason.is_failure:
            raise ConnectionRefusedError(str(reason))
        for topic in topics:
            client.subscribe(topic, qos=1)
            assert not answers.get(timeout=WAIT_S).is_failure
        yield found
    finally:
        client.disconnect()
        client.loop_stop()


def test_a_message_of_qos_1_arrives_and_is_acknowledged_as_delivered(broker):
    with peer(broker.port, "reader", "a/+/c") as reader, peer(broker.port, "writer") as writer:
        assert writer.reason_of(writer.send("a/b/c", b"1")) == 0
        assert reader.received.get(timeout=WAIT_S) == ("a/b/c", b"1")


def test_200_messages_of_4_kb_arrive_once_and_in_order(broker):
    sent = [number.to_bytes(4, "big") + bytes(4092) for number in range(200)]
    with peer(broker.port, "reader", "many") as reader, peer(broker.port, "writer") as writer:
        for payload in sent:
            writer.send("many", payload)
        assert [reader.received.get(timeout=WAIT_S)[1] for _ in sent] == sent
        assert {writer.acked.get(timeout=WAIT_S)[1] for _ in sent} == {0}
        assert reader.received.empty()


def test_a_message_that_nobody_listens_to_is_acknowledged_as_such(broker):
    with peer(broker.port, "writer") as writer:
        assert writer.reason_of(writer.send("nobody", b"1")) == 0x10


def test_a_message_larger_than_a_batch_may_be_is_not_passed_on_and_the_next_one_is(broker):
    with peer(broker.port, "reader", "large") as reader:
        with peer(broker.port, "writer") as writer:
            mid = writer.send("large", bytes(MAX_WIRE_BYTES + 1))
            # mosquitto 2.0 answers with a reason that MQTT 5 does not know here: paho hangs up.
            while not writer.lost.wait(0.01) and writer.acked.empty():
                pass
            assert writer.lost.is_set() or writer.reason_of(mid) >= 0x80
        with peer(broker.port, "writer") as writer:
            assert writer.reason_of(writer.send("large", bytes(MAX_WIRE_BYTES))) == 0
        assert len(reader.received.get(timeout=WAIT_S)[1]) == MAX_WIRE_BYTES
        assert reader.received.empty()


def test_the_same_client_again_takes_the_place_of_its_older_connection(broker):
    with peer(broker.port, "twin", "place") as older, peer(broker.port, "twin", "place") as newer:
        assert older.lost.wait(WAIT_S)
        with peer(broker.port, "writer") as writer:
            assert writer.reason_of(writer.send("place", b"1")) == 0
        assert newer.received.get(timeout=WAIT_S) == ("place", b"1")
        assert older.received.empty()


def test_a_client_that_breaks_off_is_forgotten_and_harms_nobody(broker):
    with peer(broker.port, "reader", "here") as reader, peer(broker.port, "writer") as writer:
        with peer(broker.port, "broken", "here") as broken:
            reset = broken.client.socket()
            assert isinstance(reset, socket.socket)
            reset.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            reset.close()  # with a reset instead of a goodbye
        for _ in range(20):
            assert writer.reason_of(writer.send("here", b"1")) == 0
        assert [reader.received.get(timeout=WAIT_S)[1] for _ in range(20)] == [b"1"] * 20
        with peer(broker.port, "writer-2") as other:
            assert other.reason_of(other.send("broken/only", b"1")) == 0x10


def test_bytes_that_are_no_mqtt_end_only_their_own_connection(broker):
    with peer(broker.port, "reader", "still") as reader, peer(broker.port, "writer") as writer:
        with socket.create_connection(("127.0.0.1", broker.port)) as stranger:
            stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
            stranger.settimeout(WAIT_S)
            with suppress(ConnectionResetError):
                while stranger.recv(4096):
                    pass
        assert writer.reason_of(writer.send("still", b"1")) == 0
        assert reader.received.get(timeout=WAIT_S) == ("still", b"1")


@pytest.mark.parametrize(
    "law",
    [
        test_a_message_that_nobody_listens_to_is_acknowledged_as_such,
        test_the_same_client_again_takes_the_place_of_its_older_connection,
        test_a_client_that_breaks_off_is_forgotten_and_harms_nobody,
    ],
)
def test_control_the_library_alone_breaks_the_laws_that_ours_adds(law, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "WAIT_S", 2.0)
    program = (
        "import anyio\n"
        "from moat.lib.mqtt.async_broker import AsyncMQTTBroker\n"
        "async def main():\n"
        "    async with anyio.create_task_group() as group:\n"
        "        broker = AsyncMQTTBroker(('127.0.0.1', 0))\n"
        "        print(await group.start(broker.serve), flush=True)\n"
        "anyio.run(main)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    with process:
        assert process.stdout is not None
        stock = RunningBroker("stock", int(process.stdout.readline()), process)
        try:
            with pytest.raises((AssertionError, queue.Empty)):
                law(stock)
        finally:
            process.kill()


def test_a_killed_broker_forgets_and_serves_again_on_the_same_port(kind):
    with start_broker(kind) as first:
        with peer(first.port, "reader", "again") as reader, peer(first.port, "writer") as writer:
            assert writer.reason_of(writer.send("again", b"1")) == 0
            first.kill()
            assert writer.lost.wait(WAIT_S)
            assert reader.lost.wait(WAIT_S)
        with (
            start_broker(kind, first.port) as second,
            peer(second.port, "reader", "again") as reader,
            peer(second.port, "writer") as writer,
        ):
            assert writer.reason_of(writer.send("again", b"2")) == 0
            assert reader.received.get(timeout=WAIT_S) == ("again", b"2"), "it kept a message"


def test_a_taken_port_is_one_message_and_exit_code_2(kind):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError) as caught:
            start_broker(kind, port)
        done = subprocess.run(
            command("--kind", kind, "--port", str(port)),
            capture_output=True, text=True, check=False, env=environment(),
        )  # fmt: skip
    assert str(port) in caught.value.what
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert f"Port {port}" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_says_its_port_and_ends_when_asked(kind, number):
    process = subprocess.Popen(
        command("--kind", kind, "--port", "0", "--json"),
        stdout=subprocess.PIPE, text=True, env=environment(),
    )  # fmt: skip
    with process:
        assert process.stdout is not None
        said = json.loads(process.stdout.readline())
        assert said["broker"] == kind
        socket.create_connection((said["host"], said["port"])).close()
        process.send_signal(number)
        assert process.wait(WAIT_S) == 0


def test_a_broker_listens_on_loopback_only(broker):
    addresses = set()
    for name in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{name}").read_text("ascii").splitlines()[1:]:
            _, local, _, state = line.split()[:4]
            host, port = local.split(":")
            if state == "0A" and int(port, 16) == broker.port:
                addresses.add(host)
    assert addresses == {"0100007F"}


@pytest.mark.service
@pytest.mark.usefixtures("mosquitto")
def test_mosquitto_refuses_a_wrong_password_and_takes_the_right_one():
    with start_broker("mosquitto", users={"edge-1": "right"}) as broker:
        for login in (("edge-1", "wrong"), ("edge-2", "right"), None):
            refused = pytest.raises(ConnectionRefusedError, match="Not authorized")
            with refused, peer(broker.port, "edge-1", login=login):
                pass
        with peer(broker.port, "edge-1", "t", login=("edge-1", "right")) as known:
            assert known.reason_of(known.send("t", b"1")) == 0


@pytest.mark.service
def test_mosquitto_is_taken_where_it_is_found(mosquitto):
    assert str(find_mosquitto()) == mosquitto
    with start_broker("auto") as broker:
        assert broker.kind == "mosquitto"


def test_without_mosquitto_the_embedded_broker_is_taken(monkeypatch, tmp_path):
    monkeypatch.setattr("joulemark_gateway.broker._PLACES", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_mosquitto() is None


def test_a_named_mosquitto_that_is_none_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no program"):
        find_mosquitto(tmp_path / "mosquitto")


@pytest.mark.parametrize("content", [None, "# no program\n"], ids=["folder", "text"])
def test_a_mosquitto_that_cannot_be_run_is_one_message_and_exit_code_2(tmp_path, content):
    program = tmp_path / "mosquitto"
    if content is None:
        program.mkdir()
    else:
        program.touch(mode=0o755)
        program.write_text(content)
    done = subprocess.run(
        command("--mosquitto", str(program), "--port", "0"),
        capture_output=True, text=True, check=False, env=environment(), timeout=30,
    )  # fmt: skip
    assert (done.returncode, "Traceback" in done.stderr) == (2, False), done.stderr


def test_the_embedded_broker_refuses_to_guard_users_it_does_not_know(tmp_path):
    done = subprocess.run(
        command("--kind", "embedded", "--port", "0", "--password-file", str(tmp_path)),
        capture_output=True, text=True, check=False, env=environment(),
    )  # fmt: skip
    assert done.returncode == 2
    assert "knows no users" in done.stderr


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "joulemark_gateway.broker", *words]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": search_path()}
