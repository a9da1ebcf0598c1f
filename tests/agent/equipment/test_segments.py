from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from joulemark_agent.equipment.segments import UNKNOWN, on_steps, runs, settled, spans

labels = st.lists(st.integers(-1, 3), max_size=40).map(lambda found: np.array(found, np.int8))


@given(labels)
def test_runs_tile_the_labels(found):
    tiled = [run.label for run in runs(found) for _ in range(run.size)]
    assert tiled == found.tolist()
    heads = [run.label for run in runs(found)]
    assert all(one != other for one, other in pairwise(heads))


@given(labels)
def test_settling_makes_nothing_known_unknown_and_nothing_unknown_known(found):
    assert ((settled(found, 2) == UNKNOWN) == (found == UNKNOWN)).all()


@given(labels)
def test_a_short_run_is_left_only_between_unknown_stretches(found):
    kept = settled(found, 2)
    for run in runs(kept):
        if run.label != UNKNOWN and run.size == 1:
            around = {kept[i] for i in (run.first - 1, run.stop) if 0 <= i < kept.size}
            assert around <= {UNKNOWN}


@given(labels)
def test_a_fixed_label_neither_grows_nor_shrinks(found):
    assert ((settled(found, 3, fixed=(np.int8(0),)) == 0) == (found == 0)).all()


def test_a_lone_sample_of_another_state_is_no_state():
    found = np.array([0, 0, 2, 0, 0, 1, 1, 2, 1], np.int8)
    assert settled(found, 2).tolist() == [0, 0, 0, 0, 0, 1, 1, 1, 1]


def test_spans_end_where_the_next_begins_and_leave_the_unknown_out():
    t_us = np.array([0, 10, 20, 50, 60])
    steps = on_steps(np.array([0, 0, 1, 1, 0], np.int8), np.array([10, 10, 0, 10, 0]))
    found = [(span.kind, span.start_us, span.end_us) for span in spans(steps, t_us, ("off", "on"))]
    assert found == [("off", 0, 20), ("on", 50, 60)]
