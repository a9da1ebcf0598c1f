"""Yields and performance ratios of an inverter's modules, over samples that have all they need.

Every ratio is one of sums over the same samples, against the stated DC rating at standard test
conditions (the figure `dc_peak_w`). Without irradiance there is no ratio: only the yield can be
told, and how it compares with that of neighbours.

The annual-equivalent ratio needs the year's cell temperature, fixed beforehand. A mean of the
period itself would cancel, so it must be of a time that ended before the samples begin.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date
from statistics import median
from typing import Annotated

from pydantic import AfterValidator, Field

from joulemark_agent.equipment.base import (
    Figure,
    Number,
    Section,
    Windows,
    absent,
    measured,
)
from joulemark_agent.equipment.days import iso_day
from joulemark_agent.equipment.metering import stated
from joulemark_agent.equipment.pv_amounts import LEAST_LIGHT_W_M2, Amounts
from joulemark_agent.physics.budget import Amount, Part, product, ratio
from joulemark_agent.physics.domain import OutOfDomain
from joulemark_agent.physics.photovoltaics import (
    STC_CELL_K,
    annual_equivalent_performance_ratio,
    corrected_performance_ratio,
    final_yield_wh_per_w,
    performance_ratio,
    reference_yield_wh_per_w,
    temperature_factor,
)
from joulemark_agent.physics.uncertainty import judged_degrees_of_freedom, rectangular

DECLARED = "declared"  # flag: the value rests on a rating that somebody stated
NO_PEAK = (
    "No DC rating of the panels (dc_peak_w, at standard test conditions) is given that the measured"
    " power does not exceed."
)

_LIMIT_DOUBT_RATIO = 0.1  # how sure the limits of sensors are
_NO_SUN = "There was no sun."
_TOO_DARK = (
    f"Most of the light was below {LEAST_LIGHT_W_M2:g} W/m2, where sensor and inverter tell too"
    " little for a ratio. Look at a longer time."
)
_PLAIN = "performance_ratio"
_CORRECTED = "temperature_corrected_performance_ratio"
_ANNUAL = "annual_equivalent_performance_ratio"


class AnnualCell(Section):
    """The year's cell temperature, weighted with the irradiance, fixed before what it corrects."""

    temperature_k: Annotated[Number, Field(ge=223.15, le=373.15)]
    until: Annotated[str, AfterValidator(iso_day)]  # last day of the year that it is the mean of


@dataclass(frozen=True)
class Rating:
    """What the ratios rest on; what is not given leaves out what needs it."""

    dc_peak_w: float | None
    gamma_per_k: float | None
    annual_cell: AnnualCell | None
    sun_limit_ratio: float | None  # of the irradiance sensor
    cell_limit_k: float | None  # of the cells' temperature
    cell_flags: tuple[str, ...] = ()  # of where that comes from


def ratio_figures(
    rating: Rating, of: Amounts, k: int, *, why_no_sun: str, why_no_cells: str, begins: date
) -> Iterator[Figure]:
    """Yields and ratios of window `k`.

    Args:
        rating: what is declared.
        of: what the windows hold.
        k: of the window.
        why_no_sun: what to say where no irradiance is measured.
        why_no_cells: what to say where the cells' temperature is not known.
        begins: the local day in which the samples begin.
    """
    peak_w = rating.dc_peak_w
    if peak_w is None:
        yield absent("dc_peak_w", NO_PEAK)
    else:
        yield Figure("dc_peak_w", peak_w, flags=(DECLARED,))
    names = ("final_yield_wh_per_w", "reference_yield_wh_per_w", _PLAIN, _CORRECTED, _ANNUAL)
    if of.sun is None or of.both_sun is None or of.both_net is None:
        yield from (absent(name, why_no_sun) for name in names)
        return
    if peak_w is None:
        yield from (absent(name, NO_PEAK) for name in names)
        return
    length_us = float(of.edges_us[k + 1] - of.edges_us[k])
    sun_wh_m2, net_wh = float(of.both_sun.amount[k]), float(of.both_net.amount[k])
    both_us = float(of.both_sun.covered_us[k])
    time_us = (both_us, length_us)

    figure = _told(names[0], time_us, lambda: final_yield_wh_per_w(net_wh, peak_w))
    yield stated(figure, per_peak(of.both_net_u[k], peak_w))
    yield _told(names[1], time_us, lambda: reference_yield_wh_per_w(sun_wh_m2))
    if both_us > 0 and (dark := _dark(of, k, sun_wh_m2)):
        yield from (absent(name, dark) for name in names[2:])
        return
    figure = _told(_PLAIN, time_us, lambda: performance_ratio(net_wh, peak_w, sun_wh_m2))
    yield stated(figure, _ratio_u(rating, of.both_net_u[k], sun_wh_m2, peak_w))
    yield from _corrected(rating, of, k, why_no_cells, begins)


def _told(
    name: str,
    time_us: tuple[float, float],
    formula: Callable[[], float],
    flags: tuple[str, ...] = (DECLARED,),
) -> Figure:
    """The figure; absent where no time is covered or the formula says nothing of its input.

    Args:
        name: of the figure.
        time_us: that is covered, and of the window. [us]
        formula: of its value.
        flags: of the value.
    """
    if time_us[0] <= 0:
        return measured(name, 0.0, *time_us)
    try:
        return replace(measured(name, formula(), *time_us), flags=flags)
    except OutOfDomain as error:
        return absent(name, str(error))


def _dark(of: Amounts, k: int, sun_wh_m2: float) -> str:
    """Why the light of window `k` allows no ratio; "" where it does."""
    if sun_wh_m2 <= 0:
        return _NO_SUN
    bright = of.bright_sun
    return _TOO_DARK if bright is None or float(bright.amount[k]) < sun_wh_m2 / 2 else ""


def per_peak(energy: Amount | None, dc_peak_w: float | None) -> Amount | None:
    """An energy over the stated rating, which is taken as it is stated. [Wh/W]"""
    if energy is None or dc_peak_w is None:
        return None
    return product(energy, Amount(1.0 / dc_peak_w))


def peer_figures(yields: Mapping[str, Figure]) -> dict[str, Figure]:
    """How each of several inverters compares with its neighbours, where no irradiance tells.

    Args:
        yields: by inverter its figure `specific_yield_wh_per_w` of one and the same span.

    Returns:
        by inverter its yield over the median of the others' (`peer_ratio`).
    """
    name = "peer_ratio"
    known = {device: figure.value for device, figure in yields.items() if figure.value is not None}
    found: dict[str, Figure] = {}
    for device, figure in yields.items():
        others = [value for other, value in known.items() if other != device]
        if figure.value is None:
            found[device] = absent(name, figure.why)
        elif not others or median(others) <= 0:
            found[device] = absent(name, "No other inverter of the site has a yield to compare.")
        else:
            covered = min(yields[other].covered_ratio or 0.0 for other in known)
            found[device] = Figure(name, figure.value / median(others), covered)
    return found


def _corrected(
    rating: Rating, of: Amounts, k: int, why_no_cells: str, begins: date
) -> Iterator[Figure]:
    """The ratios at 25 degC and at the year's temperature of the cells."""
    sun, net, warmth = of.warm_sun, of.warm_net, of.warmth
    gamma, peak_w, annual = rating.gamma_per_k, rating.dc_peak_w, rating.annual_cell
    why = ""
    if sun is None or net is None or warmth is None:
        why = why_no_cells
    elif gamma is None or peak_w is None:
        why = "The temperature coefficient of the modules (gamma_per_k, in 1/K) is not given."
    elif sun.covered_us[k] <= 0:
        why = "The temperature of the cells has no good value (from 173 to 473 K) in this time."
    elif float(sun.amount[k]) <= 0:
        why = _NO_SUN
    if why or sun is None or net is None or warmth is None or gamma is None or peak_w is None:
        yield from (absent(name, why) for name in (_CORRECTED, _ANNUAL))
        return
    sun_wh_m2, net_wh = float(sun.amount[k]), float(net.amount[k])
    mean_k = float(warmth.amount[k]) / sun_wh_m2
    warm = {"mean_cell_k": mean_k, "gamma_per_k": gamma}
    plain = _ratio_u(rating, of.warm_net_u[k], sun_wh_m2, peak_w)

    def told(name: str, formula: Callable[[], float], reference_k: float) -> Figure:
        time_us = (float(sun.covered_us[k]), _length_us(of, k))
        figure = _told(name, time_us, formula, (DECLARED, *rating.cell_flags))
        factor = None if figure.value is None else _factor_u(rating, mean_k, reference_k)
        known = None if plain is None or factor is None else ratio(plain, factor)
        return stated(figure, known)

    yield told(
        _CORRECTED,
        lambda: corrected_performance_ratio(net_wh, peak_w, sun_wh_m2, **warm),
        STC_CELL_K,
    )
    if annual is None:
        yield absent(_ANNUAL, "The year's cell temperature (annual_cell) is not given.")
        return
    if begins <= date.fromisoformat(annual.until):
        yield absent(
            _ANNUAL,
            f"The year's cell temperature (annual_cell) is that of a time until {annual.until},"
            " which the samples belong to: with the mean of the same time the correction cancels."
            " Give that of a year that ended before them.",
        )
        return
    annual_k = annual.temperature_k
    yield told(
        _ANNUAL,
        lambda: annual_equivalent_performance_ratio(
            net_wh, peak_w, sun_wh_m2, **warm, annual_cell_k=annual_k
        ),
        annual_k,
    )


def _length_us(of: Amounts, k: int) -> float:
    return float(of.edges_us[k + 1] - of.edges_us[k])


def _ratio_u(rating: Rating, net: Amount | None, sun_wh_m2: float, peak_w: float) -> Amount | None:
    """The performance ratio with what the meter and the irradiance sensor make it unsure by."""
    given = per_peak(net, peak_w)
    if given is None or rating.sun_limit_ratio is None or sun_wh_m2 <= 0:
        return None
    judged = judged_degrees_of_freedom(_LIMIT_DOUBT_RATIO)
    sun_u = Part(rectangular(rating.sun_limit_ratio) * sun_wh_m2, judged)
    sun = Amount(sun_wh_m2, {"irradiance sensor": sun_u})
    return ratio(given, product(sun, Amount(reference_yield_wh_per_w(1.0))))


def _factor_u(rating: Rating, mean_k: float, reference_k: float) -> Amount | None:
    """The temperature factor with what the cells' temperature makes it unsure by."""
    if rating.cell_limit_k is None or rating.gamma_per_k is None:
        return None
    judged = judged_degrees_of_freedom(_LIMIT_DOUBT_RATIO)
    part = Part(rating.gamma_per_k * rectangular(rating.cell_limit_k), judged)
    factor = float(temperature_factor(mean_k, rating.gamma_per_k, reference_k))
    return Amount(factor, {"cell temperature": part})


def energy_figure(name: str, windows: Windows, of: Amounts, k: int) -> Figure:
    """What a window holds, with the share of its time that is covered."""
    return measured(name, windows.amount[k], windows.covered_us[k], _length_us(of, k))
