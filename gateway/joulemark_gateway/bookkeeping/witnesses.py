"""Shows a head of the log to a witness, over HTTP or as a file, and keeps its cosignature."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from joulemark_agent.contract.errors import ConfigError, EvidenceError, UplinkError
from joulemark_agent.contract.signature import parse_checkpoint, parse_note
from joulemark_gateway.bookkeeping.outgoing import Post
from joulemark_gateway.evidence.log_store import LogHead, LogTables
from joulemark_gateway.evidence.proof import consistency_path
from joulemark_gateway.witness.exchange import (
    CONFLICT,
    OK,
    PATH,
    UNPROCESSABLE,
    Request,
    cosignature_of,
    parse_size,
)

_KIND = "text/plain; charset=utf-8"
LOG_BEHIND, LOG_FORKED = "log_behind", "log_forked"


@dataclass(frozen=True)
class Peer:
    """A witness of the log."""

    name: str
    key: bytes
    url: str | None  # None: by file


def request_for(store: LogTables, head: LogHead, old: int) -> Request:
    """What a witness is asked that cosigned the head of `old` leaves last; 0: none yet.

    Raises:
        ConfigError: the log has no such older head.
    """
    if not 0 <= old <= head.size:
        raise ConfigError(
            f"The log has {head.size} leaves; no witness can have cosigned {old} of them.",
            "Ask the witness which size it cosigned last ('joulemark witness status').",
        )
    path = consistency_path(store.hashes(head.size), old) if old else []
    return Request(old, tuple(path), head.note)


def ask(store: LogTables, peer: Peer, head: LogHead, post: Post) -> None:
    """Have a head cosigned and keep the line.

    Args:
        store: of the log.
        peer: a witness with an address.
        head: what it is shown.
        post: sends a request.

    Raises:
        UplinkError: no cosignature this time; trying again may help.
        EvidenceError: `log_behind` or `log_forked`: the witness knows another log of this name.
    """
    old = min(store.cosigned_size(peer.name), head.size)
    for _ in range(2):
        request = request_for(store, head, old)
        answer = post(f"{str(peer.url).rstrip('/')}{PATH}", request.text().encode(), _KIND)
        said = answer.body.decode("utf-8", "replace")
        if answer.status == OK:
            _kept(store, [peer], head, said)
            return
        size = parse_size(said) if answer.status == CONFLICT else None
        if size is not None and size > head.size:
            if size <= store.edge().size:
                raise _refused(peer, f"it cosigned a newer head meanwhile, of {size} leaves")
            what = f"the witness {peer.name} has cosigned {size} leaves, this log has {head.size}"
            raise _alarm(LOG_BEHIND, what)
        if answer.status == UNPROCESSABLE or size == old:
            raise _alarm(LOG_FORKED, f"the witness {peer.name} cosigned another log of this name")
        if size is None:
            raise _refused(peer, f"{answer.status} {said[:200].strip()!r}")
        old = size
    raise _refused(peer, "one size after the other")


def keep(store: LogTables, peers: Sequence[Peer], note: str) -> list[str]:
    """Keep the cosignatures of these witnesses on a head of this log; their names.

    Raises:
        EvidenceError: `bad_note`, or `foreign_head`: the note is of no head of this log.
        UplinkError: nobody of them cosigned it.
    """
    text, _ = parse_note(note)
    head = store.head(parse_checkpoint(text).size)
    if head is None or parse_note(head.note)[0] != text:
        raise EvidenceError(
            f"This is no head of the log {store.origin!r}.",
            "Give the witness the file of 'joulemark collector head', and bring back its answer.",
            code="foreign_head",
        )
    return _kept(store, peers, head, note.rpartition("\n\n")[2])


def _kept(store: LogTables, peers: Sequence[Peer], head: LogHead, lines: str) -> list[str]:
    found = {peer: cosignature_of(head.note, lines, peer.name, [peer.key]) for peer in peers}
    kept = []
    for peer, line in found.items():
        if line is not None:
            store.keep_cosignature(head.size, peer.name, line)
            kept.append(peer.name)
    if not kept:
        raise UplinkError(
            "No witness of this log cosigned the head.",
            "Compare the name and the key of the witness with the section 'log' of the "
            "collector's file.",
            code="no_cosignature",
        )
    return kept


def _refused(peer: Peer, why: str) -> UplinkError:
    return UplinkError(
        f"The witness {peer.name} at {peer.url} does not cosign: {why}.",
        "Let it trust this log: 'joulemark collector keys' says the origin and the key.",
        code="not_cosigned",
    )


def _alarm(code: str, what: str) -> EvidenceError:
    return EvidenceError(
        f"{what[0].upper()}{what[1:]}.",
        "Was an old copy of the evidence store restored, or the log rewritten? Keep this store,"
        " bring back the newest copy, and speak to the witness.",
        code=code,
    )
