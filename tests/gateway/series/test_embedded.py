"""The series: rows equal however they are cut, rebuilt equal, and never in the way of evidence."""

import itertools
import json
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulemark_agent.contract.errors import StoreError
from joulemark_agent.contract.reading import Gap, Reading
from joulemark_gateway.evidence import history
from joulemark_gateway.evidence.store import FILE, SqliteStore
from joulemark_gateway.measure.intervals import counted
from joulemark_gateway.series import mirror
from joulemark_gateway.series.base import QUALITY, Carry
from joulemark_gateway.series.embedded import EmbeddedSeries
from joulemark_gateway.series.mirror import Mirror, catch_up, rebuild
from joulemark_gateway.series.project import part_of
from support.book import NOW_US, Book
from support.evidence import (
    COUNTER,
    METER,
    PERIOD_US,
    SITE,
    START_US,
    build_tree,
    counter_readings,
    documents,
    leaves_of,
    meter_readings,
    reading,
    with_gap,
)

DOCS = documents()
ZONE = ZoneInfo("Asia/Seoul")
PAPERS = DOCS.by_digest(METER)
TABLES = (
    "points",
    "intervals",
    "quarter",
    "day",
    "gauge",
    "co2e",
    "slot",
    "gap",
    "batch",
    "projected",
)
WAIT_S = 20.0
LONG = "SELECT count(*) FROM range(20_000_000) a WHERE a % 2 = 1"


@pytest.fixture
def store(tmp_path):
    with SqliteStore(tmp_path / FILE) as opened:
        yield opened


@pytest.fixture
def series(tmp_path):
    opened = EmbeddedSeries(tmp_path / "series.duckdb")
    yield opened
    opened.close()


def fill(store, *trees):
    book = Book()
    for batch in (batch for tree in trees for batch in tree):
        verdict, note = book.accepted(batch)
        store.accept(verdict, note=note, received_us=NOW_US)


def content(series):
    return {table: series.query(f"SELECT * FROM {table} ORDER BY ALL") for table in TABLES}


def year_of(n=40, cut=7):
    meter = with_gap(meter_readings(DOCS, [100 + i for i in range(n)], frozen=[5]), 20, 3)
    counter = counter_readings(DOCS, [10 + i for i in range(n)])
    return (
        build_tree(DOCS, METER, meter, slots_per_batch=cut),
        build_tree(DOCS, COUNTER, counter, slots_per_batch=cut),
    )


def test_every_value_is_a_point_with_its_time_and_quality(store, series):
    profile = DOCS.profile(METER)
    values = {
        "energy_wh": 5,
        "power_w": None,
        "power_factor_ratio": Decimal("1.5"),
        "reactive_lagging_varh": 7,
        "reactive_leading_varh": 0,
    }
    fill(store, build_tree(DOCS, METER, [reading(profile, METER, START_US, values)]))
    catch_up(store, series)
    rows = series.query("SELECT * FROM points ORDER BY point")
    assert {row[:2] for row in rows} == {(SITE, METER)}
    assert {row[3] for row in rows} == {START_US + 20_000}
    found = {row[2]: row[4:] for row in rows}
    assert found.pop("power_w") == (None, QUALITY["nan"])
    assert found == {
        "energy_wh": (5.0, 0),
        "power_factor_ratio": (1.5, QUALITY["range"]),
        "reactive_lagging_varh": (7.0, 0),
        "reactive_leading_varh": (0.0, 0),
    }


def test_intervals_are_the_differences_of_the_counter_to_the_unit(store, series):
    energy_wh = [1000, 0, 7, 2**40]
    fill(store, build_tree(DOCS, METER, meter_readings(DOCS, energy_wh)))
    catch_up(store, series)
    rows = series.query(
        "SELECT start_us, end_us, amount, covered_us, estimated_us, missing_us FROM intervals "
        "WHERE point = 'energy_wh' ORDER BY start_us"
    )
    starts_us = [START_US + i * PERIOD_US for i in range(4)]
    assert rows == [
        (start, start + PERIOD_US, wh, PERIOD_US, 0, 0)
        for start, wh in zip(starts_us, energy_wh, strict=True)
    ]


def test_max_minus_min_would_lose_what_lies_between_the_windows(store, series):
    """The control: the common query over points loses the step into each window."""
    fill(store, build_tree(DOCS, METER, meter_readings(DOCS, [100] * 40)))
    catch_up(store, series)
    carried = series.query("SELECT sum(amount) FROM intervals WHERE point = 'energy_wh'")
    common = series.query(
        "SELECT sum(wh) FROM (SELECT max(value) - min(value) AS wh FROM points "
        "WHERE point = 'energy_wh' GROUP BY t_utc_us // 3_600_000_000)"
    )
    assert (carried, common) == ([(4000,)], [(3000.0,)])


def test_a_gap_is_estimated_and_a_hole_missing(store, series):
    energy = [100] * 12
    results = with_gap(meter_readings(DOCS, energy, frozen=[2]), 6, 2)
    fill(store, build_tree(DOCS, METER, results))
    catch_up(store, series)
    rows = series.query(
        "SELECT (start_us - ?) // ?, amount, covered_us, estimated_us, missing_us FROM intervals "
        "WHERE point = 'energy_wh' AND covered_us = 0 ORDER BY start_us",
        [START_US, PERIOD_US],
    )
    assert rows == [
        (2, 0, 0, 0, PERIOD_US),
        (5, 100, 0, PERIOD_US, 0),
        (6, 100, 0, PERIOD_US, 0),
        (7, 100, 0, PERIOD_US, 0),
    ]


counts = st.integers(0, 2000)
meters = st.lists(st.tuples(counts, st.sampled_from("......bz!hg")), min_size=2, max_size=14)


def readings_of(draws):
    """A meter that counts, with bad values, zeros, falls, holes and gaps where the letters say."""
    profile = DOCS.profile(METER)
    results: list[Reading | Gap] = []
    total = 5
    for i, (step, what) in enumerate(draws):
        total += 0 if what == "h" else step
        total = step if what == "!" else total
        values = {
            "energy_wh": {"b": 2**64 - 1, "z": 0}.get(what, total),
            "power_w": None if what == "b" else 1,
            "power_factor_ratio": Decimal(0 if what in "hz" else "0.9"),
            "reactive_lagging_varh": total // 2,
            "reactive_leading_varh": 0,
        }
        results.append(reading(profile, METER, START_US + i * PERIOD_US, values))
    for i, (_, what) in reversed(list(enumerate(draws))):
        if what == "g" and isinstance(results[i], Reading):
            results = with_gap(results, i, 1)
    return results


def projected(leaves, cuts):
    """The rows of the leaves, projected in parts that end at the cuts."""
    grant, signature = history.grant_of(leaves[0])
    carry = Carry()
    rows: list[tuple[Any, ...]] = []
    for start, end in itertools.pairwise([0, *cuts, len(leaves)]):
        tree = history.parse_part(leaves[start:end], start, grant, signature)
        part = part_of(tree, end, DOCS.profile(METER), PERIOD_US, ZONE, carry)
        carry = part.carry
        columns = [vars(part.intervals)[name].tolist() for name in vars(part.intervals)]
        rows += zip(*columns, strict=True)
    return sorted(rows)


def test_what_another_version_carried_is_refused_with_what_to_do():
    with pytest.raises(StoreError, match="series rebuild") as refused:
        Carry.from_text('{"values": {}, "counters": {"energy_wh": {"slot_us": 1}}}')
    assert refused.value.code == "series_foreign"


@given(draws=meters, data=st.data())
def test_rows_are_the_same_however_the_leaves_are_cut(draws, data):
    leaves = leaves_of(build_tree(DOCS, METER, readings_of(draws), slots_per_batch=3))
    cuts = sorted(data.draw(st.sets(st.integers(1, len(leaves) - 1), max_size=6)))
    assert projected(leaves, cuts) == projected(leaves, [])


def test_rows_cut_without_a_carry_would_differ():
    """The control: without the last reading of the part before, the step between parts is lost."""
    leaves = leaves_of(build_tree(DOCS, METER, meter_readings(DOCS, [100] * 9), slots_per_batch=3))
    grant, signature = history.grant_of(leaves[0])
    parts = [
        part_of(
            history.parse_part(leaves[start:end], start, grant, signature),
            end,
            DOCS.profile(METER),
            PERIOD_US,
            ZONE,
            Carry(),
        )
        for start, end in ((0, 7), (7, len(leaves)))
    ]
    total = sum(int(part.intervals.amount.sum()) for part in parts)
    assert total < sum(row[3] for row in projected(leaves, []))


@given(draws=st.lists(st.tuples(counts, st.sampled_from("....bhg")), min_size=2, max_size=14))
def test_the_series_counts_what_measurement_counts(draws):
    leaves = leaves_of(build_tree(DOCS, METER, readings_of(draws), slots_per_batch=5))
    found = history.history_of(history.parse_tree(leaves), PAPERS)
    rows = [row for row in projected(leaves, [4]) if row[0] == "energy_wh"]
    if not rows:
        return
    edges_us = np.array([rows[0][1], *(row[2] for row in rows)], np.int64)
    totals = counted(found, found.profile.point("energy_wh")).totals(edges_us)
    assert [row[3:] for row in rows] == list(
        zip(
            totals.total.tolist(),
            totals.covered_us.tolist(),
            totals.estimated_us.tolist(),
            totals.missing_us.tolist(),
            strict=True,
        )
    )


def test_a_zero_after_the_counter_counted_is_passed_over():
    draws = [(100, "."), (100, "."), (0, "z"), (100, "."), (100, ".")]
    leaves = leaves_of(build_tree(DOCS, METER, readings_of(draws)))
    rows = [row for row in projected(leaves, []) if row[0] == "energy_wh"]
    assert sum(row[3] for row in rows) == 300


def test_a_reading_far_in_the_future_asks_for_one_row_not_for_all_the_memory(store, series):
    *results, last = meter_readings(DOCS, [100, 70])
    far_us = 10**7 * PERIOD_US
    assert isinstance(last, Reading)
    results.append(replace(last, slot_us=START_US + far_us))
    fill(store, build_tree(DOCS, METER, results))
    catch_up(store, series)
    rows = series.query(
        "SELECT end_us - start_us, amount, estimated_us FROM intervals "
        "WHERE point = 'energy_wh' ORDER BY start_us"
    )
    assert rows == [(PERIOD_US, 100, 0), (far_us - PERIOD_US, 70, far_us - PERIOD_US)]


def test_rebuilding_gives_the_same_content(store, series, tmp_path):
    meter, counter = year_of()
    for tree in (meter[:2], counter[:1]):
        fill(store, tree)
    catch_up(store, series)
    book = Book()
    for batch in (*meter, *counter):
        verdict, note = book.accepted(batch)
        head = store.head(verdict.origin)
        if verdict.before.size == head.size:
            store.accept(verdict, note=note, received_us=NOW_US)
            catch_up(store, series)
    rebuild(store, tmp_path / "again.duckdb", EmbeddedSeries)
    again = EmbeddedSeries(tmp_path / "again.duckdb")
    assert repr(content(again)) == repr(content(series))
    again.close()
    assert not list(tmp_path.glob("*.new*"))


def test_a_series_that_a_collector_holds_is_not_rebuilt_under_it(store, tmp_path):
    """It would go on writing to a file that is no longer there."""
    fill(store, *year_of())
    path = tmp_path / "series.duckdb"
    with held_elsewhere(path), pytest.raises(StoreError) as caught:
        rebuild(store, path, EmbeddedSeries)
    assert caught.value.code == "series_held"
    rebuild(store, path, EmbeddedSeries)


@contextmanager
def held_elsewhere(path):
    """Another process has the series open and was writing when it is killed in the end."""
    code = (
        "import sys, duckdb; db = duckdb.connect(sys.argv[1]); db.execute('CREATE TABLE old (x "
        "INT)'); db.execute('INSERT INTO old VALUES (1)'); print('ready', flush=True); input()"
    )
    words = [sys.executable, "-c", code, str(path)]
    holder = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"ready\n"
        yield
    finally:
        holder.kill()
        holder.communicate()


def test_what_a_killed_collector_left_in_the_log_does_not_spoil_the_new_series(store, tmp_path):
    fill(store, *year_of())
    path = tmp_path / "series.duckdb"
    for place in (path, tmp_path / "series.duckdb.new"):
        with held_elsewhere(place):
            pass
        assert place.with_name(f"{place.name}.wal").exists(), "the kill left a log behind"
    rebuild(store, path, EmbeddedSeries)
    series = EmbeddedSeries(path)
    assert set(content(series)) == set(TABLES)
    assert ("old",) not in series.query("SHOW TABLES")
    series.close()


def test_a_damaged_series_is_made_anew(store, tmp_path):
    fill(store, *year_of())
    path = tmp_path / "series.duckdb"
    path.write_bytes(b"no database" * 1000)
    rebuild(store, path, EmbeddedSeries)
    series = EmbeddedSeries(path)
    assert len(content(series)["projected"]) == 2
    series.close()


def test_dropping_the_file_loses_nothing(store, tmp_path):
    fill(store, *year_of())
    path = tmp_path / "series.duckdb"
    contents = []
    for _ in range(2):
        series = EmbeddedSeries(path)
        catch_up(store, series)
        contents.append(repr(content(series)))
        series.close()
        path.unlink()
    assert contents[0] == contents[1]


def test_a_round_takes_no_more_leaves_than_it_may(store, series):
    fill(store, *year_of())
    sizes = {head.origin: head.size for head in store.heads()}
    taken, goes_on = [0], True
    while goes_on:
        goes_on = catch_up(store, series, leaves=10)
        taken.append(sum(size for size, _ in series.progress().values()))
    assert {b - a for a, b in itertools.pairwise(taken)} <= {10, sum(sizes.values()) % 10}
    assert {name: size for name, (size, _) in series.progress().items()} == sizes
    assert not catch_up(store, series)


def test_rows_and_progress_are_written_together_or_not_at_all(store, series, monkeypatch):
    fill(store, *year_of())
    before = content(series)

    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(json, "dumps", fail)
    with pytest.raises(StoreError, match="No space left"):
        catch_up(store, series)
    monkeypatch.undo()
    assert content(series) == before
    catch_up(store, series)
    assert len(content(series)["projected"]) == 2


def test_a_file_of_something_else_is_left_alone(tmp_path):
    path = tmp_path / "series.duckdb"
    db = duckdb.connect(str(path))
    db.execute("CREATE TABLE mine (x INTEGER)")
    db.close()
    with pytest.raises(StoreError) as caught:
        EmbeddedSeries(path)
    assert caught.value.code == "series_foreign"
    path.write_bytes(b"not a database at all" * 1000)
    with pytest.raises(StoreError, match="series rebuild"):
        EmbeddedSeries(path)


def test_the_mirror_follows_and_is_current_when_it_stops(store, tmp_path):
    path = tmp_path / "series.duckdb"
    meter, counter = year_of()
    follower = Mirror(
        lambda: SqliteStore(tmp_path / FILE, create=False), lambda: EmbeddedSeries(path)
    )
    follower.start()
    fill(store, meter, counter)
    follower.poke()
    follower.stop()
    series = EmbeddedSeries(path)
    sizes = {name: size for name, (size, _) in series.progress().items()}
    assert sizes == {head.origin: head.size for head in store.heads()}
    series.close()


def test_a_series_that_cannot_be_written_leaves_evidence_alone(store, tmp_path, monkeypatch):
    monkeypatch.setattr(mirror, "RETRY_S", 0.01)
    tried, broken = threading.Event(), threading.Event()
    broken.set()

    def open_series():
        if broken.is_set():
            tried.set()
            raise StoreError("The disk is full.", "Free space.", code="series")
        return EmbeddedSeries(tmp_path / "series.duckdb")

    follower = Mirror(lambda: SqliteStore(tmp_path / FILE, create=False), open_series)
    follower.start()
    assert tried.wait(WAIT_S)
    fill(store, *year_of())
    assert len(store.heads()) == 2
    opened = threading.Event()
    monkeypatch.setattr(mirror, "catch_up", lambda *_, **__: opened.set())
    broken.clear()
    assert opened.wait(WAIT_S), "it goes on by itself"
    follower.stop()


def test_the_mirror_lags_while_batches_wait_and_catches_up_after(store, tmp_path, monkeypatch):
    monkeypatch.setattr(mirror, "LEAVES_A_ROUND", 5)
    fill(store, *year_of())
    asked, rounds, plain = threading.Event(), [], mirror.catch_up

    def counted_round(*args, **kwargs):
        rounds.append(1)
        return plain(*args, **kwargs)

    def is_busy():
        asked.set()
        return True

    monkeypatch.setattr(mirror, "catch_up", counted_round)
    path = tmp_path / "series.duckdb"
    follower = Mirror(
        lambda: SqliteStore(tmp_path / FILE, create=False), lambda: EmbeddedSeries(path), is_busy
    )
    follower.start()
    assert asked.wait(WAIT_S)
    assert len(rounds) == 1, "one round, then ingest has its turn"
    follower.stop()
    series = EmbeddedSeries(path)
    done = {name: size for name, (size, _) in series.progress().items()}
    assert done == {head.origin: head.size for head in store.heads()}
    series.close()


def test_closing_waits_for_a_read_that_is_under_way(tmp_path):
    """The control: DuckDB refuses to close under it, and the mirror's thread ended for good."""
    series = EmbeddedSeries(tmp_path / "series.duckdb")
    started, found = threading.Event(), []

    def read() -> None:
        with series._cursor() as cursor:
            started.set()
            found.extend(cursor.execute(LONG).fetchall())

    reader = threading.Thread(target=read)
    reader.start()
    assert started.wait(WAIT_S)
    series.close()
    reader.join()
    assert found == [(10_000_000,)]
    with pytest.raises(StoreError, match="closed"):
        series.latest(SITE)


def test_a_collector_that_starts_while_the_series_is_rebuilt_does_not_get_the_old_one(
    store, tmp_path
):
    """It would write into a file that is about to be replaced, and its log into the new one's."""
    fill(store, *year_of())
    path = tmp_path / "series.duckdb"
    seen = []

    def open_series(place):
        if place != path:
            seen.append(tried_elsewhere(path))
        return EmbeddedSeries(place)

    rebuild(store, path, open_series)
    assert seen == ["held"]
    assert tried_elsewhere(path) == "opened"
    series = EmbeddedSeries(path)
    assert len(content(series)["projected"]) == 2
    series.close()


def tried_elsewhere(path):
    """Whether another process can open the series."""
    code = (
        "import sys, duckdb\ntry: duckdb.connect(sys.argv[1]).close()\n"
        "except duckdb.IOException: print('held')\nelse: print('opened')"
    )
    words = [sys.executable, "-c", code, str(path)]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
