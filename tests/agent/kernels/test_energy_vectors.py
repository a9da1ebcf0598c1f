"""The published figures of other programs, each by an adapter that converts its units exactly."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from joulemark_agent.kernels.reconcile import weighted_mean
from joulemark_agent.kernels.stream import BAD, INST, MEAN_RIGHT, Rule, named
from support.streams import FIRST_US, HOUR, MINUTE, QUARTER, fed, windows

FILE = Path(__file__).parents[2] / "data/vectors/energy_integration.json"
VECTORS = {one["id"]: one for one in json.loads(FILE.read_text("utf-8"))["vectors"]}


def fed_of(vector: dict[str, Any], power: str, scale: float = 1.0):
    """Its samples from a full hour on; null is a bad one."""
    given = vector["inputs"]
    values = [np.nan if one is None else one * scale for one in given[power]]
    block = fed([FIRST_US + minute * MINUTE for minute in given["t_min"]], values)
    block.q[np.isnan(block.x)] = BAD
    return block


def right_labelled(gap_us: int, length_us: int = QUARTER) -> Callable[[dict[str, Any]], None]:
    """Means of the time before; where the source has no number, there must be missing time."""

    def check(vector: dict[str, Any]) -> None:
        block = fed_of(vector, "P")
        rule = Rule(MEAN_RIGHT, gap_us, length_us)
        rows = windows([rule], block, end_us=int(block.t_us[-1]))
        parts = [
            (one["import_wh"] if one["covered_us"] else np.nan)
            for one in named(rows)
            for _ in range(round((one["end_us"] - one["start_us"]) / length_us))
        ]
        expected = [np.nan if one is None else one for one in vector["expected"]["Wh"]]
        assert parts == pytest.approx(expected, rel=vector["rel_tol"], nan_ok=True)

    return check


def covered_part(vector: dict[str, Any]) -> None:
    """Where the source gives up a window for one gap, we give its covered part and say how much.

    Of 45 minutes with one gap of 30: 15 are covered. The source says null for every window.
    """
    rule = Rule(MEAN_RIGHT, vector["inputs"]["max_gap_min"] * MINUTE, 30 * MINUTE)
    assert vector["expected"]["Wh"] == "all null"
    rows = named(windows([rule], fed_of(vector, "P"), end_us=FIRST_US + HOUR))
    assert rows["import_wh"].tolist() == pytest.approx([0.25, 0.0], rel=vector["rel_tol"])
    assert rows["covered_us"].tolist() == [QUARTER, 0]
    assert rows["missing_us"].tolist() == [QUARTER, 30 * MINUTE]


def trapezoids(vector: dict[str, Any]) -> None:
    block = fed_of(vector, "P_kW", 1e3)
    (row,) = named(windows([Rule(INST, HOUR, HOUR)], block, end_us=FIRST_US + HOUR))
    assert row["import_wh"] / 1e3 == pytest.approx(vector["expected"]["kWh"], rel=vector["rel_tol"])


def unavailable(vector: dict[str, Any]) -> None:
    block = fed_of(vector, "P_kW", 1e3)
    total_kwh = np.cumsum(named(windows([Rule(INST, HOUR, HOUR)], block))["import_wh"]) / 1e3
    for hours, expected in enumerate(vector["expected"]["kWh_at"]):
        if expected is not None:
            done = total_kwh[hours - 1]
            assert done == pytest.approx(expected, rel=vector["rel_tol"])


def weighted(vector: dict[str, Any]) -> None:
    given = vector["inputs"]
    mean = weighted_mean(np.array(given["value"]), np.array(given["insolation"], np.float64))
    assert mean == pytest.approx(vector["expected"]["mean"], rel=vector["rel_tol"])


CHECKS: dict[str, Callable[[dict[str, Any]], None]] = {
    "efp-right-1": right_labelled(QUARTER),
    "efp-gap-1": right_labelled(QUARTER),
    "efp-nan-1": right_labelled(QUARTER),
    "efp-gapmask-1": covered_part,
    "riemann-trap-1": trapezoids,
    "unavailable-1": unavailable,
    "agg-insol-1": weighted,
}


def test_every_vector_of_the_file_is_used():
    assert set(CHECKS) == set(VECTORS)


@pytest.mark.parametrize("name", VECTORS)
def test_vector(name):
    CHECKS[name](VECTORS[name])
