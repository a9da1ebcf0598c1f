"""docs/upgrade.md: state folders of an older version are gone on with, and put back as they were.

tests/golden/states-1.zip holds what a version wrote whose outbox and evidence store had format 1;
tests/golden/make_states.py made it.
"""

from __future__ import annotations

import shutil
import sqlite3
import zipfile
from contextlib import closing
from pathlib import Path

import pytest

from joulemark_agent.contract.errors import StoreError
from joulemark_agent.contract.topics import batch_topic, origin
from joulemark_agent.outbox import Outbox
from joulemark_agent.outbox_tables import FORM
from joulemark_gateway.evidence.store import FILE, SqliteStore
from support.evidence import AGENT, METER, SITE
from support.intakes import new_intake
from support.present import present
from support.recording import batches_of

STATES = Path(__file__).parents[1] / "golden/states-1.zip"
OUTBOX = "outbox.db"
SIZE, RECEIPTED = 53, 13  # leaves of the tree, and those with a receipt
FORMATS = {"agent": (OUTBOX, 1, len(FORM.scripts)), "collector": (FILE, 1, 2)}


@pytest.fixture
def states(tmp_path) -> Path:
    """Both state folders as the older version left them, stopped."""
    with zipfile.ZipFile(STATES) as archive:
        archive.extractall(tmp_path / "states")
    return Path(tmp_path / "states")


def format_of(path: Path) -> int:
    with closing(sqlite3.connect(path)) as db:
        (found,) = db.execute("PRAGMA user_version").fetchone()
    return int(found)


def formats(states: Path) -> dict[str, int]:
    return {name: format_of(states / name / file) for name, (file, _, _) in FORMATS.items()}


def contents(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def gone_on_with(states: Path) -> int:
    """Open both with this version, and send what waits; how much the collector then holds."""
    box = Outbox(states / "agent" / OUTBOX)
    intake = new_intake(states / "collector" / FILE)
    try:
        waiting = batches_of(box)
        assert waiting[0].first_seq == RECEIPTED
        for batch in waiting:
            answer = present(intake.take(batch_topic(AGENT, METER), batch.payload))
            assert answer.topic.endswith("/receipt"), answer
            box.receipt(METER, 1, batch.size)
        (tree,) = box.trees()
        assert batches_of(box) == []
    finally:
        intake.close()
        box.close()
    with SqliteStore(states / "collector" / FILE, create=False) as store:
        name = origin(SITE, METER, 1)
        store.scrub(name)
        head = present(store.head(name))
        assert head.edge == tree.edge, "the tree of the agent, to the last leaf"
        assert [batch.first_seq for batch in store.batches(name)][:5] == [0, 3, 8, 13, 18]
    return head.size


def test_what_an_older_version_left_is_gone_on_with_and_nothing_is_lost(states):
    assert formats(states) == {name: old for name, (_, old, _) in FORMATS.items()}
    assert gone_on_with(states) == SIZE
    assert formats(states) == {name: new for name, (_, _, new) in FORMATS.items()}


def test_a_copy_made_before_is_put_back_and_can_be_upgraded_again(states, tmp_path):
    before = contents(states)
    copy = tmp_path / "copy"
    shutil.copytree(states, copy)
    assert gone_on_with(states) == SIZE
    states.rename(tmp_path / "set-aside")  # whole: never a file over one that is there
    shutil.copytree(copy, states)
    assert contents(states) == before
    assert formats(states) == {name: old for name, (_, old, _) in FORMATS.items()}
    assert gone_on_with(states) == SIZE


def test_only_the_collector_that_writes_upgrades_and_says_so(states):
    with pytest.raises(StoreError, match="Start the collector once"):
        SqliteStore(states / "collector" / FILE, create=False)
    assert formats(states)["collector"] == 1


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_what_a_newer_version_wrote_is_refused_and_left_as_it_is(states, name):
    """What an older version says of what this one wrote, after a roll-back without the copy."""
    file, _, new = FORMATS[name]
    path = states / name / file
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA user_version = {new + 1}")
    before = contents(states / name)
    opened = Outbox if name == "agent" else SqliteStore
    with pytest.raises(StoreError, match=r"newer agent|use the version of Joulemark"):
        opened(path)
    after = contents(states / name)
    assert {key: after[key] for key in before} == before
