"""Tokens: shown once, kept as a hash, over by time or by being taken back."""

import sqlite3

import pytest

from joulemark_agent.contract.errors import ConfigError
from joulemark_gateway.access.database import FILE, Database
from joulemark_gateway.access.roles import Role, Scope
from joulemark_gateway.access.tokens import Tokens


@pytest.fixture
def tokens(database):
    return Tokens(database)


def test_its_text_is_whoever_it_was_made_for(tokens, database):
    made, text = tokens.add("grafana", Role.VIEWER, ["gwangyang"], 0, 1000)
    found = tokens.find(text, 10)
    assert found is not None
    assert found.who.role == Role.VIEWER
    assert found.who.sees("gwangyang")
    assert not found.who.sees("another")
    kept = repr(database.rows("SELECT * FROM token"))
    assert text.split("_", 2)[2] not in kept
    assert text not in repr(made)


def test_it_is_over_at_its_time_and_from_when_it_is_taken_back(tokens):
    _, text = tokens.add("grafana", Role.VIEWER, None, 0, 1000)
    made, other = tokens.add("grafana", Role.VIEWER, None, 0, 1000)
    assert tokens.find(text, 999) is not None
    assert tokens.find(text, 1000) is None
    tokens.revoke(made.id, 5)
    assert tokens.find(other, 6) is None
    assert tokens.revoke(made.id, 9).revoked_us == 5, "the first time counts"


@pytest.mark.parametrize("cut", [slice(0, -1), slice(1, None), slice(0, 12), slice(0, 0)])
def test_a_part_of_it_is_none(tokens, cut):
    _, text = tokens.add("grafana", Role.VIEWER, None, 0, 1000)
    assert tokens.find(text[cut], 10) is None


def test_every_changed_character_is_noticed(tokens):
    _, text = tokens.add("grafana", Role.ADMIN, None, 0, 1000)
    for k, character in enumerate(text):
        changed = text[:k] + ("A" if character != "A" else "B") + text[k + 1 :]
        assert tokens.find(changed, 10) is None, k


def test_the_secret_of_one_is_not_that_of_another(tokens):
    _, mine = tokens.add("mine", Role.VIEWER, None, 0, 1000)
    _, admins = tokens.add("admins", Role.ADMIN, None, 0, 1000)
    mixed = "_".join([*admins.split("_", 2)[:2], mine.split("_", 2)[2]])
    assert tokens.find(mixed, 10) is None


def test_one_that_is_not_there_cannot_be_taken_back(tokens):
    with pytest.raises(ConfigError) as refused:
        tokens.revoke("00000000", 1)
    assert refused.value.code == "no_token"


def test_it_is_limited_to_its_scopes_and_without_them_to_its_role(tokens):
    _, text = tokens.add("exporter", Role.VERIFIER, None, 0, 1000, scopes=["metrics:read"])
    found = tokens.find(text, 10)
    assert found is not None
    assert found.who.reaches(Scope.METRICS)
    assert found.who.reaches(Scope.ANY)
    assert not found.who.reaches(Scope.SERIES)
    assert not found.who.reaches(None), "what declares no scope"
    _, text = tokens.add("everything", Role.VERIFIER, None, 0, 1000)
    found = tokens.find(text, 10)
    assert found is not None
    assert all(found.who.reaches(scope) for scope in (None, *Scope))


@pytest.mark.parametrize("scopes", [[], ["everything"], ["any"], ["series:read", ""]])
def test_a_scope_that_there_is_not_is_refused(tokens, scopes):
    with pytest.raises(ConfigError) as refused:
        tokens.add("exporter", Role.VIEWER, None, 0, 1000, scopes=scopes)
    assert refused.value.code == "bad_scopes"
    assert "metrics:read" in refused.value.what


def test_a_token_of_before_there_were_scopes_is_limited_by_its_role_alone(tmp_path):
    with Database(tmp_path / FILE) as made:
        _, text = Tokens(made).add("grafana", Role.VIEWER, ["gwangyang"], 0, 1000)
    with sqlite3.connect(tmp_path / FILE) as db:  # as version 2 had it
        db.executescript("ALTER TABLE token DROP COLUMN scopes; PRAGMA user_version = 2;")
    db.close()
    with Database(tmp_path / FILE) as again:
        found = Tokens(again).find(text, 10)
    assert found is not None
    assert (found.scopes, found.who.sees("gwangyang")) == (None, True)
