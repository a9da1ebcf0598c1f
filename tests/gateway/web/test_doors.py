"""Who may ask for what: every address by every role, deny by default, and each only their sites."""

import re

import pytest
from fastapi import APIRouter, FastAPI
from fastapi.responses import PlainTextResponse
from fastapi.routing import iter_route_contexts
from httpx import ASGITransport, AsyncClient

from joulemark_gateway.access.roles import GIVEN, LIMITS, Role, Scope, Who
from joulemark_gateway.api import doors
from joulemark_gateway.api.doors import doors_of, needs
from joulemark_gateway.web.guard import Guard
from support import guarded
from support.evidence import METER, SITE
from support.guarded import OTHER, browser_of

NAMED = {
    "site": SITE, "device": METER, "system": "air", "project": "pump-house", "name": "report.json",
    "id": "00000000", "seq": "0", "number": "1",
}  # fmt: skip
WHOSE = {
    Role.ANYBODY: {"/login", "/health", "/static/{name}"},
    Role.VERIFIER: {
        "/records", "/proof", "/quarantine", "/refused", "/metrics", "GET /corrections",
        "GET /raw-requests",
    },
    Role.OPERATOR: {"POST /corrections", "POST /raw-requests", "POST /acknowledge"},
    Role.ADMIN: {"/users", "/tokens", "/events", "/admin", "/enrolments", "/revocations"},
}  # fmt: skip # what its addresses end with, or have as a part; all others are a viewer's
SCOPES = {
    Scope.ANY: {"/me", "/openapi.json"},
    Scope.REPORTS: {"/projects"},
    Scope.METRICS: {"/metrics", "/fleet", "GET /alerts"},
    Scope.EVIDENCE: {"/records", "/proof", "/quarantine", "GET /corrections", "GET /raw-requests"},
    Scope.OPERATE: {"POST /corrections", "POST /raw-requests", "POST /acknowledge"},
    Scope.ADMIN: {"/users", "/tokens", "/events", "/enrolments", "/revocations"},
    Scope.SERIES: {"/sites"},
}  # what an address of the API has as a part, the first that fits; pages are for no limited token
PAGES_OF_SITE = [f"/sites/{SITE}", f"/sites/{SITE}/devices/{METER}"]


@pytest.fixture(scope="module")
def let_and_app(state, tmp_path_factory):
    settings = guarded.collector_of(state.folder)
    with guarded.guarded(state, tmp_path_factory.mktemp("access"), settings=settings) as found:
        yield found


@pytest.fixture(scope="module")
def table(let_and_app):
    return doors_of(let_and_app[1]._app)


def path_of(door):
    return re.sub(r"\{(\w+)(:path)?\}", lambda match: NAMED[match[1]], door.path)


def test_every_address_declares_the_role_it_needs(table):
    assert len(table) > 50
    assert [door.path for door in table if door.needs is None] == []


def test_the_roles_are_those_that_were_meant(table):
    """Whoever adds an address looks here: a viewer's is what shows figures and nothing else."""
    for door in table:
        parts = {f"/{part}" for part in door.path.split("/")[1:]}
        parts |= {f"{method} {part}" for method in door.methods for part in parts}
        meant = [role for role, ends in WHOSE.items() if parts & ends or door.path in ends]
        assert [door.needs] == (meant or [Role.VIEWER]), door.path
    changing = [door for door in table if door.methods - {"GET"}]
    assert len(changing) >= 12
    own = {"/login", "/logout", "/account/password"}
    assert all(door.needs >= Role.OPERATOR or door.path in own for door in changing)


def scope_meant(door):
    if not door.path.startswith(("/api/", "/openapi", "/metrics")):
        return None
    parts = {f"/{part}" for part in door.path.split("/")[1:]}
    parts |= {f"{method} {part}" for method in door.methods for part in parts}
    return next(scope for scope, ends in SCOPES.items() if parts & ends)


def test_the_scopes_are_those_that_were_meant(table):
    """What the API gives declares one, and no page does."""
    told = {door.path: (door.scope, scope_meant(door)) for door in table}
    assert {path: pair for path, pair in told.items() if pair[0] != pair[1]} == {}
    assert {door.scope for door in table} - {None, Scope.ANY} <= set(LIMITS)


async def test_an_address_without_a_role_is_shut_for_everybody(let_and_app):
    let, _ = let_and_app
    app = FastAPI()
    router = APIRouter()
    router.add_api_route("/api/v1/forgotten", lambda: "secret", methods=["GET", "POST"])
    app.include_router(router)
    app.state.sources = app.state.access = None
    guard = Guard(app, let.access)
    async with browser_of(guard) as client:
        for role in (None, *GIVEN):
            for method in ("GET", "POST"):
                url = "/api/v1/forgotten"
                answer = await client.request(method, url, headers=let.header(role))
                assert (answer.status_code, answer.json()["code"]) == (403, "no_role_declared")
                assert "secret" not in answer.text


async def test_the_control_without_the_guard_gives_the_forgotten_address_away():
    app = FastAPI()
    app.add_api_route("/api/v1/forgotten", lambda: "secret")
    transport = ASGITransport(app)
    async with AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        assert (await client.get("/api/v1/forgotten")).json() == "secret"


async def test_what_the_guard_did_not_look_up_does_not_run(let_and_app):
    _, guard = let_and_app
    transport = ASGITransport(guard._app, raise_app_exceptions=False)
    async with AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        for door in doors_of(guard._app):
            for method in door.methods:
                answer = await client.request(method, path_of(door))
                assert answer.status_code in {403, 500}, (method, door.path)


def test_the_guard_looks_where_the_application_goes(let_and_app):
    app = let_and_app[1]._app
    for route in iter_route_contexts(app.routes):
        for method in set(route.methods or ()) - {"HEAD"}:
            path = re.sub(r"\{(\w+)\}", lambda match: NAMED[match[1]], str(route.path))
            found = doors.door_of(doors_of(app), method, path)
            assert isinstance(found, doors.Found)
            assert found.door.endpoint is route.endpoint


class Ran:
    """Stands in for the application: what comes so far would have run."""

    def __init__(self, app):
        self.state = app.state

    async def __call__(self, scope, receive, send):
        await PlainTextResponse("ran")(scope, receive, send)


async def test_every_cell_of_roles_and_addresses(let_and_app, table, monkeypatch):
    let, guard = let_and_app
    judge, cells = Guard(guard._app, let.access), 0
    monkeypatch.setattr(judge, "_app", Ran(guard._app))
    async with browser_of(judge) as client:
        for role in (None, *GIVEN):
            for door in table:
                for method in sorted(door.methods):
                    header, path = let.header(role), path_of(door)
                    answer = await client.request(method, path, headers=header)
                    told = (role, method, path, answer.status_code)
                    is_page = method == "GET" and not path.startswith(
                        ("/api", "/openapi", "/metrics")
                    )
                    if (role or Role.ANYBODY) >= door.needs:
                        assert (answer.status_code, answer.text) == (200, "ran"), told
                    elif role is not None:
                        assert answer.status_code == 403, told
                    elif is_page:
                        assert answer.status_code == 303, told
                        assert answer.headers["location"].startswith("/login"), told
                    else:
                        assert answer.status_code == 401, told
                        assert answer.headers["www-authenticate"].startswith("Bearer")
                    cells += 1
    assert cells == 5 * sum(len(door.methods) for door in table)


@pytest.mark.parametrize("scope", LIMITS)
async def test_every_cell_of_scopes_and_addresses(let_and_app, table, monkeypatch, scope):
    """An admin's token that is limited to one scope, at every address."""
    let, guard = let_and_app
    judge = Guard(guard._app, let.access)
    monkeypatch.setattr(judge, "_app", Ran(guard._app))
    _, text = let.access.tokens.add("limited", Role.ADMIN, None, 0, 4 * 10**15, scopes=[scope])
    header = {"Authorization": f"Bearer {text}"}
    async with browser_of(judge) as client:
        for door in table:
            for method in sorted(door.methods):
                answer = await client.request(method, path_of(door), headers=header)
                is_let = door.needs is Role.ANYBODY or door.scope in {scope, Scope.ANY}
                told = (scope, method, door.path)
                assert answer.status_code == (200 if is_let else 403), told
                assert is_let or "scope_too_small" in answer.text or door.scope is None, told


async def test_a_scope_gives_nothing_that_the_role_does_not(let_and_app):
    let, guard = let_and_app
    made = let.access.tokens.add("limited", Role.VIEWER, [SITE], 0, 4 * 10**15, scopes=LIMITS)
    header = {"Authorization": f"Bearer {made[1]}"}
    async with browser_of(guard) as client:
        for path in (f"/api/v1/sites/{SITE}/devices/{METER}/records", "/api/v1/users"):
            answer = await client.get(path, headers=header)
            assert (answer.status_code, answer.json()["code"]) == (403, "role_too_small")
        me = (await client.get("/api/v1/me", headers=header)).json()
        assert me["scopes"] == sorted(LIMITS)


async def test_the_control_without_scopes_gives_everything_away(let_and_app, monkeypatch):
    let, guard = let_and_app
    made = let.access.tokens.add(
        "limited", Role.VIEWER, [SITE], 0, 4 * 10**15, scopes=["metrics:read"]
    )
    header = {"Authorization": f"Bearer {made[1]}"}
    async with browser_of(guard) as client:
        assert (await client.get("/api/v1/sites", headers=header)).status_code == 403
        monkeypatch.setattr(Who, "reaches", lambda *_: True)
        assert (await client.get("/api/v1/sites", headers=header)).status_code == 200


@pytest.mark.parametrize("role", [None, *GIVEN])
async def test_what_a_role_is_let_to_does_run_for_it(let_and_app, table, role):
    let, guard = let_and_app
    async with browser_of(guard) as client:
        for door in [door for door in table if door.needs == (role or Role.ANYBODY)]:
            for method in door.methods:
                answer = await client.request(method, path_of(door), headers=let.header(role))
                told = (method, door.path, answer.text[:300])
                assert answer.status_code in {200, 201, 204, 303, 404, 415, 422}, told


async def test_nothing_of_a_site_is_given_to_who_does_not_see_it(let_and_app, table):
    """The same answer, to the byte, as for a site that there is not."""
    let, guard = let_and_app
    header = {"Authorization": f"Bearer {let.foreign}"}
    looked_at = 0
    async with browser_of(guard) as client:
        for door in table:
            if "{site}" in door.path and "GET" in door.methods:
                there = path_of(door)
                nowhere = there.replace(SITE, "nowhere")
                given, none = [await client.get(path, headers=header) for path in (there, nowhere)]
                assert given.status_code == none.status_code == 404, there
                assert given.text == none.text.replace("nowhere", SITE)
                looked_at += 1
        assert looked_at >= 20
        for path in ("/api/v1/sites", "/", "/api/v1/projects", "/projects", "/refused"):
            answer = await client.get(path, headers=header)
            assert answer.status_code == 200
            assert SITE not in answer.text
            assert "pump" not in answer.text.lower()
        for path in ("/api/v1/projects/pump-house", "/projects/pump-house/files/report.json"):
            assert (await client.get(path, headers=header)).status_code == 404
        same = {"Authorization": f"Bearer {let.tokens[Role.VERIFIER]}"}
        assert SITE in (await client.get("/api/v1/sites", headers=same)).text
        assert OTHER not in (await client.get("/api/v1/sites", headers=same)).text


@pytest.mark.parametrize("name", ["bundle.zip", "policy.json"])
async def test_the_evidence_of_a_report_is_for_who_verifies(let_and_app, name):
    let, guard = let_and_app
    async with browser_of(guard) as client:
        viewer, verifier = let.header(Role.VIEWER), let.header(Role.VERIFIER)
        url = f"/projects/pump-house/files/{name}"
        assert (await client.get(url, headers=viewer)).status_code == 403
        assert (await client.get(url, headers=verifier)).status_code == 200
        assert name not in (await client.get("/projects/pump-house", headers=viewer)).text
        assert name in (await client.get("/projects/pump-house", headers=verifier)).text


async def test_what_would_be_refused_is_no_link(let_and_app):
    let, guard = let_and_app
    async with browser_of(guard) as client:
        for path in PAGES_OF_SITE:
            viewers = (await client.get(path, headers=let.header(Role.VIEWER))).text
            verifiers = (await client.get(path, headers=let.header(Role.VERIFIER))).text
            assert "/records" not in viewers
            assert "/records" in verifiers
            assert "<h1>" in viewers
            assert viewers.count("<a ") == viewers.count("</a>")


async def test_the_document_tells_each_role_and_how_to_show_it(let_and_app, table):
    let, guard = let_and_app
    async with browser_of(guard) as client:
        told = (await client.get("/openapi.json", headers=let.header(Role.VIEWER))).json()
    schemes = told["components"]["securitySchemes"]
    assert schemes["token"]["scheme"] == "bearer"
    assert schemes["session"] == {
        "type": "apiKey",
        "in": "cookie",
        "name": "joulemark-session",
    }
    for door in table:
        for method in door.methods:
            operation = told["paths"].get(door.path, {}).get(method.lower())
            if operation is None:
                assert not door.path.startswith("/api/"), door.path
                continue
            assert operation["x-joulemark-role"] == door.needs.word
            assert operation["x-joulemark-scope"] == door.scope
            asked = {"401", "403"} if door.needs is not Role.ANYBODY else set()
            assert {*asked, "429", "500"} <= set(operation["responses"])
            for status, response in operation["responses"].items():
                if int(status) >= 400:
                    assert list(response["content"]) == ["application/problem+json"]


def test_a_role_that_is_declared_is_found_again():
    @needs(Role.OPERATOR)
    def change():
        pass

    assert doors.needed(change) is Role.OPERATOR
    assert doors.needed(lambda: None) is None
