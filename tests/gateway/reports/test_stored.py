"""Reports in an object store: one report or the other, never a part of each."""

import secrets
import threading

import pytest

from joulemark_agent.contract.errors import StoreError
from joulemark_gateway.evidence.objects import Objects
from joulemark_gateway.reports.stored import FOLDER, KIND, LIST, Copies, copy, publish

NAMES = ("report.html", "report.json", "bundle.zip", "policy.json")
OLD, NEW = ({name: f"{name} {age}".encode() for name in NAMES} for age in ("old", "new"))


@pytest.fixture(params=["folder", "memory"])
def url(request, tmp_path):
    """A new place of each kind."""
    if request.param == "folder":
        return f"file://{tmp_path / 'store'}"
    return f"memory://{secrets.token_hex(4)}"


def objects_at(url):
    return Objects(url, KIND)


def held(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


class Killed(KeyboardInterrupt):
    """Ends a writer where it stands."""


def killed_after(objects, writes):
    """The same store, whose writer is killed once it has written so often."""
    left, write = iter(range(writes)), objects._write

    def counted(path, data):
        if next(left, None) is None:
            raise Killed
        write(path, data)

    objects._write = counted
    return objects


def one_by_one(objects, files):
    for name, data in files:
        objects.replace(name, data)


def test_what_was_published_is_copied_whole_and_once(url, tmp_path):
    folder = tmp_path / "copies" / "0"
    publish(objects_at(url), OLD)
    assert copy(objects_at(url), folder)
    assert held(folder) == OLD
    assert not copy(objects_at(url), folder)
    publish(objects_at(url), NEW)
    assert copy(objects_at(url), folder)
    assert held(folder) == NEW
    assert len([*folder.parent.iterdir()]) == 2, "the link, and what it names"


def test_a_writer_that_is_killed_anywhere_leaves_the_report_of_before(url, tmp_path):
    """The control puts plain files one after the other, and is found with a part of each."""
    for writes in range(len(NEW) + 1):
        place, folder = f"{url}/{writes}", tmp_path / "copies" / str(writes)
        publish(objects_at(place), OLD)
        with pytest.raises(Killed):
            publish(killed_after(objects_at(place), writes), NEW)
        copy(objects_at(place), folder)
        assert held(folder) == OLD
    publish(objects_at(place), NEW)
    copy(objects_at(place), folder)
    assert held(folder) == NEW
    mixed = 0
    for writes in range(len(NEW)):
        naive = killed_after(objects_at(f"{url}/naive/{writes}"), len(OLD) + writes)
        with pytest.raises(Killed):
            one_by_one(naive, [*OLD.items(), *NEW.items()])
        mixed += {name: naive.read(name) for name in NAMES} != OLD
    assert mixed == len(NEW) - 1, "control: only who was killed before the first left no mixture"


def test_a_copier_that_is_killed_anywhere_leaves_the_copy_of_before(url, tmp_path):
    folder = tmp_path / "copies" / "0"
    publish(objects_at(url), OLD)
    copy(objects_at(url), folder)
    publish(objects_at(url), NEW)
    for gets in range(len(NEW)):
        killed, left = objects_at(url), iter(range(gets))
        get = killed.get

        def counted(mark, left=left, get=get):
            if next(left, None) is None:
                raise Killed
            return get(mark)

        killed.get = counted
        with pytest.raises(Killed):
            copy(killed, folder)
        assert held(folder) == OLD
    assert copy(objects_at(url), folder)
    assert held(folder) == NEW


@pytest.mark.parametrize("harm", ["gone", "changed"])
def test_a_lost_object_leaves_the_copy_of_before(url, tmp_path, harm):
    folder, objects = tmp_path / "copies" / "0", objects_at(url)
    publish(objects, OLD)
    copy(objects, folder)
    publish(objects, NEW)
    path = objects._path(objects.put(NEW["bundle.zip"]).removeprefix(b"sha256:").decode())
    if harm == "gone":
        objects._files.rm_file(path)
    else:
        objects._files.pipe_file(path, b"another bundle")
    with pytest.raises(StoreError) as caught:
        copy(objects_at(url), folder)
    assert caught.value.code == "object_lost"
    assert held(folder) == OLD
    publish(objects, NEW)  # what is made again brings it back
    assert copy(objects_at(url), folder)
    assert held(folder) == NEW


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b'{"files":{"../evidence.sqlite":"' + b"0" * 64 + b'"},"v":1}',
        b'{"files":{".ssh":"' + b"0" * 64 + b'"},"v":1}',
        b'{"files":{"report.json":"../../etc/passwd"},"v":1}',
        b'{"files":{"report.json":7},"v":1}',
        b'{"files":{},"v":2}',
    ],
)
def test_a_list_that_is_none_is_refused_and_nothing_is_written(url, tmp_path, text):
    objects_at(url).replace(LIST, text)
    with pytest.raises(StoreError, match=r"no list of the files.*joulemark report") as caught:
        copy(objects_at(url), tmp_path / "copies" / "0")
    assert caught.value.code == "no_report"
    assert not (tmp_path / "copies").exists()


def test_where_nothing_was_published_it_is_said_how(url, tmp_path):
    publish(objects_at(f"{url}/another"), OLD)
    with pytest.raises(StoreError, match=r"There is no report at .* --out") as caught:
        copy(objects_at(url), tmp_path / "copies" / "0")
    assert caught.value.code == "no_report"


def test_one_report_that_cannot_be_had_holds_up_no_other(url, tmp_path, caplog):
    publish(objects_at(url), OLD)
    empty = f"memory://{secrets.token_hex(4)}"
    copies = Copies([empty, url], tmp_path)
    assert copies.folders == []
    for _ in range(2):
        copies.turn(threading.Event())
        [folder] = copies.folders
        assert held(folder) == OLD
        [trouble] = copies.troubles
        assert empty in trouble.what
    assert [row.getMessage() for row in caplog.records].count("report_not_copied") == 1
    publish(objects_at(empty), NEW)
    copies.turn(threading.Event())
    assert copies.troubles == []
    assert [held(one) for one in copies.folders] == [NEW, OLD]
    assert folder.parent == tmp_path / FOLDER
