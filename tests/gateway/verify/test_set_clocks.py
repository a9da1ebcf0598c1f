"""A clock that was set back stands in the report, and every verifier comes to the same figures."""

from dataclasses import replace

import pytest

from joulemark_agent.contract.reading import Gap, Reading, TimeQuality
from joulemark_gateway.verify.verdict import verify
from support.bundles import Recipe, policy, policy_mapping
from support.evidence import KEYS, METER, START_US, leaf_groups
from support.plant import small
from support.second_verifier import Asked, judged

AT, BACK_US = 41, 6 * 3_600_000_000


def set_back(at=AT):
    """The small plant; before one reading of its meter the clock was set back by six hours."""
    site, results = small().site, list[Reading | Gap]()
    for i, one in enumerate(small().results[METER]):
        if isinstance(one, Gap):
            results.append(one)
            continue
        mono_us = one.t_utc_us - START_US + (BACK_US if i >= at else 0)
        quality = TimeQuality("unsynchronised" if i == at else "ntp", 1500)
        results.append(replace(one, t_mono_ns=mono_us * 1000, time_quality=quality))
    return Recipe(groups={METER: leaf_groups(site, METER, results, KEYS)})


def test_what_was_counted_meanwhile_is_estimated_and_its_share_is_stated():
    report, plain = set_back().report().report, Recipe().report().report
    periods = [one["periods"]["baseline"]["energy_kwh"] for one in (report, plain)]
    assert periods[0] == periods[1], "the total has no error"
    times = report["time_quality"]
    assert times["unsynchronised"] == "1"
    assert float(times["unsynchronised_energy_percent"]) > 0
    assert float(plain["time_quality"]["unsynchronised_energy_percent"]) == 0
    reasons = {reason for span in report["missing"] for reason in span["reasons"]}
    assert "clock_set_back" in reasons
    page = set_back().report().report_html.decode()
    assert "clock_set_back" in page
    assert "energy while a clock was not set" in page


@pytest.mark.endurance
def test_both_verifiers_come_to_its_figures(node, tmp_path):
    """The plant is a replay, so its clocks cannot be set: that, and nothing else, is refuted."""
    data = set_back().make()
    found = {(one.layer, one.code) for one in verify(data, policy()).findings}
    assert found == {("times", "clock_mismatch")}
    [second] = judged(node, [Asked("set back", data, policy_mapping())], tmp_path)
    assert {tuple(one) for one in second["findings"]} == found
