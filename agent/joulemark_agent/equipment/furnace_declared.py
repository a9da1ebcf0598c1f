"""What only the site knows of a furnace: its points, its gas, its flue, its losses.

Every loss is declared with how sure it is (`uncertainty_ratio`, one standard uncertainty relative
to it): a balance without that could not say whether it closes.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from joulemark_agent.equipment.base import Number, Positive, Section, of_unit
from joulemark_agent.equipment.metering import Metering
from joulemark_agent.physics.combustion import OxygenBasis, stoichiometry
from joulemark_agent.physics.fuel_gas import co2_factor, composition

Share = Annotated[Number, Field(ge=0, le=1)]
Kelvin = Annotated[Number, Field(ge=200, le=2500)]
Metres = Annotated[Number, Field(gt=0, le=100)]
InKelvin = Annotated[str, of_unit("K")]


class Gas(Section):
    """The gas meter and what its gas is worth; the calorific value is per m3 at 0 C and 1 atm."""

    point: Annotated[str, of_unit("m3", "dm3", may_be_unstated=True)]
    ncv_mj_per_m3: Positive | None = None
    basis: Literal["net", "gross"] | None = None
    composition: dict[str, Share] | None = None  # by moles, instead of value, basis and factor
    volume_reference: Literal["normal_0c_101325pa", "standard_15c_101325pa", "operating"] | None = (
        None
    )
    # absolute, where the reference is 'operating': less than 50 kPa is what a gauge shows
    line_pressure_pa: Annotated[Number, Field(ge=5e4, le=1e8)] | None = None
    line_temperature_k: Annotated[Number, Field(ge=200, le=500)] | None = None
    line_compressibility: Annotated[Number, Field(ge=0.3, le=1.5)] = 1.0  # of the gas in the meter
    co2_kg_per_tj: Positive | None = None  # per TJ of net energy
    source: Annotated[str, Field(min_length=10)] | None = None  # of calorific value and factor
    uncertainty_ratio: Share | None = None  # of volume and calorific value together

    @model_validator(mode="after")
    def _names_its_source(self) -> Self:
        declared = (self.ncv_mj_per_m3, self.co2_kg_per_tj, self.composition)
        if any(one is not None for one in declared) and self.source is None:
            raise ValueError(
                "say where the calorific value and the factor come from: 'source', such as the"
                " supplier's gas analysis with its date, or the national guideline"
            )
        return self

    @model_validator(mode="after")
    def _is_told_once(self) -> Self:
        if self.composition is None:
            return self
        if any(x is not None for x in (self.ncv_mj_per_m3, self.basis, self.co2_kg_per_tj)):
            raise ValueError(
                "calorific value and factor come from 'composition'; remove ncv_mj_per_m3, basis"
                " and co2_kg_per_tj, or remove 'composition'"
            )
        gas = composition(self.composition)
        stoichiometry(gas)  # it must burn
        co2_factor(gas)
        return self


class Flue(Section):
    """What is measured in the flue gas."""

    oxygen: Annotated[str, of_unit("1")] = "flue_oxygen_ratio"  # by volume, 0 to 1
    o2_basis: OxygenBasis | None = None
    carbon_monoxide: Annotated[str, of_unit("1")] | None = None  # by volume, 0 to 1
    fuel: Literal["natural_gas"] | None = None  # taken as methane, where no composition is given
    temperature: InKelvin | None = None  # as it leaves the furnace
    air: InKelvin | None = None  # of the combustion air at the burner
    air_k: Kelvin | None = None  # the same where it is not measured

    @model_validator(mode="after")
    def _says_its_basis(self) -> Self:
        if self.o2_basis is None:
            raise ValueError(
                "say in 'o2_basis' whether the probe measures wet gas (a zirconia cell in the"
                " stack) or dry gas (a sampling analyser): the same reading differs by eight"
                " points of excess air"
            )
        return self


class Charge(Section):
    """What is heated."""

    heat_capacity_j_kg_k: Positive  # mean between the two temperatures
    in_k: Kelvin
    mass_kg: Positive | None = None  # of every charge, where no point tells it
    uncertainty_ratio: Share


class Wall(Section):
    """A part of the outer surface."""

    area_m2: Positive
    surface: InKelvin | None = None
    surface_k: Kelvin | None = None
    emissivity: Share = 0.9
    shape_factor: Annotated[Number, Field(ge=0.1, le=5)] = 1.394
    wind_m_s: Annotated[Number, Field(ge=0, le=50)] = 0.0
    uncertainty_ratio: Share

    @model_validator(mode="after")
    def _has_a_temperature(self) -> Self:
        if (self.surface is None) == (self.surface_k is None):
            raise ValueError(
                "a wall needs either 'surface', a point, or 'surface_k', measured once"
            )
        return self


class Opening(Section):
    """A door or hole that radiates."""

    diameter_m: Metres | None = None
    width_m: Metres | None = None
    height_m: Metres | None = None
    thickness_m: Annotated[Number, Field(ge=0, le=100)]  # of the wall around it
    emissivity: Share = 0.95
    open_ratio: Share | None = None  # of the time; None: while the door is open
    uncertainty_ratio: Share

    @model_validator(mode="after")
    def _has_one_shape(self) -> Self:
        sides = (self.width_m is None, self.height_m is None)
        if sides[0] != sides[1] or (self.diameter_m is None) == sides[0]:
            raise ValueError("give an opening either 'diameter_m', or 'width_m' and 'height_m'")
        return self


class Leak(Section):
    """Gaps through which furnace gas leaves."""

    area_m2: Positive
    draft_pa: Annotated[Number, Field(ge=0, le=25_000)]  # inside above the hall, gauge
    discharge: Share = 0.8052
    uncertainty_ratio: Share


class Fixture(Section):
    """A tray or basket that goes in and out with every charge."""

    mass_kg: Positive
    heat_capacity_j_kg_k: Positive
    in_k: Kelvin
    uncertainty_ratio: Share


class Atmosphere(Section):
    """Protective gas that is fed cold and leaves hot."""

    flow: Annotated[str, of_unit("m3/s")] | None = None  # as 'heat_capacity_j_m3_k' counts volume
    flow_m3_s: Positive | None = None
    heat_capacity_j_m3_k: Positive
    in_k: Kelvin
    out_k: Kelvin | None = None  # None: the furnace's
    uncertainty_ratio: Share

    @model_validator(mode="after")
    def _has_a_flow(self) -> Self:
        if (self.flow is None) == (self.flow_m3_s is None):
            raise ValueError("give either 'flow', a point, or 'flow_m3_s'")
        return self


class Cooling(Section):
    """Cooling water, measured."""

    flow: Annotated[str, of_unit("m3/s")]
    inlet: InKelvin
    outlet: InKelvin
    uncertainty_ratio: Share


class Stored(Section):
    """A body that takes up heat and gives it back: hot face, lining, tray.

    It follows the furnace: at rest it reaches `share` of the way from the hall to it, and it gets
    there with a time constant.
    """

    heat_capacity_j_k: Positive
    share: Annotated[Number, Field(gt=0, le=1)] = 1.0
    time_constant_s: Annotated[Number, Field(ge=0)] = 0.0
    uncertainty_ratio: Share


class Auxiliary(Section):
    """Electricity that is on the meter and warms the hall: blowers, controls."""

    power_w: Positive
    uncertainty_ratio: Share


class Losses(Section):
    """Where the heat goes; what is not declared ends up unexplained."""

    ambient: InKelvin | None = None  # of the hall
    ambient_k: Annotated[Number, Field(ge=256, le=330)] = 293.15
    charge: Charge | None = None
    fixtures: tuple[Fixture, ...] = ()
    walls: tuple[Wall, ...] = ()
    openings: tuple[Opening, ...] = ()
    leaks: tuple[Leak, ...] = ()
    flue_uncertainty_ratio: Share | None = None  # of the loss by the flue, from section 'flue'
    atmosphere: tuple[Atmosphere, ...] = ()
    cooling: tuple[Cooling, ...] = ()
    stored: tuple[Stored, ...] = ()
    auxiliary: tuple[Auxiliary, ...] = ()


class Furnace(Section):
    """What only the site knows of a furnace."""

    temperature: InKelvin = "temperature_k"
    set_point: InKelvin = "set_point_k"
    door: Annotated[str, of_unit("")] = "door_state"
    door_open: Literal[0, 1] = 1  # what the door's point reads while it is open
    charge_signal: Annotated[str, of_unit("")] | None = None  # instead of the door
    charge_inside: Literal[0, 1] = 1  # what that point reads while a charge is inside
    electricity: Annotated[str, of_unit("Wh", "W", may_be_unstated=True)] | None = "energy_wh"
    metering: Metering | None = None  # of the electricity
    gas: Gas | None = None
    mass: Annotated[str, of_unit("kg")] | None = None  # of the charge inside, as the scale shows
    mass_uncertainty_ratio: Share | None = None  # of what the scale shows
    flue: Flue | None = None
    losses: Losses | None = None
    least_heat_s: Positive = 600.0  # of heating after a closing that brought a charge

    @model_validator(mode="after")
    def _has_what_its_losses_need(self) -> Self:
        if self.losses is None:
            return self
        if self.losses.flue_uncertainty_ratio is not None and self.flue is None:
            raise ValueError("'flue_uncertainty_ratio' needs the section 'flue'")
        charge = self.losses.charge
        if charge is not None and (charge.mass_kg is None) == (self.mass is None):
            raise ValueError("the charge needs either 'mass', a point, or 'mass_kg' in 'charge'")
        return self
