"""Raw words that the values beside them tell: found by whoever packs, repeated by whoever unpacks.

A value was decoded from words, mostly by a factor. Whoever packs looks for lines of words that a
line of values gives back exactly, in every record, and names the rule; nothing of a profile is
needed. Two words that follow each other make one number, high word first or low word first.

Rules are the columns of a table of `FIELDS` lines:

| line | |
|---|---|
| 0 | FLOAT32 or LINEAR |
| 1 | ONE word, or two: HIGH_FIRST, LOW_FIRST |
| 2 | the first word |
| 3 | the line of values |
| 4 | LINEAR: the number in the first record |
| 5, 6 | LINEAR: it goes on by (5) where the value goes on by (6) |
| 6 | FLOAT32: the float is the value / 10^(6) |
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]
Words = NDArray[np.uint16]

FIELDS = 7
FLOAT32, LINEAR = 0, 1
ONE, HIGH_FIRST, LOW_FIRST = 0, 1, 2
_SHIFTS = (3, 5, -3, 2, 1, 6)  # between a value and its float
_MOST_PLACES = 30
_TENS = np.array([10.0**k for k in range(_MOST_PLACES + 1)])

_Rule = tuple[int, int, int, int, int, int, int]
_place = itemgetter(2)


def rules_of(words: Words, values: Numbers, point: Numbers) -> Numbers:
    """Rules for as many of the words as values tell; no word has two.

    Args:
        words: of every record, shape (words, records).
        values: whole numbers of numerals, shape (n, records).
        point: their places behind the point, shape (n,).
    """
    if not words.size:
        return np.zeros((FIELDS, 0), np.int64)
    found: list[_Rule] = []
    is_wanted = (words != words[:, :1]).any(axis=1)
    taken: set[int] = set()
    for look in (  # each is run when the one before it left something
        _floats(words, values, point, (0,)),
        _linears(words, values, is_wanted),
        _floats(words, values, point, _SHIFTS),
    ):
        for rule in look:
            told = {rule[2]} if rule[1] == ONE else {rule[2], rule[2] + 1}
            if taken.isdisjoint(told):
                taken |= told
                found.append(rule)
        is_wanted[list(taken)] = False
        if not is_wanted.any():
            break
    table = np.array(sorted(found, key=_place), np.int64).reshape(-1, FIELDS).T
    is_true = (_told(table, values) == _numbers(words, table)).all(axis=1)
    return table[:, is_true]


def free_of(count: int, rules: Numbers) -> NDArray[np.bool_]:
    """Which of so many words no rule tells.

    Raises:
        ValueError: a rule is for words that are not there.
    """
    is_free = np.ones(count, np.bool_)
    at, end = rules[2], rules[2] + (rules[1] != ONE)
    if ((at < 0) | (end >= count) | (end < 0)).any():
        raise ValueError("a rule is for words that are not there")
    is_free[at] = is_free[end] = False
    return is_free


def fill(words: Words, rules: Numbers, values: Numbers) -> None:
    """Put in the words that rules tell, where `free_of` says so.

    Raises:
        ValueError: there is no such rule.
    """
    kind, form, at, value, _, _, per = rules
    is_float = kind == FLOAT32
    is_known = np.where(is_float, np.abs(per) <= _MOST_PLACES, (kind == LINEAR) & (per > 0))
    if not (
        is_known & (value >= 0) & (value < len(values)) & (form >= 0) & (form <= LOW_FIRST)
    ).all():
        raise ValueError("a rule for words is of no known kind")
    told, is_wide = _told(rules, values), form != ONE
    words[at[~is_wide]] = told[~is_wide]
    words[(at + (form == LOW_FIRST))[is_wide]] = told[is_wide] >> 16
    words[(at + (form == HIGH_FIRST))[is_wide]] = told[is_wide] & 0xFFFF


def _told(rules: Numbers, values: Numbers) -> Numbers:
    """What each rule says, one number a record."""
    kind, form, _, value, first, step, per = rules
    lines: Numbers = values[value]
    is_float = kind == FLOAT32
    if is_float.all():
        return _floats_of(lines, per)
    steps: Numbers = (lines - lines[:, :1]) * step[:, None] // np.maximum(per, 1)[:, None]
    told: Numbers = first[:, None] + steps
    told &= np.where(form == ONE, 0xFFFF, 0xFFFFFFFF)[:, None]
    told[is_float] = _floats_of(lines[is_float], per[is_float])
    return told


def _floats_of(lines: Numbers, places: Numbers) -> Numbers:
    """The bits of the single precision floats next to line / 10^places, the same on any machine."""
    up, down = _TENS[np.maximum(-places, 0)], _TENS[np.maximum(places, 0)]
    exact: NDArray[np.float64] = lines.astype(np.float64) * up[:, None] / down[:, None]
    with np.errstate(over="ignore", under="ignore"):
        told: NDArray[np.float32] = exact.astype(np.float32)
    bits: NDArray[np.uint32] = told.view(np.uint32)
    return bits.astype(np.int64)


def _numbers(words: Words, rules: Numbers) -> Numbers:
    """The words of each rule as one number a record."""
    _, form, at, *_ = rules
    end = at + (form != ONE)
    high = np.where(form == LOW_FIRST, end, at)
    low = np.where(form == LOW_FIRST, at, end)
    wide = words[high].astype(np.int64) << 16 | words[low]
    return np.asarray(np.where((form == ONE)[:, None], words[at], wide), np.int64)


def _floats(
    words: Words, values: Numbers, point: Numbers, shifts: Sequence[int]
) -> Iterator[_Rule]:
    """Values that are what floats say, or that by a power of ten."""
    marks = _marks(words.shape[1])
    wide = words.astype(np.int64)
    sums = wide @ marks
    seen = {}
    for form, high, low in ((LOW_FIRST, sums[1:], sums[:-1]), (HIGH_FIRST, sums[:-1], sums[1:])):
        for at, mark in enumerate((high * 65536 + low).tolist()):
            seen[mark] = (form, at)
    for shift in shifts:
        told = _floats_of(values, point + shift) @ marks
        for value, mark in enumerate(told.tolist()):
            if mark in seen:
                yield FLOAT32, *seen[mark], value, 0, 0, int(point[value]) + shift


def _linears(words: Words, values: Numbers, is_wanted: NDArray[np.bool_]) -> Iterator[_Rule]:
    """Words of whole numbers, which go on in proportion to a value."""
    marks = _marks(words.shape[1])
    known = {}
    for value, (mark, per) in enumerate(_normal(values, marks)):
        if per:
            known[mark] = (value, per)
    pair = np.flatnonzero(is_wanted[:-1] | is_wanted[1:])
    one = np.flatnonzero(is_wanted)
    rules = np.zeros((FIELDS, 2 * pair.size + one.size), np.int64)
    rules[1] = np.repeat((HIGH_FIRST, LOW_FIRST, ONE), (pair.size, pair.size, one.size))
    rules[2] = np.concatenate((pair, pair, one))
    lines = _numbers(words, rules)
    half = np.where(rules[1] == ONE, 1 << 15, 1 << 31)[:, None]
    is_signed = ((lines ^ lines[:, :1]) & half).any(axis=1)
    lines[is_signed] = (lines[is_signed] ^ half[is_signed]) - half[is_signed]
    fields = zip(*rules[1:3].tolist(), lines[:, 0].tolist(), _normal(lines, marks), strict=True)
    for form, at, first, (mark, step) in fields:
        if step and mark in known:
            value, per = known[mark]
            yield LINEAR, form, at, value, first, step if per > 0 else -step, abs(per)


def _normal(lines: Numbers, marks: Numbers) -> Iterator[tuple[int, int]]:
    """What lines in proportion have in common, and the factor; 0: it never changes."""
    steps = lines - lines[:, :1]
    factor = np.gcd.reduce(steps, axis=1)
    turn = steps[np.arange(len(steps)), (steps != 0).argmax(axis=1)]
    factor[turn < 0] *= -1
    sums = steps // np.where(factor == 0, 1, factor)[:, None] @ marks
    return zip(sums.tolist(), factor.tolist(), strict=True)


def _marks(records: int) -> Numbers:
    """Any numbers by which lines can be told apart; whether they are equal is looked at later."""
    return (np.arange(1, records + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)).view(
        np.int64
    )
