"""A run of the meter in committed mode: the full batches that its recorder closed, and the sparse.

    batches = run(folder)
    sparse = [committed(batch) for batch in batches]

Full mode with the same rhythm closes the very same batches: only what is sent differs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from joulemark_agent.contract.batch import Batch, batch_bytes, parse_batch
from joulemark_agent.contract.canonical import canonical_bytes, parse_canonical
from joulemark_agent.contract.committed import committed
from joulemark_agent.contract.reading import Gap, Reading
from joulemark_agent.contract.signature import Checkpoint, sign_checkpoint
from joulemark_agent.contract.sparse import SparseBatch, sparse_bytes
from joulemark_agent.contract.topics import origin, raw_topic, sparse_topic
from joulemark_agent.contract.tree import Edge, append, root
from joulemark_agent.outbox import Outbox
from joulemark_agent.recorded import Limits
from joulemark_agent.recorder import Recorder
from joulemark_gateway.ingest.intake import Intake
from support import evidence
from support.evidence import AGENT, KEYS, METER, SITE, Documents, Keys
from support.recording import KEY, SOFTWARE, StoppedWall, batches_of, recorded, state

PERIOD_S, INTERVAL_S = 60, 900
SLOTS = INTERVAL_S // PERIOD_S  # of an interval
INTERVAL_US = INTERVAL_S * 1_000_000
NAME = origin(SITE, METER, 1)
TOPIC, RAW = sparse_topic(AGENT, METER), raw_topic(AGENT, METER)


def documents(*, period_s: int = PERIOD_S, interval_s: int = INTERVAL_S) -> Documents:
    """The documents of the virtual site, its evidence committed."""
    full = evidence.documents(period_s=period_s)
    content = {**parse_canonical(full.site), "evidence": "committed", "interval_s": interval_s}
    return replace(full, site=canonical_bytes(content))


def readings(site: Documents, slots: int, *, step_wh: Callable[[int], int] | None = None) -> Any:
    """Readings of the meter for so many slots after the first."""
    step = step_wh or (lambda i: 40 + i % 7)
    return evidence.meter_readings(site, [step(i) for i in range(slots)])


def run(
    results: Sequence[Reading | Gap] | None = None,
    *,
    site: Documents | None = None,
    device: str = METER,
    interval_s: int = INTERVAL_S,
    stops: Sequence[int] = (),
) -> list[Batch]:
    """The full batches that a recorder closes at the ends of intervals.

    Args:
        results: what was read; None: four intervals of the meter.
        site: the documents.
        device: whose readings they are.
        interval_s: how long an interval is. [s]
        stops: after so many results the agent stops and starts again.
    """
    site = site or documents(interval_s=interval_s)
    results = readings(site, 4 * SLOTS) if results is None else results
    limits = Limits(1, 0.0, interval_s * 1_000_000)
    with TemporaryDirectory() as folder, closing(Outbox(state(Path(folder)))) as outbox:
        for start, end in zip([0, *stops], [*stops, len(results)], strict=True):
            wall = StoppedWall().wall()
            known = recorded(site, device)
            writer = Recorder(outbox, KEY, [known], limits=limits, software=SOFTWARE, wall=wall)
            writer.commit(results[start:end])
            writer.seal_all()
        return [parse_batch(one.payload) for one in batches_of(outbox, device)]


@cache
def four_intervals() -> tuple[Batch, ...]:
    """The run that most tests share."""
    return tuple(run())


def sparse(batches: Sequence[Batch]) -> list[SparseBatch]:
    """What an agent in committed mode sends of them."""
    return [committed(batch) for batch in batches]


def offer(intake: Intake, batch: Batch | SparseBatch, *, device: str = METER) -> Any:
    """What the collector says to a sparse batch, or to a whole one on the topic of raw records."""
    if isinstance(batch, SparseBatch):
        return intake.take(sparse_topic(AGENT, device), sparse_bytes(batch))
    return intake.take(raw_topic(AGENT, device), batch_bytes(batch))


def resealed(
    batches: Sequence[Batch],
    index: int,
    change: Callable[[list[dict[str, Any]]], None],
    owner: Keys = KEYS,
) -> Batch:
    """A batch with its leaves changed, truly signed, after the batches before it as they were."""
    before = append(Edge(), [leaf for batch in batches[:index] for leaf in batch.leaves])
    contents = [parse_canonical(leaf) for leaf in batches[index].leaves]
    change(contents)
    leaves = tuple(canonical_bytes(content) for content in contents)
    after = append(before, leaves)
    head = Checkpoint(NAME, after.size, root(after))
    return replace(batches[index], leaves=leaves, checkpoint=sign_checkpoint(owner.agent, head))
