"""PV inverter: yield, ratios against the sun, clipping, soiling, and its own checks.

Generation counts from the inverter's counter; the net AC energy is the AC power over time, in which
the night stays negative: what the inverter draws is consumption and is not cut off.

| looking for | open |
|---|---|
| energies and sun of any windows | `pv_amounts.py` |
| yields, performance ratios, comparison with neighbours | `pv_ratio.py` |
| the temperature of the cells | `pv_cells.py` |
| power that the inverter could not take | `pv_clipping.py` |
| what dust costs, and cleanings | `pv_soiling.py` |
| DC = V x I, sun without AC, power that stands still | `pv_checks.py` |

Source: IEC 61724-1 as used by the Sandia PV Performance Modeling Collaborative (Yf, Yr, PR).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import AfterValidator, Field

from joulemark_agent.equipment.base import (
    Analysis,
    Figure,
    Number,
    Samples,
    Section,
    Span,
    Values,
    absent,
    extent,
    measured,
    of_unit,
)
from joulemark_agent.equipment.days import day_edges_us, day_of, known_time_zone
from joulemark_agent.equipment.metering import Metering, primary, ratio_findings, stated
from joulemark_agent.equipment.pv_amounts import (
    AC,
    COUNTER,
    DC,
    Amounts,
    Columns,
    amounts,
)
from joulemark_agent.equipment.pv_cells import Cells, CellTemperature, cell_temperature
from joulemark_agent.equipment.pv_checks import (
    dark_days,
    dark_findings,
    dc_check,
    exceeded_ratings,
    fell,
    impossible,
    possible_sun,
    still,
    sun_findings,
)
from joulemark_agent.equipment.pv_clipping import (
    Clipping,
    clipping,
    clipping_figures,
    clipping_spans,
    rated_dc_w,
)
from joulemark_agent.equipment.pv_ratio import (
    NO_PEAK,
    AnnualCell,
    Rating,
    energy_figure,
    per_peak,
    ratio_figures,
)
from joulemark_agent.equipment.pv_soiling import NAMES, Soiling, clean_days, soiling_figures

_VOLTAGE, _CURRENT = "ac_voltage_v", "ac_current_a"  # of the AC side


class Parameters(Section):
    """What only the site knows of an inverter and its panels."""

    # of the panels at standard test conditions
    dc_peak_w: Annotated[Number, Field(ge=0.1, le=10_000_000_000)] | None = None
    irradiance: Annotated[str, of_unit("W/m2")] = "irradiance_w_m2"  # in the panels' plane
    irradiance_limit_ratio: Annotated[Number, Field(gt=0, lt=1)] | None = None  # of its sensor
    time_zone: Annotated[str, AfterValidator(known_time_zone)] = "UTC"  # whose midnight ends a day
    gamma_per_k: Annotated[Number, Field(ge=-0.02, le=0.02)] | None = None  # of the panels' power
    cells: Cells = Cells()
    annual_cell: AnnualCell | None = None
    # the largest AC power that the inverter gives
    ac_limit_w: Annotated[Number, Field(ge=0.1, le=10_000_000_000)] | None = None
    soiling: Soiling = Soiling()
    metering: Metering | None = None  # of the AC side


def analyse(parameters: Parameters, samples: Samples) -> Analysis:
    """Yield, ratios and checks of the whole time and of each day."""
    samples = primary(parameters.metering, samples.distinct(), (AC, _VOLTAGE, _CURRENT))
    start_us, end_us = extent(samples)
    if end_us == start_us:
        return Analysis(figures=(absent("net_ac_wh", "There are no samples over time."),))
    given = {"dc_peak_w": parameters.dc_peak_w, "ac_limit_w": parameters.ac_limit_w}
    exceeded = dict(exceeded_ratings(samples, given))
    parameters = parameters.model_copy(update=dict.fromkeys(exceeded))
    model = _model(parameters, samples)
    whole = amounts(model.columns, parameters.metering, np.array([start_us, end_us], np.int64))
    edges_us = day_edges_us(start_us, end_us, parameters.time_zone)
    days = amounts(model.columns, parameters.metering, edges_us)
    deviation, findings = dc_check(samples)
    if whole.generated is not None and whole.generated.falls:
        findings = (*findings, fell(whole.generated.falls, samples))
    points = (AC, _VOLTAGE, _CURRENT)
    findings = (*findings, *ratio_findings(parameters.metering, samples, *points))
    findings = (*findings, *exceeded.values(), *sun_findings(samples, parameters.irradiance))
    spans = tuple(
        Span("day", int(edges_us[k]), int(edges_us[k + 1]), tuple(_figures(model, days, k)))
        for k in range(edges_us.size - 1)
    )
    return Analysis(
        figures=(*_figures(model, whole, 0), *_soiling(model), deviation),
        spans=(*spans, *dark_days(days), *clipping_spans(model.clipping, model.columns)),
        findings=(*findings, *impossible(whole), *still(samples), *dark_findings(days, samples)),
    )


@dataclass(frozen=True, eq=False)
class _Model:
    """What is the same for all windows."""

    parameters: Parameters
    columns: Columns
    cells: CellTemperature
    clipping: Clipping | None
    why_no_sun: str


def _model(parameters: Parameters, samples: Samples) -> _Model:
    nothing = np.full(samples.t_us.size, np.nan)
    sun = samples.column(parameters.irradiance)
    why_no_sun = (
        f"No irradiance is measured ({parameters.irradiance!r}): only the yield can be told."
    )
    cells = CellTemperature(None, why=why_no_sun)
    if sun is not None:
        sun = possible_sun(sun)  # at night a pyranometer reads a little below 0: no light
        cells = cell_temperature(parameters.cells, samples, sun)
    columns = Columns(
        samples,
        ac=_or(samples.column(AC), nothing),
        dc=_or(samples.column(DC), nothing),
        sun=sun,
        cell_k=cells.values_k,
    )
    limit_w = parameters.ac_limit_w
    rated_w = rated_dc_w(columns, parameters.dc_peak_w, parameters.gamma_per_k)
    return _Model(parameters, columns, cells, clipping(columns, rated_w, limit_w), why_no_sun)


def _or(column: Values | None, nothing: Values) -> Values:
    return nothing if column is None else column


def _figures(model: _Model, of: Amounts, k: int) -> Iterator[Figure]:
    """The figures of window `k`."""
    parameters = model.parameters
    length_us = float(of.edges_us[k + 1] - of.edges_us[k])

    def ratio(name: str, above: float, below: float, covered_us: float, why: str) -> Figure:
        if below <= 0:
            return absent(name, why)
        return measured(name, above / below, covered_us, length_us)

    if of.generated is None:
        yield absent("generated_wh", f"{COUNTER!r} is not recorded.")
    else:
        yield stated(energy_figure("generated_wh", of.generated, of, k), of.generated_u[k])
    yield stated(energy_figure("net_ac_wh", of.net, of, k), of.net_u[k])
    yield energy_figure("drawn_wh", of.drawn, of, k)
    yield energy_figure("dc_wh", of.dc, of, k)
    dc_us, net_us = float(of.dc.covered_us[k]), float(of.net.covered_us[k])
    dc_wh, ac_wh = of.dc.amount[k], of.ac_of_dc.amount[k]
    no_dc = "The DC side gave no energy." if dc_wh <= 0 else "The AC side drew more than it gave."
    yield ratio("efficiency_ratio", ac_wh, dc_wh if ac_wh > 0 else 0.0, dc_us, no_dc)
    peak_w = parameters.dc_peak_w
    figure = ratio("specific_yield_wh_per_w", of.net.amount[k], peak_w or 0.0, net_us, NO_PEAK)
    yield stated(figure, per_peak(of.net_u[k], peak_w))
    if of.sun is None:
        yield absent("irradiation_wh_m2", model.why_no_sun)
    else:
        yield energy_figure("irradiation_wh_m2", of.sun, of, k)
    yield from ratio_figures(
        _rating(model),
        of,
        k,
        why_no_sun=model.why_no_sun,
        why_no_cells=model.cells.why,
        begins=day_of(int(model.columns.samples.t_us[0]), parameters.time_zone),
    )
    yield from clipping_figures(model.clipping, model.columns, of, k, _why_no_clipping(model))


def _rating(model: _Model) -> Rating:
    parameters = model.parameters
    return Rating(
        dc_peak_w=parameters.dc_peak_w,
        gamma_per_k=parameters.gamma_per_k,
        annual_cell=parameters.annual_cell,
        sun_limit_ratio=parameters.irradiance_limit_ratio,
        cell_limit_k=parameters.cells.limit_k,
        cell_flags=model.cells.flags,
    )


def _why_no_clipping(model: _Model) -> str:
    parameters = model.parameters
    if model.cells.values_k is None:
        return model.cells.why
    wanted = {
        "dc_peak_w": parameters.dc_peak_w,
        "gamma_per_k": parameters.gamma_per_k,
        "ac_limit_w": parameters.ac_limit_w,
    }
    missing = ", ".join(name for name, value in wanted.items() if value is None)
    return f"To tell what the sun would have given it needs {missing} of this inverter."


def _soiling(model: _Model) -> Iterator[Figure]:
    """What dust costs: of the whole time, since it takes weeks."""
    parameters, columns = model.parameters, model.columns
    if columns.cell_k is None:
        yield from (absent(name, model.cells.why) for name in NAMES)
        return
    gamma = parameters.gamma_per_k
    if gamma is None:
        why = "The temperature coefficient of the modules (gamma_per_k, in 1/K) is not given."
        yield from (absent(name, why) for name in NAMES)
        return
    clipped = None if model.clipping is None else model.clipping.is_clipped
    zone = parameters.time_zone
    days = clean_days(columns, clipped, parameters.soiling, zone, gamma)
    yield from soiling_figures(days, columns, parameters.soiling, zone)
