"""The heaviest answers that an OPC UA server may give within the client's limits.

`python -m support.heavy_opcua` gives each of them to a client in a process of its own, and tells as
JSON by name how much memory it took at the most and how long computing took.
"""

from __future__ import annotations

import asyncio
import json
import logging
import struct
import sys
import time

from joulemark_agent.contract.errors import DeviceError
from joulemark_agent.opcua_binary import MAX_ELEMENTS
from joulemark_agent.opcua_channel import MAX_CHUNK, MAX_CHUNKS
from joulemark_agent.opcua_endpoint import MAX_ENDPOINTS
from support.fuzz import conversations
from support.fuzz.conversations import ON_OPCUA, joined
from support.fuzz.devices import scripted
from support.fuzz.harness import peak_mb
from support.hostile_opcua import nested
from support.opcua import CHUNK, CREATED, FIRST_READ, NAMESPACES, body_of

_ROOM = MAX_CHUNK - CHUNK.size
MOST = _ROOM * MAX_CHUNKS - 4096  # bytes of one answer, with room for its header
_HEADER = 28  # bytes of an answer's, without diagnoses
_ALL = MAX_ELEMENTS - 10  # with those around them
_NULL = b"\xff\xff\xff\xff"
_VALUES, _NAME = 7, b"\x04\0\0\0name"  # asked for; a string


def heavy() -> dict[str, tuple[str, int, bytes]]:
    """By name: the conversation, the place of the answer in it, and its body after the header."""
    one = MOST - 99
    text = struct.pack("<i", one) + b"x" * one
    values = {
        "as many empty values as may be": _counted(_ALL, b"\0"),
        "a value of 2^31 - 1 nothings": _counted(2, b"\x01\x80\xff\xff\xff\x7f"),
        "a value of as many texts as may be": _value(b"\x8c" + _counted(_ALL, bytes(4))),
        "a value of one text": _value(b"\x0c" + text),
        "a value of bytes": _value(b"\x83" + text),
        "values in values, 8 deep": _counted(_ALL // 8, nested(7)),
        "a body that means nothing": bytes(MOST - 4),
    }
    names = {
        "a namespace of 1 MB": _value(b"\x8c" + _counted(1, text)),
        "as many namespaces as may be": _value(b"\x8c" + _counted(_ALL, _NAME)),
        "namespaces until it is full": _value(b"\x8c" + _counted(MOST // 8, _NAME)),
    }
    certificate = b"\x30\x83\x0f\xff\xff" + bytes(MOST - 999)
    ways = {
        "as many endpoints as may be": _counted(MAX_ENDPOINTS, _endpoint(b"")),
        "endpoints until it is full": _counted(MOST // 60, _endpoint(b"")),
        "a certificate of 1 MB": _counted(1, _endpoint(certificate)),
    }
    read = "opcua_polled"
    diagnoses = _counted(_VALUES, b"\0") + _counted(_ALL, b"\0")
    return {
        **{name: (read, FIRST_READ, body + bytes(4)) for name, body in values.items()},
        **{name: (read, NAMESPACES, body + bytes(4)) for name, body in names.items()},
        **{name: ("opcua_offered", CREATED, body) for name, body in ways.items()},
        "as many diagnoses as may be": (read, FIRST_READ, diagnoses),
    }


def _counted(count: int, element: bytes) -> bytes:
    return (struct.pack("<i", count) + element * count)[:MOST]


def _value(variant: bytes) -> bytes:
    return _counted(1, b"\x01" + variant)


def _endpoint(certificate: bytes) -> bytes:
    blob = struct.pack("<i", len(certificate)) + certificate
    return _NULL * 3 + b"\0" + bytes(4) + _NULL * 3 + blob + bytes(4) + _NULL * 3 + b"\0"


def chunks(answer: bytes, body: bytes) -> bytes:
    """The answer with another body, in as many chunks as it takes."""
    *_, channel, token, sequence, request = CHUNK.unpack_from(answer)
    parts = [body[at : at + _ROOM] for at in range(0, len(body), _ROOM)]
    return b"".join(
        CHUNK.pack(b"MSG", b"F" if i == len(parts) - 1 else b"C", CHUNK.size + len(part),
                   channel, token, sequence + i, request) + part
        for i, part in enumerate(parts)
    )  # fmt: skip


async def _answered(conversation: str, place: int, body: bytes) -> str:
    """What the client makes of it."""
    answers = list(conversations.conversations()[conversation])
    answers[place] = chunks(answers[place], body_of(answers[place])[:_HEADER] + body)
    with scripted(joined(answers)):
        try:
            await ON_OPCUA[conversation]("opc.tcp://192.0.2.1/plant")
        except DeviceError as error:
            return error.code
    return "read"


def main() -> None:
    """Tell what each of them costs."""
    logging.disable(logging.CRITICAL)
    asyncio.run(_answered("opcua_polled", FIRST_READ, _counted(2, b"\0") + bytes(4)))
    found = {}
    for name, (conversation, place, body) in heavy().items():
        base_mb, begun_s = peak_mb(anew=True), time.thread_time()
        said = asyncio.run(_answered(conversation, place, body))
        took_ms = (time.thread_time() - begun_s) * 1000
        found[name] = {"said": said, "mb": peak_mb() - base_mb, "ms": took_ms}
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
