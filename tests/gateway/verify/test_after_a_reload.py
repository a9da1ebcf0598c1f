"""A bundle whose devices hold different site documents, as after a change of the site file."""

from dataclasses import dataclass, replace
from typing import Any

import pytest

from joulemark_agent.contract.batch import Batch
from joulemark_agent.contract.canonical import canonical_bytes, digest_hex, parse_canonical
from joulemark_gateway.verify.verdict import verify
from support.bundles import Recipe, policy
from support.evidence import COUNTER, KEYS, leaf_groups, seal
from support.plant import small

COMPRESSOR = {"id": "compressor-2", "profile": "atlas", "unit": 7, "period_s": 60}


def changed(device: str, **row: Any) -> bytes:
    """The site document with a device more, and another row of this one."""
    site = parse_canonical(small().site.site)
    rows = [{**one, **row} if one["id"] == device else one for one in site["devices"]]
    return canonical_bytes({**site, "devices": [*rows, COMPRESSOR]})


@dataclass(frozen=True)
class Reloaded(Recipe):
    """The counter is recorded under another site document than the meter."""

    site: bytes = b""

    def made_batches(self) -> dict[str, list[Batch]]:
        """The signed batches of every device."""
        papers = replace(small().site, site=self.site)
        groups = leaf_groups(papers, COUNTER, small().results[COUNTER], KEYS)
        return {**super().made_batches(), COUNTER: seal(papers, COUNTER, groups, self.owner)}

    def made_documents(self) -> dict[str, bytes]:
        """Both site documents are here."""
        return {**super().made_documents(), digest_hex(self.site): self.site}


@pytest.mark.parametrize(
    "row", [{}, {"profile": "../own/counter_7.yaml"}, {"accept_disputed": ["production_kg"]}]
)
def test_a_bundle_of_devices_with_different_site_documents_is_verified(row: dict[str, Any]) -> None:
    verdict = verify(Reloaded(site=changed(COUNTER, **row)).make(), policy())

    assert verdict.status == "verified", verdict


def test_a_site_document_that_names_another_shipped_model_is_refused() -> None:
    forged = Reloaded(site=changed(COUNTER, profile="abb_b23")).make()

    assert "site_differs" in {finding.code for finding in verify(forged, policy()).findings}
