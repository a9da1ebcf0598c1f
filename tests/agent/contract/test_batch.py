"""Batches on the wire: the same batch, the same bytes; hostile bytes are refused small."""

import zlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from joulemark_agent.contract import batch as batch_module
from joulemark_agent.contract.batch import (
    COLUMNS_FROM,
    MAX_LEAVES,
    MAX_PLAIN_BYTES,
    MAX_WIRE_BYTES,
    Batch,
    batch_bytes,
    batch_of,
    columns_bytes,
    inflate,
    parse_batch,
    parse_u64,
    plain_bytes,
    plain_of,
    sealed_bytes,
    text_bytes,
)
from joulemark_agent.contract.canonical import canonical_bytes, digest_hex, parse_canonical
from joulemark_agent.contract.columns import pack
from joulemark_agent.contract.errors import EvidenceError
from joulemark_agent.contract.frame import is_packed

lines = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=30).map(str.encode)
batches = st.builds(
    lambda first, leaves, texts: Batch(
        first, tuple(leaves), "note", {digest_hex(t): t for t in texts}
    ),
    st.integers(0, 2**63),
    st.lists(lines, min_size=1, max_size=5),
    st.lists(lines, max_size=3),
)


@given(batches)
def test_a_batch_comes_back_whole(batch):
    assert parse_batch(batch_bytes(batch)) == batch
    assert batch_bytes(parse_batch(batch_bytes(batch))) == batch_bytes(batch)


@given(batches)
def test_a_batch_comes_back_whole_from_columns(batch):
    packed = columns_bytes(batch)

    assert parse_batch(packed) == batch
    assert plain_of(packed) == plain_of(batch_bytes(batch)) == plain_bytes(batch)
    assert text_bytes(packed) == text_bytes(batch_bytes(batch)) == batch_bytes(batch)


def test_many_leaves_are_sealed_as_columns_and_few_as_text():
    few, many = Batch(0, (b"{}",) * (COLUMNS_FROM - 1), "note"), Batch(0, (b"{}",) * 99, "note")

    assert (is_packed(sealed_bytes(few)), is_packed(sealed_bytes(many))) == (False, True)


def in_columns(*leaves, **fields):
    head = {"checkpoint": "note", "documents": {}, "first_seq": "0", "leaves": [""], "v": 1}
    return pack([canonical_bytes({**head, **fields}), *leaves])


def changed(**fields):
    content = parse_canonical(inflate(batch_bytes(Batch(0, (b"{}",), "note")), MAX_PLAIN_BYTES))
    return zlib.compress(canonical_bytes({**content, **fields}))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not zlib",
        bytes(MAX_WIRE_BYTES + 1),
        batch_bytes(Batch(0, (b"{}",), "note")) + b"x",
        batch_bytes(Batch(0, (b"{}",), "note"))[:-1],
        zlib.compress(bytes(MAX_PLAIN_BYTES + 1)),
        zlib.compress(b"[]"),
        changed(v=2),
        changed(extra=1),
        changed(leaves=[]),
        changed(leaves=["a\nb"]),
        changed(leaves=[1]),
        changed(leaves=["x"] * 4097),
        changed(first_seq="01"),
        changed(first_seq="-1"),
        changed(first_seq=str(2**64)),
        changed(first_seq=0),
        changed(checkpoint=None),
        changed(documents={"0" * 64: "other"}),
        changed(documents=[]),
        pack([]),
        pack([b"x"]),
        pack([b"[" * 9000]),
        in_columns(),
        in_columns(b"{}", v=2),
        in_columns(b"{}", extra=1),
        in_columns(b"{}", leaves=[]),
        in_columns(b"{}", leaves=["{}"]),
        in_columns(b"{}", leaves=["", ""]),
        in_columns(b"a\nb"),
        in_columns(b"\xff"),
        in_columns(*[b"x"] * 4097),
        in_columns(b"{}", first_seq="01"),
        in_columns(b"{}", documents={"0" * 64: "other"}),
    ],
)
def test_anything_else_is_refused(data):
    with pytest.raises(EvidenceError):
        parse_batch(data)


def test_what_no_batch_may_unpack_to_is_refused():
    with pytest.raises(EvidenceError):
        parse_batch(in_columns("🏭".encode() * MAX_PLAIN_BYTES))


def test_a_bomb_is_refused_without_being_unpacked():
    """The control unpacks all of it first."""
    bomb = zlib.compress(bytes(4 * MAX_PLAIN_BYTES), 9)
    assert len(bomb) < MAX_WIRE_BYTES
    assert len(zlib.decompress(bomb)) > MAX_PLAIN_BYTES

    with pytest.raises(EvidenceError, match="unpacks to more"):
        inflate(bomb, MAX_PLAIN_BYTES)


@pytest.mark.parametrize("value", ["", "00", "+1", "1.0", "\u0661", " 1", 1, None, str(2**64)])
def test_a_number_in_another_form_is_refused(value):
    with pytest.raises(EvidenceError):
        parse_u64(value, "seq")


def verdict(plain):
    """The batch of these bytes, or the code of the refusal."""
    try:
        return batch_of(plain)
    except EvidenceError as error:
        return error.code


def read_whole(monkeypatch, plain):
    """The verdict where the leaves are not taken out before the rest is read."""
    with monkeypatch.context() as patched:
        patched.setattr(batch_module, "_without_leaves", lambda plain: (plain, []))
        return verdict(plain)


LEAF_TEXTS = st.one_of(
    st.text(max_size=12), st.text('{}[]:,"\\ \n\0a\x7f0', max_size=12), st.just('","leaves":["')
)
FRAMES = st.sampled_from(
    [{}, {"v": 2}, {"first_seq": 0}, {"documents": {"a": "x", "leaves": ["y"]}}, {"more": "1"}]
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(leaves=st.lists(LEAF_TEXTS, max_size=6), frame=FRAMES, data=st.data())
def test_leaves_that_are_taken_out_first_change_no_verdict(monkeypatch, leaves, frame, data):
    content = {"checkpoint": "c\n\n— c", "documents": {}, "first_seq": "0", "v": 1}
    plain = canonical_bytes({**content, "leaves": leaves, **frame})
    assert verdict(plain) == read_whole(monkeypatch, plain)
    at = data.draw(st.integers(0, len(plain)))
    more = data.draw(st.sampled_from([b"", b'"', b"\\", b'\\"', b",", b'","', b" ", b"\n", b"a"]))
    cut = data.draw(st.integers(0, 2))
    damaged = plain[:at] + more + plain[at + cut :]
    assert verdict(damaged) == read_whole(monkeypatch, damaged)


@pytest.mark.parametrize("count", [MAX_LEAVES, MAX_LEAVES + 1])
def test_no_more_leaves_are_taken_out_than_a_batch_may_hold(monkeypatch, count):
    content = {"checkpoint": "c", "documents": {}, "first_seq": "0", "leaves": ["{}"] * count}
    plain = canonical_bytes({**content, "v": 1})
    assert verdict(plain) == read_whole(monkeypatch, plain)
    assert (verdict(plain) == "bad_batch") == (count > MAX_LEAVES)


def test_letters_beyond_ascii_outside_of_the_leaves_count_for_all_of_them(monkeypatch):
    content = {"checkpoint": "\u2014", "documents": {}, "first_seq": "0", "v": 1}
    plain = canonical_bytes({**content, "leaves": ["a" * (MAX_PLAIN_BYTES // 2)]})
    assert verdict(plain) == read_whole(monkeypatch, plain) == "bad_batch"
