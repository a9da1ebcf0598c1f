"""What a device refuses to show: found by halving, planned around, and kept on disk.

A block with a register that the device does not have is refused as a whole. The longest beginning
that it does show is then looked for by halving, and the point after it asked for alone. Either that
is refused, and the point is `missing` from now on and tried again rarely; or what parts the two is,
which nobody wants. Every answer on the way is part of the reading, so neighbours lose nothing. A
device that shows nothing at all has taught nothing: its slot is a gap.
"""

from __future__ import annotations

import json
import logging
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
FIRST_RETRY_S, LONGEST_RETRY_S = 60.0, 86_400.0  # of a point that was refused alone
MAX_SEARCH = 40  # requests of one reading beside its plan; what is left waits for the next
FILE = "refused.json"
_VERSION = 1
_MAX_BYTES = 1 << 22  # of the file

Ask = Callable[[Request], Awaitable[Response]]


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
        self._cuts = {span for span, is_point in kept if not is_point}
        self._points = {span: _Retry(now_s + FIRST_RETRY_S) for span, is_point in kept if is_point}
        self._plans: dict[tuple[int, ...], tuple[Request, ...]] = {}
        self._error: DeviceError | None = None

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
        due_us = self._device.due(slot_us)
        search = Search(ask)
        found: list[Response] = []
        for request in self._plan(due_us):
            try:
                found.append(await ask(request))
            except DeviceError as error:
                if error.code not in REFUSALS:
                    raise
                self._error = error
                block = span_of(request)
                inside = [s for s in self._device.spans(due_us) if block.contains(s)]
                await search.within([s for s in inside if not self._refuses(s)])
        shown, refused = await self._try_again(search, due_us, now_s)
        found += search.found
        if not found:
            raise self._error or self._nothing()
        if shown or refused or search.alone or search.cuts:
            self._learn(search, shown, refused, now_s)
        return tuple(found)

    def _plan(self, due_us: tuple[int, ...]) -> tuple[Request, ...]:
        if due_us not in self._plans:
            self._plans[due_us] = self._device.plan(due_us, self._cuts | self._points.keys())
        return self._plans[due_us]

    def _refuses(self, span: Span) -> bool:
        return any(span.contains(other) for other in (*self._cuts, *self._points))

    async def _try_again(
        self, search: Search, due_us: tuple[int, ...], now_s: float
    ) -> tuple[list[Span], list[Span]]:
        """Ask for points that are left out, each alone and rarely: shown ones, refused ones."""
        shown: list[Span] = []
        refused: list[Span] = []
        if not (self._cuts or self._points):
            return shown, refused
        for span in self._device.spans(due_us):
            retry = self._points.get(span)
            if (retry is not None and now_s < retry.at_s) or not self._refuses(span):
                continue
            with suppress(_EnoughError):
                answer = await search.shows((span,))
                (refused if answer is None else shown).append(span)
                search.found += [] if answer is None else [answer]
        return shown, refused

    def _learn(
        self, search: Search, shown: Iterable[Span], refused: Iterable[Span], now_s: float
    ) -> None:
        """Remember what the reading has shown."""
        before = self.kept
        for span in shown:  # then nothing within it is refused either
            self._cuts = {cut for cut in self._cuts if not span.contains(cut)}
            self._points = {s: r for s, r in self._points.items() if not span.contains(s)}
        for span in (*search.alone, *refused):
            last = self._points.get(span)
            wait_s = FIRST_RETRY_S if last is None else min(2 * last.wait_s, LONGEST_RETRY_S)
            self._points[span] = _Retry(now_s + wait_s, wait_s)
        self._cuts |= search.cuts
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
            "Each is asked for again within a day. Check 'profile' and the unit's number.",
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
        self._entries: dict[str, dict[str, Any]] = {} if path is None else _read(path)

    def of(self, device: PlannedDevice, now_s: float) -> Refusals:
        """What is known of a device, if it is read as it was then.

        Args:
            device: it.
            now_s: monotonic time. [s]
        """
        entry = self._entries.get(device.id, {})
        is_same = entry.get("of") == _which(device)
        return Refusals(device, self, _spans(entry.get("refused")) if is_same else [], now_s)

    def keep(self, device: PlannedDevice, refused: Iterable[tuple[Span, bool]]) -> None:
        """Replace what is known of a device."""
        rows = [[span.table, span.first, span.end, is_point] for span, is_point in refused]
        self._entries[device.id] = {"of": _which(device), "refused": rows}
        if self._path is None:
            return
        part = self._path.with_name(f".{self._path.name}.part")
        try:
            part.write_text(json.dumps({"version": _VERSION, "devices": self._entries}, indent=1))
            part.replace(self._path)
        except OSError as error:
            log.warning("refused_not_kept", extra={"what": f"{self._path}: {error.strerror}"})


def _which(device: PlannedDevice) -> list[Any]:
    """What must be the same for what was learned to hold."""
    return [device.profile, device.url, device.unit]


def _read(path: Path) -> dict[str, dict[str, Any]]:
    """The entries of the file; none where it is not there or not as we write it."""
    try:
        with path.open("rb") as file:
            content = json.loads(file.read(_MAX_BYTES))
        entries = content["devices"] if content["version"] == _VERSION else {}
        return {str(name): dict(entry) for name, entry in dict(entries).items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, KeyError) as error:
        log.warning("refused_not_read", extra={"what": f"{path}: {error!r}"})
        return {}


def _spans(rows: Any) -> list[tuple[Span, bool]]:
    """The spans of an entry; those that are none are left out."""
    found = []
    for row in rows if isinstance(rows, list) else ():
        match row:
            case [str(table), int(first), int(end), bool(is_point)] if 0 <= first < end <= 0x10000:
                found.append((Span(table, first, end), is_point))
    return found
