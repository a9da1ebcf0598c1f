"""A device model as data: which registers hold which point, and how to tell a value from none."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Collection, Mapping
from decimal import ROUND_CEILING, Decimal, InvalidOperation
from functools import partial
from typing import Annotated, Any, Literal, Self, get_args

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
SELECTOR = "selector"  # of an Elektronikon: index and subindex
OBJECT, LED, CONTROLLER = "object", "led", "controller"  # of a Sigma Control 2
Protocol = Literal["modbus", "sunspec", "opcua", "elektronikon", "sigma_control"]
WITHOUT_UNITS = ("opcua", "elektronikon", "sigma_control")  # one device to an address
NumberType = Literal[
    "uint16", "int16", "uint32", "int32", "uint64", "int64", "float16", "float32", "float64",
    "bcd16", "bcd32", "bit", "string",
]  # fmt: skip
WORDS: dict[str, int] = {  # a string says its own length
    "uint16": 1,
    "int16": 1,
    "uint32": 2,
    "int32": 2,
    "uint64": 4,
    "int64": 4,
    "float16": 1,
    "float32": 2,
    "float64": 4,
    "bcd16": 1,
    "bcd32": 2,
    "bit": 1,
}
# In which order the bytes of a number arrive; A is the highest. The first four are patterns for
# every size: of 64 bits they are ABCDEFGH, GHEFCDAB, BADCFEHG and HGFEDCBA.
ByteOrder = Literal["ABCD", "CDAB", "BADC", "DCBA", "EFGHABCD", "GHEFCDAB", "CDABGHEF"]
ORDERS_OF_64_BITS = ("EFGHABCD", "GHEFCDAB", "CDABGHEF")
Direction = Literal["import", "export", "generation", "sum"]
DIRECTED_UNITS = ("W", "Wh", "var", "varh", "VA")
SunspecType = Literal[
    "int16", "uint16", "acc16", "enum16", "bitfield16", "int32", "uint32", "acc32", "enum32",
    "bitfield32", "int64", "uint64", "acc64", "bitfield64", "float32", "float64", "string",
]  # fmt: skip
SUNSPEC_WORDS: dict[str, int] = {  # a string says its own length
    **dict.fromkeys(("int16", "uint16", "acc16", "enum16", "bitfield16"), 1),
    **dict.fromkeys(("int32", "uint32", "acc32", "enum32", "bitfield32", "float32"), 2),
    **dict.fromkeys(("int64", "uint64", "acc64", "bitfield64", "float64"), 4),
}
NodeType = Literal[
    "bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32",
    "float64",
]  # fmt: skip

_COUNTER_KEYS = ("modulus", "quantum", "daily", "false_zero", "maximum_rate", "stuck_s")
# Where in the four bytes of an Elektronikon's answer the number stands; 'high' are the first two.
SelectorType = Literal["uint32", "int32", "uint16_high", "int16_high", "uint16_low", "int16_low"]
Lamp = Literal[
    "led_error", "led_com_error", "led_maintenance", "led_voltage", "led_load", "led_idle",
    "led_remote", "led_clock", "led_power_on",
]  # fmt: skip
LAMPS: tuple[str, ...] = get_args(Lamp)

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
    direction: Direction | None = None  # of power or energy: which way a positive value flows
    disputed: str = ""  # why public sources disagree: such a point is never good
    minimum: Exact | None = None  # outside -> quality 'range', in SI
    maximum: Exact | None = None
    # Of a counter, how it counts; docs/counters.md says what each is good for.
    modulus: int | None = Field(default=None, ge=2)  # the raw count that shows as 0
    quantum: Exact | None = Field(default=None, gt=0)  # by which it may go backwards, in SI
    daily: bool = False  # it starts at 0 every day
    false_zero: bool = False  # 0 is what it shows before it has a count
    maximum_rate: Exact | None = Field(default=None, gt=0)  # the most it counts in a second, in SI
    stuck_s: Exact | None = Field(default=None, gt=0)  # how long it stands still at most

    @model_validator(mode="after")
    def _has_a_unit(self) -> Self:
        if unit_of(self.name) is None:
            endings = ", ".join(sorted(UNITS))
            raise ValueError(f"the name {self.name!r} must end in its unit, one of: {endings}")
        if self.scale == 0:
            raise ValueError("a scale of 0 makes every value 0")
        if self.direction and unit_of(self.name) not in DIRECTED_UNITS:
            raise ValueError(f"only power and energy have a direction: {', '.join(DIRECTED_UNITS)}")
        written = [key for key in _COUNTER_KEYS if getattr(self, key)]
        if written and not self.counter:
            raise ValueError(f"{', '.join(written)} are of a counter, and this is none")
        if self.daily and (self.modulus or self.false_zero):
            raise ValueError("a daily counter starts at 0: it has no 'modulus' and no 'false_zero'")
        return self

    def _check_counter(self, kind: str, number: str, *, is_unsigned: bool) -> None:
        if not self.counter:
            return
        if number.startswith("float"):
            if not (self.scale > 0 and self.minimum is not None and self.minimum >= 0):
                raise ValueError("a counter of a float needs a scale above 0 and 'minimum: 0'")
            if self.modulus is not None:
                raise ValueError("a float has no modulus: it loses its steps before it wraps")
        elif not (is_unsigned and self.scale > 0 and self.scale == int(self.scale)):
            raise ValueError(f"a counter is an unsigned integer {kind} with a whole scale above 0")


class _Registers(_Strict):
    """Where a value of a Modbus device stands, and how its bytes are arranged."""

    table: Table
    address: int = Field(ge=0, le=0xFFFF)
    type: NumberType
    length: int | None = Field(default=None, ge=1, le=125)  # of a string, in words
    bit: int | None = Field(default=None, ge=0, le=15)  # of a bit; 0 is the lowest
    word_order: Literal["big", "little"] = "big"  # little is byte_order CDAB
    byte_order: ByteOrder | None = None  # of the number; without it the word order counts

    @property
    def words(self) -> int:
        """How many 16-bit words the value takes, its scale register not counted."""
        return WORDS[self.type] if self.length is None else self.length

    @property
    def end(self) -> int:
        """The first address after the value."""
        return self.address + self.words

    @property
    def order(self) -> ByteOrder:
        """The byte order, however it is written."""
        return self.byte_order or ("CDAB" if self.word_order == "little" else "ABCD")

    @model_validator(mode="after")
    def _is_arranged(self) -> Self:
        for key, kind in (("length", "string"), ("bit", "bit")):
            if (getattr(self, key) is None) == (self.type == kind):
                raise ValueError(f"'{key}' is for the type {kind}, and a {kind} needs it")
        if self.end > 0x10000:
            raise ValueError("the point reaches beyond register 65535")
        if self.table in {"coil", "discrete"} and self.type != "uint16":
            raise ValueError(f"a {self.table} is one bit: its type is uint16")
        if self.table in {"coil", "discrete"} and self.byte_order is not None:
            raise ValueError(f"a {self.table} is one bit: it has no byte order")
        if self.word_order == "little" and self.byte_order is not None:
            raise ValueError("'word_order: little' is 'byte_order: CDAB': write one of them")
        if self.order in ORDERS_OF_64_BITS and (self.words != 4 or self.type == "string"):
            raise ValueError(f"{self.order} is an order of 64 bits, and {self.type} has other")
        if self.type == "string" and self.order not in {"ABCD", "BADC"}:
            raise ValueError("a string is in byte order ABCD, or BADC: the two of a word swapped")
        return self


class ScaleRegister(_Strict):
    """A register that holds the power of ten its point is multiplied by, from -10 to 10."""

    address: int = Field(ge=0, le=0xFFFF)  # in the table of its point
    type: Literal["int16"] = "int16"


class Point(_Registers, _Quantity):
    """One quantity of a Modbus device; value = raw * 10^scale register * scale + offset.

    A string has no value: it is text, for the one who looks and for the identification.
    """

    offset: Exact = Decimal(0)  # in SI: 273.15 makes kelvins of degrees Celsius
    scale_register: ScaleRegister | None = None  # read in the same request as the point
    sentinels: tuple[int, ...] = ()  # raw integers that mean "not available"
    every_s: int | None = Field(default=None, ge=1, le=86_400)  # None: read at every slot

    @property
    def span(self) -> tuple[int, int]:
        """The first address, and that after the last, of what one request must read whole."""
        if self.scale_register is None:
            return self.address, self.end
        factor = self.scale_register.address
        return min(self.address, factor), max(self.end, factor + 1)

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        is_unsigned = self.type.startswith(("uint", "bcd"))
        is_never_negative = self.minimum is not None and self.minimum >= 0
        is_whole = is_unsigned or (self.type.startswith("int") and is_never_negative)
        self._check_counter(
            "register (or a signed one with a 'minimum' of 0)", self.type, is_unsigned=is_whole
        )
        _check_sentinels(self.words, self.sentinels)
        if self.counter and self.offset:
            raise ValueError("a counter counts from 0: it has no offset")
        if self.modulus is not None and self.scale_register is not None:
            raise ValueError("a counter whose scale may change has no modulus that stays")
        if self.modulus is not None and self.modulus > 1 << 16 * self.words:
            raise ValueError(f"{self.words} words cannot count to a modulus of {self.modulus}")
        if (self.type == "string") != self.name.endswith("_text"):
            raise ValueError("a string's name ends in '_text', and no other's does")
        if self.type == "string":
            self._check_string()
        if self.scale_register is not None:
            self._check_scale_register(self.scale_register.address)
        return self

    def _check_string(self) -> None:
        numbers = {"scale", "offset", "minimum", "maximum", "scale_register", "sentinels"}
        if written := numbers & {name for name in self.model_fields_set if getattr(self, name)}:
            raise ValueError(f"a string is no number: remove {', '.join(sorted(written))}")

    def _check_scale_register(self, factor: int) -> None:
        if self.table in {"coil", "discrete"} or self.type == "bit":
            raise ValueError("a single bit has no scale register")
        if self.address <= factor < self.end:
            raise ValueError("the scale register is one of the point's own words")


def _check_sentinels(words: int, sentinels: tuple[int, ...]) -> None:
    if any(not 0 <= raw < 1 << 16 * words for raw in sentinels):
        raise ValueError(
            f"a sentinel is what the {words} words hold, without a sign, such as"
            f" 0x{1 << 16 * words - 1:X}"
        )


class SunspecPoint(_Quantity):
    """One quantity of a SunSpec model; value = raw * 10^scale factor * scale.

    What means "not available" belongs to the type: SunSpec Device Information Model Specification
    1.1, tables of point types; so does the scale factor, which is read in the same answer.
    """

    model: int = Field(ge=1, le=0xFFFE)
    offset: int = Field(ge=2, le=0xFFFF)  # from the model's own ID register, which is 0
    type: SunspecType
    length: int | None = Field(default=None, ge=1, le=123)  # of a string, in words
    scale_offset: int | None = Field(default=None, ge=2, le=0xFFFF)  # of its scale factor

    @property
    def words(self) -> int:
        """How many 16-bit words the point takes, its scale factor not counted."""
        return SUNSPEC_WORDS[self.type] if self.length is None else self.length

    @property
    def end(self) -> int:
        """How many words of the model must be read to have the point and its scale factor."""
        last = self.offset + self.words
        return last if self.scale_offset is None else max(last, self.scale_offset + 1)

    @model_validator(mode="after")
    def _makes_sense(self) -> SunspecPoint:
        is_unsigned = self.type.startswith(("uint", "acc"))
        self._check_counter("point", self.type, is_unsigned=is_unsigned)
        if self.modulus is not None and self.scale_offset is not None:
            raise ValueError("a counter whose scale may change has no modulus that stays")
        if (self.length is None) == (self.type == "string"):
            raise ValueError("'length' is for the type string, and a string needs it")
        if (self.type == "string") != self.name.endswith("_text"):
            raise ValueError("a string's name ends in '_text', and no other's does")
        if self.type == "string" and self.scale_offset is not None:
            raise ValueError("a string is no number: remove scale_offset")
        return self


class NodePoint(_Quantity):
    """One quantity of an OPC UA server: a variable, by the URI of its namespace.

    `path=A/B/C` is a place in a companion model instead, from a machine's object on: every server
    has other identifiers there, and `joulemark agent scan` makes a profile of them.
    """

    node: str = Field(pattern=r"^nsu=[^;]+;([isgb]|path)=.+$", max_length=512)
    type: NodeType
    offset: Exact = Decimal(0)  # in SI: 273.15 makes kelvins of degrees Celsius
    max_age_s: Exact | None = Field(default=None, gt=0)  # from source to server; older is 'stale'

    @property
    def path(self) -> tuple[str, ...] | None:
        """The browse names from the machine's object on; None: it is a variable's identifier."""
        kind, _, value = self.node.partition(";")[2].partition("=")
        return tuple(value.split("/")) if kind == "path" else None

    @model_validator(mode="after")
    def _makes_sense(self) -> NodePoint:
        self._check_counter("variable", self.type, is_unsigned=self.type.startswith("uint"))
        if self.counter and self.offset:
            raise ValueError("a counter counts from 0: it has no offset")
        kind, _, value = self.node.partition(";")[2].partition("=")
        if self.path is not None and not all(self.path):
            raise ValueError("a path is browse names with a '/' between two of them")
        if self.path is None and not _is_identifier(kind, value):
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


class SelectorPoint(_Quantity):
    """One quantity of an Atlas Copco Elektronikon; value = raw * scale + offset.

    The answer to `unit_selector`, asked together with the value, says what the controller counts
    or measures there: a value in another unit than `unit_code`, or of nothing, is no value.
    """

    selector: str = Field(pattern=r"^[0-9a-f]{6}$")  # index, 4 digits; subindex, 2
    type: SelectorType
    offset: Exact = Decimal(0)  # in SI: 273.15 makes kelvins of degrees Celsius
    unit_selector: str | None = Field(default=None, pattern=r"^[0-9a-f]{6}$")
    unit_code: int | None = Field(default=None, ge=0, le=0xFF)

    @property
    def selectors(self) -> tuple[str, ...]:
        """What must be asked in one question."""
        return tuple(one for one in (self.selector, self.unit_selector) if one is not None)

    @model_validator(mode="after")
    def _makes_sense(self) -> SelectorPoint:
        self._check_counter("answer", self.type, is_unsigned=self.type.startswith("uint"))
        if self.counter and self.offset:
            raise ValueError("a counter counts from 0: it has no offset")
        if (self.unit_selector is None) != (self.unit_code is None):
            raise ValueError("'unit_selector' and 'unit_code' belong together")
        return self


class StatedUnit(_Strict):
    """A unit the controller may state beside a number; value = number * scale + offset."""

    unit: str = Field(max_length=16)
    scale: Exact = Decimal(1)
    offset: Exact = Decimal(0)


class ObjectPoint(_Quantity):
    """One quantity of a Kaeser Sigma Control 2: an object of its menu, or a lamp of its panel.

    A number is shown with the unit that is set on the controller, and only those in `units` are
    understood. A lamp is 0 off, 1 on, 2 flashing.
    """

    object: int | None = Field(default=None, ge=1, le=0xFFFF_FFFF)
    led: Lamp | None = None
    units: tuple[StatedUnit, ...] = ()

    @property
    def place(self) -> tuple[str, int]:
        """Table and address of the answer in a reading."""
        if self.led is not None:
            return LED, LAMPS.index(self.led)
        assert self.object is not None  # the one or the other
        return OBJECT, self.object

    @model_validator(mode="after")
    def _makes_sense(self) -> ObjectPoint:
        if (self.object is None) == (self.led is None):
            raise ValueError("write either 'object' or 'led'")
        if bool(self.units) != (self.led is None):
            raise ValueError("an object needs 'units', a list; a lamp has none")
        if len({known.unit for known in self.units}) != len(self.units):
            raise ValueError("a unit stands twice in 'units'")
        if self.scale != 1:
            raise ValueError("write the scale beside the unit it belongs to")
        if any(known.scale == 0 for known in self.units):
            raise ValueError("a scale of 0 makes every value 0")
        if self.counter and any(known.scale < 0 or known.offset for known in self.units):
            raise ValueError("a counter counts upwards from 0, in every unit")
        if self.counter and self.led is not None:
            raise ValueError("a lamp is no counter")
        return self


AnyPoint = Point | SunspecPoint | NodePoint | SelectorPoint | ObjectPoint


def own_period_us(point: AnyPoint, period_us: int) -> int:
    """From value to value of a point, in a device with that time from slot to slot. [us]"""
    every_s = point.every_s if isinstance(point, Point) else None
    return max((every_s or 0) * 1_000_000, period_us)


def _protocol(point: Any) -> str:
    """The protocol whose point this is; of a mapping, the one its keys tell of."""
    has = point.__contains__ if isinstance(point, Mapping) else partial(hasattr, point)
    told_by = {
        "node": "opcua", "model": "sunspec", "selector": "elektronikon",
        "object": "sigma_control", "led": "sigma_control",
    }  # fmt: skip
    return next((protocol for key, protocol in told_by.items() if has(key)), "modbus")


# A tag in parentheses is no part of the path that a mistake is reported with.
_Written = Annotated[
    Annotated[Point, Tag("(modbus)")]
    | Annotated[SunspecPoint, Tag("(sunspec)")]
    | Annotated[NodePoint, Tag("(opcua)")]
    | Annotated[SelectorPoint, Tag("(elektronikon)")]
    | Annotated[ObjectPoint, Tag("(sigma_control)")],
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


class SumCheck(_Strict):
    """The parts of a total, such as the power of three phases, add up to it."""

    rule: Literal["sum_of_phases"]
    total: str
    parts: tuple[str, ...] = Field(min_length=2)
    tolerance_ratio: Exact = Field(default=Decimal("0.05"), gt=0, lt=1)

    @property
    def names(self) -> tuple[str, ...]:
        """The points the rule compares, all of one unit."""
        return (self.total, *self.parts)

    def check_units(self) -> None:
        """Refuse points that cannot be compared."""
        if len({unit_of(name) for name in self.names}) > 1:
            raise ValueError(f"{self.total} and its parts are not of one unit")


class RateCheck(_Strict):
    """A counter grows as fast as the power beside it says."""

    rule: Literal["rate"]
    counter: str
    power: str
    tolerance_ratio: Exact = Field(default=Decimal("0.05"), gt=0, lt=1)

    @property
    def names(self) -> tuple[str, ...]:
        """The points the rule compares."""
        return self.counter, self.power

    def check_units(self) -> None:
        """Refuse points that cannot be compared."""
        units = unit_of(self.counter), unit_of(self.power)
        if units not in {("Wh", "W"), ("varh", "var")}:
            raise ValueError(
                f"{self.counter} is not counted from {self.power}: Wh and W, or varh and var"
            )


class MonotonicCheck(_Strict):
    """A counter never falls, but where it wraps or starts its day."""

    rule: Literal["monotonic"]
    counter: str

    @property
    def names(self) -> tuple[str, ...]:
        """The point the rule watches."""
        return (self.counter,)

    def check_units(self) -> None:
        """Any unit can be counted."""


class AtMostCheck(_Strict):
    """A point is never above another: hours under load are some of the hours of running."""

    rule: Literal["at_most"]
    point: str
    limit: str

    @property
    def names(self) -> tuple[str, ...]:
        """The points the rule compares, of one unit."""
        return self.point, self.limit

    def check_units(self) -> None:
        """Refuse points that cannot be compared."""
        if unit_of(self.point) != unit_of(self.limit):
            raise ValueError(f"{self.point} and {self.limit} are not of one unit")


def _rule(check: Any) -> str:
    rule = check.get("rule") if isinstance(check, Mapping) else getattr(check, "rule", None)
    return f"({rule})"


Check = Annotated[
    Annotated[SumCheck, Tag("(sum_of_phases)")]
    | Annotated[RateCheck, Tag("(rate)")]
    | Annotated[MonotonicCheck, Tag("(monotonic)")]
    | Annotated[AtMostCheck, Tag("(at_most)")],
    Discriminator(
        _rule,
        custom_error_type="unknown_rule",
        custom_error_message="a 'rule' is sum_of_phases, rate, monotonic or at_most",
    ),
]


def _written(value: Any) -> Any:
    return value if isinstance(value, str) else _exact(value)


Written = Annotated[str | Decimal, BeforeValidator(_written)]


class Identify(_Registers):
    """Registers that prove the model: read before a word of the device is believed."""

    equals: Written | None = None
    one_of: tuple[Written, ...] = ()
    none_of: tuple[Written, ...] = ()  # what other models, known ones, have there
    unreadable: Literal["refuse", "warn"] = "refuse"  # when the device does not answer for them
    note: str = ""

    @property
    def expected(self) -> tuple[str | Decimal, ...]:
        """What proves the model: texts of a string, raw numbers (with their sign) of the others."""
        return self._of_type(self.one_of if self.equals is None else (self.equals,))

    @property
    def excluded(self) -> tuple[str | Decimal, ...]:
        """What proves that it is another model."""
        return self._of_type(self.none_of)

    def _of_type(self, values: tuple[str | Decimal, ...]) -> tuple[str | Decimal, ...]:
        if self.type == "string":
            return values
        return tuple(Decimal(value) for value in values)

    @model_validator(mode="after")
    def _can_be_met(self) -> Self:
        if (self.equals is not None) + bool(self.one_of) + bool(self.none_of) != 1:
            raise ValueError("write either 'equals' or 'one_of' or 'none_of'")
        written = (self.equals, *self.one_of, *self.none_of)
        for value in (value for value in written if value is not None):
            if self.type == "string" and not isinstance(value, str):
                raise ValueError(f"the type is string: put quotes around {value}")
            if self.type != "string":
                _exact(value)
        return self


class Sentinels(_Strict):
    """What a device shows for "not available", by type: raw integers without a sign."""

    uint16: tuple[int, ...] = ()
    int16: tuple[int, ...] = ()
    uint32: tuple[int, ...] = ()
    int32: tuple[int, ...] = ()
    uint64: tuple[int, ...] = ()
    int64: tuple[int, ...] = ()
    float16: tuple[int, ...] = ()
    float32: tuple[int, ...] = ()
    float64: tuple[int, ...] = ()
    bcd16: tuple[int, ...] = ()
    bcd32: tuple[int, ...] = ()
    bit: tuple[int, ...] = ()  # of the whole register

    @model_validator(mode="after")
    def _fit(self) -> Self:
        for kind in self.model_fields_set:
            _check_sentinels(WORDS[kind], getattr(self, kind))
        return self


class Controller(_Strict):
    """What a Sigma Control 2 must say of itself before an object of its menu is believed.

    The numbers of the objects are those of one model and firmware: another has others there.
    """

    field: str = Field(pattern=r"^[A-Za-z0-9_]{1,32}$")
    one_of: tuple[str, ...] = Field(min_length=1)


class Quirk(_Strict):
    """What a user of the device must know, and who says so."""

    text: str = Field(min_length=3)
    source: str = Field(min_length=3)


class Serial(_Strict):
    """How the device's serial port is set when it leaves the factory; 8 data bits."""

    baud: int = Field(ge=300, le=1_000_000)
    parity: Literal["none", "even", "odd"]
    stop_bits: Literal[1, 2]


class Golden(_Strict):
    """Raw words whose value is known: the profile's own test.

    Modbus and SunSpec: the point's words, then its scale register or factor where it has one.
    OPC UA: `data`, the DataValue in its binary encoding. Over HTTP: `text`, as it was answered; of
    an Elektronikon the answer to the selector, then that to the unit selector.
    """

    point: str
    words: tuple[Annotated[int, Field(ge=0, le=0xFFFF)], ...] = ()
    data: str = Field(default="", pattern=r"^([0-9a-f]{2})*$")
    text: str = ""
    value: Exact | None  # None: the words are a sentinel

    @property
    def raw(self) -> bytes:
        """The bytes that are decoded."""
        if self.text:
            return self.text.encode()
        return bytes.fromhex(self.data) or b"".join(word.to_bytes(2, "big") for word in self.words)

    @model_validator(mode="after")
    def _makes_sense(self) -> Golden:
        if bool(self.words) + bool(self.data) + bool(self.text) != 1:
            raise ValueError("a golden row has 'words', or 'data' for OPC UA, or 'text' for HTTP")
        return self


class Profile(_Strict):
    """One device model; what is signed is the canonical form of the mapping it was read from."""

    model: str
    kind: Literal[
        "power_meter", "production_counter", "air_compressor", "pv_inverter", "furnace", "gas_meter"
    ]
    protocol: Protocol
    source: str = Field(min_length=10)
    # second_hand: read in the code of others, not in the manual.
    confidence: Literal["manual", "bench", "field", "second_hand"]
    synthetic: bool = False  # True: no machine stands behind the values, only a formula
    max_words: int = Field(default=125, ge=1, le=125)  # per request
    points: tuple[_Written, ...] = Field(min_length=1)
    rules: tuple[AllZeroRule, ...] = ()
    golden: tuple[Golden, ...] = ()  # every shipped profile has some for each of its points
    # By type, for every point of it that names none of its own; raw and without a sign.
    sentinels: Sentinels = Sentinels()
    identify: tuple[Identify, ...] = ()
    checks: tuple[Check, ...] = ()
    quirks: tuple[Quirk, ...] = ()
    serial: Serial | None = None
    controller: tuple[Controller, ...] = ()  # of a Sigma Control 2

    def __hash__(self) -> int:
        """Of what tells profiles apart: tables are looked up by them for every reading."""
        return hash((self.model, self.source, len(self.points)))

    @property
    def registers(self) -> tuple[Point, ...]:
        """The points of a Modbus device; none of another protocol's."""
        return tuple(point for point in self.points if isinstance(point, Point))

    def point(self, name: str) -> AnyPoint:
        """The point of that name (KeyError where there is none)."""
        return {point.name: point for point in self.points}[name]

    def accepting(self, names: Collection[str]) -> Profile:
        """The profile in which these points are disputed no more: a commissioning test has passed.

        What is approved is not changed: the site document names the points, and who decodes the
        evidence makes this profile again from both documents.
        """
        if not names:
            return self
        points = tuple(
            point.model_copy(update={"disputed": ""}) if point.name in names else point
            for point in self.points
        )
        return self.model_copy(update={"points": points})

    def bounded(self, maximum_power_w: int | None) -> Profile:
        """The profile in which no counter of Wh counts more in a second than this power gives.

        The site document says what the connection can carry; what the profile says stands where
        it is less.
        """
        if maximum_power_w is None:
            return self
        most = (Decimal(maximum_power_w) / 3600).quantize(Decimal("1e-9"), ROUND_CEILING)
        points = tuple(
            point.model_copy(update={"maximum_rate": min(point.maximum_rate or most, most)})
            if point.counter and unit_of(point.name) == "Wh"
            else point
            for point in self.points
        )
        return self.model_copy(update={"points": points})

    @model_validator(mode="after")
    def _gives_its_sentinels_to_its_points(self) -> Self:
        written = self.sentinels.model_fields_set
        given = tuple(
            point.model_copy(update={"sentinels": getattr(self.sentinels, point.type)})
            if isinstance(point, Point)
            and point.type in written
            and "sentinels" not in point.model_fields_set
            else point
            for point in self.points
        )
        if written:
            object.__setattr__(self, "points", given)  # frozen for everybody else
        return self

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        names = [point.name for point in self.points]
        if all(isinstance(point, Point) and point.every_s for point in self.points):
            raise ValueError("a point without 'every_s' is needed: without it slots have nothing")
        if len(set(names)) != len(names):
            raise ValueError("two points share a name")
        used = {row.point for row in self.golden}
        for rule in self.rules:
            used |= {*rule.counters, *rule.gauges}
        for check in self.checks:
            used |= set(check.names)
        if missing := used - set(names):
            raise ValueError(f"these names are no points of this device: {sorted(missing)}")
        for check in self.checks:
            check.check_units()
        if self.protocol != "modbus":
            for key in ("sentinels", "identify", "serial"):
                if key in self.model_fields_set:
                    raise ValueError(f"'{key}' is for Modbus registers, not {self.protocol}")
        if self.controller and self.protocol != "sigma_control":
            raise ValueError(f"'controller' is for sigma_control, not {self.protocol}")
        counters = {point.name for point in self.points if point.counter}
        for point in self.points:
            if point.modulus is not None and point.maximum_rate is None:
                raise ValueError(
                    f"{point.name} wraps: give its 'maximum_rate', or a reset looks like a wrap"
                )
        for rule in self.rules:
            if gauges := set(rule.counters) - counters:
                raise ValueError(f"a rule counts on what is no counter: {sorted(gauges)}")
        for point in self.points:
            if _protocol(point) != self.protocol:
                raise ValueError(
                    f"{point.name} is a point of {_protocol(point)}, not {self.protocol}"
                )
        for row in self.golden:
            key = {"opcua": "data", "elektronikon": "text", "sigma_control": "text"}.get(
                self.protocol, "words"
            )
            if not getattr(row, key):
                raise ValueError(f"golden row of {row.point}: {self.protocol} has '{key}'")
            if len(row.words) != _golden_words(self.point(row.point)):
                raise ValueError(f"golden words of {row.point}: another number than its type has")
        return self


def _golden_words(point: AnyPoint) -> int:
    if isinstance(point, (NodePoint, SelectorPoint, ObjectPoint)):
        return 0
    factor = point.scale_register if isinstance(point, Point) else point.scale_offset
    return point.words + int(factor is not None)
