import dataclasses
import zlib
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from joulemark_agent.contract.batch import batch_bytes, columns_bytes, parse_batch
from joulemark_agent.contract.canonical import canonical_bytes, digest_hex, parse_canonical
from joulemark_agent.contract.errors import EvidenceError
from joulemark_agent.contract.reading import Gap, Reading, signed_grant
from joulemark_agent.contract.signature import Checkpoint, encode64, sign_checkpoint
from joulemark_agent.contract.topics import batch_topic, origin
from joulemark_agent.contract.tree import Edge, append
from joulemark_gateway.evidence.base import Accepted
from joulemark_gateway.ingest.registered import sender_of
from joulemark_gateway.ingest.verify import EPSILON_US, Absorbed, Refused
from support.book import NOW_US, Book, registry, resigned
from support.columns import framed, opened
from support.evidence import (
    AGENT,
    COUNTER,
    FOREIGN,
    KEYS,
    METER,
    PERIOD_US,
    SEALED_US,
    SITE,
    START_US,
    build_tree,
    counter_readings,
    documents,
    leaf_groups,
    meter_readings,
    opening,
    seal,
    uncosigned,
    with_gap,
)

DOCS = documents()
COUNTS_WH = [1000 + 10 * i for i in range(7)]
RESULTS = [r for r in meter_readings(DOCS, COUNTS_WH) if isinstance(r, Reading)]
TREE = [uncosigned(batch) for batch in build_tree(DOCS, METER, RESULTS, slots_per_batch=4)]
FIRST, SECOND = TREE
AFTER_FIRST = append(Edge(), FIRST.leaves)


def leaves_of(batch):
    return [parse_canonical(leaf) for leaf in batch.leaves]


def code_of(verdict):
    assert isinstance(verdict, Refused), verdict
    return verdict.code


def flags_of(verdict):
    assert isinstance(verdict, Accepted), verdict
    return verdict.flags


def second_with(change):
    """The second batch with the contents of its leaves changed, under a true root and signature."""
    contents = leaves_of(SECOND)
    change(contents)
    return resigned(SECOND, contents, AFTER_FIRST)


def judged_second(batch):
    book = Book()
    book.offer_all([FIRST])
    roots = book.roots
    verdict = book.offer(batch)
    assert isinstance(verdict, Accepted) or book.roots == roots
    return verdict


def test_a_tree_is_accepted_batch_by_batch_and_its_roots_are_those_signed():
    book = Book()
    book.offer_all(TREE)
    name = origin(SITE, METER, 1)
    assert book.heads[name].size == SECOND.size
    assert encode64(book.roots[name]) == SECOND.checkpoint.split("\n")[2]


@pytest.mark.parametrize(
    ("topic", "code"),
    [
        ("joulemark/v1/up/edge-1/main-meter/receipt", "bad_topic"),
        ("joulemark/v1/down/edge-1/main-meter/batch", "bad_topic"),
        ("joulemark/v1/up/edge-1/main-meter", "bad_topic"),
        ("joulemark/v1/up/edge-1/main+meter/batch", "bad_topic"),
        ("joulemark/v1/up/edge-1/../batch", "bad_topic"),
        (batch_topic("edge-2", METER), "unknown_agent"),
        (batch_topic(AGENT, "furnace"), "unknown_device"),
    ],
)
def test_a_topic_of_nobody_registered_is_refused_before_the_payload_is_looked_at(topic, code):
    with pytest.raises(EvidenceError) as caught:
        sender_of(topic, registry())
    assert caught.value.code == code


def test_a_batch_under_the_topic_of_another_device_is_refused():
    verdict = Book().offer(FIRST, topic=batch_topic(AGENT, COUNTER))
    assert code_of(verdict) == "wrong_identity"


def test_a_batch_signed_with_a_foreign_key_is_refused():
    owner = dataclasses.replace(KEYS, agent=FOREIGN.agent)
    forged = seal(DOCS, METER, leaf_groups(DOCS, METER, RESULTS, KEYS), owner)
    assert code_of(Book().offer(forged[0])) == "bad_signature"


def test_a_checkpoint_with_a_second_signature_is_refused(monkeypatch):
    monkeypatch.setattr("support.book.uncosigned", lambda batch: batch)
    cosigned = build_tree(DOCS, METER, RESULTS)[0]
    assert code_of(Book().offer(cosigned)) == "bad_signature"


def test_a_grant_that_no_registered_operator_signed_is_refused():
    owner = dataclasses.replace(KEYS, operator=FOREIGN.operator)
    assert code_of(Book().offer(build_tree(DOCS, METER, RESULTS, owner)[0])) == "unknown_operator"


def test_a_grant_for_another_key_is_refused():
    groups = leaf_groups(DOCS, METER, RESULTS, dataclasses.replace(KEYS, agent=FOREIGN.agent))
    assert code_of(Book().offer(seal(DOCS, METER, groups, KEYS)[0])) == "bad_grant"


@pytest.mark.parametrize("field", ["agent", "dev", "site", "epoch"])
def test_a_grant_for_something_else_is_refused(field):
    groups = leaf_groups(DOCS, METER, RESULTS, KEYS)
    other = 2 if field == "epoch" else COUNTER
    grant = {**groups[0][0]["grant"], field: other}
    groups[0][0] |= signed_grant(grant, KEYS.operator)
    assert code_of(Book().offer(seal(DOCS, METER, groups, KEYS)[0])) == "bad_grant"


def test_every_epoch_needs_the_operator_and_one_out_of_order_is_flagged():
    """A state folder that was lost may have held an epoch that was never sent."""
    trees = {n: build_tree(DOCS, METER, RESULTS, epoch=n, slots_per_batch=4) for n in (1, 2, 4)}
    book = Book()
    flags = {n: book.accepted(trees[n][0])[0].flags for n in (1, 4, 2)}
    assert flags == {1: (), 4: ("epoch_skipped",), 2: ("epoch_late",)}
    for n, tree in trees.items():
        assert not {"epoch_skipped", "epoch_late"} & {*book.accepted(tree[1])[0].flags}, n
    unsigned = dataclasses.replace(KEYS, operator=FOREIGN.operator)
    third = build_tree(DOCS, METER, RESULTS, unsigned, epoch=3)
    assert code_of(book.offer(third[0])) == "unknown_operator"


def test_a_replay_is_refused_unless_the_collector_accepts_it():
    trusted = registry(accept_simulated=False)
    assert code_of(Book(trusted).offer(FIRST)) == "simulated_refused"


def test_simulated_readings_in_an_epoch_of_real_time_are_refused():
    site = documents(clock="system", first_slot_us=None)
    unmarked = build_tree(site, METER, meter_readings(site, [1000]))
    assert code_of(Book().offer(unmarked[0])) == "clock_mismatch"


def test_documents_that_come_late_are_refused():
    book = Book()
    without = dataclasses.replace(FIRST, documents={})
    assert code_of(book.offer(without)) == "document_missing"
    late = dataclasses.replace(SECOND, documents=FIRST.documents)
    assert code_of(book.offer(late)) == "hole"
    assert code_of(judged_second(late)) == "document_unexpected"
    assert not book.documents


def test_a_document_nobody_approved_is_refused():
    surplus = {**FIRST.documents, digest_hex(b"{}"): b"{}"}
    batch = dataclasses.replace(FIRST, documents=surplus)
    assert code_of(Book().offer(batch)) == "document_unexpected"


@pytest.mark.parametrize(
    ("field", "nonsense"),
    [("profiles", {METER: b"{}", COUNTER: b"{}"}), ("site", b"{}"), ("factors", b"{}")],
)
def test_approved_bytes_that_are_no_such_document_are_refused(field, nonsense):
    site = dataclasses.replace(DOCS, **{field: nonsense})
    groups = leaf_groups(DOCS, METER, RESULTS, KEYS)
    groups[0][:2] = opening(site, METER, KEYS)
    assert code_of(Book().offer(seal(site, METER, groups, KEYS)[0])) == "bad_document"


def test_an_envelope_that_names_another_profile_is_refused():
    def change(contents):
        contents[-1]["documents"]["profile"] = digest_hex(b"another")

    assert code_of(judged_second(second_with(change))) == "document_changed"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda c: c[1].pop("tq"), "bad_leaf"),
        (lambda c: c[1].update(v=2), "unknown_version"),
        (lambda c: c[1].update(extra="1"), "bad_leaf"),
        (lambda c: c[1].update(epoch=True), "bad_leaf"),
        (lambda c: c[1].update(val=7), "bad_leaf"),
        (lambda c: c[1].update(slot="01"), "bad_leaf"),
        (lambda c: c[1].update(slot=str(2**64)), "bad_leaf"),
        (lambda c: c[1].update(slot=str(2**63)), "bad_leaf"),
        (lambda c: c[1].update(t_utc_us=str(2**60)), "bad_leaf"),
        (lambda c: c[1]["raw"][0].append("x"), "bad_leaf"),
        (lambda c: c[1]["raw"][0].__setitem__(2, c[1]["raw"][0][2].upper() + "AA"), "bad_leaf"),
        (lambda c: c.insert(1, {**c[0], "type": "opinion"}), "bad_leaf"),
        (lambda c: c.insert(1, {**c[0], "type": ["gap"]}), "bad_leaf"),
        (lambda c: c.reverse(), "bad_sequence"),
        (lambda c: c.pop(1), "bad_sequence"),
        (lambda c: c.insert(1, c[0]), "bad_sequence"),
        (lambda c: c[1].update(dev=COUNTER), "bad_sequence"),
        (lambda c: c[1].update(epoch=2), "bad_sequence"),
        (lambda c: c[1].update(seq=7), "bad_sequence"),
        (lambda c: c.__setitem__(0, {**leaves_of(FIRST)[0], "seq": c[0]["seq"]}), "bad_sequence"),
    ],
)
def test_leaves_that_are_not_the_next_ones_are_refused(change, code):
    assert code_of(judged_second(second_with(change))) == code


def test_a_leaf_in_another_form_of_the_same_json_is_refused():
    leaves = list(SECOND.leaves)
    leaves[1] = leaves[1].replace(b'":', b'": ', 1)
    assert code_of(judged_second(resigned(SECOND, leaves, AFTER_FIRST))) == "not_canonical"


@pytest.mark.parametrize("field", ["records", "values", "gap_slots", "slots"])
def test_an_envelope_that_miscounts_is_refused(field):
    def change(contents):
        contents[-1][field] += 1

    assert code_of(judged_second(second_with(change))) == "bad_envelope"


@pytest.mark.parametrize(
    "change",
    [
        lambda e: e.update(first_seq="0"),
        lambda e: e.update(last_seq="0"),
        lambda e: e.update(first_slot="0"),
        lambda e: e.update(last_slot=None),
        lambda e: e["time"].update(unsynchronised=1),
        lambda e: e["previous"].update(size="0"),
        lambda e: e.update(previous=None),
        lambda e: e.pop("records"),
    ],
)
def test_an_envelope_that_does_not_fit_its_batch_is_refused(change):
    assert code_of(judged_second(second_with(lambda c: change(c[-1])))) == "bad_envelope"


@pytest.mark.parametrize(
    "change",
    [lambda c: c.pop(), lambda c: c.append({**c[-1], "seq": str(FIRST.size + len(c))})],
)
def test_a_batch_has_one_envelope_and_it_is_the_last_leaf(change):
    assert code_of(judged_second(second_with(change))) == "bad_envelope"


def test_an_envelope_without_a_sealing_time_is_refused():
    assert code_of(judged_second(second_with(lambda c: c[-1].pop("sealed_us")))) == "bad_envelope"


@pytest.mark.parametrize(
    "change",
    [
        lambda r: r["raw"][0].__setitem__(2, "ff" + r["raw"][0][2][2:]),
        lambda r: r["val"].update(energy_wh="1"),
        lambda r: r["val"].pop("power_w"),
        lambda r: r["q"].update(power_w="range"),
        lambda r: r.update(raw=[]),
    ],
)
def test_values_that_the_raw_words_do_not_give_are_never_cosigned(change):
    def both(contents):
        change(contents[1])
        contents[-1]["values"] = sum(len(c.get("val", ())) for c in contents[:-1])

    assert code_of(judged_second(second_with(both))) == "decode_mismatch"


def test_a_signed_root_that_the_leaves_do_not_give_is_refused():
    head = Checkpoint(origin(SITE, METER, 1), SECOND.size, b"\x07" * 32)
    batch = dataclasses.replace(SECOND, checkpoint=sign_checkpoint(KEYS.agent, head))
    assert code_of(judged_second(batch)) == "bad_root"


def test_a_signed_size_that_is_not_that_of_the_batch_is_refused():
    head = Checkpoint(origin(SITE, METER, 1), SECOND.size + 1, b"\x07" * 32)
    batch = dataclasses.replace(SECOND, checkpoint=sign_checkpoint(KEYS.agent, head))
    assert code_of(judged_second(batch)) == "bad_envelope"


def test_a_batch_after_a_missing_one_is_a_hole_and_is_not_kept():
    verdict = Book().offer(SECOND)
    assert isinstance(verdict, Refused)
    assert (verdict.code, verdict.expected_size, verdict.is_kept) == ("hole", 0, False)
    longer = build_tree(DOCS, METER, RESULTS, slots_per_batch=2)
    book = Book()
    book.offer_all(longer[:2])
    assert book.offer(longer[3]) == Refused(
        "hole",
        f"{origin(SITE, METER, 1)} is held up to leaf {longer[1].size}; "
        f"the batch starts at {longer[3].first_seq}",
        origin(SITE, METER, 1),
        longer[1].size,
    )


def test_a_batch_that_is_held_is_absorbed_with_the_note_it_had():
    book = Book()
    book.offer_all(TREE)
    name = origin(SITE, METER, 1)
    assert book.offer(FIRST) == Absorbed(name, book.notes[name, FIRST.size])
    assert book.offer(SECOND) == Absorbed(name, book.notes[name, SECOND.size])


def test_the_same_place_with_other_bytes_is_a_fork():
    other = meter_readings(DOCS, [999] * 7)
    cloned = build_tree(DOCS, METER, other, slots_per_batch=4)
    book = Book()
    book.offer_all(TREE)
    assert code_of(book.offer(cloned[0])) == "fork"
    assert code_of(book.offer(cloned[1])) == "fork"


def test_a_clone_that_cuts_its_batches_elsewhere_is_a_fork_all_the_same():
    longer = build_tree(DOCS, METER, RESULTS, slots_per_batch=6)[0]
    assert code_of(judged_second(longer)) == "fork"


def test_the_same_size_with_another_root_is_a_fork():
    head = Checkpoint(origin(SITE, METER, 1), FIRST.size, b"\x07" * 32)
    batch = dataclasses.replace(FIRST, checkpoint=sign_checkpoint(KEYS.agent, head))
    assert code_of(judged_second(batch)) == "fork"


def test_an_envelope_that_names_another_head_of_the_same_size_is_a_fork():
    other = build_tree(DOCS, METER, meter_readings(DOCS, [999] * 7), slots_per_batch=4)
    assert code_of(judged_second(other[1])) == "fork"


def test_held_leaves_in_a_batch_of_another_cut_are_refused():
    short = resigned(FIRST, FIRST.leaves[:3], Edge())
    assert code_of(judged_second(dataclasses.replace(short, documents={}))) == "bad_envelope"
    both = resigned(FIRST, [*FIRST.leaves, *SECOND.leaves], Edge())
    assert code_of(judged_second(dataclasses.replace(both, documents={}))) == "bad_envelope"


def system_tree(first_slot_us, sealed_us, n=6):
    """Readings a second apart, two a batch, sealed every two seconds, of a real clock."""
    site = documents(clock="system", first_slot_us=None, period_s=1)
    results = meter_readings(site, [5] * (n - 1), first_slot_us=first_slot_us, sync="ntp")
    groups = leaf_groups(site, METER, results, KEYS, slots_per_batch=2)
    return seal(site, METER, groups, KEYS, sealed_us=sealed_us)


def test_a_batch_that_arrives_as_it_is_read_has_no_flag():
    book = Book()
    for i, batch in enumerate(system_tree(SEALED_US, SEALED_US)):
        assert flags_of(book.offer(batch, now_us=SEALED_US + 2_000_000 * i)) == ()


def test_late_batches_are_spooled_as_far_as_the_last_fresh_arrival_explains_them():
    first, *late = system_tree(SEALED_US, SEALED_US)
    book = Book()
    book.offer(first)
    later_us = SEALED_US + 7 * 86_400_000_000
    assert [flags_of(book.offer(batch, now_us=later_us)) for batch in late] == [("spooled",)] * 2


def test_times_before_the_last_fresh_arrival_are_back_dated():
    first, second, _ = system_tree(SEALED_US, SEALED_US)
    book = Book()
    book.offer(first, now_us=SEALED_US)
    back_us = EPSILON_US + 3_000_000
    book.heads = {
        name: dataclasses.replace(head, live_us=SEALED_US + back_us)
        for name, head in book.heads.items()
    }
    verdict = book.offer(second, now_us=SEALED_US + 2 * back_us)
    assert flags_of(verdict) == ("back_dated",)


def test_an_unmarked_replay_is_back_dated_in_every_batch():
    for sealed_us in (SEALED_US, START_US):
        book = Book()
        flags = [flags_of(book.offer(batch)) for batch in system_tree(START_US, sealed_us)]
        assert flags == [("back_dated",)] * 3


def test_times_after_the_receipt_are_future():
    first = system_tree(SEALED_US, SEALED_US)[0]
    early_us = SEALED_US - EPSILON_US - 2_000_000
    assert "future" in flags_of(Book().offer(first, now_us=early_us))


def test_simulated_slots_are_not_bounded_by_the_receipt_but_the_sealing_is():
    assert flags_of(Book().offer(FIRST)) == ()
    late_us = SEALED_US + EPSILON_US + 2_000_000
    assert flags_of(Book().offer(FIRST, now_us=late_us)) == ("back_dated",)


@pytest.mark.parametrize(
    ("change", "flags"),
    [
        (lambda r: r, ()),
        (lambda r: with_gap(r, 2, 3), ()),
        (lambda r: r[:3] + r[4:], ("slot_missing",)),
        (lambda r: r[1:], ("slot_missing",)),
        (lambda r: [*r[:4], r[3], *r[4:]], ("slot_twice",)),
        (lambda r: [*r[:3], shifted(r[3], 7), *r[4:]], ("slot_unaligned",)),
        (lambda r: [*r[:3], Gap(METER, r[3].slot_us, r[3].slot_us, 2, "x"), *r[4:]],
         ("slot_unaligned",)),
    ],
)  # fmt: skip
def test_slots_that_are_not_accounted_for_are_flagged(change, flags):
    batches = build_tree(DOCS, METER, change(RESULTS))
    assert flags_of(Book().offer(batches[0])) == flags


def shifted(reading, by_us):
    return dataclasses.replace(reading, slot_us=reading.slot_us + by_us)


def test_slots_are_followed_from_batch_to_batch():
    results = [r for r in RESULTS if r.slot_us != RESULTS[4].slot_us]
    first, second = build_tree(DOCS, METER, results, slots_per_batch=4)
    book = Book()
    assert flags_of(book.offer(first)) == ()
    assert flags_of(book.offer(second)) == ("slot_missing",)
    assert book.heads[origin(SITE, METER, 1)].next_slot_us == RESULTS[-1].slot_us + PERIOD_US


WIRE, COLUMNS = batch_bytes(SECOND), columns_bytes(SECOND)
PLAIN = canonical_bytes(
    {
        "checkpoint": SECOND.checkpoint,
        "documents": {},
        "first_seq": str(SECOND.first_seq),
        "leaves": [leaf.decode() for leaf in SECOND.leaves],
        "v": 1,
    }
)


def flipped(data, bit):
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@given(bit=st.integers(0, 8 * len(WIRE) - 1), held=st.booleans())
def test_no_flipped_bit_of_the_wire_is_accepted(bit, held):
    check_not_accepted(flipped(WIRE, bit), held)


@given(bit=st.integers(0, 8 * sum(map(len, opened(COLUMNS))) - 1))
def test_no_flipped_bit_inside_of_columns_is_accepted(bit):
    """Some bits of a frame mean nothing where they stand; what is accepted is the same batch."""
    parts = opened(COLUMNS)
    changed = flipped(b"".join(parts), bit)
    cut = [sum(map(len, parts[:at])) for at in range(len(parts) + 1)]
    wire = framed(*(changed[a:b] for a, b in pairwise(cut)))
    try:
        is_same = parse_batch(wire) == SECOND
    except EvidenceError:
        return
    if not is_same:
        check_not_accepted(wire, held=False)


@given(bit=st.integers(0, 8 * len(PLAIN) - 1), held=st.booleans())
def test_no_flipped_bit_under_the_compression_is_accepted(bit, held):
    check_not_accepted(zlib.compress(flipped(PLAIN, bit)), held)


def check_not_accepted(wire, held):
    book = Book()
    book.offer_all(TREE if held else [FIRST])
    roots = book.roots
    try:
        batch = parse_batch(wire)
        verdict = book.offer(batch)
    except EvidenceError:
        return
    assert not isinstance(verdict, Accepted)
    assert book.roots == roots
    if isinstance(verdict, Absorbed):
        assert batch == SECOND


def test_flips_are_found_by_a_check_that_can_fail():
    """The control: judged without signature, decode and root, a flipped bit gets in."""
    record = leaves_of(SECOND)[1]
    bit = 8 * PLAIN.index(record["t_mono_ns"].encode())
    batch = parse_batch(zlib.compress(flipped(PLAIN, bit)))
    assert batch != SECOND
    assert len(naive([batch], [])) == 1


def naive(batches, held):
    """A collector that takes what parses and is new: no head, no order, no roots."""
    for batch in batches:
        if batch.leaves not in held:
            held.append(batch.leaves)
    return held


DEVICES = [f"meter-{i}" for i in range(5)]


def device_tree(device):
    mapping = parse_canonical(DOCS.profiles[METER])
    site = documents(profiles=dict.fromkeys(DEVICES, mapping))
    counts = [100 + len(device) + i for i in range(5)]
    results = [
        dataclasses.replace(r, device=device)
        for r in meter_readings(site, counts)
        if isinstance(r, Reading)
    ]
    return [uncosigned(b) for b in build_tree(site, device, results, slots_per_batch=2)]


TREES = {device: device_tree(device) for device in DEVICES}
ALL = [batch for batches in TREES.values() for batch in batches]


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_replayed_shuffled_and_interleaved_batches_end_in_the_same_roots(data):
    times = data.draw(st.lists(st.integers(1, 10), min_size=len(ALL), max_size=len(ALL)))
    sent = [batch for batch, n in zip(ALL, times, strict=True) for _ in range(n)]
    order = data.draw(st.permutations(range(len(sent))))
    book, straight = Book(registry(devices=DEVICES)), Book(registry(devices=DEVICES))
    straight.offer_all(ALL)
    for index in order:
        verdict = book.offer(sent[index])
        assert not isinstance(verdict, Refused) or verdict.code == "hole"
    for _ in range(len(TREES[DEVICES[0]])):  # the agent sends again from the hole
        for batch in ALL:
            book.offer(batch)
    assert book.roots == straight.roots


def test_shuffling_changes_the_end_of_a_collector_without_the_checks():
    straight = naive(ALL, [])
    shuffled = naive(ALL[::-1], [])
    assert b"".join(map(b"".join, straight)) != b"".join(map(b"".join, shuffled))


def test_now_is_the_time_of_the_receipt():
    book = Book()
    book.offer(FIRST)
    assert book.heads[origin(SITE, METER, 1)].live_us == NOW_US


def test_the_production_counter_is_judged_alike():
    book = Book()
    book.offer_all(build_tree(DOCS, COUNTER, counter_readings(DOCS, [1000] * 5)))
    assert list(book.heads) == [origin(SITE, COUNTER, 1)]
