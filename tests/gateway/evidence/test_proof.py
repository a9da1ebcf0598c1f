"""Inclusion proofs over trees of every small size, against the tree's own hashing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulemark_agent.contract.tree import Edge, append, leaf_hash, root
from joulemark_gateway.evidence.proof import inclusion_path, root_of_path


@given(st.integers(1, 70), st.data())
def test_a_path_leads_to_the_root_from_its_own_leaf_and_place_only(size, data):
    leaves = [b"leaf %d" % i for i in range(size)]
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
