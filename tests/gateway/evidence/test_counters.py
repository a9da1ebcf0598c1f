"""A counter from register words to energy and to its log, by the path a verifier repeats."""

import csv
import gzip
from decimal import Decimal
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from joulemark_agent.contract.canonical import parse_canonical
from joulemark_agent.contract.factor import FactorSet
from joulemark_agent.envelope import Carbon, energy_sums, row_of
from joulemark_gateway.evidence import history
from joulemark_gateway.measure.intervals import counted
from joulemark_gateway.series.base import Carry
from joulemark_gateway.series.project import part_of
from support.counters import profile_of
from support.evidence import (
    METER,
    START_US,
    build_tree,
    documents,
    leaves_of,
    profile_mapping,
    reading,
)
from support.present import present

SEOUL = ZoneInfo("Asia/Seoul")


def mapping_of(**keys):
    return profile_of(**keys).model_dump(mode="json", exclude_unset=True)


class Path:
    """Readings of one meter, taken through records, history, series and envelope."""

    def __init__(self, counts, *, period_s, **keys):
        self.site = documents(period_s=period_s, profiles={METER: mapping_of(**keys)})
        self.profile = self.site.profile(METER)
        period_us = period_s * 1_000_000
        first_us = -(-START_US // period_us) * period_us
        readings = [
            reading(self.profile, METER, first_us + k * period_us, {"energy_wh": count})
            for k, count in enumerate(counts)
            if count is not None
        ]
        self.leaves = leaves_of(build_tree(self.site, METER, readings))
        self.tree = history.parse_tree(self.leaves)
        self.period_us = period_us

    def measured(self):
        found = history.history_of(self.tree, self.site.by_digest(METER))
        return counted(found, found.profile.points[0])

    def in_series(self, cuts=()):
        carry, rows = Carry(), 0
        grant, signature = history.grant_of(self.leaves[0])
        for start, end in zip([0, *cuts], [*cuts, len(self.leaves)], strict=True):
            part = history.parse_part(self.leaves[start:end], start, grant, signature)
            made = part_of(part, end, self.profile, self.period_us, SEOUL, carry)
            carry, rows = Carry.from_text(made.carry.to_text()), rows + made.intervals.amount.sum()
        return int(rows)

    def in_envelope(self):
        factors = FactorSet.model_validate(parse_canonical(self.site.factors))
        rows = [row_of(parse_canonical(leaf)) for leaf in self.leaves if b'"type"' not in leaf]
        carbon = Carbon(factors, "ESG", "KR", SEOUL)
        found, _ = energy_sums(self.profile, None, rows, period_us=self.period_us, carbon=carbon)
        return int(present(found["energy_wh"]))


def total(found):
    return int(found.totals(np.array([0, 2**60])).total.sum())


def test_the_recorded_counter_with_two_false_zeros_keeps_its_true_total(plant_data):
    """Recorded PV counter R23: 222,295.572 kWh; adding every rise gives 332,271.108."""
    path = plant_data / "pv_cumulative_counter/cumE2_R23.csv.gz"
    with gzip.open(path, "rt", newline="") as file:
        counts = [round(float(row["Energy"]) * 1000) for row in csv.DictReader(file)]
    rises = np.diff(counts)
    assert rises[rises > 0].sum() == 332_271_108
    recorded = Path(counts, period_s=3600, type="uint64")
    found = recorded.measured()
    assert total(found) == recorded.in_series([100, 101, 250]) == recorded.in_envelope()
    assert total(found) == 222_295_572
    assert [event.code for event in found.events] == ["false_zero", "false_zero"]


def test_an_outage_that_is_caught_up_in_one_hour_is_kept_and_never_measured(plant_data):
    """A plant's counter stood still for 116 hours, then rose by 46,210.586 kWh in one."""
    path = plant_data / "carplant_compressed_air_2018/carplant_air_energy_2018_hourly.csv.gz"
    with gzip.open(path, "rt", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["hour_ending"][:10] in OUTAGE]
    steps = [round(float(row["energy_kwh"] or 0) * 1000) for row in rows]
    assert max(steps) == 46_210_586
    says = {"maximum_rate": "388.9", "stuck_s": 10_800}  # 1,400 kWh in an hour
    plant = Path(np.cumsum([10**9, *steps]).tolist(), period_s=3600, type="uint64", **says)
    found = plant.measured()
    hours = found.totals(np.append(found.history.slot_us, found.history.slot_us[-1] + 1))
    assert hours.total.sum() == sum(steps)
    assert hours.total[hours.covered_us > 0].max() < 1_400_000
    assert hours.estimated_us.sum() == (116 + 1 - 3) * 3_600_000_000
    assert [event.code for event in found.events] == ["stuck", "catch_up"]


OUTAGE = [f"2018-12-{day:02}" for day in range(5, 15)]


def test_a_float_meter_books_the_energy_between_its_readings():
    counts = [Decimal("131072.0") + Decimal("0.015625") * k for k in range(200)]
    meter = Path([c * 1000 for c in counts], period_s=900, type="float32", scale=1000, minimum=0)
    assert meter.tree.records[1].values["energy_wh"] == "131072020"  # shortest text of the word
    found = meter.measured()
    assert abs(total(found) - 199 * 15.625) <= found.step
    assert found.step == 16
    assert total(found) == meter.in_series([7]) == meter.in_envelope()


def test_a_long_silence_is_booked_to_the_days_it_lies_in():
    counts = [0, *[None] * 2000, 200_100]
    meter = Path(counts, period_s=900)
    rows = part_of(meter.tree, 0, meter.profile, meter.period_us, SEOUL, Carry()).intervals
    assert rows.amount.sum() == 200_100
    midnights_us = np.arange(21) * 86_400_000_000 + START_US
    first_quarter_us = START_US + 900_000_000  # so long a step has no quarter-hour but its first
    edges_us = np.sort(np.append(midnights_us, first_quarter_us))
    np.testing.assert_array_equal(rows.start_us, edges_us)
    assert rows.estimated_us.sum() == 2001 * meter.period_us


@pytest.mark.parametrize("name", ["eastron_sdm630", "siemens_pac2200", "janitza_b23"])
def test_the_shipped_meters_with_float_energy_count_it(name):
    mapping = profile_mapping(name)
    counters = [p["name"] for p in mapping["points"] if p.get("counter")]
    assert "energy_wh" in counters
