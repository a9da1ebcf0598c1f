"""Collectors without a broker: processes that judge and keep batches as fast as they can."""

from __future__ import annotations

import json
import os
import pickle
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from joulemark_agent.contract.signature import public_key
from joulemark_agent.contract.topics import batch_topic
from joulemark_gateway.evidence.ledger import Ledger, SqliteLedger
from joulemark_gateway.evidence.postgres import Server
from joulemark_gateway.evidence.shared import PostgresLedger
from joulemark_gateway.ingest.intake import Intake, Witness
from joulemark_gateway.ingest.registered import Agent, Registry
from support import crowd
from support.book import NOW_US
from support.evidence import KEYS, SITE, WITNESS
from support.recording import batches_of

GO, PASSWORD = "go", "JOULEMARK_COLLECTOR_LEDGER__PASSWORD"


def made(folder: Path, count: int, rounds: int) -> list[list[tuple[str, bytes]]]:
    """Topic and payload of so many batches of each of so many agents, in order of each."""
    found = []
    for member in crowd.members(count):
        one = crowd.Running(member, folder, "mqtt://127.0.0.1:1")
        for _ in range(rounds - 1):
            one.recorder.commit(member.readings(one.slots, crowd.SLOTS))
            one.slots += crowd.SLOTS
        topic = batch_topic(member.agent, member.device)
        batches = batches_of(one.box, device=member.device)
        found.append([(topic, batch.payload) for batch in batches])
        one.store.close()
        one.box.close()
    return found


def registry(count: int) -> Registry:
    """A registry that knows the crowd."""
    listed = {
        one.agent: Agent(one.agent, SITE, one.key.public, frozenset({one.device}))
        for one in crowd.members(count)
    }
    return Registry(listed, frozenset({public_key(KEYS.operator)}), accept_simulated=True)


def ledger_at(where: str) -> Ledger:
    """The ledger at an address or in a file."""
    if where.startswith("postgresql:"):
        return PostgresLedger(Server(where, os.environ[PASSWORD]))
    return SqliteLedger(Path(where))


def run(words: Sequence[str]) -> None:
    """Take the batches of a file when it is time: FILE LEDGER COUNT; says how long it took."""
    path, known = Path(words[0]), registry(int(words[2]))
    batches = pickle.loads(path.read_bytes())
    witness = Witness(WITNESS, KEYS.witness)
    with closing(
        Intake(ledger_at(words[1]).writer, lambda: known, witness, lambda: NOW_US)
    ) as intake:
        path.with_suffix(".ready").touch()
        while not (path.parent / GO).exists():
            time.sleep(0.001)
        begun_s, cpu_s = time.monotonic(), time.process_time()
        for topic, payload in batches:
            answer = intake.take(topic, payload)
            assert answer is not None
            assert answer.has_grown, answer
        ended_s = time.monotonic()
    cpu_s = time.process_time() - cpu_s
    sys.stdout.write(json.dumps([begun_s, ended_s, cpu_s, len(batches)]))
