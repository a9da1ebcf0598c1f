"""Users and their sessions: in a file that nobody else reads, and that holds no secret."""

import sqlite3

import pytest

from joulemark_agent.contract.errors import ConfigError, StoreError
from joulemark_gateway.access import sessions
from joulemark_gateway.access.database import FILE, Database
from joulemark_gateway.access.passwords import matches
from joulemark_gateway.access.roles import Role
from joulemark_gateway.access.sessions import SessionLimits, Sessions
from joulemark_gateway.access.users import Users

PASSWORD = "rusty bucket seven cranes"
LIMITS = SessionLimits(life_us=1_000_000_000, idle_us=100_000_000)


@pytest.fixture
def users(database):
    made = Users(database)
    made.add("anna", Role.ADMIN, None, PASSWORD, 1)
    made.add("bo", Role.VIEWER, ["gwangyang"], PASSWORD, 2)
    return made


@pytest.mark.usefixtures("users")
def test_what_was_added_is_found_again_by_another_process(tmp_path):
    with Database(tmp_path / FILE) as again:
        anna, bo = Users(again).listed()
    assert (anna.name, anna.role, anna.sites) == ("anna", Role.ADMIN, None)
    assert (bo.role, bo.sites) == (Role.VIEWER, frozenset({"gwangyang"}))
    assert matches(PASSWORD, bo.password)
    assert bo.password not in repr(bo)


@pytest.mark.usefixtures("users")
def test_the_file_is_read_by_nobody_else_and_holds_no_secret(database, tmp_path):
    cookie = Sessions(database, LIMITS).begin("bo", 0)
    files = [path for path in tmp_path.iterdir() if path.name.startswith(FILE)]
    assert len(files) == 3, "the write-ahead log too"
    for path in files:
        assert path.stat().st_mode & 0o077 == 0
        data = path.read_bytes()
        assert PASSWORD.encode() not in data
        assert cookie.encode() not in data


@pytest.mark.parametrize(
    ("name", "role", "sites", "code"),
    [
        ("Anna", Role.VIEWER, None, "bad_name"),
        ("../../etc", Role.VIEWER, None, "bad_name"),
        ("<b>", Role.VIEWER, None, "bad_name"),
        ("carl", Role.VIEWER, [], "bad_sites"),
        ("carl", Role.VIEWER, ["x'--"], "bad_sites"),
        ("carl", Role.ADMIN, ["gwangyang"], "bad_sites"),
        ("carl", Role.ANYBODY, None, "bad_role"),
        ("bo", Role.VIEWER, None, "user_exists"),
    ],
)
def test_what_cannot_be_is_refused(users, name, role, sites, code):
    with pytest.raises(ConfigError) as refused:
        users.add(name, role, sites, PASSWORD, 3)
    assert refused.value.code == code
    assert len(users.listed()) == 2


def test_there_is_always_an_admin(users):
    for attempt in (
        lambda: users.remove("anna"),
        lambda: users.change("anna", Role.OPERATOR, None),
    ):
        with pytest.raises(ConfigError) as refused:
            attempt()
        assert refused.value.code == "last_admin"
    users.change("bo", Role.ADMIN, None)
    users.remove("anna")
    assert [user.name for user in users.listed()] == ["bo"]


def test_who_is_not_there_cannot_be_changed(users):
    for attempt in (
        lambda: users.remove("carl"),
        lambda: users.change("carl", Role.VIEWER, None),
        lambda: users.set_password("carl", PASSWORD),
    ):
        with pytest.raises(ConfigError) as refused:
            attempt()
        assert refused.value.code == "no_user"


@pytest.mark.usefixtures("users")
def test_a_session_ends_by_age_and_by_rest(database):
    held = Sessions(database, LIMITS)
    cookie, now_us = held.begin("bo", 0), 0
    for _ in range(12):
        now_us += LIMITS.idle_us - 1
        found = held.user_of(cookie, now_us, used=True)
        assert (found is not None) == (now_us < LIMITS.life_us)
    cookie = held.begin("bo", 0)
    assert held.user_of(cookie, LIMITS.idle_us - 1, used=False) is not None
    assert held.user_of(cookie, LIMITS.idle_us, used=True) is None, "a refresh is no use"
    assert held.user_of(cookie, 1, used=True) is None, "what is over stays over"


@pytest.mark.parametrize("change", ["role", "password", "remove", "log_out"])
def test_what_changes_a_user_ends_their_sessions(users, database, change):
    held = Sessions(database, LIMITS)
    mine, other = held.begin("bo", 0), held.begin("anna", 0)
    assert held.user_of(mine, 1, used=True) is not None
    if change == "role":
        users.change("bo", Role.VERIFIER, None)
    elif change == "password":
        users.set_password("bo", PASSWORD + "!")
    elif change == "remove":
        users.remove("bo")
    else:
        held.end(mine)
    assert held.user_of(mine, 1, used=True) is None
    assert held.user_of(other, 1, used=True) is not None


@pytest.mark.usefixtures("users")
def test_a_user_has_some_sessions_and_the_oldest_makes_room(database):
    held = Sessions(database, LIMITS)
    cookies = [held.begin("bo", k) for k in range(sessions.MOST + 3)]
    alive = [held.user_of(cookie, 100, used=True) is not None for cookie in cookies]
    assert alive == [False] * 3 + [True] * sessions.MOST
    held.end_old(LIMITS.life_us * 2)
    assert not database.rows("SELECT * FROM session")


@pytest.mark.usefixtures("users")
@pytest.mark.parametrize("cookie", ["", "x", "\ud800", "' OR 1=1 --", "A" * 5000])
def test_a_cookie_that_is_none_is_nobody(database, cookie):
    assert Sessions(database, LIMITS).user_of(cookie, 0, used=True) is None


def test_another_programs_file_is_left_alone(tmp_path):
    path = tmp_path / FILE
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE theirs (x)")
    with pytest.raises(StoreError) as refused:
        Database(path)
    assert refused.value.code == "store_foreign"
