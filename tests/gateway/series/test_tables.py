"""Quarter-hours, days, slots, gaps and batches: the ledger's, and equal however they are cut."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from joulemark_agent.contract.errors import ConfigError
from joulemark_gateway.evidence import history
from joulemark_gateway.evidence.emission_factors import approved_carbon, factor_on
from joulemark_gateway.evidence.slots import Held, account
from joulemark_gateway.evidence.store import FILE, SqliteStore
from joulemark_gateway.measure.intervals import counted
from joulemark_gateway.series.accounts import batches_in
from joulemark_gateway.series.base import Carry
from joulemark_gateway.series.embedded import EmbeddedSeries
from joulemark_gateway.series.mirror import catch_up, rebuild
from joulemark_gateway.series.project import Known, part_of
from joulemark_gateway.series.retention import Retention
from joulemark_gateway.series.tables import DAY, MEASUREMENTS, QUARTER
from joulemark_gateway.settings import SeriesSettings
from support.evidence import (
    METER,
    PERIOD_US,
    SITE,
    START_US,
    build_tree,
    documents,
    leaves_of,
    meter_readings,
    with_gap,
)
from support.series import fill

ZONE = ZoneInfo("Asia/Seoul")
DOCS = documents()
PAPERS = DOCS.by_digest(METER)
DAY_US = 86_400_000_000


def known(docs, tree):
    carbon = approved_carbon(docs.by_digest(METER), tree.grant["documents"], ZONE)
    notes = {e.seq + 1: "" for e in tree.envelopes}
    return Known(
        partial(factor_on, carbon), docs.period_us(METER), {k: v for k, v in notes.items() if v}
    )


def rows_of(docs, leaves, cuts=()):
    """The rows of every table, projected in parts that end at the cuts."""
    grant, signature = history.grant_of(leaves[0])
    carry, found = Carry(), []
    for start, end in itertools.pairwise([0, *cuts, len(leaves)]):
        tree = history.parse_part(leaves[start:end], start, grant, signature)
        papers = (docs.profile(METER), docs.period_us(METER), ZONE)
        part = part_of(tree, end, *papers, Carry.from_text(carry.to_text()), known(docs, tree))
        carry = part.carry
        for table in part.others:
            columns = [*table.tags.values(), table.t_us, *table.fields.values()]
            rows = zip(*(column.tolist() for column in columns), strict=True)
            found += [(table.measurement, *map(str, row)) for row in rows]
    return sorted(found)


def tree_of(docs, results, **options):
    leaves = leaves_of(build_tree(docs, METER, results, **options))
    return leaves, history.parse_tree(leaves)


whats = st.lists(
    st.tuples(st.integers(0, 2000), st.sampled_from("......hg")), min_size=2, max_size=16
)


@settings(max_examples=25, deadline=None)
@given(draws=whats, period_s=st.sampled_from([60, 420, 900, 3600]), data=st.data())
def test_rows_are_the_same_however_the_leaves_are_cut(draws, period_s, data):
    docs = documents(period_s=period_s, first_slot_us=START_US // 420_000_000 * 420_000_000)
    docs = replace(docs, first_slot_us=None)
    first_us = -(-START_US // (period_s * 1_000_000)) * period_s * 1_000_000
    holes = [i for i, (_, what) in enumerate(draws) if what == "h"]
    energy = [wh for wh, _ in draws]
    results = meter_readings(docs, energy, frozen=holes, first_slot_us=first_us)
    for i, (_, what) in reversed(list(enumerate(draws))):
        if what == "g":
            results = with_gap(results, i, 1)
    leaves, _ = tree_of(docs, results, slots_per_batch=3)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(leaves) - 1), max_size=6)))
    assert rows_of(docs, leaves, cuts) == rows_of(docs, leaves)


@pytest.mark.parametrize("period_s", [420, 900, 3600])
def test_quarter_hours_and_days_are_those_of_measurement(period_s):
    """Whatever the period: 7 minutes do not divide a quarter-hour."""
    docs = documents(period_s=period_s, first_slot_us=None)
    first_us = -(-START_US // (period_s * 1_000_000)) * period_s * 1_000_000
    n = 3 * 86_400 // period_s
    energy = np.random.default_rng(period_s).integers(0, 5000, n).tolist()
    results = with_gap(meter_readings(docs, energy, frozen=[9], first_slot_us=first_us), 20, 5)
    leaves, tree = tree_of(docs, results)
    found: dict[str, dict[int, list[float]]] = {"joulemark_quarter": {}, "joulemark_day": {}}
    for name, *row in rows_of(docs, leaves):
        if name in found and row[0] == "energy_wh":
            found[name][int(row[1]) - 1000] = [float(text) for text in (row[2], *row[4:])]
    ledger = counted(
        history.history_of(tree, docs.by_digest(METER)), docs.profile(METER).point("energy_wh")
    )
    for name, step_us in (("joulemark_quarter", PERIOD_US), ("joulemark_day", DAY_US)):
        begins = np.array(sorted(found[name])[1:])  # the first may begin within a window
        edges = np.append(begins, begins[-1] + step_us)
        assert (np.diff(edges) == step_us).all()
        totals = ledger.totals(edges)
        rows = np.array([found[name][t] for t in begins.tolist()])
        whole = rows[:, 1:].sum(axis=1)
        is_known = ~np.isnan(rows[:, 0])
        assert (whole == step_us).all()
        assert (rows[is_known, 0] == totals.total[is_known]).all()
        assert (
            rows[:, 1:] == np.array([totals.covered_us, totals.estimated_us, totals.missing_us]).T
        ).all()
        assert (totals.covered_us + totals.estimated_us)[~is_known].sum() == 0, "missing is not 0"


def test_gauges_are_the_good_values_of_each_quarter_hour():
    docs = documents(period_s=60, first_slot_us=None)
    results = meter_readings(docs, list(range(1, 60)), doubtful=[3, 20])
    leaves, tree = tree_of(docs, results)
    found = {
        int(row[1]) - 1000: [float(text) for text in row[2:]]
        for name, *row in rows_of(docs, leaves)
        if name == "joulemark_gauge" and row[0] == "power_w"
    }
    for begin_us, (mean, least, most, readings) in found.items():
        good = [
            float(record.values["power_w"])
            for record in tree.records
            if begin_us <= record.slot_us < begin_us + PERIOD_US and "power_w" not in record.quality
        ]
        assert (least, most, readings) == (min(good), max(good), len(good))
        assert mean == pytest.approx(sum(good) / len(good), rel=1e-12)
    assert sorted(found) == [START_US + PERIOD_US * k for k in range(3)], "the last is not over"
    assert sum(row[3] for row in found.values()) == 43, "two of 45 are not good"


def test_slots_and_gaps_are_those_of_the_account():
    results = with_gap(with_gap(meter_readings(DOCS, [100] * 400), 20, 7), 100, 150, "powered_off")
    leaves, tree = tree_of(DOCS, results)
    rows = rows_of(DOCS, leaves)
    ledger = account(Held(tree, PERIOD_US, (), START_US), 0, 2**52)
    slots = [[float(text) for text in row[2:]] for row in rows if row[0] == "joulemark_slot"]
    expected, received, unsynchronised = np.array(slots).sum(axis=0)
    assert (expected, received, unsynchronised) == (ledger.expected, ledger.received, 0)
    causes: dict[str, float] = {}
    for name, *row in rows:
        if name == "joulemark_gap":
            causes[row[0]] = causes.get(row[0], 0) + float(row[2])
            assert float(row[2]) <= 1, "at most a quarter-hour of slots a row"
    assert causes == ledger.missing == {"powered_off": 150, "timeout": 7}


def test_a_gap_of_years_is_a_row_and_asks_for_no_more():
    results = meter_readings(DOCS, [100] * 3)
    far = meter_readings(DOCS, [100], first_slot_us=START_US + 5000 * DAY_US)
    leaves, _ = tree_of(DOCS, [*results, *far])
    rows = [row for row in rows_of(DOCS, leaves) if row[0] == "joulemark_gap"]
    assert [row[1] for row in rows] == ["unaccounted"]
    assert float(rows[0][3]) == 5000 * 96 - 4


@pytest.fixture
def store(tmp_path):
    with SqliteStore(tmp_path / FILE) as opened:
        fill(
            opened,
            build_tree(DOCS, METER, meter_readings(DOCS, [100 + i % 7 for i in range(96 * 9)])),
        )
        yield opened


def content(series):
    tables = ("points", "intervals", "quarter", "day", "gauge", "co2e", "slot", "batch", "kept")
    return {name: series.query(f"SELECT * FROM {name} ORDER BY ALL") for name in tables}


def test_what_is_forgotten_is_still_counted_by_quarter_hour_and_by_day(store, tmp_path):
    everything = EmbeddedSeries(tmp_path / "whole.duckdb")
    kept = EmbeddedSeries(tmp_path / "kept.duckdb", Retention(raw_days=2, quarter_days=5))
    for series in (everything, kept):
        while catch_up(store, series, leaves=500):
            pass
    place, days = (SITE, METER, "energy_wh"), range(9)
    for day in days:
        span = START_US + day * DAY_US, START_US + (day + 1) * DAY_US
        whole, some = everything.amounts(*place, *span), kept.amounts(*place, *span)
        assert some.amount.sum() == whole.amount.sum() > 0
        assert some.covered_us.sum() == whole.covered_us.sum() == DAY_US
    [(first_us, last_us)] = kept.query("SELECT min(t_utc_us), max(t_utc_us) FROM points")
    assert 2 * DAY_US <= last_us - first_us < 3 * DAY_US
    [(first_us, last_us)] = kept.query("SELECT min(t_us), max(t_us) FROM quarter")
    assert 5 * DAY_US - PERIOD_US <= last_us - first_us < 6 * DAY_US
    assert kept.query("SELECT count(*) FROM day") == everything.query("SELECT count(*) FROM day")
    everything.close()
    before = content(kept)
    kept.close()
    opened = partial(EmbeddedSeries, kept=Retention(raw_days=2, quarter_days=5))
    rebuild(store, tmp_path / "kept.duckdb", opened)
    again = opened(tmp_path / "kept.duckdb")
    assert content(again) == before
    again.close()


LONGER = [pytest.param(*one, marks=pytest.mark.endurance) for one in ((990, 2), (1100, 1))]


@pytest.mark.parametrize(("lost", "phase"), [(250, 30), *LONGER])
def test_a_long_step_is_counted_while_its_days_are_forgotten(tmp_path, lost, phase):
    """Whichever day is the last that is kept: also one inside the step."""
    energies = [100 + i % 7 for i in range(lost + 96 * 9)]
    readings = with_gap(meter_readings(DOCS, energies), 200 + phase, lost)
    place = (SITE, METER, "energy_wh", 0, 2**52)
    with SqliteStore(tmp_path / FILE) as store:
        fill(store, build_tree(DOCS, METER, readings))
        whole = EmbeddedSeries(tmp_path / "whole.duckdb")
        kept = EmbeddedSeries(tmp_path / "kept.duckdb", Retention(raw_days=2))
        is_left = True
        while is_left:
            is_left = catch_up(store, whole, leaves=90)
            catch_up(store, kept, leaves=90)
            expected, found = whole.amounts(*place), kept.amounts(*place)
            assert found.amount.sum() == expected.amount.sum()
            assert found.covered_us.sum() == expected.covered_us.sum()
            assert found.estimated_us.sum() == expected.estimated_us.sum()
        extent, ends = kept.extent(SITE, METER), whole.extent(SITE, METER)
        assert extent is not None
        assert ends is not None
        assert kept.begun_us(SITE, METER) == ends[0]
        first_us, last_us = extent
        assert 2 * DAY_US <= last_us - first_us < 3 * DAY_US
        assert kept.latest(SITE) == whole.latest(SITE)
        kept.close()
        whole.close()


@pytest.mark.parametrize(
    ("words", "match"),
    [
        ({"raw_days": 9, "quarter_days": 8}, "must not be more"),
        ({"quarter_days": 8}, "needs raw_days"),
        ({"kind": "influx", "url": "http://127.0.0.1:1", "raw_days": 9}, "at the server"),
    ],
)
def test_a_retention_that_makes_no_sense_is_refused(words, match):
    with pytest.raises((ConfigError, ValueError), match=match):
        SeriesSettings.model_validate(words)


@pytest.mark.parametrize("told", ["abc", -1, 10**30, "9" * 40, None, [1]])
def test_an_envelope_that_states_nonsense_ends_no_series(told):
    _, tree = tree_of(DOCS, meter_readings(DOCS, [100] * 3))
    envelope = replace(tree.envelopes[0], fields={**tree.envelopes[0].fields, "records": told})
    [rows] = batches_in(replace(tree, envelopes=(envelope,)), {})
    assert np.isnan(rows.fields["readings"]).all()
    envelope = replace(envelope, fields={**envelope.fields, "last_slot": told, "records": 1})
    assert batches_in(replace(tree, envelopes=(envelope,)), {}) == []


def test_the_documentation_names_every_measurement_tag_and_field():
    text = (Path(__file__).parents[3] / "docs/series.md").read_text("utf-8")
    for name, kind in MEASUREMENTS.items():
        [row] = [line for line in text.splitlines() if line.startswith(f"| `{name}`")]
        _, _, tags, fields, *_ = row.split("|")
        assert {tag for tag in tags.split(",") if tag.strip()} == {f" {t} " for t in kind.tags}
        told = set(re.findall(r"`([a-z0-9_]+)`", fields))
        if name in {QUARTER, DAY}:  # "as interval", and what else
            told |= {"amount", "covered_us", "estimated_us", "missing_us", "rate_per_h"}
        assert told == set(kind.fields), name
