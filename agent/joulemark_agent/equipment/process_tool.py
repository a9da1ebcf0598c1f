"""A fab tool: the process gases it is fed and emits, what abatement may be credited, its energy.

Gas is counted as mass-flow controllers count it, so each flow says to which pressure and
temperature it refers. Factors, destruction and warming potentials are declared with their source: a
site file names a shipped table and what is signed holds its numbers. Abatement counts for the time
in which gas flowed, the abatement was seen at work and the tool sent its gas there (`routed`, or no
way around it, `has_no_bypass`), all at once; what is not known counts as not abated, and without a
log nothing does.

Equivalent energy takes the watt-hours per unit of each utility from the user; there is no default.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from joulemark_agent.contract.process_gases import GasName
from joulemark_agent.equipment.base import (
    US_PER_S,
    Analysis,
    Figure,
    Finding,
    Number,
    Positive,
    Samples,
    Section,
    Values,
    absent,
    extent,
    held_steps_us,
    measured,
    of_unit,
)
from joulemark_agent.equipment.metering import stated
from joulemark_agent.equipment.steps import USES, Signal, integral, used
from joulemark_agent.kernels.gas import NORMAL_0C, STANDARD_15C, STANDARD_20C
from joulemark_agent.physics.budget import Amount, Part, total
from joulemark_agent.physics.domain import OutOfDomain, within
from joulemark_agent.physics.fab_energy import equivalent_energy_wh
from joulemark_agent.physics.process_gas import (
    MOST_KG,
    Uptime,
    emission,
    gas_mass_kg,
    molar_mass_kg_mol,
    uptime,
    warming,
)

_REFERENCES = {"normal_0c": NORMAL_0C, "standard_15c": STANDARD_15C, "standard_20c": STANDARD_20C}
_FLUORINE = "F2"
_LEAST_FLOW_RATIO = 0.01  # of the largest flow seen: below it a controller shows its zero

Share = Annotated[Number, Field(ge=0, le=1)]
Emitted = Annotated[Number, Field(ge=0, le=10)]


class Factors(Section):
    """Kilograms emitted per kilogram fed, by gas fed; under its own name what is left of it."""

    source: Annotated[str, Field(min_length=10)]
    emitted_kg_per_kg: dict[GasName, dict[GasName, Emitted]]
    uncertainty_ratio: Annotated[Number, Field(ge=0, lt=2)] | None = None  # standard, of each


class Potentials(Section):
    """The 100-year warming potentials of one assessment."""

    assessment: Annotated[str, Field(min_length=2)]
    source: Annotated[str, Field(min_length=10)]
    kg_per_kg: dict[GasName, Annotated[Number, Field(ge=0, le=1e6)]]


class Gas(Section):
    """A gas that the tool is fed."""

    gas: GasName
    flow: Annotated[str, of_unit("m3/s")]
    reference: Literal["normal_0c", "standard_15c", "standard_20c"] | None = None
    least_flow_m3_s: Positive | None = None  # below it no gas flows
    heel_ratio: Annotated[Number, Field(ge=0, le=0.99)] = 0.0  # a flow is measured behind it
    flow_uncertainty_ratio: Annotated[Number, Field(ge=0, lt=1)] | None = None  # standard

    @model_validator(mode="after")
    def _is_made_of_known_elements(self) -> Self:
        molar_mass_kg_mol(self.gas)
        return self


class Abatement(Section):
    """The system that destroys what the tool emits, and what it was measured to destroy."""

    working: Signal  # that it works as intended
    routed: Signal | None = None  # that the tool's gas goes to it, and not around it
    has_no_bypass: bool = False  # there is no pipe around it: its gas always goes to it
    abated_ratio: Share  # of the gas that is led to it
    destroyed_ratio: dict[GasName, Share]  # measured or certified; others count as not destroyed
    destroyed_uncertainty_ratio: Share | None = None  # standard, of each, absolute
    source: Annotated[str, Field(min_length=5)]  # of what it destroys: the certificate


class Utility(Section):
    """Something the tool uses, and the energy that the plant spends on a unit of it."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,30}$")]
    point: Annotated[str, of_unit(*USES)]
    wh_per_unit: Annotated[Number, Field(ge=0, le=1e12)] | None = None  # Wh per Wh or per m3


class Parameters(Section):
    """What only the site knows of a tool."""

    gases: tuple[Gas, ...] = ()
    factors: Factors | None = None
    warming: Potentials | None = None
    abatement: Abatement | None = None
    utilities: tuple[Utility, ...] = ()

    @model_validator(mode="after")
    def _names_each_once(self) -> Self:
        for names in ([gas.gas for gas in self.gases], [each.name for each in self.utilities]):
            if len(names) != len(set(names)):
                raise ValueError(f"{names} name one of them twice")
        return self


@dataclass(frozen=True)
class _Fed:
    """What a tool was fed of one gas; or why that is not known."""

    gas: Gas
    amount: Amount = Amount(0.0)  # noqa: RUF009 - frozen
    uptime: Uptime = Uptime(0.0, 0.0, 0.0)  # noqa: RUF009 - frozen
    covered_ratio: float = 0.0
    why: str = ""


def analyse(parameters: Parameters, samples: Samples) -> Analysis:
    """Gas fed and emitted, carbon dioxide equivalent, uptime and equivalent energy of one tool."""
    samples = samples.distinct()
    start_us, end_us = extent(samples)
    if end_us == start_us:
        return Analysis(figures=(absent("co2e_kg", "There are no samples over time."),))
    fed = [_fed(parameters, gas, samples) for gas in parameters.gases]
    figures = [figure for one in fed for figure in _of_one(one)]
    findings: list[Finding] = []
    if parameters.gases:
        made, findings = _emissions(parameters, fed, (start_us, end_us))
        figures += made
    if parameters.utilities:
        figures += _equivalent(parameters.utilities, samples)
    return Analysis(figures=tuple(figures), findings=tuple(findings))


def _fed(parameters: Parameters, gas: Gas, samples: Samples) -> _Fed:
    flow = samples.column(gas.flow)
    if flow is None:
        return _Fed(gas, why=f"{gas.flow!r} is not recorded.")
    if gas.reference is None:
        why = (
            f"The section does not say what a cubic metre of {gas.flow!r} is: at 0 and at 20"
            " degrees Celsius it differs by 7 %. Look at the mass-flow controller and set"
            " reference."
        )
        return _Fed(gas, why=why)
    step_us = held_steps_us(samples.t_us, flow, samples.max_gap_us)
    if not step_us.any():
        return _Fed(gas, why=f"{gas.flow!r} has no time with good values at both of its ends.")
    least = gas.least_flow_m3_s or _LEAST_FLOW_RATIO * float(np.nanmax(flow))
    is_flowing = (flow > 0) & (flow >= least)
    volume_m3 = integral(flow, np.where(is_flowing, step_us, 0))
    try:
        fed_kg = gas_mass_kg(volume_m3, gas.gas, _REFERENCES[gas.reference])
        within("what was fed", fed_kg, 0.0, MOST_KG, "kg")
    except OutOfDomain as error:
        return _Fed(gas, why=f"{error} Look at the scale of {gas.flow!r}.")
    sure = gas.flow_uncertainty_ratio
    parts = {} if sure is None else {f"flow of {gas.gas}": Part(fed_kg * sure)}
    abatement = parameters.abatement
    up = uptime(
        step_us / US_PER_S,
        np.where(step_us > 0, is_flowing, np.nan),
        None if abatement is None else _routed(abatement, samples),
        None if abatement is None else abatement.working.told(samples),
    )
    start_us, end_us = extent(samples)
    return _Fed(gas, Amount(fed_kg, parts), up, int(step_us.sum()) / (end_us - start_us))


def _routed(abatement: Abatement, samples: Samples) -> Values | None:
    """Whether the tool's gas goes to its abatement; NaN where nobody says so."""
    if abatement.routed is not None:
        return abatement.routed.told(samples)
    return None if abatement.has_no_bypass else np.full(samples.t_us.size, np.nan)


def _of_one(fed: _Fed) -> Iterator[Figure]:
    """What was fed of one gas, for how long, and the uptime of its abatement."""
    name = fed.gas.gas.lower()
    names = (f"{name}_fed_kg", f"{name}_flow_s", f"{name}_uptime_ratio")
    if fed.why:
        yield from (absent(one, fed.why) for one in names)
        return
    covered = fed.covered_ratio
    known = None if fed.gas.flow_uncertainty_ratio is None else fed.amount
    yield stated(Figure(names[0], fed.amount.value, covered), known)
    learned = () if fed.gas.least_flow_m3_s is not None else ("learned",)
    yield Figure(names[1], fed.uptime.gas_flow_s, covered, flags=learned)
    if fed.uptime.gas_flow_s > 0:
        flags = (*learned, "lower_bound") if fed.uptime.unknown_s > 0 else learned
        yield Figure(names[2], fed.uptime.ratio, covered, flags=flags)
    else:
        yield absent(names[2], f"No {fed.gas.gas} flowed.")


def _emissions(
    parameters: Parameters, fed: Sequence[_Fed], when_us: tuple[int, int]
) -> tuple[list[Figure], list[Finding]]:
    """Emissions by gas and as carbon dioxide, with and without the abatement."""
    sums = ("co2e_kg", "unabated_co2e_kg")
    factors = parameters.factors
    if factors is None:
        why = (
            "There are no emission factors: name a table, such as factors: {set:"
            " us_40cfr98_subpart_i, table: I-20, process: etch}, or give your own with their"
            " source."
        )
        return [absent(name, why) for name in sums], []
    if unknown := [one for one in fed if one.why]:
        why = f"What was fed of {', '.join(one.gas.gas for one in unknown)} is not known:"
        return [absent(name, f"{why} {unknown[0].why}") for name in sums], []
    if missing := [one.gas.gas for one in fed if one.gas.gas not in factors.emitted_kg_per_kg]:
        why = f"There is no emission factor for {', '.join(missing)} in {factors.source!r}."
        return [absent(name, why) for name in sums], []
    covered = min(one.covered_ratio for one in fed)
    emitted = _by_gas(factors, fed, parameters.abatement)
    figures = [
        _stated(parameters, Figure(f"emitted_{gas.lower()}_kg", amount.value, covered), amount)
        for gas, amount in sorted(emitted.items())
    ]
    if parameters.warming is None:
        why = (
            "The section names no assessment of warming potentials: set warming, such as {set:"
            " ipcc_100_years, assessment: AR5}. They differ by up to a fifth."
        )
        return [*figures, *(absent(name, why) for name in sums)], list(
            _findings(parameters, fed, (), when_us)
        )
    unabated = _by_gas(factors, fed, None)
    is_burned = parameters.abatement is not None and _FLUORINE in emitted
    unrated: tuple[str, ...] = ()
    for name, gases in zip(sums, (emitted, unabated), strict=True):
        sum_of = warming(gases, parameters.warming.kg_per_kg)
        unrated = tuple(sorted({*unrated, *sum_of.unrated}))
        if sum_of.unrated and not any(gas in parameters.warming.kg_per_kg for gas in gases):
            of = parameters.warming.assessment
            figures.append(absent(name, f"{of!r} has no warming potential of any gas emitted."))
            continue
        flags = ("lower_bound",) if sum_of.unrated or is_burned else ()
        figure = Figure(name, sum_of.co2e.value, covered, flags=flags)
        figures.append(_stated(parameters, figure, sum_of.co2e))
    findings = list(_findings(parameters, fed, unrated, when_us))
    return figures, [*findings, *([_burned(when_us)] if is_burned else [])]


def _by_gas(
    factors: Factors, fed: Sequence[_Fed], abatement: Abatement | None
) -> Mapping[str, Amount]:
    """What is emitted of each gas, by all that is fed together."""
    sure = factors.uncertainty_ratio or 0.0
    sure_destroyed = 0.0 if abatement is None else abatement.destroyed_uncertainty_ratio or 0.0
    emitted: dict[str, list[Amount]] = {}
    for one in fed:
        for gas, factor in factors.emitted_kg_per_kg[one.gas.gas].items():
            destroyed = 0.0 if abatement is None else abatement.destroyed_ratio.get(gas, 0.0)
            amount = emission(
                one.amount,
                Amount(factor, {f"factor {one.gas.gas} {gas}": Part(sure * factor)}),
                Amount(destroyed, {f"destruction {gas}": Part(sure_destroyed)}),
                heel_ratio=one.gas.heel_ratio,
                abated_ratio=0.0 if abatement is None else abatement.abated_ratio,
                uptime_ratio=one.uptime.ratio,
            )
            emitted.setdefault(gas, []).append(amount)
    return {gas: total(*amounts) for gas, amounts in emitted.items()}


def _stated(parameters: Parameters, figure: Figure, amount: Amount) -> Figure:
    """The figure with its uncertainty, where every part of it is declared."""
    factors, abatement = parameters.factors, parameters.abatement
    is_known = (
        factors is not None
        and factors.uncertainty_ratio is not None
        and all(gas.flow_uncertainty_ratio is not None for gas in parameters.gases)
        and (abatement is None or abatement.destroyed_uncertainty_ratio is not None)
    )
    return stated(figure, amount if is_known else None)


def _findings(
    parameters: Parameters,
    fed: Sequence[_Fed],
    unrated: Sequence[str],
    when_us: tuple[int, int],
) -> Iterator[Finding]:
    flow_s = sum(one.uptime.gas_flow_s for one in fed)
    unknown_s = sum(one.uptime.unknown_s for one in fed)
    if parameters.abatement is None and flow_s > 0:
        yield Finding(
            "abatement_unlogged",
            "No state of an abatement system is recorded, so nothing is credited to one.",
            "If there is one, read its state and declare it in 'abatement'.",
            *when_us,
        )
    elif unknown_s > 0:
        yield Finding(
            "abatement_unknown",
            f"In {unknown_s / flow_s:.0%} of the gas-flow time the state of tool or abatement is"
            " not known; it counts as not abated.",
            "Look at the gaps of its state, and say in 'abatement' by 'routed' or 'has_no_bypass'"
            " that the gas goes there.",
            *when_us,
        )
    if unrated:
        yield Finding(
            "potential_missing",
            f"{', '.join(unrated)} has no warming potential in the assessment named; the sum is a"
            " lower bound.",
            "Name an assessment that lists it, or give its potential with the source.",
            *when_us,
        )


def _burned(when_us: tuple[int, int]) -> Finding:
    return Finding(
        "burner_cf4_unknown",
        "Fluorine goes to the abatement. A burner of natural gas makes CF4 of a part of it, which"
        " is not counted: the sum is a lower bound.",
        "Ask the maker of the burner for a certificate that it makes none, or how much.",
        *when_us,
    )


def _equivalent(utilities: Sequence[Utility], samples: Samples) -> Iterator[Figure]:
    """The energy behind each utility, and their sum: SEMI S23's equivalent energy."""
    start_us, end_us = extent(samples)
    found = {each.name: used(samples, each.point) for each in utilities}
    factors = {each.name: each.wh_per_unit for each in utilities if each.wh_per_unit is not None}
    amounts = {name: of.over() for name, of in found.items() if of is not None}
    why = ""
    if missing := [each.point for each in utilities if found[each.name] is None]:
        why = f"{', '.join(map(repr, missing))} is not recorded."
    try:
        parts = equivalent_energy_wh({name: used_ for name, (used_, _) in amounts.items()}, factors)
    except OutOfDomain as error:
        yield absent("equivalent_wh", why or str(error))
        return
    covers = {name: covered_us / (end_us - start_us) for name, (_, covered_us) in amounts.items()}
    for name, energy_wh in parts.items():
        yield measured(f"{name}_equivalent_wh", energy_wh, amounts[name][1], end_us - start_us)
    if why:
        yield absent("equivalent_wh", why)
    else:
        yield replace(
            Figure("equivalent_wh", sum(parts.values()), min(covers.values())), flags=("declared",)
        )
