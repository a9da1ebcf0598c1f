"""One agent floods the collector; the others have their receipts as if it did not."""

import pytest

from joulemark_agent.contract.topics import batch_topic
from joulemark_gateway.evidence.store import FILE, SqliteStore
from nightly import floods
from support import servers
from support.flooding import FLOODER, OTHERS

BROKER: floods.Kind = "mosquitto" if servers.program("mosquitto") else "embedded"


@pytest.mark.endurance
def test_a_flood_costs_the_others_no_receipt_and_one_queue_for_all_does():
    assert len(floods.run(1, full=False)) == 1 + len(floods.WORST) + 1


@pytest.mark.endurance
def test_a_message_that_cannot_be_read_is_kept_once_and_holds_up_nobody(tmp_path):
    """Again and again it is one row, and what comes behind it is taken."""
    with floods.chain(tmp_path, "fair", None, BROKER) as (_, _, honest):
        for batch in floods.TREE[:3]:
            for _ in range(5):
                honest.client.publish(batch_topic(FLOODER, OTHERS), b"poison", qos=1)
            assert len(honest.receipts([batch], again_s=30, within_s=60)) == 1
    with SqliteStore(tmp_path / FILE, create=False) as store:
        [row] = store.quarantined()
    assert (row.agent, row.code, row.kept) == (FLOODER, "bad_batch", 1)
    assert row.messages > 1
    assert honest.sent_again == 0
