"""From a figure to its records: found by time, summed from raw words, proven to a stranger."""

import pytest

from joulemark_agent.contract.signature import (
    cosigned_at,
    decode64,
    is_log_signed,
    parse_checkpoint,
    parse_note,
    public_key,
)
from joulemark_agent.contract.tree import leaf_hash
from joulemark_gateway.api import answers, records
from joulemark_gateway.evidence.proof import root_of_path
from joulemark_gateway.evidence.store import FILE, SqliteStore
from joulemark_gateway.series.embedded import EmbeddedSeries
from joulemark_gateway.series.mirror import catch_up
from support import pages
from support.book import NOW_US, Book, registry
from support.evidence import (
    KEYS,
    METER,
    PERIOD_US,
    SITE,
    START_US,
    WITNESS,
    build_tree,
    meter_readings,
    with_gap,
)
from support.pages import DAY_US, PLACE
from support.present import present


@pytest.fixture
def read(state):
    with state.sources() as sources, answers.opened(sources) as opened:
        yield opened


def checked(proof) -> bool:
    """What a stranger does with a proof and two keys from elsewhere."""
    path = [bytes.fromhex(text) for text in proof["path_sha256"]]
    leaf = proof["leaf"].encode()
    root = root_of_path(leaf, proof["leaf_index"], proof["tree_size"], path)
    note = proof["checkpoint"]
    head = parse_checkpoint(parse_note(note)[0])
    return (
        (head.origin, head.size, head.root) == (proof["origin"], proof["tree_size"], root)
        and leaf_hash(leaf).hex() == proof["leaf_sha256"]
        and is_log_signed(note, public_key(KEYS.agent))
        and cosigned_at(note, WITNESS, public_key(KEYS.witness)) is not None
    )


@pytest.mark.parametrize("seq", [0, 1, 97, 98, 150, 384])
async def test_a_stranger_can_check_the_proof_of_any_leaf(client, seq):
    proof = (await client.get(f"/api/v1{PLACE}/proof?seq={seq}")).json()
    assert checked(proof)
    assert decode64(proof["root_base64"])


@pytest.mark.parametrize("field", ["leaf", "path_sha256", "checkpoint", "leaf_index", "tree_size"])
async def test_a_proof_of_which_anything_is_changed_is_refuted(client, field):
    proof = (await client.get(f"/api/v1{PLACE}/proof?seq=120")).json()
    value = proof[field]
    if isinstance(value, int):
        proof[field] = value + 1
    elif isinstance(value, list):
        proof[field] = [("1" if value[0][0] == "0" else "0") + value[0][1:], *value[1:]]
    else:
        proof[field] = value.replace("1", "2", 1)
    assert not checked(proof)


async def test_a_leaf_that_is_not_there_has_no_proof(client):
    assert (await client.get(f"/api/v1{PLACE}/proof?seq=99999")).status_code == 404


def test_leaves_are_found_by_the_time_of_their_slots(read):
    head = read.device(SITE, METER).head
    leaves = records.leaves_of(read.store, head, 0, head.size)
    timed = [leaf for leaf in leaves if leaf.kind in {"record", "gap"}]
    slots = [(leaf.seq, present(leaf.slot_us)) for leaf in timed]
    for time_us in (0, START_US, START_US + 1, START_US + DAY_US, START_US + 40 * DAY_US):
        wanted = next((seq for seq, slot_us in slots if slot_us >= time_us), None)
        found = records.lower_bound(read.store, head, time_us)
        later = [seq for seq, _ in slots if seq >= found]
        assert (later[0] if later else None) == wanted


def test_the_gaps_of_a_span_have_their_cause_and_place(read):
    head = read.device(SITE, METER).head
    gaps, is_whole = records.gaps_in(read.store, head, (0, head.size))
    assert is_whole
    [(seq, gap)] = gaps
    assert (gap.slots, gap.cause) == (3, "timeout")
    assert records.leaves_of(read.store, head, seq, seq + 1)[0].kind == "gap"


@pytest.mark.parametrize(("first", "slots"), [(0, 96), (5, 1), (96, 200), (201, 4), (130, 3)])
def test_the_sum_of_any_span_is_the_sum_of_the_steps_that_begin_in_it(read, first, slots):
    """Also where the span begins or ends inside a gap, and in the hole where nothing counted."""
    device = read.device(SITE, METER)
    span_us = (START_US + first * PERIOD_US, START_US + (first + slots) * PERIOD_US)
    found = records.sum_of(read.store, device, "energy_wh", "counter", span_us)
    steps = read.reader.amounts(SITE, METER, "energy_wh", *span_us)
    assert found is not None
    assert (found.energy_wh or 0) == steps.amount.sum()
    assert found.covered_us == steps.covered_us.sum()
    assert found.estimated_us == steps.estimated_us.sum()
    assert found.missing_us == steps.missing_us.sum()


def test_too_many_records_are_refused_not_cut(read, monkeypatch):
    monkeypatch.setattr(records, "MOST_SUMMED", 50)
    device = read.device(SITE, METER)
    span_us = (START_US, START_US + 4 * DAY_US)
    assert records.sum_of(read.store, device, "energy_wh", "counter", span_us) is None


async def test_records_come_in_pages_that_leave_none_out(client):
    base = f"/api/v1{PLACE}/records?from=2017-12-31T15:00:00Z&to=2018-01-04T15:00:00Z&limit=150"
    seen, after = [], ""
    while True:
        page = (await client.get(base + after)).json()
        seen += [leaf["seq"] for leaf in page["leaves"]]
        for leaf in page["leaves"]:
            assert any(leaf["seq"] < item["size"] for item in page["checkpoints"])
        assert all(item["is_agent_signed"] and item["cosigned_s"] for item in page["checkpoints"])
        if page["next_seq"] is None:
            break
        after = f"&seq={page['next_seq']}"
    assert seen == list(range(page["first_seq"], page["first_seq"] + page["leaves_in_all"]))


@pytest.fixture
def renewed(tmp_path):
    """A meter whose second epoch begins where its first ended, with a gap in the first."""
    site, book = pages.site_documents(), Book(registry(devices=(METER,)))
    first = meter_readings(site, [1000] * 144)
    second = meter_readings(site, [2000] * 48, first_slot_us=START_US + 145 * PERIOD_US)
    with SqliteStore(tmp_path / FILE) as store:
        for epoch, rows in ((1, with_gap(first, 20, 3, "timeout")), (2, second)):
            for batch in build_tree(site, METER, rows, epoch=epoch):
                verdict, note = book.accepted(batch)
                store.accept(verdict, note=note, received_us=NOW_US)
        series = EmbeddedSeries(tmp_path / "series.duckdb")
        while catch_up(store, series):
            pass
        series.close()
    return pages.State(tmp_path, tmp_path)


async def test_figures_of_an_earlier_epoch_lead_to_its_own_records(renewed):
    with renewed.sources(reports=[]) as sources:
        async with pages.asking(sources) as client:
            days = (await client.get(f"/api/v1{PLACE}/days?from=2018-01-01&to=2018-01-02")).json()
            first, both = days["devices"][0]["days"]
            found = (await client.get(first["records"])).json()
            assert (found["epoch"], found["epochs"]) == (1, [1])
            assert found["sum"]["energy_wh"] == first["energy_wh"] == 96_000
            proof = (await client.get(found["leaves"][3]["proof"])).json()
            assert proof["origin"].endswith("/1")
            assert checked(proof)

            split = (await client.get(both["records"])).json()
            assert (split["sum"], split["sum_refused"]) == (None, "several_epochs")
            assert split["epochs"] == [1, 2]
            parts = [
                (await client.get(f"{both['records']}&epoch={epoch}")).json()["sum"]["energy_wh"]
                for epoch in (1, 2)
            ]
            assert sum(parts) == both["energy_wh"]
            path = both["records"].removeprefix("/api/v1")
            assert "several epochs" in (await client.get(f"{path}&lang=en")).text
            assert (await client.get(f"{path}&epoch=3")).status_code == 404

            quality = f"/api/v1{PLACE}/quality?from=2018-01-01&to=2018-01-01"
            assert (await client.get(quality)).json()["gap_slots"] == 3
