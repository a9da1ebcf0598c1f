"""Recorded machines that may not enter the repository, read from JOULEMARK_DATA."""

import csv
import gzip
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

Table = Mapping[str, NDArray[np.float64]]


@pytest.fixture(scope="session")
def recorded(plant_data: Path) -> Callable[[str, str, str], Table]:
    """Reads a recording: its columns as numbers, and `t_s`, its stamps read as UTC."""

    def read(path: str, stamp: str, form: str) -> Table:
        with gzip.open(plant_data / path, "rt", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        t_s = [datetime.strptime(row[stamp], form).replace(tzinfo=UTC).timestamp() for row in rows]
        columns = {
            name: np.array([float(row[name] or "nan") for row in rows])
            for name in rows[0]
            if name not in {stamp, "Unnamed: 0"}
        }
        return {**columns, "t_s": np.array(t_s)}

    return read
