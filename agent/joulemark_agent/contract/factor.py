"""Emission factors as data: value, unit, validity, source; chosen by rule set, place and time."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from joulemark_agent.contract.errors import MeasureError
from joulemark_agent.contract.profile import Exact

DATASET_CHECK = "dataset-check"


class Factor(BaseModel):
    """One emission factor for bought electricity. [kg CO2e / kWh]"""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(min_length=1)
    factor_kg_per_kwh: Exact = Field(gt=Decimal(0))
    standard_uncertainty_ratio: Exact = Field(ge=Decimal(0), lt=Decimal(1))
    uncertainty_source: str = Field(min_length=3)
    boundary: Literal["consumption_end", "generation_end", "not_stated"]
    jurisdiction: str
    rule_sets: tuple[str, ...] = Field(min_length=1)
    valid_from: date
    valid_to: date  # exclusive
    published: str
    source: str = Field(min_length=10)
    supersedes: str | None = None

    @model_validator(mode="after")
    def _is_in_order(self) -> Factor:
        if self.valid_to <= self.valid_from:
            raise ValueError("valid_to (exclusive) must be after valid_from")
        return self


class FactorSet(BaseModel):
    """The factors of one file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    factor_set: str
    factors: Annotated[tuple[Factor, ...], BeforeValidator(tuple)] = Field(min_length=1)

    def choose(self, *, rule_set: str, jurisdiction: str, day: date) -> Factor:
        """The one factor for this rule set, place and day of activity; never "the latest".

        Raises:
            MeasureError: none applies (`no_factor`) or several do (`ambiguous_factor`).
        """
        fits = [
            factor
            for factor in self.factors
            if rule_set in factor.rule_sets
            and jurisdiction == factor.jurisdiction
            and factor.valid_from <= day < factor.valid_to
        ]
        asked = f"rule set {rule_set!r}, {jurisdiction!r}, {day.isoformat()}"
        if not fits:
            raise MeasureError(
                f"No emission factor applies to {asked} in {self.factor_set!r}.",
                "Name another rule set, or add the factor with its source and validity.",
                code="no_factor",
            )
        if len(fits) > 1:
            names = ", ".join(factor.id for factor in fits)
            raise MeasureError(
                f"{len(fits)} emission factors apply to {asked}: {names}.",
                "Give them validity periods that do not overlap.",
                code="ambiguous_factor",
            )
        return fits[0]
