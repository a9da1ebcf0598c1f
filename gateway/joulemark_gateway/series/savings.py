"""What running projects saved, day by day, as rows of the line protocol. Pure.

| measurement | tags | fields, all numeric | time |
|---|---|---|---|
| joulemark_saving | site, project | `FIELDS` | begin of the local day + 1 ms |

`cumulative_wh`, `half_width_wh` and `co2e_kg` are of all days up to this one, the others of the day
alone. A day that is left out has no row. Sums are those that pages and reports print, to the Wh and
to the gram.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from joulemark_gateway.series.base import INSIDE_US, Integers
from joulemark_gateway.series.lines import checked, number, tag

SAVING = "joulemark_saving"
FIELDS = ("measured_wh", "predicted_wh", "cumulative_wh", "half_width_wh", "co2e_kg")
LATEST_US = 4_102_444_800 * 1_000_000  # 2100, a time that every server takes
_CLOSE = 1e-9  # relative: servers that count in decimals keep 1e-12

Flags = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class SavingDays:
    """The days of a project that are in its saving, in the order of time."""

    start_us: Integers  # of the local day, shape (n,)
    values: NDArray[np.float64]  # in the order of `FIELDS`, shape (n, 5)

    @classmethod
    def of(cls, t_us: Integers, columns: dict[str, NDArray[np.float64]]) -> SavingDays:
        """The days whose rows stand at these times; columns of shape (n,) by field."""
        values = [columns.get(name, np.full(t_us.size, np.nan)) for name in FIELDS]
        return cls(t_us - INSIDE_US, np.array(values).T.reshape(-1, len(FIELDS)))

    def chosen(self, which: Flags) -> SavingDays:
        """Some of them."""
        return SavingDays(self.start_us[which], self.values[which])

    def beyond(self, others: SavingDays) -> bool:
        """Whether there is a day here that is none of the others."""
        return bool((~np.isin(self.start_us, others.start_us)).any())

    def lacking(self, there: SavingDays) -> Flags:
        """Which of these days are not there as they are here, shape (n,)."""
        known = dict(zip(there.start_us.tolist(), there.values, strict=True))
        nothing = np.full(len(FIELDS), np.nan)
        found = np.array([known.get(start, nothing) for start in self.start_us.tolist()])
        is_same = np.isclose(found.reshape(self.values.shape), self.values, rtol=_CLOSE, atol=1e-6)
        return np.asarray(~is_same.all(axis=1))


def saving_lines(site: str, project: str, days: SavingDays, *, tick_us: int) -> list[str]:
    """The lines of these days.

    Args:
        site: its id.
        project: its id.
        days: what is to be written.
        tick_us: what the server counts time in. [us]

    Raises:
        StoreError: `series_line`, a row that no line can hold.
    """
    head = f"{SAVING},site={tag(site)},project={tag(project)}"
    lines = []
    for start_us, row in zip(days.start_us.tolist(), days.values.tolist(), strict=True):
        fields = ",".join(
            f"{name}={number(value)}" for name, value in zip(FIELDS, row, strict=True)
        )
        lines.append(checked(f"{head} {fields} {(start_us + INSIDE_US) // tick_us}"))
    return lines
