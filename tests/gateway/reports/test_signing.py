"""Whom a report names as signers, and what its policy says beyond: limits and known heads."""

import json

import pytest
import yaml

from joulemark_agent.contract.batch import batch_bytes
from joulemark_agent.contract.canonical import canonical_bytes
from joulemark_agent.contract.errors import MeasureError
from joulemark_agent.contract.revocation import Revoked
from joulemark_agent.contract.signature import encode64, public_key
from joulemark_agent.contract.topics import batch_topic, origin
from joulemark_gateway.evidence.store import FILE, SqliteStore
from joulemark_gateway.ingest.intake import Intake, Witness
from joulemark_gateway.ingest.registered import Agent
from joulemark_gateway.registry import Withdrawn, enrolled, withdrawn
from joulemark_gateway.reports import publish
from joulemark_gateway.reports.project_file import gather, load_project
from joulemark_gateway.settings import load_collector
from joulemark_gateway.verify.policy import policy_of
from joulemark_gateway.verify.verdict import verify
from support.book import registry
from support.bundles import groups_of, policy_mapping
from support.evidence import (
    AGENT,
    BATCH_WALL_US,
    COUNTER,
    KEYS,
    METER,
    SEALED_US,
    SITE,
    WITNESS,
    seal,
    uncosigned,
)
from support.plant import plan_mapping, small
from support.present import present
from support.rotations import NEW, THIRD, rotated, signed_from

AT = 3
NAMES = {device: origin(SITE, device, 1) for device in (METER, COUNTER)}
TIME = "2026-11-22T12:00:00Z"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A project whose collector holds two trees in which the agent's key was changed."""
    folder = tmp_path_factory.mktemp("held")
    state = folder / "state"
    clock = {"now_us": SEALED_US}
    intake = Intake(
        lambda: SqliteStore(state / FILE),
        registry,
        Witness(WITNESS, KEYS.witness),
        lambda: clock["now_us"],
    )
    for device in NAMES:
        groups = rotated(groups_of(device), device, AT)
        for index, batch in enumerate(
            seal(small().site, device, groups, KEYS, signer=signed_from((AT, NEW)))
        ):
            clock["now_us"] = SEALED_US + index * BATCH_WALL_US + 1_000_000
            data = batch_bytes(uncosigned(batch))
            assert present(intake.take(batch_topic(AGENT, device), data)).has_grown
    intake.close()
    for name, key in (("witness.key", KEYS.witness), ("report.key", KEYS.reporter)):
        (state / name).touch(mode=0o600)
        (state / name).write_text(encode64(key) + "\n")
    trust = policy_mapping()
    collector = {"name": WITNESS, "state_dir": "state", "accept_simulated": True}
    collector |= {"agents": trust["agents"], "operators": trust["operators"]}
    (folder / "collector.yaml").write_text(yaml.safe_dump(collector))
    project = {**plan_mapping(), "collector": "collector.yaml"}
    (folder / "project.yaml").write_text(yaml.safe_dump(project))
    return folder


@pytest.fixture
def project(place):
    """The project, with nothing enrolled or revoked after the test."""
    yield load_project(place / "project.yaml")
    (place / "state" / "registry.json").unlink(missing_ok=True)


def test_every_key_that_the_agent_was_given_is_named(project):
    signing = project.signing()
    keys = [row["key"] for row in signing.trust["agents"]]
    assert set(keys) == {encode64(public_key(key)) for key in (KEYS.agent, NEW)}
    assert {row["agent"] for row in signing.trust["agents"]} == {AGENT}
    assert signing.beyond == {}


def test_who_was_enrolled_and_what_was_revoked_is_in_the_policy_but_not_of_other_sites(
    project, place
):
    state, listed = place / "state", load_collector(place / "collector.yaml").registry
    ours = Agent("edge-2", SITE, public_key(THIRD), frozenset({"furnace"}))
    theirs = Agent("edge-3", "pohang", public_key(KEYS.reporter), frozenset({"mill"}))
    for agent in (ours, theirs):
        enrolled(state, listed, agent, TIME)
    rows = [
        Withdrawn(Revoked(public_key(THIRD), origin(site, "furnace", 1), 7), "edge-2", TIME, "")
        for site in (SITE, "pohang")
    ]
    withdrawn(state, rows)
    signing = project.signing()
    assert {row["agent"] for row in signing.trust["agents"]} == {AGENT, "edge-2"}
    assert signing.beyond == {
        "revoked": [
            {"key": encode64(public_key(THIRD)), "origin": rows[0].revoked.origin, "size": 7}
        ]
    }


def test_a_trust_file_keeps_its_heads_for_the_policy_and_out_of_the_statement(place):
    heads = [{"origin": NAMES[METER], "size": 1, "root": "A" * 43 + "="}]
    (place / "trust.json").write_bytes(canonical_bytes({**policy_mapping(), "heads": heads}))
    wiring = {"evidence": f"state/{FILE}", "trust": "trust.json", "report_key": "state/report.key"}
    path = place / "other.yaml"
    path.write_text(yaml.safe_dump({**plan_mapping(), **wiring}))
    signing = load_project(path).signing()
    assert signing.trust == policy_mapping()
    assert signing.beyond == {"heads": heads}


def test_a_report_over_changed_keys_verifies_and_one_beyond_a_revocation_is_not_issued(
    project, place, monkeypatch
):
    monkeypatch.setattr(publish, "pdf", lambda *_: b"%PDF")
    material = gather(project)
    issued = publish.issued_of(material, TIME)
    files = publish.files_of(material, issued, project.signing())
    policy = json.loads(files[publish.POLICY])
    assert verify(files[publish.BUNDLE], policy_of(policy)).findings == ()
    assert "revoked" not in policy
    rows = [Revoked(public_key(NEW), name, 10**6) for name in NAMES.values()]
    withdrawn(place / "state", [Withdrawn(row, AGENT, TIME, "") for row in rows])
    files = publish.files_of(material, issued, project.signing())
    assert len(json.loads(files[publish.POLICY])["revoked"]) == 2
    early = Withdrawn(Revoked(public_key(NEW), NAMES[METER], 400), AGENT, TIME, "")
    withdrawn(place / "state", [early])
    with pytest.raises(MeasureError, match="revoked_key"):
        publish.files_of(material, issued, project.signing())
