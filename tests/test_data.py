"""Every data file in the repository stands in docs/data.md with its licence and attribution."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ENDINGS = (
    ".otf",
    ".ttf",
    ".csv",
    ".gz",
    ".dat",
    ".parquet",
    ".xlsx",
    ".npz",
    ".hex",
    ".pcap",
    ".zip",
    ".bin",
    "sunspec/models.json",
)
NO_LICENCE = (
    "carplant_compressed_air_2018",
    "korea_gist_campus_2022",
    "korea_kpx_demand_2019",
    "ladle_arc_furnace_2019",
    "modbus_pcap_polling",
    "sme_discrete_manufacturing",
)


def repository_files() -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode == 0:
        return [name for name in listed.stdout.splitlines() if (ROOT / name).exists()]
    return [str(p.relative_to(ROOT)) for p in ROOT.rglob("*") if p.is_file()]


def rows_of_data_page() -> dict[str, list[str]]:
    """File -> the cells beside it, from the table rows whose first cell is a path in backticks."""
    rows = {}
    for line in (ROOT / "docs/data.md").read_text("utf-8").splitlines():
        match = re.match(r"\|\s*`([^`]+)`\s*\|(.*)\|\s*$", line)
        if match:
            rows[match[1]] = [cell.strip() for cell in match[2].split("|")]
    return rows


DATA_FILES = [
    name
    for name in repository_files()
    if name.endswith(ENDINGS) or name.startswith("tests/data/vectors/")
]


def test_there_are_data_files_to_check():
    assert any(name.endswith("steel_gwangyang_2018.csv.gz") for name in DATA_FILES)


@pytest.mark.parametrize("name", DATA_FILES)
def test_a_data_file_has_its_licence_and_attribution(name):
    cells = rows_of_data_page().get(name)
    assert cells is not None, f"docs/data.md has no row for {name}"
    assert len(cells) >= 2, f"the row of {name} needs licence and attribution"
    assert all(cells[:2]), f"the row of {name} needs licence and attribution"


def test_the_page_names_no_file_that_is_gone():
    assert not [name for name in rows_of_data_page() if not (ROOT / name).exists()]


def test_no_file_comes_from_a_folder_without_a_licence():
    assert not [n for n in repository_files() if any(folder in n for folder in NO_LICENCE)]
