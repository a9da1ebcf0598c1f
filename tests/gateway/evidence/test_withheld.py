"""What is known of leaves that are not here: slots exactly, energy as the agent summed it."""

import dataclasses
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from joulemark_agent.contract.canonical import canonical_bytes, parse_canonical
from joulemark_agent.contract.committed import committed
from joulemark_agent.contract.errors import EvidenceError
from joulemark_agent.contract.sparse import Part, Withheld, withheld
from joulemark_gateway.evidence import history
from joulemark_gateway.evidence.claims import check_energy
from joulemark_gateway.evidence.withheld import (
    check_approved,
    check_explained,
    lost_runs,
    lost_slots,
    withheld_slots,
)
from support import evidence
from support.committed import (
    INTERVAL_US,
    PERIOD_S,
    SLOTS,
    documents,
    four_intervals,
    readings,
    resealed,
    run,
    sparse,
)
from support.evidence import METER, START_US

PERIOD_US = PERIOD_S * 1_000_000
FULL = list(four_intervals())
DOCS = documents().by_digest(METER)


def tree_of(batches):
    return history.parse_tree([part for batch in batches for part in batch.parts])


def whole_tree(batches):
    return history.parse_tree([leaf for batch in batches for leaf in batch.leaves])


def check(tree, docs=None):
    """Every check that a tree of committed evidence must pass."""
    docs = DOCS if docs is None else docs
    check_approved(tree, INTERVAL_US)
    check_explained(tree)
    history.check_envelopes(tree)
    history.check_slots(tree, PERIOD_US)
    history.check_decode(tree, history.profile_of(tree, docs))
    check_energy(tree, docs)


def code_of(call):
    with pytest.raises(EvidenceError) as caught:
        call()
    return caught.value.code


def covered(tree):
    """Every slot that the tree accounts for."""
    spans = [(r.slot_us, r.slot_us) for r in tree.records]
    spans += [(gap.first_slot_us, gap.last_slot_us) for _, gap in tree.gaps]
    spans += [(s.first_us, s.last_us) for s in withheld_slots(tree, PERIOD_US)]
    return sorted(at for first, last in spans for at in range(first, last + 1, PERIOD_US))


@settings(max_examples=6)  # each a run of a recorder on a real disk
@given(
    st.integers(1, 50),
    st.lists(st.tuples(st.integers(1, 45), st.integers(1, 4)), max_size=2),
    st.lists(st.integers(1, 45), max_size=1),
)
def test_every_slot_of_the_full_run_is_found_again_exactly_once(slots, gaps, stops):
    results = readings(documents(), slots)
    for first, count in sorted(gaps, reverse=True):
        if first + count < len(results) and all(
            isinstance(item, type(results[0])) for item in results[first : first + count]
        ):
            results = evidence.with_gap(results, first, count)
    batches = run(results, stops=[stop for stop in stops if stop < len(results)])
    thin = tree_of(sparse(batches))
    assert covered(thin) == covered(whole_tree(batches))
    assert covered(thin) == [START_US + i * PERIOD_US for i in range(slots + 1)]
    check(thin)


def test_the_history_is_that_of_the_readings_at_the_ends_of_intervals():
    full = history.history_of(whole_tree(FULL), DOCS)
    thin = history.history_of(tree_of(sparse(FULL)), DOCS)
    at_ends = (full.slot_us - START_US) % INTERVAL_US == 0
    assert thin.slot_us.tolist() == full.slot_us[at_ends].tolist()
    for name, counts in full.counters.items():
        assert thin.counters[name].tolist() == counts[at_ends].tolist()
    assert (thin.period_us, thin.step_us) == (PERIOD_US, INTERVAL_US)
    assert sum(slots.number for slots in thin.withheld) == 4 * (SLOTS - 1)
    assert full.slot_us.size == thin.slot_us.size + 4 * (SLOTS - 1)


def without(tree_batches, index, place):
    """A batch from which a record is gone, truly counted and signed again."""

    def drop(contents):
        del contents[place]
        for seq, content in enumerate(contents, tree_batches[index].first_seq):
            content["seq"] = str(seq)
        envelope = contents[-1]
        envelope["last_seq"] = str(int(envelope["last_seq"]) - 1)
        envelope["records"] -= 1
        envelope["slots"] -= 1
        envelope["values"] -= 5

    return resealed(tree_batches, index, drop)


@pytest.mark.parametrize("place", [0, 5, SLOTS - 2])
def test_a_reading_that_is_missing_among_the_withheld_is_found_missing(place):
    short = without(FULL, 3, place)
    tree = tree_of([*sparse(FULL[:3]), committed(short)])
    history.check_envelopes(tree)
    code = code_of(lambda: history.check_slots(tree, PERIOD_US))
    assert code == "slot_missing"


def test_an_envelope_that_begins_at_another_slot_is_found():
    def later(contents):
        contents[-1]["first_slot"] = str(int(contents[-1]["first_slot"]) + PERIOD_US)

    tree = tree_of([*sparse(FULL[:3]), committed(resealed(FULL, 3, later))])
    assert code_of(lambda: history.check_slots(tree, PERIOD_US)) == "slot_missing"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("records", SLOTS + 1), ("records", SLOTS - 1), ("records", "15"), ("slots", SLOTS + 1),
        ("gap_slots", 1), ("values", 3), ("values", None), ("last_slot", str(START_US)),
        ("first_slot", None), ("first_slot", 7), ("first_seq", "0"), ("last_seq", "1"),
        ("time", {"unsynchronised": SLOTS + 1}), ("time", None),
    ],
)  # fmt: skip
def test_an_envelope_that_miscounts_what_stays_away_is_refused(field, value):
    def miscount(contents):
        contents[-1][field] = value

    tree = tree_of([*sparse(FULL[:3]), committed(resealed(FULL, 3, miscount))])
    assert code_of(lambda: history.check_envelopes(tree)) == "bad_envelope"


def test_records_stay_away_only_where_the_site_approved_it():
    assert code_of(lambda: check_approved(tree_of(sparse(FULL)), None)) == "withheld_refused"


def test_the_record_that_ends_an_interval_is_not_hidden():
    batch = FULL[3]
    parts: tuple[Part, ...] = (withheld(batch.leaves[:-1], batch.first_seq), batch.leaves[-1])
    hidden = dataclasses.replace(committed(batch), parts=parts)
    tree = tree_of([*sparse(FULL[:3]), hidden])
    assert code_of(lambda: check_approved(tree, INTERVAL_US)) == "interval_record_missing"


# ---------------------------------------------------------------------- energy


def test_a_step_that_the_envelope_does_not_bear_out_is_found():
    def more(contents):
        contents[-1]["energy"]["energy_wh"] = str(int(contents[-1]["energy"]["energy_wh"]) + 1)

    tree = tree_of([*sparse(FULL[:3]), committed(resealed(FULL, 3, more))])
    with pytest.raises(EvidenceError, match="fetch them") as caught:
        check_energy(tree, DOCS)
    assert caught.value.code == "envelope_energy"


@pytest.mark.parametrize("claim", [{}, None, {"energy_wh": "600"}, {"energy_wh": 5}, []])
def test_an_envelope_that_states_no_sums_bears_out_nothing(claim):
    def silent(contents):
        contents[-1]["energy"] = claim

    tree = tree_of([*sparse(FULL[:3]), committed(resealed(FULL, 3, silent))])
    assert code_of(lambda: check_energy(tree, DOCS)) == "envelope_energy"


def meter_that_falls(at):
    """The counter begins anew within an interval: from outside the step looks like another."""
    site = documents()
    results = readings(site, 4 * SLOTS)
    profile = site.profile(METER)
    total, fallen = 0, []
    for i, reading in enumerate(results):
        total = 0 if i == at else total + 50
        values: dict[str, Decimal | int | None] = {
            "energy_wh": total,
            "power_w": 3000,
            "power_factor_ratio": Decimal("0.9"),
            "reactive_lagging_varh": i,
            "reactive_leading_varh": 0,
        }
        fallen.append(evidence.reading(profile, METER, reading.slot_us, values))
    return run(fallen)


def test_a_counter_that_began_anew_inside_is_refused_until_the_records_are_here():
    batches = meter_that_falls(3 * SLOTS + 7)
    whole = whole_tree(batches)
    check_energy(whole, DOCS)
    thin = sparse(batches)
    assert code_of(lambda: check_energy(tree_of(thin), DOCS)) == "envelope_energy"
    asked = next(i for i, batch in enumerate(batches) if len(batch.leaves) > 2 and i == 5)
    thin[asked] = dataclasses.replace(thin[asked], parts=batches[asked].leaves)
    check_energy(tree_of(thin), DOCS)


def test_between_fetched_records_the_sums_are_checked_to_the_last_digit():
    thin = sparse(FULL)
    for index in (3, 5):
        thin[index] = dataclasses.replace(thin[index], parts=FULL[index].leaves)
    check(tree_of(thin))

    def other(contents):
        contents[-1]["energy"]["co2e_kg"] = "0.5"

    thin[3] = dataclasses.replace(thin[3], parts=resealed(FULL, 3, other).leaves)
    assert code_of(lambda: check_energy(tree_of(thin), DOCS)) == "envelope_energy"


def test_what_the_agent_did_not_measure_inside_an_interval_is_not_credited():
    """A meter without power for some minutes: its envelope knows, its counter does not tell."""
    site = documents()
    results = evidence.meter_readings(site, [50] * (4 * SLOTS), frozen=range(20, 24))
    batches = run(results)
    thin = tree_of(sparse(batches))
    check(thin)
    found = history.history_of(thin, DOCS)
    assert found.is_partial is not None
    assert found.is_partial.tolist() == [False, False, True, False, False]


# ------------------------------------------------------------------------ lost


def with_lost(index, **explained):
    """The full run with a batch lost, and the leaf at its end that explains the loss."""
    batch = FULL[index]
    first, last = batch.first_seq, batch.size - 1
    slots = [parse_canonical(leaf).get("slot") for leaf in batch.leaves]
    slots = [slot for slot in slots if slot]
    fields = {
        "first_seq": str(first), "last_seq": str(last), "first_slot": slots[0],
        "last_slot": slots[-1], "slots": str(len(slots)), "why": "the disk lost it",
    } | explained  # fmt: skip
    seq = FULL[-1].size
    leaf = {"dev": METER, "epoch": 1, "seq": str(seq), "type": "discontinuity", "v": 1, **fields}
    parts: list[Part] = [
        part
        for other in FULL
        for part in ((withheld(other.leaves, other.first_seq),) if other is batch else other.leaves)
    ]
    return history.parse_tree([*parts, canonical_bytes(leaf)])


def test_a_lost_batch_that_is_explained_has_its_slots():
    tree = with_lost(3)
    check_explained(tree)
    history.check_slots(tree, PERIOD_US)
    history.check_envelopes(tree)
    check_approved(tree, None)
    check_energy(tree, DOCS)
    assert [run.count for run in lost_runs(tree)] == [SLOTS + 1]
    assert [slots.number for slots in lost_slots(tree)] == [SLOTS]
    assert withheld_slots(tree, PERIOD_US) == []
    lost = history.history_of(tree, DOCS).lost
    assert [slots.number for slots in lost] == [SLOTS]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"first_seq": "1"}, None),
        ({"last_seq": "30"}, "lost_unexplained"),
        ({"first_seq": "25"}, "lost_unexplained"),
        ({"first_seq": None}, "lost_unexplained"),
        ({"last_seq": "999999"}, "lost_unexplained"),
    ],
)
def test_a_loss_that_no_leaf_explains_is_found(change, code):
    tree = with_lost(3, **change)
    if code is None:
        check_explained(tree)
    else:
        assert code_of(lambda: check_explained(tree)) == code


@pytest.mark.parametrize("slots", ["14", "16", "0", "x"])
def test_a_loss_that_is_counted_wrong_leaves_slots_missing(slots):
    tree = with_lost(3, slots=slots)
    code = code_of(lambda: history.check_slots(tree, PERIOD_US))
    assert code in {"slot_missing", "slot_unaligned"}


def test_a_tree_whose_first_leaf_is_not_here_is_none():
    parts: list[Part] = [withheld(FULL[0].leaves, 0), *FULL[1].leaves]
    assert code_of(lambda: history.parse_tree(parts)) == "bad_sequence"


def test_a_run_of_a_hostile_length_costs_nothing():
    parts = [*FULL[0].leaves, *FULL[1].leaves]
    runs = [Withheld(1_000_000, (bytes(32),)) for _ in range(2000)]
    tree = history.parse_tree([*parts, *runs])
    assert code_of(lambda: check_explained(tree)) == "lost_unexplained"
    assert withheld_slots(tree, PERIOD_US) == []
