"""Make the shipped copy of the Gwangyang recording from the published file.

Run from the root of the repository, with Joulemark installed:
    JOULEMARK_DATA=data python docs/scripts/make_steel_gwangyang_2018.py
JOULEMARK_DATA is the folder that holds `steel_gwangyang_2018/Steel_industry_data.csv.gz`.
What is changed is written beside the copy, in `steel_gwangyang_2018.source.yaml`.
"""

import gzip
import os
from pathlib import Path

from joulemark_agent.simulate.recording import compact, parse_recording

SOURCE = "steel_gwangyang_2018/Steel_industry_data.csv.gz"
TARGET = Path("agent/joulemark_agent/simulate/recordings/steel_gwangyang_2018.csv.gz")


def main() -> None:
    """Write the copy; the same input gives the same bytes (no name, no time in the header)."""
    published = gzip.decompress((Path(os.environ["JOULEMARK_DATA"]) / SOURCE).read_bytes())
    text = compact(published.decode("utf-8-sig"))
    recording = parse_recording(text)
    with (
        TARGET.open("wb") as file,
        gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=file, mtime=0) as packed,
    ):
        packed.write(text.encode())
    kwh = int(recording.energy_10wh.sum()) / 100
    print(
        f"{TARGET}: {TARGET.stat().st_size} bytes, {recording.slots - 1} intervals, {kwh:.2f} kWh"
    )


if __name__ == "__main__":
    main()
