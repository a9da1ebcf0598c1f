"""A change of an agent's key within a tree: one leaf that the old key and the new key sign.

    {"type": "key_rotation", "old_key", "new_key", "old_signature", "new_signature", ...}

Both sign the canonical bytes of type, version, place (site, device, epoch, leaf) and both keys, so
the statement fits one place of one tree only. Every head that covers the leaf is the new key's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from joulemark_agent.contract.batch import parse_u64
from joulemark_agent.contract.canonical import canonical_bytes, parse_canonical
from joulemark_agent.contract.errors import EvidenceError
from joulemark_agent.contract.signature import (
    decode64,
    encode64,
    is_log_signed,
    is_signed_by,
    public_key,
    sign,
)

KEY_ROTATION = "key_rotation"
_VERSION = 1
_MARK = f'"type":"{KEY_ROTATION}"'.encode()  # in JSON a text cannot hold these bytes


@dataclass(frozen=True)
class Rotation:
    """One change of key: from leaf `seq` on, heads are the new key's. 32 bytes each."""

    seq: int
    old_key: bytes
    new_key: bytes


def rotation_fields(
    old: bytes, new: bytes, *, site: str, device: str, epoch: int, seq: int
) -> dict[str, str]:
    """The fields of the leaf, signed with both private keys for this place."""
    keys = encode64(public_key(old)), encode64(public_key(new))
    message = _message((site, device, epoch), seq, *keys)
    return {
        "old_key": keys[0],
        "new_key": keys[1],
        "old_signature": encode64(sign(old, message)),
        "new_signature": encode64(sign(new, message)),
    }


def parse_rotation(content: Mapping[str, Any], site: str) -> Rotation:
    """The change of key that a leaf of a tree of this site states.

    Raises:
        EvidenceError: `bad_rotation` where one of the keys did not sign it for this place, or it
            changes nothing.
    """
    try:
        seq = parse_u64(content["seq"], "seq")
        old, new = decode64(content["old_key"]), decode64(content["new_key"])
        keys = content["old_key"], content["new_key"]
        message = _message((site, content["dev"], content["epoch"]), seq, *keys)
        is_old = is_signed_by(old, message, decode64(content["old_signature"]))
        is_new = is_signed_by(new, message, decode64(content["new_signature"]))
    except (EvidenceError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise _bad(f"a change of key is none: {error}") from error
    if not (is_old and is_new):
        who = "neither key" if is_old == is_new else f"not the {'new' if is_old else 'old'} key"
        raise _bad(f"{who} signed the change of key at leaf {seq} of {content['dev']}")
    if old == new:
        raise _bad(f"the change of key at leaf {seq} of {content['dev']} changes nothing")
    return Rotation(seq, old, new)


def rotations_in(leaves: Iterable[tuple[int, bytes]], site: str) -> list[Rotation]:
    """The changes of key among leaves of a tree of this site, each found genuine.

    Args:
        leaves: of one tree, in order, each with its index.
        site: whose tree it is.

    Raises:
        EvidenceError: `bad_rotation`; `not_canonical` where such a leaf cannot be read.
    """
    found = []
    for index, leaf in leaves:
        if _MARK not in leaf:
            continue
        content = parse_canonical(leaf)
        if isinstance(content, dict) and content.get("type") == KEY_ROTATION:
            if content.get("seq") != str(index):
                raise _bad(f"leaf {index} states a change of key for another leaf")
            found.append(parse_rotation(content, site))
    return found


def keys_of(first: bytes, rotations: Sequence[Rotation]) -> list[bytes]:
    """The keys of a tree, one after the other, from the one that its grant names.

    Raises:
        EvidenceError: `bad_rotation` where a change does not start from the key that signed until
            then, or goes back to a key that was replaced.
    """
    keys = [first]
    for rotation in rotations:
        if rotation.old_key != keys[-1]:
            raise _bad(f"the change of key at leaf {rotation.seq} starts from another key")
        if rotation.new_key in keys:
            raise _bad(f"the change of key at leaf {rotation.seq} goes back to a replaced key")
        keys.append(rotation.new_key)
    return keys


def key_at(first: bytes, rotations: Sequence[Rotation], size: int) -> bytes:
    """The key that signs a head of this size; `rotations` are of its tree, in order."""
    covered = [rotation.new_key for rotation in rotations if rotation.seq < size]
    return covered[-1] if covered else first


def keys_before(key: bytes, rotations: Iterable[Rotation]) -> set[bytes]:
    """The key and every key that it came from, change by change."""
    return _reached(key, ((change.new_key, change.old_key) for change in rotations))


def keys_after(key: bytes, rotations: Iterable[Rotation]) -> set[bytes]:
    """The key and every key that it was changed for, change by change."""
    return _reached(key, ((change.old_key, change.new_key) for change in rotations))


def linked_keys(key: bytes, rotations: Iterable[Rotation]) -> set[bytes]:
    """The key, every key that it came from, and every key that one of them was changed for."""
    pairs = [(change.old_key, change.new_key) for change in rotations]
    return _reached(key, (step for old, new in pairs for step in ((old, new), (new, old))))


def _reached(key: bytes, steps: Iterable[tuple[bytes, bytes]]) -> set[bytes]:
    known, found = list(steps), {key}
    while more := {end for start, end in known if start in found} - found:
        found |= more
    return found


def signer_of(note: str, keys: Iterable[bytes]) -> bytes | None:
    """Which of the keys signed the checkpoint note for its log; None: none of them.

    Raises:
        EvidenceError: it is no note.
    """
    return next((key for key in keys if is_log_signed(note, key)), None)


def _message(tree: tuple[str, str, int], seq: int, old_key: str, new_key: str) -> bytes:
    site, device, epoch = tree
    return canonical_bytes(
        {
            "dev": device,
            "epoch": epoch,
            "new_key": new_key,
            "old_key": old_key,
            "seq": str(seq),
            "site": site,
            "type": KEY_ROTATION,
            "v": _VERSION,
        }
    )


def _bad(what: str) -> EvidenceError:
    return EvidenceError(
        f"The evidence does not hold: {what}.",
        "Ask the plant whether and when its gateway was given another key.",
        code="bad_rotation",
    )
