"""The report's statement: what was signed, over which evidence, by whom.

An in-toto Statement v1 in a DSSE envelope, signed with Ed25519 by the reporter.
Sources: secure-systems-lab/dsse protocol.md v1 (pre-authentication encoding), in-toto/attestation
spec/v1/statement.md. The type is a name, not an address: nothing is fetched.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from joulemark_agent.contract.canonical import canonical_bytes, digest_hex, parse_canonical
from joulemark_agent.contract.errors import EvidenceError
from joulemark_agent.contract.signature import (
    decode64,
    encode64,
    is_signed_by,
    public_key,
    sign,
)

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://joulemark.org/report/v1"
MAX_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True)
class Statement:
    """An opened statement; its signature is still to be checked, with a key from elsewhere."""

    payload: bytes
    key_id: str  # SHA-256 (hex) of the public key that is said to have signed
    signature: bytes
    subjects: Mapping[str, str]  # SHA-256 (hex) by file name
    predicate: Mapping[str, Any]


def sign_statement(
    subjects: Mapping[str, bytes], predicate: Mapping[str, Any], reporter_key: bytes
) -> bytes:
    """The signed envelope, in canonical bytes, that ties the predicate to the subjects' bytes."""
    payload = canonical_bytes(
        {
            "_type": STATEMENT_TYPE,
            "predicate": dict(predicate),
            "predicateType": PREDICATE_TYPE,
            "subject": [
                {"digest": {"sha256": digest_hex(data)}, "name": name}
                for name, data in sorted(subjects.items())
            ],
        }
    )
    signature = sign(reporter_key, _encoded(payload))
    signer = {"keyid": digest_hex(public_key(reporter_key)), "sig": encode64(signature)}
    return canonical_bytes(
        {"payload": encode64(payload), "payloadType": PAYLOAD_TYPE, "signatures": [signer]}
    )


def open_statement(data: bytes) -> Statement:
    """The statement in an envelope of exactly the form that `sign_statement` writes.

    Raises:
        EvidenceError: `bad_statement`, `not_canonical` or `bad_base64`.
    """
    if len(data) > MAX_BYTES:
        raise _bad(f"it has {len(data)} bytes; {MAX_BYTES} are the most")
    try:
        envelope = parse_canonical(data)
        [signer] = envelope["signatures"]
        payload = decode64(envelope["payload"])
        content = parse_canonical(payload)
        subjects = {item["name"]: item["digest"]["sha256"] for item in content["subject"]}
        again = {
            "payload": encode64(payload),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [{"keyid": signer["keyid"], "sig": signer["sig"]}],
        }
        shape = {
            "_type": STATEMENT_TYPE,
            "predicate": dict(content["predicate"]),
            "predicateType": PREDICATE_TYPE,
            "subject": [
                {"digest": {"sha256": digest}, "name": name}
                for name, digest in sorted(subjects.items())
            ],
        }
        signature = decode64(signer["sig"])
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise _bad(str(error)) from error
    if envelope != again or content != shape or not isinstance(signer["keyid"], str):
        raise _bad("it has other parts than a statement")
    return Statement(payload, signer["keyid"], signature, subjects, content["predicate"])


def is_statement_signed(statement: Statement, key: bytes) -> bool:
    """Whether the reporter with this public key signed the statement."""
    return statement.key_id == digest_hex(key) and is_signed_by(
        key, _encoded(statement.payload), statement.signature
    )


def _bad(why: str) -> EvidenceError:
    return EvidenceError(
        f"This is not the statement of a report: {why}.",
        "Take the bundle from its source again.",
        code="bad_statement",
    )


def _encoded(payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding: type and body, each with its length."""
    kind = PAYLOAD_TYPE.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)
