"""How a figure is printed: plain decimals, half to even, at most ten significant digits.

Binary differences of the last place disappear in the rounding, so a report recomputed elsewhere
prints the same text.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from zoneinfo import ZoneInfo

from joulemark_agent.contract.canonical import decimal_text
from joulemark_agent.contract.errors import MeasureError

MAX_DIGITS = 10
US_PER_S = 1_000_000
Number = int | float | Decimal


def places(value: Number, digits: int) -> str:
    """The value with this many digits after the point, fewer where ten in all are not enough."""
    exact = _exact(value)
    allowed = min(digits, MAX_DIGITS - max(exact.adjusted() + 1, 1))
    rounded = exact.quantize(Decimal(1).scaleb(-allowed), ROUND_HALF_EVEN)
    if rounded.adjusted() > max(exact.adjusted(), 0):  # 9.99... became 10.0
        allowed = min(digits, MAX_DIGITS - rounded.adjusted() - 1)
    return _rounded(exact, allowed)


def significant(value: Number, digits: int) -> str:
    """The value with this many significant digits, without trailing zeros."""
    exact = _exact(value)
    if not exact:
        return "0"
    return decimal_text(Decimal(_rounded(exact, min(digits, MAX_DIGITS) - exact.adjusted() - 1)))


def kwh(value_wh: Number) -> str:
    """Watt-hours as kWh, to the Wh."""
    return places(_exact(value_wh).scaleb(-3), 3)


def tonnes(value_kg: Number) -> str:
    """Kilograms as tonnes, to the gram."""
    return places(_exact(value_kg).scaleb(-3), 6)


def percent(ratio: Number) -> str:
    """A ratio as a percentage with four digits after the point."""
    return places(_exact(ratio).scaleb(2), 4)


def share(part: int, whole: int) -> str | None:
    """The part as a percentage of the whole; None where there is no whole."""
    return percent(Decimal(part) / Decimal(whole)) if whole else None


def hours(duration_us: int) -> str:
    """A duration in hours."""
    return places(Decimal(duration_us) / (3600 * US_PER_S), 4)


def with_half_width(value: Number, half_width: Number) -> tuple[str, str]:
    """A headline: the half-width with four significant digits, the value to the same place."""
    wide = _exact(half_width)
    digits = 3 - wide.adjusted() if wide else 0
    return places(value, max(digits, 0)), places(wide, max(digits, 0))


def local_time(instant_us: int, zone: ZoneInfo) -> str:
    """An instant as local time with its offset: 2018-11-08 00:00 +09:00."""
    seconds, rest_us = divmod(instant_us, US_PER_S)
    moment = datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest_us).astimezone(zone)
    form = "%Y-%m-%d %H:%M:%S" if moment.second or rest_us else "%Y-%m-%d %H:%M"
    fraction = f".{rest_us:06d}" if rest_us else ""
    offset = moment.strftime("%z")
    return f"{moment.strftime(form)}{fraction} {offset[:3]}:{offset[3:5]}"


def _exact(value: Number) -> Decimal:
    exact = Decimal(repr(float(value))) if isinstance(value, float) else Decimal(value)
    if not exact.is_finite():
        raise MeasureError(
            f"A figure of the report is {value}, which is no number.",
            "Look at the model's findings; a report prints numbers or says what is missing.",
            code="not_finite",
        )
    return exact


def _rounded(exact: Decimal, digits: int) -> str:
    text = format(exact.quantize(Decimal(1).scaleb(-digits), ROUND_HALF_EVEN), "f")
    return text[1:] if text.startswith("-") and not text.strip("-0.") else text
