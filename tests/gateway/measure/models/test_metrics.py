import math

import numpy as np
import pytest

from joulemark_agent.contract.errors import MeasureError
from joulemark_gateway.measure.models.change_point import fit_change_point
from joulemark_gateway.measure.models.mean import fit_mean
from joulemark_gateway.measure.models.metrics import blocked_cv_rmse, effective_units, metrics_of
from joulemark_gateway.measure.models.shapes import Part, Shape, fit_parts, own_temperature
from support.present import present
from support.temperature_meters import daily, made


def line(data):
    return fit_parts("line", data, [Part("", Shape("3ph", low_c=14.0))], own_temperature)


def test_each_figure_is_its_formula_with_change_points_counted():
    data = made(np.random.default_rng(1))
    fitted = fit_change_point(data, "5p")
    found, e, y = metrics_of(fitted, 200.0), fitted.linear.e, data.energy_wh
    sse, sst = np.sum(e**2), np.sum((y - y.mean()) ** 2)
    assert (found.n, found.p) == (365, 5)
    assert found.cv_rmse == pytest.approx(math.sqrt(sse / 360) / y.mean())
    assert found.adjusted_r2 == pytest.approx(1 - (sse / 360) / (sst / 364))
    quartiles = np.percentile(y, [25, 75])
    assert found.pnrmse == pytest.approx(math.sqrt(sse / 360) / (quartiles[1] - quartiles[0]))
    assert found.bic == pytest.approx(200 * math.log(sse / 365) + 5 * math.log(200))
    assert found.aicc == pytest.approx(365 * math.log(sse / 365) + 12 + 84 / 358)
    assert found.nmbe == pytest.approx(0, abs=1e-12)


def test_press_is_what_refits_without_each_unit_give():
    data = made(np.random.default_rng(2), n=40)
    errors = []
    for i in range(data.n):
        held = data.where(np.arange(data.n) == i)
        errors.append(line(data.where(np.arange(data.n) != i)).predict_wh(held) - held.energy_wh)
    expected = np.sqrt(np.mean(np.square(errors))) / data.energy_wh.mean()
    assert metrics_of(line(data)).press_cv_rmse == pytest.approx(expected, rel=1e-10)


def test_effective_units_shrink_with_correlation_and_never_exceed_the_units():
    assert effective_units(-0.5, 365, 1) == 365
    found = [effective_units(rho, 365, 1) for rho in (0.0, 0.3, 0.6, 0.9)]
    assert found == sorted(found, reverse=True)
    assert effective_units(0.999, 50, 1) >= 1


def test_a_model_that_remembers_its_neighbours_is_found_out_by_blocks_only():
    draw = np.random.default_rng(3)
    drift = np.cumsum(draw.normal(0, 2e3, 365))
    data = daily(made(draw).driver("temperature_c"), 5e5 + drift)

    class Nearest:
        """Says what the nearest unit that it knows used."""

        def __init__(self, known):
            self.known = known

        def predict_wh(self, of):
            distance = np.abs(of.position[:, None] - self.known.position[None, :])
            return self.known.energy_wh[distance.argmin(axis=1)]

    blocks = blocked_cv_rmse(data, Nearest)
    singles = blocked_cv_rmse(data, Nearest, block_units=1)
    assert singles < 0.7 * blocks


def test_blocks_judge_the_true_model_about_as_its_own_residuals_do():
    data = made(np.random.default_rng(4))
    own = present(metrics_of(fit_change_point(data, "5p")).cv_rmse)
    seen = blocked_cv_rmse(data, lambda part: fit_change_point(part, "5p"))
    assert own < seen < 1.1 * own
    assert seen < 0.6 * blocked_cv_rmse(data, fit_mean)


def test_too_few_blocks_have_a_code():
    with pytest.raises(MeasureError) as refused:
        blocked_cv_rmse(made(np.random.default_rng(5), n=50), fit_mean)
    assert refused.value.code == "too_few_blocks"
