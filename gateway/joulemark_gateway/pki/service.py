"""The address at which agents join: two questions without a certificate, and one with.

It is an ASGI application by itself, apart from pages and API, so that a factory's network needs to
reach nothing else of the collector, and its port may be closed while nobody joins.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from joulemark_agent.contract.canonical import canonical_bytes
from joulemark_agent.contract.enrolment import (
    APPROVED,
    MAX_BYTES,
    PENDING,
    Application,
    parse_message,
)
from joulemark_agent.contract.errors import EvidenceError, JoulemarkError
from joulemark_agent.contract.signature import encode64, fingerprint
from joulemark_gateway.access.throttle import WrongTries, network_of
from joulemark_gateway.ingest.registered import Agent
from joulemark_gateway.pki import enrolments
from joulemark_gateway.pki.authority import Role, agent_holder, requested_key
from joulemark_gateway.pki.records import Issued
from joulemark_gateway.pki.site_ca import SiteCa, pem

FREE_TRIES, LONGEST_WAIT_S = 5, 60.0  # wrong tokens of one address; then each waits longer
MOST_A_DAY = 10  # certificates that are given to one agent by renewing
BODY_S = 10.0
_DAY = timedelta(days=1)
PEER = "peer_certificate"  # where the server puts what a client showed
_STATUS = {"no_token": 403, "not_invited": 403, "no_certificate": 403, "other_devices": 409,
           "too_often": 429, "not_found": 404, "ca_away": 503}  # fmt: skip

log = logging.getLogger(__name__)

Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
FindAgent = Callable[[str], Agent | None]


class EnrolmentService:
    """Answers agents; used by one thread."""

    def __init__(
        self,
        ca_folder: Path,
        *,
        collector: tuple[str, bytes],
        agent: FindAgent,
        days: int,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Open the authority.

        Args:
            ca_folder: of the site's authority.
            collector: the collector's name and public key, which an agent pins.
            agent: the registered agent of an id; None: there is none, or it was revoked.
            days: how long a renewed certificate holds.
            now: the time, aware.
            now_s: a clock that never goes back. [s]

        Raises:
            ConfigError: there is no authority.
            StoreError: its record cannot be used.
        """
        self._ca = SiteCa(ca_folder)
        self._collector, self._agent, self._days = collector, agent, days
        self._now, self._now_s = now, now_s
        self._wrong = WrongTries(FREE_TRIES, LONGEST_WAIT_S)

    def close(self) -> None:
        """Release the authority's record."""
        self._ca.close()

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request."""
        assert scope["type"] == "http", "the server speaks nothing else"
        try:
            found = self._answer(scope, await _body(receive))
        except JoulemarkError as error:
            status = _STATUS.get(error.code, 400 if isinstance(error, EvidenceError) else 503)
            found = {"code": error.code, "do": error.do, "what": error.what}
            self._say_refused(error, scope)
        else:
            status = 202 if found.get("state") == PENDING else 200
        data = canonical_bytes(found)
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(data)),
                   (b"cache-control", b"no-store")]  # fmt: skip
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": data})

    def _answer(self, scope: Mapping[str, Any], body: bytes) -> dict[str, Any]:
        path = scope["path"].removeprefix("/").split("/")
        if scope["method"] == "POST" and path == ["enrol"]:
            return self._apply(Application.parsed(body), _address(scope))
        if scope["method"] == "POST" and path[:1] == ["enrol"] and len(path) == 2:
            return self._asked_after(path[1])
        if scope["method"] == "POST" and path == ["renew"]:
            return self._renew(parse_message(body), scope.get("state", {}).get(PEER))
        raise EvidenceError(
            f"There is nothing to ask at {scope['path'][:80]!r}.",
            "Run 'joulemark agent enroll -c SITE.yaml --collector https://HOST:PORT'.",
            code="not_found",
        )

    def _apply(self, sent: Application, address: str) -> dict[str, Any]:
        network = network_of(address)
        if wait_s := self._wrong.wait_s(network, self._now_s()):
            raise EvidenceError(
                f"Too many tokens from {network} were wrong.",
                f"Try again in {wait_s:.0f} s, with a new token.",
                code="too_often",
            )
        self._wrong.begun(network, self._now_s())
        number = enrolments.apply(self._ca.records, sent, self._now())
        self._wrong.was_right(network, forget=True)
        fields = {"agent": sent.agent, "site": sent.site, "address": address}
        log.warning("enrolment_waits", extra={**fields, "fingerprint": fingerprint(sent.key)})
        return {"id": number, "state": PENDING}

    def _asked_after(self, number: str) -> dict[str, Any]:
        found = self._ca.records.application(number, self._now())
        if found is None:
            raise EvidenceError(
                "There is no such application, or its time is over.",
                "Apply again with a new token.",
                code="not_found",
            )
        if found.state != APPROVED:
            return {"state": found.state}
        assert found.serial is not None
        given = self._ca.records.issued_as(found.serial)
        assert given is not None
        return self._given(given.pem)

    def _renew(self, sent: Mapping[str, Any], shown: bytes | None) -> dict[str, Any]:
        known, agent = self._known(shown)
        csr = sent.get("csr")
        if set(sent) != {"csr"} or not isinstance(csr, str):
            raise EvidenceError("There is no 'csr'.", "Send one.", code="bad_csr")
        if not self._ca.can_sign:
            raise EvidenceError(
                "The key of the site's authority is not at hand.",
                "Have the administrator put it in place, or issue the certificate by hand.",
                code="ca_away",
            )
        if self._ca.records.count_since(known.name, self._now() - _DAY) >= MOST_A_DAY:
            raise EvidenceError(
                f"{known.name} was given {MOST_A_DAY} certificates within a day.",
                "Use the last of them, and look who else holds its key.",
                code="too_often",
            )
        key = requested_key(csr.encode())
        holder = agent_holder(agent.site, known.name)
        made = self._ca.certify(key, holder, self._now(), self._days)
        until = f"{made.not_valid_after_utc:%Y-%m-%d}"
        log.info("certificate_renewed", extra={"agent": known.name, "until": until})
        return self._given(pem(made))

    def _known(self, shown: bytes | None) -> tuple[Issued, Agent]:
        """Whose certificate was shown: one that holds, of an agent that is registered."""
        found = None if shown is None else self._ca.holder_of(shown, self._now())
        agent = None
        if found is not None and found.role is Role.AGENT:
            agent = self._agent(found.name)
        if found is None or agent is None:
            raise EvidenceError(
                "Only an agent that is registered, with a certificate that still holds, may renew.",
                "Enrol again with a token.",
                code="no_certificate",
            )
        return found, agent

    def _given(self, certificate: bytes) -> dict[str, Any]:
        name, key = self._collector
        return {
            "ca": self._ca.certificate_pem.decode(),
            "certificate": certificate.decode(),
            "collector": name,
            "key": encode64(key),
            "state": APPROVED,
        }

    def _say_refused(self, error: JoulemarkError, scope: Mapping[str, Any]) -> None:
        fields = {"code": error.code, "what": error.what, "address": _address(scope)}
        log.warning("enrolment_refused", extra=fields)


def _address(scope: Mapping[str, Any]) -> str:
    client = scope.get("client")
    return str(client[0]) if client else ""


async def _body(receive: Receive) -> bytes:
    """What was sent, of limited size and within limited time."""
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_S):
            while True:
                message = await receive()
                body += message.get("body", b"")
                if len(body) > MAX_BYTES:
                    raise EvidenceError(
                        f"More than {MAX_BYTES} bytes were sent.", "Send less.", code="too_large"
                    )
                if not message.get("more_body", False):
                    return bytes(body)
    except TimeoutError as error:
        raise EvidenceError(
            f"The request was not whole within {BODY_S:.0f} s.", "Send it again.", code="too_slow"
        ) from error
