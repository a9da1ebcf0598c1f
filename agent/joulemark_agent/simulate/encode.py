"""From values to the words in which a device would show them: `kernels/decode.py` the other way.

Whatever a Modbus or SunSpec profile can say can be served: every type, byte order, scale register
and sentinel. `shown` is the value nearest to a wished one that the words can hold, and it decodes
to exactly itself.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext
from typing import NamedTuple

from joulemark_agent.contract.errors import ConfigError
from joulemark_agent.contract.profile import (
    Identify,
    Point,
    Profile,
    SunspecPoint,
)
from joulemark_agent.kernels.decode import shortest
from joulemark_agent.simulate.equipment_hall.inverter import BASE as SUNSPEC_BASE
from joulemark_agent.sunspec_models import models

Value = Decimal | int | str | None  # text for a string; None: not available
WordPoint = Point | SunspecPoint

_FLOATS = {2: ">e", 4: ">f", 8: ">d"}  # by size
_EXPONENTS = range(-10, 11)
_DIGITS = 80
_LONGEST = 1000  # words of a model
_END_MODEL = 0xFFFF


class CannotShowError(ValueError):
    """The words of the point cannot hold the value."""


class Shown(NamedTuple):
    """A value as the words of a point hold it."""

    value: Decimal
    raw: Decimal | int


def shown(point: WordPoint, value: Decimal | int, exponent: int = 0) -> Decimal:
    """The nearest value that the point can show, in SI.

    Args:
        point: a number; a string has none.
        value: the wish, in SI.
        exponent: what the scale register or factor holds, where the point has one.

    Raises:
        CannotShowError: it is outside what the words hold, or its word is a sentinel.
    """
    return _shown(point, value, exponent).value


def can_show(point: WordPoint, value: Value) -> bool:
    """Whether its words hold the value, with some power of ten in its scale register or factor."""
    factor = point.scale_register if isinstance(point, Point) else point.scale_offset
    return any(_fits(point, value, e) for e in (_EXPONENTS if factor is not None else (0,)))


def encode_point(point: WordPoint, value: Value, exponent: int = 0) -> bytes:
    """The bytes that `decode_point` takes: the point's own, then its scale register or factor.

    Raises:
        CannotShowError: as `shown`; or None and the point has nothing that means it.
    """
    data = _arranged(point, _big_endian(point, value, exponent))
    factor = point.scale_register if isinstance(point, Point) else point.scale_offset
    return data if factor is None else data + _factor(point, exponent)


@dataclass(frozen=True)
class Registers:
    """What a device holds at one moment."""

    words: Mapping[str, Mapping[int, int]]  # by table, then by address
    values: Mapping[str, Decimal]  # what they mean; nothing of a point that is not available

    def read(self, table: str, address: int, count: int) -> bytes | None:
        """The words in transmission order; None outside; 0 in what nobody has defined between."""
        words = self.words.get(table)
        if not words or address < min(words) or address + count - 1 > max(words):
            return None
        return struct.pack(f">{count}H", *(words.get(address + i, 0) for i in range(count)))


def registers(profile: Profile, values: Mapping[str, Value]) -> Registers:
    """The registers of a device of that model that shows the values.

    A scale register holds the finest power of ten with which every point that uses it can be shown.
    What the profile identifies the model by is there. SunSpec models stand from 40000 on.

    Args:
        profile: of a Modbus or SunSpec device.
        values: of every point, in SI; each is shown as `shown` says.

    Raises:
        ConfigError: a value does not fit its words, with its point.
    """
    points = [point for point in profile.points if isinstance(point, WordPoint)]
    exponents = _exponents(points, values)
    held: dict[str, dict[int, int]] = {}
    meant: dict[str, Decimal] = {}
    places = _places(points)
    if profile.protocol == "sunspec":
        held["holding"] = _sunspec_map(points)
    for rule in profile.identify:
        _put(held.setdefault(rule.table, {}), rule.address, _arranged(rule, _proof(rule)))
    for point in points:
        value, exponent, place = values[point.name], exponents[point.name], places[point.name]
        try:
            data = encode_point(point, value, exponent)
        except CannotShowError as error:
            raise ConfigError(
                f"{profile.model} cannot show {value} as {point.name}: {error}.",
                "Give it a value that its registers hold.",
            ) from error
        table = held.setdefault(place.table, {})
        _put(table, place.address, data[: 2 * point.words], is_bit=point.type == "bit")
        if place.factor is not None:
            _put(table, place.factor, data[2 * point.words :])
        if value is not None and not isinstance(value, str):
            meant[point.name] = shown(point, value, exponent)
    return Registers(held, meant)


class _Place(NamedTuple):
    table: str
    address: int
    factor: int | None  # of the scale register


def _places(points: Sequence[WordPoint]) -> dict[str, _Place]:
    bases = {model: address for model, address, _ in _models(points)}
    places: dict[str, _Place] = {}
    for point in points:
        if isinstance(point, Point):
            factor = None if point.scale_register is None else point.scale_register.address
            places[point.name] = _Place(point.table, point.address, factor)
        else:
            base = bases[point.model]
            factor = None if point.scale_offset is None else base + point.scale_offset
            places[point.name] = _Place("holding", base + point.offset, factor)
    return places


def _models(points: Iterable[WordPoint]) -> Iterator[tuple[int, int, int]]:
    """Id, address of the ID register and number of words after the length, of each model."""
    ends: dict[int, int] = {1: 2}
    for point in points:
        if isinstance(point, SunspecPoint):
            ends[point.model] = max(ends.get(point.model, 0), point.end)
    address = SUNSPEC_BASE + 2
    for model, end in sorted(ends.items()):
        words = _model_words(model, end - 2)
        yield model, address, words
        address += 2 + words


def _model_words(model: int, least: int) -> int:
    """How many follow ID and length: whole groups, as the standard has it."""
    group = models().get(model)
    if group is None:
        return least
    start = max(least, group.own_words - 2)
    return next((n for n in range(start, _LONGEST) if group.fits(n)), least)


def _sunspec_map(points: Sequence[WordPoint]) -> dict[int, int]:
    words: dict[int, int] = {}
    _put(words, SUNSPEC_BASE, b"SunS")
    end = SUNSPEC_BASE + 2
    for model, address, count in _models(points):
        filler = b"\0\0" if model == 1 else b"\xff\xff"  # texts, and what is not implemented
        _put(words, address, struct.pack(">HH", model, count) + filler * count)
        end = address + 2 + count
    _put(words, end, struct.pack(">HH", _END_MODEL, 0))
    return words


def _put(words: dict[int, int], address: int, data: bytes, *, is_bit: bool = False) -> None:
    for i, (word,) in enumerate(struct.iter_unpack(">H", data)):
        before = words.get(address + i, 0) if is_bit else 0
        words[address + i] = before | word


def _exponents(points: Sequence[WordPoint], values: Mapping[str, Value]) -> dict[str, int]:
    """By point: what its scale register holds; the same for all that share one."""
    sharing: dict[object, list[WordPoint]] = {}
    for point in points:
        key: object
        if isinstance(point, SunspecPoint):
            key = None if point.scale_offset is None else (point.model, point.scale_offset)
        else:
            factor = point.scale_register
            key = None if factor is None else (point.table, factor.address)
        sharing.setdefault(key, []).append(point)
    found = dict.fromkeys((point.name for point in sharing.pop(None, [])), 0)
    for those in sharing.values():
        fits = [e for e in _EXPONENTS if all(_fits(p, values[p.name], e) for p in those)]
        found |= dict.fromkeys((point.name for point in those), fits[0] if fits else 0)
    return found


def _fits(point: WordPoint, value: Value, exponent: int) -> bool:
    if value is None or isinstance(value, str):
        return True
    if point.counter and exponent < 0 and point.scale % 10**-exponent:
        return False  # it would count fractions, which is decoded as no value
    try:
        shown(point, value, exponent)
    except CannotShowError:
        return False
    return True


def _shown(point: WordPoint, value: Decimal | int, exponent: int) -> Shown:
    offset = point.offset if isinstance(point, Point) else Decimal(0)
    with localcontext(prec=_DIGITS):
        step = point.scale * Decimal(10) ** exponent
        wished = (Decimal(value) - offset) / step
        raw: Decimal | int
        if point.type.startswith("float"):
            raw = _nearest_float(point, wished)
        else:
            raw = int(wished.to_integral_value())
            _check_whole(point, raw)
        return Shown((raw * step + offset).normalize(), raw)


def _nearest_float(point: WordPoint, number: Decimal) -> Decimal:
    """The float that the words can hold, as the shortest decimal that reads back to it."""
    try:
        text = shortest(struct.pack(_FLOATS[2 * point.words], float(number)))
    except OverflowError:
        text = None
    if text is None:
        raise CannotShowError(f"{number:.6g} is no {point.type}")
    return Decimal(text)


def _check_whole(point: WordPoint, raw: int) -> None:
    bits = 16 * point.words
    if point.type == "bit":
        low, high = 0, 1
    elif point.type.startswith("int"):
        low, high = -(1 << bits - 1), (1 << bits - 1) - 1
    else:
        low, high = 0, 10 ** (bits // 4) - 1 if point.type.startswith("bcd") else (1 << bits) - 1
    if not low <= raw <= high:
        raise CannotShowError(f"raw {raw} is not within {low} to {high}")
    if raw & (1 << bits) - 1 in _absent(point):
        raise CannotShowError(f"raw {raw} means that it is not available")


def _absent(point: WordPoint) -> tuple[int, ...]:
    """The raw integers, without a sign, that mean "not available"."""
    if isinstance(point, Point):
        return point.sentinels
    bits = 16 * point.words
    if point.type.startswith(("int", "float")):
        return (1 << bits - 1,) if point.type.startswith("int") else ()
    return (0,) if point.type.startswith("acc") else ((1 << bits) - 1,)


def _big_endian(point: WordPoint, value: Value, exponent: int) -> bytes:
    size = 2 * point.words
    if point.type == "string":
        return str(value or "").encode("ascii")[:size].ljust(size, b"\0")
    if isinstance(value, str):
        raise CannotShowError("a number has no text")
    if value is None:
        if absent := _absent(point):
            return absent[0].to_bytes(size, "big")
        if point.type.startswith("float"):
            return struct.pack(_FLOATS[size], float("nan"))
        if point.type.startswith("bcd"):
            return b"\xff" * size
        raise CannotShowError(f"{point.type} has nothing that means 'not available'")
    raw = _shown(point, value, exponent).raw
    if point.type.startswith("float"):
        return struct.pack(_FLOATS[size], float(raw))
    if point.type.startswith("bcd"):
        return bytes.fromhex(f"{int(raw):0{2 * size}d}")
    bit = point.bit if isinstance(point, Point) and point.bit is not None else 0
    return (int(raw) << bit).to_bytes(size, "big", signed=raw < 0)


def _proof(rule: Identify) -> bytes:
    """The bytes that prove the model, the highest first."""
    size = 2 * rule.words
    first = next(iter(rule.expected), "" if rule.type == "string" else Decimal(0))
    if isinstance(first, str):
        return first.encode("ascii")[:size].ljust(size, b"\0")
    if rule.type.startswith("float"):
        return struct.pack(_FLOATS[size], float(first))
    if rule.type.startswith("bcd"):
        return bytes.fromhex(f"{int(first):0{2 * size}d}")
    return (int(first) << (rule.bit or 0)).to_bytes(size, "big", signed=first < 0)


def _arranged(point: WordPoint | Identify, data: bytes) -> bytes:
    """Big-endian bytes in the order in which the device sends them."""
    order = "ABCD" if isinstance(point, SunspecPoint) else point.order
    words = [data[i : i + 2] for i in range(0, len(data), 2)]
    if order in {"CDAB", "DCBA"} or order == "GHEFCDAB":
        words.reverse()
    elif order == "EFGHABCD":
        words = words[2:] + words[:2]
    elif order == "CDABGHEF":
        words = [words[1], words[0], words[3], words[2]]
    if order in {"BADC", "DCBA"}:
        words = [word[::-1] for word in words]
    return b"".join(words)


def _factor(point: WordPoint, exponent: int) -> bytes:
    is_swapped = isinstance(point, Point) and point.order in {"BADC", "DCBA"}
    return exponent.to_bytes(2, "little" if is_swapped else "big", signed=True)
