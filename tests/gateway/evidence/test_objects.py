"""Blocks of old batches outside of the ledger: named by what they hold, and compared when read."""

import secrets
import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from joulemark_agent.contract.batch import batch_bytes
from joulemark_agent.contract.errors import StoreError
from joulemark_agent.contract.topics import batch_topic, origin
from joulemark_gateway.evidence import compactor
from joulemark_gateway.evidence import objects as objects_module
from joulemark_gateway.evidence.blocks import MARK
from joulemark_gateway.evidence.ledger import Ledger, SqliteLedger
from joulemark_gateway.evidence.objects import Objects
from joulemark_gateway.evidence.shared import PostgresLedger
from joulemark_gateway.evidence.store import FILE
from joulemark_gateway.ingest.intake import Intake, Witness
from joulemark_gateway.series.embedded import EmbeddedSeries
from joulemark_gateway.series.mirror import catch_up
from support.book import NOW_US, registry
from support.evidence import (
    AGENT,
    COUNTER,
    KEYS,
    METER,
    SITE,
    WITNESS,
    build_tree,
    counter_readings,
    documents,
    leaves_of,
    meter_readings,
    uncosigned,
)
from support.present import present

DOCS = documents()
READINGS = meter_readings(DOCS, [1000] * 149)
TREE = [uncosigned(batch) for batch in build_tree(DOCS, METER, READINGS, slots_per_batch=3)]
NAME, TOPIC = origin(SITE, METER, 1), batch_topic(AGENT, METER)
COUNTED = build_tree(DOCS, COUNTER, counter_readings(DOCS, [10] * 29), slots_per_batch=3)
OTHERS = [uncosigned(batch) for batch in COUNTED]
OTHER, OTHER_TOPIC = origin(SITE, COUNTER, 1), batch_topic(AGENT, COUNTER)
WITNESSING = Witness(WITNESS, KEYS.witness)
LATER_US = NOW_US + 10**12


@pytest.fixture(params=["folder", "memory"])
def objects(request, tmp_path):
    """A new place for objects of each kind."""
    if request.param == "folder":
        return Objects(str(tmp_path / "objects"))
    return Objects(f"memory://{secrets.token_hex(4)}")


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.service)])
def ledger(request, tmp_path, objects, monkeypatch):
    """A ledger of each kind that is filled and not compacted."""
    monkeypatch.setattr(compactor, "PLAIN_BYTES", 20_000)
    if request.param == "sqlite":
        made: Ledger = SqliteLedger(tmp_path / "state" / FILE, objects)
    else:
        made = PostgresLedger(request.getfixturevalue("postgres").ledger().server, objects)
    with closing(Intake(made.writer, registry, WITNESSING, lambda: NOW_US)) as intake:
        for batch in TREE:
            intake.take(TOPIC, batch_bytes(batch))
    return made


def compacted(ledger):
    with ledger.compactor() as opened:
        return list(opened.moves(LATER_US, all_of_it=True))


def first_object(ledger, objects):
    """The object with the first batches of the tree."""
    with ledger.reader() as store:
        [(mark,)] = store._rows(
            "SELECT leaves FROM block WHERE first_seq = 0 AND tree = "
            "(SELECT id FROM tree WHERE origin = ?)",
            NAME,
        )
    return objects._path(bytes(mark).removeprefix(MARK).decode())


def kept(objects):
    return sorted(objects._files.find(objects._root))


def test_old_batches_are_objects_and_every_answer_stays(ledger, objects):
    with ledger.reader() as store:
        before = store.leaves(NAME), store.batches(NAME), store.head(NAME)
    moved = compacted(ledger)
    assert len(kept(objects)) == len(moved) > 1
    with ledger.reader() as store:
        assert (store.leaves(NAME), store.batches(NAME), store.head(NAME)) == before
        store.scrub(NAME)
        held = store._rows("SELECT leaves FROM block ORDER BY first_seq")
    assert {bytes(leaves)[:7] for (leaves,) in held} == {b"sha256:"}
    assert before[0] == leaves_of(TREE)


@pytest.mark.parametrize("harm", ["changed", "cut short", "gone"])
def test_an_object_that_is_not_what_it_was_is_damage(ledger, objects, harm):
    compacted(ledger)
    path = kept(objects)[0]
    data = objects._files.cat_file(path)
    if harm == "gone":
        objects._files.rm_file(path)
    else:
        objects._files.pipe_file(path, data[:-1] + (b"?" if harm == "changed" else b""))
    with ledger.reader() as store, pytest.raises(StoreError, match=Path(path).name) as caught:
        store.leaves(NAME)
    assert caught.value.code == "object_lost"


def test_a_lost_object_holds_up_who_sends_its_batches_and_nothing_else(ledger, objects):
    """Neither other batches, nor blocks that are still to be made."""
    old = [batch_bytes(batch) for batch in TREE]
    *_, last = compacted(ledger)
    assert last.batches < len(TREE) // 2
    path = first_object(ledger, objects)
    data = objects._files.cat_file(path)
    objects._files.rm_file(path)
    with closing(Intake(ledger.writer, registry, WITNESSING, lambda: NOW_US)) as intake:
        assert intake.take(TOPIC, old[0]) is None, "no receipt, and no refusal"
        assert present(intake.take(TOPIC, old[-1])).payload, "of another block"
        assert present(intake.take(OTHER_TOPIC, batch_bytes(OTHERS[0]))).has_grown
        assert intake.take(TOPIC, old[0]) is None
        for batch in OTHERS[1:]:
            assert present(intake.take(OTHER_TOPIC, batch_bytes(batch))).has_grown
        assert compacted(ledger), "the others say that this is the place"
        objects._files.pipe_file(path, data)
        assert present(intake.take(TOPIC, old[0])).payload
    with ledger.reader() as store:
        assert store.quarantined() == []


def test_the_series_of_the_others_goes_on_where_an_object_is_lost(tmp_path):
    objects = Objects(f"memory://{secrets.token_hex(4)}")
    ledger = SqliteLedger(tmp_path / FILE, objects)
    with closing(Intake(ledger.writer, registry, WITNESSING, lambda: NOW_US)) as intake:
        for own, other in zip(TREE[:4], OTHERS[:4], strict=True):
            intake.take(TOPIC, batch_bytes(own))
            intake.take(OTHER_TOPIC, batch_bytes(other))
    compacted(ledger)
    path = first_object(ledger, objects)
    data = objects._files.cat_file(path)
    objects._files.rm_file(path)
    lost = []
    with (
        closing(EmbeddedSeries(tmp_path / "series.duckdb")) as series,
        ledger.reader() as store,
    ):
        with pytest.raises(StoreError, match="is not at"):  # as somebody who makes it anew is told
            catch_up(store, series)
        while catch_up(store, series, on_lost=lambda *told: lost.append(told)):
            pass
        assert {name: size for name, (size, _) in series.progress().items()} == {
            OTHER: store.sizes([OTHER])[OTHER]
        }
        assert {(name, error.code) for name, error in lost} == {(NAME, "object_lost")}
        objects._files.pipe_file(path, data)
        while catch_up(store, series):
            pass
        assert series.progress().keys() == {NAME, OTHER}


def test_who_was_killed_before_the_row_leaves_an_object_that_the_next_one_uses(ledger, objects):
    with ledger.compactor() as opened:
        opened._transaction = killed
        with pytest.raises(KeyboardInterrupt):
            list(opened.moves(LATER_US, all_of_it=True))
    [path] = kept(objects)
    with ledger.reader() as store:
        assert store._rows("SELECT count(*) FROM block") == [(0,)]
    compacted(ledger)
    assert path in kept(objects)
    with ledger.reader() as store:
        assert store.leaves(NAME) == leaves_of(TREE)


def killed():
    raise KeyboardInterrupt


def test_a_place_that_does_not_keep_what_it_is_given_moves_nothing(ledger, objects, monkeypatch):
    monkeypatch.setattr(objects, "_is_local", False)
    monkeypatch.setattr(type(objects._files), "pipe_file", lambda *_, **__: None)
    with pytest.raises(StoreError) as caught:
        compacted(ledger)
    assert caught.value.code == "objects_away"
    with ledger.reader() as store:
        assert store._rows("SELECT count(*) FROM block") == [(0,)]
        assert store.leaves(NAME) == leaves_of(TREE)


def test_a_file_that_no_longer_says_where_the_objects_are_is_told_so(tmp_path, monkeypatch):
    monkeypatch.setattr(compactor, "PLAIN_BYTES", 20_000)
    ledger = SqliteLedger(tmp_path / FILE, Objects(str(tmp_path / "objects")))
    with closing(Intake(ledger.writer, registry, WITNESSING, lambda: NOW_US)) as intake:
        for batch in TREE:
            intake.take(TOPIC, batch_bytes(batch))
    compacted(ledger)
    without = SqliteLedger(tmp_path / FILE)
    with without.reader() as store, pytest.raises(StoreError, match="not say where those are"):
        store.leaves(NAME)
    files = [path for path in Path(tmp_path, "objects").rglob("*") if path.is_file()]
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}


def test_what_is_no_place_for_objects_is_refused():
    with pytest.raises(StoreError, match="cannot be kept at nowhere://x") as caught:
        Objects("nowhere://x")
    assert caught.value.code == "objects_away"


def test_a_name_that_was_made_up_leads_nowhere(objects):
    objects.put(b"something else")
    with pytest.raises(StoreError) as caught:
        objects.get(b"sha256:" + b"0" * 64)
    assert caught.value.code == "object_lost"


@pytest.mark.parametrize("how", ["unmounted", "unreadable"])
def test_objects_that_are_away_hold_up_who_sends_old_batches_and_nobody_else(
    tmp_path, monkeypatch, how
):
    """The comparison with what is held needs the object; a new batch needs none."""
    monkeypatch.setattr(compactor, "PLAIN_BYTES", 20_000)
    place, away = tmp_path / "objects", tmp_path / "away"
    ledger = SqliteLedger(tmp_path / FILE, Objects(str(place)))
    old = [batch_bytes(batch) for batch in TREE]
    with closing(Intake(ledger.writer, registry, WITNESSING, lambda: NOW_US)) as intake:
        receipts = [intake.take(TOPIC, payload) for payload in old[:-1]]
        compacted(ledger)
        place.rename(away)
        if how == "unmounted":
            place.mkdir()
        else:
            place.touch()
        assert intake.take(TOPIC, old[0]) is None, "no receipt, and no refusal"
        assert present(intake.take(TOPIC, old[-1])).has_grown
        assert intake.take(TOPIC, old[1]) is None
        (place.rmdir if how == "unmounted" else place.unlink)()
        away.rename(place)
        again = present(intake.take(TOPIC, old[0]))
    assert replace(again, has_grown=True) == receipts[0]
    with ledger.reader() as store:
        assert store.quarantined() == []


def test_a_store_that_hangs_is_away_for_those_who_ask_and_back_when_it_answers(monkeypatch):
    """The control, the store itself, would be waited for without end."""
    objects = Objects(f"memory://{secrets.token_hex(4)}", answer_s=0.05)
    mark, goes_on, asked = objects.put(b"held"), threading.Event(), []
    cat = objects._files.cat_file

    def hang(path):
        asked.append(path)
        assert goes_on.wait(20)
        return cat(path)

    monkeypatch.setattr(objects._files, "cat_file", hang)
    for why in ("no answer in 0.05 s", "a call of before has not been answered yet"):
        with pytest.raises(StoreError, match=why) as caught:
            objects.get(mark)
        assert caught.value.code == "objects_away"
    assert len(asked) == 1
    [hanging] = objects._hanging
    goes_on.set()
    hanging.join(20)
    assert objects.get(mark) == b"held"


def test_every_folder_on_the_way_to_an_object_is_on_the_disk_before_the_row(tmp_path, monkeypatch):
    """Also where somebody who was killed had written it, and had flushed nothing."""
    flushed: list[Path] = []
    monkeypatch.setattr(objects_module, "flush_folder", flushed.append)
    objects = Objects(str(tmp_path / "objects"))
    for _ in range(2):
        flushed.clear()
        name = objects.put(b"x").removeprefix(MARK).decode()
        blocks = tmp_path / "objects" / "blocks"
        assert flushed == [blocks / name[:2], blocks, tmp_path / "objects", tmp_path]


def test_no_block_goes_to_where_the_disk_of_the_others_is_not(tmp_path, monkeypatch):
    """What is written below a mount point is gone from sight when the disk is back."""
    monkeypatch.setattr(compactor, "PLAIN_BYTES", 20_000)
    place, away = tmp_path / "objects", tmp_path / "away"
    ledger = SqliteLedger(tmp_path / FILE, Objects(str(place)))
    middle = len(TREE) // 2
    with closing(Intake(ledger.writer, registry, WITNESSING, lambda: NOW_US)) as intake:
        for batch in TREE[:middle]:
            intake.take(TOPIC, batch_bytes(batch))
        compacted(ledger)
        for batch in TREE[middle:]:
            intake.take(TOPIC, batch_bytes(batch))
    place.rename(away)
    place.mkdir()
    with pytest.raises(StoreError) as caught:
        compacted(ledger)
    assert caught.value.code == "objects_away"
    assert list(place.iterdir()) == []
    place.rmdir()
    away.rename(place)
    assert compacted(ledger)
    with ledger.reader() as store:
        assert store.leaves(NAME) == leaves_of(TREE)
