"""Raw records that come later are taken if they are the very leaves, and else not."""

from dataclasses import replace

import pytest

from joulemark_agent.contract.batch import batch_bytes
from joulemark_agent.contract.canonical import parse_canonical
from joulemark_agent.contract.committed import committed
from joulemark_agent.contract.sparse import leaves_in
from joulemark_agent.contract.topics import raw_topic, receipt_topic
from joulemark_agent.contract.tree import leaf_hash
from joulemark_gateway.api.records import proof_of
from joulemark_gateway.evidence import tables as stores
from joulemark_gateway.evidence.proof import root_of_path
from joulemark_gateway.evidence.store import FILE, SqliteStore
from joulemark_gateway.ingest import raw
from support.committed import (
    NAME,
    SLOTS,
    documents,
    four_intervals,
    offer,
    readings,
    resealed,
    run,
    sparse,
)
from support.evidence import AGENT, COUNTER, METER, WITNESS
from support.intakes import new_intake
from support.present import present

FULL = list(four_intervals())
SPARSE = sparse(FULL)
LEAVES = [leaf for batch in FULL for leaf in batch.leaves]
ASKED = FULL[3]


@pytest.fixture
def path(tmp_path):
    return tmp_path / FILE


@pytest.fixture
def intake(path):
    found = new_intake(path)
    for batch in SPARSE:
        offer(found, batch)
    yield found
    found.close()


def stored(path):
    return SqliteStore(path, create=False)


def codes(path):
    with stored(path) as store:
        return [row.code for row in store.quarantined()]


def test_raw_records_take_the_place_of_their_cover(intake, path):
    note = offer(intake, SPARSE[3]).payload
    answer = offer(intake, ASKED)
    assert (answer.topic, answer.payload) == (receipt_topic(AGENT, METER), note)
    with stored(path) as store:
        assert store.leaves(NAME, ASKED.first_seq, ASKED.size) == list(ASKED.leaves)
        assert leaves_in(store.parts(NAME)) == len(LEAVES)
        store.scrub(NAME)
    assert offer(intake, ASKED).payload == note, "again"
    assert offer(intake, SPARSE[3]).payload == note, "and the sparse batch again"
    assert codes(path) == []


def test_when_all_have_come_the_store_is_that_of_full_evidence(intake, path):
    for batch in reversed(FULL):
        offer(intake, batch)
    with stored(path) as store:
        assert store.leaves(NAME) == LEAVES


@pytest.mark.parametrize("is_fetched", [False, True])
def test_every_leaf_that_is_here_is_proved_under_its_cosigned_head(intake, path, is_fetched):
    if is_fetched:
        offer(intake, ASKED)
    proved = 0
    with stored(path) as store:
        head = present(store.head(NAME))
        for seq, leaf in enumerate(LEAVES):
            if not is_fetched and store.parts(NAME, seq, seq + 1) != [leaf]:
                continue
            if is_fetched and not ASKED.first_seq <= seq < ASKED.size:
                continue
            proof = proof_of(store, head, seq, (WITNESS, b"w" * 32))
            path_ = [bytes.fromhex(text) for text in proof["path_sha256"]]
            root = root_of_path(leaf, seq, proof["tree_size"], path_)
            assert root is not None
            assert proof["root_base64"] == proof["checkpoint"].split("\n")[2]
            assert proof["leaf_sha256"] == leaf_hash(leaf).hex()
            proved += 1
    assert proved == (len(ASKED.leaves) if is_fetched else 13)


def altered(change):
    return resealed(FULL, 3, change)


def forgeries():
    def value(contents):
        contents[4]["val"]["energy_wh"] = "999"

    other = run(readings(documents(), 4 * SLOTS, step_wh=lambda _: 50))
    leaves = ASKED.leaves
    yield "a value of a record", altered(value)
    yield "a record of another run", replace(ASKED, leaves=other[3].leaves)
    yield (
        "two records that changed places",
        replace(ASKED, leaves=(leaves[1], leaves[0], *leaves[2:])),
    )
    yield (
        "the records of another interval",
        replace(FULL[2], first_seq=ASKED.first_seq, checkpoint=ASKED.checkpoint),
    )
    yield (
        "one bit of one record",
        replace(ASKED, leaves=(leaves[0].replace(b'"boot":1', b'"boot":3', 1), *leaves[1:])),
    )


@pytest.mark.parametrize(("name", "batch"), list(forgeries()), ids=lambda item: str(item)[:32])
def test_other_leaves_are_refused_and_kept(intake, path, name, batch):
    assert offer(intake, batch) is None, "nobody is answered"
    assert codes(path) == ["raw_mismatch"], name
    with stored(path) as store:
        assert store.parts(NAME)[-3] == SPARSE[5].parts[-3]
        assert store.parts(NAME, ASKED.first_seq, ASKED.size) == list(SPARSE[3].parts)


def test_without_the_check_of_the_cover_forgeries_are_taken(intake, monkeypatch):
    """The control: what the cover keeps out."""
    monkeypatch.setattr(raw, "is_same_tree", lambda *_: True)
    monkeypatch.setattr(stores, "is_same_tree", lambda *_: True)
    taken = [name for name, batch in forgeries() if offer(intake, batch) is not None]
    assert taken == ["a record of another run", "one bit of one record"], "the rest miscounts"


@pytest.mark.parametrize(
    "change",
    [
        lambda: replace(ASKED, leaves=ASKED.leaves[:-1]),
        lambda: replace(ASKED, first_seq=ASKED.first_seq + 1, leaves=ASKED.leaves[1:]),
        lambda: replace(ASKED, first_seq=ASKED.first_seq + 1),
        lambda: replace(FULL[5], first_seq=FULL[5].size),
    ],
    ids=["shorter", "from its middle", "elsewhere", "beyond the head"],
)
def test_leaves_that_are_no_batch_of_ours_are_refused(intake, path, change):
    assert offer(intake, change()) is None
    assert codes(path) == ["raw_unknown"]


def test_raw_records_of_another_device_are_refused(intake, path):
    assert intake.take(raw_topic(AGENT, COUNTER), batch_bytes(ASKED)) is None
    assert codes(path) == ["wrong_identity"]


def test_raw_records_before_their_tree_are_refused(tmp_path):
    empty = new_intake(tmp_path / FILE)
    assert offer(empty, ASKED) is None
    empty.close()
    assert codes(tmp_path / FILE) == ["raw_unknown"]


def test_an_agent_that_committed_to_a_false_value_is_bound_to_it(tmp_path):
    """Unseen while it stays away; when it is asked for, the head is the proof."""

    def lie(contents):
        values = contents[4]["val"]
        values["energy_wh"] = str(int(values["energy_wh"]) + 7)

    false = altered(lie)
    path = tmp_path / FILE
    found = new_intake(path)
    for batch in (*SPARSE[:3], committed(false)):
        assert offer(found, batch).topic == receipt_topic(AGENT, METER)
    assert offer(found, false) is None
    assert offer(found, ASKED) is None, "the true ones are not those it committed to"
    found.close()
    assert sorted(codes(path)) == ["decode_mismatch", "raw_mismatch"]
    assert parse_canonical(false.leaves[4])["val"] != parse_canonical(ASKED.leaves[4])["val"]
