"""What an inverter's own numbers say against each other: DC = V x I, dark days, standing power.

DC = V x I: over the samples with real power (at least 2 % of the largest DC power) the reported
power is compared with voltage times current. It is a finding where they differ by more than one in
a thousand of the power and by more than the registers can tell: half a step of each, the step being
the largest power of ten of which all values of the point are whole multiples (at most 1 V, 1 A and
100 W).

Sun without AC: a day with more than 500 Wh/m2 in which the AC side gave nothing. Where no
irradiance is measured the DC voltage still shows light, not how much: a day in which it stood above
half of its largest value for three hours without any AC energy is told as `light_without_ac`. That
is a reason to look (a tripped inverter, snow), never a claim of lost energy.

What stands still: AC power that is the same to the last digit for more than two hours, while the
inverter is neither at rest nor says that it is throttled; irradiance likewise, where there is
light. Both are counted as they are told. Irradiance that no sun gives is taken as missing.

A rating that the AC power exceeds in more than one of a hundred samples with power is not that of
this inverter, or not in W: what rests on it is not told.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from joulemark_agent.equipment.base import (
    US_PER_H,
    US_PER_S,
    Figure,
    Finding,
    Samples,
    Span,
    Values,
    absent,
    extent,
)
from joulemark_agent.equipment.pv_amounts import (
    AC,
    COUNTER,
    CURRENT,
    DC,
    LEAST_LIGHT_W_M2,
    STATE,
    VOLTAGE,
    Amounts,
    light_v,
)
from joulemark_agent.kernels.stuck import stuck
from joulemark_agent.physics.cell_temperature import MOST_W_M2
from joulemark_agent.physics.domain import inside

THROTTLED = 5  # of the states of SunSpec

_REAL_POWER = 0.02  # of the largest DC power
_MOST_DEVIATION = 1e-3
_FINEST = -6  # steps of registers, as powers of ten
_COARSEST_V, _COARSEST_A, _COARSEST_W = 0, 0, 2  # one round value tells nothing of its register
_MOST_EFFICIENCY = 1.02  # both sides are metered within about a hundredth
_LEAST_SUN_WH_M2 = 500.0
_LEAST_LIGHT_H = 3.0
_LONGEST_STILL_US = 2 * US_PER_H
_LOWEST_OFFSET_W_M2 = -50.0  # that a pyranometer has under a clear night sky
# More sun than at standard test conditions, in the cold; and what meters may be wrong by.
_MOST_OF_RATING = {"dc_peak_w": 1.5, "ac_limit_w": 1.05}
_MOST_EXCEEDED = 0.01  # of the samples with power
_STATES = {
    1: "off", 2: "sleeping", 3: "starting", 4: "at its working point", 5: "throttled",
    6: "shutting down", 7: "fault", 8: "standby",
}  # fmt: skip


def dark_days(days: Amounts) -> Iterator[Span]:
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


def dark_findings(days: Amounts, samples: Samples) -> Iterator[Finding]:
    """The findings of those days, with the state that was reported."""
    for span in dark_days(days):
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
    if voltage is not None and np.any(inside & (voltage > light_v(voltage))):
        inside &= voltage > light_v(voltage)
    if not inside.any():
        return ""
    codes, times = np.unique(state[inside], return_counts=True)
    code = int(codes[np.argmax(times)])
    return f"; it reported state {code} ({_STATES.get(code, 'not in SunSpec')})"


def dc_check(samples: Samples) -> tuple[Figure, tuple[Finding, ...]]:
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


def impossible(whole: Amounts) -> Iterator[Finding]:
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


def possible_sun(told: Values) -> Values:
    """The irradiance, never below 0; NaN where no sun gives it. [W/m2]"""
    return np.maximum(inside(told, _LOWEST_OFFSET_W_M2, MOST_W_M2), 0.0)


def sun_findings(samples: Samples, point: str) -> Iterator[Finding]:
    """Irradiance that no sun gives, and such as stands still."""
    told = samples.column(point)
    if told is None:
        return
    do = "Look at the sensor, its cable, and the scale of the point in the profile."
    known = int(np.sum(~np.isnan(told)))
    at_us = samples.t_us[~np.isnan(told) & np.isnan(possible_sun(told))]
    if at_us.size:
        yield Finding(
            "irradiance_impossible",
            f"In {at_us.size} of {known} samples {point!r} is what no sun gives (below"
            f" {_LOWEST_OFFSET_W_M2:g} or above {MOST_W_M2:g} W/m2); they are taken as missing.",
            do,
            int(at_us[0]),
            int(at_us[-1]),
        )
    dark = -np.inf, LEAST_LIGHT_W_M2
    found = stuck(samples.t_us, possible_sun(told), _LONGEST_STILL_US, samples.max_gap_us, *dark)
    at_us = samples.t_us[found]
    if at_us.size:
        yield Finding(
            "irradiance_stuck",
            f"In {at_us.size} of {known} samples {point!r} is the same to the last digit for more"
            f" than {_LONGEST_STILL_US // US_PER_H} h, so ratios against it are not to be trusted.",
            do,
            int(at_us[0]),
            int(at_us[-1]),
        )


def exceeded_ratings(
    samples: Samples, ratings: Mapping[str, float | None]
) -> Iterator[tuple[str, Finding]]:
    """The ratings, by their name, that the AC power shows to be wrong."""
    power = samples.column(AC)
    if power is None:
        return
    for name, rated_w in ratings.items():
        if rated_w is None:
            continue
        is_beyond = power > _MOST_OF_RATING[name] * rated_w
        if is_beyond.sum() <= _MOST_EXCEEDED * np.sum(power > 0):
            continue
        at_us = samples.t_us[is_beyond]
        finding = Finding(
            "rating_exceeded",
            f"{AC!r} reaches {np.nanmax(power):.6g} W, which {name} = {rated_w:g} W does not allow;"
            " nothing is told that rests on it.",
            f"Check {name} (in W, of this inverter) and the scale of {AC!r} in the profile; a"
            " battery on the DC side feeds in, too.",
            int(at_us[0]),
            int(at_us[-1]),
        )
        yield name, finding


def still(samples: Samples) -> Iterator[Finding]:
    """Power that stands still is what somebody has kept, not what flows."""
    power, state = samples.column(AC), samples.column(STATE)
    if power is None:
        return
    judged = power if state is None else np.where(state == THROTTLED, np.nan, power)
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


def fell(falls: int, samples: Samples) -> Finding:
    """The counter stepped back, so that energy is missing."""
    return Finding(
        "counter_fell",
        f"{COUNTER!r} fell {falls} time(s); the energy of those steps is missing.",
        "Find out whether the inverter was exchanged or reset.",
        *extent(samples),
    )
