"""Which emission factors the approved documents choose for a tree. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from joulemark_agent.contract.canonical import parse_canonical
from joulemark_agent.contract.errors import MeasureError
from joulemark_agent.contract.factor import Factor, FactorSet
from joulemark_agent.envelope import Carbon


def approved_carbon(
    documents: Mapping[str, bytes], named: Mapping[str, str], zone: ZoneInfo
) -> Carbon | None:
    """What the documents that a grant names say; None where they do not say which factors apply.

    Args:
        documents: by digest.
        named: the digests of the grant.
        zone: of the site.
    """
    try:
        choice = _parsed(documents[named["site"]])["factors"]
        factors = _factors(documents[named["factors"]])
        return Carbon(factors, str(choice["rule_set"]), str(choice["jurisdiction"]), zone)
    except (KeyError, ValueError, TypeError):
        return None


def factor_on(carbon: Carbon | None, day: date) -> Factor | None:
    """The one emission factor of the day; None where none or several apply."""
    if carbon is None:
        return None
    try:
        return carbon.factors.choose(
            rule_set=carbon.rule_set, jurisdiction=carbon.jurisdiction, day=day
        )
    except MeasureError:
        return None


@lru_cache(maxsize=64)
def _factors(document: bytes) -> FactorSet:
    return FactorSet.model_validate(parse_canonical(document))


@lru_cache(maxsize=64)
def _parsed(document: bytes) -> Any:
    return parse_canonical(document)
