"""Energy from power: against the exact integral, in blocks of any size, and through every trouble.

Random lines with uneven steps are integrated a second way with wider floats; sines that change sign
between two samples; meters of every size; an outage; clocks that are set, repeated and late
samples; and blocks of 1, 7, 1,000 and all samples. What other programs do with the same samples is
wrong, and must be found to be.
"""

from __future__ import annotations

import numpy as np

from joulemark_agent.kernels.stream import (
    HOLD,
    INST,
    IS_CUT,
    MEAN_RIGHT,
    Rows,
    Rule,
    named,
)
from support.naive_energy import accumulated_wh, left_rectangles_wh, right_rectangles_wh
from support.streams import (
    DAY,
    FIRST_US,
    HOUR,
    MINUTE,
    QUARTER,
    Fed,
    S,
    fed,
    integrated,
    troubled,
    windows,
)


def run(seed: int, *, full: bool) -> dict[str, str]:
    """All checks; without `full` with fewer samples."""
    draw = np.random.default_rng(seed)
    return {
        **_lines(draw, 1_000_000 if full else 20_000),
        **_sines(draw, 200 if full else 5),
        **_blocks(draw, 20_000 if full else 2000),
        **_sizes(draw),
        **_outage(draw),
        **_clocks(draw, 200 if full else 10),
    }


def _off(found: np.ndarray, truth: np.ndarray) -> float:
    """The largest relative difference."""
    return float(np.max(np.abs(found - truth) / np.maximum(np.abs(truth), 1e-6)))


def _lines(draw: np.random.Generator, samples: int) -> dict[str, str]:
    """Lines between samples 0.1 to 30 s apart, of both signs."""
    t_us = FIRST_US + np.cumsum(draw.integers(S // 10, 30 * S, samples))
    power_w = np.cumsum(draw.normal(0, 3e3, samples)) % 4e5 - 1e5
    last_us = (int(t_us[-1]) // QUARTER + 1) * QUARTER
    rows = named(windows([Rule(INST, 30 * S, QUARTER)], fed(t_us, power_w), end_us=last_us))
    edges_us = np.append(rows["start_us"], last_us).astype(np.int64)
    truth, back = integrated(t_us, power_w, edges_us)
    worst = max(_off(rows["import_wh"], truth), _off(rows["export_wh"], back))
    assert worst <= 1e-9, f"a window is {worst:.1e} off"
    day = Rule(INST, 30 * S, 3650 * DAY, FIRST_US)
    whole = named(windows([day], fed(t_us, power_w), end_us=FIRST_US + 3650 * DAY))
    total = abs(float(np.sum(rows["import_wh"])) / float(whole["import_wh"][0]) - 1)
    assert total <= 1e-12, f"the sum of the windows is {total:.1e} off"
    return {
        "lines: samples": f"{samples:,} in {rows.size:,} windows",
        "lines: worst window against the exact integral": f"{worst:.1e}",
        "lines: sum of windows against the whole": f"{total:.1e}",
    }


def _sines(draw: np.random.Generator, rounds: int) -> dict[str, str]:
    """A plant that changes from import to export, often between two samples."""
    worst, netted = 0.0, []
    for _ in range(rounds):
        t_us = FIRST_US + np.cumsum(draw.integers(S // 2, 4 * S, 10_000))
        period_us = draw.uniform(5, 600) * S
        power_w = 1e5 * np.sin(2 * np.pi * (t_us - FIRST_US) / period_us) + draw.uniform(-5e4, 5e4)
        end_us = (int(t_us[-1]) // HOUR + 1) * HOUR
        rows = named(windows([Rule(INST, 4 * S, HOUR)], fed(t_us, power_w), end_us=end_us))
        truth, back = integrated(
            t_us, power_w, np.append(rows["start_us"], end_us).astype(np.int64)
        )
        worst = max(worst, _off(rows["import_wh"], truth), _off(rows["export_wh"], back))
        netted.append(abs(right_rectangles_wh(t_us, power_w) / float(truth.sum()) - 1))
    assert worst <= 1e-9, f"a side is {worst:.1e} off"
    assert min(netted) > 0.01, "netting should fail"
    return {
        "sines: worst side of a window": f"{worst:.1e}",
        "naive, netted: import is off": f"by {min(netted):.0%} to {max(netted):.0%}",
    }


def _blocks(draw: np.random.Generator, samples: int) -> dict[str, str]:
    """The same samples with everything wrong with them, in blocks of any size."""
    rules = [
        Rule(kind, 3 * S, length, 0, bridged)
        for kind in (INST, MEAN_RIGHT, HOLD)
        for length in (MINUTE, QUARTER)
        for bridged in (0, 60 * S)
    ]
    block = troubled(draw, samples, len(rules))
    whole = windows(rules, block)
    sizes: dict[str, Rows] = {
        str(size): windows(rules, block, range(size, samples, size)) for size in (1, 7, 1000)
    }
    for size, rows in sizes.items():
        assert rows.tobytes() == whole.tobytes(), f"blocks of {size} differ"
    assert np.isfinite(whole[:, 3:5]).all()
    return {"blocks of 1, 7, 1,000 and all": f"equal to the bit in {whole.shape[0]:,} windows"}


def _sizes(draw: np.random.Generator) -> dict[str, str]:
    """No size of a plant is hidden in the code."""
    found = {}
    for rated_w in (75e3, 250e3, 2e6):
        t_us = FIRST_US + np.arange(4 * 900 + 1) * S
        power_w = rated_w * draw.uniform(0.9, 1.0, t_us.size)
        rows = named(windows([Rule(INST, 3 * S, QUARTER)], fed(t_us, power_w)))
        truth, _ = integrated(t_us, power_w, FIRST_US + np.arange(5) * QUARTER)
        worst = _off(rows["import_wh"], truth)
        assert worst <= 1e-9
        register_wh = np.floor(np.append(0, np.cumsum(power_w[:-1] / 3600)))
        naive = accumulated_wh(t_us[::60], register_wh[::60])
        assert naive < 0.01 * register_wh[-1], "the hidden cap should lose it all"
        found[f"{rated_w / 1e3:,.0f} kW"] = f"{worst:.1e} off; with a cap of 60 kW {naive:.0f} Wh"
    return found


def _outage(draw: np.random.Generator) -> dict[str, str]:
    """Two hours without a sample, or with bad ones, at full power before and none after."""
    invented = []
    for is_silent in (True, False):
        t_us = FIRST_US + 250_000 + np.arange(4 * 3600) * S
        power_w = np.where(np.arange(t_us.size) < 3600, 200e3, 0.0)
        outage = slice(3600, 3600 + 7200)
        block = fed(t_us, power_w)
        if is_silent:
            keep = np.ones(t_us.size, np.bool_)
            keep[outage] = False
            block = block.rows(keep)
        else:
            block.x[outage], block.q[outage] = draw.uniform(0, 1e6, (7200, 1)), 2
        rows = named(windows([Rule(INST, 3 * S, HOUR)], block, end_us=FIRST_US + 4 * HOUR))
        truth_wh = 200e3 * 3599 / 3600
        assert abs(float(rows["import_wh"].sum()) - truth_wh) <= 1e-9 * truth_wh
        missing_us = rows["missing_us"].tolist()
        assert (missing_us[0], missing_us[-1], sum(missing_us)) == (S, S, 2 * HOUR + 2 * S)
        if is_silent:
            invented = [
                naive(block.t_us, block.x[:, 0]) - truth_wh
                for naive in (left_rectangles_wh, right_rectangles_wh)
            ]
    assert max(invented) > 100e3, "a control should invent the outage"
    return {
        "outage of 2 h: energy in it": "none; its time is missing to the microsecond",
        "naive, held: energy in it": f"{max(invented) / 1e3:.0f} kWh",
    }


def _clocks(draw: np.random.Generator, rounds: int) -> dict[str, str]:
    """The clock is set by 90 s, samples come twice or late: all but one window is as without."""
    rule = Rule(INST, 3 * S, QUARTER)
    for number in range(rounds):
        t_us = FIRST_US + np.arange(4 * 900 + 1) * S
        power_w = draw.uniform(1e4, 2e5, t_us.size)
        clean = fed(t_us, power_w)
        same = windows([rule], clean)
        order = np.sort(np.append(np.arange(t_us.size), draw.integers(0, t_us.size, 50)))
        order = np.insert(order, draw.integers(100, order.size, 20), draw.integers(0, 90, 20))
        dirty = clean.rows(order)
        found = windows([rule], dirty)
        assert found[:, 13].sum() + found[:, 14].sum() > 0
        found[:, 13:15] = 0
        assert found.tobytes() == same.tobytes(), "a repeated or late sample changed a window"

        at = int(draw.integers(1000, 1700))
        step_us = 90 * S * (-1) ** number
        cut = clean.cut.copy()
        cut[at] = True
        t_set = np.where(np.arange(t_us.size) < at, t_us, t_us + step_us)
        moved = windows([rule], Fed(t_set, clean.x, clean.q, cut), end_us=FIRST_US + HOUR + QUARTER)
        rows = named(moved)
        assert moved[0].tobytes() == same[0].tobytes()
        is_cut = rows["flags"].astype(np.int64) & IS_CUT > 0
        assert 1 <= int(is_cut[:3].sum()) <= 2
        total_us = rows["covered_us"] + rows["missing_us"]
        assert total_us.tolist() == (rows["end_us"] - rows["start_us"]).tolist(), "booked twice"
        # Behind it the truth is that of the moved samples, to the last digit of a sum.
        later_us = np.array([FIRST_US + 2 * QUARTER, FIRST_US + 3 * QUARTER])
        truth, _ = integrated(t_set[at:], power_w[at:], later_us)
        assert abs(float(rows["import_wh"][2]) - float(truth[0])) <= 1e-9 * float(truth[0])
    return {
        "clocks set by 90 s, repeated and late samples": f"{rounds} rounds, no time booked twice"
    }
