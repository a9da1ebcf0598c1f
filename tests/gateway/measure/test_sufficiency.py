from dataclasses import replace

import pytest

from joulemark_gateway.measure.sufficiency import SUFFICIENCY_POLICIES, DriverFacts, Facts

POLICY = SUFFICIENCY_POLICIES["iso50006-production"]
DRIVER = DriverFacts("product", "kg", [10.0, 20.0, 30.0, 40.0], 25.0)
FINE = Facts(60.0, 7, (DRIVER,), 0.5)


def failed(facts):
    return [finding.code for finding in POLICY.judge(facts) if not finding.passed]


def test_a_baseline_at_every_limit_passes():
    assert failed(FINE) == []
    assert {finding.by for finding in POLICY.judge(FINE)} == {"iso50006-production"}
    assert POLICY.used().version == "1"


@pytest.mark.parametrize(("days", "codes"), [(59.0, ["too_few_days"]), (60.0, [])])
def test_sixty_days_are_enough_and_fifty_nine_are_not(days, codes):
    assert failed(replace(FINE, baseline_days=days)) == codes


@pytest.mark.parametrize(("cycle", "codes"), [(30, []), (31, ["too_few_cycles"])])
def test_sixty_days_with_less_than_two_cycles_are_refused(cycle, codes):
    assert failed(replace(FINE, production_cycle_days=cycle)) == codes


@pytest.mark.parametrize(("r2", "codes"), [(0.5, []), (0.499, ["low_adjusted_r2"])])
def test_an_adjusted_r2_of_one_half_is_enough(r2, codes):
    assert failed(replace(FINE, adjusted_r2=r2)) == codes


def test_without_a_driver_there_is_no_proof():
    assert failed(replace(FINE, drivers=(), adjusted_r2=None)) == ["no_activity_driver"]


@pytest.mark.parametrize("unit", ["Wh", "varh", "s", "K"])
def test_energy_time_and_weather_are_no_activity(unit):
    assert failed(replace(FINE, drivers=(replace(DRIVER, unit=unit),))) == ["no_activity_driver"]


SD = 12.909944487358056  # of 10, 20, 30, 40


@pytest.mark.parametrize(
    ("mean", "codes"),
    [
        (25 + 3 * SD - 1e-9, []),  # outside min-max, inside 3 sd
        (25 + 3 * SD + 1e-9, ["driver_out_of_range"]),
        (25 - 3 * SD + 1e-9, []),
        (25 - 3 * SD - 1e-9, ["driver_out_of_range"]),
    ],
)
def test_a_mean_inside_three_standard_deviations_is_enough(mean, codes):
    assert failed(replace(FINE, drivers=(replace(DRIVER, reporting_mean=mean),))) == codes


OUTLIER = [0.0] * 99 + [1000.0]  # its maximum lies beyond mean + 3 sd = 310


@pytest.mark.parametrize(("mean", "codes"), [(1000.0, []), (1000.1, ["driver_out_of_range"])])
def test_a_mean_inside_the_extremes_is_enough(mean, codes):
    driver = DriverFacts("product", "kg", OUTLIER, mean)
    assert failed(replace(FINE, drivers=(driver,))) == codes


def test_a_finding_says_what_was_seen_and_what_is_asked():
    by_code = {finding.code: finding for finding in POLICY.judge(replace(FINE, baseline_days=59.0))}
    assert (by_code["too_few_days"].seen, by_code["too_few_days"].at_least) == (59.0, 60)
    assert by_code["too_few_cycles"].seen == 59 / 7
    assert by_code["driver_out_of_range"].subject == "product"
