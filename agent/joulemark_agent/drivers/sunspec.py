"""SunSpec over Modbus TCP: models are found on the wire, where a device happens to keep them.

The map of a unit is walked at its first read on a connection and remembered as long as that lives.
Each model is then one Modbus read from its own ID register on, so that a value and its scale factor
are of one answer, and every answer shows again which model it is. Plain Modbus points pass through.
Where a map holds a model twice, the first counts.
Source: SunSpec Device Information Model Specification 1.1, sections on model discovery and on the
end model; the base addresses are those of its Modbus binding.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from joulemark_agent.contract.errors import DeviceError
from joulemark_agent.contract.profile import SUNSPEC
from joulemark_agent.contract.reading import Response
from joulemark_agent.drivers import modbus
from joulemark_agent.drivers.base import Request
from joulemark_agent.drivers.modbus import ModbusTcp

SCHEMES = ("sunspec-tcp",)
DEFAULT_PORT = modbus.DEFAULT_PORT
HAS_PATH = False
BASES = (40_000, 0, 50_000)
MAX_MODELS = 128  # a map has some ten; the walk through a hostile one must end

NOT_SUNSPEC, BAD_MAP, MOVED = "not_sunspec", "bad_map", "model_moved"
_MARKER = b"SunS"
_HEAD = struct.Struct(">HH")  # of a model: its id, and how many words follow
_END = 0xFFFF  # the id that ends a map
_NO_SUCH_ADDRESS = "exception_02"
_NOT_HERE = {"exception_01", _NO_SUCH_ADDRESS, "exception_03", "exception_04"}  # at a base address


@dataclass(frozen=True)
class _Place:
    address: int  # of the model's ID register
    words: int  # with ID and length


async def connect(url: str, *, timeout_s: float) -> SunspecTcp:
    """An open connection to `sunspec-tcp://HOST[:PORT]`.

    Raises:
        DeviceError: there is none to be had.
    """
    return SunspecTcp(await modbus.connect(url, timeout_s=timeout_s))


class SunspecTcp:
    """A SunSpec client over a Modbus client that believes nothing."""

    def __init__(self, opened: ModbusTcp) -> None:
        self._modbus = opened
        self._maps: dict[int, dict[int, _Place]] = {}  # by unit, then by model

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

    async def _place(self, unit: int, model: int, timeout_s: float | None) -> _Place:
        known = self._maps.get(unit)
        if known is None:
            known = self._maps[unit] = await self._walk(unit, timeout_s)
        if model not in known:
            del self._maps[unit]  # it may still be starting: look again next time
            raise DeviceError(
                f"Unit {unit} at {self._modbus.peer} has no SunSpec model {model}, only"
                f" {', '.join(map(str, known)) or 'none at all'}.",
                "Use a profile whose models the device has, or check the unit's number.",
                code=f"no_model_{model}",
            )
        return known[model]

    async def _walk(self, unit: int, timeout_s: float | None) -> dict[int, _Place]:
        address = await self._base(unit, timeout_s) + len(_MARKER) // 2
        found: dict[int, _Place] = {}
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
            found.setdefault(model, _Place(address, _HEAD_WORDS + length))
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
