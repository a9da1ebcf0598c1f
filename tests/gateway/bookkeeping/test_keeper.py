"""The log is closed when it is due, and its heads are shown until they are seen."""

import threading
from dataclasses import replace
from functools import partial

import pytest

from joulemark_agent.contract.errors import EvidenceError, StoreError, UplinkError
from joulemark_agent.contract.revocation import Revoked
from joulemark_agent.contract.signature import cosign, public_key
from joulemark_gateway.access.database import FILE as ACCESS
from joulemark_gateway.access.database import Database
from joulemark_gateway.access.events import Events, ends_in, ends_logged
from joulemark_gateway.bookkeeping import keeper
from joulemark_gateway.bookkeeping.keeper import Bookkeeper, BookkeepingThread, Others
from joulemark_gateway.bookkeeping.outgoing import Answer
from joulemark_gateway.bookkeeping.witnesses import Peer
from joulemark_gateway.evidence.entries import parse_entry
from joulemark_gateway.evidence.log import CollectorLog
from joulemark_gateway.evidence.log_store import LogStore
from joulemark_gateway.evidence.store import FILE, SqliteStore
from joulemark_gateway.ingest.registered import Registry
from joulemark_gateway.witness.exchange import parse_request
from support.book import registry
from support.evidence import KEYS, METER, SITE, WITNESS
from support.logs import FIRM, FIRM_KEY
from support.present import present
from support.trees import sent, small_tree

HOUR_US, DAY_US = 3_600_000_000, 86_400_000_000
NOON_US = 1_795_348_800_000_000  # 2026-11-22T12:00:00Z


class Firm:
    """A witness that answers, or not, as a test wants."""

    def __init__(self):
        self.asked, self.error = [], None

    def __call__(self, _url, body, _kind):
        if self.error is not None:
            raise self.error
        request = parse_request(body)
        self.asked.append(request.head.size)
        cosigned = cosign(FIRM_KEY, FIRM, request.note, 1)
        return Answer(200, cosigned.removeprefix(request.note).encode())


@pytest.fixture
def path(tmp_path):
    SqliteStore(tmp_path / FILE).close()
    return tmp_path / FILE


def kept_by(path, firm=None, trusted=None, every_us=HOUR_US):
    """A bookkeeper over this store, with one witness."""
    store = LogStore(path)
    peers = [] if firm is None else [Peer(FIRM, public_key(FIRM_KEY), "http://firm.example")]
    return Bookkeeper(
        CollectorLog(store, WITNESS, KEYS.witness),
        SqliteStore(path, create=False),
        lambda: trusted or Registry({}, frozenset()),
        Others(peers),
        every_us,
        post=firm or Firm(),
    )


def kinds(path):
    with LogStore(path, write=False) as store:
        leaves = [parse_entry(leaf, i) for i, (_, leaf) in enumerate(store.leaves(10**6))]
    return [leaf.fields.get("what", leaf.kind) for leaf in leaves]


def test_heads_are_taken_at_the_start_and_at_the_end_of_every_period_and_day(path):
    tree = iter(small_tree(batches=9))
    book = kept_by(path, every_us=5 * HOUR_US)
    sent(path, next(tree))
    next_us = book.turn(NOON_US)
    assert kinds(path).count("heads") == 1
    sent(path, next(tree))
    for minutes in (1, 59, 100):
        book.turn(NOON_US + minutes * 60_000_000)
    assert kinds(path).count("heads") == 1, "not before the period ends"
    book.turn(NOON_US + 3 * HOUR_US)  # 15:00 is a multiple of 5 h
    assert kinds(path).count("heads") == 2
    sent(path, next(tree))
    book.turn(NOON_US + 12 * HOUR_US - 1)  # 20:00 has passed
    assert kinds(path).count("heads") == 3
    sent(path, next(tree))
    book.turn(NOON_US + 12 * HOUR_US)
    assert kinds(path).count("heads") == 4, "the end of the day closes it, too"
    assert next_us <= NOON_US + 60_000_000


def test_nothing_new_is_not_logged(path):
    book = kept_by(path)
    sent(path, small_tree(batches=1)[0])
    sizes = set()
    for hour in range(5):
        book.turn(NOON_US + hour * HOUR_US)
        sizes.add(book.book.store.edge().size)
    assert len(sizes) == 1


def test_how_far_the_security_log_stands_is_logged_at_every_closing(path):
    book = kept_by(path)
    book.security = partial(ends_in, path.parent)
    book.turn(NOON_US)
    assert kinds(path) == [], "where none is kept nothing is said of it"
    with Database(path.parent / ACCESS) as database:
        events = Events(database)
        book.turn(NOON_US + HOUR_US // 2, is_last=True)
        assert kinds(path) == [], "nor where no line stands yet"
        events.add("user_added", 1, who="anna")
        book.turn(NOON_US + HOUR_US)
        book.turn(NOON_US + 2 * HOUR_US)
        assert kinds(path) == ["security"], "what is logged already is not logged again"
        events.add("bad_token", 2, refused=True)
        book.turn(NOON_US + 2 * HOUR_US + 1)
        assert kinds(path) == ["security"], "not before the period ends"
        book.turn(NOON_US + 3 * HOUR_US)
        with LogStore(path, write=False) as log:
            logged = ends_logged(log)
        assert [(ends[False].last, ends[True].last) for ends in logged] == [(1, 0), (1, 2)]
        assert logged[-1] == events.ends()
        assert events.breaks(logged) == []


def test_a_security_log_that_cannot_be_read_holds_up_no_evidence(path, caplog):
    (path.parent / ACCESS).write_text("no database")
    book = kept_by(path)
    book.security = partial(ends_in, path.parent)
    sent(path, small_tree(batches=1)[0])
    book.turn(NOON_US)
    assert kinds(path).count("heads") == 1
    [record] = [row for row in caplog.records if row.message == "security_log_unreadable"]
    assert ACCESS in record.what


def test_what_was_approved_is_logged_at_once(path):
    trusted = registry()
    revoked = replace(trusted, revoked=(Revoked(KEYS.agent, f"joulemark/{SITE}/{METER}/1", 7),))
    now = [trusted]
    book = kept_by(path)
    book.registry = lambda: now[0]
    book.turn(NOON_US)
    assert kinds(path) == ["enrolment"]
    sent(path, small_tree(batches=1)[0])
    book.turn(NOON_US + 1)
    assert kinds(path) == ["enrolment", "grant", *["document"] * 3]
    now[0] = revoked
    book.turn(NOON_US + 2)
    assert kinds(path)[-1] == "revocation"
    head = present(book.book.store.head(6))
    assert head.time_us == NOON_US + 2


def test_a_head_is_shown_until_it_is_seen_less_and_less_often(path, caplog):
    firm = Firm()
    book = kept_by(path, firm)
    sent(path, small_tree(batches=1)[0])
    firm.error = UplinkError("down", "")
    caplog.set_level("INFO")
    tried, at_us = [], NOON_US
    for _ in range(12):
        next_us = book.turn(at_us)
        tried.append(present(book._patience[f"witness {FIRM}"]).wait_us)
        at_us = max(next_us, present(book._patience[f"witness {FIRM}"]).next_us)
    assert tried[:4] == [10_000_000, 20_000_000, 40_000_000, 80_000_000]
    assert max(tried) == HOUR_US
    firm.error = None
    book.turn(at_us)
    [size] = firm.asked
    assert present(book.book.store.head(size)).cosignatures
    book.turn(at_us + 1)
    assert firm.asked == [size], "what was seen is not shown again"
    events = [record.message for record in caplog.records]
    assert events.count("head_not_shown") == 1, "down is said once"
    assert events.count("head_shown") == 1


def test_a_witness_of_another_log_is_a_security_alarm_and_the_log_goes_on(path, caplog):
    firm, tree = Firm(), iter(small_tree(batches=2))
    book = kept_by(path, firm)
    sent(path, next(tree))
    firm.error = EvidenceError("forked", "", code="log_forked")
    book.turn(NOON_US)
    sent(path, next(tree))
    book.turn(NOON_US + HOUR_US)
    assert kinds(path).count("heads") == 2
    alarms = [record for record in caplog.records if record.message == "security_alarm"]
    assert [record.code for record in alarms] == ["log_forked"] * 2


def test_a_clock_that_was_set_back_silences_nobody(path):
    firm = Firm()
    book = kept_by(path, firm)
    sent(path, small_tree(batches=1)[0])
    firm.error = UplinkError("down", "")
    book.turn(NOON_US + 365 * DAY_US)
    firm.error = None
    book.turn(NOON_US)
    assert firm.asked


def test_the_thread_closes_a_last_time_and_survives_what_goes_wrong(path, caplog, monkeypatch):
    monkeypatch.setattr(keeper, "_LEAST_S", 0.001)
    tree, made, failing = iter(small_tree(batches=3)), threading.Event(), [True]
    sent(path, next(tree))

    def make():
        made.set()
        if failing and failing.pop():
            raise StoreError("busy", "", code="store_busy")
        return kept_by(path)

    thread = BookkeepingThread(make, lambda: NOON_US)
    thread.start()
    assert made.wait(10)
    made.clear()
    thread.poke()
    assert made.wait(10)
    sent(path, next(tree))
    thread.poke()
    sent(path, next(tree))
    thread.stop()
    with LogStore(path, write=False) as store:
        [last] = store.logged_sizes().values()
        assert present(store.head(store.edge().size))
    assert last == small_tree(batches=3)[-1].size
    assert [record.message for record in caplog.records].count("log_down") == 1


def test_a_mistake_of_ours_does_not_end_the_thread(caplog, monkeypatch):
    monkeypatch.setattr(keeper, "_LEAST_S", 0.001)
    calls = []

    def make():
        calls.append(1)
        raise ZeroDivisionError

    thread = BookkeepingThread(make, lambda: NOON_US)
    thread.start()
    while len(calls) < 2:
        thread.poke()
    thread.stop()
    assert "bookkeeping_failed" in {record.message for record in caplog.records}
