"""Takes a request to its answer: judge, cosign, COMMIT, and only then let the cosignature out."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from joulemark_agent.contract.errors import EvidenceError
from joulemark_agent.contract.signature import Checkpoint, cosign
from joulemark_gateway.witness.exchange import (
    BAD_REQUEST,
    OK,
    SIZE_TYPE,
    Refusal,
    Request,
    is_fork,
    objection,
    parse_request,
)
from joulemark_gateway.witness.store import Cosigned, Fork, WitnessStore

_TEXT = "text/plain; charset=utf-8"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Answer:
    """What the witness says."""

    status: int
    body: str
    kind: str = _TEXT  # Content-Type


@dataclass(frozen=True)
class Identity:
    """Who cosigns, and for which logs: the keys (32 bytes) that are trusted, by origin."""

    name: str
    private_key: bytes = field(repr=False)
    logs: Mapping[str, Sequence[bytes]]


class Cosigner:
    """Any thread may ask; requests are answered one after the other."""

    def __init__(self, store: WitnessStore, identity: Identity, now_s: Callable[[], int]) -> None:
        """Nothing is cosigned yet.

        Args:
            store: what it remembers.
            identity: who it is, and whom it knows.
            now_s: wall time, UTC. [s]
        """
        self._store, self._identity, self._now_s = store, identity, now_s
        self._lock = threading.Lock()

    def answer(self, data: bytes) -> Answer:
        """The answer to the body of a request.

        Raises:
            StoreError: nothing was remembered, so nothing is cosigned.
        """
        try:
            request = parse_request(data)
        except EvidenceError as error:
            return Answer(BAD_REQUEST, f"{error.what}\n")
        with self._lock:
            found = self._decided(request)
        if isinstance(found, str):
            head = request.head
            log.info("head_cosigned", extra={"origin": head.origin, "size": head.size})
            return Answer(OK, found)
        fields = {"origin": request.head.origin, "status": found.status, "why": found.why}
        if is_fork(found, request):
            log.error("security_alarm", extra=fields)
        else:
            log.info("head_refused", extra=fields)
        if found.size is not None:
            return Answer(found.status, f"{found.size}\n", SIZE_TYPE)
        return Answer(found.status, f"{found.why}\n")

    def _decided(self, request: Request) -> Refusal | str:
        """The line of the cosignature, remembered; or why there is none."""
        identity, head, time_s = self._identity, request.head, self._now_s()
        found: Refusal | str = ""

        def decide(held: Checkpoint | None) -> Cosigned | None:
            nonlocal found
            refusal = objection(request, identity.logs, held)
            if refusal is not None:
                found = refusal
                return None
            alone = _alone(request.note)
            cosigned = cosign(identity.private_key, identity.name, alone, time_s)
            found = cosigned.removeprefix(alone)
            return Cosigned(head, cosigned, time_s)

        self._store.advance(head.origin, decide)
        if isinstance(found, Refusal) and is_fork(found, request):
            self._store.keep_fork(Fork(head.origin, request.note, found.why, time_s))
        return found


def _alone(note: str) -> str:
    """The note with its first line of signatures: others leave no room for ours."""
    text, _, lines = note.rpartition("\n\n")
    return f"{text}\n\n{lines.partition(chr(10))[0]}\n"
