"""The software that measured is named so that it can be found again."""

import shutil
import tomllib
from importlib import resources
from pathlib import Path

from joulemark_gateway import software

ROOT = Path(__file__).parents[2]


def test_the_version_is_that_of_the_distribution():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["version"] == software.VERSION


def test_the_digest_is_the_same_each_time_and_changes_with_any_file(tmp_path, monkeypatch):
    before = software.source_digest()
    assert before == software.source_digest()
    for name in ("agent/joulemark_agent", "gateway/joulemark_gateway"):
        shutil.copytree(ROOT / name, tmp_path / Path(name).name)
    monkeypatch.setattr(resources, "files", lambda package: tmp_path / package)
    assert software.source_digest() == before
    file = tmp_path / "joulemark_gateway/measure/savings.py"
    file.write_bytes(file.read_bytes() + b"\n")
    assert software.source_digest() != before
