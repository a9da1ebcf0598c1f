"""Agents that say truly or falsely when they read, and a collector that knows when it heard.

A batch a minute, over a line that is out now and then: what waited arrives late and all at once.
Some agents lie: batches, fresh or out of the backlog, claim to be older or younger than they are.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, replace

from joulemark_agent.contract.batch import Batch
from joulemark_agent.contract.reading import Gap
from joulemark_gateway.evidence.base import Accepted
from joulemark_gateway.ingest.verify import EPSILON_US, Refused
from support.book import Book, registry
from support.evidence import (
    KEYS,
    METER,
    SEALED_US,
    START_US,
    build_tree,
    documents,
    leaf_groups,
    meter_readings,
    seal,
)

MINUTE_US = 60_000_000
BATCHES = 30
_TIMES = {"spooled", "back_dated", "future"}
_LONGEST_MIN = 60 * 24 * 30


class Gullible(Book):
    """The control: whatever comes late, an outage explains."""

    def _keep(self, new: Accepted, batch: Batch, now_us: int) -> None:
        super()._keep(replace(new, live_us=0), batch, now_us)


@dataclass(frozen=True)
class Sequence:
    """When batches were read and heard, and what they claim. [us]"""

    read_us: tuple[int, ...]
    heard_us: tuple[int, ...]
    claimed_us: tuple[int, ...]

    @property
    def lies(self) -> set[int]:
        """The batches that claim another time."""
        return {i for i in range(BATCHES) if self.claimed_us[i] != self.read_us[i]}


def drawn(rng: random.Random, by: int) -> Sequence:
    """Half an hour with some outages; its first batch is heard at once.

    Args:
        rng: draws.
        by: 1: some batches claim to be younger, -1: older; 0: all say the truth.
    """
    read_us = tuple(SEALED_US + i * MINUTE_US for i in range(BATCHES))
    heard_us, until_us = [read_us[0]], 0
    for at_us in read_us[1:]:
        if until_us <= at_us and rng.random() < 0.15:
            until_us = at_us + rng.randrange(1, 25) * MINUTE_US
        heard_us.append(max(at_us, until_us) + rng.randrange(2_000_000))
    claimed_us = list(read_us)
    if by:
        first = rng.randrange(1, BATCHES)
        by_us = by * rng.choice([rng.randrange(6, 60), rng.randrange(6, _LONGEST_MIN)]) * MINUTE_US
        for i in range(first, min(first + rng.randrange(1, 6), BATCHES)):
            claimed_us[i] += by_us
    return Sequence(read_us, tuple(heard_us), tuple(claimed_us))


def flags_of(sequence: Sequence, book: Book) -> list[set[str]]:
    """What a collector says of the times of each batch."""
    site = documents(clock="system", first_slot_us=None, period_s=60)
    readings = [
        replace(one, slot_us=at_us // MINUTE_US * MINUTE_US, t_utc_us=at_us)
        for one, at_us in zip(
            meter_readings(site, [5] * (BATCHES - 1), sync="ntp"), sequence.claimed_us, strict=True
        )
        if not isinstance(one, Gap)
    ]
    groups = leaf_groups(site, METER, readings, KEYS, slots_per_batch=1)
    batches = seal(
        site, METER, groups, KEYS,
        envelope=lambda i, fields: {**fields, "sealed_us": str(sequence.claimed_us[i])},
    )  # fmt: skip
    found = []
    for batch, now_us in zip(batches, sequence.heard_us, strict=True):
        verdict = book.offer(batch, now_us=now_us)
        assert isinstance(verdict, Accepted), verdict
        found.append(_TIMES & set(verdict.flags))
    return found


def run(seed: int, sequences: int) -> dict[str, str]:
    """Figures; AssertionError where a lie passes or the truth is called one."""
    rng, told = random.Random(seed), Counter[str]()
    for k in range(sequences):
        sequence = drawn(rng, (0, -1, 0, -1, 0, 1)[k % 6])
        told += _judged(sequence, flags_of(sequence, Book()))
        naive = flags_of(sequence, Gullible())
        told["explained away"] += sum("back_dated" not in naive[i] for i in _older(sequence))
    assert told["explained away"], "the control must fail"
    return {
        "batches of truthful agents, called back-dated": f"{told['true']:,}, 0",
        "of them late after an outage, said so": f"{told['spooled']:,}",
        "batches that claim more than 5 minutes too little, flagged": all_of(told["older"]),
        "of them back-dated; as old as an outage may explain": (
            f"{told['back_dated']:,}; {told['covered']:,}"
        ),
        "batches that claim more than 5 minutes too much, flagged": all_of(told["younger"]),
        "control that takes any delay for an outage, lies explained away": (
            f"{told['explained away']:,}"
        ),
        **_replays(),
    }


def all_of(count: int) -> str:
    """As runners print it."""
    return f"{count:,} of {count:,}"


def _older(sequence: Sequence) -> list[int]:
    """The batches that claim to be older than they are."""
    return [i for i in sequence.lies if sequence.claimed_us[i] < sequence.read_us[i]]


def _judged(sequence: Sequence, flags: list[set[str]]) -> Counter[str]:
    """Whether each batch is called what it is, by the times that only the test knows."""
    told, fresh_us, is_true = Counter[str](), 0, not sequence.lies
    for i, (found, heard_us) in enumerate(zip(flags, sequence.heard_us, strict=True)):
        claimed_us = sequence.claimed_us[i]
        is_late = claimed_us < heard_us - EPSILON_US
        is_covered = is_late and claimed_us >= fresh_us - EPSILON_US
        if is_true:
            assert not found & {"back_dated", "future"}, (i, found)
            assert ("spooled" in found) == is_late
            told["true"] += 1
            told["spooled"] += is_late
        elif claimed_us > heard_us + EPSILON_US:
            assert "future" in found, (i, found)
            told["younger"] += 1
        elif i in sequence.lies and is_late:
            assert found == ({"spooled"} if is_covered else {"back_dated"}), (i, found)
            told["older"] += 1
            told["covered" if is_covered else "back_dated"] += 1
        if not is_late:
            fresh_us = heard_us
    return told


def _replays() -> dict[str, str]:
    """A replay that says so is let in where that is allowed; one that does not is back-dated."""
    marked, unmarked = documents(), documents(clock="system", first_slot_us=None)
    one = build_tree(marked, METER, meter_readings(marked, [5] * 9), slots_per_batch=2)
    other = build_tree(
        unmarked, METER, meter_readings(unmarked, [5] * 9, first_slot_us=START_US, sync="ntp"),
        slots_per_batch=2,
    )  # fmt: skip
    refused = Book(registry(accept_simulated=False)).offer(one[0])
    assert isinstance(refused, Refused)
    assert refused.code == "simulated_refused"
    open_book, plant = Book(), Book()
    open_book.offer_all(one)
    for batch in other:
        assert "back_dated" in plant.accepted(batch)[0].flags
    return {
        "replays: refused without `accept_simulated`, let in with it": "1 of 1, 1 of 1",
        "batches of an unmarked replay, called back-dated": all_of(len(other)),
    }
