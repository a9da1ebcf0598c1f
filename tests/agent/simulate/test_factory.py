"""Register contents over the year, decoded as the agent decodes them."""

import csv
import gzip
import io
from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from importlib import resources

import numpy as np
import pytest

import joulemark_profiles
from joulemark_agent.contract.document import parse_yaml, validate
from joulemark_agent.contract.errors import ConfigError
from joulemark_agent.contract.profile import Profile
from joulemark_agent.contract.reading import Response
from joulemark_agent.kernels.decode import decode_responses
from joulemark_agent.simulate.factory import UNITS, Factory, build_factory
from joulemark_agent.simulate.run import factory_of, load_recording
from joulemark_agent.simulate.scenario import Reduction, Scenario, load_scenario

HOLE = 310 * 96 + 96  # the slot 2018-11-08 00:00, at which the hole ends
METER, COUNTER = 1, 2


def profile(unit: int) -> Profile:
    name = UNITS[unit]
    return validate(
        Profile, parse_yaml(joulemark_profiles.text("devices", name), name, is_shipped=True)
    )


PROFILES = {UNITS[unit]: profile(unit) for unit in UNITS}
WORDS = {METER: 15, COUNTER: 4}


def factory(scenario: str) -> Factory:
    return factory_of(load_scenario(scenario))


def values_at(source: Factory, unit: int, slot: int) -> dict[str, Decimal]:
    """The values of one unit, by the agent's own decoder."""
    data = source.units[unit]["holding"].read(slot, 0, WORDS[unit])
    assert data is not None
    values, quality = decode_responses(PROFILES[UNITS[unit]], [Response("holding", 0, data)])
    assert quality == {}
    return {name: Decimal(text) for name, text in values.items()}


def rows() -> Iterator[tuple[datetime, Decimal]]:
    """Local start and kWh of every interval, read without the code under test."""
    folder = resources.files("joulemark_agent.simulate").joinpath("recordings")
    packed = folder.joinpath("steel_gwangyang_2018.csv.gz").read_bytes()
    for row in csv.DictReader(io.StringIO(gzip.decompress(packed).decode())):
        start = datetime.fromisoformat(row["end_local"]) - timedelta(minutes=15)
        yield start, Decimal(row["usage_kwh"])


def injected_kwh() -> list[Decimal]:
    """What the retrofit takes away in each interval, by the words of the scenario."""
    return [
        kwh * Decimal("0.08") if start >= datetime(2018, 7, 1) and 8 <= start.hour < 20 else 0 * kwh  # noqa: DTZ001 - local time throughout
        for start, kwh in rows()
    ]


def test_the_register_difference_of_the_unchanged_year_is_959_636_710_wh() -> None:
    source = factory("unchanged")
    first, last = values_at(source, METER, 0), values_at(source, METER, 35_040)

    assert source.slots == 35_041
    assert first["energy_wh"] == 41_235_000_000
    assert last["energy_wh"] - first["energy_wh"] == 959_636_710
    assert last["reactive_lagging_varh"] - first["reactive_lagging_varh"] == 456_759_840
    assert last["reactive_leading_varh"] - first["reactive_leading_varh"] == 135_638_040


def test_the_retrofit_takes_the_injected_kwh_and_no_other() -> None:
    injected = sum(injected_kwh(), Decimal(0))
    unchanged, retrofit = factory("unchanged"), factory("retrofit")
    saved_wh = (
        values_at(unchanged, METER, 35_040)["energy_wh"]
        - values_at(retrofit, METER, 35_040)["energy_wh"]
    )

    assert injected.quantize(Decimal("0.01")) == Decimal("30862.12")
    assert abs(saved_wh - injected * 1000) <= Decimal("0.5")


def test_every_energy_register_is_the_exact_sum_rounded_half_even_when_served() -> None:
    source = factory("retrofit")
    exact = Decimal(41_235_000_000)
    for slot, ((_, kwh), less) in enumerate(zip(rows(), injected_kwh(), strict=True), start=1):
        exact += (kwh - less) * 1000
        data = source.units[METER]["holding"].read(slot, 0, 4)
        assert data is not None
        assert int.from_bytes(data, "big") == exact.quantize(Decimal(1), ROUND_HALF_EVEN)


def test_rounding_each_step_instead_would_lose_the_total() -> None:
    """The control: rounded steps do not add up to what the registers say."""
    steps_wh = [(kwh - less) * 1000 for (_, kwh), less in zip(rows(), injected_kwh(), strict=True)]
    rounded = sum((step.quantize(Decimal(1), ROUND_HALF_EVEN) for step in steps_wh), Decimal(0))
    source = factory("retrofit")
    served = values_at(source, METER, 35_040)["energy_wh"] - 41_235_000_000

    assert abs(served - sum(steps_wh)) <= Decimal("0.5")
    assert abs(rounded - sum(steps_wh)) > 1


@pytest.mark.parametrize("name", ["unchanged", "retrofit"])
def test_the_hole_is_a_slot_that_answers_without_a_step_and_its_neighbours_have_one(
    name: str,
) -> None:
    source = factory(name)
    before, at, after = (values_at(source, METER, HOLE + i) for i in (-1, 0, 1))

    assert at["power_w"] == 0
    assert at["power_factor_ratio"] == 0
    counters = ("energy_wh", "reactive_lagging_varh", "reactive_leading_varh")
    assert [at[c] - before[c] for c in counters] == [0, 0, 0]
    assert after["energy_wh"] > at["energy_wh"]
    assert before["energy_wh"] > values_at(source, METER, HOLE - 2)["energy_wh"]
    assert before["power_w"] > 0
    assert after["power_w"] > 0


def test_the_hole_is_the_only_slot_of_the_year_in_which_the_rule_sees_nothing() -> None:
    words = np.frombuffer(factory("unchanged").units[METER]["holding"].data, ">u2").reshape(-1, 15)
    is_still = np.append(False, (np.diff(words[:, [*range(4), *range(7, 15)]], axis=0) == 0).all(1))

    assert np.flatnonzero(is_still & (words[:, 6] == 0)).tolist() == [HOLE]


def test_the_power_of_a_slot_is_four_times_the_kwh_of_the_interval_that_ends_there() -> None:
    unchanged, retrofit = factory("unchanged"), factory("retrofit")
    kept = [kwh - less for (_, kwh), less in zip(rows(), injected_kwh(), strict=True)]
    for slot, (_, kwh) in enumerate(rows(), start=1):
        assert values_at(unchanged, METER, slot)["power_w"] == 4000 * kwh
        data = retrofit.units[METER]["holding"].read(slot, 4, 2)
        assert data == np.array(4 * float(kept[slot - 1]), ">f4").tobytes()
    assert values_at(unchanged, METER, 0)["power_w"] == 0


def test_the_peak_is_628_72_kw_in_the_interval_ending_2018_11_22_09_45() -> None:
    slot = 325 * 96 + 39

    assert values_at(factory("unchanged"), METER, slot)["power_w"] == 628_720


def test_a_leading_power_factor_is_negative_and_belongs_to_the_larger_reactive_energy() -> None:
    recording = load_recording("steel_gwangyang_2018")
    words = np.frombuffer(factory("unchanged").units[METER]["holding"].data, ">i2").reshape(-1, 15)
    served = words[1:, 6]
    is_leading = recording.leading_10varh > recording.lagging_10varh

    assert is_leading.sum() == 8561
    assert (served[is_leading] == -recording.leading_pf_1e4[is_leading]).all()
    assert (served[~is_leading] == recording.lagging_pf_1e4[~is_leading]).all()
    assert words[0, 6] == 0
    assert values_at(factory("unchanged"), METER, 1)["power_factor_ratio"] == Decimal("0.7321")


def test_the_retrofit_changes_energy_and_power_and_nothing_else() -> None:
    a, b = (
        np.frombuffer(factory(name).units[METER]["holding"].data, ">u2").reshape(-1, 15)
        for name in ("unchanged", "retrofit")
    )
    july = 181 * 96 + 1

    assert (a[:, 6:] == b[:, 6:]).all()
    assert (a[:july] == b[:july]).all()
    assert (a[july:, :6] != b[july:, :6]).any()


def test_the_production_counter_is_the_same_in_both_scenarios_and_has_the_decided_total() -> None:
    unchanged, retrofit = factory("unchanged"), factory("retrofit")
    first = values_at(unchanged, COUNTER, 0)["production_kg"]

    assert unchanged.units[COUNTER]["holding"].data == retrofit.units[COUNTER]["holding"].data
    assert first == 3_512_400_000
    assert values_at(unchanged, COUNTER, 35_040)["production_kg"] - first == 88_120_149
    assert PROFILES[UNITS[COUNTER]].synthetic


def test_a_register_moved_in_the_profile_moves_in_the_factory() -> None:
    recording, scenario = load_recording("steel_gwangyang_2018"), load_scenario("retrofit")
    meter = PROFILES[UNITS[METER]]
    moved = tuple(
        point.model_copy(update={"table": "input", "address": 500, "word_order": "little"})
        if point.name == "energy_wh"
        else point
        for point in meter.points
    )
    profiles = PROFILES | {UNITS[METER]: meter.model_copy(update={"points": moved})}

    source = build_factory(scenario, recording, profiles)

    data = source.units[METER]["input"].read(0, 500, 4)
    assert data is not None
    words = np.frombuffer(data, ">u2")[::-1]
    assert int.from_bytes(words.tobytes(), "big") == 41_235_000_000
    assert source.units[METER]["holding"].read(0, 0, 4) is None


def test_reductions_that_overlap_add_up_and_may_not_exceed_the_energy() -> None:
    scenario = load_scenario("retrofit")
    night = {"from": "2018-12-31", "start_local": "00:00", "end_local": "24:00"}

    def with_shares(*shares: str) -> Scenario:
        found = tuple(Reduction.model_validate(night | {"share": share}) for share in shares)
        return scenario.model_copy(update={"reductions": found})

    recording = load_recording("steel_gwangyang_2018")
    halved = build_factory(with_shares("0.25", "0.25"), recording, PROFILES)
    last_day = int(recording.energy_10wh[-96:].sum())
    step = (
        values_at(halved, METER, 35_040)["energy_wh"]
        - values_at(halved, METER, 34_944)["energy_wh"]
    )
    assert step == last_day * 5
    with pytest.raises(ConfigError, match="add up to more"):
        build_factory(with_shares("0.75", "0.5"), recording, PROFILES)


def test_a_value_that_its_register_cannot_hold_is_refused_by_name() -> None:
    meter = PROFILES[UNITS[METER]]
    narrow = tuple(
        point.model_copy(update={"type": "uint16"}) if point.name == "energy_wh" else point
        for point in meter.points
    )
    profiles = PROFILES | {UNITS[METER]: meter.model_copy(update={"points": narrow})}

    with pytest.raises(ConfigError, match="energy_wh reaches"):
        build_factory(load_scenario("unchanged"), load_recording("steel_gwangyang_2018"), profiles)
