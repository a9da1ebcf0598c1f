"""The lock-step clock: a slot is served only while the agent has committed what came before it.

One JSON object per line over loopback TCP; the agent asks, the simulator answers. X is the last
slot the agent has durably committed (null: none), T the slot it wants, both in UTC microseconds:

| line | meaning |
|---|---|
| -> {"committed_us": X, "go_us": T} | |
| <- {"now_us": T} | every register shows slot T, and will until the next such answer |
| <- {"end": true, "last_us": L} | T is after the last slot L; X is noted, the registers stay |
| <- {"error": "code: what is wrong. What to do."} | nothing changed |

Codes: malformed, not_a_slot, committed_wrong, committed_already, ahead.
Source: docs/decisions/0002-lock-step-replay.md.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

MAX_AHEAD = 10  # slots that may be served and not yet committed
MAX_LINE_BYTES = 4096


class LockStep:
    """The simulated clock and the rule by which it moves; no input or output."""

    def __init__(self, *, first_us: int, interval_us: int, slots: int) -> None:
        self.slot = 0  # index of the slot that the registers show
        self._first_us, self._interval_us, self._slots = first_us, interval_us, slots
        self._committed = -1  # index of the last slot known to be committed

    def answer(self, line: bytes) -> dict[str, Any]:
        """The reply to one line; the clock moves only when the reply is `now_us`."""
        try:
            request = json.loads(line)
            committed_us, go_us = request["committed_us"], request["go_us"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return _error("malformed", "This is no JSON object with committed_us and go_us.")
        if type(go_us) is not int or (committed_us is not None and type(committed_us) is not int):
            return _error("malformed", "committed_us and go_us must be integers. [us]")
        go, go_rest = divmod(go_us - self._first_us, self._interval_us)
        committed, rest = -1, 0
        if committed_us is not None:
            committed, rest = divmod(committed_us - self._first_us, self._interval_us)
        if go_rest or rest:
            return _error(
                "not_a_slot",
                f"Slots are {self._interval_us} us apart from {self._first_us} us on."
                " Set first_slot and period_s of the site to those of the scenario.",
            )
        return self._move(committed, go)

    def _move(self, committed: int, go: int) -> dict[str, Any]:
        if not self._committed <= committed < self._slots:
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
                f"Slot {self._us(go)} us is {go - committed} slots after {self._said(committed)};"
                f" {MAX_AHEAD} are the most. Commit first.",
            )
        self._committed = committed
        if go >= self._slots:
            return {"end": True, "last_us": self._us(self._slots - 1)}
        self.slot = go
        return {"now_us": self._us(go)}

    def _us(self, slot: int) -> int:
        return self._first_us + slot * self._interval_us

    def _said(self, committed: int) -> str:
        return "no committed slot" if committed < 0 else f"committed slot {self._us(committed)} us"


class ControlServer:
    """Gives the clock to the newest connection: a killed agent's last line may still wait."""

    def __init__(self, clock: LockStep) -> None:
        self.clock = clock
        self.connections: set[asyncio.Transport] = set()

    def connect(self) -> ControlConnection:
        """A protocol for one more connection."""
        return ControlConnection(self)


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
            self._send(self._server.clock.answer(line))
        if len(self._buffer) > MAX_LINE_BYTES:
            self._send(_error("malformed", f"A line has at most {MAX_LINE_BYTES} bytes."))
            self._transport.close()

    def _send(self, reply: dict[str, Any]) -> None:
        self._transport.write(json.dumps(reply).encode() + b"\n")


def _error(code: str, what: str) -> dict[str, Any]:
    return {"error": f"{code}: {what}"}
