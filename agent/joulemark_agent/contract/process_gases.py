"""Emission factors of process gases and warming potentials as data, each table with its source."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from joulemark_agent.contract.profile import Exact

GasName = Annotated[str, Field(pattern=r"^([A-Z][a-z]?[0-9]{0,3}){1,8}$")]
Key = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,40}$")]
Ratio = Annotated[Exact, Field(ge=Decimal(0), le=Decimal(10))]
Potential = Annotated[Exact, Field(ge=Decimal(0), le=Decimal(1_000_000))]


class _Data(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class GasTable(_Data):
    """One published table: by process and gas fed, kilograms emitted per kilogram fed.

    Under its own name stands what is emitted of the gas itself, 1 - U; under others by-products.
    """

    table: str = Field(min_length=1)
    what: str = Field(min_length=10)
    source: str = Field(min_length=10)
    published: date
    processes: Mapping[Key, Mapping[GasName, Mapping[GasName, Ratio]]] = Field(min_length=1)

    @model_validator(mode="after")
    def _has_each_gas_itself(self) -> GasTable:
        for process, gases in self.processes.items():
            if missing := [gas for gas, emitted in gases.items() if gas not in emitted]:
                raise ValueError(f"{process}: {missing} lack what is emitted of themselves, 1 - U")
        return self


class ProcessGasSet(_Data):
    """The factors of one file."""

    process_gases: Key
    tables: Annotated[tuple[GasTable, ...], BeforeValidator(tuple)] = Field(min_length=1)


class WarmingTable(_Data):
    """The 100-year warming potentials of one assessment. [kg CO2e / kg]"""

    assessment: str = Field(min_length=2)
    source: str = Field(min_length=10)
    published: str = Field(min_length=4)
    kg_per_kg: Mapping[GasName, Potential] = Field(min_length=1)


class WarmingSet(_Data):
    """The assessments of one file."""

    warming_potentials: Key
    assessments: Annotated[tuple[WarmingTable, ...], BeforeValidator(tuple)] = Field(min_length=1)
