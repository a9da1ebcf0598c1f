"""A furnace: batches from the door, what it did in each, energy per batch, gas to kWh and CO2e.

A batch runs from door to door (ISO 13579-1): from the moment the door closes behind a charge until
it closes behind the next one, so that the energy of the batches adds up to the meter. The charge
leaves when the door next opens: from then on the furnace is idle, and the batch's `idle_wh` is what
could be saved.

| looking for | open |
|---|---|
| what a site can declare | `furnace_declared.py` |
| when a closing of the door is a charge | `furnace_batches.py` |
| heat, soak, cool, idle, cold; when it only holds | `furnace_states.py` |
| electricity and gas, calorific value, CO2e | `furnace_energy.py` |
| excess air from oxygen | `furnace_air.py` |
| heat that leaves all the time | `furnace_rates.py` |
| where the heat went | `furnace_balance.py` |

Energy of heating is what was used while it heated beyond what holding the temperature for that time
takes; `holding_wh` is the rest of heating and soaking.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from joulemark_agent.equipment.base import (
    US_PER_H,
    US_PER_S,
    Analysis,
    Figure,
    Finding,
    Samples,
    Span,
    Times,
    absent,
    drawn,
    extent,
    is_unstated,
    unit_finding,
)
from joulemark_agent.equipment.furnace_air import Air, air, air_findings, weighted
from joulemark_agent.equipment.furnace_balance import Balance, balance, told
from joulemark_agent.equipment.furnace_batches import Charges, batch_count, charges, tiles
from joulemark_agent.equipment.furnace_declared import Furnace
from joulemark_agent.equipment.furnace_energy import (
    Meter,
    electric_meter,
    energies,
    gas_meter,
    given,
    no_energy,
    of_figure,
    of_gas,
    together,
)
from joulemark_agent.equipment.furnace_rates import Term
from joulemark_agent.equipment.furnace_states import (
    COOL,
    HEAT,
    IDLE,
    KINDS,
    SOAK,
    States,
    believed,
    power_point,
    states,
    steady,
)
from joulemark_agent.equipment.metering import primary, stated
from joulemark_agent.equipment.segments import UNKNOWN, Labels, runs, spans
from joulemark_agent.physics.budget import Amount, Part, ratio
from joulemark_agent.physics.budget import total as sum_of


class Parameters(Furnace):
    """What only the site knows of a furnace: see `furnace_declared.py`."""


@dataclass(frozen=True, eq=False)
class _Run:
    """What every figure of a stretch of time is made from."""

    parameters: Furnace
    samples: Samples
    charges: Charges
    electricity: Meter
    gas: Meter
    states: States
    air: Air | None
    balance: Balance | None

    @property
    def t_us(self) -> Times:
        """The instants of the samples."""
        return self.samples.t_us

    def energies(self, start_us: int, end_us: int, *, is_whole: bool = False) -> Iterator[Figure]:
        """Every energy between two edges; `is_whole` as in `Meter.whole`."""
        meters = self.electricity, self.gas
        return energies(self.parameters, *meters, (start_us, end_us), is_whole=is_whole)


def analyse(parameters: Parameters, samples: Samples) -> Analysis:
    """Batches, states, energy of each, holding power and heat balance of one furnace."""
    samples = samples.distinct()
    findings: tuple[Finding, ...] = ()
    power = power_point(parameters)
    if power is not None:
        samples, findings = drawn(primary(parameters.metering, samples, [power]), power)
    start_us, end_us = extent(samples)
    if end_us == start_us:
        return Analysis(figures=(absent("total_wh", "There are no samples over time."),))
    samples, broken = believed(parameters, samples)
    found = charges(parameters, samples)
    cut = tiles(start_us, end_us, found)
    done = states(parameters, samples, found)
    holds = steady(parameters, samples, done)
    run = _run(parameters, samples, found, done, holds)
    terms = {tile.start_us: _terms(run, tile) for tile in cut if tile.kind == "batch"}
    batches = tuple(
        Span(tile.kind, tile.start_us, tile.end_us, tuple(_tile(run, tile, terms))) for tile in cut
    )
    holding = _holding(run, holds)
    return Analysis(
        figures=(
            *run.energies(start_us, end_us),
            *done.times(samples.t_us, start_us, end_us),
            batch_count(parameters, samples, found, cut),
            holding,
            *_by_state(run, holding),
            *_per_batch(run, batches),
            *_excess_air(run, start_us, end_us),
            *_whole_balance(run, batches, [term for of in terms.values() for term in of]),
        ),
        spans=(*batches, *spans(done.labels, samples.t_us, KINDS)),
        findings=(*findings, *broken, *_findings(run, (start_us, end_us))),
    )


def _run(
    parameters: Furnace,
    samples: Samples,
    found: Charges,
    done: States,
    holds: list[tuple[int, int]],
) -> _Run:
    start_us, end_us = extent(samples)
    turns_us = samples.t_us[[r.first for r in runs(done.labels)]].tolist()
    instants_us = [start_us, end_us, *found.starts_us, *found.leaves_us, *turns_us]
    instants_us += [at_us for hold in holds for at_us in hold]
    edges_us = np.unique(np.array(instants_us, np.int64))
    excess = air(parameters, samples)
    return _Run(
        parameters,
        samples,
        found,
        electric_meter(parameters, samples, edges_us),
        gas_meter(parameters, samples, edges_us),
        done,
        excess,
        balance(parameters, samples, edges_us, excess),
    )


def _tile(run: _Run, tile: Span, terms: dict[int, list[Term]]) -> Iterator[Figure]:
    """Energy and times of one batch, what it used after its charge had left, where it went."""
    yield Figure("duration_s", (tile.end_us - tile.start_us) / US_PER_S, 1.0)
    yield from run.energies(tile.start_us, tile.end_us)
    yield from run.states.times(run.t_us, tile.start_us, tile.end_us)
    for name, kind in (("heat_wh", HEAT), ("soak_wh", SOAK), ("cool_wh", COOL)):
        yield _in_states(run, name, (kind,), (tile.start_us, tile.end_us))[0]
    if tile.kind != "batch":
        return
    left_us = run.charges.left_in(tile)
    if left_us is not None and left_us < tile.end_us:
        *_, idle = run.energies(left_us, tile.end_us)
        yield replace(idle, name="idle_wh")
    sources = tuple(run.energies(tile.start_us, tile.end_us, is_whole=True))
    total = sources[-1]
    if _has_mass(run.parameters):
        mass_kg = _mass_kg(run, tile)
        why = "No good value of the charge's mass was read while it was inside."
        yield Figure("mass_kg", mass_kg, 1.0) if mass_kg else absent("mass_kg", why)
        yield _specific(run.parameters, total, mass_kg, why)
    yield from _excess_air(run, tile.start_us, tile.end_us)
    if tile.start_us in terms and run.balance is not None:
        yield from told(terms[tile.start_us], total, given(run.parameters, sources))


def _terms(run: _Run, tile: Span) -> list[Term]:
    """Where the heat of a batch went; nothing where no losses are declared."""
    if run.balance is None:
        return []
    sources = run.energies(tile.start_us, tile.end_us, is_whole=True)
    gas = next(figure for figure in sources if figure.name == "gas_wh")
    return run.balance.terms(tile, _mass_kg(run, tile), run.charges, gas)


def _whole_balance(run: _Run, batches: tuple[Span, ...], terms: list[Term]) -> Iterator[Figure]:
    """Where the heat of all complete batches went."""
    if run.balance is None:
        return
    whole = [batch for batch in batches if batch.kind == "batch"]
    if not whole:
        yield absent("closure_ratio", run.charges.why or "No batch is complete.")
        return
    start_us, end_us = whole[0].start_us, whole[-1].end_us
    sources = tuple(run.energies(start_us, end_us, is_whole=True))
    yield from told(terms, sources[-1], given(run.parameters, sources))


def _per_batch(run: _Run, batches: tuple[Span, ...]) -> Iterator[Figure]:
    """Energy per charge, and per mass where a scale tells it; of complete batches."""
    whole = [batch for batch in batches if batch.kind == "batch"]
    if not whole:
        yield absent("per_batch_wh", run.charges.why or "No batch is complete.")
        return
    start_us, end_us = whole[0].start_us, whole[-1].end_us
    *_, total = run.energies(start_us, end_us, is_whole=True)
    yield _divided("per_batch_wh", total, float(len(whole)))
    if _has_mass(run.parameters):
        masses = [_mass_kg(run, batch) for batch in whole]
        why = "The mass of at least one charge is not known."
        mass_kg = sum(mass or 0.0 for mass in masses) if all(masses) else None
        yield _specific(run.parameters, total, mass_kg, why)


def _specific(parameters: Furnace, total: Figure, mass_kg: float | None, why: str) -> Figure:
    """Energy per mass; how sure it is, is known where both meters and scale say it."""
    name, energy = "specific_energy_wh_kg", of_figure(total)
    if not mass_kg or total.value is None:
        return absent(name, total.why or why)
    figure = Figure(name, total.value / mass_kg, total.covered_ratio, flags=total.flags)
    if energy is None or parameters.mass_uncertainty_ratio is None:
        return figure
    part = Part(mass_kg * parameters.mass_uncertainty_ratio)
    return stated(figure, ratio(energy, Amount(mass_kg, {"scale": part})))


def _divided(name: str, of: Figure, by: float) -> Figure:
    """The figure by an exact number."""
    if of.value is None:
        return absent(name, of.why)
    spread = None if of.standard_uncertainty is None else of.standard_uncertainty / by
    return Figure(
        name,
        of.value / by,
        of.covered_ratio,
        standard_uncertainty=spread,
        degrees_of_freedom=of.degrees_of_freedom,
        flags=of.flags,
    )


def _has_mass(parameters: Furnace) -> bool:
    return parameters.mass is not None or _constant_kg(parameters) is not None


def _constant_kg(parameters: Furnace) -> float | None:
    charge = None if parameters.losses is None else parameters.losses.charge
    return None if charge is None else charge.mass_kg


def _mass_kg(run: _Run, tile: Span) -> float | None:
    """The mass of a charge: the middle one of what the scale showed while it was inside."""
    point = run.parameters.mass
    if point is None:
        return _constant_kg(run.parameters)
    column = run.samples.column(point)
    if column is None:
        return None
    until_us = run.charges.left_in(tile) or tile.end_us
    first, stop = np.searchsorted(run.t_us, (tile.start_us, until_us))
    shown = column[first:stop]
    shown = shown[shown > 0]
    return float(np.median(shown)) if shown.size else None


def _excess_air(run: _Run, start_us: int, end_us: int) -> Iterator[Figure]:
    """The mean excess air while the burner burned, where a flue is declared."""
    if run.air is None:
        return
    first, stop = (int(k) for k in np.searchsorted(run.t_us, (start_us, end_us)))
    yield weighted("excess_air_ratio", run.air, run.air.excess_ratio, slice(first, stop))


def _holding(run: _Run, holds: list[tuple[int, int]]) -> Figure:
    """The mean power while it only held its temperature. [W]"""
    name = "holding_w"
    if not holds:
        why = "It never soaked at a steady temperature for half an hour."
        return absent(name, run.states.why or why)
    energy_wh, covered_h, time_h = 0.0, 0.0, 0.0
    amounts = []
    for start_us, end_us in holds:
        sources = tuple(run.energies(start_us, end_us, is_whole=True))
        total = sources[-1]
        if total.value is None or total.covered_ratio is None:
            return absent(name, total.why)
        hours = (end_us - start_us) / US_PER_H
        energy_wh += total.value
        covered_h += hours * total.covered_ratio
        time_h += hours
        amounts.append(given(run.parameters, sources))
    energy = Figure(name, energy_wh, covered_h / time_h)
    known = [amount for amount in amounts if amount is not None]
    if len(known) == len(amounts):
        energy = stated(energy, sum_of(*known))
    return _divided(name, energy, time_h)


def _by_state(run: _Run, holding: Figure) -> Iterator[Figure]:
    """What went into heating, into holding, and into standing idle and hot."""
    extent_us = extent(run.samples)
    heat, heat_h = _in_states(run, "heat_wh", (HEAT,), extent_us)
    soak, _ = _in_states(run, "soak_wh", (SOAK,), extent_us)
    if holding.value is None or heat.value is None or soak.value is None:
        why = run.states.why or holding.why or heat.why or soak.why
        yield absent("heating_wh", why)
        yield absent("holding_wh", why)
    else:
        held_wh = holding.value * heat_h
        yield Figure("heating_wh", heat.value - held_wh, heat.covered_ratio)
        yield Figure("holding_wh", soak.value + held_wh, soak.covered_ratio)
    yield _in_states(run, "idle_hot_wh", (IDLE,), extent_us)[0]


def _in_states(
    run: _Run, name: str, kinds: tuple[np.int8, ...], within_us: tuple[int, int]
) -> tuple[Figure, float]:
    """The energy of the steps of some states between two edges, and the time it is of. [h]"""
    if run.states.why:
        return absent(name, run.states.why), 0.0
    edges_us = run.electricity.edges_us
    first, stop = np.searchsorted(edges_us, within_us)
    step_us = np.diff(edges_us[first : stop + 1])
    labels: Labels = run.states.labels[np.searchsorted(run.t_us, edges_us[first:stop])]
    known_ratio = int(step_us[labels != UNKNOWN].sum()) / (within_us[1] - within_us[0])
    if known_ratio == 0:
        return absent(name, "What the furnace did in this time is not known."), 0.0
    inside = np.zeros(edges_us.size - 1, np.bool_)
    inside[first:stop] = np.isin(labels, np.array(kinds))
    length_us = int(step_us[inside[first:stop]].sum())
    if length_us == 0:
        return Figure(name, 0.0, known_ratio), 0.0
    electric = run.electricity.inside("electricity_wh", inside, length_us)
    gas_wh, _ = of_gas(run.parameters.gas, run.gas.inside("gas_m3", inside, length_us))
    energy = together(run.parameters, electric, gas_wh)
    covered_ratio = None if energy.covered_ratio is None else energy.covered_ratio * known_ratio
    meters = [meter for meter in (run.electricity, run.gas) if meter.windows is not None]
    seen_us = min((meter.seen_us(inside) for meter in meters), default=0)
    return replace(energy, name=name, covered_ratio=covered_ratio), seen_us / US_PER_H


def _findings(run: _Run, when_us: tuple[int, int]) -> Iterator[Finding]:
    """Points without a unit, what the gas section lacks, counters that fell, what is no oxygen."""
    parameters, gas = run.parameters, run.parameters.gas
    named = (parameters.electricity, None if gas is None else gas.point)
    asked = {point for point in named if point is not None and is_unstated(point)}
    for point in sorted(asked | {point for point in run.samples.values if is_unstated(point)}):
        yield unit_finding(point, when_us)
    if gas is not None and (why := no_energy(gas)):
        do = "Complete the gas section of this device in the site file."
        yield Finding("gas_undeclared", why, do, *when_us)
    for name, meter in (("electricity", run.electricity), ("gas", run.gas)):
        if meter.windows is not None and meter.windows.falls:
            yield Finding(
                "counter_fell",
                f"The {name} counter fell {meter.windows.falls} time(s); the energy of those steps"
                " is missing.",
                "Find out whether the meter was exchanged or reset.",
                *when_us,
            )
    meter_of, heated = run.electricity.windows, np.any(run.states.labels == HEAT)
    stands = meter_of is not None and meter_of.covered_us.any() and not meter_of.amount.any()
    if gas is None and heated and stands:
        yield Finding(
            "meter_stands",
            f"The furnace heated, and {parameters.electricity!r} counted nothing.",
            "Look whether the meter is connected, and whether it is the furnace's; until then its"
            " energy is not what the furnace used.",
            *when_us,
        )
    yield from air_findings(parameters, run.samples, run.t_us)
