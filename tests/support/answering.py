"""The series and the API over the ledger that a run left, as a collector has them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from httpx import Response

from joulemark_agent.contract.signature import public_key
from joulemark_gateway.api.sources import OpenSeries, Sources
from joulemark_gateway.evidence.ledger import SqliteLedger
from joulemark_gateway.evidence.store import SqliteStore
from joulemark_gateway.series.embedded import EmbeddedSeries
from joulemark_gateway.series.mirror import catch_up
from support.evidence import KEYS
from support.pages import asking
from support.plant_day import PlantDay


@dataclass(frozen=True)
class Answering:
    """Asks pages and API over what a run left."""

    sources: Sources

    def page(self, path: str) -> str:
        """A page as a browser gets it."""
        answer = asyncio.run(self._answer(path))
        assert answer.status_code == 200, answer.text
        return answer.text

    def of(self, device: str, what: str) -> Any:
        """What the API says of a device."""
        return self.json(f"/sites/works/devices/{device}/{what}")

    def json(self, path: str) -> Any:
        """What the API says."""
        answer = asyncio.run(self._answer(f"/api/v1{path}"))
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def _answer(self, path: str) -> Response:
        async with asking(self.sources) as client:
            return await client.get(path)


@contextmanager
def answering(day: PlantDay) -> Iterator[Answering]:
    """The series is filled from the ledger, then asked."""
    series = EmbeddedSeries(day.ledger.with_name("series.duckdb"))
    with SqliteStore(day.ledger, create=False) as store:
        while catch_up(store, series):
            pass
    held = OpenSeries()
    held.opened(lambda: series)
    try:
        ledger = SqliteLedger(day.ledger)
        yield Answering(Sources("witness", public_key(KEYS.witness), ledger, held))
    finally:
        series.close()
