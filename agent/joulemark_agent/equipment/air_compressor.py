"""An air compressor: load, unload and off; energy of each; specific power; leaks while it is off.

States follow the power, or the motor current where there is no power: off below 5 % of the rating,
loaded above 60 % of the way from the unloaded to the loaded level, unloaded below 40 %, in between
as before. Load and unload last at least two samples, and a start's inrush of less than 10 s is no
load; off is unmistakable and is taken as it is read.

The two levels are declared, or learned from the samples: the medians on both sides of the split
that separates the running values best (Otsu 1979, DOI 10.1109/TSMC.1979.4310076). Quantiles of
10 % and 90 %, the usual choice, see one level only when a machine is loaded for less than a tenth
of its running time. Where the values show no two levels (a base-load or speed-controlled machine),
or change faster than they are read, the machine is `running` and no load time is claimed.

Leaks: while the machine is off the reservoir loses pressure through leaks and through whatever
draws air. Only the site knows that nothing else feeds the reservoir (`only_source`); without that
no leak is claimed. The rate is that between the mean of the first tenth and the mean of the last
tenth of the phase, which is the air really lost over the time. A straight line fitted through all
samples weighs the middle: one draw of air in mid-phase moved it by 0.0011 bar/min on recorded
data, where the rate between the ends moved by 0.0002. The line's misfit is told as the residual.
A phase in which the pressure rises by more than a fifth of its fall is no leak: something fed the
reservoir, perhaps this machine itself between two readings.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from joulemark_agent.equipment.base import (
    US_PER_H,
    US_PER_S,
    Analysis,
    Figure,
    Finding,
    Flags,
    Number,
    Positive,
    Samples,
    Section,
    Span,
    Times,
    Values,
    absent,
    drawn,
    extent,
    held_steps_us,
    measured,
    of_unit,
)
from joulemark_agent.equipment.segments import UNKNOWN, Labels, Run, on_steps, runs, settled, spans
from joulemark_agent.kernels.gas import (
    COMPRESSOR_INLET,
    NORMAL_0C,
    STANDARD_15C,
    STANDARD_20C,
    State,
    volume_at,
)

PA_S_PER_BAR_MIN = 100_000.0 / 60.0
J_M3_PER_KW_MIN_M3 = 60_000.0  # 1 kW/(m3/min)
KINDS = ("off", "unload", "load", "running")
OFF, UNLOAD, LOAD, RUNNING = (np.int8(i) for i in range(4))

_OFF_RATIO = 0.05
_LOADED_FROM, _UNLOADED_TO = 0.6, 0.4  # of the way from the unloaded to the loaded level
_LEAST_SAMPLES = 2  # of a state
_INRUSH_US = 10 * US_PER_S
_LEAST_LOAD_SAMPLES = 3  # of the usual load phase: read slower, phases are missed
_LEAST_LEAK_SAMPLES = 5
_MOST_RISE = 0.2  # of the fall
_LEAST_FLOW_RATIO = 0.1
_RUNNING_W = 1000.0  # no standby of a compressor draws a kilowatt; of a current, nothing is known
_MOST_UNLOADED = {"w": 0.7, "a": 0.8}  # of the loaded level; a motor at no load still magnetises

_REFERENCES = {"normal_0c": NORMAL_0C, "standard_15c": STANDARD_15C, "standard_20c": STANDARD_20C}


class Inlet(Section):
    """The air the machine takes in; free air is counted in it. Default: 1 bar, 20 C, dry."""

    pressure_pa: Positive = COMPRESSOR_INLET.pressure_pa
    temperature_k: Positive = COMPRESSOR_INLET.temperature_k
    water_vapour_pa: Annotated[Number, Field(ge=0)] = 0.0

    @model_validator(mode="after")
    def _is_mostly_air(self) -> Inlet:
        if self.water_vapour_pa >= self.pressure_pa / 2:
            raise ValueError("water vapour is a small part of the inlet pressure, both in Pa")
        return self


class Flow(Section):
    """The flow meter and what its cubic metre is: free air, or air at 0, 15 or 20 C, 1 atm."""

    point: Annotated[str, of_unit("m3/s")]
    reference: Literal["fad", "normal_0c", "standard_15c", "standard_20c"] | None = None
    rated_m3_s: Positive | None = None
    inlet: Inlet = Inlet()


class Parameters(Section):
    """What only the site knows of a compressor."""

    power: Annotated[str, of_unit("W")] = "power_w"
    current: Annotated[str, of_unit("A")] = "motor_current_a"
    pressure: Annotated[str, of_unit("Pa")] | None = None
    only_source: bool = False  # nothing else feeds what `pressure` measures
    flow: Flow | None = None
    rated_power_w: Positive | None = None
    rated_current_a: Positive | None = None
    loaded_w: Positive | None = None  # the levels, where they are known
    unloaded_w: Positive | None = None
    loaded_a: Positive | None = None
    unloaded_a: Positive | None = None

    @model_validator(mode="after")
    def _has_both_levels(self) -> Parameters:
        for unit in ("w", "a"):
            low, high = self.levels(unit) or (None, None)
            if (low is None) != (high is None):
                raise ValueError(f"loaded_{unit} and unloaded_{unit} belong together: give both")
            if low is not None and high is not None and low >= high:
                raise ValueError(
                    f"unloaded_{unit} is {low} and must be below loaded_{unit}, {high}"
                )
        if self.only_source and self.pressure is None:
            raise ValueError("only_source is said of a pressure: name the point in 'pressure'")
        return self

    def levels(self, unit: str) -> tuple[float | None, float | None]:
        """The unloaded and the loaded level declared, in W or A."""
        if unit == "w":
            return self.unloaded_w, self.loaded_w
        return self.unloaded_a, self.loaded_a


@dataclass(frozen=True)
class _States:
    """The label of every step; `why` tells why running time is not told apart."""

    labels: Labels  # shape (n - 1,)
    step_us: Times  # shape (n,)
    levels: tuple[float, float] | None = None  # unloaded, loaded
    why: str = ""

    def is_in(self, *states: np.int8) -> Flags:
        """Which samples hold in one of the states. Shape (n,)."""
        return np.append(np.isin(self.labels, states), False)


def analyse(parameters: Parameters, samples: Samples) -> Analysis:
    """States, their times and energies, specific power and leak episodes of one compressor."""
    samples, reversals = drawn(samples.distinct(), parameters.power)
    start_us, end_us = extent(samples)
    if end_us == start_us:
        return Analysis(figures=(absent("energy_wh", "There are no samples over time."),))
    unit, driver = _driver(parameters, samples)
    states = _states(parameters, unit, driver, samples)
    leaks, leak_figure, findings = _leaks(parameters, samples, states)
    return Analysis(
        figures=(
            *_energies(parameters, samples, states),
            *_charges(parameters, samples),
            *_times(states, end_us - start_us),
            *_level_figures(unit, states),
            *_pressures(parameters, samples),
            *_specific(parameters, samples, states),
            leak_figure,
        ),
        spans=(*spans(states.labels, samples.t_us, KINDS), *leaks),
        findings=(*reversals, *findings),
    )


def _driver(parameters: Parameters, samples: Samples) -> tuple[str, Values | None]:
    """What tells the states, and its unit: the power, else the motor current."""
    power = samples.column(parameters.power)
    if power is not None:
        return "w", power
    return "a", samples.column(parameters.current)


def _states(parameters: Parameters, unit: str, driver: Values | None, samples: Samples) -> _States:
    if driver is None:
        nothing = np.full(samples.t_us.size, np.nan)
        step_us = held_steps_us(samples.t_us, nothing, samples.max_gap_us)
        why = f"Neither {parameters.power!r} nor {parameters.current!r} is recorded."
        return _States(on_steps(np.zeros(step_us.size, np.int8), step_us), step_us, None, why)
    step_us = held_steps_us(samples.t_us, driver, samples.max_gap_us)
    low, high = parameters.levels(unit)
    rated = parameters.rated_power_w if unit == "w" else parameters.rated_current_a
    values = driver[~np.isnan(driver)]
    top = rated or high or _usual_top(values)
    is_off = driver <= _OFF_RATIO * top  # NaN is not; 0 is, whatever the rating
    running = driver[~np.isnan(driver) & ~is_off]
    levels = (
        (low, high)
        if low is not None and high is not None
        else _learned(running, _MOST_UNLOADED[unit])
    )
    is_small = rated is None and high is None and unit == "w" and 0 < top < _RUNNING_W
    if levels is None or is_small:
        labels = np.where(is_off, OFF, RUNNING)
        point = parameters.power if unit == "w" else parameters.current
        why = (
            f"{point!r} shows no two levels that could be told apart as loaded and unloaded. If"
            f" the machine has them, give loaded_{unit} and unloaded_{unit}."
        )
        is_on = unit == "w" and np.median(values) >= _RUNNING_W
        if is_small or (rated is None and not is_off.any() and not is_on):
            labels = np.full(labels.size, UNKNOWN)
            why += f" Whether it ran at all needs rated_{_RATED[unit]}."
        return _States(on_steps(labels, step_us), step_us, None, why)
    raw = on_steps(_with_hysteresis(driver, is_off, *levels), step_us)
    running_runs = runs(np.where(raw > OFF, RUNNING, raw))
    phases = [run for run in runs(raw) if run.label == LOAD]
    phases = phases or [run for run in running_runs if run.label == RUNNING]
    if phases and np.median([run.size for run in phases]) < _LEAST_LOAD_SAMPLES:
        why = (
            f"The machine loads for {_usual_s(phases, samples.t_us):.0f} s at a time and is read"
            f" every {_period_s(samples):.0f} s: read it at least {_LEAST_LOAD_SAMPLES} times in a"
            " load phase, or take the controller's own load hours."
        )
        labels = np.where(np.isin(raw, (LOAD, UNLOAD)), RUNNING, raw)
        return _States(labels, step_us, levels, why)
    labels = settled(_without_inrush(raw, samples.t_us), _LEAST_SAMPLES, fixed=(OFF,))
    return _States(labels, step_us, levels)


_RATED = {"w": "power_w", "a": "current_a"}


def _usual_top(values: Values) -> float:
    """About the loaded level, without a rating: inrush is rare, and a stopped motor draws < 1 %."""
    on = values[values > 0.01 * values.max()]
    return float(np.quantile(on, 0.95)) if on.size else 0.0


def _learned(running: Values, most_unloaded: float) -> tuple[float, float] | None:
    """The unloaded and loaded level, where the running values have two; None where not."""
    if running.size < 2 * _LEAST_SAMPLES:
        return None
    ordered = np.sort(np.minimum(running, np.quantile(running, 0.99)))  # inrush makes no level
    left = np.arange(1, ordered.size)
    below = np.cumsum(ordered)[:-1]
    distance = (ordered.sum() - below) / (ordered.size - left) - below / left
    split = int(np.argmax(left * (ordered.size - left) * distance**2)) + 1
    low, high = float(np.median(ordered[:split])), float(np.median(ordered[split:]))
    between = (ordered > low + _UNLOADED_TO * (high - low)) & (
        ordered < low + _LOADED_FROM * (high - low)
    )
    is_apart = low < high and low <= most_unloaded * high and between.mean() <= 0.1
    are_levels = min(split, ordered.size - split) >= _LEAST_SAMPLES
    return (low, high) if is_apart and are_levels else None


def _with_hysteresis(driver: Values, is_off: Flags, low: float, high: float) -> Labels:
    """Off, unload or load; between the thresholds as the sample before, else as is nearer."""
    way = (driver - low) / (high - low)
    labels = np.where(way >= (_LOADED_FROM + _UNLOADED_TO) / 2, LOAD, UNLOAD)
    labels[is_off] = OFF
    for i in np.flatnonzero((way > _UNLOADED_TO) & (way < _LOADED_FROM) & ~is_off):
        if i > 0 and labels[i - 1] != OFF and not np.isnan(driver[i - 1]):
            labels[i] = labels[i - 1]
    return labels


def _without_inrush(labels: Labels, t_us: Times) -> Labels:
    """The labels where a load of less than 10 s right after off is what follows it."""
    kept = labels.copy()
    found = list(runs(labels))
    for before, run, after in zip(found, found[1:], found[2:], strict=False):
        is_start = run.label == LOAD and before.label == OFF and after.label != UNKNOWN
        if is_start and t_us[run.stop] - t_us[run.first] < _INRUSH_US:
            kept[run.first : run.stop] = after.label
    return kept


def _usual_s(phases: Sequence[Run], t_us: Times) -> float:
    return float(np.median([_length_us(run, t_us) for run in phases])) / US_PER_S


def _period_s(samples: Samples) -> float:
    return float(np.median(np.diff(samples.t_us))) / US_PER_S


def _times(states: _States, span_us: int) -> Iterator[Figure]:
    """How long it did what; with `unknown_s` they add up to the span."""
    known_us = int(states.step_us[:-1][states.labels != UNKNOWN].sum())
    for label, kind in enumerate(KINDS):
        if states.why and (label in {UNLOAD, LOAD} or known_us == 0):
            yield absent(f"{kind}_s", states.why)
        else:
            time_us = int(states.step_us[states.is_in(np.int8(label))].sum())
            yield measured(f"{kind}_s", time_us / US_PER_S, known_us, span_us)
    yield Figure("unknown_s", (span_us - known_us) / US_PER_S, 1.0)
    if states.why:
        yield absent("load_count", states.why)
    else:
        phases = sum(run.label == LOAD for run in runs(states.labels))
        yield measured("load_count", float(phases), known_us, span_us)


def _energies(parameters: Parameters, samples: Samples, states: _States) -> Iterator[Figure]:
    """The energy of the whole and of each state; unloaded energy is what idling costs."""
    power = samples.column(parameters.power)
    span_us = samples.t_us[-1] - samples.t_us[0]
    if power is None:
        why = f"{parameters.power!r} is not recorded."
        if samples.column(parameters.current) is not None:
            why += " A motor current alone is no energy: voltage and power factor are missing."
        yield from (absent(name, why) for name in ("energy_wh", *(f"{k}_wh" for k in KINDS)))
        return
    energy_wh = np.where(states.step_us > 0, power, 0.0) * states.step_us / US_PER_H
    covered_us = int(states.step_us.sum())
    is_known = bool(np.any(states.labels != UNKNOWN))
    yield measured("energy_wh", float(energy_wh.sum()), covered_us, span_us)
    for label, kind in enumerate(KINDS):
        if states.why and (label in {UNLOAD, LOAD} or not is_known):
            yield absent(f"{kind}_wh", states.why)
        else:
            part_wh = float(energy_wh[states.is_in(np.int8(label))].sum())
            yield measured(f"{kind}_wh", part_wh, covered_us, span_us)


def _charges(parameters: Parameters, samples: Samples) -> Iterator[Figure]:
    """What the motor drew, where its current is recorded."""
    current = samples.column(parameters.current)
    if current is not None:
        step_us = held_steps_us(samples.t_us, current, samples.max_gap_us)
        charge_ah = np.where(step_us > 0, current, 0.0) @ step_us / US_PER_H
        span_us = samples.t_us[-1] - samples.t_us[0]
        yield measured("charge_ah", float(charge_ah), int(step_us.sum()), span_us)


def _level_figures(unit: str, states: _States) -> Iterator[Figure]:
    """The levels by which the states were told."""
    if states.levels is not None:
        for name, level in zip(("unloaded", "loaded"), states.levels, strict=True):
            yield Figure(f"{name}_level_{unit}", level)


def _pressures(parameters: Parameters, samples: Samples) -> Iterator[Figure]:
    """The mean pressure over time."""
    if parameters.pressure is None:
        return
    pressure = samples.column(parameters.pressure)
    if pressure is None:
        yield absent("mean_pressure_pa", f"{parameters.pressure!r} is not recorded.")
        return
    step_us = held_steps_us(samples.t_us, pressure, samples.max_gap_us)
    covered_us = int(step_us.sum())
    mean_pa = np.where(step_us > 0, pressure, 0.0) @ step_us / max(covered_us, 1)
    yield measured(
        "mean_pressure_pa", float(mean_pa), covered_us, samples.t_us[-1] - samples.t_us[0]
    )


def _specific(parameters: Parameters, samples: Samples, states: _States) -> Iterator[Figure]:
    """Power over free air delivered: the energy of the loaded time over its volume. [J/m3]

    Over the steps in which the machine delivers (loaded, or running where its states are not told
    apart) and the flow is at least a tenth of the rated one. A ratio of sums, no mean of ratios.
    """
    names = ("specific_power_j_m3", "free_air_m3")
    flow, power = parameters.flow, samples.column(parameters.power)
    if flow is None:
        why = "There is no flow meter: without the air delivered there is no specific power."
    elif flow.reference is None:
        why = (
            f"The section does not say what a cubic metre of {flow.point!r} is. Free air and"
            " normal cubic metres differ by 9 %: look at the meter and set flow.reference."
        )
    elif (flow_m3_s := samples.column(flow.point)) is None:
        why = f"{flow.point!r} is not recorded."
    elif power is None:
        why = f"{parameters.power!r} is not recorded."
    else:
        least_m3_s = _LEAST_FLOW_RATIO * (flow.rated_m3_s or float(np.nanquantile(flow_m3_s, 0.95)))
        both = np.where(np.isnan(power), np.nan, flow_m3_s)
        step_us = held_steps_us(samples.t_us, both, samples.max_gap_us)
        step_us = step_us * (states.is_in(LOAD, RUNNING) & (flow_m3_s >= least_m3_s))
        used = step_us > 0
        volume_m3 = volume_at(
            float(flow_m3_s[used] @ step_us[used]) / US_PER_S,
            *_from_to(flow),
        )
        if volume_m3 > 0:
            energy_j = float(power[used] @ step_us[used]) / US_PER_S
            delivering_us = int(states.step_us[states.is_in(LOAD, RUNNING)].sum())
            covered_us = int(step_us.sum())
            yield measured(names[0], energy_j / volume_m3, covered_us, delivering_us)
            yield measured(names[1], volume_m3, covered_us, delivering_us)
            return
        why = "There is no time in which the machine was loaded and air flowed."
    yield from (absent(name, why) for name in names)


def _from_to(flow: Flow) -> tuple[State, State]:
    """The states in which the meter counts and in which free air is counted."""
    inlet = State(flow.inlet.pressure_pa - flow.inlet.water_vapour_pa, flow.inlet.temperature_k)
    return _REFERENCES.get(flow.reference or "", inlet), inlet


def _leaks(
    parameters: Parameters, samples: Samples, states: _States
) -> tuple[tuple[Span, ...], Figure, tuple[Finding, ...]]:
    """Each off phase as a leak episode, and the rate over all of them."""
    name = "leak_pa_s"
    pressure = None if parameters.pressure is None else samples.column(parameters.pressure)
    if pressure is None:
        return (), absent(name, "There is no pressure of a reservoir to watch."), ()
    if not parameters.only_source:
        why = (
            f"Nothing says that this machine alone feeds {parameters.pressure!r}. If it does, set"
            " only_source: true; beside other compressors a falling pressure shows no leak."
        )
        return (), absent(name, why), ()
    phases = [run for run in runs(states.labels) if run.label == OFF]
    if not phases:
        return (), absent(name, states.why or "The machine never stood still."), ()
    long_enough = [run for run in phases if _readings(run, pressure).size >= _LEAST_LEAK_SAMPLES]
    if not long_enough:
        usual_s = _usual_s(phases, samples.t_us)
        why = (
            f"The machine stands still for {usual_s:.0f} s at a time and its pressure is read every"
            f" {_period_s(samples):.0f} s: a leak needs {_LEAST_LEAK_SAMPLES} readings in one"
            f" phase. Read it every {max(usual_s / (_LEAST_LEAK_SAMPLES + 1), 1):.0f} s."
        )
        return (), absent(name, why), ()
    episodes, findings = [], []
    for run in long_enough:
        readings = _readings(run, pressure)
        episode = _episode(readings, samples.t_us, pressure, samples.max_gap_us)
        if _falls(pressure[readings]):
            episodes.append(episode)
        else:
            findings.append(_rising(parameters.pressure or "", episode))
    if not episodes:
        why = "While the machine stood still the pressure did not simply fall."
        return (), absent(name, why), tuple(findings)
    lengths_us = [episode.end_us - episode.start_us for episode in episodes]
    rates = [episode.figures[0].value or 0.0 for episode in episodes]
    backed_us = [
        length_us * (episode.figures[0].covered_ratio or 0.0)
        for length_us, episode in zip(lengths_us, episodes, strict=True)
    ]
    off_us = sum(_length_us(run, samples.t_us) for run in phases)
    mean = float(np.dot(rates, lengths_us)) / sum(lengths_us)
    return tuple(episodes), Figure(name, mean, sum(backed_us) / off_us), tuple(findings)


def _readings(run: Run, pressure: Values) -> Times:
    """The samples of a phase that have a pressure."""
    return np.flatnonzero(~np.isnan(pressure[run.first : run.stop])) + run.first


def _length_us(run: Run, t_us: Times) -> int:
    return int(t_us[run.stop] - t_us[run.first])


def _episode(at: Times, t_us: Times, pressure: Values, max_gap_us: int) -> Span:
    """The leak between the ends of one phase, and how far its course is from a straight line."""
    t_s, p_pa = (t_us[at] - t_us[at[0]]) / US_PER_S, pressure[at]
    whole = slice(at[0], at[-1] + 1)
    read_us = int(held_steps_us(t_us[whole], pressure[whole], max_gap_us).sum())
    covered = read_us / int(t_us[at[-1]] - t_us[at[0]])
    tenth = max(1, round(at.size / 10))
    first_s, first_pa = t_s[:tenth].mean(), p_pa[:tenth].mean()
    last_s, last_pa = t_s[-tenth:].mean(), p_pa[-tenth:].mean()
    rate_pa_s = (last_pa - first_pa) / (last_s - first_s)
    return Span(
        "leak",
        int(t_us[at[0]]),
        int(t_us[at[-1]]),
        (
            Figure("leak_pa_s", float(rate_pa_s), covered),
            Figure("duration_s", float(t_s[-1]), 1.0),
            Figure("residual_pa", _misfit_pa(t_s, p_pa), covered),
        ),
    )


def _misfit_pa(t_s: Values, p_pa: Values) -> float:
    """The root mean square distance from the least-squares line. [Pa]"""
    t_s, p_pa = t_s - t_s.mean(), p_pa - p_pa.mean()
    return float(np.sqrt(np.mean((p_pa - t_s * (t_s @ p_pa) / (t_s @ t_s)) ** 2)))


def _falls(p_pa: Values) -> bool:
    """Whether the pressure falls without rising in between by more than a part of its fall."""
    rise_pa = (p_pa - np.minimum.accumulate(p_pa)).max()
    return bool(rise_pa <= _MOST_RISE * (p_pa[0] - p_pa[-1]) and p_pa[-1] < p_pa[0])


def _rising(point: str, episode: Span) -> Finding:
    return Finding(
        "pressure_rises_while_off",
        f"{point!r} did not simply fall while the machine was read as off.",
        "If something else feeds the reservoir, set only_source: false. If the machine ran between"
        " two readings, read it more often.",
        episode.start_us,
        episode.end_us,
    )
