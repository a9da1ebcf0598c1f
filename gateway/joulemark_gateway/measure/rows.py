"""The rows of a measurement: one per unit, period, stream and hole."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from joulemark_gateway.evidence.history import DeviceHistory
from joulemark_gateway.measure.assessment import Assessed
from joulemark_gateway.measure.data import Data
from joulemark_gateway.measure.estimate import Estimate
from joulemark_gateway.measure.inputs import Prepared
from joulemark_gateway.measure.intervals import Flags, Span, falls, false_zeros
from joulemark_gateway.measure.periods import Units
from joulemark_gateway.measure.project import Dates
from joulemark_gateway.measure.qr import Array
from joulemark_gateway.measure.result import (
    CounterEvent,
    MissingSpan,
    Period,
    PeriodSummary,
    Stream,
    Unit,
)
from joulemark_gateway.measure.savings import Reported, cumulative

Figures = tuple[float, float, float]  # avoided, cumulative, its half-width [Wh]


def summary(period: Period, dates: Dates, units: Units) -> PeriodSummary:
    """One period."""
    energy, kept = units.streams[0], int(np.count_nonzero(units.kept))
    return PeriodSummary(
        period=period,
        first=dates.first,
        end=dates.end,
        start_us=int(units.grid.edges_us[0]),
        end_us=int(units.grid.edges_us[-1]),
        units=units.kept.size,
        kept=kept,
        masked=units.kept.size - kept,
        energy_wh=int(energy.total.sum()),
        kept_energy_wh=units.kept_total(0),
        kept_drivers=tuple(units.kept_total(k) for k in range(1, len(units.streams))),
        covered_us=int(energy.covered_us.sum()),
        estimated_us=int(energy.estimated_us.sum()),
        missing_us=int(energy.missing_us.sum()),
    )


def baseline_units(units: Units, assessed: Assessed | None) -> list[Unit]:
    """The units of the baseline, with the fit where there is one to show."""
    fitted: dict[int, float] = {}
    if assessed is not None:
        own = assessed.baseline.fitted_units
        fitted = _placed(own, assessed.baseline.required().predict_wh(own))
    return [_row("baseline", units, k, fitted.get(k), None) for k in range(units.kept.size)]


def reporting_units(
    units: Units, estimate: Estimate | None, kept: Reported | None, confidence: float
) -> list[Unit]:
    """The units of the reporting period, with savings where there are any to show."""
    predicted: dict[int, float] = {}
    figures: dict[int, Figures] = {}
    if estimate is not None and kept is not None:
        sums, half_widths = cumulative(estimate, kept, confidence)
        predicted = _placed(kept.units, kept.predicted_wh)
        rows = zip(kept.avoided_wh.tolist(), sums, half_widths, strict=True)
        figures = dict(zip(kept.units.position.tolist(), rows, strict=True))
    return [
        _row("reporting", units, k, predicted.get(k), figures.get(k))
        for k in range(units.kept.size)
    ]


def streams_of(prepared: Prepared) -> list[Stream]:
    """Energy and drivers over both periods."""
    drivers = prepared.project.drivers
    names = ["energy", *(driver.name for driver in drivers)]
    declared = [False, *(driver.synthetic for driver in drivers)]
    periods = (prepared.baseline, prepared.reporting)
    bounds = [_bounds(units) for units in periods]
    streams = []
    for k, counter in enumerate(prepared.counters):
        history = counter.history
        gaps = [(gap.first_slot_us, gap.last_slot_us) for gap in history.gaps]
        totals = [units.streams[k] for units in periods]
        streams.append(
            Stream(
                role="driver" if k else "energy",
                device=history.device,
                epoch=history.epoch,
                point=counter.point.name,
                name=names[k],
                unit=counter.unit,
                synthetic=history.synthetic or declared[k],
                readings=int(np.count_nonzero(_inside(history, bounds))),
                gap_slots=_slots_in(history, gaps, bounds),
                unsynchronised=int(
                    np.count_nonzero(history.unsynchronised & _inside(history, bounds))
                ),
                fallen=falls(counter.events_in(bounds)),
                false_zeros=false_zeros(counter.events_in(bounds)),
                covered_us=sum(int(total.covered_us.sum()) for total in totals),
                estimated_us=sum(int(total.estimated_us.sum()) for total in totals),
                missing_us=sum(int(total.missing_us.sum()) for total in totals),
                total=0 if counter.is_mean else sum(int(total.total.sum()) for total in totals),
                unsynchronised_total=0
                if counter.is_mean
                else sum(
                    int(counter.unsynchronised(units.grid.edges_us).sum()) for units in periods
                ),
                withheld=_slots_in(history, [span[:2] for span in history.withheld], bounds),
                lost=_slots_in(history, [span[:2] for span in history.lost], bounds),
            )
        )
    return streams


def missing(prepared: Prepared) -> list[MissingSpan]:
    """The intervals that were not wholly measured, per stream; neighbours alike as one row."""
    rows = []
    for counter in prepared.counters:
        history, width_us = counter.history, counter.interval_us
        bounds = [_bounds(prepared.baseline), _bounds(prepared.reporting)]
        spans = [span for start, end in bounds for span in counter.spans_in(start, end)]
        rows += [
            MissingSpan(
                history.device,
                counter.point.name,
                span.start_us,
                span.end_us,
                (span.end_us - span.start_us) // width_us,
                span.is_estimated,
                span.reasons,
            )
            for span in _on_grid(spans, width_us)
        ]
    return rows


def events_of(prepared: Prepared) -> list[CounterEvent]:
    """What the counters did besides counting in both periods, counter by counter."""
    bounds = [_bounds(prepared.baseline), _bounds(prepared.reporting)]
    return [
        CounterEvent(counter.history.device, counter.point.name, event)
        for counter in prepared.counters
        for event in counter.events_in(bounds)
    ]


def _on_grid(spans: Sequence[Span], width_us: int) -> list[Span]:
    """The spans widened to whole intervals; those that share one, or touch alike, are one."""
    wide: list[Span] = []
    for span in spans:
        start = span.start_us // width_us * width_us
        end = -(-span.end_us // width_us) * width_us
        last = wide[-1] if wide else None
        is_alike = last is not None and (last.is_estimated, last.reasons) == (
            span.is_estimated,
            span.reasons,
        )
        if last is not None and (start < last.end_us or (start == last.end_us and is_alike)):
            reasons = tuple(dict.fromkeys((*last.reasons, *span.reasons)))
            is_estimated = last.is_estimated and span.is_estimated
            wide[-1] = Span(last.start_us, max(end, last.end_us), is_estimated, reasons)
        else:
            wide.append(Span(start, end, span.is_estimated, span.reasons))
    return wide


def _bounds(units: Units) -> tuple[int, int]:
    return int(units.grid.edges_us[0]), int(units.grid.edges_us[-1])


def _inside(history: DeviceHistory, bounds: Sequence[tuple[int, int]]) -> Flags:
    """Which readings are of the periods; a reading belongs to the time that it closes."""
    slot_us = history.slot_us
    inside = np.zeros(slot_us.size, np.bool_)
    for start, end in bounds:
        inside |= (slot_us > start) & (slot_us <= end)
    return inside


def _slots_in(
    history: DeviceHistory, spans: Sequence[tuple[int, int]], bounds: Sequence[tuple[int, int]]
) -> int:
    """How many slots of spans, each from its first to its last slot, are of the periods."""
    slots, period_us = 0, history.period_us
    for start, end in bounds:
        for first_us, last_us in spans:
            first, last = max(first_us, start + 1), min(last_us, end)
            if first <= last:
                slots += last // period_us - (first - 1) // period_us
    return slots


def _placed(units: Data, values: Array) -> dict[int, float]:
    return dict(zip(units.position.tolist(), values.tolist(), strict=True))


def _row(
    period: Period, units: Units, k: int, predicted_wh: float | None, figures: Figures | None
) -> Unit:
    worst = units.streams[int(units.worst[k])]
    avoided_wh, cumulative_wh, half_width_wh = figures or (None, None, None)
    return Unit(
        period=period,
        label=units.grid.labels[k],
        start_us=int(units.grid.edges_us[k]),
        end_us=int(units.grid.edges_us[k + 1]),
        energy_wh=int(units.measured[0][k]),
        drivers=tuple(int(total[k]) for total in units.measured[1:]),
        covered_us=int(worst.covered_us[k]),
        estimated_us=int(worst.estimated_us[k]),
        missing_us=int(worst.missing_us[k]),
        masked=not units.kept[k],
        reasons=units.reasons[k],
        predicted_wh=predicted_wh,
        avoided_wh=avoided_wh,
        cumulative_wh=cumulative_wh,
        cumulative_half_width_wh=half_width_wh,
    )
