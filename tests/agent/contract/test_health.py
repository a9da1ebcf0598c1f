"""What an agent says of itself is signed, and of one form."""

from __future__ import annotations

from typing import Any

import pytest

from joulemark_agent.contract.canonical import canonical_bytes
from joulemark_agent.contract.errors import EvidenceError
from joulemark_agent.contract.health import MAX_BYTES, health_bytes, parse_health
from joulemark_agent.contract.signature import encode64, public_key, sign
from support.evidence import FOREIGN, KEYS

KEY = public_key(KEYS.agent)
TROUBLE = {"code": "disk_full", "do": "Free space.", "since_us": "17", "what": "It is full."}
CONTENT: dict[str, Any] = {
    "agent": "edge-1", "level": "stopped", "lines": {"stuck": ["meter"]}, "site": "gwangyang",
    "outbox": {"capacity_bytes": "20", "unconfirmed": "3", "used_bytes": "19"},
    "t_utc_us": "1795305600000000", "troubles": [TROUBLE],
}  # fmt: skip
ABOUT = {"about": {
    "certificate_until_us": "1795305600000000", "clock_error_us": "12", "clock_sync": "ntp",
    "version": "0.1.0",
}}  # fmt: skip


@pytest.mark.parametrize("more", [{}, ABOUT], ids=["version 1", "version 2"])
def test_what_was_said_is_what_is_read(more):
    data = health_bytes(CONTENT | more, KEYS.agent)
    assert parse_health(data, (public_key(FOREIGN.agent), KEY)) == CONTENT | more


@pytest.mark.parametrize("keys", [(), (public_key(FOREIGN.agent),)])
def test_another_s_word_is_refused(keys):
    with pytest.raises(EvidenceError) as caught:
        parse_health(health_bytes(CONTENT, KEYS.agent), keys)
    assert caught.value.code == "bad_signature"


@pytest.mark.parametrize(
    "fields",
    [
        {"more": 1}, {"level": 3}, {"lines": []}, {"lines": {"stuck": [1]}}, {"outbox": {}},
        {"outbox": {**CONTENT["outbox"], "used_bytes": "-1"}}, {"t_utc_us": 17}, {"troubles": {}},
        {"outbox": {**CONTENT["outbox"], "used_bytes": "9" * 30}}, {"troubles": [{}]},
        {"about": {}}, {"about": {**ABOUT["about"], "version": 1}}, {"about": None},
        {"about": {**ABOUT["about"], "certificate_until_us": "soon"}},
        {"troubles": [{**TROUBLE, "what": None}]}, {"troubles": [{**TROUBLE, "since_us": "x"}]},
    ],
)  # fmt: skip
def test_another_form_is_refused_though_it_is_signed(fields):
    with pytest.raises(EvidenceError):
        parse_health(health_bytes(CONTENT | fields, KEYS.agent), (KEY,))


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"health":{}}', b"1" * (MAX_BYTES + 1)])
def test_what_is_no_such_document_is_refused(data):
    with pytest.raises(EvidenceError):
        parse_health(data, (KEY,))


@pytest.mark.parametrize("version", [0, 3, "1", None])
def test_another_version_is_refused_though_its_fields_are_those_of_the_first(version):
    whole = CONTENT | {"type": "health", "v": version}
    signature = encode64(sign(KEYS.agent, canonical_bytes(whole)))
    data = canonical_bytes({"health": whole, "signature": signature})
    with pytest.raises(EvidenceError, match="this version"):
        parse_health(data, (KEY,))
