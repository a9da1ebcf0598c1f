"""VictoriaMetrics: raw rows by /api/v1/export, the newest by MetricsQL.

Start it with `-retentionPeriod` no shorter than the evidence (its default is one month) and with
`-dedup.minScrapeInterval=1ms` (a row that is written twice is then kept once). It keeps
milliseconds, so a sample loses the microseconds of its time. It keeps numbers as decimals: whole
numbers to 2^53 and decimals of up to 10 digits come back as they were, others within 1e-12 of
their size (or 1e-16 of the largest number near them in the series, if that is more). It drops rows
more than two days in the future.

A field of a measurement is a series of its own: joulemark_point_value{site, device, point}.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from joulemark_agent.contract.errors import StoreError
from joulemark_agent.contract.topics import parse_origin
from joulemark_gateway.series.base import INSIDE_US, Amounts, Integers, Latest, Samples
from joulemark_gateway.series.lines import INTERVAL, POINT, TREE
from joulemark_gateway.series.savings import LATEST_US, SAVING
from joulemark_gateway.series.servers import Http, Server, Span
from joulemark_gateway.series.tables import MEASUREMENTS

US_PER_MS = 1000
US_PER_S = 1_000_000
SETTLED_S = 2.0
_HORIZON_S = 2 * 86_400
_BEFORE_S = 365 * 86_400  # nothing was measured in 1970; a span that begins there gives no answer

_Column = tuple[Integers, NDArray[np.float64]]  # times in ms, values
_NONE: _Column = (np.empty(0, np.int64), np.empty(0))


class VictoriaMetrics:
    """One server."""

    tick_us = US_PER_MS
    horizon_us = _HORIZON_S * US_PER_S - 60 * US_PER_S
    replaces = False

    def __init__(self, server: Server) -> None:
        """Nothing is sent yet."""
        self._http = Http(server)

    def samples(self, site: str, device: str, point: str, start_us: int, end_us: int) -> Samples:
        """The samples of a point in [start, end).

        Raises:
            StoreError: the series cannot be read; so with every method here.
        """
        found = self._export(POINT, start_us, end_us, site=site, device=device, point=point)
        t_ms, quality = found.get("quality", _NONE)
        value = np.full(t_ms.size, np.nan)
        there_ms, there = found.get("value", _NONE)
        is_there = np.isin(t_ms, there_ms)
        value[is_there] = there[np.isin(there_ms, t_ms)]
        t_us = t_ms * US_PER_MS
        inside = (t_us >= start_us) & (t_us < end_us)
        return Samples(t_us[inside], value[inside], quality[inside].astype(np.uint8))

    def amounts(self, site: str, device: str, point: str, start_us: int, end_us: int) -> Amounts:
        """What a counter counted in the steps that begin in [start, end)."""
        span_us = start_us + INSIDE_US, end_us + INSIDE_US
        found = self._export(INTERVAL, *span_us, site=site, device=device, point=point)
        columns = [
            found.get(name, _NONE)
            for name in ("amount", "covered_us", "estimated_us", "missing_us")
        ]
        t_ms = columns[0][0]
        for there_ms, _ in columns:  # of rows that are just becoming visible, only the whole ones
            t_ms = t_ms[np.isin(t_ms, there_ms)]
        begins_us = t_ms * US_PER_MS - INSIDE_US
        t_ms = t_ms[(begins_us >= start_us) & (begins_us < end_us)]
        amount, *times = (values[np.isin(there_ms, t_ms)] for there_ms, values in columns)
        covered, estimated, missing = (values.astype(np.int64) for values in times)
        begins_us = t_ms * US_PER_MS - INSIDE_US
        ends_us = begins_us + covered + estimated + missing
        return Amounts(begins_us, ends_us, amount, covered, estimated, missing)

    def latest(self, site: str) -> list[Latest]:
        """The newest sample of every point of the site, by device and point."""
        at_s, span = _everything()
        parts = [
            f'label_set({function}({POINT}_{field}{_labels(site=site)}[{span}]), "what", "{what}")'
            for what, function, field in (
                ("t_s", "tlast_over_time", "quality"),
                ("quality", "last_over_time", "quality"),
                ("value_t_s", "tlast_over_time", "value"),
                ("value", "last_over_time", "value"),
            )
        ]
        found: dict[tuple[str, str], dict[str, float]] = {}
        for row in self._query(f"union({', '.join(parts)})", at_s):
            labels = row["metric"]
            place = found.setdefault((labels["device"], labels["point"]), {})
            place[labels["what"]] = float(row["value"][1])
        return [
            Latest(
                *place,
                _us(row["t_s"]),
                row.get("value") if row.get("value_t_s") == row["t_s"] else None,
                int(row["quality"]),
            )
            for place, row in sorted(found.items())
            if {"t_s", "quality"} <= row.keys()
        ]

    def extent(self, site: str, device: str) -> tuple[int, int] | None:
        """The times of the first and the last sample of a device; None: there is none. [us UTC]"""
        at_s, span = _everything()
        rows = f"{POINT}_quality{_labels(site=site, device=device)}[{span}]"
        first = self._query(f"min(tfirst_over_time({rows}))", at_s)
        last = self._query(f"max(tlast_over_time({rows}))", at_s)
        if not first or not last:
            return None
        return _us(float(first[0]["value"][1])), _us(float(last[0]["value"][1]))

    def begun_us(self, site: str, device: str) -> int | None:
        """The time of the first sample of a device: a server forgets all of a time at once."""
        extent = self.extent(site, device)
        return None if extent is None else extent[0]

    def settle(self) -> None:
        """Make what was written visible to reads, which takes up to a second by itself."""
        try:
            self._http.ask("GET", "/internal/force_flush", {})
        except StoreError:  # it is behind a key, or a proxy
            time.sleep(SETTLED_S)

    def repeats(self, site: str, device: str, point: str, start_us: int, end_us: int) -> bool:
        """Whether it keeps two samples of one time."""
        labels = {"site": site, "device": device, "point": point}
        rows = self._exported(POINT, start_us, end_us, labels)
        times = [
            row["timestamps"] for row in rows if row["metric"]["__name__"] == f"{POINT}_quality"
        ]
        joined = [t_ms for part in times for t_ms in part]
        return len(set(joined)) < len(joined)

    def mark(self, origin: str, t_us: int) -> int | None:
        """The size that `lines.tree_line` said at this time."""
        site, device, epoch = parse_origin(origin)
        t_us = t_us // US_PER_MS * US_PER_MS
        found = self._export(
            TREE, t_us, t_us + US_PER_MS, site=site, device=device, epoch=str(epoch)
        )
        t_ms, size = found.get("size", _NONE)
        size = size[t_ms == t_us // US_PER_MS]
        return int(size[-1]) if size.size else None

    def drop(self, site: str) -> None:
        """Delete every row of a site."""
        self.settle()  # what is not visible yet would not be found
        names = "|".join((POINT, INTERVAL, TREE, *MEASUREMENTS))
        self._delete(f"(?:{names})_.*", site=site)

    def rows(
        self, measurement: str, labels: Mapping[str, str], fields: Sequence[str], span_us: Span
    ) -> tuple[Integers, dict[str, NDArray[np.float64]]]:
        """The rows of a measurement that stand in [start, end): times, and each field by name."""
        start_us, end_us = span_us
        found = self._export(measurement, start_us, end_us, **labels)
        t_ms = found.get(fields[0], _NONE)[0]
        t_us = t_ms * US_PER_MS
        t_ms = t_ms[(t_us >= span_us[0]) & (t_us < span_us[1])]
        columns = {}
        for name in fields:
            there_ms, values = found.get(name, _NONE)
            columns[name] = np.full(t_ms.size, np.nan)
            columns[name][np.isin(t_ms, there_ms)] = values[np.isin(there_ms, t_ms)]
        return t_ms * US_PER_MS, columns

    def drop_saving(self, site: str, project: str) -> None:
        """Delete every day of a project."""
        self.settle()
        self._delete(f"{SAVING}_.*", site=site, project=project)

    def _delete(self, names: str, **labels: str) -> None:
        match = _labels(f'__name__=~"{names}"', **labels)
        self._http.ask("POST", "/api/v1/admin/tsdb/delete_series", {"match[]": match})

    def close(self) -> None:
        """Release the connections."""
        self._http.close()

    def _export(
        self, measurement: str, start_us: int, end_us: int, **labels: str
    ) -> dict[str, _Column]:
        """The rows of a measurement by field, ordered, each time once."""
        found = {}
        for row in self._exported(measurement, start_us, end_us, labels):
            t_ms = np.array(row["timestamps"], np.int64)
            t_ms, index = np.unique(t_ms, return_index=True)
            field = row["metric"]["__name__"].removeprefix(f"{measurement}_")
            found[field] = (t_ms, np.array(row["values"], np.float64)[index])
        return found

    def _exported(
        self, measurement: str, start_us: int, end_us: int, labels: dict[str, str]
    ) -> list[dict[str, Any]]:
        name = f'__name__=~"{measurement}_.*"'
        fields = {
            "match[]": _labels(name, **labels),
            "start": _seconds(max(start_us, 0)),
            "end": _seconds(min(max(end_us, 0), LATEST_US)),
        }
        body = self._http.ask("GET", "/api/v1/export", fields)
        return [json.loads(line) for line in body.splitlines()]

    def _query(self, query: str, at_s: int) -> list[dict[str, Any]]:
        """The rows of an instant query; without `nocache` it moves a time close to now."""
        fields = {"query": query, "time": str(at_s), "nocache": "1"}
        answer = json.loads(self._http.ask("POST", "/api/v1/query", fields))
        if answer.get("status") != "success":
            raise StoreError(
                f"The series server answered: {str(answer)[:300]}.",
                "Check that series.kind is the kind of the server.",
                code="series",
            )
        rows: list[dict[str, Any]] = answer["data"]["result"]
        return rows


def _labels(*given: str, **labels: str) -> str:
    """A selector; ids and names of points need no more than quotes."""
    return "{" + ",".join([*given, *(f"{k}={json.dumps(v)}" for k, v in labels.items())]) + "}"


def _everything() -> tuple[int, str]:
    """An instant after every row the server keeps, and a span back to before the first."""
    at_s = int(time.time()) + _HORIZON_S
    return at_s, f"{at_s - _BEFORE_S}s"


def _us(t_s: float) -> int:
    """Whole milliseconds, out of seconds in a double."""
    return round(t_s * 1000) * US_PER_MS


def _seconds(t_us: int) -> str:
    """A time as the server reads it."""
    return f"{t_us // US_PER_S}.{t_us % US_PER_S // US_PER_MS:03}"
