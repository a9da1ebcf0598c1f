"""How far a replay is committed over devices of different periods and windows, against counting."""

from hypothesis import given
from hypothesis import strategies as st

from joulemark_agent.slots import last_committed_us


@st.composite
def progress(draw, *, may_be_open=True):
    """A device's first slot, last slot or None, period and last committed slot."""
    period = draw(st.integers(1, 6))
    first = period * draw(st.integers(0, 8))
    last = (
        None if may_be_open and draw(st.booleans()) else first + period * draw(st.integers(0, 10))
    )
    most = 12 if last is None else (last - first) // period
    committed = first + period * draw(st.integers(-1, most))
    return first, last, period, committed


def counted(devices):
    """The same by counting: the last slot before the first one that is not committed."""
    horizon = 200
    slots = sorted(
        {
            (slot, slot <= committed)
            for first, last, period, committed in devices
            for slot in range(first, horizon if last is None else last + 1, period)
        }
    )
    open_slots = [slot for slot, is_done in slots if not is_done]
    edge = min(open_slots, default=horizon)
    return max((slot for slot, is_done in slots if is_done and slot < edge), default=None)


@given(st.lists(progress(), max_size=5))
def test_nothing_before_it_or_at_it_is_left_to_commit(devices):
    assert last_committed_us(devices) == counted(devices)


@given(st.lists(progress(), max_size=4), st.integers(1, 6))
def test_while_a_device_has_committed_nothing_known_there_is_no_such_slot(devices, period):
    assert last_committed_us([*devices, (0, None, period, None)]) is None


@given(st.lists(progress(may_be_open=False), min_size=1, max_size=4))
def test_at_the_end_of_all_windows_it_is_the_last_slot_of_all(devices):
    ended = [(first, last, period, last) for first, last, period, _ in devices]

    assert last_committed_us(ended) == max(last for _, last, _, _ in ended)


@given(st.lists(progress(), min_size=1, max_size=4), st.data())
def test_it_never_falls_while_slots_are_committed(devices, data):
    which = data.draw(st.integers(0, len(devices) - 1))
    first, last, period, committed = devices[which]
    if last is not None and committed >= last:
        return
    more = devices.copy()
    more[which] = (first, last, period, max(committed + period, first))

    assert (last_committed_us(devices) or -1) <= (last_committed_us(more) or -1)


def test_the_newest_slot_alone_would_say_too_much():
    """The control: a slow device has not read the slots before the fast one's newest."""
    devices = [(0, None, 1, 7), (0, None, 5, 0)]

    assert max(committed for *_, committed in devices) == 7
    assert last_committed_us(devices) == 4


def test_a_device_without_a_first_slot_begins_at_what_it_has():
    assert last_committed_us([(None, None, 10, 40)]) == 40
    assert last_committed_us([(None, None, 10, 40), (None, None, 3, 30)]) == 30
    assert last_committed_us([]) is None
