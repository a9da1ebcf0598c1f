"""Each row of docs/conformity.md names a test that exists or says why there is none; all are there.

Also what SECURITY.md owes to whoever finds a weakness.
"""

import re
from collections import Counter

import pytest

from support.references import ROOT, exists

PAGE = ROOT / "docs/conformity.md"
WELMEC = "WELMEC 7.2: extensions L, T, S, D"
IEC = "IEC 62443-4-2: requirements of components"
ETSI = "ETSI EN 303 645: provision groups"
# IEC 62443-4-2 by foundational requirement: those of every component, and those of a type.
COMPONENTS = {
    1: (1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 12, 14),
    2: (1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12),
    3: (1, 3, 4, 5, 6, 7, 8, 9),
    4: (1, 2, 3),
    5: (1, 4),
    6: (1, 2),
    7: (1, 2, 3, 4, 5, 6, 7, 8),
}
TYPES = (
    "SAR 2.4", "SAR 3.2", "NDR 1.6", "NDR 1.13", "NDR 5.2", "NDR 5.3", "HDR 2.13",
    "HDR 3.10", "HDR 3.11", "HDR 3.12", "HDR 3.13", "HDR 3.14",
)  # fmt: skip
REQUIRED = {
    WELMEC: [
        f"{letter}{k}"
        for letter, last in (("L", 8), ("T", 8), ("S", 3), ("D", 4))
        for k in range(1, last + 1)
    ],
    IEC: [
        *(f"CCSC {k}" for k in range(1, 5)),
        *(f"CR {group}.{k}" for group, numbers in COMPONENTS.items() for k in numbers),
        *TYPES,
    ],
    ETSI: [f"5.{k}" for k in range(1, 14)],
}
COLUMNS = 5
NONE = "not covered: "
_ID = re.compile(r"[LTSD]\d|(?:CCSC|CR|SAR|HDR|EDR|NDR) [\d.]+|5\.\d+")
_REFERENCE = re.compile(r"`([^`]*::[^`]*)`")


def rows(text: str) -> list[list[str]]:
    """The cells of each row of a requirement."""
    lines = [line.strip() for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for row in cells if _ID.fullmatch(row[0])]


def mistakes(text: str) -> list[str]:
    """What is wrong with the tables, each with its row."""
    times = Counter(row[0] for row in rows(text))
    known = [one for ids in REQUIRED.values() for one in ids]
    found = [f"{one}: {times[one]} rows" for one in known if times[one] != 1]
    found += [f"{one}: nobody asks for it" for one in times if one not in known]
    for row in rows(text):
        if len(row) != COLUMNS or not all(row):
            found.append(f"{row[0]}: not {COLUMNS} cells with something in them")
            continue
        shown = row[3]
        references = _REFERENCE.findall(shown)
        if shown.startswith(NONE):
            if len(shown.removeprefix(NONE).split()) < 5:
                found.append(f"{row[0]}: not covered, and no reason in words")
        elif not references or re.sub(r"`[^`]*`|,|\s", "", shown):
            found.append(f"{row[0]}: neither tests nor 'not covered' with the reason")
    return found + [f"{one}: no such test" for one in _REFERENCE.findall(text) if not exists(one)]


def counted(text: str) -> list[tuple[str, int, int, int]]:
    """Table, rows, those with a test, and those without, as the rows are."""
    by_id = {row[0]: row for row in rows(text)}
    found = []
    for name, ids in REQUIRED.items():
        bare = sum(by_id[one][3].startswith(NONE) for one in ids)
        found.append((name, len(ids), len(ids) - bare, bare))
    return found


def test_every_requirement_has_one_row_that_names_its_tests_or_says_why_there_is_none() -> None:
    assert mistakes(PAGE.read_text("utf-8")) == []


def test_the_numbers_at_the_top_are_those_of_the_rows() -> None:
    text = PAGE.read_text("utf-8")
    for name, *numbers in counted(text):
        line = " | ".join(map(str, numbers))
        assert f"| {name} | {line} |" in text, f"write: {name} | {line}"


def test_the_page_says_that_nothing_was_read_and_nothing_is_certified() -> None:
    head = " ".join(PAGE.read_text("utf-8").partition("\n## ")[0].split())
    assert "The texts of these standards were not read." in head
    assert "is designed to" in head
    assert "It is not certified" in head
    for claim in ("complies", "compliant", "conforms", "is certified", "fulfils"):
        assert claim not in PAGE.read_text("utf-8"), claim


@pytest.mark.parametrize(
    ("planted", "told"),
    [
        ("`tests/test_conformity.py::test_that_nobody_wrote`", "no such test"),
        ("`tests/test_nowhere.py::test_of_this_name`", "no such test"),
        ("`tests/test_conformity.py::rows`", "no such test"),
        ("`tests/support/needed.py::test_in_a_file_that_is_not_collected`", "no such test"),
        ("`docs/conformity.md::test_of_no_python`", "no such test"),
        ("not covered", "neither tests nor"),
        ("not covered: no", "no reason in words"),
        ("as everybody knows", "neither tests nor"),
        ("`tests/test_data.py`", "neither tests nor"),
        ("", "with something in them"),
    ],
)
def test_the_control_a_planted_row_that_shows_nothing_is_found(planted: str, told: str) -> None:
    text = PAGE.read_text("utf-8")
    lines = text.splitlines()
    [place] = [k for k, line in enumerate(lines) if line.startswith("| T6 |")]
    cells = lines[place].split("|")
    cells[4] = f" {planted} "
    lines[place] = "|".join(cells)
    found = mistakes("\n".join(lines))
    assert len(found) == 1
    assert told in found[0]


def test_the_control_a_row_that_is_gone_or_there_twice_or_invented_is_found() -> None:
    text = PAGE.read_text("utf-8")
    [line] = [line for line in text.splitlines(keepends=True) if line.startswith("| CR 3.5 |")]
    assert mistakes(text.replace(line, "")) == ["CR 3.5: 0 rows"]
    assert mistakes(text.replace(line, line * 2)) == ["CR 3.5: 2 rows"]
    invented = line.replace("CR 3.5", "CR 9.9")
    assert mistakes(text.replace(line, line + invented)) == ["CR 9.9: nobody asks for it"]


def test_the_control_parametrised_and_asynchronous_tests_are_known() -> None:
    own = "tests/test_conformity.py"
    assert exists(f"{own}::test_the_control_a_planted_row_that_shows_nothing_is_found")
    assert exists("tests/agent/test_uplink.py::test_control_deleting_on_puback_loses_batches")


def test_who_finds_a_weakness_is_told_how_to_report_it() -> None:
    text = (ROOT / "SECURITY.md").read_text("utf-8")
    words = " ".join(text.split())
    for told in ("private vulnerability report", "Which versions are mended", "three working days"):
        assert told in words
    for hours in ("24 hours", "72 hours", "14 days"):
        assert hours in words
    assert "from trade articles; the regulation was not read" in words
    assert not re.search(r"[\w.+-]+@[\w-]+\.\w", text), "an address that nobody reads is worse"
