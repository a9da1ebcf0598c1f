"""A folder that is followed may hold anything: pipes, folders, long texts, ten thousand files."""
# mypy: disable-error-code=union-attr
# (None where a value is looked at ends the test all the same)

import os
import threading

import pytest

from joulemark_agent.contract.document import MAX_BYTES
from joulemark_gateway.following import follower as following
from joulemark_gateway.following.calculation import calculated
from joulemark_gateway.following.files import MOST_FILES
from joulemark_gateway.following.follower import AGAIN_US, Follower
from joulemark_gateway.following.so_far import Board
from joulemark_gateway.reports.project_file import gather, load_project
from support.followed import project_file
from support.following import NOON, follower, told_of, turn
from support.plant import plan_mapping

EVENT = {
    "dates": {"from": "2018-03-10", "to": "2018-03-11"},
    "cause": "the pumps were taken apart",
    "evidence_sha256": "0" * 64,
    "author": "J. Kim",
    "approval": "A. Lee",
    "treatment": "exclude",
}


@pytest.mark.timeout(20)
def test_what_would_be_read_for_ever_is_not_read(folder, finding):
    """A pipe that nobody writes to, a device without end, a folder, a text of many megabytes."""
    place = folder / "followed"
    os.mkfifo(place / "pipe.yaml")
    (place / "device.yaml").symlink_to("/dev/zero")
    (place / "folder.yaml").mkdir()
    (place / "nothing.yaml").symlink_to(place / "gone")
    with (place / "huge.yaml").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    (place / "linked.yaml").symlink_to(project_file(folder, "kept.txt", id="linked"))
    one = follower(folder, finding)
    assert set(turn(one, NOON)) == {"air", "boiler", "linked"}
    told = told_of(one)
    assert "cannot be read" in told.pop("nothing.yaml")
    assert set(told) == {f"{name}.yaml" for name in ("pipe", "device", "folder", "huge")}
    assert all("is no plain file of at most" in what for what in told.values())


def test_a_file_that_is_no_project_is_not_read_every_turn(folder, finding, monkeypatch):
    read = []

    def reading(path):
        read.append(path.name)
        return load_project(path)

    monkeypatch.setattr(following, "load_project", reading)
    project_file(folder, "copy.yaml", id="air")
    bad = folder / "followed/broken.yaml"
    bad.write_text("id: 3")
    one = follower(folder, finding)
    for step in range(3):
        turn(one, NOON + step)
    assert sorted(read) == ["air.yaml", "boiler.yaml", "broken.yaml", "copy.yaml"]
    assert set(told_of(one)) == {"broken.yaml", "copy.yaml"}
    turn(one, NOON + AGAIN_US)
    assert read[4:] == ["broken.yaml"], "a disk may be in order again"
    bad.write_text("id: 4")
    turn(one, NOON + AGAIN_US + 1)
    assert read[5:] == ["broken.yaml"]
    (folder / "followed/copy.yaml").unlink()
    project_file(folder, "broken.yaml", id="broken")
    assert set(turn(one, NOON + AGAIN_US + 2)) == {"air", "boiler", "broken"}
    assert told_of(one) == {}


def test_a_change_that_keeps_time_and_size_is_seen(folder, finding):
    one = follower(folder, finding)
    turn(one, NOON)
    path = folder / "followed/air.yaml"
    before, status = path.read_text(), path.stat()
    path.write_text(before.replace("title: air", "title: sea"))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_size == status.st_size
    turn(one, NOON + 1)
    assert finding.asked == ["air", "boiler", "air"]


def test_a_mistake_of_the_program_in_reading_stops_no_other(folder, finding, monkeypatch):
    def reading(path):
        if path.stem == "air":
            raise ZeroDivisionError
        return load_project(path)

    monkeypatch.setattr(following, "load_project", reading)
    one = follower(folder, finding)
    assert turn(one, NOON) == {"boiler": "measured"}
    assert "by a mistake of the program" in told_of(one)["air.yaml"]


def test_a_stop_does_not_wait_until_a_whole_folder_is_read(folder, finding, monkeypatch):
    read, stop = [], threading.Event()

    def reading(path):
        read.append(path.name)
        stop.set()
        return load_project(path)

    monkeypatch.setattr(following, "load_project", reading)
    follower(folder, finding).turn(NOON, stop)
    assert read == ["air.yaml"]


def test_of_a_folder_with_too_many_files_some_are_followed_and_it_is_told(folder, finding):
    for k in range(MOST_FILES + 5):
        (folder / f"followed/c{k}.yaml").symlink_to(folder / "none")
    one = follower(folder, finding)
    assert set(turn(one, NOON)) == {"air", "boiler"}
    assert f"the first {MOST_FILES} are followed" in one._board.unfollowed[0].what
    assert len(one._board.unfollowed) == MOST_FILES - 2 + 1


@pytest.mark.parametrize(
    "long",
    [
        {"title": "x" * 5000},
        {"measure": {**plan_mapping()["measure"], "name": "x" * 5000}},
        {"drivers": [{**plan_mapping()["drivers"][0], "name": "x" * 5000}]},
        {"non_routine": [{**EVENT, "id": "x" * 300}]},
    ],
)
def test_a_plan_with_long_texts_is_followed(filled, long):
    path = project_file(filled, "long.yaml", **long)
    board = Board()

    def find(path, now_us, stop):
        del stop
        return calculated(gather(load_project(path)), now_us)

    Follower([path], filled / "long", board, find, None).turn(NOON, threading.Event())
    assert board.unfollowed == ()
    assert [(one.state, one.trouble) for one in board.projects.values()] == [("measured", None)]


def test_a_plan_that_is_changed_while_it_is_measured_is_not_shown_as_another(folder, finding):
    def find(path, now_us, stop):
        project_file(folder, "air.yaml", id="boiler", title="another plan")
        return {**finding(path, now_us, stop), "id": "boiler"}

    paths = [folder / "followed/air.yaml"]
    board = Board()
    one = Follower(paths, folder / "state", board, find, None)
    turn(one, NOON)
    assert board.projects["air"].trouble.code == "saving_unfinished"
    turn(one, NOON + 1)
    assert {name: found.trouble for name, found in board.projects.items()} == {"boiler": None}
