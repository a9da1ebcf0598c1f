"""The log in people's hands: a head to keep, a second site on a USB stick, a correction."""

import argparse
import json
import os
import signal
import subprocess
import sys

import pytest
import yaml

from joulemark_agent.contract.errors import ConfigError, EvidenceError, UplinkError
from joulemark_agent.contract.signature import encode64, parse_note, public_key
from joulemark_gateway import cli
from joulemark_gateway.bookkeeping.start import open_bookkeeper
from joulemark_gateway.evidence.account import read_account
from joulemark_gateway.evidence.corrections import corrections_in
from joulemark_gateway.evidence.entries import parse_entry
from joulemark_gateway.evidence.log import excerpt
from joulemark_gateway.evidence.log_store import LogStore
from joulemark_gateway.evidence.store import FILE
from joulemark_gateway.settings import load_collector
from joulemark_gateway.witness.settings import load_witness
from support.book import NOW_US
from support.bundles import policy_mapping
from support.child import search_path
from support.evidence import FOREIGN, KEYS, METER, SITE, WITNESS
from support.logs import FIRM, ORIGIN
from support.present import present
from support.trees import sent, small_tree

TREE = f"joulemark/{SITE}/{METER}/1"


def joulemark(*words):
    parser = argparse.ArgumentParser()
    cli.add_commands(parser.add_subparsers())
    args = parser.parse_args([str(word) for word in words])
    return args.run(args)


def write_key(path, key):
    path.touch(mode=0o600)
    path.write_text(encode64(key) + "\n")
    return path


@pytest.fixture
def site(tmp_path):
    """A collector that has closed its log twice, and its file."""
    return collector_in(tmp_path)


def collector_in(folder, **log):
    state = folder / "state"
    state.mkdir(parents=True)
    write_key(state / "witness.key", KEYS.witness)
    mapping = {name: policy_mapping()[name] for name in ("agents", "operators")}
    mapping |= {"name": WITNESS, "state_dir": "state", "accept_simulated": True, "log": log}
    file = folder / "collector.yaml"
    file.write_text(yaml.safe_dump(mapping))
    for k, batch in enumerate(small_tree(batches=2)):
        sent(state / FILE, batch)
        closed(file, NOW_US + k * 3_600_000_000)
    return file


def closed(file, now_us):
    settings = load_collector(file)
    keeper = open_bookkeeper(settings, lambda: settings.registry)
    keeper.turn(now_us)
    keeper.close()


def witness_in(folder, **changes):
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "witness.yaml"
    logs = [{"origin": ORIGIN, "keys": [encode64(public_key(KEYS.witness))]}]
    file.write_text(yaml.safe_dump({"name": FIRM, "logs": logs, **changes}))
    return file


def knowing(file, **log):
    """The collector's file with another section `log`."""
    mapping = yaml.safe_load(file.read_text())
    file.write_text(yaml.safe_dump({**mapping, "log": log}))


# --- the head -----------------------------------------------------------------------------------


def test_the_head_is_printed_as_text_and_as_a_code(site, capsys):
    assert joulemark("collector", "head", "-c", site) == 0
    told = capsys.readouterr().out
    assert joulemark("collector", "head", "--json", "-c", site) == 0
    found = json.loads(capsys.readouterr().out)
    assert told.startswith(f"{ORIGIN}\n{found['size']}\n{found['root']}\n")
    assert parse_note(found["note"])[0] in told
    lines = [line for line in told.splitlines() if "█" in line]
    assert len(lines) > 20
    assert len({len(line) for line in lines}) == 1


def test_without_a_head_it_says_so(tmp_path):
    file = collector_in(tmp_path)
    with LogStore(tmp_path / "state" / FILE) as store:
        store._rows("DELETE FROM log_head")
    with pytest.raises(ConfigError, match="no head yet"):
        joulemark("collector", "head", "-c", file)


def test_keys_and_status_tell_what_a_witness_needs_and_what_was_closed(site, capsys):
    assert joulemark("collector", "keys", "--json", "-c", site) == 0
    assert json.loads(capsys.readouterr().out)["log"] == ORIGIN
    assert joulemark("collector", "status", "--scrub", "-c", site) == 0
    assert f"log {ORIGIN}" in capsys.readouterr().out
    with LogStore(site.parent / "state" / FILE) as store:
        store._rows("UPDATE log_leaf SET leaf = CAST(leaf || ' ' AS BLOB) WHERE position = 1")
    assert joulemark("collector", "status", "--scrub", "-c", site) == 1
    assert "collector's log" in capsys.readouterr().out


# --- a second site on a USB stick ---------------------------------------------------------------


def test_a_head_goes_out_as_a_file_and_comes_back_cosigned(site, tmp_path, capsys):
    witness, out, back = witness_in(tmp_path / "firm"), tmp_path / "out", tmp_path / "back"
    key = encode64(load_witness(witness).key().public)
    knowing(site, witnesses=[{"name": FIRM, "key": key}])
    for k in range(2):
        assert joulemark("collector", "head", "-c", site, "--out", out) == 0
        assert joulemark("witness", "countersign", out, "--out", back, "-c", witness) == 0
        assert joulemark("collector", "cosigned", back, "-c", site) == 0
        with LogStore(site.parent / "state" / FILE) as store:
            newest = store.heads()[-1]
            assert set(newest.cosignatures) == {FIRM}
        assert out.read_text().startswith("old 0\n") == (k == 0)
        write_correction(site, first_seq=4)
        if k == 0:
            joulemark("collector", "correct", tmp_path / "correction.yaml", "--operator-key",
                      tmp_path / "operator.key", "-c", site)  # fmt: skip
    capsys.readouterr()
    assert joulemark("collector", "head", "-c", site) == 0
    assert f"cosigned by {FIRM}" in capsys.readouterr().out
    assert joulemark("witness", "status", "-c", witness) == 0
    assert f"{ORIGIN}  {newest.size} leaves" in capsys.readouterr().out


def test_a_file_whose_answer_was_lost_is_countersigned_again(site, tmp_path):
    witness, out = witness_in(tmp_path / "firm"), tmp_path / "out"
    joulemark("collector", "head", "-c", site, "--out", out)
    for name in ("lost", "back"):
        assert (
            joulemark("witness", "countersign", out, "--out", tmp_path / name, "-c", witness) == 0
        )
    assert (tmp_path / "lost").read_bytes() == (tmp_path / "back").read_bytes()


def test_a_witness_that_is_asked_wrongly_says_how_to_ask(site, tmp_path):
    witness, out = witness_in(tmp_path / "firm"), tmp_path / "out"
    joulemark("collector", "head", "-c", site, "--out", out)
    joulemark("witness", "countersign", out, "--out", tmp_path / "back", "-c", witness)
    size = json_head(site)["size"]
    operator = write_key(tmp_path / "operator.key", KEYS.operator)
    file = write_correction(site, first_seq=4)
    joulemark("collector", "correct", file, "--operator-key", operator, "-c", site)
    joulemark("collector", "head", "-c", site, "--out", out, "--old", "1")
    with pytest.raises(EvidenceError, match=f"'--old {size}'"):
        joulemark("witness", "countersign", out, "--out", tmp_path / "back", "-c", witness)
    joulemark("collector", "head", "-c", site, "--out", out, "--old", size)
    assert joulemark("witness", "countersign", out, "--out", tmp_path / "back", "-c", witness) == 0
    stranger = witness_in(tmp_path / "stranger", logs=[{"origin": "x", "keys": [KEY]}])
    with pytest.raises(EvidenceError, match="not known here"):
        joulemark("witness", "countersign", out, "--out", tmp_path / "back", "-c", stranger)
    with pytest.raises(UplinkError, match="No witness of this log"):
        joulemark("collector", "cosigned", tmp_path / "back", "-c", site)
    with pytest.raises(ConfigError, match="has 8 leaves"):
        joulemark("collector", "head", "-c", site, "--out", out, "--old", "900")


KEY = encode64(bytes(range(32)))


def json_head(file):
    with LogStore(file.parent / "state" / FILE, write=False) as store:
        return {"size": store.heads()[-1].size}


def test_which_witness_a_file_is_for_is_said_where_there_are_several(site, tmp_path):
    rows = [{"name": name, "key": encode64(name.encode() * 8)} for name in ("aaaa", "bbbb")]
    knowing(site, witnesses=rows)
    with pytest.raises(ConfigError, match="aaaa, bbbb"):
        joulemark("collector", "head", "-c", site, "--out", tmp_path / "out")
    assert joulemark("collector", "head", "-c", site, "--out", tmp_path / "out", "--witness",
                     "aaaa") == 0  # fmt: skip


# --- the service --------------------------------------------------------------------------------


def test_the_service_cosigns_until_sigterm(site, tmp_path):
    witness = witness_in(tmp_path / "firm", port=0)
    key = load_witness(witness).key()
    environment = {"PYTHONPATH": search_path(), "PATH": os.environ["PATH"]}
    service = subprocess.Popen(
        [sys.executable, "-m", "joulemark_agent.cli", "witness", "run", "-c", str(witness)],
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    events = [json.loads(present(service.stderr).readline()) for _ in range(2)]
    url = next(event["url"] for event in events if event["event"] == "witness_started" and "url" in
               event)  # fmt: skip
    row = {"name": FIRM, "key": encode64(key.public), "url": url}
    knowing(site, witnesses=[row], quorum=1)
    closed(site, NOW_US + 7_200_000_000)
    with LogStore(site.parent / "state" / FILE) as store:
        assert set(store.heads()[-1].cosignatures) == {FIRM}
    service.send_signal(signal.SIGTERM)
    told = service.communicate(timeout=20)[1]
    assert service.returncode == 0
    assert [json.loads(line)["event"] for line in told.splitlines()] == [
        "head_cosigned",
        "witness_stopped",
    ]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"name": "two words"}, "name"),
        ({"logs": []}, "logs"),
        ({"logs": [{"origin": "x", "keys": ["AAAA"]}]}, "32 bytes"),
        (
            {"logs": [{"origin": "x", "keys": [KEY]}, {"origin": "x", "keys": [KEY]}]},
            "stands twice",
        ),
        ({"host": "firm.example"}, "not an address"),
        ({"port": 70_000}, "port"),
        ({"unknown": 1}, "unknown"),
    ],
)
def test_a_mistake_in_the_witness_s_file_is_named(tmp_path, changes, says):
    with pytest.raises(ConfigError, match=says):
        joulemark("witness", "keys", "-c", witness_in(tmp_path, **changes))


@pytest.mark.parametrize(
    ("log", "says"),
    [
        ({"quorum": 1}, "above the 0 witnesses"),
        ({"witnesses": [{"name": "a", "key": KEY}, {"name": "b", "key": KEY}]}, "share"),
        ({"witnesses": [{"name": "a", "key": KEY, "url": "ftp://x"}]}, "not the address"),
        ({"witnesses": [{"name": "a", "key": KEY, "url": "http://u:p@x"}]}, "not the address"),
        ({"close_every_s": 0}, "close_every_s"),
        ({"authorities": [{"name": "A!", "url": "http://x", "certificates": "x"}]}, "name"),
    ],
)
def test_a_mistake_in_the_section_log_is_named(site, log, says):
    knowing(site, **log)
    with pytest.raises(ConfigError, match=says):
        joulemark("collector", "head", "-c", site)


def test_a_certificate_that_is_not_there_stops_the_collector(site):
    authority = {"name": "tsa", "url": "http://tsa.example", "certificates": "no.pem"}
    knowing(site, authorities=[authority])
    with pytest.raises(ConfigError, match=r"no\.pem cannot be read"):
        joulemark("collector", "run", "-c", site)


# --- corrections --------------------------------------------------------------------------------


def write_correction(site, **changes):
    folder = site.parent
    if not (folder / "operator.key").exists():
        write_key(folder / "operator.key", KEYS.operator)
    content = {
        "tree": TREE, "point": "energy_wh", "excluded": True, "reason": "tested", "who": "J. Kim",
        **changes,
    }  # fmt: skip
    content = {name: value for name, value in content.items() if value is not None}
    (folder / "correction.yaml").write_text(yaml.safe_dump(content))
    return folder / "correction.yaml"


def correct(site, key=KEYS.operator, **changes):
    file = write_correction(site, **changes)
    operator = site.parent / ("operator.key" if key == KEYS.operator else "foreign.key")
    if not operator.exists():
        write_key(operator, key)
    return joulemark("collector", "correct", file, "--operator-key", operator, "-c", site)


def logged(site):
    with LogStore(site.parent / "state" / FILE, write=False) as store:
        store.scrub()
        leaves = [parse_entry(leaf, i) for i, leaf in store.of_site(SITE)]
        assert store.heads()[-1].size == store.edge().size, "closed over it at once"
    return corrections_in(leaves)


def test_a_correction_is_signed_logged_and_covered_by_a_head(site, capsys):
    assert correct(site, first_seq=4, last_seq=5) == 0
    [made] = logged(site)
    assert made.is_signed
    assert made.operator_key == public_key(KEYS.operator)
    assert (made.correction.first_seq, made.correction.last_seq) == (4, 5)
    assert made.correction.digest in capsys.readouterr().out
    assert correct(site, first_seq=3, excluded=None, value=12345) == 0
    assert logged(site)[1].correction.value == "12345"


def test_a_correction_of_what_came_just_now_stands_with_a_head_that_has_it(site):
    """Else every report under the head that covers it would name a reading that is not there."""
    newest = small_tree(batches=3)[2]
    sent(site.parent / "state" / FILE, newest)
    assert correct(site, first_seq=newest.first_seq) == 0
    with LogStore(site.parent / "state" / FILE, write=False) as store:
        told = read_account(excerpt(store, SITE, store.heads()[-1])).last_heads()
    assert told[TREE].size == newest.size


def test_what_was_corrected_can_be_taken_back_and_corrected_again(site, capsys):
    correct(site, first_seq=4, excluded=None, value=1)
    [made] = logged(site)
    back = {"tree": None, "point": None, "excluded": None, "first_seq": None}
    correct(site, **back, withdraws=made.correction.digest, reason="a typo")
    correct(site, first_seq=4, excluded=None, value=2)
    assert [item.correction.treatment for item in logged(site)] == [
        "replaced", "withdrawn", "replaced",
    ]  # fmt: skip
    capsys.readouterr()
    with pytest.raises(ConfigError, match="There is no correction"):
        correct(site, **back, withdraws="0" * 64)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"first_seq": 0}, "no reading here"),
        ({"first_seq": 900}, "no reading here"),
        ({"first_seq": 4, "last_seq": 900}, "no reading here"),
        ({"first_seq": 4, "point": "steam_kg"}, "there is no point 'steam_kg', but .*energy_wh"),
        ({"first_seq": 4, "tree": f"joulemark/{SITE}/{METER}/2"}, f"There are: {TREE}"),
        ({"first_seq": 4, "excluded": None, "value": "-3"}, "is no count"),
        ({"first_seq": 4, "excluded": None, "value": "many"}, "decimal text"),
        ({"first_seq": 5, "last_seq": 4}, "before its first"),
        ({"first_seq": 4, "value": "1"}, "one of 'excluded: true'"),
        ({"first_seq": None}, "say where"),
        ({"first_seq": 4, "reason": None}, "reason"),
        ({"first_seq": 4, "edit": True}, "edit"),
    ],
)
def test_a_correction_that_does_not_hold_is_refused(site, changes, says):
    with pytest.raises((ConfigError, EvidenceError), match=says):
        correct(site, **changes)
    assert logged(site) == []


def test_somebody_who_is_no_operator_corrects_nothing(site):
    with pytest.raises(ConfigError, match="is no operator's of this collector"):
        correct(site, key=FOREIGN.operator, first_seq=4)
    assert logged(site) == []


def test_two_corrections_of_one_reading_are_refused(site):
    correct(site, first_seq=3, last_seq=5)
    for changes in ({"first_seq": 5, "last_seq": 8}, {"first_seq": 4, "who": "another"}):
        with pytest.raises(EvidenceError, match="is corrected already") as caught:
            correct(site, **changes)
        assert caught.value.code == "correction_overlap"
    with pytest.raises((ConfigError, EvidenceError)):
        correct(site, first_seq=3, last_seq=5)
    assert len(logged(site)) == 1
    assert correct(site, first_seq=5, point="power_w") == 0
