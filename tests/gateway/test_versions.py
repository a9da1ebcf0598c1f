"""What a later minor version writes goes through the whole chain; another major one nowhere."""

import json
import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from joulemark_agent.contract.batch import batch_bytes
from joulemark_agent.contract.errors import EvidenceError
from joulemark_agent.contract.topics import batch_topic, origin
from joulemark_gateway.evidence import history
from joulemark_gateway.evidence.store import FILE, SqliteStore
from joulemark_gateway.ingest.verify import Refused
from joulemark_gateway.verify.verdict import verify
from support.book import Book
from support.bundles import Recipe, groups_of, policy, true_report
from support.evidence import (
    AGENT,
    KEYS,
    METER,
    SITE,
    documents,
    leaf_groups,
    leaves_of,
    meter_readings,
    seal,
    uncosigned,
)
from support.intakes import new_intake
from support.present import present

DOCS = documents()
RESULTS = meter_readings(DOCS, [1000 + i for i in range(23)])
NAME = origin(SITE, METER, 1)


def plain_groups():
    return leaf_groups(DOCS, METER, RESULTS, KEYS, slots_per_batch=4)


def later(groups, draw):
    """What a later minor version might write: more fields, and events nobody here knows."""
    made = []
    for group in groups:
        new = []
        for leaf in group:
            if draw.random() < 0.5:
                new.append({**leaf, "minor": draw.randrange(1, 9), "zeta": ["unread"]})
            else:
                new.append(leaf)
            if draw.random() < 0.3 and leaf.get("type") != "epoch_start":
                told = {"calibrated": {"by": "somebody", "offset": "0.5"}}
                new.append({"type": "calibration", "minor": 1, **told})
        made.append(new)
    return made


def record_of(tree):
    """All that readings are, without the numbers of their leaves."""
    return [(r.slot_us, r.t_utc_us, r.sync, r.responses, r.values, r.quality) for r in tree.records]


@settings(max_examples=20)
@given(seed=st.integers(0, 10**6))
def test_the_collector_takes_what_a_later_minor_version_wrote_and_reads_the_same(seed):
    plain, book, other = seal(DOCS, METER, plain_groups(), KEYS), Book(), Book()
    batches = seal(DOCS, METER, later(plain_groups(), random.Random(seed)), KEYS)
    verdicts = [book.accepted(batch)[0] for batch in batches]
    assert [v.flags for v in verdicts] == [other.accepted(batch)[0].flags for batch in plain]
    assert leaves_of(batches) == [leaf for verdict in verdicts for leaf in verdict.leaves]
    mine, theirs = (history.parse_tree(leaves_of(made)) for made in (batches, plain))
    assert record_of(mine) == record_of(theirs)
    arrays = [history.history_of(tree, DOCS.by_digest(METER)) for tree in (mine, theirs)]
    for name, counts in arrays[0].counters.items():
        assert np.array_equal(counts, arrays[1].counters[name])


def test_a_bundle_with_leaves_of_a_later_minor_version_is_verified_with_the_same_figures():
    draw = random.Random(6)
    groups = {METER: later(groups_of(METER), draw)}
    recipe = Recipe(groups=groups)
    leaves = leaves_of(recipe.made_batches()[METER])
    assert sum(b'"calibration"' in leaf for leaf in leaves) > 100
    assert sum(b'"minor"' in leaf for leaf in leaves) > 400
    verdict = verify(recipe.make(), policy())
    assert (verdict.status, verdict.findings) == ("verified", ())
    mine, theirs = recipe.report().report, true_report().report
    for part in ("headline", "saving", "carbon", "coverage"):
        assert mine[part] == theirs[part]


def test_a_field_that_nobody_reads_is_signed_all_the_same():
    batches = seal(DOCS, METER, later(plain_groups(), random.Random(6)), KEYS)
    leaves = list(batches[1].leaves)
    at = next(i for i, leaf in enumerate(leaves) if b'"unread"' in leaf)
    leaves[at] = leaves[at].replace(b'"unread"', b'"unheard"')
    book = Book()
    book.accepted(batches[0])
    refused = book.offer(replace(batches[1], leaves=tuple(leaves)))
    assert isinstance(refused, Refused)
    assert refused.code == "bad_root"


@pytest.mark.parametrize("kind", ["record", "event"])
@pytest.mark.parametrize("major", [0, 2, 10**9])
def test_a_leaf_of_another_major_version_goes_to_quarantine_with_its_reason(tmp_path, kind, major):
    groups = plain_groups()
    at = 1 if kind == "event" else 2
    groups[0][at] = {**groups[0][at], "v": major}
    batches = seal(DOCS, METER, groups, KEYS)
    intake = new_intake(tmp_path / FILE)
    answer = present(intake.take(batch_topic(AGENT, METER), batch_bytes(uncosigned(batches[0]))))
    assert json.loads(answer.payload)["code"] == "unknown_version"
    intake.close()
    with SqliteStore(tmp_path / FILE, create=False) as store:
        assert store.heads() == []
        assert [(row.code, row.kept) for row in store.quarantined()] == [("unknown_version", 1)]
    with pytest.raises(EvidenceError) as caught:
        history.parse_tree(leaves_of(batches))
    assert caught.value.code == "unknown_version"
