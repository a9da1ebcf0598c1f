"""What the year must come to, from the recording alone: the standard library and nothing of ours.

Prints the year's energy, and the energy that 8 % less from 1 July in every quarter-hour starting
from 08:00 to before 20:00 comes to. [kWh]
"""

import csv
import gzip
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

RECORDING = (
    Path(__file__).parents[2]
    / "agent/joulemark_agent/simulate/recordings/steel_gwangyang_2018.csv.gz"
)
QUARTER = timedelta(minutes=15)

if __name__ == "__main__":
    total = injected = Decimal(0)
    with gzip.open(RECORDING, "rt", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            start = datetime.fromisoformat(row["end_local"]) - QUARTER
            energy_kwh = Decimal(row["usage_kwh"])
            total += energy_kwh
            if start >= datetime(2018, 7, 1) and 8 <= start.hour < 20:  # noqa: DTZ001
                injected += Decimal("0.08") * energy_kwh
    print(total, injected)  # noqa: T201
