"""Step 6: the raw words of every record, decoded with the approved profile, give its values.

And the values give the sums and the figures that the agent itself stated.
"""

from __future__ import annotations

from joulemark_agent.contract.errors import EvidenceError
from joulemark_gateway.evidence.claims import check_energy, check_figures
from joulemark_gateway.evidence.history import check_decode, profile_of
from joulemark_gateway.verify.case import Case, readable
from joulemark_gateway.verify.finding import Finding, found
from joulemark_gateway.verify.policy import Policy

LAYER = "decode"
CODES = ("decode_mismatch", "envelope_energy", "figures_mismatch")


def check(case: Case, _policy: Policy | None) -> list[Finding]:
    """Findings `decode_mismatch`, `envelope_energy` and `figures_mismatch`."""
    findings = []
    for tree in readable(case.trees).values():
        try:
            check_decode(tree, profile_of(tree, case.documents))
            check_energy(tree, case.documents)
            check_figures(tree, case.documents)
        except (EvidenceError, KeyError) as error:
            # What is wrong with a document the layer of documents says.
            if isinstance(error, EvidenceError) and error.code in CODES:
                findings.append(found(error, LAYER))
    return findings
