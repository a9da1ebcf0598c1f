"""What a change-point model costs for a meter in a thousand, and for one by itself.

Times are printed and nothing is asserted about them.
"""

import sys
import time

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

pytestmark = pytest.mark.bench

METERS = 1000


def best_us(function, rounds=5):
    """The quickest of some CPU times. [us]"""
    function()
    times = []
    for _ in range(rounds):
        begun = time.process_time_ns()
        function()
        times.append(time.process_time_ns() - begun)
    return min(times) / 1000


def test_microseconds_per_meter_of_a_thousand_and_of_one():
    many = [made(np.random.default_rng(seed)) for seed in range(METERS)]
    meters, rules = meters_of(many, [cells_of(data) for data in many]), GRID.rules(1.0)
    plain = best_us(lambda: choose_many(meters, rules, divided=False)) / METERS
    divided = best_us(lambda: choose_many(meters, rules)) / METERS
    found = choose_many(meters, rules, divided=False).found[:, 0, BOTH]
    kinds, masks = np.full(METERS, BOTH), np.repeat(ALL, METERS)
    profile = best_us(lambda: intervals_c(meters, masks, kinds, found, rules, 0.9)) / METERS
    one = many[0]
    solved = best_us(lambda: fit_change_point(one, "5p"))
    chosen = best_us(lambda: choose(one))
    noise = best_us(lambda: noise_of(choose(one).fitted.linear))
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
