"""Records that are kept packed are the same records, and give the same history."""

import pytest

from joulemark_agent.kernels.decode import decode_responses
from joulemark_gateway.evidence import history
from joulemark_gateway.evidence.packed import Packed
from support.evidence import METER, build_tree, leaves_of
from support.plant import small


@pytest.fixture(scope="module")
def trees():
    leaves = leaves_of(build_tree(small().site, METER, small().results[METER]))
    return history.parse_tree(leaves), history.parse_tree(leaves, packed=True)


def test_packed_records_are_those_that_were_parsed(trees):
    plain, packed = trees
    assert isinstance(packed.records, Packed)
    assert not isinstance(plain.records, Packed)
    assert len(packed.records) == len(plain.records) > 512, "more than two blocks"
    assert tuple(packed.records) == plain.records
    for places in (
        slice(0, 5),
        slice(250, 260),
        slice(-3, None),
        slice(5, 2),
        slice(None, None, 97),
    ):
        assert packed.records[places] == list(plain.records[places])
    for place in (0, 255, 256, -1):
        assert packed.records[place] == plain.records[place]
    with pytest.raises(IndexError):
        packed.records[len(plain.records)]


def test_their_columns_and_their_history_are_the_same(trees):
    plain, packed = trees
    for name in ("seq", "slot_us", "t_utc_us", "values", "sync"):
        assert list(getattr(packed.columns, name)) == list(getattr(plain.columns, name))
    documents = small().site.by_digest()
    one, other = (history.history_of(tree, documents) for tree in trees)
    for name in one.good:
        assert one.good[name].tolist() == other.good[name].tolist()
    for name in one.counters:
        assert one.counters[name].tolist() == other.counters[name].tolist()
    assert set(one.gauges) == set(other.gauges)


def test_a_tree_is_decoded_once_for_check_and_history(monkeypatch):
    leaves = leaves_of(build_tree(small().site, METER, small().results[METER]))
    tree, documents = history.parse_tree(leaves, packed=True), small().site.by_digest()
    profile, asked = history.profile_of(tree, documents), []

    def counting(*words):
        asked.append(words)
        return decode_responses(*words)

    monkeypatch.setattr("joulemark_gateway.evidence.history.decode_responses", counting)
    history.check_decode(tree, profile)
    history.history_of(tree, documents)
    assert len(asked) == len(tree.records)
