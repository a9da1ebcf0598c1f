"""A site file with committed evidence, and the batches that its recorder closes."""

import json
from contextlib import closing

import pytest

from joulemark_agent.contract.batch import parse_batch
from joulemark_agent.contract.errors import ConfigError
from joulemark_agent.outbox import Outbox
from joulemark_agent.recorded import Limits
from joulemark_agent.recorder import Recorder
from joulemark_agent.settings import load_site, site_document
from support import evidence
from support.committed import INTERVAL_US, SLOTS, documents, readings
from support.evidence import METER, START_US
from support.recording import KEY, SOFTWARE, StoppedWall, recorded, state

SITE = """\
site: gwangyang
agent: edge-1
time_zone: Asia/Seoul
{more}
factors: {{set: korea, rule_set: ESG, jurisdiction: KR}}
uplink:
  url: "mqtt://127.0.0.1:1883"
  collector_key: "oC46eXswYWN0y5C1BVX+dHZLC6mgXv7IrJXoGfa5FxY="
  collector_name: joulemark/collector
devices:
  - {{id: main-meter, profile: {profile}, url: "modbus-tcp://127.0.0.1:5020", unit: 1,
     period_s: {period_s}}}
"""


def load(folder, more, *, period_s=60, profile="virtual_main_meter"):
    path = folder / "site.yaml"
    path.write_text(SITE.format(more=more, period_s=period_s, profile=profile))
    return load_site(path)


def test_committed_evidence_stands_in_the_document_that_is_approved(tmp_path):
    settings = load(tmp_path, "evidence: committed")
    assert (settings.is_committed, settings.interval_s) == (True, 900)
    assert (settings.archive.quota_mb, settings.raw_requests) == (1024, "ask")
    document = json.loads(site_document(settings))
    assert (document["evidence"], document["interval_s"]) == ("committed", 900)
    more = "evidence: committed\ninterval_s: 900\narchive: {quota_mb: 5}\nraw_requests: deny"
    assert site_document(load(tmp_path, more)) == site_document(settings), "wiring of the factory"
    full = load(tmp_path, "evidence: full")
    assert site_document(full) == site_document(load(tmp_path, ""))
    assert not {"evidence", "interval_s"} & set(json.loads(site_document(full)))


@pytest.mark.parametrize(
    ("more", "device", "said"),
    [
        ("evidence: some", {}, "'full' or 'committed'"),
        ("evidence: committed\ninterval_s: 7", {}, "whole part of a day"),
        ("evidence: committed\ninterval_s: 7200", {}, "whole part of a day"),
        ("evidence: committed\narchive: {quota_mb: 0}", {}, "greater than or equal to 1"),
        ("evidence: committed\nraw_requests: maybe", {}, "'allow', 'deny' or 'ask'"),
        ("evidence: committed\nbatch: {slots: 5}", {}, "ends with its interval"),
        ("interval_s: 900", {}, "only for 'evidence: committed'"),
        ("archive: {quota_mb: 5}", {}, "only for 'evidence: committed'"),
        ("raw_requests: deny", {}, "only for 'evidence: committed'"),
        ("evidence: committed", {"period_s": 7}, "whole periods"),
        ("evidence: committed", {"period_s": 3600}, "whole periods"),
        ("evidence: committed\ninterval_s: 3600", {"period_s": 1}, "at most 2048"),
    ],
)
def test_what_does_not_fit_is_told_with_its_line(tmp_path, more, device, said):
    with pytest.raises(ConfigError, match=said) as caught:
        load(tmp_path, more, **device)
    assert "site.yaml:" in str(caught.value)


def test_a_device_without_a_counter_is_refused_with_what_to_do(tmp_path):
    profile = {
        "model": "power_only", "kind": "power_meter", "protocol": "modbus",
        "source": "made for a test", "confidence": "bench",
        "points": [{"name": "power_w", "table": "holding", "address": 0, "type": "float32"}],
        "golden": [{"point": "power_w", "words": [0x3F80, 0], "value": 1}],
    }  # fmt: skip
    (tmp_path / "power.yaml").write_text(json.dumps(profile))
    load(tmp_path, "", profile="power.yaml")
    with pytest.raises(ConfigError, match="energy register too") as caught:
        load(tmp_path, "evidence: committed", profile="power.yaml")
    assert "has no counter" in str(caught.value)


# -------------------------------------------------------------------- recorder


def closed(outbox, results, wall=None):
    wall = wall or StoppedWall()
    limits = Limits(1, 0.0, INTERVAL_US)
    devices = [recorded(documents())]
    return Recorder(
        outbox, KEY, devices, limits=limits, software=SOFTWARE, wall=wall.wall()
    ), results


def slots_of(batch):
    contents = map(json.loads, parse_batch(batch.payload).leaves)
    return [(int(c["slot"]) - START_US) // 60_000_000 for c in contents if "slot" in c]


def test_a_batch_ends_with_the_slot_that_ends_its_interval_and_not_by_the_clock(tmp_path):
    wall = StoppedWall()
    with closing(Outbox(state(tmp_path))) as outbox:
        writer, results = closed(outbox, readings(documents(), 3 * SLOTS), wall)
        sealed = []
        for result in results:
            wall.mono_s += 3600
            sealed += writer.commit([result])
            assert writer.seal_due() == []
            assert writer.due_in_s() is None
        ends = [slots_of(batch) for batch in sealed]
    assert ends == [[0], list(range(1, 16)), list(range(16, 31)), list(range(31, 46))]


def test_a_gap_across_an_end_closes_the_interval_in_which_it_begins(tmp_path):
    results = evidence.with_gap(readings(documents(), 3 * SLOTS), 14, 20)
    with closing(Outbox(state(tmp_path))) as outbox:
        writer, _ = closed(outbox, results)
        sealed = [batch for result in results for batch in writer.commit([result])]
        ends = [slots_of(batch) for batch in sealed]
    assert ends == [[0], list(range(1, 14)), list(range(34, 46))]


def test_an_agent_that_stops_within_an_interval_goes_on_with_it(tmp_path):
    results = readings(documents(), 2 * SLOTS)
    with closing(Outbox(state(tmp_path))) as outbox:
        first, _ = closed(outbox, results)
        sealed = first.commit(results[:20]) + first.seal_all()
        second, _ = closed(outbox, results)
        sealed += second.commit(results[20:])
        assert [slots_of(batch) for batch in sealed[-2:]] == [[16, 17, 18, 19], list(range(20, 31))]


def test_an_event_is_kept_in_the_tree_of_its_device_or_else_of_another(tmp_path):
    results = readings(documents(), SLOTS)
    with closing(Outbox(state(tmp_path))) as outbox:
        writer, _ = closed(outbox, results)
        fields = {"first_seq": "0", "last_seq": "9", "origin": "joulemark/a/b/1"}
        for device in (METER, "gone-since"):
            assert writer.note(device, "archive_trimmed", fields) == []
        kept = [json.loads(leaf) for leaf in outbox.open_leaves(METER, 1)]
    assert [leaf["type"] for leaf in kept[-2:]] == ["archive_trimmed"] * 2
    assert [leaf["origin"] for leaf in kept[-2:]] == ["joulemark/a/b/1"] * 2
