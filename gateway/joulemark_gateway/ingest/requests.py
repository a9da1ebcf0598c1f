"""What this collector asks of agents: requests for raw records, kept as files until answered.

`joulemark evidence fetch` writes a signed request into the folder; the collector publishes it, and
again with every new connection and every minute, until a leaf of the tree tells the agent's answer
or a month has passed. An agent answers each id once, however often it comes. Nothing is deleted:
the folder is the list of who was asked for what, and what they said.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from joulemark_agent.contract.canonical import canonical_bytes, parse_canonical
from joulemark_agent.contract.errors import EvidenceError
from joulemark_agent.contract.raw import is_request_id
from joulemark_agent.contract.sparse import Part, Withheld
from joulemark_agent.contract.topics import parse_origin, request_topic
from joulemark_agent.files import replace_file
from joulemark_gateway.evidence.base import Accepted
from joulemark_gateway.ingest.intake import Answer

FOLDER = "requests"
AGAIN_S = 60.0
GIVEN_UP_US = 30 * 86_400 * 1_000_000
_LOOK_S = 1.0
_MARK = b'"type":"raw_request"'  # in JSON a text cannot hold these bytes

log = logging.getLogger(__name__)


@dataclass
class Asked:
    """One request: whom, what was signed, and the answers in the order of their leaves."""

    agent: str
    device: str
    payload: bytes
    answers: list[dict[str, str]] = field(default_factory=list)

    @property
    def id(self) -> str:
        """The request's id."""
        return str(parse_canonical(self.payload)["request"]["id"])

    @property
    def place(self) -> tuple[str, str]:
        """Site and device that are asked."""
        return parse_origin(str(parse_canonical(self.payload)["request"]["origin"]))[:2]

    @property
    def asked_us(self) -> int:
        """When it was signed. [us UTC]"""
        return int(parse_canonical(self.payload)["request"]["asked_us"])

    @property
    def is_answered(self) -> bool:
        """Whether the last word is yes or no."""
        return bool(self.answers) and self.answers[-1]["answer"] != "waiting"

    def to_bytes(self) -> bytes:
        """As it is kept."""
        content = {"agent": self.agent, "answers": self.answers, "device": self.device}
        return canonical_bytes({**content, "payload": self.payload.decode()})


class Requests:
    """The folder of requests; the collector and the command use it side by side."""

    def __init__(self, state_dir: Path) -> None:
        self._folder = state_dir / FOLDER
        self._looked_s = self._told_s = float("-inf")
        self._sent: dict[str, float] = {}  # when, by id

    def put(self, asked: Asked) -> None:
        """Keep a request; the collector publishes it within a second or so.

        Raises:
            OSError: it cannot be written.
        """
        replace_file(self._folder / f"{asked.id}.json", asked.to_bytes())

    def get(self, request_id: str) -> Asked | None:
        """One request, with the answers so far; of what is no id there is none."""
        if not is_request_id(request_id):
            return None
        return _read(self._folder / f"{request_id}.json")

    def all(self) -> list[Asked]:
        """Every request."""
        paths = sorted(self._folder.glob("*.json")) if self._folder.is_dir() else []
        return [asked for asked in map(_read, paths) if asked is not None]

    def connected(self) -> None:
        """The connection is new: what has no answer goes again at once."""
        self._sent.clear()

    def due(self) -> list[Answer]:
        """What is to be published now."""
        now_s = time.monotonic()
        if now_s < self._looked_s + _LOOK_S:
            return []
        self._looked_s = now_s
        found = []
        for asked in self.all():
            is_old = time.time_ns() // 1000 > asked.asked_us + GIVEN_UP_US
            again_s = self._sent.get(asked.id, float("-inf")) + AGAIN_S
            if asked.is_answered or is_old or now_s < again_s:
                continue
            self._sent[asked.id] = now_s
            found.append(Answer(request_topic(asked.agent, asked.device), asked.payload))
        return found

    def note(self, batch: Accepted) -> None:
        """Keep the answers that stand in leaves of the device which were just accepted."""
        for content in _answers_in(batch.leaves):
            asked = self.get(str(content["request"].get("id")))
            if asked is None or asked.place != parse_origin(batch.origin)[:2]:
                continue
            told = {"answer": content["answer"], "batches": content["batches"]}
            asked.answers.append({**told, "origin": batch.origin, "seq": content["seq"]})
            try:
                self.put(asked)
            except OSError:
                log.exception("request_not_kept", extra={"id": asked.id})


def _answers_in(parts: Iterable[Part]) -> list[dict[str, Any]]:
    found = []
    for part in parts:
        if isinstance(part, Withheld) or _MARK not in part:
            continue
        content = parse_canonical(part)
        request = content.get("request")
        texts = [content.get(name) for name in ("answer", "batches", "seq")]
        if isinstance(request, dict) and all(isinstance(text, str) for text in texts):
            found.append(content)
    return found


def _read(path: Path) -> Asked | None:
    try:
        content = parse_canonical(path.read_bytes())
        payload = content["payload"].encode()
        return Asked(content["agent"], content["device"], payload, list(content["answers"]))
    except (OSError, EvidenceError, KeyError, TypeError, AttributeError):
        return None
