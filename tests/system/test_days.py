"""Published days of the steel works, through sockets and back from the evidence."""

from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest

from joulemark_agent.kernels.energy import left_hold, power_energy
from joulemark_gateway.evidence import history

pytestmark = [pytest.mark.endurance, pytest.mark.timeout(420)]

KST = timezone(timedelta(hours=9))
CHECK_KG_PER_KWH = 0.4585  # of the recording itself: for checking, never for a report


@pytest.fixture(scope="module")
def meter(demo):
    tree = history.parse_tree(demo.leaves["joulemark/gwangyang/main-meter/1"])
    return history.history_of(tree, demo.documents)


def day_us(day):
    start = datetime.fromisoformat(day).replace(tzinfo=KST).astimezone(UTC)
    return int(start.timestamp()) * 1_000_000, int(start.timestamp() + 86_400) * 1_000_000


def counted(meter, name, day):
    """What the counter's register moved by in a local day. [the unit of its name, in thousands]"""
    start, end = np.searchsorted(meter.slot_us, day_us(day))
    return int(meter.counters[name][end] - meter.counters[name][start]) / 1000


@pytest.mark.parametrize(
    ("day", "kwh"), [("2018-05-15", 3_660.68), ("2018-01-08", 5_318.51), ("2018-02-16", 331.64)]
)
def test_a_days_energy_is_the_published_one_to_the_watt_hour(meter, day, kwh):
    assert counted(meter, "energy_wh", day) == kwh


@pytest.mark.parametrize(
    ("day", "lagging_kvarh", "leading_kvarh"),
    [("2018-05-15", 1_893.01, 222.50), ("2018-02-16", None, 955.81)],
)
def test_reactive_energy_keeps_its_direction(meter, day, lagging_kvarh, leading_kvarh):
    if lagging_kvarh is not None:
        assert counted(meter, "reactive_lagging_varh", day) == lagging_kvarh
    assert counted(meter, "reactive_leading_varh", day) == leading_kvarh


def test_the_power_beside_the_counter_gives_the_day_within_a_thousandth(meter):
    """The register shows the mean of the quarter before; holding it forward is the wrong rule."""
    edges_us = np.array(day_us("2018-05-15"))
    power_w = meter.gauges["power_w"]
    energy_wh, covered_us = power_energy(meter.slot_us, power_w, edges_us, 900_000_000)
    forward_wh, _ = left_hold(meter.slot_us, power_w, edges_us, 900_000_000)

    assert energy_wh[0] == pytest.approx(3_660_680, rel=1e-3)
    assert covered_us[0] == 86_400_000_000
    assert abs(forward_wh[0] - 3_660_680) > abs(energy_wh[0] - 3_660_680)


def test_the_days_tonnes_are_of_the_sum_and_not_of_rounded_rows(meter):
    start, end = np.searchsorted(meter.slot_us, day_us("2018-05-15"))
    quarters_kwh = np.diff(meter.counters["energy_wh"][start : end + 1]) / 1000
    rows_t = np.round(quarters_kwh * CHECK_KG_PER_KWH / 1000, 2)  # as the recording's own column

    assert round(quarters_kwh.sum() * CHECK_KG_PER_KWH / 1000, 5) == 1.67842
    assert rows_t.sum() == pytest.approx(1.59, abs=0.005)


def test_the_power_factor_is_that_of_energy_and_reactive_energy(meter):
    """PF = kWh / hypot(kWh, kvarh), which it was recorded beside."""
    start, end = np.searchsorted(meter.slot_us, day_us("2018-01-08"))
    steps = {
        name: np.diff(values[start : end + 1]).astype(float)
        for name, values in meter.counters.items()
    }
    shown = meter.gauges["power_factor_ratio"][start + 1 : end + 1]  # below 0: leading
    lagging, leading = steps["reactive_lagging_varh"], steps["reactive_leading_varh"]
    found = steps["energy_wh"] / np.hypot(steps["energy_wh"], np.where(shown < 0, leading, lagging))

    assert np.abs(found - np.abs(shown)).max() < 5e-5
