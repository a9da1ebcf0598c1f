"""What an OPC UA server may do in place of the right answer, and a server that does it.

The server knows nothing of OPC UA: it says again what a true one said (support.fuzz.conversations),
with the numbers of who asks, and changes one of its messages.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from joulemark_agent.kernels.datavalue import DataValue, encode
from joulemark_agent.opcua_binary import MAX_DEPTH
from support.fuzz.conversations import conversations
from support.opcua import (
    ACK,
    ACTIVATED,
    CHUNK,
    CREATED,
    FIRST_READ,
    NAMESPACES,
    OPENED,
    Change,
    body_of,
    message_of,
    service_of,
    with_body,
    with_head,
)
from support.tcp import serving

BAD_REPLY = "bad_reply"
END = b""  # of the connection
_RESPONSE_HEADER = 28  # bytes, of an answer without diagnostics
_HANDLE = slice(12, 16)
_READ, _CLOSE = 631, 473  # services
_AT_US = 1_652_097_630_000_000


def nested(depth: int) -> bytes:
    """A value in a value in a value ..."""
    return b"\x01" + b"\x18" * depth + b"\x01\x01"


def variants(message: bytes, *values: bytes) -> bytes:
    """The answer with these DataValues."""
    head = body_of(message)[:_RESPONSE_HEADER]
    return with_body(message, head + struct.pack("<i", len(values)) + b"".join(values) + bytes(4))


def refused(message: bytes, status: int) -> bytes:
    """A ServiceFault in place of that answer."""
    fault = bytearray(b"\x01\x00\x8d\x01" + body_of(message)[4:_RESPONSE_HEADER])  # i=397
    fault[16:20] = struct.pack("<I", status)
    return with_body(message, bytes(fault))


GOOD = bytes.fromhex("010b000000000000f83f")
# In place of the values of two variables.
HOSTILE: Mapping[str, Callable[[bytes], list[bytes]]] = {
    "another channel": lambda m: [with_head(m, channel=lambda n: n + 1)],
    "another token": lambda m: [with_head(m, token=lambda n: n + 1)],
    "a sequence number again": lambda m: [with_head(m, sequence=lambda n: n - 1)],
    "a sequence number left out": lambda m: [with_head(m, sequence=lambda n: n + 1)],
    "another request": lambda m: [with_head(m, request=lambda n: n - 1)],
    "another kind": lambda m: [with_head(m, kind=b"OPN")],
    "an unknown kind": lambda m: [with_head(m, kind=b"XYZ")],
    "given up": lambda m: [with_head(m, final=b"A")],
    "size too small": lambda m: [with_head(m, size=7)],
    "size less than the headers": lambda m: [with_head(m, size=12)],
    "size of 4 GB": lambda m: [with_head(m, size=0xFFFFFFFF)],
    "one byte too many": lambda m: [m + b"\0"],
    "twice": lambda m: [m + m],
    "endless chunks": lambda m: [
        with_head(m, final=b"C", sequence=lambda n, i=i: n + i) for i in range(40)
    ],
    "another handle": lambda m: [with_body(m, body_of(m)[:12] + b"\xff\xff" + body_of(m)[14:])],
    "another service": lambda m: [with_body(m, b"\x01\x00\xa4\x02" + body_of(m)[4:])],
    "no service": lambda m: [with_body(m, b"\x03\x00\x00" + body_of(m))],
    "one value of two": lambda m: [variants(m, GOOD)],
    "three values of two": lambda m: [variants(m, GOOD, GOOD, GOOD)],
    "cut short": lambda m: [with_body(m, body_of(m)[:-6])],
    "a byte more than it needs": lambda m: [with_body(m, body_of(m) + b"\0")],
    "2^31 - 1 values": lambda m: [with_body(m, body_of(m)[:24] + b"\xff\xff\xff\x7f")],
    "an array of 2^31 - 1 doubles": lambda m: [variants(m, b"\x01\x8b\xff\xff\xff\x7f", GOOD)],
    "an array of 2^31 - 1 texts": lambda m: [variants(m, b"\x01\x8c\xff\xff\xff\x7f", GOOD)],
    "an array of -2 texts": lambda m: [variants(m, b"\x01\x8c\xfe\xff\xff\xff", GOOD)],
    "a text of -2 bytes": lambda m: [variants(m, b"\x01\x0c\xfe\xff\xff\xff", GOOD)],
    "values in values": lambda m: [variants(m, nested(MAX_DEPTH + 2), GOOD)],
    "a node id of no form": lambda m: [variants(m, b"\x01\x11\x09\0\0", GOOD)],
    "text": lambda _: [b"HTTP/1.1 400 Bad Request\r\n\r\n"],
    "an empty error": lambda _: [b"ERRF\x08\0\0\0"],
}  # fmt: skip

# A DataValue that is well formed and no number: the others flow.
ODD: Mapping[str, bytes] = {
    "an array of 2^27 nothings": b"\x01\x80\0\0\0\x08",
    "an array of 2^31 - 1 nothings": b"\x01\x80\xff\xff\xff\x7f",
    "values in values": nested(MAX_DEPTH - 1),
    "a matrix": b"\x01\xc3\x04\0\0\0abcd\x02\0\0\0\x02\0\0\0\x02\0\0\0",
    "a structure": b"\x01\x16\x01\x00\x41\x01\x01\x03\0\0\0abc",
    "a node": b"\x01\x12\xc3\x00\x00\x01\0\0\0a\x01\0\0\0u\x07\0\0\0",
    "a name": b"\x01\x14\x02\x00\x01\0\0\0a",
    "texts": b"\x01\x95\x02\0\0\0\x03\x01\0\0\0a\x01\0\0\0b\x00",
    "a value and its status": b"\x01\x17\x03\x06\x07\0\0\0\0\0\0\x80",
    "a diagnosis": b"\x01\x19\x7f" + b"\0" * 16 + b"\x01\0\0\0a\0\0\0\x80\x00",
    "a kind not yet known": b"\x01\x1f\x02\0\0\0ab",
    "a GUID": b"\x01\x0e" + b"\1" * 16,
}


def _number(value: float) -> bytes:
    return encode(DataValue("float64", struct.pack(">d", value), 0, _AT_US, _AT_US))


TRUTH = (_number(1273.15), encode(DataValue("uint64", struct.pack(">Q", 7), 0, _AT_US, _AT_US)))
# A value with which something is not right: what the point is recorded as.
DOUBTFUL: Mapping[str, tuple[bytes, str]] = {
    "a bad status": (b"\x02" + struct.pack("<I", 0x808C0000), "bad_status"),
    "a severity that there is not": (b"\x02" + struct.pack("<I", 0xC0000000), "bad_status"),
    "not a number": (_number(float("nan")), "nan"),
    "infinity": (_number(float("inf")), "nan"),
    "minus infinity": (_number(float("-inf")), "nan"),
    "no value": (b"\x00", "type"),
    "a null": (b"\x01\x00", "type"),
    "a smaller float": (b"\x01\x0a" + struct.pack("<f", 1.5), "type"),
    "an integer": (b"\x01\x06" + struct.pack("<i", 1), "type"),
    "a number as text": (b"\x01\x0c\x04\0\0\x001273", "type"),
    "an array of one": (b"\x01\x8b\x01\0\0\0" + struct.pack("<d", 1.0), "type"),
}

# Before any value: what a message is replaced by. None is silence, nothing the end of all.
STAGES = {
    "hello": ACK,
    "channel": OPENED,
    "session": CREATED,
    "log-in": ACTIVATED,
    "names": NAMESPACES,
}
INSTEAD: Mapping[str, tuple[Callable[[bytes], list[bytes] | None], frozenset[str]]] = {
    "silence": (lambda _: None, frozenset({"timeout"})),
    "the end": (lambda _: [], frozenset({"closed"})),
    "half of it, and the end": (lambda m: [m[: len(m) // 2], END], frozenset({"closed"})),
    "half of it": (lambda m: [m[: len(m) // 2]], frozenset({"timeout"})),
    "it twice": (lambda m: [m + m], frozenset({BAD_REPLY, "closed"})),
    "a size of 4 GB": (lambda m: [m[:4] + b"\xff\xff\xff\xff" + m[8:]], frozenset({BAD_REPLY})),
    "text": (lambda _: [b"HTTP/1.1 400 Bad Request\r\n\r\n"], frozenset({BAD_REPLY})),
    "one byte too many": (lambda m: [m + b"\0"], frozenset({BAD_REPLY, "closed"})),
    "zeros": (lambda m: [m[:8] + bytes(len(m) - 8)], frozenset({BAD_REPLY})),
}  # fmt: skip
# Of a server's status in place of an answer: what the slot is recorded as.
STATUSES = {
    0x80100000: "status_80100000",
    0x801F0000: "status_801f0000",
    0x80250000: "closed",  # the session is gone
    0x80870000: "closed",  # the secure channel is
    0x80AB0000: "status_80ab0000",
    0xFFFFFFFF: "status_ffffffff",
}


@dataclass
class Case:
    """What one server does while it is hostile, and what its slots may be recorded as."""

    change: Change
    outcomes: frozenset[str]  # causes of gaps, and codes of points


def cases() -> dict[str, Case]:
    """All of them by name."""
    found = {}
    for name, wrong in HOSTILE.items():
        found[name] = Case(_from(FIRST_READ, wrong), frozenset({BAD_REPLY}))
    for stage, number in STAGES.items():
        for name, (instead, outcomes) in INSTEAD.items():
            found[f"{name} for {stage}"] = Case(_at(number, instead), outcomes)
    for status, outcome in STATUSES.items():
        wrong_status = lambda m, status=status: [refused(m, status)]  # noqa: E731 - of a table
        found[f"status {status:08x}"] = Case(_from(FIRST_READ, wrong_status), frozenset({outcome}))
    numbers = {name: (data, "type") for name, data in ODD.items()} | dict(DOUBTFUL)
    for name, (data, code) in numbers.items():
        said = lambda m, data=data: [variants(m, data, TRUTH[1])]  # noqa: E731 - of a table
        found[f"value: {name}"] = Case(_from(FIRST_READ, said), frozenset({code}))
    return found


def _from(first: int, wrong: Callable[[bytes], list[bytes]]) -> Change:
    return lambda number, message: wrong(message) if number >= first else [message]


def _at(place: int, wrong: Callable[[bytes], list[bytes] | None]) -> Change:
    return lambda number, message: wrong(message) if number == place else [message]


@dataclass
class Server:
    """Answers as the true one did; `change` is what it makes of that."""

    port: int = 0
    change: Change = lambda _, message: [message]

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"opc.tcp://127.0.0.1:{self.port}/plant"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client."""
        number = 0
        while True:
            question = await message_of(reader)
            said = self.change(number, _answer(number, question))
            number += 1
            for part in [END] if said == [] else said or []:
                if part == END:
                    return
                writer.write(part)
                await writer.drain()


def _answer(number: int, question: bytes) -> bytes:
    """What a true server answered at that place, with the numbers of this question."""
    told = conversations()["opcua_polled"]
    if number <= OPENED:
        return told[number]
    answer = told[-1] if service_of(question) == _CLOSE else told[min(number, FIRST_READ)]
    request = CHUNK.unpack_from(question)[-1]
    body = bytearray(body_of(answer))
    body[_HANDLE] = struct.pack("<I", request)
    if service_of(question) == _READ and number >= FIRST_READ:
        body = bytearray(body_of(variants(with_body(answer, bytes(body)), *TRUTH)))
    first = CHUNK.unpack_from(told[CREATED])[-2]
    return with_head(
        with_body(answer, bytes(body)), request=request, sequence=first + number - CREATED
    )


@asynccontextmanager
async def replayed() -> AsyncIterator[Server]:
    """At a free port."""
    server = Server()
    async with serving(server.serve) as server.port:
        yield server
