"""What records say as one table: a row a record, a column a point. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from joulemark_agent.contract.profile import Profile
from joulemark_agent.kernels.counter import LARGEST, count_of
from joulemark_gateway.evidence.history import Record
from joulemark_gateway.evidence.proven import ProvenRecords
from joulemark_gateway.series.base import OTHER_QUALITY, QUALITY, Integers

NO_COUNT = -1
_NOTHING = 254  # instead of a quality: a record that says nothing of the point
_GOOD, _NOT_DUE = QUALITY["good"], QUALITY["not_due"]


class Said(NamedTuple):
    """The table; columns in the order of the points' names."""

    names: list[str]
    value: NDArray[np.float64]  # NaN where there is none, shape (n, points)
    quality: NDArray[np.uint8]  # of QUALITY, shape (n, points)
    counts: dict[str, Integers]  # of each counter, NO_COUNT where it has none that counts

    def good(self, names: Sequence[str]) -> NDArray[np.float64]:
        """The good values of some points, NaN where there is none, shape (n, these)."""
        columns = [self.names.index(name) for name in names]
        is_good = self.quality[:, columns] == _GOOD
        return np.where(is_good, self.value[:, columns], np.nan)

    def is_sample(self) -> NDArray[np.bool_]:
        """Where there is a sample: what nobody asked is none, shape (n, points)."""
        return np.isin(self.quality, (_NOT_DUE, _NOTHING), invert=True)


def said_by(records: Sequence[Record], profile: Profile) -> Said:
    """What the records of a device say, each as it stands in its leaf."""
    if isinstance(records, ProvenRecords) and records.profile == profile:
        blocks, others = records.blocks, records.others
    else:
        blocks, others = [], dict(enumerate(records))
    own = [point.name for point in profile.points]
    told = {name for one in others.values() for name in (*one.values, *one.quality)}
    names = sorted(told.union(own))
    column = {name: k for k, name in enumerate(names)}
    value = np.full((len(records), len(names)), np.nan)
    quality = np.full(value.shape, _NOTHING, np.uint8)
    mine = np.array([column[name] for name in own], np.int64)
    for places, block in blocks:
        numbers = np.array([_quality(code) for code in block.codes], np.uint8)
        value[np.ix_(places, mine)] = block.values
        quality[np.ix_(places, mine)] = numbers[block.quality]
    for place, one in others.items():
        for name, text in one.values.items():
            value[place, column[name]] = float(text)
            quality[place, column[name]] = _GOOD
        for name, code in one.quality.items():
            quality[place, column[name]] = _quality(code)
    counts = {}
    for point in profile.points:
        if not point.counter:
            continue
        k = column[point.name]
        is_good = (quality[:, k] == _GOOD) & ~np.isnan(value[:, k])
        is_good[list(others)] = False  # of these the text is exact, of the proven the number too
        found = np.full(len(records), NO_COUNT, np.int64)
        found[is_good] = value[is_good, k].astype(np.int64)
        for place, one in others.items():
            if quality[place, k] == _GOOD:
                found[place] = count_in(one.values[point.name])
        counts[point.name] = found
    return Said(names, value, quality, counts)


def count_in(text: str) -> int:
    """The count of a counter's decimal text, NO_COUNT where it is too large for one."""
    count = count_of(text)
    return count if count <= LARGEST else NO_COUNT


def _quality(code: str | None) -> int:
    return _GOOD if code is None else QUALITY.get(code, OTHER_QUALITY)
