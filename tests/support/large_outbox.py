"""An outbox in which very much waits, made in seconds: its files are real, their leaves are not."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

from joulemark_agent import outbox_tables as tables
from joulemark_agent.backlog import MOST_BATCHES, Group, list_of
from joulemark_agent.contract.signature import Checkpoint, sign_checkpoint
from joulemark_agent.contract.sparse import Withheld
from joulemark_agent.contract.tree import HASH_BYTES, Edge, cover_sizes, root
from joulemark_agent.covers import Run, Tree, packed
from joulemark_agent.outbox import Outbox
from support.evidence import KEYS, METER, SITE
from support.recording import state

LEAVES = 6  # of a batch
BYTES = 36_000  # of a group of 64 batches of 5 records of 10 points


def large_outbox(folder: Path, size_bytes: int) -> None:
    """Fill the outbox of a folder with groups of this size in all."""
    with closing(Outbox(state(folder))) as box:
        files = box._files
        assert files is not None
        count = size_bytes // BYTES
        size = count * MOST_BATCHES * LEAVES
        edge = Edge(size, tuple(os.urandom(HASH_BYTES) for _ in range(size.bit_count())))
        note = sign_checkpoint(
            KEYS.agent, Checkpoint(f"joulemark/{SITE}/{METER}/1", size, root(edge))
        )
        tree = Tree(METER, 1, b"grant", edge, edge, note, 0, size)
        groups, runs = [], []
        home = state(folder).with_name("outbox-backlog")
        home.mkdir()
        for index in range(count):
            first = index * MOST_BATCHES * LEAVES
            ends = tuple(first + LEAVES * (i + 1) for i in range(MOST_BATCHES))
            group = Group(METER, 1, first, ends[-1], list_of(ends), BYTES)
            (home / group.file).write_bytes(os.urandom(BYTES))
            covers = packed(
                Withheld(LEAVES, tuple(os.urandom(HASH_BYTES) for _ in cover_sizes(start, LEAVES)))
                for start in range(first, ends[-1], LEAVES)
            )
            groups.append(group)
            runs.append(Run(METER, 1, first, ends[-1], note, covers, 0, 0, 5 * MOST_BATCHES))

        def write(db) -> None:
            tables.write_tree(db, tree)
            for group in groups:
                tables.write_group(db, group)

        files.file.transact(write)
        files.covers.keep([tree], runs)
