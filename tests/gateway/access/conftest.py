"""A file of users, and passwords that are hashed quickly: what they cost has a test of its own."""

import pytest

from joulemark_gateway.access import passwords
from joulemark_gateway.access.database import FILE, Database


@pytest.fixture(autouse=True)
def cheap(monkeypatch):
    monkeypatch.setattr(passwords, "_COST", 2**4)


@pytest.fixture
def database(tmp_path):
    with Database(tmp_path / FILE) as opened:
        yield opened
