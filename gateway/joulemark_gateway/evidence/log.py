"""The collector's own log: an RFC 6962 tree over what the collector answers for (see `entries`).

Its heads are few and small, so outside witnesses and time stamps can see them all; by naming the
heads of the devices' trees they bind every leaf of evidence. The order is always: commit the
leaves, then sign and commit the head over them, and only then let the head out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby

from joulemark_agent.contract.signature import Checkpoint, sign_checkpoint
from joulemark_agent.contract.sparse import Part, withheld
from joulemark_agent.contract.topics import parse_origin
from joulemark_gateway.evidence.account import LogFiles
from joulemark_gateway.evidence.base import Head
from joulemark_gateway.evidence.entries import (
    GRANT,
    PLAN,
    Entry,
    approval_entry,
    document_entry,
    grant_content,
    heads_entry,
    log_origin,
)
from joulemark_gateway.evidence.log_store import LogHead, LogTables

_DAY_US = 86_400_000_000


class CollectorLog:
    """The log of one collector; the same calls at any time again change nothing."""

    def __init__(self, store: LogTables, name: str, private_key: bytes) -> None:
        """Nothing is written yet.

        Args:
            store: where it is kept.
            name: of the collector, as in its cosignatures.
            private_key: the collector's.

        Raises:
            StoreError: `log_of_another`: the collector had another name when the log was begun.
        """
        self.store, self.origin = store, log_origin(name)
        store.require(self.origin)
        self._private_key = private_key

    def approve(self, heads: Iterable[Head], others: Iterable[Entry], now_us: int) -> int:
        """Log what was approved and is not logged yet; how many leaves were added.

        Args:
            heads: every tree that is held: its grant and the documents that the grant names.
            others: enrolments and revocations.
            now_us: wall time. [us]
        """
        return self.store.append(self.origin, [*_approvals(heads), *others], now_us)

    def take_heads(self, heads: Iterable[Head], now_us: int) -> int:
        """Log, a leaf a site, the trees that have grown since; how many leaves were added.

        What stands is looked at while nobody else can add to it: a tree never shrinks in the log.
        """
        return self.store.append(self.origin, _grown(heads, self.store.logged_sizes), now_us)

    def take(self, entry: Entry, now_us: int) -> int:
        """Log one entry, unless its mark stands; how many leaves were added."""
        return self.store.append(self.origin, [entry], now_us)

    def close(self, now_us: int) -> LogHead | None:
        """The signed head over everything that was logged; None where nothing was."""
        return self.store.sign_head(lambda head: sign_checkpoint(self._private_key, head), now_us)


def excerpt(store: LogTables, site: str, head: LogHead) -> LogFiles:
    """What is to be handed out of a log about one site, up to a head.

    Of the heads before it come along: those that were stamped, those that went out with a report
    before, because somebody may hold them against this one, the last of every day, and the first
    that others cosigned over the registration of a plan: it shows when the plan was there.
    """
    heads = [found for found in store.heads() if found.size <= head.size]
    tokens = {(token.size, token.authority): token.token for token in store.tokens()}
    tokens = {stamp: data for stamp, data in tokens.items() if stamp[0] <= head.size}
    last = {found.time_us // _DAY_US: found.size for found in heads}
    wanted = {head.size, *last.values(), *store.shown(), *(size for size, _ in tokens)}
    wanted |= _first_seen(heads, store.of_kind(site, PLAN))
    shown = [found for found in heads if found.size in wanted]
    leaves = store.leaves(head.size)
    parts: list[Part] = []
    start = 0
    for found in shown:
        parts += _covered(leaves[start : found.size], site, start)
        start = found.size
    return LogFiles(parts, [found.cosigned for found in shown], tokens)


def _first_seen(heads: Sequence[LogHead], positions: Iterable[int]) -> set[int]:
    """The sizes of the first cosigned head over each of these leaves."""
    seen = [head.size for head in heads if head.cosignatures]
    firsts = (next((size for size in seen if size > at), None) for at in positions)
    return {size for size in firsts if size is not None}


def _approvals(heads: Iterable[Head]) -> list[Entry]:
    found = []
    for head in heads:
        site = parse_origin(head.origin)[0]
        found.append(approval_entry(site, GRANT, grant_content(head.origin, head.grant)))
        documents = sorted(head.grant["documents"].items())
        found += [document_entry(site, name, digest) for name, digest in documents]
    return found


def _grown(heads: Iterable[Head], logged: Callable[[], Mapping[str, int]]) -> Iterator[Entry]:
    """Worked out when the first is asked for."""
    sizes, by_site = logged(), defaultdict(list)
    for head in heads:
        if head.size > sizes.get(head.origin, 0):
            site = parse_origin(head.origin)[0]
            by_site[site].append(Checkpoint(head.origin, head.size, head.root))
    yield from (heads_entry(site, found) for site, found in sorted(by_site.items()))


def _covered(leaves: Sequence[tuple[str, bytes]], site: str, first: int) -> list[Part]:
    """The leaves of a site, and covers for the others between them."""
    parts: list[Part] = []
    at = first
    for is_ours, run in groupby(leaves, key=lambda leaf: leaf[0] == site):
        found = [leaf for _, leaf in run]
        parts += found if is_ours else [withheld(found, at)]
        at += len(found)
    return parts
