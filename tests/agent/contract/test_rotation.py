import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulemark_agent.contract.canonical import canonical_bytes
from joulemark_agent.contract.errors import EvidenceError
from joulemark_agent.contract.revocation import Revoked, limit_of, objection
from joulemark_agent.contract.rotation import (
    Rotation,
    key_at,
    keys_after,
    keys_before,
    keys_of,
    linked_keys,
    parse_rotation,
    rotation_fields,
    rotations_in,
)
from joulemark_agent.contract.signature import encode64, public_key, sign
from support.evidence import COUNTER, METER, SITE
from support.rotations import NEW, OLD, THIRD, rotation_leaf

SEQ = 7
LEAF = {"v": 1, "dev": METER, "epoch": 1, "seq": str(SEQ), **rotation_leaf(METER, SEQ)}


def refused(call, *args):
    with pytest.raises(EvidenceError) as caught:
        call(*args)
    assert caught.value.code == "bad_rotation"
    return caught.value.what


def test_a_change_of_key_that_both_keys_signed_is_read():
    assert parse_rotation(LEAF, SITE) == Rotation(SEQ, public_key(OLD), public_key(NEW))


@pytest.mark.parametrize(
    "change",
    [
        {"dev": COUNTER},
        {"epoch": 2},
        {"seq": "8"},
        {"new_key": encode64(public_key(THIRD))},
        {"old_key": encode64(public_key(THIRD))},
        {"old_signature": LEAF["new_signature"]},
        {"new_signature": LEAF["old_signature"]},
        {"new_signature": encode64(bytes(64))},
        {"new_signature": ""},
        {"new_signature": 7},
        {"old_key": "!"},
    ],
)
def test_it_fits_its_keys_and_its_place_only(change):
    assert refused(parse_rotation, {**LEAF, **change}, SITE)


def test_it_is_of_one_site():
    assert "neither key" in refused(parse_rotation, LEAF, "elsewhere")


@pytest.mark.parametrize("missing", ["old_key", "new_key", "old_signature", "new_signature", "seq"])
def test_no_part_of_it_may_be_missing(missing):
    assert refused(parse_rotation, {k: v for k, v in LEAF.items() if k != missing}, SITE)


def test_one_signature_is_not_enough_and_the_missing_one_is_named():
    fields = rotation_fields(THIRD, NEW, site=SITE, device=METER, epoch=1, seq=SEQ)
    stolen = {**LEAF, **fields, "old_key": LEAF["old_key"]}
    assert "neither" in refused(parse_rotation, stolen, SITE)
    message = canonical_bytes(
        {**{k: LEAF[k] for k in ("dev", "epoch", "new_key", "old_key", "seq", "type", "v")},
         "site": SITE}
    )  # fmt: skip
    alone = {**LEAF, "old_signature": encode64(sign(THIRD, message))}
    assert "not the old key" in refused(parse_rotation, alone, SITE)


def test_a_change_that_changes_nothing_is_none():
    leaf = {**LEAF, **rotation_leaf(METER, SEQ, OLD, OLD)}
    assert "changes nothing" in refused(parse_rotation, leaf, SITE)


def test_changes_are_found_among_leaves_and_only_at_their_own_place():
    data = canonical_bytes(LEAF)
    other = canonical_bytes({"v": 1, "note": [{"type": "key_rotation"}]})
    found = rotations_in(enumerate([other, data, other], SEQ - 1), SITE)
    assert found == [parse_rotation(LEAF, SITE)]
    assert rotations_in([(0, other)], SITE) == []
    assert "another leaf" in refused(rotations_in, [(SEQ + 1, data)], SITE)


keys = st.sampled_from([bytes([n]) * 32 for n in range(6)])
chains = st.lists(keys, min_size=1, max_size=6, unique=True)


def row(chain):
    return [Rotation(10 * i, *pair) for i, pair in enumerate(itertools.pairwise(chain))]


@given(chain=chains)
def test_a_row_of_changes_leads_from_the_first_key_to_the_last(chain):
    rotations = row(chain)
    assert keys_of(chain[0], rotations) == chain
    assert keys_after(chain[0], rotations) == set(chain) == keys_before(chain[-1], rotations)
    for i, key in enumerate(chain):
        assert key_at(chain[0], rotations, 10 * i) == key, (
            "a head covers the leaves before its size"
        )
        assert keys_after(key, rotations) == set(chain[i:])
        assert linked_keys(key, rotations) == set(chain)


@given(chain=chains.filter(lambda chain: len(chain) > 1), data=st.data())
def test_a_row_with_a_hole_or_a_way_back_is_none(chain, data):
    rotations = row(chain)
    back = Rotation(99, chain[-1], data.draw(st.sampled_from(chain[:-1])))
    assert "goes back" in refused(keys_of, chain[0], [*rotations, back])
    if len(chain) > 2:
        assert "another key" in refused(keys_of, chain[0], rotations[1:])


# ------------------------------------------------------------------ revocation

A, B = b"a" * 32, b"b" * 32
TREE, OTHER = f"joulemark/{SITE}/{METER}/1", f"joulemark/{SITE}/{METER}/2"


def test_a_revoked_key_signs_up_to_the_size_that_is_named_and_no_other_tree():
    revoked = [Revoked(A, TREE, 10), Revoked(A, TREE, 12)]
    assert limit_of(revoked, A, TREE) == 10, "of two words the stricter counts"
    assert limit_of(revoked, A, OTHER) == 0
    assert limit_of(revoked, B, TREE) is None
    assert objection(revoked, A, TREE, 10) is None
    assert "above 10 leaves" in str(objection(revoked, A, TREE, 11))
    assert objection(revoked, A, OTHER, 1) is not None
    assert objection(revoked, B, OTHER, 10**9) is None
