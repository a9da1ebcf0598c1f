"""`systems:` in the site file: what is checked, and what becomes evidence."""

import json
import os
from pathlib import Path

import pytest

from joulemark_agent.cli import main
from joulemark_agent.contract.canonical import canonical_bytes
from joulemark_agent.contract.errors import ConfigError
from joulemark_agent.grants import is_same_for
from joulemark_agent.settings import load_site, site_document

HALL = Path(__file__).parents[2] / "configs/sites/equipment-hall.yaml"
SYSTEMS = """systems:
  - id: air
    kind: compressor_house
    members: {compressors: [compressor-a1, rail-compressor]}
  - id: sun
    kind: site_balance
    members:
      pv: pv-inverter
      loads:
        - compressor-a1
        - furnace
    parameters:
      power: {furnace: power_w}
      reversed: [pv-inverter]
"""


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.upper().startswith("JOULEMARK_"):
            monkeypatch.delenv(name)


def written(folder: Path, systems: str) -> Path:
    """The worked example of machines, with these systems."""
    path = folder / "site.yaml"
    path.write_text(HALL.read_text("utf-8") + systems, "utf-8")
    return path


def documents(folder: Path, systems: str) -> bytes:
    return site_document(load_site(written(folder, systems)))


def test_systems_are_evidence_where_they_are_written(tmp_path: Path) -> None:
    found = json.loads(documents(tmp_path, SYSTEMS))
    assert found["systems"] == [
        {
            "id": "air",
            "kind": "compressor_house",
            "members": {"compressors": ["compressor-a1", "rail-compressor"]},
            "parameters": {},
        },
        {
            "id": "sun",
            "kind": "site_balance",
            "members": {"pv": ["pv-inverter"], "loads": ["compressor-a1", "furnace"]},
            "parameters": {"power": {"furnace": "power_w"}, "reversed": ["pv-inverter"]},
        },
    ]


def test_without_systems_the_document_is_as_it_was(tmp_path: Path) -> None:
    without = documents(tmp_path, "systems: []\n")
    assert without == site_document(load_site(HALL))
    assert "systems" not in json.loads(without)


FORM = """systems:
  - id: The Sun
    kind: site_balance
    members: {pv: pv-inverter, loads: 7}
    parameter: {}
"""
FORM_SAYS = {2: "cannot be the id", 4: "loads", 5: "Extra inputs"}
SENSE = """systems:
  - id: air
    kind: compressor_house
    members: {compressors: [compressor-a1, train], pumps: furnace}
  - id: air
    kind: compressor_house
    members:
      compressors: compressor-a1
      flow:
        - pv-inverter
        - furnace
  - id: sun
    kind: balance
    members: {}
  - id: roof
    kind: site_balance
    members:
      pv:
        - furnace
      grid: [pv-inverter]
    parameters:
      power: {furnace: power_wh}
      reverse: [pv]
  - id: roof-2
    kind: site_balance
    members: {pv: [pv-inverter, pv-inverter]}
    parameters: {reversed: [pv]}
"""
SENSE_SAYS = {
    4: "there is no device 'train' in this file",
    5: "two systems are called 'air'",
    8: "'compressors' needs 2 devices or more, not 1",
    9: "'flow' takes 1 device, not 2",
    13: "the kinds are: compressor_house, site_balance",
    19: "'furnace' is a furnace; 'pv' takes power_meter or pv_inverter",
    20: "'pv-inverter' is a pv_inverter; 'grid' takes power_meter",
    22: "name one in W",
    23: "Extra inputs",
    26: "'pv-inverter' is named 2 times",
    27: "'pv' is no member of this system",
}


@pytest.mark.parametrize(("systems", "says"), [(FORM, FORM_SAYS), (SENSE, SENSE_SAYS)])
def test_every_mistake_is_told_at_once_with_file_and_line(
    tmp_path: Path, systems: str, says: dict[int, str]
) -> None:
    path = written(tmp_path, systems)
    before = len(HALL.read_text("utf-8").splitlines())
    with pytest.raises(ConfigError) as caught:
        load_site(path)
    told = str(caught.value).splitlines()
    for line, text in says.items():
        assert [row for row in told if f"{path}:{before + line}: " in row and text in row], text


def test_only_the_members_of_a_system_need_a_new_grant(tmp_path: Path) -> None:
    air = documents(tmp_path, SYSTEMS.partition("  - id: sun")[0])
    plain = canonical_bytes({k: v for k, v in json.loads(air).items() if k != "systems"})
    assert is_same_for("pv-inverter", plain, air)
    assert is_same_for("furnace", plain, air)
    assert not is_same_for("compressor-a1", plain, air)
    assert not is_same_for("rail-compressor", plain, air)


def test_check_tells_the_systems(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["agent", "check", "-c", str(written(tmp_path, SYSTEMS))]) == 0
    said = capsys.readouterr().out
    assert "System air: compressor_house of compressor-a1, rail-compressor." in said
    assert "System sun: site_balance of pv-inverter, compressor-a1, furnace." in said
