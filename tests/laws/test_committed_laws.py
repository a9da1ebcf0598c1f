"""The same run in full and in committed mode: the same heads, energy and report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from joulemark_agent.contract.batch import Batch
from joulemark_agent.contract.committed import committed
from joulemark_agent.contract.reading import Gap, Reading
from joulemark_agent.contract.signature import parse_checkpoint, parse_note
from joulemark_agent.contract.sparse import extended
from joulemark_agent.contract.tree import Edge, root
from joulemark_gateway.evidence import history
from joulemark_gateway.measure.intervals import Totals, counted
from joulemark_gateway.reports.issue import Issued, issue
from joulemark_gateway.series.base import Carry
from joulemark_gateway.series.project import part_of
from support import evidence
from support.bundles import CLAIMS
from support.committed import INTERVAL_US, PERIOD_S, SLOTS, documents, readings, run
from support.evidence import COUNTER, METER, START_US, Documents
from support.plant import plant

PERIOD_US = PERIOD_S * 1_000_000
HOUR_S = 3600


def trees(batches: Sequence[Batch]) -> tuple[history.Tree, history.Tree]:
    """The tree of all leaves, and the one of what is sent in committed mode."""
    thin = [part for batch in batches for part in committed(batch).parts]
    full = [leaf for batch in batches for leaf in batch.leaves]
    return history.parse_tree(full), history.parse_tree(thin)


def test_every_head_of_the_full_run_is_one_of_the_committed_run():
    batches = run(readings(documents(), 8 * SLOTS + 4), stops=[40])
    edge, heads = Edge(), 0
    for batch in batches:
        edge = extended(edge, committed(batch).parts)
        signed = parse_checkpoint(parse_note(batch.checkpoint)[0])
        assert (edge.size, root(edge)) == (signed.size, signed.root)
        heads += 1
    assert heads == 12, "one more where the agent was stopped within an interval"


def rows_of(tree: history.Tree, site: Documents, every_us: int) -> Any:
    docs = site.by_digest(METER)
    zone = history.time_zone_of(tree, docs)
    part = part_of(tree, 0, history.profile_of(tree, docs), every_us, zone, Carry())
    mine = part.intervals.point == "energy_wh"
    return part.intervals.start_us[mine], part.intervals.amount[mine]


def test_the_energy_of_every_interval_is_the_same_in_the_series():
    site = documents()
    full, thin = trees(run(readings(site, 8 * SLOTS), site=site))
    at_us, amount = rows_of(full, site, PERIOD_US)
    ends_us, interval = rows_of(thin, site, INTERVAL_US)
    sums = [int(amount[(at_us - START_US) // INTERVAL_US == k].sum()) for k in range(8)]
    assert interval.tolist() == sums
    assert ((ends_us - START_US) // INTERVAL_US).tolist() == list(range(8))
    assert amount.size == 8 * SLOTS


def totals(tree: history.Tree, site: Documents) -> Totals:
    found = history.history_of(tree, site.by_digest(METER))
    edges_us = np.arange(9, dtype=np.int64) * INTERVAL_US + START_US
    return counted(found, found.profile.point("energy_wh")).totals(edges_us)


def test_a_gap_costs_nothing_and_what_was_not_measured_costs_its_interval():
    """The second interval has a hole; a gap lies in the fourth, and one across its end."""
    site, in_full = documents(), evidence.documents(period_s=PERIOD_S)
    results = evidence.meter_readings(site, [50] * (8 * SLOTS), frozen=range(20, 24))
    results = evidence.with_gap(evidence.with_gap(results, 50, 3), 4 * SLOTS - 2, 5)
    full = totals(trees(run(results, site=in_full))[0], in_full)
    thin = totals(trees(run(results, site=site))[1], site)
    assert full.total.tolist() == [750, 550, 750, 750, 750, 750, 750, 750]
    assert thin.total.tolist() == [750, 0, 750, 750, 750, 750, 750, 750]
    assert (full.missing_us // 10**6).tolist() == [0, 240, 0, 0, 0, 0, 0, 0]
    assert (thin.missing_us // 10**6).tolist() == [0, 900, 0, 0, 0, 0, 0, 0]
    assert (full.estimated_us // 10**6).tolist() == [0, 0, 0, 300, 300, 0, 0, 0]
    assert not thin.estimated_us.any()


# --------------------------------------------------------------------- reports


def hourly(site: Documents) -> Documents:
    """The documents with committed evidence in intervals of an hour."""
    return replace(
        site, site=documents(period_s=site.period_us(METER) // 10**6, interval_s=HOUR_S).site
    )


def reported(site: Documents, made: dict[str, history.Tree], plan: bytes) -> Issued:
    witnessed = [(tree, [_note_of(tree)]) for tree in made.values()]
    return issue(plan, witnessed, site.by_digest(), CLAIMS)


def _note_of(tree: history.Tree) -> str:
    """A checkpoint for the report to name; its signature is not looked at."""
    return f"{tree.origin}\n1\n{'A' * 43}=\n\n— {tree.origin} AAAAAAA=\n"


def both(results: Mapping[str, Sequence[Reading | Gap]], plan: bytes) -> tuple[Any, Any]:
    """The reports of a run in full mode, and in committed mode in intervals of an hour."""
    site = evidence.documents(period_s=1800)
    thin = hourly(site)
    in_full, in_part = {}, {}
    for device, items in results.items():
        ended = run(items, site=site, device=device, interval_s=HOUR_S)
        in_full[device] = trees(ended)[0]
        in_part[device] = trees(run(items, site=thin, device=device, interval_s=HOUR_S))[1]
    return reported(site, in_full, plan).report, reported(thin, in_part, plan).report


@pytest.mark.endurance
def test_the_report_has_the_same_figures():
    made = plant(period_s=1800)
    steady = {device: [*items] for device, items in made.results.items()}
    steady[METER] = evidence.meter_readings(made.site, _energy(made.results[COUNTER]))
    full, thin = both(steady, made.plan)
    for name in (
        *("headline", "periods", "saving", "months", "carbon", "creditable", "split", "model"),
        *("findings", "factors", "masked", "partial", "missing", "series"),
    ):
        assert thin[name] == full[name], name
    assert full["headline"] is not None
    rows = {row["device"]: row for row in thin["evidence"]}
    for device, row in {row["device"]: row for row in full["evidence"]}.items():
        assert rows[device]["slots"] == row["slots"] == row["records"]
        assert int(rows[device]["records"]) + int(rows[device]["withheld"]) == int(row["records"])
    [said] = [item["text"] for item in thin["limits"] if item["code"] == "withheld"]
    assert said.startswith("Raw records stay at the gateway: 49.9892 % of the readings")
    assert "withheld" not in {item["code"] for item in full["limits"]}


def _energy(production: Sequence[Reading | Gap]) -> list[int]:
    """What the meter counts while so much is made, without a hole or a gap. [Wh]"""
    draw = np.random.default_rng(7)
    steps = len(production) - 1
    day = np.arange(steps) // 48
    busy = np.where(np.isin(day % 7, (5, 6)), 0.25, 0.8)
    energy_wh = (4500 + 50_000 * busy) * draw.normal(1, 0.03, steps)
    return [round(wh) for wh in np.where(day >= 66, 0.92, 1) * energy_wh]
