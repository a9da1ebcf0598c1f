"""What a disk lost is said, and does not speak against what came after it."""

from joulemark_gateway.verify import recompute
from joulemark_gateway.verify.verdict import STEPS, verify
from support.bundles import policy
from support.lost_bundles import bundle


def test_a_lost_batch_shifts_no_other_in_time_and_counts_once():
    """Its head is here and its envelope is not: later envelopes are of later heads all the same."""
    steps = tuple(step for step in STEPS if step is not recompute.check)  # computed just now
    verdict = verify(bundle(), policy(), steps)
    assert verdict.findings == ()
    assert verdict.counts["lost"] == 97
    lost = {row["device"]: row["lost"] for row in verdict.report["coverage"]}
    assert lost == {"main-meter": "96", "production-counter": "0"}
