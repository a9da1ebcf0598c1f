"""A run that stays away changes no root, and only its own leaves fit its cover."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulemark_agent.contract.errors import EvidenceError
from joulemark_agent.contract.sparse import (
    Part,
    Reel,
    SparseBatch,
    Withheld,
    between,
    extended,
    is_same_tree,
    leaves_in,
    line_of,
    parse_line,
    parse_sparse,
    present,
    sparse_bytes,
    withheld,
)
from joulemark_agent.contract.tree import (
    Edge,
    append,
    append_covered,
    cover,
    cover_sizes,
    leaf_hash,
    root,
)


def _leaves(count):
    return [b"leaf %d" % i for i in range(count)]


@given(st.integers(0, 300), st.integers(1, 300))
def test_a_covered_run_gives_the_edge_that_its_leaves_give(before, count):
    leaves = _leaves(before + count)
    edge = append(Edge(), leaves[:before])
    hashes = cover([leaf_hash(leaf) for leaf in leaves[before:]], before)
    assert append_covered(edge, count, hashes) == append(edge, leaves[before:])
    assert sum(cover_sizes(before, count)) == count
    assert len(hashes) <= 2 * count.bit_length()


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 40)), min_size=1, max_size=8))
def test_any_mix_of_leaves_and_runs_gives_the_root_of_all_of_them(runs):
    leaves = _leaves(sum(count for _, count in runs))
    parts: list[Any] = []
    at = 0
    for is_withheld, count in runs:
        run = leaves[at : at + count]
        parts += [withheld(run, at)] if is_withheld else run
        at += count
    assert extended(Edge(), parts) == append(Edge(), leaves)
    assert leaves_in(parts) == len(leaves)


def test_another_leaf_does_not_fit_the_cover():
    leaves = _leaves(21)
    others = [*leaves[:13], b"another", *leaves[14:]]
    true, forged = withheld(leaves[5:], 5), withheld(others[5:], 5)
    edge = append(Edge(), leaves[:5])
    assert root(extended(edge, [true])) != root(extended(edge, [forged]))


@pytest.mark.parametrize("change", [-1, 1])
def test_a_cover_with_another_number_of_hashes_is_refused(change):
    run = withheld(_leaves(11), 0)
    hashes = (run.hashes * 2)[: len(run.hashes) + change]
    with pytest.raises(EvidenceError, match="covered by"):
        extended(Edge(), [Withheld(run.count, hashes)])


def test_a_sparse_batch_comes_back_from_the_wire():
    leaves = _leaves(30)
    parts = (*leaves[:2], withheld(leaves[2:29], 2), leaves[29])
    batch = SparseBatch(0, parts, "note\n", {})
    assert parse_sparse(sparse_bytes(batch)) == batch
    assert batch.size == 30


@pytest.mark.parametrize(
    "part",
    [
        Withheld(0, (b"x" * 32,)),
        Withheld(2_000_000, (b"x" * 32,)),
        Withheld(3, ()),
        Withheld(3, (b"x" * 31,)),
        Withheld(3, (b"x" * 32,) * 200),
        b"two\nlines",
    ],
)
def test_what_is_no_part_is_refused(part):
    with pytest.raises(EvidenceError):
        parse_sparse(sparse_bytes(SparseBatch(0, (part,), "note\n", {})))


# ---------------------------------------------------------------- lines, views


def _mixed(cuts, first):
    """Leaves `first` on, cut into runs at these places, every other one withheld."""
    leaves = _leaves(max(cuts, default=0) + 5)
    parts: list[Part] = []
    at = 0
    for k, cut in enumerate([*cuts, len(leaves)]):
        run = leaves[at:cut]
        parts += [withheld(run, first + at)] if k % 2 and run else run
        at = cut
    return leaves, parts


@given(st.integers(0, 99), st.lists(st.integers(1, 60), max_size=5, unique=True).map(sorted))
def test_every_way_to_withhold_gives_the_same_tree_and_comes_back_from_its_lines(first, cuts):
    leaves, parts = _mixed(cuts, first)
    assert is_same_tree(parts, leaves, first)
    assert [parse_line(line_of(part)) for part in parts] == parts
    assert dict(present(parts, first)).items() <= dict(enumerate(leaves, first)).items()


@given(st.integers(0, 99), st.integers(0, 4))
def test_other_leaves_are_another_tree_however_they_are_withheld(first, place):
    leaves, parts = _mixed([1, 4], first)
    others = [*leaves[:place], b"another", *leaves[place + 1 :]]
    assert not is_same_tree(parts, others, first)
    assert not is_same_tree(parts, leaves[:-1], first)


@given(st.data())
def test_a_view_of_some_leaves_stands_for_so_many_and_a_cut_run_has_no_cover(data):
    first = data.draw(st.integers(0, 50))
    leaves, parts = _mixed([3, 9, 12, 30], first)
    start = data.draw(st.integers(first, first + len(leaves)))
    end = data.draw(st.integers(start, first + len(leaves)))
    view = between(parts, first, start, end)
    assert leaves_in(view) == end - start
    assert [leaf for _, leaf in present(view, start)] == [
        leaf for seq, leaf in present(parts, first) if start <= seq < end
    ]
    cut = [part for part in view if isinstance(part, Withheld) and part not in parts]
    assert all(part.hashes == () for part in cut)


def test_a_reel_gives_the_parts_head_by_head_and_no_run_beyond_a_head():
    leaves, parts = _mixed([2, 7], 0)
    reel = Reel(parts)
    assert [leaves_in(reel.take(size)) for size in (1, 2, 7, len(leaves), 99)] == [1, 1, 5, 5, 0]
    with pytest.raises(EvidenceError, match="beyond"):
        Reel(parts).take(4)


@pytest.mark.parametrize(
    "line",
    [
        b'{"withheld":{"count":"0","hashes":[]}}',
        b'{"withheld":"text"}',
        b'{"withheld":{"count":"1","hashes":["AAAA"]}}',
        b'{"withheld":{"count":"1"}}',
        b'{"withheld":{"count":"1","hashes":[]},"x":1}',
        b'{"withheld": {}}',
        b'{"withheld":',
    ],
)
def test_a_line_that_begins_as_a_run_and_is_none_is_refused(line):
    with pytest.raises(EvidenceError):
        parse_line(line)
