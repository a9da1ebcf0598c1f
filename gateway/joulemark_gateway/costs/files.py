"""Reads the tariffs that the collector's file names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from joulemark_agent.contract.errors import ConfigError
from joulemark_gateway.costs.settings import CostSettings, PeakWarning
from joulemark_gateway.costs.tariff import Tariff, require_together, tariff_of
from joulemark_gateway.sections import read_yaml


@dataclass(frozen=True)
class SiteTariffs:
    """What a site pays by."""

    site: str
    tariffs: tuple[Tariff, ...]  # by the day they begin
    contract_kw: Decimal | None
    warning: PeakWarning | None


def load_tariffs(sections: Iterable[CostSettings]) -> Mapping[str, SiteTariffs]:
    """The tariffs of each site.

    Raises:
        ConfigError: every mistake of the first file that has one, or a site stands twice.
    """
    found: dict[str, SiteTariffs] = {}
    for section in sections:
        if section.site in found:
            raise ConfigError(
                f"costs: the site {section.site!r} stands twice.",
                "List all of its tariffs in one place.",
            )
        tariffs = sorted(
            (tariff_of(read_yaml(path)) for path in section.tariffs),
            key=lambda tariff: tariff.valid_from,
        )
        require_together(tariffs, f"costs: {section.site}")
        found[section.site] = SiteTariffs(
            section.site, tuple(tariffs), section.contract_kw, section.warning
        )
    return found
