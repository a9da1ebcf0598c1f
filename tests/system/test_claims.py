"""The sums an agent states in its envelopes are those of its records, kills or no kills."""

from dataclasses import replace

import pytest

from joulemark_agent.contract.errors import EvidenceError
from joulemark_gateway.evidence.claims import check_energy
from joulemark_gateway.evidence.history import parse_tree

pytestmark = [pytest.mark.endurance, pytest.mark.timeout(420)]
METER = "joulemark/gwangyang/main-meter/1"


def with_claim(tree, index, energy):
    """The tree with another statement in one envelope; hashes are not in question here."""
    envelope = tree.envelopes[index]
    other = replace(envelope, fields={**envelope.fields, "energy": energy})
    return replace(tree, envelopes=(*tree.envelopes[:index], other, *tree.envelopes[index + 1 :]))


@pytest.mark.nightly
def test_every_statement_of_a_killed_agent_is_repeated_to_the_last_digit(killed_year):
    """Every start goes on from the last record before it, so no step is lost or counted twice."""
    tree = parse_tree(killed_year.leaves[METER])
    check_energy(tree, killed_year.documents)
    stated = [e.fields["energy"] for e in tree.envelopes if e.fields["energy"]]

    assert len(stated) > 360
    assert sum(int(claim["energy_wh"]) for claim in stated) == 959_636_710
    assert sum(int(claim["missing_us"]) for claim in stated) == 900_000_000


@pytest.mark.parametrize(
    "change",
    [
        {"energy_wh": "1"},
        {"co2e_kg": "0"},
        {"co2e_kg": None},
        {"covered_us": "0"},
        {"missing_us": "900000000"},
        {"point": "power_w"},
        {"more": "x"},
    ],
)
def test_a_statement_that_the_records_do_not_give_is_refused(demo, change):
    tree = parse_tree(demo.leaves[METER])
    claim = {**tree.envelopes[100].fields["energy"], **change}
    with pytest.raises(EvidenceError) as refused:
        check_energy(with_claim(tree, 100, claim), demo.documents)

    assert refused.value.code == "envelope_energy"


def test_an_envelope_may_state_nothing(demo):
    tree = parse_tree(demo.leaves[METER])

    check_energy(with_claim(tree, 100, {}), demo.documents)
