"""The narrow protocol behind which every driver stands.

A driver's file exports `SCHEMES`, `DEFAULT_PORT` and `connect(url, *, timeout_s) -> Driver`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from joulemark_agent.contract.profile import CONTROLLER, LED, OBJECT, SELECTOR, SUNSPEC
from joulemark_agent.contract.reading import Response

MAX_VALUES = 1000  # of one reading: more make batches that the collector does not take
MAX_SELECTORS = 1000  # of one question: the controller's own page asks no more at once
WITHOUT_WORDS = (SELECTOR, OBJECT, LED, CONTROLLER)
MAX_WORDS = 125  # of one request: Modbus application protocol 1.1b3, section 6.3


@dataclass(frozen=True)
class Subscribe:
    """How the server of a variable is asked to watch it between the slots."""

    sampling_ms: int
    queue: int  # values that wait on the server for the slot; a full queue drops the oldest


@dataclass(frozen=True)
class Request:
    """A block of neighbouring words of one table, or what another protocol has in its place.

    | table | address | count |
    |---|---|---|
    | holding, input, coil, discrete | of the first word | words |
    | sunspec | id of the model | words from the model's own ID register on |
    | node | index of the point in the profile | 1; `node` names the variable |
    | selector | its six digits, as a number | 1 |
    | object, led | number of the object, or of the lamp | 1 |
    | controller | 0 | 1; `node` is what it must say of itself, FIELD=VALUE or FIELD=VALUE|VALUE |
    """

    table: str
    address: int
    count: int
    node: str = ""
    subscribe: Subscribe | None = None  # None: the variable is read at the slot

    def __post_init__(self) -> None:
        words = 1 if self.table == SUNSPEC else self.count  # a model's id is no place
        places = 0x1_0000_0000 if self.table in WITHOUT_WORDS else 0x10000
        if self.table == SELECTOR:
            places = 0x100_0000  # six digits: a seventh would be the first of the next
        if not (1 <= self.count <= MAX_WORDS and 0 <= self.address <= places - words):
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


@runtime_checkable
class Paced(Driver, Protocol):
    """A driver that asks more questions than it is given requests."""

    def pace(self, pause_s: float) -> None:
        """Keep so long quiet before each question from now on. [s]"""
