"""The quantities a point can have: one unit for each, told by the end of the point's name.

`energy_wh` is energy in watt-hours, `reactive_lagging_varh` reactive energy in var-hours: the name
of a point ends in its unit, so no table of units travels beside the data.
"""

from __future__ import annotations

import re

UNITS: dict[str, str] = {
    "_w": "W",
    "_wh": "Wh",
    "_varh": "varh",
    "_var": "var",
    "_va": "VA",
    "_v": "V",
    "_a": "A",
    "_hz": "Hz",
    "_kg": "kg",
    "_pa": "Pa",
    "_k": "K",
    "_m3": "m3",
    "_dm3": "dm3",
    "_m3_s": "m3/s",
    "_w_m2": "W/m2",
    "_m_s": "m/s",
    "_m": "m",
    "_wh_m2": "Wh/m2",
    "_wh_kg": "Wh/kg",
    "_wh_per_w": "Wh/W",
    "_w_per_w": "W/W",
    "_kw_per_ton": "kW/ton",  # of refrigeration, 12,000 Btu/h: as chillers are compared
    "_ah": "Ah",
    "_pa_s": "Pa/s",
    "_j_m3": "J/m3",
    "_s": "s",
    "_ratio": "1",
    "_count": "1",
    "_state": "",
    "_text": "",  # a string, which has no number
    "_unstated": "",  # the source names no unit: kept and shown, and nothing is computed from it
}
_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")


def unit_of(point: str) -> str | None:
    """The unit told by the point's name; None where the name tells none."""
    if not _NAME.fullmatch(point):
        return None
    fits = [ending for ending in UNITS if point.endswith(ending)]
    return UNITS[max(fits, key=len)] if fits else None
