import math

import numpy as np
import pytest

from joulemark_gateway.measure.change_detection import _cuts, changes, penalty_of
from joulemark_gateway.measure.change_steps import _freed, _hidden, _placed, with_steps
from support.five_parameters import ar1

N, RHO, LEAST = 365, 0.7, 14
PLACE = np.arange(N)
NONE = np.zeros(0, np.int64)
PRICE = 3.5 * math.log(N)


def noise(seed=1, n=N):
    return ar1(np.random.default_rng(seed), n, RHO)


def box(first, end, by):
    added = np.zeros(N)
    added[first:end] = by
    return added


def whitened(values, places):
    """Values whose first is as it is; columns of a matrix likewise."""
    r = RHO ** np.diff(places)
    r = r[:, None] if values.ndim == 2 else r
    return np.concatenate([values[:1], (values[1:] - r * values[:-1]) / np.sqrt(1 - r * r)])


def leftover(y, *columns):
    x = np.column_stack(columns)
    return float(np.sum((y - x @ np.linalg.lstsq(x, y)[0]) ** 2))


def test_the_best_step_is_that_of_dense_least_squares_over_every_pair():
    places = np.arange(60) + np.where(np.arange(60) > 20, 3, 0)
    values = noise(2, 60) + np.where((places > 18) & (places < 45), 2.5, 0)
    z, level = whitened(values - values.mean(), places), whitened(np.ones(60), places)
    found, best = (-1, -1), 0.0
    for a in range(LEAST, 60 - LEAST + 1):
        for b in [*range(a + LEAST, 60 - LEAST + 1), 60]:
            kept = np.ones(60, bool)
            kept[[0, a, *([b] if b < 60 else [])]] = False
            inside = np.where((np.arange(60) > a) & (np.arange(60) < b), level, 0.0)[kept]
            without = leftover(z[kept], level[kept])
            deviance = 60 * math.log(without / leftover(z[kept], level[kept], inside))
            if deviance > best:
                found, best = (a, b), deviance
    freed = _freed(values, places, RHO, False)
    assert _hidden(freed, 0, 60, LEAST, best * (1 - 1e-9)) == found
    assert _hidden(freed, 0, 60, LEAST, best * (1 + 1e-9)) == (-1, -1)


def test_a_cut_goes_where_dense_least_squares_leave_least():
    places = np.arange(80) + np.where(np.arange(80) > 30, 2, 0)
    values = noise(3, 80) + np.where(places > 45, 2.0, 0)
    z = whitened(values - values.mean(), places)
    left = {}
    for at in range(LEAST, 80 - LEAST + 1):
        sides = np.column_stack([np.arange(80) < at, np.arange(80) >= at]).astype(float)
        left[at] = leftover(z, whitened(sides, places))
    best = min(left, key=lambda at: left[at])
    for start in (best, 20, 60):
        assert _placed(_freed(values, places, RHO, False), 0, start, 80, LEAST) == best


def test_compiled_and_plain_cut_alike():
    series, places = noise(4, 70), PLACE[:70]
    series[30:] += 4.0
    plain = getattr(with_steps, "py_func", with_steps)
    found = with_steps(series, places, NONE, RHO, LEAST, PRICE)
    assert found.size
    assert plain(series, places, NONE, RHO, LEAST, PRICE).tolist() == found.tolist()


def test_a_step_that_comes_and_goes_is_found_where_each_cut_by_itself_is_too_dear():
    hidden = [noise(seed) + box(150, 190, 2.5) for seed in range(30)]
    alone = [_cuts(series, LEAST, penalty_of(N, RHO)).size > 0 for series in hidden]
    found = [changes(series, PLACE, RHO).at for series in hidden]
    near = [len(at) == 2 and np.abs(np.array(at) - [150, 190]).max() <= 5 for at in found]
    assert np.mean(alone) < 0.6
    assert np.mean([len(at) == 2 for at in found]) > 0.8
    assert np.mean(near) > 0.7


def test_the_jump_places_a_cut_better_than_the_means_do():
    off: dict[str, list[float]] = {"means": [], "likelihood": []}
    for seed in range(60):
        series = noise(seed) + box(180, N, 3.5)
        by_means = _cuts(series, LEAST, 30.0)
        nearest = by_means[np.abs(by_means - 180).argmin()]
        placed = _placed(_freed(series, PLACE, RHO, False), 0, int(nearest), N, LEAST)
        off["means"].append(abs(nearest - 180))
        off["likelihood"].append(abs(placed - 180))
    assert np.mean(off["likelihood"]) < 0.5 * np.mean(off["means"])


def test_a_single_wild_unit_is_no_step():
    quiet = noise(5)
    assert changes(quiet, PLACE, RHO).at == ()
    for by in (5.0, 10.0):
        wild = quiet + box(150, 151, by)
        assert with_steps(wild, PLACE, NONE, RHO, LEAST, PRICE).size == 0


def test_hours_are_scanned_in_strides_and_placed_by_the_hour():
    hours = 24 * 180
    series = ar1(np.random.default_rng(6), hours, RHO)
    series[1000:2203] += 2.0
    found = changes(series, np.arange(hours), RHO, min_units=14 * 24).at
    assert found == pytest.approx((1000, 2203), abs=3)


@pytest.mark.parametrize("series", [np.zeros(N), np.full(N, 3.0), 1e6 + 1e-9 * noise(7)])
def test_what_never_changes_has_no_step(series):
    assert changes(series, PLACE, RHO).at == ()


@pytest.mark.parametrize(("by", "off"), [(2.0**20, 0.0), (-1.0, 0.0), (0.5, 8.0)])
def test_other_units_another_sign_and_another_zero_change_no_cut(by, off):
    series = noise(8) + box(90, 150, 3.0)
    found = changes(series, PLACE, RHO).at
    assert len(found) == 2
    assert changes(by * series + off, PLACE, RHO).at == found
