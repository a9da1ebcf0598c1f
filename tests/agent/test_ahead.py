"""What goes ahead of a backlog is little at a time, and every device has its turn."""

from collections import Counter
from typing import cast

from joulemark_agent.ahead import AT_ONCE, PAUSE_S, Ahead
from joulemark_agent.outbox import Sealed


class Batch:
    """A batch as far as it is looked at here."""

    def __init__(self, number: int, closed: int) -> None:
        self.place, self.closed = (f"meter-{number:03}", 1), closed


def anyone(_batch: object) -> bool:
    return True


def put_all(ahead: Ahead, devices: int, closed: int) -> None:
    for number in range(devices):
        ahead.put(cast("Sealed", Batch(number, closed)))


def test_hundreds_of_batches_that_close_at_once_are_shown_few_at_a_time_and_all_in_turn():
    ahead, devices, shown = Ahead(), 10 * AT_ONCE, Counter[str]()
    sent_in = Counter[int]()
    for second in range(100):
        if second % 5 == 0:  # all close a batch at once
            put_all(ahead, devices, second)
        for look in range(10):  # however often it looks
            for batch in ahead.due(second + look / 10, anyone):
                shown[batch.place[0]] += 1
                sent_in[second] += 1
    assert max(sent_in.values()) <= AT_ONCE / PAUSE_S
    assert len(shown) == devices, "nobody waits for ever"
    assert max(shown.values()) - min(shown.values()) <= 1


def test_of_a_device_only_the_newest_is_shown_and_then_nothing_waits():
    ahead = Ahead()
    assert ahead.next_s is None
    for closed in range(3):
        put_all(ahead, 2, closed)
    assert [cast("Batch", batch).closed for batch in ahead.due(0.0, anyone)] == [2, 2]
    assert ahead.next_s is None
    put_all(ahead, 1, 3)
    assert ahead.due(PAUSE_S / 2, anyone) == []
    assert ahead.next_s == PAUSE_S
    assert len(ahead.due(PAUSE_S, anyone)) == 1


def test_who_is_not_behind_takes_no_turn_of_those_who_are():
    ahead = Ahead()
    put_all(ahead, 4 * AT_ONCE, 0)
    late = {(f"meter-{number:03}", 1) for number in range(3 * AT_ONCE, 4 * AT_ONCE)}
    found = ahead.due(0.0, lambda batch: batch.place in late)
    assert {batch.place for batch in found} == late
    assert ahead.next_s is None, "what needs not go ahead waits for nothing"


def test_as_many_go_ahead_as_the_collector_confirms_of_the_backlog_beside_them():
    ahead, shown, confirmed = Ahead(), 0, 0
    put_all(ahead, 50 * AT_ONCE, 0)
    for hundredth in range(100):  # all of it within a second
        shown += len(ahead.due(hundredth / 100, anyone))
        assert shown <= AT_ONCE + confirmed
        ahead.confirmed(4)
        confirmed += 4
    assert shown > confirmed - 2 * AT_ONCE
