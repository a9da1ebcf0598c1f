"""Two collectors share a subscription and a ledger in PostgreSQL; one is killed, time and again.

Twenty agents (real outboxes, recorders and uplinks, in one process; only their readings are made
up) send over mosquitto to two `joulemark collector run` in one group, on a server of their own.
One of the two is killed at a random moment and started again. In the end every slot must be held
once, and the heads of all trees must be those of a single collector that is fed the same batches.

The control acknowledges before its COMMIT, as a store that gathers several batches in a transaction
would: the same kills must lose what agents have deleted already.
"""

from __future__ import annotations

import random
import statistics
import tempfile
from pathlib import Path

from support import sharing
from support.postgres import Cluster, cluster

AGENTS, KILLS, ROUNDS = 20, 20, 5
PAUSE_S, SPREAD_S = 0.2, 0.4  # between two batches of an agent; in which a kill falls
CONTROL_KILLS = 4
NAMES = ("north", "south")


def disturbed(folder: Path, server: Cluster, seed: int) -> tuple[sharing.Killed, dict[str, str]]:
    """One round; AssertionError where the ledger is not that of a collector alone."""
    with sharing.running(folder, server, AGENTS, NAMES) as made:
        done = sharing.killed(made, random.Random(seed), KILLS, pause_s=PAUSE_S, spread_s=SPREAD_S)
        return done, sharing.compared(made, done.slots)


def control(folder: Path, server: Cluster, seed: int) -> int:
    """How many leaves are lost by one that receipts too early."""
    with sharing.running(folder, server, AGENTS, NAMES[:1], sharing.HASTY) as made:
        return sharing.lost_by(
            made, random.Random(seed), CONTROL_KILLS, pause_s=PAUSE_S, spread_s=SPREAD_S
        )


def run(seed: int, *, full: bool) -> dict[str, str]:
    """Five rounds of 20 kills; `full=False` one."""
    kills, moving = 0, 0
    took_s: list[float] = []
    figures: dict[str, str] = {}
    rounds = ROUNDS if full else 1
    with (
        tempfile.TemporaryDirectory(prefix="joulemark-several-") as name,
        cluster(folder=Path(tempfile.gettempdir())) as server,
    ):
        for number in range(rounds):
            folder = Path(name) / str(number)
            folder.mkdir()
            done, figures = disturbed(folder, server, seed + number)
            kills += done.kills
            moving += done.moving
            took_s += done.took_s
        folder = Path(name) / "control"
        folder.mkdir()
        gone = control(folder, server, seed)
    assert gone > 0, f"receipts before the COMMIT lose nothing in {CONTROL_KILLS} kills"
    return {
        "agents, collectors": f"{AGENTS}, {len(NAMES)}",
        "SIGKILLs of a collector that listened": f"{kills:,} in {rounds} round(s)",
        "kills after something had arrived since the last": f"{moving:,}",
        "from a kill to the next batch in the ledger, median, longest": (
            f"{statistics.median(took_s):.2f} s, {max(took_s):.2f} s"
        ),
        **{f"{what} (last round)": figure for what, figure in figures.items()},
        "control, receipt before COMMIT": f"{gone:,} leaves lost in {CONTROL_KILLS} kills",
    }
