"""RFC 6962 trees: known roots, and the law that appending in parts changes nothing."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulemark_agent.contract.tree import EMPTY_ROOT, Edge, append, leaf_hash, node_hash, root

# The eight leaves and roots that certificate-transparency implementations test against.
LEAVES = [
    bytes.fromhex(text)
    for text in (
        "", "00", "10", "2021", "3031", "40414243", "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]  # fmt: skip
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
leaf_lists = st.lists(st.binary(max_size=8), max_size=70)


def by_definition(leaves):
    """MTH of RFC 6962 section 2.1, word for word."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaf_hash(leaves[0])
    k = 1 << ((len(leaves) - 1).bit_length() - 1)
    return node_hash(by_definition(leaves[:k]), by_definition(leaves[k:]))


def test_the_known_roots_are_reproduced():
    assert [root(append(Edge(), LEAVES[:n])).hex() for n in range(1, 9)] == ROOTS
    assert root(Edge()) == EMPTY_ROOT


@given(leaf_lists)
def test_the_edge_gives_the_root_of_the_definition(leaves):
    assert root(append(Edge(), leaves)) == by_definition(leaves)


@given(leaf_lists, st.integers(0, 70))
def test_appending_in_two_parts_changes_nothing(leaves, cut):
    edge = append(append(Edge(), leaves[:cut]), leaves[cut:])

    assert edge == append(Edge(), leaves)
    assert Edge.from_bytes(edge.size, edge.to_bytes()) == edge


@given(leaf_lists.filter(bool), st.data())
def test_any_changed_leaf_changes_the_root(leaves, data):
    i = data.draw(st.integers(0, len(leaves) - 1))
    other = [*leaves[:i], leaves[i] + b"\x00", *leaves[i + 1 :]]

    assert root(append(Edge(), other)) != root(append(Edge(), leaves))


def test_a_leaf_cannot_pass_for_a_node():
    """The control hashes without the prefixes of RFC 6962: there the forgery has the same root."""
    left, right = leaf_hash(b"a"), leaf_hash(b"b")
    forged = [left + right]

    assert root(append(Edge(), forged)) != root(append(Edge(), [b"a", b"b"]))
    assert hashlib.sha256(forged[0]).digest() == hashlib.sha256(left + right).digest()


@pytest.mark.parametrize(("size", "length"), [(3, 32), (1, 0), (-1, 0), (2, 33)])
def test_a_damaged_edge_is_refused(size, length):
    with pytest.raises(ValueError, match="not the edge"):
        Edge.from_bytes(size, bytes(length))
