"""A bundle of a million values: the small plant, and feeders that are read every minute beside it.

All feeders show the same: one is made as an agent makes it, the others are its leaves under other
names, hashed and signed.
"""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from joulemark_agent.contract import signature
from joulemark_agent.contract.batch import Batch
from joulemark_agent.contract.canonical import canonical_bytes, parse_canonical
from joulemark_agent.contract.reading import SIMULATED, Response
from joulemark_agent.contract.topics import origin
from joulemark_agent.contract.tree import Edge, append, root
from joulemark_agent.kernels.decode import decode_responses
from joulemark_gateway.evidence.account import read_account
from joulemark_gateway.evidence.bundle import Contents, TreeFiles, make_bundle
from joulemark_gateway.evidence.history import Tree, decoded, parse_tree, profile_of
from joulemark_gateway.reports.issue import issue
from joulemark_gateway.reports.provenance import predicate_of
from support import evidence
from support.bundles import CLAIMS, policy_mapping
from support.evidence import (
    BATCH_WALL_US,
    COUNTER,
    KEYS,
    METER,
    SEALED_US,
    SITE,
    START_US,
    WITNESS,
    Documents,
    Leaf,
    leaves_of,
)
from support.log_recipes import LogRecipe
from support.offline import profile
from support.plant import small

PERIOD_S, SLOW_S = 60, 10_800  # of a feeder, and of the plant
BUNDLE, POLICY = "bundle.zip", "policy.json"
_US_PER_S = 1_000_000


@dataclass(frozen=True)
class Size:
    """So many feeders of so many points, each read so often; a batch holds so many records."""

    feeders: int
    records: int
    points: int
    batch: int = 96

    @property
    def values(self) -> int:
        """Of all feeders."""
        return self.feeders * self.records * self.points

    @property
    def names(self) -> list[str]:
        """Of the feeders; all of one length."""
        return [f"feeder-{number:03}" for number in range(self.feeders)]


def write_bundle(folder: Path, size: Size) -> None:
    """The bundle, and the policy that trusts its keys."""
    site = evidence.documents(
        period_s=SLOW_S,
        profiles={name: profile(size.points) for name in size.names},
        settings={name: {"period_s": PERIOD_S} for name in size.names},
    )
    first, *others = size.names
    leaves = list(_records(site, first, size))
    groups = [leaves[at : at + size.batch] for at in range(0, len(leaves), size.batch)]
    groups[0] = evidence.opening(site, first, KEYS) + groups[0]
    like = evidence.seal(site, first, groups, KEYS)
    made = {first: like, **{name: _under(name, site, like) for name in others}}
    made |= {
        device: evidence.build_tree(site, device, small().results[device])
        for device in (METER, COUNTER)
    }
    log, documents = LogRecipe().made(made), site.by_digest()
    files = [
        TreeFiles(device, 1, leaves_of(batches), [batch.checkpoint for batch in batches])
        for device, batches in made.items()
    ]
    trees: list[Tree] = []
    for file in files:
        trees.append(
            _like(trees[0], file.device) if file.device in others else parse_tree(file.parts)
        )
        decoded(trees[0], profile_of(trees[0], documents))
    witnessed = [(tree, file.checkpoints) for tree, file in zip(trees, files, strict=True)]
    issued = issue(small().plan, witnessed, documents, CLAIMS, read_account(log))
    signers = policy_mapping()
    signers["agents"][0]["devices"] = [METER, COUNTER, *size.names]
    predicate = predicate_of(issued.provenance, signers, issued.report)
    contents = Contents(issued.report_json, issued.report_html, small().plan, documents, files, log)
    (folder / BUNDLE).write_bytes(make_bundle(contents, predicate, KEYS.reporter))
    (folder / POLICY).write_text(json.dumps(signers))


def _under(name: str, site: Documents, like: Sequence[Batch]) -> list[Batch]:
    """The batches of a device under another name."""
    (old,) = {parse_canonical(batch.leaves[-1])["dev"] for batch in like}
    edge, found = Edge(), []
    for number, batch in enumerate(like):
        leaves = [leaf.replace(f'"dev":"{old}"'.encode(), f'"dev":"{name}"'.encode())
                  for leaf in batch.leaves]  # fmt: skip
        if number == 0:
            opening = {**parse_canonical(leaves[0]), **evidence.opening(site, name, KEYS)[0]}
            leaves[0] = canonical_bytes(opening)
        previous = {"root": signature.encode64(root(edge)), "size": str(edge.size)}
        leaves[-1] = canonical_bytes({**parse_canonical(leaves[-1]), "previous": previous})
        edge = append(edge, leaves)
        head = signature.Checkpoint(origin(SITE, name, 1), edge.size, root(edge))
        time_s = (SEALED_US + number * BATCH_WALL_US) // _US_PER_S + 1
        note = signature.cosign(
            KEYS.witness, WITNESS, signature.sign_checkpoint(KEYS.agent, head), time_s
        )
        found.append(Batch(batch.first_seq, tuple(leaves), note, batch.documents))
    return found


def _like(tree: Tree, name: str) -> Tree:
    """The tree of a device under another name, as it would be parsed."""
    found = replace(tree, device=name, grant={**tree.grant, "dev": name})
    found.decoded.update(tree.decoded)
    return found


def _records(site: Documents, name: str, size: Size) -> Iterator[Leaf]:
    """What a feeder answers: counters that count, loads that waver."""
    known, draw = site.profile(name), random.Random(name)
    shown = [float(draw.randrange(10**6)) if point.counter else 200.0 for point in known.points]
    form = struct.Struct(">" + "".join("I" if point.counter else "f" for point in known.points))
    for number in range(size.records):
        words: list[float] = []
        for index, point in enumerate(known.points):
            grown = shown[index] + draw.randrange(3, 9)
            shown[index] = grown if point.counter else round(200 + draw.gauss(0, 20), 1)
            words.append(int(shown[index]) if point.counter else shown[index])
        data = form.pack(*words)
        values, quality = decode_responses(known, (Response("holding", 0, data),))
        slot_us = START_US + number * PERIOD_S * _US_PER_S
        yield {
            "boot": 1,
            "q": quality,
            "raw": [["holding", 0, data.hex()]],
            "slot": str(slot_us),
            "t_mono_ns": str(number * PERIOD_S * 10**9 + draw.randrange(10**6)),
            "t_utc_us": str(slot_us + draw.randrange(5_000, 60_000)),
            "tq": {"err_us": "0", "sync": SIMULATED},
            "val": values,
        }
