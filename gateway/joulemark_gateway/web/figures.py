"""How numbers, units and times stand on a page: one place for each, nothing rounded up to whole."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal
from zoneinfo import ZoneInfo

from joulemark_agent.contract.quantities import unit_of
from joulemark_gateway.api.plant import local
from joulemark_gateway.reports.figures import places
from joulemark_gateway.web.words import Words

NONE = "–"  # noqa: RUF001 a dash is meant: there is no value
US_PER_S = 1_000_000
POWER_FACTOR = "power_factor_ratio"  # nobody writes it in per cent
COVERAGE = 2  # times the standard uncertainty: about 95 % for a normal distribution
_MOST_DIGITS = 9
_LARGEST = 1e15


@dataclass(frozen=True)
class Shown:
    """How a quantity is shown: times a factor, plus an offset, with digits after the point."""

    unit: str
    factor: float = 1.0
    offset: float = 0.0
    digits: int = 1


_BY_UNIT = {
    "W": Shown("kW", 1e-3, digits=2),
    "Wh": Shown("kWh", 1e-3, digits=3),
    "var": Shown("kvar", 1e-3, digits=2),
    "varh": Shown("kvarh", 1e-3, digits=3),
    "VA": Shown("kVA", 1e-3, digits=2),
    "V": Shown("V", digits=1),
    "A": Shown("A", digits=2),
    "Hz": Shown("Hz", digits=2),
    "kg": Shown("kg", digits=0),
    "Pa": Shown("bar", 1e-5, digits=3),
    "K": Shown("°C", offset=-273.15, digits=1),
    "m3": Shown("m³", digits=2),
    "dm3": Shown("dm³", digits=0),
    "m3/s": Shown("m³/min", 60.0, digits=2),
    "W/m2": Shown("W/m²", digits=0),
    "s": Shown("s", digits=0),
    "1": Shown("", digits=4),
}
# Ends of the names of key figures, whose units are no points' units; the longest end counts.
_BY_END = {
    "_pa_s": Shown("bar/min", 60e-5, digits=4),
    "_j_m3": Shown("kW/(m³/min)", 1 / 60_000, digits=2),
    "_wh_m2": Shown("kWh/m²", 1e-3, digits=3),
    "_wh_kg": Shown("kWh/kg", 1e-3, digits=4),
    "_k_s": Shown("K/min", 60.0, digits=2),
    "_k_h": Shown("K/h", digits=1),
    "_ah": Shown("Ah", digits=2),
    "co2e_kg": Shown("kg CO2e", digits=3),
    "_kg": Shown("kg", digits=1),
    "_m3": Shown("m³", digits=2),
    "_count": Shown("", digits=0),
    "_ratio": Shown("%", 100.0, digits=2),
    "_h": Shown("h", digits=2),
    "_wh_per_w": Shown("kWh/kW", digits=3),
    "_w_per_w": Shown("", digits=2),
    "_kw_per_ton": Shown("kW/ton", digits=3),
    "_state": Shown("", digits=0),
    "_unstated": Shown("", digits=3),
}
_OTHER = Shown("", digits=4)


def shown_as(name: str) -> Shown:
    """How a point or key figure of this name is shown."""
    unit = unit_of(name)
    ends = [end for end in _BY_END if name.endswith(end)]
    end = max(ends, key=len, default="")
    if name == POWER_FACTOR:
        return Shown("", digits=3)
    if end and (unit is None or len(end) >= _unit_length(name)):
        return _BY_END[end]
    return _BY_UNIT.get(unit or "", Shown(unit or "", digits=4))


def _unit_length(name: str) -> int:
    """How long the end is that tells the point's unit."""
    tail = name.rpartition("_")[2]
    return len(tail) + 1 if unit_of(f"x_{tail}") is not None else 0


def number(value: float | None, digits: int) -> str:
    """The value in groups of three; a dash where there is none."""
    if value is None or not math.isfinite(value):
        return NONE
    if abs(value) >= _LARGEST:
        return minus(f"{value:.6g}")
    return grouped(places(value, digits))


def grouped(text: str) -> str:
    """A plain decimal with its whole part in groups of three."""
    whole, point, fraction = text.lstrip("-").partition(".")
    sign = "-" if text.startswith("-") else ""
    return minus(f"{sign}{int(whole):,}{point}{fraction}" if whole.isdigit() else text)


def seen(text: str | None) -> str:
    """What a rule saw; what is hardly above 0, as probabilities are, by a bound that fits."""
    if text is None:
        return NONE
    return "<0.000001" if text.startswith("0.000000") else text


def minus(text: str) -> str:
    """With a minus sign instead of a hyphen."""
    return text.replace("-", "−")  # noqa: RUF001 a minus sign is meant


def quantity(name: str, value: float | None) -> tuple[str, str]:
    """A value of a point or key figure, and the unit it is shown in."""
    how = shown_as(name)
    if value is None or not math.isfinite(value):
        return NONE, how.unit
    return number(value * how.factor + how.offset, how.digits), how.unit


def expanded(name: str, value: float, standard_uncertainty: float) -> tuple[str, str, str]:
    """A value, its expanded uncertainty (k = 2) to two digits, and the unit of both."""
    how = shown_as(name)
    wide = COVERAGE * standard_uncertainty * how.factor
    digits = how.digits
    if 0 < wide < math.inf:
        digits = min(max(1 - math.floor(math.log10(wide)), 0), _MOST_DIGITS)
    return number(value * how.factor + how.offset, digits), number(wide, digits), how.unit


def is_time(name: str) -> bool:
    """Whether a key figure is a length of time."""
    return shown_as(name).unit == "s"


def kwh(value_wh: float | None, digits: int = 3) -> str:
    """Watt-hours as kWh; three digits are exact."""
    return number(None if value_wh is None else value_wh / 1000, digits)


def kilograms(text: str | None, digits: int = 3) -> str:
    """Kilograms written as a decimal."""
    if text is None:
        return NONE
    return grouped(places(Decimal(text), digits))


def percent(part: float, whole: float) -> str:
    """A share, cut and not rounded: 100 only where all of it is there, 0 only where nothing is."""
    if whole <= 0:
        return NONE
    share = Decimal(str(part)) / Decimal(str(whole)) * 100
    cut = share.quantize(Decimal("0.01"), ROUND_DOWN)
    if part > 0 and not cut:
        return "<0.01"
    return f"{cut:.0f}" if cut == cut.to_integral_value() else f"{cut:f}"


def change(ratio: float) -> str:
    """By how much something grew or fell, with its sign."""
    text = places(abs(ratio) * 100, 1)
    if text == "0.0":
        return text
    return f"+{text}" if ratio > 0 else minus(f"-{text}")


def instant(time_us: int | None, zone: ZoneInfo) -> str:
    """Local time to the second, shorter on whole minutes."""
    if time_us is None:
        return NONE
    moment = local(time_us, zone)
    return moment.strftime("%Y-%m-%d %H:%M:%S" if moment.second else "%Y-%m-%d %H:%M")


def offset(time_us: int, zone: ZoneInfo) -> str:
    """The zone's distance from UTC at that time: +09:00."""
    text = local(time_us, zone).strftime("%z")
    return minus(f"{text[:3]}:{text[3:5]}")


def duration(words: Words, length_us: float) -> str:
    """A length of time in the two largest units that tell something."""
    seconds = round(length_us / US_PER_S)
    steps = (("days", 86_400), ("hours", 3600), ("minutes", 60), ("seconds", 1))
    parts = []
    for name, size in steps:
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(words(f"unit_{name}", n=count))
        elif parts:
            break
        if len(parts) == 2:
            break
    return " ".join(parts) or words("unit_seconds", n=0)


def size(count: int) -> str:
    """Bytes as kB or MB."""
    if count >= 1_000_000:
        return f"{places(count / 1e6, 1)} MB"
    return f"{places(max(count / 1e3, 0.1), 1)} kB"
