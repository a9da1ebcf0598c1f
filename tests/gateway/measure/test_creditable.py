import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulemark_gateway.measure.creditable import (
    CREDITABLE_POLICIES,
    PeriodSaving,
    conservativeness_factor,
    credited,
    trees_deduction_ratio,
    unfccc_table_factor,
)

policies = st.sampled_from(list(CREDITABLE_POLICIES.values()))
savings = st.floats(-1e9, 1e9)
widths = st.floats(0, 1e9)
periods = st.lists(
    st.builds(lambda saving, width: PeriodSaving(saving, width, 1.19 * width), savings, widths),
    max_size=12,
)
TABLE = CREDITABLE_POLICIES["unfccc-adjustment-table"]


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
def test_certainty_credits_everything_but_what_a_table_keeps(policy, saving):
    kept = 0.98 if policy is TABLE else 1.0
    assert policy.amount(saving, 0.0, 0.0) == pytest.approx(kept * saving, rel=1e-12)


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


@pytest.mark.parametrize(
    ("uncertainty", "factor"),
    [
        (0.0, 0.98), (0.10, 0.98), (0.1001, 0.94), (0.30, 0.94), (0.3001, 0.89), (0.50, 0.89),
        (0.5001, 0.82), (1.0, 0.82), (1.0001, 0.73), (9.0, 0.73),
    ],
)  # fmt: skip
def test_the_table_changes_behind_its_limits(uncertainty, factor):
    assert unfccc_table_factor(uncertainty) == factor
    assert TABLE.amount(1000.0, 0.0, 1000.0 * uncertainty) == pytest.approx(1000 * factor)


def test_vcs_deducts_less_than_trees():
    vcs, trees = (CREDITABLE_POLICIES[name] for name in ("vcs-one-sided-66.7", "art-trees-eq11"))
    assert vcs.amount(1000.0, 100.0, 0.0) == pytest.approx(1000 - 0.4307 / 1.645 * 100, rel=1e-12)
    assert vcs.amount(1000.0, 100.0, 0.0) > trees.amount(1000.0, 100.0, 0.0)


@given(policies, periods)
def test_losses_are_made_up_for_before_more_is_credited(policy, items):
    found = credited(policy, items)
    carried = 0.0
    for item, one in zip(items, found, strict=True):
        assert 0 <= one.credit <= max(item.saving, 0)
        assert one.amount <= item.saving
        assert one.carried <= 0
        assert one.credit == 0 or one.carried == 0
        assert one.credit + one.carried == pytest.approx(carried + one.amount, rel=1e-12)
        carried = one.carried
    total = sum(one.credit for one in found) + carried
    given_by = sum(one.amount for one in found)
    assert total == pytest.approx(given_by, rel=1e-9, abs=1e-3)


def test_a_loss_is_carried_over_several_periods():
    policy = CREDITABLE_POLICIES["lower-bound-one-sided-95"]
    items = [PeriodSaving(saving, 10.0, 12.0) for saving in (50.0, -100.0, 60.0, 80.0)]
    assert [one.credit for one in credited(policy, items)] == [40.0, 0.0, 0.0, 20.0]


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
