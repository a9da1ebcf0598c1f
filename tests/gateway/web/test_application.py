"""What every answer carries, and who is answered at all."""

import json

import pytest

from joulemark_gateway.access.settings import PagesSettings, PagesTls
from joulemark_gateway.web.guard import HEADERS, is_own_name
from support.pages import PLACE, WITHOUT_LOGIN

PATHS = [
    "/", "/sites/gwangyang", PLACE, "/projects", "/projects/pump-house", "/health", "/nothing",
    "/api/v1/sites", "/api/v1/nothing", "/static/style.css", "/openapi.json",
    f"{PLACE}/records?from=x", "/sites/gwangyang/energy", "/sites/gwangyang/quality",
    f"{PLACE}/records/120", f"{PLACE}/records/120/leaf", f"{PLACE}/records/120/checkpoint",
]  # fmt: skip

SHOWN = [
    "/", PLACE, "/projects/pump-house", "/sites/gwangyang/energy", "/sites/gwangyang/quality",
    f"{PLACE}/records/120", "/projects/pump-house/records",
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
async def test_every_answer_lets_nothing_run_or_load_from_outside(client, path):
    answer = await client.get(path)
    assert answer.status_code in {200, 404, 422}
    for name, value in HEADERS.items():
        if name != "cache-control":
            assert answer.headers[name] == value
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy


@pytest.mark.parametrize("path", SHOWN)
async def test_a_page_holds_no_inline_script_or_style_and_names_no_other_host(client, path):
    text = (await client.get(path)).text
    assert " style=" not in text
    assert "<style" not in text
    assert text.count("<script") == 1, "the one that is served as a file"
    assert " on" not in "".join(part.split(">")[0] for part in text.split("<a ")[1:])
    for attribute in ('href="', 'src="', 'action="'):
        for part in text.split(attribute)[1:]:
            assert not part.startswith(("http", "//", "javascript")), part[:60]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "TRACE", "BREW"])
async def test_another_method_is_told_which_there_are(client, method):
    answer = await client.request(method, "/api/v1/sites")
    assert answer.status_code == 405
    assert answer.json()["code"] == "bad_method"
    assert answer.headers["allow"] == "GET, HEAD, OPTIONS"


async def test_options_tells_the_methods_and_opens_nothing_to_other_origins(client):
    answer = await client.options("/api/v1/users", headers={"Origin": "https://evil.example"})
    assert (answer.status_code, answer.headers["allow"]) == (204, "GET, HEAD, OPTIONS, POST")
    assert not [name for name in answer.headers if name.startswith("access-control")]
    assert (await client.options("/nothing")).status_code == 404


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil.example", "[::1].evil.example", "192.0.2.1:8080", ""],
)
async def test_a_name_that_somebody_pointed_here_is_not_answered(client, host):
    answer = await client.get("/api/v1/sites", headers={"Host": host})
    assert answer.status_code == 421
    assert "gwangyang" not in answer.text


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:1", "localhost:8080", "[::1]:8080"])
def test_its_own_names_are_known(host):
    assert is_own_name(host, WITHOUT_LOGIN)


@pytest.mark.parametrize(
    ("host", "is_own"),
    [
        ("192.0.2.10:8443", True),
        ("Collector.Plant.Example:8443", True),
        ("localhost", False),
        ("evil.example", False),
        ("collector.plant.example.evil.example", False),
    ],
)
def test_seen_by_others_it_goes_by_its_address_and_the_names_it_was_given(host, is_own):
    files = PagesTls(certificate="c.pem", key="k.pem")
    wanted = PagesSettings(host="192.0.2.10", tls=files, names=("collector.plant.example",))
    assert is_own_name(host, wanted) == is_own


@pytest.mark.parametrize("path", ["/", "/static/style.css", "/api/v1/sites", "/nothing"])
async def test_head_says_what_get_says_without_its_body(client, path):
    asked, told = await client.head(path), await client.get(path)
    assert asked.status_code == told.status_code
    assert asked.headers.keys() == told.headers.keys()
    differ = {name for name in asked.headers if asked.headers[name] != told.headers[name]}
    assert differ <= {"ratelimit"}, "how many questions are left is of its instant"
    assert asked.content == b""
    assert told.content


async def test_an_error_of_ours_is_told_without_its_inside(client, monkeypatch):
    def broken(*_):
        raise RuntimeError("canary-7")

    monkeypatch.setattr("joulemark_gateway.api.answers.sites", broken)
    for path in ("/", "/api/v1/sites"):
        answer = await client.get(path)
        assert answer.status_code == 500
        assert "canary" not in answer.text
        assert answer.headers["content-security-policy"] == HEADERS["content-security-policy"]


async def test_problems_say_what_was_received_and_what_to_do(client):
    answer = await client.get(f"/api/v1{PLACE}/samples?point=power_w&limit=99999999")
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert "99999999" in problem["detail"]
    assert "limit" in problem["detail"]
    assert problem["do"]
    assert problem["status"] == 422


async def test_documentation_is_the_openapi_file_alone(client):
    assert (await client.get("/docs")).status_code == 404
    assert (await client.get("/redoc")).status_code == 404
    described = (await client.get("/openapi.json")).json()
    assert "/api/v1/sites/{site}/devices/{device}/proof" in described["paths"]
    assert "http" not in json.dumps(described.get("servers", []))
