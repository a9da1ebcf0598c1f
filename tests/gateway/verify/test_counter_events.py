"""What a counter did besides counting stands in the report, and a verifier comes to the same."""

from dataclasses import replace
from decimal import Decimal

from joulemark_agent.contract.canonical import canonical_bytes
from joulemark_agent.contract.reading import Reading
from joulemark_agent.kernels.decode import decode_responses
from joulemark_gateway.evidence import bundle as bundles
from joulemark_gateway.verify.verdict import verify
from support.bundles import Recipe, policy
from support.evidence import KEYS, METER, leaf_groups, respond
from support.plant import small

AT = 41


def with_a_zero():
    """The small plant's meter, which once answers with a count of 0."""
    site, results = small().site, list(small().results[METER])
    profile, wrong = site.profile(METER), results[AT]
    assert isinstance(wrong, Reading)
    values = {
        name: Decimal(text) for name, text in decode_responses(profile, wrong.responses)[0].items()
    }
    responses = respond(profile, {**values, "energy_wh": 0})
    results[AT] = replace(wrong, responses=responses)
    return Recipe(groups={METER: leaf_groups(site, METER, results, KEYS)})


def test_a_false_zero_stands_in_the_report_and_is_verified_again():
    recipe = with_a_zero()
    issued = recipe.report()
    [event] = issued.report["counter_events"]
    assert (event["code"], event["after"], event["booked"]) == ("false_zero", "0", "0")
    assert issued.report["coverage"][0]["false_zeros"] == "1"
    assert "What the counters did besides counting" in issued.report_html.decode()
    sums = [report["periods"]["baseline"] for report in (issued.report, Recipe().report().report)]
    assert sums[0]["energy_kwh"] == sums[1]["energy_kwh"]
    assert not [f for f in verify(recipe.make(), policy()).findings if f.layer == "recompute"]


def test_a_log_that_leaves_an_event_out_is_found():
    def without(members):
        issued = with_a_zero().report()
        return {**members, bundles.REPORT: canonical_bytes({**issued.report, "counter_events": []})}

    found = verify(replace(with_a_zero(), members=without).make(), policy()).findings
    assert "report_differs" in {finding.code for finding in found}
