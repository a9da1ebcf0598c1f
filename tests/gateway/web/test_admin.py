"""Users, tokens and the log, by form and by JSON: what is done stands in the log, no secret."""

import re
import shutil

import pytest
import pytest_asyncio

from joulemark_gateway.access import passwords
from joulemark_gateway.access.roles import Role
from joulemark_gateway.evidence.base import Quarantined
from joulemark_gateway.evidence.store import FILE, SqliteStore
from support import guarded, pages
from support.book import registry as registered
from support.evidence import AGENT, METER, SITE
from support.guarded import PASSWORD, add_users, browser_of, log_in

NEW = "another long one, please"


@pytest.fixture(autouse=True)
def cheap(monkeypatch):
    monkeypatch.setattr(passwords, "_COST", 2**4)


@pytest.fixture(scope="module")
def once(state, tmp_path_factory):
    with guarded.guarded(state, tmp_path_factory.mktemp("access")) as found:
        yield found


@pytest.fixture
def let(once):
    once[0].access._database.rows("DELETE FROM user")
    add_users(once[0].access, Role.ADMIN, Role.VIEWER)
    return once[0]


@pytest_asyncio.fixture
async def client(let, once):
    assert let is once[0]
    async with browser_of(once[1]) as found:
        yield found


@pytest.fixture
def header(let):
    return let.header(Role.ADMIN)


async def test_a_user_is_added_changed_and_removed_by_forms(client, let):
    csrf = await log_in(client, "admin")
    new = {
        "csrf": csrf,
        "name": "carl",
        "role": "verifier",
        "sites": f"{SITE}, other",
        "password": NEW,
    }
    assert (await client.post("/admin/users", data=new)).status_code == 303
    carl = let.access.users.find("carl")
    assert (carl.role, carl.sites) == (Role.VERIFIER, frozenset({SITE, "other"}))
    text = (await client.get("/admin")).text
    assert '<th scope="row">carl</th>' in text
    change = {"csrf": csrf, "role": "operator", "all_sites": "1", "password": ""}
    assert (await client.post("/admin/users/carl/change", data=change)).status_code == 303
    carl = let.access.users.find("carl")
    assert (carl.role, carl.sites) == (Role.OPERATOR, None)
    assert passwords.matches(NEW, carl.password), "an empty password stays as it was"
    change = {**change, "password": PASSWORD}
    await client.post("/admin/users/carl/change", data=change)
    assert passwords.matches(PASSWORD, let.access.users.find("carl").password)
    answer = await client.post("/admin/users/carl/remove", data={"csrf": csrf})
    assert answer.headers["location"] == "/admin#h-users"
    assert let.access.users.find("carl") is None
    rows = [row for row in let.access.events.listed(limit=5) if row.who == "admin"]
    assert [row.code for row in rows[:4]] == [
        "user_removed",
        "user_changed",
        "user_changed",
        "user_changed",
    ]
    told = repr(let.access.events.listed(limit=500)) + (await client.get("/admin/log")).text
    assert "user removed" in told
    for secret in (NEW, PASSWORD):
        assert secret not in told


@pytest.mark.parametrize(
    ("change", "status", "says"),
    [
        ({"sites": ""}, 422, "sites"),
        ({"role": "king"}, 422, "role"),
        ({"name": "<b>x</b>"}, 422, "name"),
        ({"name": "viewer"}, 409, "already"),
        ({"password": "canary"}, 422, "password"),
        ({"password": "carl-canary-long"}, 422, "name"),
    ],
)
async def test_what_is_not_accepted_is_said_on_the_page_and_never_the_password(
    client, let, change, status, says
):
    csrf = await log_in(client, "admin")
    form = {"name": "carl", "role": "viewer", "sites": SITE, "password": NEW, **change}
    answer = await client.post("/admin/users", data={"csrf": csrf, **form})
    assert answer.status_code == status
    alert = re.search(r'role="alert"[^>]*>(.*?)</p>', answer.text, re.DOTALL)
    assert alert is not None
    assert says in alert[1]
    assert "canary" not in answer.text
    assert NEW not in answer.text
    assert let.access.users.find("carl") is None


async def test_a_change_of_which_a_part_is_not_accepted_changes_nothing(client, let):
    csrf = await log_in(client, "admin")
    form = {"csrf": csrf, "role": "operator", "all_sites": "1", "password": "viewer-canary-long"}
    answer = await client.post("/admin/users/viewer/change", data=form)
    assert answer.status_code == 422
    assert let.access.users.find("viewer").role is Role.VIEWER


async def test_the_last_admin_stays(client, let):
    csrf = await log_in(client, "admin")
    for path, form in (
        ("remove", {}),
        ("change", {"role": "viewer", "all_sites": "1", "password": ""}),
    ):
        answer = await client.post(f"/admin/users/admin/{path}", data={"csrf": csrf, **form})
        assert answer.status_code == 409
        assert "last admin" in answer.text
    assert let.access.users.find("admin").role is Role.ADMIN


async def test_a_token_is_on_one_page_and_nowhere_else(client, let):
    csrf = await log_in(client, "admin")
    form = {"csrf": csrf, "name": "grafana", "role": "viewer", "sites": SITE, "days": "30"}
    answer = await client.post("/admin/tokens", data=form)
    assert answer.status_code == 200
    found = re.search(r'value="(jmt_([0-9a-f]{8})_[\w-]+)"', answer.text)
    assert found is not None
    text, id_ = found[1], found[2]
    client.cookies.clear()
    asked = {"Authorization": f"Bearer {text}"}
    me = (await client.get("/api/v1/me", headers=asked)).json()
    assert me == {
        "name": f"grafana ({id_})",
        "kind": "program",
        "role": "viewer",
        "sites": [SITE],
        "scopes": None,
    }
    csrf = await log_in(client, "admin")
    page = (await client.get("/admin")).text
    assert id_ in page
    assert text not in page
    await client.post(f"/admin/tokens/{id_}/revoke", data={"csrf": csrf})
    client.cookies.clear()
    refused = await client.get("/api/v1/me", headers=asked)
    assert (refused.status_code, refused.json()["code"]) == (401, "bad_token")
    told = repr(let.access.events.listed(limit=500))
    assert "token_revoked" in told
    assert text.split("_", 2)[2] not in told  # the secret may hold underscores


async def test_programs_do_the_same_by_json(client, header):
    new = {"name": "carl", "role": "viewer", "sites": [SITE], "password": NEW}
    made = await client.post("/api/v1/users", json=new, headers=header)
    assert made.status_code == 201
    assert NEW not in made.text
    change = {"role": "verifier", "sites": None}
    changed = await client.put("/api/v1/users/carl", json=change, headers=header)
    assert (changed.json()["role"], changed.json()["sites"]) == ("verifier", None)
    listed = (await client.get("/api/v1/users", headers=header)).json()["users"]
    assert [row["name"] for row in listed] == ["admin", "carl", "viewer"]
    assert (await client.delete("/api/v1/users/carl", headers=header)).status_code == 204
    assert (await client.delete("/api/v1/users/carl", headers=header)).status_code == 404
    token = {"name": "x", "role": "viewer", "sites": [SITE], "days": 1}
    made = (await client.post("/api/v1/tokens", json=token, headers=header)).json()
    url = f"/api/v1/tokens/{made['token']['id']}"
    assert (await client.delete(url, headers=header)).status_code == 204
    events = (await client.get("/api/v1/events?limit=3", headers=header)).json()
    assert [row["code"] for row in events["events"]] == [
        "token_revoked",
        "token_added",
        "user_removed",
    ]
    assert events["events"][0]["who"].startswith("program-admin")
    following = f"/api/v1/events?limit=3&before={events['next_before']}"
    older = (await client.get(following, headers=header)).json()["events"]
    assert older[0]["id"] < events["events"][-1]["id"]


@pytest.mark.parametrize(
    "body",
    [
        {"name": "carl", "role": "viewer", "sites": [SITE], "password": ["canary-1"]},
        {"name": "carl", "role": "viewer", "sites": [SITE], "password": "canary-1", "x": 1},
        {"name": "carl", "role": "viewer", "sites": [SITE], "password": "canary-1"},
        ["canary-1"],
        "canary-1",
    ],
)
async def test_a_body_that_is_wrong_is_told_without_repeating_it(client, header, body):
    answer = await client.post("/api/v1/users", json=body, headers=header)
    assert answer.status_code == 422
    assert "canary" not in answer.text
    assert answer.json()["do"]


async def test_what_was_refused_of_agents_is_told_to_who_sees_their_site(state, tmp_path):
    folder = shutil.copytree(state.folder, tmp_path / "state")
    state = pages.State(folder, folder / "report")
    with SqliteStore(state.folder / FILE) as store:
        for agent, code in ((AGENT, "bad_signature"), ("stranger", "unknown_agent")):
            topic = f"joulemark/v1/up/{agent}/x/batch"
            store.quarantine(Quarantined(agent, topic, code, "why", b"payload", 1))
    registry = registered(devices=(METER,))
    with guarded.guarded(state, tmp_path / "access", registry=lambda: registry) as (let, app):
        async with browser_of(app) as client:
            for role, seen in ((Role.VERIFIER, [AGENT]), (Role.ADMIN, [AGENT, "stranger"])):
                asked = let.header(role)
                told = (await client.get("/api/v1/quarantine", headers=asked)).json()["refused"]
                assert sorted(row["agent"] for row in told) == sorted(seen)
                text = (await client.get("/refused", headers=asked)).text
                assert ("stranger" in text) == ("stranger" in seen)
                assert "bad_signature" in text
            foreign = {"Authorization": f"Bearer {let.foreign}"}
            assert (await client.get("/api/v1/quarantine", headers=foreign)).json() == {
                "refused": []
            }


@pytest.mark.parametrize("language", ["en", "ko"])
@pytest.mark.parametrize("path", ["/admin", "/admin/log", "/refused", "/account", "/login"])
async def test_every_page_speaks_one_language(client, path, language):
    if path != "/login":
        await log_in(client, "admin")
    text = (await client.get(path, headers={"Accept-Language": language})).text
    shown = re.sub(r"<[^>]*>", " ", text.replace("한국어", ""))
    assert bool(re.search("[가-힣]", shown)) == (language == "ko")
    ids = re.findall(r' id="([^"]*)"', text)
    assert len(ids) == len(set(ids)), "labels lead to one field each"
    labelled = set(re.findall(r'<label for="([^"]*)"', text))
    fields = re.findall(r"<(?:input|select)(?![^>]*hidden)(?![^>]*checkbox)[^>]*>", text)
    for field in fields:
        assert set(re.findall(r'\bid="([^"]*)"', field)) <= labelled, field
        assert " id=" in field
