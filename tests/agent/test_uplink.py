import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from typing import Any

import pytest

from joulemark_agent import mqtt
from joulemark_agent.contract.batch import Batch, parse_batch
from joulemark_agent.contract.errors import StoreError
from joulemark_agent.contract.signature import (
    Checkpoint,
    cosign,
    parse_checkpoint,
    parse_note,
    public_key,
    sign_checkpoint,
)
from joulemark_agent.contract.topics import receipt_topic, refusal_topic
from joulemark_agent.mqtt import Acked, Login
from joulemark_agent.outbox import Outbox, Sealed
from joulemark_agent.streams import Stream
from joulemark_agent.uplink import RESEND, WINDOW, Collector, Timing, Uplink
from joulemark_gateway.broker import start_broker
from support import evidence
from support.collecting import LOST, Answer, Ledger, SmallCollector, honest, receipt, refusal
from support.evidence import AGENT, COUNTER, KEYS, METER, SITE, WITNESS
from support.recording import batches_of, database, kept, recorded, recorder, state

DOCUMENTS = evidence.documents()
METER_ORIGIN, COUNTER_ORIGIN = f"joulemark/{SITE}/{METER}/1", f"joulemark/{SITE}/{COUNTER}/1"
READINGS = evidence.meter_readings(DOCUMENTS, [1000] * 200)
PRODUCTION = evidence.counter_readings(DOCUMENTS, [100] * 200)
QUICK = Timing(receipt_s=0.3, retry_s=0.02, longest_retry_s=0.1, refused_s=0.2)
PATIENT = Timing(receipt_s=30.0, retry_s=0.02, longest_retry_s=0.1)
WAIT_S = 30.0


@pytest.fixture
def outbox(tmp_path) -> Iterator[Outbox]:
    box = Outbox(state(tmp_path))
    yield box
    box.close()


def fill(box: Outbox, slots: int = 100, *, two: bool = False) -> None:
    """Batches of 4 slots of one device or of two."""
    devices = [recorded(DOCUMENTS), *([recorded(DOCUMENTS, COUNTER)] if two else [])]
    writer = recorder(box, *devices, slots=4)
    writer.commit([*READINGS[:slots], *(PRODUCTION[:slots] if two else [])])
    writer.seal_all()


def uplink_to(
    url: str,
    box: Outbox,
    timing: Timing = PATIENT,
    kind: type[Uplink] = Uplink,
    **login: Any,
) -> Uplink:
    collector = Collector(SITE, AGENT, WITNESS, public_key(KEYS.witness))
    return kind(Login(url, AGENT, **login), collector, box, timing)


@asynccontextmanager
async def running(uplink: Uplink) -> AsyncIterator[Uplink]:
    uplink.start()
    try:
        yield uplink
    finally:
        await uplink.close()


@contextmanager
def collecting(port: int, ledger: Ledger, **options) -> Iterator[SmallCollector]:
    collector = SmallCollector(port, ledger, **options)
    try:
        yield collector
    finally:
        collector.close()


async def drained(uplink: Uplink) -> None:
    await asyncio.wait_for(uplink.wait_drained(), WAIT_S)


async def heard(collector: SmallCollector, messages: int) -> None:
    """The collector has seen so many messages more."""
    for _ in range(messages):
        assert await asyncio.to_thread(collector.heard.acquire, timeout=WAIT_S)


async def until(condition) -> None:
    """Return as soon as the condition holds; it is an error if it never does."""
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110 - what is waited for sets no event
            await asyncio.sleep(0.005)


def troubles(caplog) -> list[str]:
    return [r.code for r in caplog.records if r.getMessage() == "uplink_trouble"]


# ------------------------------------------------------------------- delivery


@pytest.mark.parametrize("takes_columns", [True, False])
async def test_batches_go_as_columns_to_a_collector_that_says_it_takes_them(
    broker, outbox, takes_columns
):
    writer = recorder(outbox, recorded(DOCUMENTS), slots=32)
    writer.commit(READINGS[:32])
    ledger = Ledger()
    with collecting(broker.port, ledger, takes_columns=takes_columns) as collector:
        async with running(uplink_to(broker.url, outbox)) as uplink:
            await drained(uplink)
            uplink.offer(writer.commit(READINGS[32:64]))
            expected = [*ledger.leaves[METER_ORIGIN], *kept(outbox).leaves]
            await drained(uplink)

    assert collector.came_in_columns == [False, False, takes_columns], "two before any answer"
    assert ledger.leaves[METER_ORIGIN] == expected


async def test_batches_arrive_in_order_and_are_deleted_on_the_receipt(broker, outbox):
    fill(outbox, two=True)
    expected = {device: kept(outbox, device).leaves for device in (METER, COUNTER)}
    ledger = Ledger()
    with collecting(broker.port, ledger):
        async with running(uplink_to(broker.url, outbox)) as uplink:
            await drained(uplink)
    assert ledger.leaves == {METER_ORIGIN: expected[METER], COUNTER_ORIGIN: expected[COUNTER]}
    for device in (METER, COUNTER):
        seqs = [seq for name, seq in ledger.arrivals if name == device]
        assert seqs == sorted(set(seqs)), "in order, each once"
    assert outbox.waiting() == {}
    assert uplink.unconfirmed == 0


async def test_what_is_sealed_while_it_runs_is_sent_too(broker, outbox):
    writer = recorder(outbox, recorded(DOCUMENTS), slots=4)
    ledger = Ledger()
    with collecting(broker.port, ledger):
        async with running(uplink_to(broker.url, outbox)) as uplink:
            await drained(uplink)
            for i in range(0, 40, 10):
                uplink.offer(writer.commit(READINGS[i : i + 10]))
                await drained(uplink)
            uplink.offer(writer.seal_all())
            await drained(uplink)
    assert len(ledger.leaves[METER_ORIGIN]) == writer.summary()[METER]["size"]


async def test_what_was_just_closed_is_not_read_again_from_the_disk(broker, outbox, monkeypatch):
    writer = recorder(outbox, recorded(DOCUMENTS), slots=4)
    ledger, read = Ledger(), list[Any]()
    next_batch = Outbox.next_batch

    def counted(box: Outbox, *place: Any) -> Sealed | None:
        read.append(place)
        return next_batch(box, *place)

    monkeypatch.setattr(Outbox, "next_batch", counted)
    with collecting(broker.port, ledger):
        async with running(uplink_to(broker.url, outbox)) as uplink:
            await drained(uplink)
            before = len(read)
            for i in range(0, 40, 4):
                uplink.offer(writer.commit(READINGS[i : i + 4]))
                await drained(uplink)
    assert len(read) - before <= 1, "where the tree stands"
    assert len(ledger.leaves[METER_ORIGIN]) == writer.summary()[METER]["size"]


class SendsAtOnce(Uplink):
    """The naive control: what is in memory may leave."""

    def _is_ready(self, stream: Stream) -> bool:
        return bool(stream.ready)


@pytest.mark.parametrize("kind", [Uplink, SendsAtOnce])
async def test_what_the_index_of_heads_does_not_know_yet_does_not_leave(
    broker, outbox, monkeypatch, kind
):
    """A head that left and that the disk then forgets would be signed a second time."""
    writer = recorder(outbox, recorded(DOCUMENTS), slots=4)
    ledger = Ledger()

    def fails(_box: Outbox) -> None:
        raise StoreError("There is no room.", "Make some.", code="disk_full")

    with collecting(broker.port, ledger):
        async with running(uplink_to(broker.url, outbox, QUICK, kind)) as uplink:
            uplink.offer(writer.commit(READINGS[:4]))
            await drained(uplink)
            before = len(ledger.arrivals)
            with monkeypatch.context() as patch:
                patch.setattr(Outbox, "_show", fails)
                hidden = writer.commit(READINGS[4:8])
                uplink.offer(hidden)
                await until(lambda: uplink.troubles or len(ledger.arrivals) > before)
                assert (len(ledger.arrivals) > before) == (kind is SendsAtOnce)
            await drained(uplink)


async def test_an_empty_outbox_is_drained_without_a_broker(outbox):
    async with running(uplink_to("mqtt://127.0.0.1:9", outbox)) as uplink:
        await drained(uplink)


# -------------------------------------------------------- nothing without receipt


async def test_without_a_collector_nothing_is_deleted_and_with_one_everything_arrives(
    broker, outbox, caplog
):
    fill(outbox)
    before = list(batches_of(outbox))
    ledger = Ledger()
    with caplog.at_level(logging.INFO):
        async with running(uplink_to(broker.url, outbox, QUICK)) as uplink:
            await until(lambda: troubles(caplog))
            assert list(batches_of(outbox)) == before
            with collecting(broker.port, ledger):
                await drained(uplink)
    assert troubles(caplog) == ["not_taken"], "said once, not at every attempt"
    assert "no collector is listening" in caplog.text or any(
        "no collector is listening" in r.what for r in caplog.records if hasattr(r, "what")
    )
    assert [r.code for r in caplog.records if r.getMessage() == "uplink_recovered"] == ["not_taken"]
    assert outbox.waiting() == {}


async def test_a_receipt_that_was_lost_makes_the_batch_come_again_and_only_once_count(
    broker, outbox
):
    fill(outbox, 40)
    expected = kept(outbox).leaves
    silent = iter([True] * 3)

    def forgetful(collector, agent, device, batch) -> list[Answer]:
        answers = honest(collector, agent, device, batch)
        return [] if next(silent, False) else answers

    ledger = Ledger()
    with collecting(broker.port, ledger, answering=forgetful):
        async with running(uplink_to(broker.url, outbox, QUICK)) as uplink:
            await drained(uplink)
    assert ledger.leaves[METER_ORIGIN] == expected


async def die_before_committing(broker, outbox, kind) -> tuple[Ledger, list[bytes]]:
    """A collector that commits in groups dies with a group in memory; the next one goes on."""
    fill(outbox, 64)
    expected = kept(outbox).leaves
    ledger = Ledger()
    first = SmallCollector(broker.port, ledger, commit_every=5, freezes_after=8)
    async with running(uplink_to(broker.url, outbox, QUICK, kind)):
        await heard(first, 8)
        first.die()
        with collecting(broker.port, ledger):
            await until(lambda: not outbox.waiting())
    return ledger, expected


async def test_a_collector_that_dies_before_committing_costs_no_batch(broker, outbox):
    ledger, expected = await die_before_committing(broker, outbox, Uplink)
    assert ledger.leaves[METER_ORIGIN] == expected
    assert outbox.waiting() == {}


class DeletesOnPuback(Uplink):
    """The control: what most stacks do."""

    def _acked(self, event: Acked) -> None:
        for place, stream in self._streams.items():
            for sent in list(stream.sent.values()):
                if sent.mid == event.mid and event.reason < 0x80:
                    self._confirmed(stream, place, sent.size)


async def test_control_deleting_on_puback_loses_batches(broker, outbox):
    ledger, expected = await die_before_committing(broker, outbox, DeletesOnPuback)
    arrived = ledger.leaves.get(METER_ORIGIN, [])
    assert len(arrived) < len(expected)
    assert outbox.waiting() == {}, "neither the ledger nor the outbox has them"


# -------------------------------------------------------------------- forgeries


def other_root(note: str) -> str:
    head = parse_checkpoint(parse_note(note)[0])
    return sign_checkpoint(KEYS.agent, Checkpoint(head.origin, head.size, bytes(32)))


def on_topic(note: str) -> Answer:
    return receipt_topic(AGENT, METER), note.encode()


def cosigned(note: str, key: bytes = KEYS.witness, name: str = WITNESS) -> str:
    return cosign(key, name, note, 1_795_305_600)


FORGERIES = {
    "the plain checkpoint": lambda b: on_topic(b.checkpoint),
    "another key": lambda b: on_topic(cosigned(b.checkpoint, evidence.FOREIGN.witness)),
    "another name": lambda b: on_topic(cosigned(b.checkpoint, name="joulemark/else")),
    "another root": lambda b: on_topic(cosigned(other_root(b.checkpoint))),
    "without our signature": lambda b: on_topic(
        cosigned(
            sign_checkpoint(
                evidence.FOREIGN.agent, parse_checkpoint(parse_note(b.checkpoint)[0])
            )
        )
    ),
    "another tree": lambda b: on_topic(
        cosigned(
            sign_checkpoint(
                KEYS.agent,
                replace(
                    parse_checkpoint(parse_note(b.checkpoint)[0]),
                    origin=f"joulemark/elsewhere/{METER}/1",
                ),
            )
        )
    ),
    "a signature cut short": lambda b: on_topic(cosigned(b.checkpoint)[:-6] + "\n"),
    "not UTF-8": lambda _: (receipt_topic(AGENT, METER), b"\xff\xfe"),
    "nothing": lambda _: (receipt_topic(AGENT, METER), b""),
    "a refusal without fields": lambda _: (refusal_topic(AGENT, METER), b"{}"),
    "a refusal of another tree": lambda b: refusal(
        AGENT, METER, replace(b, checkpoint=b.checkpoint.replace(SITE, "elsewhere")), "hole", 0
    ),
}  # fmt: skip


@pytest.mark.parametrize("forgery", FORGERIES.values(), ids=FORGERIES)
async def test_a_forged_answer_deletes_nothing(broker, outbox, forgery, caplog):
    fill(outbox, 8)
    before = list(batches_of(outbox))

    def forger(_collector, _agent, _device, batch: Batch) -> list[Answer]:
        return [forgery(batch)] * 2

    with collecting(broker.port, Ledger(), answering=forger) as collector:
        async with running(uplink_to(broker.url, outbox)):
            await heard(collector, len(before))
            await until(lambda: troubles(caplog))
            assert list(batches_of(outbox)) == before
    assert troubles(caplog) == ["untrusted_answer"], "said once"


async def test_control_the_same_answer_unforged_deletes_the_batch(broker, outbox, caplog):
    fill(outbox, 8)
    with collecting(broker.port, Ledger(), answering=lambda _c, a, d, b: [receipt(a, d, b)] * 2):
        async with running(uplink_to(broker.url, outbox)) as uplink:
            await drained(uplink)
    assert troubles(caplog) == []


# ---------------------------------------------------------------------- refusals


async def test_a_hole_is_filled_from_the_size_the_collector_expects(broker, outbox):
    fill(outbox, 120)
    expected = kept(outbox).leaves
    dropped: list[int] = []

    def drops_two(collector, agent, device, batch) -> list[Answer]:
        if len(collector.ledger.arrivals) in {3, 9}:
            dropped.append(batch.first_seq)
            return []  # as if it had never arrived
        return honest(collector, agent, device, batch)

    ledger = Ledger()
    with collecting(broker.port, ledger, answering=drops_two):
        async with running(uplink_to(broker.url, outbox)) as uplink:
            await drained(uplink)
    assert len(dropped) == 2
    assert ledger.leaves[METER_ORIGIN] == expected
    batches = len({seq for _, seq in ledger.arrivals})
    assert len(ledger.arrivals) <= batches + 2 * (WINDOW + 2), "one hole is filled once"


async def test_a_collector_that_has_just_connected_need_not_wait_for_patience_to_end(
    broker, outbox
):
    fill(outbox, 40, two=True)
    ledger = Ledger()
    patience = replace(PATIENT, receipt_s=2 * WAIT_S)  # longer than this test may take
    async with running(uplink_to(broker.url, outbox, patience)) as uplink:
        with collecting(broker.port, ledger, answering=lambda *_: []) as dying:
            await heard(dying, 3)  # all that was sent is under way for ever
        with collecting(broker.port, ledger) as collector:
            for device in (METER, COUNTER):
                batch = parse_batch(next(iter(batches_of(outbox, device))).payload)
                collector.publish(*refusal(AGENT, device, batch, RESEND, 0))
            await drained(uplink)
    assert outbox.waiting() == {}


async def test_a_refused_batch_stays_and_the_other_device_goes_on(broker, outbox, caplog):
    fill(outbox, 60, two=True)
    expected = kept(outbox).leaves
    is_mended = False

    def hostile_to_the_meter(collector, agent, device, batch) -> list[Answer]:
        if device == METER and not is_mended:
            return [refusal(agent, device, batch, "bad_leaf", 0)]
        return honest(collector, agent, device, batch)

    ledger = Ledger()
    with collecting(broker.port, ledger, answering=hostile_to_the_meter):
        async with running(uplink_to(broker.url, outbox, QUICK)) as uplink:
            await until(lambda: (COUNTER, 1) not in outbox.waiting())
            assert kept(outbox).leaves == expected
            is_mended = True
            await drained(uplink)
    assert ledger.leaves[METER_ORIGIN] == expected
    assert troubles(caplog).count("batch_refused") == 1


async def test_a_collector_that_lost_what_it_confirmed_is_told_apart_from_a_hole(
    broker, outbox, caplog
):
    fill(outbox, 40)
    with collecting(broker.port, Ledger()):
        async with running(uplink_to(broker.url, outbox)) as uplink:
            await drained(uplink)
    writer = recorder(outbox, recorded(DOCUMENTS), slots=4)
    writer.commit(READINGS[40:50])
    before = list(batches_of(outbox))
    with collecting(broker.port, Ledger()):  # a new one: it expects size 0
        async with running(uplink_to(broker.url, outbox, QUICK)):
            await until(lambda: "batch_refused" in troubles(caplog))
    assert list(batches_of(outbox)) == before


# ------------------------------------------------------------ window and patience


async def test_at_most_a_window_is_on_its_way_and_one_when_nobody_answers(broker, outbox):
    fill(outbox, 200, two=True)
    assert sum(outbox.waiting().values()) > 2 * WINDOW
    ledger = Ledger()
    with collecting(broker.port, ledger, answering=lambda *_: []) as collector:
        async with running(uplink_to(broker.url, outbox, replace(QUICK, receipt_s=0.2))):
            await heard(collector, WINDOW)
            first = len(ledger.arrivals)
            await heard(collector, 3)
    assert first == WINDOW
    again = ledger.arrivals[WINDOW:]
    assert {seq for _, seq in again} == {0}, "only the oldest batch of each device is tried"


# ------------------------------------------------------------------ broken links


@pytest.mark.parametrize("kind", ["embedded", pytest.param("mosquitto", marks=pytest.mark.service)])
async def test_a_broker_that_is_killed_and_comes_back_costs_nothing(outbox, kind, request):
    if kind == "mosquitto":
        request.getfixturevalue("mosquitto")
    fill(outbox, 120)
    expected = kept(outbox).leaves
    ledger = Ledger()
    first = start_broker(kind)
    collector = SmallCollector(first.port, ledger, commit_every=3)
    async with running(uplink_to(first.url, outbox, QUICK)) as uplink:
        await heard(collector, 10)
        first.kill()
        collector.die()
        with start_broker(kind, first.port), collecting(first.port, ledger):
            await drained(uplink)
    assert ledger.leaves[METER_ORIGIN] == expected


async def test_a_broker_out_of_reach_is_said_once_and_tried_on(outbox, caplog):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    fill(outbox, 8)
    async with running(uplink_to(f"mqtt://127.0.0.1:{port}", outbox, QUICK)) as uplink:
        await until(lambda: uplink._retry_s == QUICK.longest_retry_s)
        assert troubles(caplog) == ["unreachable"]
        assert "Check 'uplink.url'" in caplog.records[-1].do
        ledger = Ledger()
        with start_broker("embedded", port), collecting(port, ledger):
            await drained(uplink)
    assert outbox.waiting() == {}


async def test_a_port_that_takes_connections_and_says_nothing_is_given_up(
    outbox, caplog, monkeypatch
):
    monkeypatch.setattr(mqtt, "_ANSWER_S", 0.1)
    monkeypatch.setattr(mqtt, "_GOODBYE_S", 0.1)
    fill(outbox, 8)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"mqtt://127.0.0.1:{silent.getsockname()[1]}"
        async with running(uplink_to(url, outbox, QUICK)):
            await until(lambda: troubles(caplog))
    assert "said nothing" in caplog.records[-1].what


@pytest.mark.service
@pytest.mark.usefixtures("mosquitto")
async def test_a_refused_login_is_one_message_with_what_to_do_and_loses_nothing(outbox, caplog):
    fill(outbox, 40)
    expected = kept(outbox).leaves
    ledger = Ledger()
    with start_broker("mosquitto", users={AGENT: "right", "collector": "c"}) as broker:
        wrong = uplink_to(broker.url, outbox, QUICK, username=AGENT, password="wrong")
        async with running(wrong):
            await until(lambda: wrong._retry_s == QUICK.longest_retry_s)
        (said,) = [r for r in caplog.records if r.getMessage() == "uplink_trouble"]
        assert said.code == "refused"
        assert "Not authorized" in said.what
        assert "JOULEMARK_UPLINK__PASSWORD" in said.do
        assert "wrong" not in caplog.text
        assert kept(outbox).leaves == expected
        right = uplink_to(broker.url, outbox, QUICK, username=AGENT, password="right")
        with collecting(broker.port, ledger, login=("collector", "c")):
            async with running(right) as uplink:
                await drained(uplink)
    assert ledger.leaves[METER_ORIGIN] == expected


async def test_damaged_batches_are_stood_for_by_their_cover_and_the_rest_goes_on(broker, outbox):
    fill(outbox, 40)
    damaged = {batch.first_seq for batch in batches_of(outbox)[3:6:2]}
    expected = kept(outbox).leaves
    half = "substr(payload, 1, length(payload) / 2)"
    for first_seq in damaged:
        spoil = f"UPDATE batches SET payload = {half} WHERE first_seq = ?"
        database(outbox).execute(spoil, (first_seq,))
    ledger = Ledger()
    with collecting(broker.port, ledger):
        async with running(uplink_to(broker.url, outbox, QUICK)) as uplink:
            await drained(uplink)
    held = ledger.leaves[METER_ORIGIN]
    assert len(held) == len(expected)
    lost = {seq for seq, leaf in enumerate(held) if leaf == LOST}
    assert damaged <= lost
    assert len(lost) < 20
    assert [a for a, b in zip(held, expected, strict=True) if a not in (LOST, b)] == []


async def test_closing_leaves_what_has_no_receipt(broker, outbox):
    fill(outbox, 40)
    before = list(batches_of(outbox))
    with collecting(broker.port, Ledger(), answering=lambda *_: []) as collector:
        async with running(uplink_to(broker.url, outbox)):
            await heard(collector, 3)
    assert list(batches_of(outbox)) == before
