"""Slots, gaps and batches as rows, a part at a time: what evidence says of itself. Pure.

Expected slots are counted from the grid, received ones and gaps from the leaves; what no leaf says
anything of is a gap of the cause `unaccounted`. `evidence/slots.py` counts the same over a window.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from math import nan

import numpy as np
from numpy.typing import NDArray

from joulemark_agent.contract.reading import SIMULATED
from joulemark_agent.contract.signature import parse_note
from joulemark_agent.envelope import UNSYNCHRONISED
from joulemark_gateway.evidence.history import Tree
from joulemark_gateway.evidence.slots import STORE_DAMAGED, UNACCOUNTED
from joulemark_gateway.evidence.withheld import lost_slots
from joulemark_gateway.series.base import INSIDE_US, Integers, Rows
from joulemark_gateway.series.tables import BATCH, GAP, SLOT
from joulemark_gateway.series.windows import DAY_US, LONGEST_US, QUARTER_US

_COSIGNATURE_BYTES = 8 + 64
_US_PER_S = 1_000_000
_MOST_DAYS = 1000
_DIGITS = 18  # of what an envelope counts, and of times
_TOLD = ("first_seq", "last_slot", "records")


def slots_of(tree: Tree, period_us: int, due_us: int | None) -> tuple[list[Rows], int | None]:
    """The rows of the slots that some leaves account for, and the slot that is due after them.

    Args:
        tree: the leaves, of full evidence: each slot has a record or stands in a gap.
        period_us: distance of the slots. [us]
        due_us: the slot due before them; None: the first that comes. [us UTC]
    """
    read = zip(tree.columns.slot_us.tolist(), tree.columns.sync, strict=True)
    spans = [(slot_us, slot_us, "", sync == UNSYNCHRONISED) for slot_us, sync in read]
    spans += [(gap.first_slot_us, gap.last_slot_us, gap.cause, False) for _, gap in tree.gaps]
    spans += [(run.first_us, run.last_us, STORE_DAMAGED, False) for run in lost_slots(tree)]
    if not spans:
        return [], due_us
    spans.sort(key=lambda span: span[:2])
    first = np.array([span[0] for span in spans], np.int64)
    after = np.array([span[1] for span in spans], np.int64) + period_us
    is_read = np.array([not span[2] for span in spans], np.bool_)
    is_unset = np.array([span[3] for span in spans], np.float64)
    start_us = int(first[0]) if due_us is None else due_us
    due = np.maximum.accumulate(np.append(start_us, after))
    gaps = [(int(first[k]), int(after[k]), spans[k][2]) for k in np.flatnonzero(~is_read).tolist()]
    gaps += [
        (int(due[k]), int(first[k]), UNACCOUNTED) for k in np.flatnonzero(first > due[:-1]).tolist()
    ]
    is_new = is_read & (first >= due[:-1])  # else another leaf has said what became of it
    one = np.ones(int(is_new.sum()))
    rows = [_slots(first[is_new], one, one, is_unset[is_new])]
    for begin_us, end_us, cause in sorted(gaps):
        at_us, count = _pieces(begin_us, end_us, period_us)
        nothing = np.zeros(at_us.size)
        rows.append(_slots(at_us, count, nothing, nothing))
        causes = np.full(at_us.size, cause, object)
        rows.append(Rows(GAP, {"cause": causes}, at_us + INSIDE_US, {"slots": count}))
    return [row for row in rows if row.t_us.size], int(due[-1])


def batches_in(tree: Tree, notes: Mapping[int, str]) -> list[Rows]:
    """A row a batch that has slots; of the cosignatures what the notes say that are here.

    Args:
        tree: the leaves.
        notes: the cosigned checkpoint of each batch by the size of the tree after it.
    """
    made: list[tuple[float, ...]] = []
    for envelope in tree.envelopes:
        told = {name: _count(envelope.fields.get(name)) for name in _TOLD}
        last_us, size = told["last_slot"], envelope.seq + 1
        if last_us is None:
            continue
        note = notes.get(size)
        times_s = _cosigned_s(note) if note else []
        cosigned_s = max(times_s, default=nan)
        is_simulated = tree.clock == SIMULATED
        delay_s = nan if is_simulated else cosigned_s - last_us / _US_PER_S
        readings = nan if told["records"] is None else told["records"]
        leaves = nan if told["first_seq"] is None else size - told["first_seq"]
        signatures = len(times_s) if note else nan
        made.append((last_us, size, leaves, readings, signatures, cosigned_s, delay_s))
    if not made:
        return []
    t_us = np.array([row[0] for row in made], np.int64) + INSIDE_US
    columns = np.array([row[1:] for row in made], np.float64).T
    names = ("size", "leaves", "readings", "cosignatures", "cosigned_s", "delay_s")
    epochs = np.full(t_us.size, str(tree.epoch), object)
    return [Rows(BATCH, {"epoch": epochs}, t_us, dict(zip(names, columns, strict=True)))]


def _count(told: object) -> int | None:
    """A number that an envelope states, as text or as it is; None where it states none."""
    if isinstance(told, str) and told.isascii() and told.isdigit() and len(told) < _DIGITS:
        return int(told)
    return told if type(told) is int and 0 <= told < 10**_DIGITS else None


def _cosigned_s(note: str) -> list[int]:
    """When the witnesses signed a note, as they say themselves. [s]"""
    bodies = [line.body for line in parse_note(note)[1]]
    return [struct.unpack(">Q", body[:8])[0] for body in bodies if len(body) == _COSIGNATURE_BYTES]


def _slots(
    slot_us: Integers,
    expected: NDArray[np.float64],
    received: NDArray[np.float64],
    unsynchronised: NDArray[np.float64],
) -> Rows:
    fields = {"expected": expected, "received": received, "unsynchronised": unsynchronised}
    return Rows(SLOT, {}, slot_us + INSIDE_US, fields)


def _pieces(begin_us: int, end_us: int, period_us: int) -> tuple[Integers, NDArray[np.float64]]:
    """The slots of [begin, end) by quarter-hour, of a long time by day: the first, how many.

    No leaf asks for rows without end: a time of more than a thousand days is one piece.
    """
    width_us = QUARTER_US if end_us - begin_us <= LONGEST_US else DAY_US
    if end_us - begin_us > _MOST_DAYS * DAY_US:
        width_us = end_us
    inside = np.arange(begin_us // width_us + 1, -(-end_us // width_us), dtype=np.int64) * width_us
    edges_us = np.concatenate([[begin_us], inside, [end_us]]).astype(np.int64)
    before = -(-(edges_us - begin_us) // period_us)
    first_us = begin_us + before[:-1] * period_us
    count = np.diff(before)
    return first_us[count > 0], count[count > 0].astype(np.float64)
