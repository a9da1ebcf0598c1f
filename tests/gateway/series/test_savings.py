"""Days of running projects on a server: written once, corrected, and missed where they are not."""

import numpy as np
import pytest

from joulemark_agent.contract.errors import StoreError
from joulemark_gateway.series.influx import InfluxSeries
from joulemark_gateway.series.savings import FIELDS, SavingDays, saving_lines
from joulemark_gateway.series.servers import Server

MIDNIGHT_US = 1_520_434_800_000_000  # 2018-03-08 in Korea
DAY_US = 86_400_000_000
KINDS = [
    pytest.param("victoriametrics", marks=pytest.mark.service),
    pytest.param("influxdb", marks=pytest.mark.service),
]
SITE, PROJECT = "savings", "pump-house"


def days(n, *, skip=(), seed=1):
    """Some days, as pages print them: to the Wh and the gram."""
    kept = [k for k in range(n) if k not in skip]
    draw = np.random.default_rng(seed)
    values = np.round(draw.uniform(0, 5e6, (n, len(FIELDS))), 0)
    values[:, 4] = np.round(values[:, 4] / 1e4, 3)
    return SavingDays(MIDNIGHT_US + DAY_US * np.array(kept, np.int64), values[kept])


@pytest.fixture(params=KINDS)
def series(request, tmp_path):
    url = request.getfixturevalue(request.param)
    kind = "influx" if request.param == "influxdb" else request.param
    opened = InfluxSeries(kind, Server(url, "joulemark", "joulemark"), tmp_path / "progress")
    for project in (PROJECT, "other"):
        opened.keep_saving(SITE, project, days(0))
    yield opened
    opened.close()


@pytest.fixture
def sent(series, monkeypatch):
    """How many lines each write had."""
    counts, send = [], series._send

    def counting(lines):
        counts.append(len(lines))
        send(lines)

    monkeypatch.setattr(series, "_send", counting)
    return counts


def there(series, project=PROJECT):
    found = series._saving(SITE, project)
    return found.start_us.tolist(), found.values.tolist()


def told(wanted):
    return wanted.start_us.tolist(), wanted.values.tolist()


def test_a_day_is_a_line_a_millisecond_after_its_midnight():
    found = saving_lines(SITE, PROJECT, days(1), tick_us=1000)
    values = ",".join(
        f"{name}={value:.10g}" for name, value in zip(FIELDS, days(1).values[0], strict=True)
    )
    assert found == [f"joulemark_saving,site={SITE},project={PROJECT} {values} 1520434800001"]


def test_a_day_without_a_number_is_no_line():
    wrong = SavingDays(np.array([MIDNIGHT_US]), np.full((1, len(FIELDS)), np.nan))
    with pytest.raises(StoreError, match="not a finite number"):
        saving_lines(SITE, PROJECT, wrong, tick_us=1)


def test_what_is_kept_comes_back_and_is_written_once(series, sent):
    wanted = days(400, skip=(14, 15))
    for _ in range(3):
        series.keep_saving(SITE, PROJECT, wanted)
        assert there(series) == told(wanted)
    assert sent == [398]


def test_one_more_day_is_one_more_line(series, sent):
    series.keep_saving(SITE, PROJECT, days(30).chosen(np.arange(30) < 29))
    series.keep_saving(SITE, PROJECT, days(30))
    assert there(series) == told(days(30))
    assert sent == [29, 1]


@pytest.mark.parametrize(
    "later", [days(30, seed=2), days(20), days(30, skip=(3,)), days(0)],
    ids=["other numbers", "fewer days", "a day left out", "none"],
)  # fmt: skip
def test_what_changed_replaces_what_was_there_and_nothing_of_others(series, later):
    for project in (PROJECT, "other"):
        series.keep_saving(SITE, project, days(30))
    series.keep_saving(SITE, PROJECT, later)
    assert there(series) == told(later)
    assert there(series, "other") == told(days(30))


def test_the_progress_of_the_evidence_is_not_touched(series, tmp_path):
    series.keep_saving(SITE, PROJECT, days(3))
    assert not (tmp_path / "progress").exists()
    assert series.latest(SITE) == []


def test_a_server_that_keeps_nothing_is_found_out(series, monkeypatch):
    monkeypatch.setattr(series, "_send", lambda _: None)
    with pytest.raises(StoreError, match="retention may be too short") as caught:
        series.keep_saving(SITE, PROJECT, days(3))
    assert caught.value.code == "series_unkept"
