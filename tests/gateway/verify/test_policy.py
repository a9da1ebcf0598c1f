"""A policy is strict: what it does not say, nobody is trusted for."""

import json

import pytest

from joulemark_agent.contract.canonical import canonical_bytes
from joulemark_agent.contract.errors import ConfigError
from joulemark_agent.contract.signature import encode64
from joulemark_gateway.verify.policy import parse_policy
from support.authority import root_der
from support.bundles import policy, policy_mapping

OTHER = "A" * 43 + "="


def refused(mapping):
    with pytest.raises(ConfigError) as caught:
        parse_policy(mapping if isinstance(mapping, bytes) else json.dumps(mapping).encode())
    assert caught.value.code == "bad_policy"
    return caught.value.what


def test_canonical_and_plain_json_give_the_same_policy():
    mapping = policy_mapping()
    assert parse_policy(canonical_bytes(mapping)) == policy()
    assert parse_policy(json.dumps(mapping, indent=4).encode()) == policy()


@pytest.mark.parametrize("field", ["v", "agents", "operators", "witnesses", "quorum", "reporters"])
def test_every_field_is_required(field):
    mapping = policy_mapping()
    del mapping[field]
    assert field in refused(mapping)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("v", 2),
        ("v", True),
        ("agents", []),
        ("operators", []),
        ("operators", ["no key"]),
        ("operators", ["QUJD"]),
        ("operators", [OTHER.rstrip("=")]),
        ("reporters", []),
        ("witnesses", []),
        ("witnesses", [{"name": "with space", "key": OTHER}]),
        ("quorum", 0),
        ("quorum", 2),
        ("quorum", "1"),
        ("quorum", 1.0),
        ("algorithms", ["ed25519"]),
    ],
)
def test_another_value_is_refused_and_named(field, value):
    assert field in refused({**policy_mapping(), field: value})


@pytest.mark.parametrize("field", ["", "log_"])
def test_one_witness_does_not_count_twice(field):
    twice = {f"{field}witnesses": [{"name": name, "key": OTHER} for name in "ab"]}
    assert "share a key" in refused({**policy_mapping(), **twice, f"{field}quorum": 2})


@pytest.mark.parametrize("role", ["operators", "reporters", "witnesses", "log_witnesses"])
def test_a_key_that_is_revoked_and_trusted_as_no_agent_s_is_a_contradiction(role):
    """Only heads have a size up to which a key is trusted: elsewhere the row would do nothing."""
    row = {"key": OTHER, "origin": "joulemark/gwangyang/main-meter/1", "size": 1}
    trusted = {"name": "a", "key": OTHER} if "witnesses" in role else OTHER
    mapping = {**policy_mapping(), "revoked": [row]}
    parse_policy(json.dumps(mapping).encode())
    said = refused({**mapping, role: [*mapping.get(role, []), trusted]})
    assert "revoked" in said
    assert "take it out" in said


def test_an_authority_has_one_row():
    """Of two the last would count, and nobody would be told."""
    row = {"name": "tsa", "certificates": [encode64(root_der("stamping root"))]}
    assert "stands twice" in refused({**policy_mapping(), "authorities": [row, row]})


def test_bytes_that_are_no_json_object_are_refused():
    text = json.dumps(policy_mapping())
    assert "twice" in refused((text[:-1] + ',"v":1}').encode())
    assert "not JSON" in refused(b"\xff")
    assert "not JSON" in refused(b"[" * 100_000)
    refused(b"[]")
    refused(b" " * (1024 * 1024 + 1))


def test_an_agent_may_speak_for_its_devices_of_its_site_with_its_key_only():
    agent = policy_mapping()["agents"][0]
    asked = {"agent": "edge-1", "site": "gwangyang", "device": "main-meter", "key": agent["key"]}
    assert policy().allows(**asked)
    for name, other in (("agent", "edge-2"), ("site", "pohang"), ("device", "x"), ("key", OTHER)):
        assert not policy().allows(**{**asked, name: other})


def test_every_key_is_listed_with_its_role_and_fingerprint():
    roles = [role for role, _ in policy().fingerprints()]
    assert roles == ["agent edge-1", "operator", "witness joulemark/collector", "reporter"]
    assert all(len(fingerprint) == 39 for _, fingerprint in policy().fingerprints())
