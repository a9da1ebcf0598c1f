"""Bills as units: estimated reads joined with the next, after CalTRACK 2.0, section 2.2.3."""

from __future__ import annotations

from dataclasses import dataclass
from math import fsum

import numpy as np

from joulemark_agent.contract.errors import MeasureError
from joulemark_gateway.measure.calendar import US_PER_DAY
from joulemark_gateway.measure.data import Data, Flags
from joulemark_gateway.measure.guard import checked
from joulemark_gateway.measure.qr import Array
from joulemark_gateway.measure.roll_up import is_amount
from joulemark_gateway.measure.span import wall_us
from joulemark_gateway.measure.sufficiency.base import BillCycle, Billing


@dataclass(frozen=True, eq=False)
class Bills:
    """Bills of which every one ends with a read of the meter, and what was done for it."""

    data: Data
    billing: Billing


def merged(bills: Data, is_estimated: Flags, cycle: BillCycle, *, longest_days: float) -> Bills:
    """Bills with each estimated one joined to those after it, up to the next read.

    What has no read after it, or is longer than `longest_days` together, keeps its place with no
    energy. Drivers that are amounts are summed, others averaged over the days; missing in one part
    is missing in the whole.

    Raises:
        MeasureError: `ragged_columns` and those of `guard.checked`.
    """
    bills = checked(bills)
    estimated = np.asarray(is_estimated, np.bool_)
    if estimated.shape != (bills.n,):
        raise MeasureError(
            f"There are {bills.n} bills and {estimated.size} marks of estimated ones.",
            "Give one mark a bill.",
            code="ragged_columns",
        )
    ends = np.flatnonzero(~estimated)
    if bills.n and (not ends.size or ends[-1] != bills.n - 1):
        ends = np.append(ends, bills.n - 1)
    starts = np.concatenate([np.zeros(1, np.int64), ends[:-1] + 1])[: ends.size]
    groups = [slice(int(a), int(b) + 1) for a, b in zip(starts, ends, strict=True)]
    start_us = bills.start_us[starts]
    length_us = bills.start_us[ends] + bills.length_us[ends] - start_us
    estimated_us = [int(wall_us(bills)[g][estimated[g]].sum()) for g in groups]
    data = Data(
        start_us,
        length_us,
        bills.position[ends],
        np.array([fsum(bills.energy_wh[g].tolist()) for g in groups], np.float64),
        {name: _joined(bills, name, groups) for name in bills.drivers},
        bills.zone,
    )
    is_merged = ends > starts
    too_long = is_merged & (wall_us(data) > longest_days * US_PER_DAY)
    data.energy_wh[too_long | estimated[ends]] = np.nan
    billing = Billing(cycle, is_merged, np.array(estimated_us, np.int64))
    return Bills(data, billing)


def _joined(bills: Data, name: str, groups: list[slice]) -> Array:
    column = bills.drivers[name]
    if is_amount(name):
        return np.array([fsum(column[g].tolist()) for g in groups], np.float64)
    time_us = bills.length_us.astype(np.float64)
    return np.array(
        [fsum((column[g] * time_us[g]).tolist()) / fsum(time_us[g].tolist()) for g in groups],
        np.float64,
    )
