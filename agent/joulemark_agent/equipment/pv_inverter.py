"""A PV inverter: yield, its own check DC = V x I, efficiency, and sun that gave no AC.

Generation counts from the inverter's counter; the net AC energy is the AC power over time, in which
the night stays negative: what the inverter draws is consumption and is not cut off.

DC = V x I: over the samples with real power (at least 2 % of the largest DC power) the reported
power is compared with voltage times current. It is a finding where they differ by more than one in
a thousand of the power and by more than the registers can tell: half a step of each, the step being
the largest power of ten of which all values of the point are whole multiples (at most 1 V, 1 A and
100 W).

Performance ratio: net yield over the yield of the irradiance, over the time that has both, with the
DC rating at standard test conditions; without irradiance there is none, only the yield.

Sun without AC: a day with more than 500 Wh/m2 in which the AC side gave nothing. Where no
irradiance is measured the DC voltage still shows light, not how much: a day in which it stood above
half of its largest value for three hours without any AC energy is told as `light_without_ac`. That
is a reason to look (a tripped inverter, snow), never a claim of lost energy.

Power that stands still: AC power that is the same to the last digit for more than two hours, while
the inverter is neither at rest nor says that it is throttled. Its energy is counted as it is told.

Source: IEC 61724-1 as used by the Sandia PV Performance Modeling Collaborative (Yf, Yr, PR).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Annotated
from zoneinfo import ZoneInfo

import numpy as np
from pydantic import AfterValidator

from joulemark_agent.equipment.base import (
    US_PER_H,
    US_PER_S,
    Analysis,
    Figure,
    Finding,
    Positive,
    Samples,
    Section,
    Span,
    Times,
    Values,
    Windows,
    absent,
    counted,
    extent,
    held,
    measured,
    of_unit,
)
from joulemark_agent.kernels.stuck import stuck

AC, DC, VOLTAGE, CURRENT = "ac_power_w", "dc_power_w", "dc_voltage_v", "dc_current_a"
COUNTER, STATE = "generated_wh", "operating_state"

_REAL_POWER = 0.02  # of the largest DC power
_MOST_DEVIATION = 1e-3
_FINEST = -6  # steps of registers, as powers of ten
_COARSEST_V, _COARSEST_A, _COARSEST_W = 0, 0, 2  # one round value tells nothing of its register
_MOST_EFFICIENCY = 1.02  # both sides are metered within about a hundredth
_LEAST_SUN_WH_M2 = 500.0
_LEAST_LIGHT_H = 3.0
_STC_W_M2 = 1000.0
_LONGEST_STILL_US = 2 * US_PER_H
_THROTTLED = 5
_STATES = {
    1: "off", 2: "sleeping", 3: "starting", 4: "at its working point", 5: "throttled",
    6: "shutting down", 7: "fault", 8: "standby",
}  # fmt: skip


def _time_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ValueError, OSError, KeyError) as error:
        raise ValueError("there is no such time zone; write one such as 'Asia/Seoul'") from error
    return name


class Parameters(Section):
    """What only the site knows of an inverter and its panels."""

    dc_peak_w: Positive | None = None  # of the panels at standard test conditions
    irradiance: Annotated[str, of_unit("W/m2")] = "irradiance_w_m2"  # in the panels' plane
    time_zone: Annotated[str, AfterValidator(_time_zone)] = "UTC"  # whose midnight ends a day


def analyse(parameters: Parameters, samples: Samples) -> Analysis:
    """Yield and checks of the whole time and of each day."""
    samples = samples.distinct()
    start_us, end_us = extent(samples)
    if end_us == start_us:
        return Analysis(figures=(absent("net_ac_wh", "There are no samples over time."),))
    whole = _amounts(parameters, samples, np.array([start_us, end_us], np.int64))
    edges_us = day_edges_us(start_us, end_us, parameters.time_zone)
    days = _amounts(parameters, samples, edges_us)
    deviation, findings = _dc_check(samples)
    if whole.generated is not None and whole.generated.falls:
        findings = (*findings, _fell(whole.generated.falls, samples))
    spans = tuple(
        Span("day", int(edges_us[k]), int(edges_us[k + 1]), tuple(_figures(parameters, days, k)))
        for k in range(edges_us.size - 1)
    )
    return Analysis(
        figures=(*_figures(parameters, whole, 0), deviation),
        spans=(*spans, *_dark_days(days)),
        findings=(
            *findings,
            *_impossible(whole),
            *_still(samples),
            *_dark_findings(days, samples),
        ),
    )


def day_edges_us(start_us: int, end_us: int, time_zone: str) -> Times:
    """The local midnights before, in and after [start_us, end_us). [us]"""
    zone = ZoneInfo(time_zone)
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    day = (epoch + timedelta(microseconds=start_us)).astimezone(zone).date()
    edges_us: list[int] = []
    while not edges_us or edges_us[-1] < end_us:
        midnight = datetime.combine(day, time(), zone)
        midnight_us = (midnight - epoch) // timedelta(microseconds=1)
        if not edges_us or midnight_us > edges_us[-1]:  # a place may skip a day of the calendar
            edges_us.append(midnight_us)
        day += timedelta(days=1)
    return np.array(edges_us, np.int64)


@dataclass(frozen=True, eq=False)
class _Amounts:
    """What each window holds; `both_*` over the time that has AC power and irradiance."""

    edges_us: Times
    generated: Windows | None
    net: Windows
    drawn: Windows
    dc: Windows  # over the time with DC power, AC known too
    ac_of_dc: Windows
    sun: Windows | None
    both_sun: Windows | None
    both_net: Windows | None
    light: Windows | None  # time in which the DC voltage shows light, AC known too


def _amounts(parameters: Parameters, samples: Samples, edges_us: Times) -> _Amounts:
    nothing = np.full(samples.t_us.size, np.nan)
    ac = nothing if (column := samples.column(AC)) is None else column
    dc = nothing if (column := samples.column(DC)) is None else column
    dc = np.where(np.isnan(ac), np.nan, dc)
    sun = samples.column(parameters.irradiance)
    if sun is not None:
        sun = np.maximum(sun, 0.0)  # at night a pyranometer reads a little below 0: no light
    voltage = samples.column(VOLTAGE)

    def over(value: Values) -> Windows:
        return held(samples, value, edges_us)

    return _Amounts(
        edges_us,
        generated=None if samples.column(COUNTER) is None else counted(samples, COUNTER, edges_us),
        net=over(ac),
        drawn=over(np.minimum(ac, 0.0)),
        dc=over(np.where(dc > 0, dc, dc * 0.0)),
        ac_of_dc=over(np.where(dc > 0, ac, dc * 0.0)),
        sun=None if sun is None else over(sun),
        both_sun=None if sun is None else over(sun + ac * 0.0),
        both_net=None if sun is None else over(ac + sun * 0.0),
        light=None
        if voltage is None
        else over((voltage > _light_v(voltage)) + voltage * 0 + ac * 0),
    )


def _light_v(voltage: Values) -> float:
    return float(np.nanmax(voltage)) / 2


def _figures(parameters: Parameters, of: _Amounts, k: int) -> Iterator[Figure]:
    """The figures of window `k`."""
    length_us = float(of.edges_us[k + 1] - of.edges_us[k])

    def whole(name: str, windows: Windows) -> Figure:
        return measured(name, windows.amount[k], windows.covered_us[k], length_us)

    def ratio(name: str, above: float, below: float, windows: Windows, why: str) -> Figure:
        if below <= 0:
            return absent(name, why)
        return measured(name, above / below, windows.covered_us[k], length_us)

    if of.generated is None:
        yield absent("generated_wh", f"{COUNTER!r} is not recorded.")
    else:
        yield whole("generated_wh", of.generated)
    yield whole("net_ac_wh", of.net)
    yield whole("drawn_wh", of.drawn)
    yield whole("dc_wh", of.dc)
    no_dc = "The DC side gave no energy."
    yield ratio("efficiency_ratio", of.ac_of_dc.amount[k], of.dc.amount[k], of.dc, no_dc)
    peak_w = parameters.dc_peak_w
    no_peak = "The DC rating of the panels (dc_peak_w, at standard test conditions) is not given."
    yield ratio("specific_yield_wh_per_w", of.net.amount[k], peak_w or 0.0, of.net, no_peak)
    if of.sun is None or of.both_sun is None or of.both_net is None:
        why = f"No irradiance is measured ({parameters.irradiance!r}): only the yield can be told."
        yield absent("irradiation_wh_m2", why)
        yield absent("performance_ratio", why)
        return
    yield whole("irradiation_wh_m2", of.sun)
    if peak_w is None:
        yield absent("performance_ratio", no_peak)
        return
    reference_wh = peak_w * of.both_sun.amount[k] / _STC_W_M2
    yield ratio(
        "performance_ratio", of.both_net.amount[k], reference_wh, of.both_sun, "There was no sun."
    )


def _dark_days(days: _Amounts) -> Iterator[Span]:
    """The days with sun, or at least light, and no AC energy."""
    for k in range(days.edges_us.size - 1):
        start_us, end_us = int(days.edges_us[k]), int(days.edges_us[k + 1])
        if days.both_sun is not None and days.both_net is not None:
            sun_wh_m2 = float(days.both_sun.amount[k])
            if sun_wh_m2 > _LEAST_SUN_WH_M2 and days.both_net.amount[k] <= 0:
                covered = days.both_sun.covered_us[k] / (end_us - start_us)
                figure = Figure("irradiation_wh_m2", sun_wh_m2, float(covered))
                yield Span("sun_without_ac", start_us, end_us, (figure,))
        elif days.light is not None:
            light_h = float(days.light.amount[k])
            if light_h >= _LEAST_LIGHT_H and days.net.amount[k] <= 0:
                covered = days.light.covered_us[k] / (end_us - start_us)
                figure = Figure("light_s", light_h * US_PER_H / US_PER_S, float(covered))
                yield Span("light_without_ac", start_us, end_us, (figure,))


def _dark_findings(days: _Amounts, samples: Samples) -> Iterator[Finding]:
    for span in _dark_days(days):
        amount = span.figures[0].value or 0.0
        seen = (
            f"The sun gave {amount:.0f} Wh/m2"
            if span.kind == "sun_without_ac"
            else f"The DC voltage showed light for {amount / 3600:.1f} h (how much is not measured)"
        )
        yield Finding(
            span.kind,
            f"{seen} and the inverter gave no AC energy{_reported(samples, span)}.",
            "Look at the inverter's display and at the grid connection; look for snow on the"
            " panels.",
            span.start_us,
            span.end_us,
        )


def _reported(samples: Samples, span: Span) -> str:
    """What state the inverter reported most while the DC voltage, or the day, had light."""
    state = samples.column(STATE)
    if state is None:
        return ""
    inside = (samples.t_us >= span.start_us) & (samples.t_us < span.end_us) & ~np.isnan(state)
    voltage = samples.column(VOLTAGE)
    if voltage is not None and np.any(inside & (voltage > _light_v(voltage))):
        inside &= voltage > _light_v(voltage)
    if not inside.any():
        return ""
    codes, times = np.unique(state[inside], return_counts=True)
    code = int(codes[np.argmax(times)])
    return f"; it reported state {code} ({_STATES.get(code, 'not in SunSpec')})"


def _dc_check(samples: Samples) -> tuple[Figure, tuple[Finding, ...]]:
    """The largest deviation of the DC power from voltage times current, and the finding of it."""
    name = "dc_deviation_ratio"
    columns = [samples.column(point) for point in (VOLTAGE, CURRENT, DC)]
    voltage, current, power = columns
    if voltage is None or current is None or power is None:
        return absent(name, f"It needs {VOLTAGE}, {CURRENT} and {DC}, all three recorded."), ()
    is_real = (power > 0) & (power >= _REAL_POWER * np.nanmax(power))
    is_real &= ~np.isnan(voltage) & ~np.isnan(current)
    if not is_real.any():
        return absent(name, "There is no sample with DC power."), ()
    apart_w = np.abs(voltage * current - power)[is_real]
    ratio = apart_w / power[is_real]
    told_w = (
        np.abs(current[is_real]) * _step(voltage, _COARSEST_V)
        + np.abs(voltage[is_real]) * _step(current, _COARSEST_A)
        + _step(power, _COARSEST_W)
    ) / 2
    figure = Figure(name, float(ratio.max()), float(is_real.sum() / is_real.size))
    beyond = np.flatnonzero((ratio > _MOST_DEVIATION) & (apart_w > told_w))
    if beyond.size == 0:
        return figure, ()
    at_us = samples.t_us[is_real][beyond]
    worst = float(ratio[beyond].max())
    return figure, (
        Finding(
            "dc_not_v_times_i",
            f"In {beyond.size} of {ratio.size} samples the DC power is not voltage times current:"
            f" up to {worst:.1%} apart.",
            "Check the scale factors and the points of the profile; with several strings, whether"
            " the current is that of one of them only.",
            int(at_us[0]),
            int(at_us[-1]),
        ),
    )


def _impossible(whole: _Amounts) -> Iterator[Finding]:
    """More AC than DC energy: one of the two is not what its name says."""
    ac_wh, dc_wh = float(whole.ac_of_dc.amount[0]), float(whole.dc.amount[0])
    if dc_wh > 0 and ac_wh > _MOST_EFFICIENCY * dc_wh:
        yield Finding(
            "efficiency_above_one",
            f"While there was DC power the inverter gave {ac_wh / dc_wh:.2f} times as much AC"
            " energy as it took.",
            "Check the scale factors and the points of the profile, and whether the DC power is"
            " that of all inputs; a battery on the DC side feeds in, too.",
            int(whole.edges_us[0]),
            int(whole.edges_us[-1]),
        )


def _still(samples: Samples) -> Iterator[Finding]:
    """Power that stands still is what somebody has kept, not what flows."""
    power, state = samples.column(AC), samples.column(STATE)
    if power is None:
        return
    judged = power if state is None else np.where(state == _THROTTLED, np.nan, power)
    rest_w = -np.inf, 0.0
    found = stuck(samples.t_us, judged, _LONGEST_STILL_US, samples.max_gap_us, *rest_w)
    at_us = samples.t_us[found]
    if at_us.size == 0:
        return
    yield Finding(
        "power_stuck",
        f"In {at_us.size} of {np.sum(~np.isnan(power))} samples {AC!r} is the same to the last"
        f" digit for more than {_LONGEST_STILL_US // US_PER_H} h.",
        "Find out whether the inverter was limited then; if not, whoever stands between it and"
        " the reader (a logger, a gateway) had lost it and went on with the last value.",
        int(at_us[0]),
        int(at_us[-1]),
    )


def _step(values: Values, coarsest: int) -> float:
    """The largest power of ten of which all values are whole multiples: a register's step."""
    known = values[~np.isnan(values)]
    for exponent in range(coarsest, _FINEST, -1):
        scaled = known / 10.0**exponent
        if np.all(np.abs(scaled - np.rint(scaled)) <= 1e-9 * np.maximum(np.abs(scaled), 1.0)):
            return float(10.0**exponent)
    return float(10.0**_FINEST)


def _fell(falls: int, samples: Samples) -> Finding:
    return Finding(
        "counter_fell",
        f"{COUNTER!r} fell {falls} time(s); the energy of those steps is missing.",
        "Find out whether the inverter was exchanged or reset.",
        *extent(samples),
    )
