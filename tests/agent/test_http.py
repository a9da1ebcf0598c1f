"""One HTTP answer from a server that may send anything: each fault has a name and an end."""

import asyncio

import httpx
import pytest

from joulemark_agent.contract.errors import DeviceError
from joulemark_agent.http import MAX_BODY, Http
from support import tcp

TIMEOUT_S = 5.0
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
CLAIMED = b"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK"


async def asked(answer, *, timeout_s=TIMEOUT_S, end=False):
    """Body or code of a first answer of these bytes; the request after it is answered."""
    answers = [answer, OK]

    async def serve(reader, writer):
        while answers:
            await reader.readuntil(b"\r\n\r\n")
            sent = answers.pop(0)
            if callable(sent):
                await sent(writer)
            else:
                writer.write(sent)
            if end and len(answers) == 1:
                return
        await reader.read()

    async with tcp.serving(serve) as port:
        http = Http(f"x://127.0.0.1:{port}", 80, timeout_s=TIMEOUT_S)
        found: bytes | str
        try:
            found = (await http.ask("GET", "/", [], b"", timeout_s=timeout_s)).body
        except DeviceError as error:
            found = error.code
        after = await http.ask("GET", "/", [], b"", timeout_s=TIMEOUT_S)
        await http.close()
    assert after.body == b"OK"  # the next good request, on the next try
    return found


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n", "http_401"),
        (b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n", "http_403"),
        (b"HTTP/1.1 429 No\r\nContent-Length: 0\r\nRetry-After: 9\r\n\r\n", "http_429"),
        (b"HTTP/1.1 500 No\r\nContent-Length: 6\r\n\r\n<html>", "http_500"),
        (b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", "http_503"),
        (b"HTTP/1.1 302 No\r\nLocation: http://a.test/\r\nContent-Length: 0\r\n\r\n", "http_302"),
        (b"HTTP/1.1 204 No\r\n\r\n", "http_204"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>", "html_page"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx", "bad_reply"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nOK!", "bad_reply"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "bad_reply"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK and more", "bad_reply"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "bad_reply"),
        (b"\x00\x01\x02\x03garbage\r\n\r\n", "bad_reply"),
        (b"220 mail.example ESMTP\r\n\r\n", "bad_reply"),
        (b"HTTP/1.1 200 OK\r\n" + b"X-Much: y\r\n" * 20_000 + b"\r\n", "bad_reply"),
        (CLAIMED + bytes(MAX_BODY + 1), "too_large"),
        (CHUNKED + b"1\r\nx\r\n" * 40_000, "too_large"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000, "too_large"),
    ],
)  # fmt: skip
async def test_each_fault_has_its_code_and_the_next_request_its_answer(answer, code):
    assert await asked(answer) == code


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (b"", "closed"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nOK", "closed"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nOK\r\n", "closed"),
        (b"HTTP/1.1 200 OK\r\nContent-", "closed"),
    ],
)
async def test_an_answer_cut_short_is_none(answer, code):
    assert await asked(answer, end=True) == code


async def test_an_answer_without_a_length_ends_with_its_connection():
    assert await asked(b"HTTP/1.0 200 OK\r\n\r\n08E15998", end=True) == b"08E15998"


async def test_an_answer_may_come_byte_by_byte_and_in_pieces():
    async def drip(writer):
        for i in range(len(OK)):
            writer.write(OK[i : i + 1])
            await tcp.turns(2)

    assert await asked(drip) == b"OK"
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nO\r\n1\r\nK\r\n0\r\n\r\n"
    assert await asked(chunked) == b"OK"


async def endless(writer):
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.01)


async def test_an_endless_drip_ends_with_the_time_out():
    assert await asked(endless, timeout_s=0.15) == "timeout"


async def test_a_naive_client_waits_for_the_drip_as_long_as_it_drips():
    """httpx's time-out is one between bytes: ten times as long it still waits."""

    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        await endless(writer)

    async with (
        tcp.serving(serve) as port,
        httpx.AsyncClient(timeout=0.05, trust_env=False) as client,
    ):
        waiting = asyncio.create_task(client.get(f"http://127.0.0.1:{port}/"))
        done, _ = await asyncio.wait({waiting}, timeout=0.5)
        waiting.cancel()

    assert not done


async def test_nothing_of_the_environment_and_no_cookie_leaves(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    heads = []

    async def serve(reader, writer):
        for _ in range(2):
            heads.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(OK.replace(b"\r\n\r\n", b"\r\nSet-Cookie: a=b\r\n\r\n"))

    async with tcp.serving(serve) as port:
        http = Http(f"x://127.0.0.1:{port}", 80, timeout_s=TIMEOUT_S)
        for _ in range(2):
            await http.ask("GET", "/", [], b"", timeout_s=TIMEOUT_S)
        await http.close()

    wanted = f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept-Encoding: identity\r\n\r\n"
    assert heads == [wanted.encode()] * 2
