"""A PV inverter: power against the sun over the day, and the performance ratio by day."""

from __future__ import annotations

import numpy as np

from joulemark_gateway.web import figures
from joulemark_gateway.web.machine_charts import DAY_WIDEST, Curve, Stack, power_and_sun, stacks
from joulemark_gateway.web.machines.base import Panel, View, figure_in, is_limit, told, value_in

_AC, _DC, _SUN = "ac_power_w", "dc_power_w", "irradiance_w_m2"
_CLIPPED = ("clipped", "clipping", "throttled")
_RATIO, _CORRECTED = "performance_ratio", "temperature_corrected_performance_ratio"
_MOST_SAMPLES = 3000  # of a curve; beyond, its means


def panels(view: View) -> list[Panel]:
    """Power against the sun, performance ratio by day."""
    return [_curves(view), _ratios(view)]


def _curves(view: View) -> Panel:
    words, title = view.words, view.words("machine_power_sun")
    ac, dc = _curve(view, _AC, "ac"), _curve(view, _DC, "dc")
    if ac is None and dc is None:
        return Panel(title, empty=words("machine_no_data"))
    sun_point = view.point_of("W/m2", view.section.get("irradiance"), _SUN)
    sun = None if sun_point is None else _curve(view, sun_point, "sun")
    clipped = [(span.start_us, span.end_us) for span in view.spans(*_CLIPPED)]
    curves = [curve for curve in (dc, ac) if curve is not None]
    units = (figures.shown_as(_AC).unit, figures.shown_as(_SUN).unit)
    drawn = power_and_sun(curves, sun, clipped, units, view.frame("chart_power_sun"))
    key = [("line ac", words("machine_key_ac")), ("line dc", words("machine_key_dc"))]
    key = [item for item, curve in zip(key, (ac, dc), strict=True) if curve is not None]
    key += [("sun", words("machine_key_sun"))] if sun is not None else []
    key += [("clipped", words("span_clipped"))] if clipped else []
    note = words("machine_power_sun_note") if sun is not None else words("machine_no_sun")
    return Panel(title, drawn, f"{note} {_clipping(view)}".strip(), tuple(key))


def _clipping(view: View) -> str:
    """How long it was at its limit, or why that is not known."""
    figure = view.figure("clipped_s")
    if figure is None:
        return ""
    if figure.value is None:
        return view.words("machine_clipping_unknown", why=view.words.told(figure.why))
    time = figures.duration(view.words, figure.value * figures.US_PER_S)
    return view.words("machine_clipped", time=time)


def _curve(view: View, point: str, css: str) -> Curve | None:
    values = view.column(point)
    if values is None:
        return None
    t_us = view.made.samples.t_us
    every = -(-t_us.size // _MOST_SAMPLES)
    if every > 1:  # an unknown value stays unknown: the mean of its group is none
        whole = t_us.size // every * every
        t_us = t_us[:whole].reshape(-1, every)[:, every // 2]
        values = np.asarray(values[:whole].reshape(-1, every).mean(axis=1))
    return Curve(css, t_us, values)


def _ratios(view: View) -> Panel:
    words, title = view.words, view.words("machine_ratio")
    days = view.spans("day")
    is_corrected = any(value_in(day.figures, _CORRECTED) is not None for day in days)
    name = _CORRECTED if is_corrected else _RATIO
    how = figures.shown_as(name)
    bars = []
    for day in days:
        figure = figure_in(day.figures, name)
        value = None if figure is None else figure.value
        label = figures.instant(day.start_us, view.zone)[:10]
        both = [
            f"{words.known(f'figure_{f.name}', f.name)} {told(f.name, f.value)}"
            for f in day.figures
            if f.name in {_RATIO, _CORRECTED} and f.value is not None
        ]
        bars.append(
            Stack(
                day.start_us,
                day.end_us,
                [] if value is None else [("made", value * how.factor)],
                f"{label}: {', '.join(both) or words('no_value')}",
                view.records(day),
                figure is not None and is_limit(figure),
                label[5:],
            )
        )
    if not any(bar.parts for bar in bars):
        return Panel(title, empty=view.why(_RATIO))
    key = [("made", words.known(f"figure_{name}", name)), ("void", words("key_void"))]
    if any(bar.is_limited for bar in bars):
        key.append(("limit", words("machine_key_limited")))
    drawn = stacks(bars, how.unit, view.frame("chart_ratio"), DAY_WIDEST)
    return Panel(title, drawn, words("machine_ratio_note"), tuple(key))
