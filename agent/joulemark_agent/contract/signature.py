"""Ed25519 keys, C2SP signed notes, checkpoints and cosignatures.

Sources: RFC 8032; C2SP/C2SP signed-note.md @ 0552876, tlog-checkpoint.md @ 2793893,
tlog-cosignature.md @ 01194db.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)

from joulemark_agent.contract.errors import EvidenceError

LOG_SIGNATURE = 0x01  # Ed25519 signature of a log over its own checkpoint
COSIGNATURE = 0x04  # timestamped Ed25519 signature of a witness
MAX_NOTE_BYTES = 64 * 1024
MAX_SIGNATURES = 16
MAX_SIZE = 2**63 - 1  # of a tree: larger than any, and what databases count to
_KEY_BYTES = 32
_SIGNATURE_BYTES = 64
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f]")  # a line break parts lines
_SIGNATURE_LINE = re.compile(r"— ([^\s+]+) ([A-Za-z0-9+/]+={0,2})\n")


@dataclass(frozen=True)
class NoteSignature:
    """One signature line of a note: who says so, with which key, and the bytes after the key id."""

    name: str
    key_id: bytes
    body: bytes


@dataclass(frozen=True)
class Checkpoint:
    """A tree head: which log, how many leaves, which root (32 bytes)."""

    origin: str
    size: int
    root: bytes


class HeldKey(bytes):
    """A private key that stays where it is held, such as a security chip: empty, as bytes.

    What only signs takes it like any other; what wants its bytes finds that they are no key.
    """

    public: bytes
    sign: Callable[[bytes], bytes]

    def __new__(cls, public: bytes, sign: Callable[[bytes], bytes]) -> Self:
        """The key of which the public half is known, and how to have it sign."""
        made = super().__new__(cls)
        made.public, made.sign = public, sign
        return made


def new_private_key() -> bytes:
    """A fresh Ed25519 private key (32 bytes)."""
    return Ed25519PrivateKey.generate().private_bytes_raw()


def public_key(private_key: bytes) -> bytes:
    """The public key (32 bytes) of a private key (32 bytes, or held elsewhere)."""
    if isinstance(private_key, HeldKey):
        return private_key.public
    return _made_ready(private_key)[1]


def sign(private_key: bytes, message: bytes) -> bytes:
    """The Ed25519 signature (64 bytes) over the message."""
    if isinstance(private_key, HeldKey):
        return private_key.sign(message)
    return _made_ready(private_key)[0].sign(message)


@lru_cache(maxsize=4)
def _made_ready(private_key: bytes) -> tuple[Ed25519PrivateKey, bytes]:
    """The key and its public half: to make them from the bytes costs more than to sign."""
    key = Ed25519PrivateKey.from_private_bytes(private_key)
    return key, key.public_key().public_bytes_raw()


def is_signed_by(key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether the signature is the public key's over exactly this message."""
    if len(key) != _KEY_BYTES or len(signature) != _SIGNATURE_BYTES:
        return False
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def encode64(data: bytes) -> str:
    """Standard base64 with padding."""
    return base64.b64encode(data).decode()


def decode64(text: str) -> bytes:
    """The bytes of standard base64 in its one canonical form.

    Raises:
        EvidenceError: foreign characters, missing padding or non-zero pad bits.
    """
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise EvidenceError(
            f"{text[:40]!r} is not base64: {error}.",
            "The text was damaged; take it from its source again.",
            code="bad_base64",
        ) from error
    if encode64(data) != text:
        raise EvidenceError(
            f"{text[:40]!r} is base64 in a non-canonical form.",
            "The text was rewritten; take it from its source again.",
            code="bad_base64",
        )
    return data


def fingerprint(key: bytes) -> str:
    """What two people compare: the first 16 bytes of SHA-256 of the public key, in groups of 4."""
    text = hashlib.sha256(key).hexdigest()[:32]
    return " ".join(text[i : i + 4] for i in range(0, 32, 4))


def key_id(name: str, kind: int, key: bytes) -> bytes:
    """First 4 bytes of SHA-256(name || 0x0A || kind || public key)."""
    return hashlib.sha256(name.encode() + b"\n" + bytes([kind]) + key).digest()[:4]


def checkpoint_text(checkpoint: Checkpoint) -> str:
    """The note text of a checkpoint: origin, size and root, one a line."""
    return f"{checkpoint.origin}\n{checkpoint.size}\n{encode64(checkpoint.root)}\n"


def parse_checkpoint(text: str) -> Checkpoint:
    """The checkpoint of a note text; extension lines are refused.

    Raises:
        EvidenceError: another number of lines, a size with leading zeros or that no tree has, a
            root of other length.
    """
    lines = text.split("\n")
    if len(lines) != 4 or lines[3] or not lines[0]:
        raise _bad_note("a checkpoint has three lines: origin, size, root")
    origin, size, root = lines[:3]
    if not re.fullmatch(r"0|[1-9][0-9]{0,18}", size) or int(size) > MAX_SIZE:
        raise _bad_note(f"the tree size {size[:40]!r} is not a plain decimal up to {MAX_SIZE}")
    data = decode64(root)
    if len(data) != 32:
        raise _bad_note(f"the root has {len(data)} bytes, not 32")
    return Checkpoint(origin, int(size), data)


def sign_checkpoint(private_key: bytes, checkpoint: Checkpoint) -> str:
    """The checkpoint as a note signed by its log; the key's name is the origin."""
    text = checkpoint_text(checkpoint)
    kid = key_id(checkpoint.origin, LOG_SIGNATURE, public_key(private_key))
    return f"{text}\n{_line(checkpoint.origin, kid + sign(private_key, text.encode()))}"


def cosign(private_key: bytes, name: str, note: str, time_s: int) -> str:
    """The note with a witness's timestamped cosignature added (cosignature/v1)."""
    text, signatures = parse_note(note)
    if len(signatures) >= MAX_SIGNATURES:
        raise _bad_note(f"the note already has {len(signatures)} signatures")
    kid = key_id(name, COSIGNATURE, public_key(private_key))
    body = struct.pack(">Q", time_s) + sign(private_key, _cosigned_bytes(text, time_s))
    return note + _line(name, kid + body)


def parse_note(note: str) -> tuple[str, list[NoteSignature]]:
    """The text of a note, ending in a newline, and its signature lines.

    Raises:
        EvidenceError: not in the form of C2SP signed-note.
    """
    if len(note.encode(errors="replace")) > MAX_NOTE_BYTES:
        raise _bad_note(f"it is longer than {MAX_NOTE_BYTES} bytes")
    if _CONTROL.search(note):
        raise _bad_note("it holds a control character")
    text, found, tail = note.rpartition("\n\n")
    if not found or not text or not tail:
        raise _bad_note("an empty line must part the text from the signatures")
    signatures = []
    position = 0
    while position < len(tail):
        match = _SIGNATURE_LINE.match(tail, position)
        if match is None:
            raise _bad_note("a signature line is not 'em dash, name, base64'")
        data = decode64(match[2])
        if len(data) < 5:
            raise _bad_note("a signature is shorter than its key id")
        signatures.append(NoteSignature(match[1], data[:4], data[4:]))
        position = match.end()
    if len(signatures) > MAX_SIGNATURES:
        raise _bad_note(f"it has more than {MAX_SIGNATURES} signatures")
    return text + "\n", signatures


def is_log_signed(note: str, key: bytes) -> bool:
    """Whether the checkpoint note carries the signature of its origin's log key."""
    text, signatures = parse_note(note)
    origin = text.split("\n", 1)[0]
    kid = key_id(origin, LOG_SIGNATURE, key)
    mine = [s for s in signatures if (s.name, s.key_id) == (origin, kid)]
    return bool(mine) and all(is_signed_by(key, text.encode(), s.body) for s in mine)


def cosigned_at(note: str, name: str, key: bytes) -> int | None:
    """POSIX seconds at which the witness cosigned the note; None where it did not, or wrongly."""
    text, signatures = parse_note(note)
    kid = key_id(name, COSIGNATURE, key)
    mine = [s for s in signatures if (s.name, s.key_id) == (name, kid)]
    if not mine:
        return None
    times = []
    for signature in mine:
        if len(signature.body) != 8 + _SIGNATURE_BYTES:
            return None
        (time_s,) = struct.unpack(">Q", signature.body[:8])
        if not is_signed_by(key, _cosigned_bytes(text, time_s), signature.body[8:]):
            return None
        times.append(int(time_s))
    return max(times)


def _cosigned_bytes(text: str, time_s: int) -> bytes:
    return f"cosignature/v1\ntime {time_s}\n{text}".encode()


def _line(name: str, data: bytes) -> str:
    return f"— {name} {encode64(data)}\n"


def _bad_note(why: str) -> EvidenceError:
    return EvidenceError(
        f"This is not a signed note: {why}.",
        "It was damaged or not written by Joulemark; take it from its source again.",
        code="bad_note",
    )
