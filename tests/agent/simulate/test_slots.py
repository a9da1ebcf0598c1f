"""The slots of a device: multiples of its period, and what stands before and after them."""

from hypothesis import given
from hypothesis import strategies as st

from joulemark_agent.simulate.slots import Slots, union_us


@given(
    first_us=st.integers(0, 10**9), span_us=st.integers(0, 10**6), period_us=st.integers(1, 10**5)
)
def test_the_slots_around_a_span_are_the_multiples_that_first_show_its_ends(
    first_us: int, span_us: int, period_us: int
) -> None:
    last_us = first_us + span_us
    slots = Slots.around(first_us, last_us, period_us)

    assert all(at_us % period_us == 0 for at_us in (slots.first_us, slots.last_us))
    assert slots.first_us - period_us < first_us <= slots.first_us
    assert slots.last_us - period_us < last_us <= slots.last_us
    assert len(slots.all_us()) == slots.count
    assert slots.all_us()[-1] == slots.last_us


@given(now_us=st.integers(-100, 300))
def test_an_instant_shows_the_newest_slot_and_outside_the_nearest(now_us: int) -> None:
    slots = Slots(60, 7, 20)
    newest = [i for i, at_us in enumerate(slots.all_us()) if at_us <= now_us]

    assert slots.index(now_us) == (newest[-1] if newest else 0)


def test_a_slot_of_two_devices_is_one_slot() -> None:
    assert union_us([Slots(0, 6, 3), Slots(3, 3, 4)]) == [0, 3, 6, 9, 12]
