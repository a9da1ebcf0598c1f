"""Values that a machine of a profile could have, so that any shipped profile can be tried out.

SYNTHETIC: no machine stands behind them. They agree with each other as the profile's checks want:
phases add up to the total, and a counter grows as fast as its power.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Mapping
from decimal import Decimal

from joulemark_agent.contract.profile import (
    Point,
    Profile,
    RateCheck,
    SumCheck,
    SunspecPoint,
)
from joulemark_agent.contract.quantities import unit_of
from joulemark_agent.simulate.encode import Value, WordPoint, can_show

S_PER_H, S_PER_DAY = 3600, 86_400
_WAVE_S = 1800.0  # of the load
_POWER_W = {"pv_inverter": 18_000.0, "air_compressor": 37_000.0, "furnace": 60_000.0}
_OTHER_W = 21_000.0
_FEW = re.compile(r"export|absorbed|returned|feed|leading|fault|alarm")
_DC = re.compile(r"string|dc")
_PHASE = re.compile(r"_l[123](_|$)")
_DC_V = 612.5
_CONSTANT = {"V": 230.4, "Hz": 49.98, "K": 318.15, "Pa": 720_000.0, "m3/s": 0.21, "W/m2": 640.0}
_PER_S = {"kg": 0.75, "dm3": 3.5, "m3": 0.0035, "s": 1.0, "1": 0.01, "Ah": 0.01, "Wh/m2": 0.2}


def plausible(profile: Profile, t_s: int, seed: int = 1) -> dict[str, Value]:
    """A value for every point of a Modbus or SunSpec profile, as far as its words can show it.

    Args:
        profile: the model.
        t_s: since the opening; the same always gives the same values. [s]
        seed: of what differs between two machines of one model.
    """
    machine = _Machine(profile, seed)
    return {
        point.name: machine.value(point, t_s)
        for point in profile.points
        if isinstance(point, Point | SunspecPoint)
    }


class _Machine:
    """One machine: a load that goes up and down, and what follows from it."""

    def __init__(self, profile: Profile, seed: int) -> None:
        draw = random.Random(f"{profile.model}/{seed}")
        self._profile, self._phase = profile, draw.uniform(0, 2 * math.pi)
        power_w = _POWER_W.get(profile.kind, _OTHER_W) * draw.uniform(0.8, 1.2)
        self._power_w = power_w
        self._hours = draw.randrange(2_000, 9_000)  # it has run before
        self._parts: Mapping[str, int] = {
            name: len(check.parts)
            for check in profile.checks
            if isinstance(check, SumCheck)
            for name in check.parts
        }
        self._powers: Mapping[str, str] = {
            check.counter: check.power for check in profile.checks if isinstance(check, RateCheck)
        }

    def value(self, point: WordPoint, t_s: int) -> Value:
        """What the point shows, within what its registers and its profile allow."""
        if point.name.endswith("_text"):
            return f"JM{self._hours}"
        wished = self._wished(point)(t_s)
        low, high = point.minimum, point.maximum
        number = Decimal(repr(wished))
        number = number if low is None else max(number, low)
        number = number if high is None else min(number, high)
        while not can_show(point, number):
            number = (number / 10).to_integral_value() if point.counter else number / 10
        return number

    def _wished(self, point: WordPoint) -> Callable[[int], float]:
        unit, name, share = unit_of(point.name) or "", point.name, self._share(point.name)
        few = 0.0 if self._is_idle(name) else 1.0
        by_power = {"W": 1.0, "VA": 1.08, "var": 0.39}
        by_energy = {"Wh": 1.0, "varh": 0.39}
        if unit in by_power:
            return lambda t_s: few * share * by_power[unit] * self._watts(t_s)
        if unit in by_energy:
            is_daily = getattr(point, "daily", False)
            start = 0.0 if is_daily else self._hours * self._power_w * 0.6
            return lambda t_s: share * by_energy[unit] * (start + few * self._watt_hours(t_s))
        if unit == "A":
            share *= self._amperes_per_watt(name)
            return lambda t_s: share * self._watts(t_s)
        if unit == "1" and name.endswith("_ratio"):
            return lambda _: 0.93
        if point.counter or unit in {"s", "kg", "dm3", "m3"}:
            start = self._hours * S_PER_H * _PER_S.get(unit, 0.01)
            return lambda t_s: float(int(start + t_s * _PER_S.get(unit, 0.01)))
        if unit == "V" and (_DC.search(name) or re.search(r"l[12]_l[23]", name)):
            return lambda _: _DC_V
        if unit == "K":
            return lambda t_s: _CONSTANT["K"] + 12 * self._watts(t_s) / self._power_w
        return lambda _: _CONSTANT.get(unit, 1.0)

    def _is_idle(self, name: str) -> bool:
        """Whether it counts, or shows, what does not flow: an inverter imports nothing."""
        if name.startswith("imported"):
            return self._profile.kind == "pv_inverter"
        return _FEW.search(name) is not None

    @staticmethod
    def _amperes_per_watt(name: str) -> float:
        """Of one conductor, or of all together; a mean, or a motor's, is of one of three."""
        if _DC.search(name):
            return 1 / _DC_V
        return 1.08 / _CONSTANT["V"] / (3 if re.search(r"mean|average|motor", name) else 1)

    def _share(self, name: str) -> float:
        if name in self._parts:
            return 1 / self._parts[name]
        return 1 / 3 if _PHASE.search(name) else 1.0

    def _watts(self, t_s: float) -> float:
        return self._power_w * (0.6 + 0.25 * math.sin(2 * math.pi * t_s / _WAVE_S + self._phase))

    def _watt_hours(self, t_s: float) -> float:
        """The integral of `_watts` since the opening."""
        wave = 0.25 * _WAVE_S / (2 * math.pi)
        angle = 2 * math.pi * t_s / _WAVE_S + self._phase
        load_s = 0.6 * t_s + wave * (math.cos(self._phase) - math.cos(angle))
        return self._power_w * load_s / S_PER_H
