from contextlib import ExitStack, closing
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulemark_agent.contract.batch import parse_batch
from joulemark_agent.contract.errors import ConfigError, EvidenceError, StoreError
from joulemark_agent.contract.reading import Gap, Reading
from joulemark_agent.contract.signature import decode64, encode64, is_log_signed, new_private_key
from joulemark_agent.contract.signature import public_key as public
from joulemark_agent.contract.tree import EMPTY_ROOT, Edge, append, root
from joulemark_agent.kernels.decode import decode_responses
from joulemark_agent.keys import Key
from joulemark_agent.outbox import Outbox
from joulemark_gateway.evidence import history
from joulemark_gateway.evidence.claims import check_energy
from support import evidence
from support.evidence import COUNTER, METER, PERIOD_US, START_US
from support.recording import (
    KEY,
    SOFTWARE,
    StoppedWall,
    batches_of,
    database,
    kept,
    recorded,
    recorder,
    slots_of,
    slots_read,
    state,
)

SITE = evidence.documents()
LIVE = evidence.documents(clock="system", first_slot_us=None)
READINGS = evidence.meter_readings(SITE, [1000 + 7 * i for i in range(400)])
PRODUCTION = evidence.counter_readings(SITE, [100 + i for i in range(400)])


@pytest.fixture
def outbox(tmp_path):
    box = Outbox(state(tmp_path))
    yield box
    box.close()


def root_of(leaves) -> bytes:
    return root(append(Edge(), leaves))


def gap(first: int, slots: int = 1, cause: str = "timeout") -> Gap:
    first_us = START_US + first * PERIOD_US
    return Gap(METER, first_us, first_us + (slots - 1) * PERIOD_US, slots, cause)


# ------------------------------------------------------------------ same bytes


def test_the_same_readings_give_the_same_leaves_however_they_are_grouped(tmp_path):
    found = []
    for name, group in (("a", 1), ("b", 10), ("c", 96)):
        box = Outbox(state(tmp_path / name))
        writer = recorder(box, recorded(SITE))
        for i in range(0, 200, group):
            writer.commit(READINGS[i : min(i + group, 200)])
        writer.seal_all()
        found.append((kept(box).leaves, kept(box).heads))
        box.close()
    assert found[0] == found[1] == found[2]


def test_what_is_recorded_passes_every_check_of_the_verifier(outbox):
    writer = recorder(outbox, recorded(SITE), recorded(SITE, COUNTER))
    meter = [*READINGS[:50], gap(50, 3), gap(53, 2, "refused"), *READINGS[55:300]]
    writer.commit([*meter, *PRODUCTION[:250]])
    writer.seal_all()
    for device, slots in ((METER, 300), (COUNTER, 250)):
        tree = history.parse_tree(kept(outbox, device).leaves)
        documents = SITE.by_digest(device)
        assert history.operator_approved(tree, public(evidence.KEYS.operator))
        history.check_slots(tree, history.period_us_of(tree, documents))
        history.check_envelopes(tree)
        history.check_documents(tree, documents)
        history.check_decode(tree, history.profile_of(tree, documents))
        assert writer.summary()[device]["slots"] == slots
    assert [(g.slots, g.cause) for _, g in history.parse_tree(kept(outbox).leaves).gaps] == [
        (3, "timeout"),
        (2, "refused"),
    ]


# --------------------------------------------------------------------- batches


def test_an_epoch_opens_with_its_grant_its_documents_and_a_head(outbox):
    writer = recorder(outbox, recorded(SITE))
    (first,) = batches_of(outbox)
    batch = parse_batch(first.payload)
    start, boot, envelope = kept(outbox).contents
    assert [start["type"], boot["type"], envelope["type"]] == ["epoch_start", "boot", "batch"]
    assert {name: start[name] for name in ("grant", "operator_signature")} == recorded(SITE).grant
    assert (boot["boot"], boot["t_mono_ns"]) == (1, "100000000000")
    assert batch.documents == SITE.by_digest(METER)
    assert is_log_signed(first.checkpoint, KEY.public)
    assert writer.summary()[METER]["root"] == encode64(root_of(batch.leaves))


def test_a_batch_closes_at_its_number_of_slots_gaps_included(outbox):
    writer = recorder(outbox, recorded(SITE), slots=10)
    sealed = writer.commit([*READINGS[:7], gap(7, 3), *READINGS[10:25]])
    envelopes = kept(outbox).of_type("batch")[1:]
    assert [(e["slots"], e["records"], e["gap_slots"]) for e in envelopes] == [
        (10, 7, 3),
        (10, 10, 0),
    ]
    assert [batch.first_seq for batch in sealed] == [3, 12]
    assert len(outbox.open_leaves(METER, 1)) == 5


def test_a_batch_closes_when_it_was_open_for_its_seconds(outbox):
    wall = StoppedWall()
    writer = recorder(outbox, recorded(SITE), seconds=5.0, wall=wall)
    assert writer.due_in_s() is None
    writer.commit(READINGS[:1])
    wall.mono_s += 4.9
    assert writer.due_in_s() == pytest.approx(0.1)
    assert writer.seal_due() == []
    wall.mono_s += 0.1
    assert [batch.size for batch in writer.seal_due()] == [5]
    assert writer.due_in_s() is None
    assert writer.seal_due() == []


def test_a_commit_closes_what_is_due_very_soon_in_its_own_transaction(outbox):
    wall = StoppedWall()
    writer = recorder(outbox, recorded(SITE), seconds=5.0, wall=wall)
    writer.commit(READINGS[:1])
    wall.mono_s += 4.7
    assert writer.commit(READINGS[1:2]) == []
    wall.mono_s += 0.1
    assert [batch.size for batch in writer.commit(READINGS[2:3])] == [7]
    assert writer.due_in_s() is None


def test_the_end_closes_what_is_open_and_nothing_twice(outbox):
    writer = recorder(outbox, recorded(SITE), recorded(SITE, COUNTER))
    writer.commit(READINGS[:3])
    assert [batch.device for batch in writer.seal_all()] == [METER]
    assert writer.seal_all() == []


def test_an_envelope_counts_its_leaves_and_names_the_head_before_it(outbox):
    wall = StoppedWall()
    writer = recorder(outbox, recorded(SITE), slots=4, wall=wall)
    unsynchronised = evidence.meter_readings(
        SITE, [500] * 9, first_slot_us=START_US, sync="unsynchronised"
    )
    wall.now_us += 77
    writer.commit([*unsynchronised[:2], *READINGS[2:4]])
    found = kept(outbox)
    envelope = found.of_type("batch")[-1]
    assert envelope["first_seq"] == "3"
    assert envelope["last_seq"] == "6"
    assert (envelope["records"], envelope["values"], envelope["slots"]) == (4, 20, 4)
    assert envelope["first_slot"] == str(START_US)
    assert envelope["last_slot"] == str(START_US + 3 * PERIOD_US)
    assert envelope["time"] == {"unsynchronised": 2}
    assert envelope["sealed_us"] == str(wall.now_us)
    assert envelope["documents"] == {**SITE.of(METER), "software": SOFTWARE}
    assert envelope["previous"] == {"size": "3", "root": encode64(root_of(found.leaves[:3]))}
    opening = found.of_type("batch")[0]
    assert opening["previous"] == {"size": "0", "root": encode64(EMPTY_ROOT)}
    assert (opening["slots"], opening["first_slot"], opening["last_slot"]) == (0, None, None)


def test_the_energy_of_all_batches_is_the_difference_of_the_register(outbox):
    writer = recorder(outbox, recorded(SITE), recorded(SITE, COUNTER), slots=37)
    writer.commit([*READINGS[:300], *PRODUCTION[:300]])
    writer.seal_all()
    sums = [e["energy"] for e in kept(outbox).of_type("batch") if e["energy"]]
    wh = sum(1000 + 7 * i for i in range(299))
    assert sum(int(e["energy_wh"]) for e in sums) == wh
    assert sum(int(e["covered_us"]) for e in sums) == 299 * PERIOD_US
    assert {(e["estimated_us"], e["missing_us"]) for e in sums} == {("0", "0")}
    total_kg = sum(float(e["co2e_kg"]) for e in sums)
    assert total_kg == pytest.approx(wh / 1000 * 0.4781, abs=1e-5)
    assert all(e["energy"] == {} for e in kept(outbox, COUNTER).of_type("batch"))


def test_the_energy_goes_on_over_a_restart_in_the_middle_of_a_batch(tmp_path):
    box = Outbox(state(tmp_path))
    recorder(box, recorded(SITE), slots=20).commit(READINGS[:30])
    box.close()
    box = Outbox(state(tmp_path))
    recorder(box, recorded(SITE), slots=20).commit(READINGS[30:40])
    last = kept(box).of_type("batch")[-1]
    assert last["energy"]["energy_wh"] == str(sum(1000 + 7 * i for i in range(19, 39)))
    box.close()


def with_counts(readings, wrong):
    """The readings, some with another count of energy."""
    profile, found = SITE.profile(METER), []
    for i, read in enumerate(readings):
        values = {n: Decimal(t) for n, t in decode_responses(profile, read.responses)[0].items()}
        values["energy_wh"] = Decimal(wrong.get(i, values["energy_wh"] + 18_345_000))
        found.append(replace(read, responses=evidence.respond(profile, values)))
    return found


@pytest.mark.parametrize("slots", [2, 3, 5, 7])
def test_a_false_zero_wherever_it_lies_books_no_lifetime_and_the_verifier_says_the_same(
    tmp_path, slots
):
    readings = with_counts(READINGS[:40], {9: 0, 10: 0, 20: 0, 26: 5, 33: 0, 34: 0, 35: 0})
    box = Outbox(state(tmp_path))
    recorder(box, recorded(SITE), slots=slots).commit(readings[:22])
    box.close()
    box = Outbox(state(tmp_path))
    writer = recorder(box, recorded(SITE), slots=slots)
    writer.commit(readings[22:])
    writer.seal_all()
    tree = history.parse_tree(kept(box).leaves)
    check_energy(tree, SITE.by_digest(METER))
    stated = [e.fields["energy"] for e in tree.envelopes if e.fields["energy"]]
    assert sum(int(one["energy_wh"]) for one in stated) == sum(1000 + 7 * i for i in range(39))
    assert {one["missing_us"] for one in stated} == {"0"}
    box.close()


# --------------------------------------------------------------------- restarts


@given(data=st.data())
def test_restarts_anywhere_leave_every_slot_once_and_every_root_true(data, tmp_path_factory):
    """Law: whatever the groups, seals and restarts, the leaves are those of an undisturbed run."""
    folder = tmp_path_factory.mktemp("law")
    with ExitStack() as opened:  # a draw may end the example anywhere
        box = opened.enter_context(closing(Outbox(state(folder))))
        writer, starts, at = recorder(box, recorded(SITE), slots=7), 1, 0
        for step in data.draw(st.lists(st.sampled_from("rcccs"), min_size=1, max_size=12)):
            if step == "c":
                size = data.draw(st.integers(1, 9))
                writer.commit(READINGS[at : at + size])
                at += size
            elif step == "s":
                writer.seal_all()
            else:
                opened.close()
                box = opened.enter_context(closing(Outbox(state(folder))))
                writer, starts = recorder(box, recorded(SITE), slots=7), starts + 1
        found, root_now = kept(box), decode64(writer.summary()[METER]["root"])
        assert box.boots() == starts
    assert [int(leaf["seq"]) for leaf in found.contents] == list(range(len(found.leaves)))
    assert [leaf["boot"] for leaf in found.of_type("boot")] == list(range(1, starts + 1))
    assert slots_of(found.contents, PERIOD_US) == slots_read(READINGS[:at])
    for head in found.heads:
        assert head.root == root_of(found.leaves[: head.size])
    assert root_now == root_of(found.leaves)
    raw = [leaf["raw"] for leaf in found.of_type(None)]
    read = [item.responses for item in READINGS[:at] if isinstance(item, Reading)]
    assert raw == [[[r.table, r.address, r.data.hex()] for r in one] for one in read]


def test_an_agent_that_was_down_writes_the_slots_it_missed_as_a_gap(tmp_path):
    live = evidence.meter_readings(LIVE, [500] * 40)
    box = Outbox(state(tmp_path))
    recorder(box, recorded(LIVE)).commit(live[:5])
    box.close()
    box = Outbox(state(tmp_path))
    writer = recorder(box, recorded(LIVE))
    writer.commit(live[9:10])
    writer.commit(live[12:13])
    writer.blame("disk_full")
    writer.commit(live[14:15])
    writer.commit(live[16:17])
    gaps = [(g["slots"], g["cause"]) for g in kept(box).of_type("gap")]
    assert gaps == [
        ("4", "agent_down"),
        ("2", "overrun"),
        ("1", "disk_full"),
        ("1", "overrun"),
    ]
    assert slots_of(kept(box).contents, PERIOD_US) == slots_read(live[:17])
    assert (
        writer.summary()[METER] | {"slots": 17, "records": 9, "gap_slots": 8}
        == (writer.summary()[METER])
    )
    box.close()


def test_the_first_slot_of_a_recording_that_was_skipped_is_a_gap(outbox):
    writer = recorder(outbox, recorded(SITE))
    writer.commit(READINGS[2:3])
    assert slots_of(kept(outbox).contents, PERIOD_US)[0] == START_US


@given(
    pattern=st.lists(
        st.sampled_from(["reading", "timeout", "refused", "skipped"]), min_size=1, max_size=60
    ),
    group=st.integers(1, 12),
)
def test_slots_are_records_and_gap_slots_whatever_failed(pattern, group, tmp_path_factory):
    """Law: every slot up to the last result is a record or stands in exactly one gap."""
    box = Outbox(state(tmp_path_factory.mktemp("law")))
    writer = recorder(box, recorded(SITE), slots=11)
    results = [
        READINGS[i] if what == "reading" else gap(i, cause=what)
        for i, what in enumerate(pattern)
        if what != "skipped"
    ]
    for i in range(0, len(results), group):
        writer.commit(results[i : i + group])
    found = kept(box)
    last = max((i for i, what in enumerate(pattern) if what != "skipped"), default=-1)
    assert slots_of(found.contents, PERIOD_US) == slots_read(READINGS[: last + 1])
    assert len(found.of_type(None)) == pattern.count("reading")
    counts = writer.summary()[METER]
    assert counts["slots"] == counts["records"] + counts["gap_slots"] == last + 1
    assert box.trees()[0].gap_slots == counts["gap_slots"]
    box.close()


@pytest.mark.parametrize("slot", [0, 2, 3])
def test_a_slot_that_is_recorded_already_is_refused_and_changes_nothing(outbox, slot):
    writer = recorder(outbox, recorded(SITE))
    writer.commit(READINGS[:4])
    before = kept(outbox).leaves
    with pytest.raises(EvidenceError, match="came after slot"):
        writer.commit([READINGS[4], READINGS[slot]])
    assert kept(outbox).leaves == before
    writer.commit(READINGS[4:6])
    assert slots_of(kept(outbox).contents, PERIOD_US) == slots_read(READINGS[:6])


# ----------------------------------------------------------- disk full, damage


def test_what_a_full_disk_refused_is_recorded_later_byte_for_byte_as_without(tmp_path):
    found, refused = [], []
    for name, is_full in (("calm", False), ("full", True)):
        box = Outbox(state(tmp_path / name))
        writer = recorder(box, recorded(SITE), recorded(SITE, COUNTER), slots=10)
        for i in range(0, 90, 6):
            results = [*READINGS[i : i + 6], *PRODUCTION[i : i + 6]]
            if is_full:
                fill(box)
            try:
                writer.commit(results)
            except StoreError as error:
                refused.append(error.code)
                fill(box, pages=1_000_000)
                writer.commit(results)
        writer.seal_all()
        found.append([kept(box, device).leaves for device in (METER, COUNTER)])
        box.close()
    assert set(refused) == {"disk_full"}
    assert len(refused) >= 5
    assert found[0] == found[1]


def fill(box: Outbox, pages: int = 1) -> None:
    """Make SQLite's own limit the end of the disk: 1 means as large as it is now."""
    database(box).execute(f"PRAGMA max_page_count = {pages}")


# ---------------------------------------------------------------------- epochs


def test_a_new_epoch_closes_the_old_one_and_accounts_for_the_slots_between(tmp_path):
    live = evidence.meter_readings(LIVE, [500] * 40)
    box = Outbox(state(tmp_path))
    recorder(box, recorded(LIVE)).commit(live[:5])
    box.close()
    changed = evidence.documents(
        clock="system", first_slot_us=None, factors=evidence.factor_mapping("dataset_check")
    )
    box = Outbox(state(tmp_path))
    writer = recorder(box, recorded(changed, epoch=2))
    writer.commit(live[8:10])
    writer.seal_all()
    old, new = kept(box, epoch=1), kept(box, epoch=2)
    assert old.heads[-1].size == len(old.leaves)
    assert old.contents[-1]["type"] == "batch"
    assert old.contents[-1]["documents"]["factors"] == LIVE.of(METER)["factors"]
    assert new.contents[0]["grant"]["epoch"] == 2
    assert new.of_type("gap")[0]["cause"] == "agent_down"
    slots = slots_of(old.contents, PERIOD_US) + slots_of(new.contents, PERIOD_US)
    assert slots == slots_read(live[:10])
    assert parse_batch(batches_of(box, epoch=2)[0].payload).documents == changed.by_digest(METER)
    box.close()


@pytest.mark.parametrize(("behind", "begins"), [(4, 5), (5, 2)])
def test_a_new_epoch_does_not_wait_long_for_slots_that_a_wrong_clock_recorded(
    tmp_path, behind, begins
):
    """An hour it waits, and no slot is recorded twice; for a day or a year it does not."""
    live, wall = evidence.meter_readings(LIVE, [500] * 20), StoppedWall()
    box = Outbox(state(tmp_path))
    recorder(box, recorded(LIVE)).commit(live[:5])
    assert isinstance(live[4], Reading)
    wall.now_us = live[4].slot_us - behind * PERIOD_US
    changed = evidence.documents(
        clock="system", first_slot_us=None, factors=evidence.factor_mapping("dataset_check")
    )
    writer = recorder(box, recorded(changed, epoch=2), wall=wall)
    if begins < 5:
        assert writer.committed_us(METER) is None
        writer.commit(live[begins:7])
    else:
        with pytest.raises(EvidenceError, match="came after slot"):
            writer.commit(live[2:3])
        writer.commit(live[5:7])
    writer.seal_all()
    new = kept(box, epoch=2)
    assert slots_of(new.contents, PERIOD_US) == slots_read(live[begins:7])
    box.close()


@pytest.mark.parametrize("period_s", [450, 3600])
def test_an_epoch_of_another_period_goes_on_from_the_grid_of_its_own(tmp_path, period_s):
    """From every 900 s to every 450 or 3600 s: the last slot need not be one of the new ones."""
    live = evidence.meter_readings(LIVE, [500] * 7)
    last = live[-1]
    assert isinstance(last, Reading)
    changed = evidence.documents(clock="system", first_slot_us=None, period_s=period_s)
    with closing(Outbox(state(tmp_path))) as box:
        recorder(box, recorded(LIVE)).commit(live)
    new_us = period_s * 1_000_000
    first_us = (last.slot_us // new_us + 3) * new_us
    with closing(Outbox(state(tmp_path))) as box:
        writer = recorder(box, replace(recorded(changed, epoch=2), period_us=new_us))
        writer.commit([replace(last, slot_us=first_us, t_utc_us=first_us)])
        [gap_leaf] = kept(box, epoch=2).of_type("gap")
    assert last.slot_us < int(gap_leaf["first_slot"]) <= last.slot_us + new_us
    assert int(gap_leaf["last_slot"]) == first_us - new_us
    assert int(gap_leaf["first_slot"]) % new_us == 0


def test_a_device_that_was_taken_out_still_has_its_last_batch_closed(tmp_path):
    box = Outbox(state(tmp_path))
    writer = recorder(box, recorded(SITE), recorded(SITE, COUNTER))
    writer.commit([*READINGS[:5], *PRODUCTION[:5]])
    box.close()
    box = Outbox(state(tmp_path))
    recorder(box, recorded(SITE))
    assert kept(box, COUNTER).contents[-1]["type"] == "batch"
    assert box.open_leaves(COUNTER, 1) == []
    box.close()


def test_leaves_of_a_lost_key_are_kept_and_not_signed_with_another(tmp_path, caplog):
    box = Outbox(state(tmp_path))
    recorder(box, recorded(SITE)).commit(READINGS[:5])
    box.close()
    private = new_private_key()
    other = Key(private, public(private))
    box = Outbox(state(tmp_path))
    recorder(box, recorded(SITE, epoch=2, key=other), key=other)
    assert len(box.open_leaves(METER, 1)) == 5
    assert [r.getMessage() for r in caplog.records if r.levelname == "WARNING"] == [
        "epoch_without_key"
    ]
    box.close()


def test_an_epoch_that_was_opened_with_another_grant_is_not_gone_on_with(tmp_path):
    box = Outbox(state(tmp_path))
    recorder(box, recorded(SITE, epoch=2))
    box.close()
    box = Outbox(state(tmp_path))
    for epoch in (1, 2):
        other = evidence.documents(factors=evidence.factor_mapping("dataset_check"))
        with pytest.raises(ConfigError, match="agent enroll"):
            recorder(box, recorded(other, epoch=epoch))
    recorder(box, recorded(SITE, epoch=2))
    box.close()


def test_a_grant_for_another_key_or_other_documents_is_refused(outbox):
    private = new_private_key()
    with pytest.raises(ConfigError, match="another key or for other documents"):
        recorder(outbox, recorded(SITE), key=Key(private, public(private)))
    assert outbox.trees() == []


def test_a_batch_never_grows_beyond_what_the_wire_takes(outbox, monkeypatch):
    monkeypatch.setattr("joulemark_agent.recorder.MAX_OPEN_LEAVES", 20)
    writer = recorder(outbox, recorded(SITE), slots=100_000)
    writer.commit(READINGS[:30])
    assert len(outbox.open_leaves(METER, 1)) == 10
    monkeypatch.setattr("joulemark_agent.recorder.MAX_OPEN_BYTES", 2000)
    writer.commit(READINGS[30:31])
    assert outbox.open_leaves(METER, 1) == []


# --------------------------------------------------------- devices come and go


def test_a_new_epoch_of_one_device_touches_no_leaf_of_another(outbox):
    live = evidence.meter_readings(LIVE, [500] * 40)
    production = evidence.counter_readings(LIVE, [5] * 40)
    other = recorded(LIVE, COUNTER)
    writer = recorder(outbox, recorded(LIVE), other)
    writer.commit([*live[:5], *production[:5]])
    before = kept(outbox, COUNTER)
    changed = evidence.documents(
        clock="system", first_slot_us=None, factors=evidence.factor_mapping("dataset_check")
    )
    sealed = writer.change([recorded(changed, epoch=2), other])
    assert {(batch.device, batch.epoch) for batch in sealed} == {(METER, 1), (METER, 2)}
    assert kept(outbox, COUNTER) == before
    writer.commit([*live[5:10], *production[5:10]])
    old, new = kept(outbox), kept(outbox, epoch=2)
    assert old.contents[-1]["type"] == "batch"
    assert new.of_type("gap") == []
    slots = slots_of(old.contents, PERIOD_US) + slots_of(new.contents, PERIOD_US)
    assert slots == slots_read(live[:10])
    assert slots_of(kept(outbox, COUNTER).contents, PERIOD_US) == slots_read(production[:10])


def test_a_device_that_went_and_came_back_says_why_its_slots_are_missing(outbox):
    live = evidence.meter_readings(LIVE, [500] * 40)
    meter, other = recorded(LIVE), recorded(LIVE, COUNTER)
    writer = recorder(outbox, meter, other)
    writer.commit(live[:5])
    (closed,) = writer.change([other])
    assert (closed.device, closed.epoch) == (METER, 1)
    with pytest.raises(KeyError):
        writer.commit(live[5:6])
    assert writer.change([meter, other]) == []
    writer.commit(live[8:10])
    leaves = kept(outbox)
    (missing,) = leaves.of_type("gap")
    assert (missing["cause"], missing["slots"]) == ("not_configured", "3")
    assert len(leaves.of_type("boot")) == 1  # the agent was not started again
    assert slots_of(leaves.contents, PERIOD_US) == slots_read(live[:10])


def test_a_change_that_cannot_be_kept_or_is_not_granted_changes_nothing(tmp_path):
    live = evidence.meter_readings(LIVE, [500] * 40)
    with closing(Outbox(state(tmp_path))) as box:
        meter = recorded(LIVE)
        writer = recorder(box, meter)
        writer.commit(live[:5])
        foreign = Key(evidence.FOREIGN.agent, public(evidence.FOREIGN.agent))
        with pytest.raises(ConfigError, match="another key"):
            writer.change([meter, recorded(LIVE, COUNTER, key=foreign)])
        database(box).execute(
            "CREATE TRIGGER full BEFORE INSERT ON trees BEGIN SELECT RAISE(ABORT, ''); END"
        )
        with pytest.raises(StoreError):
            writer.change([meter, recorded(LIVE, COUNTER)])
        database(box).execute("DROP TRIGGER full")
        writer.commit(live[5:10])
        assert slots_of(kept(box).contents, PERIOD_US) == slots_read(live[:10])
        assert {tree.device for tree in box.trees()} == {METER}
        writer.change([meter, recorded(LIVE, COUNTER)])
        assert {tree.device for tree in box.trees()} == {METER, COUNTER}


def test_what_a_full_disk_refused_is_shown_to_nobody_until_it_is_kept(tmp_path):
    live, shown = evidence.meter_readings(LIVE, [500] * 10), []
    with closing(Outbox(state(tmp_path))) as box:
        meter = recorded(LIVE)
        writer = recorder(box, meter, observe=lambda reading, *_: shown.append(reading.slot_us))
        database(box).execute(
            "CREATE TRIGGER full BEFORE INSERT ON trees BEGIN SELECT RAISE(ABORT, ''); END"
        )
        database(box).execute(
            "CREATE TRIGGER full2 BEFORE UPDATE ON trees BEGIN SELECT RAISE(ABORT, ''); END"
        )
        with pytest.raises(StoreError):
            writer.commit(live[:5])
        assert shown == []
        database(box).execute("DROP TRIGGER full")
        database(box).execute("DROP TRIGGER full2")
        writer.commit(live[:5])
    assert shown == slots_read(live[:5])
