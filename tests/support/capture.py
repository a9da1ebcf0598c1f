"""What a client says to machines, taken from the socket, and whether all of it only reads."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from support.leaving import IDENTIFICATION, READING_SERVICES, crc, is_reading, service
from support.tcp import serving


class NotReadingError(AssertionError):
    """Something else than reading left for a machine."""


@dataclass
class Heard:
    """What was said, by kind, and every message that does more than read."""

    said: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    connections: int = 0

    def note(self, what: str, *, is_reading: bool, data: bytes = b"") -> None:
        self.said[what] += 1
        if not is_reading:
            self.wrong.append(f"{what}: {data[:64].hex(' ')}")

    def check(self) -> None:
        """Raise if anything but reading was said."""
        if self.wrong:
            raise NotReadingError(f"{len(self.wrong)} messages do not only read: {self.wrong[:5]}")


Take = Callable[[Heard, bytearray], None]


def modbus_tcp(heard: Heard, buffer: bytearray) -> None:
    """Take whole MBAP requests off the buffer."""
    while len(buffer) >= 6:
        end = 6 + int.from_bytes(buffer[4:6], "big")
        if buffer[2:4] != b"\0\0" or not 8 <= end <= 260:
            heard.note("no MBAP header", is_reading=False, data=bytes(buffer))
            buffer.clear()
        if len(buffer) < end:
            return
        _note_function(heard, bytes(buffer[7:end]))
        del buffer[:end]


def modbus_rtu(heard: Heard, buffer: bytearray) -> None:
    """Take whole RTU requests off the buffer: each ends where its CRC fits."""
    while len(buffer) >= 4:
        fits = (
            n for n in range(4, len(buffer) + 1) if crc(bytes(buffer[: n - 2])) == buffer[n - 2 : n]
        )
        end = next(fits, 0)
        if not end:
            if len(buffer) > 256:
                heard.note("no RTU frame", is_reading=False, data=bytes(buffer))
                buffer.clear()
            return
        _note_function(heard, bytes(buffer[1 : end - 2]))
        del buffer[:end]


def _note_function(heard: Heard, pdu: bytes) -> None:
    name = "43/14" if pdu.startswith(IDENTIFICATION) else str(pdu[0])
    heard.note(f"Modbus {name}", is_reading=is_reading(pdu), data=pdu)


def opcua(heard: Heard, buffer: bytearray) -> None:
    """Take whole chunks off the buffer; the first of a message names the service."""
    while len(buffer) >= 8:
        size = int.from_bytes(buffer[4:8], "little")
        if bytes(buffer[:3]) not in {b"HEL", b"OPN", b"MSG", b"CLO"} or size < 8:
            heard.note("no OPC UA chunk", is_reading=False, data=bytes(buffer))
            buffer.clear()
            return
        if len(buffer) < size:
            return
        chunk = bytes(buffer[:size])
        del buffer[:size]
        if chunk[:3] == b"HEL":
            heard.note("OPC UA Hello", is_reading=True)
            continue
        if chunk[:3] == b"OPN":
            heard.note("OPC UA OpenSecureChannel", is_reading=True)
            continue
        number = service(chunk)
        name = f"OPC UA {READING_SERVICES.get(number, number)}"
        heard.note(name, is_reading=number in READING_SERVICES, data=chunk)


@asynccontextmanager
async def tapped(server_port: int, take: Take, heard: Heard) -> AsyncIterator[int]:
    """A port that hands everything on to the server's, and takes down what clients say."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.connections += 1
        up, down = await asyncio.open_connection("127.0.0.1", server_port)
        asking = asyncio.create_task(ask(reader, down))
        try:
            while data := await up.read(65_536):
                writer.write(data)
        finally:
            asking.cancel()
            with suppress(asyncio.CancelledError, ConnectionError):
                await asking
            down.transport.abort()

    async def ask(reader: asyncio.StreamReader, down: asyncio.StreamWriter) -> None:
        buffer = bytearray()
        while data := await reader.read(65_536):
            buffer += data
            take(heard, buffer)
            down.write(data)
        if buffer:
            heard.note("half a message", is_reading=True)
        down.close()

    async with serving(serve) as port:
        yield port


TAKES: dict[str, Take] = {"modbus": modbus_tcp, "rtu": modbus_rtu, "opcua": opcua}
