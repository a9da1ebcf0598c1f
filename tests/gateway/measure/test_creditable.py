import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulemark_gateway.measure.creditable import (
    CREDITABLE_POLICIES,
    conservativeness_factor,
    trees_deduction_ratio,
)

policies = st.sampled_from(list(CREDITABLE_POLICIES.values()))
savings = st.floats(-1e9, 1e9)
widths = st.floats(0, 1e9)


@given(policies, savings, widths)
def test_never_more_than_the_saving_and_never_below_zero(policy, saving, width):
    amount = policy.amount(saving, width, 1.19 * width)
    assert 0 <= amount <= max(saving, 0)


@given(policies, savings, widths, widths)
def test_more_uncertainty_never_credits_more(policy, saving, one, other):
    low, high = sorted((one, other))
    wide = policy.amount(saving, high, 1.19 * high)
    assert wide <= policy.amount(saving, low, 1.19 * low)


@given(policies, st.floats(1, 1e9))
def test_certainty_credits_everything(policy, saving):
    assert policy.amount(saving, 0.0, 0.0) == pytest.approx(saving, rel=1e-12)


@given(st.floats(0, 3))
def test_the_trees_deduction_is_equation_11(half_width_ratio):
    expected = 0.524417 * half_width_ratio / 1.645006
    assert trees_deduction_ratio(half_width_ratio) == pytest.approx(expected, rel=1e-12)
    amount = CREDITABLE_POLICIES["art-trees-eq11"].amount(1000.0, 1000.0 * half_width_ratio, 0.0)
    assert amount == pytest.approx(max(0.0, 1000 * (1 - expected)), rel=1e-12, abs=1e-9)


@pytest.mark.parametrize(
    ("uncertainty", "factor"),
    [(0.07, 0.977), (0.2, 0.939), (0.4, 0.891), (0.75, 0.825), (1.5, 0.730)],
)
def test_the_conservativeness_factor_reproduces_the_published_table(uncertainty, factor):
    assert conservativeness_factor(uncertainty) == pytest.approx(factor, abs=6e-4)


def test_the_one_sided_bound_is_the_lower_end_of_the_interval():
    assert CREDITABLE_POLICIES["lower-bound-one-sided-95"].amount(100.0, 30.0, 40.0) == 70.0
    assert CREDITABLE_POLICIES["lower-bound-one-sided-95"].amount(100.0, 130.0, 150.0) == 0.0


@pytest.mark.parametrize("policy", CREDITABLE_POLICIES.values(), ids=lambda policy: policy.id)
def test_a_policy_says_its_id_version_rule_and_source(policy):
    used = policy.used()
    assert used.id
    assert used.version
    assert used.text.endswith(".")
    assert used.source
