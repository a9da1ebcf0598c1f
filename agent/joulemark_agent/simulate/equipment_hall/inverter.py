"""The recorded inverter as a SunSpec map: models 1, 103, 160 and 302 from register 40000 on.

A 16-bit point keeps as many digits as fit: its scale factor is the smallest that holds the value,
so it changes from read to read, and a value that is scaled by the factor of another read is ten
times wrong. The counter counts every recorded power over the quarter-hour that follows it.

What the recording lacks reads "not implemented": AC currents and voltages, frequency, temperatures,
and the operating state. A state made up from the power would tell of the day with sun and no AC
power what nobody knows: whether the inverter had tripped, or was switched off, or under snow.

Source: SunSpec Device Information Model Specification 1.1; models 103, 160 and 302 as in
sunspec/models, json/model_NNN.json; an irradiance has whole W/m2 and no scale factor there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from joulemark_agent.simulate.equipment_hall.recordings import Integers
from joulemark_agent.simulate.exact import half_even

BASE = 40_000
END_MODEL = 0xFFFF
_MARKER = b"SunS"
_TEXTS = ((16, "Joulemark"), (16, "Virtual inverter"), (8, "replay"), (8, "1"), (16, "RSF-II-2"))
_MW_PER_W, _QUARTERS_PER_HOUR = 1000, 4
_FINEST, _COARSEST = -2, 2  # scale factors served

Words = NDArray[np.uint16]


class _Point(NamedTuple):
    """A point that is not recorded: where it is and what it holds when it is not implemented."""

    offset: int
    words: int
    absent: int


_UINT16, _INT16, _FACTOR, _ENUM16 = 0xFFFF, 0x8000, 0x8000, 0xFFFF
_BITFIELD32 = 0xFFFFFFFF
_HUNDREDTHS = 0xFFFE  # the scale factor of a frequency is there, its value is not
_ABSENT_103 = (
    *(_Point(offset, 1, _UINT16) for offset in (2, 3, 4, 5, 7, 8, 9, 10, 11, 12, 16)),
    *(_Point(offset, 1, _INT16) for offset in (18, 20, 22, 33, 34, 35, 36)),
    *(_Point(offset, 1, _FACTOR) for offset in (6, 13, 19, 21, 23, 37)),
    _Point(17, 1, _HUNDREDTHS),
    *(_Point(offset, 1, _ENUM16) for offset in (38, 39)),
    *(_Point(offset, 2, _BITFIELD32) for offset in (40, 42, 44, 46, 48, 50)),
)
_ABSENT_160 = (
    _Point(5, 1, _FACTOR),
    _Point(6, 2, _BITFIELD32),
    _Point(9, 1, _UINT16),
    _Point(24, 2, _BITFIELD32),
    _Point(26, 1, _INT16),
    _Point(27, 1, _ENUM16),
    _Point(28, 2, _BITFIELD32),
)
_ABSENT_302 = tuple(_Point(offset, 1, _UINT16) for offset in (2, 4, 5, 6))


def registers(values: Mapping[str, Integers], opening_wh: int) -> tuple[int, Words]:
    """The whole map at every slot.

    Args:
        values: AC power [mW], DC current [10 uA], DC voltage [uV], DC power [0.1 mW] and
            irradiance [uW/m2] of every quarter-hour, shape (n,) each.
        opening_wh: what the counter shows at the first slot. [Wh]

    Returns:
        the address of the first register, and shape (n + 1, words): the last slot ends the last
        quarter-hour, and shows its row once more.
    """
    rows = {name: np.append(column, column[-1]) for name, column in values.items()}
    quarters = np.append(0, np.cumsum(values["ac_power_w"]))
    total_wh = opening_wh + half_even(quarters, _MW_PER_W * _QUARTERS_PER_HOUR)
    models = (_common(), _inverter(rows, total_wh), _inputs(rows), _irradiance(rows))
    slots = quarters.size
    parts = [_repeated(_text(_MARKER), slots)]
    for number, model in zip((1, 103, 160, 302), models, strict=True):
        body = np.broadcast_to(model, (slots, model.shape[-1])).copy()
        body[:, :2] = number, body.shape[1] - 2
        parts.append(body)
    parts.append(_repeated(np.array([END_MODEL, 0], np.uint16), slots))
    return BASE, np.concatenate(parts, axis=1)


def _common() -> Words:
    texts = [_text(text.encode().ljust(2 * words, b"\0")) for words, text in _TEXTS]
    address_and_pad = np.array([1, 0x8000], np.uint16)
    return np.concatenate([np.zeros(2, np.uint16), *texts, address_and_pad])[None, :]


def _inverter(rows: Mapping[str, Integers], total_wh: Integers) -> Words:
    words = _blank(total_wh.size, 52, _ABSENT_103)
    words[:, 14], words[:, 15] = _scaled(rows["ac_power_w"], 3, np.iinfo(np.int16).max)
    words[:, 24], words[:, 25] = total_wh >> 16, total_wh & 0xFFFF
    words[:, 26] = 0
    words[:, 27], words[:, 28] = _scaled(rows["dc_current_a"], 5, _UINT16 - 1)
    words[:, 29], words[:, 30] = _scaled(rows["dc_voltage_v"], 6, _UINT16 - 1)
    words[:, 31], words[:, 32] = _scaled(rows["dc_power_w"], 4, np.iinfo(np.int16).max)
    return words


def _inputs(rows: Mapping[str, Integers]) -> Words:
    """Model 160 with one DC input."""
    words = _blank(rows["dc_power_w"].size, 30, _ABSENT_160)
    words[:, 8], words[:, 10] = 1, 1
    words[:, 11:19] = _text(b"DC input".ljust(16, b"\0"))
    for offset, factor, name, places in (
        (19, 2, "dc_current_a", 5),
        (20, 3, "dc_voltage_v", 6),
        (21, 4, "dc_power_w", 4),
    ):
        words[:, offset], words[:, factor] = _scaled(rows[name], places, _UINT16 - 1)
    return words


def _irradiance(rows: Mapping[str, Integers]) -> Words:
    words = _blank(rows["poa_w_m2"].size, 7, _ABSENT_302)
    words[:, 3] = half_even(rows["poa_w_m2"], 10**6)
    return words


def _scaled(numbers: Integers, places: int, most: int) -> tuple[Words, Words]:
    """The raw values and scale factors of numbers / 10^places: the finest factor that fits."""
    raw = np.zeros(numbers.size, np.int64)
    factor = np.full(numbers.size, _COARSEST + 1)
    for exponent in range(_COARSEST, _FINEST - 1, -1):
        candidate = half_even(numbers, 10 ** (places + exponent))
        fits = candidate <= most
        raw, factor = np.where(fits, candidate, raw), np.where(fits, exponent, factor)
    if factor.max() > _COARSEST:
        raise ValueError("a value needs a coarser scale factor")  # no recording has one
    return raw.astype(np.uint16), factor.astype(np.int16).view(np.uint16)


def _blank(slots: int, size: int, points: Sequence[_Point]) -> Words:
    words = np.zeros((slots, size), np.uint16)
    for offset, count, absent in points:
        for i in range(count):
            words[:, offset + i] = absent >> 16 * (count - 1 - i) & 0xFFFF
    return words


def _text(data: bytes) -> Words:
    return np.frombuffer(data, ">u2").astype(np.uint16)


def _repeated(words: Words, slots: int) -> Words:
    return np.broadcast_to(words, (slots, words.size))
