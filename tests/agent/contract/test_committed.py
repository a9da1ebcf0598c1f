"""What travels of a batch in committed mode, and that the tree is the same."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulemark_agent.contract.batch import Batch
from joulemark_agent.contract.canonical import canonical_bytes, parse_canonical
from joulemark_agent.contract.committed import (
    committed,
    interval_end_us,
    interval_us_in,
    is_interval,
)
from joulemark_agent.contract.sparse import Withheld, extended
from joulemark_agent.contract.tree import Edge, append

GOOD, SILENT, BAD = {"energy_wh": "5"}, {"power_w": "3"}, {"energy_wh": "nan"}


def record(seq, val, q=None):
    return canonical_bytes({"seq": str(seq), "val": val, "q": q or {}})


def event(seq, kind="gap"):
    return canonical_bytes({"seq": str(seq), "type": kind})


def shown(leaves, first_seq=0):
    parts = committed(Batch(first_seq, tuple(leaves), "note")).parts
    return [int(parse_canonical(p)["seq"]) for p in parts if not isinstance(p, Withheld)]


def test_the_last_record_and_every_event_travel_and_nothing_else():
    leaves = [event(0, "boot"), *(record(i, GOOD) for i in range(1, 6)), event(6)]
    leaves += [record(7, GOOD), record(8, GOOD), event(9, "batch")]
    assert shown(leaves) == [0, 6, 8, 9]


def test_where_the_last_record_counts_nothing_the_last_that_counts_travels_too():
    leaves = [record(0, GOOD), record(1, GOOD), record(2, BAD, {"energy_wh": "nan"})]
    leaves += [record(3, SILENT), event(4, "batch")]
    assert shown(leaves) == [1, 3, 4]


def test_a_point_that_is_called_type_makes_no_event_of_a_record():
    leaves = [record(0, {"type": "gap", "energy_wh": "1"}), record(1, GOOD), event(2, "batch")]
    assert shown(leaves) == [1, 2]


@given(
    st.integers(0, 5000),
    st.lists(st.sampled_from(["record", "bad", "event"]), min_size=1, max_size=60),
)
def test_after_whatever_tree_the_edge_is_that_of_all_the_leaves(first_seq, kinds):
    make = {
        "record": lambda i: record(i, GOOD),
        "bad": lambda i: record(i, BAD, {"energy_wh": "nan"}),
        "event": event,
    }
    leaves = tuple(make[kind](first_seq + i) for i, kind in enumerate(kinds))
    before = append(Edge(), [b"%d" % i for i in range(first_seq)])
    sparse = committed(Batch(first_seq, leaves, "note", {"d": b"document"}))
    assert extended(before, sparse.parts) == append(before, leaves)
    assert (sparse.size, sparse.documents) == (first_seq + len(leaves), {"d": b"document"})


@pytest.mark.parametrize(
    ("slot_s", "end_s"), [(0, 0), (1, 900), (899, 900), (900, 900), (901, 1800)]
)
def test_a_slot_at_the_end_of_an_interval_belongs_to_it(slot_s, end_s):
    assert interval_end_us(slot_s * 10**6, 900 * 10**6) == end_s * 10**6


@pytest.mark.parametrize("interval_s", [59, 61, 7, 0, -900, 7200, 900.0, "900", True, None])
def test_other_intervals_than_parts_of_a_day_up_to_an_hour_are_none(interval_s):
    assert not is_interval(interval_s)
    with pytest.raises(ValueError, match="intervals"):
        interval_us_in({"evidence": "committed", "interval_s": interval_s})


def test_a_site_that_says_nothing_of_its_evidence_has_full_evidence():
    assert interval_us_in({"site": "a"}) is None
    assert interval_us_in({"evidence": "full"}) is None
    assert interval_us_in({"evidence": "committed", "interval_s": 900}) == 900 * 10**6
    wrong: tuple[Any, ...] = ({"evidence": "sparse"}, {"evidence": None}, [], None)
    for site in wrong:
        with pytest.raises(ValueError, match="evidence"):
            interval_us_in(site)
