"""What a damaged outbox sends is taken: the collector goes on, and knows what was lost."""

from __future__ import annotations

import random
from contextlib import closing

import pytest

from joulemark_agent.contract.canonical import parse_canonical
from joulemark_agent.contract.signature import parse_checkpoint, parse_note
from joulemark_agent.contract.topics import batch_topic, sparse_topic
from joulemark_agent.covers import SPARSE
from joulemark_agent.outbox import Outbox
from joulemark_gateway.evidence.store import SqliteStore
from joulemark_gateway.ingest.intake import Intake
from support import evidence
from support.evidence import AGENT, METER, PERIOD_US, SITE
from support.intakes import new_intake
from support.recording import batches_of, database, recorded, recorder, state

DOCUMENTS = evidence.documents()
READINGS = evidence.meter_readings(DOCUMENTS, [1000] * 200)
NAME = f"joulemark/{SITE}/{METER}/1"


def send(intake: Intake, box: Outbox) -> set[str]:
    """Send what waits and take the receipts; the codes of what was refused."""
    refused = set()
    for batch in batches_of(box):
        topic = sparse_topic if batch.kind == SPARSE else batch_topic
        answer = intake.take(topic(AGENT, METER), batch.payload)
        assert answer is not None
        if answer.topic.endswith("refusal"):
            refused.add(parse_canonical(answer.payload)["code"])
            break
        head = parse_checkpoint(parse_note(answer.payload.decode())[0])
        box.receipt(METER, 1, head.size)
    return refused


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("sent_before", [True, False])
def test_a_tree_that_lost_batches_is_held_to_its_end_and_every_slot_is_explained(
    tmp_path, seed, sent_before
):
    rng = random.Random(seed)
    with (
        closing(new_intake(tmp_path / "evidence")) as intake,
        closing(Outbox(state(tmp_path))) as box,
    ):
        writer = recorder(box, recorded(DOCUMENTS), slots=4)
        writer.commit(READINGS[:40])
        if sent_before:
            assert send(intake, box) == set()
        writer.commit(READINGS[40:120])
        for batch in rng.sample(batches_of(box), 4):
            spoil = "UPDATE batches SET payload = x'00' WHERE size = ?"
            database(box).execute(spoil, (batch.size,))
        batches_of(box)
        writer.tell_losses()
        writer.commit(READINGS[120:150])
        writer.seal_all()
        assert send(intake, box) == set()
        assert box.waiting() == {}
        size = box.trees()[0].edge.size
    with closing(SqliteStore(tmp_path / "evidence", create=False)) as store:
        head = store.head(NAME)
        assert head is not None
        assert head.size == size
        assert head.next_slot_us == evidence.START_US + 150 * PERIOD_US
        flags = {flag for batch in store.batches(NAME) for flag in batch.flags}
        assert flags <= {"lost", "back_dated", "spooled"}
        assert "lost" in flags


def test_an_outbox_that_lost_its_file_sends_covers_for_what_is_held_and_nothing_is_counted_twice(
    tmp_path,
):
    with closing(new_intake(tmp_path / "evidence")) as intake:
        with closing(Outbox(state(tmp_path))) as box:
            recorder(box, recorded(DOCUMENTS), slots=4).commit(READINGS[:80])
            waiting = batches_of(box)
            for batch in waiting[:12]:  # taken, but the receipts were lost with the disk
                assert intake.take(batch_topic(AGENT, METER), batch.payload) is not None
        state(tmp_path).unlink()
        with closing(Outbox(state(tmp_path))) as box:
            writer = recorder(box, recorded(DOCUMENTS), slots=4)
            writer.commit(READINGS[85:100])
            writer.seal_all()
            assert send(intake, box) == set()
            assert box.waiting() == {}
    with closing(SqliteStore(tmp_path / "evidence", create=False)) as store:
        flags = [flag for batch in store.batches(NAME) for flag in batch.flags]
        assert not {"slot_missing", "slot_twice"} & set(flags)


def test_an_agent_that_went_back_in_time_is_shown_its_own_head(tmp_path):
    """Both files of the outbox were put back: only the collector knows what was signed since."""
    with closing(new_intake(tmp_path / "evidence")) as intake:
        with closing(Outbox(state(tmp_path))) as box:
            writer = recorder(box, recorded(DOCUMENTS), slots=4)
            writer.commit(READINGS[:20])
        old = {path: path.read_bytes() for path in state(tmp_path).parent.glob("outbox*.db*")}
        with closing(Outbox(state(tmp_path))) as box:
            recorder(box, recorded(DOCUMENTS), slots=4).commit(READINGS[20:60])
            assert send(intake, box) == set()
        for path, data in old.items():
            path.write_bytes(data)
        with closing(Outbox(state(tmp_path))) as box:
            other = evidence.meter_readings(DOCUMENTS, [2000] * 60)
            recorder(box, recorded(DOCUMENTS), slots=4).commit(other[20:60])
            refusal = None
            for batch in batches_of(box):
                answer = intake.take(batch_topic(AGENT, METER), batch.payload)
                assert answer is not None
                if answer.topic.endswith("refusal"):
                    refusal = parse_canonical(answer.payload)
                    break
            assert refusal is not None
            assert refusal["code"] == "fork"
            head = parse_checkpoint(parse_note(refusal["held"])[0])
            assert not box.is_known(METER, 1, head.size, head.root)
