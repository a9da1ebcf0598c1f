"""An MQTT 5 broker that lets everybody in and then says what no broker may."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from support.tcp import serving

CONNACK = b"\x20\x03\x00\x00\x00"  # no session, success, no properties
TOPIC = b"joulemark/v1/down/edge-1/main-meter/receipt"


def packet(kind: int, body: bytes) -> bytes:
    """A control packet; `kind` with its flags."""
    return bytes((kind,)) + length(len(body)) + body


def length(size: int) -> bytes:
    """A variable byte integer."""
    found = bytearray()
    while True:
        size, low = divmod(size, 128)
        found.append(low | (128 if size else 0))
        if not size:
            return bytes(found)


def text(value: bytes) -> bytes:
    """A string with its length."""
    return len(value).to_bytes(2, "big") + value


def published(topic: bytes, properties: bytes = b"\0", payload: bytes = b"x") -> bytes:
    """A PUBLISH with QoS 1."""
    return packet(0x32, text(topic) + b"\0\1" + properties + payload)


# What follows the answer to a subscription.
AFTER: Mapping[str, bytes] = {
    "a topic that is no UTF-8": published(b"joulemark/\xff\xfe"),
    "half a character in a topic": published(b"joulemark/\xed\xa0\x80"),
    "an empty topic": published(b""),
    "a topic longer than its packet": packet(0x32, b"\xff\xffabc"),
    "a wildcard in a topic": published(b"joulemark/v1/#"),
    "a zero byte in a topic": published(b"joulemark/v1/down/edge-1/main-meter/receipt\0"),
    "a control character in a topic": published(b"joulemark/v1/down/edge-1/\x1b[2J/receipt"),
    "a message without anything": packet(0x32, b""),
    "a message without its number": packet(0x32, text(TOPIC)),
    "QoS 3": packet(0x36, text(TOPIC) + b"\0\1\0x"),
    "properties longer than the packet": published(TOPIC, b"\xff\x7f"),
    "a property that there is not": published(TOPIC, b"\x02\x7e\x01"),
    "the same property twice": published(TOPIC, b"\x04\x01\x00\x01\x00"),
    "a property of other packets": published(TOPIC, b"\x03\x21\x00\x01"),
    "a property cut short": published(TOPIC, b"\x01\x02"),
    "properties whose length never ends": published(TOPIC, b"\xff\xff\xff\xff\xff"),
    "a user property that is no UTF-8": published(TOPIC, b"\x07\x26\x00\x01\xff\x00\x01\xff"),
    "an answer to nothing that was sent": packet(0x40, b"\x7f\xff\x00\x00"),
    "an answer with a reason that there is not": packet(0x40, b"\x00\x01\x5a\x00"),
    "an answer without a number": packet(0x40, b""),
    "PUBREC of nothing": packet(0x50, b"\x00\x09\x00\x00"),
    "PUBREL of nothing": packet(0x62, b"\x00\x09\x00\x00"),
    "PUBCOMP of nothing": packet(0x70, b"\x00\x09\x00\x00"),
    "a second CONNACK": CONNACK,
    "CONNACK cut short": packet(0x20, b"\0"),
    "a second SUBACK": packet(0x90, b"\x00\x01\x00\x01"),
    "SUBACK without reasons": packet(0x90, b"\x00\x01\x00"),
    "SUBACK with a reason that there is not": packet(0x90, b"\x00\x01\x00\x5a"),
    "UNSUBACK of nothing": packet(0xB0, b"\x00\x07\x00\x00"),
    "PINGRESP unasked": packet(0xD0, b""),
    "PINGRESP with a body": packet(0xD0, b"abc"),
    "PINGREQ from a broker": packet(0xC0, b""),
    "CONNECT from a broker": packet(0x10, text(b"MQTT") + b"\5\2\0\x3c\0" + text(b"me")),
    "SUBSCRIBE from a broker": packet(0x82, b"\0\1\0" + text(b"#") + b"\1"),
    "AUTH": packet(0xF0, b"\x18\x00"),
    "AUTH cut short": packet(0xF0, b"\x18"),
    "a packet of kind 0": packet(0x00, b""),
    "DISCONNECT": packet(0xE0, b"\x8b\x00"),
    "DISCONNECT with a reason that there is not": packet(0xE0, b"\x5a\x00"),
    "DISCONNECT that sends elsewhere": packet(0xE0, b"\x9d\x06\x1c" + text(b"a:1")[:5]),
    "a length of five bytes": b"\x32\xff\xff\xff\xff\x7f",
    "a message of 256 MB": b"\x32\xff\xff\xff\x7f" + text(TOPIC) + b"\0\1\0" + bytes(1 << 16),
    "text": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "noise": bytes(range(256)),
}
# In place of the answer to a connection.
INSTEAD: Mapping[str, bytes] = {
    "CONNACK of MQTT 3": packet(0x20, b"\0\0"),
    "CONNACK with a reason that there is not": packet(0x20, b"\0\x5a\0"),
    "CONNACK with a property that there is not": packet(0x20, b"\0\0\x02\x7e\x01"),
    "CONNACK with a receive maximum of 0": packet(0x20, b"\0\0\x03\x21\0\0"),
    "CONNACK with a packet size of 0": packet(0x20, b"\0\0\x05\x27\0\0\0\0"),
    "CONNACK that is none": packet(0x20, b""),
    "text": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "SUBACK before CONNACK": packet(0x90, b"\x00\x01\x00\x01"),
    "a message of 256 MB": b"\x32\xff\xff\xff\x7f" + bytes(1 << 16),
}


@dataclass
class Broker:
    """What it says, and how often it was asked for what."""

    port: int = 0
    after: bytes = b""
    instead: bytes = b""
    connections: int = 0
    subscriptions: int = 0
    published: list[bytes] = field(default_factory=list)
    filters: list[str] = field(default_factory=list)  # of all subscriptions
    acknowledges: bool = True
    newest: asyncio.StreamWriter | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"mqtt://127.0.0.1:{self.port}"

    def say(self, data: bytes) -> None:
        """To whoever came last."""
        if self.newest is not None:
            self.newest.write(data)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client."""
        self.connections += 1
        self.newest = writer
        while True:
            kind, body = await _next(reader)
            if kind >> 4 == 1:
                writer.write(self.instead or CONNACK)
            elif kind >> 4 == 8:
                self.subscriptions += 1
                asked = list(_filters(body))
                self.filters += asked
                writer.write(packet(0x90, body[:2] + b"\0" + b"\1" * len(asked)))
                await writer.drain()
                writer.write(self.after)
            elif kind >> 4 == 3:
                self.published.append(body)
                topic_size = int.from_bytes(body[:2], "big")
                if not self.acknowledges:
                    continue
                writer.write(packet(0x40, body[2 + topic_size : 4 + topic_size] + b"\0\0"))
            elif kind >> 4 == 12:
                writer.write(packet(0xD0, b""))
            elif kind >> 4 == 14:
                return
            await writer.drain()


def _filters(body: bytes) -> Iterator[str]:
    """What a SUBSCRIBE asks for; its properties are none."""
    rest = body[3:]
    while rest:
        end = 2 + int.from_bytes(rest[:2], "big")
        yield rest[2:end].decode()
        rest = rest[end + 1 :]


async def _next(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    kind, size, shift = (await reader.readexactly(1))[0], 0, 0
    while True:
        byte = (await reader.readexactly(1))[0]
        size |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return kind, await reader.readexactly(size)


@asynccontextmanager
async def hostile_broker() -> AsyncIterator[Broker]:
    """At a free port."""
    broker = Broker()
    async with serving(broker.serve) as broker.port:
        yield broker
