"""What tests of the extra [fleet] may ask for."""

from importlib.util import find_spec

import pytest

from support.fleets import PLAN
from support.needed import lacking


@pytest.fixture(scope="session", autouse=True)
def extra():
    """The packages of the extra; where services are required, none may be missing."""
    for name in ("pyarrow", "dask", "distributed"):
        if find_spec(name) is None:
            lacking(f"{name} is not installed (pip install 'joulemark[fleet]')")


@pytest.fixture
def plan_file(tmp_path):
    """A plan as a plant engineer would write it."""
    path = tmp_path / "plan.yaml"
    path.write_text(PLAN)
    return path
