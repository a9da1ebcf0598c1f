"""The three recordings of the hall as exact integers, and the rules of the files they came from.

The stamps are local times of unnamed places; they are read as UTC, here and everywhere.
"""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from functools import lru_cache
from importlib import resources

import numpy as np
from numpy.typing import NDArray

from joulemark_agent.contract.errors import ConfigError

Integers = NDArray[np.int64]

COMPRESSOR, RAIL, INVERTER = "compressor_house_a1", "metropt3_head", "nrel_rsf2_inv2"
US_PER_S = 1_000_000
_SAMPLE_S, _MINUTE_S = 59, 60
_PUBLISHED_STAMPS = {
    COMPRESSOR: ("DateTime", "%m/%d/%Y %H:%M"),
    RAIL: ("timestamp", "%Y-%m-%d %H:%M:%S"),
    INVERTER: ("", "%m/%d/%Y %H:%M"),
}


@dataclass(frozen=True)
class Column:
    """One column: its name here, the published one, and the decimals it is kept with."""

    name: str
    published: str
    places: int


COLUMNS: Mapping[str, tuple[Column, ...]] = {
    COMPRESSOR: (
        Column("power_kw", "Compressor A1 (kW)", 1),
        Column("header_psig", "Pressure (psig)", 3),
    ),
    RAIL: (
        Column("tp2_bar", "TP2", 3),
        Column("tp3_bar", "TP3", 3),
        Column("reservoirs_bar", "Reservoirs", 3),
        Column("motor_current_a", "Motor_current", 4),
        Column("comp", "COMP", 0),
        Column("dv_electric", "DV_eletric", 0),
        Column("towers", "Towers", 0),
    ),
    INVERTER: (
        Column("ac_power_w", "inv2_ac_power_w__1047", 3),
        Column("dc_current_a", "inv2_dc_current__1049", 5),
        Column("dc_voltage_v", "inv2_dc_voltage__1048", 6),
        Column("dc_power_w", "inv2_dc_power__1135", 4),
        Column("poa_w_m2", "poa_irradiance__1055", 6),
    ),
}


@dataclass(frozen=True, eq=False)
class Recording:
    """n rows in order of time; every array has shape (n,)."""

    stamp_us: Integers  # as the file has it, read as UTC
    values: Mapping[str, Integers]  # whole units of the last decimal: 165.8 kW is 1658
    at_us: Integers  # when the row was sampled, which is not always its stamp

    def newest(self, at_us: Integers) -> Integers:
        """The newest row at each instant; before the first the first. [index]"""
        found = np.searchsorted(self.at_us, at_us, side="right") - 1
        return np.maximum(found, 0)


def compact(name: str, published: str) -> str:
    """The published CSV as the one that is shipped: few columns, one form of stamp.

    Raises:
        ConfigError: a value is further from its decimals than binary noise is.
    """
    stamp, form = _PUBLISHED_STAMPS[name]
    columns = COLUMNS[name]
    lines = [_header(name)]
    for row in csv.DictReader(io.StringIO(published.removeprefix("\ufeff"))):
        at = datetime.strptime(row[stamp], form).replace(tzinfo=UTC)
        values = [_shortest(row[column.published], column.places) for column in columns]
        lines.append(",".join([at.strftime("%Y-%m-%dT%H:%M:%S"), *values]))
    return "\n".join(lines) + "\n"


@lru_cache(maxsize=3)
def load(name: str) -> Recording:
    """A recording that is shipped with the package."""
    folder = resources.files("joulemark_agent.simulate").joinpath("recordings")
    packed = folder.joinpath(f"{name}.csv.gz").read_bytes()
    return parse(name, gzip.decompress(packed).decode())


def parse(name: str, text: str) -> Recording:
    """The recording in the shipped form.

    Raises:
        ConfigError: another header, a value that is no number of its column's decimals, or stamps
            that are not those of this recording.
    """
    header, *lines = text.splitlines()
    if header != _header(name):
        raise _bad(name, f"its first line is {header[:120]!r}, not {_header(name)!r}")
    rows = [line.split(",") for line in lines]
    if any(len(row) != header.count(",") + 1 for row in rows) or not rows:
        raise _bad(name, "a line has too few or too many fields")
    try:
        stamp_us = _stamps_us([row[0] for row in rows])
        values = {
            column.name: _whole((row[i] for row in rows), column.places)
            for i, column in enumerate(COLUMNS[name], start=1)
        }
    except (ValueError, InvalidOperation) as error:
        raise _bad(name, f"a stamp or value cannot be read: {error}") from error
    at_us = _SAMPLED[name](stamp_us)
    if at_us is None:
        raise _bad(name, "its stamps are not those of the recording")
    return Recording(stamp_us, values, at_us)


def _header(name: str) -> str:
    return ",".join(["stamp", *(column.name for column in COLUMNS[name])])


def _shortest(text: str, places: int) -> str:
    """The decimal that the published text is binary noise around: -0.0120000000000004 is -0.012."""
    exact = Decimal(text)
    rounded = exact.quantize(Decimal(1).scaleb(-places), ROUND_HALF_EVEN)
    if abs(exact - rounded) > Decimal("1e-9"):
        raise ConfigError(
            f"The published value {text} has more than {places} decimals.",
            "Use the published file named in the recording's source.yaml.",
        )
    plain = f"{rounded.normalize():f}"
    return "0" if plain == "-0" else plain


def _stamps_us(stamps: list[str]) -> Integers:
    return np.array(stamps, dtype="datetime64[s]").astype(np.int64) * US_PER_S


def _whole(texts: Iterable[str], places: int) -> Integers:
    numbers = [Decimal(text).scaleb(places) for text in texts]
    if any(number != number.to_integral_value() for number in numbers):
        raise ValueError(f"a value has more than {places} decimals")
    return np.array([int(number) for number in numbers], dtype=np.int64)


def _every_59_s(stamp_us: Integers) -> Integers | None:
    """True sample times: every 59 s from one second after the first stamp on.

    The stamps are cut to the minute, so 191 occur twice. Only one second fits all 11,411 of them:
    a later one would leave the minute of a stamp, an earlier one would not reach it.
    """
    i = np.arange(stamp_us.size, dtype=np.int64)
    at_us: Integers = stamp_us[0] + (1 + _SAMPLE_S * i) * US_PER_S
    cut_us = at_us - at_us % (_MINUTE_S * US_PER_S)
    return at_us if np.array_equal(cut_us, stamp_us) else None


def _as_stamped(stamp_us: Integers) -> Integers | None:
    return stamp_us if np.all(np.diff(stamp_us) > 0) else None


_SAMPLED: Mapping[str, Callable[[Integers], Integers | None]] = {
    COMPRESSOR: _every_59_s,
    RAIL: _as_stamped,
    INVERTER: _as_stamped,
}


def _bad(name: str, why: str) -> ConfigError:
    return ConfigError(
        f"This is not the recording {name}: {why}.",
        "Install Joulemark again, or make the file again with its script under docs/scripts.",
    )
