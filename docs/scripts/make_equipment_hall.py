"""Make the shipped copies of the equipment hall's recordings from the published files.

Run from the root of the repository, with Joulemark installed:
    JOULEMARK_DATA=data python docs/scripts/make_equipment_hall.py
JOULEMARK_DATA is the folder that holds the published files named below. What is changed is written
beside each copy, in its `.source.yaml`.
"""

import gzip
import os
from pathlib import Path

from joulemark_agent.simulate.equipment_hall.recordings import (
    COMPRESSOR,
    INVERTER,
    RAIL,
    compact,
    parse,
)

SOURCES = {
    COMPRESSOR: "compressor_house_8x_1min/data-explorer-example_0501-0508.csv.gz",
    RAIL: "metropt3_compressor_head/MetroPT3_first1000.csv.gz",
    INVERTER: "pv_nrel_rsf2_dc_ac/nrel_RSF_II.csv.gz",
}
TARGET = Path("agent/joulemark_agent/simulate/recordings")


def main() -> None:
    """Write the copies; the same input gives the same bytes (no name, no time in the header)."""
    for name, source in SOURCES.items():
        published = gzip.decompress((Path(os.environ["JOULEMARK_DATA"]) / source).read_bytes())
        text = compact(name, published.decode("utf-8-sig"))
        rows = parse(name, text).stamp_us.size
        path = TARGET / f"{name}.csv.gz"
        with (
            path.open("wb") as file,
            gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=file, mtime=0) as packed,
        ):
            packed.write(text.encode())
        print(f"{path}: {path.stat().st_size} bytes, {rows} rows")


if __name__ == "__main__":
    main()
