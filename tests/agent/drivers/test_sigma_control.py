"""A Sigma Control's login, session and questions over real sockets."""

import asyncio
import hashlib
import json

import pytest

from joulemark_agent.contract.errors import DeviceError
from joulemark_agent.contract.profile import CONTROLLER, LED, OBJECT
from joulemark_agent.documents import load_profile
from joulemark_agent.drivers import elektronikon, sigma_control
from joulemark_agent.drivers.base import Request
from joulemark_agent.http import Http
from joulemark_agent.http_login import Login
from joulemark_agent.kernels.decode import decode_responses
from joulemark_agent.plan import plan_requests
from joulemark_agent.simulate.controllers.compressor import Compressor
from support import tcp
from support.controllers import (
    PASSWORD,
    USER,
    VARIABLE,
    Clock,
    a_sigma_control,
    an_elektronikon,
    captured,
    only_questions,
    requests,
)

PROFILE, _ = load_profile("kaeser_sigma_control_2")
LOGIN = Login(USER, VARIABLE)
TIMEOUT_S = 5.0
ONE = [Request(OBJECT, 3261336, 1)]


@pytest.fixture
def clock(monkeypatch):
    """The driver's clock and the controller's."""
    made = Clock()
    monkeypatch.setattr(sigma_control, "monotonic", made)
    monkeypatch.setenv(VARIABLE, PASSWORD)
    return made


async def opened(port):
    url = f"sigma-control-http://127.0.0.1:{port}"
    return await sigma_control.connect(url, timeout_s=TIMEOUT_S, security=LOGIN)


async def code_of(driver, asked=ONE):
    with pytest.raises(DeviceError) as error:
        await driver.read(0, asked)
    return error.value.code


@pytest.mark.parametrize("units", [("bar", "°C"), ("psi", "°F")])
async def test_the_profile_shows_the_machine_in_whatever_unit_the_panel_has(clock, units):
    async with a_sigma_control(clock, seed=2, units=units) as (port, _):
        driver = await opened(port)
        responses = await driver.read(0, plan_requests(PROFILE))
        values, quality = decode_responses(PROFILE, responses)
        await driver.close()
    state = Compressor(2).at(clock())

    assert values["running_s"] == str(state.running_s // 3600 * 3600)
    assert values["loaded_s"] == str(state.loaded_s // 3600 * 3600)
    assert values["energy_wh"] == str(state.energy_wh // 1000 * 1000)
    assert float(values["working_gauge_pressure_pa"]) == pytest.approx(state.pressure_pa, abs=5001)
    assert values["load_lamp_state"] == str(int(state.is_loaded))
    assert set(quality.values()) == {"disputed"}
    assert [(r.table, r.address) for r in responses] == [
        (r.table, r.address) for r in plan_requests(PROFILE)
    ]


async def test_a_session_that_ended_is_opened_again_within_the_same_reading(clock):
    async with a_sigma_control(clock) as (port, controller):
        driver = await opened(port)
        first = await driver.read(0, ONE)
        controller.expire()
        clock.now_s += 61
        second = await driver.read(0, ONE)
        await driver.close()

    assert controller.logins == 2
    assert b"3261336" in first[0].data
    assert b"3261336" in second[0].data


async def test_one_login_serves_500_readings_even_over_lost_connections(clock):
    async with a_sigma_control(clock) as (port, controller):
        driver = await opened(port)
        for i in range(500):
            if i % 50 == 0:
                await driver._http.close()  # the connection goes, the session stays
            await driver.read(0, ONE)
        await driver.close()

    assert controller.logins == 1
    assert not controller.has_session  # and is given back at the end


async def test_a_session_is_ended_at_the_controller_even_when_its_connection_has_gone(clock):
    async with a_sigma_control(clock) as (port, controller):
        driver = await opened(port)
        await driver.read(0, ONE)
        await driver._http.close()  # as a controller does that ends it after each answer
        await driver.close()

    assert not controller.has_session  # so that whoever begins next is not refused


async def test_two_logins_are_a_minute_apart_whatever_the_controller_does(clock):
    async with a_sigma_control(clock) as (port, controller):
        driver = await opened(port)
        codes = []
        for _ in range(300):
            controller.expire()
            try:
                await driver.read(0, ONE)
                codes.append("good")
            except DeviceError as error:
                codes.append(error.code)
            clock.now_s += 1
        await driver.close()

    assert controller.logins == 5
    assert codes.count("good") == 5
    assert set(codes) == {"good", "login_cooldown"}


async def test_a_user_who_is_logged_in_elsewhere_is_waited_for_and_not_locked_out(clock):
    async with a_sigma_control(clock) as (port, controller):
        controller.log_in_elsewhere()
        driver = await opened(port)
        assert await code_of(driver) == "session_limit"
        for _ in range(59):
            clock.now_s += 1
            assert await code_of(driver) == "login_cooldown"
        clock.now_s += 2  # the browser still has its session: the rest doubles
        assert await code_of(driver) == "session_limit"
        controller.expire()  # and now it has none
        clock.now_s += 119
        assert await code_of(driver) == "login_cooldown"
        clock.now_s += 2
        await driver.read(0, ONE)
        await driver.close()

    assert controller.failures == 0


async def naive_login(port):
    """What a client that knows no rest does at every slot."""
    http = Http(f"x://127.0.0.1:{port}", 80, timeout_s=TIMEOUT_S)

    async def page(fields):
        answer = await http.ask(
            "GET", "/login.html", fields, b"", timeout_s=TIMEOUT_S, is_page=True
        )
        return dict(v.partition(";")[0].split("=", 1) for v in answer.values("set-cookie"))

    key = (await page([]))["Session-Key"]
    known_by = hashlib.sha256(f"{USER}:user@sc2:{PASSWORD}".encode()).hexdigest()
    auth = hashlib.sha256(f"{known_by}:{key}".encode()).hexdigest()
    number = (await page([("Username", USER), ("Session-Auth", auth)]))["Session-Id"]
    await http.close()
    return number


async def test_a_naive_client_keeps_the_cooldown_alive_for_ever(clock):
    async with a_sigma_control(clock) as (port, controller):
        controller.log_in_elsewhere()
        found = []
        for _ in range(100):
            found.append(await naive_login(port))
            controller.expire()  # the browser has long gone
            clock.now_s += 10

    assert set(found) == {"-1"}


async def test_a_wrong_password_is_tried_too_seldom_to_lock_the_user_out(clock, monkeypatch):
    monkeypatch.setenv(VARIABLE, "wrong")
    async with a_sigma_control(clock) as (port, controller):
        driver = await opened(port)
        codes = []
        for _ in range(1440):  # a day
            codes.append(await code_of(driver))
            clock.now_s += 60
        locked = controller.is_locked
        monkeypatch.setenv(VARIABLE, PASSWORD)
        clock.now_s += 1000
        await driver.read(0, ONE)
        await driver.close()

    assert codes[0] == "login_refused"
    assert set(codes) == {"login_refused", "login_cooldown"}
    assert controller.failures == 2
    assert not locked


@pytest.mark.parametrize(("answer", "most"), [("401 No", 2), ("403 No", 2), ("503 No", 5)])
async def test_a_login_that_is_answered_with_another_status_is_not_tried_every_minute(
    clock, answer, most
):
    tries = []

    async def serve(reader, writer):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            if b"Username" in head:
                tries.append(clock())
                writer.write(reply("no", "text/html", answer))
            else:
                writer.write(reply("<html>", "text/html"))

    async with tcp.serving(serve) as port:
        driver = await opened(port)
        codes = []
        for _ in range(180):  # half an hour
            codes.append(await code_of(driver))
            clock.now_s += 10
        await driver.close()

    assert codes[0] == f"http_{answer[:3]}"
    assert set(codes) == {codes[0], "login_cooldown"}
    assert len(tries) <= most


@pytest.mark.parametrize("password", ["", "gr\udcfcn", "secret\r"])
async def test_without_a_login_or_its_password_nothing_is_sent(clock, monkeypatch, password):
    monkeypatch.setenv(VARIABLE, password)
    sent = bytearray()
    async with a_sigma_control(clock) as (port, _), captured(port, sent) as front:
        with pytest.raises(DeviceError) as error:
            await sigma_control.connect(f"sigma-control-http://127.0.0.1:{front}", timeout_s=1)
        driver = await opened(front)
        assert await code_of(driver) == "no_login"
        await driver.close()

    assert error.value.code == "no_login"
    assert not sent


async def test_a_controller_of_another_model_is_not_believed(clock):
    async with a_sigma_control(clock) as (port, _):
        driver = await opened(port)
        asked = [Request(CONTROLLER, 0, 1, "CompType=SM15|SK25"), *ONE]
        assert await code_of(driver, asked) == "wrong_device"
        await driver.close()


async def test_an_object_the_controller_does_not_have_is_empty_and_not_its_neighbour(clock):
    asked = [Request(OBJECT, 1, 1), *ONE, Request(LED, 7, 1)]
    async with a_sigma_control(clock) as (port, _):
        driver = await opened(port)
        missing, there, lamp = await driver.read(0, asked)
        await driver.close()

    assert missing.data == b""
    assert json.loads(there.data)["Id"] == 3261336
    assert lamp.data == b""


# A server that says what it likes once somebody is logged in


def reply(body, kind="application/json", status="200 OK"):
    body = body if isinstance(body, bytes) else body.encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
    cookies = "Set-Cookie: Session-Id=77\r\nSet-Cookie: Session-Key=abc\r\n"
    return f"{head}{cookies}\r\n".encode() + body


GOOD = '{"0":1,"1":2,"2":"0","3":{"0":{"Id":3261336,"Value":"1 h"}}}'


def hostile(first):
    """Serve: logins, then this reply, then good ones."""
    replies = [first]

    async def serve(reader, writer):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            if head.startswith(b"GET"):
                writer.write(reply("<html>", "text/html"))
                continue
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            await reader.readexactly(length)
            writer.write(replies.pop() if replies else reply(GOOD))

    return serve


@pytest.mark.parametrize(
    ("first", "code"),
    [
        (reply(GOOD, "image/png"), "content_type"),
        (reply("<html>log in</html>", "text/html"), "html_page"),
        (reply(b'{"2":"0","3":{"0":{"Id":1,"Value":"\xff"}}}'), "bad_reply"),
        (reply("[" * 5000 + "]" * 5000), "bad_reply"),
        (reply('{"2":"0","3":' + "[" * 50_000), "bad_reply"),
        (reply('{"2":"0","3":{"0":{"Id":3261336,"Value":NaN}}}'), "bad_reply"),
        (reply('{"2":"0","3":{"0":{"Id":1e999}}}'), "bad_reply"),
        (reply('{"2":"0","3":{"0":{"Id":1},"1":{"Id":1}}}'), "bad_reply"),
        (reply('{"2":"0","2":"0","3":{}}'), "bad_reply"),
        (reply('{"2":"0","3":7}'), "bad_reply"),
        (reply("null"), "bad_reply"),
        (reply(""), "bad_reply"),
        (reply("7"), "bad_reply"),
        (reply('{"3":{}}'), "bad_reply"),
        (reply('{"2":{"a":1},"3":{}}'), "bad_reply"),
        (reply('{"2":"3","3":{}}'), "answer_3"),
        (reply('{"2":"0","3":{"0":{"Id":3261336,"Value":"%s"}}}' % ("x" * 3000)), "too_large"),
        (reply('{"2":"0","3":"%s"}' % ("x" * 300_000)), "too_large"),
        (reply("no", status="403 Forbidden"), "http_403"),
        (reply("no", status="429 Too Many Requests"), "http_429"),
        (reply("no", status="500 Oops"), "http_500"),
        (reply("no", status="301 Moved"), "http_301"),
    ],
)
@pytest.mark.usefixtures("clock")
async def test_each_fault_has_its_code_and_the_next_reading_its_value(first, code):
    async with tcp.serving(hostile(first)) as port:
        driver = await opened(port)
        assert await code_of(driver) == code
        (good,) = await driver.read(0, ONE)
        await driver.close()

    assert good.data == b'{"Id":3261336,"Value":"1 h"}'


@pytest.mark.usefixtures("clock")
async def test_a_login_page_that_is_stored_compressed_gives_its_cookies_all_the_same():
    async def serve(reader, writer):
        page = reply("\x1f\x8b", "text/html\r\nContent-Encoding: gzip")
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            writer.write(page if head.startswith(b"GET") else reply(GOOD))

    async with tcp.serving(serve) as port:
        driver = await opened(port)
        (good,) = await driver.read(0, ONE)
        await driver.close()

    assert good.data == b'{"Id":3261336,"Value":"1 h"}'


@pytest.mark.parametrize("first", [reply("no", status="401 No"), reply('{"2":5,"3":{}}'),
                                   reply('{"2":"","3":{}}')])  # fmt: skip
async def test_who_is_logged_out_logs_in_once_more(clock, first):
    async with tcp.serving(hostile(first)) as port:
        driver = await opened(port)
        assert await code_of(driver) == "login_cooldown"  # a minute has not passed
        clock.now_s += 61
        await driver.read(0, ONE)
        await driver.close()


@pytest.mark.parametrize(
    "cookie",
    ["Session-Key=a\tb", "Session-Key=", "Session-Key=" + "k" * 200, "Other=1", "Session-Key=ü"],
)
@pytest.mark.usefixtures("clock")
async def test_a_session_key_that_cannot_be_one_is_refused(cookie):
    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        head = f"HTTP/1.1 200 OK\r\nSet-Cookie: {cookie}\r\nContent-Length: 0\r\n\r\n"
        writer.write(head.encode("latin-1"))
        await reader.read()

    async with tcp.serving(serve) as port:
        driver = await opened(port)
        assert await code_of(driver) == "bad_reply"
        await driver.close()


async def test_only_questions_leave_and_neither_the_password_nor_a_lasting_hash_of_it(clock):
    sent = bytearray()
    requests_of_both = plan_requests(load_profile("atlas_copco_elektronikon_mkv")[0])
    async with a_sigma_control(clock) as (port, controller), captured(port, sent) as front:
        driver = await opened(front)
        for _ in range(3):
            await driver.read(0, plan_requests(PROFILE))
        controller.expire()
        clock.now_s += 61
        await driver.read(0, plan_requests(PROFILE))
        await driver.close()
    async with an_elektronikon(clock) as (port, _), captured(port, sent) as front:
        other = await elektronikon.connect(f"elektronikon-http://127.0.0.1:{front}", timeout_s=5)
        await other.read(0, requests_of_both)
        await elektronikon.discover(other, timeout_s=5)
        await other.close()

    assert len(requests(bytes(sent))) == 4 + 3 * 3 + 1 + 3 + 1 + 1 + 1
    assert only_questions(bytes(sent))
    known_by = hashlib.sha256(f"{USER}:user@sc2:{PASSWORD}".encode()).hexdigest()
    for secret in (PASSWORD, known_by):
        assert secret.encode() not in sent


PLANTED = [
    ("POST", "/json.json", b'{"0":1,"1":3,"2":{"0":3231568,"1":"9.0"}}'),
    ("POST", "/json.json", b'{"0":1,"1":2,"2":{"0":[1]},"9":1}'),
    ("POST", "/json.json", b'{"0":1,"1":2,"2":{"0":[1,ff]}}'),
    ("POST", "/cgi-bin/mkv.cgi", b"QUESTION=30070130070"),
    ("POST", "/cgi-bin/mkv.cgi", b"QUESTION=300701&SET=1"),
    ("POST", "/cgi-bin/mkv.cgi", b"COMMAND=01"),
    ("PUT", "/json.json", b'{"0":1,"1":7}'),
    ("GET", "/json.json?start=1", b""),
]


@pytest.mark.parametrize(("method", "target", "body"), PLANTED)
async def test_one_planted_command_is_found_in_the_capture(clock, method, target, body):
    sent = bytearray()
    async with a_sigma_control(clock) as (port, _), captured(port, sent) as front:
        driver = await opened(front)
        await driver.read(0, ONE)
        await driver.close()
        assert only_questions(bytes(sent))
        reader, writer = await asyncio.open_connection("127.0.0.1", front)
        head = f"{method} {target} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        assert (await reader.read(9)) == b"HTTP/1.1 "  # whatever the controller says to it
        writer.close()

    assert not only_questions(bytes(sent))
