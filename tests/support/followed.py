"""A collector's folder with the small plant's evidence and log, and project files beside it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import yaml

from joulemark_agent.contract.signature import encode64
from joulemark_gateway.evidence.store import FILE, SqliteStore
from support.book import NOW_US, Book, registry
from support.bundles import policy_mapping
from support.evidence import COUNTER, KEYS, METER, WITNESS, build_tree
from support.log_writer import close_log
from support.plant import Plant, plan_mapping, small

US_PER_S = 1_000_000
ZONE = ZoneInfo("Asia/Seoul")


def fill(folder: Path, plant: Plant | None = None) -> Path:
    """A folder with `state`, filled, and `collector.yaml`."""
    plant = plant or small()
    state = folder / "state"
    state.mkdir(parents=True)
    book = Book(registry(devices=(METER, COUNTER)))
    with SqliteStore(state / FILE) as store:
        for device in (METER, COUNTER):
            for batch in build_tree(plant.site, device, plant.results[device]):
                verdict, note = book.accepted(batch)
                store.accept(verdict, note=note, received_us=NOW_US)
    close_log(state / FILE, NOW_US)
    for name, key in (("witness.key", KEYS.witness), ("report.key", KEYS.reporter)):
        (state / name).touch(mode=0o600)
        (state / name).write_text(encode64(key) + "\n")
    collector = {
        "name": WITNESS,
        "state_dir": "state",
        "agents": policy_mapping()["agents"],
        "operators": policy_mapping()["operators"],
        "projects": [{"follow": "followed"}],
    }
    (folder / "collector.yaml").write_text(yaml.safe_dump(collector))
    (folder / "followed").mkdir()
    return folder


WIRED = {"evidence": f"../state/{FILE}"}  # read as it is; with `collector` its log is closed first


def project_file(
    folder: Path, name: str = "pump-house.yaml", wired: Mapping[str, str] = WIRED, **changes: Any
) -> Path:
    """A project file in the folder that is followed."""
    path = folder / "followed" / name
    path.write_text(yaml.safe_dump({**plan_mapping(**changes), **wired}))
    return path


def at(day: date, hour: int = 0, minute: int = 0, zone_hours: int = 9) -> int:
    """A local time as an instant. [us UTC]"""
    moment = datetime(day.year, day.month, day.day, hour, minute, tzinfo=UTC)
    return (int(moment.timestamp()) - zone_hours * 3600) * US_PER_S
