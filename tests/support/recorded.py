"""Published recordings, read as they are: from the package, or from the folder JOULEMARK_DATA."""

from __future__ import annotations

import csv
import gzip
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

MINUTE_US, HOUR_US, DAY_US = 60_000_000, 3_600_000_000, 86_400_000_000


def rows(path: Path) -> list[dict[str, str]]:
    """The rows of a compressed CSV."""
    with gzip.open(path, "rt", encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def us(stamp: str, form: str = "%Y-%m-%d %H:%M:%S") -> int:
    """A local stamp of a place that is not named, read as UTC. [us]"""
    return int(datetime.strptime(stamp, form).replace(tzinfo=UTC).timestamp()) * 1_000_000


def number(text: str) -> Decimal:
    """The value of a cell, exactly."""
    return Decimal(text)
