"""Systems of devices: how they are found and checked, and what each kind makes of its members."""

from zoneinfo import ZoneInfo

import numpy as np
import pytest
from pydantic import ValidationError

from joulemark_agent.equipment.air_compressor import Parameters as Compressor
from joulemark_agent.equipment.base import US_PER_S, Samples
from joulemark_agent.equipment.metering import Metering
from joulemark_agent.equipment.models import parameters_of
from joulemark_agent.equipment.systems import Member, analyse, kinds, mistakes
from support.analyses import unsure, value

MINUTE_US = 60 * US_PER_S
START_US = 1_763_859_600_000_000  # a full hour
KINDS = {"a1": "air_compressor", "b1": "air_compressor", "main": "power_meter", "pv": "pv_inverter"}
LEVELS = {"loaded_w": 90_000, "unloaded_w": 30_000, "rated_power_w": 90_000}


def member(name, kind, parameters=None, shift_us=0, **columns):
    values = {point: np.asarray(column, np.float64) for point, column in columns.items()}
    size = len(next(iter(values.values())))
    t_us = START_US + shift_us + np.arange(size) * MINUTE_US
    samples = Samples(t_us, values, MINUTE_US * 3 // 2, zone=ZoneInfo("Asia/Seoul"))
    return Member(name, kind, parameters or parameters_of(kind, None), samples)


def house(**changes):
    """Two hours: one machine loads and unloads all the time, the other only idles beside it."""
    trim = np.where(np.arange(121) // 4 % 2, 90_000.0, 30_000.0)
    idle = np.full(121, 30_000.0)
    section = Compressor(**LEVELS, **changes)
    return [
        member("a1", "air_compressor", section, power_w=trim),
        member("b1", "air_compressor", section, shift_us=7 * US_PER_S, power_w=idle),
    ]


def test_kinds_are_found_by_the_names_of_their_files():
    assert {"compressor_house", "site_balance"} <= set(kinds())
    assert not {"base", "find"} & set(kinds())


def test_a_house_says_who_did_what_and_what_an_idling_machine_costs():
    found = analyse("compressor_house", {}, {"compressors": house()})
    assert value(found, "b1_idle_s") > 6_000
    assert value(found, "a1_trim_s") > 6_000
    assert value(found, "sequencing_saving_wh") == pytest.approx(60_000, rel=0.05)
    assert value(found, "energy_wh") == pytest.approx(2 * 60_000 + 2 * 30_000, rel=0.02)
    assert "flow" in found.figure("specific_power_j_m3").why


def test_the_specific_power_of_a_house_is_all_energy_over_all_air():
    flow = member("main-flow", "gas_meter", flow_m3_s=np.full(121, 0.25))
    parameters = {"flow": {"point": "flow_m3_s", "reference": "fad"}}
    found = analyse("compressor_house", parameters, {"compressors": house(), "flow": [flow]})
    assert value(found, "specific_power_j_m3") == pytest.approx(90_000 / 0.25, rel=0.05)
    assert value(found, "free_air_m3") == pytest.approx(0.25 * 7_200, rel=0.15)
    undeclared = analyse("compressor_house", {}, {"compressors": house(), "flow": [flow]})
    assert "reference" in undeclared.figure("specific_power_j_m3").why


def test_the_energy_of_a_house_is_as_sure_as_its_meters():
    metering = Metering(limit_ratio=0.01)
    found = analyse("compressor_house", {}, {"compressors": house(metering=metering)})
    energy = found.figure("energy_wh")
    parts = np.array([120_000, 60_000]) * 0.01 / np.sqrt(3)
    assert energy.standard_uncertainty == pytest.approx(np.hypot(*parts), rel=0.02)
    unknown = analyse("compressor_house", {}, {"compressors": house()})
    assert unknown.figure("energy_wh").standard_uncertainty is None


def test_the_specific_power_of_a_house_is_as_sure_as_flow_and_energy():
    flow = member("main-flow", "gas_meter", flow_m3_s=np.full(121, 0.25))
    declared = {"point": "flow_m3_s", "reference": "fad", "uncertainty_ratio": 0.03}
    members = {"compressors": house(metering=Metering(limit_ratio=0.01)), "flow": [flow]}
    found = analyse("compressor_house", {"flow": declared}, members)
    shares = {
        name: unsure(found, name) / value(found, name)
        for name in ("energy_wh", "free_air_m3", "specific_power_j_m3")
    }
    assert shares["free_air_m3"] == pytest.approx(0.03)
    assert shares["specific_power_j_m3"] == pytest.approx(np.hypot(0.03, shares["energy_wh"]))


def site(**columns):
    roles = {"pv": ("pv", "pv_inverter", "ac_power_w"), "grid": ("main", "power_meter", "power_w"),
             "loads": ("a1", "air_compressor", "power_w")}  # fmt: skip
    return {
        role: [member(name, kind, **{point: columns[role]})]
        for role, (name, kind, point) in roles.items()
        if role in columns
    }


def test_a_balance_closes_and_says_what_was_used_on_site():
    sun = np.full(121, 40_000.0)
    load = np.repeat([10_000.0, 70_000.0], [60, 61])
    found = analyse("site_balance", {}, site(pv=sun, grid=load - sun, loads=load))
    assert value(found, "generated_wh") == pytest.approx(80_000)
    assert value(found, "balance_wh") == pytest.approx(0, abs=1e-6)
    assert value(found, "self_consumption_ratio") == pytest.approx(50 / 80, rel=0.01)
    assert value(found, "self_sufficiency_ratio") == pytest.approx(50 / 80, rel=0.01)
    assert sum(value(day, "generated_wh") for day in map(_as_analysis, found.spans)) == (
        pytest.approx(80_000)
    )


def _as_analysis(span):
    return type(analyse("site_balance", {}, {"pv": []}))(figures=span.figures)


def test_a_meter_that_counts_the_other_way_round_is_named():
    sun, load = np.full(121, 40_000.0), np.full(121, 50_000.0)
    members = site(pv=sun, grid=sun - load, loads=load)
    assert value(analyse("site_balance", {}, members), "balance_wh") != pytest.approx(0, abs=1)
    turned = analyse("site_balance", {"reversed": ["main"]}, members)
    assert value(turned, "balance_wh") == pytest.approx(0, abs=1e-6)
    assert value(turned, "imported_wh") == pytest.approx(20_000)


def test_a_point_of_another_name_is_named():
    sun, load = np.full(121, 40_000.0), np.full(121, 50_000.0)
    members = site(pv=sun, grid=load - sun)
    other = member("main", "power_meter", feeder_w=load - sun)
    named = analyse("site_balance", {"power": {"main": "feeder_w"}}, {**members, "grid": [other]})
    assert value(named, "imported_wh") == pytest.approx(20_000)


def test_local_days_are_the_windows_of_a_balance():
    size = 60 * 24 + 1
    columns = {"pv": np.full(size, 1e4), "grid": np.zeros(size), "loads": np.full(size, 1e4)}
    found = analyse("site_balance", {}, site(**columns))
    assert len(found.spans_of("balance")) == 2, "it begins at 10 o'clock in Seoul"


def test_without_samples_nothing_is_said():
    nothing = member("pv", "pv_inverter", ac_power_w=np.zeros(0))
    found = analyse("site_balance", {}, {"pv": [nothing]})
    assert all(figure.value is None and figure.why for figure in found.figures)


RIGHT = {"compressors": ["a1", "b1"]}


@pytest.mark.parametrize(
    ("kind", "members", "parameters", "where", "says"),
    [
        ("boiler_house", RIGHT, {}, ("kind",), "compressor_house"),
        ("compressor_house", {"pumps": ["a1"], **RIGHT}, {}, ("members", "pumps"), "pumps"),
        ("compressor_house", {"compressors": ["a1"]}, {}, ("members", "compressors"), "2"),
        ("compressor_house", {}, {}, ("members",), "needs 2"),
        ("compressor_house", {"compressors": ["a1", "c1"]}, {}, ("members", "compressors", 1),
         "no device 'c1'"),
        ("compressor_house", {"compressors": ["a1", "main"]}, {}, ("members", "compressors", 1),
         "'main' is a power_meter"),
        ("compressor_house", {"compressors": ["a1", "b1", "a1"]}, {},
         ("members", "compressors", 0), "2 times"),
        ("compressor_house", {**RIGHT, "flow": ["main", "pv"]}, {}, ("members", "flow"),
         "takes 1 device"),
        ("compressor_house", RIGHT, {"flow": {"point": "flow_m3"}}, ("parameters", "flow", "point"),
         "m3/s"),
        ("site_balance", {"pv": ["pv"], "grid": ["main"]}, {"reversed": ["mian"]},
         ("parameters", "reversed"), "'mian' is no member"),
        ("site_balance", {"pv": ["pv"], "grid": ["main"]}, {"power": {"mian": "power_w"}},
         ("parameters", "power"), "'mian' is no member"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_place(kind, members, parameters, where, says):
    found = dict(mistakes(kind, members, parameters, KINDS))
    assert says in found[where]


def test_what_is_right_has_no_mistakes():
    assert not list(mistakes("compressor_house", {**RIGHT, "flow": ["main"]}, {}, KINDS))
    sides = {"pv": ["pv"], "grid": ["main"], "loads": ["a1", "b1"]}
    assert not list(mistakes("site_balance", sides, {"reversed": ["main"]}, KINDS))


def test_parameters_with_mistakes_are_refused():
    with pytest.raises(ValidationError, match="presure"):
        analyse("compressor_house", {"presure": 1}, {"compressors": house()})


def test_the_energy_of_a_house_is_backed_by_the_time_that_each_machine_is_read():
    a1 = member("a1", "air_compressor", Compressor(**LEVELS), power_w=np.full(121, 50_000.0))
    b1 = member("b1", "air_compressor", Compressor(**LEVELS), power_w=np.full(61, 50_000.0))
    energy = analyse("compressor_house", {}, {"compressors": [a1, b1]}).figure("energy_wh")
    assert energy.value == pytest.approx(150_000)
    assert energy.covered_ratio == pytest.approx(0.75), "so both would have used 200 kWh"
    silent = member("b1", "air_compressor", Compressor(**LEVELS), power_w=[50_000.0])
    missing = analyse("compressor_house", {}, {"compressors": [a1, silent]}).figure("energy_wh")
    assert missing.value is None
