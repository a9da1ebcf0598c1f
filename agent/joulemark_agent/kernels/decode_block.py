"""Many readings of one device at once: the numbers that `decode` gives, without its text.

A value equals `float(text)` of `decode_point` to the last bit: a value is one integer divided by
one power of ten, both below what a float64 holds exactly, so its single division rounds as the
text would. What does not fit (64-bit integers above 2^53, tiny floats, float16) is left to
`decode_point`, value by value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from joulemark_agent.contract.profile import Point, Profile, SunspecPoint
from joulemark_agent.kernels.decode import (
    DISPUTED,
    MISSING,
    NOT_A_NUMBER,
    NOT_DUE,
    RANGE,
    SCALE,
    SENTINEL,
    TEXT,
    absent,
    arrangement_mask,
    decode_point,
    fraction,
    lacking,
    place_of,
)
from joulemark_agent.kernels.jit import compiled

Layout = tuple[tuple[str, int, int], ...]  # table, address and bytes of each response

# What the small integers of `quality` stand for; another code of `decode_point` is appended.
CODES: tuple[str | None, ...] = (
    None, MISSING, SENTINEL, NOT_A_NUMBER, RANGE, SCALE, TEXT, DISPUTED, NOT_DUE,
)  # fmt: skip
_GOOD, _MISSING, _SENTINEL, _NAN, _RANGE, _SCALE, _TEXT, _DISPUTED, _NOT_DUE = range(len(CODES))
_LEFT = 255  # to `decode_point`

# Columns of a plan's integers, one row per point.
(
    _KIND, _START, _SIZE, _MASK, _SIGNED, _BIT, _NUMERATOR, _PLACES, _ADDED, _ADDED_PLACES,
    _FACTOR, _FACTOR_MASK, _IS_COUNTER, _FIRST_SENTINEL, _END_SENTINEL, _MODEL, _HEAD, _NEEDED,
    _IS_DISPUTED,
) = range(19)  # fmt: skip
_COLUMNS = 19
_INTEGER, _FLOAT32, _FLOAT64, _BCD, _ABSENT, _UNASKED, _NO_NUMBER, _DEFERRED = range(8)  # kinds
_EXACT = 1 << 53  # integers up to here are float64 without loss
_SHORT = 10**15  # decimals of fewer digits are equal where their float64 are: DBL_DIG of C
_MOST_PLACES = 22  # 10^22 is the last power of ten that is a float64 without loss
_TENS = np.array([10.0**n for n in range(_MOST_PLACES + 1)])
_TWOS = np.array([2.0**n for n in range(-64, 65)])  # 2^n at n + 64
_INT_TENS = np.array([10**n for n in range(19)], np.int64)


@dataclass(frozen=True)
class BlockPlan:
    """Where each point of a profile stands in readings of one layout, as the kernel needs it."""

    points: tuple[Point | SunspecPoint, ...]
    integers: NDArray[np.int64]  # columns as above, one row per point
    bounds: NDArray[np.float64]  # minimum and maximum, infinite where there is none
    sentinels: NDArray[np.int64]  # bit patterns, those of a point side by side


def block_plan(profile: Profile, layout: Layout) -> BlockPlan:
    """The plan for readings whose responses are these, one after another.

    Args:
        profile: what the words mean.
        layout: table, address and size [bytes] of each response of a reading, in order.

    Raises:
        ValueError: a profile of another protocol than Modbus and SunSpec.
    """
    rows: list[list[int]] = []
    sentinels: list[int] = []
    points = [point for point in profile.points if isinstance(point, (Point, SunspecPoint))]
    if len(points) < len(profile.points):
        raise ValueError(f"{profile.model} has values of no fixed length: decode them one by one")
    for point in points:
        row = [0] * _COLUMNS
        row[_FACTOR] = -1
        row[_KIND] = _fill(row, point, layout)
        is_float = isinstance(point, SunspecPoint) and point.type.startswith("float")
        row[_IS_COUNTER] = int(point.counter and not is_float)  # of a float a part is no loss
        row[_IS_DISPUTED] = int(bool(point.disputed))
        row[_FIRST_SENTINEL] = len(sentinels)
        sentinels += [_pattern(raw) for raw in _sentinels(point)]
        row[_END_SENTINEL] = len(sentinels)
        rows.append(row)
    bounds = [
        [
            -np.inf if point.minimum is None else float(point.minimum),
            np.inf if point.maximum is None else float(point.maximum),
        ]
        for point in points
    ]
    return BlockPlan(
        tuple(points),
        np.array(rows, np.int64),
        np.array(bounds, np.float64),
        np.array(sentinels, np.int64),
    )


def joined(plans: Sequence[BlockPlan], sizes: Sequence[int]) -> BlockPlan:
    """One plan for readings of several devices whose bytes stand one after another.

    Args:
        plans: of the devices.
        sizes: how many bytes a reading of each has.
    """
    rows, patterns, start = [], 0, 0
    for plan, size in zip(plans, sizes, strict=True):
        row = plan.integers.reshape(-1, _COLUMNS).copy()
        row[:, [_START, _HEAD]] += start
        row[row[:, _FACTOR] >= 0, _FACTOR] += start
        row[:, [_FIRST_SENTINEL, _END_SENTINEL]] += patterns
        rows.append(row)
        patterns, start = patterns + plan.sentinels.size, start + size
    return BlockPlan(
        tuple(point for plan in plans for point in plan.points),
        np.concatenate([np.empty((0, _COLUMNS), np.int64), *rows]),
        np.concatenate([np.empty((0, 2)), *(plan.bounds.reshape(-1, 2) for plan in plans)]),
        np.concatenate([np.empty(0, np.int64), *(plan.sentinels for plan in plans)]),
    )


def decode_block(
    plan: BlockPlan, data: NDArray[np.uint8]
) -> tuple[NDArray[np.float64], NDArray[np.uint8], tuple[str | None, ...]]:
    """The values and quality codes of many readings.

    Args:
        plan: of the readings' layout.
        data: the bytes of each reading's responses, one after another, shape (n, bytes).

    Returns:
        values, NaN where there is none, in SI, shape (n, points); quality, 0 where it is good,
        shape (n, points); and what its numbers stand for.

    Error: none beside what rounding the exact decimal to a float64 costs.
    """
    values = np.empty((len(data), len(plan.points)))
    quality = np.empty(values.shape, np.uint8)
    if not _decode(data, plan.integers, plan.bounds, plan.sentinels, values, quality):
        return values, quality, CODES
    codes = list(CODES)
    for i, k in np.argwhere(quality == _LEFT):
        text, code = _exactly(plan, int(k), data[i])
        values[i, k] = np.nan if text is None else float(text)
        if code not in codes:
            codes.append(code)
        quality[i, k] = codes.index(code)
    return values, quality, tuple(codes)


def _exactly(plan: BlockPlan, k: int, data: NDArray[np.uint8]) -> tuple[str | None, str | None]:
    row = plan.integers[k]
    start, factor = int(row[_START]), int(row[_FACTOR])
    own = data[start : start + int(row[_SIZE])].tobytes()
    return decode_point(
        plan.points[k], own if factor < 0 else own + data[factor : factor + 2].tobytes()
    )


def _fill(row: list[int], point: Point | SunspecPoint, layout: Layout) -> int:
    """Fill in where the point stands and what it is multiplied by; its kind."""
    place = place_of(point, layout)
    if place is None:
        return _UNASKED if lacking(point) == NOT_DUE else _ABSENT
    index, start, end, factor = place
    before = sum(size for _, _, size in layout[:index])
    row[_START], row[_SIZE] = before + start, end - start
    if factor is not None:
        row[_FACTOR] = before + factor
    if isinstance(point, Point):
        row[_MASK] = arrangement_mask(point)
        row[_FACTOR_MASK] = int(point.order in {"BADC", "DCBA"})
        row[_ADDED], row[_ADDED_PLACES] = fraction(point.offset)
        row[_BIT] = -1 if point.bit is None else point.bit
    else:
        row[_MODEL], row[_HEAD], row[_NEEDED] = point.model, before, point.end
        row[_BIT] = -1
    row[_SIGNED] = int(point.type.startswith("int"))
    row[_NUMERATOR], row[_PLACES] = fraction(point.scale)
    limits = [bound for bound in (point.minimum, point.maximum) if bound is not None]
    digits = [fraction(bound)[0] for bound in limits] + [row[_NUMERATOR], row[_ADDED]]
    if max(map(abs, digits)) >= _SHORT or max(row[_PLACES], row[_ADDED_PLACES]) > _MOST_PLACES:
        row[_NUMERATOR], row[_PLACES], row[_ADDED], row[_ADDED_PLACES] = 0, 0, 0, 0
        return _DEFERRED
    return _kind(point)


def _kind(point: Point | SunspecPoint) -> int:
    kinds = {"float32": _FLOAT32, "float64": _FLOAT64, "float16": _DEFERRED, "string": _NO_NUMBER}
    return kinds.get(point.type, _BCD if point.type.startswith("bcd") else _INTEGER)


def _sentinels(point: Point | SunspecPoint) -> tuple[int, ...]:
    if isinstance(point, Point):
        return point.sentinels
    if point.type == "string" or point.type.startswith("float"):
        return ()
    return (absent(point.type, 16 * point.words),)


def _pattern(raw: int) -> int:
    """The 64 bits as the kernel holds them, in a signed integer."""
    return raw - (1 << 64) if raw >= 1 << 63 else raw


@compiled
def _decode(  # noqa: PLR0917 -- compiled code takes its arguments by position
    data: NDArray[np.uint8],
    plan: NDArray[np.int64],
    bounds: NDArray[np.float64],
    sentinels: NDArray[np.int64],
    values: NDArray[np.float64],
    quality: NDArray[np.uint8],
) -> int:
    """Fill in values and quality, and tell how many are left to `decode_point`.

    Point by point: what is the same for all readings is looked up once. Numbers alone go from
    function to function: an array that does costs more than a value.
    """
    left = 0
    for k in range(plan.shape[0]):
        kind, start, size, mask = plan[k, _KIND], plan[k, _START], plan[k, _SIZE], plan[k, _MASK]
        model, head, needed = plan[k, _MODEL], plan[k, _HEAD], plan[k, _NEEDED]
        factor, factor_mask = plan[k, _FACTOR], plan[k, _FACTOR_MASK]
        numerator, below = plan[k, _NUMERATOR], plan[k, _PLACES]
        added, added_below = plan[k, _ADDED], plan[k, _ADDED_PLACES]
        signed, bit, counts = plan[k, _SIGNED], plan[k, _BIT], plan[k, _IS_COUNTER]
        first, end = plan[k, _FIRST_SENTINEL], plan[k, _END_SENTINEL]
        low, high = bounds[k, 0], bounds[k, 1]
        good = _DISPUTED if plan[k, _IS_DISPUTED] else _GOOD
        for i in range(data.shape[0]):
            code, value = _code_of(kind), np.nan
            if model > 0 and (
                _integer(data, i, head, 2, 0) != model
                or _integer(data, i, head + 2, 2, 0) + 2 < needed
            ):
                code = _MISSING
            if code == _GOOD:
                raw = _integer(data, i, start, size, mask)
                is_sentinel = False
                for s in range(first, end):
                    if sentinels[s] == raw:
                        is_sentinel = True
                exponent = np.int64(0)
                if factor >= 0:
                    exponent = _signed(_integer(data, i, factor, 2, factor_mask), 2)
                    code = _code_of_factor(exponent, counts, numerator)
                if is_sentinel and (code == _GOOD or (model > 0 and abs(exponent) <= 10)):
                    code = _SENTINEL
                if code == _GOOD and kind == _FLOAT64:
                    is_scaled = numerator != 1 or below != exponent or added != 0
                    value, code = _double(raw, is_scaled)
                elif code == _GOOD:
                    number, places, code = _number(raw, kind, size, signed, bit)
                    if code == _GOOD:
                        value, code = _exact(
                            number, places - exponent, numerator, below, added, added_below
                        )
                if code == _GOOD:
                    code = _RANGE if value < low or value > high else good
            left += code == _LEFT
            values[i, k], quality[i, k] = value, code
    return left


@compiled
def _code_of(kind: int) -> int:
    """What comes of a point of that kind, whatever its words are; good: it depends on them."""
    if kind == _ABSENT:
        return _MISSING
    if kind == _UNASKED:
        return _NOT_DUE
    if kind == _NO_NUMBER:
        return _TEXT
    return _LEFT if kind == _DEFERRED else _GOOD


@compiled
def _code_of_factor(exponent: np.int64, counts: int, numerator: np.int64) -> int:
    """Whether a scale factor is one, and leaves a counter whole."""
    if exponent < -10 or exponent > 10:
        return _SCALE
    if counts and exponent < 0 and numerator % _INT_TENS[-exponent] != 0:
        return _SCALE
    return _GOOD


@compiled
def _number(
    raw: np.int64, kind: int, size: int, signed: int, bit: int
) -> tuple[np.int64, np.int64, int]:
    """The raw value as number / 10^places, and its code."""
    nothing = np.int64(0)
    if kind == _FLOAT32:
        if (raw >> 23) & 0xFF == 0xFF:
            return nothing, nothing, _NAN
        number, places, is_found = _shortest(raw)
        return number, places, _GOOD if is_found else _LEFT
    if kind == _BCD:
        number = _digits(raw, size)
        return number, nothing, _NAN if number < 0 else _GOOD
    if bit >= 0:
        return (raw >> bit) & 1, nothing, _GOOD
    if signed:
        return _signed(raw, size), nothing, _GOOD
    return raw, nothing, _LEFT if raw < 0 else _GOOD  # an unsigned integer from 2^63 on


@compiled
def _exact(  # noqa: PLR0917 -- as above
    number: np.int64,
    places: np.int64,
    numerator: np.int64,
    numerator_places: np.int64,
    added: np.int64,
    added_places: np.int64,
) -> tuple[float, int]:
    """Gives number / 10^places * scale + offset, rounded once; what has no exact parts is left."""
    if abs(float(number) * float(numerator)) >= _EXACT:
        return np.nan, _LEFT
    top, below = number * numerator, places + numerator_places
    if added != 0:
        common = max(below, added_places)
        if common - below > _MOST_PLACES or common - added_places > _MOST_PLACES:
            return np.nan, _LEFT
        first = float(top) * _TENS[common - below]
        second = float(added) * _TENS[common - added_places]
        if abs(first) >= _EXACT or abs(second) >= _EXACT:
            return np.nan, _LEFT
        top = top * _INT_TENS[common - below] + added * _INT_TENS[common - added_places]
        below = common
    if below < -_MOST_PLACES or below > _MOST_PLACES or abs(top) >= _EXACT:
        return np.nan, _LEFT
    if below >= 0:
        return float(top) / _TENS[below], _GOOD
    return float(top) * _TENS[-below], _GOOD


@compiled
def _double(raw: np.int64, is_scaled: bool) -> tuple[float, int]:
    """A float64 is its own nearest decimal; with a scale, only the text is exact."""
    power = (raw >> 52) & 0x7FF
    if power == 0x7FF:
        return np.nan, _NAN
    if is_scaled:
        return np.nan, _LEFT
    if power == 0:  # 0, or too small for what follows
        return (0.0, _GOOD) if raw << 1 == 0 else (np.nan, _LEFT)
    value = float((raw & ((1 << 52) - 1)) | (1 << 52)) * 2.0 ** float(power - 1075)
    return (-value if raw < 0 else value), _GOOD


@compiled
def _shortest(raw: np.int64) -> tuple[np.int64, np.int64, bool]:
    """The shortest decimal of a float32's bits as number / 10^places; False: left to the text.

    As `decode.shortest`: six digits or more, rounded half to even from the exact value, until they
    read back to the same bits. Integers throughout: 24 bits of the float times 10^11 are 61.
    """
    fraction_bits, power = raw & 0x7FFFFF, (raw >> 23) & 0xFF
    is_negative = raw >> 31 & 1
    if power == 0 and fraction_bits == 0:
        return np.int64(0), np.int64(0), True
    if power < 114 or power > 173:  # below 2^-13 or from 2^47 on
        return np.int64(0), np.int64(0), False
    mantissa = fraction_bits | 0x800000
    shift = power - 150  # the value is mantissa * 2^shift
    value = float(mantissa) * _TWOS[shift + 64]
    before = np.int64(0)  # digits before the point, or as many zeros after it, below 0
    while before < 15 and value >= _TENS[before]:
        before += 1
    while before > -5 and value * _TENS[1 - before] < 1.0:
        before -= 1
    for digits in range(6, 10):
        places = digits - before
        if places > 11:
            return np.int64(0), np.int64(0), False
        power_of_ten = _TENS[abs(places)]
        scaled = value * power_of_ten if places >= 0 else value / power_of_ten
        number = np.int64(np.rint(scaled))
        if abs(abs(scaled - number) - 0.5) < 1e-6:  # `scaled` is right to 1e-7 only
            number = _rounded(mantissa, shift, places)
            if number < 0:
                return np.int64(0), np.int64(0), False
        near = float(number) / power_of_ten if places >= 0 else float(number) * power_of_ten
        if digits == 9 or np.float32(near) == value:
            return (-number if is_negative else number), places, True
    return np.int64(0), np.int64(0), False


@compiled
def _rounded(mantissa: np.int64, shift: np.int64, places: np.int64) -> np.int64:
    """Gives mantissa * 2^shift * 10^places as a whole number, half to even; -1: too large."""
    top = mantissa * _INT_TENS[max(places, np.int64(0))]
    bottom = _INT_TENS[max(-places, np.int64(0))]
    if float(top) * _TWOS[max(shift, np.int64(0)) + 64] >= _TWOS[125]:
        return np.int64(-1)
    if float(bottom) * _TWOS[max(-shift, np.int64(0)) + 64] >= _TWOS[125]:
        return np.int64(-1)
    top <<= max(shift, np.int64(0))
    bottom <<= max(-shift, np.int64(0))
    number = top // bottom
    rest = top - number * bottom
    is_up = rest > bottom - rest or (rest == bottom - rest and number & 1)
    return np.int64(number + 1 if is_up else number)


@compiled
def _integer(data: NDArray[np.uint8], i: int, start: int, size: int, mask: int) -> np.int64:
    """The bytes as one integer, the byte that arrives at j ^ mask being the j-th highest."""
    raw = np.int64(0)
    for j in range(size):
        raw = (raw << 8) | np.int64(data[i, start + (j ^ mask)])
    return raw


@compiled
def _signed(raw: np.int64, size: int) -> np.int64:
    bits = 8 * size
    return raw - (np.int64(1) << bits) if size < 8 and raw >> (bits - 1) else raw


@compiled
def _digits(raw: np.int64, size: int) -> np.int64:
    """A binary coded decimal; -1: a digit is above 9."""
    number = np.int64(0)
    for i in range(2 * size - 1, -1, -1):
        digit = (raw >> 4 * i) & 0xF
        if digit > 9:
            return np.int64(-1)
        number = 10 * number + digit
    return number
