"""Requests for raw records: found genuine, recorded, and answered as the site file says.

The factory decides: `raw_requests: allow` sends what the archive has, `deny` refuses, `ask` waits
for a person (`joulemark agent archive requests`). Every request and every answer is a leaf of the
device's tree, so neither side can later say that it was otherwise. So is every loss of the archive:
a range that the quota pushed out is named before it goes. Nothing goes while something that was
allowed is still to be sent, also after a kill in between.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from typing import Any

from joulemark_agent.archive import ALLOWED, DENIED, WAITING, Archive, Asked
from joulemark_agent.contract.canonical import parse_canonical
from joulemark_agent.contract.errors import EvidenceError, StoreError
from joulemark_agent.contract.raw import RawRequest, parse_request
from joulemark_agent.contract.topics import origin

log = logging.getLogger(__name__)

TRIMMED, REQUESTED = "archive_trimmed", "raw_request"  # types of the leaves
_STATES = {"allow": ALLOWED, "deny": DENIED, "ask": WAITING}

Note = Callable[[str, str, Mapping[str, Any]], Awaitable[None]]
Send = Callable[[str, Iterator[bytes]], None]


class Desk:
    """Keeps what is asked for and answers it; all of it in one event loop."""

    def __init__(
        self, archive: Archive, policy: str, site: str, key: bytes, now_us: Callable[[], int]
    ) -> None:
        """Nothing is answered before `work`.

        Args:
            archive: what may be asked for.
            policy: `allow`, `deny` or `ask`.
            site: whose evidence it is.
            key: of the collector, pinned in the site file.
            now_us: wall time. [us UTC]
        """
        self._archive, self._state = archive, _STATES[policy]
        self._site, self._key, self._now_us = site, key, now_us
        self._sending: set[str] = set()  # ids of requests whose batches are on their way

    def ask(self, device: str, payload: bytes) -> None:
        """Keep a request that has arrived; one that was kept before is not answered twice.

        One that the disk does not take is left: the collector asks again every minute.

        Raises:
            EvidenceError: it is none of our collector's, or none for this device.
        """
        request = parse_request(payload, self._key)
        if request.place[:2] != (self._site, device):
            raise EvidenceError(
                f"A request on the topic of {device!r} is for {request.origin!r}.",
                "Look for who published it.",
                code="bad_request",
            )
        asked = Asked(request.id, device, payload, self._state, self._now_us())
        fields = {"id": request.id, "origin": request.origin, "by": request.by}
        try:
            if self._archive.ask(asked):
                log.info("raw_requested", extra={**fields, "answer": self._state})
        except StoreError as error:
            log.warning("raw_request_not_kept", extra={**fields, "what": error.what})

    async def work(
        self, note: Note, send: Send, received: Callable[[], Iterable[tuple[str, int, int]]]
    ) -> None:
        """Answer what can be answered, and keep the quota.

        Args:
            note: keeps an event in the tree of a device, by its type and fields.
            send: publishes batches of a device on the topic of raw records.
            received: device and epoch of every tree, and up to which leaf the collector has it.

        Raises:
            StoreError: the archive cannot be used.
        """
        self._archive.mend()
        for asked in self._archive.requests(untold=True):
            await self._answer(asked, note)
        for asked in self._archive.unsent():
            if asked.id not in self._sending:
                self._sending.add(asked.id)
                send(asked.device, self._payloads(asked))
        if self._archive.is_new:
            for device, epoch, size in received():
                if size:
                    await note(device, TRIMMED, self._range(device, epoch, 0, size - 1))
            self._archive.lack_told()
        surplus = [] if self._archive.unsent() else self._archive.surplus()
        for gone in surplus:
            fields = self._range(gone.device, gone.epoch, gone.first_seq, gone.last_seq)
            await note(gone.device, TRIMMED, fields)
        if surplus:
            self._archive.trim(surplus)
            log.warning("archive_trimmed", extra={"trees": len(surplus)})

    async def _answer(self, asked: Asked, note: Note) -> None:
        """Say in a leaf what becomes of a request; what it allows is sent after that."""
        request, state, batches = self._request(asked), asked.state, 0
        if request is None:
            state = DENIED
        elif state == ALLOWED:
            batches = self._archive.count(*_leaves_of(request))
        signed = parse_canonical(asked.payload)
        fields = {**signed, "answer": state, "batches": str(batches)}
        await note(asked.device, REQUESTED, fields)
        self._archive.told(asked)

    def _payloads(self, asked: Asked) -> Iterator[bytes]:
        """The batches of a request; whoever takes the last of them has sent all before it."""
        try:
            if (request := self._request(asked)) is not None:
                for batch in self._archive.covering(*_leaves_of(request)):
                    yield batch.payload
            self._archive.sent(asked)
        except StoreError as error:
            log.warning("raw_not_sent", extra={"id": asked.id, "what": error.what})
        finally:
            self._sending.discard(asked.id)

    def _request(self, asked: Asked) -> RawRequest | None:
        """What was asked for; None: by a collector that is no longer ours."""
        try:
            return parse_request(asked.payload, self._key)
        except EvidenceError:
            return None

    def _range(self, device: str, epoch: int, first_seq: int, last_seq: int) -> dict[str, str]:
        return {
            "first_seq": str(first_seq),
            "last_seq": str(last_seq),
            "origin": origin(self._site, device, epoch),
        }


def _leaves_of(request: RawRequest) -> tuple[str, int, int, int]:
    """Device, epoch, first and last leaf."""
    _, device, epoch = request.place
    return device, epoch, request.first_seq, request.last_seq
