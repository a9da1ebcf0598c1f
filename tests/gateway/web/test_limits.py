"""How much one may ask: often, much at once, large and slowly. Others are not kept waiting."""

import asyncio
import threading

import pytest

from joulemark_gateway.access.roles import Role
from joulemark_gateway.access.settings import PagesLimits, PagesSettings
from joulemark_gateway.access.throttle import Buckets
from joulemark_gateway.api import answers
from joulemark_gateway.web import wire
from support import guarded
from support.guarded import browser_of

FEW = PagesLimits(requests_per_s=0.001, burst=5, together=2)


@pytest.fixture(scope="module")
def once(state, tmp_path_factory):
    folder = tmp_path_factory.mktemp("few")
    with guarded.guarded(state, folder, PagesSettings(limits=FEW)) as found:
        yield found


@pytest.fixture
def let_and_app(once, monkeypatch):
    """The same application; nobody has asked it anything yet."""
    monkeypatch.setattr(once[1], "_buckets", Buckets(FEW.requests_per_s, FEW.burst))
    return once


@pytest.fixture(scope="module")
def free(state, tmp_path_factory):
    with guarded.guarded(state, tmp_path_factory.mktemp("access")) as found:
        yield found


async def test_one_that_asks_too_often_is_told_when_to_come_again_and_others_are_not(let_and_app):
    let, app = let_and_app
    async with browser_of(app, "192.0.2.1") as one, browser_of(app, "192.0.2.2") as other:
        statuses = [(await one.get("/health")).status_code for _ in range(7)]
        assert statuses == [200] * 5 + [429] * 2
        refused = await one.get("/health")
        assert refused.headers["ratelimit-policy"] == '"asker";q=5;w=5000'
        assert refused.headers["ratelimit"] == '"asker";r=0;t=5000'
        assert int(refused.headers["retry-after"]) >= 1
        assert refused.json()["code"] == "too_many_requests"
        assert (await other.get("/health")).status_code == 200
        asked = await other.get("/health")
        assert asked.headers["ratelimit"].startswith('"asker";r=3;')
        viewer = let.header(Role.VIEWER)
        statuses = [(await one.get("/api/v1/me", headers=viewer)).status_code for _ in range(6)]
        assert statuses == [200] * 5 + [429], "a program has its own share, wherever it asks from"
        assert (await other.get("/api/v1/me", headers=viewer)).status_code == 429
        verifier = let.header(Role.VERIFIER)
        assert (await other.get("/api/v1/me", headers=verifier)).status_code == 200


async def test_tokens_that_are_none_are_counted_by_their_address(let_and_app):
    _, app = let_and_app
    async with browser_of(app, "192.0.2.1") as client:
        for k in range(8):
            wrong = {"Authorization": f"Bearer jmt_{k:08x}_x"}
            answer = await client.get("/api/v1/me", headers=wrong)
            assert answer.status_code == (401 if k < 5 else 429)


async def test_of_one_only_some_are_answered_at_a_time(let_and_app, monkeypatch):
    let, app = let_and_app
    go, begun = threading.Event(), threading.Semaphore(0)
    plain = answers.sites

    def slowly(read):
        begun.release()
        go.wait(20)
        return plain(read)

    monkeypatch.setattr(answers, "sites", slowly)
    viewer, verifier = let.header(Role.VIEWER), let.header(Role.VERIFIER)
    async with browser_of(app) as client:
        held = [asyncio.create_task(client.get("/api/v1/sites", headers=viewer)) for _ in range(2)]
        for _ in held:
            await asyncio.to_thread(begun.acquire, timeout=20)
        assert (await client.get("/api/v1/me", headers=viewer)).status_code == 429
        assert (await client.get("/api/v1/me", headers=verifier)).status_code == 200
        go.set()
        assert [(await one).status_code for one in held] == [200, 200]
        assert (await client.get("/api/v1/me", headers=viewer)).status_code == 200
    assert not app._together


async def test_a_body_that_is_too_large_is_not_read(free):
    let, app = free
    admin = let.header(Role.ADMIN)
    given = 0

    async def endless():
        nonlocal given
        while True:
            given += 1024
            yield b"x" * 1024

    async with browser_of(app) as client:
        large = b"x" * (wire.MOST_BODY + 1)
        for method, url in (("POST", "/api/v1/users"), ("POST", "/login"), ("GET", "/health")):
            answer = await client.request(method, url, content=large, headers=admin)
            assert answer.status_code == 413
            assert answer.headers["connection"] == "close"
        answer = await client.post("/api/v1/users", content=endless(), headers=admin)
        assert answer.status_code == 413
        assert given <= wire.MOST_BODY + 2048


async def test_a_body_that_comes_too_slowly_is_not_waited_for(free, monkeypatch):
    let, app = free
    monkeypatch.setattr(wire, "BODY_S", 0.1)

    async def drip():
        yield b"{"
        await asyncio.sleep(30)

    async with browser_of(app) as client:
        admin = let.header(Role.ADMIN)
        answer = await client.post("/api/v1/users", content=drip(), headers=admin)
        assert (answer.status_code, answer.json()["code"]) == (408, "too_slow")


async def test_who_may_not_change_anything_is_refused_before_the_body(free):
    let, app = free

    async def never():
        yield b""
        raise AssertionError("it was read")

    async with browser_of(app) as client:
        for header in (let.header(None), let.header(Role.OPERATOR)):
            answer = await client.post("/api/v1/users", content=never(), headers=header)
            assert answer.status_code in {401, 403}


@pytest.mark.parametrize("value", ["-1", "x", "9" * 400, "1e9"])
async def test_a_length_that_is_none_is_no_error_of_ours(free, value):
    _, app = free
    async with browser_of(app) as client:
        answer = await client.get("/health", headers={"Content-Length": value})
        assert answer.status_code in {200, 413}


@pytest.mark.parametrize(
    "value",
    ["Basic YTpi", "Bearer", "Bearer ", "bearer x", "x" * 5000, "Bearer \u20ac", "Negotiate"],
)
async def test_another_way_to_show_who_one_is_is_none(free, value):
    _, app = free
    async with browser_of(app) as client:
        asked = {"Authorization": value.encode()}
        assert (await client.get("/api/v1/me", headers=asked)).status_code == 401
