"""Targets: requests and answers beside batches: raw records, health, joining, log and witness."""

from __future__ import annotations

from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from joulemark_agent.contract.enrolment import Application, Token, parse_token, proof_message
from joulemark_agent.contract.health import health_bytes, parse_health
from joulemark_agent.contract.live import Live, live_bytes, parse_live
from joulemark_agent.contract.raw import (
    RawRequest,
    parse_raw_file,
    parse_request,
    raw_file,
    signed_request,
)
from joulemark_agent.contract.signature import public_key, sign
from joulemark_agent.contract.tree import Edge, append
from joulemark_agent.sparkplug.payload import (
    DOUBLE,
    INT64,
    STRING,
    Metric,
    Payload,
    Property,
    parse_payload,
    payload_bytes,
)
from joulemark_gateway.evidence import corrections, entries, plans
from joulemark_gateway.pki.authority import requested_key
from joulemark_gateway.witness import exchange
from support import evidence
from support.evidence import AGENT, KEYS, METER, SITE, WITNESS
from support.fuzz.evidence_forms import _tree
from support.fuzz.harness import Target
from support.fuzz.mutate import deflated, gzipped, json_text, octets
from support.logs import log_of

_ORIGIN = f"joulemark/{SITE}/{METER}/1"
_AT_US = evidence.SEALED_US
_COLLECTOR, _KEYS = public_key(KEYS.witness), (public_key(KEYS.agent),)
_TROUBLE = {"code": "disk_full", "do": "Free space.", "since_us": "17", "what": "It is full."}
_HEALTH: dict[str, Any] = {
    "agent": AGENT, "level": "stopped", "lines": {"stuck": [METER]}, "site": SITE,
    "outbox": {"capacity_bytes": "20", "unconfirmed": "3", "used_bytes": "19"},
    "t_utc_us": str(_AT_US), "troubles": [_TROUBLE],
}  # fmt: skip
_ABOUT = {"about": {"certificate_until_us": None, "clock_error_us": "9", "clock_sync": "ntp",
                    "version": "0.1.0"}}  # fmt: skip
_CORRECTION = corrections.Correction(
    _ORIGIN, 3, 8, "power_w", corrections.REPLACED, "calibration", "Anna", "17.5"
)

_PLAN = plans.statement_of(b"{}", SITE, "pump-house", "Anna", "engineer")


def _requests() -> list[bytes]:
    found = [RawRequest(c * 32, _ORIGIN, 3, 8, 0, 10**6, _AT_US, WITNESS) for c in "ab"]
    return [signed_request(one, KEYS.witness) for one in found]


def _live() -> list[bytes]:
    found, edge = [], Edge()
    for batch in _tree():
        found.append(live_bytes(Live(edge, batch)))
        edge = append(edge, batch.leaves)
    return found


@cache
def _application() -> Application:
    key = ec.derive_private_key(7, ec.SECP256R1())
    builder = x509.CertificateSigningRequestBuilder(x509.Name([]))
    csr = builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)
    proof = sign(KEYS.agent, proof_message(SITE, AGENT, csr))
    return Application(SITE, AGENT, (METER,), public_key(KEYS.agent), csr, proof, bytes(32))


def _apply(data: bytes) -> None:
    found = Application.parsed(data)
    assert isinstance(found.is_proven, bool)
    requested_key(found.csr)


def _entries() -> list[bytes]:
    made = (
        entries.document_entry(SITE, "profile", "0" * 64),
        corrections.correction_entry(_CORRECTION, KEYS.operator),
        plans.plan_entry(plans.signed_plan(_PLAN, KEYS.operator)),
    )
    return [entries.entry_leaf(one, n, _AT_US) for n, one in enumerate(made)]


def _entry(data: bytes) -> None:
    entry = entries.parse_entry(data, 7)
    for correction in corrections.corrections_in([entry]):
        assert isinstance(correction.is_signed, bool)
    for plan in plans.plans_in([entry]):
        assert isinstance(plan.is_signed, bool)


def _payloads() -> list[bytes]:
    properties = (Property("unit", STRING, "W"), Property("quality", INT64, 192))
    metrics = (
        Metric("power", 1, 17, DOUBLE, 1.5, False, properties),
        Metric("bdSeq", None, 17, INT64, -1, True, ()),
    )
    return [payload_bytes(Payload(1_795_305_600_000, metrics, 3))]


JOINING_FORMS = (
    Target("raw_request", _requests, lambda data: parse_request(data, _COLLECTOR), json_text),
    Target("raw_file", lambda: [raw_file(_tree())], parse_raw_file),
    Target("raw_lines", lambda: [raw_file(_tree())], parse_raw_file, gzipped(octets)),
    Target("live", _live, parse_live, deflated(json_text)),
    Target("health", lambda: [health_bytes(_HEALTH, KEYS.agent),
                              health_bytes(_HEALTH | _ABOUT, KEYS.agent)],
           lambda data: parse_health(data, _KEYS), json_text),
    Target("application", lambda: [_application().data()], _apply, json_text),
    Target("certificate_request", lambda: [_application().csr], requested_key),
    Target("enrolment_token", lambda: [Token(bytes(32), "0" * 64).text.encode()],
           lambda data: parse_token(data.decode(errors="replace"))),
    Target("log_entry", _entries, _entry, json_text),
    Target("witness_request", lambda: [log_of(9).body(old, 9) for old in (0, 3, 9)],
           exchange.parse_request),
    Target("sparkplug", _payloads, parse_payload, octets),
)  # fmt: skip
