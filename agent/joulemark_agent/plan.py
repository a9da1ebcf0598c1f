"""What to ask a device for: of Modbus words, what costs least on the line that carries them.

A plan costs so much a request and so much a word (`Cost`). Points, each with its scale register,
are spans sorted by address; a block is a run of neighbours, for a cheapest set of blocks always
exists in which none is interleaved. Of two blocks one ends before the other or lies within it: if
within, it can be left out; otherwise each span of the first that starts in the second also ends
there, and can be left to it. Neither makes a block longer. So dynamic programming over cut places
is exact, in O(n^2) steps. What a device refuses to show forbids some blocks; since no step makes a
block longer, it stays exact. Points with a period of their own (`every_s`) make a plan for each set
of points that are due together.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING

from joulemark_agent.contract.errors import ConfigError
from joulemark_agent.contract.profile import (
    CONTROLLER,
    NODE,
    SELECTOR,
    SUNSPEC,
    Identify,
    NodePoint,
    ObjectPoint,
    Point,
    Profile,
    SelectorPoint,
    SunspecPoint,
    Table,
)
from joulemark_agent.drivers.base import MAX_SELECTORS, MAX_WORDS, Request

if TYPE_CHECKING:
    from joulemark_agent.http_login import Login
    from joulemark_agent.http_trust import Trust
    from joulemark_agent.opcua_access import Access

TABLES: tuple[Table, ...] = ("coil", "discrete", "input", "holding")
US_PER_S = 1_000_000


@dataclass(frozen=True)
class Cost:
    """What a request costs besides the words it carries. [words]

    A hole of as many words that nobody wants costs as much to read as to leave out. None: any hole
    that fits is worth one request less, as on a network, where words cost next to nothing.
    """

    request_words: Fraction | None

    @staticmethod
    def rtu(baud: int, latency_s: float) -> Cost:
        """The cost on a serial line.

        Args:
            baud: speed of the line. [bit/s]
            latency_s: from the last byte of a request to the first of its answer. [s]

        A request is 8 bytes, its answer 5 besides the words, and each is followed by a silence of
        3.5 characters: 20 characters, against 2 for a word. A character is 11 bits. Modbus over
        Serial Line 1.02, sections 2.5.1 and 2.5.1.1.
        """
        return Cost(10 + Fraction(latency_s) * baud / 22)

    def of(self, requests: int, words: int) -> tuple[Fraction, int, int]:
        """What plans are compared by: the cost, then the number of requests, then of words."""
        total = Fraction(0) if self.request_words is None else self.request_words * requests + words
        return total, requests, words


TCP = Cost(None)


@dataclass(frozen=True, order=True)
class Span:
    """Neighbouring words of one table."""

    table: str
    first: int
    end: int  # the first that is not of it

    def contains(self, other: Span) -> bool:
        """Whether whoever reads this reads the other too."""
        return self.table == other.table and self.first <= other.first and other.end <= self.end


def hull(spans: Collection[Span]) -> Span:
    """The least that contains spans of one table."""
    table = next(iter(spans)).table
    return Span(table, min(span.first for span in spans), max(span.end for span in spans))


def request_of(span: Span) -> Request:
    """What reads it."""
    return Request(span.table, span.first, span.end - span.first)


def span_of(request: Request) -> Span:
    """What a request reads."""
    return Span(request.table, request.address, request.address + request.count)


@dataclass(frozen=True)
class Field:
    """A point of a Modbus device: what one request must read whole, and when."""

    name: str
    span: Span
    every_us: int  # it is due at slots that are multiples of it [us]


@dataclass(frozen=True)
class PlannedDevice:
    """All that a line must know to read one device at one slot."""

    id: str
    url: str
    unit: int
    period_us: int
    requests: tuple[Request, ...]
    timeout_s: float = 1.0
    pause_s: float = 0.0  # quiet time before each request to it
    connect_delay_s: float = 0.0  # quiet time after its line was opened
    first_us: int | None = None  # in a replay: the first slot of its recording [us UTC]
    last_us: int | None = None  # and the last, after which it is read no more [us UTC]
    identify: tuple[Identify, ...] = ()  # what proves its model, before it is read
    security: Access | Login | None = None  # of its server, where it is locked
    trust: Trust | None = None  # whom to believe over https
    fields: tuple[Field, ...] = ()  # of Modbus: what `requests` read, to be planned anew
    max_words: int = MAX_WORDS  # of a request to it
    cost: Cost = TCP
    profile: str = ""  # SHA-256 of its document: what is known of the device holds for this one

    @cached_property
    def periods_us(self) -> tuple[int, ...]:
        """The periods that some of its points have of their own. [us]"""
        return tuple(sorted({field.every_us for field in self.fields} - {0}))

    def due(self, slot_us: int | None, last_us: int | None = None) -> tuple[int, ...]:
        """Those of its periods that end at a slot; None: all. [us]

        Args:
            slot_us: the slot. [us UTC]
            last_us: the slot before it that was read: those that have ended since are due too.
                [us UTC]
        """
        if slot_us is None:
            return self.periods_us
        since_us = slot_us - 1 if last_us is None else last_us
        return tuple(us for us in self.periods_us if slot_us // us != since_us // us)

    def spans(self, due_us: Collection[int]) -> list[Span]:
        """What is wanted when these periods end."""
        return sorted({f.span for f in self.fields if f.every_us == 0 or f.every_us in due_us})

    def plan(self, due_us: Collection[int], refused: Collection[Span] = ()) -> tuple[Request, ...]:
        """The requests for it, none of which asks for all of something refused."""
        if not self.periods_us and not refused:
            return self.requests
        return plan_spans(self.spans(due_us), self.max_words, self.cost, refused)


def plan_requests(profile: Profile, cost: Cost = TCP) -> tuple[Request, ...]:
    """The requests that read every point whole, and its scale register in the same answer.

    Args:
        profile: what to read; no block is longer than its `max_words`.
        cost: of a request on the line; where two plans cost the same, fewer requests win, then
            fewer words. It is for Modbus words only.

    Raises:
        ConfigError: one point alone is longer than `max_words`.
    """
    if profile.protocol == "opcua":
        return tuple(
            Request(NODE, i, 1, point.node)
            for i, point in enumerate(profile.points)
            if isinstance(point, NodePoint)
        )
    if profile.protocol == "elektronikon":
        return _selectors(profile)
    if profile.protocol == "sigma_control":
        return _objects(profile)
    if profile.protocol == "sunspec":
        named = [point for point in profile.points if isinstance(point, SunspecPoint)]
        return _models(named, profile.max_words)
    fields = fields_of(profile)
    return plan_spans([field.span for field in fields], profile.max_words, cost)


def _selectors(profile: Profile) -> tuple[Request, ...]:
    """Every selector once: they all fit into one question, a value beside what says its unit."""
    selectors = {
        selector
        for point in profile.points
        if isinstance(point, SelectorPoint)
        for selector in point.selectors
    }
    if len(selectors) > MAX_SELECTORS:
        raise ConfigError(
            f"The points ask for {len(selectors)} selectors, and one question has"
            f" {MAX_SELECTORS} at most.",
            "Leave points out, or make two profiles.",
        )
    return tuple(Request(SELECTOR, int(selector, 16), 1) for selector in sorted(selectors))


def _objects(profile: Profile) -> tuple[Request, ...]:
    """What the controller must say of itself, then every object and every lamp once."""
    rules = [f"{rule.field}={'|'.join(rule.one_of)}" for rule in profile.controller]
    places = {point.place for point in profile.points if isinstance(point, ObjectPoint)}
    return (
        *(Request(CONTROLLER, i, 1, rule) for i, rule in enumerate(rules)),
        *(Request(table, address, 1) for table, address in sorted(places)),
    )


def fields_of(profile: Profile) -> tuple[Field, ...]:
    """What is read of a Modbus device; nothing of another.

    Raises:
        ConfigError: one point alone is longer than `max_words`.
    """
    for point in profile.registers:
        _check_length(point, profile.max_words)
    return tuple(
        Field(point.name, Span(point.table, *point.span), (point.every_s or 0) * US_PER_S)
        for point in profile.registers
    )


def _models(points: Sequence[SunspecPoint], max_words: int) -> tuple[Request, ...]:
    """One request per model, from its ID on: a value and its scale factor are of one answer.

    What lies further from the ID than one request reaches is refused: an answer from the middle of
    a model would show neither which model it is nor, mostly, the scale factors at its beginning.
    """
    words: dict[int, int] = {}
    for point in points:
        words[point.model] = max(words.get(point.model, 0), point.end)
        if point.end > max_words:
            raise ConfigError(
                f"{point.name} ends {point.end} words after the start of model {point.model}.",
                f"One request reads {max_words} of them, value and scale factor together; leave the"
                " point out.",
            )
    return tuple(Request(SUNSPEC, model, count) for model, count in sorted(words.items()))


def _check_length(point: Point, max_words: int) -> None:
    words = point.span[1] - point.span[0]
    if words > max_words:
        factor = "" if point.scale_register is None else " with its scale register"
        do = f"Set 'max_words' to {words} or more" if words <= MAX_WORDS else "Leave it out"
        raise ConfigError(
            f"{point.name} takes {words} words{factor} and 'max_words' allows {max_words}.",
            f"{do}: a value read in two parts can be of two instants.",
        )


def plan_spans(
    spans: Iterable[Span], max_words: int, cost: Cost, refused: Collection[Span] = ()
) -> tuple[Request, ...]:
    """The requests of least cost that read every span whole.

    Args:
        spans: what is wanted, none longer than `max_words`.
        max_words: that a request may ask for.
        cost: of a request on the line.
        refused: what no request may contain; a span that does is left out.
    """
    wanted = [s for s in spans if not any(s.contains(other) for other in refused)]
    requests: list[Request] = []
    for table in TABLES:
        its = sorted({span for span in wanted if span.table == table})
        requests += _blocks(its, max_words, cost, [s for s in refused if s.table == table])
    return tuple(requests)


def _blocks(
    spans: Sequence[Span], max_words: int, cost: Cost, refused: Collection[Span]
) -> list[Request]:
    # best[i]: (requests, words, first span of the last block) for the spans before i
    best: list[tuple[int, int, int]] = [(0, 0, 0)]
    for i in range(1, len(spans) + 1):
        block, options = spans[i - 1], []
        for j in range(i - 1, -1, -1):
            block = hull((spans[j], block))
            words = block.end - block.first
            if words > max_words or any(block.contains(other) for other in refused):
                break
            options.append((best[j][0] + 1, best[j][1] + words, j))
        best.append(min(options, key=lambda option: (cost.of(option[0], option[1]), option[2])))
    blocks: list[Request] = []
    i = len(spans)
    while i:
        j = best[i][2]
        blocks.append(request_of(hull(spans[j:i])))
        i = j
    return blocks[::-1]
