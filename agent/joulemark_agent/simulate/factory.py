"""The steel works: what every register holds at every slot, from scenario and recording alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from fractions import Fraction

import numpy as np

from joulemark_agent.contract.errors import ConfigError
from joulemark_agent.contract.profile import Point, Profile
from joulemark_agent.simulate.exact import Fractions, half_even
from joulemark_agent.simulate.recording import YEAR, Integers, Recording
from joulemark_agent.simulate.scenario import Reduction, Scenario
from joulemark_agent.simulate.slots import Slots
from joulemark_agent.simulate.synthetic import production_kg

UNITS = {1: "virtual_main_meter", 2: "virtual_production_counter"}  # the second is synthetic
_DAY_MIN, _INTERVAL_MIN = 24 * 60, 15
_WH_PER_STEP = 10  # the recording counts in 10 Wh and 10 varh
_INTERVALS_PER_HOUR = 4


@dataclass(frozen=True)
class Block:
    """Neighbouring registers of one table at every slot, in transmission order."""

    address: int
    words: int
    data: bytes  # slot after slot

    def read(self, slot: int, address: int, count: int) -> bytes | None:
        """The registers at a slot; None where one of them is outside the block."""
        start = address - self.address
        if start < 0 or start + count > self.words:
            return None
        first = 2 * (slot * self.words + start)
        return self.data[first : first + 2 * count]


@dataclass(frozen=True, eq=False)
class Factory:
    """Precomputed registers: unit -> table -> block, at `slots` instants from `first_us` on."""

    recording: Recording
    units: Mapping[int, Mapping[str, Block]]

    @property
    def slots(self) -> int:
        """The number of slots, the opening slot included."""
        return self.recording.slots

    @property
    def schedule(self) -> dict[int, Slots]:
        """The slots of each unit."""
        recording = self.recording
        slots = Slots(recording.first_us, recording.interval_us, recording.slots)
        return dict.fromkeys(self.units, slots)


def build_factory(
    scenario: Scenario, recording: Recording, profiles: Mapping[str, Profile]
) -> Factory:
    """The factory of a scenario.

    Args:
        scenario: what is changed and how the synthetic counter is made.
        recording: the recorded year.
        profiles: the register tables, by the names in `UNITS`.

    Raises:
        ConfigError: reductions above the whole energy, or a value its register cannot hold.
    """
    values = _meter(scenario, recording) | _synthetic_counter(scenario, recording)
    units = {unit: blocks(profiles[name], values) for unit, name in UNITS.items()}
    return Factory(recording, units)


def _meter(scenario: Scenario, recording: Recording) -> dict[str, Fractions]:
    """The points of the main meter at every slot, exact in their unit.

    The power at a slot is the mean of the interval that ends there, the only power the recording
    has; at the opening slot no interval has ended, so power and power factor read 0.
    """
    opening = scenario.opening
    kept, parts = _kept_share(scenario.reductions, recording)
    energy = _WH_PER_STEP * recording.energy_10wh * kept  # Wh / parts
    is_leading = recording.leading_10varh > recording.lagging_10varh
    power_factor = np.where(is_leading, -recording.leading_pf_1e4, recording.lagging_pf_1e4)
    return {
        "energy_wh": Fractions(_counter(opening.energy_wh * parts, energy), parts),
        "power_w": Fractions(np.append(0, _INTERVALS_PER_HOUR * energy), parts),
        "power_factor_ratio": Fractions(np.append(0, power_factor), 10_000),
        # The retrofit saves active energy; the reactive energy stays as it was recorded.
        "reactive_lagging_varh": Fractions(
            _counter(opening.reactive_lagging_varh, _WH_PER_STEP * recording.lagging_10varh)
        ),
        "reactive_leading_varh": Fractions(
            _counter(opening.reactive_leading_varh, _WH_PER_STEP * recording.leading_10varh)
        ),
    }


def _synthetic_counter(scenario: Scenario, recording: Recording) -> dict[str, Fractions]:
    """The synthetic tonnes: from the recorded energy, whatever the reductions do to the meter."""
    made_kg = production_kg(recording.energy_10wh, scenario.production)
    return {"production_kg": Fractions(scenario.opening.production_kg + made_kg)}


def _counter(opening: int, steps: Integers) -> Integers:
    return opening + np.append(0, np.cumsum(steps))


def _kept_share(reductions: tuple[Reduction, ...], recording: Recording) -> tuple[Integers, int]:
    """The part of each interval's energy that is still used, and how many parts are the whole.

    Shares that hold in the same interval add up.
    """
    shares = [Fraction(reduction.share) for reduction in reductions]
    parts = math.lcm(*(share.denominator for share in shares))
    interval = np.arange(recording.energy_10wh.size)
    day, minute = np.divmod(interval * _INTERVAL_MIN, _DAY_MIN)  # of the interval's local start
    kept = np.full(interval.size, parts)
    for reduction, share in zip(reductions, shares, strict=True):
        first_day = (reduction.first_day - date(YEAR, 1, 1)).days
        is_inside = (minute >= reduction.start_local) & (minute < reduction.end_local)
        kept[(day >= first_day) & is_inside] -= int(share * parts)
    if kept.min() < 0:
        raise ConfigError(
            "The reductions of an interval add up to more than its energy.",
            "Lower their shares, or move them apart.",
        )
    return kept, parts


def blocks(profile: Profile, values: Mapping[str, Fractions]) -> dict[str, Block]:
    """One block per register table; the profile says where every point stands and how.

    Raises:
        ConfigError: a value its register cannot hold.
    """
    found: dict[str, Block] = {}
    for table in sorted({point.table for point in profile.registers}):
        points = [point for point in profile.registers if point.table == table]
        address = min(point.address for point in points)
        width = max(point.address + point.words for point in points) - address
        slots = values[points[0].name].numerators.size
        words = np.zeros((slots, width), dtype=">u2")
        for point in points:
            start = point.address - address
            words[:, start : start + point.words] = _words(point, values[point.name])
        found[table] = Block(address, width, words.tobytes())
    return found


def _words(point: Point, values: Fractions) -> np.ndarray[tuple[int, int], np.dtype[np.uint16]]:
    """The raw words of a point at every slot, shape (slots, words)."""
    factor = 1 / (values.denominator * Fraction(point.scale))  # raw value per numerator
    numerators = values.numerators * factor.numerator
    target = np.dtype(point.type).newbyteorder(">")
    if point.type.startswith("float"):
        raw = (numerators / factor.denominator).astype(target)
    else:
        whole = half_even(numerators, factor.denominator)
        limits = np.iinfo(point.type)
        if whole.min() < limits.min or whole.max() > limits.max:
            raise ConfigError(
                f"{point.name} reaches {whole.max()}; its {point.type} register holds"
                f" {limits.min} to {limits.max}.",
                "Lower the opening value in the scenario.",
            )
        raw = whole.astype(target)
    words = raw.view(">u2").reshape(-1, point.words)
    return words[:, ::-1] if point.word_order == "little" else words
