"""How much may be under way to the broker, so that what is new need not wait behind a backlog.

The broker's answer to each message tells how long a message waits on the line. As long as that is
short more is let onto it; when it grows beyond the target there is less. A line of 64 kbit/s so
holds about a second of backlog, a fast one as much as the window allows. Pure.
"""

from __future__ import annotations

TARGET_S = 1.0  # the longest that a message should wait on the line
LEAST_BYTES = 8 * 1024  # a second of 64 kbit/s
MOST_BYTES = 4 * 1024 * 1024
_FIRST_BYTES = 64 * 1024
_BACK = 0.7


class Pace:
    """The bytes that may be under way at once."""

    def __init__(self, target_s: float = TARGET_S) -> None:
        self._target_s = target_s
        self.allowed_bytes = _FIRST_BYTES

    def answered(self, took_s: float, size_bytes: int) -> None:
        """Take account of a message of this size that was answered after this time."""
        if took_s > self._target_s:
            self.allowed_bytes = max(int(self.allowed_bytes * _BACK), LEAST_BYTES)
        else:
            self.allowed_bytes = min(self.allowed_bytes + size_bytes, MOST_BYTES)
