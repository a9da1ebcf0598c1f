"""Proofs over trees of every small size, against the RFC's own definition and published vectors."""

import hashlib
import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulemark_agent.contract.signature import decode64
from joulemark_agent.contract.tree import EMPTY_ROOT, Edge, append, leaf_hash, root
from joulemark_gateway.evidence.proof import (
    consistency_path,
    inclusion_path,
    is_consistent,
    joined_up,
    root_of_path,
)
from support.vectors import FOLDER

PUBLISHED = json.loads((FOLDER / "merkle_trees.json").read_text("utf-8"))
LEAVES = [bytes.fromhex(text) for text in PUBLISHED["leaves"]]


def of(quantity):
    found = [vector for vector in PUBLISHED["vectors"] if vector["quantity"] == quantity]
    return pytest.mark.parametrize("vector", found, ids=lambda vector: vector["id"])


def mth(leaves):
    """MTH of RFC 6962 section 2.1, word for word."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\0" + leaves[0]).digest()
    k = 1
    while 2 * k < len(leaves):
        k *= 2
    return hashlib.sha256(b"\1" + mth(leaves[:k]) + mth(leaves[k:])).digest()


def subproof(m, leaves, b):
    """SUBPROOF of RFC 6962 section 2.1.2, word for word."""
    n = len(leaves)
    if m == n:
        return [] if b else [mth(leaves)]
    k = 1
    while 2 * k < n:
        k *= 2
    if m <= k:
        return [*subproof(m, leaves[:k], b), mth(leaves[k:])]
    return [*subproof(m - k, leaves[k:], b=False), mth(leaves[:k])]


def leaves_of(size):
    return [b"leaf %d" % i for i in range(size)]


def proven(leaves, old):
    """What a checker is handed: the arguments of `is_consistent`."""
    path = consistency_path([leaf_hash(leaf) for leaf in leaves], old)
    return [old, mth(leaves[:old]), len(leaves), mth(leaves), path]


@given(st.integers(1, 70), st.data())
def test_a_path_leads_to_the_root_from_its_own_leaf_and_place_only(size, data):
    leaves = leaves_of(size)
    index = data.draw(st.integers(0, size - 1))
    true = root(append(Edge(), leaves))
    path = inclusion_path([leaf_hash(leaf) for leaf in leaves], index)
    assert root_of_path(leaves[index], index, size, path) == true
    assert root_of_path(leaves[index] + b"!", index, size, path) != true
    for other in range(size):
        if other != index:
            assert root_of_path(leaves[index], other, size, path) != true
    if path:
        assert root_of_path(leaves[index], index, size, path[:-1]) != true
        assert root_of_path(leaves[index], index, size, [*path, path[0]]) is None


def test_there_is_no_path_of_a_leaf_that_is_not_there():
    with pytest.raises(ValueError, match="no leaf 2"):
        inclusion_path([b"", b""], 2)
    assert root_of_path(b"", 2, 2, []) is None


def test_a_consistency_proof_is_the_rfc_s_for_every_two_sizes_up_to_64():
    for size in range(1, 65):
        leaves = leaves_of(size)
        for old in range(1, size + 1):
            arguments = proven(leaves, old)
            assert arguments[-1] == subproof(old, leaves, b=True), (old, size)
            assert is_consistent(*arguments), (old, size)


def test_no_two_other_sizes_or_roots_pass_with_the_proof_of_two():
    """Every pair of sizes up to 20 against the proof of every other, each with its true roots."""
    roots = [mth(leaves_of(size)) for size in range(21)]
    pairs = [(old, size) for size in range(1, 21) for old in range(1, size + 1)]
    proofs = {pair: proven(leaves_of(pair[1]), pair[0])[-1] for pair in pairs}
    for (old, size), path in proofs.items():
        for other_old, other in pairs:
            passes = is_consistent(other_old, roots[other_old], other, roots[other], path)
            assert passes == (path == proofs[other_old, other]), (old, size, other_old, other)
        if old < size:
            assert not is_consistent(old, roots[size], size, roots[old], path), "swapped roots"


@given(st.integers(65, 3000), st.data())
def test_large_trees_are_proven_and_every_changed_proof_is_refused(size, data):
    leaves, seed = leaves_of(size), data.draw(st.randoms())
    old = data.draw(st.integers(1, size - 1))
    arguments = proven(leaves, old)
    assert is_consistent(*arguments)
    assert len(arguments[-1]) <= 2 * size.bit_length() - 1
    for changed in changes(arguments, seed):
        assert not is_consistent(*changed)


def changes(arguments, seed: random.Random):
    """The ways to spoil a proof that the published tests name."""
    old, old_root, size, new_root, path = arguments
    strange = bytes(seed.randbytes(32))
    bit = seed.randrange(256)
    for i, node in enumerate(path):
        flipped = bytearray(node)
        flipped[bit // 8] ^= 1 << bit % 8
        yield old, old_root, size, new_root, [*path[:i], bytes(flipped), *path[i + 1 :]]
    yield old, old_root, size, new_root, path[:-1]
    yield old, old_root, size, new_root, path[1:]
    yield old, old_root, size, new_root, []
    for more in (strange, old_root, new_root, path[0] if path else strange):
        yield old, old_root, size, new_root, [*path, more]
        yield old, old_root, size, new_root, [more, *path]
    yield old, strange, size, new_root, path
    yield old, old_root, size, strange, path
    yield old, new_root, size, old_root, path
    yield size + 1, old_root, size, new_root, path


@of("consistency proof")
def test_published_consistency_proofs_are_ours(vector):
    old, size = vector["size1"], vector["size2"]
    roots = decode64(vector["root1"]), decode64(vector["root2"])
    path = [decode64(node) for node in vector["proof"]]
    assert proven(LEAVES[:size], old) == [old, roots[0], size, roots[1], path]
    assert is_consistent(old, roots[0], size, roots[1], path)
    if old < size:
        for changed in changes([old, roots[0], size, roots[1], path], random.Random(1)):
            assert not is_consistent(*changed)


@of("inclusion proof")
def test_published_inclusion_proofs_are_ours(vector):
    hashes = [leaf_hash(leaf) for leaf in LEAVES[: vector["size"]]]
    index, path = vector["index"], [decode64(node) for node in vector["proof"]]
    assert hashes[index] == decode64(vector["leaf_hash"])
    assert inclusion_path(hashes, index) == path
    found = root_of_path(LEAVES[index], index, vector["size"], path)
    assert found == decode64(vector["root"])


def test_the_empty_tree_and_the_same_tree_need_no_proof():
    one, two = mth(leaves_of(1)), mth(leaves_of(2))
    assert is_consistent(0, EMPTY_ROOT, 2, two, [])
    assert is_consistent(0, EMPTY_ROOT, 0, EMPTY_ROOT, [])
    assert not is_consistent(0, EMPTY_ROOT, 0, one, [])
    assert is_consistent(2, two, 2, two, [])
    assert not is_consistent(0, one, 2, two, [])
    assert not is_consistent(0, EMPTY_ROOT, 2, two, [one])
    assert not is_consistent(2, two, 2, two, [one])
    assert not is_consistent(2, one, 2, two, [])
    assert not is_consistent(2, two, 1, one, [])
    for old in (0, 3):
        with pytest.raises(ValueError, match=f"no tree of {old} leaves"):
            consistency_path([b"", b""], old)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 97])
def test_the_steps_end_in_the_root_of_any_tree(size):
    leaves = [b"%d" % k for k in range(size)]
    hashes = [leaf_hash(leaf) for leaf in leaves]
    level = hashes
    while len(level) > 1:
        pairs = [
            hashlib.sha256(b"\1" + level[k] + level[k + 1]).digest()
            for k in range(0, len(level) - 1, 2)
        ]
        level = [*pairs, *level[len(pairs) * 2 :]]
    for index in range(size):
        steps = joined_up(leaves[index], index, size, inclusion_path(hashes, index))
        assert (steps[-1].node if steps else hashes[0]) == level[0]
