from dataclasses import replace

import numpy as np
import pytest

from joulemark_gateway.measure.bills import merged
from joulemark_gateway.measure.calendar import US_PER_DAY
from joulemark_gateway.measure.sufficiency import CALTRACK_DAILY, POLICIES, Billing, Case
from support.unit_data import bills, changed, days

NAN = float("nan")
ENERGY, DRIVER, JOINT = (
    "too_few_valid_meter_days",
    "too_few_valid_driver_days",
    "too_few_valid_days",
)


def judged(baseline, **case):
    return CALTRACK_DAILY.judge_data(Case(baseline, **case))


def failed(baseline, **case):
    return judged(baseline, **case).failed


def finding(found, code, subject=None):
    (one,) = [one for one in found.findings if one.code == code and subject in {None, one.subject}]
    return one


def test_the_policy_stands_beside_its_findings_with_id_and_version():
    assert POLICIES["caltrack-daily-2.0"] is CALTRACK_DAILY
    assert (CALTRACK_DAILY.used().id, CALTRACK_DAILY.used().version) == ("caltrack-daily-2.0", "1")
    found = judged(days(365))
    assert found.failed == ()
    assert {one.by for one in found.findings} == {"caltrack-daily-2.0", "data-checks"}


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/Chicago"])
@pytest.mark.parametrize(
    ("n", "codes"),
    [
        (328, ("wrong_baseline_length",)),
        (329, ()),
        (366, ()),
        (367, ("wrong_baseline_length",)),
    ],
)
def test_a_baseline_has_329_to_366_local_days(n, codes, zone):
    found = judged(days(n, zone=zone))
    assert found.failed == codes
    length = finding(found, "wrong_baseline_length")
    assert (length.seen, length.at_least, length.at_most) == (n, 329, 366)


# 360 days: 36 missing leave exactly 90 %, 37 leave 89.7 %. Spread, so that no month is empty.
SPREAD = np.arange(3, 360, 9)


@pytest.mark.parametrize("missing", [36, 37])
def test_ninety_percent_of_the_days_have_a_meter_value(missing):
    found = judged(changed(days(360), at=SPREAD[:missing], to=NAN))
    assert found.failed == ((ENERGY, JOINT) if missing == 37 else ())
    assert finding(found, ENERGY).seen == pytest.approx(1 - missing / 360)
    assert finding(found, ENERGY).at_least == 0.9


@pytest.mark.parametrize("missing", [36, 37])
def test_ninety_percent_of_the_days_have_a_value_of_each_driver(missing):
    some = changed(days(360), "temperature_c", at=SPREAD[:missing], to=NAN)
    assert [code for code in failed(some) if code != "sparse_month"] == (
        [DRIVER, JOINT] if missing == 37 else []
    )


@pytest.mark.parametrize(("more", "codes"), [(18, ()), (19, (JOINT,))])
def test_ninety_percent_of_the_days_have_all_values_together(more, codes):
    some = changed(days(360), at=SPREAD[:18], to=NAN)
    some = changed(some, "temperature_c", at=SPREAD[18 : 18 + more], to=NAN)
    assert [code for code in failed(some) if code != "sparse_month"] == list(codes)


def test_the_share_of_899_days_in_a_thousand_is_too_small():
    """Longer than the policy allows, but with the share to the tenth of a percent."""
    for missing, codes in ((100, set()), (101, {ENERGY, JOINT})):
        some = changed(days(1000), at=np.arange(3, 1000, 9)[:missing], to=NAN)
        assert set(failed(some)) - {"wrong_baseline_length"} == codes


def test_days_that_are_absent_are_missing_too():
    whole = days(360)
    there = np.ones(360, bool)
    there[SPREAD[:37]] = False
    assert failed(whole.where(there))[:2] == (ENERGY, DRIVER)
    there[SPREAD[36]] = True
    assert ENERGY not in failed(whole.where(there))


@pytest.mark.parametrize(("missing", "codes"), [(3, ()), (4, ("sparse_month",))])
def test_each_month_has_ninety_percent_of_its_driver(missing, codes):
    """June has 30 days: 27 are 90 %."""
    june = np.arange(151, 151 + missing)
    found = judged(changed(days(365), "temperature_c", at=june, to=NAN))
    assert found.failed == codes
    assert finding(found, "sparse_month").seen == pytest.approx(1 - missing / 30)
    assert finding(found, "sparse_month").subject == "temperature_c"


def test_months_are_not_asked_of_the_meter():
    assert failed(changed(days(365), at=np.arange(151, 160), to=NAN)) == ()


@pytest.mark.parametrize(("covered", "codes"), [(0.5, ()), (0.499, ("unit_mostly_missing",))])
def test_half_of_each_day_was_measured(covered, codes):
    ratio = np.ones(365)
    ratio[7] = covered
    assert failed(days(365), covered_ratio=ratio) == codes
    assert failed(changed(days(365), at=[7], to=NAN), covered_ratio=ratio) == ()


def billed(lengths, cycle, **changes):
    whole = bills(lengths)
    billing = Billing(cycle, np.zeros(whole.n, bool), np.zeros(whole.n, np.int64))
    return failed(whole, billing=replace(billing, **changes))


@pytest.mark.parametrize(
    ("length", "cycle", "codes"),
    [
        (24, "monthly", ("bill_too_short",)),
        (25, "monthly", ()),
        (35, "monthly", ()),
        (36, "monthly", ("bill_too_long",)),
        (24, "bimonthly", ("bill_too_short",)),
        (25, "bimonthly", ()),
        (36, "bimonthly", ()),
        (70, "bimonthly", ()),
        (71, "bimonthly", ("bill_too_long",)),
    ],
)
def test_bills_have_25_to_35_days_or_25_to_70(length, cycle, codes):
    others = [31] * 10 if cycle == "monthly" else [50] * (5 if length > 36 else 6) + [30]
    assert billed([*others, length], cycle) == codes


def test_a_bill_that_is_left_out_may_be_of_any_length_and_is_missing():
    lengths = [30] * 11 + [24]
    whole = changed(bills(lengths), at=[11], to=NAN)
    none = Billing("monthly", np.zeros(12, bool), np.zeros(12, np.int64))
    assert failed(whole, billing=none) == ()
    whole = changed(bills(lengths), at=[10, 11], to=NAN)
    assert failed(whole, billing=none) == (ENERGY, JOINT)


def test_an_estimated_read_is_merged_with_the_next_and_counts_as_missing():
    whole = bills([30, 31, 30, 31, 30, 31, 30, 31, 30, 31, 30, 30])
    estimated = np.zeros(12, bool)
    estimated[4] = True
    found = merged(whole, estimated, "monthly", longest_days=CALTRACK_DAILY.merged_bill_days)
    assert found.data.n == 11
    assert found.data.energy_wh[4] == whole.energy_wh[4] + whole.energy_wh[5]
    assert found.data.length_us[4] == 61 * US_PER_DAY
    told = judged(found.data, billing=found.billing)
    assert told.failed == ()  # 61 days: more than a month's bill, less than a merged one may have
    assert finding(told, ENERGY).seen == pytest.approx((365 - 30) / 365)
    estimated[6] = True
    found = merged(whole, estimated, "monthly", longest_days=CALTRACK_DAILY.merged_bill_days)
    assert failed(found.data, billing=found.billing) == (ENERGY, JOINT)


@pytest.mark.parametrize(("second", "is_used"), [(40, True), (41, False)])
def test_merged_bills_have_70_days_at_most(second, is_used):
    whole = bills([30, 30, second, 30])
    marks = np.array([False, True, False, False])
    found = merged(whole, marks, "monthly", longest_days=CALTRACK_DAILY.merged_bill_days)
    assert np.isfinite(found.data.energy_wh).tolist() == [True, is_used, True]


def test_a_merged_bill_that_somebody_keeps_beyond_70_days_is_refused():
    marks = np.zeros(10, bool)
    marks[2] = True
    lengths = [31] * 10
    lengths[2] = 70
    assert billed(lengths, "monthly", is_merged=marks) == ()
    lengths[2] = 71
    assert billed(lengths, "monthly", is_merged=marks) == ("bill_too_long",)


def test_the_temperature_of_a_merged_bill_is_the_mean_over_its_days():
    whole = changed(bills([30, 10, 30]), "temperature_c", at=[0, 1], to=[4.0, 8.0])
    found = merged(whole, np.array([True, False, False]), "monthly", longest_days=70)
    assert found.data.drivers["temperature_c"][0] == pytest.approx(5.0)


def test_an_estimate_without_a_read_after_it_gives_no_energy():
    found = merged(bills([30, 30, 30]), np.array([False, True, True]), "monthly", longest_days=70)
    assert np.isfinite(found.data.energy_wh).tolist() == [True, False]


@pytest.mark.parametrize(("value", "codes"), [(0.0, ()), (-1.0, ("negative_gas",))])
def test_gas_is_never_negative(value, codes):
    whole = changed(days(365), at=[100], to=value)
    assert failed(whole, carrier="gas") == codes
    assert failed(days(365), reporting=whole, carrier="gas") == codes
    assert failed(whole, carrier="electricity") == ()


def test_zeros_are_missing_of_electricity_and_not_of_gas():
    some = changed(days(360), at=SPREAD[:37], to=0.0)
    assert failed(some) == (ENERGY, JOINT)
    assert failed(some, carrier="gas") == ()
    assert np.isnan(CALTRACK_DAILY.masked(some, "electricity").energy_wh).sum() == 37
    assert CALTRACK_DAILY.masked(some, "gas") is some


def test_values_beyond_three_interquartile_ranges_only_warn():
    whole = days(365)
    low, high = np.quantile(np.delete(whole.energy_wh, 9), (0.25, 0.75))
    for times, warned in ((2.9, ()), (3.1, ("extreme_values",))):
        found = judged(changed(whole, at=[9], to=high + times * (high - low)))
        assert found.failed == ()
        assert found.warned == warned


def test_without_a_value_there_are_findings_and_no_exception():
    empty = days(365)
    empty = changed(empty, at=slice(None), to=NAN)
    assert failed(empty) == (ENERGY, JOINT)
    assert "wrong_baseline_length" in failed(empty.where(np.zeros(365, bool)))
