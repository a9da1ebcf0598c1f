"""The series on a server that takes the InfluxDB v2 write call: InfluxDB 2 and 3, VictoriaMetrics.

Measurements, tags, fields and times stand in `lines`, how far it is written in `progress`. Writing
is idempotent: a row that is written again has the same time and tags. So after a kill between the
server's answer and our progress, the same rows are simply written again.

An answer of 204 proves little: VictoriaMetrics gives it to a line it drops, and any server may lose
its last seconds in a power cut. Therefore
- every line is checked before it is sent (`lines`);
- the first write after opening is read back, and every write where `read_back` says so. That
  finds a retention shorter than the evidence, a wrong bucket, and a server that keeps rows twice;
- with every write goes a mark; on opening, a tree whose mark is gone is written from the start.

What this cannot see is rows lost on the server while the mark is not: `joulemark series rebuild`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from joulemark_agent.contract.errors import StoreError
from joulemark_agent.contract.topics import parse_origin
from joulemark_gateway.series.base import Amounts, Carry, Latest, Part, Rows, Samples, Texts
from joulemark_gateway.series.influxql import InfluxQl
from joulemark_gateway.series.lines import Lines, by_day, lines_of, tree_line
from joulemark_gateway.series.progress import Progress
from joulemark_gateway.series.savings import FIELDS, LATEST_US, SAVING, SavingDays, saving_lines
from joulemark_gateway.series.servers import (
    TIMEOUT_S,
    Backend,
    Server,
    refused,
    understood,
    unreachable,
)
from joulemark_gateway.series.victoriametrics import VictoriaMetrics

if TYPE_CHECKING:
    from influxdb_client.client.influxdb_client import InfluxDBClient

KINDS: dict[str, type[VictoriaMetrics | InfluxQl]] = {
    "victoriametrics": VictoriaMetrics,
    "influx": InfluxQl,
}
LINES_A_REQUEST = 5000
_PRECISION = {1: "us", 1000: "ms"}
_CLOSE = 1e-6  # relative and in the unit: what is lost is far less, what is wrong far more

log = logging.getLogger(__name__)


class InfluxSeries:
    """One server, written by one process and read by any."""

    def __init__(
        self, kind: str, server: Server, progress: Path, *, read_back: bool = False
    ) -> None:
        """Nothing is sent yet; the progress is opened, and locked, by the first that writes.

        Args:
            kind: of `KINDS`: how the server is read.
            server: where it is.
            progress: the file that says how far the series is written.
            read_back: read every write back, not only the first.
        """
        self._backend: Backend = KINDS[kind](server)
        self._server, self._path = server, progress
        self._progress: Progress | None = None
        self._client: InfluxDBClient | None = None
        self._read_back, self._is_checked = read_back, False

    def progress(self) -> dict[str, tuple[int, Carry]]:
        """Up to which leaf each tree is written, and what the next rows need.

        Raises:
            StoreError: another process writes this series (`series_held`), or the server or the
                file cannot be used.
        """
        return self._opened().trees()

    def write(self, parts: Sequence[Part]) -> None:
        """Add the rows, then the progress; writing the same parts again changes nothing.

        Raises:
            StoreError: the progress is as before; of the rows none are written, or some.
        """
        progress = self._opened()
        tick_us = self._backend.tick_us
        until_us = time.time_ns() // 1000 + self._backend.horizon_us
        made = [lines_of(part, tick_us=tick_us, until_us=until_us) for part in parts]
        marks = {
            part.origin: (part.size, lines.newest_us)
            for part, lines in zip(parts, made, strict=True)
            if lines.newest_us is not None
        }
        for day in by_day([line for lines in made for line in lines.lines], tick_us):
            self._send(day)
        self._send([tree_line(origin, *mark, tick_us=tick_us) for origin, mark in marks.items()])
        if self._read_back or not self._is_checked:
            self._check(parts, until_us)
            self._is_checked = True
        progress.keep({part.origin: (part.size, part.carry) for part in parts}, marks)
        _tell(parts, made)

    def reset(self, sites: Iterable[str]) -> None:
        """Forget the progress of these sites, then delete their rows.

        Raises:
            StoreError: as `progress`; or the server deletes nothing.
        """
        progress = self._opened()
        wanted = set(sites)
        known = {origin for origin in progress.origins() if parse_origin(origin)[0] in wanted}
        progress.forget(known)
        self._backend.settle()
        for site in sorted(wanted):
            if self.latest(site):
                self._backend.drop(site)

    def keep_saving(self, site: str, project: str, days: SavingDays) -> None:
        """Have the days of a project on the server as they are here, and no others of it.

        What is there already is not written again, and the progress of the evidence plays no part.

        Raises:
            StoreError: `series_unkept`, they are not there afterwards; or as with every method.
        """
        there = self._saving(site, project)
        is_other = there.beyond(days) or (
            not self._backend.replaces and bool(there.lacking(days).any())
        )
        if is_other:
            self._backend.drop_saving(site, project)
            there = there.chosen(np.zeros(there.start_us.size, np.bool_))
        new = days.chosen(days.lacking(there))
        if not new.start_us.size:
            return
        self._send(saving_lines(site, project, new, tick_us=self._backend.tick_us))
        if days.lacking(self._saving(site, project)).any():
            place = (site, project, "saving")
            raise self._unkept(place, "days are missing; its retention may be too short")

    def _saving(self, site: str, project: str) -> SavingDays:
        self._backend.settle()
        with understood(self._server):
            labels = {"site": site, "project": project}
            t_us, columns = self._backend.rows(SAVING, labels, FIELDS, (0, LATEST_US))
        is_whole = ~np.isnan(np.array(list(columns.values()))).any(axis=0)  # else it just comes
        return SavingDays.of(
            t_us[is_whole], {name: column[is_whole] for name, column in columns.items()}
        )

    def settle(self) -> None:
        """Make what was written visible to reads."""
        self._backend.settle()

    def samples(self, site: str, device: str, point: str, start_us: int, end_us: int) -> Samples:
        """The samples of a point in [start, end); what was just written may take a second to show.

        Raises:
            StoreError: the series cannot be read; so with every method here.
        """
        with understood(self._server):
            return self._backend.samples(site, device, point, start_us, end_us)

    def amounts(self, site: str, device: str, point: str, start_us: int, end_us: int) -> Amounts:
        """What a counter counted in the steps that begin in [start, end)."""
        with understood(self._server):
            return self._backend.amounts(site, device, point, start_us, end_us)

    def latest(self, site: str) -> list[Latest]:
        """The newest sample of every point of the site, by device and point."""
        with understood(self._server):
            return self._backend.latest(site)

    def extent(self, site: str, device: str) -> tuple[int, int] | None:
        """The times of the first and the last sample of a device; None: there is none. [us UTC]"""
        with understood(self._server):
            return self._backend.extent(site, device)

    def begun_us(self, site: str, device: str) -> int | None:
        """The time of the first sample of a device: a server forgets all of a time at once."""
        extent = self.extent(site, device)
        return None if extent is None else extent[0]

    def close(self) -> None:
        """Release the connections and the progress."""
        if self._client is not None:
            self._client.close()  # type: ignore[no-untyped-call]  # theirs
        if self._progress is not None:
            self._progress.close()
        self._backend.close()

    def _opened(self) -> Progress:
        """The progress, without the trees that the server has lost."""
        if self._progress is None:
            progress = Progress(self._path, self._server.name)
            try:
                self._backend.settle()
                with understood(self._server):
                    lost = [
                        origin
                        for origin, (size, t_us) in progress.marks().items()
                        if (self._backend.mark(origin, t_us) or 0) < size
                    ]
                progress.forget(lost)
            except BaseException:
                progress.close()
                raise
            if lost:
                log.warning("series_lost", extra={"trees": lost, "server": self._server.url})
            self._progress = progress
        return self._progress

    def _send(self, lines: list[str]) -> None:
        from influxdb_client.client.write_api import SYNCHRONOUS  # noqa: PLC0415 -- heavy
        from influxdb_client.rest import ApiException  # noqa: PLC0415
        from urllib3.exceptions import HTTPError  # noqa: PLC0415

        writer = self._writer().write_api(write_options=SYNCHRONOUS)
        place: dict[str, Any] = {"bucket": self._server.bucket, "org": self._server.org}
        place["write_precision"] = _PRECISION[self._backend.tick_us]
        try:
            for start in range(0, len(lines), LINES_A_REQUEST):
                some = "\n".join(lines[start : start + LINES_A_REQUEST])
                writer.write(**place, record=some.encode())  # of a list it looks at each line
        except ApiException as error:
            raise refused(self._server, error.status, error.body) from error
        except HTTPError as error:
            raise unreachable(self._server, error) from error

    def _writer(self) -> InfluxDBClient:
        from influxdb_client.client.influxdb_client import InfluxDBClient  # noqa: PLC0415 -- heavy

        if self._client is None:
            server = self._server
            self._client = InfluxDBClient(
                server.url, token=server.token, org=server.org, timeout=int(TIMEOUT_S * 1000)
            )
        return self._client

    def _check(self, parts: Sequence[Part], until_us: int) -> None:
        """Read back what was just written.

        Raises:
            StoreError: `series_unkept`, it is not there as it was written.
        """
        self._backend.settle()
        for part in parts:
            site, device, _ = parse_origin(part.origin)
            for point in sorted(set(part.points.point.tolist())):
                self._check_point(part, (site, device, point), until_us)
            for point in sorted(set(part.intervals.point.tolist())):
                self._check_counter(part, (site, device, point), until_us)
            for table in part.others:
                self._check_table(table, (site, device), until_us)

    def _check_table(self, table: Rows, place: tuple[str, str], until_us: int) -> None:
        labels = [dict(zip(table.tags, row, strict=True)) for row in _chosen(table.tags)] or [{}]
        tick_us = self._backend.tick_us
        for one in labels:
            ours = table.t_us <= until_us
            for name, value in one.items():
                ours &= table.tags[name] == value
            if not ours.any():
                continue
            t_us = table.t_us[ours] // tick_us * tick_us
            known = {"site": place[0], "device": place[1], **one}
            span_us = int(t_us.min()), int(t_us.max()) + tick_us
            where = (*place, table.measurement)
            fields = [name for name, column in table.fields.items() if not np.isnan(column).any()]
            with understood(self._server):
                there_us, found = self._backend.rows(table.measurement, known, fields, span_us)
            index = np.searchsorted(there_us, t_us)
            if not _has(there_us, index, t_us):
                raise self._unkept(where, "rows are missing; its retention may be too short")
            for name in fields:
                wanted = table.fields[name][ours]
                if not np.isclose(found[name][index], wanted, rtol=_CLOSE, atol=_CLOSE).all():
                    raise self._unkept(
                        where, f"other numbers of {name} came back than were written"
                    )

    def _check_point(self, part: Part, place: tuple[str, str, str], until_us: int) -> None:
        points = part.points
        ours = (points.point == place[2]) & (points.t_utc_us <= until_us) & ~np.isinf(points.value)
        if not ours.any():
            return
        tick_us = self._backend.tick_us
        t_us = points.t_utc_us[ours] // tick_us * tick_us
        span_us = int(t_us.min()), int(t_us.max()) + tick_us
        there = self.samples(*place, *span_us)
        index = np.searchsorted(there.t_utc_us, t_us)
        if not _has(there.t_utc_us, index, t_us):
            raise self._unkept(place, "rows are missing; its retention may be too short")
        value, quality = points.value[ours], points.quality[ours]
        is_same = np.isclose(there.value[index], value, rtol=_CLOSE, atol=_CLOSE, equal_nan=True)
        if not (is_same & (there.quality[index] == quality)).all():
            raise self._unkept(place, "other numbers came back than were written")
        with understood(self._server):
            is_twice = self._backend.repeats(*place, *span_us)
        if is_twice:
            raise self._unkept(
                place, "it keeps rows twice; start it with -dedup.minScrapeInterval=1ms"
            )

    def _check_counter(self, part: Part, place: tuple[str, str, str], until_us: int) -> None:
        rows = part.intervals
        ours = (rows.point == place[2]) & (rows.start_us <= until_us)
        if not ours.any():
            return
        start_us = rows.start_us[ours]
        there = self.amounts(*place, int(start_us.min()), int(start_us.max()) + 1)
        index = np.searchsorted(there.start_us, start_us)
        if not _has(there.start_us, index, start_us):
            raise self._unkept(place, "intervals are missing; its retention may be too short")
        amount = rows.amount[ours].astype(np.float64)
        is_same = np.isclose(there.amount[index], amount, rtol=_CLOSE, atol=0.0)
        if not (is_same & (there.end_us[index] == rows.end_us[ours])).all():
            raise self._unkept(place, "other intervals came back than were written")

    def _unkept(self, place: tuple[str, str, str], what: str) -> StoreError:
        return StoreError(
            f"The series server {self._server.url} did not keep {'/'.join(place)} as it was "
            f"written: {what}.",
            "Correct the server, then run 'joulemark series rebuild'; the evidence is whole.",
            code="series_unkept",
        )


def _chosen(tags: Mapping[str, Texts]) -> set[tuple[str, ...]]:
    return set(zip(*(column.tolist() for column in tags.values()), strict=True))


def _has(there: Any, index: Any, wanted: Any) -> bool:
    """Whether every time wanted is there, at its index."""
    if there.size == 0 or index.max() >= there.size:
        return False
    return bool((there[index] == wanted).all())


def _tell(parts: Sequence[Part], made: Sequence[Lines]) -> None:
    """Say what the server cannot hold as it is."""
    for part, lines in zip(parts, made, strict=True):
        if lines.left_out or lines.rounded:
            counts = {"left_out": lines.left_out, "rounded": lines.rounded}
            log.warning("series_inexact", extra={"tree": part.origin, **counts})
