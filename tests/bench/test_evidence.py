"""What evidence costs beside reading: CPU at the agent, and disk at the collector when compacted.

Devices are read once a second; a record holds 1, 10 or 50 point values, of which one is a counter.
Batches close as the site file says unless it says otherwise (5 s), or every 96 s. CPU is that of
one core at 1,000 point values a second: decode, leaves, hashes, batches, signatures, commits, and
what of it remains without the decoding that values need anyway. Disk is the file of the evidence
store, with receipts, proofs and everything.
"""

import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from joulemark_agent.contract.batch import Batch, parse_batch
from joulemark_agent.contract.signature import (
    is_log_signed,
    parse_checkpoint,
    parse_note,
    public_key,
    sign_checkpoint,
)
from joulemark_agent.contract.topics import batch_topic
from joulemark_agent.contract.tree import Edge, append
from joulemark_agent.kernels.decode import decode_responses
from joulemark_agent.outbox import Outbox
from joulemark_gateway.evidence.compactor import Compactor
from joulemark_gateway.evidence.store import FILE, SqliteStore
from support import evidence
from support.book import registry
from support.evidence import AGENT, KEYS
from support.evidence_load import Load, names_of, seconds_of, site_of, written
from support.intakes import new_intake
from support.recording import batches_of, state
from support.rounds import cpu_s, in_turns, say

pytestmark = [pytest.mark.bench, pytest.mark.timeout(300)]

CPU_LIMIT, DISK_LIMIT = 0.05, 20.0
VALUES_PER_S = 1000
USUAL_S, LONG_S = 5.0, 96.0


CPU_LOADS = [
    Load(1, USUAL_S, 100, 60),
    Load(1, LONG_S, 100, 96),
    *(Load(points, USUAL_S, 100 // points, 60) for points in (2, 5, 10, 50)),
]
DISK_LOADS = [
    Load(1, USUAL_S, 1, 2400),
    Load(1, LONG_S, 1, 7200),
    *(Load(points, USUAL_S, 1, 2400) for points in (2, 5, 10)),
    Load(50, USUAL_S, 1, 1200),
]
HELD = {DISK_LOADS[1], *DISK_LOADS[3:]}  # those that keep within the limit


def decoding_s(load: Load, site: evidence.Documents) -> float:
    profile = site.profile(names_of(load)[0])
    readings = [one for second in seconds_of(load) for one in second]
    begun_s = time.process_time()
    for one in readings:
        decode_responses(profile, one.responses)
    return time.process_time() - begun_s


def test_cpu_share_of_evidence_at_a_thousand_values_a_second(tmp_path: Path) -> None:
    lines = [f"of one core at {VALUES_PER_S:,} point values/s; the limit is {CPU_LIMIT:.0%}:"]
    for number, load in enumerate(CPU_LOADS):
        site = site_of(load)
        with closing(Outbox(state(tmp_path / str(number)))) as box:
            all_s = written(load, box, site)
        share = (all_s - decoding_s(load, site)) / load.values * VALUES_PER_S
        records = VALUES_PER_S // load.points
        lines.append(
            f"  {load.points:2} points a record, {records:5,} records/s, batches of"
            f" {load.batch_s:2.0f} s: evidence {share:6.2%} ({share / CPU_LIMIT:4.1f} of the"
            f" limit), with decoding {all_s / load.values * VALUES_PER_S:.2%}"
        )
    sys.stdout.write("\n" + "\n".join(lines) + "\n")


def test_bytes_a_value_at_the_collector_before_and_after_compaction(tmp_path: Path) -> None:
    lines = [f"B per point value in the evidence store; the limit is {DISK_LIMIT:.0f}:"]
    for number, load in enumerate(DISK_LOADS):
        path = tmp_path / str(number) / FILE
        before, after, took_s = compacted(load, path)
        lines.append(
            f"  {load.points:2} points a record, {load.values:7,} values in"
            f" {load.values // load.points:5,} records, batches of {load.batch_s:2.0f} s:"
            f" {before / load.values:6.1f} before, {after / load.values:5.1f} after"
            f" ({after / load.values / DISK_LIMIT:.2f} of the limit);"
            f" {took_s / load.values * VALUES_PER_S:.1%} of a core at {VALUES_PER_S:,} values/s"
        )
        if load in HELD:
            assert after / load.values <= DISK_LIMIT, lines[-1]
    sys.stdout.write("\n" + "\n".join(lines) + "\n")


def compacted(load: Load, path: Path) -> tuple[int, int, float]:
    """Bytes before and after that batches have added, and the CPU time of compaction. [s]"""
    site, names, once = site_of(load), names_of(load), 0
    with closing(Outbox(state(path.parent))) as box:
        written(load, box, site)
        with closing(new_intake(path, registry(devices=names), step_us=0)) as intake:
            for name in names:
                for number, batch in enumerate(batches_of(box, name)):
                    if number == 1:  # the approved documents and empty tables are there once
                        with Compactor(path) as compactor:
                            once = compactor.bytes_used()
                    answer = intake.take(batch_topic(AGENT, name), batch.payload)
                    assert answer is not None
                    assert answer.topic.endswith("/receipt"), answer.payload
    with Compactor(path) as compactor:
        before = compactor.bytes_used() - once
        begun_s = time.process_time()
        assert list(compactor.moves(2**60, all_of_it=True))
        took_s = time.process_time() - begun_s
        after = compactor.bytes_used() - once
    with SqliteStore(path, create=False) as store:
        for head in store.heads():
            store.scrub(head.origin)
    return before, after, took_s


def test_share_of_the_seal_and_seals_verified_a_second(tmp_path: Path) -> None:
    """N11: hashes and signature at most 1 % of the agent's CPU at a batch a minute; 9,000/s."""
    load = Load(50, 60.0, 10, 120)
    site = site_of(load)
    with closing(Outbox(state(tmp_path))) as box:
        all_s = written(load, box, site)
        batches = [
            parse_batch(one.payload) for name in names_of(load) for one in batches_of(box, name)
        ]
    key = public_key(KEYS.agent)

    def seal(batch: Batch) -> None:
        append(Edge(), batch.leaves)
        sign_checkpoint(KEYS.agent, parse_checkpoint(parse_note(batch.checkpoint)[0]))

    seal_s = cpu_s(lambda: list(map(seal, batches)))
    many = batches * (2000 // len(batches))
    seals = [parse_note(batch.checkpoint) for batch in many]
    bare = [(text.encode(), signatures[0].body) for text, signatures in seals]
    openssl = Ed25519PublicKey.from_public_bytes(key)
    ways = {
        "seals": lambda: cpu_s(lambda: [is_log_signed(batch.checkpoint, key) for batch in many]),
        "signatures alone": lambda: cpu_s(
            lambda: [openssl.verify(body, text) for text, body in bare]
        ),
    }
    seen = in_turns(ways)
    assert all(is_log_signed(batch.checkpoint, key) for batch in batches)
    say(
        f"N11 {load.devices} devices of {load.points} points, a batch a minute: leaf hashes and"
        f" signatures {seal_s / all_s:.2%} of the CPU of recording;"
        f" {len(many) / seen.median('seals'):,.0f} seals verified a second,"
        f" {len(many) / seen.median('signatures alone'):,.0f} by OpenSSL alone"
        f" ({seen.ratio('signatures alone', 'seals'):.0%} of it); load {seen.load:.0f}"
    )
