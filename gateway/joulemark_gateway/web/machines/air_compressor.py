"""A compressor: power against flow or load, leaks, and what running without load costs."""

from __future__ import annotations

from itertools import pairwise
from typing import cast

import numpy as np
from numpy.typing import NDArray

from joulemark_agent.equipment import Figure, held, parameters_of
from joulemark_agent.equipment.base import US_PER_H, drawn
from joulemark_agent.equipment.compressor_section import CompressorSection, Machine, machine_of
from joulemark_agent.equipment.compressor_states import LOAD
from joulemark_agent.equipment.segments import UNKNOWN
from joulemark_gateway.web import figures
from joulemark_gateway.web.machine_charts import (
    DAY_WIDEST,
    Scatter,
    Stack,
    Stated,
    scatter,
    stacks,
    trend,
)
from joulemark_gateway.web.machines.base import Panel, View, figure_in, is_limit, told, value_in

_LEAK = "leak_pa_s"
_PARTS = ("load", "running", "unload", "off")  # of the energy, from below
_WINDOW_US = 900_000_000  # of a dot
_LEAST_COVERED = 0.95
_MOST_DAYS = 100  # whose energy is told by state, each day by itself
_CURVE_AT = np.linspace(0.0, 1.0, 41)  # of the capacity


def panels(view: View) -> list[Panel]:
    """Power against flow, load or pressure; energy by state and day; leaks."""
    section = cast(
        "CompressorSection | None", parameters_of(view.made.device.profile.kind, view.section)
    )
    samples = view.made.samples.distinct()
    if section is None or samples.t_us.size < 2:
        return []
    machine = machine_of(section, drawn(samples, section.power)[0])
    return [_power(view, machine), _energy(view), _leaks(view)]


def _power(view: View, machine: Machine) -> Panel:
    """Its power over the flow; without a flow meter over its load, else over the pressure."""
    if machine.power is None:
        return Panel(view.words("machine_power_load"), empty=view.why("energy_wh"))
    if not isinstance(machine.free_m3_s, str):
        return _against(view, machine, machine.free_m3_s, "flow", figures.shown_as("x_m3_s"))
    if not machine.states.why:
        loaded = np.where(machine.states.is_in(LOAD), 1.0, 0.0)
        loaded[machine.states.is_in(UNKNOWN)] = np.nan
        return _against(view, machine, loaded, "load", figures.shown_as("x_ratio"))
    if machine.pressure is not None:
        why = view.words.told(machine.states.why)
        how = figures.shown_as("x_pa")
        return _against(view, machine, machine.pressure, "pressure", how, why=why)
    return Panel(view.words("machine_power_load"), empty=view.why("load_s", "energy_wh"))


def _against(
    view: View,
    machine: Machine,
    values: NDArray[np.float64],
    what: str,
    how: figures.Shown,
    *,
    why: str = "",
) -> Panel:
    """The mean power of each quarter of an hour over the mean of another quantity."""
    words, title = view.words, view.words(f"machine_power_{what}")
    power, how_power = machine.power, figures.shown_as("x_w")
    assert power is not None  # it is recorded
    start_us, end_us = (int(machine.samples.t_us[k]) for k in (0, -1))
    edges_us = np.arange(-(-start_us // _WINDOW_US) * _WINDOW_US, end_us + 1, _WINDOW_US)
    if edges_us.size < 2:
        return Panel(title, empty=words("machine_too_short"))
    either = np.isnan(power) | np.isnan(values)
    x, y = (
        held(machine.samples, np.where(either, np.nan, column), edges_us)
        for column in (values, power)
    )
    used = x.covered_us >= _LEAST_COVERED * _WINDOW_US
    hours = x.covered_us[used] / US_PER_H
    curve, of_curve = _curve(view, machine, what)
    label = words(f"machine_{what}")
    found = Scatter(
        x.amount[used] / hours * how.factor + how.offset,
        y.amount[used] / hours * how_power.factor,
        f"{label}, {how.unit}",
        f"{words('machine_power')}, {how_power.unit}",
        [(at * how.factor, power_w * how_power.factor) for at, power_w in curve],
        from_zero=what != "pressure",
    )
    if not found.x.size:
        return Panel(title, empty=words("machine_no_data"))
    shown = found if what != "pressure" else found.usual()
    if out := found.x.size - shown.x.size:
        why = f"{why} {words('machine_outside', n=out, all=found.x.size)}"
    key = [("cell", words("machine_key_quarter"))]
    if curve:
        key.append(("declared", words(of_curve)))
    drawing = scatter(shown, words("chart_power_against", what=label, device=view.device))
    note = " ".join(filter(None, (words(f"machine_power_{what}_note"), why)))
    return Panel(title, drawing, note, tuple(key))


def _curve(view: View, machine: Machine, what: str) -> tuple[list[tuple[float, float]], str]:
    """What it should draw, as declared; else, over load, straight between its two levels. [W]"""
    declared, capacity_m3_s = machine.section.curve(), machine.section.capacity_m3_s
    if declared is not None and capacity_m3_s is not None and what != "pressure":
        most = capacity_m3_s if what == "flow" else 1.0
        return [(most * at, declared(at)) for at in _CURVE_AT.tolist()], "machine_key_declared"
    levels = [view.figure(f"{name}_level_w") for name in ("unloaded", "loaded")]
    known = [level.value for level in levels if level is not None and level.value is not None]
    if what == "load" and len(known) == 2:
        return [(0.0, known[0]), (1.0, known[1])], "machine_key_levels"
    return [], ""


def _energy(view: View) -> Panel:
    """The energy of each local day by what the machine did."""
    words = view.words
    title = words("machine_energy_states")
    whole = view.figure("energy_wh")
    if whole is None or whole.value is None:
        return Panel(title, empty=view.why("energy_wh"))
    edges_us = view.days_us()
    if len(edges_us) > _MOST_DAYS + 1:
        return Panel(title, empty=words("machine_too_many_days", n=_MOST_DAYS))
    bars, sums = [], dict.fromkeys(_PARTS, 0.0)
    for (start_us, end_us), part in zip(pairwise(edges_us), view.made.parts(edges_us), strict=True):
        found = () if part is None else part.figures
        amounts = {name: value_in(found, f"{name}_wh") for name in _PARTS}
        known = {name: value for name, value in amounts.items() if value is not None}
        for name, value in known.items():
            sums[name] += value
        all_wh = value_in(found, "energy_wh")
        covered = figure_in(found, "energy_wh")
        says = [f"{words.known(f'span_{n}', n)} {told('x_wh', v)}" for n, v in known.items() if v]
        label = figures.instant(start_us, view.zone)[:10]
        bars.append(
            Stack(
                start_us,
                end_us,
                [(f"state s-{name}", value / 1000) for name, value in known.items()],
                f"{label}: {told('x_wh', all_wh)}; {', '.join(says)}{_backed(view, covered)}",
                f"#day-{label}",
                label=label[5:],
            )
        )
    all_wh = sum(sums.values())
    note = words("machine_energy_states_note")
    if all_wh and sums["unload"]:
        note = words(
            "machine_unloaded_share",
            percent=figures.number(100 * sums["unload"] / all_wh, 1),
            kwh=figures.kwh(sums["unload"], 1),
        )
    elif not any(bar.parts for bar in bars):
        return Panel(title, empty=view.why("load_wh", "unload_wh"))
    used = [name for name in _PARTS if sums[name]]
    key = tuple((f"state s-{name}", words.known(f"span_{name}", name)) for name in used)
    return Panel(
        title, stacks(bars, "kWh", view.frame("chart_energy_states"), DAY_WIDEST), note, key
    )


def _backed(view: View, figure: Figure | None) -> str:
    if figure is None or figure.covered_ratio is None or figure.covered_ratio >= 1:
        return ""
    percent = figures.percent(figure.covered_ratio, 1)
    return f"; {view.words('backed', percent=percent)}"


def _leaks(view: View) -> Panel:
    """The pressure lost in each episode; what is not resolved stands as a cross at the foot."""
    words = view.words
    title = words("machine_leaks")
    rows = []
    for span in view.spans("leak"):
        figure = figure_in(span.figures, _LEAK)
        if figure is not None:
            is_open = figure.value is None or "unresolved" in figure.flags
            rows.append(
                Stated(
                    (span.start_us + span.end_us) // 2,
                    None if is_open else figure.value,
                    figure.standard_uncertainty,
                    is_limit(figure),
                )
            )
    if not rows:
        return Panel(title, empty=view.why(_LEAK))
    how = figures.shown_as(_LEAK)
    drawing = trend(rows, how, view.frame("chart_leaks"), None, from_zero=True)
    key = [("stated", words("machine_key_episode"))]
    if any(row.standard_uncertainty for row in rows):
        key.append(("whisker", words("machine_key_band")))
    if any(row.value is None for row in rows):
        key.append(("unresolved", words("flag_unresolved")))
    return Panel(title, drawing, words("machine_leaks_note"), tuple(key))
