"""Every sequence of up to six readings of a counter, against a slow reference.

The readings take a few values that decide something: 0, little, the count before it wraps, the
largest there is, none that is good, none at all, and one that a rule of the profile masks. Kinds
of counters with every key of a profile follow each sequence, and a plain program that has all
readings at hand says the same of it (`support/counted_slowly.py`). Cut anywhere, it is the same.
Beside the reference, what no explanation allows is not booked.
"""

from __future__ import annotations

from itertools import pairwise, product

import numpy as np

from joulemark_agent.kernels.counter import (
    LARGEST,
    Flags,
    Followed,
    Integers,
    Semantics,
    follow,
)
from support.counted_slowly import US_PER_H, Row, slowly

DAY_US = 86_400_000_000
_UNIT_US = DAY_US // 40  # of a day, so that a few readings see a midnight
_PLAIN = Semantics(15 * _UNIT_US, 5 * _UNIT_US)
_RATE = US_PER_H // _UNIT_US or 1  # a count in each unit of time
MODULUS = 100
RULES: dict[str, Semantics] = {
    "nothing declared": _PLAIN,
    "maximum rate": _PLAIN._replace(most_per_h=_RATE),
    "wraps": _PLAIN._replace(modulus=MODULUS, most_per_h=_RATE),
    "wraps quickly": _PLAIN._replace(modulus=MODULUS, most_per_h=8 * _RATE),
    "wavers": _PLAIN._replace(quantum=2),
    "float": _PLAIN._replace(float_bits=3),
    "stuck": _PLAIN._replace(stuck_us=25 * _UNIT_US),
    "stuck at once": _PLAIN._replace(stuck_us=5 * _UNIT_US, most_per_h=_RATE),
    "daily": _PLAIN._replace(is_daily=1),
    "daily, maximum rate": _PLAIN._replace(is_daily=1, most_per_h=_RATE, stuck_us=25 * _UNIT_US),
    "false zero": _PLAIN._replace(no_zero=1),
    "coarse": _PLAIN._replace(most_per_h=_RATE, step=7),
    "all": _PLAIN._replace(
        modulus=MODULUS, most_per_h=_RATE, quantum=1, stuck_us=25 * _UNIT_US, no_zero=1
    ),
}
NO_ROW = Row(-1, None)
SHOWN = (
    Row(0, 0), Row(0, 1), Row(0, 7), Row(0, MODULUS - 1), Row(0, LARGEST), Row(0, None), NO_ROW,
    Row(0, 7, is_ok=False),
)  # fmt: skip
FEWER = (Row(0, 0), Row(0, 1), Row(0, MODULUS - 1), Row(0, LARGEST), Row(0, None), NO_ROW)


def run(seed: int, *, full: bool) -> dict[str, str]:
    """All sequences; without `full` the short ones."""
    del seed
    found = [compare(length, (10, 7)) for length in range(1, 5 if full else 3)]
    if full:
        found += [compare(5, (10,)), compare(6, (10,), FEWER)]
    assert not any(figures["differences"] for figures in found)
    return {
        "sequences followed": f"{sum(figures['sequences'] for figures in found):,}",
        "unlike the reference": "0",
        "booked beyond any explanation": "0",
    }


def compare(
    length: int, spacings: tuple[int, ...], shown: tuple[Row, ...] = SHOWN
) -> dict[str, int]:
    """Every sequence of a length under every rule.

    Args:
        length: of the sequences.
        spacings: of the readings, in parts of which 15 are the longest measured step.
        shown: what a reading may show.
    """
    sequences = differences = 0
    for spacing, drawn in product(spacings, product(shown, repeat=length)):
        rows = [
            row._replace(t_us=k * spacing * _UNIT_US, day=_day(k * spacing * _UNIT_US))
            for k, row in enumerate(drawn)
            if row is not NO_ROW
        ]
        if not rows:
            continue
        columns = _columns(rows)
        for rule in RULES.values():
            whole = follow(rule, *columns)
            differences += _told([whole]) != slowly(rule, rows)
            cut = sequences % len(rows)  # everywhere, in the course of time
            head = follow(rule, *_part(columns, 0, cut))
            tail = follow(rule, *_part(columns, cut, len(rows)), None, head.state)
            assert _told([head, tail]) == _told([whole])
            assert tail.state == whole.state
            _is_explained(rule, rows, whole)
            sequences += 1
    return {"sequences": sequences, "differences": differences}


def _day(t_us: int) -> int:
    return (t_us + US_PER_H) // DAY_US  # a day begins an hour early


_Columns = tuple[Integers, Integers, Flags, Flags]


def _part(columns: _Columns, start: int, end: int) -> _Columns:
    t_us, raw, good, ok = columns
    return t_us[start:end], raw[start:end], good[start:end], ok[start:end]


def _columns(rows: list[Row]) -> _Columns:
    return (
        np.array([row.t_us for row in rows], np.int64),
        np.array([row.shown or 0 for row in rows], np.int64),
        np.array([row.shown is not None for row in rows]),
        np.array([row.is_ok for row in rows]),
    )


def _told(blocks: list[Followed]) -> tuple[list[tuple[int, ...]], list[tuple[object, ...]]]:
    nodes: list[tuple[int, ...]] = []
    events: list[tuple[object, ...]] = []
    for block in blocks:
        rows = np.stack([block.t_us, block.count, block.step], axis=1)[1 if nodes else 0 :]
        nodes += [tuple(row) for row in rows.tolist()]
        events += [tuple(event) for event in block.events]
    return nodes, events


def _is_explained(rule: Semantics, rows: list[Row], found: Followed) -> None:
    """No step books more than some account of its two readings allows."""
    shown = {row.t_us: row.shown for row in rows if row.shown is not None}
    rises, steps = np.diff(found.count).tolist(), found.step[1:].tolist()
    for (start_us, end_us), rise, step in zip(
        pairwise(found.t_us.tolist()), rises, steps, strict=True
    ):
        low, high = shown[start_us], shown[end_us]
        assert rise >= 0
        assert step > 0 or rise == 0
        anew = high if rule.is_daily else 0
        wrapped = rule.modulus - low + high if rule.modulus else 0
        assert rise <= max(high - low, anew, wrapped, 0)
        if rule.most_per_h and rise:
            first_us = min(shown) if step == 2 else start_us
            span_us = end_us - first_us + rule.slack_us
            most = rule.most_per_h * span_us // US_PER_H
            assert rise <= most + rule.quantum + high // 2**rule.float_bits + rule.step
