"""The container has one form: every tool opens it, and no byte of it can change unnoticed."""

import io
import struct
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulemark_agent.contract.errors import EvidenceError
from joulemark_gateway.evidence import container
from joulemark_gateway.evidence.container import container_bytes, read_container

MEMBERS = {
    "readme.txt": b"hello\n",
    "a/b/c.json": b"{}",
    "empty": b"",
    "a/b/d.gz": bytes(range(256)),
}
names = st.from_regex(
    r"[a-z0-9_-][a-z0-9._-]{0,8}(/[a-z0-9_-][a-z0-9._-]{0,8}){0,3}", fullmatch=True
)


def is_refused(data):
    with pytest.raises(EvidenceError) as caught:
        read_container(data)
    return caught.value.code == "bad_container"


def test_any_zip_tool_opens_it():
    with zipfile.ZipFile(io.BytesIO(container_bytes(MEMBERS))) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == MEMBERS
        assert archive.namelist() == sorted(MEMBERS)
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert {info.external_attr >> 16 for info in archive.infolist()} == {0o100644}


@given(st.dictionaries(names, st.binary(max_size=64), min_size=1, max_size=8))
def test_what_is_written_is_read_and_order_does_not_matter(members):
    try:
        data = container_bytes(members)
    except EvidenceError:
        return  # a file inside a file
    assert read_container(data) == members
    assert container_bytes(dict(reversed(members.items()))) == data


def test_every_flipped_bit_outside_the_data_is_refused_and_inside_gives_other_members():
    data = container_bytes(MEMBERS)
    unnoticed = []
    for i in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[i // 8] ^= 1 << i % 8
        try:
            if read_container(bytes(damaged)) == MEMBERS:
                unnoticed.append(i)
        except EvidenceError:
            continue
    assert unnoticed == []


def test_a_flipped_bit_of_data_breaks_its_checksum():
    data = container_bytes(MEMBERS)
    assert is_refused(data.replace(b"hello", b"hellp"))


@pytest.mark.parametrize("cut", [0, 1, 3, 10, 21, 29, 40, -1])
def test_a_cut_file_is_refused(cut):
    assert is_refused(container_bytes(MEMBERS)[:cut])


def test_bytes_after_the_end_or_before_the_start_are_refused():
    data = container_bytes(MEMBERS)
    assert is_refused(data + b"\0")
    assert is_refused(b"\0" + data)


def test_a_zip_written_by_another_tool_is_refused():
    """Deflated, stamped, commented: it may hold the same members and still is not ours."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(MEMBERS):
            archive.writestr(name, MEMBERS[name])
    assert is_refused(buffer.getvalue())


HOSTILE = ["../up", "a/../b", "/root", "a//b", "a/", "", ".", "..", ".hidden", "a/.b", "A", "a b"]
HOSTILE += ["a\\b", "c:x", "a\0b", "a\nb", "x" * 201, "a:b", "con*", "~"]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_that_is_not_plain_is_neither_written_nor_read(name, monkeypatch):
    with pytest.raises(EvidenceError, match="not made of plain parts"):
        container_bytes({name: b""})
    with monkeypatch.context() as without_rule:
        without_rule.setattr(container, "_check_names", lambda _members: None)
        data = container_bytes({name: b""})
        assert read_container(data) == {name: b""}, "the form is right, only the name is not"
    assert is_refused(data)


def test_a_name_twice_is_refused():
    """Two members of one name: the second hides the first from most readers."""
    one = container_bytes({"a": b"1", "b": b"2"})
    assert is_refused(one.replace(b"b", b"a"))


def test_a_file_inside_a_file_is_refused():
    with pytest.raises(EvidenceError, match="lies inside another file"):
        container_bytes({"a": b"", "a/b": b""})


def test_members_are_counted(monkeypatch):
    data = container_bytes({str(i): b"" for i in range(9)})
    monkeypatch.setattr(container, "MAX_MEMBERS", 8)
    assert is_refused(data)
    monkeypatch.setattr(container, "MAX_MEMBERS", 9)
    assert len(read_container(data)) == 9


def test_bytes_are_counted_and_a_size_that_lies_is_refused(monkeypatch):
    data = container_bytes({"a": b"12345678"})
    lies = bytearray(data)
    struct.pack_into("<I", lies, 22, 2**32 - 1)
    assert is_refused(bytes(lies))
    monkeypatch.setattr(container, "MAX_BYTES", 60)
    assert is_refused(data)
