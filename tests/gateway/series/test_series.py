"""Every implementation of the series: the ledger's numbers come back, however they were written."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from joulemark_agent.contract.errors import StoreError
from joulemark_agent.contract.reading import Reading
from joulemark_gateway.evidence import history
from joulemark_gateway.evidence.store import FILE, SqliteStore
from joulemark_gateway.series import embedded, progress
from joulemark_gateway.series.base import QUALITY, Carry, Latest, Series
from joulemark_gateway.series.embedded import EmbeddedSeries
from joulemark_gateway.series.influx import InfluxSeries
from joulemark_gateway.series.mirror import Mirror, catch_up, rebuild, refill
from joulemark_gateway.series.project import part_of
from joulemark_gateway.series.servers import Server
from support import killed
from support.child import search_path
from support.evidence import (
    COUNTER,
    METER,
    PERIOD_US,
    SITE,
    START_US,
    build_tree,
    documents,
    leaves_of,
    meter_readings,
    reading,
)
from support.projecting import ORDERS, project_until_killed
from support.series import ALWAYS_US, amounts_in, content, fill, rows_of, samples_in, some_trees

DOCS = documents()
ZONE = ZoneInfo("Asia/Seoul")
KINDS = [
    "embedded",
    pytest.param("victoriametrics", marks=pytest.mark.service),
    pytest.param("influxdb", marks=pytest.mark.service),
]
WAIT_S = 30.0
# Rows and progress are one transaction in DuckDB, which locks its file itself: see test_embedded.
on_servers = pytest.mark.parametrize("place", KINDS[1:], indirect=True)
READ_KIND = {"victoriametrics": "victoriametrics", "influxdb": "influx"}


@dataclass
class Place:
    """Where a series of one kind is kept."""

    kind: str
    folder: Path
    url: str

    def open(self) -> Series:
        """One more opening of it."""
        if self.kind == "embedded":
            return EmbeddedSeries(self.folder / embedded.FILE)
        server = Server(self.url, "joulemark", "joulemark")
        path = self.folder / progress.FILE
        return InfluxSeries(READ_KIND[self.kind], server, path, read_back=True)

    def drop(self) -> None:
        """Lose every row, behind the back of the series."""
        if self.kind == "embedded":
            (self.folder / embedded.FILE).unlink(missing_ok=True)
            return
        series = InfluxSeries(
            READ_KIND[self.kind],
            Server(self.url, "joulemark", "joulemark"),
            self.folder / "of no use",
        )
        series.reset([SITE])
        series.close()

    def rebuild(self, store: SqliteStore) -> None:
        """As `joulemark series rebuild` does."""
        if self.kind == "embedded":
            rebuild(store, self.folder / embedded.FILE, EmbeddedSeries)
            return
        series = self.open()
        assert isinstance(series, InfluxSeries)
        refill(store, series)
        series.settle()
        series.close()


@pytest.fixture(params=KINDS)
def place(request, tmp_path):
    kind = str(request.param)
    url = "" if kind == "embedded" else request.getfixturevalue(kind)
    where = Place(kind, tmp_path, url)
    where.drop()
    return where


@pytest.fixture
def opened(place):
    """Opens the series, as often as one likes."""
    with ExitStack() as stack:

        def open_one() -> Series:
            series: Series = place.open()
            stack.callback(series.close)
            return series

        yield open_one


@pytest.fixture
def store(tmp_path):
    with SqliteStore(tmp_path / FILE) as evidence:
        yield evidence


def parts_of(*trees):
    """The rows of whole trees: what the ledger has."""
    parts = []
    for device, batches in zip((METER, COUNTER), trees, strict=False):
        leaves = leaves_of(batches)
        grant, signature = history.grant_of(leaves[0])
        tree = history.parse_part(leaves, 0, grant, signature)
        part = part_of(tree, len(leaves), DOCS.profile(device), PERIOD_US, ZONE, Carry())
        parts.append((device, part))
    return parts


def projected(store, series):
    while catch_up(store, series):
        pass
    if isinstance(series, InfluxSeries):
        series.settle()


def test_parts_of_any_cut_know_by_how_much_the_clock_was_set_back():
    """Over a step back longer than a period and a half only the sum is known."""
    rows = [
        replace(one, t_mono_ns=(one.t_utc_us + (i > 3) * PERIOD_US) * 1000)
        for i, one in enumerate(meter_readings(DOCS, [500] * 7, sync="ntp"))
        if isinstance(one, Reading)
    ]
    leaves = leaves_of(build_tree(DOCS, METER, rows, slots_per_batch=3))
    papers, tree = (DOCS.profile(METER), PERIOD_US, ZONE), history.parse_tree(leaves)
    whole = part_of(tree, len(leaves), *papers, Carry()).intervals
    counters = len(set(whole.point))
    assert whole.estimated_us.sum() == counters * PERIOD_US
    for cut in range(1, len(leaves)):
        carry, found = Carry(), 0
        for first, last in ((0, cut), (cut, len(leaves))):
            some = history.parse_part(leaves[first:last], first, tree.grant, b"")
            part = part_of(some, last, *papers, Carry.from_text(carry.to_text()))
            carry, found = part.carry, found + int(part.intervals.estimated_us.sum())
        assert found == counters * PERIOD_US, cut


def test_the_reads_give_the_ledgers_numbers(opened, store):
    trees = some_trees(DOCS)
    fill(store, *trees)
    series = opened()
    projected(store, series)
    for device, part in parts_of(*trees):
        for point in set(part.points.point.tolist()):
            found = series.samples(SITE, device, point, *ALWAYS_US)
            assert rows_of(found) == rows_of(samples_in(part, point))
            assert found.quality.dtype == np.uint8
        for point in set(part.intervals.point.tolist()):
            found = series.amounts(SITE, device, point, *ALWAYS_US)
            assert rows_of(found) == rows_of(amounts_in(part, point))
        t_us = part.points.t_utc_us
        assert series.extent(SITE, device) == (t_us.min(), t_us.max())


def test_amounts_sum_to_the_difference_of_the_register(opened, store):
    """Against the readings themselves, without our projection."""
    energy_wh = [1000, 0, 7, 2**40, 1]
    fill(store, build_tree(DOCS, METER, meter_readings(DOCS, energy_wh)))
    series = opened()
    projected(store, series)
    found = series.amounts(SITE, METER, "energy_wh", *ALWAYS_US)
    assert found.amount.tolist() == energy_wh
    register = series.samples(SITE, METER, "energy_wh", *ALWAYS_US).value
    assert found.amount.sum() == register[-1] - register[0]


def test_a_span_is_half_open_and_what_is_not_there_is_empty(opened, store):
    fill(store, *some_trees(DOCS))
    series = opened()
    projected(store, series)
    t_us = series.samples(SITE, METER, "power_w", *ALWAYS_US).t_utc_us
    some = series.samples(SITE, METER, "power_w", int(t_us[3]), int(t_us[9]))
    assert some.t_utc_us.tolist() == t_us[3:9].tolist()
    begins_us, until_us = START_US + 2 * PERIOD_US, START_US + 6 * PERIOD_US
    steps = series.amounts(SITE, METER, "energy_wh", begins_us, until_us)
    assert steps.start_us.tolist() == list(range(begins_us, until_us, PERIOD_US))
    for place in (("nowhere", METER, "power_w"), (SITE, METER, "other_w"), (SITE, "none", "x_w")):
        assert rows_of(series.samples(*place, *ALWAYS_US)) == []
        assert rows_of(series.amounts(*place, *ALWAYS_US)) == []
    assert rows_of(series.samples(SITE, METER, "power_w", int(t_us[3]), int(t_us[3]))) == []
    assert series.extent(SITE, "none") is None
    assert series.latest("nowhere") == []


def test_the_latest_has_no_value_where_the_newest_reading_has_none(opened, store):
    profile = DOCS.profile(METER)
    values: dict[str, Decimal | int | None] = {
        "energy_wh": 5,
        "power_w": 7,
        "power_factor_ratio": Decimal("0.5"),
        "reactive_lagging_varh": 7,
        "reactive_leading_varh": 0,
    }
    readings = [
        reading(profile, METER, START_US, values),
        reading(profile, METER, START_US + PERIOD_US, {**values, "energy_wh": 9, "power_w": None}),
    ]
    fill(store, build_tree(DOCS, METER, readings))
    series = opened()
    projected(store, series)
    t_us = START_US + PERIOD_US + 20_000
    assert series.latest(SITE) == [
        Latest(METER, "energy_wh", t_us, 9.0, 0),
        Latest(METER, "power_factor_ratio", t_us, 0.5, 0),
        Latest(METER, "power_w", t_us, None, QUALITY["nan"]),
        Latest(METER, "reactive_lagging_varh", t_us, 7.0, 0),
        Latest(METER, "reactive_leading_varh", t_us, 0.0, 0),
    ]


def test_rounds_one_go_and_rebuilding_give_the_same(opened, place, store):
    trees = some_trees(DOCS)
    fill(store, *trees)
    series = opened()
    while catch_up(store, series, leaves=11):
        pass
    projected(store, series)
    in_rounds = content(series, parts_of(*trees))
    series.close()
    place.rebuild(store)
    assert content(opened(), parts_of(*trees)) == in_rounds


def test_what_the_database_lost_is_written_again(opened, place, store):
    trees = some_trees(DOCS)
    fill(store, *trees)
    series = opened()
    projected(store, series)
    before = content(series, parts_of(*trees))
    series.close()
    place.drop()
    series = opened()
    assert content(series, parts_of(*trees)) != before
    projected(store, series)
    assert content(series, parts_of(*trees)) == before


@on_servers
def test_writing_the_same_parts_again_changes_nothing_on_a_server(opened, store):
    trees = some_trees(DOCS)
    fill(store, *trees)
    series = opened()
    projected(store, series)
    before = content(series, parts_of(*trees))
    series.write([part for _, part in parts_of(*trees)])
    series.settle()
    assert content(series, parts_of(*trees)) == before


@on_servers
def test_rebuilding_replaces_what_another_version_carried(place, store):
    trees = some_trees(DOCS)
    fill(store, *trees)
    with closing(place.open()) as series:
        projected(store, series)
        before = content(series, parts_of(*trees))
    with closing(sqlite3.connect(place.folder / progress.FILE)) as db:
        db.execute("UPDATE tree SET carry = '{}'")
        db.commit()
    with closing(place.open()) as series, pytest.raises(StoreError) as refused:
        series.progress()
    assert refused.value.code == "series_foreign"
    place.rebuild(store)
    with closing(place.open()) as series:
        assert content(series, parts_of(*trees)) == before


@on_servers
def test_a_kill_between_rows_and_progress_leaves_no_hole_and_nothing_twice(opened, place, store):
    trees = some_trees(DOCS)
    fill(store, *trees)
    for steps in (3, 1):
        orders = {"kind": READ_KIND[place.kind], "url": place.url, "steps": steps}
        (place.folder / ORDERS).write_text(json.dumps(orders))
        process, said = killed.start(project_until_killed, place.folder)
        assert said.poll(WAIT_S)
        assert said.recv() == "written"
        process.join(WAIT_S)
        assert process.exitcode == -signal.SIGKILL
    series = opened()
    before = {origin: size for origin, (size, _) in series.progress().items()}
    assert 0 < sum(before.values()) < sum(head.size for head in store.heads()), "killed on its way"
    projected(store, series)
    for device, part in parts_of(*trees):
        for point in set(part.points.point.tolist()):
            found = series.samples(SITE, device, point, *ALWAYS_US)
            assert rows_of(found) == rows_of(samples_in(part, point))
        for point in set(part.intervals.point.tolist()):
            found = series.amounts(SITE, device, point, *ALWAYS_US)
            assert rows_of(found) == rows_of(amounts_in(part, point))
            assert not series._backend.repeats(SITE, device, point, *ALWAYS_US)


def test_others_may_read_while_one_writes(opened, store):
    """Every read sees whole rows, in order, and never fewer than the read before."""
    trees = some_trees(DOCS, n=60)
    fill(store, *trees)
    series, whole = opened(), dict(parts_of(*trees))[METER]
    expected = rows_of(amounts_in(whole, "energy_wh"))
    failed: list[object] = []
    started, done = threading.Barrier(3), threading.Event()

    def read(reader: Series) -> None:
        seen = 0
        started.wait()
        while not done.is_set():
            found = rows_of(reader.amounts(SITE, METER, "energy_wh", *ALWAYS_US))
            reader.latest(SITE)
            if found != expected[: len(found)] or len(found) < seen:
                pairs = zip(found, expected, strict=False)
                wrong = [(k, *pair) for k, pair in enumerate(pairs) if pair[0] != pair[1]]
                failed.append((len(found), seen, wrong[:2]))
            seen = len(found)

    readers = [threading.Thread(target=read, args=(one,)) for one in (series, opened())]
    for thread in readers:
        thread.start()
    started.wait()
    while catch_up(store, series, leaves=11):
        pass
    done.set()
    for thread in readers:
        thread.join()
    assert not failed
    projected(store, series)
    assert rows_of(series.amounts(SITE, METER, "energy_wh", *ALWAYS_US)) == expected


@on_servers
def test_a_second_process_that_writes_is_refused(opened, place, store):
    code = (
        "import sys, pathlib; from joulemark_gateway.series.progress import Progress; "
        "held = Progress(pathlib.Path(sys.argv[1]), 'x'); print('held', flush=True); input()"
    )
    words = [sys.executable, "-c", code, str(place.folder / progress.FILE)]
    search = os.environ | {"PYTHONPATH": search_path()}
    holder = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=search)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        for attempt in (opened().progress, lambda: place.rebuild(store)):
            with pytest.raises(StoreError) as caught:
                attempt()
            assert caught.value.code == "series_held"
    finally:
        holder.kill()
        holder.communicate()
    assert opened().progress() == {}


def test_the_mirror_follows_into_every_series(opened, place, store):
    trees = some_trees(DOCS)
    follower = Mirror(lambda: SqliteStore(place.folder / FILE, create=False), place.open)
    follower.start()
    fill(store, *trees)
    follower.poke()
    follower.stop()
    series = opened()
    sizes = {name: size for name, (size, _) in series.progress().items()}
    assert sizes == {head.origin: head.size for head in store.heads()}
    whole = dict(parts_of(*trees))[METER]
    found = series.amounts(SITE, METER, "energy_wh", *ALWAYS_US)
    assert rows_of(found) == rows_of(amounts_in(whole, "energy_wh"))


def test_a_step_over_years_is_one_row(opened, store):
    *results, last = meter_readings(DOCS, [100, 70])
    far_us = 10**5 * PERIOD_US * 3  # some nine years
    assert isinstance(last, Reading)
    results.append(replace(last, slot_us=START_US + far_us, t_utc_us=START_US + far_us))
    fill(store, build_tree(DOCS, METER, results))
    series = opened()
    projected(store, series)
    found = series.amounts(SITE, METER, "energy_wh", *ALWAYS_US)
    assert found.amount.tolist() == [100, 70]
    assert (found.end_us - found.start_us).tolist() == [PERIOD_US, far_us - PERIOD_US]
