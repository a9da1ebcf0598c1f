"""Raw records that came later than the bundle: they must be the leaves that its covers stand for.

An export of the gateway's archive is trusted in nothing. Each of its batches must end at a head of
the bundle, which the witness cosigned at the time, and its leaves must give the edge there that the
bundle's parts give. Then the tree is checked again with these leaves in it: counts, slots, decoding
and the energy that the envelopes stated.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from joulemark_agent.contract.batch import Batch
from joulemark_agent.contract.errors import EvidenceError
from joulemark_agent.contract.raw import parse_raw_file
from joulemark_agent.contract.signature import parse_checkpoint, parse_note
from joulemark_agent.contract.sparse import Part, Reel, is_same_tree
from joulemark_agent.contract.topics import parse_origin
from joulemark_gateway.evidence.bundle import TreeFiles
from joulemark_gateway.verify import decode, records
from joulemark_gateway.verify.case import Case, Place, readable
from joulemark_gateway.verify.finding import Finding, found

LAYER = "raw"
Leaves = tuple[bytes, ...]


@dataclass(frozen=True)
class Filled(Case):
    """A bundle's trees with raw records in place of their covers; only trees that got some."""

    trees_filled: Mapping[Place, TreeFiles] = field(default_factory=dict)

    @cached_property
    def files(self) -> Mapping[Place, TreeFiles | EvidenceError]:
        """Leaves and checkpoints of these trees."""
        return dict(self.trees_filled)


def check(case: Case, files: Mapping[str, bytes]) -> tuple[list[Finding], int]:
    """What does not hold of exports, and how many leaves they add to the bundle.

    Codes: `bad_raw_file` and those of a batch's form, `raw_unknown`, `raw_mismatch`, and those of
    `records` and `decode` for a tree with the leaves in it.

    Args:
        case: the bundle.
        files: the exports, by name.
    """
    findings: list[Finding] = []
    by_place: dict[Place, dict[tuple[int, int], set[Leaves]]] = {}
    for name, data in sorted(files.items()):
        try:
            for batch in parse_raw_file(data):
                place = _place_of(case, batch)
                there = by_place.setdefault(place, {})
                there.setdefault((batch.first_seq, batch.size), set()).add(batch.leaves)
        except EvidenceError as error:
            findings.append(Finding(error.code, f"{name}: {error.what}", LAYER))
    trees: dict[Place, TreeFiles] = {}
    for place, batches in by_place.items():
        try:
            trees[place] = _filled(readable(case.files)[place], batches)
        except EvidenceError as error:
            findings.append(found(error, LAYER))
    if trees:
        filled = Filled(case.bundle, trees)
        findings += [*records.check(filled, None), *decode.check(filled, None)]
    known = readable(case.files)
    added = sum(tree.present - known[place].present for place, tree in trees.items())
    return findings, added


def _place_of(case: Case, batch: Batch) -> Place:
    """The tree of the bundle that a batch is of.

    Raises:
        EvidenceError: `raw_unknown`: the bundle has no such head.
    """
    claimed = parse_checkpoint(parse_note(batch.checkpoint)[0])
    place = parse_origin(claimed.origin)[1:]
    files = readable(case.files).get(place)
    heads = [] if files is None else [parse_checkpoint(parse_note(n)[0]) for n in files.checkpoints]
    if claimed not in heads or claimed.size != batch.size:
        raise _bad(
            "raw_unknown",
            f"this bundle has no head of {claimed.size} leaves of {claimed.origin} with that root",
        )
    return place


def _filled(files: TreeFiles, batches: Mapping[tuple[int, int], Collection[Leaves]]) -> TreeFiles:
    """The tree with the leaves of these batches in place of what it has there.

    Args:
        files: the tree.
        batches: what was handed out as each batch, by first leaf and size of the tree after it; all
            of it must be true.
    """
    parts: list[Part] = []
    reel, size, waiting = Reel(files.parts), 0, dict(batches)
    for note in files.checkpoints:
        head = parse_checkpoint(parse_note(note)[0])
        held: Sequence[Part] = reel.take(head.size)
        for leaves in waiting.pop((size, head.size), ()):
            if not is_same_tree(leaves, held, size):
                what = f"these are not the leaves from {size} on that {head.origin} stands for"
                raise _bad("raw_mismatch", what)
            held = leaves
        parts += held
        size = head.size
    if waiting:
        first, end = min(waiting)
        raise _bad("raw_unknown", f"this bundle has no batch of the leaves {first} to {end - 1}")
    return TreeFiles(files.device, files.epoch, parts, files.checkpoints)


def _bad(code: str, what: str) -> EvidenceError:
    return EvidenceError(what, "Compare with the archive of the gateway.", code=code)
