"""A small HTTP/1.1 server for one controller: a function from request to reply, on real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import h11

_CHUNK = 65_536


@dataclass(frozen=True)
class Asked:
    """A request as it came."""

    method: str
    target: str
    fields: dict[str, str]  # names in small letters
    body: bytes


@dataclass(frozen=True)
class Reply:
    """What is answered."""

    body: bytes
    status: int = 200
    fields: list[tuple[str, str]] = field(default_factory=list)
    ends_connection: bool = False  # and has no length, as a CGI program's


Respond = Callable[[Asked], Reply]


@asynccontextmanager
async def serving(respond: Respond, port: int = 0) -> AsyncIterator[int]:
    """Serve on the loopback until the end of the `with`; the port that is listened on."""
    served: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        served[task] = writer
        try:
            with suppress(h11.RemoteProtocolError, ConnectionError):
                await _connection(respond, reader, writer)
        finally:
            del served[task]
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", port)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await asyncio.sleep(0)  # a connection just accepted gets its task
        for writer in served.values():
            writer.close()
        await asyncio.gather(*served, return_exceptions=True)


async def _connection(
    respond: Respond, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    http = h11.Connection(h11.SERVER)
    while True:
        asked = await _request(http, reader)
        if asked is None:
            return
        reply = respond(asked)
        fields = [*reply.fields]
        fields += [("Connection", "close")] if reply.ends_connection else []
        fields += [] if reply.ends_connection else [("Content-Length", str(len(reply.body)))]
        events = h11.Response(status_code=reply.status, headers=fields), h11.Data(reply.body)
        for event in (*events, h11.EndOfMessage()):
            writer.write(http.send(event) or b"")
        await writer.drain()
        if http.our_state is not h11.DONE:
            return
        http.start_next_cycle()


async def _request(http: h11.Connection, reader: asyncio.StreamReader) -> Asked | None:
    head, body = None, b""
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            http.receive_data(await reader.read(_CHUNK))
        elif isinstance(event, h11.Request):
            head = event
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage) and head is not None:
            fields = {name.decode(): value.decode() for name, value in head.headers}
            return Asked(head.method.decode(), head.target.decode(), fields, body)
        else:
            return None
