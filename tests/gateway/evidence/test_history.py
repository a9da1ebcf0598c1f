import dataclasses
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from joulemark_agent.contract.canonical import canonical_bytes, digest_hex, parse_canonical
from joulemark_agent.contract.errors import EvidenceError
from joulemark_agent.contract.reading import Reading
from joulemark_agent.contract.signature import public_key
from joulemark_gateway.evidence import history
from support.evidence import (
    COUNTER,
    FOREIGN,
    KEYS,
    METER,
    PERIOD_US,
    START_US,
    build_tree,
    counter_readings,
    documents,
    leaf_groups,
    leaves_of,
    meter_readings,
    reading,
    seal,
    with_gap,
)

DOCS = documents()
RESULTS = with_gap(meter_readings(DOCS, [1000 + i for i in range(11)], frozen=[3]), 6, 2)
LEAVES = leaves_of(build_tree(DOCS, METER, RESULTS, slots_per_batch=5))
TREE = history.parse_tree(LEAVES)
PAPERS = DOCS.by_digest(METER)


def changed(change, *, leaves=LEAVES, at=None):
    """The leaves with their contents changed and written in canonical form again."""
    contents = [parse_canonical(leaf) for leaf in leaves]
    change(contents if at is None else contents[at])
    return [
        content if isinstance(content, bytes) else canonical_bytes(content) for content in contents
    ]


def first(kind):
    return next(i for i, leaf in enumerate(LEAVES) if parse_canonical(leaf).get("type") == kind)


def code_of(call, *args):
    with pytest.raises(EvidenceError) as caught:
        call(*args)
    return caught.value.code


def test_what_was_read_is_what_is_read_back():
    assert [record.responses for record in TREE.records] == [
        r.responses for r in RESULTS if isinstance(r, Reading)
    ]
    assert [gap for _, gap in TREE.gaps] == [r for r in RESULTS if not isinstance(r, Reading)]
    assert (TREE.site, TREE.device, TREE.epoch, TREE.clock) == (
        "gwangyang",
        METER,
        1,
        "simulated",
    )
    assert TREE.origin == "joulemark/gwangyang/main-meter/1"
    history.check_slots(TREE, history.period_us_of(TREE, PAPERS))
    history.check_envelopes(TREE)
    history.check_decode(TREE, history.profile_of(TREE, PAPERS))
    history.check_documents(TREE, PAPERS)
    assert history.operator_approved(TREE, public_key(KEYS.operator))
    assert not history.operator_approved(TREE, public_key(FOREIGN.operator))


def test_the_history_is_decoded_from_raw_words_and_never_from_the_values_beside_them():
    lied = changed(lambda c: c.update(val={**c["val"], "energy_wh": "7"}), at=2)
    for leaves in (LEAVES, lied):
        found = history.history_of(history.parse_tree(leaves), PAPERS)
        records = [r for r in RESULTS if isinstance(r, Reading)]
        assert found.slot_us.tolist() == [r.slot_us for r in records]
        assert found.counters["energy_wh"][0] == 0
        assert (found.period_us, found.synthetic) == (PERIOD_US, False)
        assert found.gauges["power_factor_ratio"].tolist()[:2] == [0.8944, 0.8944]
        assert all(found.good["energy_wh"])
        assert found.documents == DOCS.of(METER)
        assert [LEAVES.index(leaves[s]) if leaves[s] in LEAVES else 2 for s in found.sources] == (
            found.sources.tolist()
        )


@settings(max_examples=30, deadline=None)
@given(energy_wh=st.lists(st.integers(0, 2**40), min_size=1, max_size=8), cut=st.integers(1, 5))
def test_counters_come_back_to_the_unit_however_the_batches_are_cut(energy_wh, cut):
    results = meter_readings(DOCS, energy_wh)
    tree = history.parse_tree(leaves_of(build_tree(DOCS, METER, results, slots_per_batch=cut)))
    found = history.history_of(tree, PAPERS)
    assert np.diff(found.counters["energy_wh"]).tolist() == energy_wh


def test_a_bad_value_is_not_good_and_a_gauge_without_value_is_nan():
    profile = DOCS.profile(METER)
    values = {
        "energy_wh": 5,
        "power_w": None,
        "power_factor_ratio": Decimal("1.5"),
        "reactive_lagging_varh": 0,
        "reactive_leading_varh": 0,
    }
    results = [reading(profile, METER, START_US, values)]
    found = history.history_of(
        history.parse_tree(leaves_of(build_tree(DOCS, METER, results))), PAPERS
    )
    assert np.isnan(found.gauges["power_w"][0])
    assert np.isnan(found.gauges["power_factor_ratio"][0]), "out of range: kept, not used"
    assert [name for name in found.good if not found.good[name][0]] == [
        "power_w",
        "power_factor_ratio",
    ]


def test_a_counter_beyond_63_bits_is_no_count_and_no_crash():
    profile = DOCS.profile(COUNTER)
    results = [reading(profile, COUNTER, START_US, {"production_kg": 2**64 - 1})]
    tree = history.parse_tree(leaves_of(build_tree(DOCS, COUNTER, results)))
    found = history.history_of(tree, DOCS.by_digest(COUNTER))
    assert not found.good["production_kg"][0]
    assert found.synthetic


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda c: c.clear(), "bad_sequence"),
        (lambda c: c.pop(0), "bad_sequence"),
        (lambda c: c.pop(3), "bad_sequence"),
        (lambda c: c.insert(3, c[3]), "bad_sequence"),
        (lambda c: c.__setitem__(3, c[4]), "bad_sequence"),
        (lambda c: c[3].update(dev=COUNTER), "bad_sequence"),
        (lambda c: c[3].update(epoch=2), "bad_sequence"),
        (lambda c: c[3].update(seq="03"), "bad_sequence"),
        (lambda c: c.__setitem__(3, {**c[0], "seq": "3"}), "bad_sequence"),
        (lambda c: c.__setitem__(0, {**c[1], "seq": "0"}), "bad_sequence"),
        (lambda c: c[0].update(type="boot"), "bad_leaf"),
        (lambda c: c[1].update(note="x"), "bad_leaf"),
        (lambda c: c[3].update(v="1"), "bad_leaf"),
        (lambda c: c[3].update(v=True), "bad_leaf"),
        (lambda c: c[3].update(v=2), "unknown_version"),
        (lambda c: c[3].update(v=2, minor=1), "unknown_version"),
        (lambda c: c[3].update(note="x"), "bad_leaf"),
        (lambda c: c[3].pop("q"), "bad_leaf"),
        (lambda c: c[3].update(q=[]), "bad_leaf"),
        (lambda c: c[3].update(raw="44bb"), "bad_leaf"),
        (lambda c: c[3].update(tq={}), "bad_leaf"),
        (lambda c: c[3].update(t_mono_ns="-1"), "bad_leaf"),
        (lambda c: c[3]["raw"][0].__setitem__(2, "4"), "bad_leaf"),
        (lambda c: c[3]["raw"][0].__setitem__(1, True), "bad_leaf"),
        (lambda c: c[first("gap")].pop("cause"), "bad_leaf"),
        (lambda c: c[first("gap")].update(slots="two"), "bad_leaf"),
        (lambda c: c[1].update(type="opinion"), "bad_leaf"),
        (lambda c: c[1].update(type=["boot"]), "bad_leaf"),
        (lambda c: c[0]["grant"].pop("site"), "bad_leaf"),
        (lambda c: c[0]["grant"].update(documents=[]), "bad_leaf"),
        (lambda c: c[0]["grant"]["documents"].pop("site"), "bad_leaf"),
        (lambda c: c[0]["grant"]["documents"].update(site=1), "bad_leaf"),
        (lambda c: c[0]["grant"].update(clock="sundial"), "bad_leaf"),
        (lambda c: c[0]["grant"].update(epoch="1"), "bad_leaf"),
        (lambda c: c[0]["grant"].update(first_slot=0), "bad_leaf"),
        (lambda c: c[0].update(operator_signature=1), "bad_leaf"),
        (lambda c: c[0].update(operator_signature="!"), "bad_base64"),
        (lambda c: c.__setitem__(3, canonical_bytes(c[3]) + b" "), "not_canonical"),
    ],
)
def test_leaves_that_are_no_tree_are_refused_with_the_reason(change, code):
    assert code_of(history.parse_tree, changed(change)) == code


def test_a_part_of_a_tree_is_parsed_like_the_whole():
    grant, signature = history.grant_of(LEAVES[0])
    for cut in range(1, len(LEAVES)):
        parts = [
            history.parse_part(LEAVES[:cut], 0, grant, signature),
            history.parse_part(LEAVES[cut:], cut, grant, signature),
        ]
        for name in ("records", "gaps", "envelopes"):
            assert sum((getattr(part, name) for part in parts), ()) == getattr(TREE, name)


def tree_of(results, **options):
    return history.parse_tree(leaves_of(build_tree(DOCS, METER, results, **options)))


PLAIN = [r for r in meter_readings(DOCS, [1000] * 6) if isinstance(r, Reading)]


@pytest.mark.parametrize(
    ("results", "code"),
    [
        (PLAIN[1:], "slot_missing"),
        (PLAIN[:2] + PLAIN[3:], "slot_missing"),
        ([*PLAIN[:3], *PLAIN[2:]], "slot_twice"),
        ([*PLAIN, with_gap(PLAIN, 2, 2)[2]], "slot_twice"),
        ([dataclasses.replace(PLAIN[0], slot_us=START_US + 1)], "slot_unaligned"),
    ],
)
def test_slots_that_are_not_readings_and_gaps_each_once_are_named(results, code):
    assert code_of(history.check_slots, tree_of(results), PERIOD_US) == code


def test_the_slot_due_first_may_be_told():
    part = tree_of(PLAIN[2:])
    history.check_slots(part, PERIOD_US, PLAIN[2].slot_us)
    assert code_of(history.check_slots, part, PERIOD_US, PLAIN[1].slot_us) == "slot_missing"
    history.check_slots(history.parse_tree(LEAVES[:2]), PERIOD_US)


COUNTS = "first_seq last_seq records values gap_slots slots first_slot last_slot time"


@pytest.mark.parametrize("field", COUNTS.split())
def test_an_envelope_that_miscounts_is_named(field):
    leaves = changed(lambda c: c.update({field: "x"}), at=first("batch"))
    assert code_of(history.check_envelopes, history.parse_tree(leaves)) == "bad_envelope"


def test_a_record_moved_over_an_envelope_is_miscounted():
    at = first("batch")

    def swap(contents):
        contents[at - 1], contents[at] = (
            {**contents[at], "seq": contents[at - 1]["seq"]},
            {**contents[at - 1], "seq": contents[at]["seq"]},
        )

    assert code_of(history.check_envelopes, history.parse_tree(changed(swap))) == "bad_envelope"


@pytest.mark.parametrize(
    "change",
    [
        lambda r: r["val"].update(energy_wh="1"),
        lambda r: r["val"].update(energy_wh=0),
        lambda r: r["val"].pop("energy_wh"),
        lambda r: r["q"].update(energy_wh="range"),
        lambda r: r["raw"][0].__setitem__(1, 1),
        lambda r: r["raw"][0].__setitem__(0, "input"),
    ],
)
def test_a_record_whose_raw_words_say_otherwise_is_named(change):
    tree = history.parse_tree(changed(change, at=2))
    assert code_of(history.check_decode, tree, DOCS.profile(METER)) == "decode_mismatch"


@pytest.mark.parametrize("name", ["profile", "site", "factors"])
def test_a_document_that_is_missing_or_other_is_named(name):
    digest = DOCS.of(METER)[name]
    without = {key: data for key, data in PAPERS.items() if key != digest}
    assert code_of(history.check_documents, TREE, without) == "document_missing"
    other = {**PAPERS, digest: b"{}"}
    assert code_of(history.check_documents, TREE, other) == "document_missing"


@pytest.mark.parametrize(
    "change",
    [
        lambda e: e["documents"].update(profile=digest_hex(b"other")),
        lambda e: e["documents"].pop("software"),
        lambda e: e["documents"].update(more="x"),
        lambda e: e.update(documents="x"),
        lambda e: e.pop("documents"),
    ],
)
def test_an_envelope_that_names_other_documents_is_named(change):
    tree = history.parse_tree(changed(change, at=first("batch")))
    assert code_of(history.check_documents, tree, PAPERS) == "document_changed"
    assert code_of(history.check_named_documents, tree) == "document_changed"


@pytest.mark.parametrize(
    ("site", "code"),
    [
        (b"{}", "bad_document"),
        (b'{"devices":[{"id":"main-meter","period_s":"soon"}]}', "bad_document"),
        (b'{"devices":7}', "bad_document"),
        (b'{"devices":[]}', "document_missing"),
        (b'{"devices":[{"id":"main-meter","period_s":0}]}', "document_missing"),
    ],
)
def test_a_site_document_without_the_device_is_named(site, code):
    papers = {**PAPERS, DOCS.of(METER)["site"]: site}
    assert code_of(history.period_us_of, TREE, papers) == code


def test_a_profile_document_that_is_none_is_named():
    papers = {**PAPERS, DOCS.of(METER)["profile"]: b"{}"}
    assert code_of(history.profile_of, TREE, papers) == "bad_document"


def test_an_operators_signature_over_another_grant_does_not_approve():
    groups = leaf_groups(DOCS, METER, PLAIN, KEYS)
    groups[0][0]["grant"]["agent"] = "edge-9"
    tree = history.parse_tree(leaves_of(seal(DOCS, METER, groups, KEYS)))
    assert not history.operator_approved(tree, public_key(KEYS.operator))


def test_the_production_counter_is_read_back_too():
    leaves = leaves_of(build_tree(DOCS, COUNTER, counter_readings(DOCS, [10, 20])))
    found = history.history_of(history.parse_tree(leaves), DOCS.by_digest(COUNTER))
    assert found.counters["production_kg"].tolist() == [0, 10, 30]


@pytest.mark.parametrize("sync", ["", "none", "ntp ", "unsynchronised"])
def test_a_clock_of_which_nothing_good_is_known_counts_as_not_set(sync):
    groups = leaf_groups(DOCS, METER, PLAIN, KEYS)
    groups[0][3]["tq"]["sync"] = sync
    tree = history.parse_tree(leaves_of(seal(DOCS, METER, groups, KEYS)))
    assert history.history_of(tree, PAPERS).unsynchronised.sum() == 1


@pytest.mark.parametrize(
    "change", [{"type": "int64"}, {"scale": "-1"}, {"scale": "0"}, {"scale": "1e81"}]
)
def test_a_counter_that_could_count_below_zero_or_without_end_is_none(change):
    mapping = parse_canonical(DOCS.profiles[METER])
    mapping["points"][0] |= change
    paper = canonical_bytes(mapping)
    grant = {**TREE.grant, "documents": {**TREE.grant["documents"], "profile": digest_hex(paper)}}
    tree = dataclasses.replace(TREE, grant=grant)
    assert code_of(history.profile_of, tree, {digest_hex(paper): paper}) == "bad_document"


@pytest.mark.parametrize("read", [history.profile_of, history.period_us_of, history.history_of])
def test_a_document_that_is_not_there_is_missing(read):
    assert code_of(read, TREE, {}) == "document_missing"


@pytest.mark.parametrize("last_us", [START_US - PERIOD_US, START_US - 2 * PERIOD_US])
def test_a_gap_that_ends_before_it_begins_is_none(last_us):
    slots = (last_us - START_US) // PERIOD_US + 1
    none = {"first_slot": str(START_US), "last_slot": str(last_us), "slots": str(slots)}
    assert code_of(history.parse_tree, changed(lambda c: c.update(none), at=first("gap"))) == (
        "bad_leaf"
    )


@pytest.mark.parametrize(("late_us", "holds"), [(PERIOD_US, True), (2 * PERIOD_US, False)])
def test_a_reading_far_from_its_slot_is_named(late_us, holds):
    far = changed(lambda c: c.update(t_utc_us=str(int(c["slot"]) + late_us)), at=2)
    tree = history.parse_tree(far)
    if holds:
        history.check_slots(tree, PERIOD_US)
    else:
        assert code_of(history.check_slots, tree, PERIOD_US) == "off_slot"
