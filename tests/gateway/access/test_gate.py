"""Log-in: wrong passwords wait, names are not given away, and the log holds no secret."""

import logging
import threading

import pytest

from joulemark_gateway.access import passwords
from joulemark_gateway.access.gate import Access, Entered, Refused, csrf_of
from joulemark_gateway.access.roles import MACHINE, NOBODY, Role
from joulemark_gateway.access.settings import PagesSettings

PASSWORD = "rusty bucket seven cranes"
HERE, THERE = "192.0.2.1", "192.0.2.2"


class Clock:
    """Time that the test moves."""

    def __init__(self):
        self.s = 1000.0

    def us(self):
        return round(self.s * 1e6)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def access(database, clock):
    made = Access(database, PagesSettings(), now_us=clock.us, now_s=lambda: clock.s)
    made.users.add("anna", Role.ADMIN, None, PASSWORD, 0)
    made.users.add("bo", Role.VIEWER, ["gwangyang"], PASSWORD, 0)
    return made


def test_a_session_is_whose_it_is_until_it_ends(access, clock):
    entered = access.log_in("bo", PASSWORD, HERE)
    assert isinstance(entered, Entered)
    visit = access.visit(entered.cookie, "", HERE)
    assert (visit.who.name, visit.who.role, visit.csrf) == (
        "bo",
        Role.VIEWER,
        csrf_of(entered.cookie),
    )
    access.log_out(entered.cookie, visit)
    assert access.visit(entered.cookie, "", HERE).who == NOBODY
    again = access.log_in("bo", PASSWORD, HERE)
    clock.s += 3601
    assert access.visit(again.cookie, "", HERE).who == NOBODY, "an hour of rest ends it"


def test_a_wrong_name_and_a_wrong_password_are_told_and_worked_on_alike(access, monkeypatch):
    worked = []
    scrypt = passwords._scrypt

    def watched(*given):
        worked.append(given[2:])
        return scrypt(*given)

    monkeypatch.setattr(passwords, "_scrypt", watched)
    told = [access.log_in(name, "not it, not it", HERE) for name in ("anna", "nobody", "")]
    assert told == [Refused()] * 3
    assert worked == [(passwords._COST, 8, 3)] * 3


def test_after_some_wrong_ones_even_the_right_one_waits_and_longer_each_time(access, clock):
    waits = []
    for _ in range(14):
        answer = access.log_in("anna", "wrong wrong wrong", HERE)
        while answer.wait_s:
            waits.append(answer.wait_s)
            held = access.log_in("anna", PASSWORD, HERE)
            assert held.wait_s, "or waiting would cost a guesser nothing"
            clock.s += answer.wait_s + 1e-6
            answer = access.log_in("anna", "wrong wrong wrong", HERE)
    assert waits[:4] == pytest.approx([1, 2, 4, 8], abs=0.01)
    assert max(waits) <= 300, "nobody can lock a name for ever"
    clock.s += 301
    assert isinstance(access.log_in("anna", PASSWORD, HERE), Entered)
    assert access.log_in("anna", "wrong wrong wrong", HERE) == Refused(), (
        "the old ones are forgotten"
    )


def test_names_that_are_none_wait_as_those_that_are(access):
    def course(name):
        return [bool(access.log_in(name, "x" * 12, HERE).wait_s) for _ in range(8)]

    assert course("bo") == course("nobody") == [False] * 5 + [True] * 3


def test_one_address_that_tries_many_names_waits_and_others_do_not(access):
    told = [access.log_in(f"user-{k}", "wrong wrong wrong", HERE) for k in range(30)]
    assert [bool(answer.wait_s) for answer in told] == [False] * 20 + [True] * 10
    assert isinstance(access.log_in("anna", PASSWORD, THERE), Entered)


def test_ones_own_log_in_does_not_pay_for_guessing_others(access):
    let = 0
    for _ in range(60):
        access.log_in("bo", PASSWORD, HERE)
        let += not access.log_in("anna", "wrong wrong wrong", HERE).wait_s
    assert let == 5


def test_a_crowd_at_the_door_is_told_to_come_again_and_pays_nothing_for_it(access, monkeypatch):
    begun, go = threading.Semaphore(0), threading.Event()

    def slowly(*_):
        begun.release()
        go.wait(10)
        return False

    monkeypatch.setattr("joulemark_gateway.access.gate.passwords.matches", slowly)
    crowd = [
        threading.Thread(target=access.log_in, args=(f"user-{k}", "x", f"192.0.2.{k}"))
        for k in range(4)
    ]
    for one in crowd:
        one.start()
    assert begun.acquire(timeout=10), "one is looked at, three wait for it"
    while access._door._value:  # the others are on their way in
        pass
    assert access.log_in("anna", PASSWORD, THERE) == Refused(is_busy=True)
    go.set()
    for one in crowd:
        one.join()
    assert access._of_name.wait_s("anna", 0) == 0


def test_the_log_tells_who_did_what_and_holds_neither_password_nor_what_was_typed(access, caplog):
    caplog.set_level(logging.INFO)
    typed = "canary-in-the-wrong-field"
    access.log_in("anna", "canary-password-1", HERE)
    access.log_in(typed, "canary-password-2", HERE)
    entered = access.log_in("anna", PASSWORD, HERE)
    access.visit("", "jmt_00000000_canary", HERE)
    rows = access.events.listed()
    assert [(row.code, row.who, row.address) for row in reversed(rows)] == [
        ("log_in_wrong", "anna", HERE),
        ("log_in_wrong", "(unknown)", HERE),
        ("log_in", "anna", HERE),
    ]
    told = repr(rows) + " ".join(str(vars(record)) for record in caplog.records)
    for secret in ("canary", PASSWORD, entered.cookie):
        assert secret not in told


def test_a_token_that_is_none_never_falls_back_to_the_session(access):
    cookie = access.log_in("anna", PASSWORD, HERE).cookie
    visit = access.visit(cookie, "jmt_00000000_x", HERE)
    assert visit.who == NOBODY
    assert visit.is_token_bad


def test_without_log_in_whoever_is_here_looks_and_changes_nothing(database):
    access = Access(database, PagesSettings(login=False))
    who = access.visit("any", "any", "127.0.0.1").who
    assert who == MACHINE
    assert who.may(Role.VERIFIER)
    assert not who.may(Role.OPERATOR)
