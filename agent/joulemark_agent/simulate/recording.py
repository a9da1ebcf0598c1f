"""A recorded year of a main meter, as exact integers; and the rule of the file it came from.

The energy of 0.01 kWh is 10 Wh and the reactive energy of 0.01 kvarh is 10 varh: the resolution of
the recording, so that no sum over it is ever rounded.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
from numpy.typing import NDArray

from joulemark_agent.contract.errors import ConfigError

Integers = NDArray[np.int64]

KST = timezone(timedelta(hours=9))  # Korea has had no daylight saving time since 1988
INTERVAL = timedelta(minutes=15)
YEAR = 2018
HEADER = "end_local,usage_kwh,lagging_kvarh,leading_kvarh,lagging_pf_percent,leading_pf_percent"
_PUBLISHED = (
    "Usage_kWh",
    "Lagging_Current_Reactive_Power_kVarh",
    "Leading_Current_Reactive_Power_kVarh",
    "Lagging_Current_Power_Factor",
    "Leading_Current_Power_Factor",
)
_FULL_PF_1E4 = 10_000
_MAX_HUNDREDTHS = 1e8  # 1 GWh in a quarter-hour; below it two decimals are exact in a float


@dataclass(frozen=True, eq=False)
class Recording:
    """n intervals between n + 1 slots; every array has shape (n,).

    A hole is an interval in which everything reads 0: nothing is filled in and nothing is marked,
    because to tell a hole from a standstill is the work of the rule in the device's profile.
    """

    energy_10wh: Integers
    lagging_10varh: Integers
    leading_10varh: Integers
    lagging_pf_1e4: Integers
    leading_pf_1e4: Integers
    first_us: int  # the opening slot, UTC
    interval_us: int

    @property
    def slots(self) -> int:
        """The instants at which the meter can be read: both ends of every interval."""
        return self.energy_10wh.size + 1


def end_of_interval(date: str, *, is_midnight: bool) -> datetime:
    """The local instant at which an interval of the published file ends.

    The file stamps ends, and writes the last row of a day, `dd/mm/yyyy 00:00`, with the date of
    the day that ends there: 1 day is missing in 365 rows.
    """
    stamp = datetime.strptime(date, "%d/%m/%Y %H:%M").replace(tzinfo=KST)
    return stamp + timedelta(days=int(is_midnight))


def compact(published: str) -> str:
    """The published CSV as the one that is shipped: five columns as they are, true end stamps."""
    lines = [HEADER]
    for row in csv.DictReader(io.StringIO(published.removeprefix("\ufeff"))):
        end = end_of_interval(row["date"], is_midnight=row["NSM"] == "0")
        lines.append(",".join([end.strftime("%Y-%m-%dT%H:%M"), *(row[c] for c in _PUBLISHED)]))
    return "\n".join(lines) + "\n"


def parse_recording(text: str) -> Recording:
    """The recording in the shipped form.

    Raises:
        ConfigError: another header, stamps that are not the quarter-hours of the year in order,
            a value that is negative or finer than 0.01, a power factor above 100 %.
    """
    header, *lines = text.splitlines()
    if header != HEADER:
        raise _bad(f"its first line is {header[:120]!r}, not {HEADER!r}")
    rows = [line.split(",") for line in lines]
    if any(len(row) != HEADER.count(",") + 1 for row in rows):
        raise _bad("a line has too few or too many fields")
    _check_ends([row[0] for row in rows])
    energy, lagging, leading, lagging_pf, leading_pf = _hundredths([row[1:] for row in rows])
    if max(lagging_pf.max(), leading_pf.max()) > _FULL_PF_1E4:
        raise _bad("a power factor is above 100 %")
    first_us = int(datetime(YEAR, 1, 1, tzinfo=KST).timestamp()) * 1_000_000
    interval_us = int(INTERVAL.total_seconds()) * 1_000_000
    return Recording(energy, lagging, leading, lagging_pf, leading_pf, first_us, interval_us)


def slot_at(recording: Recording, now_us: int) -> int:
    """The slot of the recorded year at or before the same local month, day and time. [index]

    29 February reads 28 February. At New Year the counters start again: a try-out, no evidence.
    """
    now = datetime.fromtimestamp(now_us // 1_000_000, tz=UTC).astimezone(KST)
    is_leap_day = (now.month, now.day) == (2, 29)
    then = now.replace(year=YEAR, day=28 if is_leap_day else now.day)
    return (int(then.timestamp()) * 1_000_000 - recording.first_us) // recording.interval_us


def _check_ends(ends: list[str]) -> None:
    first = np.datetime64(f"{YEAR}-01-01T00:15", "m")
    after = np.datetime64(f"{YEAR + 1}-01-01T00:15", "m")
    expected = np.datetime_as_string(np.arange(first, after, np.timedelta64(15, "m"))).tolist()
    for i, (got, wanted) in enumerate(zip(ends, expected, strict=False)):
        if got != wanted:
            raise _bad(f"line {i + 2} ends at {got!r}, not at {wanted}")
    if len(ends) != len(expected):
        raise _bad(f"it has {len(ends)} intervals, not the {len(expected)} of {YEAR}")


def _hundredths(rows: list[list[str]]) -> Integers:
    """The columns in hundredths, exactly: shape (columns, rows)."""
    try:
        values = np.array(rows, dtype=np.float64).T * 100
    except ValueError as error:
        raise _bad(f"a value is not a number: {error}") from error
    if not np.all(np.isfinite(values) & (values >= 0) & (values < _MAX_HUNDREDTHS)):
        raise _bad("a value is negative, too large or not finite")
    whole = np.rint(values)
    if np.abs(values - whole).max() > 1e-6:
        raise _bad("a value is finer than 0.01")
    return whole.astype(np.int64)


def _bad(why: str) -> ConfigError:
    return ConfigError(
        f"This is not the recording of {YEAR}: {why}.",
        "Install Joulemark again, or make the file again with its script under docs/scripts.",
    )
