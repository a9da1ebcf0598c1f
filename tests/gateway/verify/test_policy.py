"""A policy is strict: what it does not say, nobody is trusted for."""

import json

import pytest

from joulemark_agent.contract.canonical import canonical_bytes
from joulemark_agent.contract.errors import ConfigError
from joulemark_gateway.verify.policy import parse_policy
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


def test_one_witness_does_not_count_twice():
    twice = [{"name": "a", "key": OTHER}, {"name": "b", "key": OTHER}]
    assert "share a key" in refused({**policy_mapping(), "witnesses": twice, "quorum": 2})


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
