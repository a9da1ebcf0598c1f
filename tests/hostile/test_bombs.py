"""Bombs before every reader: refused in our own words, in little memory; the control falls."""

import json
import os
import subprocess
import sys

import pytest

from joulemark_agent.contract.batch import MAX_PLAIN_BYTES, check_memory
from joulemark_agent.contract.canonical import MAX_VALUES, check_values, parse_canonical
from joulemark_agent.contract.errors import EvidenceError
from joulemark_agent.contract.packed import unpacked
from joulemark_agent.contract.reading import Reading, Response, TimeQuality, record_leaf
from joulemark_gateway.evidence.bundle import packed
from support.bombs import prepare
from support.child import search_path

MOST_MB = 100.0


def taken(kind, *paths):
    """What a process of its own tells of them."""
    done = subprocess.run(
        [sys.executable, "-m", "support.bombs", kind, *map(str, paths)],
        capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": search_path()},
    )  # fmt: skip
    return json.loads(done.stdout)


@pytest.mark.endurance
def test_every_bomb_is_refused_in_little_memory_and_the_control_falls(tmp_path):
    made = prepare(tmp_path)
    ours = taken("ours", *sorted(tmp_path.iterdir()))

    assert ours["tried"] > 200
    assert ours["unforeseen"] == []
    assert ours["peak_mb"] <= MOST_MB, ours
    for bombs in (made["yaml_bomb"][:1], made["zip_bomb"][:2]):  # 271 bytes; 100 kB
        naive = taken("naive", *(tmp_path / name for name in bombs))
        assert naive["peak_mb"] > 4 * MOST_MB, "the control must fail"


@pytest.mark.parametrize("element", [b"[]", b"{}", b"0", b'""', b'{"":[]}'])
def test_more_values_than_are_meant_are_counted_before_they_are_built(element):
    data = b"[" + b",".join([element] * 5000) + b"]"

    check_values(data, 4 * 5000)
    with pytest.raises(EvidenceError, match="more than 4000 values"):
        check_values(data, 4000)
    with pytest.raises(EvidenceError, match="values"):
        parse_canonical(b"[" + b",".join([b"0"] * (2 * MAX_VALUES)) + b"]")


def test_what_looks_like_values_inside_a_text_is_none():
    text = json.dumps('[],{},"\\ ' * 5000, separators=(",", ":")).encode()

    check_values(b"[" + text + b"]", 3)


@pytest.mark.parametrize(("letter", "width"), [("a", 1), ("é", 2), ("한", 2), ("🏭", 4)])
def test_letters_count_as_what_they_take_in_memory(letter, width):
    plain = letter.encode() + b"a" * (MAX_PLAIN_BYTES // width)

    check_memory(plain[:-8], 10)
    with pytest.raises(EvidenceError, match="memory"):
        check_memory(plain, 10)


def test_true_leaves_are_far_from_what_is_taken_for_a_bomb():
    """A thousand points that never change pack as well as anything true can."""
    values = {f"point_{i:04d}": "0" for i in range(1000)}
    responses = tuple(Response("holding", at, bytes(250)) for at in range(0, 2000, 125))
    leaves = [
        record_leaf(
            Reading("dev", at * 10**6, at * 10**6, at * 10**9, TimeQuality("ntp", 1500), responses),
            epoch=1, seq=at, boot=7, values=values, quality={},
        )
        for at in range(1000, 1200)
    ]  # fmt: skip
    plain = b"".join(leaf + b"\n" for leaf in leaves)

    assert unpacked(packed(leaves), 1 << 28) == plain
    with pytest.raises(ValueError, match="can be meant"):
        unpacked(packed([b"0" * 50_000_000]), 1 << 28)
