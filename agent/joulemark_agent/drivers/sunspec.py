"""SunSpec over Modbus TCP, RTU and RTU over TCP: models are found where a device keeps them.

The map of a unit is walked at its first read on a connection and remembered as long as that lives.
Each model is then one Modbus read from its own ID register on, so that a value and its scale factor
are of one answer, and every answer shows again which model it is. Plain Modbus points pass through.
Where a map holds a model twice, the first counts.
Source: SunSpec Device Information Model Specification 1.1, sections on model discovery and on the
end model; the base addresses are those of its Modbus binding.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

from joulemark_agent.contract.errors import DeviceError
from joulemark_agent.contract.profile import SUNSPEC
from joulemark_agent.contract.reading import Response
from joulemark_agent.drivers import modbus, modbus_rtu
from joulemark_agent.drivers.base import Driver, Paced, Request
from joulemark_agent.exchange import TIMEOUT

SERIAL_SCHEMES = ("sunspec-rtu",)
SCHEMES = ("sunspec-tcp", *SERIAL_SCHEMES, "sunspec-rtu-tcp")
DEFAULT_PORT = modbus.DEFAULT_PORT
HAS_PATH = False
BASES = (40_000, 0, 50_000)
MAX_MODELS = 128  # a map has some ten; the walk through a hostile one must end
WALK_TIMEOUTS = 10  # for all of it

NOT_SUNSPEC, BAD_MAP, MOVED = "not_sunspec", "bad_map", "model_moved"
_MARKER = b"SunS"
_HEAD = struct.Struct(">HH")  # of a model: its id, and how many words follow
_END = 0xFFFF  # the id that ends a map
_NO_SUCH_ADDRESS = "exception_02"
_NOT_HERE = {"exception_01", _NO_SUCH_ADDRESS, "exception_03", "exception_04"}  # at a base address


@dataclass(frozen=True)
class Place:
    """Where a model stands on a unit."""

    address: int  # of the model's ID register
    words: int  # with ID and length


class Modbus(Driver, Protocol):
    """A Modbus client: over TCP or a line."""

    @property
    def peer(self) -> str:
        """Host and port or the device file, for messages."""


async def connect(url: str, *, timeout_s: float) -> Sunspec:
    """An open connection to `sunspec-tcp://HOST`, `sunspec-rtu:///dev/NAME` or `sunspec-rtu-tcp`.

    Raises:
        DeviceError: there is none to be had.
    """
    wire = modbus if urlsplit(url).scheme == "sunspec-tcp" else modbus_rtu
    return Sunspec(await wire.connect(url, timeout_s=timeout_s))


class Sunspec:
    """A SunSpec client over a Modbus client that believes nothing."""

    def __init__(self, opened: Modbus) -> None:
        self._modbus = opened
        self._maps: dict[int, dict[int, Place]] = {}  # by unit, then by model

    @property
    def is_open(self) -> bool:
        """Whether another read may be tried."""
        return self._modbus.is_open

    async def read(
        self, unit: int, requests: Sequence[Request], *, timeout_s: float | None = None
    ) -> tuple[Response, ...]:
        """One checked response per request; that of a model may be shorter, as the model is.

        Raises:
            DeviceError: as Modbus does; or `not_sunspec` (no map), `bad_map` (one that cannot be),
                `no_model_NNN`, `model_moved` (another each time it is looked for). The connection
                outlives these four.
        """
        return tuple(
            [
                await self._model(unit, request, timeout_s)
                if request.table == SUNSPEC
                else await self._words(unit, request, timeout_s)
                for request in requests
            ]
        )

    def pace(self, pause_s: float) -> None:
        """Keep so long quiet before each question from now on, those of the walk too. [s]"""
        if isinstance(self._modbus, Paced):
            self._modbus.pace(pause_s)

    async def close(self) -> None:
        """Give the connection back."""
        await self._modbus.close()

    async def _model(self, unit: int, request: Request, timeout_s: float | None) -> Response:
        """A model that is not where it was is looked for once more: a gap would cost a slot."""
        for _ in range(2):
            place = await self._place(unit, request.address, timeout_s)
            block = Request("holding", place.address, min(request.count, place.words))
            try:
                response = await self._words(unit, block, timeout_s)
            except DeviceError as error:
                if error.code == _NO_SUCH_ADDRESS:
                    del self._maps[unit]
                raise
            found = _HEAD.unpack_from(response.data)
            if found == (request.address, place.words - _HEAD_WORDS):
                return Response(SUNSPEC, request.address, response.data)
            del self._maps[unit]
        raise DeviceError(
            f"Unit {unit} at {self._modbus.peer} shows model {found[0]} with {found[1]} words where"
            f" its map has just shown {request.address} with {place.words - _HEAD_WORDS}.",
            "The device rearranges its registers: wait until it has started, or update it.",
            code=MOVED,
        )

    async def models(self, unit: int, *, timeout_s: float | None = None) -> dict[int, Place]:
        """The first model of each kind that the unit has, as they follow one another.

        Raises:
            DeviceError: as `read` does.
        """
        if unit not in self._maps:
            limit_s = None if timeout_s is None else WALK_TIMEOUTS * timeout_s
            try:
                async with asyncio.timeout(limit_s):  # others of the line wait meanwhile
                    self._maps[unit] = await self._walk(unit, timeout_s)
            except TimeoutError as error:
                raise DeviceError(
                    f"Unit {unit} at {self._modbus.peer} has not shown all its SunSpec models"
                    f" within {limit_s:g} s.",
                    "Raise 'timeout_s', or use a Modbus profile for it.",
                    code=TIMEOUT,
                ) from error
        return self._maps[unit]

    async def _place(self, unit: int, model: int, timeout_s: float | None) -> Place:
        known = await self.models(unit, timeout_s=timeout_s)
        if model not in known:
            del self._maps[unit]  # it may still be starting: look again next time
            raise DeviceError(
                f"Unit {unit} at {self._modbus.peer} has no SunSpec model {model}, only"
                f" {', '.join(map(str, known)) or 'none at all'}.",
                "Use a profile whose models the device has, or check the unit's number.",
                code=f"no_model_{model}",
            )
        return known[model]

    async def _walk(self, unit: int, timeout_s: float | None) -> dict[int, Place]:
        address = await self._base(unit, timeout_s) + len(_MARKER) // 2
        found: dict[int, Place] = {}
        for _ in range(MAX_MODELS):
            try:
                head = await self._words(unit, Request("holding", address, 2), timeout_s)
            except DeviceError as error:
                if error.code == _NO_SUCH_ADDRESS:
                    return found  # the end model was forgotten
                raise
            model, length = _HEAD.unpack(head.data)
            if model == _END:
                return found
            found.setdefault(model, Place(address, _HEAD_WORDS + length))
            address += _HEAD_WORDS + length
            if address > 0x10000 - _HEAD_WORDS:
                raise self._bad_map(unit, f"model {model} with {length} words ends at {address}")
        raise self._bad_map(unit, f"there are more than {MAX_MODELS} models")

    async def _base(self, unit: int, timeout_s: float | None) -> int:
        for base in BASES:
            try:
                found = await self._words(unit, Request("holding", base, 2), timeout_s)
            except DeviceError as error:
                if error.code in _NOT_HERE:
                    continue
                raise
            if found.data == _MARKER:
                return base
        raise DeviceError(
            f"Unit {unit} at {self._modbus.peer} has no 'SunS' at {', '.join(map(str, BASES))}.",
            "Switch SunSpec on in the device's settings, check the unit's number, or use a Modbus"
            " profile.",
            code=NOT_SUNSPEC,
        )

    async def _words(self, unit: int, request: Request, timeout_s: float | None) -> Response:
        [response] = await self._modbus.read(unit, (request,), timeout_s=timeout_s)
        return response

    def _bad_map(self, unit: int, what: str) -> DeviceError:
        return DeviceError(
            f"The SunSpec map of unit {unit} at {self._modbus.peer} cannot be: {what}.",
            "Update the device, or use a Modbus profile for it.",
            code=BAD_MAP,
        )


_HEAD_WORDS = _HEAD.size // 2
