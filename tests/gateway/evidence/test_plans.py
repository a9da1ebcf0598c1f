"""A registered plan: what is signed, what is read back, and who shows since when it was there."""

import random
from dataclasses import replace

import pytest

from joulemark_agent.contract.errors import EvidenceError
from joulemark_agent.contract.signature import Checkpoint, cosign, sign_checkpoint
from joulemark_agent.contract.tree import Edge, append, root
from joulemark_gateway.evidence.account import Account, read_account
from joulemark_gateway.evidence.entries import PLAN, entry_leaf, log_origin, parse_entry
from joulemark_gateway.evidence.log import CollectorLog, excerpt
from joulemark_gateway.evidence.log_store import LogStore
from joulemark_gateway.evidence.plans import (
    Dated,
    Registered,
    dated,
    parse_statement,
    plan_entry,
    plans_in,
    signed_plan,
    statement_of,
)
from support.evidence import FOREIGN, KEYS, SITE, WITNESS
from support.log_writer import an_entry, new_file
from support.logs import FIRM, FIRM_KEY
from support.present import present

STATEMENT = statement_of(b'{"id":"pumps"}', SITE, "pumps", "J. Kim", "energy manager")
START_US = 1_000_000_000_000_000
ORIGIN = log_origin(WITNESS)


def logged(registered, position=0, time_us=START_US - 1):
    return parse_entry(entry_leaf(plan_entry(registered), 0, time_us), position)


def code_of(call, *arguments):
    with pytest.raises(EvidenceError) as caught:
        call(*arguments)
    return caught.value.code


def test_what_is_signed_is_read_back_with_its_place_and_time():
    made = signed_plan(STATEMENT, KEYS.operator)
    [found] = plans_in([logged(made, 7, 123)])
    assert found == replace(made, position=7, time_us=123)
    assert found.is_signed
    assert not replace(found, statement=replace(STATEMENT, author="A. Lee")).is_signed
    assert not replace(found, operator_key=FOREIGN.operator).is_signed
    assert parse_statement(STATEMENT.content()) == STATEMENT


@pytest.mark.parametrize(
    "change",
    [
        {"v": 2}, {"v": True}, {"type": "correction"}, {"author": ""}, {"role": "x" * 1001},
        {"author": 7}, {"site": "No Site"}, {"project": "../x"}, {"plan_sha256": "0" * 63},
        {"plan_sha256": "A" * 64}, {"more": 1},
    ],
)  # fmt: skip
def test_another_form_is_refused(change):
    assert code_of(parse_statement, {**STATEMENT.content(), **change}) == "plan_form"


def test_a_leaf_of_another_site_or_without_signature_is_refused():
    entry = plan_entry(signed_plan(STATEMENT, KEYS.operator))
    other = replace(entry, site="pohang")
    unsigned = replace(entry, fields={**entry.fields, "operator_signature": 7})
    for wrong in (other, unsigned):
        leaf = parse_entry(entry_leaf(wrong, 0, 0), 0)
        assert code_of(plans_in, [leaf]) == "plan_form"


@pytest.mark.parametrize(
    ("logged_us", "seen_s", "shown_by"),
    [
        (START_US - 1, START_US // 10**6 - 1, "witness"),
        (START_US - 1, START_US // 10**6, "collector"),
        (START_US - 1, None, "collector"),
        (START_US, START_US // 10**6 - 1, "nobody"),
        (START_US, None, "nobody"),
    ],
)
def test_a_plan_is_older_than_a_period_where_both_clocks_say_so(logged_us, seen_s, shown_by):
    one = Registered(STATEMENT, b"", b"", 0, logged_us)
    cosigned = None if seen_s is None else (FIRM, seen_s)
    assert Dated(one, "", cosigned).shown_by(START_US) == shown_by


def account(*cosigned):
    """A log of one registration under several heads, each cosigned by these at these times."""
    entry = logged(signed_plan(STATEMENT, KEYS.operator))
    notes, heads = [], []
    for size, lines in enumerate(cosigned):
        edge = append(Edge(), [b"leaf"] * size)
        heads.append(Checkpoint(ORIGIN, size, root(edge)))
        note = sign_checkpoint(KEYS.witness, heads[-1])
        for name, time_s in lines:
            note = cosign(FIRM_KEY, name, note, time_s)
        notes.append(note)
    return Account(tuple(heads), tuple(notes), (entry,), {})


def test_the_first_who_cosigned_a_head_over_it_dates_it():
    """A head of no leaf does not cover it; of two lines of one name the later counts."""
    found = account([(FIRM, 5)], [], [("b", 30), ("a", 20), ("a", 40)], [("c", 25)])
    assert present(dated(found, STATEMENT.plan_sha256)).cosigned == ("c", 25)
    assert present(dated(account([], []), STATEMENT.plan_sha256)).cosigned is None
    assert dated(found, "0" * 64) is None


def test_the_first_registration_of_a_plan_counts():
    one = account([], [])
    later = logged(signed_plan(replace(STATEMENT, author="A. Lee"), KEYS.operator), 1)
    found = dated(replace(one, entries=(*one.entries, later)), STATEMENT.plan_sha256)
    assert present(found).registered.statement.author == "J. Kim"


def test_what_is_handed_out_of_a_log_shows_the_first_cosigned_head_over_a_plan(tmp_path):
    """Of the others of that day only the last."""
    draw = random.Random(3)
    with LogStore(new_file(tmp_path)) as store:
        book = CollectorLog(store, WITNESS, KEYS.witness)
        heads = []
        for k in range(8):
            entry = plan_entry(signed_plan(STATEMENT, KEYS.operator)) if k == 2 else an_entry(draw)
            store.append(book.origin, [entry], START_US + k)
            heads.append(present(book.close(START_US + k)))
        for size in (1, 5, 7):
            store.keep_cosignature(size, FIRM, cosign_line(heads[size - 1].note, size))
        told = read_account(excerpt(store, SITE, heads[-1]))
        assert [head.size for head in told.heads] == [5, 8]
        assert present(dated(told, STATEMENT.plan_sha256)).cosigned == (FIRM, 5)
        assert store.of_kind(SITE, PLAN) == [2]
        assert store.of_kind("pohang", PLAN) == []


def cosign_line(note, time_s):
    return cosign(FIRM_KEY, FIRM, note, time_s)[len(note) :]
