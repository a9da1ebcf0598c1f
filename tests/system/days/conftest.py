"""Recorded days through sockets, signatures and the collector's ledger, and the page they make."""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from joulemark_gateway.broker import RunningBroker, start_broker
from support.plant_day import PlantDay, run_day
from support.table_factory import Table

RunDay = Callable[[Sequence[Table]], PlantDay]
Told = Callable[[str, object, str], None]
PAGE = Path(__file__).parents[3] / "docs/figures/days.md"
HEAD = """\
# Figures of the factory days

Recorded days through sockets, agent, broker and ledger, computed from the evidence; made by
`JOULEMARK_FIGURES=1 pytest -n 0 -m '' tests/system/days`. Where the data is: [data](../data.md).

| what | found | due |
|---|---|---|
"""


@pytest.fixture(scope="session")
def broker() -> Iterator[RunningBroker]:
    """The embedded broker, one for all days."""
    with start_broker("embedded") as running:
        yield running


@pytest.fixture(scope="module")
def run(broker, tmp_path_factory) -> RunDay:
    """The chain for some tables, in a folder of its own."""

    def run(tables: Sequence[Table]) -> PlantDay:
        return run_day(tmp_path_factory.mktemp("day"), broker, tables)

    return run


@pytest.fixture(scope="session")
def told() -> Iterator[Told]:
    """Takes down a figure; with JOULEMARK_FIGURES set, the page of all of them is written."""
    lines: dict[str, tuple[str, str]] = {}

    def tell(what: str, found: object, due: str) -> None:
        text = f"{found:,}" if isinstance(found, (int, float, np.number)) else str(found)
        lines[what] = text, due

    yield tell
    if os.environ.get("JOULEMARK_FIGURES"):
        table = "\n".join(f"| {what} | {found} | {due} |" for what, (found, due) in lines.items())
        PAGE.write_text(f"{HEAD}{table}\n", "utf-8")
