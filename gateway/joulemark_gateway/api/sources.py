"""Where answers come from: the evidence store, the series the mirror holds, report folders."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from joulemark_agent.contract.errors import StoreError
from joulemark_gateway.access.roles import NOBODY, Who
from joulemark_gateway.alerts.store import Alerts
from joulemark_gateway.costs.months import CostBook
from joulemark_gateway.costs.watch import DemandBoard
from joulemark_gateway.evidence.base import EvidenceStore
from joulemark_gateway.evidence.ledger import Ledger
from joulemark_gateway.following.so_far import Board
from joulemark_gateway.ingest.live import LiveBoard
from joulemark_gateway.ingest.registered import Registry
from joulemark_gateway.ingest.tally import Tally
from joulemark_gateway.reports.stored import Copies
from joulemark_gateway.series.base import Series, SeriesReader
from joulemark_gateway.settings import CollectorSettings

SERIES_CLOSED = "series_closed"  # code of the StoreError while no series is open


class OpenSeries:
    """The series that the mirror's thread opens, writes and closes, for others to read."""

    def __init__(self) -> None:
        self._series: Series | None = None

    def opened(self, open_series: Callable[[], Series]) -> Series:
        """Open the series and remember it: what the mirror is given instead of `open_series`."""
        self._series = None
        self._series = open_series()
        return self._series

    @property
    def reader(self) -> SeriesReader:
        """The series; reading it after the mirror closed it is a StoreError.

        Raises:
            StoreError: `series_closed` before it was opened for the first time.
        """
        if self._series is None:
            raise StoreError(
                "The series is not open yet.",
                "Wait a moment; if it stays so, the collector's log says 'series_down' and why.",
                code=SERIES_CLOSED,
            )
        return self._series

    def progress(self) -> dict[str, int]:
        """Up to which leaf each tree is in it; errors as `reader`."""
        assert self.reader is self._series
        return {origin: size for origin, (size, _) in self._series.progress().items()}


@dataclass(frozen=True)
class Sources:
    """All that pages and API read; every request opens a connection of its own."""

    name: str  # of the collector, as witness
    witness_key: bytes  # its public key
    evidence: Ledger
    series: OpenSeries
    reports: Sequence[Path] = ()  # folders
    copies: Copies | None = None  # of reports that are in an object store
    registry: Callable[[], Registry] = lambda: Registry({}, frozenset())
    settings: CollectorSettings | None = None  # of the collector that runs behind the pages
    live: LiveBoard = field(default_factory=LiveBoard)  # what is shown and not evidence
    savings: Board = field(default_factory=Board)  # of running projects
    costs: CostBook = field(default_factory=CostBook)  # tariffs by site
    demands: DemandBoard = field(default_factory=DemandBoard)  # as it is watched
    alerts: Alerts = field(default_factory=Alerts)  # what was told
    tally: Tally = field(default_factory=Tally)  # of what came since the start
    who: Who = NOBODY  # for whom: nothing is given of sites they do not see
    now_us: Callable[[], int] = field(default=lambda: time.time_ns() // 1000)

    @property
    def agents(self) -> dict[str, str]:
        """The site of each agent that may send now."""
        return {name: agent.site for name, agent in self.registry().agents.items()}

    @property
    def state_dir(self) -> Path:
        """The collector's state folder."""
        if self.settings is not None:
            return self.settings.state_dir
        return Path(self.evidence.where).parent

    def seen_by(self, who: Who) -> Sources:
        """The same for one who asks."""
        return replace(self, who=who)

    @contextmanager
    def store(self) -> Iterator[EvidenceStore]:
        """The evidence, for reading.

        Raises:
            StoreError: there is none yet, or it cannot be read.
        """
        with self.evidence.reader() as store:
            yield store
