"""The lock-step clock: a slot is served only while the agent has committed what came before it.

One JSON object per line over loopback TCP; the agent asks, the simulator answers. X is the last
slot the agent has durably committed (null: none), T the slot it wants, both in UTC microseconds:

| line | meaning |
|---|---|
| -> {"committed_us": X, "go_us": T} | |
| <- {"now_us": T} | every device shows instant T, and will until the next such answer |
| <- {"end": true, "last_us": L} | T is after the last slot L; X is noted, the devices stay |
| <- {"error": "code: what is wrong. What to do."} | nothing changed |

A slot is a slot of any device: with several of different periods and recordings, the clock goes
through the slots of all of them in order. Codes: malformed, not_a_slot, committed_wrong,
committed_already, ahead.
Source: docs/decisions/0002-lock-step-replay.md.
"""

from __future__ import annotations

import asyncio
import json
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from joulemark_agent.simulate.slots import Slots, union_us

MAX_AHEAD = 10  # slots that may be served and not yet committed
MAX_LINE_BYTES = 4096


class LockStep:
    """The simulated clock and the rule by which it moves; no input or output."""

    def __init__(self, devices: Sequence[Slots]) -> None:
        """At the first slot of all.

        Args:
            devices: the slots of each device, one or more.
        """
        self._devices = tuple(devices)
        self._slots_us = union_us(devices)
        self.slot = 0  # index of the slot that the devices show, among those of all
        self._committed = -1  # index of the last slot known to be committed

    @property
    def now_us(self) -> int:
        """The slot that the devices show. [us UTC]"""
        return self._slots_us[self.slot]

    def answer(self, line: bytes) -> dict[str, Any]:
        """The reply to one line; the clock moves only when the reply is `now_us`."""
        try:
            request = json.loads(line)
            committed_us, go_us = request["committed_us"], request["go_us"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return _error("malformed", "This is no JSON object with committed_us and go_us.")
        if type(go_us) is not int or (committed_us is not None and type(committed_us) is not int):
            return _error("malformed", "committed_us and go_us must be integers. [us]")
        go = self._index(go_us)
        committed = -1 if committed_us is None else self._index(committed_us)
        if go is None or committed is None:
            return _error(
                "not_a_slot",
                f"{go_us if go is None else committed_us} us is a slot of no device between"
                f" {self._slots_us[0]} and {self._slots_us[-1]} us. Set period_s, first_slot and"
                " last_slot of every device of the site to those of the scenario.",
            )
        return self._move(committed, go)

    def _index(self, at_us: int) -> int | None:
        """Which slot an instant is: -1 before the first, as many as there are after the last.

        Outside, the slots go on in every device's period. None: it is no slot.
        """
        if not self._slots_us[0] <= at_us <= self._slots_us[-1]:
            if all((at_us - slots.first_us) % slots.period_us for slots in self._devices):
                return None
            return -1 if at_us < self._slots_us[0] else len(self._slots_us)
        i = bisect_left(self._slots_us, at_us)
        return i if self._slots_us[i] == at_us else None

    def _move(self, committed: int, go: int) -> dict[str, Any]:
        if not self._committed <= committed < len(self._slots_us):
            return _error(
                "committed_wrong",
                f"You say {self._said(committed)}; {self._said(self._committed)} was known."
                " Restart the simulator for another outbox; else a commit was lost.",
            )
        if go <= committed:
            return _error("committed_already", f"Ask for a slot after {self._said(committed)}.")
        if go > committed + MAX_AHEAD:
            return _error(
                "ahead",
                f"The slot asked for is {go - committed} slots after {self._said(committed)};"
                f" {MAX_AHEAD} are the most. Commit first; a site reads every device of the"
                " scenario.",
            )
        self._committed = committed
        if go == len(self._slots_us):
            return {"end": True, "last_us": self._slots_us[-1]}
        self.slot = go
        return {"now_us": self.now_us}

    def _said(self, committed: int) -> str:
        if committed < 0:
            return "no committed slot"
        if committed == len(self._slots_us):
            return "a committed slot after the last one"
        return f"committed slot {self._slots_us[committed]} us"


class ControlServer:
    """Gives the clock to the newest connection: a killed agent's last line may still wait."""

    def __init__(self, clock: LockStep, moved: Callable[[], Awaitable[None]] | None = None) -> None:
        """Nobody has the clock yet.

        Args:
            clock: what is moved.
            moved: awaited when the clock stands at another slot, before that is answered.
        """
        self.clock, self.moved = clock, moved
        self.connections: set[asyncio.Transport] = set()
        self._telling: set[asyncio.Task[None]] = set()

    def connect(self) -> ControlConnection:
        """A protocol for one more connection."""
        return ControlConnection(self)

    def answer(self, line: bytes, send: Callable[[dict[str, Any]], None]) -> None:
        """Move the clock, and send the answer when every device shows the slot."""
        reply = self.clock.answer(line)
        if self.moved is None or "now_us" not in reply:
            send(reply)
            return
        task = asyncio.get_running_loop().create_task(self._tell(self.moved, reply, send))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    @staticmethod
    async def _tell(
        moved: Callable[[], Awaitable[None]],
        reply: dict[str, Any],
        send: Callable[[dict[str, Any]], None],
    ) -> None:
        await moved()
        send(reply)


class ControlConnection(asyncio.Protocol):
    """One agent, until it goes away or another one comes."""

    def __init__(self, server: ControlServer) -> None:
        self._server = server
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the clock over from any connection before."""
        assert isinstance(transport, asyncio.Transport)
        for older in self._server.connections:
            older.abort()
        self._transport = transport
        self._server.connections.add(transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the name is asyncio's
        """Forget the transport; the clock stays where it is."""
        self._server.connections.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        """Answer every whole line; the registers change before the answer is sent."""
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            self._server.answer(line, self._send)
        if len(self._buffer) > MAX_LINE_BYTES:
            self._send(_error("malformed", f"A line has at most {MAX_LINE_BYTES} bytes."))
            self._transport.close()

    def _send(self, reply: dict[str, Any]) -> None:
        self._transport.write(json.dumps(reply).encode() + b"\n")


def _error(code: str, what: str) -> dict[str, Any]:
    return {"error": f"{code}: {what}"}
