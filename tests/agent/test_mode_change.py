"""Evidence that becomes committed, or full again: each epoch is sent as it was approved."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from joulemark_agent import app, cli
from joulemark_agent.approved import evidence_key
from joulemark_agent.archive import ArchivedOutbox
from joulemark_agent.contract.errors import ConfigError
from joulemark_agent.contract.topics import batch_topic, sparse_topic
from joulemark_agent.foundation import open_base, withholds
from joulemark_agent.outbox import Outbox
from joulemark_agent.reload import check_can_change
from joulemark_agent.settings import SiteSettings, load_site
from joulemark_agent.uplink import Uplink

SITE = """\
site: works
agent: edge-1
time_zone: Asia/Seoul
{mode}
factors: {{set: korea, rule_set: ESG, jurisdiction: KR}}
uplink:
  url: "mqtt://127.0.0.1:1"
  collector_key: "oC46eXswYWN0y5C1BVX+dHZLC6mgXv7IrJXoGfa5FxY="
  collector_name: joulemark/collector
devices:
  - {{id: meter, profile: virtual_main_meter, url: "modbus-tcp://127.0.0.1:1", unit: 1,
     period_s: 60}}
"""
FULL, COMMITTED = "evidence: full", "evidence: committed"


def enrolled(folder: Path, mode: str) -> SiteSettings:
    """The site in this mode, approved; its next epoch, if there was one before."""
    path, key = folder / "site.yaml", folder / "operator.key"
    path.write_text(SITE.format(mode=mode))
    words = ["agent", "enroll", "-c", str(path), "--operator-key", str(key)]
    assert cli.main([*words, *([] if key.exists() else ["--create-operator-key"])]) == 0
    return load_site(path)


def topics(settings: SiteSettings, stack: ExitStack) -> tuple[Outbox, dict[int, str]]:
    """The outbox of an agent that has just started, and where the batches of each epoch go."""
    base = open_base(settings, evidence_key(settings), stack)
    collector = app._collector(settings, base.key)
    uplink = Uplink(app._login(settings), collector, base.outbox, withholds=withholds(base.outbox))
    stack.callback(uplink._store.close)
    found = {}
    for device, epoch in base.outbox.waiting():
        batch = base.outbox.next_batch(device, epoch, 0)
        assert batch is not None
        found[epoch], _ = uplink._message(batch)
    return base.outbox, found


@pytest.mark.parametrize("modes", [(FULL, COMMITTED), (COMMITTED, FULL)])
def test_what_waits_of_an_epoch_goes_as_that_epoch_was_approved(tmp_path, modes):
    whole, part = batch_topic("edge-1", "meter"), sparse_topic("edge-1", "meter")
    wanted = {1: part if modes[0] == COMMITTED else whole}
    with ExitStack() as stack:
        assert topics(enrolled(tmp_path, modes[0]), stack)[1] == wanted
    wanted[2] = part if modes[1] == COMMITTED else whole
    with ExitStack() as stack:
        outbox, found = topics(enrolled(tmp_path, modes[1]), stack)
        assert found == wanted
        assert isinstance(outbox, ArchivedOutbox)
        for epoch in (1, 2):
            outbox.receipt("meter", epoch, 10**6)
        held = {row["epoch"] for row in outbox._archive.held()}
        assert held == {epoch for epoch, topic in wanted.items() if topic == part}
        assert {epoch for _, epoch, _ in outbox.received()} == held


def test_an_agent_whose_evidence_was_always_full_has_no_archive(tmp_path):
    with ExitStack() as stack:
        outbox, _ = topics(enrolled(tmp_path, FULL), stack)
        assert not isinstance(outbox, ArchivedOutbox)
    assert not (tmp_path / "state" / "archive.db").exists()


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        (FULL, COMMITTED, "evidence"),
        (COMMITTED, FULL, "evidence"),
        (COMMITTED, f"{COMMITTED}\ninterval_s: 1800", "interval_s"),
        (f"{COMMITTED}\nraw_requests: deny", COMMITTED, "raw_requests"),
    ],
)
def test_in_the_middle_of_a_tree_neither_mode_nor_interval_changes(tmp_path, old, new, named):
    path = tmp_path / "site.yaml"
    both = []
    for mode in (old, new):
        path.write_text(SITE.format(mode=mode))
        both.append(load_site(path))
    with pytest.raises(ConfigError, match=f"cannot change while the agent runs: {named}") as caught:
        check_can_change(*both)
    assert "start it again" in caught.value.do
