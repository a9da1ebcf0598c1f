"""A wire that a test can spoil: a TCP relay that is late, cut, or silent without saying so."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_CHUNK = 65_536


class Wire:
    """Relays every connection to one port; used from any thread, it lives in its own."""

    def __init__(self, behind: int) -> None:
        """Nothing listens yet.

        Args:
            behind: the port that connections are passed on to, from whenever it is known.
        """
        self.behind = behind
        self.port = 0
        self.delay_s = 0.0  # of every byte, one way
        self._loop = asyncio.new_event_loop()
        self._flows = asyncio.Event()
        self._flows.set()
        self._is_cut = False
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._listening = threading.Event()
        self._thread = threading.Thread(target=self._live, daemon=True)

    def silence(self) -> None:
        """Take everything and pass nothing on: both sides see a peer that is there and mute."""
        self._do(self._flows.clear)

    def speak(self) -> None:
        """Pass on again, first what was said meanwhile."""
        self._do(self._flows.set)

    def cut(self) -> None:
        """End all connections, and every new one at once."""
        self._is_cut = True
        self._do(self._drop)

    def mend(self) -> None:
        """Take connections again."""
        self._is_cut = False

    def drop(self) -> None:
        """End the connections there are."""
        self._do(self._drop)

    def _drop(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    def _do(self, call: object) -> None:
        assert callable(call)
        self._loop.call_soon_threadsafe(call)

    def _live(self) -> None:
        asyncio.set_event_loop(self._loop)
        with suppress(RuntimeError):  # stopped
            self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)
        self.port = server.sockets[0].getsockname()[1]
        self._listening.set()
        self._stop = asyncio.Event()
        await self._stop.wait()
        server.close()
        self._drop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        try:
            if self._is_cut:
                return
            inner, outer = await asyncio.open_connection("127.0.0.1", self.behind)
            self._writers.add(outer)
            try:
                async with asyncio.TaskGroup() as both:
                    both.create_task(self._pass_on(reader, outer))
                    both.create_task(self._pass_on(inner, writer))
            finally:
                outer.transport.abort()
                self._writers.discard(outer)
        except* (OSError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()
            self._writers.discard(writer)
            self._tasks.discard(task)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Byte for byte, each as late as the weather says; the end of one side ends both."""
        late: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def taking() -> None:
            data = b"to begin with"
            while data:
                data = await reader.read(_CHUNK)  # empty: the other side has hung up
                late.put_nowait((self._loop.time() + self.delay_s, data))

        async with asyncio.TaskGroup() as both:
            both.create_task(taking())
            while True:
                due_s, data = await late.get()
                await asyncio.sleep(max(due_s - self._loop.time(), 0.0))
                await self._flows.wait()
                if not data:
                    raise ConnectionError("the other side has hung up")
                writer.write(data)
                await writer.drain()

    def start(self) -> None:
        """Listen."""
        self._thread.start()
        assert self._listening.wait(10)

    def close(self) -> None:
        """End everything."""
        self._do(self._stop.set)
        self._thread.join(10)
        self._loop.close()


@contextmanager
def wired(behind: int, port: int = 0) -> Iterator[Wire]:
    """A wire to a port; where it listens is in `port`."""
    wire = Wire(behind)
    wire.port = port
    wire.start()
    try:
        yield wire
    finally:
        wire.close()
