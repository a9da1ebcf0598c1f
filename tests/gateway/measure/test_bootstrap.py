import numpy as np
import pytest

from joulemark_agent.contract.errors import MeasureError
from joulemark_gateway.measure.bootstrap import Residuals, block_bootstrap, entering
from joulemark_gateway.measure.linear import fit
from joulemark_gateway.measure.uncertainty import noise_of
from support.five_parameters import ar1

WEEK, WEEKS = 168, 52


def case(seed, *, weeks=WEEKS, rho=0.5):
    """A straight baseline by the hour, and four weeks after it."""
    draw = np.random.default_rng(seed)
    n = weeks * WEEK
    t = draw.uniform(5, 30, n)
    noise = ar1(draw, n, rho)
    model = fit(t[:, None], 50 + 4 * t + noise, np.arange(n))
    rows = np.column_stack([np.ones(4 * WEEK), draw.uniform(5, 30, 4 * WEEK)])
    return model, rows, np.arange(n, n + 4 * WEEK)


def bootstrapped(model, rows, position, **options):
    residuals = Residuals(model.e, model.position, model.p)
    pulled = entering(model, rows)
    return block_bootstrap(
        residuals, pulled, position, **{"block": WEEK, "confidence": 0.9, **options}
    )


def ar1_half_width(model, rows, position):
    noise = noise_of(model)
    variance = noise.covariance(rows, position, np.ones((1, position.size)))[0, 0]
    return noise.half_width(variance, 0.9)


def test_ten_repeats_are_the_same_and_other_data_draw_anew():
    model, rows, position = case(1)
    found = {bootstrapped(model, rows, position) for _ in range(10)}

    assert len(found) == 1
    assert bootstrapped(*case(2)).seed not in {one.seed for one in found}


def test_what_enters_adds_up_to_the_prediction():
    model, rows, _ = case(1)

    assert (entering(model, rows) * model.y).sum() == pytest.approx(model.predict(rows).sum())


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_it_agrees_with_the_interval_where_all_hours_are_alike(rho):
    model, rows, position = case(1, rho=rho)
    iid = 1.645 * np.sqrt(model.residual_variance * position.size)
    found = bootstrapped(model, rows, position).half_width

    assert found == pytest.approx(ar1_half_width(model, rows, position), rel=0.25)
    assert rho == 0 or found > 1.3 * iid  # as if hours knew nothing of each other


def test_noisy_hours_get_the_width_that_they_need():
    draw = np.random.default_rng(4)
    hour = np.arange(WEEKS * WEEK)
    noisy = hour % WEEK < 48
    t = draw.uniform(5, 30, hour.size)
    y = 50 + 4 * t + draw.normal(0, np.where(noisy, 4, 1))
    model = fit(t[:, None], y, hour)
    position = hour[noisy][: 4 * 48]
    rows = np.column_stack([np.ones(position.size), draw.uniform(5, 30, position.size)])
    needed = 1.645 * 4 * np.sqrt(position.size)

    assert bootstrapped(model, rows, position).half_width == pytest.approx(needed, rel=0.15)
    assert ar1_half_width(model, rows, position) < 0.7 * needed  # all hours taken to be alike


def test_more_confidence_is_wider():
    widths = [bootstrapped(*case(1), confidence=one).half_width for one in (0.8, 0.9, 0.95)]

    assert widths == sorted(set(widths))


def test_a_week_with_a_hole_is_not_drawn():
    model, rows, position = case(1)
    residuals = Residuals(model.e[1:], model.position[1:], model.p)
    found = block_bootstrap(
        residuals, entering(model, rows)[1:], position, block=WEEK, confidence=0.9
    )

    assert found.blocks == WEEKS - 1


def test_too_few_weeks_are_refused():
    with pytest.raises(MeasureError) as refused:
        bootstrapped(*case(1, weeks=9))

    assert refused.value.code == "too_few_blocks"
