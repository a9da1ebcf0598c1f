import numpy as np
import pytest

from joulemark_agent.kernels.arrivals import Block, arranged, nobody, revised
from joulemark_agent.kernels.stream import INST, Rule, named, rules_of
from support.streams import FIRST_US, QUARTER, Fed, S, fed, windows

RULE = Rule(INST, 90 * S, QUARTER)
CLEAN = fed(FIRST_US + np.arange(241) * 30 * S, 1e3 + np.arange(241) % 17)


def block_of(block: Fed, order) -> Block:
    rows = np.array(order, np.int64)
    return Block(block.t_us[rows], block.x[rows], block.q[rows])


def booked(block: Block):
    """The windows of a block that is in order."""
    return windows([RULE], Fed(block.t_us, block.x, block.q, np.zeros(block.t_us.size, np.bool_)))


def shuffled(draw: np.random.Generator, by_s: int) -> np.ndarray:
    """The order in which samples arrive that are late by less than so much."""
    return np.argsort(CLEAN.t_us + draw.integers(0, by_s * S, CLEAN.t_us.size), kind="stable")


@pytest.mark.parametrize("parts", [1, 7, 50, 241])
def test_what_is_late_by_no_more_than_the_lateness_gives_the_windows_of_what_was_in_order(parts):
    arrived = shuffled(np.random.default_rng(parts), 120)
    assert np.any(np.diff(arrived) < 0)
    waiting, ready = nobody(1), []
    for some in np.array_split(arrived, parts):
        out, waiting, late = arranged(waiting, block_of(CLEAN, some), 120 * S)
        assert late.t_us.size == 0
        ready.append(out)
    whole = ready[0]
    for out in [*ready[1:], waiting.block]:
        whole = whole.followed_by(out)
    assert booked(whole).tobytes() == windows([RULE], CLEAN).tobytes()


def test_without_a_lateness_nothing_waits_and_what_is_late_is_told():
    out, waiting, late = arranged(nobody(1), block_of(CLEAN, [0, 1, 1, 3, 2, 4]), 0)
    assert out.t_us.tolist() == CLEAN.t_us[[0, 1, 1, 3, 4]].tolist()
    assert late.t_us.tolist() == CLEAN.t_us[[2]].tolist()
    assert waiting.block.t_us.size == 0


def test_a_sample_after_its_window_makes_a_new_revision_and_no_edit():
    lost = np.delete(np.arange(241), np.arange(40, 45))
    first = booked(block_of(CLEAN, lost))
    before = first.tobytes()
    assert named(first)["missing_us"].tolist() == [0, 180 * S, 0, 0, 0, 0, 0, 0]
    again = revised(rules_of([RULE]), first[1:2], block_of(CLEAN, range(25, 65)))
    assert named(again)["revision"].tolist() == [1]
    clean = windows([RULE], CLEAN)[1:2]
    assert named(again)["import_wh"].tolist() == named(clean)["import_wh"].tolist()
    twice = revised(rules_of([RULE]), again, block_of(CLEAN, range(25, 65)))
    assert named(twice)["revision"].tolist() == [2]
    assert first.tobytes() == before


def test_windows_that_were_one_row_are_revised_together():
    lost = np.delete(np.arange(241), np.arange(20, 200))
    first = booked(block_of(CLEAN, lost))
    (k,) = np.flatnonzero(named(first)["end_us"] - named(first)["start_us"] > QUARTER)
    again = named(revised(rules_of([RULE]), first[k : k + 1], block_of(CLEAN, range(241))))
    assert again["revision"].tolist() == [1] * again.size
    assert again["end_us"][-1] - again["start_us"][0] == first[k, 2] - first[k, 1]
    assert again["covered_us"].sum() == first[k, 2] - first[k, 1]


def test_a_window_that_cannot_be_made_again_is_not_revised():
    first = windows([RULE], CLEAN)
    assert revised(rules_of([RULE]), first[1:2], block_of(CLEAN, range(35, 40))).shape[0] == 0
