"""N10: bytes a value on the wire with seal and raw words, and what packing them costs.

Batches as the agent makes them: canonical records with every raw word once, checkpoint and
signature, under zlib. Loads waver with little noise, as machines do.
"""

import gc
import os
from collections.abc import Callable, Iterable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from joulemark_agent.contract import canonical
from joulemark_agent.contract.batch import batch_bytes, parse_batch
from joulemark_agent.outbox import Outbox
from support.evidence_load import Load, names_of, site_of, written
from support.recording import batches_of, state
from support.rounds import cpu_s, say

pytestmark = [pytest.mark.bench, pytest.mark.timeout(300)]

GOAL_B = 3.0
LOADS = [Load(50, 5.0, 1, 600), Load(50, 96.0, 1, 960), Load(20, 60.0, 1, 960),
         Load(5, 96.0, 1, 960)]  # fmt: skip


def test_bytes_a_value_and_the_cost_of_packing(tmp_path: Path) -> None:
    lines = [f"N10 the goal is {GOAL_B:.0f} B, 40 ns to pack, 20 ns to unpack a value:"]
    for number, load in enumerate(LOADS):
        with closing(Outbox(state(tmp_path / str(number)))) as box:
            written(load, box, site_of(load))
            [name] = names_of(load)
            sealed = batches_of(box, name)[1:-1]  # the first holds the documents
        payloads = [one.payload for one in sealed]
        batches = [parse_batch(payload) for payload in payloads]
        values = sum(
            len(leaf["val"])
            for batch in batches
            for leaf in map(canonical.parse_canonical, batch.leaves)
            if "val" in leaf
        )
        size = sum(map(len, payloads)) / values
        leaves = [canonical.parse_canonical(leaf) for batch in batches for leaf in batch.leaves]
        gc.collect()
        pack_ns = cpu_s(partial(all_of, batch_bytes, batches)) / values * 1e9
        unpack_ns = cpu_s(partial(all_of, parse_batch, payloads)) / values * 1e9
        canon_us = cpu_s(partial(all_of, canonical.canonical_bytes, leaves)) * 1e6
        lines.append(
            f"  {load.points:2} points a record, batches of {load.batch_s:2.0f} s: {size:5.2f} B"
            f" ({size / GOAL_B:.1f} of the goal), {pack_ns:.0f} ns to pack, {unpack_ns:.0f} ns to"
            f" unpack, {canon_us / len(leaves):.1f} us a record in canonical form, once"
        )
    say(*lines, f"  load {os.getloadavg()[0]:.0f}")


def all_of(work: Callable[[Any], object], those: Iterable[Any]) -> None:
    """Do it to each."""
    for one in those:
        work(one)
