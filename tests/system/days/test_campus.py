"""A campus in July: 15 roofs and 42 feeders whose names are Hangul, each with counters.

Its 4 July is part of `test_day_5.py`. The recording has no licence: nothing of it is here but sums.
"""

import numpy as np
import pytest

from joulemark_agent.equipment.base import Samples, counted
from support.campus import EMERGENCY, FILES, campus, check_names, counts, point, published, ways
from support.recorded import HOUR_US

pytestmark = pytest.mark.timeout(420)

JULY = ("2022-07-01", "2022-08-01")
JULY_KWH = {"roofs": 98_684.3, "feeders": 5_500_670.6}


@pytest.fixture(scope="module")
def july(plant_data):
    folder = plant_data / "korea_gist_campus_2022"
    return {device: published(folder, device, *JULY) for device in FILES}


def by_tag(hours, device, total_kwh):
    """By name and way what its counters counted."""
    return {
        (tag, way): total_kwh(device, point(k, way))
        for k, tag in enumerate(hours.kwh)
        for way in ways(device)
    }


def check_july(july, total_kwh, told):
    """Sums with their sign: what a roof draws is consumption, and never less of its yield."""
    roofs, feeders = (by_tag(july[device], device, total_kwh) for device in FILES)
    yielded = sum(kwh for (_, way), kwh in roofs.items() if way == "generated_wh")
    drawn = sum(kwh for (_, way), kwh in roofs.items() if way == "imported_wh")
    apart = sum(kwh for (tag, _), kwh in feeders.items() if EMERGENCY in tag)

    assert yielded - drawn == pytest.approx(JULY_KWH["roofs"], abs=0.05)
    assert yielded > JULY_KWH["roofs"] + 19  # the control: what is drawn was cut off
    assert sum(feeders.values()) == pytest.approx(JULY_KWH["feeders"], abs=0.05)
    assert 0 < apart < JULY_KWH["feeders"]
    told("campus roofs, July [kWh]", round(yielded - drawn, 1), "98,684.3")
    told("campus feeders, July [kWh]", round(sum(feeders.values()), 1), "5,500,670.6")
    told("campus: roofs draw, July [kWh]", round(drawn, 1), "consumption, not less yield")
    told("campus: emergency feeders (E), of all feeders [kWh]", round(apart, 1), "told apart")


def test_july_counted_by_the_kernels_has_its_published_sums(july, told):
    samples = {}
    for device, hours in july.items():
        edges_us = np.array([*hours.start_us, hours.start_us[-1] + HOUR_US])
        columns = {k: np.array(v, np.float64) for k, v in counts(hours, device).items()}
        samples[device] = Samples(edges_us, columns, HOUR_US * 3 // 2)

    def total_kwh(device, name):
        whole = samples[device].t_us[[0, -1]]
        found = counted(samples[device], name, whole)
        assert found.covered_us[0] == whole[1] - whole[0]
        return found.amount[0] / 1000

    values = np.array([[float(v) for v in kwh] for kwh in july["roofs"].kwh.values()])
    assert (values < 0).sum() == 77
    assert values.min() == pytest.approx(-1.2)
    check_july(july, total_kwh, told)
    told("campus: hours in which a roof draws", "77, down to -1.2 kW, kept", "77")


@pytest.mark.endurance
def test_july_read_over_sockets_is_the_same(run, july, told):
    kept = run([campus(device, hours) for device, hours in july.items()])
    for device, hours in july.items():
        check_names(kept[device], hours)

    def total_kwh(device, name):
        found = kept[device].counter(name)
        assert not found.events
        return found.totals(kept[device].history.slot_us[[0, -1]]).total[0] / 1000

    check_july(july, total_kwh, told)
