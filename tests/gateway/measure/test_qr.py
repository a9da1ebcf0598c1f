import numpy as np
import pytest

from joulemark_agent.contract.errors import MeasureError
from joulemark_gateway.measure.qr import least_squares


def test_the_basis_is_orthonormal_and_residuals_are_orthogonal():
    draw = np.random.default_rng(3)
    x = np.column_stack([np.ones(50), draw.normal(1e6, 10, (50, 3))])
    y = draw.normal(size=50)
    fit = least_squares(x, y)
    centred = np.column_stack([x[:, 0], x[:, 1:] - 1e6])
    q = x @ fit.basis
    assert q.T @ q == pytest.approx(np.eye(4), abs=1e-9)
    assert centred.T @ fit.residuals == pytest.approx(np.zeros(4), abs=1e-8)
    hat = centred @ np.linalg.inv(centred.T @ centred) @ centred.T
    assert q @ q.T == pytest.approx(hat, abs=1e-9)
    assert fit.inverse[1:, 1:] == pytest.approx(
        np.linalg.inv(centred.T @ centred)[1:, 1:], rel=1e-6
    )


@pytest.mark.parametrize(
    "column",
    [lambda x: 0 * x, lambda x: 3 * x, lambda x: 7 + 0 * x, lambda x: 1e-9 * x - 5],
    ids=["zero", "multiple", "constant", "straight line"],
)
def test_a_column_that_follows_from_the_others_is_refused(column):
    first = np.arange(20.0)
    x = np.column_stack([np.ones(20), first, column(first)])
    with pytest.raises(MeasureError) as refused:
        least_squares(x, first**2)
    assert refused.value.code == "singular"


def test_columns_of_very_different_size_are_no_reason_to_refuse():
    x = np.column_stack([np.ones(30), 1e-9 * np.arange(30.0), 1e12 * np.arange(30.0) ** 2])
    beta = np.array([5.0, -3e9, 2e-12])
    assert least_squares(x, x @ beta).beta == pytest.approx(beta, rel=1e-10)
