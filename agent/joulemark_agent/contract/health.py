"""How an agent is: what its disk holds, what waits, what troubles it. Signed, and no evidence.

Version 2 also has `about`: version of the software, state of the clock, end of the certificate. A
collector takes both; one that knows version 1 alone refuses 2, so collectors are updated first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from joulemark_agent.contract.canonical import canonical_bytes, parse_canonical
from joulemark_agent.contract.errors import EvidenceError
from joulemark_agent.contract.signature import decode64, encode64, is_signed_by, sign

VERSION, FIRST = 2, 1
MAX_BYTES = 64 * 1024
_KIND = "health"
_OUTBOX = {"capacity_bytes", "unconfirmed", "used_bytes"}
_TROUBLE = {"code", "do", "since_us", "what"}
ABOUT = "about"
_ABOUT = {"certificate_until_us", "clock_error_us", "clock_sync", "version"}
_FIELDS = {"agent", "level", "lines", "outbox", "site", "t_utc_us", "troubles"}


def health_bytes(content: Mapping[str, Any], private_key: bytes) -> bytes:
    """The document as it is published: its fields and the agent's signature over them."""
    whole = {**content, "type": _KIND, "v": VERSION if ABOUT in content else FIRST}
    signature = sign(private_key, canonical_bytes(whole))
    return canonical_bytes({"health": whole, "signature": encode64(signature)})


def parse_health(data: bytes, keys: tuple[bytes, ...]) -> dict[str, Any]:
    """The fields, if one of the keys signed them.

    Raises:
        EvidenceError: `bad_health`, or `bad_signature`.
    """
    whole = parse_canonical(data) if len(data) <= MAX_BYTES else None
    if not isinstance(whole, dict) or set(whole) != {"health", "signature"}:
        raise _bad("it is no such document")
    content, signature = whole["health"], whole["signature"]
    if not isinstance(content, dict) or not isinstance(signature, str):
        raise _bad("its parts are of another kind")
    named = _FIELDS | ({ABOUT} if content.get("v") == VERSION else set())
    is_ours = content.get("type") == _KIND and content.get("v") in (FIRST, VERSION)
    if not is_ours or set(content) != named | {"type", "v"}:
        raise _bad("its fields are not those of this version")
    if not _has_form(content):
        raise _bad("a field is of another kind")
    signed, given = canonical_bytes(content), decode64(signature)
    if not any(is_signed_by(key, signed, given) for key in keys):
        raise _bad("no key of this agent signed it", "bad_signature")
    return {name: content[name] for name in named}


def _has_form(content: Mapping[str, Any]) -> bool:
    """Whether every field is of its kind."""
    texts = [content[name] for name in ("agent", "level", "site")]
    if ABOUT in content and not _is_about(content[ABOUT]):
        return False
    lines, outbox, troubles = content["lines"], content["outbox"], content["troubles"]
    if not (isinstance(lines, dict) and set(lines) == {"stuck"} and _are_texts(lines["stuck"])):
        return False
    if not isinstance(outbox, dict) or set(outbox) != _OUTBOX or not isinstance(troubles, list):
        return False
    for trouble in troubles:
        if not isinstance(trouble, dict) or set(trouble) != _TROUBLE:
            return False
        texts += [trouble[name] for name in ("code", "do", "what")]
    numbers = [content["t_utc_us"], *outbox.values(), *(one["since_us"] for one in troubles)]
    return _are_texts(texts) and all(map(_is_number, numbers))


def _is_about(about: Any) -> bool:
    if not isinstance(about, dict) or set(about) != _ABOUT:
        return False
    until_us = about["certificate_until_us"]
    is_dated = until_us is None or _is_number(until_us)
    texts = [about["clock_sync"], about["version"]]
    return is_dated and _is_number(about["clock_error_us"]) and _are_texts(texts)


def _are_texts(items: Any) -> bool:
    return isinstance(items, list) and all(isinstance(item, str) for item in items)


def _is_number(text: Any) -> bool:
    return isinstance(text, str) and text.isascii() and text.isdecimal() and len(text) <= 18


def _bad(why: str, code: str = "bad_health") -> EvidenceError:
    return EvidenceError(
        f"This does not say how an agent is: {why}.",
        "It is not shown; look at the sender's log for its version.",
        code=code,
    )
