"""The temperature of the cells: from the back of the modules where measured, else from a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from joulemark_agent.equipment.base import Number, Samples, Section, Values, of_unit
from joulemark_agent.physics.cell_temperature import (
    PVSYST,
    SAPM,
    cell_from_module_k,
    faiman_module_k,
    noct_sam_cell_k,
    pvsyst_cell_k,
    ross_cell_k,
    sapm_module_k,
    wind_or_still,
)

_OPEN = "open_rack_glass_glass"
_OVER_BACK_K = SAPM[_OPEN].delta_k  # cells over the back of a module in the open at 1000 W/m2


class Cells(Section):
    """Where the temperatures come from, and how the modules are mounted."""

    module_temperature: Annotated[str, of_unit("K")] = "module_temperature_k"
    air_temperature: Annotated[str, of_unit("K")] = "ambient_temperature_k"
    wind: Annotated[str, of_unit("m/s")] = "wind_m_s"
    model: Literal["sapm", "faiman", "pvsyst", "ross", "noct_sam"] = "sapm"
    mounting: str | None = None  # of the models sapm and pvsyst, which name them
    noct_k: Annotated[Number, Field(ge=293.15, le=373.15)] | None = None  # of the data sheet
    module_efficiency: Annotated[Number, Field(gt=0, le=0.5)] | None = None
    u0: Annotated[Number, Field(gt=0, le=200)] = 25.0  # of the model faiman [W/(m2 K)]
    u1: Annotated[Number, Field(ge=0, le=50)] = 6.84
    over_back_k: Annotated[Number, Field(ge=0, le=20)] | None = None  # cells over a measured back
    limit_k: Annotated[Number, Field(gt=0)] | None = None  # how far the temperature may be wrong

    @model_validator(mode="after")
    def _complete(self) -> Self:
        known = {"sapm": SAPM, "pvsyst": PVSYST}.get(self.model)
        if self.mounting is not None and (known is None or self.mounting not in known):
            names = ", ".join(known or ()) or "none, for this model has no mountings"
            raise ValueError(f"there is no mounting {self.mounting!r}; it must be one of: {names}")
        if self.model in {"ross", "noct_sam"} and self.noct_k is None:
            raise ValueError(f"the model {self.model} needs noct_k, of the modules' data sheet")
        if self.model == "noct_sam" and self.module_efficiency is None:
            raise ValueError("the model noct_sam needs module_efficiency")
        return self


@dataclass(frozen=True, eq=False)
class CellTemperature:
    """The temperature of the cells at the instants of the samples, or why there is none."""

    values_k: Values | None
    flags: tuple[str, ...] = ()
    why: str = ""


def cell_temperature(cells: Cells, samples: Samples, sun_w_m2: Values) -> CellTemperature:
    """The temperature of the cells.

    Flags: `estimated` from the air by a model; `wind_assumed` where the wind is not known while the
    sun shines and is taken to be 1 m/s.

    Args:
        cells: of the inverter's modules.
        samples: of one inverter with its sensors.
        sun_w_m2: in the modules' plane, not below 0, at the instants of the samples. [W/m2]
    """
    module_k = samples.column(cells.module_temperature)
    if module_k is not None:
        over_k = cells.over_back_k
        if over_k is None:
            over_k = (
                SAPM[cells.mounting or _OPEN].delta_k if cells.model == "sapm" else _OVER_BACK_K
            )
        return CellTemperature(cell_from_module_k(module_k, sun_w_m2, over_k))
    air_k = samples.column(cells.air_temperature)
    if air_k is None:
        why = (
            f"Neither the modules' temperature ({cells.module_temperature!r}) nor that of the air"
            f" ({cells.air_temperature!r}) is measured."
        )
        return CellTemperature(None, why=why)
    told = samples.column(cells.wind)
    wind, is_assumed = wind_or_still(np.full(air_k.size, np.nan) if told is None else told)
    values_k = _modelled_k(cells, sun_w_m2, air_k, wind)
    matters = cells.model != "ross" and np.any(is_assumed & (sun_w_m2 > 0) & ~np.isnan(air_k))
    return CellTemperature(values_k, ("estimated", *(("wind_assumed",) if matters else ())))


def _modelled_k(cells: Cells, sun: Values, air_k: Values, wind: Values) -> Values:
    if cells.model == "sapm":
        a, b, delta_k = SAPM[cells.mounting or _OPEN]
        return cell_from_module_k(sapm_module_k(sun, air_k, wind, a, b), sun, delta_k)
    if cells.model == "pvsyst":
        return pvsyst_cell_k(sun, air_k, wind, *PVSYST[cells.mounting or "freestanding"])
    if cells.model == "ross":
        return ross_cell_k(sun, air_k, noct_k=cells.noct_k)
    if cells.model == "noct_sam":
        noct_k, efficiency = cells.noct_k or 0.0, cells.module_efficiency or 0.0
        return noct_sam_cell_k(sun, air_k, wind, noct_k, efficiency)
    return faiman_module_k(sun, air_k, wind, cells.u0, cells.u1)
