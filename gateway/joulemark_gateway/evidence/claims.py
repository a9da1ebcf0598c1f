"""What the agent says of its own batches, said again: energy and CO2e of every envelope."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from typing import Any
from zoneinfo import ZoneInfo

from joulemark_agent.contract.canonical import parse_canonical
from joulemark_agent.contract.errors import EvidenceError
from joulemark_agent.contract.factor import FactorSet
from joulemark_agent.envelope import Carbon, Row, energy_sums
from joulemark_gateway.evidence.history import Tree, period_us_of, profile_of


def check_energy(tree: Tree, documents: Mapping[str, bytes]) -> None:
    """Every envelope that states energy states what its records give, to the last digit.

    An envelope may state nothing: a tail that was closed under a later configuration does.

    Raises:
        EvidenceError: `envelope_energy`, or what the documents lack.
    """
    profile, period_us = profile_of(tree, documents), period_us_of(tree, documents)
    carbon = _carbon_of(tree, documents)
    rows = [Row(r.slot_us, r.values, r.quality) for r in tree.records]
    seqs = [record.seq for record in tree.records]
    anchor: Row | None = None
    taken = 0
    for envelope in tree.envelopes:
        first, taken = taken, bisect_left(seqs, envelope.seq, taken)
        inside = rows[first:taken]
        given, last = energy_sums(profile, anchor, inside, period_us=period_us, carbon=carbon)
        anchor = inside[last] if last >= 0 else anchor
        claimed = envelope.fields.get("energy")
        if claimed not in ({}, given):
            raise EvidenceError(
                f"Envelope {envelope.seq} of {tree.origin} states {_told(claimed)}; its records "
                f"give {_told(given)}.",
                "Compare it with the copy of the collector and of the witness.",
                code="envelope_energy",
            )


def _carbon_of(tree: Tree, documents: Mapping[str, bytes]) -> Carbon:
    names = tree.grant["documents"]
    try:
        site = parse_canonical(documents[names["site"]])
        return Carbon(
            FactorSet.model_validate(parse_canonical(documents[names["factors"]])),
            str(site["factors"]["rule_set"]),
            str(site["factors"]["jurisdiction"]),
            ZoneInfo(site["time_zone"]),
        )
    except (KeyError, ValueError, TypeError, OSError) as error:
        raise EvidenceError(
            f"The documents of {tree.origin} do not say which factors apply: {error}.",
            "Compare them with the copy of the collector.",
            code="bad_document",
        ) from error


def _told(claim: Any) -> str:
    if not isinstance(claim, dict):
        return "no sums"
    return f"{claim.get('energy_wh')!s:.40} Wh, {claim.get('co2e_kg')!s:.40} kg CO2e"
