"""What it costs to record: printed against its limit, asserted nowhere."""

import random
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from joulemark_agent.contract import batch, canonical, tree
from joulemark_agent.contract.reading import Reading, record_leaf
from joulemark_agent.envelope import warm
from joulemark_agent.kernels.decode import decode_responses
from joulemark_agent.outbox import Outbox
from support import evidence
from support.evidence import COUNTER, METER
from support.recording import batches_of, recorded, recorder, state

pytestmark = pytest.mark.bench

SLOTS, GROUP, LIMIT_MS = 3000, 10, 0.35
SITE = evidence.documents()
DRAW = random.Random(1)
METERED = evidence.meter_readings(SITE, [DRAW.randrange(5000, 60_000) for _ in range(SLOTS - 1)])
MADE = evidence.counter_readings(SITE, [DRAW.randrange(500, 6000) for _ in range(SLOTS - 1)])


def test_recording_a_slot_of_two_devices_against_its_limit(tmp_path: Path) -> None:
    """Decode, leaves, hashes, batches, signatures and commits of ten slots each."""
    devices = [recorded(SITE), recorded(SITE, COUNTER)]
    warm(devices[0].profile, devices[0].carbon)
    with closing(Outbox(state(tmp_path))) as box:
        writer = recorder(box, *devices)
        groups = [
            [result for pair in zip(METERED[i : i + GROUP], MADE[i : i + GROUP], strict=True)
             for result in pair]
            for i in range(0, SLOTS, GROUP)
        ]  # fmt: skip
        ms = cpu_ms(lambda: [writer.commit(group) for group in groups]) / SLOTS
        sealed = batches_of(box)[5]
    sys.stdout.write(
        f"\none slot, two devices: {ms:.3f} ms CPU, {ms / LIMIT_MS:.0%} of {LIMIT_MS} ms\n"
    )
    print_parts()
    parsed = batch.parse_batch(sealed.payload)
    plain = batch.inflate(sealed.payload, batch.MAX_PLAIN_BYTES)
    wire_us = cpu_ms(lambda: [batch.batch_bytes(parsed) for _ in range(20)]) / 20 * 1e3
    sys.stdout.write(
        f"batch_bytes of {len(parsed.leaves)} leaves: {wire_us:.0f} us,"
        f" {wire_us / len(parsed.leaves):.1f} us per leaf;"
        f" {len(sealed.payload) / len(parsed.leaves):.0f} B per leaf on the wire,"
        f" {len(plain) / len(parsed.leaves):.0f} B plain\n"
    )


def print_parts() -> None:
    """The parts of a meter's record, one by one."""
    profile = SITE.profile(METER)
    readings = [item for item in METERED if isinstance(item, Reading)]
    decoded = [decode_responses(profile, reading.responses) for reading in readings]
    leaves = [
        record_leaf(reading, epoch=1, seq=i, boot=1, values=values, quality=quality)
        for i, (reading, (values, quality)) in enumerate(zip(readings, decoded, strict=True))
    ]
    values = [canonical.parse_canonical(leaf) for leaf in leaves]
    parts: dict[str, Callable[[], object]] = {
        "decode": lambda: [decode_responses(profile, r.responses) for r in readings],
        "canonical bytes": lambda: [canonical.canonical_bytes(value) for value in values],
        "leaf hash and edge": lambda: tree.append(tree.Edge(), leaves),
    }
    for name, part in parts.items():
        sys.stdout.write(f"  {name}: {cpu_ms(part) / len(readings) * 1e3:.1f} us per record\n")


def cpu_ms(work: Callable[[], object]) -> float:
    """CPU time of this process for the work. [ms]"""
    begun_s = time.process_time()
    work()
    return (time.process_time() - begun_s) * 1e3
