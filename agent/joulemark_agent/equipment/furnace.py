"""A furnace: batches from the door, what it did in each, energy per batch, gas to kWh and CO2e.

A batch runs from door to door (ISO 13579-1): from the moment the door closes behind a charge until
it closes behind the next one, so that the energy of the batches adds up to the meter. A closing
counts as a charge when, before the door opens again, the furnace is more than 10 K below its set
point for at least `least_heat_s` and warms by more than 10 K; a look through the door, or closing
an empty furnace that is hot or switched off, does not. The charge leaves when the door next opens:
from then on the furnace is idle, and the batch's `idle_wh` is what could be saved. Without a door,
a step of the set point of 50 K or more begins a batch.

| state | while a charge is inside |
|---|---|
| heat | more than 10 K below the set point, or rising by more than 2 K/min |
| soak | within 10 K of the set point (left at 15 K) for at least 10 minutes |
| cool | more than 10 K above the set point |
| idle | anything else; always while no charge is inside |

Until the door is first seen open it is not known whether a charge is inside, and no state is told.

Gas becomes energy only where the section says what its cubic metre is, and whether its calorific
value is the net one; each undeclared thing is refused with its reason and moves the result: 0 or
15 C by 5.5 %, gross or net by about a tenth. Emissions are the CO2 of the declared factor; methane
and nitrous oxide, about 0.1 % for natural gas, are not in it unless the factor holds them.
Electricity gets no CO2e here: its factor belongs to the site.

Counters are taken as they are: over a gap their difference is booked, and `covered_ratio` says
which share of the time was read without gaps.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from joulemark_agent.contract.quantities import unit_of
from joulemark_agent.equipment.base import (
    US_PER_H,
    US_PER_S,
    Analysis,
    Figure,
    Finding,
    Flags,
    Positive,
    Samples,
    Section,
    Span,
    Times,
    Values,
    Windows,
    absent,
    counted,
    drawn,
    extent,
    held,
    held_steps_us,
    is_unstated,
    measured,
    no_unit,
    of_unit,
    unit_finding,
)
from joulemark_agent.equipment.segments import UNKNOWN, Labels, on_steps, runs, spans
from joulemark_agent.kernels.gas import (
    NORMAL_0C,
    STANDARD_15C,
    State,
    combustion_co2e,
    combustion_energy,
    volume_at,
)

KINDS = ("idle", "heat", "soak", "cool")
IDLE, HEAT, SOAK, COOL = (np.int8(i) for i in range(4))

_BAND_K, _LEAVES_BAND_K = 10.0, 15.0
_RISING_K_S = 2.0 / 60.0
_LEAST_SOAK_US = 10 * 60 * US_PER_S
_RISING_US, _STEADY_US = 5 * 60 * US_PER_S, 10 * 60 * US_PER_S  # over which that is told
_STEADY_K_S = 0.5 / 60.0
_LEAST_HOLDING_US = 30 * 60 * US_PER_S
_SET_POINT_STEP_K = 50.0
_M3_PER = {"m3": 1.0, "dm3": 1e-3}
_METERED = {"normal_0c_101325pa": NORMAL_0C, "standard_15c_101325pa": STANDARD_15C}


class Gas(Section):
    """The gas meter and what its gas is worth; the calorific value is per m3 at 0 C and 1 atm."""

    point: Annotated[str, of_unit("m3", "dm3", may_be_unstated=True)]
    ncv_mj_per_m3: Positive | None = None
    basis: Literal["net", "gross"] | None = None
    volume_reference: Literal["normal_0c_101325pa", "standard_15c_101325pa", "operating"] | None = (
        None
    )
    line_pressure_pa: Positive | None = None  # absolute, where the reference is 'operating'
    line_temperature_k: Positive | None = None
    co2_kg_per_tj: Positive | None = None  # per TJ of net energy
    source: Annotated[str, Field(min_length=10)] | None = None  # of calorific value and factor

    @model_validator(mode="after")
    def _names_its_source(self) -> Gas:
        has_value = self.ncv_mj_per_m3 is not None or self.co2_kg_per_tj is not None
        if has_value and self.source is None:
            raise ValueError(
                "say where the calorific value and the factor come from: 'source', such as the"
                " supplier's gas analysis with its date, or the national guideline"
            )
        return self


class Parameters(Section):
    """What only the site knows of a furnace."""

    temperature: Annotated[str, of_unit("K")] = "temperature_k"
    set_point: Annotated[str, of_unit("K")] = "set_point_k"
    door: Annotated[str, of_unit("")] = "door_state"
    door_open: Literal[0, 1] = 1  # what the door's point reads while it is open
    electricity: Annotated[str, of_unit("Wh", "W", may_be_unstated=True)] | None = "energy_wh"
    gas: Gas | None = None
    least_heat_s: Positive = 600.0  # of heating after a closing that brought a charge


@dataclass(frozen=True, eq=False)
class _Meter:
    """What a meter counted between neighbouring edges; `why` where that cannot be told."""

    edges_us: Times
    windows: Windows | None
    per_count: float = 1.0  # of the result's unit
    why: str = ""

    def over(self, name: str, start_us: int, end_us: int) -> Figure:
        """The amount between two of the edges."""
        if self.windows is None:
            return absent(name, self.why)
        first, stop = np.searchsorted(self.edges_us, (start_us, end_us))
        counts = float(self.windows.amount[first:stop].sum())
        covered_us = int(self.windows.covered_us[first:stop].sum())
        if covered_us == 0 and self.windows.estimated_us[first:stop].any():
            return Figure(name, counts * self.per_count, 0.0)  # only over a gap
        return measured(name, counts * self.per_count, covered_us, end_us - start_us)


@dataclass(frozen=True, eq=False)
class _States:
    """What the furnace did in every step; `why` where that cannot be told."""

    labels: Labels  # shape (n - 1,)
    step_us: Times  # shape (n,)
    why: str = ""

    def times(self, t_us: Times, start_us: int, end_us: int) -> Iterator[Figure]:
        """How long it did what between two instants of samples."""
        first, stop = np.searchsorted(t_us, (start_us, end_us))
        labels, step_us = self.labels[first:stop], self.step_us[:-1][first:stop]
        for label, kind in enumerate(KINDS):
            if self.why:
                yield absent(f"{kind}_s", self.why)
            else:
                time_s = float(step_us[labels == label].sum()) / US_PER_S
                known_us = int(step_us[labels != UNKNOWN].sum())
                yield measured(f"{kind}_s", time_s, known_us, end_us - start_us)


@dataclass(frozen=True, eq=False)
class _Furnace:
    """What every figure of a stretch of time is made from."""

    parameters: Parameters
    t_us: Times
    electricity: _Meter
    gas: _Meter
    states: _States
    unstated: frozenset[str]  # recorded points whose source names no unit


def analyse(parameters: Parameters, samples: Samples) -> Analysis:
    """Batches, states, energy of each, and the holding power of one furnace."""
    samples = samples.distinct()
    reversals: tuple[Finding, ...] = ()
    power = _power(parameters)
    if power is not None:
        samples, reversals = drawn(samples, power)
    start_us, end_us = extent(samples)
    if end_us == start_us:
        return Analysis(figures=(absent("total_wh", "There are no samples over time."),))
    starts_us, leaves_us, no_batch = _charges(parameters, samples)
    states = _states(parameters, samples, starts_us, leaves_us)
    tiles = _tiles(start_us, end_us, starts_us, leaves_us)
    holds = _steady(samples, parameters, states)
    instants_us = [start_us, end_us, *starts_us, *leaves_us, *(at for hold in holds for at in hold)]
    edges_us = np.unique(np.array(instants_us, np.int64))
    furnace = _Furnace(
        parameters,
        samples.t_us,
        _electricity(parameters, samples, edges_us),
        _gas(parameters, samples, edges_us),
        states,
        frozenset(point for point in samples.values if is_unstated(point)),
    )
    batches = (
        Span(tile.kind, tile.start_us, tile.end_us, tuple(_tile(furnace, tile, leaves_us)))
        for tile in tiles
    )
    return Analysis(
        figures=(
            *_energies(furnace, start_us, end_us),
            *states.times(samples.t_us, start_us, end_us),
            _batch_count(tiles, no_batch, _watched_ratio(parameters, samples)),
            _holding(furnace, holds),
        ),
        spans=(*batches, *spans(states.labels, samples.t_us, KINDS)),
        findings=(*reversals, *_findings(furnace, (start_us, end_us))),
    )


def _power(parameters: Parameters) -> str | None:
    """The point of the electric power, where no counter is declared instead."""
    point = parameters.electricity
    return point if point is not None and unit_of(point) == "W" else None


def _charges(parameters: Parameters, samples: Samples) -> tuple[list[int], list[int], str]:
    """When charges came in, when they left, or why that cannot be told. [us]"""
    temperature = samples.column(parameters.temperature)
    set_point = samples.column(parameters.set_point)
    door = samples.column(parameters.door)
    if door is None:
        if set_point is None:
            return [], [], f"Neither {parameters.door!r} nor {parameters.set_point!r} is recorded."
        known = np.flatnonzero(~np.isnan(set_point))
        steps = np.flatnonzero(np.diff(set_point[known]) >= _SET_POINT_STEP_K) + 1
        return samples.t_us[known[steps]].tolist(), [], ""
    known = np.flatnonzero(~np.isnan(door))
    is_open = door[known] == parameters.door_open
    turns = np.diff(is_open.astype(np.int8))
    closings_us = samples.t_us[known[np.flatnonzero(turns == -1) + 1]]
    openings_us = samples.t_us[known[np.flatnonzero(turns == 1) + 1]]
    if temperature is None or set_point is None:
        why = (
            f"Batches need {parameters.temperature!r} and {parameters.set_point!r} beside the"
            " door: only a closing that is followed by heating brought a charge."
        )
        return [], [], why
    below = np.where(set_point - temperature > _BAND_K, 1.0, 0.0 * (set_point - temperature))
    starts, leaves = [], []
    for closed_us in closings_us:
        later = openings_us[openings_us > closed_us]
        opens_us = later[0] if later.size else samples.t_us[-1]
        if opens_us <= closed_us:
            continue
        heated_h = held(samples, below, np.array([closed_us, opens_us], np.int64)).amount[0]
        inside = temperature[(samples.t_us >= closed_us) & (samples.t_us < opens_us)]
        if (
            _warms(inside[~np.isnan(inside)])
            and heated_h * US_PER_H >= parameters.least_heat_s * US_PER_S
        ):
            starts.append(int(closed_us))
            if later.size:
                leaves.append(int(opens_us))
    return starts, leaves, ""


def _warms(temperature: Values) -> bool:
    """Whether it rises from some instant to a later one by more than the band."""
    return bool(np.any(temperature - np.minimum.accumulate(temperature) > _BAND_K))


def _tiles(start_us: int, end_us: int, starts_us: list[int], leaves_us: list[int]) -> list[Span]:
    """The whole time cut into batches and the time before, after and without them.

    The last batch has no next charge to end it: it ends when its charge leaves, and one whose
    charge is still inside is `open_batch`.
    """
    tiles = []
    at_us = start_us
    for k, begin_us in enumerate(starts_us):
        if at_us < begin_us:
            tiles.append(Span("no_batch", at_us, begin_us))
        at_us = begin_us
        if k + 1 < len(starts_us):
            at_us = starts_us[k + 1]
            tiles.append(Span("batch", begin_us, at_us))
        elif leaves_us and leaves_us[-1] > begin_us:
            at_us = leaves_us[-1]
            tiles.append(Span("batch", begin_us, at_us))
    if at_us < end_us:
        is_open = bool(starts_us) and at_us == starts_us[-1]
        tiles.append(Span("open_batch" if is_open else "no_batch", at_us, end_us))
    return tiles


def _states(
    parameters: Parameters, samples: Samples, starts_us: list[int], leaves_us: list[int]
) -> _States:
    t_us = samples.t_us
    temperature = samples.column(parameters.temperature)
    set_point = samples.column(parameters.set_point)
    if temperature is None or set_point is None:
        step_us = np.zeros(t_us.size, np.int64)
        why = f"States need {parameters.temperature!r} and {parameters.set_point!r}, both recorded."
        return _States(on_steps(np.zeros(t_us.size, np.int8), step_us), step_us, why)
    below_k = set_point - temperature
    step_us = held_steps_us(t_us, below_k, samples.max_gap_us)
    labels = np.full(t_us.size, IDLE)
    labels[(below_k > _BAND_K) | (_rate(t_us, temperature, _RISING_US) > _RISING_K_S)] = HEAT
    labels[below_k < -_BAND_K] = COOL
    for run in runs(_in_band(below_k).astype(np.int8)):
        until_us = t_us[min(run.stop, t_us.size - 1)]
        if run.label and until_us - t_us[run.first] >= _LEAST_SOAK_US:
            labels[run.first : run.stop] = SOAK
    door = samples.column(parameters.door)
    if door is not None:
        is_loaded = _is_loaded(t_us, starts_us, leaves_us)
        labels[~is_loaded] = IDLE
        first_open = np.flatnonzero(door == parameters.door_open)
        if first_open.size == 0:
            why = f"{parameters.door!r} was never seen open: whether a charge is inside is unknown."
            return _States(on_steps(np.full(t_us.size, UNKNOWN), step_us), step_us, why)
        labels[: first_open[0]] = UNKNOWN
    return _States(on_steps(labels, step_us), step_us)


def _is_loaded(t_us: Times, starts_us: list[int], leaves_us: list[int]) -> Flags:
    """Whether a charge is inside at each instant."""
    came = np.searchsorted(np.array(starts_us, np.int64), t_us, side="right")
    left = np.searchsorted(np.array(leaves_us, np.int64), t_us, side="right")
    return came > left


def _in_band(below_k: Values) -> Flags:
    """Whether the furnace is at its set point: from 10 K on, until 15 K; a bad value is neither."""
    distance_k = np.abs(below_k)
    inside = distance_k <= _BAND_K
    for i in np.flatnonzero((distance_k > _BAND_K) & (distance_k <= _LEAVES_BAND_K)):
        inside[i] = i > 0 and inside[i - 1]
    return inside


def _rate(t_us: Times, temperature: Values, over_us: int) -> Values:
    """How fast it warms around each sample, over that time; NaN where less is known. [K/s]"""
    known = np.flatnonzero(~np.isnan(temperature))
    t_s, t_k = t_us[known] / US_PER_S, temperature[known]
    half_s = over_us / US_PER_S / 2
    first = np.searchsorted(t_s, t_us / US_PER_S - half_s).clip(0, t_s.size - 1)
    last = (np.searchsorted(t_s, t_us / US_PER_S + half_s, side="right") - 1).clip(0)
    apart_s = t_s[last] - t_s[first]
    rate = np.full(t_us.size, np.nan)
    some = apart_s >= half_s
    rate[some] = (t_k[last] - t_k[first])[some] / apart_s[some]
    return rate


def _electricity(parameters: Parameters, samples: Samples, edges_us: Times) -> _Meter:
    """The electric meter in Wh: a counter, or power over time."""
    point = parameters.electricity
    if point is None:
        return _Meter(edges_us, None, why="No electricity meter is declared.")
    if is_unstated(point):
        return _Meter(edges_us, None, why=no_unit(point, "energy and CO2e"))
    if samples.column(point) is None:
        return _Meter(edges_us, None, why=f"{point!r} is not recorded.")
    is_counter = unit_of(point) == "Wh"
    windows = counted(samples, point, edges_us) if is_counter else held(samples, point, edges_us)
    return _Meter(edges_us, windows)


def _gas(parameters: Parameters, samples: Samples, edges_us: Times) -> _Meter:
    """The gas meter in m3, as it counts."""
    gas = parameters.gas
    if gas is None:
        return _Meter(edges_us, None, why="No gas meter is declared.")
    if is_unstated(gas.point):
        return _Meter(edges_us, None, why=no_unit(gas.point, "volume, energy and CO2e"))
    if samples.column(gas.point) is None:
        return _Meter(edges_us, None, why=f"{gas.point!r} is not recorded.")
    per_count = _M3_PER[unit_of(gas.point) or ""]
    return _Meter(edges_us, counted(samples, gas.point, edges_us), per_count)


def _no_energy(gas: Gas) -> str:
    """Why a volume of this gas cannot become energy; "" where it can."""
    if gas.ncv_mj_per_m3 is None:
        return (
            "The calorific value of the gas is not given. Take it from the supplier's bill or gas"
            " analysis and set ncv_mj_per_m3, basis and source."
        )
    if gas.basis is None:
        return (
            f"It is not said whether {gas.ncv_mj_per_m3:g} MJ/m3 is the net (lower) or the gross"
            " (upper) calorific value; they differ by about a tenth. The bill or the gas analysis"
            " says it: set basis."
        )
    if gas.basis == "gross":
        return (
            f"{gas.ncv_mj_per_m3:g} MJ/m3 is declared as the gross (upper) calorific value, but"
            " emission factors per TJ count the net one; together they would be about a tenth too"
            " high. Give the net value from the gas analysis and set basis: net."
        )
    if gas.volume_reference is None:
        return (
            "It is not said at which temperature and pressure the meter's cubic metre is counted;"
            " between 0 and 15 C lie 5.5 %. The meter's nameplate or its volume corrector says it:"
            " set volume_reference."
        )
    if gas.volume_reference == "operating" and _normal_m3_per_m3(gas) == 0:
        return (
            "The meter counts the gas as it flows in the pipe (operating). Give the pressure there"
            " (line_pressure_pa, absolute: what the gauge shows plus about 101325 Pa) and the"
            " temperature (line_temperature_k): one bar of overpressure doubles the gas in it."
        )
    return ""


def _normal_m3_per_m3(gas: Gas) -> float:
    """Normal cubic metres in one that the meter counts; 0 where the section does not tell."""
    metered = _METERED.get(gas.volume_reference or "")
    if gas.line_pressure_pa is not None and gas.line_temperature_k is not None:
        metered = metered or State(gas.line_pressure_pa, gas.line_temperature_k)
    return 0.0 if metered is None else volume_at(1.0, metered, NORMAL_0C)


def _energies(furnace: _Furnace, start_us: int, end_us: int) -> Iterator[Figure]:
    """Electricity, gas as volume, energy and CO2e, and both energies together."""
    electricity = furnace.electricity.over("electricity_wh", start_us, end_us)
    gas_m3 = furnace.gas.over("gas_m3", start_us, end_us)
    gas_wh, gas_co2e_kg = _of_gas(furnace.parameters.gas, gas_m3)
    yield from (electricity, gas_m3, gas_wh, gas_co2e_kg)
    sources = []
    if furnace.parameters.electricity is not None:
        sources.append(electricity)
    if furnace.parameters.gas is not None:
        sources.append(gas_wh)
    yield _total(sources)


def _of_gas(gas: Gas | None, volume: Figure) -> tuple[Figure, Figure]:
    """The energy and the CO2e of a metered volume."""
    names = ("gas_wh", "gas_co2e_kg")
    why = volume.why or ("" if gas is None else _no_energy(gas))
    if gas is None or volume.value is None or gas.ncv_mj_per_m3 is None or why:
        return absent(names[0], why), absent(names[1], why)
    normal_m3 = volume.value * _normal_m3_per_m3(gas)
    energy_wh = combustion_energy(normal_m3, gas.ncv_mj_per_m3)
    energy = Figure(names[0], energy_wh, volume.covered_ratio)
    if gas.co2_kg_per_tj is None:
        why = "No emission factor is declared for the gas: set co2_kg_per_tj and source."
        return energy, absent(names[1], why)
    co2e_kg = combustion_co2e(normal_m3, gas.ncv_mj_per_m3, gas.co2_kg_per_tj)
    return energy, Figure(names[1], co2e_kg, volume.covered_ratio)


def _total(parts: list[Figure]) -> Figure:
    """The energy of every source that is declared, together; none where one has none."""
    values = [part.value for part in parts if part.value is not None]
    if not values or len(values) < len(parts):
        return absent("total_wh", "It needs the energy of every meter that is declared.")
    return Figure("total_wh", sum(values), min(part.covered_ratio or 0.0 for part in parts))


def _tile(furnace: _Furnace, tile: Span, leaves_us: list[int]) -> Iterator[Figure]:
    """Energy and times of one batch, and what it used after its charge had left."""
    yield Figure("duration_s", (tile.end_us - tile.start_us) / US_PER_S, 1.0)
    yield from _energies(furnace, tile.start_us, tile.end_us)
    yield from furnace.states.times(furnace.t_us, tile.start_us, tile.end_us)
    left_us = [at for at in leaves_us if tile.start_us < at < tile.end_us]
    if tile.kind == "batch" and left_us:
        *_, total = _energies(furnace, left_us[0], tile.end_us)
        yield Figure("idle_wh", total.value, total.covered_ratio, total.why)


def _watched_ratio(parameters: Parameters, samples: Samples) -> float:
    """Share of the time in which a batch that begins would be seen."""
    watched = samples.column(parameters.door)
    if watched is None:
        watched = samples.column(parameters.set_point)
    if watched is None:
        return 0.0
    start_us, end_us = extent(samples)
    step_us = held_steps_us(samples.t_us, watched, samples.max_gap_us)
    return int(step_us.sum()) / (end_us - start_us)


def _batch_count(tiles: list[Span], why: str, watched_ratio: float) -> Figure:
    if why:
        return absent("batch_count", why)
    count = float(sum(tile.kind == "batch" for tile in tiles))
    return Figure("batch_count", count, watched_ratio)


def _steady(samples: Samples, parameters: Parameters, states: _States) -> list[tuple[int, int]]:
    """The times of at least half an hour in which it soaked at a steady temperature. [us]

    Where electricity is a power, they end where it has no value: its energy is missing there, and
    the mean of the rest of the time would come out too low.
    """
    temperature = samples.column(parameters.temperature)
    if temperature is None or states.why:
        return []
    rate_k_s = _rate(samples.t_us, temperature, _STEADY_US)[:-1]
    is_steady = (states.labels == SOAK) & (np.abs(rate_k_s) < _STEADY_K_S)
    power = samples.column(_power(parameters) or "")
    if power is not None:
        is_steady &= held_steps_us(samples.t_us, power, samples.max_gap_us)[:-1] > 0
    times = [
        (int(samples.t_us[run.first]), int(samples.t_us[run.stop]))
        for run in runs(is_steady.astype(np.int8))
        if run.label
    ]
    return [(start, end) for start, end in times if end - start >= _LEAST_HOLDING_US]


def _holding(furnace: _Furnace, holds: list[tuple[int, int]]) -> Figure:
    """The mean power while it only held its temperature. [W]"""
    name = "holding_w"
    if not holds:
        why = "It never soaked at a steady temperature for half an hour."
        return absent(name, furnace.states.why or why)
    energy_wh, covered_h, time_h = 0.0, 0.0, 0.0
    for start_us, end_us in holds:
        *_, total = _energies(furnace, start_us, end_us)
        if total.value is None or total.covered_ratio is None:
            return absent(name, total.why)
        hours = (end_us - start_us) / US_PER_H
        energy_wh += total.value
        covered_h += hours * total.covered_ratio
        time_h += hours
    return Figure(name, energy_wh / time_h, covered_h / time_h)


def _findings(furnace: _Furnace, when_us: tuple[int, int]) -> Iterator[Finding]:
    """Points without a unit, what the gas section lacks, counters that fell."""
    gas = furnace.parameters.gas
    named = (furnace.parameters.electricity, None if gas is None else gas.point)
    asked = {point for point in named if point is not None and is_unstated(point)}
    for point in sorted(asked | furnace.unstated):
        yield unit_finding(point, when_us)
    if gas is not None and (why := _no_energy(gas)):
        do = "Complete the gas section of this device in the site file."
        yield Finding("gas_undeclared", why, do, *when_us)
    for name, meter in (("electricity", furnace.electricity), ("gas", furnace.gas)):
        if meter.windows is not None and meter.windows.falls:
            yield Finding(
                "counter_fell",
                f"The {name} counter fell {meter.windows.falls} time(s); the energy of those steps"
                " is missing.",
                "Find out whether the meter was exchanged or reset.",
                *when_us,
            )
    meter_of, heated = furnace.electricity.windows, np.any(furnace.states.labels == HEAT)
    stands = meter_of is not None and meter_of.covered_us.any() and not meter_of.amount.any()
    if gas is None and heated and stands:
        yield Finding(
            "meter_stands",
            f"The furnace heated, and {furnace.parameters.electricity!r} counted nothing.",
            "Look whether the meter is connected, and whether it is the furnace's; until then its"
            " energy is not what the furnace used.",
            *when_us,
        )
