"""Meters out of Parquet files, and results into them."""

import json

import numpy as np
import pytest

from joulemark_agent.contract.errors import ConfigError, StoreError
from joulemark_gateway.measure.data import Data
from joulemark_gateway.measure.fleet import Measured, measure_many
from support.fleets import building, fleet, meter_of, write

pytest.importorskip("pyarrow", reason="the extra [fleet] is not installed")
import pyarrow.parquet as pq

from joulemark_gateway.fleet.parquet import read_meters, write_results
from joulemark_gateway.fleet.plan_file import load_plan

METERS = fleet(3)


@pytest.fixture
def plan(plan_file):
    return load_plan(plan_file)


def read(paths, plan):
    return list(read_meters(paths, plan))


@pytest.mark.parametrize("group_rows", [100, 730, 10_000])
def test_meters_are_what_was_written_however_the_rows_are_grouped(tmp_path, plan, group_rows):
    found = read([write(tmp_path / "m.parquet", METERS, group_rows=group_rows)], plan)
    assert [one.name for one in found] == list(METERS)
    for one, data in zip(found, METERS.values(), strict=True):
        asked = meter_of(one.name, data)
        for got, wanted in ((one.baseline, asked.baseline), (one.reporting, asked.reporting)):
            assert np.array_equal(got.start_us, wanted.start_us)
            assert np.array_equal(got.length_us, wanted.length_us)
            assert np.array_equal(np.diff(got.position), np.diff(wanted.position))
            assert np.array_equal(got.energy_wh, wanted.energy_wh, equal_nan=True)
            assert np.array_equal(got.driver("temperature_c"), wanted.driver("temperature_c"))


def test_only_one_row_group_is_in_memory_at_a_time(tmp_path, plan, monkeypatch):
    path = write(tmp_path / "m.parquet", METERS, group_rows=730)
    read_groups: list[int] = []
    whole = pq.ParquetFile.read_row_group

    def counted(file, group, **more):
        read_groups.append(group)
        return whole(file, group, **more)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", counted)
    meters = read_meters([path], plan)
    next(meters)
    assert read_groups == [0, 1]  # the second tells that the first meter is whole


def test_a_meter_goes_on_in_the_next_file_and_absent_rows_leave_holes(tmp_path, plan):
    data = building(1)
    kept = data.where(np.delete(np.arange(data.n), [5, 6, 200]))
    first = write(tmp_path / "1.parquet", {"one": kept.where(kept.position < 150)})
    second = write(tmp_path / "2.parquet", {"one": kept.where(kept.position >= 150)})
    (found,) = read([first, second], plan)
    assert found.baseline.n == 365 - 3
    assert np.count_nonzero(np.diff(found.baseline.position) > 1) == 2


def test_a_meter_that_comes_back_is_refused(tmp_path, plan):
    path = write(tmp_path / "m.parquet", METERS)
    with pytest.raises(StoreError, match="comes back after another one"):
        read([path, path], plan)


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"start": ["2024"] * 730}, "'start' is string"),
        ({"start": [None] * 730}, "'start' is null"),
        ({"energy_wh": ["1"] * 730}, "'energy_wh' is string"),
        ({"length_us": [86_400e6] * 730}, "'length_us' is double"),
        ({"meter": [None] * 730}, "rows without a meter"),
    ],
)
def test_columns_of_another_type_are_refused(tmp_path, plan, columns, told):
    path = write(tmp_path / "m.parquet", {"one": building(0)}, **columns)
    with pytest.raises(ConfigError) as refused:
        read([path], plan)
    assert told in str(refused.value)


def test_files_that_are_none_and_columns_that_are_not_there_are_told(tmp_path, plan, plan_file):
    (tmp_path / "m.parquet").write_text("no Parquet")
    for path in (tmp_path / "m.parquet", tmp_path / "none.parquet"):
        with pytest.raises(ConfigError, match="cannot be read as Parquet"):
            read([path], plan)
    plan_file.write_text(plan_file.read_text().replace("[temperature_c]", "[production_kg]"))
    path = write(tmp_path / "m.parquet", METERS)
    with pytest.raises(ConfigError, match="has no column production_kg"):
        read([path], load_plan(plan_file))


def test_whole_numbers_and_nulls_are_read(tmp_path, plan):
    data = building(1)
    energy = [None, *range(1, data.n)]
    path = write(
        tmp_path / "m.parquet", {"x": data}, energy_wh=energy, start=data.start_us,
        meter=[7] * data.n,
    )  # fmt: skip
    (found,) = read([path], plan)
    assert found.name == "7"
    assert np.isnan(found.baseline.energy_wh[0])
    assert found.baseline.energy_wh[1] == 1.0


def test_results_have_a_row_each_and_a_document_each(tmp_path, plan):
    meters = [meter_of(name, data) for name, data in METERS.items()]
    short = meter_of("short", building(9))
    short = type(short)("short", short.baseline.where(short.baseline.position < 9), short.reporting)
    found = measure_many([*meters, short], plan.plan)
    table, documents = write_results(found, tmp_path / "out")
    rows = pq.read_table(table).to_pylist()
    assert [row["meter"] for row in rows] == [*METERS, "short"]
    for row, one in zip(rows, found, strict=True):
        for name, value in (one.figures or {}).items():
            assert row[name] == value
        assert row["policy"] == "caltrack-daily-2.0"
    assert rows[-1]["total_wh"] is None
    assert rows[-1]["disqualified"]
    assert "wrong_baseline_length" in rows[-1]["refused_by"]
    lines = documents.read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"meter": one.name, **one.document} for one in found
    ]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "savings.jsonl",
        "savings.parquet",
    ]


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(StoreError, match="cannot be written"):
        write_results(list[Measured](), tmp_path / "out")


def test_the_reader_gives_data_of_the_engine(tmp_path, plan):
    (found,) = read([write(tmp_path / "m.parquet", {"one": building(2)})], plan)
    assert isinstance(found.baseline, Data)
