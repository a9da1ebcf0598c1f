"""Values in the units that a reader expects: kWh for Wh, t for kg, degrees Celsius for millikelvin.

A temperature is counted in whole millikelvin; statistics of it come in degrees Celsius.
"""

from __future__ import annotations

import math
from decimal import Decimal

from joulemark_gateway.reports.figures import Number, kwh, places, significant

_UNITS = {"Wh": "kWh", "kg": "t", "mK": "°C", "degC": "°C"}
_THOUSANDTHS = {"Wh", "kg"}
_FREEZING_MK = 273_150


def shown_unit(unit: str) -> str:
    """The unit that is printed; others stay."""
    return _UNITS.get(unit, unit)


def shown(unit: str, value: Number | None) -> str | None:
    """The value in the unit that is printed; None where there is none."""
    if value is None:
        return None
    if unit in _THOUSANDTHS:
        return kwh(value)
    if unit == "mK":  # 0 is what stands where nothing was measured
        return None if not value else places((Decimal(value) - _FREEZING_MK).scaleb(-3), 3)
    return significant(value, 8)


def energy_unit(unit: str) -> str:
    """The shown unit of a coefficient: Wh -> kWh, Wh/kg -> kWh/t, Wh/x -> kWh/x."""
    return "/".join(shown_unit(part) for part in unit.split("/"))


def in_kwh(unit: str, value: float) -> float:
    """A coefficient in its shown unit."""
    return value if unit == "Wh/kg" else value / 1000


def finite(value: float | None) -> float | None:
    """The value; None where it is none or no number, as the BIC of an exact fit."""
    return value if value is not None and math.isfinite(value) else None
