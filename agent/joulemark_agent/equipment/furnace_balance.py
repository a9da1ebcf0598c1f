"""Where the heat of a furnace went, batch by batch, and how much of it nobody can name.

`closure_ratio` is what is left of the energy when every declared loss, the heat of the charge and
the change of the stored heat are taken off. It is told with its standard uncertainty and never made
zero: the losses are computed without looking at the energy that came in.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import exp, sqrt

import numpy as np

from joulemark_agent.equipment.base import US_PER_S, Figure, Samples, Span, Times, Values, absent
from joulemark_agent.equipment.furnace_air import Air, is_backed, weighted
from joulemark_agent.equipment.furnace_batches import Charges
from joulemark_agent.equipment.furnace_declared import (
    Charge,
    Fixture,
    Furnace,
    Losses,
    Stored,
)
from joulemark_agent.equipment.furnace_energy import GAS, of_figure
from joulemark_agent.equipment.furnace_rates import (
    Rate,
    Term,
    flue_ratio,
    follows,
    rates,
    relative,
)
from joulemark_agent.equipment.metering import stated
from joulemark_agent.kernels.gas import WH_PER_MJ
from joulemark_agent.physics.budget import Amount, Part, difference, ratio, total
from joulemark_agent.physics.charges import solid_charge_heat
from joulemark_agent.physics.domain import OutOfDomain

NAMES = (
    "charge_heat_wh", "fixture_heat_wh", "wall_loss_wh", "opening_loss_wh", "leakage_loss_wh",
    "flue_loss_wh", "atmosphere_loss_wh", "cooling_loss_wh", "auxiliary_wh", "stored_wh",
)  # fmt: skip

_WH_PER_J = WH_PER_MJ / 1e6
_LEAVING_US = 10 * 60 * US_PER_S  # before the door opens: as warm as the furnace then is the charge


@dataclass(frozen=True, eq=False)
class Balance:
    """What is needed to tell where the heat of any batch went."""

    parameters: Furnace
    losses: Losses
    samples: Samples
    edges_us: Times
    rates: tuple[Rate, ...]
    stores: tuple[Values, ...]  # temperature of each body at each sample [K]
    air: Air | None
    flue_ratio: Values  # share of the gas's heat that leaves with the flue, at each sample

    def terms(self, tile: Span, charge_kg: float | None, found: Charges, gas: Figure) -> list[Term]:
        """Where the heat of a batch went."""
        first, stop = np.searchsorted(self.edges_us, (tile.start_us, tile.end_us))
        length_us = tile.end_us - tile.start_us
        terms = [rate.term(int(first), int(stop), length_us) for rate in self.rates]
        terms += self._charged(tile, charge_kg, found)
        if self.losses.flue_uncertainty_ratio is not None:
            terms.append(self._flue(tile, gas, self.losses.flue_uncertainty_ratio))
        terms += [
            self._stored(number, body, tile) for number, body in enumerate(self.losses.stored)
        ]
        return terms

    def _charged(self, tile: Span, charge_kg: float | None, found: Charges) -> Iterator[Term]:
        """What the charge took out, and the trays and baskets that went with it."""
        out_k = self._left_at(found.left_in(tile))
        charge = self.losses.charge
        if charge is not None:
            why = "The charge's mass, or how hot it was when it left, is not known."
            yield _taken("charge_heat_wh", "charge", charge, (charge_kg, out_k), why)
        for number, tray in enumerate(self.losses.fixtures):
            why = "How hot the charge was when it left is not known."
            with_it = tray.mass_kg, out_k
            yield _taken("fixture_heat_wh", f"fixture {number}", tray, with_it, why)

    def _left_at(self, left_us: int | None) -> float | None:
        """How hot the furnace was just before the charge left. [K]"""
        temperature = self.samples.column(self.parameters.temperature)
        if left_us is None or temperature is None:
            return None
        span_us = (left_us - _LEAVING_US, left_us)
        first, stop = np.searchsorted(self.samples.t_us, span_us, side="right")
        last = temperature[first:stop]
        return None if np.all(np.isnan(last)) else float(np.nanmean(last))

    def _flue(self, tile: Span, gas: Figure, uncertainty_ratio: float) -> Term:
        name = "flue_loss_wh"
        amount = of_figure(gas)
        if self.air is None or amount is None:
            return Term(name, None, why=gas.why or "How sure the gas meter is, is not declared.")
        first, stop = np.searchsorted(self.samples.t_us, (tile.start_us, tile.end_us))
        share = weighted(name, self.air, self.flue_ratio, slice(int(first), int(stop)))
        if share.value is None or not is_backed(share):
            why = "Oxygen and temperature of the flue gas are known for too little of the fuel."
            return Term(name, None, why=share.why or why)
        heat_wh = amount.value * share.value
        parts = {
            GAS: Part(sum(p.amount for p in amount.parts.values()) * share.value),
            "flue": Part(heat_wh * uncertainty_ratio),
        }
        return Term(name, Amount(heat_wh, parts), share.flags)

    def _stored(self, number: int, body: Stored, tile: Span) -> Term:
        kelvin = self.stores[number]
        if np.isnan(kelvin).any():
            return Term("stored_wh", None, why="The temperature of the furnace is not known.")
        if not all(self._is_read_at(at_us) for at_us in (tile.start_us, tile.end_us)):
            why = "The temperature of the furnace is not known where the batch begins or ends."
            return Term("stored_wh", None, why=why)
        first, stop = np.searchsorted(self.samples.t_us, (tile.start_us, tile.end_us))
        per_k = body.heat_capacity_j_k * _WH_PER_J
        heat_wh = per_k * float(kelvin[stop] - kelvin[first])
        parts = {f"stored {number}": Part(heat_wh * body.uncertainty_ratio)}
        if body.time_constant_s:  # where it stood before the record is not known
            since_s = [
                (at - int(self.samples.t_us[0])) / US_PER_S for at in (tile.start_us, tile.end_us)
            ]
            forgotten = [exp(-at_s / body.time_constant_s) for at_s in since_s]
            range_k = float(kelvin.max() - kelvin.min())
            start = per_k * range_k / sqrt(12) * (forgotten[1] - forgotten[0])
            parts[f"stored {number} at first"] = Part(start)
        return Term("stored_wh", Amount(heat_wh, parts))

    def _is_read_at(self, at_us: int) -> bool:
        """Whether the temperature was read near an instant, so that what is stored is known."""
        temperature = self.samples.column(self.parameters.temperature)
        if temperature is None:
            return False
        near_us = at_us - self.samples.max_gap_us, at_us + self.samples.max_gap_us + 1
        first, stop = np.searchsorted(self.samples.t_us, near_us)
        return not bool(np.isnan(temperature[first:stop]).all())


def balance(
    parameters: Furnace, samples: Samples, edges_us: Times, found: Air | None
) -> Balance | None:
    """What the balance needs; None where no losses are declared.

    Args:
        parameters: of the furnace.
        samples: of it.
        edges_us: among which every span begins and ends. [us]
        found: excess air.
    """
    losses = parameters.losses
    if losses is None:
        return None
    stores = tuple(follows(parameters, losses, samples, body) for body in losses.stored)
    ratios = flue_ratio(parameters, losses, samples, found)
    going = rates(parameters, losses, samples, edges_us)
    return Balance(parameters, losses, samples, edges_us, going, stores, found, ratios)


def told(terms: Sequence[Term], energy: Figure, given: Amount | None) -> Iterator[Figure]:
    """Each kind of loss, what is left, and the share that reached the charge.

    Args:
        terms: where the heat went.
        energy: that came in.
        given: the same with its uncertainty; None: unknown.
    """
    for name in NAMES:
        of_kind = [term for term in terms if term.name == name]
        if of_kind:
            yield _figure(name, of_kind)
    yield from _closed(terms, energy, given)


def _taken(
    name: str, source: str, of: Charge | Fixture, taken: tuple[float | None, float | None], why: str
) -> Term:
    """The heat that something took out, of its mass [kg] and its temperature then [K]."""
    mass_kg, out_k = taken
    if mass_kg is None or out_k is None:
        return Term(name, None, why=why)
    try:
        heat_j = solid_charge_heat(mass_kg, of.in_k, out_k, solid_j_kg_k=of.heat_capacity_j_kg_k)
    except OutOfDomain:
        return Term(name, None, why=why)
    return Term(name, relative(heat_j * _WH_PER_J, source, of.uncertainty_ratio))


def _closed(terms: Sequence[Term], energy: Figure, given: Amount | None) -> Iterator[Figure]:
    names = ("unexplained_wh", "closure_ratio", "useful_ratio")
    whys = [term.why for term in terms if term.amount is None]
    if given is None or given.value <= 0:
        whys.insert(0, energy.why or "How sure the meters are, is not declared: see 'metering'.")
    amounts = [term.amount for term in terms if term.amount is not None]
    if whys or given is None or not amounts:
        yield from (absent(name, whys[0] if whys else "No loss is declared.") for name in names)
        return
    flags = tuple(sorted({*energy.flags, *(flag for term in terms for flag in term.flags)}))
    left = difference(given, total(*amounts))
    of_charge = [t.amount for t in terms if t.name == "charge_heat_wh" and t.amount is not None]
    yield stated(Figure(names[0], left.value, energy.covered_ratio, flags=flags), left)
    share = ratio(left, given)
    yield stated(Figure(names[1], share.value, energy.covered_ratio, flags=flags), share)
    if of_charge:
        useful = ratio(total(*of_charge), given)
        yield stated(
            Figure(names[2], useful.value, energy.covered_ratio, flags=energy.flags), useful
        )


def _figure(name: str, terms: Sequence[Term]) -> Figure:
    if whys := [term.why for term in terms if term.amount is None]:
        return absent(name, whys[0])
    amount = total(*(term.amount for term in terms if term.amount is not None))
    flags = tuple(sorted({flag for term in terms for flag in term.flags}))
    return stated(Figure(name, amount.value, 1.0, flags=flags), amount)
