"""What is next to be sent of a tree, whatever is offered, read, confirmed and sent again."""

from __future__ import annotations

from typing import cast

from hypothesis import given
from hypothesis import strategies as st

from joulemark_agent.outbox import Sealed
from joulemark_agent.streams import Sent, Stream, Streams, Timing

SIZES = st.lists(st.integers(1, 3), min_size=1, max_size=30)
STEPS = st.lists(st.sampled_from(["close", "read", "send", "confirm", "rewind"]), max_size=120)


class Batch:
    """A batch as far as it is looked at here."""

    def __init__(self, first_seq: int, size: int) -> None:
        self.first_seq, self.size = first_seq, size


@given(SIZES, STEPS, st.integers(1, 4))
def test_what_is_sent_from_memory_is_what_the_outbox_has_next(
    sizes: list[int], steps: list[str], most: int
) -> None:
    """The outbox is a list; each batch that is sent is the first one it has from there on."""
    stream, waiting, closed, confirmed = Stream(), list[Sealed](), 0, 0
    for step in steps:
        following = [one for one in waiting if one.size > stream.next_seq]
        if step == "close" and sizes:
            batch = cast("Sealed", Batch(closed, closed + sizes.pop()))
            waiting.append(batch)
            closed = batch.size
            stream.offer(batch)
        elif step == "read" and not stream.ready:
            stream.take(following[:most], are_all=len(following) < most)
        elif step == "send" and stream.ready:
            assert stream.ready[0] is following[0]
            first_seq, size = stream.ready[0].first_seq, stream.ready[0].size
            stream.went(Sent(size, 1, 0.0, "", 1), first_seq)
        elif step == "confirm" and stream.sent:
            confirmed = max(sent.size for sent in stream.sent.values())
            waiting = [one for one in waiting if one.size > confirmed]
            stream.confirm(confirmed)
        elif step == "rewind":
            stream.rewind()
        if stream.is_empty:
            assert all(one.size <= stream.next_seq for one in waiting), "something waits"
        assert len(stream.ready) <= max(most, 1)


def test_the_tree_that_was_served_longest_ago_is_first() -> None:
    streams = Streams(Timing())
    for number, tried_s in enumerate([3.0, 1.0, 2.0, 0.0]):
        streams[f"meter-{number}", 1] = Stream(tried_s=tried_s, is_empty=number == 3)
    assert streams.next(5.0, 2) == [("meter-1", 1), ("meter-2", 1)]
    streams["meter-1", 1].not_before_s = 6.0
    assert streams.next(5.0, 9) == [("meter-2", 1), ("meter-0", 1)]
