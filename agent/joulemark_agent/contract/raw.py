"""Raw records that are asked for later: the request of a collector, and the file of an export.

A request names the leaves it wants and is signed by the collector's key over its canonical JSON.
An export is a gzip file of lines: its format, then batch after batch as canonical JSON. Neither
proves anything by itself: leaves are those of the tree if they hash to its cosigned heads.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from joulemark_agent.contract.batch import Batch, batch_of, parse_u64, plain_bytes
from joulemark_agent.contract.canonical import canonical_bytes, parse_canonical
from joulemark_agent.contract.errors import ConfigError, EvidenceError
from joulemark_agent.contract.packed import unpacked
from joulemark_agent.contract.signature import decode64, encode64, is_signed_by, sign
from joulemark_agent.contract.topics import origin, parse_origin

VERSION = 1
FORMAT = "joulemark-raw/1"
MAX_REQUEST_BYTES = 4096
MAX_FILE_BYTES = 512 * 1024 * 1024  # unpacked
_KIND = "raw_request"
_ID = re.compile(r"[0-9a-f]{32}")
_FIELDS = {"asked_us", "by", "first_seq", "from_us", "id", "last_seq", "origin", "to_us"}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class RawRequest:
    """Who asks for which leaves of a tree; the times are for people. [us UTC]"""

    id: str  # 32 hexadecimal digits, new for every request
    origin: str
    first_seq: int
    last_seq: int
    from_us: int
    to_us: int
    asked_us: int
    by: str  # the collector's name

    @property
    def place(self) -> tuple[str, str, int]:
        """Site, device and epoch of the tree."""
        return parse_origin(self.origin)

    def content(self) -> dict[str, Any]:
        """What is signed."""
        return {
            "asked_us": str(self.asked_us),
            "by": self.by,
            "first_seq": str(self.first_seq),
            "from_us": str(self.from_us),
            "id": self.id,
            "last_seq": str(self.last_seq),
            "origin": self.origin,
            "to_us": str(self.to_us),
            "type": _KIND,
            "v": VERSION,
        }


def is_request_id(text: str) -> bool:
    """Whether the text may name a request: 32 hexadecimal digits."""
    return _ID.fullmatch(text) is not None


def signed_request(request: RawRequest, private_key: bytes) -> bytes:
    """The request as it is published, signed with the collector's key."""
    content = request.content()
    signature = sign(private_key, canonical_bytes(content))
    return canonical_bytes({"request": content, "signature": encode64(signature)})


def parse_request(data: bytes, key: bytes) -> RawRequest:
    """The request in these bytes, if the key signed it.

    Raises:
        EvidenceError: `bad_request`, or `bad_signature`.
    """
    whole = parse_canonical(data) if len(data) <= MAX_REQUEST_BYTES else None
    if not isinstance(whole, dict) or set(whole) != {"request", "signature"}:
        raise _bad("it is no request for raw records")
    content, signature = whole["request"], whole["signature"]
    if not isinstance(content, dict) or set(content) != _FIELDS | {"type", "v"}:
        raise _bad("its fields are not those of a request")
    if (content["type"], content["v"]) != (_KIND, VERSION) or not isinstance(signature, str):
        raise _bad(f"it is not of version {VERSION}")
    request = _request(content)
    if not is_signed_by(key, canonical_bytes(content), decode64(signature)):
        raise _bad("the collector that this agent knows did not sign it", "bad_signature")
    return request


def _request(content: Mapping[str, Any]) -> RawRequest:
    texts = [content[name] for name in ("id", "origin", "by")]
    if not all(isinstance(text, str) for text in texts) or not is_request_id(content["id"]):
        raise _bad("its id, origin or author is no such text")
    numbers = {
        name: parse_u64(content[name], name)
        for name in ("first_seq", "last_seq", "from_us", "to_us", "asked_us")
    }
    if origin(*parse_origin(content["origin"])) != content["origin"]:
        raise _bad("its origin has another form")
    if numbers["first_seq"] > numbers["last_seq"]:
        raise _bad(f"it asks for leaves {numbers['first_seq']} to {numbers['last_seq']}")
    return RawRequest(content["id"], content["origin"], by=content["by"], **numbers)


def instant_us(text: str) -> int:
    """The instant that a person wrote, with its offset from UTC: 2026-11-23T09:00:00+09:00. [us]

    Raises:
        ConfigError: it is none, or lies before 1970.
    """
    try:
        instant = datetime.fromisoformat(text)
        is_instant = instant.tzinfo is not None and instant >= _EPOCH
    except ValueError:
        is_instant = False
    if not is_instant:
        raise ConfigError(
            f"{text[:40]!r} is no instant.", "Write one with its offset: 2026-11-23T09:00:00+09:00."
        )
    return (instant - _EPOCH) // timedelta(microseconds=1)


def raw_file(batches: Iterable[Batch]) -> bytes:
    """The export of these batches; the same batches always give the same lines."""
    lines = [canonical_bytes({"format": FORMAT}), *map(plain_bytes, batches)]
    return gzip.compress(b"".join(line + b"\n" for line in lines), compresslevel=6, mtime=0)


def parse_raw_file(data: bytes) -> list[Batch]:
    """The batches of an export, their form checked; whether they fit a tree is checked elsewhere.

    Raises:
        EvidenceError: `bad_raw_file`, or what `batch_of` says of one of its lines.
    """
    try:
        plain = unpacked(data, MAX_FILE_BYTES)
    except ValueError as error:
        raise _bad(str(error), "bad_raw_file") from error
    head, *lines = plain.split(b"\n")
    if head != canonical_bytes({"format": FORMAT}) or not lines or lines.pop():
        raise _bad(f"it is no file of the format {FORMAT!r}", "bad_raw_file")
    return [batch_of(line) for line in lines]


def _bad(why: str, code: str = "bad_request") -> EvidenceError:
    return EvidenceError(
        f"These are no raw records, and no request for any, that can be used: {why}.",
        "Take them from their source again, and look for who sent them.",
        code=code,
    )
