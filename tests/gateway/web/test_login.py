"""Log-in as a browser does it: the cookie, the way back, foreign pages, and the way out."""

import re

import pytest
import pytest_asyncio

from joulemark_agent.contract.errors import StoreError
from joulemark_gateway.access import gate, passwords
from joulemark_gateway.access.gate import open_access
from joulemark_gateway.access.roles import Role
from joulemark_gateway.access.settings import PagesSettings, PagesTls
from joulemark_gateway.web.account import own_path
from joulemark_gateway.web.application import application
from support import guarded
from support.evidence import SITE
from support.guarded import PASSWORD, add_users, browser_of, log_in
from support.pages import FREE, PLACE

CREDENTIALS = {"name": "viewer", "password": PASSWORD}


@pytest.fixture(autouse=True)
def cheap(monkeypatch):
    monkeypatch.setattr(passwords, "_COST", 2**4)


@pytest.fixture(scope="module")
def once(state, tmp_path_factory):
    with guarded.guarded(state, tmp_path_factory.mktemp("access")) as found:
        yield found


@pytest.fixture
def let_and_app(once):
    """The same application, its users as they were, nobody's wrong tries remembered."""
    let, app = once
    access = let.access
    access._of_name._tries.clear()
    access._of_address._tries.clear()
    access._database.rows("DELETE FROM user")
    add_users(access, Role.VIEWER, Role.ADMIN)
    return let, app


@pytest_asyncio.fixture
async def client(let_and_app):
    async with browser_of(let_and_app[1]) as found:
        yield found


async def test_who_is_not_logged_in_sees_the_log_in_and_nothing_else(client):
    for path in ("/", f"/sites/{SITE}", f"{PLACE}?from=2018-01-01", "/admin", "/refused"):
        answer = await client.get(path)
        assert answer.status_code == 303
        page = await client.get(answer.headers["location"])
        assert page.status_code == 200
        assert 'name="password"' in page.text
        told = re.sub(r'(href|value)="[^"]*"', "", page.text.partition("<body>")[2])
        for given_away in (SITE, "joulemark/collector", "0.1.0", "viewer", "openapi"):
            assert given_away not in told


async def test_after_log_in_one_stands_where_one_wanted_to_go(client):
    answer = await client.get(f"{PLACE}?from=2018-01-01&to=2018-01-02")
    page = await client.get(answer.headers["location"])
    hidden = re.search(r'name="next" value="([^"]*)"', page.text)
    assert hidden is not None
    where = hidden[1].replace("&amp;", "&")
    answer = await client.post("/login", data={**CREDENTIALS, "next": where})
    assert answer.headers["location"] == f"{PLACE}?from=2018-01-01&to=2018-01-02"
    shown = await client.get(answer.headers["location"])
    assert shown.status_code == 200
    assert ">viewer</a>" in shown.text


@pytest.mark.parametrize(
    "where",
    [
        "//evil.example", "https://evil.example", "/\\evil.example", "/\t/evil.example", "\n//evil",
        "javascript:alert(1)", "evil", "", "/a b", "/" + "a" * 3000, "///evil.example",
    ],
)  # fmt: skip
async def test_the_way_back_never_leads_elsewhere(client, where):
    assert own_path(where) == "/"
    answer = await client.post("/login", data={**CREDENTIALS, "next": where})
    assert answer.headers["location"] == "/"


async def test_the_cookie_is_for_this_server_and_no_script(client):
    answer = await client.post("/login", data=CREDENTIALS)
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("joulemark-session=")
    for part in ("HttpOnly", "SameSite=strict", "Path=/"):
        assert part in cookie
    for part in ("Domain", "Max-Age", "expires", "Secure"):
        assert part not in cookie


async def test_under_tls_it_is_for_tls_alone(state, tmp_path):
    wanted = PagesSettings(tls=PagesTls(certificate="c", key="k"), limits=FREE)
    with state.sources() as sources, open_access(tmp_path, wanted) as access:
        add_users(access, Role.VIEWER)
        app = application(sources, access)
        async with browser_of(app, base="https://127.0.0.1:8443") as client:
            answer = await client.post("/login", data=CREDENTIALS)
            cookie = answer.headers["set-cookie"]
            assert cookie.startswith("__Host-joulemark-session=")
            assert "; Secure" in cookie
            assert "max-age" in answer.headers["strict-transport-security"]
            assert (await client.get("/")).status_code == 200


@pytest.mark.parametrize("other", ['theme={"dark": 1}; ', 'a="b; ', "[x]=1; ", "=; ;; "])
async def test_cookies_of_others_on_this_host_do_not_hide_the_session(client, other):
    await log_in(client, "viewer")
    kept = client.cookies["joulemark-session"]
    client.cookies.clear()
    both = {"Cookie": f"{other}joulemark-session={kept}"}
    assert (await client.get("/account", headers=both)).status_code == 200


async def test_a_wrong_name_and_a_wrong_password_are_answered_alike(client):
    told = []
    for name in ("viewer", "nobody", "<script>"):
        answer = await client.post("/login", data={"name": name, "password": "wrong, wrong, wrong"})
        assert answer.status_code == 401
        assert "set-cookie" not in answer.headers
        told.append(answer.text)
    assert told[0] == told[1] == told[2]
    assert 'role="alert"' in told[0]


async def test_nobody_is_let_in_whose_log_in_cannot_be_told_to_the_security_log(
    client, let_and_app, monkeypatch
):
    def full(*_, **__):
        raise StoreError("The disk is full.", "Free space.", code="disk_full")

    access = let_and_app[0].access
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(access.events, "add", full)
        answer = await client.post("/login", data=CREDENTIALS)
        assert answer.status_code == 503
        assert "set-cookie" not in answer.headers
        assert (await client.get("/account")).status_code == 303
    assert access._database.rows("SELECT * FROM session") == []
    assert (await client.post("/login", data=CREDENTIALS)).status_code == 303


async def test_after_some_wrong_ones_the_page_says_when_to_try_again(client):
    for _ in range(5):
        await client.post("/login", data={"name": "viewer", "password": "wrong, wrong, wrong"})
    answer = await client.post("/login", data=CREDENTIALS)
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) >= 1
    assert "Try again in 1 s" in answer.text


CHANGES = [
    ("/logout", {}),
    ("/account/password", {"password": PASSWORD, "new": "another long one, please"}),
    ("/admin/users", {"name": "eve", "role": "admin", "password": "evil plan, well made"}),
    ("/admin/tokens", {"name": "eve", "role": "admin", "days": "9"}),
    ("/admin/users/viewer/remove", {}),
]


FOREIGN_PAGES = [
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1:9999"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
]


@pytest.mark.parametrize(
    ("path", "fields", "headers"),
    [(path, fields, {}) for path, fields in CHANGES]
    + [(*CHANGES[2], headers) for headers in FOREIGN_PAGES],
)
async def test_a_foreign_page_changes_nothing(client, let_and_app, path, fields, headers):
    """Without the session's mark; and with it, where the browser says whose page it was."""
    csrf = await log_in(client, "admin")
    before = [user.name for user in let_and_app[0].access.users.listed()]
    fields = {**fields, "csrf": csrf} if headers else {**fields, "csrf": "x" * 43}
    answer = await client.post(path, data=fields, headers=headers)
    assert answer.status_code == 403
    assert "foreign_page" in answer.text
    assert [user.name for user in let_and_app[0].access.users.listed()] == before
    assert (await client.get("/account")).status_code == 200, "still logged in"


async def test_the_control_ones_own_page_changes_it(client, let_and_app):
    csrf = await log_in(client, "admin")
    own = {"Origin": "http://127.0.0.1:8080", "Sec-Fetch-Site": "same-origin"}
    fields = {**CHANGES[2][1], "csrf": csrf}
    assert (await client.post("/admin/users", data=fields, headers=own)).status_code == 303
    assert "eve" in [user.name for user in let_and_app[0].access.users.listed()]


async def test_a_foreign_page_cannot_log_anybody_in(client):
    foreign = {"Origin": "https://evil.example"}
    assert (await client.post("/login", data=CREDENTIALS, headers=foreign)).status_code == 403


async def test_the_api_takes_the_session_for_changes_only_with_its_mark(client, let_and_app):
    csrf = await log_in(client, "admin")
    new = {"name": "eve", "role": "viewer", "sites": [SITE], "days": 9}
    assert (await client.get("/api/v1/users")).status_code == 200
    assert (await client.post("/api/v1/tokens", json=new)).status_code == 403
    marked = await client.post("/api/v1/tokens", json=new, headers={"X-CSRF-Token": csrf})
    assert marked.status_code == 201
    assert let_and_app[0].access.tokens.find(marked.json()["text"], 10) is not None


async def test_the_mark_of_one_session_is_none_of_another(let_and_app):
    async with browser_of(let_and_app[1]) as one, browser_of(let_and_app[1]) as other:
        csrf = await log_in(one, "admin")
        await log_in(other, "admin")
        assert (await other.post("/logout", data={"csrf": csrf})).status_code == 403


async def test_log_out_ends_the_session_at_the_server(client):
    csrf = await log_in(client, "viewer")
    kept = client.cookies["joulemark-session"]
    answer = await client.post("/logout", data={"csrf": csrf})
    assert answer.headers["location"] == "/login"
    assert "joulemark-session" not in client.cookies
    client.cookies.set("joulemark-session", kept, domain="127.0.0.1")
    assert (await client.get("/account")).status_code == 303, "a copy of the cookie opens nothing"


async def test_a_new_log_in_has_a_new_cookie(client):
    await log_in(client, "viewer")
    first = client.cookies["joulemark-session"]
    client.cookies.clear()
    client.cookies.set("joulemark-session", "A" * 43, domain="127.0.0.1")
    await client.post("/login", data=CREDENTIALS)
    values = [cookie.value for cookie in client.cookies.jar if "session" in cookie.name]
    assert "A" * 43 not in values or len(values) == 2
    assert first not in values


async def test_ones_own_password_is_changed_by_who_knows_the_present_one(client, let_and_app):
    csrf = await log_in(client, "viewer")
    kept = client.cookies["joulemark-session"]
    new = "another long one, please"
    wrong = {"csrf": csrf, "password": "wrong, wrong, wrong", "new": new}
    assert (await client.post("/account/password", data=wrong)).status_code == 403
    weak = {"csrf": csrf, "password": PASSWORD, "new": "short"}
    answer = await client.post("/account/password", data=weak)
    assert answer.status_code == 422
    assert "12 to 256" in answer.text
    right = {"csrf": csrf, "password": PASSWORD, "new": new}
    answer = await client.post("/account/password", data=right)
    assert answer.status_code == 303
    assert (await client.get("/account?changed=1")).status_code == 200
    assert client.cookies["joulemark-session"] != kept
    user = let_and_app[0].access.users.find("viewer")
    assert passwords.matches(new, user.password)
    assert (user.role, user.sites) == (Role.VIEWER, frozenset({SITE}))


async def test_a_page_that_refreshes_itself_keeps_no_session_alive(let_and_app, monkeypatch):
    let, app = let_and_app
    now_us = [let.access.now_us()]
    monkeypatch.setattr(let.access, "now_us", lambda: now_us[0])
    minute_us = gate._MINUTE_US
    async with browser_of(app) as client:
        await log_in(client, "viewer")
        for _ in range(7):
            now_us[0] += 9 * minute_us
            answer = await client.get("/", headers={"Sec-Fetch-Dest": "empty"})
        assert answer.status_code == 303
        await log_in(client, "viewer")
        for _ in range(7):
            now_us[0] += 9 * minute_us
            answer = await client.get("/", headers={"Sec-Fetch-Dest": "document"})
        assert answer.status_code == 200


async def test_only_a_form_is_a_form(client):
    answer = await client.post("/login", json=CREDENTIALS)
    assert answer.status_code == 415
    bad = {"Content-Type": "application/x-www-form-urlencoded"}
    many = "&".join(f"a{k}=1" for k in range(60))
    assert (await client.post("/login", content=many, headers=bad)).status_code == 422
    assert (await client.post("/login", content=b"\xff\xfe", headers=bad)).status_code == 422


async def test_without_log_in_the_page_leads_on_and_the_foot_says_so(state, tmp_path):
    wanted = PagesSettings(login=False, limits=FREE)
    with state.sources() as sources, open_access(tmp_path, wanted) as access:
        async with browser_of(application(sources, access)) as client:
            assert (await client.get("/login")).headers["location"] == "/"
            text = (await client.get("/")).text
            assert "Without log-in: shown on this machine only" in text
            assert "/logout" not in text
            refused = await client.get("/admin")
            assert refused.status_code == 403
            assert "login: false" in refused.text


async def test_a_refusal_speaks_the_language_of_the_page(client):
    await log_in(client, "viewer")
    english = (await client.get("/admin?lang=en")).text
    korean = (await client.get("/admin?lang=ko")).text
    assert "takes the role &#39;admin&#39;" in english
    assert "&#39;admin&#39; 역할이 필요합니다" in korean
    assert "Ask an admin" not in korean
