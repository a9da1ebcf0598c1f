"""When a project is due, what one that goes wrong does to the others, and what outlives a start."""
# mypy: disable-error-code=union-attr
# (None where a value is looked at ends the test all the same)

import threading
from datetime import date

import pytest

from joulemark_agent.contract.errors import JoulemarkError, MeasureError, StoreError
from joulemark_gateway.following.calculation import NOTHING
from joulemark_gateway.following.follower import AGAIN_US, FOLDER, Follower, FollowerThread
from joulemark_gateway.following.so_far import Board
from support.followed import at, project_file
from support.following import NOON, Rows, follower, turn

WAIT_S = 20.0


def test_a_project_is_due_at_the_start_and_after_each_midnight(folder, finding):
    one = follower(folder, finding)
    assert turn(one, NOON) == {"air": "measured", "boiler": "measured"}
    for now_us in (NOON + 1, at(date(2018, 3, 21), 0, 29)):
        turn(one, now_us)
    assert finding.asked == ["air", "boiler"]
    turn(one, at(date(2018, 3, 21), 0, 30))
    assert finding.asked == ["air", "boiler"] * 2


def test_a_project_whose_period_is_over_is_due_again_only_when_its_plan_changes(folder, finding):
    finding.content = {**finding.content, "is_final": True}
    one = follower(folder, finding)
    turn(one, NOON)
    turn(one, at(date(2030, 1, 1)))
    assert finding.asked == ["air", "boiler"]
    project_file(folder, "air.yaml", id="air", title="changed")
    turn(one, NOON)
    assert finding.asked == ["air", "boiler", "air"]


def test_after_the_clock_was_set_back_a_project_does_not_wait_for_the_time_it_had(folder, finding):
    one = follower(folder, finding)
    turn(one, at(date(2031, 1, 1)))
    turn(one, NOON)
    turn(one, NOON + 1)
    assert finding.asked == ["air", "boiler"] * 2


def test_one_that_goes_wrong_is_told_and_stops_no_other(folder, finding):
    finding.wrong["air"] = MeasureError("There is no meter.", "Name one.", code="missing_device")
    one = follower(folder, finding)
    assert turn(one, NOON) == {"air": "failed", "boiler": "measured"}
    trouble = one._board.projects["air"].trouble
    assert (trouble.code, trouble.what, trouble.do) == (
        "missing_device", "There is no meter.", "Name one.",
    )  # fmt: skip
    turn(one, NOON + AGAIN_US - 1)
    assert finding.asked == ["air", "boiler"]
    finding.wrong.clear()
    assert turn(one, NOON + AGAIN_US)["air"] == "measured"
    assert one._board.projects["air"].trouble is None


def test_a_mistake_of_the_program_is_told_and_stops_no_other(folder, finding, caplog):
    finding.wrong["air"] = ZeroDivisionError()
    one = follower(folder, finding)
    assert turn(one, NOON) == {"air": "failed", "boiler": "measured"}
    assert one._board.projects["air"].trouble.code == "internal"
    assert "saving_failed" in caplog.messages


def test_figures_from_before_stay_beside_what_went_wrong(folder, finding):
    one = follower(folder, finding)
    turn(one, NOON)
    before = one._board.projects["air"]
    finding.wrong["air"] = JoulemarkError("No.", "Look.", code="no")
    turn(one, at(date(2018, 3, 21), 1))
    after = one._board.projects["air"]
    assert after.trouble.code == "no"
    assert after.model_copy(update={"trouble": None}) == before


def test_what_was_found_is_shown_at_once_after_a_start_unless_the_plan_changed(folder, finding):
    turn(follower(folder, finding), NOON)
    project_file(folder, "boiler.yaml", id="boiler", title="another plan")
    shown: dict[str, dict[str, str]] = {}
    board = Board()

    def looking(path, now_us, stop):
        shown.setdefault(path.stem, {n: f.state for n, f in board.projects.items()})
        return finding(path, now_us, stop)

    turn(follower(folder, looking, board=board), NOON)
    assert shown["air"] == {"air": "measured", "boiler": "pending"}


@pytest.mark.parametrize("data", [b"", b"{}", b"[", b'{"format":"joulemark-saving/9"}'])
def test_what_was_kept_and_is_no_saving_is_found_again(folder, finding, data):
    turn(follower(folder, finding), NOON)
    (folder / "state" / FOLDER / "air.json").write_bytes(data)
    assert turn(follower(folder, finding), NOON)["air"] == "measured"


def test_files_that_name_no_project_of_their_own_are_told_with_what_to_do(folder, finding):
    project_file(folder, "copy.yaml", id="air")
    (folder / "followed/broken.yaml").write_text("id: 3")
    (folder / "followed/notes.txt").write_text("not a project")
    one = follower(folder, finding)
    assert set(turn(one, NOON)) == {"air", "boiler"}
    told = {item.path.name: item.what for item in one._board.unfollowed}
    assert set(told) == {"broken.yaml", "copy.yaml"}
    assert "stands in" in told["copy.yaml"]
    (folder / "followed/air.yaml").unlink()
    (folder / "followed/copy.yaml").unlink()
    assert set(turn(one, NOON)) == {"boiler"}


def test_a_path_that_is_not_there_is_told(tmp_path, finding):
    board = Board()
    Follower([tmp_path / "none.yaml"], tmp_path, board, finding, None).turn(0, threading.Event())
    [told] = board.unfollowed
    assert "cannot be read" in told.what


def test_rows_that_could_not_be_kept_are_kept_later_and_said_once(folder, finding, caplog):
    rows = Rows()
    rows.is_down = True
    one = follower(folder, finding, rows)
    for step in range(3):
        turn(one, NOON + step)
    assert caplog.messages.count("saving_rows_down") == 1
    rows.is_down = False
    for step in range(3):
        turn(one, NOON + step)
    assert rows.kept == ["air", "boiler"]
    assert finding.asked == ["air", "boiler"]


def test_rows_of_days_that_are_no_longer_in_the_plan_are_taken_back(folder, finding):
    rows = Rows()
    finding.content = {**finding.content, **NOTHING, "state": "waiting"}
    one = follower(folder, finding, rows)
    for step in range(2):
        turn(one, NOON + step)
    assert rows.kept == ["air", "boiler"]


def test_rows_that_fail_by_a_mistake_of_the_program_stop_no_other(folder, finding, caplog):
    class Wrong(Rows):
        def keep(self, found):
            super().keep(found)
            if found.id == "air":
                raise ZeroDivisionError

    rows = Wrong()
    one = follower(folder, finding, rows)
    for step in range(2):
        turn(one, NOON + step)
    assert rows.kept == ["air", "boiler"]
    assert caplog.messages.count("saving_rows_failed") == 1


def test_the_thread_leaves_off_the_project_at_hand_when_it_is_stopped(folder):
    begun, rows = threading.Event(), Rows()

    def slow(path, now_us, stop):
        del path, now_us
        begun.set()
        assert stop.wait(WAIT_S)
        raise StoreError("Stopped.", "Nothing.", code="saving_unfinished")

    board = Board()
    thread = FollowerThread(follower(folder, slow, rows, board), lambda: NOON)
    thread.start()
    assert begun.wait(WAIT_S)
    thread.stop()
    assert rows.is_closed
    assert {found.state for found in board.projects.values()} == {"pending"}
