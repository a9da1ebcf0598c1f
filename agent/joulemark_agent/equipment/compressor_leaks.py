"""Leaks while a compressor stands still: episodes of falling pressure in what it feeds.

While the machine is off the reservoir loses pressure through leaks and through whatever draws air.
Only the site knows that nothing else feeds the reservoir (`only_source`); without that no leak is
claimed. The rate is that between the mean of the first tenth and the mean of the last tenth of the
phase, which is the air really lost over the time. A straight line fitted through all samples weighs
the middle: one draw of air in mid-phase moved it by 0.0011 bar/min on recorded data, where the rate
between the ends moved by 0.0002. The line's misfit is told as the residual. A phase in which the
pressure rises by more than a fifth of its fall is no leak: something fed the reservoir, perhaps
this machine itself between two readings.
"""

from __future__ import annotations

import numpy as np

from joulemark_agent.equipment.base import (
    US_PER_S,
    Figure,
    Finding,
    Samples,
    Span,
    Times,
    Values,
    absent,
    held_steps_us,
)
from joulemark_agent.equipment.compressor_states import OFF, States, length_us, period_s, usual_s
from joulemark_agent.equipment.segments import Run

_LEAST_LEAK_SAMPLES = 5
_MOST_RISE = 0.2  # of the fall


def leaks_while_off(
    point: str | None, samples: Samples, states: States, *, is_only_source: bool
) -> tuple[tuple[Span, ...], Figure, tuple[Finding, ...]]:
    """Each off phase as a leak episode, and the rate over all of them.

    Args:
        point: the pressure of what the machine feeds.
        samples: of the machine.
        states: what it did.
        is_only_source: nothing else feeds it.
    """
    name = "leak_pa_s"
    pressure = None if point is None else samples.column(point)
    if pressure is None:
        return (), absent(name, "There is no pressure of a reservoir to watch."), ()
    if not is_only_source:
        why = (
            f"Nothing says that this machine alone feeds {point!r}. If it does, set"
            " only_source: true; beside other compressors a falling pressure shows no leak."
        )
        return (), absent(name, why), ()
    phases = list(states.phases(OFF))
    if not phases:
        return (), absent(name, states.why or "The machine never stood still."), ()
    long_enough = [run for run in phases if _readings(run, pressure).size >= _LEAST_LEAK_SAMPLES]
    if not long_enough:
        still_s = usual_s(phases, samples.t_us)
        why = (
            f"The machine stands still for {still_s:.0f} s at a time and its pressure is read every"
            f" {period_s(samples):.0f} s: a leak needs {_LEAST_LEAK_SAMPLES} readings in one"
            f" phase. Read it every {max(still_s / (_LEAST_LEAK_SAMPLES + 1), 1):.0f} s."
        )
        return (), absent(name, why), ()
    episodes, findings = [], []
    for run in long_enough:
        readings = _readings(run, pressure)
        episode = _episode(readings, samples.t_us, pressure, samples.max_gap_us)
        if _falls(pressure[readings]):
            episodes.append(episode)
        else:
            findings.append(_rising(point or "", episode))
    if not episodes:
        why = "While the machine stood still the pressure did not simply fall."
        return (), absent(name, why), tuple(findings)
    lengths_us = [episode.end_us - episode.start_us for episode in episodes]
    rates = [episode.figures[0].value or 0.0 for episode in episodes]
    backed_us = [
        length_us * (episode.figures[0].covered_ratio or 0.0)
        for length_us, episode in zip(lengths_us, episodes, strict=True)
    ]
    off_us = sum(length_us(run, samples.t_us) for run in phases)
    mean = float(np.dot(rates, lengths_us)) / sum(lengths_us)
    return tuple(episodes), Figure(name, mean, sum(backed_us) / off_us), tuple(findings)


def _readings(run: Run, pressure: Values) -> Times:
    """The samples of a phase that have a pressure."""
    return np.flatnonzero(~np.isnan(pressure[run.first : run.stop])) + run.first


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
