"""A report stands under the newest head of the log that enough others saw, and under no newer."""

import json
import shutil

import pytest
import yaml

from joulemark_agent.contract.batch import batch_bytes
from joulemark_agent.contract.errors import ConfigError
from joulemark_agent.contract.signature import cosign, encode64, parse_checkpoint, parse_note
from joulemark_agent.contract.signature import public_key as public_of
from joulemark_agent.contract.topics import batch_topic
from joulemark_gateway.evidence.account import read_account
from joulemark_gateway.evidence.entries import document_entry
from joulemark_gateway.evidence.ledger import SqliteLedger
from joulemark_gateway.evidence.log import CollectorLog
from joulemark_gateway.evidence.log_store import LogStore
from joulemark_gateway.evidence.store import FILE, SqliteStore
from joulemark_gateway.reports.project_file import gather, load_project
from joulemark_gateway.reports.standing import mark_shown
from support.bundles import groups_of, policy_mapping
from support.evidence import AGENT, COUNTER, KEYS, METER, SEALED_US, WITNESS, seal, uncosigned
from support.intakes import new_intake
from support.logs import FIRM, FIRM_KEY
from support.plant import plan_mapping, small
from support.present import present

HOUR_US, DAY_US = 3_600_000_000, 86_400_000_000
FIRM_ROW = {"name": FIRM, "key": encode64(public_of(FIRM_KEY))}


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A store whose log was closed after each of three thirds of the evidence, day by day."""
    path = tmp_path_factory.mktemp("filled") / FILE
    sizes = []
    made = {d: seal(small().site, d, groups_of(d), KEYS) for d in (METER, COUNTER)}
    for third in range(3):
        intake = new_intake(path)
        for device, batches in made.items():
            n = len(batches) // 3
            for batch in batches[third * n : (third + 1) * n if third < 2 else None]:
                answer = intake.take(batch_topic(AGENT, device), batch_bytes(uncosigned(batch)))
                assert present(answer).has_grown
        intake.close()
        with SqliteStore(path, create=False) as store, LogStore(path) as book:
            log, now_us = CollectorLog(book, WITNESS, KEYS.witness), SEALED_US + third * DAY_US
            log.approve(store.heads(), [], now_us)
            log.take_heads(store.heads(), now_us)
            sizes.append(present(log.close(now_us)).size)
    return path, sizes


@pytest.fixture
def project(filled, tmp_path):
    """A project file over a copy of that store; called with what the policy says of the log."""
    shutil.copy(filled[0], tmp_path / FILE)

    def make(**log):
        (tmp_path / "trust.json").write_text(json.dumps({**policy_mapping(), **log}))
        wiring = {"evidence": FILE, "trust": "trust.json"}
        (tmp_path / "project.yaml").write_text(yaml.safe_dump({**plan_mapping(), **wiring}))
        return load_project(tmp_path / "project.yaml")

    return make


def cosigned(folder, size):
    """The firm has seen this head."""
    with LogStore(folder / FILE) as book:
        note = present(book.head(size)).note
        line = cosign(FIRM_KEY, FIRM, note, 1).removeprefix(note)
        book.keep_cosignature(size, FIRM, line)


def test_it_stands_under_the_newest_head_where_nobody_else_must_have_seen_it(project, filled):
    material = gather(project())
    assert read_account(material.log).newest.size == filled[1][-1]
    with SqliteStore(filled[0], create=False) as store:
        held = {head.origin: head.size for head in store.heads()}
    assert sorted(tree.size for tree in material.trees) == sorted(held.values())


def test_it_stands_under_the_newest_head_that_the_witness_saw(project, filled, tmp_path):
    sizes = filled[1]
    cosigned(tmp_path, sizes[0])
    cosigned(tmp_path, sizes[1])
    material = gather(project(log_witnesses=[FIRM_ROW], log_quorum=1))
    account = read_account(material.log)
    assert account.newest.size == sizes[1]
    for tree in material.trees:
        last = parse_checkpoint(parse_note(tree.checkpoints[-1])[0])
        assert account.last_heads()[last.origin] == last, "what came later stays out"
        assert tree.size == last.size


def test_without_enough_witnesses_it_says_what_to_do(project):
    with pytest.raises(ConfigError, match="None of the 3 heads") as caught:
        gather(project(log_witnesses=[FIRM_ROW], log_quorum=1))
    assert "collector cosigned" in caught.value.do


def test_every_head_that_went_out_with_a_report_is_shown_again(project, filled, tmp_path):
    """Whoever keeps the head of an old report can hold it against the next one."""
    sizes = filled[1]
    with LogStore(tmp_path / FILE) as book, SqliteStore(tmp_path / FILE, create=False) as store:
        log = CollectorLog(book, WITNESS, KEYS.witness)
        between = []
        for k in range(2):  # two more heads on the last day
            log.approve(store.heads(), [], 0)
            book.append(log.origin, [_other(k)], SEALED_US + 2 * DAY_US + HOUR_US + k)
            between.append(present(log.close(SEALED_US + 2 * DAY_US + HOUR_US + k)).size)
    shown = [head.size for head in read_account(gather(project()).log).heads]
    assert shown == [*sizes[:2], between[1]], "the last of each day"
    mark_shown(SqliteLedger(tmp_path / FILE), between[0])
    shown = [head.size for head in read_account(gather(project()).log).heads]
    assert shown == [*sizes[:2], *between]


def _other(k):
    return document_entry("pohang", "site", f"{k:064d}")


def test_a_store_without_a_log_gives_no_report(tmp_path):
    SqliteStore(tmp_path / FILE).close()
    wiring = {"evidence": FILE}
    (tmp_path / "project.yaml").write_text(yaml.safe_dump({**plan_mapping(), **wiring}))
    with pytest.raises(ConfigError, match="no collector's log yet"):
        gather(load_project(tmp_path / "project.yaml"))
