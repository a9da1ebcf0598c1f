"""What agents say ahead of their backlog, and of themselves: in memory, newest only, never counted.

A live message is checked as far as it can prove itself: registered agent and device, its key of
now, the edge before it, the signed head, the envelope's counts. Whether the leaves before it are
what they should be is known only when they are here; until then nothing is made of it but a line
that says so.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from joulemark_agent.contract.batch import parse_u64
from joulemark_agent.contract.errors import EvidenceError
from joulemark_agent.contract.health import parse_health
from joulemark_agent.contract.leaf import parse_leaf
from joulemark_agent.contract.live import parse_live
from joulemark_agent.contract.revocation import Revoked, objection
from joulemark_agent.contract.rotation import signer_of
from joulemark_agent.contract.topics import parse_origin
from joulemark_gateway.ingest.registered import Agent

KINDS = ("live", "health")  # of messages that are not evidence
_MOST_AHEAD_US = 300_000_000  # of a time in the future

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LiveReading:
    """The newest reading of a device, and how many leaves its tree then has."""

    agent: str
    site: str
    device: str
    epoch: int
    slot_us: int
    t_utc_us: int
    values: Mapping[str, str]
    quality: Mapping[str, str]
    size: int
    sealed_us: int
    received_us: int


@dataclass(frozen=True)
class AgentHealth:
    """How an agent said it was."""

    agent: str
    site: str
    content: Mapping[str, Any]
    received_us: int


class LiveBoard:
    """The newest of each device and agent; any thread may look."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._readings: dict[tuple[str, str], LiveReading] = {}  # by site and device
        self._health: dict[str, AgentHealth] = {}  # by agent

    def take(
        self,
        kind: str,
        device: str,
        payload: bytes,
        *,
        agent: Agent,
        keys: Collection[bytes],
        revoked: Iterable[Revoked],
        now_us: int,
    ) -> None:
        """Keep a message that proves itself and is newer than what is shown; say if it does not.

        Args:
            kind: `live` or `health`.
            device: of the topic; the agent's own name with `health`.
            payload: the message.
            agent: who sent it according to the topic.
            keys: that may have signed it.
            revoked: which of them may not.
            now_us: wall time of the receipt, UTC. [us]
        """
        try:
            if kind == "health":
                self._take_health(device, payload, agent, keys, now_us)
            else:
                found = _reading(device, payload, agent, now_us)
                self._show(found, keys, revoked)
        except EvidenceError as error:
            fields = {"agent": agent.agent, "device": device, "code": error.code}
            log.warning("live_refused", extra={**fields, "what": error.what})

    def readings(self, site: str) -> list[LiveReading]:
        """What is live of a site."""
        with self._lock:
            return [one for (name, _), one in sorted(self._readings.items()) if name == site]

    def everyone(self) -> dict[str, AgentHealth]:
        """How every agent is, by its name."""
        with self._lock:
            return dict(self._health)

    def everything(self) -> list[LiveReading]:
        """What is live of all sites."""
        with self._lock:
            return list(self._readings.values())

    def reading(self, site: str, device: str) -> LiveReading | None:
        """What is live of a device."""
        with self._lock:
            return self._readings.get((site, device))

    def agents(self, site: str) -> list[AgentHealth]:
        """How the agents of a site are."""
        with self._lock:
            return [one for _, one in sorted(self._health.items()) if one.site == site]

    def _take_health(
        self, device: str, payload: bytes, agent: Agent, keys: Collection[bytes], now_us: int
    ) -> None:
        content = parse_health(payload, tuple(keys))
        if (device, content["agent"], content["site"]) != (agent.agent, agent.agent, agent.site):
            raise _refused("it is about another agent than its topic")
        with self._lock:
            self._health[agent.agent] = AgentHealth(agent.agent, agent.site, content, now_us)

    def _show(self, found: _Claimed, keys: Collection[bytes], revoked: Iterable[Revoked]) -> None:
        """Show a reading that a key of the agent signed and that is newer than what is shown."""
        key = signer_of(found.note, keys)
        if key is None:
            raise _refused("no key of this agent signed it", "bad_signature")
        if (why := objection(revoked, key, found.origin, found.size)) is not None:
            raise _refused(why, "revoked")
        new = found.reading
        if new is None:
            return
        with self._lock:
            known = self._readings.get((new.site, new.device))
            if known is None or (known.epoch, known.size) < (new.epoch, new.size):
                self._readings[new.site, new.device] = new


@dataclass(frozen=True)
class _Claimed:
    """What a live message says; whose signature it bears is still to be seen."""

    note: str
    origin: str
    size: int
    reading: LiveReading | None  # None: its leaves hold no record


def _reading(device: str, payload: bytes, agent: Agent, now_us: int) -> _Claimed:
    live, head, envelope = parse_live(payload)
    site, named, epoch = parse_origin(head.origin)
    if (site, named) != (agent.site, device) or device not in agent.devices:
        raise _refused("it is about another device than its topic")
    contents = [parse_leaf(leaf) for leaf in live.batch.leaves]
    for seq, content in enumerate(contents, live.batch.first_seq):
        if (content["dev"], content["epoch"], content["seq"]) != (device, epoch, str(seq)):
            raise _refused(f"leaf {seq} is of another place")
    records = [content for content in contents if "type" not in content]
    if envelope.get("records") != len(records):
        raise _refused("its envelope counts other records")
    claimed = _Claimed(live.batch.checkpoint, head.origin, head.size, None)
    if not records:
        return claimed
    last = records[-1]
    slot_us, t_utc_us = (parse_u64(last[name], name) for name in ("slot", "t_utc_us"))
    if max(slot_us, t_utc_us) > now_us + _MOST_AHEAD_US:
        raise _refused("it is of the future")
    if not all(isinstance(part, dict) for part in (last["val"], last["q"])):
        raise _refused("its last record is of another form")
    reading = LiveReading(
        agent.agent, site, device, epoch, slot_us, t_utc_us, last["val"], last["q"], head.size,
        parse_u64(envelope.get("sealed_us"), "sealed_us"), now_us,
    )  # fmt: skip
    return replace(claimed, reading=reading)


def _refused(why: str, code: str = "bad_live") -> EvidenceError:
    return EvidenceError(f"It is not shown: {why}.", "Look for who published it.", code=code)
