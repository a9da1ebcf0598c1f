"""A run that stays away changes no root, and only its own leaves fit its cover."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulemark_agent.contract.errors import EvidenceError
from joulemark_agent.contract.sparse import (
    SparseBatch,
    Withheld,
    extended,
    leaves_in,
    parse_sparse,
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
    parts, at = [], 0
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
