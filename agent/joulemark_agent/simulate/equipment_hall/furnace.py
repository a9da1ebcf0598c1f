"""A SYNTHETIC batch furnace: a physical simulation, since no furnace in known units was recorded.

Three bodies with one temperature each, a gas burner under a PI controller, and a door:

    C_chamber dT/dt = available heat of the gas + fan - to lining - to charge - through the door
    C_lining  dT/dt = U_inner (T_chamber - T_lining) - U_outer (T_lining - T_hall)
    m c       dT/dt = A (eps sigma (T_chamber^4 - T_charge^4) + h (T_chamber - T_charge))

The available heat of the gas is its net calorific value less what the flue carries away at chamber
temperature: volume of moist flue per volume of gas, times a mean heat capacity, times the
difference to the hall. Every joule that enters leaves or is stored: `Balance` adds them up, and a
test holds it to rounding. Euler steps of 2 s, 50 times shorter than the fastest time constant.

Sources: Stefan-Boltzmann constant of CODATA 2018; complete combustion of methane,
CH4 + 2 O2 + 7.52 N2 -> CO2 + 2 H2O + 7.52 N2, so 9.52 volumes of air and 10.52 of moist flue; the
net calorific value is that of Korean city gas (LNG) in annex 12 of the K-ETS reporting guideline,
as transcribed by a public repository (read at second hand). Masses, areas and coefficients are
round figures of a furnace for two tonnes of steel; none is a measured one.

Only +, -, * and / of IEEE doubles and Python's own uniform stream are used, so one seed gives the
same furnace on every machine. Valve and electric power are whole cm3/s and watts: the counters are
exact.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from joulemark_agent.simulate.slots import Slots

US_PER_S = 1_000_000
PERIOD_S = 30
HOURS = 48
BATCHES = 8

NCV_J_PER_CM3 = 38.9  # net; gas at 0 degrees Celsius and 101,325 Pa
_EXCESS_AIR = 0.1
_FLUE_PER_GAS = 10.52 + 9.52 * _EXCESS_AIR  # volumes of moist flue
_FLUE_J_PER_CM3_K = 1.5e-3  # mean of moist flue from 0 to 900 degrees Celsius
_SIGMA_W_M2_K4 = 5.670374419e-8
_HALL_K = 293.15

_CHAMBER_J_K = 250_000.0  # hot face, hearth and gas
_LINING_J_K = 1_000_000.0
_INNER_W_K, _OUTER_W_K = 60.0, 60.0
_CHARGE_M2, _EMISSIVITY, _CONVECTION_W_M2_K = 6.0, 0.6, 30.0
_STEEL_J_KG_K = 650.0  # mean from 20 to 880 degrees Celsius
_DOOR_M2, _VIEW = 1.2, 0.65
_DOOR_AIR_W_K = 60.0

_FULL_CM3_S = 8_900  # 32 m3/h
_LEAST_CM3_S = 890  # a tenth: below it the burner is off
_GAIN_PER_K, _INTEGRAL_PER_K_S = 0.05, 0.00001
_CONTROLS_W, _BLOWER_W, _BLOWER_FULL_W, _FAN_W = 600, 1_100, 1_900, 4_000

_IDLE_K = 1_023.0
_RECIPES_K = (1_133.0, 1_173.0)
_FIRST_S = 1_200  # when the door opens first
_CHARGING_S, _DISCHARGING_S = 360, 240  # the door stays open; the charge moves in the middle
_INSIDE_S, _PAUSE_S, _SPREAD_S = 18_000, 1_800, 900
_LEAST_KG, _MOST_KG, _STEP_KG = 2_000, 2_800, 10
_NOISE_DK = 4.0  # standard deviation of the thermocouple [0.1 K]
_STEP_S = 2
_UNIFORMS = 12  # their sum has variance 1
OUTPUT_CM3_S = 3  # what the vendor's number counts, a tenth of it; the furnace itself does not say


@dataclass(frozen=True)
class Batch:
    """The truth of one charge. [us UTC]"""

    charge_kg: int
    set_point_k: float
    opens_us: int  # the door, to take it in
    starts_us: int  # the door is closed behind it
    leaves_us: int  # the door opens to let it out
    empty_us: int  # the door is closed behind it


@dataclass(frozen=True)
class Balance:
    """Where the energy of the whole run came from and went. [J]"""

    gas_j: float
    electricity_j: float
    stored_j: float  # chamber and lining; the furnace is empty at both ends
    charges_j: float
    flue_j: float
    wall_j: float
    door_j: float
    auxiliary_j: float  # blower and controls, warm in the hall

    @property
    def in_j(self) -> float:
        """All that came in."""
        return self.gas_j + self.electricity_j

    @property
    def out_j(self) -> float:
        """All that left or stayed."""
        losses_j = self.flue_j + self.wall_j + self.door_j + self.auxiliary_j
        return self.stored_j + self.charges_j + losses_j


@dataclass(frozen=True)
class State:
    """What the instruments show at one slot."""

    temperature_dk: int  # [0.1 K]
    set_point_dk: int
    gas_cm3: int  # since the first slot
    electricity_j: int
    is_open: bool
    output: int  # the vendor's number, in tenths


@dataclass(frozen=True, eq=False)
class Furnace:
    """The simulated run: one state per slot, and its truth."""

    slots: Slots
    states: Sequence[State]
    batches: tuple[Batch, ...]
    balance: Balance


def simulate(first_us: int, seed: int) -> Furnace:
    """The furnace from `first_us` on for two days.

    Args:
        first_us: the first slot. [us UTC]
        seed: of the masses, the times and the thermocouple's noise.
    """
    # Python promises this uniform stream for ever; numpy's generators make no such promise.
    stream = random.Random(seed)
    batches = tuple(_plan(first_us, stream))
    slots = Slots(first_us, PERIOD_S * US_PER_S, HOURS * 3600 // PERIOD_S + 1)
    run = _Run(batches)
    states = []
    for at_us in slots.all_us():
        run.plan(at_us)
        noise_dk = round(_NOISE_DK * (sum(stream.random() for _ in range(_UNIFORMS)) - 6.0))
        states.append(run.state(noise_dk))
        if at_us < slots.last_us:
            for step_us in range(at_us, at_us + slots.period_us, _STEP_S * US_PER_S):
                run.plan(step_us)
                run.step()
    return Furnace(slots, tuple(states), batches, run.balance())


def _plan(first_us: int, stream: random.Random) -> Iterator[Batch]:
    """Charges and the times of the door, on slots: an operator's plan, not the furnace's."""
    at_s = _FIRST_S
    for number in range(BATCHES):
        mass_kg = _STEP_KG * stream.randint(_LEAST_KG // _STEP_KG, _MOST_KG // _STEP_KG)
        starts_s = at_s + _CHARGING_S
        leaves_s = starts_s + _INSIDE_S + _slots_s(stream)
        empty_s = leaves_s + _DISCHARGING_S
        times_us = (first_us + s * US_PER_S for s in (at_s, starts_s, leaves_s, empty_s))
        yield Batch(mass_kg, _RECIPES_K[number % len(_RECIPES_K)], *times_us)
        at_s = empty_s + _PAUSE_S + _slots_s(stream)


def _slots_s(stream: random.Random) -> int:
    most = _SPREAD_S // PERIOD_S
    return PERIOD_S * stream.randint(-most, most)


class _Run:
    """The state of the simulation; plain floats and integers."""

    def __init__(self, batches: Sequence[Batch]) -> None:
        self._batches = batches
        self._chamber_k = _IDLE_K
        self._lining_k = (_INNER_W_K * _IDLE_K + _OUTER_W_K * _HALL_K) / (_INNER_W_K + _OUTER_W_K)
        self._lining_at_first_k = self._lining_k
        self._charge_kg, self._charge_k = 0, _HALL_K
        self._set_point_k, self._is_open = _IDLE_K, False
        self._integral = 0.2
        self._valve_cm3_s = 0
        self._gas_cm3, self._electricity_j = 0, 0
        self._charges_j = self._flue_j = self._wall_j = self._door_j = 0.0
        self._auxiliary_j = 0
        self._moves = sorted(
            move
            for i, batch in enumerate(batches)
            for move in (
                (batch.opens_us, "open", i),
                ((batch.opens_us + batch.starts_us) // 2, "take", i),
                (batch.starts_us, "close", i),
                (batch.leaves_us, "open", i),
                ((batch.leaves_us + batch.empty_us) // 2, "give", i),
                (batch.empty_us, "close", i),
            )
        )

    def plan(self, now_us: int) -> None:
        """Move door, charge and set point as far as the plan has come."""
        while self._moves and self._moves[0][0] <= now_us:
            _, what, i = self._moves.pop(0)
            batch = self._batches[i]
            self._is_open = {"open": True, "close": False}.get(what, self._is_open)
            if what == "open":
                self._set_point_k = _IDLE_K if self._charge_kg else batch.set_point_k
            elif what == "take":
                self._charge_kg, self._charge_k = batch.charge_kg, _HALL_K
            elif what == "give":
                heat_j_k = self._charge_kg * _STEEL_J_KG_K
                self._charges_j += heat_j_k * (self._charge_k - _HALL_K)
                self._charge_kg = 0

    def step(self) -> None:
        """Two seconds."""
        chamber_k = self._chamber_k
        above_k = chamber_k - _HALL_K
        chamber_k4 = (chamber_k * chamber_k) * (chamber_k * chamber_k)
        self._valve_cm3_s = self._controlled()
        gas_w = self._valve_cm3_s * NCV_J_PER_CM3
        flue_w = self._valve_cm3_s * _FLUE_PER_GAS * _FLUE_J_PER_CM3_K * above_k
        fan_w = 0 if self._is_open else _FAN_W
        blower_w = _BLOWER_W + _BLOWER_FULL_W * self._valve_cm3_s // _FULL_CM3_S
        auxiliary_w = _CONTROLS_W + (0 if self._is_open else blower_w)
        inner_w = _INNER_W_K * (chamber_k - self._lining_k)
        wall_w = _OUTER_W_K * (self._lining_k - _HALL_K)
        door_w = 0.0
        if self._is_open:
            hall_k4 = (_HALL_K * _HALL_K) * (_HALL_K * _HALL_K)
            door_w = _SIGMA_W_M2_K4 * _DOOR_M2 * _VIEW * (chamber_k4 - hall_k4)
            door_w += _DOOR_AIR_W_K * above_k
        charge_w = 0.0
        if self._charge_kg:
            charge_k = self._charge_k
            charge_k4 = (charge_k * charge_k) * (charge_k * charge_k)
            charge_w = _EMISSIVITY * _SIGMA_W_M2_K4 * (chamber_k4 - charge_k4)
            charge_w = _CHARGE_M2 * (charge_w + _CONVECTION_W_M2_K * (chamber_k - charge_k))
            self._charge_k += _STEP_S * charge_w / (self._charge_kg * _STEEL_J_KG_K)
        kept_w = gas_w - flue_w + fan_w - inner_w - charge_w - door_w
        self._chamber_k += _STEP_S * kept_w / _CHAMBER_J_K
        self._lining_k += _STEP_S * (inner_w - wall_w) / _LINING_J_K
        self._gas_cm3 += _STEP_S * self._valve_cm3_s
        self._electricity_j += _STEP_S * (fan_w + auxiliary_w)
        self._auxiliary_j += _STEP_S * auxiliary_w
        self._flue_j += _STEP_S * flue_w
        self._wall_j += _STEP_S * wall_w
        self._door_j += _STEP_S * door_w

    def _controlled(self) -> int:
        """The gas valve: PI with a clamped integral; shut while the door is open. [cm3/s]"""
        if self._is_open:
            return 0
        error_k = self._set_point_k - self._chamber_k
        output = _GAIN_PER_K * error_k + self._integral
        if 0.0 < output < 1.0:  # else the integral would wind up
            self._integral += _STEP_S * _INTEGRAL_PER_K_S * error_k
        valve_cm3_s = int(min(max(output, 0.0), 1.0) * _FULL_CM3_S)
        return valve_cm3_s if valve_cm3_s >= _LEAST_CM3_S else 0

    def state(self, noise_dk: int) -> State:
        """What the instruments show now."""
        return State(
            temperature_dk=round(10 * self._chamber_k) + noise_dk,
            set_point_dk=round(10 * self._set_point_k),
            gas_cm3=self._gas_cm3,
            electricity_j=self._electricity_j,
            is_open=self._is_open,
            output=self._valve_cm3_s // OUTPUT_CM3_S,
        )

    def balance(self) -> Balance:
        """The sums so far."""
        inside_j = self._charge_kg * _STEEL_J_KG_K * (self._charge_k - _HALL_K)
        return Balance(
            gas_j=self._gas_cm3 * NCV_J_PER_CM3,
            electricity_j=self._electricity_j,
            stored_j=_CHAMBER_J_K * (self._chamber_k - _IDLE_K)
            + _LINING_J_K * (self._lining_k - self._lining_at_first_k)
            + inside_j,
            charges_j=self._charges_j,
            flue_j=self._flue_j,
            wall_j=self._wall_j,
            door_j=self._door_j,
            auxiliary_j=self._auxiliary_j,
        )
