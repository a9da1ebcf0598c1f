"""A machine behind any Modbus profile: voltages, currents, powers and counters that fit together.

It knows physics and the names of points, not the checks that are tried on it.
"""

import math
from collections.abc import Mapping
from decimal import Decimal

from joulemark_agent.contract.profile import Point, Profile
from joulemark_agent.contract.quantities import unit_of
from joulemark_agent.simulate.encode import Value, registers

SHARES = {"_l1_": 0.36, "_l2_": 0.33, "_l3_": 0.31}
POWER_W, POWER_FACTOR, VOLTS = 21_000.0, 0.93, 231.0
WAVE_S = 700.0
DC_V, DC_PER_AC = 612.0, 1 / 0.97


def power_w(t_s: float) -> float:
    """A load that goes up and down, slowly and in steps."""
    step = 0.1 if int(t_s) // 130 % 2 else 0.0
    return POWER_W * (0.65 + 0.2 * math.sin(2 * math.pi * t_s / WAVE_S) + step)


def energy_wh(t_s: float) -> float:
    """The integral of the power, of one second after the other."""
    return sum(power_w(second + 0.5) for second in range(int(t_s))) / 3600


class Machine:
    """What a device of the profile holds at a time."""

    def __init__(self, profile: Profile, *, flow: str = "import") -> None:
        """The load is imported, or (`export`) fed in."""
        self.profile, self._flow = profile, flow
        self._energy_wh: dict[int, float] = {0: 0.0}

    def words(self, t_s: int) -> Mapping[str, Mapping[int, int]]:
        """The registers by table and address."""
        values = {point.name: self._shown(point, t_s) for point in self.profile.registers}
        return registers(self.profile, values).words

    def _shown(self, point: Point, t_s: int) -> Value:
        if point.name.endswith("_text"):
            return "JM1"
        value = Decimal(repr(self.value(point, t_s)))
        if point.type.startswith(("uint", "bcd")) and not point.type.startswith("float"):
            value = max(value, Decimal(0) + point.offset)
            if point.counter and point.words == 1:  # of a day
                value %= point.scale * 50_000
        return value

    def _wh(self, t_s: int) -> float:
        last = max(t for t in self._energy_wh if t <= t_s)
        if last < t_s:
            more = sum(power_w(second + 0.5) for second in range(last, t_s)) / 3600
            self._energy_wh[t_s] = self._energy_wh[last] + more
        return self._energy_wh[t_s]

    def value(self, point: Point, t_s: int) -> float:
        """The true value of a point. [SI]"""
        name, unit = point.name, unit_of(point.name)
        share = next((part for key, part in SHARES.items() if key in f"{name}_"), 1.0)
        if name.startswith("voltage_l1_l2"):
            share = 1.0
        watts = power_w(t_s)
        sign = -1.0 if self._flow == "export" else 1.0
        counted = self._counted(name, t_s) * share
        if unit == "W":
            sign = -sign if point.direction == "export" else sign
            sign = 1.0 if point.direction == "generation" else sign
            return watts * share * (DC_PER_AC if "dc_" in name else sign)
        return {
            "var": watts * share * math.tan(math.acos(POWER_FACTOR)),
            "VA": watts * share / POWER_FACTOR,
            "Wh": counted,
            "varh": counted * math.tan(math.acos(POWER_FACTOR)),
            "V": self._volts(name),
            "A": self._amperes(name, watts, share),
            "Hz": 49.98,
            "K": self._kelvins(name),
            "Pa": 710_000.0,
            "m3/s": 0.1,
            "m3": 960_000.0 + int(0.12 * t_s),
            "s": 252_000.0 if "last_100_h" in name else self._seconds(name, t_s),
            "1": POWER_FACTOR if "factor" in name else 0.97 if "efficiency" in name else 0.6,
        }.get(str(unit), 1.0)

    def _counted(self, name: str, t_s: int) -> float:
        flowing = self._wh(t_s)
        if "today" in name:
            return 31_000.0 + flowing
        if "imported_and_exported" in name:
            return 123_456_780.0 + flowing
        is_export = "export" in name
        base = 3_456_780.0 if is_export else 120_000_000.0
        is_fed = is_export == (self._flow == "export") or "generat" in name
        return base + (flowing if is_fed else 0.0)

    def _kelvins(self, name: str) -> float:
        base = 1123.0 if self.profile.kind == "furnace" else 341.0
        return base - 1.3 if "set_point" in name else base

    @staticmethod
    def _seconds(name: str, t_s: int) -> float:
        if "due" in name:
            return 3_600_000.0
        return (31_000_000 + t_s) * (0.7 if "loaded" in name else 1.0)

    @staticmethod
    def _volts(name: str) -> float:
        if "string" in name or "dc_" in name:
            return DC_V
        if "supply" in name:
            return 24.1
        return VOLTS * (math.sqrt(3) if "l1_l2" in name else 1.0)

    @staticmethod
    def _amperes(name: str, watts: float, share: float) -> float:
        if "dc_" in name or "string" in name:
            return watts * DC_PER_AC / DC_V / (3 if "string" in name else 1)
        total = watts / VOLTS / POWER_FACTOR
        return total * share if share != 1.0 else total / (3 if "mean" in name else 1)
