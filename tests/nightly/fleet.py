"""Ten thousand meters from a Parquet file: two Dask workers against one process, bit for bit.

SYNTHETIC: buildings of some kinds with two years of days, every third with holes, a tenth saved.
The naive control computes each meter with one bit of its first energy turned: its documents must
differ.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pyarrow", reason="the extra [fleet] is not installed")
pytest.importorskip("distributed", reason="the extra [fleet] is not installed")
import pyarrow.parquet as pq

from joulemark_gateway.fleet.cluster import local_workers, measure_on
from joulemark_gateway.fleet.command import batches
from joulemark_gateway.fleet.parquet import read_meters
from joulemark_gateway.fleet.plan_file import FleetPlan, load_plan
from joulemark_gateway.measure.fleet import Measured, Meter, measure_many
from support.fleets import PLAN, building, write

PIECE = 500  # meters that are written at a time


def run(seed: int, *, full: bool) -> dict[str, str]:
    """Times, their ratio, memory, and that nothing differs."""
    count = 10_000 if full else 60
    with tempfile.TemporaryDirectory() as folder:
        paths = list(_files(Path(folder), seed, count))
        plan_file = Path(folder) / "plan.yaml"
        plan_file.write_text(PLAN)
        plan = load_plan(plan_file)
        size = sum(path.stat().st_size for path in paths)
        rows = sum(pq.read_metadata(path).num_rows for path in paths)
        load = os.getloadavg()[0]
        begun, cpu = time.perf_counter(), time.process_time()
        one = [
            found
            for batch in batches(read_meters(paths, plan))
            for found in measure_many(batch, plan.plan)
        ]
        one_s, cpu_s = time.perf_counter() - begun, time.process_time() - cpu
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        begun = time.perf_counter()
        with local_workers(2) as client:
            started_s, reader = time.perf_counter() - begun, time.process_time()
            before = client.run(time.process_time)
            two = measure_on(client, batches(read_meters(paths, plan)), plan.plan)
            reader_s = time.process_time() - reader
            after = client.run(time.process_time)
            workers_s = [after[worker] - before[worker] for worker in after]
        two_s = time.perf_counter() - begun
        spoilt = _spoilt(paths, plan)
    digests = _digest(one), _digest(two)
    assert len(one) == len(two) == count
    assert digests[0] == digests[1], "workers give other bits than one process"
    assert _digest(one[: len(spoilt)]) != _digest(spoilt), "the control sees no bit that is turned"
    saved = sum(found.value_wh is not None for found in one)
    return {
        "meters, rows of days": f"{count:,}, {rows:,} in {size / 1e6:.0f} MB",
        "with a saving": f"{saved:,}",
        "load of others before, cores": f"{load:.1f}, {os.cpu_count()}",
        "one process": f"{one_s:.1f} s, {one_s / count * 1e3:.2f} ms a meter",
        "its CPU time": f"{cpu_s:.1f} s, {cpu_s / count * 1e3:.2f} ms a meter",
        "two Dask workers, their start of it": f"{two_s:.1f} s, {started_s:.1f} s",
        "one process over two workers": f"{one_s / two_s:.2f} x",
        "CPU time of each worker, of the reader": ", ".join(
            f"{cpu:.1f} s" for cpu in (*workers_s, reader_s)
        ),
        "the same by CPU time, had each a core of its own (derived)": "at most "
        f"{cpu_s / max(*workers_s, reader_s):.2f} x",
        "peak of the one process": f"{peak_mb:.0f} MB",
        "documents that differ": "0",
        "SHA-256 of all documents": digests[0],
    }


def _files(folder: Path, seed: int, count: int) -> Iterator[Path]:
    for first in range(0, count, PIECE):
        meters = {
            f"meter-{k:05}": building(seed * 1_000_000 + k)
            for k in range(first, min(first + PIECE, count))
        }
        yield write(folder / f"{first:05}.parquet", meters, group_rows=50_000)


def _spoilt(paths: Sequence[Path], plan: FleetPlan) -> list[Measured]:
    """Ten meters with the last bit of one energy turned."""
    meters = read_meters(paths, plan)
    return measure_many([_turned(next(meters)) for _ in range(10)], plan.plan)


def _turned(meter: Meter) -> Meter:
    energy_wh = meter.baseline.energy_wh.copy()
    place = int(np.flatnonzero(np.isfinite(energy_wh))[0])
    energy_wh[place] = np.nextafter(energy_wh[place], np.inf)
    return replace(meter, baseline=replace(meter.baseline, energy_wh=energy_wh))


def _digest(found: Sequence[Measured]) -> str:
    whole = hashlib.sha256()
    for one in found:
        whole.update(json.dumps([one.name, one.document]).encode())
    return whole.hexdigest()
