"""The shipped recording against the published file, and the rules of its form."""

import csv
import gzip
import io
from datetime import UTC, datetime
from decimal import Decimal
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import yaml

from joulemark_agent.contract.errors import ConfigError
from joulemark_agent.simulate import recording as module
from joulemark_agent.simulate.recording import (
    HEADER,
    compact,
    end_of_interval,
    parse_recording,
    slot_at,
)
from joulemark_agent.simulate.run import load_recording

FOLDER = resources.files("joulemark_agent.simulate").joinpath("recordings")
PUBLISHED_HEADER = (
    "date,Usage_kWh,Lagging_Current_Reactive_Power_kVarh,Leading_Current_Reactive_Power_kVarh,"
    "CO2(tCO2),Lagging_Current_Power_Factor,Leading_Current_Power_Factor,NSM,WeekStatus,"
    "Day_of_week,Load_Type\n"
)


def shipped_text() -> str:
    packed = FOLDER.joinpath("steel_gwangyang_2018.csv.gz").read_bytes()
    return gzip.decompress(packed).decode()


def published_text(plant_data: Path) -> str:
    path = plant_data / "steel_gwangyang_2018/Steel_industry_data.csv.gz"
    return gzip.decompress(path.read_bytes()).decode()


def test_the_shipped_copy_is_what_the_script_makes_of_the_published_file(plant_data: Path) -> None:
    assert compact(published_text(plant_data)) == shipped_text()


def test_the_copy_is_at_most_500_kb_and_says_nothing_of_when_or_as_what_it_was_packed() -> None:
    packed = FOLDER.joinpath("steel_gwangyang_2018.csv.gz").read_bytes()

    assert len(packed) <= 500_000
    assert packed[3] == 0  # flags: no file name, no comment
    assert packed[4:8] == bytes(4)  # time


def test_every_value_is_the_hundredths_of_its_text() -> None:
    rows = list(csv.reader(io.StringIO(shipped_text())))[1:]
    recording = load_recording("steel_gwangyang_2018")

    for column, values in enumerate(
        (
            recording.energy_10wh,
            recording.lagging_10varh,
            recording.leading_10varh,
            recording.lagging_pf_1e4,
            recording.leading_pf_1e4,
        ),
        start=1,
    ):
        assert values.tolist() == [Decimal(row[column]) * 100 for row in rows]


def test_the_year_is_959_636_71_kwh_in_35_040_intervals_with_one_hole() -> None:
    recording = load_recording("steel_gwangyang_2018")

    assert recording.energy_10wh.size == 35_040
    assert recording.slots == 35_041
    assert recording.energy_10wh.sum() == 95_963_671
    assert np.flatnonzero(recording.energy_10wh == 0).tolist() == [310 * 96 + 95]  # 7 November
    assert recording.first_us == 1_514_732_400_000_000


def test_the_days_of_may_and_of_the_hole_are_the_published_ones() -> None:
    recording = load_recording("steel_gwangyang_2018")
    by_day = recording.energy_10wh.reshape(365, 96).sum(axis=1)

    assert by_day[134] == 366_068  # 2018-05-15
    assert by_day[7] == 531_851  # 2018-01-08
    assert by_day[310] == 264_030  # 2018-11-07
    assert recording.lagging_10varh.reshape(365, 96).sum(axis=1)[134] == 189_301
    assert recording.leading_10varh.reshape(365, 96).sum(axis=1)[46] == 95_581  # Seollal


def test_the_midnight_row_ends_the_day_whose_date_it_carries() -> None:
    assert end_of_interval("31/12/2018 00:00", is_midnight=True).isoformat() == (
        "2019-01-01T00:00:00+09:00"
    )
    assert end_of_interval("01/01/2018 00:15", is_midnight=False).isoformat() == (
        "2018-01-01T00:15:00+09:00"
    )


def test_without_the_midnight_rule_the_stamps_are_refused() -> None:
    """The control: taking the published dates as they are does not slip through."""
    naive = shipped_text().replace("2018-01-02T00:00", "2018-01-01T00:00")

    with pytest.raises(ConfigError, match="line 97 ends at '2018-01-01T00:00'"):
        parse_recording(naive)


def test_a_published_row_keeps_its_text_and_gets_its_true_end() -> None:
    rows = "07/11/2018 00:00,0,0,0,0,0,0,0,Weekday,Wednesday,Light_Load\n"

    assert compact("\ufeff" + PUBLISHED_HEADER + rows) == f"{HEADER}\n2018-11-08T00:00,0,0,0,0,0\n"


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("usage_kwh", "usage_mwh", "its first line"),
        ("2018-01-01T00:30,4,", "2018-01-01T00:30,", "too few"),
        ("2018-01-01T00:30,4,", "2018-01-01T00:45,4,", "line 3 ends at"),
        ("2018-01-01T00:30,4,", "2018-01-01T00:30,4.001,", "finer than 0.01"),
        ("2018-01-01T00:30,4,", "2018-01-01T00:30,-4,", "negative"),
        ("2018-01-01T00:30,4,", "2018-01-01T00:30,nan,", "not finite"),
        ("2018-01-01T00:30,4,", "2018-01-01T00:30,inf,", "not finite"),
        ("2018-01-01T00:30,4,", "2018-01-01T00:30,four,", "not a number"),
        ("66.77,100\n", "66.77,100.01\n", "above 100 %"),
    ],
)
def test_a_recording_in_another_form_is_refused_with_its_reason(
    old: str, new: str, why: str
) -> None:
    text = shipped_text()
    assert old in text

    with pytest.raises(ConfigError, match=why):
        parse_recording(text.replace(old, new, 1))


def test_a_recording_that_ends_early_or_late_is_refused() -> None:
    lines = shipped_text().splitlines()
    for wrong in (lines[:-1], [*lines, lines[-1]]):
        with pytest.raises(ConfigError, match="intervals, not the 35040 of 2018"):
            parse_recording("\n".join(wrong))


def test_the_source_file_tells_licence_origin_and_changes() -> None:
    text = FOLDER.joinpath("steel_gwangyang_2018.source.yaml").read_text("utf-8")
    source = yaml.safe_load(text)

    assert source["licence"] == "CC-BY-4.0"
    assert "second hand" in source["licence_read"]
    assert "general knowledge" in source["doi_seen_in"]
    assert source["rows"] == load_recording("steel_gwangyang_2018").energy_10wh.size
    root = Path(module.__file__).parents[3]
    assert (root / source["script"]).is_file()


def utc_us(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1_000_000)


@pytest.mark.parametrize(
    ("now", "slot"),
    [
        ("2025-12-31T15:00:00", 0),  # New Year in Korea
        ("2026-12-31T14:59:59", 35_039),
        ("2026-05-14T15:14:59", 134 * 96),
        ("2026-05-14T15:15:00", 134 * 96 + 1),
        ("2028-02-29T03:00:00", 58 * 96 + 48),  # 29 February reads the 28th
    ],
)
def test_real_time_shows_the_slot_of_the_same_day_and_time_of_the_recorded_year(
    now: str, slot: int
) -> None:
    assert slot_at(load_recording("steel_gwangyang_2018"), utc_us(now)) == slot
