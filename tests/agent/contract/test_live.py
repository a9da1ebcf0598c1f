"""A live message proves itself or is refused."""

from __future__ import annotations

import random
import zlib
from typing import Any

import pytest

from joulemark_agent.contract.batch import MAX_PLAIN_BYTES, Batch, batch_bytes, inflate
from joulemark_agent.contract.canonical import canonical_bytes, parse_canonical
from joulemark_agent.contract.errors import EvidenceError
from joulemark_agent.contract.live import Live, live_around, live_bytes, parse_live
from joulemark_agent.contract.tree import Edge, append
from support import evidence
from support.evidence import KEYS, METER

SITE = evidence.documents()
GROUPS = evidence.leaf_groups(
    SITE, METER, evidence.meter_readings(SITE, [1000] * 60), KEYS, slots_per_batch=5
)
BATCHES = evidence.seal(SITE, METER, GROUPS, KEYS, cosigned=False)


def edge_before(index: int) -> Edge:
    return append(Edge(), [leaf for batch in BATCHES[:index] for leaf in batch.leaves])


def message(index: int = 7) -> bytes:
    return live_bytes(Live(edge_before(index), BATCHES[index]))


def changed(**fields: Any) -> bytes:
    content = parse_canonical(zlib.decompress(message()))
    return zlib.compress(canonical_bytes(content | fields))


@pytest.mark.parametrize("index", range(len(BATCHES)))
def test_what_was_sent_is_what_is_read(index):
    live, head, envelope = parse_live(message(index))
    assert live.batch.leaves == BATCHES[index].leaves
    assert head.size == BATCHES[index].size
    assert envelope["records"] == len(GROUPS[index]) - 2 * (index == 0)
    assert live.batch.documents == {}, "they stay with the backlog"


@pytest.mark.parametrize("index", range(1, len(BATCHES)))
def test_a_batch_that_is_not_read_makes_the_same_message(index):
    plain = inflate(batch_bytes(BATCHES[index]), MAX_PLAIN_BYTES)
    assert live_around(plain, edge_before(index)) == message(index)


def test_another_edge_is_refused():
    other = edge_before(7)
    wrong = Edge(other.size, (bytes(32), *other.hashes[1:]))
    with pytest.raises(EvidenceError, match="does not follow the edge"):
        parse_live(live_bytes(Live(wrong, BATCHES[7])))


def test_changed_leaves_are_refused():
    batch = BATCHES[7]
    leaves = (batch.leaves[0].replace(b"4000", b"5000"), *batch.leaves[1:])
    assert leaves != batch.leaves
    with pytest.raises(EvidenceError, match="do not give the signed root"):
        parse_live(
            live_bytes(Live(edge_before(7), Batch(batch.first_seq, leaves, batch.checkpoint)))
        )


@pytest.mark.parametrize(
    "fields",
    [{"v": 2}, {"edge": "x"}, {"edge": ["AA=="]}, {"edge": [1]}, {"batch": 3}, {"more": 1}],
)
def test_another_form_is_refused(fields):
    with pytest.raises(EvidenceError):
        parse_live(changed(**fields))


def test_any_flipped_bit_is_refused_or_gives_the_same():
    rng, data, good = random.Random(1), message(), parse_live(message())
    for _ in range(300):
        flipped = bytearray(data)
        flipped[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        try:
            assert parse_live(bytes(flipped)) == good
        except EvidenceError:
            continue
