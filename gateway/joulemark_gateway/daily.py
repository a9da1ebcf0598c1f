"""What looks after the day: demand as records arrive, and what has to be told of.

It reads as the pages do, through connections of its own. Where something cannot be read it is tried
again; evidence goes on.
"""

from __future__ import annotations

from pathlib import Path

from joulemark_agent.contract.errors import JoulemarkError
from joulemark_gateway.alerts.engine import begun, looked, tidied
from joulemark_gateway.alerts.facts import Gatherer
from joulemark_gateway.alerts.settings import AlertSettings
from joulemark_gateway.alerts.store import AlertStore
from joulemark_gateway.api.plant import shown, sites_of
from joulemark_gateway.api.sources import Sources
from joulemark_gateway.costs.watch import DemandWatch, Warned

_TIDY_US = 86_400_000_000  # so often what is old is forgotten
TURN_S = 10.0  # at least so often, whether something is new or not


class Daily:
    """One look at everything; used by one thread."""

    def __init__(
        self, sources: Sources, wanted: AlertSettings | None = None, path: Path | None = None
    ) -> None:
        """Nothing is opened yet.

        Args:
            sources: what is looked at.
            wanted: what is told; None: nothing.
            path: of the file of alerts.
        """
        self._sources, self._wanted, self._path = sources, wanted, path
        self._watch = DemandWatch(sources.costs, sources.demands)
        self._gatherer = None if wanted is None else Gatherer(sources, wanted)
        self._untold: list[Warned] = []  # warnings that no look has seen
        self._has_begun = False
        self._are_demands_known = False  # of every site, since the start
        self._tidied_us: int | None = None

    def turn(self) -> None:
        """Look at what is new; alerts are looked after also where the series cannot be read.

        Raises:
            StoreError: evidence, series or the file of alerts cannot be used.
        """
        trouble: JoulemarkError | None = None
        try:
            self.demands()
            self._are_demands_known = True
        except JoulemarkError as error:
            trouble = error
        if self._wanted is not None and self._gatherer is not None and self._path is not None:
            known = self._are_demands_known
            facts = self._gatherer.facts(self._untold, are_demands_known=known)
            with AlertStore(self._path) as store:
                if not self._has_begun:
                    begun(store, self._wanted, facts.now_us)
                    self._has_begun = True
                looked(store, self._wanted, facts)
                if self._tidied_us is None or not 0 <= facts.now_us - self._tidied_us < _TIDY_US:
                    tidied(store, self._wanted, facts.now_us)
                    self._tidied_us = facts.now_us
        if self._wanted is None or self._are_demands_known:
            self._untold = []
        if trouble is not None:
            raise trouble

    def demands(self) -> None:
        """Go on with the demand of every site that has a tariff."""
        if not self._sources.costs.sites:
            return
        reader, now_us = self._sources.series.reader, self._sources.now_us()
        with self._sources.store() as store:
            sites = sites_of(store)
        for name in self._sources.costs.sites:
            if name not in sites:
                continue
            site_us = shown(sites[name], reader, now_us).now_us
            if site_us is not None:
                self._untold += self._watch.turn(reader, sites[name], site_us, now_us)
