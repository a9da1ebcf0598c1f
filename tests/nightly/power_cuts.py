"""The power of a real ext4 is cut at random: no row that was acknowledged is lost, none is damaged.

The file system is shut down under the writers (as `xfs_io -x -c shutdown` does): what its journal
does not hold yet is gone, as in a power cut; then it is mounted again. On it write an agent's
recorder with its outbox, a collector's intake with its evidence store and the collector's own log,
and beside them the same with `synchronous=NORMAL`, the mutant, which must lose rows.
"""

from __future__ import annotations

import logging
import random
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from support import cut_writer
from support.cut_writer import NORMAL, Acked, Found
from support.disk import PoweredDisk, powered
from support.forks import Forks, until

CUTS, FEW = 1000, 40
EVERY = 4  # so many cuts hit the mutant once
LIFE = 10  # cuts before a pair begins anew, so that what is checked stays small
SHORTEST_S, LONGEST_S = 0.0, 0.15  # after the first new commit


@dataclass
class Pair:
    """One pair of stores, over all its lives."""

    home: Path
    words: tuple[str, ...] = ()
    cuts: int = 0
    lives: int = 1
    acked: Acked = field(default_factory=Acked)
    slots: int = 0  # acknowledged in all lives
    leaves: int = 0
    logged: int = 0
    losses: list[Found] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        """Where it lives now."""
        return self.home / f"{'-'.join(('pair', *self.words))}-{self.lives}"

    def judge(self) -> None:
        """Look at what a cut has left."""
        self.cuts += 1
        found = cut_writer.found(self.folder, self.acked)
        is_whole = found == Found()
        if not is_whole:
            self.losses.append(found)
        if not is_whole or self.cuts % LIFE == 0:
            self.begin_anew()

    def begin_anew(self) -> None:
        """End this life, and count what was acknowledged in it."""
        self.slots += self.acked.slots
        self.leaves += self.acked.leaves
        self.logged += self.acked.logged
        self.acked, self.lives = Acked(), self.lives + 1


def _cut(disk: PoweredDisk, forks: Forks, pairs: list[Pair], wait_s: float, log: Path) -> None:
    """Let the pairs write, cut, look."""
    writers = [
        forks.start("support.cut_writer:write", [str(pair.folder), *pair.words], log)
        for pair in pairs
    ]
    until(lambda: all("collector" in w.said() or w.poll() is not None for w in writers), "a commit")
    time.sleep(wait_s)  # the moment within commits, not a wait for anything
    said = [writer.said() for writer in writers]
    disk.cut()
    for pair, writer, words in zip(pairs, writers, said, strict=True):
        writer.kill()
        writer.wait()
        pair.acked.hear(words)
    disk.restore()
    for pair in pairs:
        pair.judge()


def run(seed: int, *, full: bool) -> dict[str, str]:
    """A thousand cuts; `full=False` forty."""
    draw, cuts = random.Random(seed), CUTS if full else FEW
    logging.getLogger("joulemark_agent").addHandler(logging.NullHandler())  # of what mutants lost
    with tempfile.TemporaryDirectory(prefix="joulemark-cuts-") as name:
        folder = Path(name)
        with powered(folder) as disk, Forks("support.cut_writer:ready") as forks:
            pair, mutant = Pair(disk.folder), Pair(disk.folder, (NORMAL,))
            took_s = []
            for number in range(cuts):
                both = [pair, mutant][: 2 if number % EVERY == 0 else 1]
                begun_s = time.monotonic()
                wait_s = draw.uniform(SHORTEST_S, LONGEST_S)
                _cut(disk, forks, both, wait_s, folder / "log.txt")
                took_s.append(time.monotonic() - begun_s)
    assert not pair.losses, pair.losses[:3]
    assert mutant.losses, "the mutant lost nothing: these cuts prove nothing"
    for one in (pair, mutant):
        one.begin_anew()
    return {
        "power cuts on ext4": f"{cuts:,}",
        "slots the agent had committed": f"{pair.slots:,}",
        "leaves the collector had confirmed; entries of its log it had signed": (
            f"{pair.leaves:,}; {pair.logged:,}"
        ),
        "of those lost; stores damaged": f"0; {len(pair.losses)}",
        "per cut, mean": f"{sum(took_s) / len(took_s):.2f} s",
        "mutant synchronous=NORMAL: cuts that lost": f"{len(mutant.losses)} of {mutant.cuts}",
        "its rows lost": (
            f"{sum(one.lost_slots for one in mutant.losses):,} of {mutant.slots:,} slots,"
            f" {sum(one.lost_leaves for one in mutant.losses):,} of {mutant.leaves:,} leaves,"
            f" {sum(one.lost_entries for one in mutant.losses):,} of {mutant.logged:,} entries"
        ),
    }
