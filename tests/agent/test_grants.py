import json

import pytest

from joulemark_agent.contract.canonical import canonical_bytes, digest_hex
from joulemark_agent.contract.errors import ConfigError
from joulemark_agent.contract.signature import decode64, is_signed_by
from joulemark_agent.grants import (
    Terms,
    enroll,
    forget_sites,
    keep_site,
    kept_site,
    load_grant,
    opening_site,
    take_reserve,
)
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


def site(*rows, **changes) -> bytes:
    """A site document with these devices."""
    return canonical_bytes({"agent": "edge-1", "devices": list(rows), "site": "hall", **changes})


METER = {"id": "main-meter", "unit": 1}
OTHER = {"id": "other", "unit": 2}


def granted(state_dir, operator, document: bytes) -> Terms:
    """Terms under a site document, signed, and the document kept."""
    papers = {"profile": "a" * 64, "site": digest_hex(document), "factors": "c" * 64}
    found = terms(documents=papers)
    enroll(state_dir, found, operator)
    keep_site(state_dir, document)
    return found


@pytest.mark.parametrize(
    ("now", "goes_on"),
    [
        (site(METER, OTHER), True),
        (site(METER, {**OTHER, "unit": 3}), True),
        (site(OTHER, METER), True),
        (site({**METER, "unit": 3}), False),
        (site({**METER, "accept_disputed": ["energy_wh"]}), False),
        (site({**METER, "maximum_power_w": 69_000}), False),
        (site(METER, agent="edge-2"), False),
        (site(METER, factors={"set": "other"}), False),
        (site(OTHER), False),
    ],
)
def test_a_device_goes_on_under_its_own_site_document_while_it_says_the_same_of_it(
    tmp_path, operator, now, goes_on
):
    old = site(METER)
    granted(tmp_path, operator, old)
    assert kept_site(tmp_path, "main-meter", now) == (old if goes_on else now)


def test_a_site_document_that_was_changed_on_disk_or_is_gone_is_not_used(tmp_path, operator):
    granted(tmp_path, operator, site(METER))
    (path,) = (tmp_path / "grants" / "sites").glob("*.json")
    path.write_bytes(site(METER, site="forged"))
    now = site(METER, OTHER)
    assert kept_site(tmp_path, "main-meter", now) == now
    path.unlink()
    assert kept_site(tmp_path, "main-meter", now) == now
    assert kept_site(tmp_path, "no-grant", now) == now


def test_site_documents_that_no_grant_names_are_forgotten(tmp_path, operator):
    for unit in range(5):
        granted(tmp_path, operator, site({**METER, "unit": unit}))
    files = tmp_path / "grants" / "sites"
    assert len(list(files.glob("*.json"))) == 5
    forget_sites(tmp_path, site({**METER, "unit": unit}), [])
    assert len(list(files.glob("*.json"))) == 1


def test_a_site_document_is_kept_while_a_tree_was_opened_under_it(tmp_path, operator):
    old, new = site({**METER, "unit": 1}), site({**METER, "unit": 2})
    granted(tmp_path, operator, old)
    opening = (tmp_path / "grants" / "main-meter.json").read_bytes()
    granted(tmp_path, operator, new)
    forget_sites(tmp_path, new, [opening, b"no grant"])
    assert opening_site(tmp_path, opening) == old
    forget_sites(tmp_path, new, [])
    assert opening_site(tmp_path, opening) is None
    assert opening_site(tmp_path, b"{}") is None


def test_with_every_grant_a_reserve_for_the_next_epoch_is_signed(tmp_path, operator):
    enroll(tmp_path, terms(), operator)
    assert take_reserve(tmp_path, terms())
    signed = load_grant(tmp_path, terms())
    assert signed["grant"] == terms().content(2)
    message = canonical_bytes(signed["grant"])
    assert is_signed_by(operator.public, message, decode64(signed["operator_signature"]))
    assert not take_reserve(tmp_path, terms()), "once"


def test_enrolling_again_signs_a_new_reserve_and_keeps_the_grant(tmp_path, operator):
    enroll(tmp_path, terms(), operator)
    take_reserve(tmp_path, terms())
    assert enroll(tmp_path, terms(), operator).state == "kept"
    assert take_reserve(tmp_path, terms())
    assert load_grant(tmp_path, terms())["grant"]["epoch"] == 3


@pytest.mark.parametrize(
    "change",
    [
        {"documents": {"profile": "0" * 64, "site": "b" * 64, "factors": "c" * 64}},
        {"agent_key": bytes(31) + b"1", "former_keys": (bytes(32),)},
    ],
)
def test_a_reserve_is_for_these_documents_and_the_key_of_now(tmp_path, operator, change):
    enroll(tmp_path, terms(), operator)
    assert not take_reserve(tmp_path, terms(**change))
    assert load_grant(tmp_path, terms())["grant"]["epoch"] == 1


def test_a_request_signs_no_reserve(tmp_path):
    assert enroll(tmp_path, terms(), None).state == "requested"
    assert not take_reserve(tmp_path, terms())


def test_a_new_epoch_has_a_reserve_of_its_own(tmp_path, operator):
    enroll(tmp_path, terms(), operator)
    new = terms(documents={"profile": "0" * 64, "site": "b" * 64, "factors": "c" * 64})
    assert enroll(tmp_path, new, operator).epoch == 2
    assert take_reserve(tmp_path, new)
    assert load_grant(tmp_path, new)["grant"]["epoch"] == 3
