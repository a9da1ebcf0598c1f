"""Committed mode from the registers to the verifier: a whole agent, a broker, a real collector."""

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager

import pytest

from joulemark_agent import app, cli
from joulemark_agent.archive import FILE as ARCHIVE
from joulemark_agent.archive import Archive
from joulemark_agent.contract.batch import parse_batch
from joulemark_agent.contract.raw import RawRequest, parse_raw_file, signed_request
from joulemark_agent.contract.sparse import Withheld, leaves_in
from joulemark_agent.contract.topics import origin
from joulemark_agent.contract.tree import Edge, append, root
from joulemark_agent.keys import load_key
from joulemark_agent.settings import load_site
from joulemark_gateway.evidence import history
from joulemark_gateway.evidence.claims import check_energy
from joulemark_gateway.evidence.ranges import batches_between, missing_in
from joulemark_gateway.evidence.store import FILE, SqliteStore
from joulemark_gateway.ingest import mqtt, requests
from joulemark_gateway.ingest.intake import Intake, Witness
from joulemark_gateway.ingest.registered import Agent, Registry
from joulemark_gateway.ingest.requests import Asked, Requests
from joulemark_gateway.settings import BrokerSettings
from support.evidence import AGENT, COUNTER, KEYS, METER, PERIOD_US, SITE, START_US, WITNESS
from support.present import present
from support.running import STEP_WH, Site, site, small_plant

INTERVAL_S = 3600
INTERVAL_US = INTERVAL_S * 1_000_000
WAIT_S = 30.0
NAMES = [origin(SITE, device, 1) for device in (METER, COUNTER)]


@contextmanager
def collecting(port, folder, trusted) -> Iterator[Requests]:
    """A collector as it runs, with its store and requests in this folder."""
    asked = Requests(folder)
    clock = lambda: time.time_ns() // 1000  # noqa: E731 - as the collector's own
    intake = Intake(
        lambda: SqliteStore(folder / FILE), lambda: trusted, Witness(WITNESS, KEYS.witness), clock,
        asked.note,
    )  # fmt: skip
    subscriber = mqtt.Subscriber(
        BrokerSettings(url=f"mqtt://127.0.0.1:{port}"),
        intake,
        agents=frozenset({AGENT}),
        waiting_batches=256,
        requests=asked,
    )
    stop = threading.Event()
    thread = threading.Thread(target=subscriber.run, args=(stop,))
    thread.start()
    try:
        assert subscriber.is_ready.wait(WAIT_S)
        yield asked
    finally:
        stop.set()
        thread.join()
        intake.close()


def committed_site(folder, plant, url, *, answer) -> Site:
    """The small plant's site, its evidence committed in intervals of an hour."""
    place = site(folder, plant, url)
    batch = "batch: {slots: 96, seconds: 5}\n"
    text = place.path.read_text()
    assert batch in text
    more = f"evidence: committed\ninterval_s: {INTERVAL_S}\nraw_requests: {answer}\n"
    place.path.write_text(text.replace(batch, more))
    key = folder / "operator.key"
    words = ["agent", "enroll", "-c", str(place.path), "--operator-key", str(key)]
    assert cli.main([*words, "--create-operator-key"]) == 0
    return place


def trusted_by(place) -> Registry:
    """Who the collector knows: the agent and the operator of this site."""
    agent = load_key(place.state / "agent.key").public
    operator = load_key(place.path.parent / "operator.key").public
    known = Agent(AGENT, SITE, agent, frozenset({METER, COUNTER}))
    return Registry({AGENT: known}, frozenset({operator}), accept_simulated=True)


@asynccontextmanager
async def running(place) -> AsyncIterator[None]:
    agent = asyncio.create_task(app.run(load_site(place.path)))
    try:
        yield
    finally:
        agent.cancel()
        await asyncio.gather(agent, return_exceptions=True)


async def until(condition):
    """What the condition gives as soon as it gives something."""
    async with asyncio.timeout(WAIT_S):
        while not (found := await asyncio.to_thread(condition)):  # noqa: ASYNC110 - other threads
            await asyncio.sleep(0.05)
    return found


def stored(folder):
    return SqliteStore(folder / FILE, create=False)


def has(folder, leaves):
    def looked():
        with stored(folder) as store:
            head = store.head(NAMES[0])
            return head is not None and head.size >= leaves

    return looked


def fetch(folder, asked, hours):
    """Ask for the first hours of the meter; the request."""
    with stored(folder) as store:
        to_us = START_US + hours * INTERVAL_US + 1
        batches = batches_between(store, NAMES[0], START_US, to_us)
        assert missing_in(store, NAMES[0], batches) == hours * 3
    first, last = batches[0].first_seq, batches[-1].size - 1
    request = RawRequest(f"{hours:032x}", NAMES[0], first, last, START_US, to_us, 7, WITNESS)
    asked.put(Asked(AGENT, METER, signed_request(request, KEYS.witness)))
    return request


@pytest.mark.endurance
async def test_a_recording_in_committed_mode_and_its_raw_records_asked_for(
    tmp_path, broker, monkeypatch, capsys
):
    monkeypatch.setattr(requests, "AGAIN_S", 0.2)
    monkeypatch.setattr(requests, "GIVEN_UP_US", 2**62)
    async with small_plant(4000) as plant:
        place = committed_site(tmp_path, plant, broker.url, answer="allow")
        with collecting(broker.port, tmp_path, trusted_by(place)) as asked:
            async with running(place):
                await until(has(tmp_path, 60))
                request = fetch(tmp_path, asked, 5)

                def here():
                    with stored(tmp_path) as store:
                        batches = batches_between(store, NAMES[0], request.from_us, request.to_us)
                        return missing_in(store, NAMES[0], batches) == 0

                await until(here)
                found = await until(lambda: present(asked.get(request.id)).answers)
                assert found[0]["answer"] == "allowed"
    with stored(tmp_path) as store:
        for name in NAMES:
            check_tree(store, name)
        whole = store.leaves(NAMES[0], request.first_seq, request.last_seq + 1)
        records = [json.loads(leaf) for leaf in whole if b'"type"' not in leaf]
        assert [int(r["val"]["energy_wh"]) for r in records] == [i * STEP_WH for i in range(21)]
        told = {row.code for row in store.quarantined()}
        assert told == set()
        kept = len(kept_batches(place, store))
    capsys.readouterr()
    exported(place, tmp_path, capsys, whole[3:])  # those that open the tree have no slots
    assert kept > 20


def check_tree(store, name):
    """The collector has the tree of committed evidence, and every check of it holds."""
    head = present(store.head(name))
    parts = store.parts(name)
    tree = history.parse_tree(parts)
    docs = store.documents()
    history.check_envelopes(tree)
    history.check_slots(tree, PERIOD_US)
    check_energy(tree, docs)
    away = sum(part.count for part in parts if isinstance(part, Withheld))
    assert away > 0.4 * head.size
    assert leaves_in(parts) == head.size
    assert {flag for batch in store.batches(name) for flag in batch.flags} == set()


def kept_batches(place, store):
    """The archive has every batch that the collector has, with the very leaves under its heads."""
    with closing(Archive(place.state / ARCHIVE, 1024)) as archive:
        kept = [parse_batch(b.payload) for b in archive.covering(METER, 1, 0, 10**9)]
    edge = Edge()
    for batch, known in zip(kept, store.batches(NAMES[0]), strict=False):
        edge = append(edge, batch.leaves)
        assert (edge.size, batch.checkpoint.split("\n")[2]) == (
            known.size,
            known.note.split("\n")[2],
        )
        assert known.note.startswith(batch.checkpoint)
    assert root(edge)
    return kept


def exported(place, folder, capsys, whole):
    """What the factory hands out itself is the same."""
    words = ["agent", "archive", "export", "-c", str(place.path), "--device", METER]
    words += ["--from", "2018-01-01T00:00:00+09:00", "--to", "2018-01-01T05:00:01+09:00"]
    out = folder / "raw.gz"
    assert cli.main([*words, "--out", str(out)]) == 0
    batches = parse_raw_file(out.read_bytes())
    assert [leaf for batch in batches for leaf in batch.leaves] == whole
    assert cli.main(["agent", "archive", "list", "-c", str(place.path), "--json"]) == 0
    assert cli.main(["agent", "archive", "requests", "-c", str(place.path), "--json"]) == 0
    *_, held, told = capsys.readouterr().out.strip().splitlines()
    assert {row["device"] for row in json.loads(held)} == {METER, COUNTER}
    assert [row["answer"] for row in json.loads(told)] == ["allowed"]
    words[-1] = "2018-01-01T00:00:00+09:00"
    assert cli.main([*words, "--out", str(out)]) == 2, "there is nothing of no time"


@pytest.mark.endurance
async def test_a_factory_that_refuses_gives_nothing_and_says_so_in_the_evidence(
    tmp_path, broker, monkeypatch
):
    monkeypatch.setattr(requests, "AGAIN_S", 0.2)
    monkeypatch.setattr(requests, "GIVEN_UP_US", 2**62)
    async with small_plant(4000) as plant:
        place = committed_site(tmp_path, plant, broker.url, answer="deny")
        with collecting(broker.port, tmp_path, trusted_by(place)) as asked:
            async with running(place):
                await until(has(tmp_path, 40))
                request = fetch(tmp_path, asked, 3)
                answers = await until(lambda: present(asked.get(request.id)).answers)
    assert [answer["answer"] for answer in answers] == ["denied"]
    with stored(tmp_path) as store:
        [leaf] = store.leaves(NAMES[0], int(answers[0]["seq"]), int(answers[0]["seq"]) + 1)
        assert json.loads(leaf)["request"]["id"] == request.id
        batches = batches_between(store, NAMES[0], request.from_us, request.to_us)
        assert missing_in(store, NAMES[0], batches) == 9, "nothing has come"
