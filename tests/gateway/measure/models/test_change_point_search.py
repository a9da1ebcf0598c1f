"""The fast search against every candidate solved by QR, one after the other."""

import math

import numpy as np
import pytest

from joulemark_agent.kernels.jit import compiled
from joulemark_gateway.measure.models.change_point import ALL, GRID, Grid, meters_of
from joulemark_gateway.measure.models.change_point_profile import profile_many
from joulemark_gateway.measure.models.change_point_search import (
    _best_pair,
    binned_of,
    hinges_of_grid,
    search_many,
    segment_of,
)
from joulemark_gateway.measure.models.hinges import BOTH, HIGH, KINDS, LOW, SSE, solved
from joulemark_gateway.measure.models.splits import MASKS, cells_of
from joulemark_gateway.measure.qr import _solve, column_norms, residuals
from support.temperature_meters import daily, made

EVERY = np.ones(6, np.bool_)


def random_meter(draw):
    """Any answer to temperature, weak or strong, of 120 to 400 days."""
    return made(
        draw,
        low_c=draw.uniform(5, 17),
        high_c=draw.uniform(17, 24),
        heating=draw.uniform(0.0, 3.0),
        cooling=draw.uniform(0.0, 3.0),
        noise=draw.uniform(0.5, 8.0),
        n=int(draw.integers(120, 400)),
    )


@compiled
def every_pair(t_c, y, points_c, least):
    """The pair of change points of the smallest SSE, all solved by QR; slopes and base above 0."""
    best, low, high = np.inf, -1, -1
    x = np.ones((y.size, 3))
    for j in range(points_c.size):
        for k in range(j, points_c.size):
            x[:, 1] = np.maximum(points_c[j] - t_c, 0.0)
            x[:, 2] = np.maximum(t_c - points_c[k], 0.0)
            cold = (t_c < points_c[j]).sum() >= 10 and x[:, 1].sum() >= least
            cold = cold and (t_c >= points_c[k]).sum() >= 10 and x[:, 2].sum() >= least
            if not cold:
                continue
            scale = column_norms(x)
            _, beta, _ = _solve(x, y, scale)
            if beta.min() <= 0.0:
                continue
            e = residuals(x, y, beta)
            sse = (e * e).sum()
            if sse < best:
                best, low, high = sse, j, k
    return best, low, high


def grid_winner(data, rules):
    """The best pair of the grid as the product finds it, before it is refined."""
    segment = segment_of(binned_of(meters_of([data]), 0, rules), ALL[0], rules)
    hinges = hinges_of_grid(segment, rules)
    j, k = _best_pair(segment, hinges, rules)
    if j < 0:
        return math.inf, j, k
    sse = solved(segment.totals, BOTH, hinges[j], hinges[k], True, 0.0, np.empty(6))
    return sse, j, k


def compare(grid, seeds):
    """The largest relative difference of SSE; the winners must be the same."""
    rules = grid.rules(1.0)
    points_c = rules.lowest_c + rules.step_k * np.arange(rules.candidates)
    worst = 0.0
    for seed in seeds:
        data = random_meter(np.random.default_rng(seed))
        t_c = data.driver("temperature_c")
        best, low, high = every_pair(t_c, data.energy_wh, points_c, grid.min_degree_days)
        sse, j, k = grid_winner(data, rules)
        assert (j, k) == (low, high)
        if j >= 0:
            worst = max(worst, abs(sse - best) / best)
    return worst


def test_a_coarse_grid_has_the_winner_of_every_pair_solved_by_qr():
    assert compare(Grid(step_k=1.5), range(8)) <= 1e-9


@pytest.mark.endurance
def test_the_grid_has_the_winner_of_every_pair_solved_by_qr_on_200_meters():
    assert compare(GRID, range(200)) <= 1e-9


def test_a_refined_fit_is_never_worse_than_the_grid():
    rules = GRID.rules(1.0)
    for seed in range(20):
        data = random_meter(np.random.default_rng(seed))
        found = search_many(meters_of([data]), ALL, EVERY, rules)[0, 0, BOTH]
        assert found[SSE] <= grid_winner(data, rules)[0] * (1 + 1e-12)
        assert not found[LOW] > found[HIGH]


def test_a_batch_has_the_bits_of_its_meters_one_by_one():
    many = [random_meter(np.random.default_rng(seed)) for seed in range(6)]
    rules = GRID.rules(1.0)
    cells = [cells_of(data) for data in many]
    together = search_many(meters_of(many, cells), MASKS, EVERY, rules)
    for b, data in enumerate(many):
        alone = search_many(meters_of([data], [cells[b]]), MASKS, EVERY, rules)
        assert alone[0].tobytes() == together[b].tobytes()


def test_days_in_another_order_and_other_units_of_energy_change_nothing():
    draw = np.random.default_rng(4)
    data = made(draw)
    rules = GRID.rules(1.0)
    found = search_many(meters_of([data]), ALL, EVERY, rules)[0, 0]
    mixed = daily(data.driver("temperature_c"), data.energy_wh / 1000)
    order = draw.permutation(data.n)
    again = search_many(meters_of([mixed.where(order)]), ALL, EVERY, rules)[0, 0]
    assert again[:, [LOW, HIGH]] == pytest.approx(found[:, [LOW, HIGH]], abs=1e-6, nan_ok=True)
    assert again[:, SSE] * 1e6 == pytest.approx(found[:, SSE], rel=1e-9)


def test_each_side_of_a_change_point_has_the_units_and_degree_days_that_are_asked_for():
    t_c = np.concatenate([np.linspace(10, 20, 200), np.full(9, 30.0)])
    kwh = 40.0 + 5 * np.maximum(t_c - 24, 0) + np.random.default_rng(1).normal(0, 0.1, t_c.size)
    few = daily(t_c, 1e3 * kwh)
    found = search_many(meters_of([few]), ALL, EVERY, GRID.rules(1.0))[0, 0]
    assert not found[KINDS.index("3pc"), HIGH] > 20
    enough = daily(np.append(t_c, 30.0), 1e3 * np.append(kwh, kwh[-1]))
    found = search_many(meters_of([enough]), ALL, EVERY, GRID.rules(1.0))[0, 0]
    assert found[KINDS.index("3pc"), HIGH] > 20


def coverage(share):
    """How often intervals, drawn in by a share, hold the true change points."""
    many = [made(np.random.default_rng(seed)) for seed in range(400)]
    meters, rules = meters_of(many), GRID.rules(1.0)
    wanted = np.arange(6) == BOTH
    found = search_many(meters, ALL, wanted, rules)[:, 0, BOTH]
    kinds = np.full(len(many), BOTH)
    factor = 1 + 2.7216 / 360 * share**2  # F(0.9; 1, 360)
    sses = np.column_stack([found[:, SSE], found[:, SSE] * factor])
    points_c = np.ascontiguousarray(found[:, [LOW, HIGH]])
    ends = profile_many(meters, np.repeat(ALL, len(many)), kinds, points_c, sses, rules)
    inside = (ends[:, :, 0] <= [14.0, 20.0]) & (ends[:, :, 1] >= [14.0, 20.0])
    return inside.mean()


def test_the_profile_interval_of_90_percent_holds_the_truth_in_86_to_94_of_100_meters():
    assert 0.86 <= coverage(1.0) <= 0.94
    assert coverage(0.5) < 0.8
