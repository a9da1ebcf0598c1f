"""docs/hostile.md names tests that exist, and numbers that are those of the payloads."""

import json
import re
from collections import Counter

from support.injections import BOMBS, FILE, payloads
from support.references import ROOT, exists

TEXT = (ROOT / "docs/hostile.md").read_text("utf-8")
PAGES = ROOT / "tests/data/page_injections.json"
THREATS = 30


def test_every_threat_names_tests_that_exist():
    table = TEXT.partition("## Threats")[2].partition("\n## ")[0]
    rows = [line.split("|")[1:-1] for line in table.splitlines() if line.startswith("| ")][1:]
    named = re.findall(r"`(tests/[^`]*)`", TEXT)

    assert len(rows) == THREATS
    assert all(re.search(r"`tests/[^`]*::test_", shown) for *_, shown in rows)
    assert [one for one in named if "::" in one and not exists(one)] == []
    assert [one for one in named if "::" not in one and not (ROOT / one).is_file()] == []


def test_its_numbers_are_those_of_the_payloads():
    texts, bombs = payloads(), payloads(*BOMBS)
    kinds = Counter(one.kind for one in (*texts, *bombs))
    own = set(json.loads(PAGES.read_text("utf-8"))) - {one.text for one in texts}

    assert f"`{FILE.relative_to(ROOT)}` holds {len(texts) + len(bombs)} payloads" in TEXT
    assert f"; {len(own)} more are for pages only" in TEXT
    assert f"| {len(texts)} texts of {len(kinds) - len(BOMBS)} classes " in TEXT
    assert f"| {kinds['ssrf']} addresses |" in TEXT
    asked = kinds["header"] + kinds["format"] + kinds["javascript"]
    assert f"| {asked} headers, formats and scripts |" in TEXT
    assert f"| {len(bombs)} bombs |" in TEXT
    assert len({one.text for one in texts}) == len(texts), "no text is there twice"
