"""Whose key may sign what: changed, lost and revoked keys, as the collector judges them."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from joulemark_agent.contract.revocation import Revoked
from joulemark_agent.contract.signature import public_key
from joulemark_agent.contract.topics import origin
from joulemark_gateway.ingest.registered import Agent, Registry
from joulemark_gateway.ingest.signing import Signed
from joulemark_gateway.ingest.verify import FORK, HOLE, Absorbed, Refused
from support.book import Book, registry
from support.evidence import (
    AGENT,
    COUNTER,
    FOREIGN,
    KEYS,
    METER,
    SITE,
    counter_readings,
    documents,
    leaf_groups,
    meter_readings,
    seal,
)
from support.rotations import (
    NEW,
    OLD,
    THIRD,
    rotated,
    rotated_often,
    rotation_leaf,
    seq_of_end,
    signed_from,
)

DOCS = documents()
RESULTS = {
    METER: meter_readings(DOCS, [1000] * 23),
    COUNTER: counter_readings(DOCS, [100] * 23),
}
AT = 2  # the batch that holds the change
NAME = origin(SITE, METER, 1)


def groups_of(device=METER, owner=KEYS, epoch=1):
    return leaf_groups(DOCS, device, RESULTS[device], owner, epoch=epoch, slots_per_batch=4)


def sealed(groups, signer=None, device=METER, epoch=1, **options):
    return seal(DOCS, device, groups, KEYS, epoch=epoch, signer=signer, **options)


def changed(device=METER, at=AT):
    return sealed(rotated(groups_of(device), device, at), signed_from((at, NEW)), device)


PLAIN, TREE = sealed(groups_of()), changed()


def code_of(verdict):
    return verdict.code if isinstance(verdict, Refused) else type(verdict).__name__


def book_of(*batches, trusted=None):
    book = Book(trusted)
    book.offer_all(batches)
    return book


def registered(key, **more) -> Registry:
    agent = Agent(AGENT, SITE, public_key(key), frozenset({METER, COUNTER}))
    return replace(registry(), agents={AGENT: agent}, **more)


# ------------------------------------------------------------------ a change of key


def test_a_tree_goes_on_through_two_changes_of_key():
    groups = rotated_often(groups_of(), METER, [(1, NEW), (4, THIRD)])
    book = book_of(*sealed(groups, signed_from((1, NEW), (4, THIRD))))
    keys = [change.new_key for change in book.heads[NAME].rotations]
    assert keys == [public_key(NEW), public_key(THIRD)]


def test_batches_of_the_old_key_that_come_again_are_absorbed():
    book = book_of(*TREE)
    for batch in TREE:
        assert isinstance(book.offer(batch), Absorbed)


def test_after_the_change_the_old_key_signs_nothing_more():
    late = sealed(rotated(groups_of(), METER, AT), signed_from((AT, NEW), (AT + 1, OLD)))
    assert code_of(book_of(*late[: AT + 1]).offer(late[AT + 1])) == "bad_signature"


def test_the_head_that_covers_the_change_is_the_new_keys():
    early = sealed(rotated(groups_of(), METER, AT), signed_from((AT + 1, NEW)))
    assert code_of(book_of(*early[:AT]).offer(early[AT])) == "bad_signature"


def test_before_the_change_has_arrived_a_batch_of_the_new_key_is_a_hole_and_not_a_forgery():
    book = book_of(*TREE[:AT])
    assert code_of(book.offer(TREE[AT + 1])) == HOLE
    book.offer_all(TREE[AT:])


def forged(leaf, new=NEW):
    """The tree with this leaf at the place of the change, whose head the new key signs."""
    groups = groups_of()
    groups[AT].append(leaf)
    return sealed(groups, signed_from((AT, new)))


SEQ = seq_of_end(groups_of(), AT)
HALF = rotation_leaf(METER, SEQ, THIRD, NEW)


@pytest.mark.parametrize(
    "leaf",
    [
        rotation_leaf(METER, SEQ + 1),
        rotation_leaf(COUNTER, SEQ),
        rotation_leaf(METER, SEQ, epoch=2),
        {**rotation_leaf(METER, SEQ), "old_signature": HALF["old_signature"]},
        {**rotation_leaf(METER, SEQ), "new_signature": HALF["new_signature"]},
        {**HALF, "old_key": rotation_leaf(METER, SEQ)["old_key"]},
    ],
    ids=["other leaf", "other device", "other epoch", "old forged", "new forged", "old unsigned"],
)
def test_a_change_that_both_keys_did_not_sign_for_this_place_is_refused(leaf):
    batches = forged(leaf)
    assert code_of(book_of(*batches[:AT]).offer(batches[AT])) == "bad_rotation"


def test_a_change_from_another_key_leads_nowhere():
    batches = forged(HALF)
    assert code_of(book_of(*batches[:AT]).offer(batches[AT])) == "bad_signature"


def test_a_change_stands_right_before_the_envelope():
    groups = rotated(groups_of(), METER, AT)
    seq = SEQ - 1
    groups[AT][-2:] = [rotation_leaf(METER, seq), groups[AT][-2]]
    batches = sealed(groups, signed_from((AT, NEW)))
    refused = book_of(*batches[:AT]).offer(batches[AT])
    assert code_of(refused) == "bad_signature", "the key is looked for at its place only"
    signed_by_old = sealed(groups)
    assert code_of(book_of(*batches[:AT]).offer(signed_by_old[AT])) == "bad_rotation"


def test_a_key_that_was_replaced_does_not_come_back():
    groups = rotated_often(groups_of(), METER, [(1, NEW), (3, OLD)])
    batches = sealed(groups, signed_from((1, NEW), (3, OLD)))
    assert code_of(book_of(*batches[:3]).offer(batches[3])) == "bad_rotation"


# ------------------------------------------------------------- trees beside it, epochs after it


def test_another_device_goes_on_with_the_old_key_until_its_own_change_arrives():
    other = changed(COUNTER, at=4)
    book = book_of(*TREE, *other[:3])
    book.offer_all(other[3:])
    assert len({head.rotations[0].new_key for head in book.heads.values()}) == 1


@pytest.mark.parametrize(("opener", "code"), [(OLD, "Accepted"), (NEW, "Accepted"), (THIRD, "bad")])
def test_the_next_epoch_is_opened_by_a_key_that_the_agent_had(opener, code):
    owner = replace(KEYS, agent=opener)
    second = seal(DOCS, METER, groups_of(owner=owner, epoch=2), owner, epoch=2)
    assert code_of(book_of(*TREE).offer(second[0])).startswith(code)
    if opener == NEW:
        assert code_of(book_of(*PLAIN).offer(second[0])) == "bad_signature", "nobody heard of it"


def test_the_new_key_may_stand_in_the_collectors_file_once_the_change_has_arrived():
    book = book_of(*TREE[: AT + 1])
    book.registry = registered(NEW)
    book.offer_all(TREE[AT + 1 :])
    second = seal(DOCS, METER, groups_of(epoch=2), KEYS, epoch=2)
    assert code_of(book.offer(second[0])) == "bad_signature", "the old one opens nothing more"


def test_a_key_that_is_registered_for_a_lost_one_opens_an_epoch_and_extends_no_old_tree():
    book = book_of(*PLAIN[:3])
    book.registry = registered(FOREIGN.agent)
    assert code_of(book.offer(PLAIN[3])) == "bad_signature"
    owner = replace(KEYS, agent=FOREIGN.agent)
    later = seal(DOCS, METER, groups_of(owner=owner, epoch=7), owner, epoch=7)
    flags = [book.accepted(batch)[0].flags for batch in later]
    assert flags[0] == ("epoch_skipped",), "nobody knows how many the lost disk had opened"
    assert set(flags[1:]) == {()}
    assert book.heads[NAME].size == PLAIN[2].size
    assert book.heads[origin(SITE, METER, 7)].size == later[-1].size


# ------------------------------------------------------------- clones


def test_a_clone_with_the_old_key_forks_the_tree_that_was_given_a_new_one():
    book = book_of(*TREE)
    clone = sealed(groups_of(), sealed_us=1_735_689_700_000_000)
    assert code_of(book.offer(clone[AT])) == FORK
    thief = sealed(rotated(groups_of(), METER, AT, OLD, THIRD), signed_from((AT, THIRD)))
    assert code_of(book.offer(thief[AT])) == FORK, "also where the thief makes a key of its own"
    assert code_of(book.offer(thief[AT + 1])) == "bad_signature"


# ------------------------------------------------------------- revoked keys


def revoked_at(size, key=OLD, name=NAME):
    return registered(OLD, revoked=(Revoked(public_key(key), name, size),))


def test_a_revoked_key_adds_nothing_above_its_size_and_what_is_held_is_still_confirmed():
    book = book_of(*PLAIN[:3])
    book.registry = revoked_at(PLAIN[2].size)
    refused = book.offer(PLAIN[3])
    assert code_of(refused) == "revoked"
    assert refused.is_kept
    assert isinstance(book.offer(PLAIN[2]), Absorbed)
    assert code_of(book.offer(PLAIN[4])) == "revoked", "also before the hole is spoken of"


def test_a_revoked_key_opens_no_epoch_and_no_other_tree():
    book = book_of(*PLAIN)
    book.registry = revoked_at(PLAIN[-1].size)
    second = seal(DOCS, METER, groups_of(epoch=2), KEYS, epoch=2)
    assert code_of(book.offer(second[0])) == "revoked"
    assert code_of(book.offer(seal(DOCS, COUNTER, groups_of(COUNTER), KEYS)[0])) == "revoked"


def test_a_thief_cannot_change_a_revoked_key_for_one_of_his_own():
    book = book_of(*PLAIN[:AT])
    book.registry = revoked_at(PLAIN[AT - 1].size)
    thief = forged(rotation_leaf(METER, SEQ, OLD, THIRD), THIRD)
    assert code_of(book.offer(thief[AT])) == "revoked"


def test_without_its_check_a_revoked_key_would_go_on(monkeypatch):
    monkeypatch.setattr(Signed, "check_revoked", lambda *_: None)
    book = book_of(*PLAIN[:3])
    book.registry = revoked_at(PLAIN[2].size)
    assert code_of(book.offer(PLAIN[3])) == "Accepted"


def test_a_strangers_signature_is_a_forgery_and_not_a_revoked_key():
    book = book_of(*PLAIN[:3])
    book.registry = revoked_at(PLAIN[2].size)
    foreign = seal(DOCS, METER, groups_of(), replace(KEYS, agent=FOREIGN.agent))
    assert code_of(book.offer(foreign[3])) == "bad_signature"


# ------------------------------------------------------------- any order


@settings(max_examples=60)
@given(
    offers=st.lists(st.integers(0, len(PLAIN) - 1), max_size=20),
    changes=st.lists(st.integers(0, len(PLAIN) - 1), max_size=3, unique=True),
)
def test_whatever_comes_again_or_too_early_the_tree_and_its_keys_come_out_the_same(offers, changes):
    row = list(zip(sorted(changes), [NEW, THIRD, FOREIGN.agent], strict=False))
    batches = sealed(rotated_often(groups_of(), METER, row), signed_from(*row))
    book, taken = Book(), 0
    for index in [*offers, *range(len(batches))]:
        verdict = code_of(book.offer(batches[index]))
        expected = "Accepted" if index == taken else "Absorbed" if index < taken else HOLE
        assert verdict == expected
        taken += index == taken
    whole = book_of(*batches)
    assert (book.roots, book.heads[NAME].rotations) == (whole.roots, whole.heads[NAME].rotations)
