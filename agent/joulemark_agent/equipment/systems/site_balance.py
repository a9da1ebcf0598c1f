"""A site's sun, grid and consumers: what of the sun was used, and whether the meters agree."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, get_args

import numpy as np
from pydantic import BaseModel

from joulemark_agent.equipment.base import (
    Analysis,
    Section,
    Times,
    absent,
    extent,
    of_unit,
)
from joulemark_agent.equipment.days import day_edges_us
from joulemark_agent.equipment.metering import Metering, primary
from joulemark_agent.equipment.site_balance import Role as Side
from joulemark_agent.equipment.site_balance import SiteMeter, site_balance
from joulemark_agent.equipment.systems.base import Member, Members, Role

ROLES = {
    "pv": Role(frozenset({"pv_inverter", "power_meter"}), least=1),
    "grid": Role(frozenset({"power_meter"})),
    "loads": Role(),
}
NAMING = ("power", "reversed")
_SIDES: Mapping[str, Side] = dict(zip(ROLES, get_args(Side), strict=True))
_POWER = {"pv_inverter": "ac_power_w"}  # else `power` of the device's own section, or `power_w`


class Parameters(Section):
    """What only the site knows of its meters; positive is generated, imported, consumed."""

    power: Mapping[str, Annotated[str, of_unit("W")]] = {}  # points by device, of another name
    reversed: tuple[str, ...] = ()  # devices that count the other way round


def analyse(parameters: Parameters, members: Members) -> Analysis:
    """Generation, import, export, consumption and use on site, of the whole and of each day."""
    meters = tuple(_meters(parameters, members))
    ends = [extent(meter.samples) for meter in meters if meter.samples.t_us.size > 1]
    if not ends:
        return Analysis(figures=(absent("generated_wh", "There are no samples over time."),))
    start_us, end_us = min(first for first, _ in ends), max(last for _, last in ends)
    zone = next((m.samples.zone.key for m in meters if m.samples.zone is not None), "UTC")
    return site_balance(meters, _days_us(start_us, end_us, zone))


def _meters(parameters: Parameters, members: Members) -> Iterator[SiteMeter]:
    for role, side in _SIDES.items():
        for member in members.get(role, ()):
            power, metering = _told(parameters, member)
            yield SiteMeter(
                member.id,
                side,
                primary(metering, member.samples, (power,)),
                power,
                metering,
                is_reversed=member.id in parameters.reversed,
            )


def _told(parameters: Parameters, member: Member) -> tuple[str, Metering | None]:
    """The point of a device's power, and its meter."""
    own: BaseModel | None = member.parameters
    usual = getattr(own, "power", _POWER.get(member.kind, "power_w"))
    return parameters.power.get(member.id, usual), getattr(own, "metering", None)


def _days_us(start_us: int, end_us: int, zone: str) -> Times:
    """The ends of the local days, cut at the ends of the time. [us]"""
    return np.unique(np.clip(day_edges_us(start_us, end_us, zone), start_us, end_us))
