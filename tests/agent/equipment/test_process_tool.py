import math
from decimal import Decimal

import numpy as np
import pytest
from pydantic import ValidationError

from joulemark_agent.contract.document import plain
from joulemark_agent.equipment import Samples, analyse, parameters_of
from joulemark_agent.process_gases import with_tables
from support.analyses import value

START_US, MINUTE_US = 1_700_000_000_000_000, 60_000_000
MOLAR_M3 = 0.02241396954  # of an ideal gas at 0 degrees Celsius and 101,325 Pa
CF4_KG_MOL = 0.088004612648
# an hour of gas that makes 1 kg of CF4, then an hour without gas
FLOW_M3_S = 1.0 / CF4_KG_MOL * MOLAR_M3 / 3600
FLOW = np.repeat([FLOW_M3_S, 0.0], [60, 61])
CF4 = {"gas": "CF4", "flow": "cf4_m3_s", "reference": "normal_0c"}
TABLES = {
    "factors": {"set": "us_40cfr98_subpart_i", "table": "I-20", "process": "etch"},
    "warming": {"set": "ipcc_100_years", "assessment": "AR5"},
}
BURNER = {
    "working": {"point": "burner_state", "values": [2]},
    "has_no_bypass": True,
    "abated_ratio": 1.0,
    "destroyed_ratio": {"CF4": 0.9, "C2F6": 0.95, "CHF3": 0.99},
    "source": "certificate of the burner, 2026",
}


def minutes(**points) -> Samples:
    values = {name: np.asarray(column, float) for name, column in points.items()}
    return Samples(START_US + np.arange(121) * MINUTE_US, values, 3 * MINUTE_US)


def found(samples, gases=(CF4,), tables=TABLES, **section):
    written = with_tables({"gases": list(gases), **tables, **section})
    analysis = analyse("process_tool", parameters_of("process_tool", plain(written)), samples)
    assert analysis is not None
    return analysis


def codes(analysis):
    return [finding.code for finding in analysis.findings]


def test_a_kilogram_of_cf4_without_abatement_by_hand():
    # kg: CF4 0.68, C2F6 0.041, C4F6 0.0015, C4F8 0.0051, CHF3 0.0056, CH2F2 0.014, CH3F 0.00057.
    # AR5: 0.68 x 6630 = 4508.4; 0.041 x 11100 = 455.1; 0.0051 x 9540 = 48.654; 0.0056 x 12400
    # = 69.44; 0.014 x 677 = 9.478; 0.00057 x 116 = 0.06612; sum 5091.13812; C4F6 has no value
    analysis = found(minutes(cf4_m3_s=FLOW))
    assert value(analysis, "cf4_fed_kg") == pytest.approx(1.0, rel=1e-9)
    assert value(analysis, "cf4_flow_s") == 3600
    assert value(analysis, "emitted_cf4_kg") == pytest.approx(0.68, rel=1e-9)
    assert value(analysis, "emitted_c2f6_kg") == pytest.approx(0.041, rel=1e-9)
    assert value(analysis, "emitted_c4f6_kg") == pytest.approx(0.0015, rel=1e-9)
    assert value(analysis, "co2e_kg") == pytest.approx(5091.13812, rel=1e-9)
    assert value(analysis, "co2e_kg") == value(analysis, "unabated_co2e_kg")
    assert analysis.figure("co2e_kg").flags == ("lower_bound",)
    assert codes(analysis) == ["abatement_unlogged", "potential_missing"]
    assert "C4F6" in analysis.findings[1].what
    assert value(analysis, "cf4_uptime_ratio") == 0.0


def test_abatement_counts_for_the_gas_flow_time_in_which_it_worked():
    # the burner works for 45 of the 60 minutes with gas, and all the hour without: UT 0.75
    state = np.where((np.arange(121) >= 15), 2.0, 0.0)
    analysis = found(minutes(cf4_m3_s=FLOW, burner_state=state), abatement=BURNER)
    assert value(analysis, "cf4_uptime_ratio") == pytest.approx(0.75, rel=1e-12)
    assert value(analysis, "emitted_cf4_kg") == pytest.approx(0.68 * (1 - 0.9 * 0.75), rel=1e-9)
    assert value(analysis, "emitted_c2f6_kg") == pytest.approx(0.041 * 0.2875, rel=1e-9)
    # what no certificate names is not destroyed
    assert value(analysis, "emitted_ch2f2_kg") == pytest.approx(0.014, rel=1e-9)
    assert value(analysis, "unabated_co2e_kg") == pytest.approx(5091.13812, rel=1e-9)
    assert codes(analysis) == ["potential_missing"]


@pytest.mark.parametrize("unknown", [math.nan, 1.0])
def test_an_unknown_state_counts_as_not_abated(unknown):
    state = np.full(121, 2.0)
    state[30:] = unknown  # 30 of 60 minutes; a step to an unknown value is unknown too
    analysis = found(minutes(cf4_m3_s=FLOW, burner_state=state), abatement=BURNER)
    steps = 29 if math.isnan(unknown) else 30
    assert value(analysis, "cf4_uptime_ratio") == pytest.approx(steps / 60)
    flags = analysis.figure("cf4_uptime_ratio").flags
    assert (
        ("abatement_unknown" in codes(analysis)) == math.isnan(unknown) == ("lower_bound" in flags)
    )


def test_a_state_that_is_not_recorded_gives_no_credit():
    analysis = found(minutes(cf4_m3_s=FLOW), abatement=BURNER)
    assert value(analysis, "co2e_kg") == pytest.approx(5091.13812, rel=1e-9)
    assert codes(analysis) == ["abatement_unknown", "potential_missing"]
    assert "100%" in analysis.findings[0].what


def test_tool_and_abatement_must_both_be_valid():
    # the burner works in minutes 0-39, the valve leads to it in minutes 20-59: 20 of 60 minutes
    at = np.arange(121)
    points = {
        "cf4_m3_s": FLOW,
        "burner_state": np.where(at < 40, 2.0, 0.0),
        "valve_state": np.where(at >= 20, 1.0, 0.0),
    }
    burner = {**BURNER, "routed": {"point": "valve_state", "values": [1]}}
    analysis = found(minutes(**points), abatement=burner)
    assert value(analysis, "cf4_uptime_ratio") == pytest.approx(1 / 3)


def test_a_burner_that_gas_could_pass_by_earns_no_credit_until_it_is_said_that_it_does_not():
    points = {"cf4_m3_s": FLOW, "burner_state": np.full(121, 2.0)}
    analysis = found(minutes(**points), abatement={**BURNER, "has_no_bypass": False})
    assert value(analysis, "cf4_uptime_ratio") == 0.0
    assert "abatement_unknown" in codes(analysis)
    assert value(found(minutes(**points), abatement=BURNER), "cf4_uptime_ratio") == 1.0


def test_two_gases_share_the_by_products_they_form():
    # CF4 1 kg gives 0.041 kg of C2F6; CHF3 flows as many moles: 70.0139 / 88.0046 kg
    chf3 = {**CF4, "gas": "CHF3", "flow": "chf3_m3_s"}
    analysis = found(minutes(cf4_m3_s=FLOW, chf3_m3_s=FLOW), gases=(CF4, chf3))
    fed_kg = (12.011 + 1.008 + 3 * 18.998403162) / 88.004612648
    assert value(analysis, "chf3_fed_kg") == pytest.approx(fed_kg, rel=1e-9)
    assert value(analysis, "emitted_c2f6_kg") == pytest.approx(0.041 + 0.040 * fed_kg, rel=1e-9)
    assert value(analysis, "emitted_chf3_kg") == pytest.approx(0.0056 + 0.35 * fed_kg, rel=1e-9)


def test_fluorine_in_a_burner_makes_the_sum_a_lower_bound():
    nf3 = {**CF4, "gas": "NF3", "flow": "nf3_m3_s"}
    tables = {
        "factors": {"set": "us_40cfr98_subpart_i", "table": "I-12", "process": "remote_plasma"},
        "warming": TABLES["warming"],
    }
    samples = minutes(nf3_m3_s=FLOW, burner_state=np.full(121, 2.0))
    burned = found(samples, gases=(nf3,), tables=tables, abatement=BURNER)
    assert burned.figure("co2e_kg").flags == ("lower_bound",)
    assert codes(burned) == ["burner_cf4_unknown"]
    assert found(samples, gases=(nf3,), tables=tables).figure("co2e_kg").flags == ()


def test_a_heel_is_left_out_of_what_is_emitted():
    analysis = found(minutes(cf4_m3_s=FLOW), gases=({**CF4, "heel_ratio": 0.1},))
    assert value(analysis, "emitted_cf4_kg") == pytest.approx(0.9 * 0.68, rel=1e-9)


def test_the_zero_of_a_controller_is_no_gas():
    drifting = np.where(FLOW > 0, FLOW, 0.005 * FLOW_M3_S)
    analysis = found(minutes(cf4_m3_s=drifting))
    assert value(analysis, "cf4_flow_s") == 3600
    assert value(analysis, "cf4_fed_kg") == pytest.approx(1.0)


def test_uncertainty_is_told_where_all_of_it_is_declared():
    gas = {**CF4, "flow_uncertainty_ratio": 0.01}
    tables = {**TABLES, "factors": {**TABLES["factors"], "uncertainty_ratio": Decimal("0.1")}}
    samples = minutes(cf4_m3_s=FLOW, burner_state=np.full(121, 2.0))
    burner = {**BURNER, "destroyed_uncertainty_ratio": 0.02}
    sure = found(samples, gases=(gas,), tables=tables, abatement=burner)
    # E = 0.68 x 0.1 = 0.068; parts 1 % and 10 % of it, and 0.68 x 0.02 of the destruction
    expected = math.sqrt(0.00068**2 + 0.0068**2 + 0.0136**2)
    cf4 = sure.figure("emitted_cf4_kg")
    assert cf4.standard_uncertainty == pytest.approx(expected, rel=1e-6)
    assert sure.figure("co2e_kg").standard_uncertainty is not None
    assert found(samples, gases=(gas,)).figure("co2e_kg").standard_uncertainty is None


def test_missing_flow_is_told_as_coverage_not_as_zero():
    flow = FLOW.copy()
    flow[30:40] = np.nan
    analysis = found(minutes(cf4_m3_s=flow))
    assert analysis.figure("emitted_cf4_kg").covered_ratio == pytest.approx(109 / 120)
    assert value(analysis, "cf4_flow_s") == 49 * 60


@pytest.mark.parametrize(
    ("gas", "tables", "says"),
    [
        ({**CF4, "reference": None}, TABLES, "set reference"),
        ({**CF4, "flow": "other_m3_s"}, TABLES, "'other_m3_s' is not recorded"),
        (CF4, {"warming": TABLES["warming"]}, "There are no emission factors"),
        (CF4, {"factors": TABLES["factors"]}, "no assessment"),
    ],
)
def test_no_carbon_dioxide_without_what_it_needs(gas, tables, says):
    figure = found(minutes(cf4_m3_s=FLOW), gases=(gas,), tables=tables).figure("co2e_kg")
    assert figure.value is None
    assert says in figure.why


def test_equivalent_energy_takes_the_user_s_factors_and_no_others():
    # 2 h at 5 kW x 1, and 0.001 m3/s for 2 h = 7.2 m3 of nitrogen x 250 Wh/m3 = 1,800 Wh
    utilities = [
        {"name": "electricity", "point": "power_w", "wh_per_unit": 1},
        {"name": "nitrogen", "point": "nitrogen_m3_s", "wh_per_unit": 250},
    ]
    samples = minutes(power_w=np.full(121, 5_000.0), nitrogen_m3_s=np.full(121, 0.001))
    analysis = found(samples, gases=(), tables={}, utilities=utilities)
    assert value(analysis, "nitrogen_equivalent_wh") == pytest.approx(1_800, rel=1e-12)
    assert value(analysis, "equivalent_wh") == pytest.approx(11_800, rel=1e-12)
    del utilities[1]["wh_per_unit"]
    refused = found(samples, gases=(), tables={}, utilities=utilities).figure("equivalent_wh")
    assert refused.value is None
    assert "no conversion factor for nitrogen" in refused.why
    utilities[1] |= {"point": "vacuum_m3_s", "wh_per_unit": 60}
    missing = found(samples, gases=(), tables={}, utilities=utilities).figure("equivalent_wh")
    assert "'vacuum_m3_s' is not recorded" in missing.why


@pytest.mark.parametrize(
    ("section", "says"),
    [
        ({"gases": [CF4, CF4]}, "one of them twice"),
        ({"gases": [{**CF4, "gas": "Xe"}]}, "no formula"),
        ({"gases": [{**CF4, "flow": "cf4_kg"}]}, "name one in m3/s"),
        ({"abatement": {"working": BURNER["working"]}}, "destroyed_ratio"),
        ({"abatement": {**BURNER, "destroyed_ratio": {"CF4": 90}}}, "less than or equal to 1"),
        ({"factors": {"set": "us_40cfr98_subpart_i"}}, "emitted_kg_per_kg"),
    ],
)
def test_a_section_with_a_mistake_is_refused(section, says):
    with pytest.raises(ValidationError, match=says):
        parameters_of("process_tool", section)


def test_where_no_gas_emitted_has_a_potential_there_is_no_sum():
    tables = {
        "factors": {"source": "own measurement", "emitted_kg_per_kg": {"CF4": {"CF4": 0.68}}},
        "warming": {"assessment": "own", "source": "own list of 2026", "kg_per_kg": {"SF6": 2e4}},
    }
    analysis = found(minutes(cf4_m3_s=FLOW), tables=tables)
    for name in ("co2e_kg", "unabated_co2e_kg"):
        assert analysis.figure(name).value is None
        assert "no warming potential" in analysis.figure(name).why
    assert "potential_missing" in codes(analysis)


def test_a_flow_of_a_wrong_scale_breaks_nothing():
    analysis = found(minutes(cf4_m3_s=FLOW * 1e12))
    assert "scale" in analysis.figure("cf4_fed_kg").why
    assert "not known" in analysis.figure("co2e_kg").why


def test_the_time_of_gas_is_learned_where_no_least_flow_is_declared():
    drift = minutes(cf4_m3_s=np.full(121, FLOW_M3_S * 1e-4))
    assert found(drift).figure("cf4_flow_s").flags == ("learned",)
    declared = found(drift, gases=[{**CF4, "least_flow_m3_s": FLOW_M3_S / 100}])
    assert declared.figure("cf4_flow_s").flags == ()
    assert value(declared, "cf4_flow_s") == 0
