"""Data of any kind for the engine: orderly with odd values, and in no order at all."""

from __future__ import annotations

import math
from zoneinfo import ZoneInfo

import numpy as np
from hypothesis import strategies as st

from joulemark_gateway.measure.calendar import US_PER_DAY, US_PER_HOUR
from joulemark_gateway.measure.data import Data
from joulemark_gateway.measure.sufficiency import Billing, Case
from joulemark_gateway.measure.verdict import Override

NAN = float("nan")
ZONES = ["UTC", "Europe/Berlin", "America/Havana", "Asia/Kolkata", "Pacific/Apia", "Asia/Seoul"]
ODD = st.sampled_from([0.0, -0.0, 1.0, -1.0, 5e-324, 1e-160, 1e-99, 1e100, -1e100, NAN, math.inf])
ANY = st.one_of(ODD, st.floats(-1e6, 1e6), st.floats())
FAIR = st.one_of(st.floats(-1e6, 1e6), st.floats(-1e100, 1e100), ODD)
NAMES = st.sampled_from(["production_kg", "temperature_c", "piece_count", "x", ""])
ALL_CODES = frozenset(
    {"too_few_days", "too_few_cycles", "no_activity_driver", "driver_out_of_range"}
    | {"low_adjusted_r2", "stuck_value", "counter_fell", "uneven_step", "wrong_day_length"}
    | {"unit_changed", "wrong_baseline_length", "too_few_valid_meter_days", "sparse_month"}
    | {"too_few_valid_driver_days", "too_few_valid_days", "negative_gas", "bill_too_short"}
    | {"bill_too_long", "unit_mostly_missing"}
)
ANYBODY = Override("a test", "to reach the arithmetic", ALL_CODES)


def columns(n, values):
    """Constant, free, or a fair course of any size with some odd values in it."""
    constant = values.map(lambda value: np.full(n, value))
    free = st.lists(values, min_size=n, max_size=n).map(np.array)
    return st.one_of(constant, free, courses(n, values), courses(n, values))


@st.composite
def courses(draw, n, values):
    level = np.random.default_rng(draw(st.integers(0, 99))).random(n)
    course = level * 10.0 ** draw(st.integers(-100, 99))
    for place in draw(st.lists(st.integers(0, n - 1), max_size=2)) if n else ():
        course[place] = draw(values)
    return course


@st.composite
def orderly(draw, names=None):
    """Data whose units follow one another on a grid, with any values and holes."""
    n = draw(st.integers(0, 40))
    length_us = draw(st.sampled_from([900_000_000, US_PER_HOUR, US_PER_DAY, 30 * US_PER_DAY]))
    first_us = draw(st.integers(0, 2000)) * US_PER_DAY + 1_300_000_000_000_000
    first_us -= first_us % US_PER_DAY
    steps = np.cumsum(draw(st.lists(st.sampled_from([1, 1, 1, 2, 5]), min_size=n, max_size=n)))
    steps = steps.astype(np.int64)
    names = draw(st.lists(NAMES, max_size=3, unique=True)) if names is None else names
    return Data(
        first_us + length_us * steps,
        np.full(n, length_us, np.int64),
        steps,
        draw(columns(n, FAIR)),
        {name: draw(columns(n, FAIR)) for name in names},
        ZoneInfo(draw(st.sampled_from(ZONES))),
    )


@st.composite
def disorderly(draw):
    """Arrays of any size, order and type."""
    sizes = st.sampled_from([draw(st.integers(0, 6))] * 5 + [draw(st.integers(0, 6))])

    def whole():
        n = draw(sizes)
        kind = draw(st.sampled_from([np.int64, np.int64, np.int32, np.uint64, np.float64]))
        near = st.integers(0, 9).map(lambda k: k * US_PER_HOUR if kind is not np.int32 else k)
        some = st.one_of(near, st.integers(-(2**63), 2**63 - 1)) if kind is np.int64 else near
        return np.array(draw(st.lists(some, min_size=n, max_size=n)), kind)

    def numbers():
        kind = draw(st.sampled_from([np.float64, np.float64, np.int64, np.bool_, "U3", object]))
        n = draw(sizes)
        if kind is np.float64:
            return draw(columns(n, ANY)).astype(kind)
        return np.array(draw(st.lists(st.integers(0, 1), min_size=n, max_size=n)), kind)

    drivers = {name: numbers() for name in draw(st.lists(NAMES, max_size=2, unique=True))}
    zone = ZoneInfo(draw(st.sampled_from(ZONES)))
    return Data(whole(), whole(), whole(), numbers(), drivers, zone)


@st.composite
def cases(draw, *, any_shape):
    baseline = draw(st.one_of(orderly(), disorderly()) if any_shape else orderly())
    like = orderly(names=list(baseline.drivers))
    reporting = draw(st.one_of(st.none(), like, disorderly()) if any_shape else like)
    n = np.size(baseline.energy_wh) + (draw(st.integers(0, 1)) if any_shape else 0)
    billing = None
    if draw(st.booleans()):
        marks = np.array(draw(st.lists(st.booleans(), min_size=n, max_size=n)), bool)
        estimated_us = marks * draw(st.sampled_from([US_PER_DAY, -1, 2**62] if any_shape else [0]))
        billing = Billing(draw(st.sampled_from(["monthly", "bimonthly"])), marks, estimated_us)
    return Case(
        baseline,
        reporting,
        carrier=draw(st.sampled_from(["electricity", "gas"])),
        production_cycle_days=draw(st.sampled_from([None, 0, 10**9] if any_shape else [1, 7])),
        adjusted_r2=draw(st.one_of(st.none(), ANY if any_shape else st.floats(-1, 1))),
        billing=billing,
        covered_ratio=draw(st.one_of(st.none(), columns(n, st.floats(0, 1)))),
    )
