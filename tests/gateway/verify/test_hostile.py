"""Bundles with nonsense inside: refuted with a foreseen code, never a crash, never verified."""

import gzip
import json
import random
from collections.abc import Iterable
from typing import Any

import pytest

from joulemark_agent.contract.canonical import canonical_bytes, parse_canonical
from joulemark_gateway.evidence.bundle import MANIFEST, STATEMENT, packed, signed
from joulemark_gateway.evidence.container import container_bytes
from joulemark_gateway.evidence.statement import open_statement
from joulemark_gateway.verify import manifest
from joulemark_gateway.verify.command import as_json, as_text
from joulemark_gateway.verify.verdict import UNFORESEEN, verify
from support.bundles import Recipe, policy
from support.evidence import FOREIGN, METER
from support.plant import small

NONSENSE: list[Any] = [
    None, True, 0, -1, 2**53 - 1, "", "0", "-1", "x", "9" * 19, "18446744073709551616", [], {},
    [[]], {"a": 1}, ["a"], "1e9", "é", [None], "2018-13-01", "NaN", "0x1",
]  # fmt: skip


def places(value, path=()):
    yield path
    items: Iterable[tuple[Any, Any]] = value.items() if isinstance(value, dict) else ()
    items = enumerate(value) if isinstance(value, list) else items
    for key, item in items:
        yield from places(item, (*path, key))


def with_nonsense(data, draw):
    """The canonical JSON with one place replaced, removed or added."""
    content = parse_canonical(data)
    path = draw.choice([path for path in places(content) if path])
    place = content
    for key in path[:-1]:
        place = place[key]
    kind = draw.random()
    if kind < 0.15 and isinstance(place, dict):
        del place[path[-1]]
    elif kind < 0.25 and isinstance(place, dict):
        place["zz"] = draw.choice(NONSENSE)
    else:
        place[path[-1]] = draw.choice(NONSENSE)
    return canonical_bytes(content)


def hostile(seed):
    """A bundle with one piece of nonsense in it, whole again and signed by somebody."""
    draw = random.Random(seed)
    members = Recipe().made_members()
    predicate = open_statement(members[STATEMENT]).predicate
    members = {name: data for name, data in members.items() if name not in {MANIFEST, STATEMENT}}
    name = draw.choice([name for name in sorted(members) if name.endswith((".json", ".gz"))])
    if name.endswith(".gz"):
        leaves = gzip.decompress(members[name])[:-1].split(b"\n")
        at = min(draw.choice([0, 1, 98, draw.randrange(len(leaves))]), len(leaves) - 1)
        leaves[at] = with_nonsense(leaves[at], draw)
        members[name] = packed(leaves)
    elif draw.random() < 0.8:
        members[name] = with_nonsense(members[name], draw)
    else:
        predicate = json.loads(with_nonsense(canonical_bytes(dict(predicate)), draw))
    return container_bytes(signed(members, predicate, FOREIGN.reporter))


@pytest.mark.parametrize("seed", range(15))
def test_nonsense_is_refuted_with_a_foreseen_code(seed):
    data = hostile(seed)
    for trusted in (policy(), None):
        verdict = verify(data, trusted)
        assert UNFORESEEN not in {finding.code for finding in verdict.findings}
        assert verdict.exit_code == 1 or trusted is None
        assert list(as_text(verdict, trusted))
        assert as_json(verdict)["exit"] == verdict.exit_code


def test_a_factor_that_is_no_number_is_a_bad_document():
    digest = small().site.of(METER)["factors"]
    document = json.loads(small().site.by_digest()[digest])
    document["factors"][0]["factor_kg_per_kwh"] = "x"
    forged = Recipe(documents={digest: canonical_bytes(document)}, issued=Recipe().report())
    codes = {finding.code for finding in verify(forged.make(), policy()).findings}
    assert codes == {"document_missing", "not_recomputed"}


def test_a_step_that_breaks_down_refutes():
    """Nobody is told 'verified' because a check could not be made."""

    def broken(_case, _policy):
        raise KeyError("unforeseen")

    verdict = verify(Recipe().make(), policy(), (manifest.check, broken))
    assert [finding.code for finding in verdict.findings] == [UNFORESEEN]
    assert verdict.exit_code == 1
