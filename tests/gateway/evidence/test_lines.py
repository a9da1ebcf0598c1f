"""Leaves that are unpacked block by block are those that were packed, in any order."""

import gzip
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulemark_agent.contract.canonical import canonical_bytes
from joulemark_agent.contract.errors import EvidenceError
from joulemark_agent.contract.sparse import line_of, withheld
from joulemark_gateway.evidence import lines
from joulemark_gateway.evidence.bundle import FORMAT, MANIFEST, Bundle
from joulemark_gateway.evidence.lines import Lines

LIMIT = 1 << 24
LEAVES = "evidence/a/1/leaves.jsonl.gz"
MANIFESTED = canonical_bytes({"format": FORMAT})


def packed(parts):
    return gzip.compress(b"".join(line_of(part) + b"\n" for part in parts), mtime=0)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(lines, "_BLOCK_BYTES", 3000)


@given(st.lists(st.binary(max_size=9000).map(bytes.hex).map(str.encode), min_size=1, max_size=60))
def test_what_was_packed_comes_out(leaves):
    found = Lines(packed(leaves), LIMIT)
    assert found.is_ended
    assert (len(found), list(found)) == (len(leaves), leaves)
    assert found.plain_bytes == sum(len(leaf) + 1 for leaf in leaves)


def test_any_place_and_any_stretch_is_found_again():
    draw = random.Random(1)
    leaves = [draw.randbytes(draw.randrange(400)).hex().encode() for _ in range(2000)]
    found = Lines(packed(leaves), LIMIT)
    assert len(found._marks) > 20, "the blocks are many"
    for _ in range(300):
        place, end = draw.randrange(-2000, 2000), draw.randrange(2000)
        assert found[place] == leaves[place]
        assert found[place:end] == leaves[place:end]
    with pytest.raises(IndexError):
        found[2000]


def test_runs_that_are_withheld_stand_among_the_leaves():
    away = withheld([b"1", b"2", b"3"], 1)
    assert list(Lines(packed([b"0", away, b"4"]), LIMIT)) == [b"0", away, b"4"]


def test_what_holds_no_leaves_is_refused_as_ever():
    def told(data):
        with pytest.raises(EvidenceError) as caught:
            Bundle(
                {
                    MANIFEST: b'{"format":"%s"}' % FORMAT.encode(),
                    "evidence/a/1/leaves.jsonl.gz": data,
                }
            ).tree("a", 1, 100_000)
        assert caught.value.code == "bad_leaves"
        return caught.value.what

    whole = packed([b"x" * 100] * 10)
    assert "does not end with a line" in told(gzip.compress(b"x" * 100))
    assert "does not end with a line" in told(gzip.compress(b""))
    assert "more lines than leaves have room" in told(gzip.compress(b"{}\n" * 100))
    assert "cut short" in told(whole[:-1])
    assert "cut short" in told(b"")
    assert "followed by other bytes" in told(whole + b"x")
    assert "damaged" in told(whole[:12] + b"x" + whole[13:])
    assert "more than 100000 bytes" in told(
        packed([random.Random(2).randbytes(60_000).hex().encode()])
    )
