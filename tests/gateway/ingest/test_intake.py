import json
import logging
import zlib
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from joulemark_agent.contract.batch import batch_bytes
from joulemark_agent.contract.errors import StoreError
from joulemark_agent.contract.signature import cosigned_at, is_log_signed, public_key
from joulemark_agent.contract.topics import batch_topic, origin, receipt_topic, refusal_topic
from joulemark_gateway.evidence.store import FILE, SqliteStore
from joulemark_gateway.ingest.intake import Intake, Witness
from support.book import NOW_US, registry
from support.evidence import (
    AGENT,
    KEYS,
    METER,
    SITE,
    WITNESS,
    build_tree,
    documents,
    meter_readings,
    uncosigned,
)
from support.intakes import new_intake
from support.present import present

DOCS = documents()
TREE = [
    uncosigned(batch)
    for batch in build_tree(DOCS, METER, meter_readings(DOCS, [1000] * 7), slots_per_batch=4)
]
TOPIC = batch_topic(AGENT, METER)
NAME = origin(SITE, METER, 1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / FILE


@pytest.fixture
def intake(path):
    found = new_intake(path)
    yield found
    found.close()


def refusal(answer):
    assert answer.topic == refusal_topic(AGENT, METER)
    return json.loads(answer.payload)


def quarantined(path):
    with SqliteStore(path, create=False) as store:
        return {(row.agent, row.code): (row.messages, row.kept) for row in store.quarantined()}


def test_the_receipt_is_the_agents_checkpoint_cosigned_by_the_collector(intake):
    answer = intake.take(TOPIC, batch_bytes(TREE[0]))
    note = answer.payload.decode()
    assert answer.topic == receipt_topic(AGENT, METER)
    assert note.startswith(TREE[0].checkpoint)
    assert is_log_signed(note, public_key(KEYS.agent))
    assert cosigned_at(note, WITNESS, public_key(KEYS.witness)) == NOW_US // 1_000_000


def test_what_was_receipted_is_in_the_store_when_the_receipt_exists(intake, path):
    answer = intake.take(TOPIC, batch_bytes(TREE[0]))
    with SqliteStore(path, create=False) as store:
        assert store.leaves(NAME) == list(TREE[0].leaves)
        assert store.notes(NAME) == [answer.payload.decode()]


def test_a_batch_sent_again_gets_the_same_receipt_also_from_another_process(intake, path):
    first = intake.take(TOPIC, batch_bytes(TREE[0]))
    assert intake.take(TOPIC, batch_bytes(TREE[0])).payload == first.payload
    intake.close()
    restarted = new_intake(path)
    assert present(restarted.take(TOPIC, batch_bytes(TREE[0]))).payload == first.payload
    restarted.close()


def test_a_hole_is_answered_with_the_expected_size_and_not_kept(intake, path):
    assert refusal(intake.take(TOPIC, batch_bytes(TREE[1]))) == {
        "v": 1,
        "origin": NAME,
        "code": "hole",
        "expected_size": "0",
        "what": f"{NAME} is held up to leaf 0; the batch starts at {TREE[1].first_seq}",
    }
    intake.take(TOPIC, batch_bytes(TREE[0]))
    intake.take(TOPIC, batch_bytes(TREE[1]))
    assert quarantined(path) == {}
    assert refusal(intake.expected(AGENT, METER))["expected_size"] == str(TREE[1].size)


def test_an_agent_that_has_nothing_here_is_told_to_start_at_0(intake):
    told = refusal(intake.expected(AGENT, METER))
    assert (told["code"], told["origin"], told["expected_size"]) == ("hole", NAME, "0")
    assert intake.expected("edge-2", METER) is None
    assert intake.expected(AGENT, "furnace") is None


BOMB = zlib.compress(b'{"v":' + b" " * (17 * 1024 * 1024))
DEEP = zlib.compress(b"[" * 100_000)
POISON = {
    "nothing": (b"", "bad_batch"),
    "noise": (bytes(range(256)), "bad_batch"),
    "too long": (b"x" * (1024 * 1024 + 1), "bad_batch"),
    "bomb": (BOMB, "bad_batch"),
    "cut short": (batch_bytes(TREE[0])[:-1], "bad_batch"),
    "followed by more": (batch_bytes(TREE[0]) + b"x", "bad_batch"),
    "deep": (DEEP, "not_canonical"),
    "not text": (zlib.compress(b"\xff\xfe"), "not_canonical"),
    "not an object": (zlib.compress(b"[]"), "bad_batch"),
    "no number": (zlib.compress(b'{"v":NaN}'), "not_canonical"),
    "key twice": (zlib.compress(b'{"v":1,"v":1}'), "not_canonical"),
}


@pytest.mark.parametrize("name", POISON)
def test_poison_is_kept_once_with_its_reason_and_answered(intake, path, name):
    payload, code = POISON[name]
    for _ in range(3):
        told = refusal(intake.take(TOPIC, payload))
        assert (told["code"], told["origin"], told["expected_size"]) == (code, NAME, "0")
    assert quarantined(path) == {(AGENT, code): (3, 1)}
    assert intake.take(TOPIC, batch_bytes(TREE[0])).has_grown, "the queue goes on"


def test_messages_of_strangers_share_one_small_place(path):
    intake = new_intake(path, quarantine_messages=5)
    for i in range(20):
        answer = present(intake.take(batch_topic(f"edge-{i + 2}", METER), b"%d" % i))
        assert json.loads(answer.payload)["code"] == "unknown_agent"
    assert intake.take("joulemark/v1/up/+/#/batch", b"") is None
    intake.close()
    assert quarantined(path) == {("", "unknown_agent"): (20, 5), ("", "bad_topic"): (1, 0)}


def test_nothing_is_cosigned_where_a_ledger_has_lost_what_it_confirmed(path, tmp_path, caplog):
    """As of a server that failed over to a copy that was behind: two heads of one size could be."""
    behind = tmp_path / "behind.sqlite"
    readings = meter_readings(DOCS, [999] * 7)
    other = [uncosigned(batch) for batch in build_tree(DOCS, METER, readings, slots_per_batch=4)]
    with closing(new_intake(behind)) as intake:
        intake.take(TOPIC, batch_bytes(TREE[0]))
    ledgers = [behind, path, path]
    witness = Witness(WITNESS, KEYS.witness)
    with closing(
        Intake(lambda: SqliteStore(ledgers.pop()), registry, witness, lambda: NOW_US)
    ) as intake:
        receipts = [intake.take(TOPIC, batch_bytes(batch)) for batch in TREE]
        intake.reopen()
        again = present(intake.take(TOPIC, batch_bytes(TREE[1])))
        assert replace(again, has_grown=True) == receipts[1]
        intake.reopen()
        for batch in (TREE[1], TREE[0], other[1], TREE[1]):
            assert intake.take(TOPIC, batch_bytes(batch)) is None
    assert [record.getMessage() for record in caplog.records] == ["ledger_went_back"]
    with SqliteStore(behind, create=False) as store:
        assert present(store.head(NAME)).size == TREE[0].size
    with closing(new_intake(behind)) as intake:  # a person has looked, and started it again
        assert present(intake.take(TOPIC, batch_bytes(TREE[1]))).has_grown


def test_a_fork_is_a_security_alarm_and_the_proof_is_kept(intake, path, caplog):
    other = build_tree(DOCS, METER, meter_readings(DOCS, [999] * 7), slots_per_batch=4)
    intake.take(TOPIC, batch_bytes(TREE[0]))
    with caplog.at_level(logging.ERROR):
        answer = intake.take(TOPIC, batch_bytes(uncosigned(other[0])))
    assert refusal(answer)["code"] == "fork"
    assert [record.getMessage() for record in caplog.records] == ["security_alarm"]
    assert quarantined(path) == {(AGENT, "fork"): (1, 1)}
    with SqliteStore(path, create=False) as store:
        assert store.leaves(NAME) == list(TREE[0].leaves)


def test_flags_are_said_when_they_change_and_not_with_every_batch(path, caplog):
    late_us = NOW_US + 86_400_000_000
    times = iter([NOW_US, late_us, late_us, late_us])
    intake = Intake(
        lambda: SqliteStore(path), registry, Witness(WITNESS, KEYS.witness), lambda: next(times)
    )
    results = meter_readings(DOCS, [1000] * 7)
    for batch in build_tree(DOCS, METER, results, slots_per_batch=2):
        intake.take(TOPIC, batch_bytes(uncosigned(batch)))
    intake.close()
    said = [(r.getMessage(), r.flags) for r in caplog.records]
    assert said == [("batches_flagged", ("spooled",))]


@pytest.mark.parametrize("place", ["ingest.intake.judge", "evidence.store.SqliteStore.accept"])
def test_a_mistake_of_ours_is_quarantined_and_the_queue_goes_on(intake, path, monkeypatch, place):
    def fail(*_, **__):
        raise OverflowError("a planted mistake")

    with monkeypatch.context() as planted:
        planted.setattr(f"joulemark_gateway.{place}", fail)
        told = refusal(intake.take(TOPIC, batch_bytes(TREE[0])))
    assert told["code"] == "internal"
    assert "planted" not in told["what"]
    assert quarantined(path) == {(AGENT, "internal"): (1, 1)}
    assert intake.take(TOPIC, batch_bytes(TREE[0])).has_grown


def test_a_store_that_fails_gives_no_answer_at_all(intake):
    intake.take(TOPIC, batch_bytes(TREE[0]))
    intake.close()
    with pytest.raises(StoreError):
        intake.take(TOPIC, batch_bytes(TREE[1]))
    intake.reopen()
    assert intake.take(TOPIC, batch_bytes(TREE[1])).has_grown


def test_two_collectors_on_one_store_make_one_tree(intake, path):
    other = new_intake(path)
    for batch in TREE:
        answers = [present(each.take(TOPIC, batch_bytes(batch))) for each in (intake, other)]
        assert answers[0].payload == answers[1].payload
        assert [answer.has_grown for answer in answers] == [True, False]
    other.close()


def test_a_head_that_moved_between_judging_and_committing_is_judged_again(
    intake, path, monkeypatch
):
    other = new_intake(path)
    accept, told = SqliteStore.accept, []

    def late(store, batch, **fields):
        monkeypatch.setattr(SqliteStore, "accept", accept)
        told.append(present(other.take(TOPIC, batch_bytes(TREE[0]))))
        accept(store, batch, **fields)

    monkeypatch.setattr(SqliteStore, "accept", late)
    answer = intake.take(TOPIC, batch_bytes(TREE[0]))
    assert (answer.payload, answer.has_grown) == (told[0].payload, False)
    other.close()
