import json
from dataclasses import replace
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from scipy import stats

from joulemark_agent.contract.errors import MeasureError
from joulemark_gateway.measure.data import Data
from joulemark_gateway.measure.models.production import (
    activity,
    choice,
    fit_production,
    weather,
    with_indicators,
)
from joulemark_gateway.measure.models.selection import assess, select_production
from joulemark_gateway.measure.models.selection_rules import OUT_OF_RANGE, SELECTION_POLICIES

DAY_US = 86_400_000_000
ISO = SELECTION_POLICIES["iso50006-regression"]
SEP = SELECTION_POLICIES["sep-regression"]
KG, HDD = activity("made_kg", "kg"), weather("hdd_k_d")


def days(energy_wh, **drivers):
    n = len(energy_wh)
    start_us = np.arange(n, dtype=np.int64) * DAY_US
    columns = {name: np.asarray(column, np.float64) for name, column in drivers.items()}
    return Data(
        start_us,
        np.full(n, DAY_US),
        np.arange(n, dtype=np.int64),
        np.asarray(energy_wh, np.float64),
        columns,
        ZoneInfo("UTC"),
    )


def plant(n=120, seed=5, noise=2e4, junk=0):
    draw = np.random.default_rng(seed)
    made, hdd = draw.uniform(500, 1500, n), draw.uniform(0, 20, n)
    shift = draw.integers(1, 4, n)
    energy = 3e5 + 400 * made + 8e3 * hdd + 5e4 * (shift == 3) + draw.normal(0, noise, n)
    more = {f"junk_{k}_1": draw.normal(10, 1, n) for k in range(junk)}
    return days(energy, made_kg=made, hdd_k_d=hdd, shift=shift, **more)


def failed(candidate):
    return {found.code for found in candidate.findings if not found.passed}


def refusal(call):
    with pytest.raises(MeasureError) as refused:
        call()
    return refused.value.code


# --- the peer's own saved regressions ---


@pytest.fixture(scope="module")
def published(plant_data):
    return json.loads((plant_data / "mv/verifi/verifi_regressions.json").read_text())["cases"]


WH_PER_MMBTU = 293_071.07


@pytest.mark.parametrize(
    ("name", "coefficients"), [("4oif6zvif", 1e-10), ("p336cqtt9", 1e-10), ("50vk8quru", 1e-8)]
)
def test_a_peers_monthly_regressions_come_out_as_it_saved_them(published, name, coefficients):
    case = published[name]
    saved = case["verifi_saved"]
    x = np.array(case["X"])
    months = days(np.array(case["y_mmbtu_source"]) * WH_PER_MMBTU, made_1=x[:, 0], degrees=x[:, 1])
    of = [activity("made_1", "1"), weather("degrees")]
    found = assess(months, of, SEP, {"baseline": months})

    beta = [term.coefficient / WH_PER_MMBTU for term in found.terms]
    errors = [term.standard_error / WH_PER_MMBTU for term in found.terms]
    assert beta == pytest.approx(saved["coef"], rel=coefficients)
    assert errors == pytest.approx(saved["se"], rel=1e-6)
    assert found.r2 == pytest.approx(saved["R2"], rel=1e-6)
    assert found.adjusted_r2 == pytest.approx(saved["adjR2"], rel=1e-6)
    assert found.test.f == pytest.approx(saved["F"], rel=1e-6)
    assert found.test.below == saved["df_resid"]
    # It takes 1 - cdf, which keeps 1e-16 and not six digits of 1e-11.
    assert found.test.p == pytest.approx(saved["F_p"], rel=1e-6, abs=5e-16)
    assert [term.p for term in found.terms] == pytest.approx(saved["p"], rel=1e-6, abs=5e-16)
    assert found.test.p == pytest.approx(stats.f.sf(found.test.f, 2, 9), rel=1e-9)
    for term in found.terms:
        assert term.p == pytest.approx(2 * stats.t.sf(abs(term.t), 9), rel=1e-9)
    assert (found.is_valid, found.is_in_range) == (saved["valid"], saved["sep_pass"])


# --- what is chosen ---


def test_the_true_drivers_are_chosen_and_every_other_set_is_told():
    data = with_indicators(plant(junk=1), "shift", (1, 2, 3))
    of = [KG, HDD, choice("shift", (1, 2, 3)), weather("junk_0_1", "1")]
    found = select_production(data, of, ISO, {"baseline": data})
    assert {"made_kg", "hdd_k_d", "shift"} <= set(found.chosen.predictors)
    assert found.by_press.press_r2 == max(one.press_r2 or 0 for one in found.alternatives)
    assert len(found.alternatives) == 15
    assert found.policy.id == "iso50006-regression"
    ranked = [one.adjusted_r2 for one in found.alternatives]
    assert ranked == sorted(ranked, reverse=True)
    alone = next(one for one in found.alternatives if one.predictors == ("junk_0_1",))
    assert {"low_adjusted_r2", "no_activity_driver"} <= failed(alone)


def test_the_figures_are_those_of_the_textbook():
    data = plant()
    found = assess(data, [KG, HDD], ISO, {})
    x = np.column_stack([np.ones(120), data.drivers["made_kg"], data.drivers["hdd_k_d"]])
    y = data.energy_wh
    inverse = np.linalg.inv(x.T @ x)
    beta = inverse @ x.T @ y
    s2 = ((y - x @ beta) ** 2).sum() / 117
    errors = np.sqrt(s2 * np.diag(inverse))
    assert [t.coefficient for t in found.terms] == pytest.approx(beta, rel=1e-9)
    assert [t.standard_error for t in found.terms] == pytest.approx(errors, rel=1e-9)
    assert [t.unit for t in found.terms] == ["Wh", "Wh/kg", "Wh/(K d)"]
    r2 = 1 - s2 * 117 / ((y - y.mean()) ** 2).sum()
    assert found.test.f == pytest.approx(r2 / 2 / ((1 - r2) / 117), rel=1e-9)


def test_indicators_of_one_choice_come_and_go_together_with_one_p():
    data = with_indicators(plant(), "shift", (1, 2, 3))
    shift = choice("shift", (1, 2, 3))
    found = assess(data, [KG, HDD, shift], ISO, {"baseline": data})
    without = fit_production(data, [KG, HDD]).linear
    full = fit_production(data, [KG, HDD, shift]).linear
    f = (without.sse - full.sse) / 2 / full.residual_variance
    assert found.p[2] == pytest.approx(stats.f.sf(f, 2, 115), rel=1e-9)
    assert found.is_valid
    alone = assess(data, [shift], SEP, {})
    assert alone.p[0] == pytest.approx(alone.test.p, rel=1e-12)


def test_a_level_that_the_baseline_never_had_is_not_predicted():
    data = plant(n=20)
    fitted = fit_production(
        with_indicators(data, "shift", (1, 2, 3)), [KG, choice("shift", (1, 2, 3))]
    )
    data.drivers["shift"][4] = 7
    predicted = fitted.predict_wh(with_indicators(data, "shift", (1, 2, 3)))
    assert np.flatnonzero(np.isnan(predicted)).tolist() == [4]


# --- each rule, on both sides ---


def test_drivers_that_are_much_alike_are_refused_by_iso_and_not_by_sep():
    data = plant()
    draw = np.random.default_rng(1)
    for spread, is_alike in ((30.0, True), (400.0, False)):
        more = {**data.drivers, "moved_kg": data.drivers["made_kg"] + draw.normal(0, spread, 120)}
        both = [KG, activity("moved_kg", "kg")]
        found = assess(replace(data, drivers=more), both, ISO, {})
        assert ("drivers_too_alike" in failed(found)) == is_alike
        vif = max(term.vif or 0 for term in found.terms)
        assert (vif > 10) == is_alike
        assert "drivers_too_alike" not in failed(assess(replace(data, drivers=more), both, SEP, {}))


def test_a_driver_that_lowers_the_energy_is_unphysical_and_an_indicator_may():
    draw = np.random.default_rng(3)
    made, cold = draw.uniform(0, 9, 80), draw.uniform(0, 9, 80)
    second = draw.integers(1, 3, 80)
    energy = 100 + 30 * made - 5 * cold - 20 * (second == 2) + draw.normal(0, 5, 80)
    data = with_indicators(
        days(energy, made_kg=made, hdd_k_d=cold, product=second), "product", (1, 2)
    )
    assert "unphysical_sign" in failed(assess(data, [KG, HDD], ISO, {}))
    assert "unphysical_sign" not in failed(assess(data, [KG, HDD], SEP, {}))
    assert assess(data, [KG, choice("product", (1, 2))], ISO, {}).is_valid


@pytest.mark.parametrize(("policy", "code"), [(ISO, "low_adjusted_r2"), (SEP, "low_r2")])
def test_the_share_explained_is_asked_for_at_a_half(policy, code):
    made = np.tile([0.0, 1.0, 2.0, 3.0], 30)
    noise = np.repeat([1.0, -1.0], 60)  # exactly unrelated to what was made
    n, sst, step = 120, 150.0, 1.0
    for r2, is_low in ((0.5 - 1e-9, True), (0.5 + 1e-9, False)):
        plain = r2 if code == "low_r2" else 1 - (1 - r2) * (n - 2) / (n - 1)
        height = np.sqrt(sst * step * (1 - plain) / plain / n)
        found = assess(days(10 + step * made + height * noise, made_kg=made), [KG], policy, {})
        assert (code in failed(found)) == is_low


def test_a_mean_must_lie_in_the_range_or_within_three_deviations():
    data = plant()
    values = data.drivers["made_kg"]
    low, high = values.mean() - 3 * values.std(ddof=1), values.mean() + 3 * values.std(ddof=1)
    for mean, is_inside in ((low - 1, False), (low + 1, True), (high - 1, True), (high + 1, False)):
        later = days([1.0, 1.0], made_kg=[mean - 5, mean + 5])
        found = assess(data, [KG], ISO, {"reporting": later})
        assert found.is_in_range == is_inside
        assert found.is_valid
        assert (OUT_OF_RANGE in failed(found)) != is_inside


def test_weather_alone_is_no_model_of_a_plant():
    draw = np.random.default_rng(8)
    hdd = draw.uniform(0, 20, 90)
    data = days(100 + 9 * hdd + draw.normal(0, 5, 90), hdd_k_d=hdd)
    assert failed(assess(data, [HDD], ISO, {})) == {"no_activity_driver"}
    assert assess(data, [HDD], SEP, {}).is_valid


# --- refusals ---


def test_where_no_set_keeps_the_rules_there_is_no_model():
    draw = np.random.default_rng(8)
    data = days(draw.normal(100, 5, 90), made_kg=draw.uniform(1, 2, 90))
    assert refusal(lambda: select_production(data, [KG], ISO, {})) == "no_valid_model"
    assert refusal(lambda: select_production(data, [], ISO, {})) == "no_predictor"
    still = days(draw.normal(100, 5, 90), made_kg=np.ones(90))
    assert refusal(lambda: select_production(still, [KG], ISO, {})) == "no_valid_model"


def test_sets_that_give_no_model_are_told_with_their_reason():
    data = plant()
    data.drivers["twice_kg"] = 2 * data.drivers["made_kg"]
    found = select_production(data, [KG, activity("twice_kg", "kg")], ISO, {})
    assert dict(found.without_fit) == {("made_kg", "twice_kg"): "collinear_drivers"}
    assert refusal(lambda: assess(data, [activity("none_kg", "kg")], ISO, {})) == "missing_driver"


def test_a_period_without_a_driver_has_no_range():
    data = plant()
    empty = days([1.0], made_kg=[np.nan])
    assert refusal(lambda: assess(data, [KG], ISO, {"reporting": empty})) == "empty_period"


# --- leave-one-out against adjusted R2, and a control that takes everything ---


def test_leave_one_out_is_less_taken_in_by_what_only_explains_the_past():
    """Of 20 plants with four drivers that mean nothing, in a baseline of 40 days."""
    later_error = {"chosen": 0.0, "press": 0.0, "everything": 0.0}
    junk = [weather(f"junk_{k}_1", "1") for k in range(4)]
    for seed in range(20):
        whole = plant(n=240, seed=seed, noise=2e5, junk=4)
        before, after = whole.where(np.arange(40)), whole.where(np.arange(40, 240))
        loose = replace(ISO, least_r2=0.0, are_signs_asked=False, most_predictors=5)
        found = select_production(before, [KG, *junk], loose, {})
        sets = {
            "chosen": found.chosen.predictors,
            "press": found.by_press.predictors,
            "everything": ("made_kg", *(one.name for one in junk)),
        }
        for name, of in sets.items():
            model = fit_production(before, [one for one in [KG, *junk] if one.name in of])
            error = after.energy_wh - model.predict_wh(after)
            later_error[name] += float((error**2).sum())
    assert later_error["press"] <= later_error["chosen"] < later_error["everything"]
