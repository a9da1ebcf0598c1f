"""A new key for the agent: its trees go on, from any moment at which it may be killed."""

import asyncio
import json
import sys
from contextlib import ExitStack

import pytest

from joulemark_agent import app, cli, rotation_command, service
from joulemark_agent.agent import Agent
from joulemark_agent.answers import Collector
from joulemark_agent.contract.errors import ConfigError, StoreError
from joulemark_agent.contract.signature import encode64, is_log_signed, public_key
from joulemark_agent.foundation import open_base
from joulemark_agent.keys import AGENT_KEY, Key, agent_key, create_key, load_key
from joulemark_agent.mqtt import Login
from joulemark_agent.outbox import Outbox
from joulemark_agent.rotation import (
    FORMER_KEYS,
    NEXT_KEY,
    former_keys,
    next_key,
    note_former,
    request_rotation,
    take_over,
)
from joulemark_agent.settings import load_site
from joulemark_agent.uplink import Timing, Uplink
from joulemark_agent.watchdog import ServiceManager
from nightly import key_rotation
from support import evidence
from support.collecting import Ledger, SmallCollector
from support.evidence import AGENT, COUNTER, KEYS, METER
from support.recording import KEY, batches_of, database, kept, recorded, recorder, state
from support.rotating import (
    DEVICES,
    SITE,
    holds,
    judged,
    live,
    prepare,
    rotate,
    rotate_until_killed,
)
from support.running import Site, site
from support.sites import HEAD

NEW = Key(evidence.FOREIGN.agent, public_key(evidence.FOREIGN.agent))


@pytest.fixture
def outbox(tmp_path):
    box = Outbox(state(tmp_path))
    yield box
    box.close()


@pytest.fixture
def folder(tmp_path):
    """A state folder in which the agent has lived once."""
    prepare(tmp_path / "agent")
    live(tmp_path / "agent")
    return tmp_path / "agent"


def home(folder):
    return state(folder).parent


def signers(batches):
    """Which key signed each batch: the old, the new, or another."""
    names = {"old": KEY.public, "new": NEW.public}
    return [
        next((name for name, key in names.items() if is_log_signed(b.checkpoint, key)), "another")
        for b in batches
    ]


def test_every_open_tree_gets_the_leaf_in_one_commit_and_heads_by_the_new_key(outbox, monkeypatch):
    writer = recorder(outbox, recorded(SITE), recorded(SITE, COUNTER), slots=4)
    writer.commit([*evidence.meter_readings(SITE, [1000] * 6), *READ])
    commits, commit = [], outbox.commit

    def counted(changes, **named):
        commits.append(changes)
        commit(changes, **named)

    monkeypatch.setattr(outbox, "commit", counted)
    sealed = writer.rotate(NEW)
    assert [len(changes) for changes in commits] == [2]
    assert [batch.device for batch in sealed] == [METER, COUNTER]
    for device in DEVICES:
        batches = batches_of(outbox, device)
        assert signers(batches) == ["old"] * (len(batches) - 1) + ["new"]
        contents = kept(outbox, device).contents
        assert [leaf["type"] for leaf in contents[-2:]] == ["key_rotation", "batch"]
        assert contents[-2]["new_key"] == encode64(NEW.public)
    writer.commit(evidence.meter_readings(SITE, [1000] * 9)[7:])
    writer.seal_all()
    assert signers(batches_of(outbox))[-1] == "new"


READ = evidence.counter_readings(SITE, [100] * 2)


def test_a_batch_that_the_leaf_fills_is_closed_by_the_new_key_and_only_once(outbox, monkeypatch):
    monkeypatch.setattr("joulemark_agent.recorder.MAX_OPEN_LEAVES", 4)
    writer = recorder(outbox, recorded(SITE))
    writer.commit(evidence.meter_readings(SITE, [1000] * 2))
    assert len(outbox.open_leaves(METER, 1)) == 3
    [batch] = writer.rotate(NEW)
    assert signers([batch]) == ["new"]
    assert outbox.open_leaves(METER, 1) == []


def test_without_room_on_the_disk_the_old_key_goes_on_and_the_change_can_be_made_later(outbox):
    writer = recorder(outbox, recorded(SITE), recorded(SITE, COUNTER))
    db = database(outbox)
    (pages,) = db.execute("PRAGMA page_count").fetchone()
    db.execute(f"PRAGMA max_page_count = {pages}")
    keys = [KEY]

    def change_on():
        for number in range(100):  # the first changes find room in pages that are there
            new = Key(bytes([number]) * 32, public_key(bytes([number]) * 32))
            writer.rotate(new)
            keys.append(new)

    with pytest.raises(StoreError, match="no room"):
        change_on()
    db.execute("PRAGMA max_page_count = 1000000")
    before = writer.summary()
    assert [batch.device for batch in writer.rotate(NEW)] == [METER, COUNTER]
    for device in DEVICES:
        found = kept(outbox, device).of_type("key_rotation")
        assert len(found) == len(keys)
        assert found[-1]["old_key"] == encode64(keys[-1].public), "what failed has left no trace"
        assert writer.summary()[device]["size"] == before[device]["size"] + 2


def test_after_a_restart_the_new_key_goes_on_and_the_old_one_opens_nothing(outbox):
    recorder(outbox, recorded(SITE)).rotate(NEW)
    writer = recorder(outbox, recorded(SITE), key=NEW)
    assert signers(writer.rotate(KEY)) == ["old"], "which a reader of the tree will refuse"
    with pytest.raises(ConfigError, match="another key") as caught:
        recorder(outbox, recorded(SITE), key=Key(b"3" * 32, public_key(b"3" * 32)))
    assert "--epoch 2" in caught.value.do
    with pytest.raises(ConfigError, match="another key"):
        recorder(outbox, recorded(SITE), recorded(SITE, COUNTER), key=NEW)


def test_the_collector_follows_the_tree_through_two_changes(folder):
    keys = [KEY.public, rotate(folder).public, rotate(folder).public]
    book = judged(folder)
    for head in book.heads.values():
        assert [change.new_key for change in head.rotations] == keys[1:]
        assert is_log_signed(head.note, keys[2])
    assert former_keys(home(folder)) == tuple(keys[:2])


def test_the_old_private_key_is_gone_when_the_new_one_is_in_use(folder):
    assert holds(folder, KEY.private) == [AGENT_KEY]
    with (home(folder) / AGENT_KEY).open("rb") as old:
        new = rotate(folder)
        assert set(old.read()) == {0}, "also for who holds the file open, as a forensic reader may"
    assert holds(folder, KEY.private) == []
    assert holds(folder, new.private) == [AGENT_KEY]
    assert (home(folder) / AGENT_KEY).stat().st_mode & 0o777 == 0o600


def test_a_key_that_its_owner_made_read_only_can_be_replaced(folder):
    (home(folder) / AGENT_KEY).chmod(0o400)
    assert load_key(home(folder) / AGENT_KEY).public == KEY.public
    new = rotate(folder)
    assert load_key(home(folder) / AGENT_KEY) == new


@pytest.mark.endurance
def test_killed_before_any_step_that_reaches_the_disk_it_goes_on_with_one_key(folder, tmp_path):
    """The mutant that replaces the key file first cannot go on from at least one of them."""
    killed, states = 0, set()
    while True:
        copy = tmp_path / f"killed-{killed + 1}"
        if not rotate_until_killed(folder, copy, killed + 1):
            break
        killed += 1
        waits = next_key(home(copy)) is not None
        states.add((waits, bool(former_keys(home(copy))), len(holds(copy, KEY.private))))
        if waits:
            live(copy)
        else:  # killed before there was a new key, or after it was in use
            rotate(copy)
        book = judged(copy)
        key = load_key(home(copy) / AGENT_KEY)
        assert {is_log_signed(head.note, key.public) for head in book.heads.values()} == {True}
        assert len({head.rotations[-1].new_key for head in book.heads.values()}) == 1
        assert (holds(copy, KEY.private), next_key(home(copy))) == ([], None)
    sys.stdout.write(f"{killed} kill points, {len(states)} states of the folder, all go on\n")
    assert killed >= 15
    assert {(True, False, 1), (True, True, 1), (False, True, 0)} <= states


def test_control_an_agent_that_replaces_its_key_file_first_loses_its_trees(folder):
    _, new = request_rotation(home(folder))
    take_over(home(folder), new)  # and is killed here
    with pytest.raises(ConfigError, match="another key"):
        live(folder)


async def test_receipts_of_batches_of_both_keys_are_believed(broker, tmp_path):
    box = Outbox(state(tmp_path))
    writer = recorder(box, recorded(SITE), slots=4)
    readings = evidence.meter_readings(SITE, [1000] * 20)
    writer.commit(readings[:9])
    writer.rotate(NEW)
    writer.commit(readings[9:])
    writer.seal_all()
    expected = kept(box).leaves
    assert set(signers(batches_of(box))) == {"old", "new"}
    ledger = Ledger()
    collector = SmallCollector(broker.port, ledger)
    known = Collector(evidence.SITE, AGENT, evidence.WITNESS, public_key(KEYS.witness))
    uplink = Uplink(Login(broker.url, AGENT), known, box, Timing(retry_s=0.02))
    uplink.start()
    try:
        await asyncio.wait_for(uplink.wait_drained(), 30)
    finally:
        await uplink.close()
        collector.close()
    assert ledger.leaves[f"joulemark/{evidence.SITE}/{METER}/1"] == expected
    assert box.waiting() == {}
    box.close()


# ------------------------------------------------------------------ the command


@pytest.fixture
def place(tmp_path, monkeypatch, capsys) -> Site:
    """An agent that was enrolled and does not run."""
    monkeypatch.setattr(rotation_command, "_WAIT_S", 0.0)
    found = site(tmp_path, None, "mqtt://127.0.0.1:1883", modbus_port=5020)
    operator = ("--operator-key", str(tmp_path / "operator.key"), "--create-operator-key")
    assert cli.main(["agent", "enroll", "-c", str(found.path), *operator]) == 0
    capsys.readouterr()
    return found


def test_the_command_makes_the_key_and_says_when_it_is_used(place, capsys):
    old = load_key(place.state / AGENT_KEY)
    assert cli.main(["agent", "rotate-key", "-c", str(place.path)]) == 0
    said = capsys.readouterr().out
    new = load_key(place.state / NEXT_KEY)
    assert old.fingerprint in said
    assert new.fingerprint in said
    assert "when the agent starts" in said
    assert encode64(new.private) not in said
    assert cli.main(["agent", "rotate-key", "-c", str(place.path), "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert (again["key"], again["in_use"]) == (encode64(new.public), False)


def test_the_command_says_that_a_running_agent_has_taken_the_key_into_use(
    place, capsys, monkeypatch
):
    looks: list[None] = []

    def look(_seconds):
        looks.append(None)
        take_over(place.state, load_key(place.state / NEXT_KEY))

    monkeypatch.setattr(rotation_command, "_WAIT_S", 60.0)
    monkeypatch.setattr("joulemark_agent.rotation_command.time.sleep", look)
    old = load_key(place.state / AGENT_KEY)
    assert cli.main(["agent", "rotate-key", "-c", str(place.path)]) == 0
    said = capsys.readouterr().out
    assert "is in use" in said
    assert len(looks) == 1
    assert old.fingerprint in said, "of the key that is gone by now"
    assert load_key(place.state / AGENT_KEY).fingerprint in said


def test_enrolling_after_a_change_of_key_keeps_the_grants_that_are_in_use(place, capsys, tmp_path):
    old = load_key(place.state / AGENT_KEY)
    _, new = request_rotation(place.state)
    note_former(place.state, old)
    take_over(place.state, new)
    words = ["agent", "enroll", "-c", str(place.path), "--json"]
    assert cli.main(words) == 0
    assert {g["state"] for g in json.loads(capsys.readouterr().out)["grants"]} == {"kept"}
    operator = ("--operator-key", str(tmp_path / "operator.key"), "--epoch", "2")
    assert cli.main([*words, *operator]) == 0
    said = json.loads(capsys.readouterr().out)
    assert {(g["state"], g["epoch"]) for g in said["grants"]} == {("signed", 2)}
    assert said["key"] == encode64(new.public), "and a new grant names the new key"
    grant = json.loads((place.state / "grants" / f"{METER}.json").read_text())["grant"]
    assert grant["agent_key"] == said["key"]


def test_a_new_key_is_made_once_and_waits_until_the_agent_takes_it(folder):
    old, first = request_rotation(home(folder))
    assert (old.public, request_rotation(home(folder))) == (KEY.public, (old, first))
    assert (home(folder) / NEXT_KEY).stat().st_mode & 0o777 == 0o600
    live(folder)
    assert load_key(home(folder) / AGENT_KEY) == first
    assert not (home(folder) / NEXT_KEY).exists()


def test_without_a_key_there_is_nothing_to_replace(tmp_path):
    with pytest.raises(ConfigError, match="no key") as caught:
        request_rotation(tmp_path)
    assert "agent enroll" in caught.value.do
    assert not (tmp_path / NEXT_KEY).exists()


def test_a_key_that_systemd_hands_over_is_not_replaced(folder, tmp_path, monkeypatch):
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    create_key(credentials / AGENT_KEY)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))
    with pytest.raises(ConfigError, match="systemd"):
        request_rotation(home(folder))


@pytest.mark.parametrize("text", ["", "[1]", '["x"]', "{}x", '{"a":1}'])
def test_a_list_of_former_keys_that_is_none_is_told(tmp_path, text):
    (tmp_path / FORMER_KEYS).write_text(text)
    with pytest.raises(ConfigError, match="cannot be read"):
        former_keys(tmp_path)


@pytest.mark.endurance
def test_a_running_agent_killed_while_it_is_given_a_new_key_goes_on_with_one():
    figures = key_rotation.run(1, full=False)
    assert int(figures["keys that were taken into use"]) >= 1


@pytest.mark.parametrize("has_token", [False, True])
async def test_a_key_in_a_token_is_not_changed_for_one_in_a_file(tmp_path, monkeypatch, has_token):
    """A new key may lie there since before the token was written into the site file."""
    folder = tmp_path / "state"
    monkeypatch.setattr(service, "evidence_key", lambda *_, **__: agent_key(folder))
    token = "evidence_key: {module: x.so, token: plant, pin_file: pin}\n" if has_token else ""
    device = '  - {id: meter, profile: virtual_main_meter, unit: 1, period_s: 60, url: "%s"}\n'
    path = tmp_path / "site.yaml"
    path.write_text(token + HEAD.format() + device % "modbus-tcp://192.0.2.8")
    words = ["-c", str(path), "--operator-key", str(tmp_path / "operator.key")]
    assert cli.main(["agent", "enroll", *words, "--create-operator-key"]) == 0
    settings = load_site(path)
    create_key(folder / NEXT_KEY)
    with ExitStack() as stack:
        base = open_base(settings, agent_key(folder), stack)
        uplink = Uplink(
            Login("mqtt://127.0.0.1:1", AGENT), app._collector(settings, base.key), base.outbox
        )
        agent = Agent(settings, base, uplink, ServiceManager(), hung_up=asyncio.Event())
        jobs = agent.care(None)
        for job in jobs:
            job.close()
        await agent.close()
        await uplink.close()
    assert any("_renew_key" in repr(job) for job in jobs) is not has_token
