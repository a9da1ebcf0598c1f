"""The chain of the security log: each line holds the digest of the one before. Pure.

Refusals are a chain of their own, since the oldest of them are given up; what was done is kept for
ever. How far both stand is written into the collector's log at every closing (`evidence.entries`),
whose heads others see: so whoever owns the file cannot change what was written before that either.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

from joulemark_agent.contract.canonical import canonical_bytes

START = bytes(32)  # stands before the first line


@dataclass(frozen=True)
class Event:
    """One line of the security log."""

    id: int
    t_us: int
    code: str
    refused: bool
    who: str
    address: str
    what: str
    times: int


@dataclass(frozen=True)
class Link:
    """A line in its chain: the digest of the one before, and its own."""

    event: Event
    before: bytes
    digest: bytes


@dataclass(frozen=True)
class End:
    """How far a chain stands: the id of its last line, 0 where there is none, and its digest."""

    last: int
    digest: bytes


Ends = Mapping[bool, End]  # of the refusals: True; of all else: False


def digest_of_line(event: Event, before: bytes) -> bytes:
    """The digest of a line behind the one with the digest `before`."""
    content = {
        "address": event.address,
        "before": before.hex(),
        "code": event.code,
        "id": str(event.id),
        "refused": event.refused,
        "t_us": str(event.t_us),
        "times": str(event.times),
        "what": event.what,
        "who": event.who,
    }
    return sha256(canonical_bytes(content)).digest()


def breaks(links: Iterable[Link], logged: Sequence[Ends], most_refusals: int) -> list[str]:
    """What does not fit; empty where every line is as it was written.

    Args:
        links: every line that is there, by id.
        logged: how far the chains stood at each closing of the collector's log.
        most_refusals: so many refusals are there where older ones were given up.
    """
    kinds: dict[bool, list[Link]] = {False: [], True: []}
    for link in links:
        kinds[link.event.refused].append(link)
    found = []
    for refused, chain in kinds.items():
        is_cut = refused and len(chain) >= most_refusals
        found += _within(chain, is_cut=is_cut)
        ends = [one[refused] for one in logged]
        found += _against(chain, ends, is_cut=is_cut)
    return found


def _within(chain: Sequence[Link], *, is_cut: bool) -> list[str]:
    found = []
    before = chain[0].before if chain and is_cut else START
    for link in chain:
        if link.before != before:
            found.append(f"before line {link.event.id} one is missing or was put in")
        if digest_of_line(link.event, link.before) != link.digest:
            found.append(f"line {link.event.id} is not as it was written")
        before = link.digest
    return found


def _against(chain: Sequence[Link], ends: Iterable[End], *, is_cut: bool) -> list[str]:
    """What the collector's log says otherwise; each line once."""
    digests = {link.event.id: link.digest for link in chain}
    first = min(digests, default=0)
    found: dict[int, str] = {}
    for end in ends:
        is_given_up = is_cut and end.last < first
        if not end.last or is_given_up or digests.get(end.last) == end.digest:
            continue
        state = "was another" if end.last in digests else "was there and is gone"
        found[end.last] = f"line {end.last} {state} when the collector's log was closed"
    return list(found.values())
