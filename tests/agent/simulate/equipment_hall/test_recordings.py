"""The shipped recordings against the published files, and the rules of their form."""

import csv
import gzip
import io
from decimal import Decimal
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import yaml

from joulemark_agent.contract.errors import ConfigError
from joulemark_agent.simulate import slots as module
from joulemark_agent.simulate.equipment_hall.recordings import (
    COLUMNS,
    COMPRESSOR,
    INVERTER,
    RAIL,
    compact,
    load,
    parse,
)

SHIPPED = resources.files("joulemark_agent.simulate").joinpath("recordings")
ROOT = Path(module.__file__).parents[3]
PUBLISHED = {
    COMPRESSOR: "compressor_house_8x_1min/data-explorer-example_0501-0508.csv.gz",
    RAIL: "metropt3_compressor_head/MetroPT3_first1000.csv.gz",
    INVERTER: "pv_nrel_rsf2_dc_ac/nrel_RSF_II.csv.gz",
}
ROWS = {COMPRESSOR: 11_411, RAIL: 1000, INVERTER: 480}
NAMES = sorted(PUBLISHED)


def shipped_text(name: str) -> str:
    return gzip.decompress(SHIPPED.joinpath(f"{name}.csv.gz").read_bytes()).decode()


def published_text(folder: Path, name: str) -> str:
    return gzip.decompress((folder / PUBLISHED[name]).read_bytes()).decode()


@pytest.mark.parametrize("name", NAMES)
def test_the_shipped_copy_is_what_the_script_makes_of_the_published_file(
    name: str, plant_data: Path
) -> None:
    assert compact(name, published_text(plant_data, name)) == shipped_text(name)


@pytest.mark.parametrize("name", NAMES)
def test_every_value_is_within_a_billionth_of_the_published_one(
    name: str, plant_data: Path
) -> None:
    rows = list(csv.DictReader(io.StringIO(published_text(plant_data, name))))
    recording = load(name)

    for column in COLUMNS[name]:
        published = [Decimal(row[column.published]) for row in rows]
        kept = [Decimal(int(n)).scaleb(-column.places) for n in recording.values[column.name]]
        apart = [abs(a - b) for a, b in zip(published, kept, strict=True)]
        assert max(apart) <= (Decimal("1e-9") if name == RAIL else 0)


@pytest.mark.parametrize("name", NAMES)
def test_the_copy_says_nothing_of_when_or_as_what_it_was_packed(name: str) -> None:
    packed = SHIPPED.joinpath(f"{name}.csv.gz").read_bytes()

    assert packed[3] == 0  # flags: no file name, no comment
    assert packed[4:8] == bytes(4)  # time


def test_all_recordings_and_scenarios_together_are_at_most_8_mb() -> None:
    folders = [resources.files("joulemark_agent.simulate").joinpath("scenarios"), SHIPPED]
    files = [file for folder in folders for file in folder.iterdir()]

    assert len(files) >= 12
    assert sum(len(file.read_bytes()) for file in files) <= 8_000_000


@pytest.mark.parametrize("name", NAMES)
def test_the_source_file_tells_licence_origin_and_changes(name: str) -> None:
    source = yaml.safe_load(SHIPPED.joinpath(f"{name}.source.yaml").read_text("utf-8"))

    assert source["recording"] == name
    assert source["rows"] == ROWS[name] == load(name).stamp_us.size
    assert {"licence", "licence_text", "licence_read", "attribution", "origin"} <= set(source)
    assert len(source["changes"]) >= 3
    assert (ROOT / source["script"]).is_file()
    assert (name == RAIL) == ("second hand" in source["licence_read"])


@pytest.mark.parametrize("name", [COMPRESSOR, INVERTER])
def test_a_licence_that_asks_for_it_stands_beside_the_recording(name: str) -> None:
    text = SHIPPED.joinpath(f"{name}.licence.txt").read_text("utf-8")

    assert "Copyright" in text
    assert "permi" in text.lower()


def test_a1_was_sampled_every_59_s_and_its_stamps_are_those_minutes() -> None:
    recording = load(COMPRESSOR)

    assert np.all(np.diff(recording.at_us) == 59_000_000)
    assert np.array_equal(recording.at_us // 60_000_000, recording.stamp_us // 60_000_000)
    assert np.count_nonzero(np.diff(recording.stamp_us) == 0) == 191


@pytest.mark.parametrize("second", [0, 2])
def test_another_first_second_would_leave_the_minute_of_a_stamp(second: int) -> None:
    """The control: that the phase is known to the second is a fact of the file, not a choice."""
    recording = load(COMPRESSOR)
    shifted_us = recording.at_us + (second - 1) * 1_000_000

    assert not np.array_equal(shifted_us // 60_000_000, recording.stamp_us // 60_000_000)


def test_the_sums_of_the_recordings_are_the_published_ones() -> None:
    a1, rail, inverter = load(COMPRESSOR), load(RAIL), load(INVERTER)
    hours = np.diff(a1.stamp_us) / 3.6e9
    by_day = inverter.values["ac_power_w"].reshape(5, 96).sum(axis=1) / 4000

    assert (a1.values["power_kw"][:-1] * hours).sum() / 10 == pytest.approx(31_990.392, abs=1e-3)
    assert np.count_nonzero(a1.values["header_psig"] < 50_000) == 16
    assert set(np.diff(rail.stamp_us) // 1_000_000) == {9, 10}
    assert by_day.round(1).tolist() == [330_564.1, 326_005.9, 421_994.2, 377_322.5, 0]
    assert inverter.values["poa_w_m2"].reshape(5, 96).sum(axis=1)[4] / 4e6 == pytest.approx(
        1340.8, abs=0.05
    )


def test_the_newest_row_at_an_instant_is_the_last_that_was_sampled_by_then() -> None:
    recording = load(RAIL)
    at_us = recording.at_us

    around = np.array([at_us[0] - 1, at_us[0], at_us[1] - 1, at_us[1]])
    assert recording.newest(around).tolist() == [0, 0, 0, 1]
    assert recording.newest(np.array([at_us[-1] + 10**9])).tolist() == [999]


def test_published_binary_noise_is_taken_off_and_a_finer_value_is_refused() -> None:
    header = "timestamp,TP2,TP3,Reservoirs,Motor_current,COMP,DV_eletric,Towers\n"
    row = "2020-02-01 00:00:00,-0.0120000000000004,{},9.358,0.0424999999999995,1.0,0.0,1.0\n"

    assert compact(RAIL, header + row.format("9.358")).splitlines()[1] == (
        "2020-02-01T00:00:00,-0.012,9.358,9.358,0.0425,1,0,1"
    )
    with pytest.raises(ConfigError, match="has more than 3 decimals"):
        compact(RAIL, header + row.format("9.3581"))


@pytest.mark.parametrize(
    ("name", "old", "new", "why"),
    [
        (COMPRESSOR, "stamp,power_kw", "stamp,power_mw", "its first line"),
        (COMPRESSOR, "05:01:00,176,", "05:01:00,", "too few"),
        (COMPRESSOR, "05:01:00,176,", "05:01:00,176.05,", "more than 1 decimals"),
        (COMPRESSOR, "05:01:00,176,", "05:01:00,many,", "cannot be read"),
        (COMPRESSOR, "05:01:00,176,", "05:02:00,176,", "stamps are not those"),
        (COMPRESSOR, "2022-05-01T05:01:00,176,", "yesterday,176,", "cannot be read"),
        (RAIL, "00:00:10,", "00:00:00,", "stamps are not those"),
    ],
)
def test_a_recording_in_another_form_is_refused_with_its_reason(
    name: str, old: str, new: str, why: str
) -> None:
    text = shipped_text(name)
    assert old in text

    with pytest.raises(ConfigError, match=why):
        parse(name, text.replace(old, new, 1))
