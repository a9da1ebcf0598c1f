"""Time stamps of a real authority: taken over HTTP, checked offline, worth nothing when changed."""

import random
import sys
import threading
import time
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from joulemark_agent.contract.errors import ConfigError, EvidenceError, UplinkError
from joulemark_agent.contract.signature import parse_note
from joulemark_gateway.bookkeeping.outgoing import Answer, post
from joulemark_gateway.bookkeeping.stamping import Authority, stamp
from joulemark_gateway.evidence import timestamps
from joulemark_gateway.evidence.log import CollectorLog
from joulemark_gateway.evidence.log_store import LogStore
from joulemark_gateway.evidence.timestamps import certificates_in, query, stamped_at
from support import authority as tsa
from support import log_writer
from support.certificates import pem
from support.evidence import KEYS, WITNESS
from support.flips import flipped
from support.log_writer import ORIGIN, an_entry
from support.present import present

pytestmark = pytest.mark.service
MESSAGE = b"joulemark/collector/acme\n7\nXcnaeacGWamtVZy3Ad7ZoqudgjqtL0lgz+Nw7/RgQyg=\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory, openssl):
    assert openssl
    return tmp_path_factory.mktemp("authority")


@pytest.fixture(scope="module")
def token(folder):
    """A token over MESSAGE."""
    return tsa.stamped(folder, query(MESSAGE)[0])


@pytest.fixture
def book(tmp_path):
    with LogStore(log_writer.new_file(tmp_path)) as store:
        log = CollectorLog(store, WITNESS, KEYS.witness)
        store.append(ORIGIN, [an_entry(random.Random(1))], 1)
        yield SimpleNamespace(store=store, head=present(log.close(1)))


def test_a_token_says_when_its_authority_saw_exactly_these_bytes(token):
    seen = stamped_at(token, MESSAGE, [tsa.root_der()])
    assert abs((datetime.now(UTC) - seen).total_seconds()) < 3600
    for message, roots in (
        (MESSAGE + b"\n", [tsa.root_der()]),
        (MESSAGE, [tsa.root_der("another root")]),
        (MESSAGE, []),
        (MESSAGE, [b"no certificate"]),
    ):
        with pytest.raises(EvidenceError) as caught:
            stamped_at(token, message, roots)
        assert caught.value.code == "timestamp_bad"
    assert stamped_at(token, MESSAGE, [tsa.root_der("another root"), *[tsa.root_der()] * 2]) == seen


def test_an_answer_to_another_query_is_not_taken(token):
    with pytest.raises(EvidenceError, match="Nonce"):
        stamped_at(token, MESSAGE, [tsa.root_der()], nonce=7)


def test_a_head_is_stamped_over_http_and_the_token_kept(book, folder):
    with tsa.authority(folder) as url:
        known = Authority(tsa.NAME, url, (tsa.root_der(),))
        stamp(book.store, known, book.head, post, 5)
    [kept] = book.store.tokens()
    assert (kept.size, kept.authority, kept.time_us) == (1, tsa.NAME, 5)
    text = parse_note(book.head.note)[0].encode()
    assert stamped_at(kept.token, text, known.certificates)
    assert len(kept.token) < 4000


@pytest.mark.parametrize(("ahead_s", "is_kept"), [(60, True), (900, False)])
def test_a_token_from_before_what_it_covers_is_not_kept(book, folder, ahead_s, is_kept):
    """The collector's clock was ahead, and was set: such a token would refute every bundle."""
    leaf_us = time.time_ns() // 1000 + ahead_s * 1_000_000
    book.store.append(ORIGIN, [an_entry(random.Random(2))], leaf_us)
    book.store.append(ORIGIN, [an_entry(random.Random(3))], 7)
    head = present(CollectorLog(book.store, WITNESS, KEYS.witness).close(7))
    known = Authority(tsa.NAME, "http://tsa.example", (tsa.root_der(),))

    def answer(_url, asked, _kind):
        return Answer(200, tsa.stamped(folder, asked))

    stamp(book.store, known, book.head, answer, 7)  # of the leaves before
    if is_kept:
        stamp(book.store, known, head, answer, 7)
    else:
        with pytest.raises(UplinkError, match="Set this computer's clock"):
            stamp(book.store, known, head, answer, 7)
    assert [kept.size for kept in book.store.tokens()] == [1, 3][: 1 + is_kept]


def test_what_is_no_token_of_the_authority_is_not_kept(book, folder, token):
    wrong = Authority(tsa.NAME, "http://tsa.example", (tsa.root_der("another root"),))
    true = Authority(tsa.NAME, "http://tsa.example", (tsa.root_der(),))

    def answering(status, body):
        return lambda _url, asked, _kind: Answer(status, body(asked))

    for known, answer, error in (
        (wrong, answering(200, lambda asked: tsa.stamped(folder, asked)), EvidenceError),
        (true, answering(200, lambda _: token), EvidenceError),
        (true, answering(200, lambda _: b""), EvidenceError),
        (true, answering(200, lambda _: b"<html>"), EvidenceError),
        (true, answering(503, lambda _: b""), UplinkError),
    ):
        with pytest.raises(error):
            stamp(book.store, known, book.head, answer, 5)
    assert list(book.store.tokens()) == []


def test_some_flipped_bits_of_a_token_go_unnoticed_so_its_bytes_need_a_hash_of_their_own(token):
    """The naive control: 85 of 12,192 flips verified when this was first tried."""
    draw, unnoticed = random.Random(1), 0
    bits = range(8 * len(token))
    sample = draw.sample(bits, 1500)
    for bit in sample:
        try:
            stamped_at(flipped(token, bit), MESSAGE, [tsa.root_der()])
        except EvidenceError:
            continue
        unnoticed += 1
    sys.stdout.write(f"\n{len(sample)} flips of a token, {unnoticed} unnoticed by its signature\n")
    assert 0 < unnoticed < len(sample) // 50


def test_nothing_that_is_fed_to_it_does_harm(token):
    draw = random.Random(2)
    for _ in range(300):
        data = bytearray(token)
        for _ in range(draw.randrange(1, 20)):
            data[draw.randrange(len(data))] = draw.randrange(256)
        cut = bytes(data[: draw.randrange(len(data) + 1)])
        with pytest.raises(EvidenceError):
            stamped_at(cut, MESSAGE, [tsa.root_der()])
    assert threading.active_count() < 50


def test_without_the_extra_it_says_what_to_install(monkeypatch, token):
    monkeypatch.setattr(timestamps, "is_installed", lambda: False)
    for call in (lambda: query(MESSAGE), lambda: stamped_at(token, MESSAGE, [])):
        with pytest.raises(ConfigError, match=r"joulemark\[timestamp\]") as caught:
            call()
        assert caught.value.code == "timestamp_unchecked"


def test_certificates_are_read_from_pem():
    both = pem(tsa.root()) + pem(tsa.root("another root"))
    assert certificates_in(both) == (tsa.root_der(), tsa.root_der("another root"))
    with pytest.raises(ConfigError, match="no certificate"):
        certificates_in(b"rubbish")
