"""How many messages came since the collector started, by what became of them."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Literal

Outcome = Literal["accepted", "repeated", "raw", "live", "refused"]


class Tally:
    """Counts; any thread may look."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._messages: Counter[tuple[Outcome, str]] = Counter()
        self._bytes = 0

    def took(self, payload: bytes) -> None:
        """A message came."""
        with self._lock:
            self._bytes += len(payload)

    def count(self, outcome: Outcome, code: str = "") -> None:
        """What became of it; of a refused one the code."""
        with self._lock:
            self._messages[outcome, code] += 1

    def messages(self) -> dict[tuple[Outcome, str], int]:
        """How many, by outcome and code."""
        with self._lock:
            return dict(self._messages)

    @property
    def received_bytes(self) -> int:
        """How much came."""
        with self._lock:
            return self._bytes
