"""The bytes that logs and witnesses exchange, and what a witness says to them. Pure.

The request of `add-checkpoint` has a line `old SIZE`, the hashes of a consistency proof, one a
line, an empty line, and the checkpoint as a signed note. Written to a file it is also what a
witness countersigns that no network reaches.

| answer | when |
|---|---|
| 200, cosignature lines | the checkpoint goes on from the one that was cosigned last |
| 400 | it is no such request, or its old size is above the new one |
| 403 | no key that is trusted for the log signed the checkpoint |
| 404 | the log is not known here |
| 409, a size | this is the size cosigned last, and not the old size; or the root of it differs |
| 422 | the consistency proof does not hold |

Source: C2SP/C2SP tlog-witness.md @ 055270b.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from joulemark_agent.contract.errors import EvidenceError
from joulemark_agent.contract.signature import (
    MAX_NOTE_BYTES,
    Checkpoint,
    cosigned_at,
    decode64,
    encode64,
    is_log_signed,
    parse_checkpoint,
    parse_note,
)
from joulemark_agent.contract.tree import EMPTY_ROOT
from joulemark_gateway.evidence.proof import is_consistent

PATH = "/add-checkpoint"
SIZE_TYPE = "text/x.tlog.size"
MOST_HASHES = 63
_END_OF_TIME_S = 2**37  # in the year 6325
MOST_BYTES = MAX_NOTE_BYTES + 64 * 50
OK, BAD_REQUEST, FORBIDDEN, NOT_FOUND, CONFLICT, UNPROCESSABLE = 200, 400, 403, 404, 409, 422
_OLD = re.compile(r"old (0|[1-9][0-9]{0,18})")
_SIZE = re.compile(r"(0|[1-9][0-9]{0,18})\n")
_COSIGNATURE = re.compile(r"— [^\n]+\n")


@dataclass(frozen=True)
class Request:
    """A checkpoint, and the proof that it goes on from one of an old size."""

    old: int
    path: tuple[bytes, ...]
    note: str

    @property
    def head(self) -> Checkpoint:
        """What the note says."""
        return parse_checkpoint(parse_note(self.note)[0])

    def text(self) -> str:
        """The body of the request."""
        lines = [f"old {self.old}", *map(encode64, self.path), ""]
        return "".join(f"{line}\n" for line in lines) + self.note


@dataclass(frozen=True)
class Refusal:
    """Why a witness does not cosign, and the size it holds where that is the reason."""

    status: int
    why: str
    size: int | None = None


def parse_request(data: bytes) -> Request:
    """The request in these bytes.

    Raises:
        EvidenceError: `bad_request`, `bad_note` or `bad_base64`.
    """
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise _bad("it is not UTF-8") from error
    proof, parted, note = text.partition("\n\n")
    old, *lines = proof.split("\n")
    match = _OLD.fullmatch(old)
    if match is None or not parted or len(data) > MOST_BYTES:
        raise _bad("it does not begin with a line 'old SIZE' and a proof")
    if len(lines) > MOST_HASHES:
        raise _bad(f"its proof has {len(lines)} hashes; {MOST_HASHES} are the most")
    path = tuple(decode64(line) for line in lines)
    if any(len(node) != 32 for node in path):
        raise _bad("a hash of its proof has not 32 bytes")
    request = Request(int(match[1]), path, note)
    if request.old > request.head.size:
        raise _bad(f"its old size {request.old} is above the new one")
    return request


def objection(
    request: Request, keys: Mapping[str, Sequence[bytes]], held: Checkpoint | None
) -> Refusal | None:
    """Why the checkpoint must not be cosigned; None: it may.

    Args:
        request: what is asked.
        keys: the keys (32 bytes) that are trusted, by origin of the log.
        held: what was cosigned last for this log; None: nothing yet.
    """
    head = request.head
    if head.origin not in keys:
        return Refusal(NOT_FOUND, f"the log {head.origin!r} is not known here")
    if not any(is_log_signed(request.note, key) for key in keys[head.origin]):
        return Refusal(FORBIDDEN, "no key that is trusted for the log signed the checkpoint")
    before = held or Checkpoint(head.origin, 0, EMPTY_ROOT)
    if request.old != before.size:
        why = f"the checkpoint cosigned last has {before.size} leaves"
        return Refusal(CONFLICT, why, before.size)
    if head.size == before.size and head.root != before.root:
        why = f"another root of {before.size} leaves was cosigned: the log is forked"
        return Refusal(CONFLICT, why, before.size)
    if not is_consistent(before.size, before.root, head.size, head.root, request.path):
        why = f"the proof from {before.size} to {head.size} leaves does not hold"
        return Refusal(UNPROCESSABLE, why)
    return None


def is_fork(refusal: Refusal, request: Request) -> bool:
    """Whether the refused checkpoint proves that its log was rewritten: one size, two roots.

    A proof that does not hold proves nothing: anybody may send one with a true checkpoint.
    """
    return refusal.status == CONFLICT and refusal.size == request.old


def cosignature_of(note: str, answer: str, name: str, keys: Sequence[bytes]) -> str | None:
    """The line with which the witness cosigned the note, out of its answer; None: there is none.

    One of a time that no calendar has is none: reports print the time.

    Args:
        note: as it was sent.
        answer: lines of signatures, of which those of other keys are ignored.
        name: of the witness.
        keys: its public keys, 32 bytes each.
    """
    for line in _COSIGNATURE.findall(answer):
        try:
            times = [cosigned_at(note + line, name, key) for key in keys]
            if any(time_s is not None and time_s < _END_OF_TIME_S for time_s in times):
                return str(line)
        except EvidenceError:
            continue
    return None


def parse_size(answer: str) -> int | None:
    """The size in the body of a 409; None: it says none."""
    match = _SIZE.fullmatch(answer)
    return int(match[1]) if match else None


def _bad(why: str) -> EvidenceError:
    return EvidenceError(
        f"This is not a request for a cosignature: {why}.",
        "Make it again with 'joulemark collector head'.",
        code="bad_request",
    )
