"""A collector's state in a folder, and the pages over it: real store, real series, real report."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from httpx import ASGITransport, AsyncClient

from joulemark_agent.contract.canonical import canonical_bytes, parse_canonical
from joulemark_agent.contract.document import document_bytes
from joulemark_agent.contract.reading import SIMULATED, Gap, Reading
from joulemark_agent.contract.signature import public_key
from joulemark_gateway.access.gate import Access, open_access
from joulemark_gateway.access.roles import MACHINE
from joulemark_gateway.access.settings import PagesLimits, PagesSettings
from joulemark_gateway.api.sources import OpenSeries, Sources
from joulemark_gateway.evidence.bundle import PAGE, REPORT
from joulemark_gateway.evidence.ledger import SqliteLedger
from joulemark_gateway.evidence.store import FILE, SqliteStore
from joulemark_gateway.series.embedded import EmbeddedSeries
from joulemark_gateway.series.mirror import catch_up
from joulemark_gateway.web.application import application
from joulemark_gateway.web.guard import Guard
from support.book import NOW_US, Book, registry
from support.bundles import policy_mapping, true_bundle, true_report
from support.evidence import (
    COUNTER,
    KEYS,
    METER,
    SITE,
    START_US,
    WITNESS,
    Documents,
    build_tree,
    counter_readings,
    documents,
    meter_readings,
    reading,
    with_gap,
)

COMPRESSOR = "compressor-1"
HOSTILE = "<script>alert('x')</script>\"&'"
DAY_US = 86_400_000_000
STEPS_A_DAY = 96


def compressor_profile(**changes: Any) -> dict[str, Any]:
    """An air compressor with power and pressure and no counter."""
    points = [
        {"name": "power_w", "table": "holding", "address": 0, "type": "float32"},
        {"name": "pressure_pa", "table": "holding", "address": 2, "type": "float32"},
    ]
    return {
        "model": "test_compressor",
        "kind": "air_compressor",
        "protocol": "modbus",
        "source": f"made for a test {HOSTILE}",
        "confidence": "bench",
        "points": points,
        "golden": [{"point": "power_w", "words": [0x3F80, 0], "value": 1}],
        **changes,
    }


def site_documents(*, clock: str = "simulated", **site_changes: Any) -> Documents:
    """The virtual site with a compressor beside it, whose equipment section is declared."""
    made = documents(profiles={COMPRESSOR: compressor_profile()}, clock=clock)
    site = parse_canonical(made.site)
    for row in site["devices"]:
        if row["id"] == COMPRESSOR:
            row["equipment"] = {"pressure": "pressure_pa", "only_source": True}
    return replace(made, site=document_bytes({**site, **site_changes}))


def compressor_readings(site: Documents, slots: int, sync: str = SIMULATED) -> list[Reading]:
    """A machine that loads for two hours, idles for one, and stands for two, round and round."""
    profile, period_us = site.profile(COMPRESSOR), site.period_us(COMPRESSOR)
    found, pressure_pa = [], 700_000.0
    for k in range(slots):
        phase = k % 20
        power_w = 37_000 if phase < 8 else 11_000 if phase < 12 else 0
        pressure_pa = 700_000.0 if phase < 12 else pressure_pa - 4_000
        values = {"power_w": Decimal(power_w), "pressure_pa": Decimal(pressure_pa)}
        found.append(reading(profile, COMPRESSOR, START_US + k * period_us, values, sync=sync))
    return found


def energies(days: int) -> list[int]:
    """The energy of each quarter-hour: whole Wh, no two days alike."""
    return [
        round(8_000 + 5_000 * math.sin(k / 7) + 40 * (k // STEPS_A_DAY))
        for k in range(days * STEPS_A_DAY)
    ]


@dataclass(frozen=True)
class State:
    """A filled folder."""

    folder: Path
    report: Path

    @contextmanager
    def sources(self, **changes: Any) -> Iterator[Sources]:
        """Where the pages read, the series open."""
        series = OpenSeries()
        opened = series.opened(lambda: EmbeddedSeries(self.folder / "series.duckdb"))
        given: dict[str, Any] = {
            "name": WITNESS,
            "witness_key": public_key(KEYS.witness),
            "evidence": SqliteLedger(self.folder / FILE),
            "series": series,
            "reports": [self.report],
            "who": MACHINE,
            **changes,
        }
        try:
            yield Sources(**given)
        finally:
            opened.close()


def fill(
    folder: Path,
    *,
    days: int = 4,
    cause: str = "timeout",
    clock: str = "simulated",
    **site_changes: Any,
) -> State:
    """Evidence of three devices over some days, with a hole and a gap, its series and a report."""
    site = site_documents(clock=clock, **site_changes)
    sync = SIMULATED if clock == SIMULATED else "ntp"
    meter = meter_readings(site, energies(days), frozen=[130], doubtful=[20], sync=sync)
    gapped = with_gap(meter, STEPS_A_DAY * 2 + 10, 3, cause)
    results: dict[str, Sequence[Reading | Gap]] = {
        METER: gapped,
        COUNTER: counter_readings(site, [100] * (days * STEPS_A_DAY), sync=sync),
        COMPRESSOR: compressor_readings(site, days * STEPS_A_DAY, sync),
    }
    folder.mkdir(parents=True, exist_ok=True)
    _collect(folder, site, results)
    report = write_report(folder / "report")
    (report / "secret.txt").write_text("not yours")
    return State(folder, report)


def write_report(folder: Path) -> Path:
    """A report, its page, its bundle and its policy in a new folder."""
    folder.mkdir()
    issued = true_report()
    (folder / REPORT).write_bytes(issued.report_json)
    (folder / PAGE).write_bytes(issued.report_html)
    (folder / "bundle.zip").write_bytes(true_bundle())
    (folder / "policy.json").write_bytes(canonical_bytes(policy_mapping()))
    return folder


def _collect(folder: Path, site: Documents, results: Mapping[str, Sequence[Reading | Gap]]) -> None:
    """The evidence of these devices, and its series."""
    book = Book(registry(devices=tuple(results)))
    with SqliteStore(folder / FILE) as store:
        for device, rows in results.items():
            for batch in build_tree(site, device, rows):
                verdict, note = book.accepted(batch)
                store.accept(verdict, note=note, received_us=NOW_US)
        series = EmbeddedSeries(folder / "series.duckdb")
        while catch_up(store, series):
            pass
        series.close()


PLACE = f"/sites/{SITE}/devices/{METER}"


@asynccontextmanager
async def asking_of(
    folder: Path, site: Documents, device: str, results: Sequence[Reading | Gap]
) -> AsyncIterator[AsyncClient]:
    """A client of a collector that holds these results of one device, and nothing else."""
    _collect(folder, site, {device: results})
    with State(folder, folder).sources() as sources:
        async with asking(sources) as asked:
            yield asked


FREE = PagesLimits(requests_per_s=10_000, burst=1_000_000, together=1000)
WITHOUT_LOGIN = PagesSettings(login=False, limits=FREE)


def gate(folder: Path, wanted: PagesSettings = WITHOUT_LOGIN) -> Access:
    """Who is let in: whoever is on this machine, unless told otherwise."""
    return open_access(folder, wanted)


def asking(sources: Sources, app: Guard | None = None) -> AsyncClient:
    """A client of the application over these sources, without a socket and without log-in."""
    app = app or application(sources, gate(Path(sources.evidence.where).parent))
    transport = ASGITransport(app, raise_app_exceptions=False)
    return AsyncClient(transport=transport, base_url="http://127.0.0.1:8080")
