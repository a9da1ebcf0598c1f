"""Targets: what comes over MQTT, and signed notes. Leaves also change under true signatures."""

from __future__ import annotations

import copy
import random
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from joulemark_agent.contract.batch import batch_bytes, columns_bytes, parse_batch
from joulemark_agent.contract.leaf import parse_leaf
from joulemark_agent.contract.signature import (
    cosign,
    cosigned_at,
    is_log_signed,
    parse_checkpoint,
    parse_note,
    public_key,
)
from joulemark_agent.contract.sparse import (
    SparseBatch,
    extended,
    parse_sparse,
    sparse_bytes,
    withheld,
)
from joulemark_agent.contract.topics import batch_topic, parse_origin, parse_topic
from joulemark_agent.contract.tree import Edge
from joulemark_agent.mqtt import Login, Received
from joulemark_agent.outbox import Outbox
from joulemark_agent.store_thread import StoreThread
from joulemark_agent.uplink import Collector, Uplink
from joulemark_gateway.ingest.verify import Refused
from support import collecting, evidence
from support.book import Book, resigned
from support.columns import reframed
from support.evidence import AGENT, KEYS, METER, SITE, WITNESS
from support.fuzz.harness import Target
from support.fuzz.mutate import deflated, json_text, octets
from support.intakes import new_intake
from support.recording import recorded, recorder, state

TIME_S = evidence.SEALED_US // 1_000_000
SHARED_MEMORY = Path("/dev/shm")
DOCUMENTS = evidence.documents()


class RefusedError(Exception):
    """A verdict that is no acceptance."""


@cache
def _tree() -> tuple[Any, ...]:
    results = evidence.meter_readings(DOCUMENTS, [1000] * 7)
    made = evidence.build_tree(
        DOCUMENTS, METER, evidence.with_gap(results, 5, 1), slots_per_batch=3
    )
    return tuple(evidence.uncosigned(batch) for batch in made)


def _batches() -> list[bytes]:
    return [batch_bytes(batch) for batch in _tree()]


def _columns() -> list[bytes]:
    return [columns_bytes(batch) for batch in _tree()]


def _sparse() -> list[bytes]:
    first, second, *_ = _tree()
    parts = (*first.leaves[:2], withheld(first.leaves[2:-1], 2), first.leaves[-1])
    alone = SparseBatch(
        second.first_seq, (withheld(second.leaves, second.first_seq),), second.checkpoint
    )
    return [
        sparse_bytes(SparseBatch(0, parts, first.checkpoint, first.documents)),
        sparse_bytes(alone),
    ]


def _parse_sparse(data: bytes) -> None:
    batch = parse_sparse(data)
    edge = Edge(batch.first_seq % 64, (bytes(32),) * (batch.first_seq % 64).bit_count())
    assert extended(edge, batch.parts).size == edge.size + batch.size - batch.first_seq


def _judge_signed(data: bytes) -> None:
    """The leaves as they are, under a head the agent's key signed: only their sense is false."""
    batch = parse_batch(data)
    book = copy.copy(_books()[batch.first_seq]) if batch.first_seq in _books() else Book()
    for name in ("heads", "leaves", "notes", "documents"):
        setattr(book, name, dict(getattr(book, name)))
    before = next((head.edge for head in book.heads.values()), Edge())
    verdict = book.offer(resigned(batch, batch.leaves, before))
    if isinstance(verdict, Refused):
        raise RefusedError(verdict.code)


@cache
def _books() -> dict[int, Book]:
    """What is held before each batch of the tree."""
    found, book = {}, Book()
    for batch in _tree():
        found[batch.first_seq] = copy.deepcopy(book)
        book.accepted(batch)
    return found


def one_leaf(rng: random.Random, data: bytes, corpus: Sequence[bytes]) -> bytes:
    """A batch with one leaf, or document, changed inside."""
    batch = parse_batch(data)
    if rng.random() < 0.1:
        return deflated(json_text)(rng, data, corpus)
    leaves = list(batch.leaves)
    at = rng.randrange(len(leaves))
    changed = json_text(rng, leaves[at], leaves)
    leaves[at] = changed.decode(errors="replace").replace("\n", " ").encode()
    return batch_bytes(replace(batch, leaves=tuple(leaves)))


class _Kept(Outbox):
    """Tells what it would delete."""

    deleted = 0

    def receipts(self, sizes: Mapping[tuple[str, int], int]) -> dict[tuple[str, int], int]:
        """As if they were deleted."""
        self.deleted += len(sizes)
        return dict.fromkeys(sizes, 0)


@cache
def _outbox() -> _Kept:
    folder = Path(tempfile.mkdtemp(dir=SHARED_MEMORY))
    box = _Kept(state(folder))
    writer = recorder(box, recorded(DOCUMENTS), slots=3)
    writer.commit(evidence.meter_readings(DOCUMENTS, [1000] * 7))
    writer.seal_all()
    return box


@cache
def _store() -> StoreThread:
    return StoreThread()


def _answered(kind: str) -> Callable[[bytes], Awaitable[None]]:
    topic = f"joulemark/v1/down/{AGENT}/{METER}/{kind}"

    async def run(data: bytes) -> None:
        box = _outbox()
        known = Collector(SITE, AGENT, WITNESS, public_key(KEYS.witness))
        uplink = Uplink(Login("mqtt://192.0.2.1", AGENT), known, box, store=_store())
        box.deleted = 0
        await uplink._take([Received(topic, data)])
        if uplink._deleting is not None:
            await uplink._deleting
        if box.deleted:
            text = parse_note(data.decode())[0]
            assert text in {parse_note(note)[0] for note in _own_notes()}, (
                "deletes by a forged note"
            )
        elif uplink._alarms:
            raise RefusedError(str(uplink._alarms))

    return run


@cache
def _own_notes() -> tuple[str, ...]:
    box = _outbox()
    found, at = [], 0
    while (batch := box.next_batch(METER, 1, at)) is not None:
        found.append(batch.checkpoint)
        at = batch.size
    return tuple(found)


def _receipts() -> list[bytes]:
    return [cosign(KEYS.witness, WITNESS, note, TIME_S).encode() for note in _own_notes()]


def _refusals() -> list[bytes]:
    batches = [parse_batch(_outbox().next_batch(METER, 1, at).payload) for at in (0, 3)]  # type: ignore[union-attr]
    return [
        collecting.refusal(AGENT, METER, batch, code, size)[1]
        for batch in batches
        for code, size in (("hole", 4), ("bad_batch", 0), ("hole", 2**63 - 1))
    ]


def _note(data: bytes) -> None:
    note = data.decode()
    text, _ = parse_note(note)
    parse_origin(parse_checkpoint(text).origin)
    signed = is_log_signed(note, public_key(KEYS.agent))
    seen = cosigned_at(note, WITNESS, public_key(KEYS.witness)) is not None
    if signed or seen:
        assert text in {parse_note(batch.checkpoint)[0] for batch in _tree()}, "forged"


def _notes() -> list[bytes]:
    return [cosign(KEYS.witness, WITNESS, batch.checkpoint, TIME_S).encode() for batch in _tree()]


def _topic(data: bytes) -> None:
    text = data.decode()
    _, agent, device, _ = parse_topic(text)
    assert set(agent + device) <= set("abcdefghijklmnopqrstuvwxyz0123456789-"), "an id that is none"
    assert text.count("/") == 5


@contextmanager
def _intake() -> Iterator[Any]:
    with tempfile.TemporaryDirectory(dir=SHARED_MEMORY) as folder:
        yield new_intake(Path(folder) / "evidence.db")


class _Taking:
    """A collector's intake that keeps what it refuses; topic and payload are one input."""

    def __init__(self) -> None:
        self._open = _intake()
        self._intake: Any = None

    def __call__(self, data: bytes) -> None:
        if self._intake is None:
            self._intake = self._open.__enter__()
        topic, _, payload = data.partition(b"\0")
        answer = self._intake.take(topic.decode(errors="replace"), payload)
        if answer is None or not answer.topic.endswith("/receipt"):
            raise RefusedError


def _messages() -> list[bytes]:
    topic = batch_topic(AGENT, METER).encode()
    return [topic + b"\0" + data for data in _batches()]


def message(rng: random.Random, data: bytes, corpus: Sequence[bytes]) -> bytes:
    """Now and then the topic is changed, else the payload."""
    topic, _, payload = data.partition(b"\0")
    if rng.random() < 0.2:
        return octets(rng, topic, [topic]).replace(b"\0", b"") + b"\0" + payload
    return topic + b"\0" + deflated(json_text)(rng, payload, corpus)


EVIDENCE_FORMS = (
    Target("batch", _batches, parse_batch, deflated(json_text)),
    Target("batch_columns", _columns, parse_batch, reframed),
    Target("sparse_batch", _sparse, _parse_sparse, deflated(json_text)),
    Target("leaf", lambda: [leaf for batch in _tree() for leaf in batch.leaves], parse_leaf,
           json_text),
    Target("signed_leaves", _batches, _judge_signed, one_leaf, (RefusedError, *Target.refusals)),
    Target("intake", _messages, _Taking(), message, (RefusedError,)),
    Target("receipt", _receipts, _answered("receipt"), octets, (RefusedError,)),
    Target("refusal", _refusals, _answered("refusal"), json_text, (RefusedError,)),
    Target("topic", lambda: [batch_topic(AGENT, METER).encode()], _topic, octets,
           (UnicodeDecodeError, *Target.refusals)),
    Target("signed_note", _notes, _note, octets, (UnicodeDecodeError, *Target.refusals)),
)  # fmt: skip
