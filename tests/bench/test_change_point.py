"""What a change-point model costs for a meter in a thousand, and for one by itself.

Times are printed and nothing is asserted about them.
"""

import sys

import numpy as np
import pytest

from joulemark_gateway.measure.models.change_point import (
    ALL,
    GRID,
    fit_change_point,
    intervals_c,
    meters_of,
)
from joulemark_gateway.measure.models.hinges import BOTH
from joulemark_gateway.measure.models.splits import cells_of
from joulemark_gateway.measure.models.temperature_choice import choose, choose_many
from joulemark_gateway.measure.uncertainty import noise_of
from support.temperature_meters import made
from support.timing import best_ns

pytestmark = pytest.mark.bench

METERS = 1000


def test_microseconds_per_meter_of_a_thousand_and_of_one():
    many = [made(np.random.default_rng(seed)) for seed in range(METERS)]
    meters, rules = meters_of(many, [cells_of(data) for data in many]), GRID.rules(1.0)
    plain = best_ns(lambda: choose_many(meters, rules, divided=False)) / 1e3 / METERS
    divided = best_ns(lambda: choose_many(meters, rules)) / 1e3 / METERS
    found = choose_many(meters, rules, divided=False).found[:, 0, BOTH]
    kinds, masks = np.full(METERS, BOTH), np.repeat(ALL, METERS)
    profile = best_ns(lambda: intervals_c(meters, masks, kinds, found, rules, 0.9)) / 1e3 / METERS
    one = many[0]
    solved = best_ns(lambda: fit_change_point(one, "5p")) / 1e3
    chosen = best_ns(lambda: choose(one)) / 1e3
    noise = best_ns(lambda: noise_of(choose(one).fitted.linear)) / 1e3
    lines = [
        f"{METERS} meters of 365 days, CPU us per meter:",
        f"  four kinds, choice                     {plain:8.1f}",
        f"  with 8 divisions of the year, choice   {divided:8.1f}",
        f"  intervals of both change points        {profile:8.1f}",
        "one warm call, CPU us:",
        f"  5P solved by QR with its intervals     {solved:8.1f}",
        f"  choice among all, solved by QR         {chosen:8.1f}",
        f"  the same and its noise                 {noise:8.1f}",
    ]
    sys.stdout.write("\n" + "\n".join(lines) + "\n")
