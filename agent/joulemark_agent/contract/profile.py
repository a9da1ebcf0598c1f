"""A device model as data: which registers hold which point, and how to tell a value from none."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from joulemark_agent.contract.quantities import UNITS, unit_of

Table = Literal["holding", "input", "coil", "discrete"]
NumberType = Literal["uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64"]
WORDS: dict[str, int] = {
    "uint16": 1,
    "int16": 1,
    "uint32": 2,
    "int32": 2,
    "uint64": 4,
    "int64": 4,
    "float32": 2,
    "float64": 4,
}


MAX_DIGITS = 80  # before or after the point: 1e999999999 is short to write and long to compute


def _exact(value: Any) -> Any:
    if isinstance(value, float):
        raise ValueError("write a fraction as a decimal, not as a binary float")
    try:
        exact = Decimal(value) if isinstance(value, (str, int)) else value
    except (InvalidOperation, ValueError) as error:
        raise ValueError(f"{str(value)[:40]!r} is not a decimal number") from error
    if isinstance(exact, Decimal) and exact.is_finite():
        exponent = exact.as_tuple().exponent
        assert isinstance(exponent, int)  # finite
        if exact.adjusted() > MAX_DIGITS or exponent < -MAX_DIGITS:
            raise ValueError(f"a number has at most {MAX_DIGITS} digits on a side of the point")
    return exact


Exact = Annotated[Decimal, BeforeValidator(_exact)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Point(_Strict):
    """One quantity of a device and where its raw words stand.

    value = raw * scale, in the SI unit that ends the name; `words` are in transmission order.
    """

    name: str
    table: Table
    address: int = Field(ge=0, le=0xFFFF)
    type: NumberType
    scale: Exact = Decimal(1)
    word_order: Literal["big", "little"] = "big"
    counter: bool = False
    sentinels: tuple[int, ...] = ()  # raw integers that mean "not available"
    minimum: Exact | None = None  # outside -> quality 'range', in SI
    maximum: Exact | None = None

    @property
    def words(self) -> int:
        """How many 16-bit words the point takes."""
        return WORDS[self.type]

    @model_validator(mode="after")
    def _makes_sense(self) -> Point:
        if unit_of(self.name) is None:
            endings = ", ".join(sorted(UNITS))
            raise ValueError(f"the name {self.name!r} must end in its unit, one of: {endings}")
        if self.counter and (
            not self.type.startswith("uint")
            or self.scale <= 0
            or self.scale != self.scale.to_integral_value()
        ):
            raise ValueError("a counter is an unsigned integer register with a whole scale above 0")
        if self.address + self.words > 0x10000:
            raise ValueError("the point reaches beyond register 65535")
        if self.table in {"coil", "discrete"} and self.type != "uint16":
            raise ValueError(f"a {self.table} is one bit: its type is uint16")
        if self.scale == 0:
            raise ValueError("a scale of 0 makes every value 0")
        if any(not 0 <= raw < 1 << 16 * self.words for raw in self.sentinels):
            raise ValueError(
                f"a sentinel is what the {self.words} words hold, without a sign, such as"
                f" 0x{1 << 16 * self.words - 1:X}"
            )
        return self


class AllZeroRule(_Strict):
    """A step in which no listed counter moves while every listed gauge reads 0 is no measurement.

    The device answered, so there is a reading and no gap; the interval's energy is missing, not 0.
    """

    rule: Literal["all_zero"]
    result: Literal["missing"]
    counters: tuple[str, ...] = Field(min_length=1)
    gauges: tuple[str, ...] = ()


class Golden(_Strict):
    """Raw words whose value is known: the profile's own test."""

    point: str
    words: tuple[Annotated[int, Field(ge=0, le=0xFFFF)], ...]
    value: Exact | None  # None: the words are a sentinel


class Profile(_Strict):
    """One device model; what is signed is the canonical form of the mapping it was read from."""

    model: str
    kind: Literal["power_meter", "production_counter", "air_compressor", "pv_inverter", "furnace"]
    protocol: Literal["modbus"]
    source: str = Field(min_length=10)
    confidence: Literal["manual", "bench", "field"]
    synthetic: bool = False  # True: no machine stands behind the values, only a formula
    max_words: int = Field(default=125, ge=1, le=125)  # per request
    points: tuple[Point, ...] = Field(min_length=1)
    rules: tuple[AllZeroRule, ...] = ()
    golden: tuple[Golden, ...] = Field(min_length=1)

    def point(self, name: str) -> Point:
        """The point of that name (KeyError where there is none)."""
        return {point.name: point for point in self.points}[name]

    @model_validator(mode="after")
    def _is_consistent(self) -> Profile:
        names = [point.name for point in self.points]
        if len(set(names)) != len(names):
            raise ValueError("two points share a name")
        used = {row.point for row in self.golden}
        for rule in self.rules:
            used |= {*rule.counters, *rule.gauges}
        if missing := used - set(names):
            raise ValueError(f"these names are no points of this device: {sorted(missing)}")
        for row in self.golden:
            if len(row.words) != self.point(row.point).words:
                raise ValueError(f"golden words of {row.point}: another number than its type has")
        return self
