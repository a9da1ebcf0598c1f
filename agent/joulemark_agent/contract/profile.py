"""A device model as data: which registers hold which point, and how to tell a value from none."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from functools import partial
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    model_validator,
)

from joulemark_agent.contract.quantities import UNITS, unit_of

Table = Literal["holding", "input", "coil", "discrete"]
SUNSPEC, NODE = "sunspec", "node"  # the tables of the other protocols: a model, a variable
Protocol = Literal["modbus", "sunspec", "opcua"]
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
SunspecType = Literal[
    "int16", "uint16", "acc16", "enum16", "int32", "uint32", "acc32", "bitfield32", "int64",
    "uint64", "acc64", "float32",
]  # fmt: skip
SUNSPEC_WORDS: dict[str, int] = {
    **dict.fromkeys(("int16", "uint16", "acc16", "enum16"), 1),
    **dict.fromkeys(("int32", "uint32", "acc32", "bitfield32", "float32"), 2),
    **dict.fromkeys(("int64", "uint64", "acc64"), 4),
}
NodeType = Literal[
    "bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32",
    "float64",
]  # fmt: skip

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


class _Quantity(_Strict):
    """What every point has: value = raw * scale, in the SI unit that ends the name."""

    name: str
    scale: Exact = Decimal(1)
    counter: bool = False
    minimum: Exact | None = None  # outside -> quality 'range', in SI
    maximum: Exact | None = None

    @model_validator(mode="after")
    def _has_a_unit(self) -> Self:
        if unit_of(self.name) is None:
            endings = ", ".join(sorted(UNITS))
            raise ValueError(f"the name {self.name!r} must end in its unit, one of: {endings}")
        if self.scale == 0:
            raise ValueError("a scale of 0 makes every value 0")
        return self

    def _check_counter(self, kind: str, *, is_unsigned: bool) -> None:
        is_whole = self.scale > 0 and self.scale == self.scale.to_integral_value()
        if self.counter and not (is_unsigned and is_whole):
            raise ValueError(f"a counter is an unsigned integer {kind} with a whole scale above 0")


class Point(_Quantity):
    """One quantity of a Modbus device; `words` are in transmission order."""

    table: Table
    address: int = Field(ge=0, le=0xFFFF)
    type: NumberType
    word_order: Literal["big", "little"] = "big"
    sentinels: tuple[int, ...] = ()  # raw integers that mean "not available"

    @property
    def words(self) -> int:
        """How many 16-bit words the point takes."""
        return WORDS[self.type]

    @model_validator(mode="after")
    def _makes_sense(self) -> Point:
        self._check_counter("register", is_unsigned=self.type.startswith("uint"))
        if self.address + self.words > 0x10000:
            raise ValueError("the point reaches beyond register 65535")
        if self.table in {"coil", "discrete"} and self.type != "uint16":
            raise ValueError(f"a {self.table} is one bit: its type is uint16")
        if any(not 0 <= raw < 1 << 16 * self.words for raw in self.sentinels):
            raise ValueError(
                f"a sentinel is what the {self.words} words hold, without a sign, such as"
                f" 0x{1 << 16 * self.words - 1:X}"
            )
        return self


class SunspecPoint(_Quantity):
    """One quantity of a SunSpec model; value = raw * 10^scale factor * scale.

    What means "not available" belongs to the type: SunSpec Device Information Model Specification
    1.1, tables of point types; so does the scale factor, which is read in the same answer.
    """

    model: int = Field(ge=1, le=0xFFFE)
    offset: int = Field(ge=2, le=0xFFFF)  # from the model's own ID register, which is 0
    type: SunspecType
    scale_offset: int | None = Field(default=None, ge=2, le=0xFFFF)  # of its scale factor

    @property
    def words(self) -> int:
        """How many 16-bit words the point takes, its scale factor not counted."""
        return SUNSPEC_WORDS[self.type]

    @property
    def end(self) -> int:
        """How many words of the model must be read to have the point and its scale factor."""
        last = self.offset + self.words
        return last if self.scale_offset is None else max(last, self.scale_offset + 1)

    @model_validator(mode="after")
    def _makes_sense(self) -> SunspecPoint:
        is_unsigned = self.type.startswith(("uint", "acc"))
        self._check_counter("point", is_unsigned=is_unsigned)
        return self


class NodePoint(_Quantity):
    """One quantity of an OPC UA server: a variable, by the URI of its namespace."""

    node: str = Field(pattern=r"^nsu=[^;]+;[isgb]=.+$", max_length=512)
    type: NodeType

    @model_validator(mode="after")
    def _makes_sense(self) -> NodePoint:
        self._check_counter("variable", is_unsigned=self.type.startswith("uint"))
        kind, _, value = self.node.partition(";")[2].partition("=")
        if not _is_identifier(kind, value):
            raise ValueError(
                f"{value!r} is no identifier of kind '{kind}': i= a number below 2^32, s= text,"
                " g= a GUID, b= base64"
            )
        return self


def _is_identifier(kind: str, value: str) -> bool:
    """Whether the part of a node id after 'i=' and so on is one."""
    try:
        if kind == "i":
            return value.isascii() and value.isdigit() and int(value) < 1 << 32
        if kind == "g":
            return str(uuid.UUID(value)) == value.lower()
        return kind != "b" or bool(base64.b64decode(value, validate=True))
    except ValueError:
        return False


AnyPoint = Point | SunspecPoint | NodePoint


def _protocol(point: Any) -> str:
    """The protocol whose point this is; of a mapping, the one its keys tell of."""
    has = point.__contains__ if isinstance(point, Mapping) else partial(hasattr, point)
    return "opcua" if has("node") else "sunspec" if has("model") else "modbus"


# A tag in parentheses is no part of the path that a mistake is reported with.
_Written = Annotated[
    Annotated[Point, Tag("(modbus)")]
    | Annotated[SunspecPoint, Tag("(sunspec)")]
    | Annotated[NodePoint, Tag("(opcua)")],
    Discriminator(lambda point: f"({_protocol(point)})"),
]


class AllZeroRule(_Strict):
    """A step in which no listed counter moves while every listed gauge reads 0 is no measurement.

    The device answered, so there is a reading and no gap; the interval's energy is missing, not 0.
    """

    rule: Literal["all_zero"]
    result: Literal["missing"]
    counters: tuple[str, ...] = Field(min_length=1)
    gauges: tuple[str, ...] = ()


class Golden(_Strict):
    """Raw words whose value is known: the profile's own test.

    SunSpec: the point's words, then its scale factor where it has one. OPC UA: `data`, the
    DataValue in its binary encoding.
    """

    point: str
    words: tuple[Annotated[int, Field(ge=0, le=0xFFFF)], ...] = ()
    data: str = Field(default="", pattern=r"^([0-9a-f]{2})*$")
    value: Exact | None  # None: the words are a sentinel

    @property
    def raw(self) -> bytes:
        """The bytes that are decoded."""
        return bytes.fromhex(self.data) or b"".join(word.to_bytes(2, "big") for word in self.words)

    @model_validator(mode="after")
    def _makes_sense(self) -> Golden:
        if bool(self.words) == bool(self.data):
            raise ValueError("a golden row has either 'words' or, for OPC UA, 'data'")
        return self


class Profile(_Strict):
    """One device model; what is signed is the canonical form of the mapping it was read from."""

    model: str
    kind: Literal["power_meter", "production_counter", "air_compressor", "pv_inverter", "furnace"]
    protocol: Protocol
    source: str = Field(min_length=10)
    confidence: Literal["manual", "bench", "field"]
    synthetic: bool = False  # True: no machine stands behind the values, only a formula
    max_words: int = Field(default=125, ge=1, le=125)  # per request
    points: tuple[_Written, ...] = Field(min_length=1)
    rules: tuple[AllZeroRule, ...] = ()
    golden: tuple[Golden, ...] = Field(min_length=1)

    @property
    def registers(self) -> tuple[Point, ...]:
        """The points of a Modbus device; none of another protocol's."""
        return tuple(point for point in self.points if isinstance(point, Point))

    def point(self, name: str) -> AnyPoint:
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
        counters = {point.name for point in self.points if point.counter}
        for rule in self.rules:
            if gauges := set(rule.counters) - counters:
                raise ValueError(f"a rule counts on what is no counter: {sorted(gauges)}")
        for point in self.points:
            if _protocol(point) != self.protocol:
                raise ValueError(
                    f"{point.name} is a point of {_protocol(point)}, not {self.protocol}"
                )
        for row in self.golden:
            if bool(row.data) != (self.protocol == "opcua"):
                raise ValueError(f"golden row of {row.point}: OPC UA has 'data', others 'words'")
            if len(row.words) != _golden_words(self.point(row.point)):
                raise ValueError(f"golden words of {row.point}: another number than its type has")
        return self


def _golden_words(point: AnyPoint) -> int:
    if isinstance(point, NodePoint):
        return 0
    has_factor = isinstance(point, SunspecPoint) and point.scale_offset is not None
    return point.words + int(has_factor)
