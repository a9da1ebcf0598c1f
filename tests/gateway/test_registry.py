"""Who may send, as of now: what commands add is seen by the collector with its next look."""

import json
import logging
import multiprocessing
import os
import threading
import time
from dataclasses import replace

import pytest

from joulemark_agent.contract.batch import batch_bytes
from joulemark_agent.contract.errors import ConfigError
from joulemark_agent.contract.revocation import Revoked
from joulemark_agent.contract.signature import encode64, public_key
from joulemark_agent.contract.topics import batch_topic, origin
from joulemark_gateway.evidence.store import FILE as STORE
from joulemark_gateway.evidence.store import SqliteStore
from joulemark_gateway.ingest.registered import Agent
from joulemark_gateway.registry import (
    FILE,
    LiveRegistry,
    Withdrawn,
    enrolled,
    exchange,
    read_added,
    withdrawn,
)
from support.book import registry
from support.evidence import (
    AGENT,
    COUNTER,
    KEYS,
    METER,
    SITE,
    counter_readings,
    documents,
    leaf_groups,
    meter_readings,
    seal,
    uncosigned,
)
from support.intakes import new_intake
from support.present import present
from support.rotations import NEW, rotated, signed_from

TIME = "2026-11-22T12:00:00Z"
SECOND = Agent("edge-2", SITE, public_key(NEW), frozenset({"furnace"}))
NAME = origin(SITE, METER, 1)
DOCS = documents()
METER_GROUPS = leaf_groups(DOCS, METER, meter_readings(DOCS, [1000] * 19), KEYS, slots_per_batch=4)
BATCHES = seal(DOCS, METER, rotated(METER_GROUPS, METER, 1), KEYS, signer=signed_from((1, NEW)))
OTHERS = seal(
    DOCS, COUNTER, leaf_groups(DOCS, COUNTER, counter_readings(DOCS, [1] * 3), KEYS), KEYS
)


def revocation(size=10, name=NAME, key=KEYS.agent):
    return Withdrawn(Revoked(public_key(key), name, size), AGENT, TIME, "stolen")


def test_without_a_file_the_collectors_own_counts(tmp_path):
    live = LiveRegistry(registry(), tmp_path)
    assert live() == registry()
    assert AGENT in live
    assert "edge-2" not in live


def test_an_agent_that_is_enrolled_and_a_key_that_is_revoked_are_there_at_once(tmp_path, caplog):
    live = LiveRegistry(registry(), tmp_path)
    with caplog.at_level(logging.INFO):
        enrolled(tmp_path, registry(), SECOND, TIME)
        assert "edge-2" in live
        withdrawn(tmp_path, [revocation()])
        assert live().revoked == (revocation().revoked,)
    assert live().agents == {AGENT: registry().agents[AGENT], "edge-2": SECOND}
    assert [record.getMessage() for record in caplog.records] == ["registry_changed"] * 2
    assert LiveRegistry(registry(), tmp_path)() == live(), "and after a restart"


def test_enrolling_again_gives_the_new_key(tmp_path):
    enrolled(tmp_path, registry(), SECOND, TIME)
    again = replace(SECOND, key=public_key(KEYS.reporter))
    enrolled(tmp_path, registry(), again, TIME)
    assert read_added(tmp_path).agents["edge-2"].agent == again


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"agent": AGENT}, "in the collector's file"),
        ({"key": public_key(KEYS.agent)}, f"is that of '{AGENT}'"),
        ({"devices": frozenset({METER})}, f"'{AGENT}' reads {METER}"),
        ({"key": public_key(KEYS.operator)}, "who reads must not approve"),
    ],
)
def test_nobody_is_enrolled_in_the_place_of_another(tmp_path, change, why):
    with pytest.raises(ConfigError, match=why):
        enrolled(tmp_path, registry(), replace(SECOND, **change), TIME)
    assert not (tmp_path / FILE).exists()


def test_a_file_that_contradicts_the_collectors_own_stops_the_start(tmp_path):
    enrolled(tmp_path, replace(registry(), agents={}), registry().agents[AGENT], TIME)
    with pytest.raises(ConfigError, match="in the collector's file"):
        LiveRegistry(registry(), tmp_path)


def test_a_key_is_revoked_also_where_an_enrolment_contradicts_the_collectors_own_file(
    tmp_path, caplog
):
    """As it comes from another collector of the same ledger, whose file names other agents."""
    live = LiveRegistry(registry(), tmp_path)
    enrolled(tmp_path, replace(registry(), agents={}), registry().agents[AGENT], TIME)
    withdrawn(tmp_path, [revocation()])
    assert live().revoked == (revocation().revoked,)
    assert live().agents == registry().agents
    assert [record.getMessage() for record in caplog.records] == ["registry_unreadable"]


@pytest.mark.parametrize("newer", [TIME, "2026-11-22T11:00:00Z"])
@pytest.mark.parametrize("keys", [(NEW, KEYS.reporter), (KEYS.reporter, NEW)])
def test_the_key_of_the_last_enrolment_counts_for_all_though_the_clock_was_set_back(
    tmp_path, keys, newer
):
    shared = [b""]

    def with_others(merge):
        shared.append(merge(shared[-1]))
        return shared[-1]

    for key, time_ in zip(keys, (TIME, newer), strict=True):
        enrolled(tmp_path, registry(), replace(SECOND, key=public_key(key)), time_)
        exchange(tmp_path, with_others)
    assert read_added(tmp_path).agents["edge-2"].agent.key == public_key(keys[1])


def test_who_asks_a_ledger_that_does_not_answer_holds_up_no_revocation(tmp_path):
    def slow(merge):
        theirs = merge(b"")  # the server takes its time; meanwhile somebody here revokes
        command = threading.Thread(target=withdrawn, args=(tmp_path, [revocation()]), daemon=True)
        command.start()
        command.join(5.0)
        assert not command.is_alive(), "the revocation waited for the server"
        return theirs

    enrolled(tmp_path, registry(), SECOND, TIME)
    exchange(tmp_path, slow)
    assert read_added(tmp_path).revoked == (revocation(),), "and is not overwritten"


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"agents":[],"revoked":[],"v":2}', '{"agents":[{}],"revoked":[],"v":1}'],
)
def test_a_damaged_file_stops_the_start_and_takes_nothing_back_while_it_runs(
    tmp_path, text, caplog
):
    withdrawn(tmp_path, [revocation()])
    live = LiveRegistry(registry(), tmp_path)
    (tmp_path / FILE).write_text(text)
    for _ in range(3):
        assert live().revoked == (revocation().revoked,)
    assert [record.getMessage() for record in caplog.records] == ["registry_unreadable"]
    with pytest.raises(ConfigError, match="cannot be used"):
        LiveRegistry(registry(), tmp_path)
    with pytest.raises(ConfigError, match="cannot be used"):
        withdrawn(tmp_path, [revocation()])
    assert (tmp_path / FILE).read_text() == text, "what a person could still mend is not replaced"


def _withdraw(folder, start, count):
    for i in range(count):
        withdrawn(folder, [revocation(size=start + i)])


def test_commands_at_the_same_time_lose_nothing(tmp_path):
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_withdraw, args=(tmp_path, 100 * i, 10)) for i in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    sizes = {row.revoked.size for row in read_added(tmp_path).revoked}
    assert sizes == {100 * i + j for i in range(4) for j in range(10)}


def test_nobody_else_may_read_or_write_the_file(tmp_path):
    old = os.umask(0)
    try:
        withdrawn(tmp_path, [revocation()])
    finally:
        os.umask(old)
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600


# ------------------------------------------------------------------ revoking


@pytest.fixture
def collector(tmp_path):
    """The file of a collector that holds a tree whose key was changed, and another."""
    path = tmp_path / "collector.yaml"
    path.write_text(
        "state_dir: state\naccept_simulated: true\nagents:\n"
        f'  - {{agent: {AGENT}, site: {SITE}, key: "{encode64(public_key(KEYS.agent))}",'
        f" devices: [{METER}, {COUNTER}]}}\n"
        f'operators: ["{encode64(public_key(KEYS.operator))}"]\n'
    )
    (tmp_path / "state").mkdir()
    return path


def revoke(path, capsys, *words):
    code = _main("collector", "revoke", AGENT, "-c", str(path), *words)
    return code, capsys.readouterr()


def _main(*words):
    from joulemark_agent.cli import main  # noqa: PLC0415 - the command as it is typed

    return main(list(words))


def answer_of(intake, batch, device=METER):
    answer = present(intake.take(batch_topic(AGENT, device), batch_bytes(uncosigned(batch))))
    return json.loads(answer.payload)["code"] if answer.topic.endswith("refusal") else "receipt"


def test_a_running_collector_refuses_a_revoked_agent_at_once_and_says_why(collector, capsys):
    state = collector.parent / "state"
    live = LiveRegistry(registry(), state)
    intake = new_intake(state / STORE, live)
    for batch in BATCHES[:3]:
        assert answer_of(intake, batch) == "receipt"
    assert answer_of(intake, OTHERS[0], COUNTER) == "receipt"
    code, said = revoke(collector, capsys, "--reason", "stolen from the panel")
    begun_s = time.monotonic()
    assert (code, said.err) == (0, "")
    assert f"{NAME}  trusted up to leaf {BATCHES[2].size}" in said.out
    assert answer_of(intake, BATCHES[3]) == "revoked"
    assert time.monotonic() - begun_s < 10
    assert answer_of(intake, BATCHES[4]) == "revoked"
    assert answer_of(intake, BATCHES[2]) == "receipt", "what is held stays confirmed"
    intake.close()
    rows = read_added(state).revoked
    assert {row.reason for row in rows} == {"stolen from the panel"}
    found = {(row.revoked.key, row.revoked.origin, row.revoked.size) for row in rows}
    keys = public_key(KEYS.agent), public_key(NEW)
    other = origin(SITE, COUNTER, 1)
    assert found == {(key, NAME, BATCHES[2].size) for key in keys} | {
        (keys[0], other, OTHERS[0].size)
    }
    with SqliteStore(state / STORE, create=False) as store:
        assert {(row.agent, row.code) for row in store.quarantined()} == {(AGENT, "revoked")}


def test_control_a_registry_that_is_read_at_the_start_only_goes_on_taking(collector, capsys):
    state = collector.parent / "state"
    once = LiveRegistry(registry(), state)()
    intake = new_intake(state / STORE, once)
    assert answer_of(intake, BATCHES[0]) == "receipt"
    revoke(collector, capsys)
    assert answer_of(intake, BATCHES[1]) == "receipt"
    intake.close()


def test_an_agent_that_sent_nothing_yet_is_revoked_too(collector, capsys):
    code, said = revoke(collector, capsys, "--json")
    assert code == 0
    told = json.loads(said.out)
    assert {(row["origin"], row["size"]) for row in told["revoked"]} == {
        (origin(SITE, device, 1), 0) for device in (METER, COUNTER)
    }
    state = collector.parent / "state"
    intake = new_intake(state / STORE, LiveRegistry(registry(), state))
    assert answer_of(intake, BATCHES[0]) == "revoked"
    intake.close()


def test_an_agent_that_is_not_there_is_named(collector, capsys):
    assert _main("collector", "revoke", "edge-9", "-c", str(collector)) == 2
    assert f"These are: {AGENT}" in capsys.readouterr().err


def test_whoever_asks_while_the_file_changes_gets_one_state_or_the_other(tmp_path):
    live, stop, seen = LiveRegistry(registry(), tmp_path), threading.Event(), set()

    def ask():
        while not stop.is_set():
            seen.add(len(live().revoked))

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for i in range(30):
        withdrawn(tmp_path, [revocation(size=i)])
    stop.set()
    for thread in threads:
        thread.join()
    assert seen <= set(range(31))
    assert len(live().revoked) == 30
