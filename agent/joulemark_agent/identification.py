"""What a Modbus device says of itself: function 43, type 14, which reads and can do nothing else.

An answer's length shows only as it arrives, object by object; what can be no such answer is told at
the first byte that says so.
Source: MODBUS application protocol 1.1b3, section 6.21.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from joulemark_agent.contract.errors import DeviceError
from joulemark_agent.exchange import BAD_REPLY

FUNCTION, TYPE = 0x2B, 0x0E
BASIC, REGULAR, EXTENDED = 1, 2, 3
MAX_PDU = 253
MAX_PARTS = 16  # of one level: 256 objects fit in fewer unless the device drips them
NAMES = {
    0: "vendor",
    1: "product code",
    2: "revision",
    3: "vendor's page",
    4: "product",
    5: "model",
    6: "application",
}
_HEAD_SIZE = 7  # function, type, level, conformity, more follows, next object, number of objects
_MORE = {0x00: False, 0xFF: True}


@dataclass(frozen=True)
class Part:
    """One answer: some objects, and with which to go on."""

    objects: dict[int, bytes]
    highest_level: int  # that the device has
    following: int | None


class Identifying(Protocol):
    """A Modbus client that can ask for one part."""

    @property
    def peer(self) -> str:
        """Where it is, for messages."""

    async def identification(
        self, unit: int, level: int, first: int, *, timeout_s: float | None = None
    ) -> bytes:
        """The answer from its function code on."""


def question(level: int, first: int) -> bytes:
    """What is sent after the unit's number."""
    return bytes((FUNCTION, TYPE, level, first))


def head(level: int) -> bytes:
    """How its answer begins, after the unit's number."""
    return bytes((FUNCTION, TYPE, level))


def size(answer: bytes) -> int | None:
    """How long the answer is, from its function code on; None: that has not arrived yet.

    Raises:
        ValueError: it would be longer than an answer can be.
    """
    if len(answer) < _HEAD_SIZE:
        return None
    end = _HEAD_SIZE
    for _ in range(answer[_HEAD_SIZE - 1]):
        if end + 2 > MAX_PDU:
            raise ValueError(f"more than {MAX_PDU} bytes")
        if len(answer) < end + 2:
            return None
        end += 2 + answer[end + 1]
    if end > MAX_PDU:
        raise ValueError(f"{end} bytes where {MAX_PDU} are the most")
    return end


def parse(answer: bytes) -> Part:
    """The objects of a whole answer.

    Raises:
        ValueError: it is none.
    """
    if (due := size(answer)) != len(answer):
        raise ValueError(f"{len(answer)} bytes where its objects take {due or 'more'}")
    conformity, more, following = answer[3], answer[4], answer[5]
    if more not in _MORE:
        raise ValueError(f"0x{more:02x} where 0x00 or 0xff says whether more follows")
    objects = dict(_objects(answer))
    if len(objects) != answer[6] or list(objects) != sorted(objects):
        raise ValueError("objects that are not in order")
    if _MORE[more] and (not objects or following <= max(objects)):
        raise ValueError(f"object {following} to follow those it has just sent")
    return Part(objects, conformity & 0x7F, following if _MORE[more] else None)


def text(value: bytes) -> str:
    """An object as one line: bytes that are no printable ASCII stand as '?'."""
    kept = value.partition(b"\0")[0]
    return "".join(chr(byte) if 0x20 <= byte < 0x7F else "?" for byte in kept).strip()


async def identify(client: Identifying, unit: int, *, timeout_s: float) -> dict[int, bytes]:
    """All objects the device tells, by their numbers; those of the basic level first.

    Raises:
        DeviceError: no answer, or none that can be; an exception where it knows no such question.
    """
    found: dict[int, bytes] = {}
    level, highest = BASIC, BASIC
    while level <= min(highest, EXTENDED):
        first: int | None = 0
        for _ in range(MAX_PARTS):
            answer = await client.identification(unit, level, first or 0, timeout_s=timeout_s)
            try:
                part = parse(answer)
            except ValueError as error:
                raise DeviceError(
                    f"Unit {unit} at {client.peer} answered for its identification with {error}.",
                    "Nothing of it was used; go by the device's label.",
                    code=BAD_REPLY,
                ) from error
            found |= part.objects
            first, highest = part.following, part.highest_level
            if first is None:
                break
        level += 1
    return dict(sorted(found.items()))


def refused(peer: str, unit: int, number: int) -> DeviceError:
    """The error for an exception in answer to the question."""
    return DeviceError(
        f"Unit {unit} at {peer} answered exception {number} to the question what it is.",
        "It knows no such question: go by the device's label.",
        code=f"exception_{number:02d}",
    )


def _objects(answer: bytes) -> Iterator[tuple[int, bytes]]:
    at = _HEAD_SIZE
    while at < len(answer):
        number, length = answer[at], answer[at + 1]
        yield number, answer[at + 2 : at + 2 + length]
        at += 2 + length
