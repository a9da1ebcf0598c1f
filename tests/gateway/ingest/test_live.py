"""What is live is shown if it proves itself, and is never evidence."""

from __future__ import annotations

import logging
from contextlib import closing
from dataclasses import replace

import pytest

from joulemark_agent.contract.batch import Batch, batch_bytes
from joulemark_agent.contract.health import health_bytes
from joulemark_agent.contract.live import Live, live_bytes
from joulemark_agent.contract.revocation import Revoked
from joulemark_agent.contract.signature import public_key
from joulemark_agent.contract.topics import batch_topic, health_topic, live_topic
from joulemark_agent.contract.tree import Edge, append
from joulemark_gateway.evidence.store import SqliteStore
from joulemark_gateway.ingest.intake import Intake, Witness
from joulemark_gateway.ingest.live import LiveBoard
from support import evidence
from support.book import NOW_US, registry
from support.evidence import AGENT, COUNTER, FOREIGN, KEYS, METER, SITE, WITNESS, Keys

DOCUMENTS = evidence.documents()
TOPIC = live_topic(AGENT, METER)


def tree(owner: Keys = KEYS) -> list[Batch]:
    groups = evidence.leaf_groups(
        DOCUMENTS,
        METER,
        evidence.meter_readings(DOCUMENTS, [1000] * 60),
        owner,
        slots_per_batch=5,
    )
    return evidence.seal(DOCUMENTS, METER, groups, owner, cosigned=False)


BATCHES = tree()


def message(index: int, batches: list[Batch] = BATCHES) -> bytes:
    leaves = [leaf for batch in batches[:index] for leaf in batch.leaves]
    return live_bytes(Live(append(Edge(), leaves), batches[index]))


@pytest.fixture
def board() -> LiveBoard:
    return LiveBoard()


@pytest.fixture
def intake(tmp_path, board):
    trusted = registry()
    witness = Witness(WITNESS, KEYS.witness)
    path = tmp_path / "evidence"
    made = Intake(lambda: SqliteStore(path), lambda: trusted, witness, lambda: NOW_US, board=board)
    with closing(made) as opened:
        yield opened


def held(intake: Intake) -> int:
    return sum(head.size for head in intake._store.heads())


def test_the_newest_is_shown_before_its_backlog_and_nothing_is_evidence(intake, board):
    assert intake.take(TOPIC, message(7)) is None, "nobody waits for an answer"
    shown = board.reading(SITE, METER)
    assert shown is not None
    assert shown.slot_us == evidence.START_US + 39 * evidence.PERIOD_US
    assert shown.values["energy_wh"] == "39000"
    assert (shown.size, shown.epoch) == (BATCHES[7].size, 1)
    assert held(intake) == 0
    assert intake._store.quarantined() == []
    for batch in BATCHES:
        assert intake.take(batch_topic(AGENT, METER), batch_bytes(batch)) is not None
    assert held(intake) == BATCHES[-1].size


def test_what_is_older_does_not_take_its_place(intake, board):
    intake.take(TOPIC, message(7))
    intake.take(TOPIC, message(5))
    shown = board.reading(SITE, METER)
    assert shown is not None
    assert shown.size == BATCHES[7].size


def forged() -> dict[str, tuple[str, bytes]]:
    other = tree(FOREIGN)
    batch = replace(BATCHES[7], leaves=(*BATCHES[7].leaves[:-1], BATCHES[6].leaves[-1]))
    return {
        "another key": (TOPIC, message(7, other)),
        "another device's topic": (live_topic(AGENT, COUNTER), message(7)),
        "leaves of another place": (TOPIC, live_bytes(Live(Edge(), BATCHES[0]))[:-3]),
        "another envelope": (TOPIC, message(7, [*BATCHES[:7], batch])),
        "nothing": (TOPIC, b""),
        "a batch": (TOPIC, batch_bytes(BATCHES[7])),
    }


@pytest.mark.parametrize("name", forged())
def test_what_does_not_prove_itself_is_not_shown_and_not_kept(intake, board, name, caplog):
    caplog.set_level(logging.WARNING)
    assert intake.take(*forged()[name]) is None
    assert board.readings(SITE) == []
    assert [r.getMessage() for r in caplog.records] == ["live_refused"]
    assert intake._store.quarantined() == [], "a flood of it fills nothing"


def test_a_revoked_key_shows_nothing(board):
    trusted = registry()
    key = public_key(KEYS.agent)
    revoked = [Revoked(key, f"joulemark/{SITE}/{METER}/1", 10)]
    given = {"agent": trusted.agents[AGENT], "keys": [key], "now_us": NOW_US}
    board.take("live", METER, message(7), revoked=revoked, **given)
    assert board.readings(SITE) == []
    board.take("live", METER, message(7), revoked=[], **given)
    assert len(board.readings(SITE)) == 1


def test_an_agent_says_how_it_is_under_its_own_name(intake, board):
    content = {
        "agent": AGENT, "level": "stopped", "lines": {"stuck": []}, "site": SITE, "troubles": [],
        "outbox": {"capacity_bytes": "20", "unconfirmed": "3", "used_bytes": "19"},
        "t_utc_us": "1",
    }  # fmt: skip
    intake.take(health_topic(AGENT), health_bytes(content, FOREIGN.agent))
    intake.take(health_topic(AGENT), health_bytes({**content, "agent": "edge-2"}, KEYS.agent))
    assert board.agents(SITE) == []
    intake.take(health_topic(AGENT), health_bytes(content, KEYS.agent))
    (shown,) = board.agents(SITE)
    assert shown.content["level"] == "stopped"
