"""Scenario files: the shipped ones, and what is refused."""

from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from joulemark_agent.contract.errors import ConfigError
from joulemark_agent.simulate.scenario import (
    HallScenario,
    load_any_scenario,
    load_scenario,
    shipped,
)

TEXT = """\
scenario: mine
about: a scenario of a test
recording: steel_gwangyang_2018
opening: {energy_wh: 1, reactive_lagging_varh: 2, reactive_leading_varh: 3, production_kg: 4}
production:
  synthetic: true
  base_kwh_per_h: 9
  energy_kwh_per_t: 10
  noise: {rho: 0.4, sd_share: 0.064, seed: 1}
reductions:
  - {from: 2018-07-01, share: 0.08, start_local: "08:00", end_local: "20:00"}
"""


def test_two_scenarios_of_the_works_are_shipped_and_differ_in_nothing_but_the_reduction() -> None:
    assert shipped() == ["equipment_hall", "faults", "retrofit", "unchanged"]
    unchanged, retrofit = load_scenario("unchanged"), load_scenario("retrofit")

    assert unchanged.reductions == ()
    (reduction,) = retrofit.reductions
    assert reduction.first_day == date(2018, 7, 1)
    assert reduction.share == Decimal("0.08")
    assert (reduction.start_local, reduction.end_local) == (8 * 60, 20 * 60)
    same = {"scenario", "about", "reductions"}
    assert unchanged.model_dump(exclude=same) == retrofit.model_dump(exclude=same)


def test_the_shipped_scenarios_have_the_decided_noise_and_counters_that_do_not_start_at_zero() -> (
    None
):
    scenario = load_scenario("unchanged")
    noise = scenario.production.noise

    assert (noise.rho, noise.sd_share, noise.seed) == (Decimal("0.4"), Decimal("0.064"), 1)
    assert scenario.production.base_kwh_per_h == 9
    assert scenario.production.energy_kwh_per_t == 10
    assert min(scenario.opening.model_dump().values()) > 0
    assert "synthetic" in scenario.about


def test_a_file_of_ones_own_is_read_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(TEXT)

    assert load_scenario(str(path)).opening.production_kg == 4


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("synthetic: true", "synthetic: false", r"mine.yaml:6: production.synthetic"),
        ("share: 0.08", "share: 1.5", r"mine.yaml:11: reductions.0.share"),
        ("share: 0.08", "share: 0.08001", r"mine.yaml:11: reductions.0.share"),
        ('"08:00"', '"08:10"', r"mine.yaml:11: reductions.0.start_local"),
        ('"20:00"', '"24:15"', r"mine.yaml:11: reductions.0.end_local"),
        ('"20:00"', '"08:00"', "start_local must be before end_local"),
        ("rho: 0.4", "rho: 1", r"mine.yaml:9: production.noise.rho"),
        ("seed: 1", "seed: -1", r"mine.yaml:9: production.noise.seed"),
        ("energy_wh: 1", "energy_wh: 10000000000001", r"mine.yaml:4: opening.energy_wh"),
        ("energy_kwh_per_t: 10", "energy_kwh_per_t: 0", r"mine.yaml:8"),
        ("recording: steel_gwangyang_2018", "recording: /etc/passwd", r"mine.yaml:3: recording"),
        ("about:", "abut:", r"mine.yaml:2: abut"),
    ],
)
def test_a_mistake_is_named_with_its_line(tmp_path: Path, old: str, new: str, why: str) -> None:
    assert old in TEXT
    path = tmp_path / "mine.yaml"
    path.write_text(TEXT.replace(old, new, 1))

    with pytest.raises(ConfigError, match=why):
        load_scenario(str(path))


def test_a_name_that_is_neither_shipped_nor_a_file_is_answered_with_the_shipped_names() -> None:
    with pytest.raises(ConfigError, match="retrofit, unchanged"):
        load_scenario("retrofitt")


def test_a_file_without_end_is_refused_before_it_fills_the_memory() -> None:
    with pytest.raises(ConfigError, match="longer than"):
        load_scenario("/dev/zero")


HALL_TEXT = """\
scenario: my_hall
kind: equipment_hall
about: the hall of a test
inverter: {opening_wh: 1}
furnace:
  synthetic: true
  seed: 1
  first_slot: "2022-05-09T00:00:00Z"
  opening: {gas_dm3: 1, energy_wh: 2}
"""


def test_the_shipped_hall_says_that_its_furnace_is_synthetic_and_opens_above_0() -> None:
    scenario = load_any_scenario("equipment_hall")

    assert isinstance(scenario, HallScenario)
    assert "synthetic" in scenario.about
    assert scenario.furnace.synthetic
    assert scenario.furnace.first_slot_us == 1_652_054_400_000_000
    opening = scenario.furnace.opening
    assert min(scenario.inverter.opening_wh, opening.gas_dm3, opening.energy_wh) > 0


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("opening_wh: 1", "opening_wh: 0", r"mine.yaml:4: inverter.opening_wh"),
        ("synthetic: true", "synthetic: false", r"mine.yaml:6: furnace.synthetic"),
        ("00:00:00Z", "00:00:10Z", "multiple of 30 s"),
        ("00:00:00Z", "00:00:00", r"mine.yaml:8: furnace.first_slot"),
        ("seed: 1", "sed: 1", r"mine.yaml:7: furnace.sed"),
        ("kind: equipment_hall", "kind: another_hall", r"mine.yaml:2: kind"),
    ],
)
def test_a_mistake_in_a_hall_is_named_with_its_line(
    tmp_path: Path, old: str, new: str, why: str
) -> None:
    assert old in HALL_TEXT
    path = tmp_path / "mine.yaml"
    path.write_text(HALL_TEXT.replace(old, new, 1))

    with pytest.raises(ConfigError, match=why):
        load_any_scenario(str(path))


def test_a_hall_is_no_scenario_of_the_works() -> None:
    with pytest.raises(ConfigError, match="is of kind 'equipment_hall', not of the works"):
        load_scenario("equipment_hall")
