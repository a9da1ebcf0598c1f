"""Several compressors on one header: who carried what, and what their air cost together."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from joulemark_agent.equipment import air_compressor
from joulemark_agent.equipment.base import (
    US_PER_S,
    Analysis,
    Figure,
    Samples,
    Section,
    Times,
    Values,
    Windows,
    absent,
    extent,
    held,
    measured,
)
from joulemark_agent.equipment.compressor_air import Flow, free_flow
from joulemark_agent.equipment.compressor_house import sequence
from joulemark_agent.equipment.metering import metered, primary, stated
from joulemark_agent.equipment.systems.base import Member, Members, Role
from joulemark_agent.kernels.window import aligned_edges_us
from joulemark_agent.physics.budget import Amount, total

ROLES = {
    "compressors": Role(frozenset({"air_compressor"}), least=2),
    "flow": Role(most=1),  # what the house delivers, behind its dryers
}
NAMING: tuple[str, ...] = ()
_AIR = "free_air_m3"
_WINDOW_US = 900 * US_PER_S
_LEAST_KNOWN = 0.95  # of a window, of every device
_S_PER_H = 3600.0


class Parameters(Section):
    """What only the site knows of the house."""

    flow: Flow | None = None  # the point of the member `flow`, and what its cubic metre is


def analyse(parameters: Parameters, members: Members) -> Analysis:
    """Who did what, the energy of all, and the specific power of the house."""
    machines = members["compressors"]
    found = sequence(
        {one.id: air_compressor.analyse(_section(one), one.samples) for one in machines}
    )
    energy = _energy(machines)
    specific = _specific(parameters, machines, members.get("flow", ()))
    sure = (_with_uncertainty(figure, parameters, energy) for figure in specific)
    return Analysis((*found.figures, energy, *sure), found.spans, found.findings)


def _section(member: Member) -> air_compressor.Parameters:
    found = member.parameters
    return found if isinstance(found, air_compressor.Parameters) else air_compressor.Parameters()


def _power(member: Member) -> tuple[Samples, Values | None]:
    """The samples of a machine and its power, on the primary side of its meter. [W]"""
    section, samples = _section(member), member.samples.distinct()
    samples = primary(section.metering, samples, (section.power,))
    return samples, samples.column(section.power)


def _energy(machines: Sequence[Member]) -> Figure:
    """The energy of all machines over the time that each of them is read.

    The share of time that backs it is the mean of the machines', since each is counted over its
    own; where one is not read at all, nothing is said.
    """
    name = "energy_wh"
    edges_us = _whole_us([one.samples for one in machines])
    windows: list[Windows] = []
    amounts: list[Amount | None] = []
    for one in machines:
        samples, power = _power(one)
        if power is None:
            return absent(name, f"The power of {one.id!r} is not recorded.")
        windows.append(held(samples, power, edges_us))
        amounts += metered(_section(one).metering, one.id, samples, power, edges_us)
    each_us = [float(of.covered_us.sum()) for of in windows]
    covered_us = sum(each_us) / len(each_us) if min(each_us) > 0 else 0.0
    energy_wh = sum(float(of.amount.sum()) for of in windows)
    figure = measured(name, energy_wh, covered_us, float(edges_us[-1] - edges_us[0]))
    known = [amount for amount in amounts if amount is not None]
    return stated(figure, _sum(known, len(machines)))


def _sum(amounts: Sequence[Amount], wanted: int) -> Amount | None:
    return total(*amounts) if len(amounts) == wanted else None


def _specific(
    parameters: Parameters, machines: Sequence[Member], meters: Sequence[Member]
) -> Iterator[Figure]:
    """The energy of all machines over the air they delivered together: a ratio of sums. [J/m3]

    Over the quarters of an hour in which all of them and the flow are known.
    """
    names = ("specific_power_j_m3", _AIR)
    powers = [_power(one) for one in machines]
    why = ""
    flow_m3_s: Values | str = "The house has no flow meter: name it in members as 'flow'."
    if meters:
        flow_m3_s = "Name the point and its reference in parameters: 'flow: {point, reference}'."
        if parameters.flow is not None:
            flow_m3_s = free_flow(parameters.flow, meters[0].samples)
    if isinstance(flow_m3_s, str):
        why = flow_m3_s
    elif any(power is None for _, power in powers):
        why = "The power of a compressor is not recorded."
    else:
        ends_us = _whole_us([meters[0].samples, *(samples for samples, _ in powers)])
        edges_us = aligned_edges_us(int(ends_us[0]), int(ends_us[1]), _WINDOW_US)
        air = held(meters[0].samples, flow_m3_s, edges_us)
        used = [held(samples, power, edges_us) for samples, power in powers if power is not None]
        known = np.logical_and.reduce([_is_known(of) for of in (air, *used)])
        free_air_m3 = float(air.amount[known].sum()) * _S_PER_H
        if free_air_m3 > 0:
            energy_j = sum(float(of.amount[known].sum()) for of in used) * _S_PER_H
            covered_us, length_us = float(known.sum() * _WINDOW_US), float(np.diff(ends_us)[0])
            covered_us = min(covered_us, length_us)
            yield measured(names[0], energy_j / free_air_m3, covered_us, length_us)
            yield measured(names[1], free_air_m3, covered_us, length_us)
            return
        why = "In no quarter of an hour did air flow while all machines were read."
    yield from (absent(name, why) for name in names)


def _with_uncertainty(figure: Figure, parameters: Parameters, energy: Figure) -> Figure:
    """The figure with the shares of uncertainty of the flow and, of a power, of the energy."""
    flow_u = None if parameters.flow is None else parameters.flow.uncertainty_ratio
    if figure.value is None or flow_u is None:
        return figure
    if figure.name == _AIR:
        return replace(figure, standard_uncertainty=flow_u * figure.value)
    if not energy.value or energy.standard_uncertainty is None:
        return figure
    share = math.hypot(flow_u, energy.standard_uncertainty / energy.value)
    return replace(figure, standard_uncertainty=share * figure.value)


def _is_known(windows: Windows) -> Times:
    return np.asarray(windows.covered_us >= _LEAST_KNOWN * _WINDOW_US)


def _whole_us(samples: Sequence[Samples]) -> Times:
    """The time from the first sample of any to the last of any, at least a microsecond. [us]"""
    ends = [extent(one) for one in samples if one.t_us.size]
    first_us = min((first for first, _ in ends), default=0)
    return np.array([first_us, max((last for _, last in ends), default=0) or 1], np.int64)
