"""What to ask a device for: of Modbus words, what costs least on the line that carries them.

A plan costs so much a request and so much a word (`Cost`). Points, each with its scale register,
are spans sorted by address; a block is a run of neighbours, for a cheapest set of blocks always
exists in which none is interleaved. Of two blocks one ends before the other or lies within it: if
within, it can be left out; otherwise each span of the first that starts in the second also ends
there, and can be left to it. Neither makes a block longer. So dynamic programming over cut places
is exact, in O(n^2) steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from joulemark_agent.contract.errors import ConfigError
from joulemark_agent.contract.profile import (
    NODE,
    SUNSPEC,
    NodePoint,
    Point,
    Profile,
    SunspecPoint,
    Table,
)
from joulemark_agent.drivers.base import MAX_WORDS, Request

TABLES: tuple[Table, ...] = ("coil", "discrete", "input", "holding")


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
    if profile.protocol == "sunspec":
        return _models([point for point in profile.points if isinstance(point, SunspecPoint)])
    requests: list[Request] = []
    for table in TABLES:
        points = [point for point in profile.registers if point.table == table]
        requests += _blocks(table, points, profile.max_words, cost)
    return tuple(requests)


def _models(points: Sequence[SunspecPoint]) -> tuple[Request, ...]:
    """One request per model, from its ID on: a value and its scale factor are of one answer."""
    words: dict[int, int] = {}
    for point in points:
        words[point.model] = max(words.get(point.model, 0), point.end)
        if point.end > MAX_WORDS:
            raise ConfigError(
                f"{point.name} ends {point.end} words after the start of model {point.model}.",
                f"One request reads {MAX_WORDS}; leave the point out.",
            )
    return tuple(Request(SUNSPEC, model, count) for model, count in sorted(words.items()))


def _blocks(table: Table, points: Sequence[Point], max_words: int, cost: Cost) -> list[Request]:
    for point in points:
        words = point.span[1] - point.span[0]
        if words > max_words:
            factor = "" if point.scale_register is None else " with its scale register"
            do = f"Set 'max_words' to {words} or more" if words <= MAX_WORDS else "Leave it out"
            raise ConfigError(
                f"{point.name} takes {words} words{factor} and 'max_words' allows {max_words}.",
                f"{do}: a value read in two parts can be of two instants.",
            )
    spans = sorted({point.span for point in points})
    # best[i]: (requests, words, first span of the last block) for the spans before i
    best: list[tuple[int, int, int]] = [(0, 0, 0)]
    for i in range(1, len(spans) + 1):
        end, options = 0, []
        for j in range(i - 1, -1, -1):
            end = max(end, spans[j][1])
            words = end - spans[j][0]
            if words > max_words:
                break
            options.append((best[j][0] + 1, best[j][1] + words, j))
        best.append(min(options, key=lambda option: (cost.of(option[0], option[1]), option[2])))
    blocks: list[Request] = []
    i = len(spans)
    while i:
        j = best[i][2]
        start = spans[j][0]
        blocks.append(Request(table, start, max(span[1] for span in spans[j:i]) - start))
        i = j
    return blocks[::-1]
