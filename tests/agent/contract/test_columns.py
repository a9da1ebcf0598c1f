"""Any lines come back from columns byte for byte; what is no columns is refused in our words."""

import struct
import zlib

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from joulemark_agent.contract import numerals
from joulemark_agent.contract.canonical import canonical_bytes
from joulemark_agent.contract.columns import pack, unpack
from joulemark_agent.contract.errors import EvidenceError
from joulemark_agent.contract.integers import Reader, Writer
from support.columns import framed, opened

LIMIT = 1 << 20

pieces = st.one_of(
    st.binary(max_size=12),
    st.integers(-(10**19), 10**19).map(b"%d".__mod__),
    st.decimals(allow_nan=False, allow_infinity=False, places=3).map(lambda d: str(d).encode()),
    st.sampled_from([b"-0", b"0", b"00", b"0.0", b"1.0", b"1.5", b"+1", b"1e5", b"-0.5", b".5"]),
    st.binary(min_size=2, max_size=2).map(lambda data: data.hex().encode()),
    st.binary(min_size=4, max_size=4).map(lambda data: data.hex().encode()),
    st.sampled_from([b"%", b"%b", b"\0", b"\n", b"\x01\x02", b"a" * 64]),
    st.sampled_from([b"A" * 43 + b"=", b"/" * 43 + b"=", b"B" * 91 + b"="]),
)  # fmt: skip


@st.composite
def tables(draw):
    """Lines that look like each other, as records do, and now and then another one."""
    kinds = [draw(pieces) for _ in range(draw(st.integers(1, 8)))]
    is_varied = [draw(st.booleans()) for _ in kinds]
    rows = [
        b'"'.join(
            draw(pieces) if varied else kind for kind, varied in zip(kinds, is_varied, strict=True)
        )
        for _ in range(draw(st.integers(0, 12)))
    ]
    return rows + draw(st.lists(st.binary(max_size=30), max_size=2))


@settings(max_examples=60)
@given(tables() | st.lists(st.binary(max_size=40), max_size=12))
@example([])
@example([b""])
@example([b'"', b'"'])
@example([b'"1"', b'"99999999999999999999"'])
@example([b'"9"', b'"-1000000000000000000"', b'"0.0000000000000001"'])
def test_any_lines_come_back_byte_for_byte(lines):
    assert unpack(pack(lines), LIMIT, 100) == lines


@settings(max_examples=40)
@given(st.data())
def test_records_come_back_byte_for_byte_however_their_words_are_coded(data):
    rows = data.draw(st.integers(2, 9))
    floats = data.draw(st.lists(st.floats(width=32), min_size=rows, max_size=rows))
    counts = data.draw(st.lists(st.integers(-(2**15), 2**15 - 1), min_size=rows, max_size=rows))
    scale = data.draw(st.sampled_from([1, 10, -7]))
    swapped = data.draw(st.booleans())
    lines = []
    for number, count in zip(floats, counts, strict=True):
        word = struct.pack(">f", number)
        raw = struct.pack(">h", count) + (word[2:] + word[:2] if swapped else word)
        text = (
            repr(np.float32(number))
            .removeprefix("np.float32(")
            .removesuffix(")")
            .removesuffix(".0")
        )
        lines.append(canonical_bytes({"raw": [["input", 0, raw.hex()]],
                                      "val": {"a": text, "b": str(count * scale)}}))  # fmt: skip

    assert unpack(pack(lines), LIMIT, 100) == lines


def test_words_that_values_tell_cost_nothing():
    """The control: the same words, told by nothing."""
    watts = [500 + (7919 * at) % 1000 / 10 for at in range(96)]

    def record(at: int, raw: bytes) -> bytes:
        return b'{"raw":"%b","val":"%b"}' % (
            raw.hex().encode(),
            repr(watts[at]).removesuffix(".0").encode(),
        )

    told = [record(at, struct.pack(">f", watts[at])) for at in range(96)]
    other = [record(at, struct.pack(">f", watts[at] * 1.0001)) for at in range(96)]

    assert len(pack(told)) < len(pack(other)) - 96
    assert len(pack(told)) < len(zlib.compress(b"\n".join(told), 6)) / 2


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=40), st.integers(1, 5))
def test_any_numbers_come_back_from_tables(numbers, lines):
    table = np.resize(np.array(numbers, np.int64), (lines, len(numbers)))
    writer = Writer()
    writer.put(table)
    writer.put_series(table)
    writer.put_row([abs(number) for number in numbers])
    reader = Reader(writer.sections(), 10_000)

    assert (reader.take(*table.shape) == table).all()
    assert (reader.take_series(*table.shape) == table).all()
    assert reader.take_row(len(numbers)) == [abs(number) for number in numbers]
    reader.check_end()


@given(st.integers(-(10**18) + 1, 10**18 - 1), st.integers(0, 18))
def test_a_number_is_written_as_a_record_writes_it(number, places):
    [[text]] = numerals.written(np.array([[number]], np.int64), [places])
    whole, _, part = text.partition(b".")

    assert int(whole + part) * 10 ** (places - len(part)) == number or text == b"0"
    assert not part.endswith(b"0")
    assert text[:1] != b"."
    assert text != b"-0"


def test_a_flipped_bit_is_damage():
    lines = [b'{"seq":"%d","val":"%d.5"}' % (at, 100 + at * at) for at in range(30)]
    packed = pack(lines)
    for bit in range(8 * len(packed)):
        damaged = bytearray(packed)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(EvidenceError):
            unpack(bytes(damaged), LIMIT, 100)


def test_bombs_are_refused_before_there_is_memory_for_them():
    many = Writer()
    many.put_row([5000, 1])
    many.put_row([1] * 5000)
    wide = Writer()
    wide.put_row([2, 1])
    wide.put_row([1, 1])
    wide.put_row([])
    wide.put_row([2**60])
    long = Writer()
    long.put_row([1, 0])
    long.put_row([0])
    long.put_row([2**62])
    bombs = {
        "lines": framed(b"", b"", *many.sections()),
        "pieces": framed(b"", b"", *wide.sections()),
        "text": framed(b"", b"", *long.sections()),
        "inside": framed(b"", bytes(4 << 20), *long.sections()),
        "numbers": framed(b"", b"", bytes(4 << 20), b"", b"", b""),
    }
    for bomb in bombs.values():
        with pytest.raises(EvidenceError, match="not lines packed as columns"):
            unpack(bomb, LIMIT, 4096)


def test_a_template_may_not_grow_beyond_the_limit():
    lines = [b'"%b"%d' % (b"x" * 1000, at) for at in range(100)]
    packed = pack(lines)

    assert unpack(packed, 120_000, 100) == lines
    with pytest.raises(EvidenceError, match="more"):
        unpack(packed, 50_000, 100)
    with pytest.raises(EvidenceError, match="the most"):
        unpack(packed, 120_000, 99)


@settings(max_examples=40)
@given(st.data())
def test_whatever_stands_in_a_whole_frame_is_lines_or_refused(data):
    """Frames whose checksum is right and whose inside is not."""
    lines = [
        b'{"raw":"%08x","t":"%d","val":"%d.%d"}' % (at * 7919, 10**15 + at, at, at + 1)
        for at in range(6)
    ]  # fmt: skip
    digests, *parts = opened(pack(lines))
    chosen = data.draw(st.sampled_from([at for at, part in enumerate(parts) if part]))
    changed = bytearray(parts[chosen])
    for _ in range(data.draw(st.integers(1, 3))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    parts[chosen] = bytes(changed)
    try:
        found = unpack(framed(digests, *parts), LIMIT, 100)
    except EvidenceError:
        return
    assert sum(map(len, found)) <= LIMIT
