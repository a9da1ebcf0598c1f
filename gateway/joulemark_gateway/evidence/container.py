"""The one ZIP form a bundle may have: the same members always give the same bytes.

Stored members only, names sorted, one fixed time stamp, no extra fields, no comments. Any ZIP tool
opens it. The reader takes the members from their local headers, writes the file anew and refuses
whatever differs, so no byte of the container goes unchecked and nothing can hide between members.

Layout: PKWARE APPNOTE 6.3.10, sections 4.3.7 (local header), 4.3.12 (directory), 4.3.16 (end).
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Mapping

from joulemark_agent.contract.errors import EvidenceError

MAX_MEMBERS = 4096
MAX_BYTES = 256 * 1024 * 1024
MAX_NAME = 200
_NAME = re.compile(r"[a-z0-9_-][a-z0-9._-]*(?:/[a-z0-9_-][a-z0-9._-]*)*")
_LOCAL, _CENTRAL, _END = struct.Struct("<4s5H3I2H"), struct.Struct("<4s6H3I5H2I"), "<4s4H2IH"
_LOCAL_MARK, _CENTRAL_MARK, _END_MARK = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
_NEEDED, _MADE_BY = 10, 3 << 8 | 10  # version 1.0; made on Unix, so that the mode is read
_TIME, _DATE = 0, 1 << 5 | 1  # 1980-01-01 00:00, the first a ZIP file can say
_MODE = 0o100644 << 16  # a regular file, read by all


def container_bytes(members: Mapping[str, bytes]) -> bytes:
    """The ZIP file of these members.

    Raises:
        EvidenceError: `bad_container`: a name that is not plain, too many members or bytes.
    """
    _check_names(members)
    parts: list[bytes] = []
    directory: list[bytes] = []
    offset = 0
    for name in sorted(members):
        data, label = members[name], name.encode("ascii")
        what = (0, 0, _TIME, _DATE, zlib.crc32(data), len(data), len(data), len(label), 0)
        local = _LOCAL.pack(_LOCAL_MARK, _NEEDED, *what) + label
        entry = _CENTRAL.pack(_CENTRAL_MARK, _MADE_BY, _NEEDED, *what, 0, 0, 0, _MODE, offset)
        parts += [local, data]
        directory.append(entry + label)
        offset += len(local) + len(data)
    if offset > MAX_BYTES:
        raise _bad(f"its members have {offset} bytes; {MAX_BYTES} are the most")
    entries = b"".join(directory)
    count = len(members)
    end = struct.pack(_END, _END_MARK, 0, 0, count, count, len(entries), offset, 0)
    return b"".join([*parts, entries, end])


def read_container(data: bytes) -> dict[str, bytes]:
    """The members of a container, in the order of their names.

    Raises:
        EvidenceError: `bad_container`: anything that is not exactly what `container_bytes` writes.
    """
    if len(data) > MAX_BYTES:
        raise _bad(f"it has {len(data)} bytes; {MAX_BYTES} are the most")
    members: dict[str, bytes] = {}
    offset = 0
    while data[offset : offset + 4] == _LOCAL_MARK and len(members) < MAX_MEMBERS:
        start = offset + _LOCAL.size
        if start > len(data):
            raise _bad("it ends inside a header")
        size, name_size = _LOCAL.unpack_from(data, offset)[7], _LOCAL.unpack_from(data, offset)[9]
        end = start + name_size + size
        label = data[start : start + name_size]
        if end > len(data) or not label.isascii():
            raise _bad("a header does not fit the file")
        members[label.decode("ascii")] = data[start + name_size : end]
        offset = end
    if not members or container_bytes(members) != data:
        raise _bad("it is not in the one form that Joulemark writes")
    return members


def _check_names(members: Mapping[str, bytes]) -> None:
    if len(members) > MAX_MEMBERS:
        raise _bad(f"it has {len(members)} members; {MAX_MEMBERS} are the most")
    for name in members:
        if len(name) > MAX_NAME or not _NAME.fullmatch(name):
            raise _bad(f"the name {name[:80]!r} is not made of plain parts")
        parts = name.split("/")
        if any("/".join(parts[:i]) in members for i in range(1, len(parts))):
            raise _bad(f"{name!r} lies inside another file")


def _bad(why: str) -> EvidenceError:
    return EvidenceError(
        f"This is not the container of a bundle: {why}.",
        "Take the bundle from its source again, and do not repack it.",
        code="bad_container",
    )
