"""The witness over HTTP, and what a collector that asks it keeps of its answers."""

import random
import socket
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler
from urllib.parse import urlsplit

import pytest

from joulemark_agent.contract.errors import ConfigError, EvidenceError, UplinkError
from joulemark_agent.contract.signature import cosign, encode64, public_key
from joulemark_agent.tls import certificate_fingerprint
from joulemark_gateway.bookkeeping import outgoing
from joulemark_gateway.bookkeeping.outgoing import post
from joulemark_gateway.bookkeeping.witnesses import Peer, ask, keep
from joulemark_gateway.evidence.log import CollectorLog
from joulemark_gateway.evidence.log_store import LogStore
from joulemark_gateway.web.listener import Listener
from joulemark_gateway.witness.cosigner import Cosigner
from joulemark_gateway.witness.exchange import MOST_BYTES
from joulemark_gateway.witness.server import application, listen
from joulemark_gateway.witness.settings import LogKnown, Tls, WitnessFile
from joulemark_gateway.witness.store import FILE, WitnessStore
from support import log_writer
from support.certificates import certificate, key_pem, pem
from support.evidence import KEYS, WITNESS
from support.log_writer import an_entry
from support.logs import FIRM, FIRM_KEY, ORIGIN, identity, log_of
from support.present import present
from support.servers import answer_with, serving

PATH = "add-checkpoint"


@pytest.fixture
def firm(tmp_path):
    """A witness that listens, and the collector's idea of it."""
    with WitnessStore(tmp_path / FILE) as store:
        cosigner = Cosigner(store, identity(), lambda: int(time.time()))
        listener = Listener("witness", lambda: application(cosigner), "127.0.0.1", 0)
        yield Peer(FIRM, public_key(FIRM_KEY), listener.url)
        listener.stop()


@pytest.fixture
def book(tmp_path):
    """A collector's log, and what makes it grow."""
    folder = tmp_path / "collector"
    folder.mkdir()
    with LogStore(log_writer.new_file(folder)) as store:
        yield CollectorLog(store, WITNESS, KEYS.witness)


def grown(book, leaves=1):
    """The signed head after some more leaves."""
    draw = random.Random(book.store.edge().size)
    book.store.append(ORIGIN, [an_entry(draw) for _ in range(leaves)], 1)
    return present(book.close(1))


def test_it_cosigns_over_http_and_says_no_in_the_words_of_the_specification(firm):
    log = log_of(10)
    assert post(firm.url + PATH, log.body(0, 7), "text/plain").status == 200
    answer = post(firm.url + PATH, log.body(0, 10), "text/plain")
    assert (answer.status, answer.body) == (409, b"7\n")
    assert post(firm.url + PATH, b"x" * (MOST_BYTES + 1), "text/plain").status == 413
    assert post(firm.url + "add-entry", b"", "text/plain").status == 404
    host, port = firm.url.removeprefix("http://").strip("/").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(b"GET /add-checkpoint HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 405")


def test_a_log_that_grows_keeps_a_cosignature_of_each_head_it_shows(firm, book):
    for leaves in (1, 5, 30):
        head = grown(book, leaves)
        ask(book.store, firm, head, post)
        kept = present(book.store.head(head.size))
        assert set(kept.cosignatures) == {FIRM}
        assert keep(book.store, [firm], kept.cosigned) == [FIRM]
        assert book.store.cosigned_size(FIRM) == head.size


def test_an_answer_that_was_lost_is_made_up_for(firm, book):
    """The witness has cosigned what the collector does not know of."""
    first, lost = grown(book), grown(book, 4)
    ask(book.store, firm, first, post)

    def losing(url, body, kind):
        post(url, body, kind)
        raise UplinkError("lost", "")

    with pytest.raises(UplinkError, match="lost"):
        ask(book.store, firm, lost, losing)
    assert book.store.cosigned_size(FIRM) == first.size
    ask(book.store, firm, lost, post)
    ask(book.store, firm, grown(book, 3), post)
    assert book.store.cosigned_size(FIRM) == first.size + 7


def test_a_restored_copy_of_the_log_is_behind_its_witness_and_a_rewritten_one_is_a_fork(
    firm, book, tmp_path
):
    for _ in range(3):
        ask(book.store, firm, grown(book, 4), post)
    for name, leaves, code in (("old", 5, "log_behind"), ("other", 20, "log_forked")):
        folder = tmp_path / name
        folder.mkdir()
        with LogStore(log_writer.new_file(folder)) as store:
            other = CollectorLog(store, WITNESS, KEYS.witness)
            with pytest.raises(EvidenceError) as caught:
                ask(store, firm, grown(other, leaves), post)
            assert caught.value.code == code
            assert store.cosigned_size(FIRM) == 0


def test_a_head_that_grew_while_it_was_shown_is_no_alarm(firm, book):
    """The collector's thread and a person's command show heads at the same time."""
    older = grown(book)
    ask(book.store, firm, grown(book, 5), post)
    book.store._rows("DELETE FROM log_cosignature")
    with pytest.raises(UplinkError, match="newer head meanwhile"):
        ask(book.store, firm, older, post)


def test_a_witness_that_does_not_know_the_log_is_told_of(firm, book, tmp_path):
    with WitnessStore(tmp_path / "other.sqlite") as store:
        unknown = Cosigner(store, type(identity())(FIRM, FIRM_KEY, {}), lambda: 1)
        listener = Listener("witness", lambda: application(unknown), "127.0.0.1", 0)
        try:
            with pytest.raises(UplinkError, match="404") as caught:
                ask(book.store, Peer(FIRM, firm.key, listener.url), grown(book), post)
        finally:
            listener.stop()
    assert "joulemark collector keys" in caught.value.do


def strange(status, body):
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            answer_with(self, status, body)

        def log_message(self, *_):
            pass

    return serving(Handler)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b""),
        (200, "— anchor-firm AAAAAAAAAAAAAAAA\n".encode()),
        (200, b"\xff" * 1000),
        (302, b""),
        (500, b"oops"),
        (409, b"-3\n"),
        (409, b"1" * 40),
    ],
)
def test_what_is_no_cosignature_is_not_kept(book, status, body):
    with strange(status, body) as url, pytest.raises(UplinkError):
        ask(book.store, Peer(FIRM, public_key(FIRM_KEY), url), grown(book), post)
    assert book.store.cosigned_size(FIRM) == 0


def test_a_cosignature_of_a_time_that_no_calendar_has_is_not_kept(book):
    """A report prints the time; with it no report could be made under this head again."""
    head = grown(book)
    line = cosign(FIRM_KEY, FIRM, head.note, 2**62).removeprefix(head.note)
    with strange(200, line.encode()) as url, pytest.raises(UplinkError):
        ask(book.store, Peer(FIRM, public_key(FIRM_KEY), url), head, post)
    assert book.store.cosigned_size(FIRM) == 0


def test_a_cosignature_by_another_key_or_over_another_head_is_not_kept(firm, book):
    head = grown(book)
    impostor = Peer(FIRM, public_key(b"i" * 32), firm.url)
    with pytest.raises(UplinkError) as caught:
        ask(book.store, impostor, head, post)
    assert caught.value.code == "no_cosignature"
    with pytest.raises(EvidenceError) as refused:
        keep(book.store, [firm], log_of(head.size).note(head.size))
    assert refused.value.code == "foreign_head"


# --- the request itself -------------------------------------------------------------------------


def test_no_answer_is_no_answer():
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(UplinkError, match="does not answer") as caught:
        post(f"http://127.0.0.1:{port}/", b"", "text/plain")
    assert caught.value.code == "no_answer"


def test_an_answer_is_bounded_in_time_and_size(monkeypatch):
    monkeypatch.setattr(outgoing, "MOST_BYTES", 100)
    longer = pytest.raises(UplinkError, match="longer than 100 bytes")
    with strange(200, b"x" * 101) as url, longer:
        post(url, b"", "text/plain")
    with strange(200, b"x" * 100) as url:
        assert post(url, b"", "text/plain").body == b"x" * 100
    dripping = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=drip, args=(server, dripping))
        thread.start()
        started = time.monotonic()
        with pytest.raises(UplinkError, match="takes too long"):
            post(f"http://127.0.0.1:{server.getsockname()[1]}/", b"", "text/plain", timeout_s=0.3)
        assert time.monotonic() - started < 5
        dripping.set()
        thread.join()


def drip(server, is_over):
    connection, _ = server.accept()
    with connection:
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        while not is_over.wait(0.02):
            try:
                connection.sendall(b"X-Drip: x\r\n")
            except OSError:
                return


@pytest.fixture
def shown(tmp_path):
    """The file of a witness that shows a certificate, and where that stands."""
    own, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    own.write_bytes(pem(certificate("witness")))
    key.write_bytes(key_pem("witness"))
    key.chmod(0o600)
    log = LogKnown(origin=ORIGIN, keys=(encode64(public_key(KEYS.witness)),))
    return WitnessFile(
        name=FIRM, state_dir=tmp_path, port=0, tls=Tls(certificate=own, key=key), logs=(log,)
    )


def fingerprint_at(url):
    parts = urlsplit(url)
    text = ssl.get_server_certificate((parts.hostname, parts.port))
    return certificate_fingerprint(ssl.PEM_cert_to_DER_cert(text))


def test_its_certificate_is_renewed_without_a_restart_and_its_key_is_private(shown, tmp_path):
    with WitnessStore(tmp_path / FILE) as store:
        cosigner = Cosigner(store, identity(), lambda: 1)
        listener = listen(shown, cosigner)
        try:
            before = fingerprint_at(listener.url)
            shown.tls.certificate.write_bytes(pem(certificate("witness")))
            assert fingerprint_at(listener.url) != before
        finally:
            listener.stop()
        shown.tls.key.chmod(0o644)
        with pytest.raises(ConfigError, match="0644"):
            listen(shown, cosigner)


def test_it_does_not_follow_to_another_address():
    asked = []

    class Elsewhere(BaseHTTPRequestHandler):
        def do_POST(self):
            asked.append(self.path)
            self.send_response(307)
            self.send_header("Location", f"http://{self.headers['Host']}/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    with serving(Elsewhere) as url:
        assert post(f"{url}/here", b"", "text/plain").status == 307
    assert asked == ["/here"]
