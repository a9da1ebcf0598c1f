"""Small trees as an agent sends them, and a collector that takes them."""

from __future__ import annotations

from pathlib import Path

from joulemark_agent.contract.batch import Batch, batch_bytes
from joulemark_agent.contract.topics import batch_topic
from support.evidence import AGENT, METER, build_tree, documents, meter_readings, uncosigned
from support.intakes import new_intake
from support.present import present


def small_tree(*, batches: int) -> list[Batch]:
    """The main meter in so many batches of four readings each."""
    site = documents()
    readings = meter_readings(site, [1000] * (4 * batches - 1))
    return build_tree(site, METER, readings, slots_per_batch=4)


def sent(path: Path, *batches: Batch) -> None:
    """Have the collector that keeps this store accept the batches."""
    intake = new_intake(path)
    for batch in batches:
        answer = intake.take(batch_topic(AGENT, METER), batch_bytes(uncosigned(batch)))
        assert present(answer).has_grown
    intake.close()
