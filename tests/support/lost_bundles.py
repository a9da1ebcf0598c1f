"""A bundle of a gateway that closes a batch an hour, and whose disk lost one of them."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

from joulemark_agent.contract.batch import Batch
from joulemark_agent.contract.signature import cosign
from joulemark_agent.contract.sparse import Part, withheld
from joulemark_gateway.evidence import bundle as bundles
from joulemark_gateway.evidence.account import read_account
from joulemark_gateway.evidence.history import parse_tree
from joulemark_gateway.reports.issue import issue
from support.bundles import CLAIMS, Recipe, groups_of
from support.evidence import COUNTER, KEYS, METER, SEALED_US, WITNESS, Groups, leaves_of, uncosigned
from support.plant import small

LOST = 3  # the batch that the disk lost
TOLD = (5, 6)  # the batches in which the agent says so; it does not know that it was heard
HOUR_S = 3600


def told() -> Groups:
    """The meter's leaves; two leaves, of different batches, explain the one loss."""
    groups = groups_of(METER)
    first = sum(len(group) + 1 for group in groups[:LOST])
    slots = [leaf["slot"] for leaf in groups[LOST]]
    leaf = {
        "type": "discontinuity", "first_seq": str(first), "last_seq": str(first + len(slots)),
        "first_slot": slots[0], "last_slot": slots[-1], "slots": str(len(slots)),
        "why": "the disk lost it",
    }  # fmt: skip
    for index in TOLD:
        groups[index].append(leaf)
    return groups


def parts_of(batches: list[Batch]) -> list[Part]:
    """What a collector holds of these: all leaves, and the cover of the lost ones."""
    lost = batches[LOST]
    run = withheld(lost.leaves, lost.first_seq)
    before, after = leaves_of(batches[:LOST]), leaves_of(batches[LOST + 1 :])
    return [*before, run, *after]


@cache
def bundle() -> bytes:
    """The bundle; its report speaks of what is held."""
    recipe = _recipe()
    made = recipe.made_batches()
    witnessed = [
        (parse_tree(_parts(device, found)), [batch.checkpoint for batch in found])
        for device, found in made.items()
    ]
    account = read_account(recipe.made_log(made))
    issued = issue(small().plan, witnessed, recipe.made_documents(), CLAIMS, account)
    return replace(recipe, issued=issued, members=_without_lost(made[METER])).make()


def _recipe() -> Recipe:
    return Recipe(
        groups={METER: told()},
        sealing={"envelope": lambda k, fields: {**fields, "sealed_us": str(_wall_us(k))}},
        batches={METER: _seen_hourly, COUNTER: _seen_hourly},
    )


def _seen_hourly(batches: list[Batch]) -> list[Batch]:
    """Each cosigned a second after it was closed."""
    alone = [uncosigned(batch) for batch in batches]
    times_s = [_wall_us(k) // 1_000_000 + 1 for k in range(len(alone))]
    notes = [
        cosign(KEYS.witness, WITNESS, batch.checkpoint, time_s)
        for batch, time_s in zip(alone, times_s, strict=True)
    ]
    return [replace(b, checkpoint=note) for b, note in zip(alone, notes, strict=True)]


def _wall_us(index: int) -> int:
    return SEALED_US + index * HOUR_S * 1_000_000


def _parts(device: str, batches: list[Batch]) -> list[Part]:
    return parts_of(batches) if device == METER else [*leaves_of(batches)]


def _without_lost(batches: list[Batch]) -> Any:
    name = f"evidence/{METER}/1/leaves.jsonl.gz"
    return lambda members: {**members, name: bundles.packed(parts_of(batches))}
