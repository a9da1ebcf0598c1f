"""How far a meter or transformer of a class may be wrong, by its load.

The standards themselves were not read: what stands here is what manufacturers and test houses
print of them, at power factor 1. It is configuration; a calibration's own limit goes before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from joulemark_agent.physics.domain import OutOfDomain

MeterClass = Literal["0.1S", "0.2S", "0.5S", "0.5", "1", "2"]
CurrentTransformerClass = Literal["0.1", "0.2", "0.2S", "0.5", "0.5S", "1", "3"]
VoltageTransformerClass = Literal["0.1", "0.2", "0.5", "1", "3"]

# Per class, from which load [share of the rated current] up the error stays within a limit [1].
Limits = tuple[tuple[float, float], ...]

# (not read in the standard; configuration)
METER_LIMITS: Mapping[MeterClass, Limits] = {  # IEC 62053-21 and -22
    "0.1S": ((0.01, 0.002), (0.05, 0.001)),
    "0.2S": ((0.01, 0.004), (0.05, 0.002)),
    "0.5S": ((0.01, 0.010), (0.05, 0.005)),
    "0.5": ((0.05, 0.010), (0.10, 0.005)),
    "1": ((0.05, 0.015), (0.10, 0.010)),
    "2": ((0.05, 0.025), (0.10, 0.020)),
}
# (not read in the standard; configuration)
CURRENT_TRANSFORMER_LIMITS: Mapping[CurrentTransformerClass, Limits] = {  # IEC 61869-2
    "0.1": ((0.05, 0.0040), (0.20, 0.0020), (1.0, 0.001)),
    "0.2": ((0.05, 0.0075), (0.20, 0.0035), (1.0, 0.002)),
    "0.2S": ((0.01, 0.0075), (0.05, 0.0035), (0.20, 0.002)),
    "0.5": ((0.05, 0.0150), (0.20, 0.0075), (1.0, 0.005)),
    "0.5S": ((0.01, 0.0150), (0.05, 0.0075), (0.20, 0.005)),
    "1": ((0.05, 0.0300), (0.20, 0.0150), (1.0, 0.010)),
    "3": ((0.50, 0.0300),),
}
# (not read in the standard; configuration)
VOLTAGE_TRANSFORMER_LIMITS: Mapping[VoltageTransformerClass, float] = {  # IEC 61869-3
    "0.1": 0.001, "0.2": 0.002, "0.5": 0.005, "1": 0.010, "3": 0.030,
}  # fmt: skip
MOST_LOAD = 1.2  # of the rated current; above it no limit is stated


def meter_limit(meter_class: MeterClass, load: ArrayLike) -> NDArray[np.float64]:
    """The largest error of a meter at a load, relative to what it reads.

    Args:
        meter_class: as printed on the meter.
        load: current over the rated (or basic) current, any shape; direction does not matter. [1]

    Returns:
        limit, NaN where the class states none: below its lowest load, above 1.2. [1]

    Formula: M4.
    Error: at power factor 1; at 0.5 the limits of a class are up to a half wider.
    Source: IEC 62053-21:2020 and IEC 62053-22:2020 (not read in the standard; configuration), as
        printed in meter data sheets.
    """
    return _limit(METER_LIMITS, meter_class, load)


def current_transformer_limit(
    transformer_class: CurrentTransformerClass, load: ArrayLike
) -> NDArray[np.float64]:
    """The largest ratio error of a current transformer at a load.

    Args:
        transformer_class: as printed on the transformer.
        load: primary current over the rated primary current, any shape. [1]

    Returns:
        limit, NaN where the class states none: below its lowest load, above 1.2. [1]

    Formula: M4.
    Error: between two loads of the table the wider limit is taken. The phase displacement adds
        what the load's power factor makes of it, and is not in here.
    Source: IEC 61869-2:2012 (not read in the standard; configuration), as printed by
        procitec.in and tichenassociates.com, read in 2026.
    """
    return _limit(CURRENT_TRANSFORMER_LIMITS, transformer_class, load)


def voltage_transformer_limit(transformer_class: VoltageTransformerClass) -> float:
    """The largest ratio error of a voltage transformer from 80 to 120 % of its rated voltage. [1]

    Args:
        transformer_class: as printed on the transformer.

    Formula: M4.
    Source: IEC 61869-3:2011 (not read in the standard; configuration): the class in percent.
    """
    if transformer_class not in VOLTAGE_TRANSFORMER_LIMITS:
        raise _unknown(transformer_class, VOLTAGE_TRANSFORMER_LIMITS)
    return VOLTAGE_TRANSFORMER_LIMITS[transformer_class]


def _limit(table: Mapping[Any, Limits], name: str, load: ArrayLike) -> NDArray[np.float64]:
    if name not in table:
        raise _unknown(name, table)
    share = np.abs(np.asarray(load, np.float64))
    limit = np.full(share.shape, np.nan)
    for least, ratio in table[name]:
        limit = np.where(share >= least, ratio, limit)
    return np.where(share <= MOST_LOAD, limit, np.nan)


def _unknown(name: str, table: Mapping[Any, object]) -> OutOfDomain:
    return OutOfDomain(f"There is no class {name!r}; it must be one of {', '.join(table)}.")
