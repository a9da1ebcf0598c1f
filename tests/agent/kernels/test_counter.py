"""A counter followed: what is believed, what is booked, and what stands in the log."""

from decimal import Decimal
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import joulemark_profiles
from joulemark_agent.contract.reading import patience_us
from joulemark_agent.documents import load_profile
from joulemark_agent.kernels.counter import (
    LARGEST,
    Followed,
    Semantics,
    count_of,
    follow,
    local_days,
    midnights_us,
    semantics_of,
)
from nightly import counter_sequences, counters
from support.counters import HOUR_US, PERIOD_US, SEOUL, nodes_of, profile_of, with_own_period

US_PER_H = 3_600_000_000
PLAIN = Semantics(PERIOD_US * 3 // 2, PERIOD_US // 2)


def followed(raw, semantics=PLAIN, *, good=None, ok=None, slots=None, late=None, zone=SEOUL):
    counts = np.array(raw, np.int64)
    n = counts.size
    t_us = np.array(range(n) if slots is None else slots) * PERIOD_US
    flags = np.ones(n, np.bool_)
    return follow(
        semantics,
        t_us,
        counts,
        flags if good is None else np.array(good),
        flags if ok is None else np.array(ok),
        zone,
        late_us=None if late is None else np.array(late) * PERIOD_US,
    )


def booked(found):
    return [
        (int(t // PERIOD_US), int(count), int(step))
        for t, count, step in zip(found.t_us, found.count, found.step, strict=True)
    ]


def log(found):
    return [(e.code, e.at_us // PERIOD_US, e.before, e.after, e.booked) for e in found.events]


def test_what_was_counted_while_the_clock_was_set_back_is_booked_and_only_known_as_a_sum():
    """Four periods pass between two neighbouring slots, at the most the machine can take."""
    limited = PLAIN._replace(most_per_h=US_PER_H * 100 // PERIOD_US)
    raw, late = [0, 100, 200, 700, 800], [0, 0, 0, 4, 0]
    steps = [(0, 0, 0), (1, 100, 1), (2, 200, 1), (3, 700, 2), (4, 800, 1)]

    found = followed(raw, limited, late=late)
    assert (booked(found), log(found)) == (steps, [])
    naive = followed(raw, limited)
    assert naive.count[-1] == 300, "the control, which believes the slots, loses it"
    assert log(naive) == [("jump", 3, 200, 700, 0)]


def test_a_reading_without_a_count_does_not_hide_how_long_it_was():
    limited = PLAIN._replace(most_per_h=US_PER_H * 100 // PERIOD_US)
    found = followed([0, 100, 0, 700], limited, good=[1, 1, 0, 1], late=[0, 0, 4, 0])
    assert booked(found)[-1] == (3, 700, 2)


@pytest.mark.parametrize("period_s", [1, 5, 15, 900])
def test_a_reading_that_comes_as_late_as_it_may_is_no_leap(period_s):
    """A machine at its most, read at its slot and then as late as the agent still asks."""
    profile = profile_of()
    rule = semantics_of(profile, profile.point("energy_wh"), period_s * 1_000_000)
    rule = rule._replace(most_per_h=3600 * 100_000)
    took_us = period_s * 1_000_000 + patience_us(period_s * 1_000_000)
    raw = np.array([0, 100_000 * took_us // 1_000_000], np.int64)
    flags, slots_us = np.ones(2, np.bool_), np.array([0, period_s * 1_000_000])
    found = follow(rule, slots_us, raw, flags, flags)
    assert found.count.tolist() == raw.tolist()


@given(
    raw=st.lists(st.integers(0, 40), min_size=2, max_size=12),
    late=st.lists(st.integers(0, 3), min_size=12, max_size=12),
    cut=st.integers(1, 11),
)
def test_blocks_of_any_cut_know_how_long_it_was(raw, late, cut):
    rule = PLAIN._replace(most_per_h=US_PER_H * 5 // PERIOD_US, stuck_us=3 * PERIOD_US)
    t_us, counts = np.arange(len(raw)) * PERIOD_US, np.array(raw, np.int64)
    flags, late_us = np.ones(len(raw), np.bool_), np.array(late[: len(raw)]) * PERIOD_US
    whole = follow(rule, t_us, counts, flags, flags, late_us=late_us)
    head, tail = slice(0, cut), slice(cut, None)
    state: tuple[int, ...] = ()
    parts = []
    for part in (head, tail):
        columns = t_us[part], counts[part], flags[part], flags[part]
        parts.append(follow(rule, *columns, None, state, late_us[part]))
        state = parts[-1].state
    assert state == whole.state
    assert parts[0].events + parts[1].events == whole.events
    assert parts[-1].count.tolist()[-1] == whole.count[-1]


def test_months_of_every_kind_give_the_truth_and_the_naive_sums_do_not():
    figures = counters.run(1, full=False)
    assert figures["phantom energy"] == "0 Wh"


def test_the_jump_from_0_to_the_lifetime_at_dawn_books_nothing():
    """The shape reported of inverters: silent at night, 0 at wake-up, then the lifetime energy."""
    lifetime_wh, dusk, dawn = 18_345_000, 72, 100
    raw = [lifetime_wh] * 4 + [0, 0, lifetime_wh, lifetime_wh + 90]
    slots = [dusk - 3, dusk - 2, dusk - 1, dusk, dawn, dawn + 1, dawn + 2, dawn + 3]
    found = followed(raw, slots=slots)
    assert found.count[-1] == 90
    assert log(found) == [("wake_up_zero", dawn, lifetime_wh, 0, 0)]
    assert found.step.tolist() == [0, 1, 1, 1, 2, 1]  # the night is known as a sum only

    naive = np.diff(raw)
    assert naive[naive > 0].sum() == lifetime_wh + 90


@pytest.mark.parametrize("says", [{"no_zero": 1}, {"most_per_h": 100_000}])
def test_an_agent_that_starts_at_dawn_books_nothing_of_the_lifetime(says):
    found = followed([0, 0, 18_345_000, 18_345_090], PLAIN._replace(**says))
    assert found.count[-1] == 90
    assert log(found) == [("wake_up_zero", 2, 0, 18_345_000, 0)]
    assert followed([0, 0, 18_345_000, 18_345_090]).count[-1] == 18_345_090  # who says nothing


def test_a_new_meter_counts_from_0():
    assert followed([0, 0, 5, 9]).count[-1] == 9
    assert followed([0, 0, 5, 9], PLAIN._replace(most_per_h=100_000)).count[-1] == 9


def test_a_value_that_comes_back_after_zeros_never_was_zero():
    found = followed([1000, 0, 0, 1000, 1000, 0, 1002])
    assert booked(found) == [(0, 0, 0), (3, 0, 2), (4, 0, 1), (6, 2, 2)]
    assert log(found) == [("false_zero", 1, 1000, 0, 0), ("false_zero", 5, 1000, 0, 0)]


def test_a_counter_that_starts_anew_is_a_reset_and_its_zeros_are_measured():
    found = followed([1000, 0, 0, 0, 3, 7])
    assert booked(found) == [(0, 0, 0), (1, 0, -2), (3, 0, 1), (4, 3, 1), (5, 7, 1)]
    assert log(found) == [("reset", 1, 1000, 0, 0)]


def test_what_the_last_reading_shows_is_not_judged_before_the_next():
    assert booked(followed([9, 0, 0])) == [(0, 0, 0)]
    assert booked(followed([9, 4])) == [(0, 0, 0)]


def test_a_fall_is_a_rollover_only_where_the_profile_says_so_and_it_can_be():
    wraps = PLAIN._replace(modulus=65536, most_per_h=40_000)
    assert log(followed([65_530, 4], wraps)) == [("rollover", 1, 65_530, 4, 10)]
    assert log(followed([65_530, 4, 9])) == [("reset", 1, 65_530, 4, 0)]
    assert log(followed([30_000, 4, 9], wraps)) == [("reset", 1, 30_000, 4, 0)]


def test_a_counter_that_may_have_wrapped_twice_while_nobody_looked_books_nothing():
    wraps = PLAIN._replace(modulus=65536, most_per_h=40_000)
    found = followed([100, 900, 950], wraps, slots=[0, 96, 97])
    assert log(found) == [("unknown_wraps", 96, 100, 900, 0)]
    assert found.count.tolist() == [0, 0, 50]


def test_a_leap_beyond_its_maximum_rate_is_not_booked():
    most = PLAIN._replace(most_per_h=4000)
    assert log(followed([100, 900_000, 1_100], most)) == [("spike", 1, 100, 900_000, 0)]
    found = followed([100, 900_000, 900_500], most)
    assert log(found) == [("jump", 1, 100, 900_000, 0)]
    assert found.count[-1] == 500


def test_a_catch_up_is_kept_as_a_sum_and_never_as_measured():
    still = PLAIN._replace(most_per_h=4000, stuck_us=HOUR_US)
    found = followed([0, 900] + [900] * 8 + [9000, 9900], still)
    assert [(code, at) for code, at, *_ in log(found)] == [("stuck", 6), ("catch_up", 10)]
    assert booked(found)[-2:] == [(10, 9000, 2), (11, 9900, 1)]


def test_backwards_by_its_own_step_is_no_fall():
    found = followed([500, 499, 500, 502], PLAIN._replace(quantum=1))
    assert log(found) == [("backwards", 1, 500, 499, 0)]
    assert booked(found) == [(0, 0, 0), (1, 0, 1), (2, 0, 1), (3, 2, 1)]
    wide = followed([131_000_000, 130_999_992, 131_000_008], PLAIN._replace(float_bits=23))
    assert wide.count[-1] == 8


def test_a_day_that_begins_books_what_it_shows_and_is_a_sum_only():
    daily = PLAIN._replace(is_daily=1, most_per_h=4000)
    midnight = 15 * 4  # 15:00 UTC is midnight in Seoul
    slots = [midnight - 2, midnight - 1, midnight, midnight + 1]
    found = followed([8000, 8500, 30, 60], daily, slots=slots)
    assert log(found) == [("daily_reset", midnight, 8500, 30, 30)]
    assert booked(found)[-2:] == [(midnight, 530, 2), (midnight + 1, 560, 1)]


def test_a_second_reset_in_a_day_is_none_of_the_calendar():
    daily = PLAIN._replace(is_daily=1, most_per_h=4000)
    slots = [58, 60, 61, 70, 71, 72]
    codes = [code for code, *_ in log(followed([8500, 0, 30, 900, 10, 20], daily, slots=slots))]
    assert codes == ["daily_reset", "reset"]


def test_whole_days_that_nobody_saw_are_missing():
    daily = PLAIN._replace(is_daily=1)
    found = followed([8500, 30, 60], daily, slots=[50, 50 + 3 * 96, 51 + 3 * 96])
    assert booked(found)[1][1:] == (0, -6)


def test_the_days_of_a_counter_are_those_of_the_site():
    slots = np.array([14 * US_PER_H - 1, 14 * US_PER_H])  # 23:00 in Seoul: its clock may be ahead
    assert np.diff(local_days(slots.tolist(), SEOUL)).tolist() == [1]
    assert np.diff(local_days(slots.tolist(), ZoneInfo("UTC"))).tolist() == [0]


def test_a_masked_step_books_nothing_and_its_neighbours_all():
    found = followed([0, 10, 10, 30], ok=[True, True, False, True])
    assert booked(found) == [(0, 0, 0), (1, 10, 1), (2, 10, 0), (3, 30, 1)]


def test_a_float_is_counted_in_whole_units_so_that_its_steps_add_up():
    texts = [f"{1_000_000 + k * 0.7:.1f}" for k in range(1000)]
    counts = [count_of(text) for text in texts]
    assert sum(np.diff(counts)) == 699
    assert count_of("12") == 12
    assert count_of("-1") == -1


def test_what_the_profile_says_in_si_is_whole_units():
    profile = profile_of(
        type="uint16", scale=10, modulus=65536, quantum="2.5", maximum_rate="27.8", stuck_s=7200
    )
    found = semantics_of(profile, profile.points[0], PERIOD_US)
    assert found == Semantics(
        1_350_000_000, 450_000_000, 655_360, 3, 62, 100_080, 7_200_000_000, 0, 0, 10
    )


def test_the_maximum_of_the_power_beside_a_counter_bounds_it():
    power = {"name": "power_w", "table": "input", "address": 4, "type": "uint16", "maximum": 5000}
    mapping = profile_of().model_dump(mode="json", exclude_unset=True)
    mapping["points"].append(power)
    mapping["checks"] = [{"rule": "rate", "counter": "energy_wh", "power": "power_w"}]
    profile = type(profile_of()).model_validate(mapping)
    assert semantics_of(profile, profile.points[0], PERIOD_US).most_per_h == 5000


@pytest.mark.parametrize(("flows", "most"), [("import", 7000), ("export", 5000), (None, 5000)])
def test_a_power_that_flows_the_other_way_bounds_by_its_minimum(flows, most):
    power = {
        "name": "power_w", "table": "input", "address": 4, "type": "int32",
        "maximum": 5000, "minimum": -7000, "direction": "export",
    }  # fmt: skip
    mapping = profile_of().model_dump(mode="json", exclude_unset=True)
    mapping["points"][0] |= {} if flows is None else {"direction": flows}
    mapping["points"].append(power)
    mapping["checks"] = [{"rule": "rate", "counter": "energy_wh", "power": "power_w"}]
    profile = type(profile_of()).model_validate(mapping)
    assert semantics_of(profile, profile.points[0], PERIOD_US).most_per_h == most


def test_a_power_that_only_flows_the_other_way_bounds_nothing():
    power = {
        "name": "power_w", "table": "input", "address": 4, "type": "uint32",
        "maximum": 5000, "direction": "export",
    }  # fmt: skip
    mapping = profile_of(direction="import").model_dump(mode="json", exclude_unset=True)
    mapping["points"].append(power)
    mapping["checks"] = [{"rule": "rate", "counter": "energy_wh", "power": "power_w"}]
    profile = type(profile_of()).model_validate(mapping)
    assert semantics_of(profile, profile.points[0], PERIOD_US).most_per_h == 0


def test_a_counter_that_shows_whole_kwh_leaps_by_one_and_it_is_no_leap():
    """At 5 kW it moves every 12 minutes, by more than a minute can have counted."""
    profile = profile_of(type="uint32", scale=1000, maximum_rate="1.5")
    minute_us = 60_000_000
    semantics = semantics_of(profile, profile.points[0], minute_us)
    raw = [1000 * (k * 5 // 60) for k in range(100)]
    t_us, flags = np.arange(100) * minute_us, np.ones(100, np.bool_)
    found = follow(semantics, t_us, np.array(raw, np.int64), flags, flags)
    assert found.events == ()
    assert found.count[-1] == raw[-1]
    assert set(found.step[1:].tolist()) == {1}


def test_every_counter_of_every_shipped_profile_can_be_followed():
    for name in joulemark_profiles.names("devices"):
        profile, _ = load_profile(name)
        for point in profile.points:
            if point.counter:
                assert semantics_of(profile, point, PERIOD_US).step >= 1, (name, point.name)


def test_a_point_with_a_period_of_its_own_is_followed_at_that():
    profile = with_own_period(3600)
    found = semantics_of(profile, profile.points[0], PERIOD_US)
    assert (found.max_gap_us, found.slack_us) == (HOUR_US * 3 // 2, HOUR_US // 2)


def test_what_comes_after_a_standstill_is_a_sum_even_if_it_comes_at_once():
    still = PLAIN._replace(stuck_us=PERIOD_US // 2)
    t_us = np.array([0, 600, 1200]) * 1_000_000
    flags = np.ones(3, np.bool_)
    found = follow(still, t_us, np.array([5, 5, 9]), flags, flags)
    assert [event.code for event in found.events] == ["stuck", "catch_up"]
    assert found.step.tolist() == [0, 2]


def test_a_daily_counter_that_shows_the_same_after_an_unseen_midnight_has_no_known_sum():
    daily = PLAIN._replace(is_daily=1)
    found = followed([0, 0, 7], daily, slots=[50, 50 + 96, 51 + 96])
    assert booked(found)[1][1:] == (0, -6)
    assert found.count[-1] == 7


@pytest.mark.parametrize("length", [1, 2, 3])
def test_every_short_sequence_is_followed_as_the_slow_reference_does(length):
    figures = counter_sequences.compare(length, spacings=(10,))
    assert figures["differences"] == 0


def test_numbers_without_measure_in_a_profile_do_no_harm():
    huge = "1" + "0" * 60
    profile = profile_of(type="uint64", quantum=huge, maximum_rate=huge, stuck_s=huge)
    found = followed([5, 9, 2**62], semantics_of(profile, profile.points[0], PERIOD_US))
    assert found.count[-1] == 2**62 - 5
    wraps = profile_of(type="uint64", modulus=2**64, scale=10**9, maximum_rate=1)
    assert semantics_of(wraps, wraps.points[0], PERIOD_US).modulus == 0


def test_midnights_are_local_and_never_without_end():
    day_us = 24 * US_PER_H
    found = midnights_us(0, 3 * day_us, SEOUL, 100).tolist()
    assert found == [15 * US_PER_H + k * day_us for k in range(3)]
    assert midnights_us(0, 2**60, SEOUL, 1000).size == 0


def test_a_wrap_needs_a_maximum_rate_or_a_reset_would_look_like_one():
    with pytest.raises(ValueError, match="maximum_rate"):
        profile_of(type="uint16", modulus=65536)
    assert profile_of(type="uint16", modulus=65536, maximum_rate=Decimal(10))


rules = st.builds(
    Semantics,
    max_gap_us=st.just(15),
    slack_us=st.sampled_from([0, 5]),
    modulus=st.sampled_from([0, 0, 100, 2**62]),
    quantum=st.sampled_from([0, 1, 5]),
    float_bits=st.sampled_from([62, 3]),
    most_per_h=st.sampled_from([0, 10**9, 5 * 10**9, 2**62]),
    stuck_us=st.sampled_from([0, 25]),
    is_daily=st.sampled_from([0, 1]),
    no_zero=st.sampled_from([0, 1]),
    step=st.sampled_from([1, 7]),
)
shown = st.one_of(st.sampled_from([0, 0, 1, 2, 99, 100, LARGEST]), st.integers(0, 120))
readings = st.lists(
    st.tuples(shown, st.integers(0, 40), st.integers(0, 9), st.integers(0, 9)),
    min_size=1,
    max_size=40,
)


@given(rule=rules, drawn=readings, data=st.data())
def test_any_readings_in_blocks_of_any_cut_give_the_same_and_never_fall(rule, drawn, data):
    t_us = np.cumsum([step for _, step, _, _ in drawn]) * (1 if data.draw(st.booleans()) else 10**9)
    counts = np.array([count for count, *_ in drawn], np.int64)
    good = np.array([flag > 0 for *_, flag, _ in drawn])
    ok = np.array([flag > 0 for *_, flag in drawn])
    whole = follow(rule, t_us, counts, good, ok, SEOUL)

    cuts = sorted(data.draw(st.sets(st.integers(1, len(drawn)), max_size=6)))
    blocks: list[Followed] = []
    for start, end in zip([0, *cuts], [*cuts, len(drawn)], strict=True):
        part, state = slice(start, end), blocks[-1].state if blocks else ()
        blocks.append(follow(rule, t_us[part], counts[part], good[part], ok[part], SEOUL, state))
    assert nodes_of(blocks) == nodes_of([whole])
    assert blocks[-1].state == whole.state

    assert np.all(np.diff([event.at_us for event in whole.events]) >= 0)
    assert np.all(np.diff(whole.count) >= 0)
    assert np.all(np.diff(whole.t_us) > 0)
    assert not np.diff(whole.count)[whole.step[1:] <= 0].any()
    assert whole.count.size == 0 or whole.count[0] == 0
