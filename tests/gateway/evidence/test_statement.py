"""A statement has one form, and only the key it names can have signed it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulemark_agent.contract.canonical import canonical_bytes, digest_hex, parse_canonical
from joulemark_agent.contract.errors import EvidenceError
from joulemark_agent.contract.signature import decode64, encode64, is_signed_by, public_key
from joulemark_gateway.evidence.statement import (
    is_statement_signed,
    open_statement,
    sign_statement,
)
from support.evidence import FOREIGN, KEYS

SUBJECTS = {"report.json": b"{}", "manifest.json": b"[]"}
SIGNED = sign_statement(SUBJECTS, {"v": 1}, KEYS.reporter)


def changed(change):
    content = json.loads(SIGNED)
    change(content)
    return canonical_bytes(content)


def test_a_signed_statement_is_read_back_and_its_signature_holds():
    statement = open_statement(SIGNED)
    assert statement.subjects == {name: digest_hex(data) for name, data in SUBJECTS.items()}
    assert statement.predicate == {"v": 1}
    assert is_statement_signed(statement, public_key(KEYS.reporter))
    assert not is_statement_signed(statement, public_key(FOREIGN.reporter))


def test_the_signed_bytes_are_those_of_the_dsse_specification():
    """The encoding written out by hand: DSSEv1, two lengths, the type and the payload."""
    envelope = json.loads(SIGNED)
    payload = decode64(envelope["payload"])
    kind = "application/vnd.in-toto+json"
    signed = f"DSSEv1 {len(kind)} {kind} {len(payload)} ".encode() + payload
    signature = decode64(envelope["signatures"][0]["sig"])
    assert is_signed_by(public_key(KEYS.reporter), signed, signature)
    statement = json.loads(payload)
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert [item["name"] for item in statement["subject"]] == ["manifest.json", "report.json"]


def test_the_same_content_and_key_give_the_same_bytes():
    assert sign_statement(dict(reversed(SUBJECTS.items())), {"v": 1}, KEYS.reporter) == SIGNED


@given(st.integers(0, 8 * len(SIGNED) - 1))
def test_every_flipped_bit_is_found(bit):
    damaged = bytearray(SIGNED)
    damaged[bit // 8] ^= 1 << bit % 8
    try:
        statement = open_statement(bytes(damaged))
    except EvidenceError:
        return
    assert not is_statement_signed(statement, public_key(KEYS.reporter))


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content.update(more="x"),
        lambda content: content.pop("payload"),
        lambda content: content.update(payloadType="text/plain"),
        lambda content: content.update(signatures=[]),
        lambda content: content.update(signatures=content["signatures"] * 2),
        lambda content: content["signatures"][0].update(more="x"),
        lambda content: content["signatures"][0].update(keyid=7),
        lambda content: content["signatures"][0].update(sig="?"),
        lambda content: content["signatures"][0].update(sig=None),
        lambda content: content.update(payload=encode64(b"{}")),
        lambda content: content.update(payload=encode64(b"[1]")),
        lambda content: content.update(payload=encode64(b"not json")),
        lambda content: content.update(payload=7),
    ],
)
def test_another_form_is_refused(change):
    with pytest.raises(EvidenceError):
        open_statement(changed(change))


@pytest.mark.parametrize("data", [b"", b"[]", b"7", b"null", SIGNED + b" ", SIGNED[:-1]])
def test_what_is_no_statement_is_refused(data):
    with pytest.raises(EvidenceError):
        open_statement(data)


def test_a_payload_with_a_further_field_is_refused():
    def widen(content):
        payload = parse_canonical(decode64(content["payload"]))
        content["payload"] = encode64(canonical_bytes({**payload, "more": "x"}))

    with pytest.raises(EvidenceError, match="other parts"):
        open_statement(changed(widen))
