from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from joulemark_agent.kernels.stream import (
    BAD,
    HOLD,
    INST,
    IS_CUT,
    IS_SUSPECT,
    MEAN_RIGHT,
    NONE,
    SUSPECT,
    Rule,
    begun,
    max_gap_us,
    named,
    rules_of,
    step_many,
)
from support.naive_energy import left_rectangles_wh, right_rectangles_wh
from support.streams import FIRST_US, HOUR, MINUTE, QUARTER, Fed, S, fed, troubled, windows

EVERY_S = Rule(INST, 3 * S, QUARTER)
HALF_HOURLY = Rule(INST, HOUR, HOUR)


def seconds(count: int, value: float) -> Fed:
    """One good sample a second."""
    return fed(FIRST_US + np.arange(count) * S, np.full(count, value))


@pytest.mark.parametrize(
    ("kind", "wh"), [(INST, [1.5, 2.5]), (MEAN_RIGHT, [2.0, 3.0]), (HOLD, [1.0, 2.0])]
)
def test_a_value_counts_as_its_point_says(kind, wh):
    rows = named(windows([Rule(kind, HOUR, HOUR)], fed(FIRST_US + np.arange(3) * HOUR, [1, 2, 3])))
    assert rows["import_wh"].tolist() == wh
    assert rows["mean"].tolist() == wh


def test_a_step_is_cut_at_the_edge_and_the_edge_is_the_right_windows():
    block = fed([FIRST_US + 45 * MINUTE, FIRST_US + 75 * MINUTE], [0.0, 60.0])
    rows = named(windows([HALF_HOURLY], block, end_us=FIRST_US + 2 * HOUR))
    assert rows["import_wh"].tolist() == pytest.approx([3.75, 11.25], rel=1e-15)
    assert rows["covered_us"].tolist() == [15 * MINUTE, 15 * MINUTE]
    assert (rows["low"].tolist(), rows["high"].tolist()) == ([0, 30], [30, 60])
    on_edge = named(windows([HALF_HOURLY], fed([FIRST_US, FIRST_US + HOUR], [7.0, 7.0])))
    assert on_edge["samples"].tolist() == [1]


def test_windows_begin_where_the_site_wants_them():
    rule = HALF_HOURLY._replace(offset_us=30 * MINUTE)
    rows = named(windows([rule], fed([FIRST_US, FIRST_US + HOUR], [6.0, 6.0])))
    assert rows["start_us"].tolist() == [FIRST_US - HOUR // 2]


def test_import_and_export_of_one_step_do_not_net_out():
    rows = named(windows([HALF_HOURLY], fed([FIRST_US, FIRST_US + HOUR], [30.0, -10.0])))
    assert rows["import_wh"].tolist() == pytest.approx([11.25], rel=1e-15)
    assert rows["export_wh"].tolist() == pytest.approx([1.25], rel=1e-15)
    assert rows["mean"].tolist() == pytest.approx([10.0], rel=1e-15)


def test_a_long_step_gives_no_energy_and_its_time_is_missing():
    t_us = [FIRST_US, FIRST_US + S, FIRST_US + S + 2 * HOUR, FIRST_US + 3 * HOUR]
    block = fed(t_us, [5e3, 5e3, 9e3, 9e3])
    rows = named(windows([EVERY_S._replace(length_us=3 * HOUR)], block))
    assert rows["import_wh"].tolist() == pytest.approx([5e3 / 3600])
    assert (rows["covered_us"] + rows["missing_us"]).tolist() == [3 * HOUR]
    for naive in (right_rectangles_wh, left_rectangles_wh):
        assert naive(block.t_us, block.x[:, 0]) > 5000, "the control should invent energy"


def test_a_gap_is_bridged_with_the_last_value_only_where_the_rule_says_so_and_as_estimated():
    t_us = [FIRST_US, FIRST_US + 20 * S, FIRST_US + 40 * S, FIRST_US + HOUR]
    rule = EVERY_S._replace(bridged_us=20 * S, length_us=HOUR)
    rows = named(windows([rule], fed(t_us, [3600.0, 7200.0, 0.0, 0.0])))
    assert rows["import_wh"].tolist() == pytest.approx([60.0])
    assert (rows["covered_us"].tolist(), rows["estimated_us"].tolist()) == ([0], [40 * S])
    assert rows["missing_us"].tolist() == [HOUR - 40 * S]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1.7e308, -3.4e200])
@pytest.mark.parametrize("quality", [0, SUSPECT])
def test_no_number_that_is_none_reaches_a_sum_whatever_its_quality(bad, quality):
    block = seconds(901, 3600.0)
    block.x[450], block.q[450] = bad, quality
    rows = named(windows([EVERY_S], block))
    assert rows["import_wh"].tolist() == pytest.approx([898.0])
    assert rows["missing_us"].tolist() == [2 * S]
    assert rows["bad_samples"].tolist() == [1]


def test_a_bad_sample_is_not_stepped_over_and_one_that_is_not_due_is():
    for quality, covered in ((BAD, 898), (NONE, 900)):
        block = seconds(901, 3600.0)
        block.q[450] = quality
        assert named(windows([EVERY_S], block))["covered_us"].tolist() == [covered * S]


def test_a_suspect_sample_counts_and_marks_its_window():
    block = seconds(2701, 3600.0)
    block.q[1000] = SUSPECT
    rows = named(windows([EVERY_S], block))
    assert rows["flags"].tolist() == [0, IS_SUSPECT, 0]
    assert rows["import_wh"].tolist() == pytest.approx([900.0] * 3)


def test_repeated_and_late_samples_are_counted_and_book_nothing():
    clean = seconds(901, 3600.0)
    order = [*range(500), 499, 400, *range(500, 901)]
    dirty = Fed(clean.t_us[order], clean.x[order], clean.q[order], clean.cut[[0] * 903])
    rows, same = named(windows([EVERY_S], dirty)), named(windows([EVERY_S], clean))
    assert (rows["duplicates"].tolist(), rows["out_of_order"].tolist()) == ([1], [1])
    rows["duplicates"] = rows["out_of_order"] = 0
    assert rows.tobytes() == same.tobytes()


@pytest.mark.parametrize("step_s", [-90, 90])
def test_a_clock_that_is_set_books_no_time_twice_and_marks_its_window(step_s):
    clean = seconds(2 * 900 + 1, 3600.0)
    cut = clean.cut.copy()
    cut[1200] = True
    t_us = clean.t_us.copy()
    t_us[1200:] += step_s * S
    last = windows([EVERY_S], clean)[0]
    rows = windows([EVERY_S], Fed(t_us, clean.x, clean.q, cut), end_us=FIRST_US + 1800 * S)
    assert rows[0].tobytes() == last.tobytes(), "the window before is as if nothing had been"
    one = named(rows[1:2])
    assert one["flags"].tolist() == [IS_CUT]
    assert one["covered_us"] + one["missing_us"] == QUARTER
    assert one["import_wh"][0] == pytest.approx(one["covered_us"][0] / S)
    assert one["out_of_order"].tolist() == ([89] if step_s < 0 else [0])


def test_a_clock_that_was_set_before_anything_was_read_marks_nothing():
    block = seconds(901, 3600.0)
    block.cut[0] = True
    assert named(windows([EVERY_S], block))["flags"].tolist() == [0]


def test_a_run_of_windows_of_which_nothing_is_known_is_one_row():
    t_us = [FIRST_US, FIRST_US + S, FIRST_US + 30 * 24 * HOUR + S]
    rows = named(windows([EVERY_S], fed(t_us, [1.0, 1.0, 1.0])))
    assert rows["end_us"].tolist() == [FIRST_US + QUARTER, FIRST_US + 30 * 24 * HOUR]
    assert rows["covered_us"].tolist() == [S, 0]
    assert np.isnan(rows["mean"][1])
    assert np.isnan(rows["low"][1])


def test_windows_of_a_silent_device_close_while_it_is_silent():
    block = seconds(3600, 3600.0)
    block.q[100:] = BAD
    rows = named(windows([EVERY_S], block))
    assert rows["covered_us"].tolist() == [99 * S, 0, 0]
    assert rows["missing_us"].tolist() == [801 * S, QUARTER, QUARTER]
    block.q[100:] = NONE
    assert named(windows([EVERY_S], block))["missing_us"].tolist() == [801 * S, QUARTER, QUARTER]


def test_devices_of_one_slot_may_come_in_rows_of_their_own():
    t_us = FIRST_US + np.arange(1801) * S
    both = fed(t_us, np.full(1801, 10.0), np.full(1801, 20.0))
    apart = both.rows(np.repeat(np.arange(1801), 2))
    apart.q[::2, 0], apart.q[1::2, 1] = NONE, NONE
    assert windows([EVERY_S] * 2, apart).tobytes() == windows([EVERY_S] * 2, both).tobytes()


def test_samples_give_the_same_windows_however_they_are_cut_into_blocks():
    draw = np.random.default_rng(3)
    rules = [
        Rule(kind, 3 * S, length, 0, bridged)
        for kind in (INST, MEAN_RIGHT, HOLD)
        for length in (MINUTE, QUARTER, HOUR)
        for bridged in (0, 60 * S)
    ]
    block = troubled(draw, 3000, len(rules))
    whole = windows(rules, block)
    assert whole.shape[0] > 1500
    for cuts in (range(1, 3000), range(7, 3000, 7), range(1000, 3000, 1000)):
        assert windows(rules, block, cuts).tobytes() == whole.tobytes()


def test_every_window_accounts_for_its_time_and_the_next_begins_where_it_ends():
    draw = np.random.default_rng(4)
    rules = [Rule(kind, 3 * S, MINUTE, 0, 60 * S) for kind in (INST, MEAN_RIGHT, HOLD)]
    rows = named(windows(rules, troubled(draw, 5000, 3)))
    known = rows["covered_us"] + rows["estimated_us"] + rows["missing_us"]
    assert known.tolist() == (rows["end_us"] - rows["start_us"]).tolist()
    assert np.all(np.isfinite(rows["import_wh"]) & np.isfinite(rows["export_wh"]))
    for point in range(3):
        mine = rows[rows["point"] == point]
        assert all(a["end_us"] == b["start_us"] for a, b in pairwise(mine))


def test_sums_keep_what_they_round_off():
    """A large sum and small samples: plain addition loses what compensated does not."""
    count = 200_000
    x = np.full(count, 0.1)
    x[1] = 1e13
    rule = Rule(HOLD, 3 * S, 400_000 * S, FIRST_US)
    block = fed(FIRST_US + np.arange(count) * S, x)
    rows = named(windows([rule], block, end_us=FIRST_US + 400_000 * S))
    exact_wh = (1e13 + 0.1 * (count - 2)) / 3600
    assert rows["import_wh"][0] == pytest.approx(exact_wh, rel=1e-15)


def test_a_rule_without_a_window_or_of_no_kind_is_refused():
    for rule in (Rule(7, S, S), Rule(INST, 0, S), Rule(INST, S, 0), Rule(INST, S, S, 0, -1)):
        with pytest.raises(ValueError, match="a known kind"):
            rules_of([rule])
    assert max_gap_us(10 * S) == 30 * S
    assert max_gap_us(30 * S, 60 * S) == 60 * S


def test_columns_of_other_lengths_and_instants_beyond_all_clocks_are_refused():
    rules, state, block = rules_of([EVERY_S]), begun(1), seconds(3, 1.0)
    with pytest.raises(ValueError, match="of \\(3, 1\\) samples"):
        step_many(rules, state, block.t_us, block.x, block.q[:2], block.cut)
    with pytest.raises(ValueError, match="2\\^53"):
        step_many(rules, state, block.t_us * 10, *block[1:])


def test_the_example_of_the_documentation_runs(capsys):
    text = (Path(__file__).parents[3] / "docs/kernels.md").read_text("utf-8")
    exec(text.split("```python")[1].split("```")[0], {})
    assert capsys.readouterr().out == "[15000. 15000.]\n"


def test_nothing_fed_is_nothing_closed():
    none = fed([], [])
    assert step_many(rules_of([EVERY_S]), begun(1), *none).shape == (0, 17)
    assert windows([EVERY_S], none, end_us=FIRST_US).shape == (0, 17)
