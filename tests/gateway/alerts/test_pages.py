"""Alerts and fleet on pages and API: by role and site, in both languages, acknowledged once."""

import re
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_asyncio

from gateway.alerts.test_deliver import wanted
from joulemark_agent.contract.signature import public_key
from joulemark_gateway.access.roles import Role
from joulemark_gateway.alerts.rules import Condition
from joulemark_gateway.alerts.settings import FloodSettings, RuleSettings
from joulemark_gateway.alerts.store import Alerts, AlertStore
from joulemark_gateway.api.fleet import fleet
from joulemark_gateway.daily import Daily
from joulemark_gateway.ingest.live import AgentHealth, LiveBoard
from joulemark_gateway.ingest.registered import Agent, Registry
from joulemark_gateway.registry import LiveRegistry
from support import guarded, pages
from support.evidence import AGENT, KEYS, SITE
from support.guarded import OTHER, browser_of
from support.pages import HOSTILE

RULE = RuleSettings(rule="agent_silent", tell=("ops",))


def condition(site, subject):
    key = f"agent-silent/{site}/{subject}"
    return Condition(key, RULE.id, site, subject, "agent_silent", {"minutes": "10"})


@pytest.fixture(scope="module")
def state(tmp_path_factory):
    return pages.fill(tmp_path_factory.mktemp("told") / "state", days=3)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "alerts.sqlite"
    found = [condition(SITE, AGENT), condition(OTHER, "edge-9"), condition("", HOSTILE)]
    with AlertStore(path) as store:
        store.apply(RULE, found, 1_000_000)
    return path


@pytest_asyncio.fixture
async def let_and_client(state, tmp_path, path):
    settings = guarded.collector_of(state.folder)
    changes: dict[str, Any] = {"settings": settings, "alerts": Alerts(path)}
    changes["registry"] = LiveRegistry(settings.registry, state.folder)
    changes["live"] = board = LiveBoard()
    content = {
        "about": {"certificate_until_us": "1900000000000000", "clock_error_us": "1500",
                  "clock_sync": "ntp", "version": "0.1.0"},
        "agent": AGENT, "level": "nothing", "lines": {"stuck": []}, "site": SITE,
        "outbox": {"capacity_bytes": "1000", "unconfirmed": "2", "used_bytes": "10"},
        "t_utc_us": "1700000000000000", "troubles": [],
    }  # fmt: skip
    board._health[AGENT] = AgentHealth(AGENT, SITE, content, 1_700_000_000_000_000)
    with guarded.guarded(state, tmp_path / "access", **changes) as (let, guard):
        async with browser_of(guard) as client:
            yield let, client


async def test_each_sees_the_alerts_of_their_sites(let_and_client):
    let, client = let_and_client
    for role, subjects in ((Role.VIEWER, {AGENT}), (Role.ADMIN, {AGENT, "edge-9", HOSTILE})):
        found = (await client.get("/api/v1/alerts", headers=let.header(role))).json()["alerts"]
        assert {row["subject"] for row in found} == subjects
    for number, status in ((1, 200), (2, 404), (3, 404), (99, 404)):
        url = f"/api/v1/alerts/{number}"
        assert (await client.get(url, headers=let.header(Role.VIEWER))).status_code == status


async def test_an_operator_acknowledges_once_and_a_viewer_does_not(let_and_client):
    let, client = let_and_client
    url, sent = "/api/v1/alerts/1/acknowledge", {"note": "on my way"}
    assert (await client.post(url, json=sent, headers=let.header(Role.VIEWER))).status_code == 403
    first = await client.post(url, json=sent, headers=let.header(Role.OPERATOR))
    assert first.json()["state"] == "acknowledged"
    assert first.json()["log"][-1]["note"] == "on my way"
    again = await client.post(url, json=sent, headers=let.header(Role.OPERATOR))
    assert (again.status_code, again.json()["code"]) == (409, "not_open")
    foreign = "/api/v1/alerts/2/acknowledge"
    answer = await client.post(foreign, json=sent, headers=let.header(Role.OPERATOR))
    assert answer.status_code == 404


async def test_a_link_leads_through_log_in_and_works_once(let_and_client, path):
    let, client = let_and_client
    guarded.add_users(let.access, Role.OPERATOR)
    with AlertStore(path) as store:
        notice = store.due("ops", FloodSettings(), 1_000_000)
    assert notice is not None
    link = notice.body["link"]
    first = await client.get(f"/alerts/1?link={link}", headers={"accept": "text/html"})
    assert first.headers["location"].startswith("/login?next=")
    form = {"name": "operator", "password": guarded.PASSWORD, "next": f"/alerts/1?link={link}"}
    entered = await client.post("/login", data=form)
    assert entered.headers["location"] == f"/alerts/1?link={link}"
    page = (await client.get(entered.headers["location"])).text
    [csrf, *_] = re.findall(r'name="csrf" value="([^"]+)"', page)
    assert f'name="link" value="{link}"' in page
    sent = {"csrf": csrf, "link": link, "note": "looked"}
    done = await client.post("/alerts/1/acknowledge", data=sent)
    assert (done.status_code, done.headers["location"]) == (303, "/alerts/1")
    assert (await client.post("/alerts/1/acknowledge", data=sent)).status_code == 409


@pytest.mark.parametrize("language", ["en", "ko"])
@pytest.mark.parametrize("url", ["/alerts", "/alerts?state=all", "/alerts/3", "/fleet"])
async def test_the_pages_stand_in_both_languages_and_escape(let_and_client, url, language):
    let, client = let_and_client
    headers = {**let.header(Role.ADMIN), "accept-language": language, "accept": "text/html"}
    answer = await client.get(url, headers=headers)
    assert answer.status_code == 200
    assert "<script>alert" not in answer.text
    assert ("경보" in answer.text.replace("한국어", "")) == (language == "ko")


async def test_the_fleet_tells_version_clock_certificate_and_alerts(let_and_client):
    let, client = let_and_client
    found = (await client.get("/api/v1/fleet", headers=let.header(Role.VIEWER))).json()
    [row] = found["agents"]
    assert (row["agent"], row["version"], row["clock_sync"], row["alerts"]) == (
        AGENT, "0.1.0", "ntp", 1,
    )  # fmt: skip
    assert row["certificate_until_us"] == 1_900_000_000_000_000
    assert row["backlog_batches"] == 2
    foreign = {"Authorization": f"Bearer {let.foreign}"}
    assert (await client.get("/api/v1/fleet", headers=foreign)).json()["all"] == 0


def test_thousands_of_agents_are_sorted_filtered_and_paged(state):
    agents = {
        f"edge-{k}": Agent(
            f"edge-{k}", f"site-{k % 50}", public_key(KEYS.agent), frozenset({f"m-{k}"})
        )
        for k in range(100, 5100)
    }
    with state.sources(registry=lambda: Registry(agents, frozenset())) as sources:
        first = fleet(sources, sort="site", size=100)
        last = fleet(sources, sort="site", size=100, page=999)
        assert (first.all, first.pages, len(first.agents), last.page) == (5000, 50, 100, 50)
        assert first.agents[0].site == "site-0"
        assert last.agents[-1].site == "site-9"
        assert [row.agent for row in fleet(sources, search="m-4321").agents] == ["edge-4321"]
        assert fleet(sources, show="never").found == 5000
        assert fleet(sources, site="site-7", descending=True).agents[0].agent == "edge-957"


def test_a_look_raises_what_the_collector_knows(state, tmp_path):
    path, settings = tmp_path / "told.sqlite", guarded.collector_of(state.folder)
    rules = [
        {"rule": "agent_silent", "tell": ["ops"]},
        {"rule": "coverage", "tell": ["ops"], "limit": 1.0},
        {"rule": "figure", "tell": ["ops"], "sites": [SITE], "device": "main-meter",
         "point": "energy_wh", "limit": 1.0},
    ]  # fmt: skip
    told = wanted("https://hooks.example/", rules=rules)
    registry = LiveRegistry(settings.registry, state.folder)
    with state.sources(settings=settings, registry=registry) as sources:
        clock = SimpleNamespace(us=sources.now_us())
        later = replace(sources, now_us=lambda: clock.us)
        daily = Daily(later, told, path)
        daily.turn()
        clock.us += 3_600_000_000
        daily.turn()
    with AlertStore(path) as store:
        found = {alert.rule for alert in store.alerts(["raised"], 100)}
    assert found == {"agent-silent", "coverage", "figure"}
