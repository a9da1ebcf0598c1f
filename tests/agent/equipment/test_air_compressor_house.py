import csv
import gzip
from datetime import UTC, datetime

import numpy as np
import pytest

from joulemark_agent.equipment.air_compressor import Parameters, analyse
from joulemark_agent.equipment.base import US_PER_S, Samples
from joulemark_agent.equipment.compressor_house import sequence
from support.analyses import value

HOURS = 4
SIZE = HOURS * 3600 + 1
SECOND = np.arange(SIZE)
BASE = np.full(SIZE, 160_000.0)
IDLE = np.full(SIZE, 30_000.0)
OFF = np.full(SIZE, 200.0)


def cycling(period_s: int, loaded_s: int, loaded_w=75_000.0, unloaded_w=25_000.0):
    return np.where(SECOND % period_s < loaded_s, loaded_w, unloaded_w)


def machine(power_w, **section):
    given = {"loaded_w": 75_000, "unloaded_w": 25_000, "rated_power_w": 80_000} | section
    samples = Samples(SECOND * US_PER_S, {"power_w": np.asarray(power_w)}, 3 * US_PER_S)
    return analyse(Parameters.model_validate(given), samples)


def test_a_machine_that_idles_beside_a_trim_could_be_off():
    found = sequence({
        "A": machine(BASE, loaded_w=160_000, unloaded_w=40_000, rated_power_w=160_000),
        "B": machine(cycling(120, 60)),
        "C": machine(IDLE),
        "D": machine(OFF),
    })  # fmt: skip
    roles = {name: f"{name}_{role}_s" for name, role in
             (("a", "base"), ("b", "trim"), ("c", "idle"), ("d", "off"))}  # fmt: skip
    for name in roles.values():
        assert value(found, name) == HOURS * 3600
    assert value(found, "sequencing_saving_wh") == pytest.approx(30_000 * HOURS, rel=1e-6)
    assert value(found, "unloaded_beside_trim_s") == HOURS * 3600
    assert value(found, "running_mean_count") == pytest.approx(3)
    (span,) = found.spans_of("C:idle")
    assert span.end_us - span.start_us == HOURS * 3600 * US_PER_S


def test_two_that_cycle_at_a_third_each_could_be_one():
    found = sequence({"one": machine(cycling(90, 30)), "two": machine(cycling(300, 100))})
    unloaded_wh = 25_000 * HOURS * 2 / 3
    assert value(found, "sequencing_saving_wh") == pytest.approx(unloaded_wh, rel=0.02)
    assert value(found, "one_trim_s") == HOURS * 3600, "it loads more often"


def test_two_that_cycle_at_two_thirds_each_are_both_needed():
    found = sequence({"one": machine(cycling(90, 60)), "two": machine(cycling(300, 200))})
    assert value(found, "sequencing_saving_wh") == 0.0
    assert value(found, "unloaded_beside_trim_s") == pytest.approx(HOURS * 1200, rel=0.02)


def test_the_only_machine_that_can_trim_is_never_spare():
    base = machine(BASE, loaded_w=160_000, unloaded_w=40_000, rated_power_w=160_000)
    found = sequence({"A": base, "B": machine(IDLE)})
    assert value(found, "sequencing_saving_wh") == 0.0


def test_one_machine_has_no_sequence():
    found = sequence({"A": machine(BASE)})
    assert found.figure("sequencing_saving_wh").value is None
    assert "two machines" in found.figure("sequencing_saving_wh").why


def test_time_in_which_a_machine_is_not_known_is_left_out():
    power = cycling(120, 60)
    power[: SIZE // 2] = np.nan
    found = sequence({"A": machine(cycling(90, 30)), "B": machine(power)})
    assert found.figure("running_mean_count").covered_ratio == pytest.approx(1.0, abs=0.13)
    assert value(found, "a_trim_s") + value(found, "a_cycling_s") < HOURS * 3600


def test_the_order_of_machines_does_not_matter():
    machines = {"A": machine(cycling(120, 60)), "B": machine(IDLE), "C": machine(cycling(200, 20))}
    turned = dict(reversed(machines.items()))
    one, other = sequence(machines), sequence(turned)
    assert {f.name: f.value for f in one.figures} == {f.name: f.value for f in other.figures}


def test_a_recorded_house_has_its_base_loads(plant_data):
    """Of four compressors in one house two are base loads all week: nothing is claimed of them."""
    path = plant_data / "compressor_house_8x_1min/data-explorer-example_0501-0508.csv.gz"
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    stamps = [datetime.strptime(row["DateTime"], "%m/%d/%Y %H:%M").replace(tzinfo=UTC)
              for row in rows]  # fmt: skip
    t_us = np.array([round(stamp.timestamp()) for stamp in stamps]) * US_PER_S
    machines = {}
    for name in ("A1 ", "C 1"):
        column = [float(row[f"Compressor {name}(kW)"] or "nan") * 1000 for row in rows]
        samples = Samples(t_us, {"power_w": np.array(column)}, 177 * US_PER_S)
        machines[name.replace(" ", "")] = analyse(Parameters(), samples)
    found = sequence(machines)
    assert value(found, "sequencing_saving_wh") == 0.0
    length_s = float(t_us[-1] - t_us[0]) / US_PER_S
    assert value(found, "c1_base_s") == pytest.approx(length_s, rel=0.02)
