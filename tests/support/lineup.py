"""A factory's devices as bytes: golden words of each profile, stirred."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from joulemark_agent.contract.profile import Point
from joulemark_agent.contract.reading import Response
from joulemark_agent.documents import load_profile
from joulemark_agent.kernels.chain import Device
from joulemark_agent.kernels.decode_block import Layout
from joulemark_agent.kernels.stream import Times
from joulemark_agent.plan import plan_requests
from support.streams import FIRST_US, S

Columns = tuple[Times, NDArray[np.uint8], NDArray[np.bool_], NDArray[np.bool_]]


@dataclass(frozen=True, eq=False)
class Readings:
    """Slots of a line-up."""

    devices: list[Device]
    t_us: Times
    data: NDArray[np.uint8]
    is_read: NDArray[np.bool_]
    cut: NDArray[np.bool_]

    def part(self, start: int, end: int) -> Columns:
        """Columns of some slots, as `step_chain` takes them."""
        rows = slice(start, end)
        return self.t_us[rows], self.data[rows], self.is_read[rows], self.cut[rows]

    def responses(self, device: int, slot: int) -> list[Response]:
        """One reading as the exact decoder takes it."""
        at = sum(size for one in self.devices[:device] for *_, size in one.layout)
        found = []
        for table, address, size in self.devices[device].layout:
            found.append(Response(table, address, self.data[slot, at : at + size].tobytes()))
            at += size
        return found


def layout_of(name: str) -> Layout:
    """Where what stands in the readings of a shipped profile."""
    requests = plan_requests(load_profile(name)[0])
    return tuple((one.table, one.address, 2 * one.count) for one in requests)


def readings(
    names: list[str], slots: int, draw: np.random.Generator, *, stirred: float = 0.5
) -> Readings:
    """Slots a second apart: of some the low bytes of all words are stirred, some were not read.

    Args:
        names: shipped profiles, one device each.
        slots: how many.
        draw: where chance comes from.
        stirred: the share of slots that do not show the golden words.
    """
    devices = [Device(load_profile(name)[0], layout_of(name), S) for name in names]
    row = b"".join(_golden(device) for device in devices)
    data = np.frombuffer(row * slots, np.uint8).reshape(slots, len(row)).copy()
    some = draw.random(slots) < stirred
    data[some, 1::2] ^= draw.integers(0, 4, (int(some.sum()), len(row) // 2), np.uint8)
    is_read = draw.random((slots, len(devices))) > 0.02
    t_us = FIRST_US + np.arange(slots) * S
    return Readings(devices, t_us, data, is_read, draw.random(slots) < 0.002)


def _golden(device: Device) -> bytes:
    """A reading that holds every golden word of the profile."""
    row, at = bytearray(sum(size for *_, size in device.layout)), 0
    for table, address, size in device.layout:
        for golden in device.profile.golden:
            point = device.profile.point(golden.point)
            assert isinstance(point, Point)
            end = address + size // 2
            is_inside = address <= point.address and point.address + point.words <= end
            if golden.value is not None and point.table == table and is_inside:
                start = at + 2 * (point.address - address)
                row[start : start + 2 * point.words] = golden.raw[: 2 * point.words]
        at += size
    return bytes(row)
