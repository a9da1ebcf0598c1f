"""Meters from Parquet files, one row group in memory at a time, and results into them.

A row is a unit of a meter. The rows of a meter stand together and in the order of time, and may go
on in the next row group or file.

| column | type |
|---|---|
| meter | text or whole number |
| start | timestamp (without zone: UTC), or whole microseconds since 1970 in UTC |
| length_us | whole microseconds |
| energy_wh | number; null or NaN: missing |
| one for each driver | number, named with its unit: temperature_c, production_kg |
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from joulemark_agent.contract.errors import ConfigError, StoreError
from joulemark_gateway.fleet.plan_file import FleetPlan
from joulemark_gateway.measure.data import Data
from joulemark_gateway.measure.fleet import Measured, Meter

RESULTS, DOCUMENTS = "savings.parquet", "savings.jsonl"
_OWN = ("start", "length_us", "energy_wh")
_FIGURES = (
    "predicted_wh",
    "measured_wh",
    "saving_wh",
    "saving_half_width_wh",
    "total_wh",
    "standard_uncertainty_wh",
    "half_width_wh",
    "half_width_90_wh",
    "half_width_95_wh",
    "creditable_wh",
)
_SCHEMA = pa.schema(
    [
        ("meter", pa.string()),
        ("method", pa.string()),
        ("policy", pa.string()),
        ("policy_version", pa.string()),
        ("creditable_policy", pa.string()),
        ("confidence", pa.float64()),
        ("units", pa.int64()),
        ("kept", pa.int64()),
        ("disqualified", pa.bool_()),
        ("refused_by", pa.list_(pa.string())),
        ("warnings", pa.list_(pa.string())),
        *((name, pa.float64()) for name in _FIGURES),
    ]
)

Columns = dict[str, NDArray[Any]]


def read_meters(paths: Sequence[Path], plan: FleetPlan) -> Iterator[Meter]:
    """The meters of files, in their order, cut into the two periods of the plan.

    Raises:
        ConfigError: a file cannot be read, lacks a column, or has one of another type.
        StoreError: the rows of a meter do not stand together.
    """
    done: set[str] = set()
    name, pieces = None, list[Columns]()
    for path in paths:
        for one, columns in _runs(path, plan):
            if one != name:
                if name is not None:
                    yield _meter(name, pieces, plan)
                if one in done:
                    raise StoreError(
                        f"{path}: the meter {one!r} comes back after another one.",
                        "Sort the rows by meter and start, so that each meter is read once.",
                    )
                done.add(one)
                name, pieces = one, []
            pieces.append(columns)
    if name is not None:
        yield _meter(name, pieces, plan)


def write_results(found: Sequence[Measured], folder: Path) -> tuple[Path, Path]:
    """Write a table with a row for each meter and a file with its whole document in a line.

    Raises:
        StoreError: the folder cannot be written.
    """
    rows = [_row(one) for one in found]
    table = pa.Table.from_pylist(rows, schema=_SCHEMA)
    paths = folder / RESULTS, folder / DOCUMENTS
    parts = tuple(path.with_name(f".{path.name}.part") for path in paths)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, parts[0])
        with parts[1].open("w", encoding="utf-8") as file:
            for one in found:
                text = json.dumps({"meter": one.name, **one.document}, allow_nan=False)
                file.write(f"{text}\n")
        for part, path in zip(parts, paths, strict=True):
            part.replace(path)
    except OSError as error:
        raise StoreError(
            f"{folder} cannot be written: {error}.", "Name a folder with space that is yours."
        ) from error
    return paths


def _row(one: Measured) -> dict[str, Any]:
    document = one.document
    failed = [finding["code"] for finding in document["warnings"] if not finding["passed"]]
    return {
        "meter": one.name,
        "method": document["method"],
        "policy": document["policy"]["id"],
        "policy_version": document["policy"]["version"],
        "creditable_policy": document["creditable_policy"],
        "confidence": document["confidence"],
        **document["coverage"],
        "disqualified": document["disqualified"],
        "refused_by": document["refused_by"],
        "warnings": list(dict.fromkeys(failed)),
        **(document["figures"] or {}),
    }


def _runs(path: Path, plan: FleetPlan) -> Iterator[tuple[str, Columns]]:
    """The rows of a file by meter, row group by row group."""
    names = ("meter", *_OWN, *plan.drivers)
    try:
        with pq.ParquetFile(path) as file:
            missing = [name for name in names if name not in file.schema_arrow.names]
            if missing:
                raise ConfigError(
                    f"{path} has no column {', '.join(missing)}.",
                    f"It has: {', '.join(file.schema_arrow.names)}.",
                )
            for group in range(file.num_row_groups):
                table = file.read_row_group(group, columns=list(names))
                yield from _by_meter(table, path)
    except (OSError, pa.ArrowException) as error:
        raise ConfigError(
            f"{path} cannot be read as Parquet: {error}.", "Name a file that can."
        ) from error


def _by_meter(table: pa.Table, path: Path) -> Iterator[tuple[str, Columns]]:
    if not table.num_rows:
        return
    found = {name: _array(table, name, path) for name in table.column_names if name != "meter"}
    meters = table.column("meter").cast(pa.string()).combine_chunks().dictionary_encode()
    if meters.null_count:
        raise ConfigError(f"{path} has rows without a meter.", "Name the meter in each row.")
    code = meters.indices.to_numpy(zero_copy_only=False)
    edges = [0, *(np.flatnonzero(np.diff(code)) + 1).tolist(), code.size]
    for begin, end in pairwise(edges):
        name = meters.dictionary[int(code[begin])].as_py()
        yield name, {key: column[begin:end].copy() for key, column in found.items()}


def _array(table: pa.Table, name: str, path: Path) -> NDArray[Any]:
    column = table.column(name)
    if name in {"start", "length_us"}:
        if name == "start" and pa.types.is_timestamp(column.type):
            column = column.cast(pa.timestamp("us", column.type.tz)).cast(pa.int64())
        if not pa.types.is_integer(column.type) or column.null_count:
            raise ConfigError(
                f"{path}: {name!r} is {column.type} with {column.null_count} nulls.",
                "Give a timestamp or whole microseconds in each row.",
            )
        return np.asarray(column.cast(pa.int64()).to_numpy())
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        raise ConfigError(f"{path}: {name!r} is {column.type}.", "Give numbers, null if missing.")
    return np.asarray(column.cast(pa.float64()).to_numpy())


def _meter(name: str, pieces: Sequence[Columns], plan: FleetPlan) -> Meter:
    """The meter as it stands in the file: what is wrong with it is said when it is measured."""
    whole = {key: np.concatenate([piece[key] for piece in pieces]) for key in pieces[0]}
    start_us = whole["start"]
    position = (start_us - start_us[0] + plan.unit_us // 2) // plan.unit_us
    drivers = {driver: whole[driver] for driver in plan.drivers}
    data = Data(start_us, whole["length_us"], position, whole["energy_wh"], drivers, plan.zone)
    return Meter.cut(name, data, plan.baseline, plan.reporting)
