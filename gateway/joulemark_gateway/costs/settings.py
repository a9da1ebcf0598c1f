"""The section `costs` of the collector's file: which tariffs a site has, and when to warn."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from joulemark_agent.contract.topics import require_id
from joulemark_gateway.sections import Folder, Strict, located, mistake

SiteName = Annotated[str, located(lambda text: require_id(text, "site"))]


class PeakWarning(Strict):
    """Which demand is warned of before it is reached."""

    limit: Literal["contract", "billing", "fixed"] = "billing"
    limit_kw: Decimal | None = Field(default=None, gt=0)  # with `fixed`
    limit_ratio: float = Field(default=1.0, gt=0, le=2)  # of the limit, at which it is warned
    clear_ratio: float = Field(default=0.95, gt=0, le=1)  # of that, below which it ends
    uncertainties: float = Field(default=0.0, ge=0, le=5)  # added to the forecast

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.limit == "fixed") != (self.limit_kw is not None):
            raise mistake("'limit_kw' goes with 'limit: fixed', and 'limit: fixed' with it")
        return self


class CostSettings(Strict):
    """The tariffs of one site."""

    site: SiteName
    tariffs: tuple[Folder, ...] = Field(min_length=1, max_length=50)
    contract_kw: Decimal | None = Field(default=None, gt=0)
    warning: PeakWarning | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.warning and self.warning.limit == "contract" and self.contract_kw is None:
            raise mistake("'limit: contract' needs the 'contract_kw' of the site")
        return self
