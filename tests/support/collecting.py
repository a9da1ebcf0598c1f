"""A small collector for tests of the agent: paho and the contract's functions, nothing else.

What it committed stands in a `Ledger`, which outlives it as a disk would; what it holds in memory
dies with it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from joulemark_agent.contract.batch import Batch, parse_batch
from joulemark_agent.contract.canonical import canonical_bytes
from joulemark_agent.contract.frame import is_packed
from joulemark_agent.contract.signature import cosign, parse_checkpoint, parse_note
from joulemark_agent.contract.sparse import Part, SparseBatch, Withheld, extended, parse_sparse
from joulemark_agent.contract.topics import ALL_UP, parse_topic, receipt_topic, refusal_topic
from joulemark_agent.contract.tree import Edge, root
from joulemark_agent.mqtt_client import with_columns
from support import evidence

TIME_S = evidence.SEALED_US // 1_000_000
Answer = tuple[str, bytes]
Answering = Callable[["SmallCollector", str, str, Any], list[Answer]]


LOST = b""  # stands for a leaf of which only the cover came
AnyBatch = Batch | SparseBatch


@dataclass
class Ledger:
    """The durable part: the leaves of each tree, and every batch in the order of arrival."""

    leaves: dict[str, list[bytes]] = field(default_factory=dict)  # by origin
    arrivals: list[tuple[str, int]] = field(default_factory=list)  # device, first seq
    edges: dict[str, Edge] = field(default_factory=dict)  # by origin

    def take(self, origin: str, batch: AnyBatch) -> int:
        """Commit a batch that fits or is there already; the size the tree then has."""
        known = self.leaves.setdefault(origin, [])
        if batch.first_seq > len(known):
            return len(known)
        parts: Sequence[Part] = batch.parts if isinstance(batch, SparseBatch) else batch.leaves
        whole = [LOST if isinstance(p, Withheld) else p for p in parts for _ in range(_count(p))]
        ours = known[batch.first_seq : batch.size]
        same = all(LOST in pair or pair[0] == pair[1] for pair in zip(ours, whole, strict=False))
        assert same, "another batch under the same numbers"
        if batch.first_seq == len(known):
            edge = extended(self.edges.get(origin, Edge()), parts)
            head = parse_checkpoint(parse_note(batch.checkpoint)[0])
            assert (head.size, head.root) == (batch.size, root(edge))
            self.edges[origin] = edge
            known += whole
        assert batch.size <= len(known), "half of the batch is held"
        return len(known)


def _count(part: Part) -> int:
    return part.count if isinstance(part, Withheld) else 1


class SmallCollector:
    """Connected and subscribed once made; `close` is a clean end, `die` forgets its memory."""

    def __init__(
        self,
        port: int,
        ledger: Ledger,
        *,
        answering: Answering | None = None,
        commit_every: int = 1,
        freezes_after: int | None = None,
        login: tuple[str, str] | None = None,
        takes_columns: bool = False,
    ) -> None:
        self.ledger, self.commit_every, self.freezes_after = ledger, commit_every, freezes_after
        self.answering = answering or honest
        self._properties = with_columns() if takes_columns else None
        self.came_in_columns: list[bool] = []  # each batch
        self.memory: list[tuple[str, str, AnyBatch]] = []
        self.live: list[tuple[str, bytes]] = []  # device, payload
        self.health: list[bytes] = []
        self.heard = threading.Semaphore(0)
        self._ready = threading.Event()
        self._client = Client(
            CallbackAPIVersion.VERSION2,
            client_id="collector",
            protocol=MQTTProtocolVersion.MQTTv5,
            reconnect_on_failure=False,
        )
        if login is not None:
            self._client.username_pw_set(*login)
        self._client.on_connect = lambda client, *_: client.subscribe([(t, 1) for t in ALL_UP])
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.on_message = self._on_message
        self._client.connect("127.0.0.1", port, keepalive=15, clean_start=True)
        self._client.loop_start()
        assert self._ready.wait(20)

    def close(self) -> None:
        """Leave."""
        self._client.disconnect()
        self._client.loop_stop()

    die = close  # what is in `memory` is gone with the object

    def publish(self, topic: str, payload: bytes) -> None:
        """Say anything, true or not."""
        self._client.publish(topic, payload, qos=1, properties=self._properties)

    def _on_message(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        _, agent, device, kind = parse_topic(message.topic)
        data = bytes(message.payload)
        if kind == "live":
            self.live.append((device, data))
            return
        if kind == "health":
            self.health.append(data)
            return
        self.came_in_columns.append(is_packed(data))
        batch: AnyBatch = parse_sparse(data) if kind == "sparse" else parse_batch(data)
        if self.freezes_after is not None and len(self.ledger.arrivals) >= self.freezes_after:
            return  # as good as dead: nothing is committed any more
        self.ledger.arrivals.append((device, batch.first_seq))
        self.memory.append((agent, device, batch))
        if len(self.memory) >= self.commit_every:
            for waiting in self.memory:
                for answer in self.answering(self, *waiting):
                    self.publish(*answer)
            self.memory.clear()
        self.heard.release()


def origin_of(batch: AnyBatch) -> str:
    """The tree a batch belongs to."""
    return batch.checkpoint.split("\n", 1)[0]


def honest(collector: SmallCollector, agent: str, device: str, batch: AnyBatch) -> list[Answer]:
    """Commit, then confirm; say where the hole is when there is one."""
    size = collector.ledger.take(origin_of(batch), batch)
    if batch.first_seq > size:
        return [refusal(agent, device, batch, "hole", size)]
    return [receipt(agent, device, batch)]


def receipt(
    agent: str,
    device: str,
    batch: AnyBatch,
    *,
    key: bytes = evidence.KEYS.witness,
    name: str = evidence.WITNESS,
) -> Answer:
    """The collector's word that it has the batch."""
    note = cosign(key, name, batch.checkpoint, TIME_S)
    return receipt_topic(agent, device), note.encode()


def refusal(agent: str, device: str, batch: AnyBatch, code: str, expected: int) -> Answer:
    """The collector's word that it does not take the batch."""
    content = {
        "v": 1, "origin": origin_of(batch), "code": code, "what": f"a test says {code}",
        "expected_size": str(expected),
    }  # fmt: skip
    return refusal_topic(agent, device), canonical_bytes(content)
