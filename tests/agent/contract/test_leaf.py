"""Versions of leaves: what a reader of today makes of what a later version writes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulemark_agent.contract.canonical import canonical_bytes, parse_canonical
from joulemark_agent.contract.errors import EvidenceError
from joulemark_agent.contract.leaf import COMMON_FIELDS, EVENT_FIELDS, RECORD_FIELDS, parse_leaf
from support.evidence import COUNTER, METER, build_tree, documents, leaves_of, meter_readings

DOCS = documents()
LEAVES = leaves_of(build_tree(DOCS, METER, meter_readings(DOCS, [1000] * 3)))
CONTENTS = [parse_canonical(leaf) for leaf in LEAVES]
RECORD = next(content for content in CONTENTS if "type" not in content)

names = st.text(st.characters(codec="ascii", categories=["Ll"]), min_size=1, max_size=12)
scalars = st.one_of(st.text(max_size=8), st.booleans(), st.none(), st.integers(-9, 9))
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)
KNOWN = {*RECORD_FIELDS, *COMMON_FIELDS, *set().union(*EVENT_FIELDS.values()), "minor"}
unknown = st.dictionaries(names.filter(lambda name: name not in KNOWN), values, min_size=1)
minors = st.integers(1, 2**53 - 1)


def refusal(content):
    with pytest.raises(EvidenceError) as caught:
        parse_leaf(canonical_bytes(content))
    return caught.value.code


@given(content=st.sampled_from(CONTENTS), more=unknown, minor=minors)
def test_what_a_later_minor_version_adds_is_kept_and_what_is_known_reads_as_before(
    content, more, minor
):
    later = {**content, **more, "minor": minor}
    assert parse_leaf(canonical_bytes(later)) == later
    assert refusal({**content, **more}) == "bad_leaf", "without the mark nothing unread hides"


@given(kind=names.filter(lambda name: name not in EVENT_FIELDS), more=unknown, minor=minors)
def test_an_event_of_a_later_minor_version_is_kept_and_none_of_an_unknown_type_without(
    kind, more, minor
):
    event = {"v": 1, "dev": METER, "epoch": 1, "seq": "3", "type": kind, **more}
    assert parse_leaf(canonical_bytes({**event, "minor": minor}))["type"] == kind
    assert refusal(event) == "bad_leaf"


@given(content=st.sampled_from(CONTENTS), major=st.integers().filter(lambda v: v != 1))
def test_another_major_version_is_never_read_whatever_its_minor(content, major):
    if abs(major) < 2**53:
        assert refusal({**content, "v": major}) == "unknown_version"
        assert refusal({**content, "v": major, "minor": 1}) == "unknown_version"


@given(name=st.sampled_from(sorted(RECORD_FIELDS - {"v"})), minor=minors)
def test_a_later_minor_version_leaves_out_nothing_of_a_record(name, minor):
    content = {key: value for key, value in RECORD.items() if key != name}
    assert refusal({**content, "minor": minor}) == "bad_leaf"


@pytest.mark.parametrize("minor", [0, -1, True, "1", None, [1]])
def test_a_mark_that_is_no_minor_version_is_refused(minor):
    assert refusal({**RECORD, "minor": minor}) == "bad_leaf"


@pytest.mark.parametrize(
    "change",
    [{"v": True}, {"v": "1"}, {"v": None}, {"type": None}, {"type": 7}, {"epoch": "1"}],
)
def test_a_leaf_of_no_version_or_kind_is_refused_also_with_the_mark(change):
    assert refusal({**RECORD, **change}) == "bad_leaf"
    assert refusal({**RECORD, **change, "minor": 1}) == "bad_leaf"


@pytest.mark.parametrize("kind", [name for name in EVENT_FIELDS if name != "figures"])
def test_a_known_event_has_the_fields_of_its_own_and_no_others(kind):
    """Else an event of today could carry what nobody reads."""
    event = {"v": 1, "dev": COUNTER, "epoch": 1, "seq": "3", "type": kind}
    assert parse_leaf(canonical_bytes(event | dict.fromkeys(EVENT_FIELDS[kind], "")))
    assert refusal({**event, "note": "x"}) == "bad_leaf"
    assert parse_leaf(canonical_bytes({**event, "note": "x", "minor": 2}))["note"] == "x"
