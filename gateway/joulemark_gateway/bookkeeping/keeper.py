"""The thread that keeps the collector's log: approvals at once, heads at every closing.

With the heads goes how far the security log stands, so that it cannot be changed later.

A closing is due at the start, every `close_every_s`, at the end of every day (UTC) and at the stop.
The newest head is shown to every witness with an address, and once a day to every time-stamping
authority. Who does not answer is asked again after a while, twice as long each time; nothing waits
for them: the log goes on.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from joulemark_agent.contract.errors import (
    ConfigError,
    EvidenceError,
    JoulemarkError,
    StoreError,
    UplinkError,
)
from joulemark_agent.contract.signature import encode64
from joulemark_agent.contract.topics import parse_origin
from joulemark_gateway.access.chain import Ends
from joulemark_gateway.alive import QUIET, Beat
from joulemark_gateway.bookkeeping.outgoing import Post, post
from joulemark_gateway.bookkeeping.stamping import Authority, stamp
from joulemark_gateway.bookkeeping.witnesses import Peer, ask
from joulemark_gateway.evidence.base import EvidenceStore, Head
from joulemark_gateway.evidence.entries import (
    ENROLMENT,
    REVOCATION,
    Entry,
    approval_entry,
    security_entry,
)
from joulemark_gateway.evidence.log import CollectorLog
from joulemark_gateway.evidence.log_store import LogHead
from joulemark_gateway.ingest.registered import Registry

_SECOND_US = 1_000_000
_DAY_US = 86_400 * _SECOND_US
_TURN_US = 60 * _SECOND_US  # the longest sleep: a clock that was set is noticed
_LEAST_S = 2.0  # between two turns that a commit asked for
_FIRST_WAIT_US, _LONGEST_WAIT_US = 10 * _SECOND_US, 3600 * _SECOND_US
_LAST_S = 3.0  # what a witness gets when the collector stops

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Others:
    """Who sees the heads of the log."""

    peers: Sequence[Peer] = ()
    authorities: Sequence[Authority] = ()


@dataclass
class _Patience:
    """How long somebody who does not answer is left alone."""

    next_us: int = 0
    wait_us: int = 0
    since_us: int | None = None  # down

    def fail(self, now_us: int) -> None:
        self.wait_us = min(max(2 * self.wait_us, _FIRST_WAIT_US), _LONGEST_WAIT_US)
        self.next_us = now_us + self.wait_us
        self.since_us = now_us if self.since_us is None else self.since_us


@dataclass
class Bookkeeper:
    """One turn after the other, by whoever calls `turn`; `BookkeepingThread` is who does."""

    book: CollectorLog
    evidence: EvidenceStore
    registry: Callable[[], Registry]
    others: Others
    close_every_us: int
    post: Post = post
    security: Callable[[], Ends | None] = lambda: None  # how far the security log stands
    _period: tuple[int, int] | None = None
    _approved: object = None
    _patience: dict[str, _Patience] = field(default_factory=dict)

    def turn(self, now_us: int, *, is_last: bool = False) -> int:
        """Do what is due; the time of the next turn. [us]

        Args:
            now_us: wall time, UTC. [us]
            is_last: close in any case: the collector stops.

        Raises:
            StoreError: the log or the evidence cannot be read or written; nothing is lost by it.
        """
        heads = self.evidence.heads()
        added = self._approve(heads, now_us)
        period = (now_us // self.close_every_us, now_us // _DAY_US)
        if period != self._period or is_last:
            added += self.book.take_heads(heads, now_us) + self._take_security(now_us)
            self._period = period
        newest = self.book.close(now_us)
        if added and newest is not None:
            log.info("log_closed", extra={"origin": self.book.origin, "size": newest.size})
        if newest is not None:
            self._show(newest, now_us)
        ends = [(period[0] + 1) * self.close_every_us, (period[1] + 1) * _DAY_US]
        waits = [item.next_us for item in self._patience.values() if item.next_us > now_us]
        return min(now_us + _TURN_US, *ends, *waits)

    def close(self) -> None:
        """Release the stores."""
        self.book.store.close()
        self.evidence.close()

    def _approve(self, heads: Sequence[Head], now_us: int) -> int:
        others = registered(self.registry())
        approved = (frozenset(head.origin for head in heads), [entry.mark for entry in others])
        if approved == self._approved:
            return 0
        added = self.book.approve(heads, others, now_us)
        self._approved = approved
        return added

    def _take_security(self, now_us: int) -> int:
        """Log how far the security log stands; one that cannot be read holds up no evidence."""
        try:
            ends = self.security()
        except StoreError as error:
            _told("security_log_unreadable", "the security log", error, logging.ERROR)
            return 0
        if ends is None or not any(end.last for end in ends.values()):
            return 0
        done, refused = ((end.last, end.digest) for end in (ends[False], ends[True]))
        return self.book.take(security_entry(done, refused), now_us)

    def _show(self, head: LogHead, now_us: int) -> None:
        store = self.book.store
        for peer in self.others.peers:
            if peer.url is not None and store.cosigned_size(peer.name) < head.size:
                show = partial(ask, store, peer, head, self.post)
                self._tried(f"witness {peer.name}", show, head, now_us)
        stamped = {token.authority: token.time_us // _DAY_US for token in store.tokens()}
        for authority in self.others.authorities:
            if stamped.get(authority.name) != now_us // _DAY_US:
                show = partial(stamp, store, authority, head, self.post, now_us)
                self._tried(f"authority {authority.name}", show, head, now_us)

    def _tried(self, name: str, show: Callable[[], None], head: LogHead, now_us: int) -> None:
        """Show the head to one of them, unless it is left alone for now."""
        patience = self._patience.setdefault(name, _Patience())
        if now_us < patience.next_us <= now_us + _LONGEST_WAIT_US:
            return
        was_down = patience.since_us is not None
        try:
            show()
        except (UplinkError, ConfigError) as error:
            patience.fail(now_us)
            if not was_down:
                _told("head_not_shown", name, error, logging.WARNING)
        except EvidenceError as error:
            patience.fail(now_us)
            _told("security_alarm", name, error, logging.ERROR)
        else:
            self._patience[name] = _Patience()
            fields = {"to": name, "size": head.size}
            if patience.since_us is not None:
                fields["down_s"] = (now_us - patience.since_us) // _SECOND_US
            log.info("head_shown", extra=fields)


class BookkeepingThread:
    """Keeps the log from a thread of its own, until it is stopped."""

    def __init__(
        self, make: Callable[[], Bookkeeper], now_us: Callable[[], int], beat: Beat = QUIET
    ) -> None:
        """Nothing runs yet.

        Args:
            make: opens the stores and makes the bookkeeper, in the thread.
            now_us: wall time, UTC. [us]
            beat: told of every turn.
        """
        self._make, self._now_us, self._beat = make, now_us, beat
        self._stop, self._poked = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="bookkeeping", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def poke(self) -> None:
        """Say that something was committed; any thread may."""
        self._poked.set()

    def stop(self) -> None:
        """Close the log a last time, and end."""
        self._stop.set()
        self._poked.set()
        self._thread.join()

    def _run(self) -> None:
        keeper: Bookkeeper | None = None
        is_down = False
        while True:
            is_last = self._stop.is_set()
            now_us = self._now_us()
            next_us = now_us + _TURN_US
            try:
                self._beat.on()  # again in a minute at the latest
                keeper = keeper or self._make()
                if is_last:
                    keeper.post = partial(post, timeout_s=_LAST_S)
                next_us = keeper.turn(now_us, is_last=is_last)
                is_down = False
            except JoulemarkError as error:
                _close(keeper)
                keeper = None
                if not is_down:
                    _told("log_down", "the collector's log", error, logging.ERROR)
                is_down = True
            except Exception:  # evidence goes on whatever happens to its log
                log.exception("bookkeeping_failed")
                _close(keeper)
                keeper = None
            if is_last:
                _close(keeper)
                self._beat.off()
                return
            if not self._stop.wait(_LEAST_S):
                self._poked.wait(max((next_us - self._now_us()) / _SECOND_US, 0.0))
            self._poked.clear()


def registered(registry: Registry) -> list[Entry]:
    """The enrolments and revocations of a registry, as they are logged."""
    enrolled = [
        approval_entry(
            agent.site,
            ENROLMENT,
            {
                "agent": agent.agent,
                "devices": sorted(agent.devices),
                "key": encode64(agent.key),
            },
        )
        for _, agent in sorted(registry.agents.items())
    ]
    return enrolled + [
        approval_entry(
            parse_origin(item.origin)[0],
            REVOCATION,
            {"key": encode64(item.key), "origin": item.origin, "size": str(item.size)},
        )
        for item in registry.revoked
    ]


def _close(keeper: Bookkeeper | None) -> None:
    if keeper is not None:
        keeper.close()


def _told(event: str, name: str, error: JoulemarkError, level: int) -> None:
    fields = {"about": name, "code": error.code, "what": error.what, "do": error.do}
    log.log(level, event, extra=fields)
