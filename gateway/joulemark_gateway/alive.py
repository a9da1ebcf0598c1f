"""Whether the collector's loops go on, and the word to the service manager while all of them do.

Each loop says at every turn by when it will be seen again; a thread of its own looks once a second
and pings only while nobody is late. So a loop that hangs, whichever it is, ends in a restart.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from joulemark_agent.progress import Progress
from joulemark_agent.watchdog import ServiceManager

MESSAGES_S = 120.0  # one batch and its COMMIT; a slow disk flushes within seconds
# A round or a turn asks servers that may be slow, each with a time-out of its own.
SERIES_S = LOG_S = DAILY_S = COMPACTION_S = 900.0
REPORTS_S = 7200.0  # several stores, each of which may take its time
PAGES_S = REGISTRY_S = 120.0
_LOOK_S = 1.0

log = logging.getLogger(__name__)


class Beat(NamedTuple):
    """What a loop says of itself."""

    on: Callable[[], None] = lambda: None  # I go on, and will be seen again
    off: Callable[[], None] = lambda: None  # I wait for something, or have ended


QUIET = Beat()  # of a loop that nobody watches


class Alive:
    """The thread that tells the service manager that the collector goes on."""

    def __init__(self, manager: ServiceManager | None = None) -> None:
        """Nothing runs yet.

        Args:
            manager: who is told; None: the one that started this process.
        """
        self._manager = manager or ServiceManager()
        self._progress = Progress()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="alive", daemon=True)

    def beat(self, name: str, within_s: float) -> Beat:
        """For a loop that is seen at least so often while it is on."""
        return Beat(
            partial(self._progress.promise, name, within_s), partial(self._progress.forget, name)
        )

    def start(self) -> None:
        """Everything has begun."""
        self._manager.ready()
        self._thread.start()

    def ending(self) -> None:
        """The collector leaves in order; that may take a while."""
        self._manager.stopping()

    def stop(self) -> None:
        """It has left."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        every_s = min(self._manager.ping_every_s or _LOOK_S, _LOOK_S)
        told: list[str] = []
        while True:
            late = self._progress.late()
            if late and late != told:
                what = f"Nothing was heard of {', '.join(late)} for minutes."
                do = "The service manager starts the collector again. Report it with this log."
                log.error("collector_stuck", extra={"loops": late, "what": what, "do": do})
            told = late
            if not late:
                self._manager.ping()
            if self._stop.wait(every_s):
                return
