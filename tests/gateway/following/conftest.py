"""One filled folder for the tests that measure; each writes project files of its own."""

import pytest

from joulemark_gateway.following.calculation import calculated
from joulemark_gateway.reports.project_file import gather, load_project
from support import followed
from support.following import Finding


@pytest.fixture(scope="session")
def filled(tmp_path_factory):
    """A collector's folder whose clock is simulated, over the whole plan."""
    return followed.fill(tmp_path_factory.mktemp("filled") / "collector")


@pytest.fixture(scope="session")
def content(filled):
    """What is found of the small plant, as if its reporting period still ran."""
    material = gather(load_project(followed.project_file(filled, "content.yaml")))
    return {**calculated(material, 0), "is_final": False, "simulated": False}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "followed").mkdir()
    for name in ("air", "boiler"):
        followed.project_file(tmp_path, f"{name}.yaml", id=name, title=name)
    return tmp_path


@pytest.fixture
def finding(content):
    return Finding(content)
