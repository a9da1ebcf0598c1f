"""A copy made while the collector writes holds one state of it, and an old one is noticed."""

from __future__ import annotations

import json
import shutil
import sqlite3
import threading
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from joulemark_agent.cli import main
from joulemark_agent.contract.batch import Batch, batch_bytes
from joulemark_agent.contract.canonical import parse_canonical
from joulemark_agent.contract.errors import ConfigError, EvidenceError, StoreError
from joulemark_agent.contract.signature import encode64, public_key
from joulemark_agent.contract.topics import batch_topic
from joulemark_gateway.access.database import FILE as ACCESS
from joulemark_gateway.access.database import Database
from joulemark_gateway.access.events import Events, ends_in, ends_logged
from joulemark_gateway.backup import Backup, back_up, check
from joulemark_gateway.bookkeeping.outgoing import Answer
from joulemark_gateway.bookkeeping.witnesses import Peer, ask
from joulemark_gateway.evidence.base import Head
from joulemark_gateway.evidence.entries import security_entry
from joulemark_gateway.evidence.log import CollectorLog
from joulemark_gateway.evidence.log_store import LogHead, LogStore
from joulemark_gateway.evidence.store import FILE, SqliteStore
from joulemark_gateway.keys import witness_key
from joulemark_gateway.pki.authority import client_holder
from joulemark_gateway.pki.records import Records
from joulemark_gateway.witness.cosigner import Cosigner
from joulemark_gateway.witness.store import WitnessStore
from support.evidence import AGENT, KEYS, METER, SITE, WITNESS, uncosigned
from support.identities import now, plant_ca
from support.intakes import new_intake
from support.log_writer import close_log
from support.logs import FIRM, FIRM_KEY, identity
from support.present import present
from support.trees import sent, small_tree

TREE = f"joulemark/{SITE}/{METER}/1"
BATCHES = small_tree(batches=30)
HELD = 3  # batches, when a test begins


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a collector keeps after some batches, log-ins and certificates."""
    folder = tmp_path_factory.mktemp("collector") / "state"
    with plant_ca(folder) as plant:
        plant.own("office", client_holder("office"))
    shutil.rmtree(folder / "certificates")
    witness_key(folder)
    (folder / "registry.json").write_text("{}")
    (folder / "requests").mkdir()
    (folder / "requests" / "one.json").write_text("{}")
    sent(folder / FILE, *BATCHES[:HELD])
    log_in(folder)
    closed(folder)
    return folder


@pytest.fixture
def state(filled: Path, tmp_path: Path) -> Path:
    """The same for one test."""
    return Path(shutil.copytree(filled, tmp_path / "state"))


def log_in(state: Path) -> None:
    with Database(state / ACCESS) as database:
        Events(database).add("log_in", 1, who="anna")


def closed(state: Path) -> LogHead:
    """Have the log closed, with how far the security log stands."""
    close_log(state / FILE, 1)
    ends = present(ends_in(state))
    with LogStore(state / FILE) as store:
        book = CollectorLog(store, WITNESS, KEYS.witness)
        done, refused = ((end.last, end.digest) for end in (ends[False], ends[True]))
        book.take(security_entry(done, refused), 1)
        return present(book.close(1))


def restored(made: Backup, folder: Path, state: Path) -> Path:
    """What docs/backup.md says: an empty folder, the copy, and the keys."""
    shutil.copytree(made.folder, folder)
    shutil.copy(state / "witness.key", folder)
    return folder


def held(state: Path) -> Head:
    with SqliteStore(state / FILE) as store:
        store.scrub(TREE)
        with LogStore(state / FILE, write=False) as log:
            log.scrub()
        return present(store.head(TREE))


def test_roots_and_heads_of_a_restored_copy_are_those_that_were_copied(state, tmp_path):
    made = back_up(state, tmp_path / "copies", now())
    assert check(made.folder) == made
    folder = restored(made, tmp_path / "again", state)
    found, true = held(folder), held(state)
    assert (found.size, found.root, found.note) == (true.size, true.root, true.note)
    assert made.heads["trees"] == {TREE: {"size": true.size, "root": encode64(true.root)}}
    with LogStore(state / FILE) as was, LogStore(folder / FILE) as log:
        assert log.heads() == was.heads()
        assert log.leaves(99) == was.leaves(99)
        with Database(folder / ACCESS) as database:
            assert Events(database).breaks(ends_logged(log)) == []
            assert [row.code for row in Events(database).listed()] == ["log_in"]
    with Records(folder / "ca") as records:
        assert [one.name for one in records.issued()] == ["client.office"]
    sent(folder / FILE, BATCHES[HELD])  # and it goes on from there


def test_a_copy_is_for_one_user_and_holds_no_private_key(state, tmp_path):
    made = back_up(state, tmp_path / "copies", now())
    files = [path for path in made.folder.rglob("*") if path.is_file()]
    assert sorted(str(path.relative_to(made.folder)) for path in files) == [
        "access.sqlite", "backup.json", "ca/ca.db", "ca/ca.pem", "ca/crl.pem", "evidence.sqlite",
        "registry.json", "requests/one.json",
    ]  # fmt: skip
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    folders = [made.folder, made.folder / "ca", made.folder.parent]
    assert {path.stat().st_mode & 0o777 for path in folders} == {0o700}
    held_bytes = b"".join(path.read_bytes() for path in files)
    assert b"PRIVATE" not in held_bytes
    assert (state / "witness.key").read_bytes().strip() not in held_bytes
    assert b"PRIVATE" in (state / "ca" / "ca.key").read_bytes(), "the search can find one"


class Writer(threading.Thread):
    """A collector that goes on while copies are made."""

    def __init__(self, state: Path, batches: list[Batch]) -> None:
        super().__init__()
        self.state, self.batches = state, batches

    def run(self) -> None:
        for batch in self.batches:
            sent(self.state / FILE, batch)
            log_in(self.state)
            closed(self.state)


def test_every_copy_made_while_the_collector_writes_is_one_state_of_it(state, tmp_path):
    writer, at = Writer(state, BATCHES[HELD:14]), now()
    made: list[Backup] = []
    writer.start()
    while writer.is_alive() or not made:
        at += timedelta(seconds=1)
        made.append(back_up(state, tmp_path / "copies", at))
    writer.join()
    with SqliteStore(state / FILE) as store:
        leaves = store.leaves(TREE)
    for one in made:
        folder = restored(one, tmp_path / f"again-{one.folder.name}", state)
        found = held(folder)  # every leaf of tree and log is hashed again
        with SqliteStore(folder / FILE) as store, LogStore(folder / FILE) as log:
            assert store.leaves(TREE) == leaves[: found.size]
            with Database(folder / ACCESS) as database:
                assert Events(database).breaks(ends_logged(log)) == []
    sizes = {one.heads["trees"][TREE]["size"] for one in made}
    assert len(sizes) > 1, "it did write meanwhile"


def test_the_control_a_plain_copy_of_the_file_lacks_what_was_committed_last(state, tmp_path):
    with SqliteStore(state / FILE) as store:  # as the collector has it open
        sent(state / FILE, BATCHES[HELD])
        (tmp_path / "plain").mkdir()
        shutil.copy(state / FILE, tmp_path / "plain")
        made = back_up(state, tmp_path / "copies", now())
        size = present(store.head(TREE)).size
    assert held(restored(made, tmp_path / "again", state)).size == size
    try:
        plain = held(tmp_path / "plain").size
    except StoreError:
        plain = 0
    assert plain < size


# ------------------------------------------------- an old copy that is put back


def test_an_agent_notices_an_old_copy(state, tmp_path):
    """It goes on behind what it has a receipt for, and has nothing older any more."""
    made = back_up(state, tmp_path / "copies", now())
    size = held(state).size
    sent(state / FILE, *BATCHES[HELD : HELD + 4])
    folder = restored(made, tmp_path / "again", state)
    with closing(new_intake(folder / FILE)) as intake:
        wire = batch_bytes(uncosigned(BATCHES[HELD + 4]))
        answer = present(intake.take(batch_topic(AGENT, METER), wire))
    told = parse_canonical(answer.payload)
    assert answer.topic.endswith("refusal")
    assert (told["code"], told["expected_size"]) == ("hole", str(size))


def test_a_witness_notices_an_old_copy(state, tmp_path):
    made = back_up(state, tmp_path / "copies", now())
    firm = Peer(FIRM, public_key(FIRM_KEY), "http://firm.example")
    with WitnessStore(tmp_path / "firm") as memory:
        cosigner = Cosigner(memory, identity(), lambda: 1)

        def post(_url: str, body: bytes, _kind: str) -> Answer:
            said = cosigner.answer(body)
            return Answer(said.status, said.body.encode())

        sent(state / FILE, *BATCHES[HELD : HELD + 4])
        head = closed(state)
        with LogStore(state / FILE) as store:
            ask(store, firm, head, post)
        folder = restored(made, tmp_path / "again", state)
        codes = []
        for batches in ([], BATCHES[HELD : HELD + 1]):  # as it was put back, and as it goes on
            sent(folder / FILE, *batches)
            head = closed(folder)
            with LogStore(folder / FILE) as store, pytest.raises(EvidenceError) as caught:
                ask(store, firm, head, post)
            codes.append(caught.value.code)
    assert codes == ["log_behind", "log_forked"]


# --------------------------------------------------------------- what goes wrong


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("evidence.sqlite", lambda path: path.write_bytes(path.read_bytes()[:-1] + b"!")),
        ("ca/ca.pem", lambda path: path.unlink()),
        ("more.sqlite", lambda path: path.write_bytes(b"")),
    ],
)
def test_a_copy_that_is_another_says_which_file(state, tmp_path, name, change):
    made = back_up(state, tmp_path / "copies", now())
    change(made.folder / name)
    with pytest.raises(EvidenceError, match="not as it was made") as caught:
        check(made.folder)
    assert f": {name}." in caught.value.what


def test_a_copy_is_there_whole_or_not_at_all(state, tmp_path, monkeypatch):
    at = now()
    back_up(state, tmp_path / "copies", at)
    with pytest.raises(ConfigError, match="already"):
        back_up(state, tmp_path / "copies", at)
    monkeypatch.setattr("joulemark_gateway.backup.fsync", disk_full)
    with pytest.raises(ConfigError, match="free space"):
        back_up(state, tmp_path / "copies", at + timedelta(seconds=1))
    assert [path.name for path in (tmp_path / "copies").iterdir()] == [f"{at:%Y%m%dT%H%M%SZ}"]


def disk_full(_: int) -> None:
    raise OSError(28, "No space left on device")


def test_a_damaged_store_is_no_copy(state, tmp_path):
    with sqlite3.connect(state / ACCESS) as db:
        [(page,)] = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'event_refused'")
        [(size,)] = db.execute("PRAGMA page_size")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    data = bytearray((state / ACCESS).read_bytes())
    data[(page - 1) * size : page * size] = bytes(size)
    (state / ACCESS).write_bytes(data)
    with pytest.raises(StoreError) as caught:
        back_up(state, tmp_path / "copies", now())
    assert caught.value.code == "store_damaged"
    assert list((tmp_path / "copies").iterdir()) == []


def test_the_command_says_what_stands_in_the_copy(state, tmp_path, capsys):
    file = tmp_path / "collector.yaml"
    keys = (encode64(public_key(key)) for key in (KEYS.agent, KEYS.operator))
    file.write_text(
        'agents: [{{agent: {a}, site: {s}, key: "{}", devices: [{d}]}}]\n'
        'operators: ["{}"]\n'.format(*keys, a=AGENT, s=SITE, d=METER)
    )
    words = ["collector", "backup", str(tmp_path / "copies"), "-c", str(file)]
    assert main([*words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["heads"]["trees"][TREE]["size"] == held(state).size
    check_it = ["collector", "backup", told["folder"], "--check", "-c", str(file)]
    assert main(check_it) == 0
    said = capsys.readouterr().out
    assert TREE in said
    assert encode64(held(state).root) in said
    (Path(told["folder"]) / ACCESS).unlink()
    assert main(check_it) == 1
    assert "Use another copy" in capsys.readouterr().err
    assert main(["collector", "backup", str(tmp_path), "--check", "-c", str(file)]) == 2
    assert "no copy" in capsys.readouterr().err
