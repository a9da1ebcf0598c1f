"""Every slot is received, missing for a stated cause, or told apart: the sums are the slots."""

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulemark_agent.contract.reading import Gap
from joulemark_gateway.evidence.history import Record, Tree, parse_tree
from joulemark_gateway.evidence.slots import Account, Held, account, of_epochs, total
from support import evidence
from support.evidence import METER, PERIOD_US, START_US

US = 1_000_000
CAUSES = ("timeout", "agent_down", "disk_full")
DAY_US = 96 * PERIOD_US


def tree_of(records: list[int], gaps: list[tuple[int, int, str]]) -> Tree:
    """A tree of a reading a second, and gaps from one second to another."""
    rows = [
        Record(
            seq,
            at * US,
            at * US,
            "ntp",
            (),
            {"power_w": "1"},
            {"power_w": "stuck"} if at % 7 == 0 else {},
        )
        for seq, at in enumerate(records)
    ]
    said = [
        (seq, Gap("d", first * US, last * US, last - first + 1, cause))
        for seq, (first, last, cause) in enumerate(gaps, len(rows))
    ]
    return Tree("s", "d", 1, "system", {}, b"", tuple(rows), tuple(said), ())


def counted_slowly(
    records: list[int], gaps: list[tuple[int, int, str]], until: int, start: int, end: int
) -> Account:
    """The same, slot by slot."""
    said: dict[int, list[str]] = {}
    for at in records:
        said.setdefault(at, []).append("received")
    for first, last, cause in gaps:
        for at in range(first, last + 1):
            said.setdefault(at, []).append(cause)
    if not said:
        return Account(start * US, end * US)
    inside = {at: kinds for at, kinds in said.items() if start <= at < end}
    kinds = Counter(kind for found in inside.values() for kind in found)
    grid = [at for at in range(min(said), max(until, max(said) + 1)) if start <= at < end]
    here = [at for at in records if start <= at < end]
    codes = Counter("stuck" if at % 7 == 0 else "good" for at in here)
    return Account(
        start * US,
        end * US,
        expected=len(grid),
        received=kinds.pop("received", 0),
        missing=dict(sorted(kinds.items())),
        unaccounted=sum(at not in said and at < max(said) for at in grid),
        outstanding=sum(at > max(said) for at in grid),
        twice=sum(len(found) - 1 for found in inside.values()),
        points={"power_w": dict(sorted(codes.items()))},
    )


@st.composite
def histories(draw):
    """Readings and gaps one after the other, some slots in neither and, now and then, in both."""
    records: list[int] = []
    gaps: list[tuple[int, int, str]] = []
    at = draw(st.integers(0, 5))
    for _ in range(draw(st.integers(0, 12))):
        kind, length = draw(st.sampled_from(("read", "gap", "hole"))), draw(st.integers(1, 5))
        if kind == "read":
            records += range(at, at + length)
        elif kind == "gap":
            gaps.append((at, at + length - 1, draw(st.sampled_from(CAUSES))))
        at += length - draw(st.sampled_from((0, 0, 0, 1)))
    return sorted(set(records)), gaps


@given(histories(), st.integers(0, 60), st.integers(0, 40), st.integers(1, 40))
def test_the_account_is_that_of_every_slot_looked_at_by_itself(history, until, start, length):
    records, gaps = history
    held = Held(tree_of(records, gaps), US, ["power_w"], until_us=until * US)
    found = account(held, start * US, (start + length) * US)
    if records or gaps:
        assert found == counted_slowly(records, gaps, until, start, start + length)
    assert found.reconciles


@given(histories(), st.lists(st.integers(1, 59), min_size=1, unique=True).map(sorted))
def test_windows_add_up_to_the_span(history, cuts):
    held = Held(tree_of(*history), US, ["power_w"], until_us=50 * US)
    edges = [0, *cuts, 60]
    parts = [account(held, first * US, last * US) for first, last in pairwise(edges)]
    whole, together = account(held, 0, 60 * US), total(parts)
    assert together.reconciles
    assert (whole.expected, whole.missing) == (together.expected, together.missing)
    assert (whole.received, whole.twice) == (together.received, together.twice)
    assert (whole.unaccounted, whole.outstanding) == (together.unaccounted, together.outstanding)


EPOCHS = st.lists(st.tuples(st.integers(0, 40), st.integers(1, 30)), min_size=1, max_size=4)


@given(EPOCHS, st.integers(0, 40), st.integers(1, 60))
def test_a_slot_that_two_epochs_have_is_there_twice(spans, start, length):
    """Two gateways at once: whoever copied a key and a grant goes on beside the true one."""
    read = [range(first, first + slots) for first, slots in spans]
    held = [Held(tree_of(list(one), []), US, ["power_w"]) for one in read]
    found = of_epochs(held, start * US, (start + length) * US)
    inside = [at for one in read for at in one if start <= at < start + length]
    assert (found.expected, found.received) == (len(set(inside)), len(inside))
    assert found.twice == len(inside) - len(set(inside))
    assert found.reconciles


def test_a_day_of_a_meter_with_a_gap():
    site = evidence.documents()
    results = evidence.with_gap(evidence.meter_readings(site, [1000] * 95), 10, 8)
    tree = parse_tree(evidence.leaves_of(evidence.build_tree(site, METER, results)))
    found = account(Held(tree, PERIOD_US, ["energy_wh"]), START_US, START_US + DAY_US)
    assert found == Account(
        START_US,
        START_US + DAY_US,
        expected=96,
        received=88,
        missing={"timeout": 8},
        points={"energy_wh": {"good": 88}},
    )


@pytest.mark.parametrize("lost", [1, 40, 94])
def test_a_record_that_vanished_is_unaccounted_and_control_a_sum_of_leaves_misses_it(lost):
    records = [at for at in range(96) if at != lost]
    found = account(Held(tree_of(records, []), US, []), 0, 96 * US)
    assert (found.expected, found.received, found.unaccounted) == (96, 95, 1)
    assert found.reconciles
    naive = found.received + found.missing_slots
    assert naive == len(records), "who counts leaves only expects what is there"
