"""N18: a month of quarter-hours of energy out of ten million rows, and that it is the energy.

58 meters, a reading every 15 s for 30 days, in the collector's own DuckDB schema: points as they
were read, and the counters' intervals, which are differences carried from slot to slot. `max - min`
per quarter-hour, the common query, loses what is counted between two windows.
"""

import time
from pathlib import Path

import numpy as np
import pytest

from joulemark_gateway.series.embedded import EmbeddedSeries
from support.rounds import in_turns, say, show

pytestmark = [pytest.mark.bench, pytest.mark.timeout(900)]

METERS, ROWS, STEP_US, QUARTER_US = 58, 172_800, 15_000_000, 900_000_000
FIRST_US = 1_735_657_200_000_000
CARRIED = (
    "SELECT device, start_us // {q} AS w, sum(amount) FROM intervals WHERE site = 'plant' AND"
    " point = 'energy_wh' AND start_us >= {a} AND start_us < {b} GROUP BY device, w"
)
MAX_MIN = (
    "SELECT device, t_utc_us // {q} AS w, max(value) - min(value) FROM points WHERE site = 'plant'"
    " AND point = 'energy_wh' AND t_utc_us >= {a} AND t_utc_us < {b} GROUP BY device, w"
)


def test_energy_of_a_month_against_max_minus_min(tmp_path: Path) -> None:
    series = EmbeddedSeries(tmp_path / "series.duckdb")
    expected = filled(series)
    span = {"q": QUARTER_US, "a": FIRST_US, "b": FIRST_US + (ROWS - 1) * STEP_US}
    carried, usual = CARRIED.format(**span), MAX_MIN.format(**span | {"b": span["b"] + 1})

    def seconds(sql: str) -> float:
        begun_s = time.process_time()
        assert len(series.query(sql)) >= METERS * 2880
        return time.process_time() - begun_s

    seen = in_turns({"max - min": lambda: seconds(usual), "carried": lambda: seconds(carried)})
    show(f"N18 {METERS * ROWS / 1e6:.1f} M rows, {METERS * 2880:,} answers", seen, "CPU-s",
         to="max - min")  # fmt: skip
    total = sum(float(row[2]) for row in series.query(carried))
    wrong = sum(float(row[2]) for row in series.query(usual))
    say(
        f"  last - first {expected:.1f}, carried {total:.1f} ({total / expected - 1:+.1e}),"
        f" max - min {wrong:.1f} ({wrong / expected - 1:+.2%})"
    )
    assert abs(total / expected - 1) <= 1e-9
    assert wrong < 0.99 * expected
    series.close()


def filled(series: EmbeddedSeries) -> float:
    """Write the rows; what the counters counted from the first to the last. [Wh]"""
    draw, counted = np.random.default_rng(18), 0
    t_us = FIRST_US + np.arange(ROWS, dtype=np.int64) * STEP_US
    for meter in range(METERS):
        value = 10**6 + np.cumsum(draw.integers(0, 40, ROWS))
        counted += int(value[-1] - value[0])
        name = f"meter-{meter:02}"
        # DuckDB finds columns by the names of local variables.
        points = {"t": t_us, "v": value.astype(np.float64)}
        steps = {"s": t_us[:-1], "e": t_us[1:], "d": np.diff(value)}
        with series._cursor() as cursor:
            cursor.register("fresh_points", points)
            cursor.register("fresh_steps", steps)
            cursor.execute(
                f"INSERT INTO points SELECT 'plant', '{name}', 'energy_wh', t, v, 0"
                " FROM fresh_points"
            )
            cursor.execute(
                f"INSERT INTO intervals SELECT 'plant', '{name}', 'energy_wh', s, e, d, e - s, 0, 0"
                " FROM fresh_steps"
            )
    return float(counted)
