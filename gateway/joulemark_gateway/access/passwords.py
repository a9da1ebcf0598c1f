"""Passwords: what is accepted as one, and what of it is kept.

Kept is scrypt (RFC 7914) with the parameters beside it, from the standard library: OWASP's list of
password storage ranks it directly behind argon2id, and a collector that checks some passwords a day
gains nothing from a compiled dependency more. N = 2^15, r = 8, p = 3 takes 32 MiB, so that it runs
on a small machine too (OWASP Password Storage Cheat Sheet, "scrypt").
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import unicodedata

from joulemark_agent.contract.errors import ConfigError

LEAST_LENGTH, MOST_LENGTH = 12, 256  # characters
_COST, _BLOCK, _LANES = 2**15, 8, 3
_SALT_BYTES = 16
_LEAST_DIFFERENT = 5
_COMMON = ("password", "passw0rd", "qwerty", "123456", "letmein", "joulemark", "administrator")


def hashed(password: str) -> str:
    """What is kept of a password."""
    salt = secrets.token_bytes(_SALT_BYTES)
    parts = (salt, _scrypt(password, salt, _COST, _BLOCK, _LANES))
    return "$".join(["scrypt", str(_COST), str(_BLOCK), str(_LANES), *map(_text, parts)])


def matches(password: str, kept: str | None) -> bool:
    """Whether the password is the one that was kept; where none was, the same work says no."""
    if kept is None:
        _scrypt(password, bytes(_SALT_BYTES), _COST, _BLOCK, _LANES)
        return False
    _, cost, block, lanes, salt, wanted = kept.split("$")
    found = _scrypt(password, base64.b64decode(salt), int(cost), int(block), int(lanes))
    return hmac.compare_digest(found, base64.b64decode(wanted))


def require_good(password: str, name: str) -> None:
    """Refuse what is guessed first; the refusal never shows the password.

    Raises:
        ConfigError: `weak_password`.
    """
    plain = unicodedata.normalize("NFKC", password)
    if not LEAST_LENGTH <= len(plain) <= MOST_LENGTH:
        why = f"has {len(plain)} characters; {LEAST_LENGTH} to {MOST_LENGTH} are wanted"
    elif len(set(plain)) < _LEAST_DIFFERENT:
        why = f"repeats itself: fewer than {_LEAST_DIFFERENT} different characters"
    elif name and name in plain.lower():
        why = "contains the user's name"
    elif any(plain.lower().startswith(word) for word in _COMMON):
        why = "begins like those that are tried first"
    else:
        return
    raise ConfigError(
        f"The password {why}.",
        "Take several words that nobody would guess, or let a password manager make one.",
        code="weak_password",
    )


def _scrypt(password: str, salt: bytes, cost: int, block: int, lanes: int) -> bytes:
    """The hash; the same characters typed on another keyboard give the same bytes (NFKC)."""
    data = unicodedata.normalize("NFKC", password).encode("utf-8", "surrogatepass")
    memory = 128 * block * (cost + lanes + 2)
    return hashlib.scrypt(data, salt=salt, n=cost, r=block, p=lanes, maxmem=2 * memory, dklen=32)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
