"""What others recorded on the wire: frames inside a vendor's wrapper, and a packet capture.

Nothing here is part of the agent; frames are judged with the checks that its drivers use.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from joulemark_agent.drivers.modbus_rtu import CHECK_SIZE, crc

# ------------------------------------------------------------------ frames in a vendor's wrapper

_START = bytes.fromhex("59590001")
_HEAD = len(_START) + 2  # and how many bytes follow
_DATA_KIND, _KIND_AT = 2, 7
_BODY_AT = 26  # where the Modbus body begins, its check at the end of the frame
_LONGEST = 1024


@dataclass
class Wrapped:
    """Puts frames together from whatever pieces arrive, one connection at a time."""

    frames: list[bytes] = field(default_factory=list)
    refused: list[bytes] = field(default_factory=list)  # whole, but for another check
    lost: int = 0  # bytes of no whole frame
    _held: bytes = b""

    def take(self, piece: bytes) -> None:
        """The next bytes."""
        self._held += piece
        while (frame := self._next()) is not None:
            is_good = frame[_KIND_AT] != _DATA_KIND or _is_whole(frame[_BODY_AT:])
            (self.frames if is_good else self.refused).append(frame)

    def reconnected(self) -> None:
        """What had begun is lost: its rest will not come on another connection."""
        self.lost += len(self._held)
        self._held = b""

    def _next(self) -> bytes | None:
        start = self._held.find(_START)
        if start < 0:  # perhaps the beginning of one
            start = max(len(self._held) - len(_START) + 1, 0)
        self.lost, self._held = self.lost + start, self._held[start:]
        if len(self._held) < _HEAD:
            return None
        size = _HEAD + int.from_bytes(self._held[_HEAD - 2 : _HEAD], "big")
        if size > _LONGEST:
            self.lost, self._held = self.lost + 1, self._held[1:]
            return self._next()
        if len(self._held) < size:
            return None
        frame, self._held = self._held[:size], self._held[size:]
        return frame


def _is_whole(body: bytes) -> bool:
    return crc(body[:-CHECK_SIZE]) == body[-CHECK_SIZE:]


@dataclass(frozen=True)
class Piece:
    """What a log holds on one line: bytes that arrived, or a mark that the connection was new."""

    t_us: int | None  # None: the log has no times
    data: bytes | None


def pieces(text: str) -> Iterator[Piece]:
    """What arrived, line by line; what was asked is left out."""
    for line in text.splitlines():
        words = line.split()
        if line.startswith("#") and "reconnected" in words:
            yield Piece(_time_us(words[1]), None)
        elif len(words) >= 2 and words[-2].strip(":") == "rx":
            yield Piece(_time_us(words[0]), bytes.fromhex(words[-1]))


def _time_us(word: str) -> int | None:
    if word[:1].isdigit():
        return int(datetime.fromisoformat(word).timestamp() * 1e6)
    return None


# ------------------------------------------------------------------------------ packet captures

_PACKET = struct.Struct("<IIII")  # seconds, microseconds, bytes kept, bytes sent
_FILE_HEAD = 24
_ETHERNET, _IPV4, _TCP = 14, b"\x08\x00", 6
_MBAP = struct.Struct(">HHHB")
PORT = 502


@dataclass(frozen=True)
class Polled:
    """What a capture of Modbus TCP shows."""

    packets: int
    span_s: float
    requests: int
    responses: int
    exceptions: int
    plan: frozenset[tuple[str, int, int, int, int]]  # server, unit, function, address, count
    unanswered: int
    malformed: int


def polled(capture: bytes) -> Polled:
    """Requests and responses of a capture, put together per connection and direction."""
    packets, times = 0, []
    streams: defaultdict[tuple[bytes, ...], dict[int, bytes]] = defaultdict(dict)
    at = _FILE_HEAD
    assert capture[:4] == b"\xd4\xc3\xb2\xa1", "little-endian pcap with microseconds"
    while at < len(capture):
        seconds, micro, kept, _ = _PACKET.unpack_from(capture, at)
        packet = capture[at + _PACKET.size : at + _PACKET.size + kept]
        at += _PACKET.size + kept
        packets += 1
        times.append(seconds + micro / 1e6)
        if (segment := _segment(packet)) is not None:
            key, number, data = segment
            if data:
                streams[key][number] = max(data, streams[key].get(number, b""), key=len)
    return _counted(packets, times[-1] - times[0], streams)


def _segment(packet: bytes) -> tuple[tuple[bytes, ...], int, bytes] | None:
    """Its connection and direction, sequence number and data; None: no TCP over IPv4."""
    if packet[12:14] != _IPV4 or packet[_ETHERNET + 9] != _TCP:
        return None
    ip = packet[_ETHERNET:]
    ip = ip[: int.from_bytes(ip[2:4], "big")]  # short packets are padded
    tcp = ip[4 * (ip[0] & 15) :]
    data = tcp[4 * (tcp[12] >> 4) :]
    return (ip[12:16], tcp[0:2], ip[16:20], tcp[2:4]), int.from_bytes(tcp[4:8], "big"), data


def _counted(
    packets: int, span_s: float, streams: dict[tuple[bytes, ...], dict[int, bytes]]
) -> Polled:
    requests = responses = exceptions = malformed = unanswered = 0
    plan: set[tuple[str, int, int, int, int]] = set()
    port = PORT.to_bytes(2, "big")
    asked: dict[tuple[bytes, ...], list[tuple[int, int, int, int, int]]] = defaultdict(list)
    for key, segments in streams.items():
        if key[3] != port:
            continue
        for transaction, unit, pdu in _frames(segments):
            function, address, count = struct.unpack(">BHH", pdu[:5])
            asked[key[2:] + key[:2]].append((transaction, unit, function, address, count))
            plan.add((".".join(map(str, key[2])), unit, function, address, count))
            requests += 1
    for key, segments in streams.items():
        if key[1] != port:
            continue
        due = {question[:2]: question for question in asked[key]}
        for transaction, unit, pdu in _frames(segments):
            responses += 1
            question = due.pop((transaction, unit), None)
            if pdu[0] & 0x80:
                exceptions += 1
            elif question is not None:
                _, _, function, _, count = question
                size = (count + 7) // 8 if function <= 2 else 2 * count
                malformed += (pdu[0], pdu[1], len(pdu) - 2) != (function, size, size)
        unanswered += len(due)
    return Polled(
        packets, span_s, requests, responses, exceptions, frozenset(plan), unanswered, malformed
    )


def _frames(segments: dict[int, bytes]) -> Iterator[tuple[int, int, bytes]]:
    """Transaction, unit and body of every frame of one direction, whatever the segments were."""
    stream, due = b"", None
    for number, data in sorted(segments.items()):
        fresh = data if due is None or number >= due else data[due - number :]
        stream += fresh
        due = number + len(data) if due is None else max(due, number + len(data))
    at = 0
    while at + _MBAP.size <= len(stream):
        transaction, protocol, length, unit = _MBAP.unpack_from(stream, at)
        assert protocol == 0
        yield transaction, unit, stream[at + _MBAP.size : at + 6 + length]
        at += 6 + length
