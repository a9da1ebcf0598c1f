"""What goes ahead of a backlog is little at a time, and every device has its turn."""

from collections import Counter
from typing import cast

from joulemark_agent.ahead import AT_ONCE, PAUSE_S, Ahead
from joulemark_agent.outbox import Sealed


class Batch:
    """A batch as far as it is looked at here."""

    def __init__(self, number: int, closed: int) -> None:
        self.device, self.epoch, self.closed = f"meter-{number:03}", 1, closed


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
            for batch in ahead.due(second + look / 10):
                shown[batch.device] += 1
                sent_in[second] += 1
    assert max(sent_in.values()) <= AT_ONCE / PAUSE_S
    assert len(shown) == devices, "nobody waits for ever"
    assert max(shown.values()) - min(shown.values()) <= 1


def test_of_a_device_only_the_newest_is_shown_and_then_nothing_waits():
    ahead = Ahead()
    assert ahead.next_s is None
    for closed in range(3):
        put_all(ahead, 2, closed)
    assert [cast("Batch", batch).closed for batch in ahead.due(0.0)] == [2, 2]
    assert ahead.next_s is None
    put_all(ahead, 1, 3)
    assert ahead.due(PAUSE_S / 2) == []
    assert ahead.next_s == PAUSE_S
    assert len(ahead.due(PAUSE_S)) == 1
