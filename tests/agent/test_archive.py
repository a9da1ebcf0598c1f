"""Raw records are at the gateway from their reading until the quota pushes them out, and longer."""

import dataclasses
import itertools
import json
import sqlite3
from pathlib import Path

import pytest

from joulemark_agent.archive import (
    ALLOWED,
    DENIED,
    FILE,
    MB,
    WAITING,
    Archive,
    ArchivedOutbox,
    Asked,
)
from joulemark_agent.contract.batch import parse_batch
from joulemark_agent.contract.errors import StoreError
from joulemark_agent.sqlite_file import SqliteFile
from support import evidence
from support.archives import (
    INTERVAL_S,
    SITE,
    DeletesFirst,
    leaves_left,
    record,
    stores,
    waiting,
)
from support.evidence import METER, START_US

READINGS = evidence.meter_readings(SITE, [10] * 12)
INTERVAL_US = INTERVAL_S * 1_000_000


@pytest.fixture
def both(tmp_path):
    with stores(tmp_path) as found:
        yield found


def archived(archive, first=0, last=10**9):
    return [(b.first_seq, b.size) for b in archive.covering(METER, 1, first, last)]


def test_a_receipt_moves_batches_into_the_archive_byte_for_byte(both):
    outbox, archive = both
    sealed = list(record(outbox, READINGS))
    known = waiting(outbox)
    assert archived(archive) == []
    assert outbox.receipt(METER, 1, sealed[-2].size) == len(known) - 1
    assert list(archive.covering(METER, 1, 0, 10**9)) == known[:-1]
    assert waiting(outbox) == known[-1:]
    assert outbox.receipt(METER, 1, sealed[-2].size) == 0, "a receipt that comes again"


def test_batches_are_found_by_leaf_and_by_time(both):
    outbox, archive = both
    sealed = list(record(outbox, READINGS))
    outbox.receipt(METER, 1, sealed[-1].size)
    wanted = sealed[3]
    first = wanted.first_seq
    assert archived(archive, first, first) == [(first, wanted.size)]
    assert archive.count(METER, 1, wanted.first_seq, wanted.size) == 2
    at_us = START_US + 2 * INTERVAL_US + 30_000_000
    [found] = archive.between(METER, at_us, at_us + 1)
    slots = [json.loads(leaf).get("slot") for leaf in parse_batch(found.payload).leaves[:-1]]
    assert slots == [str(at_us), str(at_us + 30_000_000)]
    [held] = archive.held()
    assert (held["first_seq"], held["last_seq"]) == (0, sealed[-1].size - 1)
    assert list(archive.between("other", 0, 2**60)) == []


def test_a_receipt_that_cannot_be_archived_deletes_nothing(both, monkeypatch):
    outbox, archive = both
    sealed = list(record(outbox, READINGS))
    before = waiting(outbox)

    def full(_):
        raise StoreError("The archive has no room.", "Free space.", code="disk_full")

    with monkeypatch.context() as patched:
        patched.setattr(archive, "keep", full)
        with pytest.raises(StoreError, match="no room"):
            outbox.receipt(METER, 1, sealed[-1].size)
    assert waiting(outbox) == before
    assert outbox.receipt(METER, 1, sealed[-1].size) == len(before)


# ----------------------------------------------------------------------- quota


def copy(batch, device, k):
    """The batch as if it were the k-th of a device."""
    return dataclasses.replace(
        batch, device=device, epoch=1, first_seq=k * 100, size=k * 100 + 100, closing=None
    )


def test_beyond_the_quota_the_oldest_go_and_what_goes_is_known_before(tmp_path, both):
    outbox, _ = both
    sealed = list(record(outbox, READINGS))
    archive = Archive(tmp_path / "small.db", 1)
    archive.keep([copy(sealed[k % len(sealed)], METER, k) for k in range(1200)])
    surplus = archive.surplus()
    [gone] = surplus
    assert (gone.device, gone.epoch, gone.first_seq) == (METER, 1, 0)
    assert archive.count(METER, 1, 0, 10**9) == 1200, "nothing is deleted yet"
    archive.trim(surplus)
    left = archived(archive)
    assert left[0][0] == gone.last_seq + 1
    assert left[-1][1] == 120_000, "the newest stay"
    assert archive.surplus() == []
    assert 0.85 * MB < archive._bytes_used() <= MB
    archive.close()


def test_within_the_quota_nothing_goes(both):
    outbox, archive = both
    outbox.receipt(METER, 1, list(record(outbox, READINGS))[-1].size)
    assert archive.surplus() == []


def test_each_tree_has_its_own_range(tmp_path, both):
    outbox, _ = both
    one = list(record(outbox, READINGS))[2]
    archive = Archive(tmp_path / "small.db", 1)
    archive.keep([copy(one, device, k) for k in range(700) for device in ("a", "b")])
    first, second = archive.surplus()
    assert (first.device, first.first_seq, second.device, second.first_seq) == ("a", 0, "b", 0)
    archive.trim([first, second])
    assert [row["first_seq"] for row in archive.held()] == [first.last_seq + 1, second.last_seq + 1]
    archive.close()


# ------------------------------------------------------------------- requests


def asked(name, state, at_us=5):
    return Asked(name, METER, b"signed", state, at_us)


def test_a_request_is_kept_once_and_decided_once(both):
    _, archive = both
    assert archive.ask(asked("a", WAITING))
    assert not archive.ask(asked("a", ALLOWED)), "it is known"
    archive.told(archive.requests()[0])
    assert archive.requests(untold=True) == []
    assert archive.decide("a", DENIED)
    assert not archive.decide("a", ALLOWED), "nobody waits any more"
    assert not archive.decide("b", ALLOWED)
    assert [one.state for one in archive.requests(untold=True)] == [DENIED]


def test_a_decision_that_came_meanwhile_is_still_to_be_told(both):
    _, archive = both
    archive.ask(asked("a", WAITING))
    [waiting_one] = archive.requests(untold=True)
    archive.decide("a", ALLOWED)
    archive.told(waiting_one)
    assert [one.state for one in archive.requests(untold=True)] == [ALLOWED]


# ---------------------------------------------------------------------- damage


def test_a_damaged_archive_is_set_aside_and_the_agent_goes_on(tmp_path, caplog):
    with stores(tmp_path) as (outbox, archive):
        outbox.receipt(METER, 1, list(record(outbox, READINGS))[-1].size)
        archive.lack_told()
    path = tmp_path / FILE
    data = bytearray(path.read_bytes())
    data[4096:12_288] = bytes(8192)
    path.write_bytes(data)
    with stores(tmp_path) as (outbox, archive):
        assert isinstance(outbox, ArchivedOutbox)
        assert archive.is_new
        [(device, epoch, size)] = outbox.received()
        assert (device, epoch, size) == (METER, 1, outbox.trees()[0].sealed.size)
        assert archived(archive) == []
    assert "archive_set_aside" in caplog.text
    aside = list((tmp_path / "set-aside").glob(f"*{FILE}"))
    assert [file.read_bytes() for file in aside] == [bytes(data)], "never deleted"


# ----------------------------------------------------------------------- kills


class KilledError(BaseException):
    """The process is gone at this instant."""


def kill_at(monkeypatch, moment, *, after):
    """Have the transaction of this number end the process, before it is made or after."""
    plain, count = SqliteFile._transact_once, itertools.count(1)

    def once(self, change):
        number = next(count)
        if number == moment and not after:
            raise KilledError
        result = plain(self, change)
        if number == moment:
            raise KilledError
        return result

    monkeypatch.setattr(SqliteFile, "_transact_once", once)
    return count


def live(folder, kind):
    """Record, and confirm each batch as soon as it is there."""
    with stores(folder, kind) as (outbox, _):
        for batch in record(outbox, READINGS[:4]):
            outbox.receipt(METER, 1, batch.size)


def losses(tmp_path, monkeypatch, kind):
    """At how many of all moments a kill lost a raw record."""
    lost = []
    for after in (False, True):
        for moment in itertools.count(1):
            folder = tmp_path / f"{kind.__name__}-{moment}-{after}"
            folder.mkdir()
            with monkeypatch.context() as patched:
                counted = kill_at(patched, moment, after=after)
                try:
                    live(folder, kind)
                except KilledError:
                    pass
                else:
                    if next(counted) <= moment:
                        break
            if (folder / "outbox.db").exists() and _has_tree(folder):
                lost.append(-1 in leaves_left(folder, kind))
    return lost


def _has_tree(folder: Path) -> bool:
    with sqlite3.connect(folder / "outbox.db") as db:
        found = db.execute("SELECT count(*) FROM sqlite_master WHERE name = 'trees'").fetchone()
        return bool(found[0]) and bool(db.execute("SELECT count(*) FROM trees").fetchone()[0])


def test_a_kill_at_any_moment_of_archive_and_receipt_loses_no_raw_record(tmp_path, monkeypatch):
    moments = losses(tmp_path, monkeypatch, ArchivedOutbox)
    assert len(moments) >= 20
    assert not any(moments)


def test_archiving_after_the_deletion_loses_records(tmp_path, monkeypatch):
    """The naive control."""
    moments = losses(tmp_path, monkeypatch, DeletesFirst)
    assert sum(moments) >= 2, f"{sum(moments)} of {len(moments)}"
