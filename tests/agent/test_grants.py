import json

import pytest

from joulemark_agent.contract.canonical import canonical_bytes
from joulemark_agent.contract.errors import ConfigError
from joulemark_agent.contract.signature import decode64, is_signed_by
from joulemark_agent.grants import Terms, enroll, load_grant
from joulemark_agent.keys import create_key


@pytest.fixture
def operator(tmp_path):
    return create_key(tmp_path / "operator.key")


def terms(**changes) -> Terms:
    values = {
        "site": "gwangyang",
        "device": "main-meter",
        "clock": "simulated",
        "agent": "edge-1",
        "agent_key": bytes(32),
        "first_slot_us": 0,
        "documents": {"profile": "a" * 64, "site": "b" * 64, "factors": "c" * 64},
    }
    return Terms(**{**values, **changes})


def test_what_the_operator_signed_is_what_is_loaded(tmp_path, operator):
    done = enroll(tmp_path, terms(), operator)
    signed = load_grant(tmp_path, terms())
    assert (done.state, done.epoch) == ("signed", 1)
    assert signed["grant"] == terms().content(1)
    message = canonical_bytes(signed["grant"])
    assert is_signed_by(operator.public, message, decode64(signed["operator_signature"]))


def test_the_same_grant_is_kept_while_nothing_changes(tmp_path, operator):
    first = enroll(tmp_path, terms(), operator)
    before = first.path.read_bytes()
    for again in (enroll(tmp_path, terms(), operator), enroll(tmp_path, terms(), None)):
        assert (again.state, again.epoch) == ("kept", 1)
    assert first.path.read_bytes() == before


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"documents": {"profile": "0" * 64, "site": "b" * 64, "factors": "c" * 64}}, "profile"),
        ({"documents": {"profile": "a" * 64, "site": "b" * 64, "factors": "0" * 64}}, "factors"),
        ({"agent_key": bytes(31) + b"1"}, "agent_key"),
        ({"clock": "system", "first_slot_us": None}, "clock, first_slot"),
        ({"site": "elsewhere"}, "site"),
    ],
)
def test_any_change_needs_the_next_epoch(tmp_path, operator, change, named):
    enroll(tmp_path, terms(), operator)
    with pytest.raises(ConfigError) as caught:
        load_grant(tmp_path, terms(**change))
    assert named in caught.value.what
    assert "agent enroll" in caught.value.do
    done = enroll(tmp_path, terms(**change), operator)
    assert (done.state, done.epoch) == ("signed", 2)
    assert load_grant(tmp_path, terms(**change))["grant"]["epoch"] == 2


def test_going_back_to_old_documents_opens_a_new_epoch_too(tmp_path, operator):
    enroll(tmp_path, terms(), operator)
    enroll(tmp_path, terms(site="elsewhere"), operator)
    assert enroll(tmp_path, terms(), operator).epoch == 3


def test_without_the_operator_only_a_request_is_written(tmp_path, operator):
    asked = enroll(tmp_path, terms(), None)
    assert asked.state == "requested"
    assert json.loads(asked.path.read_bytes()) == terms().content(1)
    with pytest.raises(ConfigError, match="no grant signed by the operator"):
        load_grant(tmp_path, terms())
    enroll(tmp_path, terms(), operator)
    assert not asked.path.exists(), "an answered request is in the way"


def test_a_request_for_a_change_leaves_the_grant_in_force(tmp_path, operator):
    enroll(tmp_path, terms(), operator)
    asked = enroll(tmp_path, terms(site="elsewhere"), None)
    assert asked.epoch == 2
    assert load_grant(tmp_path, terms())["grant"]["epoch"] == 1


def test_where_the_state_was_lost_the_first_epoch_can_be_named(tmp_path, operator):
    assert enroll(tmp_path, terms(), operator).epoch == 1
    for _ in range(2):
        assert enroll(tmp_path, terms(), operator, first_epoch=4).epoch == 4


@pytest.mark.parametrize(
    "content", [b"", b"{}", b'{"grant":1,"operator_signature":""}', b'{"grant": {}}', b"\xff"]
)
def test_a_damaged_grant_is_told_and_its_epoch_not_used_again(tmp_path, operator, content):
    path = enroll(tmp_path, terms(), operator).path
    path.write_bytes(content)
    for attempt in (
        lambda: load_grant(tmp_path, terms()),
        lambda: enroll(tmp_path, terms(), operator),
    ):
        with pytest.raises(ConfigError, match="must not be used again"):
            attempt()
