"""What time it is and how well that is known; when the next slot comes.

Slots lie on multiples of the period since 1970 in UTC, so every agent's slots of one period agree.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import time
from typing import Any, Protocol
from urllib.parse import urlsplit

from joulemark_agent import exchange
from joulemark_agent.contract.errors import DeviceError
from joulemark_agent.contract.reading import TimeQuality

NTP, UNSYNCHRONISED, SIMULATED = "ntp", "unsynchronised", "simulated"
UNKNOWN_ERROR_US = 16_000_000  # what the kernel itself says before the first synchronisation

_LONGEST_SLEEP_S = 1.0  # how late a step of the clock is noticed
_CONTROL_TIMEOUT_S = 10.0
_MAX_LINE_BYTES = 4096
_TIME_ERROR = 5  # return value of adjtimex(2)
_STA_UNSYNC = 0x0040


class Clock(Protocol):
    """Tells slots and times; the agent asks nothing else for them."""

    def time_quality(self) -> TimeQuality:
        """How well `now_us` is known."""

    def now_us(self) -> int:
        """UTC since 1970; simulated where the clock is. [us]"""

    def mono_ns(self) -> int:
        """Monotonic time of this boot; never simulated. [ns]"""

    async def until(self, slot_us: int, committed_us: int | None) -> bool:
        """Return when the slot has come; False: there is none, the recording has ended.

        Args:
            slot_us: the slot. [us UTC]
            committed_us: the last slot that is safely on disk; None: there is none. [us UTC]
        """

    async def close(self) -> None:
        """Give back what the clock holds."""


def next_slot_us(after_us: int, period_us: int) -> int:
    """The first slot later than `after_us`. [us UTC]"""
    return (after_us // period_us + 1) * period_us


class SystemClock:
    """The computer's clock."""

    def time_quality(self) -> TimeQuality:
        """What the kernel knows of its synchronisation; `unsynchronised` where it tells nothing."""
        return kernel_time_quality()

    def now_us(self) -> int:
        """UTC since 1970. [us]"""
        return time.time_ns() // 1000

    def mono_ns(self) -> int:
        """Monotonic time of this boot. [ns]"""
        return time.monotonic_ns()

    async def until(self, slot_us: int, committed_us: int | None) -> bool:  # noqa: ARG002
        """Return when the slot has come; a clock that was set is noticed within a second."""
        while (left_us := slot_us - self.now_us()) > 0:  # noqa: ASYNC110 - time is no event
            await asyncio.sleep(min(left_us / 1e6, _LONGEST_SLEEP_S))
        return True

    async def close(self) -> None:
        """Nothing to give back."""


class _Timex(ctypes.Structure):
    """`struct timex` of adjtimex(2), up to the last field that is read."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_char * 256),
    )


def _kernel_call() -> Any:
    try:
        return ctypes.CDLL(None).ntp_adjtime
    except (OSError, AttributeError, TypeError):  # no such function on this system
        return None


_ntp_adjtime = _kernel_call()


def kernel_time_quality() -> TimeQuality:
    """The kernel's NTP state; the error is the larger of its estimate and its bound.

    The bound grows between synchronisations, the estimate does not: some time services write it
    as 0 for good. Nothing is changed by asking (`modes` is 0), and no privilege is needed.
    """
    if _ntp_adjtime is None:
        return TimeQuality(UNSYNCHRONISED, UNKNOWN_ERROR_US)
    found = _Timex()
    state = _ntp_adjtime(ctypes.byref(found))
    if state < 0:
        return TimeQuality(UNSYNCHRONISED, UNKNOWN_ERROR_US)
    is_synchronised = state != _TIME_ERROR and not found.status & _STA_UNSYNC
    return TimeQuality(
        NTP if is_synchronised else UNSYNCHRONISED, max(found.esterror, found.maxerror)
    )


class ReplayClock:
    """The simulator's clock, moved in lock step: it shows a slot when asked for it.

    Slot and sample times are simulated; the monotonic clock is not. The simulator answers over a
    control socket (docs/decisions/0002-lock-step-replay.md).
    """

    def __init__(self, url: str) -> None:
        """Nothing is opened yet.

        Args:
            url: `tcp://HOST:PORT` of the simulator's control socket.
        """
        self._url = url
        self._exchange: exchange.Exchange | None = None
        self._now_us = 0

    def time_quality(self) -> TimeQuality:
        """Simulated, without error."""
        return TimeQuality(SIMULATED, 0)

    def now_us(self) -> int:
        """The slot the simulator shows. [us UTC]"""
        return self._now_us

    def mono_ns(self) -> int:
        """Monotonic time of this boot; wall time. [ns]"""
        return time.monotonic_ns()

    async def until(self, slot_us: int, committed_us: int | None) -> bool:
        """Move the simulation to the slot; False: the recording has ended.

        Raises:
            DeviceError: the simulator is out of reach or was lost since the last slot (trying
                again opens a new connection), or refuses (`replay_refused`).
        """
        question = json.dumps({"committed_us": committed_us, "go_us": slot_us}).encode() + b"\n"
        control = await self._control()
        try:
            line = await control.ask(question, _whole_line, timeout_s=_CONTROL_TIMEOUT_S)
        except DeviceError:
            self._exchange = None  # closed already
            raise
        try:
            answer = json.loads(line)
        except ValueError:
            answer = None
        if isinstance(answer, dict):
            if answer.get("now_us") == slot_us and "error" not in answer:
                self._now_us = slot_us
                return True
            if answer.get("end") is True:
                return False
        raise DeviceError(
            f"The simulator at {self._url} was asked for slot {slot_us} after {committed_us} was"
            f" committed, and answered {line[:200].decode(errors='replace').strip()!r}.",
            "Use the state folder only with the recording it was begun with.",
            code="replay_refused",
        )

    async def close(self) -> None:
        """Give the control connection back."""
        if self._exchange is not None:
            await self._exchange.close()

    async def _control(self) -> exchange.Exchange:
        if self._exchange is not None and not self._exchange.is_open:
            # Said once, before a new connection: what a simulator showed since is not known.
            self._exchange = None
            raise DeviceError(
                f"The connection to the simulator at {self._url} was lost.",
                "Slots that were read and not committed are read again.",
                code=exchange.CLOSED,
            )
        if self._exchange is None:
            parts = urlsplit(self._url)
            try:
                self._exchange = await exchange.connect(
                    parts.hostname or "", parts.port or 0, timeout_s=_CONTROL_TIMEOUT_S
                )
            except DeviceError as error:
                raise DeviceError(
                    f"No simulator at {self._url}: {error.what}",
                    "Start it with 'joulemark agent simulate', or correct 'replay.url'.",
                    code=error.code,
                ) from error
        return self._exchange


def _whole_line(received: bytes) -> bytes | None:
    end = received.find(b"\n") + 1
    if len(received) > _MAX_LINE_BYTES or 0 < end < len(received):
        raise DeviceError(
            f"The simulator answered with {len(received)} bytes that are not one line.",
            "Check that 'replay.url' is the simulator's control port.",
            code=exchange.BAD_REPLY,
        )
    return received if end else None
