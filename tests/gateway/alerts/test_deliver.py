"""Notices reach real servers, signed and over TLS; faults are tried again, traps are refused."""

import hashlib
import hmac
import json
import socket
import threading
from contextlib import suppress
from email.header import decode_header, make_header
from functools import partial
from types import MappingProxyType

import pytest

from gateway.alerts.test_store import RULE, silent
from joulemark_agent.contract.errors import ConfigError
from joulemark_gateway.alerts.deliver import ByMail, Deliverer, told_next, ways_of
from joulemark_gateway.alerts.mail import Mail
from joulemark_gateway.alerts.settings import AlertSettings
from joulemark_gateway.alerts.store import AlertStore, Notice
from joulemark_gateway.alerts.webhook import NotDelivered, Webhook
from support.receivers import PASSWORD, SECRET, USER, http_receiver, mail_receiver, tls_files

pytestmark = pytest.mark.service


@pytest.fixture(scope="module")
def tls(tmp_path_factory):
    return tls_files(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def store(tmp_path):
    with AlertStore(tmp_path / "alerts.sqlite") as opened:
        yield opened


def hook(taken, tls=None, **changes):
    given = {"ca": None if tls is None else tls[0], "may_be_private": True, **changes}
    return Webhook(taken.url, SECRET.encode(), **given)


def test_a_webhook_is_signed_with_its_time(tls):
    with http_receiver(tls) as taken:
        hook(taken, tls).send("id-1", b'{"a":1}', 1_700_000_000_000_000)
    [(headers, body)] = taken.requests
    assert body == b'{"a":1}'
    expected = hmac.new(SECRET.encode(), b'1700000000.{"a":1}', hashlib.sha256).hexdigest()
    assert headers["Joulemark-Signature"] == f"v1={expected}"
    assert (headers["Joulemark-Timestamp"], headers["Joulemark-Id"]) == ("1700000000", "id-1")


@pytest.mark.parametrize("status", [301, 302, 307, 400, 401, 500, 503])
def test_only_an_answer_of_success_counts_and_no_redirect_is_followed(status):
    with http_receiver() as other, http_receiver() as taken:
        taken.answers, taken.headers = [status], {"Location": other.url}
        with pytest.raises(NotDelivered, match=str(status)):
            hook(taken).send("a", b"{}", 0)
    assert len(taken.requests) == 1
    assert other.requests == []


def test_a_certificate_nobody_vouches_for_is_not_believed(tls):
    with http_receiver(tls) as taken, pytest.raises(NotDelivered, match="CERTIFICATE"):
        hook(taken).send("a", b"{}", 0)
    assert taken.requests == []


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:{port}/", "http://localhost:{port}/", "http://[::ffff:127.0.0.1]:{port}/",
     "http://10.0.0.1:1/", "http://169.254.169.254/latest", "http://0.0.0.0:{port}/"],
)  # fmt: skip
def test_a_private_address_is_not_reached_unless_that_is_meant(url):
    with http_receiver() as taken:
        port = taken.url.split(":")[2].partition("/")[0]
        with pytest.raises(NotDelivered, match="private network"):
            Webhook(url.format(port=port), SECRET.encode()).send("a", b"{}", 0)
    assert taken.requests == []


@pytest.mark.parametrize(
    "address",
    ["64:ff9b::7f00:1", "64:ff9b::a00:1", "2002:7f00:1::", "::10.0.0.1", "fec0::1", "ff02::1",
     "224.0.0.1"],
)  # fmt: skip
def test_an_address_that_leads_to_a_private_one_is_refused(address):
    host = f"[{address}]" if ":" in address else address
    with pytest.raises(NotDelivered, match="private network"):
        Webhook(f"https://{host}/", SECRET.encode(), timeout_s=0.5).send("a", b"{}", 0)


@pytest.mark.parametrize(
    "said", [b"HTTP/1.1 100 Continue\r\n\r\n", b"X", b"HTTP/1.1 200 OK\r\nA: "]
)
def test_an_answer_that_comes_letter_by_letter_ends(said):
    """Each letter comes in time; a reader that bounds each wait alone would read for ever."""
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip():
            client, _ = server.accept()
            with client, suppress(OSError):
                client.sendall(said)
                while not ended.wait(0.05):
                    client.sendall(said if said.endswith(b"\n\r\n") else b"y")

        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        sender = Webhook(url, SECRET.encode(), may_be_private=True, timeout_s=0.3)
        told = threading.Thread(target=_refused, args=(sender,), daemon=True)
        told.start()
        told.join(20)
        is_over = not told.is_alive()
        ended.set()
        thread.join(5)
    assert is_over


def _refused(sender):
    with pytest.raises(NotDelivered, match="time"):
        sender.send("a", b"{}", 0)


def test_a_slow_or_endless_answer_ends():
    with http_receiver() as taken:
        taken.wait_s = 0.6
        with pytest.raises(NotDelivered, match="time"):
            hook(taken, timeout_s=0.2).send("a", b"{}", 0)
    with http_receiver() as taken:
        taken.body = b"x" * 2_000_000
        hook(taken).send("a", b"{}", 0)


def test_a_receiver_that_is_down_is_told_when_it_is_back(store):
    with http_receiver() as taken:
        taken.answers = [500, 503]
        ways = ways_of(wanted(taken.url), {"JOULEMARK_ALERTS_SECRET_OPS": SECRET})
        store.apply(RULE, [silent()], 0)
        for now_us in (0, 10_000_000, 30_000_000):
            assert told_next(store, "ops", ways["ops"], wanted(taken.url), partial(int, now_us))
        assert not told_next(store, "ops", ways["ops"], wanted(taken.url), lambda: 40_000_000)
    assert len(taken.ids) == 3
    assert len(set(taken.ids)) == 1
    content = json.loads(taken.requests[2][1])
    assert content["id"] == taken.ids[0]
    assert content["text"]["ko"].startswith("에이전트 edge-1")
    assert content["link"].startswith("https://pages.example/alerts/1?link=")


def wanted(url, **changes):
    return AlertSettings.model_validate(
        {
            "receivers": [{"name": "ops", "webhook": url}],
            "rules": [{"rule": "agent_silent", "tell": ["ops"]}],
            "private_addresses": True,
            "pages": "https://pages.example",
            **changes,
        }
    )


@pytest.mark.endurance
def test_a_slow_receiver_keeps_nobody_waiting(tmp_path):
    path = tmp_path / "alerts.sqlite"
    with http_receiver() as slow, http_receiver() as quick:
        slow.wait_s = 5.0
        settings = wanted(
            quick.url,
            receivers=[
                {"name": "ops", "webhook": quick.url},
                {"name": "chief", "webhook": slow.url},
            ],
        )
        names = ("JOULEMARK_ALERTS_SECRET_OPS", "JOULEMARK_ALERTS_SECRET_CHIEF")
        ways = ways_of(settings, dict.fromkeys(names, SECRET))
        rule = RULE.model_copy(update={"tell": ("chief", "ops")})
        deliverer = Deliverer(path, settings, ways, lambda: 1)
        with AlertStore(path) as store:
            store.apply(rule, [silent(f"edge-{k}") for k in range(5)], 0)
            deliverer.start()
            waited_for(lambda: len(quick.ids) == 5)
            deliverer.stop()
            assert len(slow.ids) <= 1
            assert [row[:2] for row in store.waiting()] in ([("chief", 5)], [("chief", 4)])


def waited_for(holds, most_s=20.0):
    import time  # noqa: PLC0415

    until_s = time.monotonic() + most_s
    while not holds():
        assert time.monotonic() < until_s
        time.sleep(0.01)


NOTICE = Notice(
    "abc123", "ops", "raised",
    MappingProxyType({"alert": 7, "code": "agent_silent", "kind": "raised", "link": "xyz",
                      "site": "gwangyang", "subject": "edge-1", "values": {"minutes": "10"}}),
    0, 0,
)  # fmt: skip


def mail(box, tls, **changes):
    given = {
        "host": "localhost", "port": box.port, "security": "starttls", "sender": "jm@plant.example",
        "to": ("anna@plant.example", "bo@plant.example"), "username": USER, "password": PASSWORD,
        "ca": tls[0], "timeout_s": 5.0,
    }  # fmt: skip
    return Mail(**(given | changes))


@pytest.mark.parametrize("starttls", [True, False], ids=["starttls", "tls"])
def test_mail_goes_over_tls_in_korean_and_english(tls, starttls):
    with mail_receiver(tls, starttls=starttls) as box:
        how = {} if starttls else {"security": "tls", "username": None}
        way = mail(box, tls, **how)
        ByMail(way, "both", "https://pages.example").tell(NOTICE, 0)
        ByMail(way, "both", "https://pages.example").tell(NOTICE, 0)
    first, second = box.messages
    assert first["Message-ID"] == second["Message-ID"] == "<abc123@plant.example>"
    assert "발생" in str(make_header(decode_header(first["Subject"])))
    text = bytes(first.get_payload(decode=True)).decode()
    assert "has not been heard of for more than 10 minutes" in text
    assert "신호가 10분" in text
    assert "https://pages.example/alerts/7?link=xyz" in text


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"password": "wrong"}, "Authentication|timed out"),
        ({"ca": None}, "CERTIFICATE|certificate"),
        ({"port": 1}, "refused|Refused"),
    ],
)
def test_mail_that_does_not_go_says_why(tls, changes, why):
    with mail_receiver(tls) as box, pytest.raises(NotDelivered, match=why):
        mail(box, tls, **changes).send("a", "s", "t", 0)
    assert box.messages == []


def test_a_server_that_is_busy_is_asked_again(tls):
    with mail_receiver(tls) as box:
        box.answers = ["451 later"]
        with pytest.raises(NotDelivered, match="451"):
            mail(box, tls).send("a", "s", "t", 0)
        mail(box, tls).send("a", "s", "t", 0)
    assert len(box.messages) == 1


def test_who_has_a_message_is_not_sent_it_again_for_another_who_is_refused(tls):
    anna, bo = "anna@plant.example", "bo@plant.example"
    with mail_receiver(tls) as box:
        box.refuses = {bo}
        way = mail(box, tls)
        for _ in range(3):
            with pytest.raises(NotDelivered, match=r"refused|Refused"):
                way.send("a", "s", "t", 0)
        assert box.recipients == [[anna]]
        box.refuses = set()
        way.send("a", "s", "t", 0)
        way.send("b", "s", "t", 0)
    assert box.recipients == [[anna], [bo], [anna, bo]]


def test_a_subject_cannot_add_headers(tls):
    with mail_receiver(tls) as box:
        mail(box, tls).send("a", "edge\r\nBcc: eve@example.com", "t", 0)
    assert box.messages[0]["Bcc"] is None


def test_a_secret_that_is_missing_is_told_before_anything_starts():
    settings = wanted("http://localhost:1/")
    for value in (None, "short"):
        environment = {} if value is None else {"JOULEMARK_ALERTS_SECRET_OPS": value}
        with pytest.raises(ConfigError, match="JOULEMARK_ALERTS_SECRET_OPS"):
            ways_of(settings, environment)


def test_a_secret_may_come_by_a_file(tmp_path):
    name = "JOULEMARK_ALERTS_SECRET_OPS"
    path = tmp_path / "secret"
    path.write_text(f"{SECRET}\n", "utf-8")
    with http_receiver() as taken:
        ways = ways_of(wanted(taken.url), {f"{name}_FILE": str(path)})
        ways["ops"].tell(NOTICE, 0)
    [(headers, body)] = taken.requests
    expected = hmac.new(SECRET.encode(), b"0." + body, hashlib.sha256).hexdigest()
    assert headers["Joulemark-Signature"] == f"v1={expected}"
    for environment in ({f"{name}_FILE": str(path), name: SECRET}, {f"{name}_FILE": "/none"}):
        with pytest.raises(ConfigError, match=name) as caught:
            ways_of(wanted(taken.url), environment)
        assert SECRET not in str(caught.value)


def test_a_server_without_tls_is_given_nothing(tls):
    with mail_receiver(tls, starttls=None) as box, pytest.raises(NotDelivered, match="STARTTLS"):
        mail(box, tls).send("a", "s", "t", 0)
    assert box.messages == []
