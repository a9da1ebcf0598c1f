"""Has a head of the log stamped by a time-stamping authority over HTTP (RFC 3161, section 3.4)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from joulemark_agent.contract.errors import UplinkError
from joulemark_agent.contract.signature import parse_note
from joulemark_gateway.bookkeeping.outgoing import Post
from joulemark_gateway.evidence.log_store import LogHead, LogTables, Token
from joulemark_gateway.evidence.timestamps import QUERY_TYPE, query, stamped_at
from joulemark_gateway.ingest.verify import EPSILON_US

_UTC_0 = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Authority:
    """A time-stamping authority."""

    name: str
    url: str
    certificates: tuple[bytes, ...]  # DER, trusted


def stamp(store: LogTables, authority: Authority, head: LogHead, post: Post, now_us: int) -> None:
    """Keep a token of the authority over a head, checked before it is kept.

    Raises:
        UplinkError: no token this time; trying again may help.
        EvidenceError: `timestamp_bad`: what came is no token of this authority over this head.
        ConfigError: the library is not installed.
    """
    message = parse_note(head.note)[0].encode()
    asked, nonce = query(message)
    answer = post(authority.url, asked, QUERY_TYPE)
    if answer.status != 200:
        raise UplinkError(
            f"The authority {authority.name} at {authority.url} answered {answer.status}.",
            "Check the address; it is tried again, less and less often.",
            code="not_stamped",
        )
    time = stamped_at(answer.body, message, authority.certificates, nonce=nonce)
    logged = _UTC_0 + timedelta(microseconds=store.latest_us(head.size) - EPSILON_US)
    if time < logged:  # a verifier would find it earlier than the evidence, for ever
        raise UplinkError(
            f"The authority {authority.name} says {time:%Y-%m-%d %H:%M:%S} UTC; the log has a leaf "
            "of a later time.",
            "Set this computer's clock; it is stamped as soon as that time is over.",
            code="not_stamped",
        )
    store.keep_token(Token(head.size, authority.name, answer.body, now_us))
