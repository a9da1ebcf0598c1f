"""What the collector's file follows, and the collector that does it."""

import time

import pytest
import yaml

from joulemark_agent.contract.errors import ConfigError
from joulemark_gateway.app import open_follower
from joulemark_gateway.following.rows import SavingRows
from joulemark_gateway.following.so_far import Board
from joulemark_gateway.settings import load_collector
from support import followed

WAIT_S = 60.0


def settings_with(folder, **changes):
    path = folder / "collector.yaml"
    content = yaml.safe_load(path.read_text())
    other = folder / "changed.yaml"
    other.write_text(yaml.safe_dump({**content, **changes}))
    return load_collector(other)


def test_a_project_is_a_report_or_is_followed(filled):
    found = settings_with(filled, projects=[{"report": "a"}, {"follow": "b.yaml"}]).projects
    assert [(one.report, one.follow) for one in found] == [
        (filled / "a", None), (None, filled / "b.yaml"),
    ]  # fmt: skip
    for wrong in ({}, {"report": "a", "follow": "b.yaml"}):
        with pytest.raises(ConfigError, match="either 'report', the folder or address of"):
            settings_with(filled, projects=[wrong])


def test_a_collector_that_follows_nothing_has_no_thread_for_it(filled):
    assert open_follower(settings_with(filled, projects=[]), Board()) is None


@pytest.mark.parametrize(
    ("series", "has_rows"),
    [({}, False), ({"kind": "influx", "url": "http://127.0.0.1:1"}, True)],
)
def test_days_are_written_where_the_series_is_on_a_server(filled, series, has_rows):
    thread = open_follower(settings_with(filled, series=series), Board())
    assert thread is not None
    assert isinstance(thread._follower.rows, SavingRows) == has_rows
    assert (thread._follower.rows is None) != has_rows


@pytest.mark.endurance
def test_the_collectors_thread_finds_the_saving_in_a_process_and_keeps_it(tmp_path):
    folder = followed.fill(tmp_path / "collector")
    followed.project_file(folder, wired={"collector": "../collector.yaml"})
    followed.project_file(folder, "wrong.yaml", id="wrong", energy={"device": "x", "point": "y"})
    board = Board()
    thread = open_follower(load_collector(folder / "collector.yaml"), board)
    assert thread is not None
    thread.start()
    until = time.monotonic() + WAIT_S
    while {one.state for one in board.projects.values()} != {"measured", "failed"}:
        assert time.monotonic() < until, board.projects
        time.sleep(0.05)
    thread.stop()
    found = board.projects["pump-house"]
    assert (found.is_final, found.trouble) == (True, None)
    assert (folder / "state/projects/pump-house.json").stat().st_mode & 0o777 == 0o600
    trouble = board.projects["wrong"].trouble
    assert trouble is not None
    assert "no evidence of the device 'x'" in trouble.what
