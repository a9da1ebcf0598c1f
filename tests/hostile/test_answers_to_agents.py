"""What anybody who may publish to an agent can say: nothing is deleted, and it goes on sending."""

import asyncio

import pytest

from joulemark_agent.contract.canonical import canonical_bytes
from joulemark_agent.contract.signature import Checkpoint, cosign, public_key, sign_checkpoint
from joulemark_agent.contract.topics import origin, receipt_topic, refusal_topic
from joulemark_agent.mqtt import Login, Received
from joulemark_agent.outbox import Outbox
from joulemark_agent.uplink import Collector, Uplink
from support import evidence
from support.evidence import AGENT, FOREIGN, KEYS, METER, SITE, WITNESS
from support.recording import recorded, recorder, state

DOCUMENTS = evidence.documents()
SIZES = (0, 2**31, 2**63 - 1, 2**63, 2**64 - 1)
COLLECTOR = Collector(SITE, AGENT, WITNESS, public_key(KEYS.witness))


@pytest.fixture
def outbox(tmp_path):
    box = Outbox(state(tmp_path))
    writer = recorder(box, recorded(DOCUMENTS), slots=4)
    writer.commit(evidence.meter_readings(DOCUMENTS, [1000] * 20))
    writer.seal_all()
    yield box
    box.close()


def told(outbox: Outbox, *messages: Received) -> int:
    """How many batches are left after an agent was told this."""

    async def listen() -> None:
        uplink = Uplink(Login("mqtt://192.0.2.1", AGENT), COLLECTOR, outbox)
        await uplink._take(messages)
        if uplink._deleting is not None:
            await uplink._deleting
        await uplink.close()

    asyncio.run(listen())
    return sum(outbox.waiting().values())


@pytest.mark.parametrize("size", SIZES)
def test_a_hole_at_any_size_stops_nothing(outbox: Outbox, size: int):
    before = sum(outbox.waiting().values())
    refusal = {
        "code": "hole", "expected_size": str(size), "origin": origin(SITE, METER, 1), "v": 1,
        "what": "",
    }  # fmt: skip

    assert told(outbox, Received(refusal_topic(AGENT, METER), canonical_bytes(refusal))) == before


@pytest.mark.parametrize("size", [n for n in SIZES if n < 10**19])
@pytest.mark.parametrize("owner", [KEYS, FOREIGN])
def test_a_receipt_for_any_size_deletes_only_what_is_ours(outbox: Outbox, size: int, owner):
    before = sum(outbox.waiting().values())
    head = Checkpoint(origin(SITE, METER, 1), size, bytes(32))
    note = cosign(KEYS.witness, WITNESS, sign_checkpoint(owner.agent, head), 1)

    assert told(outbox, Received(receipt_topic(AGENT, METER), note.encode())) == before


def test_the_true_receipt_deletes_what_it_covers(outbox: Outbox):
    """The control: the others were refused for what they say."""
    before = sum(outbox.waiting().values())
    batch = outbox.next_batch(METER, 1, 0)
    assert batch is not None
    note = cosign(KEYS.witness, WITNESS, batch.checkpoint, 1)

    assert told(outbox, Received(receipt_topic(AGENT, METER), note.encode())) == before - 1
