"""Where answers come from: the evidence store, the series the mirror holds, report folders."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from joulemark_agent.contract.errors import StoreError
from joulemark_gateway.evidence.base import EvidenceStore
from joulemark_gateway.evidence.store import SqliteStore
from joulemark_gateway.series.base import Series, SeriesReader

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


@dataclass(frozen=True)
class Sources:
    """All that pages and API read; every request opens a connection of its own."""

    name: str  # of the collector, as witness
    witness_key: bytes  # its public key
    evidence: Path
    series: OpenSeries
    reports: Sequence[Path] = ()
    now_us: Callable[[], int] = field(default=lambda: time.time_ns() // 1000)

    @contextmanager
    def store(self) -> Iterator[EvidenceStore]:
        """The evidence, for reading.

        Raises:
            StoreError: there is none yet, or it cannot be read.
        """
        with SqliteStore(self.evidence, create=False) as store:
            yield store
