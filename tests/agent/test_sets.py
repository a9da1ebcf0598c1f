"""Sets come whole, newest and from whom they should, or not at all."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import joulemark_profiles
from joulemark_agent.cli import main
from joulemark_agent.contract.errors import ConfigError, EvidenceError

pytest.importorskip("tuf", reason="the extra [sets] is not installed")
from joulemark_agent.sets.fetch import fetch
from joulemark_agent.sets.publish import publish

NOW = datetime.now(UTC)


class Publisher:
    """A publisher's folders, and what it hands out."""

    def __init__(self, folder: Path) -> None:
        self.sets, self.keys, self.out = (folder / name for name in ("sets", "keys", "out"))
        self.put("factors/korea.yaml", joulemark_profiles.text("factors", "korea"))
        self.put("devices/meter.yaml", joulemark_profiles.text("devices", "eastron_sdm630"))

    def put(self, name: str, text: str) -> None:
        path = self.sets / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def publish(self, now: datetime = NOW, replaced: str | None = None) -> None:
        publish(self.sets, self.keys, self.out, now, replaced=replaced)

    def change(self) -> None:
        """Another edition of the factors."""
        text = joulemark_profiles.text("factors", "korea")
        self.put("factors/korea.yaml", text + f"# edition {len(list(self.metadata.iterdir()))}\n")

    @property
    def metadata(self) -> Path:
        return self.out / "metadata"

    @property
    def root(self) -> bytes:
        return (self.metadata / "1.root.json").read_bytes()


@pytest.fixture
def publisher(tmp_path):
    made = Publisher(tmp_path / "publisher")
    made.publish()
    return made


@pytest.fixture
def reader(tmp_path, publisher):
    """A folder that has the first edition."""
    fetch(str(publisher.out), publisher.root, tmp_path / "reader")
    return tmp_path / "reader"


def _korea(folder: Path) -> str:
    return (folder / "factors" / "korea.yaml").read_text()


def _refused(publisher: Publisher, reader: Path, why: str) -> None:
    before = {path: path.read_bytes() for path in reader.glob("*/*.yaml")}
    with pytest.raises(EvidenceError, match=why) as caught:
        fetch(str(publisher.out), None, reader)
    assert caught.value.code == "set_refused"
    assert {path: path.read_bytes() for path in reader.glob("*/*.yaml")} == before


def test_sets_arrive_as_they_were_published(publisher, reader):
    assert _korea(reader) == _korea(publisher.sets)
    assert (reader / "devices" / "meter.yaml").exists()


def test_a_new_edition_replaces_the_old_one_and_says_so(publisher, reader):
    publisher.change()
    publisher.publish()
    done = fetch(str(publisher.out), None, reader)
    assert done.changed == ("factors/korea.yaml",)
    assert _korea(reader) == _korea(publisher.sets)


def test_an_older_edition_is_refused(tmp_path, publisher, reader):
    shutil.copytree(publisher.out, tmp_path / "old")
    publisher.change()
    publisher.publish()
    fetch(str(publisher.out), None, reader)
    shutil.rmtree(publisher.out)
    shutil.move(tmp_path / "old", publisher.out)
    _refused(publisher, reader, "older than what was fetched before")


def test_control_without_versions_the_older_edition_would_be_taken(tmp_path, publisher):
    """Every file of the old edition is truly signed: a signature alone says nothing of its age."""
    shutil.copytree(publisher.out, tmp_path / "old")
    publisher.change()
    publisher.publish()
    done = fetch(str(tmp_path / "old"), publisher.root, tmp_path / "who never fetched before")
    assert done.version == 1


def test_a_frozen_source_is_refused_when_its_word_has_expired(tmp_path):
    frozen = Publisher(tmp_path / "frozen")
    frozen.publish(NOW - timedelta(days=13))
    fetch(str(frozen.out), frozen.root, tmp_path / "in time")
    late = Publisher(tmp_path / "late")
    late.publish(NOW - timedelta(days=15))
    with pytest.raises(EvidenceError, match="expired"):
        fetch(str(late.out), late.root, tmp_path / "too late")


def test_only_part_of_an_edition_is_refused(publisher, reader):
    shutil.copy(publisher.metadata / "timestamp.json", publisher.out / "old")
    publisher.change()
    publisher.publish()
    shutil.copy(publisher.metadata / "1.snapshot.json", publisher.metadata / "2.snapshot.json")
    _refused(publisher, reader, "refused")


def test_a_changed_set_is_refused(publisher, reader):
    publisher.change()
    publisher.publish()
    for path in (publisher.out / "targets" / "factors").glob("*.yaml"):
        path.write_bytes(path.read_bytes().replace(b"0.4", b"0.3"))
    _refused(publisher, reader, "not the one that was signed")


def test_somebody_elses_sets_are_refused(tmp_path, reader):
    other = Publisher(tmp_path / "other")
    other.publish()
    other.change()
    other.publish()
    _refused(other, reader, "too few of the keys")


def test_a_list_signed_with_another_key_is_refused(tmp_path, publisher, reader):
    other = Publisher(tmp_path / "other")
    other.publish()
    publisher.change()
    publisher.publish()
    good = json.loads((publisher.metadata / "2.targets.json").read_text())
    forged = json.loads((other.metadata / "1.targets.json").read_text())
    good["signatures"] = forged["signatures"]
    (publisher.metadata / "2.targets.json").write_text(json.dumps(good))
    _refused(publisher, reader, "too few of the keys")


@pytest.mark.parametrize("key", ["root", "targets", "online"])
def test_a_replaced_key_is_followed(publisher, reader, key):
    publisher.change()
    publisher.publish(replaced=key)
    assert fetch(str(publisher.out), None, reader).changed == ("factors/korea.yaml",)


def test_the_key_of_the_root_is_kept_elsewhere_until_it_is_needed(tmp_path, publisher, reader):
    (publisher.keys / "root.key").rename(tmp_path / "safe")
    publisher.change()
    publisher.publish()
    assert fetch(str(publisher.out), None, reader).changed == ("factors/korea.yaml",)
    with pytest.raises(ConfigError, match=r"root\.key"):
        publisher.publish(replaced="online")
    assert not list(publisher.keys.glob("*.*.key")), "nothing was replaced"
    with pytest.raises(ConfigError, match=r"root\.key"):
        publisher.publish(NOW + timedelta(days=200))  # the root is due
    (tmp_path / "safe").rename(publisher.keys / "root.key")
    publisher.publish(replaced="online")
    assert fetch(str(publisher.out), None, reader).changed == ()


def test_who_only_says_that_the_list_is_still_the_newest_needs_no_other_key(publisher, reader):
    """Where that is done every few days by a machine, a thief of its key can name no set."""
    (publisher.keys / "root.key").rename(publisher.keys / "root.away")
    (publisher.keys / "targets.key").rename(publisher.keys / "targets.away")
    publisher.publish(NOW + timedelta(days=10))
    done = fetch(str(publisher.out), None, reader)
    assert (done.version, done.changed) == (1, ())
    publisher.change()
    with pytest.raises(ConfigError, match=r"targets\.key"):
        publisher.publish()
    (publisher.keys / "targets.away").rename(publisher.keys / "targets.key")
    publisher.publish()
    assert fetch(str(publisher.out), None, reader).changed == ("factors/korea.yaml",)


def test_the_replaced_key_counts_no_more(publisher, reader):
    publisher.publish(replaced="targets")
    fetch(str(publisher.out), None, reader)
    publisher.change()
    shutil.copy(publisher.keys / "targets.1.key", publisher.keys / "targets.key")
    with pytest.raises(ConfigError, match="not the key that the root"):
        publisher.publish()


def test_a_set_that_cannot_be_used_is_not_published(publisher):
    publisher.put("factors/korea.yaml", "factors: nonsense\n")
    with pytest.raises(ConfigError):
        publisher.publish()


def test_without_a_root_nothing_is_trusted(tmp_path, publisher):
    with pytest.raises(ConfigError, match="Nothing says yet whose sets are trusted"):
        fetch(str(publisher.out), None, tmp_path / "new")


@pytest.mark.parametrize("source", ["http://192.0.2.1/sets", "file:///etc", "ftp://192.0.2.1"])
def test_other_ways_to_fetch_are_refused(tmp_path, publisher, source):
    with pytest.raises(ConfigError, match="not fetched from"):
        fetch(source, publisher.root, tmp_path / "new")


def test_the_commands_say_what_happened(tmp_path, publisher, capsys):
    root = publisher.metadata / "1.root.json"
    into = tmp_path / "into"
    words = ["agent", "sets", "fetch", str(publisher.out), "--into", str(into)]
    assert main([*words, "--root", str(root)]) == 0
    assert "changed" in capsys.readouterr().out
    assert main(words) == 0
    assert "unchanged" in capsys.readouterr().out
    folders = [str(publisher.sets), "--keys", str(publisher.keys), "--out", str(publisher.out)]
    assert main(["agent", "sets", "publish", *folders]) == 0
    assert "version     1 of 2 sets" in capsys.readouterr().out
