"""Where the heat of a furnace went, against furnaces whose losses are known."""

import numpy as np
import pytest

from joulemark_agent.equipment.base import Samples
from joulemark_agent.equipment.furnace import Parameters, analyse
from joulemark_agent.equipment.furnace_balance import NAMES
from joulemark_agent.physics.combustion import flue_oxygen, stoichiometry
from joulemark_agent.physics.fuel_gas import composition
from joulemark_agent.simulate.equipment_hall.furnace import NCV_J_PER_CM3, simulate
from nightly import furnace_balance, furnace_batches, furnace_hostile

US_PER_S = 1_000_000
EXACT = {name: np.ones(1) for name in furnace_balance.UNCERTAIN}


def figures(of):
    return {figure.name: figure for figure in of.figures}


@pytest.fixture(scope="module")
def known() -> Samples:
    """The samples of a furnace that is as it is declared."""
    return next(furnace_balance.furnaces(np.random.default_rng(5), EXACT, np.zeros(1)))


@pytest.fixture(scope="module")
def found(known):
    return analyse(furnace_balance.declared(), known)


def test_the_balance_closes_within_its_own_uncertainty():
    furnace_balance.run(1, full=False)


def test_batches_are_found_in_noise_with_readings_missing():
    furnace_batches.run(1, full=False)


def test_samples_that_no_furnace_shows_are_refused_with_a_reason():
    furnace_hostile.run(1, full=False)


def test_every_loss_of_a_batch_is_told_with_its_uncertainty(found):
    *batches, last = found.spans_of("batch")
    for told in map(figures, batches):
        for name in (*NAMES, "unexplained_wh", "closure_ratio", "useful_ratio"):
            assert told[name].value is not None, told[name].why
            assert told[name].standard_uncertainty > 0
            assert told[name].degrees_of_freedom is not None
    assert figures(last)["opening_loss_wh"].value == 0, "it ends as the door opens"


def test_losses_and_what_is_left_add_up_to_the_energy(found):
    for of in (found, *found.spans_of("batch")):
        told = figures(of)
        if "closure_ratio" in told:
            parts_wh = sum(told[name].value for name in (*NAMES, "unexplained_wh"))
            energy_wh = told["total_wh"].value
            if of is not found:
                assert parts_wh == pytest.approx(energy_wh, rel=1e-9)
                assert told["closure_ratio"].value == pytest.approx(
                    told["unexplained_wh"].value / energy_wh
                )


def test_the_losses_of_the_batches_add_up_to_those_of_all(found):
    batches = [figures(batch) for batch in found.spans_of("batch")]
    for name in NAMES:
        parts = sum(batch[name].value for batch in batches)
        assert figures(found)[name].value == pytest.approx(parts, rel=1e-9)


def test_a_loss_that_is_left_out_is_left_over(known, found):
    section = furnace_balance.declared().model_dump(exclude_none=True)
    section["losses"]["cooling"] = ()
    less = analyse(Parameters.model_validate(section), known)
    left_wh = figures(less)["unexplained_wh"].value - figures(found)["unexplained_wh"].value
    assert left_wh == pytest.approx(figures(found)["cooling_loss_wh"].value)
    assert "cooling_loss_wh" not in figures(less)


@pytest.mark.parametrize(
    ("without", "says"),
    [("metering", "How sure the meters are"), ("uncertainty_ratio", "How sure")],
)
def test_a_balance_of_meters_of_unknown_worth_is_refused(known, without, says):
    section = furnace_balance.declared().model_dump(exclude_none=True)
    section.pop("metering") if without == "metering" else section["gas"].pop(without)
    told = figures(analyse(Parameters.model_validate(section), known))
    assert told["closure_ratio"].value is None
    assert says in told["closure_ratio"].why
    assert told["wall_loss_wh"].value is not None


def test_a_loss_whose_point_is_not_read_leaves_no_closure(known):
    values = {name: column for name, column in known.values.items() if name != "wall_k"}
    found = analyse(furnace_balance.declared(), Samples(known.t_us, values, known.max_gap_us))
    told = figures(found)
    assert told["wall_loss_wh"].value is None
    assert told["closure_ratio"].value is None
    assert "wall 0" in told["closure_ratio"].why
    assert told["cooling_loss_wh"].value is not None


def test_readings_that_lack_are_taken_as_the_rest_and_said_to_be_estimated(known, found):
    lost = np.random.default_rng(3).random(known.t_us.size) < 0.02
    lost[:100] = False
    values = {name: np.where(lost, np.nan, column) for name, column in known.values.items()}
    torn = analyse(furnace_balance.declared(), Samples(known.t_us, values, known.max_gap_us))
    for name in ("wall_loss_wh", "flue_loss_wh", "charge_heat_wh"):
        assert figures(torn)[name].value == pytest.approx(figures(found)[name].value, rel=0.02)
    assert "estimated" in figures(torn)["wall_loss_wh"].flags
    assert figures(found)["wall_loss_wh"].flags == ()


def test_what_rests_on_a_declared_number_says_so(found):
    flags = {name: figures(found)[name].flags for name in NAMES}
    assert flags["auxiliary_wh"] == flags["atmosphere_loss_wh"] == ("declared",)
    assert flags["cooling_loss_wh"] == flags["opening_loss_wh"] == ()
    assert figures(found)["closure_ratio"].flags == ("declared",)


def test_an_electric_furnace_is_balanced_without_gas(known):
    section = furnace_balance.declared().model_dump(exclude_none=True)
    for name in ("gas", "flue"):
        section.pop(name)
    section["losses"].pop("flue_uncertainty_ratio")
    told = figures(analyse(Parameters.model_validate(section), known))
    assert told["closure_ratio"].value < 0, "its fan alone cannot have heated it"
    assert told["closure_ratio"].standard_uncertainty > 0


def test_energy_per_mass_is_as_sure_as_meters_and_scale(known):
    section = furnace_balance.declared().model_dump(exclude_none=True)
    without = figures(analyse(Parameters.model_validate(section), known))
    assert without["specific_energy_wh_kg"].standard_uncertainty is None
    assert without["per_batch_wh"].standard_uncertainty is not None
    section["mass_uncertainty_ratio"] = 0.01
    told = figures(analyse(Parameters.model_validate(section), known))
    specific, batch = told["specific_energy_wh_kg"], told["per_batch_wh"]
    assert (specific.standard_uncertainty / specific.value) ** 2 == pytest.approx(
        (batch.standard_uncertainty / batch.value) ** 2 + 0.01**2
    )


def test_without_losses_nothing_of_a_balance_is_told(known):
    section = furnace_balance.declared().model_dump(exclude_none=True)
    section.pop("losses")
    told = figures(analyse(Parameters.model_validate(section), known))
    assert "closure_ratio" not in told
    assert told["specific_energy_wh_kg"].value == pytest.approx(
        told["per_batch_wh"].value * 3 / (2010 + 2020 + 2030)
    )


def test_the_virtual_furnace_loses_what_its_own_balance_says():
    """Another simulation, with its own physics: every loss within its declared uncertainty."""
    run = simulate(1_652_054_400 * US_PER_S, 7)
    states = run.states
    methane = stoichiometry(composition({"CH4": 1.0}))
    mass_kg = np.zeros(len(states))
    t_us = np.array(list(run.slots.all_us()))
    for batch in run.batches:
        mass_kg[(t_us >= batch.starts_us) & (t_us < batch.leaves_us)] = batch.charge_kg
    columns = {
        "temperature_k": np.array([s.temperature_dk / 10 for s in states]),
        "set_point_k": np.array([s.set_point_dk / 10 for s in states]),
        "door_state": np.array([float(s.is_open) for s in states]),
        "energy_wh": np.array([float(s.electricity_j // 3600) for s in states]),
        "gas_dm3": np.array([float(s.gas_cm3 // 1000) for s in states]),
        "flue_oxygen_ratio": np.array(
            [flue_oxygen(methane, 0.1, "wet") if s.output else 0.209 for s in states]
        ),
        "charge_kg": mass_kg,
    }
    section = Parameters.model_validate({
        "metering": {"limit_ratio": 0.01},
        "gas": {
            "point": "gas_dm3", "ncv_mj_per_m3": NCV_J_PER_CM3, "basis": "net",
            "volume_reference": "normal_0c_101325pa", "source": "the simulation itself",
            "uncertainty_ratio": 0.01,
        },
        "mass": "charge_kg",
        "flue": {"o2_basis": "wet", "fuel": "natural_gas"},
        "losses": {
            "charge": {"heat_capacity_j_kg_k": 650, "in_k": 293.15, "uncertainty_ratio": 0.03},
            "openings": [{"width_m": 1.2, "height_m": 1.0, "thickness_m": 0.4,
                          "uncertainty_ratio": 0.2}],
            "flue_uncertainty_ratio": 0.1,
            "stored": [
                {"heat_capacity_j_k": 250_000, "uncertainty_ratio": 0.1},
                {"heat_capacity_j_k": 1e6, "share": 0.5, "time_constant_s": 8333,
                 "uncertainty_ratio": 0.1},
            ],
        },
    })  # fmt: skip
    found = figures(analyse(section, Samples(t_us, columns, 45 * US_PER_S)))
    wh = 1 / 3600
    assert found["charge_heat_wh"].value == pytest.approx(run.balance.charges_j * wh, rel=0.03)
    assert found["flue_loss_wh"].value == pytest.approx(run.balance.flue_j * wh, rel=0.1)
    # The walls were not declared: what is left over is theirs.
    walls_wh = (run.balance.wall_j + run.balance.auxiliary_j) * wh
    left = found["unexplained_wh"]
    assert abs(left.value - walls_wh) <= 2 * left.standard_uncertainty + 0.15 * walls_wh
    assert "estimated" in found["flue_loss_wh"].flags


def test_what_is_stored_is_unknown_where_a_batch_ends_unread(known, found):
    end_us = found.spans_of("batch")[0].end_us
    kelvin = known.values["temperature_k"]
    is_near = np.abs(known.t_us - end_us) <= 2 * known.max_gap_us
    values = {**known.values, "temperature_k": np.where(is_near, np.nan, kelvin)}
    torn = analyse(furnace_balance.declared(), Samples(known.t_us, values, known.max_gap_us))
    told = figures(torn.spans_of("batch")[0])
    assert told["stored_wh"].value is None
    assert told["closure_ratio"].value is None
    assert "begins or ends" in told["stored_wh"].why
