"""Columns that people bring: whatever a dataframe holds is read as it is meant, or refused."""

import numpy as np
import pandas as pd
import pytest

from joulemark_agent.contract.errors import MeasureError
from joulemark_gateway.measure import Data

DAY_US = 86_400_000_000


def columns(n=3, **more):
    starts = np.datetime64("2024-01-01", "us") + np.arange(n) * np.timedelta64(1, "D")
    return {"start": starts, "energy_wh": np.arange(1.0, n + 1), **more}


def read(frame, **more):
    return Data.of(frame, unit_us=DAY_US, zone="Asia/Seoul", **more)


def test_what_is_masked_is_missing():
    hidden = np.ma.array([1.0, 999.0, 3.0], mask=[False, True, False])
    assert np.isnan(read(columns(energy_wh=hidden)).energy_wh).tolist() == [False, True, False]
    whole = np.ma.array([1, 999, 3], mask=[False, True, False])
    kg = read(columns(production_kg=whole), drivers=["production_kg"]).driver("production_kg")
    assert np.isnan(kg).tolist() == [False, True, False]


def test_stamps_with_a_zone_of_their_own_are_instants():
    stamps = pd.Series(pd.date_range("2024-01-01", periods=3, tz="Asia/Seoul"))
    frame = pd.DataFrame({"start": stamps, "energy_wh": [1.0, 2.0, 3.0]})
    expected = pd.Timestamp("2023-12-31T15:00Z").value // 1000
    assert read(frame).start_us.tolist() == [expected + k * DAY_US for k in range(3)]


def test_lengths_may_be_times_and_a_unit_that_is_absent_leaves_a_hole():
    kept = np.array([0, 1, 3])
    starts = columns(4)["start"][kept]
    lengths = np.full(3, np.timedelta64(24, "h"), "timedelta64[ns]")
    data = read({"start": starts, "energy_wh": kept + 1.0, "length": lengths}, length="length")
    assert data.length_us.tolist() == [DAY_US] * 3
    assert data.position.tolist() == [0, 1, 3]
    nothing = {"start": starts[:0], "energy_wh": kept[:0] + 1.0, "length": lengths[:0]}
    assert read(nothing, length="length").n == 0


def test_bills_that_follow_one_another_have_no_holes():
    edges = np.arange("2024-01", "2025-01", dtype="datetime64[M]").astype("datetime64[us]")
    bills = {"start": edges[:-1], "energy_wh": np.ones(11), "length": np.diff(edges)}
    data = Data.of(bills, unit_us=30 * DAY_US, zone="UTC", length="length")
    assert data.position.tolist() == list(range(11))


class Stubborn(dict[str, object]):
    """A dataframe with an error of its own for a column that it has not."""

    def __getitem__(self, name):
        if name not in self:
            raise RuntimeError(name)
        return super().__getitem__(name)


@pytest.mark.parametrize(
    ("frame", "more", "code"),
    [
        (columns(energy_wh=np.array([1.0, "a few", 2.0], object)), {}, "bad_value"),
        (columns(energy_wh=np.array([1.0, pd.NA, 2.0], object)), {}, "bad_value"),
        (columns(energy_wh=columns()["start"]), {}, "bad_value"),
        (columns(length=np.array([1.0, np.nan, 1.0])), {"length": "length"}, "bad_length"),
        (columns(length=np.array(["1", "1", "1"])), {"length": "length"}, "bad_length"),
        (columns(start=pd.Series([pd.NaT] * 3, dtype=object)), {}, "bad_stamp"),
        (columns(start=np.array(["2024", "2025", "2026"])), {}, "bad_stamp"),
        (Stubborn(columns()), {"drivers": ["production_kg"]}, "missing_column"),
    ],
)
def test_what_cannot_be_read_is_refused_with_a_code(frame, more, code):
    with pytest.raises(MeasureError) as refused:
        read(frame, **more)
    assert refused.value.code == code


def test_a_zone_that_nobody_knows_is_refused():
    with pytest.raises(MeasureError) as refused:
        Data.of(columns(), unit_us=DAY_US, zone="Asia/Gwangyang")
    assert refused.value.code == "unknown_zone"
