"""What agent and collector say to each other when an agent joins; the token that lets it.

| request (POST, canonical JSON) | answer |
|---|---|
| /enrol: `Application` | 202 `{"id", "state": "pending"}` |
| /enrol/ID: `{}` | 200 `{"state"}`; with `approved` also certificate, ca, collector, key |
| /renew: `{"csr"}`, with the certificate that is to be renewed | as of /enrol/ID |

Everything goes over TLS whose server certificate has the fingerprint that stands in the token, so
the secret is told to nobody else. The evidence key signs the request for the TLS certificate: who
compares its fingerprint has compared both keys.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from joulemark_agent.contract.canonical import canonical_bytes, digest_hex, parse_canonical
from joulemark_agent.contract.errors import EvidenceError
from joulemark_agent.contract.signature import decode64, encode64, is_signed_by
from joulemark_agent.contract.topics import is_id

MAX_BYTES = 131_072  # of a request or an answer
SECRET_BYTES = 32
MAX_DEVICES = 1000
PENDING, APPROVED, REFUSED = "pending", "approved", "refused"
_TOKEN = re.compile(r"joulemark1\.([0-9a-f]{64})\.([0-9a-f]{64})")
_FIELDS = {"agent", "csr", "devices", "key", "proof", "secret", "site", "v"}


@dataclass(frozen=True)
class Token:
    """What lets one agent apply once: a secret, and the fingerprint of whom to tell it."""

    secret: bytes = field(repr=False)
    fingerprint: str  # SHA-256 of the collector's certificate, 64 digits

    @property
    def text(self) -> str:
        """As it is handed over."""
        return f"joulemark1.{self.secret.hex()}.{self.fingerprint}"


def parse_token(text: str) -> Token:
    """The token in a text, blanks around it left out.

    Raises:
        EvidenceError: there is none; the text is not repeated, since it may be a secret.
    """
    found = _TOKEN.fullmatch(text.strip())
    if found is None:
        raise EvidenceError(
            f"The {len(text.strip())} characters given are no enrolment token.",
            "Copy the whole line that 'joulemark collector enroll-token' printed.",
            code="bad_token",
        )
    return Token(bytes.fromhex(found[1]), found[2])


@dataclass(frozen=True)
class Application:
    """What an agent sends to join: who it is, its evidence key, and a request for a certificate."""

    site: str
    agent: str
    devices: tuple[str, ...]
    key: bytes  # the public evidence key
    csr: bytes  # PKCS#10 in PEM
    proof: bytes  # by the evidence key over `proof_message`
    secret: bytes = field(repr=False)  # of the token

    @property
    def is_proven(self) -> bool:
        """Whether the evidence key signed this very request."""
        return is_signed_by(self.key, proof_message(self.site, self.agent, self.csr), self.proof)

    def data(self) -> bytes:
        """As it is sent."""
        return canonical_bytes(
            {
                "agent": self.agent,
                "csr": self.csr.decode(),
                "devices": list(self.devices),
                "key": encode64(self.key),
                "proof": encode64(self.proof),
                "secret": self.secret.hex(),
                "site": self.site,
                "v": 1,
            }
        )

    @classmethod
    def parsed(cls, data: bytes) -> Self:
        """What was sent.

        Raises:
            EvidenceError: it is no application.
        """
        found = parse_message(data)
        texts = [found.get(name) for name in _FIELDS - {"devices", "v"}]
        devices = found.get("devices")
        if set(found) != _FIELDS or found["v"] != 1 or not all(isinstance(t, str) for t in texts):
            raise _bad("its fields are not those of an application of version 1")
        names = [found["site"], found["agent"], *(devices if isinstance(devices, list) else [None])]
        if len(names) > 2 + MAX_DEVICES or not all(isinstance(n, str) and is_id(n) for n in names):
            raise _bad("site, agent and devices are no ids")
        if not re.fullmatch("[0-9a-f]{64}", found["secret"]):
            raise _bad("its secret is not of a token")
        return cls(
            site=found["site"],
            agent=found["agent"],
            devices=tuple(names[2:]),
            key=decode64(found["key"]),
            csr=found["csr"].encode(),
            proof=decode64(found["proof"]),
            secret=bytes.fromhex(found["secret"]),
        )


def proof_message(site: str, agent: str, csr: bytes) -> bytes:
    """What the evidence key signs, to say that the TLS key is the same agent's."""
    return canonical_bytes(
        {"agent": agent, "csr": digest_hex(csr), "site": site, "type": "enrolment", "v": 1}
    )


def parse_message(data: bytes) -> Mapping[str, Any]:
    """The object in a request or an answer.

    Raises:
        EvidenceError: it is too long, or none.
    """
    if len(data) > MAX_BYTES:
        raise _bad(f"it has more than {MAX_BYTES} bytes")
    found = parse_canonical(data)
    if not isinstance(found, dict):
        raise _bad("it is no object")
    return found


def _bad(why: str) -> EvidenceError:
    return EvidenceError(
        f"This is no message of an enrolment: {why}.",
        "Use the same version of joulemark on both sides.",
        code="bad_message",
    )
