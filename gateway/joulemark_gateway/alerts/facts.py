"""Gathers what the rules look at; of what cannot be read nothing is raised and nothing ends."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from joulemark_agent.contract.errors import JoulemarkError
from joulemark_gateway.agents_now import AgentNow, agents_now, certificate_ends
from joulemark_gateway.alerts.rules import Coverage, Facts, Value
from joulemark_gateway.alerts.settings import AlertSettings, RuleKind
from joulemark_gateway.api.energy import quality_of
from joulemark_gateway.api.plant import Site, shown, sites_of
from joulemark_gateway.api.sources import Sources
from joulemark_gateway.costs.watch import Warned
from joulemark_gateway.evidence.base import QuarantineCount
from joulemark_gateway.series.base import QUALITY

_DAY_US = 86_400_000_000
_COVERAGE_US = 600 * 1_000_000  # it is looked at so often
_OF_AGENTS: tuple[RuleKind, ...] = ("agent_silent", "backlog", "clock", "certificate", "disk")

log = logging.getLogger(__name__)
Found = TypeVar("Found")


def fleet_of(sources: Sources) -> list[AgentNow]:
    """Every agent as it is.

    Raises:
        StoreError: the evidence or the records of the authority cannot be read.
    """
    with sources.store() as store:
        heads = store.heads()
    ends = {} if sources.settings is None else certificate_ends(sources.settings.state_dir)
    return agents_now(sources.registry().agents, heads, sources.live, ends, sources.now_us())


class Gatherer:
    """Gathers anew at every look; what is dear is kept for some minutes."""

    def __init__(self, sources: Sources, wanted: AlertSettings) -> None:
        self._sources = sources
        self._kinds = {rule.rule for rule in wanted.rules}
        self._figures = {rule.sites[0] for rule in wanted.rules if rule.rule == "figure"}
        self._started_us = sources.now_us()
        self._coverage: tuple[int, Sequence[Coverage]] | None = None
        self._down: set[str] = set()

    def facts(self, warned: Sequence[Warned], *, are_demands_known: bool = True) -> Facts:
        """As they are now."""
        self._started_us = min(self._started_us, self._sources.now_us())  # the clock was set back
        known: set[RuleKind] = {"peak_demand"} if are_demands_known else set()
        if self._are_savings_known():
            known.add("saving")
        agents = self._tried("agents", lambda: fleet_of(self._sources))
        if agents is not None:
            known.update(_OF_AGENTS)
        quarantined = self._tried("evidence", self._quarantined)
        if quarantined is not None and agents is not None:
            known.add("evidence")
        sites = self._tried("sites", self._sites) if self._kinds & {"coverage", "figure"} else None
        coverage = None
        if sites is not None and "coverage" in self._kinds:
            coverage = self._tried("coverage", lambda: self._covered(sites))
            known |= {"coverage"} if coverage is not None else set()
        values = None
        if sites is not None and self._figures:
            values = self._tried("figures", lambda: self._values(sites))
            known |= {"figure"} if values is not None else set()
        refused = {
            name: (one.site, one.trouble.what if one.trouble else ", ".join(one.refused_because))
            for name, one in self._sources.savings.projects.items()
            if one.state in {"refused", "failed"}
        }
        return Facts(
            now_us=self._sources.now_us(),
            known=known,
            started_us=self._started_us,
            agents=agents or (),
            demands=self._sources.demands.all(),
            warned=warned,
            quarantined=quarantined or (),
            coverage=coverage or (),
            values=values or (),
            savings=refused,
            disk_used=self._disk_used(),
        )

    def _tried(self, what: str, look: Callable[[], Found]) -> Found | None:
        try:
            found = look()
        except JoulemarkError as error:
            if what not in self._down:
                fields = {"of": what, "code": error.code, "what": error.what, "do": error.do}
                log.warning("alerts_blind", extra=fields)
            self._down.add(what)
            return None
        self._down.discard(what)
        return found

    def _are_savings_known(self) -> bool:
        """Whether the board was shown the running projects since the start, or there are none."""
        settings, board = self._sources.settings, self._sources.savings
        is_any = settings is not None and any(row.follow is not None for row in settings.projects)
        return not is_any or bool(board.projects or board.unfollowed)

    def _quarantined(self) -> Sequence[QuarantineCount]:
        with self._sources.store() as store:
            return store.quarantined()

    def _sites(self) -> Mapping[str, Site]:
        with self._sources.store() as store:
            return sites_of(store)

    def _covered(self, sites: Mapping[str, Site]) -> Sequence[Coverage]:
        now_us = self._sources.now_us()
        if self._coverage is not None and 0 <= now_us - self._coverage[0] < _COVERAGE_US:
            return self._coverage[1]
        reader, found = self._sources.series.reader, []
        for site in sites.values():
            site_us = shown(site, reader, now_us).now_us
            if site_us is None:
                continue
            span_us = (site_us - _DAY_US, site_us)
            for device in site.devices.values():
                counts = quality_of(reader, site.id, device, span_us, site_us)
                found.append(Coverage(site.id, device.id, counts.good, counts.due))
        self._coverage = (now_us, found)
        return found

    def _values(self, sites: Mapping[str, Site]) -> Sequence[Value]:
        reader = self._sources.series.reader
        return [
            Value(
                site,
                row.device,
                row.point,
                row.value if row.quality == QUALITY["good"] else None,
                row.t_utc_us,
            )
            for site in self._figures & sites.keys()
            for row in reader.latest(site)
        ]

    def _disk_used(self) -> float | None:
        if self._sources.settings is None:
            return None
        try:
            usage = shutil.disk_usage(self._sources.settings.state_dir)
        except OSError:
            return None
        return usage.used / usage.total
