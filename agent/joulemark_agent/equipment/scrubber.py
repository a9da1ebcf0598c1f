"""A scrubber or burner behind fab tools: electricity, fuel and water per tool-hour, and for nobody.

A tool-hour is an hour in which one tool was served. Use and tool-hours are summed over the same
steps, those in which both are known.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Self

import numpy as np
from pydantic import Field, model_validator

from joulemark_agent.equipment.base import (
    Analysis,
    Figure,
    Number,
    Samples,
    Section,
    Values,
    absent,
    drawn,
    extent,
    held_steps_us,
    measured,
    of_unit,
)
from joulemark_agent.equipment.metering import Metering, metered, primary, stated
from joulemark_agent.equipment.steps import Signal, in_proportion, integral, used, used_figure
from joulemark_agent.physics.budget import Amount
from joulemark_agent.physics.domain import OutOfDomain
from joulemark_agent.physics.fab_energy import per_tool_hour

_WHOSE = "scrubber"


class Parameters(Section):
    """What only the site knows of a scrubber."""

    power: Annotated[str, of_unit("W")] = "power_w"
    fuel: Annotated[str, of_unit("m3/s", "m3", "dm3")] | None = None
    water: Annotated[str, of_unit("m3/s", "m3", "dm3")] | None = None
    tools: Annotated[str, of_unit("1")] | None = None  # how many tools are served now
    serving: Signal | None = None  # or whether any is, with how many
    tools_served: Annotated[Number, Field(gt=0, le=1000)] = 1.0  # while `serving` says so
    metering: Metering | None = None

    @model_validator(mode="after")
    def _counts_once(self) -> Self:
        if self.tools is not None and self.serving is not None:
            raise ValueError("give either 'tools', which counts them, or 'serving'")
        return self


def analyse(parameters: Parameters, samples: Samples) -> Analysis:
    """What one scrubber used, per tool-hour and while it served no tool."""
    own = primary(parameters.metering, samples.distinct(), (parameters.power,))
    samples, findings = drawn(own, parameters.power)
    start_us, end_us = extent(samples)
    if end_us == start_us:
        return Analysis(figures=(absent("energy_wh", "There are no samples over time."),))
    edges_us = np.array([start_us, end_us], np.int64)
    (energy,) = metered(parameters.metering, _WHOSE, samples, parameters.power, edges_us)
    tools = _tools(parameters, samples)
    figures = [_tool_time(tools, samples)]
    for what, point in (
        ("energy_wh", parameters.power),
        ("fuel_m3", parameters.fuel),
        ("water_m3", parameters.water),
    ):
        if point is not None:
            known = energy if point == parameters.power else None
            figures += _figures(what, point, samples, tools, known)
    return Analysis(figures=tuple(figures), findings=findings)


def _tools(parameters: Parameters, samples: Samples) -> Values | str:
    """How many tools are served in each step, NaN where unknown; or why nobody can say."""
    if parameters.serving is not None:
        return parameters.serving.told(samples) * parameters.tools_served
    if parameters.tools is None:
        return (
            "Nothing tells which tools are served: name the point that counts them in 'tools', or"
            " one that tells whether any is in 'serving'."
        )
    column = samples.column(parameters.tools)
    if column is None:
        return f"{parameters.tools!r} is not recorded."
    is_known = held_steps_us(samples.t_us, column, samples.max_gap_us) > 0
    return np.where(is_known & (column >= 0), column, np.nan)


def _tool_time(tools: Values | str, samples: Samples) -> Figure:
    if isinstance(tools, str):
        return absent("tool_s", tools)
    step_us = np.where(np.isnan(tools), 0, np.diff(samples.t_us, append=samples.t_us[-1:]))
    start_us, end_us = extent(samples)
    return measured("tool_s", integral(tools, step_us), int(step_us.sum()), end_us - start_us)


def _figures(
    what: str, point: str, samples: Samples, tools: Values | str, whole: Amount | None
) -> Iterator[Figure]:
    """The use, the use per tool-hour, and that while no tool was served."""
    name, _, unit = what.rpartition("_")
    per, unused = f"{name}_per_tool_hour_{unit}", f"unused_{name}_{unit}"
    of = used(samples, point)
    yield stated(used_figure(what, samples, point, of), whole)
    if of is None or isinstance(tools, str):
        why = f"{point!r} is not recorded." if of is None else str(tools)
        yield from (absent(figure, why) for figure in (per, unused))
        return
    start_us, end_us = extent(samples)
    amount, covered_us = of.over(~np.isnan(tools))
    tool_s = integral(tools, np.where(of.is_in(~np.isnan(tools)), of.step_us, 0))
    try:
        value = per_tool_hour(amount, tool_s)
    except OutOfDomain as error:
        nobody_served = "No tool was served in the time in which both are known."
        yield absent(per, f"{error} Look at the zero of {point!r}." if tool_s else nobody_served)
    else:
        figure = measured(per, value, covered_us, end_us - start_us)
        yield stated(figure, in_proportion(whole, value))
    nobody, _ = of.over(tools == 0)
    figure = measured(unused, nobody, covered_us, end_us - start_us)
    yield stated(figure, in_proportion(whole, nobody))
