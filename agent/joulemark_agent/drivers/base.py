"""The narrow protocol behind which every driver stands.

A driver's file exports `SCHEMES`, `DEFAULT_PORT` and `connect(url, *, timeout_s) -> Driver`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from joulemark_agent.contract.profile import SUNSPEC
from joulemark_agent.contract.reading import Response

MAX_WORDS = 125  # of one request: Modbus application protocol 1.1b3, section 6.3


@dataclass(frozen=True)
class Request:
    """A block of neighbouring words of one table, or what another protocol has in its place.

    | table | address | count |
    |---|---|---|
    | holding, input, coil, discrete | of the first word | words |
    | sunspec | id of the model | words from the model's own ID register on |
    | node | index of the point in the profile | 1; `node` names the variable |
    """

    table: str
    address: int
    count: int
    node: str = ""

    def __post_init__(self) -> None:
        words = 1 if self.table == SUNSPEC else self.count  # a model's id is no place
        if not (1 <= self.count <= MAX_WORDS and 0 <= self.address <= 0x10000 - words):
            raise ValueError(f"{self} is outside what one request can ask for")


class Driver(Protocol):
    """An open connection that speaks one protocol; the line opens, paces and closes it."""

    @property
    def is_open(self) -> bool:
        """Whether another read may be tried on this connection."""

    async def read(
        self, unit: int, requests: Sequence[Request], *, timeout_s: float | None = None
    ) -> tuple[Response, ...]:
        """One checked response per request, in their order; decoding is elsewhere.

        Args:
            unit: the device's number on the line.
            requests: what to read.
            timeout_s: for each answer; None: as long as for connecting. [s]

        Raises:
            DeviceError: no answer, or none that answers the request; `is_open` says whether the
                connection outlived it.
        """

    async def close(self) -> None:
        """Give the connection back."""
