from dataclasses import replace
from datetime import date
from decimal import Decimal
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from joulemark_agent.contract.canonical import parse_canonical
from joulemark_agent.contract.factor import FactorSet
from joulemark_agent.contract.reading import Gap, record_leaf
from joulemark_agent.envelope import Carbon, Row, Tally, energy_sums, row_of, warm
from joulemark_agent.kernels.decode import decode_responses
from support import evidence
from support.evidence import COUNTER, METER, PERIOD_US, START_US

SITE = evidence.documents()
PROFILE = SITE.profile(METER)
FACTORS = FactorSet.model_validate(parse_canonical(SITE.factors))
CARBON = Carbon(FACTORS, "ESG", "KR", ZoneInfo("Asia/Seoul"))
DAY = 96


def leaves(readings) -> list[bytes]:
    found = []
    for seq, reading in enumerate(readings):
        values, quality = decode_responses(PROFILE, reading.responses)
        found.append(record_leaf(reading, epoch=1, seq=seq, boot=1, values=values, quality=quality))
    return found


def rows(readings) -> list[Row]:
    return [row_of(parse_canonical(leaf)) for leaf in leaves(readings)]


def energy(found, anchor=None, carbon=CARBON, profile=PROFILE):
    return sums(found, anchor, carbon, profile).fields


def sums(found, anchor=None, carbon=CARBON, profile=PROFILE):
    return energy_sums(profile, anchor, found, period_us=PERIOD_US, carbon=carbon)


def meter(*energy_wh: int, **options):
    return evidence.meter_readings(SITE, energy_wh, **options)


# ---------------------------------------------------------------------- energy


@settings(deadline=None, max_examples=80)
@given(
    wh=st.lists(st.integers(0, 10**6), min_size=2, max_size=40),
    cuts=st.lists(st.integers(1, 40), max_size=5),
)
def test_the_energy_of_batches_adds_up_however_they_are_cut(wh, cuts):
    """Law: with the last reading before each batch as its anchor, no interval is lost or twice."""
    readings = meter(*wh)
    all_rows = rows(readings)
    edges = sorted({0, len(readings), *(c for c in cuts if c < len(readings))})
    total_wh = covered_us = 0
    for start, end in pairwise(edges):
        anchor = all_rows[start - 1] if start else None
        part = energy(all_rows[start:end], anchor)
        if part:
            total_wh += int(part["energy_wh"])
            covered_us += int(part["covered_us"])
    assert total_wh == sum(wh)
    assert covered_us == len(wh) * PERIOD_US


def counts_of(*counts):
    found = rows(meter(*[100] * (len(counts) - 1)))
    return [
        row._replace(values={**row.values, "energy_wh": str(count)})
        for row, count in zip(found, counts, strict=True)
    ]


def in_batches(found, edges, *, naive=False):
    """What the envelopes of the batches state together."""
    total_wh, spans_us, anchor = 0, 0, None
    for start, end in pairwise(edges):
        inside = found[start:end]
        part, last = sums(inside, anchor)
        anchor = inside[-1 if naive else last] if naive or last >= 0 else anchor
        if part:
            total_wh += int(part["energy_wh"])
            spans_us += sum(
                int(part[name]) for name in ("covered_us", "estimated_us", "missing_us")
            )
    return total_wh, spans_us


@pytest.mark.parametrize("wrong", [(0,), (0, 0, 0), (40,)])
def test_a_wrong_count_at_the_end_of_a_batch_books_no_lifetime(wrong):
    found = counts_of(5000, 5100, *wrong, 5200, 5300)
    n, naive = len(found), []
    for cut in range(1, n):
        assert in_batches(found, [0, cut, n]) == (300, (n - 1) * PERIOD_US)
        naive.append(in_batches(found, [0, cut, n], naive=True)[0])
    assert max(naive) > 5000


def test_batches_of_zeros_only_state_nothing_and_keep_the_count_before_them():
    found = counts_of(5000, 5100, 0, 0, 0, 0, 5200, 5300)
    assert in_batches(found, [0, 3, 5, 7, 8])[0] == 300
    anchor, inside = found[1], found[3:5]
    assert sums(inside, anchor) == (
        {
            "point": "energy_wh", "energy_wh": "0", "covered_us": "0", "estimated_us": "0",
            "missing_us": "0", "co2e_kg": "0",
        },
        -1,
    )  # fmt: skip


def test_covered_estimated_and_missing_are_the_whole_span():
    readings = meter(*[100] * 10)
    kept = [*readings[:3], *readings[6:]]  # three slots of a gap: a step of four periods
    part = energy(rows(kept))
    assert (part["covered_us"], part["estimated_us"], part["missing_us"]) == (
        str(6 * PERIOD_US), str(4 * PERIOD_US), "0",
    )  # fmt: skip
    assert part["energy_wh"] == "1000"


def test_an_all_zero_step_is_missing_and_not_zero():
    part = energy(rows(meter(*[100] * 6, frozen=[2])))
    assert part["missing_us"] == str(PERIOD_US)
    assert part["covered_us"] == str(5 * PERIOD_US)
    assert part["energy_wh"] == "500"


def test_a_register_that_reads_zero_for_a_moment_books_nothing_of_it():
    found = rows(meter(*[100] * 6))
    found[3] = found[3]._replace(values={**found[3].values, "energy_wh": "0"})
    part = energy([found[0]._replace(values={**found[0].values, "energy_wh": "50"}), *found[1:]])
    assert part["energy_wh"] == "550"
    assert part["estimated_us"] == str(2 * PERIOD_US)


def test_a_value_with_a_quality_code_enters_no_total():
    found = rows(meter(*[100] * 4))
    found[2] = found[2]._replace(quality={"energy_wh": "range"})
    part = energy(found)
    assert part["estimated_us"] == str(2 * PERIOD_US)
    assert part["energy_wh"] == "400"


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_readings_have_no_energy(count):
    assert energy(rows(meter(*[100] * 3))[:count]) == {}


def test_a_device_without_the_counter_has_no_energy():
    assert energy(rows(meter(100, 100)), profile=SITE.profile(COUNTER)) == {}


def test_a_register_beyond_what_the_kernel_counts_is_no_value():
    found = rows(meter(*[100] * 3))
    found[1] = found[1]._replace(values={"energy_wh": str(2**63)})
    assert energy(found)["energy_wh"] == "300"


# ------------------------------------------------------------------------ CO2e


def test_co2e_is_energy_times_the_factor_of_its_day():
    assert energy(rows(meter(*[1000] * 4)))["co2e_kg"] == "1.9124"


def test_days_under_different_factors_are_counted_each_with_its_own():
    second, *_, first = FACTORS.factors
    split = date(2018, 1, 2)
    factors = FACTORS.model_copy(
        update={
            "factors": (
                first.model_copy(update={"valid_to": split}),
                second.model_copy(update={"valid_from": split, "valid_to": date(2019, 1, 1)}),
            )
        }
    )
    part = energy(rows(meter(*[1000] * (DAY + 4))), carbon=replace(CARBON, factors=factors))
    want = DAY * first.factor_kg_per_kwh + 4 * second.factor_kg_per_kwh
    assert Decimal(part["co2e_kg"]) == want


def test_without_a_factor_co2e_is_null_and_never_zero():
    later = meter(100, 100, first_slot_us=START_US + 10 * 365 * DAY * PERIOD_US)
    part = energy(rows(later))
    assert part["energy_wh"] == "200"
    assert part["co2e_kg"] is None


def test_warming_compiles_what_the_envelope_uses():
    warm(PROFILE, CARBON)
    warm(SITE.profile(COUNTER), CARBON)


# ---------------------------------------------------------------------- counts


def test_a_tally_of_written_leaves_is_that_of_the_readings():
    readings = meter(*[100] * 5, sync="unsynchronised")
    gap = Gap(METER, START_US + 6 * PERIOD_US, START_US + 8 * PERIOD_US, 3, "timeout")
    live, again = Tally(), Tally()
    for reading, leaf in zip(readings, leaves(readings), strict=True):
        values, quality = decode_responses(PROFILE, reading.responses)
        live.take_reading(reading, 1, values, quality)
        again.take_leaf(parse_canonical(leaf))
    live.take_gap(gap)
    again.take_leaf(
        {
            "type": "gap",
            **{
                k: str(v)
                for k, v in {
                    "first_slot": gap.first_slot_us,
                    "last_slot": gap.last_slot_us,
                    "slots": 3,
                }.items()
            },
        }
    )
    again.take_leaf({"type": "boot"})
    assert live == again
    assert (live.records, live.values, live.slots, live.unsynchronised) == (6, 30, 9, 6)
    assert (live.first_slot_us, live.last_slot_us) == (START_US, gap.last_slot_us)
