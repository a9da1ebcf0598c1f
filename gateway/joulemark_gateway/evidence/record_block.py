"""Many records of one device at once: which of them are, byte for byte, what they must be. Pure.

A record that an agent of this version writes has one form: the same words in the same order, and
between them numbers, the raw words and the decimals that these decode to. One compiled pass looks
whether the bytes of a record are that form and the decimals those of its raw words. Where they are,
the record is *proven*: `history` would read the same from it, and find nothing wrong. Where they
are not, or may not be, nothing is said, and it is read the long way: that alone refuses.

Decimals are compared as float64, which is exact here: two decimals of up to 15 significant digits
are equal where their float64 are (DBL_DIG of C), the record's has no more, and that of its raw
words has no more by its type and scale, or by its size.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from joulemark_agent.contract.canonical import MAX_VALUES, canonical_bytes
from joulemark_agent.contract.profile import Point, Profile, SunspecPoint
from joulemark_agent.contract.reading import VERSION
from joulemark_agent.kernels.decode import fraction
from joulemark_agent.kernels.decode_block import BlockPlan, Layout, block_plan, decode_block
from joulemark_agent.kernels.jit import compiled

Bytes = NDArray[np.uint8]
Integers = NDArray[np.int64]

BOOT, SLOT_US, T_MONO_NS, T_UTC_US, ERROR_US = range(5)  # columns of `Block.numbers`
_MOST_FORMS = 8  # of the records of one part: points with periods of their own make several
_LONGEST = 2 * MAX_VALUES  # bytes of a record of which nobody has to count the values
_EXACT = 10**15  # decimals of fewer digits are equal where their float64 are
_MOST_PLACES = 22  # 10^22 is the last power of ten that is a float64 without loss
_TENS = np.array([10.0**n for n in range(_MOST_PLACES + 1)])
_FLOAT_DIGITS = {"float16": 5, "float32": 9}  # of the shortest decimal, at most
_QUOTE, _COMMA, _MINUS, _POINT, _ZERO, _NINE = (ord(sign) for sign in '",-.09')
_OPEN, _CLOSE, _A, _F = (ord(sign) for sign in "{}af")


class Form(NamedTuple):
    """What the records of one device have in common that answer the same requests."""

    device: str
    epoch: int
    layout: Layout
    sync: str


class Block(NamedTuple):
    """What proven records say, one row each."""

    seq: Integers  # which leaves of the tree they are, shape (n,)
    numbers: Integers  # shape (n, 5)
    values: NDArray[np.float64]  # NaN where there is none, shape (n, points)
    quality: Bytes  # 0 where the value is good, shape (n, points)
    codes: tuple[str | None, ...]  # what the numbers of `quality` stand for
    told: Integers  # how many values each has, shape (n,)
    sync: str


def proven(profile: Profile, device: str, epoch: int, leaves: Mapping[int, bytes]) -> list[Block]:
    """The records among some leaves of a tree that are proven.

    Args:
        profile: of the device.
        device: id of the tree's device.
        epoch: of the tree.
        leaves: by the index in the tree that each has to have; canonical or not, records or not.
    """
    found: list[Block] = []
    left = {
        seq: leaf
        for seq, leaf in leaves.items()
        if leaf.startswith(_BEGIN) and len(leaf) < _LONGEST
    }
    for _ in range(_MOST_FORMS):
        if not left:
            break
        seq = next(iter(left))
        form = _form_of(left[seq], device, epoch)
        template = None if form is None else _template(profile, form)
        if form is not None and template is not None:
            block = _fitting(template, form.sync, left)
            found.append(block)
            for one in block.seq.tolist():
                del left[one]
        left.pop(seq, None)
    return found


def warm(profile: Profile) -> None:
    """Compile what `proven` runs, or load it from the cache; any profile of numbers will do."""
    template = _template(profile, Form("", 0, (), ""))
    if template is not None:
        _fitting(template, "", {0: bytes(template.least_bytes)})


def _form_of(leaf: bytes, device: str, epoch: int) -> Form | None:
    """The form that a leaf seems to have; the kernel sees whether it has."""
    try:
        start = leaf.index(_RAW) + len(_RAW)
        raw = json.loads(leaf[start : leaf.index(_SEQ, start)])
        layout = tuple((str(table), int(at), len(words) // 2) for table, at, words in raw)
        start = leaf.index(_SYNC, start) + len(_SYNC)
        return Form(device, epoch, layout, leaf[start : leaf.index(b'"', start)].decode())
    except (ValueError, TypeError, RecursionError):
        return None


class _Template(NamedTuple):
    """A form as the kernels need it. Texts stand one behind the other, with where each begins."""

    plan: BlockPlan
    parts: tuple[Bytes, Integers]  # what stands between the numbers and the raw words
    sizes: Integers  # bytes of each response
    names: tuple[Bytes, Integers]  # '"energy_wh":"', as they are sorted in a record
    order: Integers  # which point of the profile each name is
    below: NDArray[np.float64]  # a smaller value of the point has no more than 15 digits
    least_bytes: int  # of a record


@lru_cache(maxsize=256)
def _template(profile: Profile, form: Form) -> _Template | None:
    """The template of a form; None: values of no fixed length, or odd names."""
    try:
        plan = block_plan(profile, form.layout)
    except ValueError:
        return None
    names = [point.name for point in plan.points]
    if not all(name.isascii() for name in names) or len(set(names)) < len(names):
        return None
    order = sorted(range(len(names)), key=names.__getitem__)
    device, sync = canonical_bytes(form.device), canonical_bytes(form.sync)
    places = [canonical_bytes([table, address])[1:-1] for table, address, _ in form.layout]
    parts = [
        _BEGIN,
        b',"dev":%b,"epoch":%d,"q":' % (device, form.epoch),
        *((b',"raw":[[' if i == 0 else b'"],[') + at + b',"' for i, at in enumerate(places)),
        b'"]],"seq":"' if places else b',"raw":[],"seq":"',
        b'","slot":"',
        b'","t_mono_ns":"',
        b'","t_utc_us":"',
        b'","tq":{"err_us":"',
        b'","sync":%b},"v":%d,"val":' % (sync, VERSION),
    ]
    quoted = [canonical_bytes(names[k]) + b':"' for k in order]
    sizes = np.array([size for _, _, size in form.layout], np.int64)
    least = sum(map(len, parts)) + 2 * int(sizes.sum()) + sum(len(name) + 2 for name in quoted)
    below = np.array([_below(point) for point in plan.points])
    return _Template(
        plan, _flat(parts), sizes, _flat(quoted), np.array(order, np.int64), below, least
    )


def _below(point: Point | SunspecPoint) -> float:
    """Below which size the exact decimal of a point has no more than 15 significant digits.

    A float64 that is passed on as it came is its own shortest decimal: if another of 15 digits
    gives the same float64, it is the same decimal.
    """
    numerator, places = fraction(point.scale)
    added, added_places = fraction(point.offset) if isinstance(point, Point) else (0, 0)
    has_factor = (
        point.scale_register if isinstance(point, Point) else point.scale_offset
    ) is not None
    if point.type == "float64":
        return np.inf if (numerator, places, added, has_factor) == (1, 0, 0, False) else 0.0
    if point.type.startswith("float"):
        is_short = 10 ** _FLOAT_DIGITS[point.type] * abs(numerator) <= _EXACT
        return np.inf if is_short and not added else 0.0
    common = max(places, added_places)
    most = (1 << 16 * point.words) * abs(numerator) * 10 ** (common - places)
    if most + abs(added) * 10 ** (common - added_places) < _EXACT and not (added and has_factor):
        return np.inf  # a factor moves the point only
    common = max(places + (_LARGEST_FACTOR if has_factor else 0), added_places)
    return 0.5 * _EXACT / 10.0**common


def _flat(texts: Sequence[bytes]) -> tuple[Bytes, Integers]:
    """Texts one behind the other, and where each begins and the last ends."""
    ends = np.cumsum([0, *map(len, texts)], dtype=np.int64)
    return np.frombuffer(b"".join(texts), np.uint8), ends


def _fitting(template: _Template, sync: str, leaves: Mapping[int, bytes]) -> Block:
    """Those of the leaves that have the form and whose decimals are those of their raw words."""
    some = {seq: leaf for seq, leaf in leaves.items() if len(leaf) >= template.least_bytes}
    text, edges = _flat(list(some.values()))
    n, seqs = len(some), np.fromiter(some, np.int64)
    numbers, spans = np.zeros((n, 5), np.int64), np.zeros((n, 4), np.int64)
    data = np.zeros((n, int(template.sizes.sum())), np.uint8)
    fits = np.zeros(n, np.bool_)
    _take_apart(text, edges, *template.parts, template.sizes, seqs, numbers, data, spans, fits)
    rows = np.flatnonzero(fits)
    values, quality, codes = decode_block(template.plan, data[rows])
    quoted = _flat([b"" if code is None else canonical_bytes(code)[1:] for code in codes])
    told = np.full(rows.size, -1, np.int64)
    _compare(text, spans[rows], *template.names, template.order, *quoted, values, quality,
             template.below, told)  # fmt: skip
    is_told = told >= 0
    rows = rows[is_told]
    return Block(
        seqs[rows], numbers[rows], values[is_told], quality[is_told], codes, told[is_told], sync
    )


@compiled
def _take_apart(  # noqa: PLR0917 -- compiled code takes its arguments by position
    text: Bytes,
    edges: Integers,
    parts: Bytes,
    part_edges: Integers,
    sizes: Integers,
    seqs: Integers,
    numbers: Integers,
    data: Bytes,
    spans: Integers,
    fits: NDArray[np.bool_],
) -> None:
    """The numbers and raw words of each leaf, and where the codes and values stand in it."""
    responses = sizes.size
    for i in range(edges.size - 1):
        end = edges[i + 1]
        at = _after(text, edges[i], end, parts, part_edges, 0)
        numbers[i, 0], at = _whole(text, at, end)
        at = _after(text, at, end, parts, part_edges, 1)
        if at < 0 or at >= end or text[at] != _OPEN:
            continue
        close = at + 1
        while close < end and text[close] != _CLOSE:
            close += 1
        spans[i, 0], spans[i, 1] = at + 1, close
        at, filled = close + 1, 0
        for k in range(responses):
            at = _after(text, at, end, parts, part_edges, 2 + k)
            at = _unhexed(text, at, end, data[i, filled : filled + sizes[k]])
            filled += sizes[k]
        at = _after(text, at, end, parts, part_edges, 2 + responses)
        seq, at = _whole(text, at, end)
        if seq != seqs[i]:
            continue
        for k in range(1, 5):
            at = _after(text, at, end, parts, part_edges, 2 + responses + k)
            numbers[i, k], at = _whole(text, at, end)
        at = _after(text, at, end, parts, part_edges, 7 + responses)
        if at < 0 or at + 3 > end or text[at] != _OPEN:
            continue
        spans[i, 2], spans[i, 3] = at + 1, end - 2
        fits[i] = text[end - 2] == _CLOSE and text[end - 1] == _CLOSE


@compiled
def _compare(  # noqa: PLR0917 -- as above
    text: Bytes,
    spans: Integers,
    names: Bytes,
    name_edges: Integers,
    order: Integers,
    codes: Bytes,
    code_edges: Integers,
    values: NDArray[np.float64],
    quality: Bytes,
    below: NDArray[np.float64],
    told: Integers,
) -> None:
    """How many values each record tells, if they and the codes are these; else -1 stays."""
    for i in range(spans.shape[0]):
        at, end = spans[i, 0], spans[i, 1]
        is_first = True
        for k in range(order.size):
            code = quality[i, order[k]]
            if code:
                at = _next(text, at, end, is_first)
                at = _after(text, at, end, names, name_edges, k)
                at = _after(text, at, end, codes, code_edges, code)
                is_first = False
        if at != end:
            continue
        at, end, count = spans[i, 2], spans[i, 3], 0
        for k in range(order.size):
            value = values[i, order[k]]
            if np.isnan(value):
                continue
            at = _next(text, at, end, count == 0)
            at = _after(text, at, end, names, name_edges, k)
            said, at = _decimal(text, at, end)
            if at < 0 or said != value or not abs(value) < below[order[k]]:
                at = -1
                break
            at = at + 1 if at < end and text[at] == _QUOTE else -1
            count += 1
        if at == end:
            told[i] = count


@compiled
def _after(  # noqa: PLR0917 -- as above
    text: Bytes, at: int, end: int, parts: Bytes, edges: Integers, k: int
) -> int:
    """Where the text goes on after part k, or -1; also where it was lost before."""
    start, after = edges[k], edges[k + 1]
    if at < 0 or at + after - start > end:
        return -1
    for i in range(start, after):
        if text[at] != parts[i]:
            return -1
        at += 1
    return at


@compiled
def _next(text: Bytes, at: int, end: int, is_first: bool) -> int:
    """Where the next name of an object begins: behind a comma, but for the first; or -1."""
    if is_first or at < 0:
        return at
    return at + 1 if at < end and text[at] == _COMMA else -1


@compiled
def _whole(text: Bytes, at: int, end: int) -> tuple[np.int64, int]:
    """A number of up to 15 or, if a text, 18 digits without zeros before it; and where it ends."""
    if at < 0:
        return np.int64(0), -1
    number, start = np.int64(0), at
    while at < end and _ZERO <= text[at] <= _NINE and at - start < 19:
        number = number * 10 + np.int64(text[at] - _ZERO)
        at += 1
    most = 18 if text[start - 1] == _QUOTE else 15
    if at == start or at - start > most or (text[start] == _ZERO and at - start > 1):
        return np.int64(0), -1
    return number, at


@compiled
def _unhexed(text: Bytes, at: int, end: int, data: Bytes) -> int:
    """Fill in the bytes of lower-case hexadecimal digits; where they end, or -1."""
    if at < 0 or at + 2 * data.size > end:
        return -1
    for i in range(2 * data.size):
        sign = text[at + i]
        if _ZERO <= sign <= _NINE:
            digit = sign - _ZERO
        elif _A <= sign <= _F:
            digit = sign - _A + 10
        else:
            return -1
        data[i >> 1] = (data[i >> 1] << 4) | digit
    return at + 2 * data.size


@compiled
def _decimal(text: Bytes, at: int, end: int) -> tuple[float, int]:
    """A decimal in its one form, of up to 15 digits, rounded once; and where it ends, or -1."""
    if at < 0:
        return 0.0, -1
    is_negative = at < end and text[at] == _MINUS
    at += is_negative
    start, number, point = at, np.int64(0), -1
    while at < end and at - start <= _MOST_PLACES + 1:
        if text[at] == _POINT and point < 0:
            point = at
        elif _ZERO <= text[at] <= _NINE and number < _EXACT:
            number = number * 10 + np.int64(text[at] - _ZERO)
        else:
            break
        at += 1
    whole = at if point < 0 else point
    places = 0 if point < 0 else at - point - 1
    if whole == start or (text[start] == _ZERO and whole - start > 1):
        return 0.0, -1  # no digit before the point, or zeros before it
    if point >= 0 and (places == 0 or text[at - 1] == _ZERO):
        return 0.0, -1
    if number >= _EXACT or places > _MOST_PLACES or (is_negative and number == 0):
        return 0.0, -1
    value = float(number) / _TENS[places]
    return (-value if is_negative else value), at


_BEGIN, _RAW, _SEQ, _SYNC = b'{"boot":', b',"raw":', b',"seq":', b'"sync":"'
_LARGEST_FACTOR = 10  # SunSpec 1.1: a scale factor is from -10 to 10
