"""How often one may ask, and how soon again: in time that is given."""

from hypothesis import given
from hypothesis import strategies as st

from joulemark_gateway.access import throttle
from joulemark_gateway.access.throttle import Buckets, WrongTries, network_of

TIMES = st.lists(st.floats(0, 5, allow_nan=False), max_size=60)


@given(TIMES)
def test_no_more_are_let_through_than_the_burst_and_the_rate(steps):
    buckets, now_s, let = Buckets(per_s=2, burst=5), 0.0, 0
    for step_s in steps:
        now_s += step_s
        let += buckets.taken("one", now_s) == 0
    assert let <= 5 + 2 * now_s + 1e-6


@given(TIMES)
def test_who_waits_as_long_as_told_is_let_through(steps):
    buckets, now_s = Buckets(per_s=2, burst=1), 0.0
    for step_s in steps:
        now_s += step_s
        while (wait_s := buckets.taken("one", now_s)) > 0:
            now_s += wait_s + 1e-9
    assert buckets.taken("another", now_s) == 0, "nobody pays for others"


def test_wrong_tries_have_to_wait_longer_and_longer_up_to_a_bound():
    tries, now_s, waits = WrongTries(free=3, most_s=60), 0.0, []
    for _ in range(12):
        now_s += tries.wait_s("anna", now_s)
        tries.begun("anna", now_s)
        waits.append(tries.wait_s("anna", now_s))
    assert waits[:2] == [0, 0]
    assert waits[2:9] == [1, 2, 4, 8, 16, 32, 60]
    assert max(waits) == 60
    assert tries.wait_s("bo", now_s) == 0


def test_many_tries_at_the_same_time_are_not_free():
    tries = WrongTries(free=3, most_s=60)
    let = 0
    for _ in range(50):
        if tries.wait_s("anna", 1.0) == 0:
            tries.begun("anna", 1.0)
            let += 1
    assert let == 3


def test_the_right_password_forgets_the_wrong_ones_of_the_name_but_not_of_the_address():
    names, addresses = WrongTries(3, 60), WrongTries(3, 60)
    for _ in range(3):
        names.begun("anna", 0)
        addresses.begun("192.0.2.1", 0)
    names.was_right("anna", forget=True)
    addresses.was_right("192.0.2.1", forget=False)
    names.begun("anna", 0)
    addresses.begun("192.0.2.1", 0)
    assert names.wait_s("anna", 0) == 0
    assert addresses.wait_s("192.0.2.1", 0) > 0, "or one's own log-in would pay for guessing"


def test_wrong_tries_of_long_ago_count_no_more():
    tries = WrongTries(free=2, most_s=60)
    for _ in range(5):
        tries.begun("anna", 0)
    tries.begun("anna", 10_000)
    assert tries.wait_s("anna", 10_000) == 0


def test_many_keys_take_a_bounded_memory(monkeypatch):
    monkeypatch.setattr(throttle, "MOST_KEYS", 100)
    tries, buckets = WrongTries(3, 60), Buckets(1, 1)
    for k in range(1000):
        tries.begun(str(k), float(k))
        buckets.taken(str(k), float(k))
    assert len(tries._tries) == len(buckets._left) == 100


def test_the_addresses_of_one_customer_are_counted_as_one():
    assert network_of("2001:db8:1:2::1") == network_of("2001:db8:1:2:ffff::9")
    assert network_of("2001:db8:1:2::1") != network_of("2001:db8:1:3::1")
    assert network_of("::ffff:192.0.2.1") == "192.0.2.1"
    assert network_of("192.0.2.1") != network_of("192.0.2.2")
    assert network_of("") == ""
