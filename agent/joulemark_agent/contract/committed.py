"""Committed mode: which leaves of a batch travel, and which stay at the gateway.

Events travel in full: gaps, figures, the envelope. Of the records the last one travels, which ends
the interval; and where its energy counter shows nothing, the last one that shows something, for
there the sums of the next envelope begin. All others stay, and their cover stands for them: so the
heads are those of full evidence, and a record that is asked for later is proved to be the one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeGuard

from joulemark_agent.contract.batch import Batch
from joulemark_agent.contract.canonical import parse_canonical
from joulemark_agent.contract.sparse import Part, SparseBatch, withheld

COMMITTED: Final = "committed"  # what the site document says of its evidence
FULL: Final = "full"
ENERGY = "energy_wh"  # the counter that envelopes sum
SHORTEST_S, LONGEST_S = 60, 3600  # an interval
_DAY_S = 86_400
_US_PER_S = 1_000_000


def committed(batch: Batch) -> SparseBatch:
    """The batch as it is sent: the same tree, the same head, fewer leaves."""
    shown = _shown([parse_canonical(leaf) for leaf in batch.leaves])
    parts: list[Part] = []
    run: list[bytes] = []
    for index, leaf in enumerate(batch.leaves):
        if index not in shown:
            run.append(leaf)
            continue
        if run:
            parts.append(withheld(run, batch.first_seq + index - len(run)))
            run = []
        parts.append(leaf)
    if run:  # a batch without an envelope; nobody signs one
        parts.append(withheld(run, batch.size - len(run)))
    return SparseBatch(batch.first_seq, tuple(parts), batch.checkpoint, batch.documents)


def interval_end_us(slot_us: int, interval_us: int) -> int:
    """The slot that ends the interval of a slot: ends are whole multiples since 1970, UTC. [us]"""
    return -(-slot_us // interval_us) * interval_us


def is_interval(interval_s: Any) -> TypeGuard[int]:
    """Whether intervals may be so long: whole parts of a day, from a minute to an hour. [s]"""
    is_short = type(interval_s) is int and SHORTEST_S <= interval_s <= LONGEST_S
    return bool(is_short and _DAY_S % interval_s == 0)


def interval_us_in(site: Any) -> int | None:
    """The interval of a site document; None: its evidence is full. [us]

    Raises:
        ValueError: it names neither, or an interval that cannot be.
    """
    mode = site.get("evidence", FULL) if isinstance(site, Mapping) else None
    if mode == FULL:
        return None
    interval_s = site.get("interval_s") if isinstance(site, Mapping) else None
    if mode != COMMITTED or not is_interval(interval_s):
        raise ValueError(f"evidence {str(mode)[:20]!r} in intervals of {str(interval_s)[:20]} s")
    return interval_s * _US_PER_S


def _shown(contents: Sequence[Mapping[str, Any]]) -> set[int]:
    """Which leaves travel, by their place."""
    records = [i for i, content in enumerate(contents) if "type" not in content]
    shown = set(range(len(contents))) - set(records)
    shown.update(records[-1:])
    shown.update([i for i in records if _counts(contents[i])][-1:])
    return shown


def _counts(record: Mapping[str, Any]) -> bool:
    return ENERGY in record["val"] and ENERGY not in record["q"]
