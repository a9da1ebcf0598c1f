"""What cannot be true is found, and what a sound device says is not."""

import random
from decimal import Decimal
from typing import Any

import pytest

import joulemark_profiles
from joulemark_agent.contract.profile import Profile
from joulemark_agent.contract.reading import Response
from joulemark_agent.documents import load_profile
from joulemark_agent.kernels.checks import Sample, Verdict, failures, sample_of, verdicts
from joulemark_agent.kernels.decode import decode_responses
from joulemark_agent.plan import plan_requests
from joulemark_agent.simulate.encode import registers
from joulemark_agent.simulate.plausible import plausible
from support.modbus_machine import Machine

MODBUS = [
    name
    for name in joulemark_profiles.names("devices")
    if load_profile(name)[0].protocol == "modbus"
]
MACHINES = [name for name in MODBUS if not name.startswith("virtual_")]


def device(*points: str, **changes: Any) -> Profile:
    """A profile of points `name[:type]`, at addresses of their own."""
    rows: list[dict[str, Any]] = []
    for i, point in enumerate(points):
        name, _, kind = point.partition(":")
        row: dict[str, Any] = {"name": name, "table": "input", "address": 4 * i}
        row |= {"type": kind or "float64", "counter": kind.startswith("uint")}
        rows.append(row | changes.get(name, {}))
    return Profile.model_validate(
        {
            "model": "tried",
            "kind": changes.get("kind", "power_meter"),
            "protocol": "modbus",
            "source": "made for this test",
            "confidence": "bench",
            "points": rows,
            "golden": [{"point": rows[0]["name"], "words": [0, 0, 0, 0][: words_of(rows[0])],
                        "value": 0}],
            **{key: changes[key] for key in ("checks",) if key in changes},
        }
    )  # fmt: skip


def words_of(row: dict[str, Any]) -> int:
    return {"float64": 4, "uint32": 2, "uint64": 4, "uint16": 1, "float32": 2}[row["type"]]


def window(**series: list[float]) -> list[Sample]:
    """Samples every 10 s."""
    length = max(map(len, series.values()))
    return [
        Sample(10.0 * i, {name: values[i] for name, values in series.items() if i < len(values)})
        for i in range(length)
    ]


def found(profile: Profile, samples: list[Sample], rule: str) -> list[Verdict]:
    return [verdict for verdict in verdicts(profile, samples) if verdict.rule == rule]


def read(profile: Profile, words: Any, t_s: float) -> Sample:
    answers = []
    for request in plan_requests(profile):
        held = words.get(request.table, {})
        span = range(request.address, request.address + request.count)
        data = b"".join(held.get(address, 0).to_bytes(2, "big") for address in span)
        answers.append(Response(request.table, request.address, data))
    return sample_of(t_s, *decode_responses(profile, answers))


@pytest.mark.parametrize("name", MACHINES)
def test_nothing_is_found_on_a_machine_read_with_its_own_profile(name: str) -> None:
    profile = load_profile(name)[0]
    machine = Machine(profile)
    samples = [read(profile, machine.words(t), t) for t in range(0, 301, 15)]

    assert failures(profile, samples) == []
    assert any(verdict.holds for verdict in verdicts(profile, samples))


@pytest.mark.parametrize("name", MACHINES)
def test_nothing_is_found_on_a_machine_that_feeds_what_it_makes_into_the_grid(name: str) -> None:
    profile = load_profile(name)[0]
    machine = Machine(profile, flow="export")
    samples = [read(profile, machine.words(t), t) for t in range(0, 301, 15)]

    named = {"power_w", "energy_wh", "exported_wh"}
    wrong = [v.name for v in failures(profile, samples) if set(v.points) & named]
    assert wrong == []


@pytest.mark.parametrize("name", MODBUS)
def test_what_a_simulated_machine_makes_up_can_be_true(name: str) -> None:
    profile = load_profile(name)[0]
    samples = [read(profile, registers(profile, plausible(profile, t)).words, t)
               for t in range(0, 301, 15)]  # fmt: skip

    assert failures(profile, samples) == []


def test_a_sum_that_is_off_by_more_than_its_tolerance_fails_and_names_a_factor_of_ten() -> None:
    profile = device("power_w", "power_l1_w", "power_l2_w", "power_l3_w")
    parts = {"power_l1_w": [4e3] * 3, "power_l2_w": [3e3] * 3, "power_l3_w": [3e3] * 3}

    def of(total: float) -> Verdict:
        return found(profile, window(power_w=[total] * 3, **parts), "sum_of_phases")[0]

    assert of(10_000).holds
    assert of(10_400).holds
    assert of(12_000).holds is False
    assert of(100_000).found.endswith(": a factor of 10")
    assert of(-10_000).found.endswith(": the signs differ")


def test_one_reading_between_two_states_is_no_finding() -> None:
    profile = device("power_w", "power_l1_w", "power_l2_w", "power_l3_w")
    third = [3e3] * 5
    samples = window(
        power_w=[9e3, 9e3, 2e4, 9e3, 9e3], power_l1_w=third, power_l2_w=third, power_l3_w=third
    )

    assert found(profile, samples, "sum_of_phases")[0].holds


def rate(counted: list[float], power: list[float], **changes: Any) -> Verdict:
    said = {"direction": "import"}
    profile = device(
        "energy_wh:uint32",
        "power_w",
        energy_wh=said | changes.get("energy_wh", {}),
        power_w=said | changes.get("power_w", {}),
    )
    return found(profile, window(energy_wh=counted, power_w=power), "rate")[0]


def counting(wh_per_step: float, steps: int = 60) -> list[float]:
    return [1000 + wh_per_step * i for i in range(steps + 1)]


def test_energy_is_compared_with_power_within_five_per_cent() -> None:
    power = [36_000.0] * 61  # 100 Wh in 10 s

    assert rate(counting(100), power).holds
    assert rate(counting(104), power).holds
    assert rate(counting(110), power).holds is False
    assert "a factor of 10" in rate(counting(1000), power).found
    assert "a factor of 10" in rate(counting(10), power).found
    assert "stands still under load" in rate([1000.0] * 61, power).do


def test_a_counter_that_counts_while_power_flows_the_other_way_fails() -> None:
    verdict = rate(counting(100), [-36_000.0] * 61)

    assert verdict.holds is False
    assert "import and export are swapped" in verdict.do


def test_a_counter_too_coarse_for_the_load_is_not_decided_and_says_how_long_it_takes() -> None:
    steps = [1000.0 * (i // 31) for i in range(61)]  # one step of 1 kWh in ten minutes
    verdict = rate(steps, [6_000.0] * 61, energy_wh={"scale": 1000})

    assert verdict.holds is None
    assert verdict.do.startswith("Read for ")
    assert rate(steps, [0.0] * 61, energy_wh={"scale": 1000}).holds is not True


def test_a_hole_in_the_readings_is_no_missing_energy() -> None:
    profile = device("energy_wh:uint32", "power_w")
    before = [Sample(10.0 * i, {"energy_wh": 100 * i, "power_w": 36_000.0}) for i in range(20)]
    after = [
        Sample(1000 + 10.0 * i, {"energy_wh": 9_000 + 100 * i, "power_w": 36_000.0})
        for i in range(20)
    ]

    assert found(profile, before + after, "rate")[0].holds


def test_a_power_that_jumps_from_reading_to_reading_is_given_the_doubt_of_its_samples() -> None:
    power = [0.0, 72_000.0] * 30 + [0.0]

    assert rate(counting(105), power).holds is not False
    assert rate(counting(1000), power).holds is False


def test_a_counter_that_falls_is_found_unless_the_profile_says_why() -> None:
    def falls(values: list[float], **said: Any) -> bool | None:
        profile = device("energy_wh:uint16", "power_w", energy_wh=said)
        return found(profile, window(energy_wh=values), "monotonic")[0].holds

    assert falls([5, 6, 7])
    assert falls([65_530, 65_535, 3]) is False
    assert falls([65_530, 65_535, 3], modulus=65_536, maximum_rate=100_000)
    assert falls([40_000, 3], modulus=65_536, maximum_rate=100_000)
    assert falls([30_000, 29_000], modulus=65_536, maximum_rate=100_000) is False
    assert falls([9_000, 9_100, 0, 10], daily=True)
    assert falls([9_000, 9_100, 9_000], daily=True) is False


def test_a_zero_that_is_no_count_by_the_profile_is_no_finding() -> None:
    """As inverters show it when they wake up: no fall, and what comes after it is no leap."""
    steps = [222e6 + round(6000 * 10 / 3600 * k) for k in range(60)]
    counted = [0.0, 0.0, 0.0, *steps[3:40], 0.0, *steps[41:]]
    samples = window(generated_wh=counted, ac_power_w=[6000.0] * len(counted))
    names = ("generated_wh:uint64", "ac_power_w")
    declared = device(*names, generated_wh={"false_zero": True, "direction": "generation"})
    assert failures(declared, samples) == []
    assert {v.rule for v in failures(device(*names), samples)} == {"monotonic", "rate"}
    dead = window(generated_wh=[0.0] * 60, ac_power_w=[6000.0] * 60)
    assert "generated_wh counted 0 " in found(declared, dead, "rate")[0].found


def test_hours_counted_faster_than_the_clock_are_another_quantity() -> None:
    profile = device("running_s:uint32", "power_w", running_s={"scale": 60})

    assert found(profile, window(running_s=[0, 0, 0, 0, 0, 0, 60]), "seconds")[0].holds
    seldom = window(running_s=[30 * (i // 3) for i in range(1, 8)])  # written every 30 s
    assert found(profile, seldom, "seconds")[0].holds
    leap = window(running_s=[0, 0, 900, 900])
    assert found(profile, leap, "seconds")[0].holds is False
    faster = window(running_s=[0, 60, 120, 180, 240, 300, 360])
    assert found(profile, faster, "seconds")[0].holds is False


def test_hours_under_load_above_those_of_running_are_found() -> None:
    profile = device("running_s:uint32", "loaded_s:uint32", kind="air_compressor")

    assert found(profile, window(running_s=[10], loaded_s=[10]), "at_most")[0].holds
    assert found(profile, window(running_s=[10], loaded_s=[11]), "at_most")[0].holds is False


@pytest.mark.parametrize(
    ("volts", "amperes", "watts", "holds"),
    [
        (230, 10, 2200, True),
        (230, 10, 300, True),  # a motor without load
        (230, 10, 2600, False),
        (2300, 10, 2200, False),
        (23, 10, 2200, False),
        (230, 100, 2200, False),
        (230, 1, 2200, False),
        (0, 0, 0, None),
        (230, 0, 5000, False),
    ],
)
def test_power_is_voltage_times_current_with_a_power_factor(
    volts: float, amperes: float, watts: float, holds: bool | None
) -> None:
    profile = device("power_l1_w", "voltage_l1_v", "current_l1_a")
    samples = window(power_l1_w=[watts] * 3, voltage_l1_v=[volts] * 3, current_l1_a=[amperes] * 3)

    assert found(profile, samples, "product")[0].holds is holds


def test_the_power_factor_that_a_meter_says_must_be_that_of_its_power() -> None:
    profile = device("power_w", "voltage_v", "current_a", "power_factor_ratio")

    def of(factor: float) -> bool | None:
        samples = window(
            power_w=[2000] * 3, voltage_v=[230] * 3, current_a=[10] * 3,
            power_factor_ratio=[factor] * 3,
        )  # fmt: skip
        return found(profile, samples, "product")[0].holds

    assert of(0.87)
    assert of(-0.87)
    assert of(0.4) is False


@pytest.mark.parametrize(
    ("point", "value", "holds"),
    [
        ("frequency_hz", 49.9, True),
        ("frequency_hz", 0, True),  # the line is off
        ("frequency_hz", 5.0, False),
        ("voltage_l1_v", 230, True),
        ("voltage_l1_v", 23, False),
        ("power_factor_ratio", 1.2, False),
        ("string_1_voltage_v", 6120, False),
        ("temperature_k", 8773, False),
        ("internal_temperature_k", 673, False),
        ("line_gauge_pressure_pa", 7.1e6, False),
        ("running_s", 2e12, False),
    ],
)
def test_a_point_outside_what_physics_allows_is_found(
    point: str, value: float, holds: bool
) -> None:
    profile = device(point, "power_w", kind="air_compressor")

    assert found(profile, window(**{point: [value] * 3}), "range")[0].holds is holds


def test_a_float_so_small_that_nothing_measures_it_has_its_words_swapped() -> None:
    profile = device("power_w", "current_a")
    sample = sample_of(0.0, {"power_w": f"0.{'0' * 38}17"}, {})

    assert [v.points for v in failures(profile, [sample])] == [("power_w",)]


def test_whatever_floats_a_device_makes_up_the_checks_come_to_an_end() -> None:
    names = (
        "power_w", "power_l1_w", "power_l2_w", "power_l3_w", "voltage_l1_v", "current_l1_a",
        "reactive_var", "ac_power_w", "dc_power_w", "string_1_voltage_v", "string_1_current_a",
    )  # fmt: skip
    profile = device("energy_wh:float64", *names, energy_wh={"counter": True, "minimum": 0})
    mad = ["1" + "0" * 308, "-1" + "0" * 308, f"0.{'0' * 306}1", "0", "1", "-0.1", "1" + "0" * 160]
    draw = random.Random(1)
    for _ in range(200):
        samples = [
            sample_of(10.0 * i, {n: draw.choice(mad) for n in ("energy_wh", *names)}, {})
            for i in range(12)
        ]
        assert verdicts(profile, samples)


def test_a_number_of_many_digits_is_not_called_too_small() -> None:
    sample = sample_of(0.0, {"power_w": "1" + "0" * 38}, {})

    (verdict,) = failures(device("power_w", "current_a"), [sample])
    assert "can be" in verdict.found


def test_a_load_that_no_sample_meets_is_no_finding_and_one_that_all_meet_neither() -> None:
    pumped = [1000.0 + 200 * (i // 20) for i in range(61)]  # 200 Wh in one of twenty steps
    assert rate(pumped, [15.0] * 61).holds is not False
    still = [1000.0 + 0.01 * i for i in range(61)]
    assert rate(still, [*[0.0] * 29, 36_000.0, *[0.0] * 31]).holds is not False


def test_a_machine_that_is_switched_on_while_it_is_read_is_no_finding() -> None:
    profile = device("power_w", "voltage_v", "current_a")
    off = [0.0] * 20
    samples = window(power_w=[*off, 9_000.0], voltage_v=[230.0] * 21, current_a=[*off, 0.0])

    assert found(profile, samples, "product")[0].holds
    assert found(profile, samples[-1:], "product")[0].holds is False


def test_parts_that_are_read_a_little_later_are_no_finding() -> None:
    profile = device("power_w", "power_l1_w", "power_l2_w", "power_l3_w")
    on, off = 9_000.0, 300.0
    total = [on if i % 2 else off for i in range(12)]
    parts = [value / 3 for value in [*total[1:], off]]
    samples = window(power_w=total, power_l1_w=parts, power_l2_w=parts, power_l3_w=parts)

    assert found(profile, samples, "sum_of_phases")[0].holds


def test_a_device_that_shows_only_zeros_is_not_the_device() -> None:
    profile = device("power_w", "energy_wh:uint32", "temperature_k:float32",
                     temperature_k={"offset": Decimal("273.15")})  # fmt: skip
    dead = {"power_w": 0, "energy_wh": 0, "temperature_k": 273.15}

    assert [v.rule for v in failures(profile, [Sample(0.0, dead)])] == ["alive"]
    assert failures(profile, [Sample(0.0, {**dead, "energy_wh": 17})]) == []
    assert [v.rule for v in failures(profile, [Sample(0.0, {})])] == ["alive"]
    assert failures(profile, []) == []


def test_an_inverter_gives_out_about_what_it_takes() -> None:
    profile = device("ac_power_w", "dc_power_w", "string_1_voltage_v", "string_1_current_a",
                     kind="pv_inverter")  # fmt: skip
    string = {"string_1_voltage_v": [600.0] * 3, "string_1_current_a": [5.0] * 3}

    def rules(ac: float, dc: float) -> set[str]:
        return {v.rule for v in failures(profile, window(ac_power_w=[ac] * 3, dc_power_w=[dc] * 3,
                                                         **string))}  # fmt: skip

    assert rules(9_700, 10_000) == set()
    assert rules(97_000, 10_000) == {"efficiency"}
    assert rules(970, 1_000) == {"string"}


def test_a_total_is_compared_with_the_voltages_and_currents_of_its_phases() -> None:
    kinds = (("voltage", "v"), ("current", "a"))
    phases = [f"{what}_l{i}_{unit}" for i in (1, 2, 3) for what, unit in kinds]
    profile = device("power_w", *phases)

    def of(total: float) -> bool | None:
        values = {name: [230.0 if "voltage" in name else 10.0] * 3 for name in phases}
        return found(profile, window(power_w=[total] * 3, **values), "product")[0].holds

    assert of(6_000)
    assert of(600) is False
    assert of(60_000) is False


def test_of_a_power_whose_sign_nobody_explains_either_way_may_be_counted() -> None:
    def of(power: float, wh_per_step: float) -> bool | None:
        return rate(counting(wh_per_step), [power] * 61, power_w={"direction": None}).holds

    assert of(36_000.0, 100)
    assert of(-36_000.0, 100)
    assert of(-36_000.0, 0) is None
    assert of(36_000.0, 1000) is False
    assert of(-36_000.0, 10) is False
