"""One project measured: the plan, the histories of its devices and the factors in, figures out.

What cannot be backed is refused, not filled. Wrong wiring raises `MeasureError`; a baseline that
its policy or the arithmetic does not carry gives a `Measurement` that is disqualified and has no
saving in it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from statistics import fmean, stdev
from typing import Literal
from zoneinfo import ZoneInfo

import numpy as np

from joulemark_agent.contract.errors import MeasureError
from joulemark_agent.contract.factor import DATASET_CHECK, Factor, FactorSet
from joulemark_agent.contract.quantities import unit_of
from joulemark_agent.contract.reading import SIMULATED
from joulemark_agent.kernels.window import aligned_edges_us
from joulemark_gateway.evidence.history import DeviceHistory
from joulemark_gateway.measure import time_of_week
from joulemark_gateway.measure.baseline import Baseline, fit
from joulemark_gateway.measure.calendar import US_PER_DAY, US_PER_HOUR, grid
from joulemark_gateway.measure.creditable import CREDITABLE_POLICIES
from joulemark_gateway.measure.finding import ENGINE, Finding
from joulemark_gateway.measure.intervals import Counted, Span, counted
from joulemark_gateway.measure.periods import Units, units_of
from joulemark_gateway.measure.project import Dates, Project
from joulemark_gateway.measure.result import (
    Coefficient,
    DriverRange,
    Measurement,
    MissingSpan,
    Model,
    PeriodSummary,
    RefusedClaim,
    Stream,
    Unit,
    Warned,
)
from joulemark_gateway.measure.savings import Reported, cumulative, reported, saving, split
from joulemark_gateway.measure.student import tail
from joulemark_gateway.measure.sufficiency import (
    SUFFICIENCY_POLICIES,
    DriverFacts,
    Facts,
    SufficiencyPolicy,
)
from joulemark_gateway.measure.uncertainty import Noise, noise_of

_QUARTER_US = US_PER_HOUR // 4
_BEYOND = 0.05  # of the baseline's range: what counts as outside it
_HIGH_VIF = 10.0


@dataclass(frozen=True, eq=False)
class _Prepared:
    """Everything read from the histories before any model."""

    project: Project
    zone: ZoneInfo
    counters: tuple[Counted, ...]  # energy first
    baseline: Units
    reporting: Units

    @property
    def driver_units(self) -> list[str]:
        return [_unit(counter) for counter in self.counters[1:]]


def measure(
    project: Project,
    histories: Mapping[str, DeviceHistory],
    factors: FactorSet,
    *,
    plan_registered_us: int | None = None,
) -> Measurement:
    """The measurement of one project.

    Args:
        project: the plan.
        histories: history of each device, by id; others than the plan's are not looked at.
        factors: the emission factors of the set that the plan names.
        plan_registered_us: when the plan's digest was registered, where that can be shown. [us]

    Raises:
        MeasureError: `dataset_check_factor`, `wrong_factor_set`, `no_factor`, `ambiguous_factor`,
            `missing_device`, `missing_point`, `not_a_counter`, `not_energy`, `wrong_site`,
            `mixed_clocks`, `synthetic_not_declared`.
    """
    zone = ZoneInfo(project.time_zone)
    counters = _counters(project, histories)
    halves = [
        units_of(grid(dates.first, dates.end, project.unit, zone), counters, project.non_routine)
        for dates in (project.baseline, project.reporting)
    ]
    prepared = _Prepared(project, zone, counters, halves[0], halves[1])
    by_day = _factors_by_day(project, factors)
    policy = SUFFICIENCY_POLICIES[project.sufficiency_policy]
    model, noise, refusals = _fit(prepared)
    findings = (*_judge(policy, prepared, model), *refusals)
    is_fit = all(finding.passed for finding in findings)
    assert not is_fit or (model is not None and noise is not None)
    confidence = float(project.confidence)
    units = _reported(model, prepared.reporting) if is_fit and model else None
    return Measurement(
        project=project,
        clock=counters[0].history.clock,
        disqualified=not is_fit,
        policy=policy.used(),
        findings=findings,
        warnings=_warnings(prepared, by_day, model, noise, units, plan_registered_us),
        streams=tuple(_streams(prepared)),
        baseline=_summary("baseline", project.baseline, prepared.baseline),
        reporting=_summary("reporting", project.reporting, prepared.reporting),
        units=(
            *_baseline_units(prepared.baseline, model if is_fit else None),
            *_reporting_units(prepared.reporting, noise, units, confidence),
        ),
        missing=tuple(_missing(prepared)),
        model=None if model is None or noise is None else _model(prepared, model, noise),
        saving=None
        if units is None or noise is None
        else saving(
            noise,
            units,
            masked_days=_masked_days(prepared.reporting),
            confidence=confidence,
            factors=[by_day[day] for day in units.days],
            policy=CREDITABLE_POLICIES[project.creditable_policy],
            without_exclusions_wh=_without_exclusions_wh(project, histories, factors),
        ),
        split=None
        if units is None
        else split(prepared.baseline.kept_total(0), int(prepared.baseline.kept.sum()), units),
        refused=tuple(_refused(prepared, policy)),
    )


def _counters(project: Project, histories: Mapping[str, DeviceHistory]) -> tuple[Counted, ...]:
    """The counters the plan names, energy first, each of them checked."""
    counters = []
    for place in (project.energy, *project.drivers):
        history = histories.get(place.device)
        if history is None:
            raise MeasureError(
                f"There is no evidence of the device {place.device!r}.",
                f"There is some of: {', '.join(sorted(histories)) or 'none'}.",
                code="missing_device",
            )
        if history.site != project.site:
            raise MeasureError(
                f"{place.device!r} stands at the site {history.site!r}, not {project.site!r}.",
                "Name the site of the devices in the project.",
                code="wrong_site",
            )
        try:
            point = history.profile.point(place.point)
        except KeyError as error:
            names = ", ".join(point.name for point in history.profile.points)
            raise MeasureError(
                f"The device {place.device!r} has no point {place.point!r}.",
                f"It has: {names}.",
                code="missing_point",
            ) from error
        if not point.counter:
            raise MeasureError(
                f"{place.device}/{place.point} is not a counter.",
                "Name a counter: what is between two readings of a gauge is not known.",
                code="not_a_counter",
            )
        counters.append(counted(history, point))
    _check_energy_and_drivers(project, counters)
    return tuple(counters)


def _check_energy_and_drivers(project: Project, counters: Sequence[Counted]) -> None:
    energy = counters[0]
    if _unit(energy) != "Wh":
        raise MeasureError(
            f"{project.energy.point!r} counts {_unit(energy)}, not energy.",
            "Name a counter of the meter whose name ends in _wh.",
            code="not_energy",
        )
    clocks = {counter.history.device: counter.history.clock for counter in counters}
    if len(set(clocks.values())) > 1:
        told = ", ".join(f"{device}: {clock}" for device, clock in sorted(clocks.items()))
        raise MeasureError(
            f"Simulated and real evidence do not mix ({told}).",
            "Measure devices of one clock.",
            code="mixed_clocks",
        )
    for driver, counter in zip(project.drivers, counters[1:], strict=True):
        if counter.history.synthetic and not driver.synthetic:
            raise MeasureError(
                f"No machine stands behind {driver.device!r}: its profile says synthetic.",
                f"Write 'synthetic: true' at the driver {driver.name!r}.",
                code="synthetic_not_declared",
            )


def _factors_by_day(project: Project, factors: FactorSet) -> dict[date, Factor]:
    """The emission factor of each local day of the reporting period."""
    choice = project.factors
    if choice.rule_set == DATASET_CHECK:
        raise _dataset_check()
    if factors.factor_set != choice.set:
        raise MeasureError(
            f"The factors are of the set {factors.factor_set!r}, not {choice.set!r}.",
            "Give the set that the project names.",
            code="wrong_factor_set",
        )
    by_day: dict[date, Factor] = {}
    day = project.reporting.first
    while day < project.reporting.end:
        factor = factors.choose(rule_set=choice.rule_set, jurisdiction=choice.jurisdiction, day=day)
        if DATASET_CHECK in factor.rule_sets:
            raise _dataset_check()
        by_day[day] = factor
        day = date.fromordinal(day.toordinal() + 1)
    return by_day


def _dataset_check() -> MeasureError:
    return MeasureError(
        "A factor found inside measured data checks arithmetic and proves no CO2e.",
        "Name a rule set with a published factor.",
        code="dataset_check_factor",
    )


def _fit(
    prepared: _Prepared,
) -> tuple[Baseline | None, Noise | None, tuple[Finding, ...]]:
    """Model and noise, as far as the arithmetic carries them, and what it refused."""
    units = prepared.baseline
    n = int(units.kept.sum())
    refusals: list[Finding] = []
    if not prepared.reporting.kept.any():
        rule = "the reporting period has a unit that is measured wholly"
        refusals.append(
            Finding("no_reporting_units", ENGINE, "reporting", rule, 0.0, 1.0, None, "units", False)
        )
    model, noise = None, None
    if prepared.project.drivers:
        try:
            model = fit(units.drivers, units.energy_wh, units.position)
            noise = noise_of(model)
        except MeasureError as error:
            refusals.append(
                Finding(
                    error.code, ENGINE, "baseline", error.what, float(n), None, None, "units", False
                )
            )
    return model, noise, tuple(refusals)


def _judge(
    policy: SufficiencyPolicy, prepared: _Prepared, model: Baseline | None
) -> tuple[Finding, ...]:
    units, project = prepared.baseline, prepared.project
    n = int(units.kept.sum())
    before, after = units.drivers, prepared.reporting.drivers
    facts = Facts(
        baseline_days=float(n) if project.unit == "day" else units.kept_us / US_PER_DAY,
        production_cycle_days=project.production_cycle_days,
        drivers=tuple(
            DriverFacts(
                driver.name,
                unit,
                before[:, j].tolist(),
                fmean(after[:, j].tolist()) if after.shape[0] else None,
            )
            for j, (driver, unit) in enumerate(
                zip(project.drivers, prepared.driver_units, strict=True)
            )
        ),
        adjusted_r2=None if model is None else model.adjusted_r2,
    )
    return policy.judge(facts)


def _reported(model: Baseline, units: Units) -> Reported:
    days = tuple(day for day, is_kept in zip(units.grid.days, units.kept, strict=True) if is_kept)
    return reported(model, units.drivers, units.energy_wh, units.position, days)


def _masked_days(units: Units) -> list[date]:
    return [day for day, is_kept in zip(units.grid.days, units.kept, strict=True) if not is_kept]


def _without_exclusions_wh(
    project: Project, histories: Mapping[str, DeviceHistory], factors: FactorSet
) -> float | None:
    if not project.non_routine:
        return None
    whole = measure(project.model_copy(update={"non_routine": ()}), histories, factors)
    return None if whole.saving is None else whole.saving.avoided_wh


def _model(prepared: _Prepared, model: Baseline, noise: Noise) -> Model:
    project, reporting = prepared.project, prepared.reporting
    units = [f"Wh/{project.unit}", *(f"Wh/{unit}" for unit in prepared.driver_units)]
    coefficients = []
    for j, name in enumerate(["base load", *(driver.name for driver in project.drivers)]):
        value = float(model.beta[j])
        error = math.sqrt(model.residual_variance * float(model.inverse[j, j]))
        t_value = value / error if error > 0 else None
        coefficients.append(
            Coefficient(
                name=name,
                unit=units[j],
                value=value,
                standard_error=error,
                t_value=t_value,
                p_value=None if t_value is None else 2 * tail(abs(t_value), model.n - model.p),
                vif=model.vif(j) if j else None,
            )
        )
    return Model(
        kind="production, ordinary least squares",
        unit=project.unit,
        n=model.n,
        p=model.p,
        coefficients=tuple(coefficients),
        drivers=tuple(_driver_ranges(prepared)),
        sse_wh2=model.sse,
        residual_sd_wh=math.sqrt(model.residual_variance),
        r2=model.r2,
        adjusted_r2=model.adjusted_r2,
        press_r2=model.press_r2,
        cv_rmse=model.cv_rmse,
        nmbe=model.nmbe,
        rho=noise.rho,
        rho_used=noise.rho_used,
        effective_n=noise.effective_n,
        high_leverage_ratio=_high_leverage_ratio(model, reporting),
    )


def _high_leverage_ratio(model: Baseline, units: Units) -> float:
    if not units.kept.any():
        return 0.0
    x = np.column_stack([np.ones(int(units.kept.sum())), units.drivers])
    return float(np.mean(model.leverage_of(x) > 2 * model.p / model.n))


def _driver_ranges(prepared: _Prepared) -> list[DriverRange]:
    before, after = prepared.baseline.drivers, prepared.reporting.drivers
    ranges = []
    for j, (driver, unit) in enumerate(
        zip(prepared.project.drivers, prepared.driver_units, strict=True)
    ):
        values, now = before[:, j].tolist(), after[:, j]
        low, high = min(values), max(values)
        beyond = _BEYOND * (high - low)
        outside = (now < low - beyond) | (now > high + beyond)
        ranges.append(
            DriverRange(
                name=driver.name,
                unit=unit,
                baseline_min=low,
                baseline_max=high,
                baseline_mean=fmean(values),
                baseline_sd=stdev(values),
                reporting_mean=fmean(now.tolist()) if now.size else 0.0,
                outside_ratio=float(np.mean(outside)) if now.size else 0.0,
            )
        )
    return ranges


def _warnings(
    prepared: _Prepared,
    by_day: Mapping[date, Factor],
    model: Baseline | None,
    noise: Noise | None,
    units: Reported | None,
    plan_registered_us: int | None,
) -> tuple[Warned, ...]:
    project, found = prepared.project, []
    if prepared.counters[0].history.clock == SIMULATED:
        found.append(Warned("simulated_clock", "Replayed data: the times are simulated."))
    found += [
        Warned("synthetic_driver", f"{driver.name} is synthetic: no machine counted it.")
        for driver in project.drivers
        if driver.synthetic
    ]
    starts_us = int(prepared.reporting.grid.edges_us[0])
    if plan_registered_us is None or plan_registered_us >= starts_us:
        found.append(
            Warned(
                "plan_not_dated_before",
                "Nothing shows that this plan was fixed before the reporting period started.",
            )
        )
    for counter in prepared.counters:
        unsynchronised = int(counter.history.unsynchronised.sum())
        if unsynchronised:
            text = f"{counter.history.device}: {unsynchronised} readings without a set clock."
            found.append(Warned("unsynchronised_clock", text))
    for factor in dict.fromkeys(by_day.values()):
        if factor.boundary == "not_stated":
            text = f"{factor.id}: its source does not say whether grid losses are inside."
            found.append(Warned("factor_boundary_not_stated", text))
    if units is not None and noise is not None and model is not None:
        found += _doubts(prepared, model, noise, units)
    return tuple(found)


def _doubts(prepared: _Prepared, model: Baseline, noise: Noise, units: Reported) -> list[Warned]:
    """What a reader should know of a model that is fit."""
    found = []
    for j, driver in enumerate(_driver_ranges(prepared), start=1):
        if driver.outside_ratio > 0:
            text = (
                f"{driver.name}: {driver.outside_ratio:.1%} of the reporting units lie beyond the "
                f"baseline's range by more than {_BEYOND:.0%} of it."
            )
            found.append(Warned("extrapolation", text))
        if model.vif(j) > _HIGH_VIF:
            text = f"{driver.name} is much like the other drivers (VIF {model.vif(j):.3g})."
            found.append(Warned("collinear_drivers", text))
        if model.beta[j] < 0:
            text = f"More {driver.name} goes with less energy; ask why before trusting it."
            found.append(Warned("negative_slope", text))
    everything = np.ones((1, units.measured_wh.size))
    variance = float(noise.covariance(units.x, units.position, everything)[0, 0])
    half_width_wh = noise.half_width(variance, float(prepared.project.confidence))
    if abs(math.fsum(units.avoided_wh.tolist())) <= half_width_wh:
        text = "The interval contains 0: these data show no saving."
        found.append(Warned("not_distinguishable_from_zero", text))
    return found


def _streams(prepared: _Prepared) -> list[Stream]:
    project = prepared.project
    names = ["energy", *(driver.name for driver in project.drivers)]
    declared = [False, *(driver.synthetic for driver in project.drivers)]
    bounds = [
        (int(units.grid.edges_us[0]), int(units.grid.edges_us[-1]))
        for units in (prepared.baseline, prepared.reporting)
    ]
    streams = []
    for k, counter in enumerate(prepared.counters):
        history = counter.history
        totals = [units.streams[k] for units in (prepared.baseline, prepared.reporting)]
        inside = sum(
            ((history.slot_us > start) & (history.slot_us <= end)) for start, end in bounds
        )
        streams.append(
            Stream(
                role="driver" if k else "energy",
                device=history.device,
                epoch=history.epoch,
                point=counter.point.name,
                name=names[k],
                unit=_unit(counter),
                synthetic=history.synthetic or declared[k],
                readings=int(np.count_nonzero(inside)),
                gap_slots=_gap_slots(history, bounds),
                unsynchronised=int(history.unsynchronised.sum()),
                fallen=counter.fallen,
                false_zeros=counter.false_zeros,
                covered_us=sum(int(total.covered_us.sum()) for total in totals),
                estimated_us=sum(int(total.estimated_us.sum()) for total in totals),
                missing_us=sum(int(total.missing_us.sum()) for total in totals),
            )
        )
    return streams


def _gap_slots(history: DeviceHistory, bounds: Sequence[tuple[int, int]]) -> int:
    """Slots of the periods that stand in a gap; a slot closes the time before it."""
    slots = 0
    for start, end in bounds:
        for gap in history.gaps:
            first = max(gap.first_slot_us, start + 1)
            last = min(gap.last_slot_us, end)
            if first <= last:
                period = history.period_us
                slots += last // period - (first - 1) // period
    return slots


def _summary(period: Literal["baseline", "reporting"], dates: Dates, units: Units) -> PeriodSummary:
    energy, kept = units.streams[0], int(units.kept.sum())
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


def _baseline_units(units: Units, model: Baseline | None) -> list[Unit]:
    fitted: list[float | None] = [None] * units.kept.size
    if model is not None:
        values = model.predict(model.x).tolist()
        for place, value in zip(units.position.tolist(), values, strict=True):
            fitted[place] = value
    return [_unit_row("baseline", units, k, fitted[k]) for k in range(units.kept.size)]


def _reporting_units(
    units: Units, noise: Noise | None, kept: Reported | None, confidence: float
) -> list[Unit]:
    if noise is None or kept is None:
        return [_unit_row("reporting", units, k, None) for k in range(units.kept.size)]
    sums, half_widths = cumulative(noise, kept, confidence)
    figures = dict(
        zip(
            units.position.tolist(),
            zip(kept.avoided_wh.tolist(), sums, half_widths, strict=True),
            strict=True,
        )
    )
    predicted = dict(zip(units.position.tolist(), kept.predicted_wh.tolist(), strict=True))
    return [
        _unit_row("reporting", units, k, predicted.get(k), figures.get(k))
        for k in range(units.kept.size)
    ]


def _unit_row(
    period: Literal["baseline", "reporting"],
    units: Units,
    k: int,
    predicted_wh: float | None,
    figures: tuple[float, float, float] | None = None,
) -> Unit:
    worst = units.streams[int(units.worst[k])]
    avoided, total, half_width = figures or (None, None, None)
    return Unit(
        period=period,
        label=units.grid.labels[k],
        start_us=int(units.grid.edges_us[k]),
        end_us=int(units.grid.edges_us[k + 1]),
        energy_wh=int(units.streams[0].total[k]),
        drivers=tuple(int(stream.total[k]) for stream in units.streams[1:]),
        covered_us=int(worst.covered_us[k]),
        estimated_us=int(worst.estimated_us[k]),
        missing_us=int(worst.missing_us[k]),
        masked=not units.kept[k],
        reasons=units.reasons[k],
        predicted_wh=predicted_wh,
        avoided_wh=avoided,
        cumulative_wh=total,
        cumulative_half_width_wh=half_width,
    )


def _missing(prepared: _Prepared) -> list[MissingSpan]:
    """The intervals of the grid that no step measured, per stream, neighbours as one."""
    found = []
    for counter in prepared.counters:
        width_us = _interval_us(counter)
        open_span: MissingSpan | None = None
        for span in _spans(prepared, counter):
            start = span.start_us // width_us * width_us
            end = -(-span.end_us // width_us) * width_us
            if open_span is not None and (
                start < open_span.end_us
                or (start == open_span.end_us and span.reasons == open_span.reasons)
            ):
                start = open_span.start_us
                reasons = tuple(dict.fromkeys((*open_span.reasons, *span.reasons)))
            else:
                found += [open_span] if open_span is not None else []
                reasons = span.reasons
            open_span = MissingSpan(
                counter.history.device,
                counter.point.name,
                start,
                end,
                (end - start) // width_us,
                reasons,
            )
        found += [open_span] if open_span is not None else []
    return found


def _spans(prepared: _Prepared, counter: Counted) -> list[Span]:
    edges = [prepared.baseline.grid.edges_us, prepared.reporting.grid.edges_us]
    return [span for edge in edges for span in counter.spans_in(int(edge[0]), int(edge[-1]))]


def _interval_us(counter: Counted) -> int:
    """The width at which holes are listed and the week is cut: 15 minutes, or the next that fits.

    A reading period that divides neither a quarter-hour nor an hour gets a day.
    """
    period_us = counter.history.period_us
    widths = [w for w in (_QUARTER_US, US_PER_HOUR, US_PER_DAY) if w % period_us == 0]
    return widths[0] if widths else US_PER_DAY


def _refused(prepared: _Prepared, policy: SufficiencyPolicy) -> list[RefusedClaim]:
    """The time-of-week model: run so that a reader sees what it would have claimed."""
    energy = prepared.counters[0]
    width_us = _interval_us(energy)
    halves = []
    for units in (prepared.baseline, prepared.reporting):
        start, end = int(units.grid.edges_us[0]), int(units.grid.edges_us[-1])
        if start % width_us or end % width_us:
            return []
        edges_us = aligned_edges_us(start, end, width_us)
        totals = energy.totals(edges_us)
        halves.append((edges_us[:-1], totals.total, totals.covered_us == width_us))
    before, after = halves
    guess = time_of_week.guess(
        zone=prepared.zone,
        width_us=width_us,
        baseline_us=before[0],
        baseline_wh=before[1],
        baseline_measured=before[2],
        reporting_us=after[0],
        reporting_wh=after[1],
        reporting_measured=after[2],
    )
    if guess.predicted_wh <= 0:
        return []
    claim_wh = guess.predicted_wh - guess.measured_wh
    return [
        RefusedClaim(
            model=time_of_week.NAME,
            code=time_of_week.CODE,
            by=policy.id,
            version=policy.version,
            why="A calendar does not know how active the plant was: less work looks like a saving.",
            interval_us=width_us,
            cells=guess.cells,
            intervals=guess.intervals,
            predicted_wh=guess.predicted_wh,
            measured_wh=guess.measured_wh,
            would_have_claimed_wh=claim_wh,
            would_have_claimed_ratio=claim_wh / guess.predicted_wh,
        )
    ]


def _unit(counter: Counted) -> str:
    return unit_of(counter.point.name) or ""
