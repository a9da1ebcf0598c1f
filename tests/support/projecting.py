"""A writer of the series that a test kills: rows acknowledged, progress not yet kept."""

from __future__ import annotations

import json
import os
import signal
from multiprocessing.connection import Connection
from pathlib import Path

from joulemark_gateway.evidence.store import FILE, SqliteStore
from joulemark_gateway.series import progress
from joulemark_gateway.series.influx import InfluxSeries
from joulemark_gateway.series.mirror import catch_up
from joulemark_gateway.series.servers import Server

ORDERS = "orders.json"  # {kind, url, steps}
LEAVES = 11


def project_until_killed(folder: Path, said: Connection) -> None:
    """Write in rounds; at the last of `steps`, die by SIGKILL between the rows and the progress."""
    orders = json.loads((folder / ORDERS).read_text())
    server = Server(orders["url"], "joulemark", "joulemark")
    series = InfluxSeries(orders["kind"], server, folder / progress.FILE)
    kept = series._opened()
    plain, done = kept.keep, 0

    def keep(*args: object) -> None:
        nonlocal done
        done += 1
        if done == orders["steps"]:
            said.send("written")
            os.kill(os.getpid(), signal.SIGKILL)
        plain(*args)  # type: ignore[arg-type]  # passed on as they came

    kept.keep = keep  # type: ignore[assignment,method-assign]  # for this process
    with SqliteStore(folder / FILE, create=False) as store:
        while catch_up(store, series, leaves=LEAVES):
            pass
