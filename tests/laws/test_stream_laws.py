import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulemark_agent.kernels.stream import HOLD, INST, MEAN_RIGHT, NONE, Rule, named
from support.streams import FIRST_US, MINUTE, Fed, S, fed, windows

KINDS = (INST, MEAN_RIGHT, HOLD)
COARSE, FINE = 12 * MINUTE, 3 * MINUTE


@st.composite
def streams(draw):
    """Samples of three points, one of each kind: uneven, with gaps, of both signs, some bad."""
    power = st.floats(-1e6, 1e6, allow_subnormal=False) | st.just(0.0) | st.just(np.nan)
    quality = st.sampled_from([0, 0, 0, 0, 1, 2, NONE])
    rows = st.tuples(st.integers(1, 200), power, quality, st.integers(0, 15))
    steps, values, qualities, ends = zip(
        *draw(st.lists(rows, min_size=2, max_size=20)), strict=True
    )
    block = fed(FIRST_US + 250_000 + np.cumsum(steps) * S, values, values, values)
    q = np.repeat(np.array(qualities, np.uint8)[:, None], 3, axis=1)
    return Fed(block.t_us, block.x, q, np.array(ends) == 0)


def rules(length_us=COARSE, bridged_us=0):
    return [Rule(kind, 150 * S, length_us, 0, bridged_us) for kind in KINDS]


def end_us(block: Fed) -> int:
    return int(block.t_us[-1]) // COARSE * COARSE + 2 * COARSE


@given(streams(), st.sampled_from([0, 180 * S]))
def test_the_parts_of_a_window_add_up_to_it(block, bridged_us):
    coarse = named(windows(rules(COARSE, bridged_us), block, end_us=end_us(block)))
    fine = named(windows(rules(FINE, bridged_us), block, end_us=end_us(block)))
    for point in range(3):
        whole, parts = coarse[coarse["point"] == point], fine[fine["point"] == point]
        for name in ("import_wh", "export_wh", "covered_us", "estimated_us", "samples"):
            # the coarse first window begins earlier, and only its missing time is more
            inside = np.searchsorted(whole["end_us"], parts["end_us"], side="left")
            summed = np.zeros(whole.size)
            np.add.at(summed, inside, parts[name])
            assert summed.tolist() == pytest.approx(whole[name].tolist(), rel=1e-12, abs=1e-12)


@given(streams(), st.data())
def test_the_windows_do_not_depend_on_where_the_samples_are_cut(block, data):
    cuts = sorted(data.draw(st.sets(st.integers(1, block.t_us.size - 1), max_size=6)))
    whole = windows(rules(), block, end_us=end_us(block))
    assert windows(rules(), block, cuts, end_us=end_us(block)).tobytes() == whole.tobytes()


@given(streams(), st.floats(1e-3, 1e3))
def test_energy_is_linear_in_power_and_turned_round_import_is_export(block, factor):
    turned = Fed(block.t_us, block.x * -factor, block.q, block.cut)
    one = named(windows(rules(), block, end_us=end_us(block)))
    other = named(windows(rules(), turned, end_us=end_us(block)))
    for name, back in (("import_wh", "export_wh"), ("export_wh", "import_wh")):
        assert other[back].tolist() == pytest.approx((one[name] * factor).tolist(), rel=1e-12)
    lows = pytest.approx((-factor * one["low"]).tolist(), rel=1e-12, nan_ok=True)
    assert other["high"].tolist() == lows


@given(streams())
def test_windows_account_for_all_time_and_the_mean_lies_between_the_extremes(block):
    rows = named(windows(rules(), block, end_us=end_us(block)))
    known_us = rows["covered_us"] + rows["estimated_us"]
    assert (known_us + rows["missing_us"]).tolist() == (rows["end_us"] - rows["start_us"]).tolist()
    some = rows[known_us > 0]
    slack = 1e-9 * np.maximum(np.abs(some["low"]), np.abs(some["high"]))
    assert np.all((some["low"] - slack <= some["mean"]) & (some["mean"] <= some["high"] + slack))
    assert np.isnan(rows["mean"][known_us == 0]).all()
    assert not rows["import_wh"][known_us == 0].any()
