"""Agents by HTTP: who applies is let in or not, whose keys are revoked is refused from then on."""

import re
import shutil

import pytest
import pytest_asyncio

from joulemark_agent.contract.enrolment import Application, parse_token, proof_message
from joulemark_agent.contract.signature import fingerprint, public_key, sign
from joulemark_agent.tls import new_key, signing_request
from joulemark_gateway.access import passwords
from joulemark_gateway.access.roles import Role
from joulemark_gateway.pki import enrolments
from joulemark_gateway.pki.authority import Role as Purpose
from joulemark_gateway.pki.settings import ca_folder, own_file
from joulemark_gateway.pki.site_ca import SiteCa
from joulemark_gateway.registry import LiveRegistry
from support import guarded, pages
from support.evidence import AGENT, FOREIGN, KEYS, SITE
from support.guarded import add_users, browser_of, collector_of, log_in
from support.identities import now

NEW, DEVICES = "edge-9", ("meter-9",)


@pytest.fixture(autouse=True)
def cheap(monkeypatch):
    monkeypatch.setattr(passwords, "_COST", 2**4)


@pytest.fixture
def collector(state, tmp_path):
    """A collector's state of its own, with an authority, and an admin."""
    folder = shutil.copytree(state.folder, tmp_path / "state")
    settings = collector_of(folder)
    registry = LiveRegistry(settings.registry, folder)
    own = pages.State(folder, folder / "report")
    with guarded.guarded(own, folder, registry=registry, settings=settings) as (let, app):
        add_users(let.access, Role.ADMIN)
        yield let, app, settings


@pytest_asyncio.fixture
async def client(collector):
    async with browser_of(collector[1]) as found:
        yield found


def authority(settings):
    ca = SiteCa.created(ca_folder(settings.state_dir), now())
    ca.equip(own_file(settings.state_dir), Purpose.COLLECTOR, now(), hosts=["localhost"])
    return ca


def apply(settings, text):
    """What an agent does that was given this token; the number of its application."""
    csr = signing_request(new_key(), NEW)
    proof = sign(FOREIGN.agent, proof_message(SITE, NEW, csr))
    key = public_key(FOREIGN.agent)
    sent = Application(SITE, NEW, DEVICES, key, csr, proof, parse_token(text).secret)
    with SiteCa(ca_folder(settings.state_dir)) as ca:
        return enrolments.apply(ca.records, sent, now())


async def invited(client, csrf):
    form = {"csrf": csrf, "agent": NEW, "site": SITE, "devices": "meter-9", "minutes": "5"}
    answer = await client.post("/admin/agents/invite", data=form)
    assert answer.status_code == 200
    [text] = re.findall(r'value="(joulemark1\.[0-9a-f.]+)"', answer.text)
    assert text not in (await client.get("/admin/agents")).text, "it is shown once"
    return text


async def test_an_agent_is_invited_applies_and_is_let_in_by_its_fingerprint(client, collector):
    let, _, settings = collector
    authority(settings).close()
    csrf = await log_in(client, "admin")
    number = apply(settings, await invited(client, csrf))
    text = (await client.get("/admin/agents")).text
    assert fingerprint(public_key(FOREIGN.agent)) in text, "what the person compares"
    registry = LiveRegistry(settings.registry, settings.state_dir)
    assert NEW not in registry().agents, "an application lets nobody in"
    answer = await client.post(f"/admin/agents/{number}/approve", data={"csrf": csrf})
    assert answer.status_code == 303
    assert registry().agents[NEW].key == public_key(FOREIGN.agent)
    told = (await client.get("/api/v1/enrolments", headers=let.header(Role.ADMIN))).json()
    assert [row["state"] for row in told["applying"]] == ["approved"]
    assert NEW in [row["name"] for row in told["certificates"]]
    codes = [row.code for row in let.access.events.listed(limit=2)]
    assert codes == ["agent_approved", "agent_invited"]
    again = await client.post(f"/admin/agents/{number}/approve", data={"csrf": csrf})
    assert again.status_code == 404


async def test_an_agent_that_is_refused_is_not_let_in(client, collector):
    settings = collector[2]
    authority(settings).close()
    csrf = await log_in(client, "admin")
    number = apply(settings, await invited(client, csrf))
    await client.post(f"/admin/agents/{number}/refuse", data={"csrf": csrf})
    assert NEW not in LiveRegistry(settings.registry, settings.state_dir)().agents
    assert "approve" not in (await client.get("/admin/agents")).text.partition("note-card")[2][:900]


async def test_what_was_done_is_told_also_where_the_broker_cannot_be(client, collector, tmp_path):
    """The agent is let in or out all the same, and the security log has to say who did it."""
    let, _, settings = collector
    authority(settings).close()
    csrf = await log_in(client, "admin")
    number = apply(settings, await invited(client, csrf))
    (tmp_path / "broker").write_text("a file where a folder should be")
    broker = settings.broker.model_copy(update={"config": tmp_path / "broker"})
    settings.__dict__["broker"] = broker
    answer = await client.post(f"/admin/agents/{number}/approve", data={"csrf": csrf})
    assert answer.status_code == 422
    form = {"csrf": csrf, "agent": NEW, "reason": "lost"}
    assert (await client.post("/admin/agents/revoke", data=form)).status_code == 422
    registry = LiveRegistry(settings.registry, settings.state_dir)()
    assert [row.key for row in registry.revoked] == [public_key(FOREIGN.agent)]
    codes = [row.code for row in let.access.events.listed(limit=2)]
    assert codes == ["agent_revoked", "agent_approved"]


async def test_without_an_authority_the_page_says_how_one_is_made(client, collector):
    csrf = await log_in(client, "admin")
    assert "joulemark collector ca init" in (await client.get("/admin/agents")).text
    form = {"csrf": csrf, "agent": NEW, "site": SITE, "devices": "meter-9", "minutes": "5"}
    answer = await client.post("/admin/agents/invite", data=form)
    assert answer.status_code == 409
    assert "ca init" in answer.text
    listed = await client.get("/api/v1/enrolments", headers=collector[0].header(Role.ADMIN))
    assert listed.json()["has_authority"] is False


async def test_an_agent_is_revoked_and_nothing_more_is_taken_from_it(client, collector):
    let, _, settings = collector
    csrf = await log_in(client, "admin")
    registry = LiveRegistry(settings.registry, settings.state_dir)
    assert not registry().revoked
    form = {"csrf": csrf, "agent": AGENT, "reason": "<b>stolen</b>"}
    answer = await client.post("/admin/agents/revoke", data=form)
    assert answer.headers["location"] == "/admin/agents#h-revoked"
    revoked = registry().revoked
    assert {row.key for row in revoked} == {public_key(KEYS.agent)}
    assert {row.origin.rsplit("/", 2)[1] for row in revoked} == set(guarded.DEVICES)
    text = (await client.get("/admin/agents")).text
    assert "&lt;b&gt;stolen&lt;/b&gt;" in text
    assert fingerprint(public_key(KEYS.agent)) in text
    told = await client.get("/api/v1/revocations", headers=let.header(Role.ADMIN))
    rows = told.json()["revoked"]
    assert {(row["agent"], row["reason"]) for row in rows} == {(AGENT, "<b>stolen</b>")}
    assert all(row["size"] > 0 for row in rows)
    [event] = [row for row in let.access.events.listed() if row.code == "agent_revoked"]
    assert (event.who, event.what) == ("admin", f"{AGENT}: <b>stolen</b>")


async def test_who_is_not_there_is_not_revoked(client, collector):
    admin = collector[0].header(Role.ADMIN)
    wanted = {"agent": "nobody", "reason": ""}
    answer = await client.post("/api/v1/revocations", json=wanted, headers=admin)
    assert (answer.status_code, answer.json()["code"]) == (404, "no_agent")


@pytest.mark.parametrize("role", [Role.VIEWER, Role.VERIFIER, Role.OPERATOR])
async def test_nobody_but_an_admin_revokes(client, collector, role):
    header, settings = collector[0].header(role), collector[2]
    wanted = {"agent": AGENT}
    answer = await client.post("/api/v1/revocations", json=wanted, headers=header)
    assert answer.status_code == 403
    assert not LiveRegistry(settings.registry, settings.state_dir)().revoked


async def test_pages_without_a_collector_say_so(state, tmp_path):
    with guarded.guarded(state, tmp_path) as (let, app):
        async with browser_of(app) as client:
            for path in ("/admin/agents", "/api/v1/enrolments", "/api/v1/revocations"):
                answer = await client.get(path, headers=let.header(Role.ADMIN))
                assert answer.status_code == 503
