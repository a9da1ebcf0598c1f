"""A disputed point is good under a site document that accepts it, for whoever decodes."""

import dataclasses

import pytest

from joulemark_agent.contract.canonical import canonical_bytes, parse_canonical
from joulemark_agent.contract.errors import EvidenceError
from joulemark_agent.contract.reading import Reading
from joulemark_gateway.evidence import history
from support.evidence import (
    METER,
    Documents,
    build_tree,
    documents,
    leaves_of,
    meter_readings,
    profile_mapping,
    result_leaf,
)

MAPPING = profile_mapping("virtual_main_meter")
DISPUTED = {
    **MAPPING,
    "points": [
        {**point, "disputed": "two sources differ"} if point["name"] == "energy_wh" else point
        for point in MAPPING["points"]
    ],
}


def docs(*accepted: str) -> Documents:
    """The documents of a site that accepts these points of its meter."""
    found = documents(profiles={METER: DISPUTED})
    site = parse_canonical(found.site)
    for row in site["devices"]:
        if row["id"] == METER and accepted:
            row["accept_disputed"] = list(accepted)
    return dataclasses.replace(found, site=canonical_bytes(site))


def tree_of(papers: Documents, leaves_as: Documents) -> history.Tree:
    """A tree under the papers, decoded as an agent with the others would have."""
    results = meter_readings(papers, [1000, 1001])
    accepted = history.accepted_points(parse_canonical(leaves_as.site), METER)
    profile = papers.profile(METER).accepting(accepted)
    opening, *batches = build_tree(papers, METER, results)
    assert not batches
    contents = [parse_canonical(leaf) for leaf in leaves_of([opening])]
    for i, content in enumerate(contents):
        if "type" not in content:
            readings = [r for r in results if isinstance(r, Reading)]
            read = next(r for r in readings if str(r.slot_us) == content["slot"])
            decoded = result_leaf(profile, read)
            contents[i] = {**content, "val": decoded["val"], "q": decoded["q"]}
    return history.parse_tree([canonical_bytes(content) for content in contents])


def test_a_disputed_point_is_never_good_until_the_site_accepts_it() -> None:
    without, accepting = docs(), docs("energy_wh")
    before = history.history_of(tree_of(without, without), without.by_digest(METER))
    after = history.history_of(tree_of(accepting, accepting), accepting.by_digest(METER))

    assert not before.good["energy_wh"].any()
    assert before.good["power_w"].all()
    assert after.good["energy_wh"].all()
    assert after.counters["energy_wh"].tolist() == [0, 1000, 2001]


def test_a_record_whose_agent_did_not_ask_the_site_document_is_refused() -> None:
    without, accepting = docs(), docs("energy_wh")
    for papers, other in ((without, accepting), (accepting, without)):
        papers_of = papers.by_digest(METER)
        right = tree_of(papers, papers)
        history.check_decode(right, history.profile_of(right, papers_of))
        wrong = tree_of(papers, other)
        with pytest.raises(EvidenceError) as raised:
            history.check_decode(wrong, history.profile_of(wrong, papers_of))
        assert raised.value.code == "decode_mismatch"


@pytest.mark.parametrize(
    "site",
    [
        {},
        [],
        None,
        {"devices": 1},
        {"devices": [1, {"id": "other", "accept_disputed": ["energy_wh"]}]},
        {"devices": [{"id": METER, "accept_disputed": "energy_wh"}]},
        {"devices": [{"id": METER, "accept_disputed": [["energy_wh"]]}]},
    ],
)
def test_a_site_document_that_says_nothing_of_it_accepts_nothing(site: object) -> None:
    assert history.accepted_points(site, METER) == frozenset()
