"""Findings begin within ten minutes and end when they are over."""

from joulemark_agent.contract.profile import Profile
from joulemark_agent.documents import load_profile
from joulemark_agent.kernels.checks import WINDOWS
from joulemark_agent.plausibility import Watch

US = 1_000_000
SPAN_S, LONG_SPAN_S = (span_s for span_s, _ in WINDOWS)
METER: Profile = load_profile("schneider_iem3000")[0]


def sample(total_w: float) -> dict[str, str]:
    return {
        "power_w": str(total_w),
        "power_l1_w": "4000.5",
        "power_l2_w": "3000.5",
        "power_l3_w": "3000.0",
    }


def told(watch: Watch, first_s: int, last_s: int, total_w: float, every_s: int = 10) -> list[str]:
    """What begins (+) and ends (-) while the meter shows this total."""
    return [
        f"{'+' if change.begins else '-'}{change.verdict.rule}"
        for t_s in range(first_s, last_s, every_s)
        for change in watch.take("meter", t_s * US, sample(total_w), {})
    ]


def test_a_finding_is_told_once_when_it_begins_and_once_when_it_is_over() -> None:
    watch = Watch({"meter": METER})

    assert told(watch, 0, 600, 10_001) == []
    assert told(watch, 600, 1200, 100_010) == ["+sum_of_phases"]
    assert [v.rule for v in watch.findings()["meter"]] == ["sum_of_phases"]
    assert told(watch, 1200, 2400 + int(LONG_SPAN_S), 10_001, 60) == ["-sum_of_phases"]
    assert watch.findings() == {}


def test_a_wrong_scale_is_told_within_ten_minutes_of_the_start_at_every_period() -> None:
    for every_s in (1, 5, 60, 180):
        assert told(Watch({"meter": METER}), 0, int(SPAN_S), 100_010, every_s) == ["+sum_of_phases"]


def test_a_line_that_answers_now_sooner_now_later_loses_no_sample() -> None:
    watch = Watch({"meter": METER})
    for slot in range(60):
        late_us = 9_000 * (slot % 2)
        watch.take("meter", slot * 60 * US + late_us, sample(10_001), {})
    (watched,) = watch._watched.values()

    assert len(watched.windows[1].samples) == 60


def test_two_samples_say_nothing() -> None:
    watch = Watch({"meter": METER})

    assert told(watch, 0, 20, 100_010) == []


def test_a_clock_that_was_set_back_begins_a_new_window() -> None:
    watch = Watch({"meter": METER})
    told(watch, 5000, 5600, 10_001)

    assert told(watch, 100, 700, 100_010) == ["+sum_of_phases"]


def test_a_device_that_is_not_watched_is_passed_over() -> None:
    assert Watch({}).take("meter", 0, sample(1), {}) == []


def test_memory_is_bounded_however_often_a_device_is_read() -> None:
    watch = Watch({"meter": METER})
    told(watch, 0, 25_000, 10_001, every_s=3)
    (watched,) = watch._watched.values()

    assert [len(window.samples) for window in watched.windows] == [101, 401]
