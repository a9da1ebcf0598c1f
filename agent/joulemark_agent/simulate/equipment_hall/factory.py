"""The equipment hall: what every register and variable holds at every slot.

A device shows at a slot the newest row that had been sampled by then. Its slots are multiples of
its own period in its own time, and then it ends: nothing loops, nothing is scaled.

| unit | what | period | slots |
|---|---|---|---|
| 11 | compressor A1, recorded | 59 s | every row once |
| 12 | rail compressor, recorded | 9 s | every row, as rows are 9 or 10 s apart; some twice |
| 13 | PV inverter over SunSpec, recorded | 900 s | every row, and the end of the last one |
| OPC UA | furnace, SYNTHETIC | 30 s | two days |
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from joulemark_agent.contract.profile import NodePoint, Profile
from joulemark_agent.simulate.equipment_hall.furnace import Furnace, simulate
from joulemark_agent.simulate.equipment_hall.inverter import registers
from joulemark_agent.simulate.equipment_hall.recordings import (
    COMPRESSOR,
    INVERTER,
    RAIL,
    US_PER_S,
    Integers,
    Recording,
    load,
)
from joulemark_agent.simulate.exact import Fractions
from joulemark_agent.simulate.factory import Block, blocks
from joulemark_agent.simulate.scenario import FurnaceOpening, HallScenario
from joulemark_agent.simulate.slots import Slots

COMPRESSOR_UNIT, RAIL_UNIT, INVERTER_UNIT = 11, 12, 13
PROFILES = {COMPRESSOR_UNIT: "virtual_compressor_a1", RAIL_UNIT: "virtual_rail_compressor"}
FURNACE = "virtual_furnace"
_PERIODS_US = {
    COMPRESSOR_UNIT: 59 * US_PER_S,
    RAIL_UNIT: 9 * US_PER_S,
    INVERTER_UNIT: 900 * US_PER_S,
}
_WH_J, _DM3_CM3 = 3600, 1000


@dataclass(frozen=True, eq=False)
class FurnaceValues:
    """What the furnace's variables hold: the points of its profile at each of its slots."""

    profile: Profile
    run: Furnace
    opening: FurnaceOpening

    @property
    def points(self) -> tuple[NodePoint, ...]:
        """The variables."""
        return tuple(point for point in self.profile.points if isinstance(point, NodePoint))

    def value(self, point: str, slot: int) -> float | int | bool:
        """The value of one point at a slot."""
        state = self.run.states[slot]
        if point == "gas_dm3":
            return self.opening.gas_dm3 + state.gas_cm3 // _DM3_CM3
        if point == "energy_wh":
            return self.opening.energy_wh + state.electricity_j // _WH_J
        if point == "door_state":
            return state.is_open
        tenths = {
            "temperature_k": state.temperature_dk,
            "set_point_k": state.set_point_dk,
            "burner_output_unstated": state.output,
        }
        return tenths[point] / 10


@dataclass(frozen=True, eq=False)
class Hall:
    """Precomputed registers, unit -> table -> block, and the furnace."""

    units: Mapping[int, Mapping[str, Block]]
    schedule: Mapping[int, Slots]
    furnace: FurnaceValues


def build_hall(scenario: HallScenario, profiles: Mapping[str, Profile]) -> Hall:
    """The hall of a scenario.

    Args:
        scenario: the opening values and the furnace's seed.
        profiles: by the names in `PROFILES`, and that of the furnace.

    Raises:
        ConfigError: a value its register cannot hold.
    """
    furnace = scenario.furnace
    a1, rail, inverter = load(COMPRESSOR), load(RAIL), load(INVERTER)
    schedule = {
        COMPRESSOR_UNIT: _around(COMPRESSOR_UNIT, a1),
        RAIL_UNIT: _around(RAIL_UNIT, rail),
        INVERTER_UNIT: _around(INVERTER_UNIT, inverter, more=1),
    }
    raw = {
        COMPRESSOR_UNIT: _compressor(a1, schedule[COMPRESSOR_UNIT]),
        RAIL_UNIT: _rail(rail, schedule[RAIL_UNIT]),
    }
    units = {unit: _from_raw(profiles[PROFILES[unit]], values) for unit, values in raw.items()}
    address, words = registers(inverter.values, scenario.inverter.opening_wh)
    sunspec = Block(address, words.shape[1], words.astype(">u2").tobytes())
    return Hall(
        {**units, INVERTER_UNIT: {"holding": sunspec}},
        schedule,
        FurnaceValues(
            profiles[FURNACE], simulate(furnace.first_slot_us, furnace.seed), furnace.opening
        ),
    )


def _around(unit: int, recording: Recording, more: int = 0) -> Slots:
    period_us = _PERIODS_US[unit]
    last_us = int(recording.at_us[-1]) + more * period_us
    return Slots.around(int(recording.at_us[0]), last_us, period_us)


def _compressor(recording: Recording, slots: Slots) -> dict[str, Integers]:
    rows = recording.newest(np.array(slots.all_us()))
    return {
        "power_w": recording.values["power_kw"][rows],
        "header_gauge_pressure_pa": recording.values["header_psig"][rows],
        "sampled_at_s": recording.stamp_us[rows] // US_PER_S,
    }


def _rail(recording: Recording, slots: Slots) -> dict[str, Integers]:
    rows = recording.newest(np.array(slots.all_us()))
    columns = {
        "motor_current_a": "motor_current_a",
        "compressor_gauge_pressure_pa": "tp2_bar",
        "panel_gauge_pressure_pa": "tp3_bar",
        "reservoir_gauge_pressure_pa": "reservoirs_bar",
        "intake_valve_state": "comp",
        "outlet_valve_state": "dv_electric",
        "dryer_tower_state": "towers",
    }
    values = {point: recording.values[column][rows] for point, column in columns.items()}
    return {**values, "sampled_at_s": recording.stamp_us[rows] // US_PER_S}


def _from_raw(profile: Profile, raw: Mapping[str, Integers]) -> dict[str, Block]:
    """The registers that hold these numbers: a register counts in the recording's own decimals."""
    scales = {point.name: Fraction(point.scale) for point in profile.registers}
    return blocks(
        profile,
        {
            name: Fractions(numbers * scales[name].numerator, scales[name].denominator)
            for name, numbers in raw.items()
        },
    )
