"""Requests for raw records: found genuine, recorded, and answered as the site file says.

The factory decides: `raw_requests: allow` sends what the archive has, `deny` refuses, `ask` waits
for a person (`joulemark agent archive requests`). Every request and every answer is a leaf of the
device's tree, so neither side can later say that it was otherwise. So is every loss of the archive:
a range that the quota pushed out is named before it goes.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from typing import Any

from joulemark_agent.archive import ALLOWED, DENIED, WAITING, Archive, Asked
from joulemark_agent.contract.canonical import parse_canonical
from joulemark_agent.contract.errors import EvidenceError
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

    def ask(self, device: str, payload: bytes) -> None:
        """Keep a request that has arrived; one that was kept before is not answered twice.

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
        if self._archive.ask(asked):
            fields = {"id": request.id, "origin": request.origin, "by": request.by}
            log.info("raw_requested", extra={**fields, "answer": self._state})

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
        for asked in self._archive.requests(untold=True):
            await self._answer(asked, note, send)
        if self._archive.is_new:
            for device, epoch, size in received():
                if size:
                    await note(device, TRIMMED, self._range(device, epoch, 0, size - 1))
            self._archive.lack_told()
        surplus = self._archive.surplus()
        for gone in surplus:
            fields = self._range(gone.device, gone.epoch, gone.first_seq, gone.last_seq)
            await note(gone.device, TRIMMED, fields)
        if surplus:
            self._archive.trim(surplus)
            log.warning("archive_trimmed", extra={"trees": len(surplus)})

    async def _answer(self, asked: Asked, note: Note, send: Send) -> None:
        """Say in a leaf what becomes of a request, and then do it."""
        request = parse_request(asked.payload, self._key)
        _, device, epoch = request.place
        batches = 0
        if asked.state == ALLOWED:
            batches = self._archive.count(device, epoch, request.first_seq, request.last_seq)
        signed = parse_canonical(asked.payload)
        fields = {**signed, "answer": asked.state, "batches": str(batches)}
        await note(device, REQUESTED, fields)
        self._archive.told(asked)
        if batches:
            send(device, self._payloads(request))

    def _payloads(self, request: RawRequest) -> Iterator[bytes]:
        _, device, epoch = request.place
        wanted = self._archive.covering(device, epoch, request.first_seq, request.last_seq)
        return (batch.payload for batch in wanted)

    def _range(self, device: str, epoch: int, first_seq: int, last_seq: int) -> dict[str, str]:
        return {
            "first_seq": str(first_seq),
            "last_seq": str(last_seq),
            "origin": origin(self._site, device, epoch),
        }
