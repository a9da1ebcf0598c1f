"""The short forms of what is done to an outbox for hours; `python -m tests.nightly` does it all."""

from __future__ import annotations

import pytest

from nightly import crash_points, disk_errors, slow_disk, torn_pages, week_offline

pytestmark = [pytest.mark.endurance, pytest.mark.timeout(600)]


def test_points_all_over_a_batch_cycle_survive_a_kill():
    figures = crash_points.run(1, full=False)
    points = int(figures["points of the cycle"].split(",")[0])
    assert points > 60
    assert figures["recovered"] == f"{points} of {points}"


def test_errors_of_the_disk_lose_nothing_unsaid():
    figures = disk_errors.run(1, full=False)
    assert "0 missing" in figures["a full disk, freed again"]


def test_torn_files_contradict_nothing_that_was_sent():
    figures = torn_pages.run(1, full=False)
    assert figures["slots lost unsaid, slots twice"] == "0, 0"


def test_a_slow_card_delays_no_reading():
    assert slow_disk.run(1, full=False)["slots lost"] == "0"


@pytest.mark.service
@pytest.mark.usefixtures("mosquitto")
def test_a_backlog_drains_in_order_with_live_readings_ahead():
    figures = week_offline.run(1, full=False)
    assert figures["50 points/s: age of the live reading"]
