import math

import numpy as np
import pytest

from joulemark_agent.contract.errors import MeasureError
from joulemark_gateway.measure.meter_error import Uncertain
from joulemark_gateway.measure.sites import Site, rolled_up
from nightly import portfolio_coverage

DAY_US = 86_400_000_000
YEAR = np.arange(365) * DAY_US


def site(name, residuals, u=10.0, start_us=YEAR, **more):
    return Site(name, Uncertain(100.0, u, 200.0), 1000.0, start_us, residuals, **more)


def sites(shared, count=12, seed=1, **more):
    draw = np.random.default_rng(seed)
    common = draw.normal(size=365)
    return [
        site(
            f"s{k}",
            math.sqrt(shared) * common + math.sqrt(1 - shared) * draw.normal(size=365),
            **more,
        )
        for k in range(count)
    ]


def test_the_three_sums_stand_in_order_and_agree_where_they_must():
    found = rolled_up(sites(0.3))
    assert found.rss.u <= found.total.u <= found.linear.u
    assert found.rss.u == pytest.approx(10 * math.sqrt(12), rel=1e-12)
    assert found.linear.u == pytest.approx(120, rel=1e-12)
    assert found.total.value == found.rss.value == found.linear.value == pytest.approx(1200)


def test_the_common_factor_is_seen_by_all_pairs_together():
    for shared in (0.0, 0.1, 0.3):
        found = [rolled_up(sites(shared, seed=k)).common_correlation for k in range(20)]
        assert sum(found) / 20 == pytest.approx(shared, abs=0.04)
        assert min(found) >= 0
    identical = [site(f"s{k}", sites(0.0)[0].residuals) for k in range(4)]
    assert rolled_up(identical).total.u == pytest.approx(40.0, rel=1e-12)


def test_a_pair_beyond_the_others_keeps_most_of_what_it_shows():
    draw = np.random.default_rng(5)
    twin = draw.normal(size=365)
    found = rolled_up([*sites(0.0, 10), site("a", twin), site("b", twin + 0.1)])
    assert 0.85 < found.correlation[10, 11] < 0.95
    assert found.correlation == pytest.approx(found.correlation.T, abs=0)
    assert np.all(np.diag(found.correlation) == 1)


def test_one_site_is_itself():
    found = rolled_up(sites(0.0, 1))
    assert found.total.u == found.rss.u == found.linear.u == 10.0
    assert found.total.degrees_of_freedom == pytest.approx(200.0)


def test_common_causes_add_linearly_over_sites_and_in_quadrature_over_causes():
    shared = {"factor kr-grid": 7.0, "method": 2.0}
    plain, found = rolled_up(sites(0.1)), rolled_up(sites(0.1, common=shared))
    assert found.common == {"factor kr-grid": pytest.approx(84.0), "method": pytest.approx(24.0)}
    for name in ("total", "rss", "linear"):
        u = math.hypot(getattr(plain, name).u, 84.0, 24.0)
        assert getattr(found, name).u == pytest.approx(u, rel=1e-12)
    opposed = [
        site("a", sites(0.0)[0].residuals, common={"factor": 5.0}),
        site("b", sites(0.0)[1].residuals, common={"factor": -5.0}),
    ]
    assert rolled_up(opposed).common == {"factor": 0.0}


def test_biases_keep_their_sign():
    one, other = sites(0.0, 2)
    found = rolled_up([site("a", one.residuals, bias=30.0), site("b", other.residuals, bias=-10.0)])
    assert found.bias == 20.0
    assert found.bias_ratio == 0.01


def test_sites_without_weeks_in_common_are_taken_to_err_as_one():
    one, other = sites(0.0, 2)
    found = rolled_up([one, site("later", other.residuals, start_us=YEAR + 400 * DAY_US)])
    assert found.assumed_pairs == 1
    assert found.total.u == found.linear.u == pytest.approx(20.0)
    nothing = site("new", np.empty(0), start_us=np.empty(0, np.int64))
    assert rolled_up([nothing, site("newer", nothing.residuals, start_us=YEAR[:0])]).total.u == 20.0


def test_holes_and_hours_are_aligned_by_the_week():
    draw = np.random.default_rng(9)
    hourly = draw.normal(size=365 * 24)
    daily = hourly.reshape(365, 24).mean(1)
    daily[40:47] = np.nan
    hours_us = np.arange(365 * 24) * (DAY_US // 24)
    found = rolled_up([site("hours", hourly, start_us=hours_us), site("days", daily)])
    assert found.common_correlation == pytest.approx(1.0, abs=0.02)


def test_the_order_of_sites_changes_nothing_that_is_printed():
    items = sites(0.2)
    forwards, backwards = rolled_up(items), rolled_up(items[::-1])
    assert forwards.total.u == pytest.approx(backwards.total.u, rel=1e-12)


def test_a_portfolio_is_of_sites_each_there_once():
    for items, code in (([], "no_sites"), (sites(0.0, 1) * 2, "site_twice")):
        with pytest.raises(MeasureError) as refused:
            rolled_up(items)
        assert refused.value.code == code


@pytest.mark.endurance
def test_the_interval_holds_the_truth_where_sites_share_shocks():
    assert portfolio_coverage.run(1, full=False)
