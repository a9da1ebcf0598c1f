"""How long a device of a shared line is waited for, and how often one that fails is asked.

While a device is waited for, nobody else on its line is read. So a device that answers is waited
for four times as long as it has needed in 99 of 100 answers, never longer than `timeout_s`. One
that failed twice in a row is suspect: it is asked for its shortest point first, so rarely that it
takes 3 % of the line's time, and with the whole `timeout_s`, for the case that it has only become
slow, so rarely that this takes 1 % more. More than five suspects share what five would have, and
the 1 % is of all together. One good answer ends the suspicion. Where no other device of the line
answers there is nobody to be fair to: then everyone has its `timeout_s`, and is asked again after
3 s at the latest. So it is in a replay, which has all the time there is.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable

from joulemark_agent.contract.errors import DeviceError
from joulemark_agent.exchange import TIMEOUT

LEAST_S = 0.25  # a shorter time-out saves nothing that is felt at a slot of 1 s
FIRST_S = 1.0  # while little is known of how long a device needs
SHARE = 0.03  # of line time for the short questions to a suspect
PATIENT_SHARE = 0.01  # for whole time-outs, which cost others their slots: of all suspects together
MANY = 5  # suspects; more of them share what so many would have
LONGEST_REST_S = 3.0  # where nobody is to be protected: who is back is read within 5 s
FAILURES = 2  # one lost answer is not yet a dead device
_ANSWERS, _FEWEST, _QUANTILE, _TIMES = 100, 10, 0.99, 4


class Standing:
    """What the line knows of one device; times are monotonic. [s]"""

    def __init__(self, line: Fairness, timeout_s: float) -> None:
        self._line, self._timeout_s = line, timeout_s
        self._answers: deque[float] = deque(maxlen=_ANSWERS)
        self._answered = 0  # requests
        self._learned_s = min(timeout_s, FIRST_S)
        self._has_answered = False
        self._failures = 0
        self._error: DeviceError | None = None
        self._rests_until_s = self._patient_from_s = 0.0
        self._failed_s = -math.inf  # when last
        self._late_s: float | None = None  # time-out of a failure that may have been a slow answer
        self.asked_s = -math.inf  # when it last had its turn

    @property
    def is_suspect(self) -> bool:
        """Whether it is asked rarely."""
        is_known = self._has_answered or not self._line.is_shared
        return self._failures >= (FAILURES if is_known else 1)

    @property
    def is_healthy(self) -> bool:
        """Whether others must be kept from taking its time."""
        return self._has_answered and not self.is_suspect

    def check(self, now_s: float) -> None:
        """Begin a turn.

        Raises:
            DeviceError: the one of its last turn, while it rests.
        """
        if self.is_suspect and self._error is not None and now_s < self._rests_until_s:
            raise self._error.with_traceback(None)  # which would grow each time
        self.asked_s = now_s

    def timeout_s(self, now_s: float) -> float:
        """How long to wait for each answer of the turn. [s]"""
        if not self._line.is_shared:
            return self._timeout_s
        if not self.is_suspect:
            slowest_s = 0.0 if self._has_answered else self._line.slowest_s
            return min(self._timeout_s, max(self._learned_s, slowest_s))
        is_patient = now_s >= self._patient_from_s or not self._line.has_healthy
        return self._timeout_s if is_patient else self._short_s

    def note_answer(self, took_s: float) -> None:
        """It answered a request."""
        self._answers.append(took_s)
        self._answered += 1
        if len(self._answers) < _FEWEST or self._answered % _FEWEST == 0:
            self._learn()

    def note_success(self) -> None:
        """Its turn ended with a reading."""
        if self.is_suspect:
            if not self._line.has_healthy:
                self._line.forgive()  # it was the line that was away
            self._answers.clear()  # it may have become another
            self._learn()
        elif self._late_s is not None:
            self.note_answer(self._late_s)  # it was not dead
        self._failures, self._error, self._has_answered, self._late_s = 0, None, True, None

    def note_failure(
        self, error: DeviceError, now_s: float, waited_s: float, cost_s: float
    ) -> None:
        """Its turn ended without a reading.

        Args:
            error: why.
            now_s: when.
            waited_s: the time-out of the turn.
            cost_s: of line time.
        """
        if error.code == TIMEOUT:
            cost_s = max(cost_s, waited_s)
        was_long = waited_s > self._short_s and error.code == TIMEOUT
        is_rare = (now_s - self._failed_s) * SHARE >= waited_s  # more would cost others too much
        self._late_s = waited_s if is_rare and error.code == TIMEOUT else None
        was_suspect, self._failed_s = self.is_suspect, now_s
        self._failures, self._error = self._failures + 1, error
        suspects = max(1, self._line.suspects)
        if was_long or not was_suspect:
            patience_s = cost_s if was_suspect else self._timeout_s
            self._patient_from_s = now_s + patience_s * suspects / PATIENT_SHARE
        short_s = min(cost_s, self._short_s) if was_long else cost_s
        rest_s = short_s * max(1.0, suspects / MANY) / SHARE
        if not self._line.has_healthy:
            rest_s = min(rest_s, LONGEST_REST_S)
        if not self._line.is_shared:  # only silence costs anything
            rest_s = min(rest_s, LONGEST_REST_S) if error.code == TIMEOUT else 0.0
        self._rests_until_s = now_s - cost_s + rest_s

    def forgive(self) -> None:
        """It may be asked at once."""
        self._rests_until_s = 0.0

    @property
    def learned_s(self) -> float:
        """How long it is waited for while it answers. [s]"""
        return self._learned_s

    @property
    def _short_s(self) -> float:
        """How long a suspect is waited for. [s]"""
        known_s = self._learned_s if self._answers else max(LEAST_S, self._line.slowest_s)
        return min(self._timeout_s, known_s)

    def _learn(self) -> None:
        ordered = sorted(self._answers)
        worst_s = ordered[math.ceil(_QUANTILE * len(ordered)) - 1] if ordered else 0.0
        least_s = LEAST_S if len(ordered) >= _FEWEST else FIRST_S
        self._learned_s = min(self._timeout_s, max(least_s, _TIMES * worst_s))


class Fairness:
    """The devices of one line."""

    def __init__(self, *, is_shared: bool) -> None:
        """Nothing is known yet.

        Args:
            is_shared: whether others may be waiting; otherwise everyone has its whole time-out.
        """
        self.is_shared = is_shared
        self._standings: dict[str, Standing] = {}

    def of(self, device: str, timeout_s: float) -> Standing:
        """What is known of a device.

        Args:
            device: its id.
            timeout_s: the longest it may be waited for. [s]
        """
        if device not in self._standings:
            self._standings[device] = Standing(self, timeout_s)
        return self._standings[device]

    @property
    def has_healthy(self) -> bool:
        """Whether anybody answers."""
        return any(standing.is_healthy for standing in self._standings.values())

    @property
    def suspects(self) -> int:
        """How many are asked rarely."""
        return sum(standing.is_suspect for standing in self._standings.values())

    @property
    def slowest_s(self) -> float:
        """The longest that one who answers is waited for. [s]"""
        return max((one.learned_s for one in self._healthy()), default=0.0)

    def forgive(self) -> None:
        """Let every suspect be asked at once: the line was away, and is back."""
        for standing in self._standings.values():
            standing.forgive()

    def _healthy(self) -> Iterable[Standing]:
        return (standing for standing in self._standings.values() if standing.is_healthy)
