"""What a device, a gateway or an attacker may do in place of the right answer over Modbus.

One table for each way of asking, and one of what has to do with time and connections. Questions are
for two words and more; register n holds n.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from support import bus, modbus

Respond = Callable[[bytes], list[bytes]]
Step = bytes | float | None  # said; waited [s]; the end of the connection
HANG_UP: Step = None
BAD_REPLY = "bad_reply"

TCP: Mapping[str, Respond] = {
    "short: one word of two": lambda q: [modbus.reply(q, b"\0\7")],
    "short: byte count of two, data of one": lambda q: [modbus.reply(q, b"\0\7", size=4, length=5)],
    "long: three words of two": lambda q: [modbus.reply(q, b"\0\7" * 3)],
    "long: right header, two bytes too many": lambda q: [modbus.reply(q) + b"\0\7"],
    "other function: input for holding": lambda q: [modbus.reply(q, function=4)],
    "other function: a write's": lambda q: [modbus.reply(q, function=16)],
    "other unit": lambda q: [modbus.reply(q, unit=2)],
    "transaction 0": lambda q: [modbus.reply(q, transaction=0)],
    "transaction off by one": lambda q: [modbus.reply(q, transaction=(q[0] << 8 | q[1]) ^ 1)],
    "transaction bytes swapped": lambda q: [q[1::-1] + modbus.reply(q)[2:]],
    "odd byte count": lambda q: [modbus.reply(q, b"\0\7\0")],
    "byte count 0": lambda q: [modbus.reply(q, b"")],
    "byte count 255": lambda q: [modbus.reply(q, size=255)],
    "protocol id 1": lambda q: [modbus.reply(q, protocol=1)],
    "length one too small": lambda q: [modbus.reply(q, length=6)],
    "length one too large": lambda q: [modbus.reply(q, length=8) + b"\0"],
    "length 0": lambda q: [modbus.reply(q, length=0)],
    "length 65535": lambda q: [modbus.reply(q, length=0xFFFF)],
    "the same answer twice in one segment": lambda q: [modbus.reply(q) * 2],
    "a foreign answer before the right one": lambda q: [
        modbus.reply(q, transaction=0) + modbus.reply(q)
    ],
    "garbage before the right answer": lambda q: [b"\xde\xad" + modbus.reply(q)],
    "one stray byte before the right answer": lambda q: [
        b"\x00" + modbus.reply(q, transaction=0xFF)
    ],
    "text": lambda _: [b"HTTP/1.1 400 Bad Request\r\n\r\n"],
    "RTU framing": lambda q: [bytes([1, 3, 4]) + modbus.words(q) + b"\xfa\x30"],
    "the request echoed": lambda q: [q],
    "exception of another function": lambda q: [modbus.refusal(q[:7] + b"\x04" + q[8:], 2)],
    "exception with a byte too many": lambda q: [modbus.refusal(q, 2) + b"\0"],
    "exception and right answer": lambda q: [modbus.refusal(q, 6) + modbus.reply(q)],
    "a flood": lambda q: [modbus.reply(q) + bytes(1 << 20)],
}  # fmt: skip

RTU: Mapping[str, Respond] = {
    "short: one word of two": lambda q: [bus.reply(q, b"\0\7")],
    "short: byte count of two, data of one": lambda q: [bus.reply(q, b"\0\7", size=4) + b"\0\1"],
    "long: three words of two": lambda q: [bus.reply(q, b"\0\7" * 3)],
    "long: right frame, two bytes too many": lambda q: [bus.reply(q) + b"\0\7"],
    "other function: input for holding": lambda q: [bus.reply(q, function=4)],
    "other function: a write's": lambda q: [bus.reply(q, function=16)],
    "other unit": lambda q: [bus.reply(q, unit=2)],
    "byte count 0": lambda q: [bus.reply(q, b"")],
    "byte count 255": lambda q: [bus.reply(q, size=255)],
    "CRC off by one bit": lambda q: [bus.reply(q)[:-1] + bytes([bus.reply(q)[-1] ^ 1])],
    "CRC bytes swapped": lambda q: [bus.reply(q)[:-2] + bus.reply(q)[:-3:-1]],
    "a bit of the data turned over": lambda q: [bus.reply(q)[:4] + b"\x91" + bus.reply(q)[5:]],
    "the same answer twice": lambda q: [bus.reply(q) * 2],
    "a foreign answer before the right one": lambda q: [bus.reply(q, unit=9) + bus.reply(q)],
    "garbage before the right answer": lambda q: [b"\xde\xad" + bus.reply(q)],
    "one stray 0 before the right answer": lambda q: [b"\0" + bus.reply(q)],
    "text": lambda _: [b"HTTP/1.1 400 Bad Request\r\n\r\n"],
    "the request echoed": lambda q: [q],
    "ASCII framing": lambda q: [bus.ascii_of(bus.reply(q))],
    "exception of another function": lambda _: [bus.rtu(1, 0x84, 2)],
    "exception with a wrong CRC": lambda q: [bus.refusal(q, 2)[:-1] + b"\x55"],
    "exception and right answer": lambda q: [bus.refusal(q, 2) + bus.reply(q)],
    "a flood": lambda q: [bus.reply(q) + bytes(1 << 11)],
}  # fmt: skip


def _ascii(request: bytes) -> bytes:
    return bus.ascii_of(bus.reply(request))


ASCII: Mapping[str, Respond] = {
    "short: one word of two": lambda q: [bus.ascii_of(bus.reply(q, b"\0\7"))],
    "long: three words of two": lambda q: [bus.ascii_of(bus.reply(q, b"\0\7" * 3))],
    "byte count of two, data of one": lambda q: [bus.ascii_of(bus.reply(q, b"\0\7", size=4))],
    "other function": lambda q: [bus.ascii_of(bus.reply(q, function=4))],
    "other unit": lambda q: [bus.ascii_of(bus.reply(q, unit=2))],
    "wrong LRC": lambda q: [_ascii(q)[:-4] + b"00\r\n"],
    "a digit turned over": lambda q: [_ascii(q)[:8] + b"9" + _ascii(q)[9:]],
    "an odd number of digits": lambda q: [_ascii(q)[:-3] + b"\r\n"],
    "no digits": lambda _: [b":\r\n"],
    "spaces between the digits": lambda q: [_ascii(q)[:3] + b" " + _ascii(q)[3:]],
    "no colon": lambda q: [_ascii(q)[1:]],
    "two colons": lambda q: [b":" + _ascii(q)],
    "a stray carriage return": lambda q: [b":\r" + _ascii(q)],
    "the same answer twice": lambda q: [_ascii(q) * 2],
    "a foreign answer before the right one": lambda q: [
        bus.ascii_of(bus.reply(q, unit=9)) + _ascii(q)
    ],
    "garbage before the right answer": lambda q: [b"\xde\xad" + _ascii(q)],
    "text": lambda _: [b"HTTP/1.1 400 Bad Request\r\n\r\n"],
    "digits without end": lambda _: [b":" + b"0" * 600],
    "the request echoed": lambda q: [bus.ascii_of(q)],
    "RTU framing": lambda q: [bus.reply(q)],
    "exception of another function": lambda _: [bus.ascii_of(bus.rtu(1, 0x84, 2))],
    "exception and right answer": lambda q: [bus.ascii_of(bus.refusal(q, 2)) + _ascii(q)],
}  # fmt: skip


@dataclass(frozen=True)
class Way:
    """What a peer does, given the question and the right answer; what the slot is recorded as."""

    act: Callable[[bytes, bytes], Sequence[Step]]
    causes: frozenset[str]
    greeting: Sequence[Step] = ()  # before anything was asked


def _half(answer: bytes) -> bytes:
    return answer[: len(answer) // 2]


def _dripped(answer: bytes, pause_s: float) -> list[Step]:
    return [step for byte in answer for step in (bytes((byte,)), pause_s)]


def _of(*causes: str) -> frozenset[str]:
    return frozenset(causes)


# On every wire, of a device that is waited for 0.5 s.
WAYS: Mapping[str, Way] = {
    "silence": Way(lambda *_: [], _of("timeout")),
    "silence after half an answer": Way(lambda _, a: [_half(a)], _of("timeout")),
    "a byte now and then, too slowly": Way(lambda _, a: _dripped(a, 0.11), _of("timeout")),
    "the right answer too late": Way(lambda _, a: [0.75, a], _of("timeout", BAD_REPLY, "closed")),
    "hangs up when asked": Way(lambda *_: [HANG_UP], _of("closed")),
    "hangs up within the answer": Way(lambda _, a: [_half(a), HANG_UP], _of("closed")),
    "hangs up when somebody comes": Way(lambda *_: [HANG_UP], _of("closed"), [HANG_UP]),
    "speaks first": Way(
        lambda _, a: [a], _of("closed", BAD_REPLY, "timeout"), [b"220 welcome\r\n", 0.01, b"!"]
    ),
    "speaks without end": Way(
        lambda *_: [bytes(65_536)] * 40, _of(BAD_REPLY, "closed", "timeout")
    ),
}  # fmt: skip
# Right in form: what the device says is recorded as what it says.
REFUSALS = (0, 1, 2, 3, 4, 5, 6, 8, 10, 11, 127, 255)


def over_modbus() -> list[tuple[str, str, Way]]:
    """Every case: its name, the scheme of the line, and what is done."""
    tables = {"modbus-tcp": TCP, "modbus-rtu-tcp": RTU, "modbus-ascii-tcp": ASCII}
    found = [
        (name, scheme, _instead(respond, BAD_REPLY))
        for scheme, table in tables.items()
        for name, respond in table.items()
    ]
    found += [(name, scheme, way) for scheme in tables for name, way in WAYS.items()]
    for scheme, refuse in (("modbus-tcp", modbus.refusal), ("modbus-rtu-tcp", bus.refusal)):
        for number in REFUSALS:
            way = _instead(partial(_refused, refuse, number), f"exception_{number:02d}")
            found.append((f"exception {number}", scheme, way))
    return found


def _refused(refuse: Callable[[bytes, int], bytes], number: int, question: bytes) -> list[bytes]:
    return [refuse(question, number)]


def _instead(respond: Respond, cause: str) -> Way:
    """Say this in place of the right answer."""
    return Way(lambda question, _: respond(question), _of(cause))


# By the words of a map from 40000 on.
SUNSPEC: Mapping[str, tuple[Sequence[int], str]] = {
    "no marker": ([0x5375, 0x6E54], "not_sunspec"),
    "a marker in small letters": ([0x7375, 0x6E73, 0xFFFF, 0], "not_sunspec"),
    "no model": ([0x5375, 0x6E53, 0xFFFF, 0], "no_model_103"),
    "models without end": ([0x5375, 0x6E53, *([7, 0] * 300)], "bad_map"),
    "a model of 65535 words": ([0x5375, 0x6E53, 103, 0xFFFF], "bad_map"),
    "a model beyond the last register": ([0x5375, 0x6E53, 103, 25_531], "bad_map"),
    "a model without words": ([0x5375, 0x6E53, 103, 0, 0xFFFF, 0], "missing"),
    "a model of one word": ([0x5375, 0x6E53, 103, 1, 5, 0xFFFF, 0], "missing"),
    "the model asked for, cut off": ([0x5375, 0x6E53, 103, 50, 1, 2], "exception_02"),
}
