"""`joulemark measure` and `joulemark report`: from a real store to files a stranger can check."""

import argparse
import json
import secrets

import pytest
import yaml

from joulemark_agent.contract.batch import batch_bytes
from joulemark_agent.contract.canonical import canonical_bytes, digest_hex, parse_canonical
from joulemark_agent.contract.document import document_bytes
from joulemark_agent.contract.errors import ConfigError, MeasureError, StoreError
from joulemark_agent.contract.signature import encode64
from joulemark_agent.contract.topics import batch_topic
from joulemark_gateway.api import projects
from joulemark_gateway.bookkeeping.plans import register, sign_plan
from joulemark_gateway.evidence.bundle import open_bundle
from joulemark_gateway.evidence.log import CollectorLog
from joulemark_gateway.evidence.log_store import LogStore
from joulemark_gateway.evidence.store import FILE, SqliteStore
from joulemark_gateway.ingest.intake import Intake, Witness
from joulemark_gateway.reports import command, stored
from joulemark_gateway.reports.project_file import load_project
from joulemark_gateway.verify.policy import parse_policy
from joulemark_gateway.verify.verdict import verify
from support.book import registry
from support.bundles import groups_of, policy_mapping
from support.evidence import (
    AGENT,
    BATCH_WALL_US,
    COUNTER,
    KEYS,
    METER,
    SEALED_US,
    WITNESS,
    seal,
    uncosigned,
)
from support.forgeries.plans import BEFORE_US
from support.log_writer import close_log
from support.plant import plan_mapping, small
from support.present import present


def fill(path, *, devices=(METER, COUNTER), change=lambda _device, groups: groups, refuse=0):
    """A store as the collector leaves it: every batch judged, cosigned and committed by it."""
    clock = {"now_us": SEALED_US}
    intake = Intake(
        lambda: SqliteStore(path),
        registry,
        Witness(WITNESS, KEYS.witness),
        lambda: clock["now_us"],
    )
    for device in devices:
        batches = seal(small().site, device, change(device, groups_of(device)), KEYS)
        for index, batch in enumerate(batches):
            clock["now_us"] = SEALED_US + index * BATCH_WALL_US + 1_000_000
            topic = batch_topic(AGENT, device)
            assert present(intake.take(topic, batch_bytes(uncosigned(batch)))).has_grown
    for _ in range(refuse):
        intake.take(batch_topic(AGENT, METER), b"no batch")
    intake.close()
    close_log(path, clock["now_us"])


OTHER_KEY = encode64(bytes(range(32)))


@pytest.fixture(scope="module")
def held(tmp_path_factory):
    """A folder with a collector's state, its file, and the other way to say the same."""
    folder = tmp_path_factory.mktemp("held")
    state = folder / "state"
    fill(state / FILE, refuse=3)
    for name, key in (("witness.key", KEYS.witness), ("report.key", KEYS.reporter)):
        (state / name).touch(mode=0o600)
        (state / name).write_text(encode64(key) + "\n")
    collector = {
        "name": WITNESS,
        "state_dir": "state",
        "agents": policy_mapping()["agents"],
        "operators": policy_mapping()["operators"],
    }
    (folder / "collector.yaml").write_text(yaml.safe_dump(collector))
    (folder / "trust.json").write_bytes(canonical_bytes(policy_mapping()))
    return folder


WIRED = {"evidence": f"state/{FILE}", "trust": "trust.json", "report_key": "state/report.key"}


def project(folder, name="project.yaml", wiring=None, **changes):
    path = folder / name
    wired = {"collector": "collector.yaml"} if wiring is None else wiring
    path.write_text(yaml.safe_dump({**plan_mapping(**changes), **wired}))
    return path


def run(*words):
    parser = argparse.ArgumentParser()
    command.add_command(parser.add_subparsers())
    args = parser.parse_args([str(word) for word in words])
    return args.run(args)


def test_a_report_is_seven_files_that_verify_under_their_policy(held, tmp_path, capsys):
    assert run("report", project(held), "--out", tmp_path / "out") == 0
    told = capsys.readouterr().out
    files = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    beside = {"report.pdf", "report.ko.pdf", "report.ko.html"}
    assert set(files) == {"report.html", "report.json", "bundle.zip", "policy.json"} | beside
    assert all(name in told for name in files)
    signed = {name: files[name] for name in beside}
    verdict = verify(files["bundle.zip"], parse_policy(files["policy.json"]), files=signed)
    assert verdict.findings == ()
    assert json.loads(files["policy.json"]) == policy_mapping()
    members = open_bundle(files["bundle.zip"]).members
    assert members["report.json"] == files["report.json"]
    assert members["report.html"] == files["report.html"]
    report = json.loads(files["report.json"])
    assert report["quarantined"] == {"bad_batch": "3"}
    for name in ("avoided_kwh", "half_width_kwh", "avoided_percent"):
        assert report["saving"][name] in told


def test_a_report_tells_nobody_whom_else_the_collector_serves(held, tmp_path):
    collector = yaml.safe_load((held / "collector.yaml").read_text())
    other = {"agent": "edge-9", "site": "pohang", "devices": ["secret-mill"], "key": OTHER_KEY}
    collector["agents"].append(other)
    (held / "shared.yaml").write_text(yaml.safe_dump(collector))
    path = project(held, "shared-project.yaml", {"collector": "shared.yaml"})
    assert run("report", path, "--out", tmp_path) == 0
    for name in ("policy.json", "bundle.zip"):
        data = (tmp_path / name).read_bytes()
        assert encode64(b"secret-mill").encode()[:12] not in data
        assert b"secret-mill" not in data
    policy_ = json.loads((tmp_path / "policy.json").read_text())
    assert [row["agent"] for row in policy_["agents"]] == [AGENT]


def test_a_report_may_be_put_in_an_object_store(held, tmp_path, capsys):
    """And the plan in its bundle holds no wiring."""
    url, tmp_path = f"memory://{secrets.token_hex(4)}", tmp_path / "copy"
    assert run("report", project(held), "--out", url) == 0
    assert f"written to {url}" in capsys.readouterr().out
    stored.copy(stored.open_place(url), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == projects.FILES.keys()
    plan = open_bundle((tmp_path / "bundle.zip").read_bytes()).members["plan.json"]
    assert plan == small().plan == document_bytes(plan_mapping())
    assert json.loads((tmp_path / "report.json").read_bytes())["plan_sha256"] == digest_hex(plan)


def test_a_plan_that_was_registered_before_is_told_by_its_report(held, tmp_path, capsys):
    path = project(held, "registered.yaml", title="A plan that was there")
    signed = sign_plan(load_project(path).plan, KEYS.operator, "J. Kim", "energy manager")
    with LogStore(held / "state" / FILE) as store:
        book = CollectorLog(store, WITNESS, KEYS.witness)
        register(book, policy_mapping()["operators"], signed, BEFORE_US)
    assert run("report", path, "--out", tmp_path) == 0
    assert "plan_dated_by_collector" in capsys.readouterr().out
    told = json.loads((tmp_path / "report.json").read_bytes())["plan"]["registered"]
    assert (told["author"], told["before_reporting"]) == ("J. Kim", "collector")
    trusted = parse_policy((tmp_path / "policy.json").read_bytes())
    assert verify((tmp_path / "bundle.zip").read_bytes(), trusted).findings == ()


def test_a_store_with_a_policy_and_a_key_is_as_good_as_a_collector_file(held, tmp_path):
    path = project(held, "wired.yaml", WIRED)
    assert run("report", path, "--out", tmp_path) == 0
    assert json.loads((tmp_path / "policy.json").read_bytes()) == policy_mapping()
    bundle = (tmp_path / "bundle.zip").read_bytes()
    assert verify(bundle, parse_policy((tmp_path / "policy.json").read_bytes())).exit_code == 0


def test_measuring_prints_an_aligned_table_and_needs_no_key(held, capsys):
    path = project(held, "keyless.yaml", {"evidence": f"state/{FILE}"})
    assert run("measure", path) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Pump house: variable speed drives"
    assert lines[1].startswith("! Replayed data: ")
    rows = [line for line in lines if not line.startswith(("!", "Pump"))]
    starts = {line.index(line.split("  ")[-1].strip()) for line in rows}
    assert len(starts) == 1, "the second column starts in one place"
    assert any(line.startswith("avoided energy") and "± " in line for line in rows)
    assert any(line.startswith("missing") and "all_zero" in line for line in rows)


def test_measuring_as_json_gives_the_report(held, capsys):
    assert run("measure", project(held), "--json") == 0
    told = capsys.readouterr().out
    report = parse_canonical(told.strip().encode())
    assert report["format"] == "joulemark-report/2"
    assert report["result"] == "measured"


def test_a_baseline_that_proves_nothing_exits_1_and_says_which_rule_fails(held, capsys):
    path = project(held, "alone.yaml", drivers=[])
    assert run("measure", path) == 1
    told = capsys.readouterr().out
    assert "none stated: no_activity_driver (iso50006-production 1)" in told
    assert "rule fails" in told
    assert "±" not in told.replace("mean ± 3 sd", "")


def test_a_report_on_it_is_written_and_states_no_saving(held, tmp_path):
    path = project(held, "alone.yaml", drivers=[])
    assert run("report", path, "--out", tmp_path) == 0
    assert json.loads((tmp_path / "report.json").read_bytes())["saving"] is None
    bundle = open_bundle((tmp_path / "bundle.zip").read_bytes())
    assert bundle.trees() == [(METER, 1)], "the bundle holds the plan's devices only"


def test_no_report_is_issued_on_evidence_that_its_verifier_would_refute(held, tmp_path):
    """The collector keeps a tree with a slot left out, flagged; a report cannot stand on it."""

    def leave_out(device, groups):
        if device == METER:
            groups[2].pop(10)
        return groups

    fill(tmp_path / FILE, change=leave_out)
    wiring = {name: str(held / path) for name, path in WIRED.items()}
    path = project(tmp_path, "broken.yaml", {**wiring, "evidence": FILE})
    with pytest.raises(MeasureError, match="slot_missing") as caught:
        run("report", path, "--out", tmp_path / "out")
    assert caught.value.code == "not_issued"
    assert not (tmp_path / "out").exists()


def test_a_device_without_evidence_is_named(tmp_path):
    fill(tmp_path / FILE, devices=(METER,))
    path = project(tmp_path, wiring={"evidence": FILE})
    with pytest.raises(ConfigError, match="no evidence of the device 'production-counter'"):
        run("measure", path)


@pytest.mark.parametrize(
    ("wiring", "message"),
    [
        ({}, "does not say in one way where the evidence is"),
        ({"collector": "collector.yaml", "evidence": "x"}, "does not say in one way"),
        ({"collector": 7}, r"project\.yaml:\d+: collector is not a path"),
        ({"evidence": f"state/{FILE}"}, "names no trust and no report_key"),
        ({"evidence": f"state/{FILE}", "trust": "trust.json"}, "names no report_key"),
        ({**WIRED, "report_key": "none.key"}, "none.key"),
        ({**WIRED, "trust": "none.json"}, r"none\.json cannot be read"),
        ({"collector": "none.yaml"}, r"none\.yaml cannot be read"),
    ],
)
def test_wrong_wiring_is_told_before_any_work(held, tmp_path, wiring, message):
    path = project(held, wiring=wiring)
    with pytest.raises(ConfigError, match=message):
        run("report", path, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_kind_of_store_that_there_is_not_is_told_before_any_work(held):
    with pytest.raises(StoreError, match="Objects cannot be kept at nowhere://x"):
        run("report", project(held), "--out", "nowhere://x")


def test_a_mistake_in_the_plan_is_told_with_its_line(held):
    path = project(held, sufficiency_policy="my-own")
    line = next(
        number
        for number, text in enumerate(path.read_text().splitlines(), 1)
        if text.startswith("sufficiency_policy")
    )
    with pytest.raises(ConfigError, match=rf"project\.yaml:{line}: sufficiency_policy.*my-own"):
        run("measure", path)


def test_a_path_that_no_system_can_open_is_told_with_its_line(held):
    path = project(held)
    path.write_text(path.read_text().replace("collector.yaml", '"a\\0b"'))
    with pytest.raises(ConfigError, match=r"project\.yaml:[0-9]+: .*zero byte"):
        run("measure", path)


def test_a_missing_store_is_told(held, tmp_path):
    with pytest.raises(StoreError, match="no evidence store"):
        run("measure", project(held, wiring={"evidence": str(tmp_path / "none.sqlite")}))


def test_a_folder_that_cannot_be_written_is_told(held, tmp_path):
    (tmp_path / "out").write_text("a file, no folder")
    with pytest.raises(ConfigError, match="cannot be written"):
        run("report", project(held), "--out", tmp_path / "out")
