"""A site's electricity from several meters: what its sun gave, what was used, what does not fit.

Power runs straight from one sample to the next of a meter, so that what crosses zero between two
samples is split where it crosses: import and export do not cancel inside a sample. (Machines that
switch are counted by holding each value, see `base.py`; a balance compares meters whose samples
fall on different instants, and needs a value of each at all of them.)

Generation is what inverters give; what they draw at night is consumption. Used on site is, at every
instant, the smaller of generation and consumption, so that with consumption taken from the main
meter generation is exactly what was used plus what was exported. Everything is told over the time
that all meters cover.

With meters of all three roles the balance must close: generation + import - export - consumption is
0 within what the meters may be wrong by. It is told as it is, and never made to close.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from joulemark_agent.equipment.base import (
    US_PER_H,
    Analysis,
    Figure,
    Finding,
    Samples,
    Span,
    Times,
    Values,
    absent,
    measured,
)
from joulemark_agent.equipment.metering import Metering, metered, stated
from joulemark_agent.physics.budget import Amount, linear

Role = Literal["pv", "grid", "load"]
Shape = Literal["whole", "given", "taken"]  # net; what is above 0; what is below 0, as positive
_Amounts = Mapping[tuple[Role, Shape], tuple[Amount | None, ...]]  # of each window

_COVERAGE_FACTOR = 2.0
_DAY_US = 24 * US_PER_H


@dataclass(frozen=True, eq=False)
class SiteMeter:
    """One meter. Its power is positive as its role says, on the primary side of its transformers.

    pv: out of the inverter; grid: into the site (import); load: consumed.
    """

    name: str
    role: Role
    samples: Samples
    power: str  # point [W]
    metering: Metering | None = None
    is_reversed: bool = False  # it counts the other way round

    @property
    def power_w(self) -> Values:
        """The power as its role says, NaN where it is not known."""
        column = self.samples.column(self.power)
        if column is None:
            return np.full(self.samples.t_us.size, np.nan)
        return -column if self.is_reversed else column


@dataclass(frozen=True, eq=False)
class _Energies:
    """What each window holds, over the time that all meters cover; shape (w,) each. [Wh]"""

    covered_us: Values
    generated: Values
    drawn: Values  # by inverters, as negative energy
    imported: Values
    exported: Values
    consumed: Values  # with what inverters drew
    used: Values  # of the generation, on the site
    balance: Values


def site_balance(meters: Sequence[SiteMeter], edges_us: Times) -> Analysis:
    """Generation, import, export, consumption and use on site of windows, and of them all.

    Args:
        meters: of one site: all inverters, and all feeders or all consumers or both. Several of one
            role add up. Names differ.
        edges_us: of the windows, strictly increasing. [us]

    Returns:
        figures of the whole, a span `balance` for each window with its own, and a finding where
        the balance does not close.
    """
    roles = {meter.role for meter in meters}
    if "pv" not in roles or len(roles) < 2:
        why = "A balance needs the inverters and, besides, the main meter or the consumers."
        return Analysis(figures=tuple(absent(name, why) for name in _NAMES))
    energies, seen = _energies(meters, edges_us)
    whole_us = edges_us[[0, -1]]
    whole = _Energies(*(np.array([each.sum()]) for each in _columns(energies)))
    figures = tuple(_figures(whole, whole_us, _amounts(seen, whole_us), 0))
    amounts = _amounts(seen, edges_us)
    spans = tuple(
        Span(
            "balance",
            int(edges_us[k]),
            int(edges_us[k + 1]),
            tuple(_figures(energies, edges_us, amounts, k)),
        )
        for k in range(edges_us.size - 1)
    )
    return Analysis(figures, spans, (*_turned(meters, whole_us), *_open(figures[-1], whole_us)))


_NAMES = (
    "generated_wh", "drawn_wh", "imported_wh", "exported_wh", "consumed_wh", "used_on_site_wh",
    "self_consumption_ratio", "self_sufficiency_ratio", "balance_wh",
)  # fmt: skip


def _figures(of: _Energies, edges_us: Times, amounts: _Amounts, k: int) -> Iterator[Figure]:
    """The figures of window `k`, in the order of their names."""
    length_us = float(edges_us[k + 1] - edges_us[k])
    covered_us = float(of.covered_us[k])
    roles = {role for role, _ in amounts}
    why = {
        "grid": "The main meter is not among the meters; what is told follows from the others.",
        "load": "The consumers are not metered apart; what is told follows from the others.",
    }

    def energy(name: str, value: float, role: Role, shape: Shape) -> Figure:
        figure = measured(name, value, covered_us, length_us)
        if role not in roles:
            return Figure(name, figure.value, figure.covered_ratio, figure.why, flags=("derived",))
        return stated(figure, amounts[role, shape][k])

    def share(name: str, part: float, whole: float) -> Figure:
        if whole <= 0:
            return absent(name, "There is nothing that it could be a share of.")
        return measured(name, part / whole, covered_us, length_us)

    yield energy(_NAMES[0], of.generated[k], "pv", "given")
    yield energy(_NAMES[1], of.drawn[k], "pv", "taken")
    yield energy(_NAMES[2], of.imported[k], "grid", "given")
    yield energy(_NAMES[3], of.exported[k], "grid", "taken")
    yield energy(_NAMES[4], of.consumed[k], "load", "whole")
    yield measured(_NAMES[5], of.used[k], covered_us, length_us)
    yield share(_NAMES[6], of.used[k], of.generated[k])
    yield share(_NAMES[7], of.used[k], of.consumed[k])
    missing = [why[role] for role in why if role not in roles]
    if missing:
        yield absent(_NAMES[8], f"{missing[0]} There is nothing to check them against.")
        return
    figure = measured(_NAMES[8], of.balance[k], covered_us, length_us)
    yield stated(figure, _closure(float(of.balance[k]), amounts, k))


def _turned(meters: Sequence[SiteMeter], window_us: Times) -> Iterator[Finding]:
    """The finding of each inverter that drew more than it gave, in a day or more.

    A meter counts what is drawn as positive, so one that is put before an inverter is often turned.
    """
    if int(window_us[1] - window_us[0]) < _DAY_US:
        return
    for meter in meters:
        if meter.role == "pv" and float(np.nansum(meter.power_w)) < 0.0:
            yield Finding(
                "generation_negative",
                f"{meter.name!r} drew more than it gave, so what is told of generation and use is"
                " wrong if there was sun.",
                "If its power is below 0 when the sun shines, name it in 'reversed'.",
                int(window_us[0]),
                int(window_us[1]),
            )


def _open(balance: Figure, window_us: Times) -> Iterator[Finding]:
    """The finding that meters contradict each other by more than they may be wrong."""
    value, u = balance.value, balance.standard_uncertainty
    if value is None or u is None or abs(value) <= _COVERAGE_FACTOR * u:
        return
    yield Finding(
        "balance_open",
        f"Generation and import exceed export and consumption by {value:.0f} Wh; the meters may be"
        f" wrong by {_COVERAGE_FACTOR * u:.0f} Wh together.",
        "Look for a consumer or a source that no meter counts, and check ratios and directions of"
        " the meters.",
        int(window_us[0]),
        int(window_us[1]),
    )


def _energies(meters: Sequence[SiteMeter], edges_us: Times) -> tuple[_Energies, tuple[_Seen, ...]]:
    """What the windows hold, exact for power that runs straight between samples; and of what."""
    first_us = int(edges_us[0])
    lines = [_Line.of(meter, first_us) for meter in meters]
    ends = (edges_us - first_us).astype(np.float64)
    nodes = np.unique(np.concatenate([ends, *(line.t for line in lines)]))
    nodes = nodes[(nodes >= 0) & (nodes <= ends[-1])]
    inverters = [line for line in lines if line.role == "pv"]
    crossings = [line.crossings(nodes) for line in inverters]
    nodes = np.unique(np.concatenate([nodes, *crossings]))
    known = np.logical_and.reduce([line.is_known(nodes) for line in lines])
    hours = np.where(known, np.diff(nodes), 0.0) / US_PER_H

    def summed(role: Role) -> Values:
        """The power of a role at both ends of each segment, shape (2, s)."""
        none = np.zeros((2, nodes.size - 1))
        at = (line.ends(nodes) for line in lines if line.role == role)
        return sum((np.where(known, ends_w, 0.0) for ends_w in at), none)

    given = sum((np.where(known, np.maximum(one.ends(nodes), 0.0), 0.0) for one in inverters),
                np.zeros((2, nodes.size - 1)))  # fmt: skip
    net, grid, load = summed("pv"), summed("grid"), summed("load")
    roles = {meter.role for meter in meters}
    drawn = given - net
    if "load" not in roles:
        load = net + grid
    elif "grid" not in roles:
        grid = load - net
    consumed = load + drawn
    window = np.searchsorted(ends, nodes[:-1], side="right") - 1

    def per_window(energy: Values) -> Values:
        return np.bincount(window, energy, minlength=edges_us.size - 1).astype(np.float64)

    def total(ends_w: Values) -> Values:
        return per_window(ends_w.mean(axis=0) * hours)

    def positive(ends_w: Values) -> Values:
        return per_window(_positive(ends_w) * hours)

    seen = tuple(_seen(meter, nodes + first_us, known) for meter in meters)
    return _Energies(
        covered_us=per_window(hours * US_PER_H),
        generated=total(given),
        drawn=-total(drawn),
        imported=positive(grid),
        exported=positive(-grid),
        consumed=total(consumed),
        used=total(given) - positive(given - consumed),
        balance=total(net) + total(grid) - total(load),
    ), seen


class _Seen(NamedTuple):
    """A meter with its power in the time that all meters cover, NaN elsewhere."""

    meter: SiteMeter
    power_w: Values


def _seen(meter: SiteMeter, nodes_us: Values, known: NDArray[np.bool_]) -> _Seen:
    """What of a meter counts: samples at an end of a segment that all meters cover."""
    if known.size == 0:
        return _Seen(meter, meter.power_w * np.nan)
    after = np.searchsorted(nodes_us, meter.samples.t_us, side="right") - 1
    before = np.searchsorted(nodes_us, meter.samples.t_us, side="left") - 1
    last = known.size - 1
    counts = known[np.clip(after, 0, last)] | known[np.clip(before, 0, last)]
    return _Seen(meter, np.where(counts, meter.power_w, np.nan))


@dataclass(frozen=True, eq=False)
class _Line:
    """The power of a meter as a line through its samples, broken at gaps."""

    role: Role
    t: Values  # [us] since the first edge
    power_w: Values
    is_whole: NDArray[np.bool_]  # whether the step from each sample to the next counts

    @classmethod
    def of(cls, meter: SiteMeter, first_us: int) -> _Line:
        samples, power_w = meter.samples, meter.power_w
        keep = np.append(np.diff(samples.t_us) > 0, True)[: samples.t_us.size]
        t = (samples.t_us[keep] - first_us).astype(np.float64)
        power_w = power_w[keep]
        is_whole = (np.diff(t) <= samples.max_gap_us) & ~np.isnan(power_w[:-1] + power_w[1:])
        return cls(meter.role, t, power_w, is_whole)

    def is_known(self, nodes: Values) -> NDArray[np.bool_]:
        """Whether it has power in each segment between nodes."""
        step = self._step(nodes)
        inside = (step >= 0) & (step < self.is_whole.size)
        known: NDArray[np.bool_] = np.zeros(step.size, np.bool_)
        known[inside] = self.is_whole[step[inside]]
        return known

    def ends(self, nodes: Values) -> Values:
        """Its power at both ends of each segment, NaN where it is not known; shape (2, s)."""
        known = self.is_known(nodes)
        ends = np.full((2, nodes.size - 1), np.nan)
        step = self._step(nodes)[known]
        slope = np.diff(self.power_w)[step] / np.diff(self.t)[step]
        for row, at in enumerate((nodes[:-1][known], nodes[1:][known])):
            ends[row, known] = self.power_w[step] + slope * (at - self.t[step])
        return ends

    def crossings(self, nodes: Values) -> Values:
        """Where it crosses zero between nodes."""
        first, last = self.ends(nodes)
        crosses = first * last < 0
        share = first[crosses] / (first[crosses] - last[crosses])
        crossings: Values = nodes[:-1][crosses] + share * np.diff(nodes)[crosses]
        return crossings

    def _step(self, nodes: Values) -> NDArray[np.int64]:
        return (np.searchsorted(self.t, nodes[:-1], side="right") - 1).astype(np.int64)


def _positive(ends_w: Values) -> Values:
    """The mean of what is above 0 of straight lines, from their two ends; shape (s,)."""
    low, high = ends_w.min(axis=0), ends_w.max(axis=0)
    rise = np.where(high > low, high - low, 1.0)
    part = np.where(low < 0, np.maximum(high, 0.0) ** 2 / rise / 2.0, (low + high) / 2.0)
    mean: Values = np.where(high <= 0, 0.0, part)
    return mean


def _amounts(seen: Sequence[_Seen], edges_us: Times) -> _Amounts:
    """Per role and shape the energy of each window with what its meters may be wrong by."""
    roles = dict.fromkeys(one.meter.role for one in seen)
    return {
        (role, shape): _summed([one for one in seen if one.meter.role == role], shape, edges_us)
        for role in roles
        for shape in get_args(Shape)
    }


def _summed(seen: Sequence[_Seen], shape: Shape, edges_us: Times) -> tuple[Amount | None, ...]:
    """The energy of several meters in each window; None: unknown."""
    columns = []
    for meter, told_w in seen:
        power_w = told_w
        if shape == "given":
            power_w = np.maximum(told_w, 0.0)
        elif shape == "taken":
            power_w = np.maximum(-told_w, 0.0)
        columns.append(metered(meter.metering, meter.name, meter.samples, power_w, edges_us))
    return tuple(_added([(1.0, amount) for amount in row]) for row in zip(*columns, strict=True))


def _added(
    terms: Sequence[tuple[float, Amount | None]], value: float | None = None
) -> Amount | None:
    """The sum of signed amounts, or another value as unsure as it; None where one is unknown."""
    known = [(sign, amount) for sign, amount in terms if amount is not None]
    if len(known) < len(terms):
        return None
    of_terms = sum(sign * amount.value for sign, amount in known)
    return linear(of_terms if value is None else value, known)


def _closure(balance_wh: float, amounts: _Amounts, k: int) -> Amount | None:
    """The balance of window `k` with what all meters together may be wrong by; None: unknown."""
    signs: tuple[tuple[float, Role], ...] = ((1.0, "pv"), (1.0, "grid"), (-1.0, "load"))
    return _added([(sign, amounts[role, "whole"][k]) for sign, role in signs], balance_wh)


def _columns(of: _Energies) -> tuple[Values, ...]:
    return (
        of.covered_us, of.generated, of.drawn, of.imported, of.exported, of.consumed, of.used,
        of.balance,
    )  # fmt: skip
