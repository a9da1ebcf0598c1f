"""Batches of which leaves stay away: taken as they are, once, and never for more than they show."""

import json
from dataclasses import replace

import pytest

from joulemark_agent.contract.batch import batch_bytes
from joulemark_agent.contract.committed import committed
from joulemark_agent.contract.errors import EvidenceError
from joulemark_agent.contract.signature import encode64
from joulemark_agent.contract.sparse import Part, SparseBatch, Withheld, leaves_in, withheld
from joulemark_agent.contract.topics import batch_topic
from joulemark_agent.contract.tree import Edge, append, root
from joulemark_gateway.evidence.store import FILE, SqliteStore
from joulemark_gateway.evidence.withheld import UNKNOWN_SLOT
from support import evidence
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
from support.evidence import AGENT, METER
from support.intakes import new_intake
from support.present import present

FULL = list(four_intervals())
SPARSE = sparse(FULL)
LEAVES = [leaf for batch in FULL for leaf in batch.leaves]


@pytest.fixture
def path(tmp_path):
    return tmp_path / FILE


@pytest.fixture
def intake(path):
    found = new_intake(path)
    yield found
    found.close()


def stored(path):
    return SqliteStore(path, create=False)


def code_of(answer):
    content = json.loads(answer.payload)
    return content["code"]


def is_receipt(answer):
    return answer is not None and answer.topic.endswith("/receipt")


def flags(path):
    with stored(path) as store:
        return [batch.flags for batch in store.batches(NAME)]


def lost(*batches):
    """What stands for batches of which no leaf is left."""
    runs = tuple(withheld(batch.leaves, batch.first_seq) for batch in batches)
    return SparseBatch(batches[0].first_seq, runs, batches[-1].checkpoint)


def test_a_run_in_committed_mode_has_the_heads_of_the_run_in_full(intake, path):
    assert all(is_receipt(offer(intake, batch)) for batch in SPARSE)
    with stored(path) as store:
        head = present(store.head(NAME))
        assert (head.size, head.root) == (len(LEAVES), root(append(Edge(), LEAVES)))
        parts = store.parts(NAME)
        assert leaves_in(parts) == len(LEAVES)
        here = [part for part in parts if not isinstance(part, Withheld)]
        assert len(here) == len(LEAVES) - 4 * (SLOTS - 1)
        store.scrub(NAME)
    assert flags(path) == [()] * len(FULL)


def test_all_leaves_are_refused_where_some_stay_away_and_parts_are_given(intake, path):
    for batch in SPARSE:
        offer(intake, batch)
    with stored(path) as store:
        with pytest.raises(EvidenceError, match="fetch") as caught:
            store.leaves(NAME)
        assert caught.value.code == "withheld"
        assert store.leaves(NAME, 0, FULL[2].first_seq) == LEAVES[: FULL[2].first_seq]
        first = FULL[2].first_seq
        cut = store.parts(NAME, first + 2, first + 17)
        assert [type(part) for part in cut] == [Withheld, bytes, bytes, Withheld]
        assert cut[0] == Withheld(SLOTS - 3, ()), "a run that is cut has no cover"
        assert leaves_in(cut) == 15


def test_what_is_sent_again_gets_the_same_receipt_and_changes_nothing(intake, path):
    first = [offer(intake, batch).payload for batch in SPARSE]
    again = [offer(intake, batch).payload for batch in (*SPARSE, *reversed(SPARSE))]
    assert again == first + first[::-1]
    with stored(path) as store:
        assert leaves_in(store.parts(NAME)) == len(LEAVES)


def test_the_whole_batch_is_absorbed_where_its_sparse_form_is_held_and_the_other_way(intake, path):
    notes = [offer(intake, batch).payload for batch in SPARSE[:4]]
    topic = batch_topic(AGENT, METER)
    whole = [intake.take(topic, batch_bytes(batch)).payload for batch in FULL[:4]]
    assert whole == notes
    assert is_receipt(intake.take(topic, batch_bytes(FULL[4])))
    assert is_receipt(offer(intake, SPARSE[4]))
    with stored(path) as store:
        assert store.leaves(NAME, FULL[4].first_seq) == list(FULL[4].leaves)


def test_another_history_at_the_same_place_is_a_fork(intake):
    for batch in SPARSE[:4]:
        offer(intake, batch)

    def other(contents):
        contents[3]["t_mono_ns"] = "77"

    forked = committed(resealed(FULL, 3, other))
    assert code_of(offer(intake, forked)) == "fork"


def test_a_hole_is_named_and_filled(intake):
    offer(intake, SPARSE[0])
    answer = offer(intake, SPARSE[2])
    assert code_of(answer) == "hole"
    assert json.loads(answer.payload)["expected_size"] == str(SPARSE[1].first_seq)
    assert is_receipt(offer(intake, SPARSE[1]))
    assert is_receipt(offer(intake, SPARSE[2]))


def refused(intake, batch, index=2):
    for before in SPARSE[:index]:
        offer(intake, before)
    return code_of(offer(intake, batch))


def test_a_cover_of_other_leaves_gives_another_root(intake):
    run_, *rest = SPARSE[2].parts
    assert isinstance(run_, Withheld)
    other = Withheld(run_.count, (bytes(32), *run_.hashes[1:]))
    assert refused(intake, replace(SPARSE[2], parts=(other, *rest))) == "bad_root"


def test_the_last_record_of_a_batch_may_not_stay_away(intake):
    batch = FULL[2]
    parts: tuple[Part, ...] = (withheld(batch.leaves[:-1], batch.first_seq), batch.leaves[-1])
    assert refused(intake, replace(SPARSE[2], parts=parts)) == "interval_record_missing"


def test_a_gap_that_stays_away_is_missing_in_the_count(intake):
    results = evidence.with_gap(readings(documents(), 4 * SLOTS), 20, 3)
    batches = run(results)
    index = next(i for i, b in enumerate(batches) if any(b'"gap"' in leaf for leaf in b.leaves))
    whole = batches[index]
    honest = committed(whole)
    assert sum(isinstance(part, Withheld) for part in honest.parts) == 2, "before and after the gap"
    hidden: tuple[Part, ...] = (withheld(whole.leaves[:-2], whole.first_seq), *whole.leaves[-2:])
    for batch in sparse(batches[:index]):
        offer(intake, batch)
    assert code_of(offer(intake, replace(honest, parts=hidden))) == "bad_envelope"
    assert is_receipt(offer(intake, honest))


def test_a_site_with_full_evidence_withholds_nothing(intake):
    batches = run(site=evidence.documents(period_s=60))
    for batch in sparse(batches[:2]):
        assert is_receipt(offer(intake, batch)), "there is nothing to withhold in it"
    assert code_of(offer(intake, committed(batches[2]))) == "withheld_refused"


def test_a_sparse_batch_of_a_foreign_key_is_refused(intake):
    foreign = resealed(FULL, 2, lambda _: None, evidence.FOREIGN)
    assert refused(intake, committed(foreign)) == "bad_signature"


# ------------------------------------------------------------------------ lost


@pytest.mark.parametrize("site", ["committed", "full"])
def test_a_lost_batch_is_taken_in_any_mode_and_flagged(tmp_path, site):
    batches = FULL if site == "committed" else run(site=evidence.documents(period_s=60))
    send = committed if site == "committed" else (lambda batch: SparseBatch(
        batch.first_seq, batch.leaves, batch.checkpoint, batch.documents))  # fmt: skip
    path = tmp_path / FILE
    intake = new_intake(path)
    for batch in batches[:2]:
        assert is_receipt(offer(intake, send(batch)))
    assert is_receipt(offer(intake, lost(batches[2])))
    with stored(path) as store:
        assert present(store.head(NAME)).next_slot_us == UNKNOWN_SLOT
    assert is_receipt(offer(intake, send(batches[3])))
    assert is_receipt(offer(intake, lost(batches[2]))), "sent again"
    intake.close()
    assert flags(path) == [(), (), ("lost",), ()]
    with stored(path) as store:
        store.scrub(NAME)


def test_what_is_held_is_not_lost_when_the_agent_has_lost_it(intake, path):
    """Its disk lost three batches in one run; the first of them had arrived."""
    for batch in FULL[:3]:
        intake.take(batch_topic(AGENT, METER), batch_bytes(batch))
    assert is_receipt(offer(intake, lost(*FULL[2:5])))
    with stored(path) as store:
        assert store.leaves(NAME, 0, FULL[3].first_seq) == LEAVES[: FULL[3].first_seq]
        assert present(store.head(NAME)).size == FULL[4].size
    assert flags(path) == [(), (), (), ("lost",)]


def test_a_lost_run_that_is_not_what_is_held_adds_nothing(intake, path):
    for batch in FULL[:3]:
        intake.take(batch_topic(AGENT, METER), batch_bytes(batch))

    def other(contents):
        contents[3]["t_mono_ns"] = "77"

    others = [resealed(FULL, 2, other), FULL[3], FULL[4]]
    assert code_of(offer(intake, lost(*others))) == "fork"
    with stored(path) as store:
        assert present(store.head(NAME)).size == FULL[2].size


def test_an_epoch_does_not_begin_with_a_lost_batch(intake):
    assert code_of(offer(intake, lost(FULL[0]))) == "bad_sequence"


def test_the_envelope_after_a_lost_batch_names_its_head(intake):
    """A tree that goes on elsewhere is a fork, whatever was lost."""

    def elsewhere(contents):
        contents[-1]["previous"]["root"] = encode64(bytes(32))

    for batch in (*SPARSE[:2], lost(FULL[2])):
        offer(intake, batch)
    assert code_of(offer(intake, committed(resealed(FULL, 3, elsewhere)))) == "fork"
