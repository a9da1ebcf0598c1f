"""A ledger in PostgreSQL: which servers are refused, and what happens when one goes away."""

import json
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from joulemark_agent.contract.batch import batch_bytes
from joulemark_agent.contract.errors import ConfigError, StoreError
from joulemark_agent.contract.revocation import Revoked
from joulemark_agent.contract.signature import encode64, public_key
from joulemark_agent.contract.topics import batch_topic, origin
from joulemark_gateway import sharing
from joulemark_gateway.backup import back_up
from joulemark_gateway.evidence import postgres as postgres_database
from joulemark_gateway.evidence.base import Quarantined
from joulemark_gateway.evidence.bundle import Contents, TreeFiles, make_bundle
from joulemark_gateway.evidence.ledger import SqliteLedger
from joulemark_gateway.evidence.log import CollectorLog, excerpt
from joulemark_gateway.evidence.store import FILE
from joulemark_gateway.ingest.early import Early
from joulemark_gateway.ingest.intake import Intake, Witness, _storable
from joulemark_gateway.ingest.registered import Agent
from joulemark_gateway.registry import LiveRegistry, Withdrawn, enrolled, withdrawn
from support.book import NOW_US, registry
from support.collector_command import collector
from support.evidence import (
    AGENT,
    FOREIGN,
    KEYS,
    METER,
    SITE,
    WITNESS,
    build_tree,
    documents,
    leaves_of,
    meter_readings,
    uncosigned,
)
from support.forks import until
from support.present import present

pytestmark = pytest.mark.service

DOCS = documents()
TREE = [
    uncosigned(b)
    for b in build_tree(DOCS, METER, meter_readings(DOCS, [1] * 29), slots_per_batch=3)
]
OTHER = Agent("edge-9", SITE, public_key(FOREIGN.agent), frozenset({"pump"}))
NAME, TOPIC = origin(SITE, METER, 1), batch_topic(AGENT, METER)


@pytest.fixture
def ledger(postgres):
    return postgres.ledger()


def intake_of(ledger):
    return Intake(ledger.writer, registry, Witness(WITNESS, KEYS.witness), lambda: NOW_US)


def database_of(ledger):
    return ledger.server.url.rpartition("/")[2]


@contextmanager
def set_to(postgres, name, value):
    """The server with another setting, for a while."""
    for change, wanted in ((f"SET {name} = {value}", value), (f"RESET {name}", "on")):
        postgres.admin(f"ALTER SYSTEM {change}")
        postgres.admin("SELECT pg_reload_conf()")
        until(lambda wanted=wanted: postgres.admin(f"SHOW {name}") == [(wanted,)], "it is set")
        if wanted == value:
            yield


@pytest.mark.parametrize("name", ["fsync", "full_page_writes", "synchronous_commit"])
def test_a_server_that_does_not_keep_what_it_confirms_is_refused(postgres, ledger, name):
    ledger.writer().close()
    with set_to(postgres, name, "off"):
        for opened in (ledger.writer, ledger.log, ledger.compactor):
            with pytest.raises(StoreError, match=f"{name} = off") as caught:
                opened()
            assert caught.value.code == "store_not_durable"
            assert f"Set {name} = on" in caught.value.do
        ledger.reader().close()
    ledger.writer().close()


def test_a_user_who_commits_without_waiting_is_refused(postgres, ledger):
    postgres.admin(f"ALTER DATABASE {database_of(ledger)} SET synchronous_commit = local")
    with pytest.raises(StoreError, match="synchronous_commit = local"):
        ledger.writer()


def test_a_database_of_another_encoding_is_refused(postgres, ledger):
    name = f"{database_of(ledger)}_ascii"
    postgres.admin(f"CREATE DATABASE {name} ENCODING 'SQL_ASCII' TEMPLATE template0")
    with pytest.raises(StoreError, match="SQL_ASCII") as caught:
        type(ledger)(postgres.server(name)).writer()
    assert caught.value.code == "store_foreign"


def test_a_ledger_of_another_version_is_left_alone(postgres, ledger):
    ledger.writer().close()
    postgres.admin("UPDATE joulemark.ledger SET version = 7", database_of(ledger))
    for opened in (ledger.writer, ledger.reader):
        with pytest.raises(StoreError, match="version 7, not 1") as caught:
            opened()
        assert caught.value.code == "store_foreign"


def test_collectors_that_share_a_ledger_are_one_witness(ledger):
    ours = public_key(KEYS.witness)
    for _ in range(2):
        ledger.claim(WITNESS, ours)
    for name, key in (("another", ours), (WITNESS, public_key(FOREIGN.witness))):
        with pytest.raises(StoreError, match=r"give each the same name and the same witness\.key"):
            ledger.claim(name, key)


def test_nothing_that_is_said_holds_the_password(postgres, ledger):
    wrong = type(ledger)(type(ledger.server)(ledger.server.url, "canary-7"))
    with pytest.raises(StoreError) as caught:
        wrong.writer()
    assert caught.value.code == "store_away"
    assert "canary-7" not in str(caught.value) + repr(wrong)
    assert postgres.password not in repr(ledger) + ledger.where


def test_an_address_that_says_what_nobody_knows_is_a_mistake_in_the_file(ledger):
    wrong = replace(ledger, server=replace(ledger.server, url=f"{ledger.server.url}?sslmod=prefer"))
    with pytest.raises(ConfigError, match=r"sslmod.*Correct 'ledger.url'"):
        wrong.writer()


def test_a_server_that_is_killed_costs_nothing_that_has_a_receipt(postgres, ledger):
    """As a power cut to its processes: the batch under way is not acknowledged, and comes again."""
    receipts = []
    with closing(intake_of(ledger)) as intake:
        for i, batch in enumerate(TREE):
            payload = batch_bytes(batch)
            if i % 4 == 1:
                postgres.kill()
                with pytest.raises(StoreError) as caught:
                    intake.take(TOPIC, payload)
                assert caught.value.code == "store_away"
                with pytest.raises(StoreError):
                    intake.reopen()
                postgres.start()
                intake.reopen()
            receipts.append(present(intake.take(TOPIC, payload)).payload.decode())
    with ledger.reader() as store:
        assert store.leaves(NAME) == leaves_of(TREE)
        assert store.notes(NAME) == receipts
        store.scrub(NAME)


def test_a_connection_that_the_server_ends_is_no_loss(postgres, ledger):
    with closing(intake_of(ledger)) as intake:
        for batch in TREE[:3]:
            assert present(intake.take(TOPIC, batch_bytes(batch))).has_grown
            postgres.admin(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                f"WHERE datname = '{database_of(ledger)}'"
            )
            with pytest.raises(StoreError):
                intake.take(TOPIC, batch_bytes(batch))
            intake.reopen()
            again = present(intake.take(TOPIC, batch_bytes(batch)))
            assert not again.has_grown, "it was kept, and has the receipt it had"


def test_who_stands_still_in_a_transaction_holds_up_nobody_for_long(ledger, monkeypatch):
    monkeypatch.setattr(postgres_database, "_LOCK_MS", 100)
    with closing(intake_of(ledger)) as intake, ledger.log() as other:
        intake.take(TOPIC, batch_bytes(TREE[0]))
        with other._transaction() as db:
            db.execute("SELECT 1 FROM tree FOR UPDATE")
            with pytest.raises(StoreError) as caught:
                intake.take(TOPIC, batch_bytes(TREE[1]))
            assert caught.value.code == "store_busy"
        assert present(intake.take(TOPIC, batch_bytes(TREE[1]))).has_grown


def test_a_reader_cannot_write(ledger):
    ledger.writer().close()
    with ledger.reader() as store, pytest.raises(StoreError) as caught:
        store.quarantine(Quarantined(AGENT, TOPIC, "bad", "why", b"", NOW_US))
    assert caught.value.code == "store_io"


def test_what_strangers_say_is_stored_whatever_stands_in_it(ledger):
    """A NUL in a text, which this server does not take, must not stop the queue for ever."""
    with ledger.writer() as store:
        store.quarantine(
            Quarantined(AGENT, _storable("a\0b"), "bad", _storable("\0\ud800"), b"\0", NOW_US)
        )
        [row] = store.quarantined()
    assert (row.messages, row.kept) == (1, 1)


def test_a_batch_before_its_predecessor_waits_for_it_at_another_collector(ledger):
    with closing(intake_of(ledger)) as north, closing(intake_of(ledger)) as south:
        early = south.take_or_wait(TOPIC, batch_bytes(TREE[1]))
        assert early == Early(NAME, TREE[1].first_seq)
        assert south.sizes({NAME}) == {}
        assert present(north.take(TOPIC, batch_bytes(TREE[0]))).has_grown
        assert south.sizes({NAME}) == {NAME: TREE[0].size}
        answer = present(south.take(TOPIC, batch_bytes(TREE[1])))
        assert answer.has_grown
        absorbed = present(north.take(TOPIC, batch_bytes(TREE[1])))
        assert (absorbed.payload, absorbed.has_grown) == (answer.payload, False)
        refusal = present(north.take(TOPIC, batch_bytes(TREE[4])))
        assert b'"code":"hole"' in refusal.payload


def test_what_is_revoked_at_one_collector_is_revoked_at_all(ledger, tmp_path, monkeypatch):
    monkeypatch.setattr(sharing, "EVERY_S", 0.02)
    ledger.claim(WITNESS, public_key(KEYS.witness))
    north, south = (tmp_path / name for name in ("north", "south"))
    listed = registry()
    enrolled(north, listed, OTHER, "2026-01-01T00:00:00Z")
    both = [sharing.RegistryExchange(folder, ledger) for folder in (north, south)]
    at_south = LiveRegistry(listed, south)
    assert OTHER.agent in at_south().agents, "known before the first message"
    for one in both:
        one.start()
    try:
        revoked = [Withdrawn(Revoked(OTHER.key, NAME, 7), OTHER.agent, "2026-01-02T00:00:00Z", "")]
        withdrawn(south, revoked)
        at_north = LiveRegistry(listed, north)
        until(lambda: at_north().revoked == (revoked[0].revoked,), "it is known to the other")
        newer = replace(OTHER, key=public_key(FOREIGN.operator))
        enrolled(north, listed, newer, "2026-01-03T00:00:00Z")
        until(lambda: at_south().agents[OTHER.agent].key == newer.key, "the newer key counts")
    finally:
        for one in both:
            one.stop()
    assert at_south().revoked == (revoked[0].revoked,)


def test_a_server_that_is_away_leaves_the_registry_as_it_is(postgres, ledger, tmp_path):
    ledger.claim(WITNESS, public_key(KEYS.witness))
    enrolled(tmp_path, registry(), OTHER, "2026-01-01T00:00:00Z")
    sharing.RegistryExchange(tmp_path, ledger)
    postgres.kill()
    try:
        with pytest.raises(StoreError) as caught:
            sharing.RegistryExchange(tmp_path, ledger)
        assert caught.value.code == "store_away"
    finally:
        postgres.start()
    assert OTHER.agent in LiveRegistry(registry(), tmp_path)().agents


def test_a_copy_of_the_database_holds_what_the_copy_of_the_folder_says(ledger, postgres, tmp_path):
    with closing(intake_of(ledger)) as intake:
        for batch in TREE:
            intake.take(TOPIC, batch_bytes(batch))
    with ledger.log() as log:
        CollectorLog(log, WITNESS, KEYS.witness).take_heads(intake_heads(ledger), NOW_US)
    made = back_up(tmp_path / "state", tmp_path / "copies", datetime.now(UTC), ledger)
    assert not list(made.folder.rglob("*.sqlite")), "the evidence is not in it"
    copy = postgres.copied(ledger, tmp_path / "ledger.dump")
    with copy.writer() as store, copy.log() as log:
        store.scrub(NAME)
        log.scrub()
        assert store.leaves(NAME) == leaves_of(TREE)
        root = encode64(present(store.head(NAME)).root)
        assert made.heads["trees"] == {NAME: {"root": root, "size": TREE[-1].size}}
        assert [one["size"] for one in made.heads["log"].values()] == [log.edge().size]
        copied = Intake(copy.writer, registry, Witness(WITNESS, KEYS.witness), lambda: NOW_US)
        with closing(copied):
            again = present(copied.take(TOPIC, batch_bytes(TREE[-1])))
        assert again.payload.decode() == store.notes(NAME)[-1], "it goes on where the copy ends"


def intake_heads(ledger):
    with ledger.reader() as store:
        return store.heads()


def test_a_bundle_is_the_same_bytes_whichever_ledger_it_was_made_from(ledger, tmp_path):
    made = [bundle_of(one) for one in (SqliteLedger(tmp_path / FILE), ledger)]
    with ledger.compactor() as compactor:
        assert list(compactor.moves(NOW_US + 1, all_of_it=True))
    assert made[0] == made[1] == bundle_of(ledger)


def bundle_of(ledger):
    """What stands in a ledger that is filled, where it is not, by two who close its log."""
    with closing(intake_of(ledger)) as intake:
        for batch in TREE:
            intake.take(TOPIC, batch_bytes(batch))
    with ledger.reader() as store, ledger.log() as one, ledger.log() as other:
        for log in (one, other):
            book = CollectorLog(log, WITNESS, KEYS.witness)
            book.approve(store.heads(), [], NOW_US)
            book.take_heads(store.heads(), NOW_US)
            head = present(book.close(NOW_US))
        tree = TreeFiles(METER, 1, store.parts(NAME), store.notes(NAME))
        files = excerpt(one, SITE, head)
        contents = Contents(b"{}", b"", b"{}", store.documents(), [tree], files)
    return make_bundle(contents, {}, KEYS.reporter)


def test_the_commands_of_a_collector_work_on_a_ledger_on_a_server(
    ledger, postgres, tmp_path, monkeypatch, capsys
):
    [(variable, password)] = postgres.environment().items()
    monkeypatch.setenv(variable, password)
    with closing(intake_of(ledger)) as intake:
        for batch in TREE:
            intake.take(TOPIC, batch_bytes(batch))
    section = f"ledger: {{kind: postgresql, url: '{ledger.server.url}'}}\n"

    def told(*words):
        assert collector(tmp_path, *words, "--json", more=section) == 0
        return json.loads(capsys.readouterr().out)

    before = told("status", "--scrub")
    assert [tree["size"] for tree in before["trees"]] == [TREE[-1].size]
    assert told("compact")["blocks"] > 0
    assert told("status", "--scrub")["trees"] == before["trees"]
    assert told("slots") is not None
    assert told("backup", str(tmp_path / "copies"))["not_in_it"] == [ledger.where]
    assert password not in (tmp_path / "collector.yaml").read_text()
