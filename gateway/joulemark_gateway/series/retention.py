"""What the embedded series forgets, once it is summed: readings first, quarter-hours later.

| kept | what |
|---|---|
| `raw_days` | points, intervals from slot to slot, slots, batches |
| `quarter_days` | quarter-hours of counters and gauges, CO2e, gaps |
| for ever | local days |

Days are counted back from the newest row of each device, so a series that is made anew forgets the
same. What is forgotten is in the evidence as before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from joulemark_gateway.series.base import INSIDE_US
from joulemark_gateway.series.windows import DAY_US, QUARTER_US

SCHEMA = """CREATE TABLE kept (site VARCHAR, device VARCHAR, raw_us BIGINT, quarter_us BIGINT,
    first_us BIGINT);"""
_RAW = {"points": "t_utc_us", "slot": "t_us", "batch": "t_us"}
_QUARTERS = {"quarter": "t_us", "gauge": "t_us", "co2e": "t_us", "gap": "t_us"}
# A step over more than `windows.LONGEST_US` has no quarter-hours: it stays until its days stand.
_FORGET_STEPS = f"""
    DELETE FROM intervals WHERE site = ? AND device = ? AND start_us < ? AND (start_us < ? OR
        (point, start_us // {QUARTER_US}) IN (SELECT (point, t_us // {QUARTER_US}) FROM quarter
            WHERE site = ? AND device = ?))
"""


@dataclass(frozen=True)
class Retention:
    """For how many days; None: for ever."""

    raw_days: int | None = None
    quarter_days: int | None = None


def forget(db: Any, kept: Retention, site: str, device: str, span_us: tuple[int, int]) -> None:
    """Delete what is older than it is kept, in the transaction that is open.

    Args:
        db: the connection.
        kept: for how long.
        site: of the device.
        device: its id.
        span_us: times of the oldest row and the newest reading that were just added. [us UTC]
    """
    if kept.raw_days is None:
        return
    oldest_us, newest_us = span_us
    place = [site, device]
    before = db.execute(
        "SELECT raw_us, quarter_us FROM kept WHERE site = ? AND device = ?", place
    ).fetchone() or (0, 0)
    raw_us = max((newest_us // DAY_US - kept.raw_days) * DAY_US, before[0])
    raw_us = _between_steps(db, place, raw_us, before[0])
    quarter_us = before[1]
    if kept.quarter_days is not None:
        wanted_us = newest_us - kept.quarter_days * DAY_US
        # A day begins at midnight of its site: the row of one says when that is.
        sql = "SELECT max(t_us) FROM day WHERE site = ? AND device = ? AND t_us <= ?"
        (found,) = db.execute(sql, [*place, wanted_us]).fetchone()
        quarter_us = max(quarter_us, 0 if found is None else found - INSIDE_US)
    if (raw_us, quarter_us) == tuple(before) and oldest_us >= raw_us:
        return
    for tables, until_us in ((_RAW, raw_us), (_QUARTERS, quarter_us)):
        for table, column in tables.items():
            where = f"site = ? AND device = ? AND {column} < ?"
            db.execute(f"DELETE FROM {table} WHERE {where}", [*place, until_us])
    db.execute(_FORGET_STEPS, [*place, raw_us, quarter_us, *place])
    db.execute("DELETE FROM kept WHERE site = ? AND device = ?", place)
    db.execute(
        "INSERT INTO kept SELECT ?, ?, ?, ?, min(t_utc_us) FROM points "
        "WHERE site = ? AND device = ?",
        [*place, raw_us, quarter_us, *place],
    )


def _between_steps(db: Any, place: list[str], raw_us: int, least_us: int) -> int:
    """The last midnight of UTC until then at which no step is cut; else a part of it is lost."""
    while raw_us > least_us:
        sql = "SELECT min(start_us) FROM intervals WHERE site = ? AND device = ? AND start_us < ? "
        (start_us,) = db.execute(sql + "AND end_us > ?", [*place, raw_us, raw_us]).fetchone()
        if start_us is None:
            return raw_us
        raw_us = start_us // DAY_US * DAY_US
    return least_us


# What a counter counted: from slot to slot, before that by quarter-hour, before that by day.
AMOUNTS = """
    WITH place AS (SELECT ? AS s, ? AS d, ? AS p, ? AS a, ? AS b),
    until AS (SELECT coalesce(max(raw_us), 0) AS raw_us, coalesce(max(quarter_us), 0) AS quarter_us
        FROM kept, place WHERE site = s AND device = d)
    SELECT start_us, end_us, amount::DOUBLE AS amount, covered_us, estimated_us, missing_us
        FROM intervals, place
        WHERE site = s AND device = d AND point = p AND start_us >= a AND start_us < b
    UNION ALL SELECT t_us - 1000, (t_us - 1000 + covered_us + estimated_us + missing_us)::BIGINT,
        amount, covered_us::BIGINT, estimated_us::BIGINT, missing_us::BIGINT
        FROM quarter, place, until
        WHERE site = s AND device = d AND point = p AND t_us - 1000 >= a AND t_us - 1000 < b
            AND t_us < raw_us AND amount IS NOT NULL
    UNION ALL SELECT t_us - 1000, (t_us - 1000 + covered_us + estimated_us + missing_us)::BIGINT,
        amount, covered_us::BIGINT, estimated_us::BIGINT, missing_us::BIGINT
        FROM day, place, until
        WHERE site = s AND device = d AND point = p AND t_us - 1000 >= a AND t_us - 1000 < b
            AND t_us < quarter_us AND amount IS NOT NULL
    ORDER BY start_us
"""
