"""The thread that looks after the day: demand as records arrive, and what has to be told of.

It reads as the pages do, through connections of its own, and waits while nothing is new. Where
something cannot be read it tries again; evidence goes on.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from joulemark_agent.contract.errors import JoulemarkError
from joulemark_gateway.api.plant import shown, sites_of
from joulemark_gateway.api.sources import SERIES_CLOSED, Sources
from joulemark_gateway.costs.watch import DemandWatch, Warned

TURN_S = 10.0  # at least so often, whether something is new or not

log = logging.getLogger(__name__)


class DailyThread:
    """Turns of `Daily` until told to stop."""

    def __init__(self, turn: Callable[[], None]) -> None:
        self._turn = turn
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="daily", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after the turn at hand."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        is_down = False
        while True:
            try:
                self._turn()
            except JoulemarkError as error:
                if not is_down and error.code != SERIES_CLOSED:
                    fields = {"code": error.code, "what": error.what, "do": error.do}
                    log.error("daily_down", extra=fields)  # noqa: TRY400 - said in full
                    is_down = True
            except Exception:
                log.exception("daily_failed")
            else:
                if is_down:
                    log.info("daily_back")
                is_down = False
            if self._stopping.wait(TURN_S):
                return


class Daily:
    """One look at everything."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._watch = DemandWatch(sources.costs, sources.demands)

    def turn(self) -> None:
        """Look at what is new.

        Raises:
            StoreError: evidence or series cannot be read.
        """
        self.demands()

    def demands(self) -> list[Warned]:
        """Go on with the demand of every site that has a tariff."""
        raised: list[Warned] = []
        if not self._sources.costs.sites:
            return raised
        reader, now_us = self._sources.series.reader, self._sources.now_us()
        with self._sources.store() as store:
            sites = sites_of(store)
        for name in self._sources.costs.sites:
            if name not in sites:
                continue
            site_us = shown(sites[name], reader, now_us).now_us
            if site_us is not None:
                raised += self._watch.turn(reader, sites[name], site_us, now_us)
        return raised
