"""What a device refuses to show: found by halving, planned around, and kept on disk.

A block with a register that the device does not have is refused as a whole. The longest beginning
that it does show is then looked for by halving, and the point after it asked for alone. Either that
is refused, and the point is `missing` from now on and tried again once an hour; or what parts the
two is, which nobody wants, and that is tried again once a day. Every answer on the way is part of
the reading, so neighbours lose nothing. A device that shows nothing at all has taught nothing: its
slot is a gap.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from joulemark_agent.contract.errors import DeviceError
from joulemark_agent.contract.reading import Response
from joulemark_agent.drivers.base import Request
from joulemark_agent.plan import PlannedDevice, Span, hull, request_of, span_of

log = logging.getLogger(__name__)

NO_SUCH_ADDRESS, NO_SUCH_COUNT = "exception_02", "exception_03"
REFUSALS = (NO_SUCH_ADDRESS, NO_SUCH_COUNT)
FIRST_RETRY_S, LONGEST_RETRY_S = 60.0, 3600.0  # of a point that was refused alone
CUT_S = 86_400.0  # for so long nobody asks across what parts two points
MAX_SEARCH = 40  # requests of one reading beside its plan; what is left waits for the next
FILE = "refused.json"
_VERSION = 1
_MAX_BYTES = 1 << 22  # of the file

Ask = Callable[[Request], Awaitable[Response]]
_Entry = tuple[list[Any], list[tuple[Span, bool]]]  # what must be the same, and what is refused


@dataclass
class _Retry:
    """When a point is asked for once more."""

    at_s: float
    wait_s: float = FIRST_RETRY_S


class _EnoughError(Exception):
    """The search goes on at the next reading."""


class Search:
    """Finds what is refused within blocks that were."""

    def __init__(self, ask: Ask, limit: int = MAX_SEARCH) -> None:
        """Nothing is asked yet.

        Args:
            ask: asks a device; DeviceError with a code of `REFUSALS` where it refuses.
            limit: how many requests may be spent.
        """
        self._ask, self._left = ask, limit
        self.found: list[Response] = []
        self.alone: set[Span] = set()  # wanted, and refused when nothing else was asked for
        self.cuts: set[Span] = set()  # refused, between what is shown

    async def within(self, spans: Sequence[Span]) -> None:
        """Search spans, sorted, whose common block was refused.

        For n spans and one hole between two of them, or in m neighbouring ones, it takes at most
        ceil(log2 n) + 2 max(1, m) requests.
        """
        with suppress(_EnoughError):
            await self._within(spans)

    async def shows(self, spans: Sequence[Span]) -> Response | None:
        """The answer to a request for all of them; None: refused."""
        if self._left <= 0:
            raise _EnoughError
        self._left -= 1
        try:
            return await self._ask(request_of(hull(spans)))
        except DeviceError as error:
            if error.code not in REFUSALS:
                raise
            return None

    async def _within(self, spans: Sequence[Span]) -> None:
        is_rest = False
        while len(spans) > 1:
            shown, answer = await self._beginning(spans, first_alone=is_rest)
            if answer is not None:
                self.found.append(answer)
            next_one = spans[shown : shown + 1]
            alone = await self.shows(next_one) if shown else None  # a first one was asked alone
            if alone is None:
                self.alone |= {*next_one}
                spans = spans[shown + 1 :]
            else:
                self.cuts.add(_between(hull(spans[:shown]), next_one[0]))
                spans = spans[shown:]
            if not spans:
                return
            rest = alone if len(spans) == 1 and alone is not None else await self.shows(spans)
            if rest is not None:
                self.found.append(rest)
                return
            is_rest = True
        self.alone |= {*spans}

    async def _beginning(
        self, spans: Sequence[Span], *, first_alone: bool
    ) -> tuple[int, Response | None]:
        """How many spans the longest beginning has that is shown, and the answer that shows it.

        All of them together were refused. After one hole another often follows at once: then the
        first span is asked for first.
        """
        low, high, found = 0, len(spans), None
        while high - low > 1:
            middle = 1 if first_alone and low == 0 else (low + high) // 2
            answer = await self.shows(spans[:middle])
            if answer is None:
                high = middle
            else:
                low, found = middle, answer
        return low, found


def _between(left: Span, right: Span) -> Span:
    """What no request may contain, since both are shown and not together."""
    if left.end > right.first:
        return hull((left, right))
    return Span(left.table, left.end - 1, right.first + 1)


class Refusals:
    """What one device is known to refuse."""

    def __init__(
        self, device: PlannedDevice, book: Book, kept: Collection[tuple[Span, bool]], now_s: float
    ) -> None:
        self._device, self._book = device, book
        self._cuts = {span: now_s + CUT_S for span, is_point in kept if not is_point}  # until when
        self._points = {span: _Retry(now_s + FIRST_RETRY_S) for span, is_point in kept if is_point}
        self._plans: dict[tuple[int, ...], tuple[Request, ...]] = {}
        self._last_us: int | None = None  # the slot that was asked for last
        self._in_vain: set[Span] = set()  # refused alone, in readings that have shown nothing yet

    @property
    def kept(self) -> list[tuple[Span, bool]]:
        """Each with whether it is a point's own."""
        return sorted([(span, False) for span in self._cuts] + [(s, True) for s in self._points])

    @property
    def cheapest(self) -> Request | None:
        """The shortest request that the device is not known to refuse; None: it has no words."""
        shown = [f.span for f in self._device.fields if f.span not in self._points]
        return min(map(request_of, shown), key=lambda request: request.count, default=None)

    async def read(self, ask: Ask, slot_us: int | None, now_s: float) -> tuple[Response, ...]:
        """The responses for the points that are due, without those that are refused.

        Args:
            ask: asks the device.
            slot_us: at which the reading was due; None: all points are. [us UTC]
            now_s: monotonic time. [s]

        Raises:
            DeviceError: of asking; or the device refused everything.
        """
        self._forget_a_cut(now_s)
        due_us = self._device.due(slot_us, self._last_us)
        self._last_us = slot_us  # even if it fails: what is slow must not cost a slot after slot
        search = Search(ask)
        found: list[Response] = []
        refusal: DeviceError | None = None
        for request in self._plan(due_us):
            try:
                found.append(await ask(request))
            except DeviceError as error:
                if error.code not in REFUSALS:
                    raise
                refusal = error
                block = span_of(request)
                spans = self._device.spans(due_us)
                inside = [s for s in spans if block.contains(s) and not self._refuses(s)]
                search.alone |= self._in_vain.intersection(inside)
                await search.within([s for s in inside if s not in search.alone])
        shown, refused = await self._try_again(search, due_us, now_s)
        found += search.found
        has_more = search.alone > self._in_vain  # to ask for than this reading has
        self._in_vain = search.alone if has_more and not found else set()
        if not found:
            raise refusal or self._nothing()
        if shown or refused or search.alone or search.cuts:
            self._learn(search, shown, refused, now_s)
        return tuple(found)

    def _plan(self, due_us: tuple[int, ...]) -> tuple[Request, ...]:
        if due_us not in self._plans:
            self._plans[due_us] = self._device.plan(due_us, self._cuts.keys() | self._points.keys())
        return self._plans[due_us]

    def _forget_a_cut(self, now_s: float) -> None:
        """Have the device searched once more where it may have been mended: one cut a reading."""
        old = next((cut for cut, until_s in self._cuts.items() if until_s < now_s), None)
        if old is not None:
            del self._cuts[old]
            self._plans.clear()
            self._book.keep(self._device, self.kept)

    def _refuses(self, span: Span) -> bool:
        return any(span.contains(other) for other in (*self._cuts, *self._points))

    async def _try_again(
        self, search: Search, due_us: tuple[int, ...], now_s: float
    ) -> tuple[list[Span], list[Span]]:
        """Ask for points that are left out, each alone and rarely: shown ones, refused ones.

        Whose turn is most overdue is first; one that is refused once more ends it, for a burst of
        vain requests would take the time of others on the line.
        """
        shown: list[Span] = []
        refused: list[Span] = []
        if not (self._cuts or self._points):
            return shown, refused
        left_out = [span for span in self._device.spans(due_us) if self._refuses(span)]
        with suppress(_EnoughError):
            for span in sorted(left_out, key=self._retry_s):
                if self._retry_s(span) > now_s:
                    break
                answer = await search.shows((span,))
                (refused if answer is None else shown).append(span)
                search.found += [] if answer is None else [answer]
                if answer is None and span in self._points:
                    break
        return shown, refused

    def _retry_s(self, span: Span) -> float:
        """When a point that is left out is to be asked for; one never asked for alone: at once."""
        last = self._points.get(span)
        return -math.inf if last is None else last.at_s

    def _learn(
        self, search: Search, shown: Iterable[Span], refused: Iterable[Span], now_s: float
    ) -> None:
        """Remember what the reading has shown."""
        before = self.kept
        for span in shown:  # then nothing within it is refused either
            self._cuts = {cut: at_s for cut, at_s in self._cuts.items() if not span.contains(cut)}
            self._points = {s: r for s, r in self._points.items() if not span.contains(s)}
        for span in (*search.alone, *refused):
            last = self._points.get(span)
            wait_s = FIRST_RETRY_S if last is None else min(2 * last.wait_s, LONGEST_RETRY_S)
            self._points[span] = _Retry(now_s + wait_s, wait_s)
        self._cuts |= dict.fromkeys(search.cuts, now_s + CUT_S)
        if self.kept != before:
            self._plans.clear()
            self._say(set(before))
            self._book.keep(self._device, self.kept)

    def _say(self, before: set[tuple[Span, bool]]) -> None:
        was, now = ({span for span, is_point in them if is_point} for them in (before, self.kept))
        for event, spans in (("points_refused", now - was), ("points_shown", was - now)):
            names = sorted(f.name for f in self._device.fields if f.span in spans)
            if names:
                do = "Compare 'table' and 'address' with the manual of this variant of the device."
                fields = {"device": self._device.id, "points": names}
                log.warning(event, extra=fields | ({"do": do} if spans <= now else {}))

    def _nothing(self) -> DeviceError:
        return DeviceError(
            f"{self._device.id} has refused every point that is due at this slot.",
            "Each is asked for again within an hour. Check 'profile' and the unit's number.",
            code=NO_SUCH_ADDRESS,
        )


class Book:
    """What devices refuse, in a file that may be lost: it only saves asking again."""

    def __init__(self, path: Path | None = None) -> None:
        """Read the file, if there is one.

        Args:
            path: where it is kept; None: nowhere.
        """
        self._path = path
        self._entries: dict[str, _Entry] = {} if path is None else _read(path)

    def of(self, device: PlannedDevice, now_s: float) -> Refusals:
        """What is known of a device, if it is read as it was then.

        Args:
            device: it.
            now_s: monotonic time. [s]
        """
        which, refused = self._entries.get(device.id, ([], []))
        return Refusals(device, self, refused if which == _which(device) else [], now_s)

    def keep(self, device: PlannedDevice, refused: Iterable[tuple[Span, bool]]) -> None:
        """Replace what is known of a device."""
        self._entries[device.id] = _which(device), list(refused)
        if self._path is None:
            return
        devices = {
            name: {"of": which, "refused": [[s.table, s.first, s.end, is_own] for s, is_own in its]}
            for name, (which, its) in self._entries.items()
            if its
        }
        part = self._path.with_name(f".{self._path.name}.part")
        try:
            part.write_text(json.dumps({"version": _VERSION, "devices": devices}, indent=1))
            part.replace(self._path)
        except OSError as error:
            log.warning("refused_not_kept", extra={"what": f"{self._path}: {error.strerror}"})


def _which(device: PlannedDevice) -> list[Any]:
    """What must be the same for what was learned to hold."""
    return [device.profile, device.url, device.unit]


def _read(path: Path) -> dict[str, _Entry]:
    """The entries of the file; none where it is not there or not as we write it."""
    found: dict[str, _Entry] = {}
    try:
        with path.open("rb") as file:
            content = json.loads(file.read(_MAX_BYTES))
        entries = content["devices"] if content["version"] == _VERSION else {}
        for name, entry in dict(entries).items():
            match entry:
                case {"of": [str(), str(), int()] as which, "refused": list(rows)}:
                    found[str(name)] = which, _spans(rows)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        log.warning("refused_not_read", extra={"what": f"{path}: {error!r:.200}"})
    return found


def _spans(rows: list[Any]) -> list[tuple[Span, bool]]:
    """The spans of an entry; those that are none are left out."""
    found = []
    for row in rows:
        match row:
            case [str(table), int(first), int(end), bool(is_point)] if 0 <= first < end <= 0x10000:
                found.append((Span(table, first, end), is_point))
    return found
