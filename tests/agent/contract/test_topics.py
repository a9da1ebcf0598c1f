"""Topics and ids: only what we mean can stand in one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulemark_agent.contract import topics
from joulemark_agent.contract.errors import ConfigError, EvidenceError

ids = st.from_regex(r"\A[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?\Z")


@given(ids, ids)
def test_a_topic_comes_back_as_its_parts(agent, device):
    for make, kind, way in (
        (topics.batch_topic, "batch", "up"),
        (topics.sparse_topic, "sparse", "up"),
        (topics.raw_topic, "raw", "up"),
        (topics.request_topic, "request", "down"),
        (topics.receipt_topic, "receipt", "down"),
        (topics.refusal_topic, "refusal", "down"),
    ):
        assert topics.parse_topic(make(agent, device)) == (way, agent, device, kind)


@given(ids, ids, st.integers(1, 999_999_999))
def test_an_origin_comes_back_as_its_parts(site, device, epoch):
    assert topics.parse_origin(topics.origin(site, device, epoch)) == (site, device, epoch)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A",
        "a_b",
        "a/b",
        "+",
        "#",
        "$sys",
        "a\x00",
        "-a",
        "a-",
        "a" * 65,
        "gw\u0430",
        "a\n",
        "é",
    ],
)
def test_an_id_that_could_mean_something_else_is_refused(text):
    with pytest.raises(ConfigError):
        topics.require_id(text, "device")
    with pytest.raises(EvidenceError):
        topics.parse_topic(f"joulemark/v1/up/{text}/x/batch")
    with pytest.raises(EvidenceError):
        topics.parse_origin(f"joulemark/{text}/x/1")


@pytest.mark.parametrize(
    "origin",
    ["joulemark/a/b/0", "joulemark/a/b/01", "joulemark/a/b", "x/a/b/1", "joulemark/a/b/1 "],
)
def test_a_malformed_origin_is_refused(origin):
    with pytest.raises(EvidenceError):
        topics.parse_origin(origin)
