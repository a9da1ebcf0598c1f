"""What leaves for machines from any socket or serial line of our agent, in a whole run of tests.

Every send of a process is looked at: who is sending, and what. Whatever the agent's own code says,
but to its broker, its collector and the system it runs on, must be whole messages that are known to
read; else it is refused and the run fails. Tests start processes of their own:
`hooked/sitecustomize.py` is on their path and installs the same there. Light on purpose: it runs at
the start of every Python.

Not seen: what is inside an encrypted OPC UA message, and what C code sends without Python.
"""

from __future__ import annotations

import atexit
import json
import os
import re
import socket
import ssl
import stat
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

FOLDER = "LEAVING_JOULEMARK"  # where processes say what left; none of ours, which are kept back
READING = {1, 2, 3, 4}  # Modbus functions
IDENTIFICATION = b"\x2b\x0e"  # read device identification
READING_SERVICES = {  # OPC UA, part 6, annex A.3: numbers of the binary encodings of requests
    422: "FindServers", 428: "GetEndpoints", 446: "OpenSecureChannel", 452: "CloseSecureChannel",
    461: "CreateSession", 467: "ActivateSession", 473: "CloseSession", 479: "Cancel",
    527: "Browse", 533: "BrowseNext", 554: "TranslateBrowsePaths", 560: "RegisterNodes",
    566: "UnregisterNodes", 631: "Read", 751: "CreateMonitoredItems", 763: "ModifyMonitoredItems",
    769: "SetMonitoringMode", 781: "DeleteMonitoredItems", 787: "CreateSubscription",
    793: "ModifySubscription", 799: "SetPublishingMode", 826: "Publish", 832: "Republish",
    847: "DeleteSubscriptions",
}  # fmt: skip
_NOT_TO_MACHINES = (
    "joulemark_agent.simulate.",
    "joulemark_agent.mqtt",
    "joulemark_agent.enrolment",
    "joulemark_agent.sparkplug.",
    "joulemark_agent.sets.",
)
_CHUNKS = {b"HEL", b"OPN", b"MSG", b"CLO"}
_UNLOCKED = b"http://opcfoundation.org/UA/SecurityPolicy#None"
_ASCII = re.compile(rb":((?:[0-9A-F]{2}){3,})\r\n")
_CLOCK = re.compile(rb'\{"committed_us": ?(?:null|-?\d+), ?"go_us": ?-?\d+\}\n')
_HTTP = re.compile(  # head and body: pages without a query, and the questions of two controllers
    rb"GET /(?:login\.html)? HTTP/1\.1\r\n(?:[^\r\n]+\r\n)*\r\n"
    rb"|POST /cgi-bin/mkv\.cgi HTTP/1\.1\r\n(?:[^\r\n]+\r\n)*\r\nQUESTION=[0-9a-f]+"
    rb"|POST /json\.json HTTP/1\.1\r\n(?:[^\r\n]+\r\n)*\r\n"
    rb'\{"0":(?:1,"1":[47]|1,"1":2,"2":\{"0":\[[0-9,]+\]\}|8,"1":1)\}'
)

Kind = tuple[str, bool]  # what a message is, and whether it may leave

said: Counter[str] = Counter()
_expected: list[list[str]] = []
_secured: set[str] = set()  # connections of channels whose messages cannot be read


class LeftError(AssertionError):
    """A message that does more than read was about to leave."""


def kinds_of(data: bytes, connection: str = "") -> list[Kind]:
    """Every message in what is sent at once; what is not wholly known may not leave."""
    # Texts first: of so many, some end in two bytes that are the CRC of those before.
    if data[:3] in _CHUNKS:
        return list(_opcua(data, connection))
    if _CLOCK.fullmatch(data):
        return [("replay clock", True)]
    if re.match(rb"[A-Z]+ \S+ HTTP/1\.1\r\n", data):
        return [("HTTP", _HTTP.fullmatch(data) is not None)]
    if (found := _modbus(data)) is not None:
        framing, pdu = found
        return [(f"Modbus {framing} {pdu[0]}", is_reading(pdu))]
    return [("TLS", True) if _is_tls(data) else ("unknown", False)]


def is_reading(pdu: bytes) -> bool:
    """Whether a Modbus request can do nothing else."""
    if pdu[:2] == IDENTIFICATION:
        return len(pdu) == 4
    return pdu[0] in READING and len(pdu) == 5


def service(chunk: bytes) -> int:
    """The number of the service of a MSG or CLO chunk; -1: it cannot be read."""
    kind = chunk[24:26]
    if kind == b"\x01\0":
        return int.from_bytes(chunk[26:28], "little")
    if kind == b"\x02\0":
        return int.from_bytes(chunk[27:31], "little")
    return chunk[25] if kind[:1] == b"\0" and len(kind) > 1 else -1


def crc(body: bytes) -> bytes:
    """Bit by bit, as the appendix B of MODBUS over serial line 1.02 describes it."""
    value = 0xFFFF
    for byte in body:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ 0xA001 if value & 1 else value >> 1
    return value.to_bytes(2, "little")


def _modbus(data: bytes) -> tuple[str, bytes] | None:
    """Framing and request without its unit, of exactly one frame."""
    # Of 8 bytes it is RTU, whose address 0 looks like a protocol id.
    if len(data) > 8 and data[2:6] == (len(data) - 6).to_bytes(4, "big"):
        return "tcp", data[7:]
    if len(data) >= 4 and crc(data[:-2]) == data[-2:]:
        return "rtu", data[1:-2]
    found = _ASCII.fullmatch(data)
    return None if found is None else ("ascii", bytes.fromhex(found[1].decode())[1:-1])


def _opcua(data: bytes, connection: str) -> Iterator[Kind]:
    is_first = True  # of its message: only there the service is named
    while data:
        size = int.from_bytes(data[4:8], "little")
        chunk, data = data[:size], data[size:]
        if chunk[:3] not in _CHUNKS or not 8 <= size == len(chunk):
            yield "unknown", False
            return
        if is_first:
            yield _chunk(chunk, connection)
        is_first = chunk[3:4] == b"F"


def _chunk(chunk: bytes, connection: str) -> Kind:
    if chunk[:3] == b"HEL":
        _secured.discard(connection)
        return "OPC UA Hello", True
    if chunk[:3] == b"OPN":
        if connection and not chunk[16:].startswith(_UNLOCKED):
            _secured.add(connection)
        return "OPC UA OpenSecureChannel", True
    if connection in _secured:
        return "OPC UA secured", True  # its service is in the code's own table
    number = service(chunk)
    return f"OPC UA {READING_SERVICES.get(number, number)}", number in READING_SERVICES


def _is_tls(data: bytes) -> bool:
    """Whether it is whole records; what is in them is looked at before it is encrypted."""
    while len(data) >= 5 and 0x14 <= data[0] <= 0x17 and data[1] == 3:
        data = data[5 + int.from_bytes(data[3:5], "big") :]
        if not data:
            return True
    return False


def _speaks_to_machines() -> bool:
    """Whether our agent is sending: its innermost module says to whom."""
    frame = sys._getframe(2)
    while frame is not None:
        name = str(frame.f_globals.get("__name__"))
        if name.startswith("joulemark_"):
            return name.startswith("joulemark_agent.") and not name.startswith(_NOT_TO_MACHINES)
        frame = frame.f_back  # type: ignore[assignment] # None ends it
    return False


def _look(data: bytes, connection: str) -> None:
    """Classify and count; refuse what may not leave."""
    for kind, may_leave in kinds_of(data, connection):
        if may_leave or not _expected:
            said[kind] += 1
        if not may_leave:
            message = f"{kind}: {data[:64].hex(' ')}"
            if _expected:
                _expected[-1].append(message)
            else:
                with (_folder() / "refused.txt").open("a") as file:
                    file.write(f"{os.getpid()}: {message}\n")
            raise LeftError(message)


@contextmanager
def planting() -> Iterator[list[str]]:
    """Collect what is refused, as a control does that plants it."""
    _expected.append([])
    try:
        yield _expected[-1]
    finally:
        _expected.pop()


def install() -> None:
    """Look at every send of this process from now on."""
    if hasattr(os.write, "__wrapped__"):
        return  # a worker began as any other process
    for name in ("send", "sendall", "sendto", "sendmsg"):
        _hook(socket.socket, name, _socket_sends)
    for name in ("send", "sendall", "write"):
        _hook(ssl.SSLSocket, name, _socket_sends)
    _hook(ssl.SSLObject, "write", lambda *_: "")
    for name in ("write", "writev"):
        _hook(os, name, _terminal_sends)
    atexit.register(tell)


def _hook(owner: Any, name: str, connection_of: Callable[[Any], str | None]) -> None:
    """Have what a function is about to send looked at; its data are the second argument."""
    send = getattr(owner, name)

    @wraps(send)
    def looking(first: Any, data: Any, *more: Any, **named: Any) -> Any:
        if _speaks_to_machines():
            connection = connection_of(first)
            if connection is not None:
                _look(b"".join(data) if isinstance(data, list) else bytes(data), connection)
        return send(first, data, *more, **named)

    setattr(owner, name, looking)


def _socket_sends(sender: socket.socket) -> str | None:
    """The connection, by both its ends; None: it stays on this computer, as what wakes a loop.

    Not by its descriptor, which the next connection inherits.
    """
    if sender.family == socket.AF_UNIX:
        return None
    try:
        return f"{sender.getsockname()} {sender.getpeername()}"
    except OSError:  # the other end is gone
        return ""


def _terminal_sends(descriptor: int) -> str | None:
    """Not that of a channel; None: a file or a pipe."""
    return "" if stat.S_ISCHR(os.fstat(descriptor).st_mode) else None


def tell() -> None:
    """Leave word of what this process has sent."""
    folder = _folder()
    if said and folder.is_dir():
        (folder / f"{os.getpid()}.json").write_text(json.dumps(said))


def report(folder: Path) -> tuple[Counter[str], list[str]]:
    """What all processes have sent, and what was refused."""
    total: Counter[str] = Counter()
    for path in folder.glob("*.json"):
        total.update(json.loads(path.read_text()))
    refused = folder / "refused.txt"
    return total, refused.read_text().splitlines() if refused.exists() else []


def _folder() -> Path:
    return Path(os.environ[FOLDER])
