"""What a collector asks for goes out until it is answered, and the answers are kept beside it."""

import argparse
import json
from types import SimpleNamespace
from typing import cast

import pytest

from joulemark_agent.contract.canonical import canonical_bytes
from joulemark_agent.contract.raw import RawRequest, signed_request
from joulemark_agent.contract.signature import encode64, public_key
from joulemark_agent.contract.topics import request_topic
from joulemark_gateway import cli
from joulemark_gateway.evidence import command
from joulemark_gateway.evidence.base import Accepted
from joulemark_gateway.evidence.ranges import batches_between, missing_in
from joulemark_gateway.evidence.store import FILE, SqliteStore
from joulemark_gateway.ingest import requests
from joulemark_gateway.ingest.requests import Asked, Requests
from support.committed import NAME, SLOTS, four_intervals, offer, resealed, sparse
from support.evidence import AGENT, KEYS, METER, SITE, START_US, WITNESS
from support.intakes import new_intake
from support.present import present

FULL = list(four_intervals())
NOW_US = 1_800_000_000_000_000


def request(name="a", at_us=NOW_US):
    asked = RawRequest(name * 32, NAME, 3, 8, 0, 1, at_us, WITNESS)
    return Asked(AGENT, METER, signed_request(asked, KEYS.witness))


@pytest.fixture
def clock(monkeypatch):
    """Seconds that a test moves."""

    class Clock:
        now_s = 100.0

        def monotonic(self):
            return self.now_s

        def time_ns(self):
            return NOW_US * 1000

    made = Clock()
    monkeypatch.setattr(requests, "time", made)
    return made


def test_a_request_goes_out_again_every_minute_and_over_every_connection(tmp_path, clock):
    asked = Requests(tmp_path)
    assert asked.due() == []
    asked.put(request())
    clock.now_s += 2
    [message] = asked.due()
    assert (message.topic, message.payload) == (request_topic(AGENT, METER), request().payload)
    for seconds, count in ((2, 0), (30, 0), (40, 1), (2, 0)):
        clock.now_s += seconds
        assert len(asked.due()) == count
    asked.connected()
    clock.now_s += 2
    assert len(asked.due()) == 1


def test_a_request_that_is_a_month_old_goes_out_no_more(tmp_path, clock):
    asked = Requests(tmp_path)
    asked.put(request(at_us=NOW_US - requests.GIVEN_UP_US - 1))
    clock.now_s += 2
    assert asked.due() == []
    assert len(asked.all()) == 1, "it is on record all the same"


@pytest.mark.parametrize(
    ("answer", "goes_on"), [("allowed", False), ("denied", False), ("waiting", True)]
)
def test_the_answer_is_a_leaf_that_was_accepted(tmp_path, clock, answer, goes_on):
    asked = Requests(tmp_path)
    asked.put(request())
    intake = new_intake(tmp_path / FILE, on_accepted=asked.note)
    for batch in sparse(FULL[:3]):
        offer(intake, batch)

    def answered(contents):
        signed = json.loads(request().payload)
        fields = {**signed, "answer": answer, "batches": "0", "type": "raw_request", "v": 1}
        envelope = contents[-1]
        contents[-1] = {**fields, "dev": METER, "epoch": 1, "seq": envelope["seq"]}
        seq = str(int(envelope["seq"]) + 1)
        contents.append({**envelope, "seq": seq, "last_seq": envelope["seq"]})

    [batch] = sparse([resealed(FULL, 3, answered)])
    assert offer(intake, batch).topic.endswith("/receipt")
    offer(intake, batch)
    intake.close()
    [told] = present(asked.get("a" * 32)).answers
    assert (told["answer"], told["origin"]) == (answer, NAME)
    assert told["seq"] == str(FULL[3].size - 1)
    clock.now_s += 2
    assert bool(asked.due()) == goes_on


def test_a_damaged_file_is_no_request(tmp_path):
    asked = Requests(tmp_path)
    asked.put(request())
    for name, data in (("x", b""), ("y", b"{}"), ("z", canonical_bytes({"agent": "a"}))):
        (tmp_path / requests.FOLDER / f"{name}.json").write_bytes(data)
    assert [one.id for one in asked.all()] == ["a" * 32]
    (tmp_path / "outside.json").write_bytes(request().to_bytes())
    for name in ("../outside", "../../etc/passwd", "\0", "a" * 5000, "A" * 32):
        assert asked.get(name) is None, "an id is 32 digits, whatever an agent writes"


@pytest.mark.parametrize("device", [METER, "boiler"])
def test_only_the_device_that_was_asked_answers(tmp_path, device):
    """Another agent of this collector may write a leaf with any id."""
    asked = Requests(tmp_path)
    asked.put(request())
    leaf = {**json.loads(request().payload), "answer": "denied", "batches": "0", "seq": "7"}
    batch = SimpleNamespace(
        origin=f"joulemark/{SITE}/{device}/4",
        leaves=[canonical_bytes({**leaf, "type": "raw_request"})],
    )
    asked.note(cast(Accepted, batch))
    assert present(asked.get("a" * 32)).is_answered == (device == METER)


# ---------------------------------------------------------------------- ranges


@pytest.fixture
def folder(tmp_path):
    intake = new_intake(tmp_path / FILE)
    for batch in sparse(FULL):
        offer(intake, batch)
    intake.close()
    return tmp_path


@pytest.mark.parametrize(
    ("first", "last", "found"),
    [
        (0, 1, [0, 1]), (1, 2, [2]), (15, 16, [2]), (16, 17, [3]), (1, 61, [2, 3, 4, 5]),
        (60, 90, [5]), (61, 90, []), (-9, 0, [0]),
    ],
)  # fmt: skip
def test_the_batches_of_a_time_are_those_with_its_slots(folder, first, last, found):
    from_us, to_us = (START_US + n * 60_000_000 for n in (first, last))
    with SqliteStore(folder / FILE, create=False) as store:
        batches = batches_between(store, NAME, from_us, to_us)
        assert [b.first_seq for b in batches] == [FULL[k].first_seq for k in found]
        assert missing_in(store, NAME, batches) == (SLOTS - 1) * sum(k > 1 for k in found)


# --------------------------------------------------------------------- command


@pytest.fixture
def config(folder):
    path = folder / "collector.yaml"
    agent, operator = (encode64(public_key(key)) for key in (KEYS.agent, KEYS.operator))
    path.write_text(
        f"name: {WITNESS}\nbroker: {{url: 'mqtt://127.0.0.1:1'}}\nstate_dir: .\n"
        "accept_simulated: true\npages: null\n"
        f"agents: [{{agent: {AGENT}, site: {SITE}, devices: [{METER}], key: '{agent}'}}]\n"
        f"operators: ['{operator}']\n"
    )
    return path


def ran(capsys, config, *words):
    parser = argparse.ArgumentParser()
    cli.add_commands(parser.add_subparsers())
    args = parser.parse_args(["evidence", *words, "-c", str(config)])
    return args.run(args), capsys.readouterr().out


FETCH = ("fetch", "--site", SITE, "--device", METER, "--from", "2018-01-01T00:01:00+09:00")


def test_the_command_asks_and_says_what_is_not_here(capsys, config, folder):
    words = (*FETCH, "--to", "2018-01-01T00:16:00+09:00")
    code, out = ran(capsys, config, *words, "--wait", "0", "--json")
    told = json.loads(out)
    assert (code, told["missing"], told["batches"]) == (1, SLOTS - 1, 1)
    [asked] = Requests(folder).all()
    content = json.loads(asked.payload)["request"]
    assert (content["first_seq"], content["last_seq"]) == (
        str(FULL[2].first_seq),
        str(FULL[2].size - 1),
    )
    assert content["id"] == told["request"]
    code, out = ran(capsys, config, *words, "--wait", "0")
    assert "no answer yet" in out
    assert ran(capsys, config, "requests")[1].count("no answer yet") == 2


def test_the_command_is_content_when_the_records_are_here(capsys, config, folder):
    intake = new_intake(folder / FILE)
    offer(intake, FULL[2])
    intake.close()
    code, out = ran(capsys, config, *FETCH, "--to", "2018-01-01T00:16:00+09:00")
    assert (code, "every raw record" in out) == (0, True)
    assert Requests(folder).all() == []


@pytest.mark.parametrize(
    ("answer", "said"), [("denied", "refuses"), ("waiting", "person"), ("allowed", "sends")]
)
def test_the_command_says_what_the_factory_answered(capsys, config, monkeypatch, answer, said):
    plain = Requests.get

    def answered(self, request_id):
        asked = present(plain(self, request_id))
        asked.answers.append({"answer": answer, "batches": "0", "origin": NAME, "seq": "9"})
        return asked

    monkeypatch.setattr(Requests, "get", answered)
    monkeypatch.setattr(command, "_LOOK_S", 0.01)
    words = (*FETCH, "--to", "2018-01-01T00:16:00+09:00", "--wait", "0.05")
    code, out = ran(capsys, config, *words)
    assert (code, said in out) == (1, True), out


def test_the_proof_of_a_leaf_is_printed(capsys, config):
    words = ("proof", "--site", SITE, "--device", METER, "--seq", str(FULL[3].size - 2))
    code, out = ran(capsys, config, *words)
    assert (code, json.loads(out)["tree_size"]) == (0, FULL[3].size)
