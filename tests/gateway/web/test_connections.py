"""Idle and slow clients on real sockets: they hold no place that others need.

The control is the server as uvicorn makes it with a limit of connections: it shuts everybody out.
"""

import asyncio
import socket
import ssl
import threading
import time
from contextlib import ExitStack, contextmanager

import pytest
import uvicorn

from joulemark_gateway.web import connections, listener
from joulemark_gateway.web.connections import Connections
from joulemark_gateway.web.listener import Listener
from support.certificates import certificate, key_pem, pem

MOST = 16


async def answering(scope, _, send):
    """An application that answers at once, or at /large with more than buffers hold."""
    size = 32 * 1024 * 1024 if scope["path"] == "/large" else 2
    head = [(b"content-length", str(size).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    for _ in range(max(size // 65_536, 1)):
        body = b"x" * min(size, 65_536)
        await send({"type": "http.response.body", "body": body, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


@pytest.fixture
def quick(monkeypatch):
    """A tenth of the time for whoever is slow."""
    monkeypatch.setattr(connections, "HEAD_S", 1.0)


@contextmanager
def listening(tls=None):
    server = Listener("tested", lambda: answering, "127.0.0.1", 0, tls=tls, connections=MOST)
    try:
        yield server, server._socket.getsockname()[1]
    finally:
        server.stop()


def asked(port, *, tls=None, timeout_s=10.0):
    """The status line that a client gets; "" where it gets none."""
    with socket.create_connection(("127.0.0.1", port), timeout_s) as plain, ExitStack() as stack:
        one = plain if tls is None else stack.enter_context(tls.wrap_socket(plain))
        one.settimeout(timeout_s)
        one.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        try:
            return one.recv(65_536).partition(b"\r\n")[0].decode()
        except ConnectionError:
            return ""


def idle(stack, port, count, begin=b""):
    """Open connections that say no more than this."""
    found = []
    for _ in range(count):
        one = stack.enter_context(socket.create_connection(("127.0.0.1", port), 10))
        if begin:
            one.sendall(begin)
        found.append(one)
    return found


def is_closed(one, within_s):
    """Whether the server ends the connection within some time."""
    one.settimeout(within_s)
    try:
        while True:
            if not one.recv(65_536):
                return True
    except TimeoutError:
        return False
    except ConnectionError:
        return True


@pytest.mark.parametrize("begin", [b"", b"GET / HTTP/1.1\r\nX-Slow: "], ids=["idle", "slowloris"])
def test_many_that_say_nothing_or_little_shut_nobody_out(begin):
    with listening() as (_, port), ExitStack() as stack:
        idle(stack, port, 4 * MOST, begin)
        for _ in range(5):
            assert asked(port) == "HTTP/1.1 200 OK"


def test_the_control_a_limit_of_connections_shuts_everybody_out():
    config = uvicorn.Config(
        answering,
        port=0,
        log_config=None,
        lifespan="off",
        limit_concurrency=MOST,
        log_level="error",
    )
    server = uvicorn.Server(config)
    bound = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, args=([bound],))
    thread.start()
    try:
        with ExitStack() as stack:
            idle(stack, bound.getsockname()[1], MOST)
            assert asked(bound.getsockname()[1]) == "HTTP/1.1 503 Service Unavailable"
    finally:
        server.should_exit = True
        thread.join()


def test_the_places_are_bounded_however_many_come():
    with listening() as (server, port), ExitStack() as stack:
        idle(stack, port, 4 * MOST)
        assert asked(port) == "HTTP/1.1 200 OK"
        assert len(server._socket.connections) <= MOST


@pytest.mark.endurance
@pytest.mark.usefixtures("quick")
def test_who_never_finishes_a_request_is_cut():
    with listening() as (_, port), ExitStack() as stack:
        [silent] = idle(stack, port, 1)
        [begun] = idle(stack, port, 1, b"POST / HTTP/1.1\r\nHost: x\r\n")
        [drip] = idle(stack, port, 1, b"GET / HTTP/1.1\r\n")
        end_s = time.monotonic() + 8
        is_cut = False
        while time.monotonic() < end_s and not is_cut:  # a byte now and then keeps no place
            try:
                drip.sendall(b"x")
            except OSError:
                is_cut = True
            time.sleep(0.1)
        assert is_cut
        assert is_closed(silent, 8)
        assert is_closed(begun, 8)


@pytest.mark.endurance
@pytest.mark.usefixtures("quick")
def test_a_connection_that_is_used_is_kept():
    with listening() as (_, port), ExitStack() as stack:
        [one] = idle(stack, port, 1)
        begun_s = time.monotonic()
        while time.monotonic() - begun_s < 3.5:
            one.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            answer = b""
            while not answer.endswith(b"xx"):
                answer += one.recv(65_536)
            assert answer.startswith(b"HTTP/1.1 200 OK")
            time.sleep(0.3)


@pytest.mark.endurance
@pytest.mark.usefixtures("quick")
def test_who_takes_an_answer_too_slowly_is_cut_and_who_takes_it_steadily_is_not():
    with listening() as (server, port), ExitStack() as stack:
        large = b"GET /large HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
        [never] = idle(stack, port, 1, large)
        [steady] = idle(stack, port, 1, large)
        got = 0
        while part := steady.recv(1 << 20):
            got += len(part)
            time.sleep(0.08)  # some 3 s in all
        assert got > 32 * 1024 * 1024
        end_s = time.monotonic() + 8
        while len(server._socket.connections) and time.monotonic() < end_s:
            time.sleep(0.1)
        assert len(server._socket.connections) == 0, "the one that reads nothing is gone"
        assert is_closed(never, 8)


@pytest.mark.endurance
@pytest.mark.usefixtures("quick")
def test_a_handshake_that_never_ends_holds_no_place(tmp_path):
    both = tmp_path / "pages.pem"
    both.write_bytes(pem(certificate("pages")) + key_pem("pages"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(both)
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    with listening(context) as (server, port), ExitStack() as stack:
        held = idle(stack, port, 4 * MOST)
        assert asked(port, tls=trusting) == "HTTP/1.1 200 OK"
        assert len(server._socket.connections) <= MOST
        assert is_closed(held[-1], 8)


def test_what_is_not_http_is_told_so_as_any_problem():
    with listening() as (_, port), ExitStack() as stack:
        [one] = idle(stack, port, 1, b"\x16\x03\x01 hello\r\n\r\n")
        answer = b"".join(iter(lambda: one.recv(65_536), b""))
        assert answer.startswith(b"HTTP/1.1 400")
        assert b"application/problem+json" in answer
        assert b'"do"' in answer


class Fake(socket.socket):
    """A socket that remembers being cut."""

    def __init__(self, number: int) -> None:
        self.number, self.is_cut = number, False

    def fileno(self) -> int:
        return self.number

    def shutdown(self, how: int) -> None:
        assert how == socket.SHUT_RDWR
        self.is_cut = True


def test_one_address_has_a_quarter_and_its_own_oldest_makes_room():
    table = Connections(MOST, lambda: 0.0)
    others = [Fake(k) for k in range(100, 103)]
    for one in others:
        assert table.admits(one, ("192.0.2.9", 1))
    flood = [Fake(k) for k in range(40)]
    for one in flood:
        assert table.admits(one, ("192.0.2.1", 1))
    assert [one.is_cut for one in flood] == [True] * 36 + [False] * 4
    assert not any(one.is_cut for one in others)


def test_where_all_are_being_answered_a_further_one_is_turned_away():
    table = Connections(MOST, lambda: 0.0)
    for k in range(MOST):
        assert table.admits(Fake(k), (f"192.0.2.{k}", 1))
        one = table.of(k)
        assert one is not None
        one.is_answered = lambda: True
    assert not table.admits(Fake(99), ("192.0.2.99", 1))
    table.closed(0)
    assert table.admits(Fake(99), ("192.0.2.99", 1))


async def test_the_loop_is_the_one_that_counts():
    """Another event loop would accept by itself, uncounted."""
    config = listener._server(answering, None, Connections(MOST, time.monotonic)).config
    assert config.get_loop_factory() in {None, asyncio.new_event_loop, asyncio.SelectorEventLoop}
