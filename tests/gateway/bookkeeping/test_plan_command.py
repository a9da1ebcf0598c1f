"""`joulemark plan`: signed where the key is, registered once, shown with who has seen it."""

import argparse
import json
from pathlib import Path

import pytest
import yaml

from joulemark_agent.contract.canonical import canonical_bytes, digest_hex, parse_canonical
from joulemark_agent.contract.document import document_bytes
from joulemark_agent.contract.errors import ConfigError, EvidenceError
from joulemark_agent.contract.signature import cosign, encode64
from joulemark_gateway import cli
from joulemark_gateway.bookkeeping.plans import registrations
from joulemark_gateway.evidence.log_store import LogStore
from joulemark_gateway.evidence.store import FILE
from support.bundles import policy_mapping
from support.evidence import FOREIGN, KEYS, SITE, WITNESS
from support.log_writer import new_file
from support.logs import FIRM, FIRM_KEY
from support.plant import plan_mapping

PAGE = Path(__file__).parents[3] / "docs/plan.md"
LATER = {
    "baseline": {"from": "2098-01-01", "to": "2098-07-01"},
    "measure": {"name": "Drives", "description": "Pumps slow down.", "implemented": "2099-01-01"},
    "reporting": {"from": "2099-01-01", "to": "2099-07-01"},
}
OPTION_A = {
    "option": "A",
    "boundary": "The two pumps and their meter.",
    "responsible": "J. Kim, energy manager",
    "static_factors": [
        {
            "name": "head",
            "value": 12,
            "unit": "m",
            "source": "drawing 7",
            "if_changed": "adjust the baseline",
            "estimated": True,
        }
    ],
}


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
def folder(tmp_path):
    """A collector that holds nothing yet, keys, and a project that is to come."""
    (tmp_path / "state").mkdir()
    new_file(tmp_path / "state")
    write_key(tmp_path / "state/witness.key", KEYS.witness)
    write_key(tmp_path / "operator.key", KEYS.operator)
    write_key(tmp_path / "foreign.key", FOREIGN.operator)
    mapping = {name: policy_mapping()[name] for name in ("agents", "operators")}
    mapping |= {"name": WITNESS, "state_dir": "state"}
    (tmp_path / "collector.yaml").write_text(yaml.safe_dump(mapping))
    project(tmp_path)
    return tmp_path


def project(folder, *, wiring=None, **changes):
    wired = {"collector": "collector.yaml"} if wiring is None else wiring
    text = yaml.safe_dump({**plan_mapping(**{**LATER, **changes}), **wired})
    (folder / "project.yaml").write_text(text)


def sign(folder, *more, key="operator.key"):
    named = ("--key", folder / key, "--author", "J. Kim")
    return joulemark("plan", "sign", folder / "project.yaml", *named, *more)


def registered(folder):
    with LogStore(folder / "state" / FILE, write=False) as store:
        store.scrub()
        return registrations(store, SITE)


def test_a_plan_is_signed_registered_and_stands_under_a_head(folder, capsys):
    assert sign(folder, "--role", "energy manager") == 0
    told = capsys.readouterr().out
    [found] = registered(folder)
    digest = digest_hex(document_bytes(plan_mapping(**LATER)))
    assert found.is_signed
    assert found.statement.content() == {
        "author": "J. Kim", "plan_sha256": digest, "project": "pump-house",
        "role": "energy manager", "site": SITE, "type": "plan", "v": 1,
    }  # fmt: skip
    assert f"digest {digest}" in told
    assert "reports will warn" not in told
    with LogStore(folder / "state" / FILE, write=False) as store:
        assert store.heads()[-1].size == store.edge().size > found.position


def test_a_plan_is_registered_once_and_told_since_when(folder):
    sign(folder)
    with pytest.raises(ConfigError, match=r"registered already, since 20.* by J\. Kim \(operator"):
        sign(folder)
    assert len(registered(folder)) == 1
    project(folder, title="Another plan")
    assert sign(folder) == 0, "a plan that was changed is another plan"
    assert len(registered(folder)) == 2


def test_a_plan_whose_reporting_period_began_is_registered_and_reports_will_warn(folder, capsys):
    project(folder, **{name: plan_mapping()[name] for name in LATER})
    assert sign(folder) == 0
    assert "reports will warn" in capsys.readouterr().out
    assert len(registered(folder)) == 1


def test_the_plan_that_the_page_shows_is_one(folder):
    text = PAGE.read_text("utf-8").partition("```yaml\n")[2].partition("```")[0]
    (folder / "project.yaml").write_text(text)
    assert sign(folder) == 0
    assert registered(folder)[0].statement.project == "pump-house"


@pytest.mark.parametrize(
    ("changes", "words", "says"),
    [
        ({"unit": "week"}, {}, r"project\.yaml:[0-9]+: unit"),
        ({"option": "A", "boundary": "pumps"}, {}, "estimated: true"),
        ({}, {"key": "foreign.key"}, "is no operator's of this collector"),
        ({}, {"key": "none.key"}, "none.key"),
        ({"wiring": {"evidence": "x"}}, {}, "names no collector"),
    ],
)
def test_what_cannot_be_registered_is_refused_and_says_why(folder, changes, words, says):
    project(folder, **changes)
    with pytest.raises(ConfigError, match=says):
        sign(folder, **words)
    assert registered(folder) == []


def test_an_author_without_a_name_is_none(folder):
    with pytest.raises(EvidenceError, match="text is missing"):
        joulemark("plan", "sign", folder / "project.yaml", "--key", folder / "operator.key",
                  "--author", "")  # fmt: skip


def test_a_plan_signed_where_the_key_is_kept_is_registered_elsewhere(folder, capsys):
    project(folder, wiring={"evidence": "none"})
    signed = folder / "signed.json"
    assert sign(folder, "--out", signed) == 0
    assert registered(folder) == []
    config = ("-c", folder / "collector.yaml")
    assert joulemark("plan", "register", signed, *config) == 0
    assert registered(folder)[0].is_signed
    assert "registered the plan of pump-house" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda content: content["plan"].update(title="Another"), "of another plan"),
        (lambda content: content["statement"].update(author="A. Lee"), "of other bytes"),
        (lambda content: content["plan"].pop("unit"), "no signed plan"),
        (lambda content: content.update(more=1), "other fields"),
        (lambda content: content.update(operator_key=7), "no signed plan"),
        (lambda content: content.update(plan=7), "no signed plan"),
    ],
)
def test_a_signed_plan_that_was_changed_on_its_way_is_refused(folder, change, says):
    sign(folder, "--out", folder / "signed.json")
    content = parse_canonical((folder / "signed.json").read_bytes().strip())
    change(content)
    (folder / "changed.json").write_bytes(canonical_bytes(content))
    config = ("-c", folder / "collector.yaml")
    with pytest.raises(ConfigError, match=says):
        joulemark("plan", "register", folder / "changed.json", *config)
    (folder / "rubbish.json").write_text("{")
    with pytest.raises(ConfigError, match="no signed plan"):
        joulemark("plan", "register", folder / "rubbish.json", *config)


def test_a_plan_is_shown_with_its_digest_and_who_saw_it(folder, capsys):
    project(folder, **OPTION_A)
    show = ("plan", "show", folder / "project.yaml")
    assert joulemark(*show) == 1
    told = capsys.readouterr().out
    assert "registered not yet" in told
    assert "static     head: 12 m (drawing 7, estimated)" in told
    sign(folder)
    with LogStore(folder / "state" / FILE) as store:
        newest = store.heads()[-1]
        line = cosign(FIRM_KEY, FIRM, newest.note, 4_000_000_000)[len(newest.note) :]
        store.keep_cosignature(newest.size, FIRM, line)
    capsys.readouterr()
    assert joulemark(*show) == 0
    assert f"cosigned   {FIRM}, 2096-10-02" in capsys.readouterr().out
    assert joulemark(*show, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["plan"]["option"] == "A"
    assert found["registered"]["before_reporting"] == "witness"
    assert found["sha256"] == found["registered"]["sha256"]


def test_no_text_of_a_plan_moves_the_cursor_or_adds_a_line(folder, capsys):
    texts = {"title": "a\x1b[2Jb", "option": "B", "boundary": "one\ncosigned   by all"}
    project(folder, **texts)
    named = ("--key", folder / "operator.key", "--author", "J\x1b[1A\nKim")
    assert joulemark("plan", "sign", folder / "project.yaml", *named) == 0
    assert joulemark("plan", "show", folder / "project.yaml") == 0
    told = capsys.readouterr().out.splitlines()
    assert all(line.isprintable() for line in told)
    assert [line for line in told if line.startswith("cosigned")] == ["cosigned   by nobody yet"]
    assert "signed     for J\\x1b[1A\\nKim (operator)" in told
