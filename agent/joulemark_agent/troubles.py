"""What is wrong now: said once when it begins and once when it is over, and kept in between."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

from joulemark_agent.contract.errors import JoulemarkError


@dataclass(frozen=True)
class Trouble:
    """One thing that is wrong."""

    error: JoulemarkError
    since_s: float  # by the monotonic clock


class Troubles:
    """What one part of the program has said and not taken back."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._open: dict[str, Trouble] = {}

    def say(self, event: str, error: JoulemarkError) -> None:
        """Say that something is wrong, and what to do, unless that is said already."""
        if event not in self._open:
            self._open[event] = Trouble(error, time.monotonic())
            fields = {"code": error.code, "what": error.what, "do": error.do}
            self._log.error(event, extra=fields)

    def say_over(self, event: str, over: str) -> None:
        """Say that it is over, if it was said."""
        if (trouble := self._open.pop(event, None)) is not None:
            down_s = round(time.monotonic() - trouble.since_s, 3)
            self._log.info(over, extra={"down_s": down_s})

    def open(self) -> list[Trouble]:
        """What is wrong now."""
        return list(self._open.values())
