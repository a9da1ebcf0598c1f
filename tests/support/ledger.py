"""What the ledger says of the demo's devices in any windows, without the series: to compare with.

Leaves are parsed and decoded anew from their raw words; energy is cut as measurement cuts it. Each
answer is a column a line of a panel, one number a window, NaN where there is none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from joulemark_agent.contract.canonical import parse_canonical
from joulemark_agent.contract.factor import FactorSet
from joulemark_agent.contract.signature import parse_note
from joulemark_gateway.evidence import history
from joulemark_gateway.evidence.history import DeviceHistory, Tree
from joulemark_gateway.evidence.store import SqliteStore
from joulemark_gateway.measure.intervals import Counted, Totals, counted

Edges = NDArray[np.int64]
Column = NDArray[np.float64]
QUARTER_US, MS_US = 900_000_000, 1000
US_PER_H = 3_600_000_000


@dataclass(eq=False)
class Device:
    """One device, from its first leaves."""

    tree: Tree
    documents: dict[str, bytes]
    notes: dict[int, str]  # by size
    counters: dict[str, Counted] = field(default_factory=dict)

    @cached_property
    def history(self) -> DeviceHistory:
        """Decoded anew."""
        return history.history_of(self.tree, self.documents)

    @property
    def id(self) -> str:
        return self.tree.device

    def has(self, point: str) -> bool:
        return any(one.name == point for one in self.history.profile.points)

    def totals(self, point: str, edges: Edges) -> Totals:
        """What measurement counts in each window."""
        if point not in self.counters:
            self.counters[point] = counted(self.history, self.history.profile.point(point))
        return self.counters[point].totals(edges)

    def amount(self, point: str, edges: Edges) -> Column:
        found = self.totals(point, edges)
        return np.where(found.covered_us + found.estimated_us > 0, found.total, np.nan)

    def power(self, point: str, edges: Edges) -> Column:
        found = self.totals(point, edges)
        known_us = (found.covered_us + found.estimated_us).astype(float)
        return found.total * (US_PER_H / np.where(known_us > 0, known_us, np.nan))

    def peak(self, point: str, edges: Edges) -> Column:
        """The highest quarter-hour of each window."""
        return folded(edges, lambda quarters: self.power(point, quarters), np.fmax)

    def co2e(self, edges: Edges) -> dict[str, Column]:
        """By factor: the energy of each quarter-hour with the factor of its local day. [kg]"""
        found: dict[str, Column] = {}
        for name, is_used, kg_per_kwh in self._factors(edges):
            energy = self._energy_under(is_used, edges)
            found[name] = energy / 1000 * kg_per_kwh
        return found

    def energy_with_factor(self, edges: Edges) -> dict[str, Column]:
        return {name: self._energy_under(used, edges) for name, used, _ in self._factors(edges)}

    def factors(self, edges: Edges) -> dict[str, Column]:
        """Their values, where some energy has them. [kg/kWh]"""
        return {
            name: np.where(np.isnan(self._energy_under(used, edges)), np.nan, kg_per_kwh)
            for name, used, kg_per_kwh in self._factors(edges)
        }

    def _energy_under(self, is_used: Callable[[int], bool], edges: Edges) -> Column:
        def energy(quarters: Edges) -> Column:
            used = np.array([is_used(int(t)) for t in quarters[:-1]])
            return np.where(used, self.amount("energy_wh", quarters), np.nan)

        return folded(edges, energy, added)

    def _factors(self, edges: Edges) -> Iterable[tuple[str, Callable[[int], bool], float]]:
        named = self.tree.grant["documents"]
        choice = parse_canonical(self.documents[named["site"]])["factors"]
        known = FactorSet.model_validate(parse_canonical(self.documents[named["factors"]]))
        zone = ZoneInfo(self.history.time_zone)
        first, last = (datetime.fromtimestamp(int(t) / 1e6, zone).date() for t in edges[[0, -1]])
        for one in known.factors:
            is_chosen = choice["rule_set"] in one.rule_sets
            is_here = choice["jurisdiction"] == one.jurisdiction
            if is_chosen and is_here and one.valid_from <= last and first < one.valid_to:
                begin, end = (
                    int(datetime(d.year, d.month, d.day, tzinfo=zone).timestamp()) * 1_000_000
                    for d in (one.valid_from, one.valid_to)
                )
                yield one.id, _between(begin, end), float(one.factor_kg_per_kwh)

    def mean(self, point: str, edges: Edges) -> Column:
        """Of the values in (edge, next edge]."""
        total, count = self._values(point, edges)
        return np.where(count > 0, total / np.where(count > 0, count, 1), np.nan)

    def _values(self, point: str, edges: Edges) -> tuple[Column, Column]:
        rows = [
            (record.t_utc_us, float(record.values[point]))
            for record in self.tree.records
            if point in record.values and record.quality.get(point) != "not_due"
        ]
        return _summed(rows, edges)

    def not_good(self, edges: Edges) -> dict[str, Column]:
        """How many readings of each point are not good; NaN where all are."""
        found: dict[str, list[tuple[int, float]]] = {}
        for record in self.tree.records:
            for point, code in record.quality.items():
                if code != "not_due":
                    found.setdefault(point, []).append((record.t_utc_us, 1.0))
        return {point: _or_nan(*_summed(rows, edges)) for point, rows in found.items()}

    def figure(self, name: str, edges: Edges, part: str = "value") -> Column:
        """The last that was stated in (edge, next edge]."""
        column = np.full(edges.size - 1, np.nan)
        for end_us, figures in self._figures():
            value = figures.get(name, {}).get(part)
            if value is not None and (k := _place(end_us, edges)) is not None:
                column[k] = float(value)
        return column

    def figures(self, names: Iterable[str], edges: Edges) -> dict[str, Column]:
        """The sums of what was stated."""
        found = {}
        for name in names:
            rows = [
                (end_us, float(figures[name]["value"]))
                for end_us, figures in self._figures()
                if name in figures and figures[name]["value"] is not None
            ]
            found[f"kpi_{name}"] = _or_nan(*_summed(rows, edges))
        return found

    def flagged(self, edges: Edges) -> dict[str, Column]:
        """How many windows state a figure with a flag."""
        found: dict[str, list[tuple[int, float]]] = {}
        for end_us, figures in self._figures():
            for name, figure in figures.items():
                if figure["flags"] and figure["value"] is not None:
                    found.setdefault(f"kpi_{name}", []).append((end_us, 1.0))
        return {name: _or_nan(*_summed(rows, edges)) for name, rows in found.items()}

    def _figures(self) -> list[tuple[int, dict[str, dict[str, str]]]]:
        return [(int(e.fields["end"]), dict(e.fields["figures"])) for e in self.tree.figures]

    @property
    def slots_us(self) -> Edges:
        return self.history.slot_us

    def received(self, edges: Edges) -> Column:
        return _counts(self.slots_us, edges)

    def expected(self, edges: Edges) -> Column:
        """From the grid alone, from the first slot that the grant names to the last that came."""
        first = self.tree.grant["first_slot"]
        first_us = int(self.slots_us[0] if first is None else first)
        grid = np.arange(first_us, int(self.slots_us[-1]) + 1, self.history.period_us)
        return _counts(grid, edges)

    def unsynchronised(self, edges: Edges) -> Column:
        return _where_read(self.slots_us, self.history.unsynchronised.astype(float), edges)

    def batches(self, edges: Edges) -> dict[str, Column]:
        """What envelopes and notes say of the batches whose last slot lies in each window."""
        rows, first = [], 0
        for envelope in self.tree.envelopes:
            size, last = envelope.seq + 1, envelope.fields["last_slot"]
            bodies = [line.body for line in parse_note(self.notes[size])[1]]
            times = [int.from_bytes(body[:8]) for body in bodies if len(body) == 72]
            leaves, readings = size - first, envelope.fields["records"]
            first = size
            if last is not None:
                rows.append((int(last), size, leaves, readings, len(times), max(times)))
        table = np.array(rows, np.int64)
        names = ("size", "leaves", "readings", "cosignatures", "cosigned_s")
        how: tuple[Any, ...] = (np.fmax, added, added, np.fmin, np.fmax)
        found = {name: np.full(edges.size - 1, np.nan) for name in names}
        for row in table:
            k = int(np.searchsorted(edges, row[0], side="right")) - 1
            if 0 <= k < edges.size - 1:
                for name, value, function in zip(names, row[1:], how, strict=True):
                    found[name][k] = function(found[name][k], float(value))
        return found


def devices_of(store: SqliteStore, site: str, most: int) -> dict[str, Device]:
    """The devices of a site, each from its first so many leaves."""
    documents, found = store.documents(), {}
    for head in store.heads():
        size = min(head.size, most)
        leaves = store.parts(head.origin, 0, size)
        tree = history.parse_part(leaves, 0, head.grant, head.operator_signature)
        if tree.site == site:
            notes = {batch.size: batch.note for batch in store.batches(head.origin)}
            found[tree.device] = Device(tree, documents, notes)
    return found


def added(one: Column, other: Column) -> Column:
    """The sum, in which what is not there adds nothing; NaN where neither is."""
    neither = np.isnan(one) & np.isnan(other)
    return np.where(neither, np.nan, np.nan_to_num(one) + np.nan_to_num(other))


def folded(
    edges: Edges, of_quarters: Callable[[Edges], Column], fold: Callable[[Column, Column], Column]
) -> Column:
    """What the quarter-hours of each window make together."""
    column = np.full(edges.size - 1, np.nan)
    quarters = np.arange(edges[0], edges[-1] + 1, QUARTER_US)
    value = of_quarters(quarters)
    place = np.searchsorted(edges, quarters[:-1], side="right") - 1
    for k in range(column.size):
        for one in value[place == k]:
            column[k] = fold(column[k], one)
    return column


def _between(begin: int, end: int) -> Callable[[int], bool]:
    return lambda t_us: begin <= t_us < end


def _place(t_us: int, edges: Edges) -> int | None:
    """The window (edge, next edge] of a time, which servers keep to the millisecond."""
    k = int(np.searchsorted(edges, t_us // MS_US * MS_US, side="left")) - 1
    return k if 0 <= k < edges.size - 1 else None


def _summed(rows: list[tuple[int, float]], edges: Edges) -> tuple[Column, Column]:
    total, count = np.zeros(edges.size - 1), np.zeros(edges.size - 1)
    for t_us, value in rows:
        if (k := _place(t_us, edges)) is not None:
            total[k] += value
            count[k] += 1
    return total, count


def _or_nan(total: Column, count: Column) -> Column:
    return np.where(count > 0, total, np.nan)


def _counts(slots_us: Edges, edges: Edges) -> Column:
    return _where_read(slots_us, np.ones(slots_us.size), edges)


def _where_read(slots_us: Edges, values: Column, edges: Edges) -> Column:
    """The sum over the slots in [edge, next edge); NaN where there is none."""
    k = np.searchsorted(edges, slots_us, side="right") - 1
    inside = (k >= 0) & (k < edges.size - 1)
    total = np.bincount(k[inside], values[inside], edges.size - 1)
    count = np.bincount(k[inside], minlength=edges.size - 1)
    return np.where(count > 0, total, np.nan)


def us(text: str) -> int:
    """An instant of a view. [us UTC]"""
    return int(datetime.fromisoformat(text).astimezone(UTC).timestamp()) * 1_000_000
