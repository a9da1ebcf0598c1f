"""Who asks for raw records is answered as the factory wants, once, and both are on record."""

from dataclasses import replace

import pytest

from joulemark_agent.archive import ALLOWED, DENIED, WAITING, Archive
from joulemark_agent.contract.canonical import canonical_bytes
from joulemark_agent.contract.errors import EvidenceError, StoreError
from joulemark_agent.contract.leaf import parse_leaf
from joulemark_agent.contract.raw import RawRequest, parse_request, signed_request
from joulemark_agent.contract.reading import event_leaf
from joulemark_agent.contract.signature import public_key
from joulemark_agent.mqtt import Connection
from joulemark_agent.raw_queue import RawQueue
from joulemark_agent.raw_requests import REQUESTED, TRIMMED, Desk
from support import evidence
from support.archives import SITE as DOCS
from support.archives import record, stores
from support.evidence import FOREIGN, KEYS, METER, SITE

REQUEST = RawRequest("ab" * 16, f"joulemark/{SITE}/{METER}/1", 3, 8, 0, 10**6, 7, "col")
PAYLOAD = signed_request(REQUEST, KEYS.witness)
READINGS = evidence.meter_readings(DOCS, [10] * 8)


@pytest.fixture
def archive(tmp_path):
    with stores(tmp_path) as (outbox, found):
        outbox.receipt(METER, 1, list(record(outbox, READINGS))[-1].size)
        found.lack_told()
        yield found


class Counter:
    """What a desk writes and sends."""

    def __init__(self):
        self.notes, self.sent, self.order = [], [], []

    async def note(self, device, kind, fields):
        self.notes.append((device, kind, dict(fields)))
        self.order.append("leaf")
        leaf = event_leaf(kind, device, epoch=1, seq=9, fields=fields)
        assert parse_leaf(leaf)["type"] == kind, "every reader takes the leaf"

    def send(self, device, payloads):
        self.order.append("sent")
        self.sent += [(device, payload) for payload in payloads]

    async def work(self, desk, received=()):
        await desk.work(self.note, self.send, lambda: received)
        return [(kind, fields.get("answer")) for _, kind, fields in self.notes]


def desk_of(archive, policy, key=KEYS.witness):
    return Desk(archive, policy, SITE, public_key(key), lambda: 5)


async def test_what_is_allowed_is_said_in_a_leaf_and_then_sent_whole(archive):
    desk, counter = desk_of(archive, "allow"), Counter()
    desk.ask(METER, PAYLOAD)
    assert await counter.work(desk) == [(REQUESTED, ALLOWED)]
    wanted = [b.payload for b in archive.covering(METER, 1, 3, 8)]
    assert [payload for _, payload in counter.sent] == wanted
    assert len(wanted) == 3
    assert counter.order == ["leaf", "sent"]
    [(_, _, fields)] = counter.notes
    assert fields["batches"] == "3"
    whole = canonical_bytes({name: fields[name] for name in ("request", "signature")})
    assert parse_request(whole, public_key(KEYS.witness)) == REQUEST, "the leaf holds who asked"


async def test_what_is_denied_is_said_and_nothing_leaves(archive):
    desk, counter = desk_of(archive, "deny"), Counter()
    desk.ask(METER, PAYLOAD)
    assert await counter.work(desk) == [(REQUESTED, DENIED)]
    assert counter.sent == []


async def test_a_person_decides_where_the_factory_wants_to_be_asked(archive):
    desk, counter = desk_of(archive, "ask"), Counter()
    desk.ask(METER, PAYLOAD)
    assert await counter.work(desk) == [(REQUESTED, WAITING)]
    assert await counter.work(desk) == [(REQUESTED, WAITING)], "said once"
    assert archive.decide(REQUEST.id, ALLOWED)
    assert await counter.work(desk) == [(REQUESTED, WAITING), (REQUESTED, ALLOWED)]
    assert len(counter.sent) == 3


async def test_a_request_that_comes_again_is_answered_once(archive):
    desk, counter = desk_of(archive, "allow"), Counter()
    for _ in range(3):
        desk.ask(METER, PAYLOAD)
        await counter.work(desk)
    again = desk_of(archive, "deny")  # after a start, and with another mind
    again.ask(METER, PAYLOAD)
    assert await counter.work(again) == [(REQUESTED, ALLOWED)]
    assert len(counter.sent) == 3


async def test_what_the_archive_does_not_have_is_allowed_and_is_nothing(archive):
    desk, counter = desk_of(archive, "allow"), Counter()
    desk.ask(METER, signed_request(replace(REQUEST, first_seq=900, last_seq=999), KEYS.witness))
    await counter.work(desk)
    assert [fields["batches"] for _, _, fields in counter.notes] == ["0"]
    assert counter.sent == []


@pytest.mark.parametrize(
    "payload",
    [
        signed_request(REQUEST, FOREIGN.witness),
        signed_request(replace(REQUEST, origin="joulemark/other/main-meter/1"), KEYS.witness),
        signed_request(replace(REQUEST, origin=f"joulemark/{SITE}/other/1"), KEYS.witness),
        PAYLOAD.replace(b'"first_seq":"3"', b'"first_seq":"0"'),
        b"give me everything",
    ],
)
async def test_a_request_that_is_not_our_collectors_is_not_even_kept(archive, payload):
    desk = desk_of(archive, "allow")
    with pytest.raises(EvidenceError):
        desk.ask(METER, payload)
    assert archive.requests() == []


async def test_what_the_quota_pushes_out_is_named_before_it_goes(tmp_path, archive):
    small = Archive(tmp_path / "small.db", 1)
    one = next(archive.covering(METER, 1, 3, 3))
    small.keep([replace(one, first_seq=k * 10, size=k * 10 + 10) for k in range(1200)])
    small.lack_told()
    desk, counter = desk_of(small, "allow"), Counter()
    assert await counter.work(desk) == [(TRIMMED, None)]
    [(_, _, fields)] = counter.notes
    [held] = small.held()
    assert fields == {
        "first_seq": "0",
        "last_seq": str(held["first_seq"] - 1),
        "origin": f"joulemark/{SITE}/{METER}/1",
    }
    assert len(await counter.work(desk)) == 1, "there is no more to go"
    small.close()


async def test_a_kill_between_the_leaf_and_the_deletion_says_it_twice_and_keeps_it(
    tmp_path, archive, monkeypatch
):
    small = Archive(tmp_path / "small.db", 1)
    one = next(archive.covering(METER, 1, 3, 3))
    small.keep([replace(one, first_seq=k * 10, size=k * 10 + 10) for k in range(1200)])
    small.lack_told()
    desk, counter = desk_of(small, "allow"), Counter()
    with monkeypatch.context() as patched:
        patched.setattr(small, "trim", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            await counter.work(desk)
    assert small.count(METER, 1, 0, 10**9) == 1200
    await counter.work(desk)
    assert [kind for _, kind, _ in counter.notes] == [TRIMMED, TRIMMED]
    small.close()


async def test_an_archive_that_begins_late_says_what_it_lacks(tmp_path):
    new = Archive(tmp_path / "new.db", 1)
    desk, counter = desk_of(new, "allow"), Counter()
    received = [(METER, 1, 40), ("other", 2, 0)]
    assert await counter.work(desk, received) == [(TRIMMED, None)]
    assert counter.notes[0][2]["last_seq"] == "39"
    assert len(await counter.work(desk, received)) == 1
    new.close()


async def test_what_was_allowed_is_sent_although_the_agent_was_killed_after_it_said_so(archive):
    desk, killed = desk_of(archive, "allow"), Counter()
    desk.ask(METER, PAYLOAD)
    await desk.work(killed.note, lambda *_: None, list)  # the leaf is there, and no message was
    counter = Counter()
    await counter.work(desk_of(archive, "allow"))
    assert len(counter.sent) == 3
    await counter.work(desk_of(archive, "allow"))
    assert (len(counter.sent), counter.notes) == (3, []), "once, and said once"


async def test_the_quota_waits_for_what_was_allowed_and_is_not_sent_yet(tmp_path, archive):
    small = Archive(tmp_path / "small.db", 1)
    one = next(archive.covering(METER, 1, 3, 3))
    small.keep([replace(one, first_seq=k * 10, size=k * 10 + 10) for k in range(1200)])
    small.lack_told()
    desk, counter = desk_of(small, "allow"), Counter()
    desk.ask(METER, signed_request(replace(REQUEST, first_seq=0, last_seq=99), KEYS.witness))
    waiting = []
    await desk.work(counter.note, lambda _, payloads: waiting.append(payloads), list)
    await desk.work(counter.note, lambda _, payloads: waiting.append(payloads), list)
    assert len(waiting) == 1, "it is on its way"
    assert [kind for _, kind, _ in counter.notes] == [REQUESTED]
    assert len(list(waiting[0])) == 10
    await counter.work(desk)
    assert [kind for _, kind, _ in counter.notes] == [REQUESTED, TRIMMED]
    small.close()


async def test_a_request_of_a_collector_that_is_no_longer_ours_is_denied(archive):
    desk_of(archive, "ask").ask(METER, PAYLOAD)
    archive.decide(REQUEST.id, ALLOWED)
    desk, counter = desk_of(archive, "ask", KEYS.operator), Counter()
    assert await counter.work(desk) == [(REQUESTED, DENIED)]
    assert await counter.work(desk) == [(REQUESTED, DENIED)], "said once"
    assert counter.sent == []


async def test_a_request_that_the_disk_does_not_take_ends_nothing(archive, monkeypatch, caplog):
    desk = desk_of(archive, "allow")

    def full(_):
        raise StoreError("The archive has no room.", "Free space.", code="disk_full")

    with monkeypatch.context() as patched:
        patched.setattr(archive, "ask", full)
        desk.ask(METER, PAYLOAD)
    assert "raw_request_not_kept" in caplog.text
    desk.ask(METER, PAYLOAD)
    assert len(archive.requests()) == 1, "it came again"


async def test_batches_that_cannot_be_read_are_sent_when_they_can(archive, monkeypatch, caplog):
    desk, counter = desk_of(archive, "allow"), Counter()
    desk.ask(METER, PAYLOAD)

    def broken(*_):
        raise StoreError("The archive cannot be read.", "Look at the disk.", code="io_error")

    with monkeypatch.context() as patched:
        patched.setattr(archive, "covering", broken)
        await counter.work(desk)
    assert "raw_not_sent" in caplog.text
    assert counter.sent == []
    await counter.work(desk)
    assert len(counter.sent) == 3


async def test_an_archive_that_is_found_damaged_while_the_agent_runs_is_replaced(archive, caplog):
    path = archive._path
    for pragma in ("wal_checkpoint(TRUNCATE)", "shrink_memory"):  # nothing of it is in memory
        archive._rows(f"PRAGMA {pragma}")
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))
    desk, counter = desk_of(archive, "allow"), Counter()
    with pytest.raises(StoreError, match="damaged"):
        archive.held()
    assert await counter.work(desk, [(METER, 1, 40)]) == [(TRIMMED, None)]
    assert "archive_set_aside" in caplog.text
    assert archive.held() == []


# ----------------------------------------------------------------------- queue


class Line(Connection):
    """A connection that remembers."""

    def __init__(self):
        self.messages = []

    def publish(self, topic, payload, qos=1):  # noqa: ARG002 - as there
        self.messages.append((topic, payload))
        return len(self.messages)


def test_one_message_is_under_way_at_a_time_and_goes_again_over_a_new_line():
    queue, line = RawQueue(), Line()
    queue.add("a", iter([b"1", b"2"]))
    queue.add("b", iter([b"3"]))
    for _ in range(3):
        queue.pump(line, "edge")
    assert [payload for _, payload in line.messages] == [b"1"]
    queue.rewind()
    queue.pump(line, "edge")
    assert [payload for _, payload in line.messages] == [b"1", b"1"]
    queue.acked(1)
    queue.pump(line, "edge")
    assert len(line.messages) == 2, "the answer to the message before the new line is no answer"
    for mid in (2, 3, 4):
        queue.acked(mid)
        queue.pump(line, "edge")
    assert line.messages[2:] == [
        ("joulemark/v1/up/edge/a/raw", b"2"),
        ("joulemark/v1/up/edge/b/raw", b"3"),
    ]
