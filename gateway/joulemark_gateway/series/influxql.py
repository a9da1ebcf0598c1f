"""InfluxDB through InfluxQL, which its versions 1, 2 and 3 answer at /query; never Flux.

It keeps microseconds and doubles, so rows come back as they were written. InfluxDB 2 finds a bucket
by the name of a database (it maps them by itself); InfluxDB 3 deletes no rows: `drop` says what to
do there instead.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from joulemark_agent.contract.errors import StoreError
from joulemark_agent.contract.topics import parse_origin
from joulemark_gateway.series.base import INSIDE_US, Amounts, Integers, Latest, Samples
from joulemark_gateway.series.lines import INTERVAL, POINT, TREE
from joulemark_gateway.series.savings import SAVING
from joulemark_gateway.series.servers import Http, Server, Span
from joulemark_gateway.series.tables import MEASUREMENTS

_FOREVER_US = 200 * 366 * 86_400 * 1_000_000
_ROWS = 50_000  # in one part of an answer


class InfluxQl:
    """One bucket of a server."""

    tick_us = 1
    horizon_us = _FOREVER_US
    replaces = True

    def __init__(self, server: Server) -> None:
        """Nothing is sent yet."""
        self._server = server
        self._http = Http(server)

    def samples(self, site: str, device: str, point: str, start_us: int, end_us: int) -> Samples:
        """The samples of a point in [start, end).

        Raises:
            StoreError: the series cannot be read; so with every method here.
        """
        labels = {"site": site, "device": device, "point": point}
        rows = self._rows("value, quality", POINT, labels, start_us, end_us)
        return Samples(
            np.array([row[0] for row in rows], np.int64),
            np.array([np.nan if row[1] is None else row[1] for row in rows], np.float64),
            np.array([row[2] for row in rows], np.uint8),
        )

    def amounts(self, site: str, device: str, point: str, start_us: int, end_us: int) -> Amounts:
        """What a counter counted in the steps that begin in [start, end)."""
        labels = {"site": site, "device": device, "point": point}
        fields = "amount, covered_us, estimated_us, missing_us"
        rows = self._rows(fields, INTERVAL, labels, start_us + INSIDE_US, end_us + INSIDE_US)
        times = np.array([[row[0], *row[2:]] for row in rows], np.int64).reshape(len(rows), 4).T
        stamp, covered, estimated, missing = times
        begins_us = stamp - INSIDE_US
        amount = np.array([row[1] for row in rows], np.float64)
        ends_us = begins_us + covered + estimated + missing
        return Amounts(begins_us, ends_us, amount, covered, estimated, missing)

    def latest(self, site: str) -> list[Latest]:
        """The newest sample of every point of the site, by device and point."""
        query = (
            f"SELECT value, quality FROM {POINT} WHERE {_where(site=site)} "
            "GROUP BY device, point ORDER BY time DESC LIMIT 1"
        )
        found = [
            Latest(tags["device"], tags["point"], row[0], row[1], int(row[2]))
            for tags, rows in self._query(query)
            for row in rows
            if row[2] is not None  # else it is being written, field by field
        ]
        return sorted(found, key=lambda row: (row.device, row.point))

    def extent(self, site: str, device: str) -> tuple[int, int] | None:
        """The times of the first and the last sample of a device; None: there is none. [us UTC]"""
        where = f"SELECT quality FROM {POINT} WHERE {_where(site=site, device=device)}"
        first, last = (
            [
                row[0]
                for _, rows in self._query(f"{where} ORDER BY time {order} LIMIT 1")
                for row in rows
            ]
            for order in ("ASC", "DESC")
        )
        return (first[0], last[0]) if first and last else None

    def begun_us(self, site: str, device: str) -> int | None:
        """The time of the first sample of a device: a server forgets all of a time at once."""
        extent = self.extent(site, device)
        return None if extent is None else extent[0]

    def settle(self) -> None:
        """What was acknowledged can be read at once."""

    def repeats(self, site: str, device: str, point: str, start_us: int, end_us: int) -> bool:
        """Whether it keeps two samples of one time; it keeps the one written last."""
        del site, device, point, start_us, end_us
        return False

    def mark(self, origin: str, t_us: int) -> int | None:
        """The size that `lines.tree_line` said at this time."""
        site, device, epoch = parse_origin(origin)
        labels = {"site": site, "device": device, "epoch": str(epoch)}
        rows = self._rows("size", TREE, labels, t_us, t_us + 1)
        return int(rows[-1][1]) if rows else None

    def drop(self, site: str) -> None:
        """Delete every row of a site."""
        for measurement in (POINT, INTERVAL, TREE, *MEASUREMENTS):
            self._delete(measurement, f'site="{site}"')

    def rows(
        self, measurement: str, labels: Mapping[str, str], fields: Sequence[str], span_us: Span
    ) -> tuple[Integers, dict[str, NDArray[np.float64]]]:
        """The rows of a measurement that stand in [start, end): times, and each field by name."""
        found = self._rows(", ".join(fields), measurement, labels, *span_us)
        columns = np.array([row[1:] for row in found], np.float64).reshape(-1, len(fields)).T
        t_us = np.array([row[0] for row in found], np.int64)
        return t_us, dict(zip(fields, columns, strict=True))

    def drop_saving(self, site: str, project: str) -> None:
        """Delete every day of a project."""
        self._delete(SAVING, f'site="{site}" AND project="{project}"')

    def _delete(self, measurement: str, condition: str) -> None:
        fields = {"org": self._server.org, "bucket": self._server.bucket}
        content = {
            "start": "1970-01-01T00:00:00Z",
            "stop": "2200-01-01T00:00:00Z",
            "predicate": f'_measurement="{measurement}" AND {condition}',
        }
        try:
            self._http.send("/api/v2/delete", fields, json.dumps(content).encode())
        except StoreError as error:
            raise StoreError(
                error.what,
                "If this server deletes no rows (InfluxDB 3), delete and create the bucket, "
                f"or name a new one in series.bucket, instead of {self._server.bucket!r}.",
                code=error.code,
            ) from error

    def close(self) -> None:
        """Release the connections."""
        self._http.close()

    def _rows(
        self, fields: str, measurement: str, labels: Mapping[str, str], start_us: int, end_us: int
    ) -> list[list[Any]]:
        """Time and fields; a row that is being written, field by field, is not there yet.

        Of a sample only the value may be absent for good; it stands first. Of the tables any field
        may be, but the first.
        """
        query = (
            f"SELECT {fields} FROM {measurement} WHERE {_where(**labels)} AND "
            f"time >= {start_us}u AND time < {end_us}u"
        )
        first = 2 if measurement == POINT else 1
        needed = slice(1, 2) if measurement in MEASUREMENTS else slice(first, None)
        found = (row for _, rows in self._query(query) for row in rows)
        return [row for row in found if None not in row[needed]]

    def _query(self, query: str) -> Iterator[tuple[dict[str, str], list[list[Any]]]]:
        """The tags and rows of each series of an answer, which comes in parts."""
        fields = {
            "db": self._server.bucket,
            "q": query,
            "epoch": "u",
            "chunked": "true",
            "chunk_size": str(_ROWS),
        }
        for line in self._http.ask("GET", "/query", fields).splitlines():
            for result in json.loads(line).get("results", []):
                if "error" in result:
                    raise StoreError(
                        f"The series server answered: {str(result['error'])[:300]}.",
                        "Check series.kind and series.bucket.",
                        code="series",
                    )
                for found in result.get("series", []):
                    yield found.get("tags", {}), found["values"]


def _where(**labels: str) -> str:
    """A condition; ids and names of points hold no quote, and one would be refused."""
    for text in labels.values():
        if "'" in text or "\\" in text:
            raise StoreError(
                f"{text[:80]!r} is not the name of a site, device or point.",
                "Use a name the site has.",
                code="series",
            )
    return " AND ".join(f"\"{name}\" = '{text}'" for name, text in labels.items())
