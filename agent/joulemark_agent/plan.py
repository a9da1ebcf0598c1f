"""What to ask a device for. Of Modbus words: the fewest requests, and among those the fewest words.

Points are sorted by address; a block is a run of neighbours, for an optimal set of blocks always
exists in which none is interleaved: if a point between two of one block lies in another block,
either it fits into the first or the later of the two fits into the second. So dynamic programming
over cut places is exact, in O(n^2) steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from joulemark_agent.contract.errors import ConfigError
from joulemark_agent.contract.profile import (
    NODE,
    SUNSPEC,
    WORDS,
    NodePoint,
    Point,
    Profile,
    SunspecPoint,
    Table,
)
from joulemark_agent.drivers.base import MAX_WORDS, Request

TABLES: tuple[Table, ...] = ("coil", "discrete", "input", "holding")


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


def plan_requests(profile: Profile) -> tuple[Request, ...]:
    """The requests that read every point whole; no block is longer than `profile.max_words`.

    Raises:
        ConfigError: one point alone is longer.
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
        requests += _blocks(table, points, profile.max_words)
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


def _blocks(table: Table, points: Sequence[Point], max_words: int) -> list[Request]:
    for point in points:
        if point.words > max_words:
            raise ConfigError(
                f"{point.name} takes {point.words} words and 'max_words' allows {max_words}.",
                f"Set 'max_words' to {max(WORDS[point.type], max_words)} or more: a value read in"
                " two parts can be of two instants.",
            )
    spans = sorted({(point.address, point.address + point.words) for point in points})
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
        best.append(min(options))
    blocks: list[Request] = []
    i = len(spans)
    while i:
        j = best[i][2]
        start = spans[j][0]
        blocks.append(Request(table, start, max(span[1] for span in spans[j:i]) - start))
        i = j
    return blocks[::-1]
