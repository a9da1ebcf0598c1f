"""The collector's log about the trees of a bundle, in memory: two closings, and another site."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from joulemark_agent.contract.batch import Batch
from joulemark_agent.contract.errors import EvidenceError
from joulemark_agent.contract.signature import (
    Checkpoint,
    cosign,
    parse_checkpoint,
    parse_note,
    sign_checkpoint,
)
from joulemark_agent.contract.sparse import Part, withheld
from joulemark_agent.contract.tree import Edge, append, root
from joulemark_gateway.evidence.account import LogFiles
from joulemark_gateway.evidence.corrections import Correction, correction_entry
from joulemark_gateway.evidence.entries import (
    GRANT,
    Entry,
    approval_entry,
    document_entry,
    entry_leaf,
    grant_content,
    heads_entry,
)
from joulemark_gateway.evidence.history import grant_of
from support.evidence import KEYS, SEALED_US, SITE
from support.logs import FIRM, FIRM_KEY, ORIGIN

OTHER_SITE = "pohang"
HOUR_US = 3_600_000_000
Closings = list[list[Entry]]


@dataclass(frozen=True)
class LogRecipe:
    """What is different of a log; a test replaces one part of it, the rest follows suit."""

    key: bytes = KEYS.witness
    origin: str = ORIGIN
    cosigners: Mapping[str, bytes] = field(default_factory=lambda: {FIRM: FIRM_KEY})
    corrections: Sequence[tuple[Correction, bytes]] = ()  # each with the key that signs it
    early: Sequence[tuple[int, list[Entry]]] = ()  # closings before all others, each at its time
    closings: Callable[[Closings], Closings] = lambda closings: closings
    leaf: Callable[[bytes], bytes] = lambda leaf: leaf  # before it is hashed
    files: Callable[[LogFiles], LogFiles] = lambda files: files

    def made(self, batches: Mapping[str, Sequence[Batch]]) -> LogFiles:
        """The log about these trees."""
        leaves: list[tuple[str, bytes]] = []
        notes: list[str] = []
        numbers: dict[str, int] = {}
        parts: list[Part] = []
        honest = self.closings(closings_of(batches, self.corrections))
        later = [(SEALED_US + k * HOUR_US, entries) for k, entries in enumerate(honest)]
        for time_us, entries in (*self.early, *later):
            made = []
            for entry in entries:
                n = numbers[entry.site] = numbers.get(entry.site, -1) + 1
                made.append((entry.site, self.leaf(entry_leaf(entry, n, time_us))))
            parts += covered(made, len(leaves))
            leaves += made
            edge = append(Edge(), [leaf for _, leaf in leaves])
            note = sign_checkpoint(self.key, Checkpoint(self.origin, edge.size, root(edge)))
            for name, key in self.cosigners.items():
                note = cosign(key, name, note, time_us // 1_000_000 + 1)
            notes.append(note)
        return self.files(LogFiles(parts, notes))


def closings_of(
    batches: Mapping[str, Sequence[Batch]], corrections: Sequence[tuple[Correction, bytes]]
) -> Closings:
    """What an honest collector logs: approvals and first heads, then corrections and the last."""
    approvals: list[Entry] = []
    for made in batches.values():
        with suppress(EvidenceError, AttributeError):  # a grant that is none: others say so
            grant, _ = grant_of(made[0].leaves[0])
            origin = head_of(made[0]).origin
            approvals.append(approval_entry(SITE, GRANT, grant_content(origin, grant)))
            named = sorted(grant["documents"].items())
            approvals += [document_entry(SITE, name, digest) for name, digest in named]
    other = [heads_entry(OTHER_SITE, [Checkpoint(f"joulemark/{OTHER_SITE}/mill/1", 7, bytes(32))])]
    first = [head_of(made[len(made) // 2]) for made in batches.values()]
    last = [head_of(made[-1]) for made in batches.values()]
    corrected = [correction_entry(correction, key) for correction, key in corrections]
    return [
        [*other, *approvals, *other, heads_entry(SITE, first)],
        [*other * 3, *corrected, heads_entry(SITE, last), *other],
    ]


def head_of(batch: Batch) -> Checkpoint:
    """What a batch says it ends at."""
    return parse_checkpoint(parse_note(batch.checkpoint)[0])


def covered(leaves: Sequence[tuple[str, bytes]], first: int) -> list[Part]:
    """Our site's leaves, and a cover for each of the others."""
    return [
        leaf if site == SITE else withheld([leaf], position)
        for position, (site, leaf) in enumerate(leaves, first)
    ]
