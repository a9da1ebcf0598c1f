"""Series that tests fill from evidence, and the numbers of the ledger to compare them with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from joulemark_agent.contract.batch import Batch
from joulemark_gateway.evidence.store import SqliteStore
from joulemark_gateway.series.base import Amounts, Part, Samples, SeriesReader
from support.book import NOW_US, Book
from support.evidence import (
    COUNTER,
    METER,
    SITE,
    Documents,
    build_tree,
    counter_readings,
    meter_readings,
    with_gap,
)

ALWAYS_US = (0, 2**52)


def fill(store: SqliteStore, *trees: Sequence[Batch]) -> None:
    """Put trees into a store."""
    book = Book()
    for batch in (batch for tree in trees for batch in tree):
        verdict, note = book.accepted(batch)
        store.accept(verdict, note=note, received_us=NOW_US)


def some_trees(docs: Documents, n: int = 40, cut: int = 7) -> tuple[list[Batch], list[Batch]]:
    """A meter with a frozen reading and a gap, and a counter."""
    meter = with_gap(meter_readings(docs, [100 + i for i in range(n)], frozen=[5]), 20, 3)
    counter = counter_readings(docs, [10 + i for i in range(n)])
    return (
        build_tree(docs, METER, meter, slots_per_batch=cut),
        build_tree(docs, COUNTER, counter, slots_per_batch=cut),
    )


def rows_of(columns: Samples | Amounts) -> list[tuple[Any, ...]]:
    """The columns as rows; None where there is no value."""
    lists = [
        [None if math.isnan(value) else value for value in column.tolist()]
        for column in vars(columns).values()
    ]
    return list(zip(*lists, strict=True))


def content(series: SeriesReader, parts: Sequence[tuple[str, Part]]) -> dict[str, Any]:
    """Everything the reads give of the points and counters of these parts, by device."""
    found: dict[str, Any] = {"latest": series.latest(SITE)}
    for device, part in parts:
        found[device] = series.extent(SITE, device)
        for point in sorted(set(part.points.point.tolist())):
            found[f"{device} {point}"] = rows_of(series.samples(SITE, device, point, *ALWAYS_US))
        for point in sorted(set(part.intervals.point.tolist())):
            found[f"{device} {point} amounts"] = rows_of(
                series.amounts(SITE, device, point, *ALWAYS_US)
            )
    return found


def samples_in(part: Part, point: str, tick_us: int = 1) -> Samples:
    """The samples of a point as the ledger has them."""
    ours = part.points.point == point
    t_us = part.points.t_utc_us[ours] // tick_us * tick_us
    order = np.argsort(t_us, kind="stable")
    return Samples(t_us[order], part.points.value[ours][order], part.points.quality[ours][order])


def amounts_in(part: Part, point: str) -> Amounts:
    """What a counter counted as the ledger has it."""
    rows = part.intervals
    ours = np.flatnonzero(rows.point == point)
    ours = ours[np.argsort(rows.start_us[ours], kind="stable")]
    columns = (rows.covered_us, rows.estimated_us, rows.missing_us)
    return Amounts(
        rows.start_us[ours],
        rows.end_us[ours],
        rows.amount[ours].astype(np.float64),
        *(column[ours] for column in columns),
    )
