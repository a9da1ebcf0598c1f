"""How well the model fits, where the drivers went, and what a reader must be told."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from statistics import fmean, stdev

import numpy as np

from joulemark_agent.contract.factor import Factor
from joulemark_agent.contract.reading import SIMULATED
from joulemark_gateway.measure.assessment import Assessed
from joulemark_gateway.measure.data import Data
from joulemark_gateway.measure.equation import facts_of, levels_in, named_terms
from joulemark_gateway.measure.estimate import LineEstimate
from joulemark_gateway.measure.inputs import Prepared
from joulemark_gateway.measure.intervals import MEAN_UNIT
from joulemark_gateway.measure.models.base import Fitted
from joulemark_gateway.measure.result import Coefficient, DriverRange, Model, Saving, Warned
from joulemark_gateway.measure.student import tail

_BEYOND = 0.05  # of the baseline's range: what counts as outside it
_HIGH_VIF = 10.0
_DEGREES = "degC"


def model_of(prepared: Prepared, assessed: Assessed) -> Model | None:
    """The model as it is reported; None where there is none with an interval."""
    estimate, metrics = assessed.estimate, assessed.baseline.metrics
    if estimate is None or metrics is None:
        return None
    process = estimate.process
    line = estimate.fitted if isinstance(estimate, LineEstimate) else None
    is_plain = prepared.project.model is None
    return Model(
        kind="production, ordinary least squares" if is_plain else estimate.id,
        unit=prepared.project.unit,
        n=metrics.n,
        p=metrics.p,
        coefficients=() if line is None else tuple(_coefficients(prepared, line)),
        drivers=tuple(_driver_ranges(prepared)),
        sse_wh2=metrics.sse,
        residual_sd_wh=math.sqrt(metrics.sse / (metrics.n - metrics.p)),
        r2=metrics.r2,
        adjusted_r2=metrics.adjusted_r2,
        press_r2=None if line is None else line.linear.press_r2,
        cv_rmse=metrics.cv_rmse,
        nmbe=metrics.nmbe,
        rho=estimate.rho,
        rho_used=process.rho_used,
        effective_n=process.effective_n,
        high_leverage_ratio=0.0 if line is None else _high_leverage_ratio(assessed.kept, line),
        facts={} if line is None else _facts(assessed, line),
        cells=0 if line is None else levels_in(line),
    )


def _facts(assessed: Assessed, line: Fitted) -> Mapping[str, float]:
    return facts_of(line, assessed.baseline.fitted_units, assessed.plan.confidence)


def warnings_of(
    prepared: Prepared,
    factors: Iterable[Factor],
    model: Model | None,
    saving: Saving | None,
    plan_registered_us: int | None,
) -> tuple[Warned, ...]:
    """What does not disqualify but must stand beside the figures."""
    found = [*_of_evidence(prepared), *_of_plan(prepared, plan_registered_us)]
    kept = prepared.reporting.kept
    if saving is not None and not kept.all():
        text = (
            f"{kept.size - np.count_nonzero(kept)} of the {kept.size} {prepared.project.unit}s of "
            "the reporting period are left out; the saving is that of the others."
        )
        found.append(Warned("reporting_incomplete", text))
    for factor in dict.fromkeys(factors):
        if factor.boundary == "not_stated":
            text = f"{factor.id}: its source does not say whether grid losses are inside."
            found.append(Warned("factor_boundary_not_stated", text))
    if model is not None and saving is not None:
        found += _of_model(model)
        if not saving.is_distinguishable_from_zero:
            text = "The interval contains 0: these data show no saving."
            found.append(Warned("not_distinguishable_from_zero", text))
    return tuple(found)


def _of_evidence(prepared: Prepared) -> list[Warned]:
    found = []
    if prepared.counters[0].history.clock == SIMULATED:
        found.append(Warned("simulated_clock", "Replayed data: the times are simulated."))
    found += [
        Warned("synthetic_driver", f"{driver.name} is synthetic: no machine counted it.")
        for driver in prepared.project.drivers
        if driver.synthetic
    ]
    histories = {counter.history.device: counter.history for counter in prepared.counters}
    for device, history in histories.items():
        if unsynchronised := int(np.count_nonzero(history.unsynchronised)):
            text = f"{device}: {unsynchronised} readings without a set clock."
            found.append(Warned("unsynchronised_clock", text))
    return found


def _of_plan(prepared: Prepared, plan_registered_us: int | None) -> list[Warned]:
    starts_us = int(prepared.reporting.grid.edges_us[0])
    if plan_registered_us is not None and plan_registered_us < starts_us:
        return []
    text = "Nothing shows that this plan was fixed before the reporting period started."
    return [Warned("plan_not_dated_before", text)]


def _of_model(model: Model) -> list[Warned]:
    found = []
    terms = {term.name: term for term in model.coefficients}
    for driver in model.drivers:
        if driver.outside_ratio > 0:
            text = (
                f"{driver.name}: {driver.outside_ratio:.1%} of the reporting units lie beyond the "
                f"baseline's range by more than {_BEYOND:.0%} of it."
            )
            found.append(Warned("extrapolation", text))
        term = terms.get(driver.name)
        if term is None:
            continue
        if term.vif is not None and term.vif > _HIGH_VIF:
            text = f"{driver.name} is much like the other drivers (VIF {term.vif:.3g})."
            found.append(Warned("collinear_drivers", text))
        if term.value < 0:
            text = f"More {driver.name} goes with less energy; ask why before trusting it."
            found.append(Warned("negative_slope", text))
    return found


def _coefficients(prepared: Prepared, fitted: Fitted) -> list[Coefficient]:
    """Every term but the levels of times of the week, under the names of the plan."""
    linear, cells = fitted.linear, levels_in(fitted)
    degrees = linear.n - fitted.parameters
    variance = linear.sse / degrees
    coefficients = []
    for j, term in enumerate(named_terms(prepared, fitted)[cells:], cells):
        value = float(linear.beta[j])
        error = math.sqrt(variance * float(linear.inverse[j, j]))
        t_value = value / error if error > 0 else None
        p_value = None if t_value is None else 2 * tail(abs(t_value), degrees)
        vif = linear.vif(j) if not cells and j else None
        coefficients.append(Coefficient(term.name, term.unit, value, error, t_value, p_value, vif))
    return coefficients


def _high_leverage_ratio(kept: Data, fitted: Fitted) -> float:
    if not kept.n:
        return 0.0
    linear = fitted.linear
    return float(np.mean(linear.leverage_of(fitted.rows(kept)) > 2 * linear.p / linear.n))


def _driver_ranges(prepared: Prepared) -> list[DriverRange]:
    before, after = prepared.baseline.drivers, prepared.reporting.drivers
    ranges = []
    for j, driver in enumerate(prepared.project.drivers):
        values, now = before[:, j].tolist(), after[:, j]
        low, high = min(values), max(values)
        beyond = _BEYOND * (high - low)
        outside = (now < low - beyond) | (now > high + beyond)
        ranges.append(
            DriverRange(
                name=driver.name,
                unit=_DEGREES
                if prepared.driver_units[j] == MEAN_UNIT
                else prepared.driver_units[j],
                baseline_min=low,
                baseline_max=high,
                baseline_mean=fmean(values),
                baseline_sd=stdev(values),
                reporting_mean=fmean(now.tolist()) if now.size else None,
                outside_ratio=float(np.mean(outside)) if now.size else 0.0,
            )
        )
    return ranges
