"""The year's energy in kWh, from the recording alone: the standard library and nothing of ours."""

import csv
import gzip
from decimal import Decimal
from pathlib import Path

RECORDING = (
    Path(__file__).parents[2]
    / "agent/joulemark_agent/simulate/recordings/steel_gwangyang_2018.csv.gz"
)

if __name__ == "__main__":
    with gzip.open(RECORDING, "rt", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    column = next(i for i, name in enumerate(rows[0]) if "kwh" in name.lower())
    print(sum((Decimal(row[column]) for row in rows[1:]), Decimal(0)))  # noqa: T201
