"""/metrics: read by Prometheus' own parser, with the ledger's numbers; health; for whom."""

import re
from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from joulemark_agent.contract.errors import StoreError
from joulemark_gateway.access.roles import MACHINE, Role, Who
from joulemark_gateway.api import metrics
from joulemark_gateway.api.exposition import Family, text_of
from joulemark_gateway.api.sources import OpenSeries
from joulemark_gateway.evidence.base import Quarantined
from joulemark_gateway.evidence.ledger import SqliteLedger
from joulemark_gateway.evidence.store import FILE, SqliteStore
from joulemark_gateway.ingest.live import AgentHealth
from joulemark_gateway.ingest.registered import Agent, Registry
from joulemark_gateway.ingest.tally import Tally
from support import guarded, pages
from support.book import NOW_US
from support.evidence import AGENT, SITE
from support.guarded import OTHER, browser_of

HEALTH = {
    "t_utc_us": str(NOW_US - 2_500_000),
    "outbox": {"used_bytes": "10", "capacity_bytes": "100", "unconfirmed": "7"},
    "lines": {"stuck": ["meters"]},
    "troubles": [],
}
HOSTILE = 'a"b\\c\nd{}'


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A state of its own, of which two messages were refused."""
    made = pages.fill(tmp_path_factory.mktemp("metrics") / "state", days=3)
    with SqliteStore(made.folder / FILE) as store:
        for agent in (AGENT, AGENT, "edge-far", ""):
            store.quarantine(Quarantined(agent, "t", "bad_signature", "w", b"x", NOW_US))
    return made


def registry(count=0):
    agents = {AGENT: Agent(AGENT, SITE, bytes(32), frozenset())}
    agents["edge-far"] = Agent("edge-far", OTHER, bytes(32), frozenset())
    agents |= {f"e{k}": Agent(f"e{k}", SITE, bytes(32), frozenset()) for k in range(count)}
    return lambda: Registry(agents, frozenset())


@pytest.fixture
def sources(filled):
    with filled.sources(registry=registry(), now_us=lambda: NOW_US) as found:
        yield found


def told(sources):
    """Every number, by name and labels, as Prometheus reads them."""
    text = text_of(metrics.families(sources))
    families = list(text_string_to_metric_families(text))
    assert len({family.name for family in families}) == len(families)
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def test_the_numbers_are_those_of_the_ledger(sources, filled):
    found = told(sources)
    with SqliteStore(filled.folder / FILE, create=False) as store:
        leaves = sum(head.size for head in store.heads())
    assert found["joulemark_evidence_leaves_total", (("site", SITE),)] == leaves
    assert found["joulemark_evidence_trees", ()] == 3
    assert found["joulemark_evidence_accepted_timestamp_seconds", ()] == NOW_US / 1e6
    assert found["joulemark_series_behind_leaves", ()] == 0
    refused = (("code", "bad_signature"),)
    assert found["joulemark_quarantine_messages_total", refused] == 4
    size = (filled.folder / FILE).stat().st_size
    assert found["joulemark_file_bytes", (("file", "evidence"),)] == size
    assert found["process_resident_memory_bytes", ()] > 1e6


def test_what_an_agent_said_of_itself_is_told(sources):
    sources.live._health[AGENT] = AgentHealth(AGENT, SITE, HEALTH, NOW_US)
    found = told(sources)
    mine = (("agent", AGENT), ("site", SITE))
    assert found["joulemark_agent_unconfirmed_batches", mine] == 7
    assert found["joulemark_agent_clock_ahead_seconds", mine] == -2.5
    assert found["joulemark_agent_lines_stuck", mine] == 1
    assert found["joulemark_agent_seen_timestamp_seconds", mine] == NOW_US / 1e6
    assert found["joulemark_agents", ()] == 2
    assert found["joulemark_agents_late", ()] == 1, "edge-far was never heard of"


def test_messages_are_counted_by_what_became_of_them(sources):
    tally = Tally()
    tally.took(b"12345")
    tally.count("accepted")
    tally.count("refused", "bad_signature")
    found = told(replace(sources, tally=tally))
    assert found["joulemark_ingest_messages_total", (("outcome", "accepted"),)] == 1
    assert found["joulemark_ingest_messages_total", (("outcome", "repeated"),)] == 0
    assert found["joulemark_ingest_refused_total", (("code", "bad_signature"),)] == 1
    assert found["joulemark_ingest_received_bytes_total", ()] == 5


def test_the_names_are_as_prometheus_has_them(sources):
    sources.live._health[AGENT] = AgentHealth(AGENT, SITE, HEALTH, NOW_US)
    for family in metrics.families(sources):
        assert re.fullmatch(r"(joulemark|process)_[a-z0-9_]+[a-z]", family.name)
        assert (family.kind == "counter") == family.name.endswith("_total"), family.name
        assert not re.search(r"_(ms|us|mb|kb|minutes|hours)(_|$)", family.name)
        assert family.told
        for labels, _ in family.samples:
            assert set(labels) <= {
                "version", "site", "agent", "code", "outcome", "file", "witness", "authority"
            }  # fmt: skip


def test_however_many_agents_there_are_the_list_is_bounded(sources, monkeypatch):
    monkeypatch.setattr(metrics, "MOST_LISTED", 50)
    few = len(told(replace(sources, registry=registry(60))))
    many = told(replace(sources, registry=registry(5_000)))
    assert len(many) == few
    assert many["joulemark_agents", ()] == 5_002
    assert many["joulemark_agents_not_listed", ()] == 4_952


def test_of_other_sites_and_of_the_machine_nothing_is_told(sources):
    mine = told(sources.seen_by(Who("bo", Role.VERIFIER, frozenset({OTHER}), "program")))
    assert SITE not in repr(mine)
    assert mine["joulemark_quarantine_messages_total", (("code", "bad_signature"),)] == 1
    assert not [
        name
        for name, _ in mine
        if name.startswith(("process_", "joulemark_file", "joulemark_ingest"))
    ]
    all_of_it = told(sources.seen_by(MACHINE))
    assert SITE in repr(all_of_it)


def test_what_cannot_be_read_is_told_and_the_rest_as_well(sources):
    found = told(replace(sources, series=OpenSeries()))
    assert found["joulemark_series_up", ()] == 0
    assert found["joulemark_evidence_up", ()] == 1
    found = told(replace(sources, evidence=SqliteLedger(sources.state_dir / "none")))
    assert found["joulemark_evidence_up", ()] == 0
    assert found["joulemark_series_up", ()] == 1


def test_a_label_with_any_characters_is_read_as_it_is():
    family = Family("joulemark_x", "gauge", f"told {HOSTILE}")
    family.add(1.5, code=HOSTILE)
    [read] = text_string_to_metric_families(text_of([family]))
    assert read.samples[0].labels == {"code": HOSTILE}


async def test_only_a_token_for_it_reads_it(filled, tmp_path):
    with guarded.guarded(filled, tmp_path) as (let, app):
        _, text = let.access.tokens.add(
            "prometheus", Role.VERIFIER, None, 0, 4 * 10**15, scopes=["metrics:read"]
        )
        async with browser_of(app) as client:
            for role, status in ((None, 401), (Role.VIEWER, 403), (Role.VERIFIER, 200)):
                answer = await client.get("/metrics", headers=let.header(role))
                assert answer.status_code == status
                is_problem = answer.headers["content-type"] == "application/problem+json"
                assert is_problem == (status != 200)
            header = {"Authorization": f"Bearer {text}"}
            answer = await client.get("/metrics", headers=header)
            assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
            assert list(text_string_to_metric_families(answer.text))
            for path in ("/api/v1/sites", "/api/v1/projects", "/", "/api/v1/quarantine"):
                assert (await client.get(path, headers=header)).status_code == 403


async def test_alive_says_nothing_and_ready_says_why_to_who_may_know(filled, tmp_path):
    with guarded.guarded(filled, tmp_path, series=OpenSeries()) as (let, app):
        async with browser_of(app) as client:
            alive = await client.get("/health/live")
            assert (alive.status_code, alive.json()) == (200, {"status": "ok"})
            for role in (None, Role.VIEWER, Role.VERIFIER):  # the verifier is of one site
                answer = await client.get("/health/ready", headers=let.header(role))
                assert answer.status_code == 503
                assert answer.json() == {"status": "degraded", "causes": None}
            for limit, is_told in (("reports:read", False), ("metrics:read", True)):
                made = let.access.tokens.add(
                    limit[:7], Role.VERIFIER, None, 0, 4 * 10**15, scopes=[limit]
                )
                header = {"Authorization": f"Bearer {made[1]}"}
                answer = await client.get("/health/ready", headers=header)
                assert (answer.json()["causes"] is not None) == is_told
            answer = await client.get("/health/ready", headers=let.header(Role.ADMIN))
            [cause] = answer.json()["causes"]
            assert (cause["part"], cause["code"]) == ("series", "series_closed")
            assert cause["do"]
    with guarded.guarded(filled, tmp_path / "ready") as (_, app):
        async with browser_of(app) as client:
            answer = await client.get("/health/ready")
            assert (answer.status_code, answer.json()["status"]) == (200, "ok")


def test_a_ledger_that_fails_while_it_is_read_is_not_an_error_of_the_scrape(sources, monkeypatch):
    def failing(_):
        raise StoreError("The disk says no.", "Look at it.", code="store")

    monkeypatch.setattr(SqliteStore, "heads", failing)
    assert told(sources)["joulemark_evidence_up", ()] == 0
