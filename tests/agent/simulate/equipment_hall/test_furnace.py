"""The synthetic furnace: it keeps its energy, is the same everywhere, and its truth is readable."""

import hashlib
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from joulemark_agent.settings import load_site
from joulemark_agent.simulate.equipment_hall import furnace as module
from joulemark_agent.simulate.equipment_hall.furnace import (
    BATCHES,
    NCV_J_PER_CM3,
    Furnace,
    simulate,
)

FIRST_US = 1_652_054_400_000_000
SITE = Path(__file__).parents[4] / "configs/sites/equipment-hall.yaml"


@pytest.fixture(scope="module")
def furnace() -> Furnace:
    return simulate(FIRST_US, 1)


def digest(run: Furnace) -> str:
    return hashlib.sha256(repr((run.states, run.batches)).encode()).hexdigest()[:16]


@pytest.mark.parametrize("seed", [1, 2, 77])
def test_every_joule_that_enters_leaves_or_is_stored(seed: int) -> None:
    balance = simulate(FIRST_US, seed).balance

    assert balance.in_j > 20e9
    assert balance.out_j == pytest.approx(balance.in_j, rel=1e-12)
    assert min(vars(balance).values()) > 0


def test_a_loss_that_is_not_booked_opens_the_balance(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: a door that loses heat into nothing is seen at once."""
    booked = module._Run.step

    def step(run: module._Run) -> None:
        door_j = run._door_j
        booked(run)
        run._door_j = door_j

    monkeypatch.setattr(module._Run, "step", step)
    balance = simulate(FIRST_US, 1).balance

    assert abs(balance.in_j - balance.out_j) / balance.in_j > 0.01


def test_the_counters_never_fall_and_are_whole(furnace: Furnace) -> None:
    for before, after in pairwise(furnace.states):
        assert after.gas_cm3 >= before.gas_cm3
        assert after.electricity_j > before.electricity_j
    assert all(isinstance(state.gas_cm3, int) for state in furnace.states)
    assert all(isinstance(state.electricity_j, int) for state in furnace.states)
    assert furnace.states[-1].gas_cm3 * NCV_J_PER_CM3 == furnace.balance.gas_j
    assert furnace.states[-1].electricity_j == furnace.balance.electricity_j


def test_one_seed_is_one_furnace_in_every_process_and_on_every_machine(furnace: Furnace) -> None:
    code = (
        "from joulemark_agent.simulate.equipment_hall.furnace import simulate; import hashlib;"
        f"run = simulate({FIRST_US}, 1);"
        "print(hashlib.sha256(repr((run.states, run.batches)).encode()).hexdigest()[:16])"
    )
    environment = {**os.environ, "PYTHONPATH": ":".join(sys.path), "PYTHONHASHSEED": "77"}
    other = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )

    assert digest(furnace) == "7512a96178b390de"
    assert other.stdout.strip() == digest(furnace)
    assert digest(simulate(FIRST_US, 2)) != digest(furnace)


def test_the_door_is_open_at_the_slots_the_truth_says_and_at_no_other(furnace: Furnace) -> None:
    slots = furnace.slots
    is_open = {
        slots.index(at_us)
        for batch in furnace.batches
        for opens, closes in ((batch.opens_us, batch.starts_us), (batch.leaves_us, batch.empty_us))
        for at_us in range(opens, closes, slots.period_us)
    }

    assert len(furnace.batches) == BATCHES
    assert {i for i, state in enumerate(furnace.states) if state.is_open} == is_open
    assert furnace.batches[-1].empty_us < slots.last_us


def test_a_batch_is_cold_at_first_soaks_at_its_set_point_and_burns_most_of_its_gas_heating(
    furnace: Furnace,
) -> None:
    for batch in furnace.batches:
        first, last = (furnace.slots.index(at) for at in (batch.starts_us, batch.leaves_us))
        inside = furnace.states[first:last]
        warm = next(
            i for i, s in enumerate(inside) if abs(s.temperature_dk - s.set_point_dk) <= 100
        )
        assert {s.set_point_dk for s in inside} == {round(10 * batch.set_point_k)}
        assert inside[0].temperature_dk < 8000
        assert 1.0 < warm * 30 / 3600 < 2.5  # hours
        assert all(abs(s.temperature_dk - s.set_point_dk) <= 150 for s in inside[warm:])
        heating = inside[warm].gas_cm3 - inside[0].gas_cm3
        assert heating > 0.6 * (inside[-1].gas_cm3 - inside[0].gas_cm3)


def test_no_gas_flows_while_the_door_is_open(furnace: Furnace) -> None:
    for before, after in pairwise(furnace.states):
        if before.is_open and after.is_open:
            assert after.gas_cm3 == before.gas_cm3


def test_the_site_file_counts_the_gas_as_the_simulation_burns_it() -> None:
    [device] = [one for one in load_site(SITE).devices if one.id == "furnace"]
    assert device.equipment is not None
    gas = device.equipment["gas"]

    assert float(gas["ncv_mj_per_m3"]) == NCV_J_PER_CM3
    assert (gas["basis"], gas["volume_reference"]) == ("net", "normal_0c_101325pa")
