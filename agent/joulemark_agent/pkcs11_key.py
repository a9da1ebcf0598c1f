"""The evidence key in a security token: made there, used there, never read. Over python-pkcs11.

One session is kept open; it signs for one thread at a time. Ed25519 as PKCS #11 3.0 has it
(CKM_EC_EDWARDS_KEY_PAIR_GEN, CKM_EDDSA), which SoftHSM 2.6 and current tokens know.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from joulemark_agent.contract.errors import ConfigError, StoreError
from joulemark_agent.contract.signature import HeldKey, is_signed_by
from joulemark_agent.files import credential, require_private
from joulemark_agent.keys import Key

_KEY_BYTES = 32
_ED25519 = "1.3.101.112"  # RFC 8410


@dataclass(frozen=True)
class TokenPlace:
    """Where the key is."""

    module: Path  # the maker's library
    token: str  # the token's label
    label: str  # the key's
    pin: str = field(repr=False)


def pin_at(variable: str | None, file: Path | None) -> str:
    """The PIN in an environment variable, or else in a file.

    Raises:
        ConfigError: there is none.
    """
    if file is None:
        pin = os.environ.get(variable or "", "")
        where = f"the variable {variable}"
    else:
        path = credential(file)
        where = str(path)
        try:
            require_private(path)
            pin = path.read_text("utf-8", errors="replace").strip("\r\n")
        except OSError as error:
            raise ConfigError(
                f"The PIN in {path} cannot be read: {error.strerror}.",
                "Check 'evidence_key.pin_file' and who may read it.",
            ) from error
    if not pin:
        raise ConfigError(f"There is no PIN in {where}.", "Put the token's user PIN there.")
    return pin


def token_key(place: TokenPlace, *, create: bool = False) -> Key:
    """The key in the token; what it signs with the result's private half is signed there.

    Args:
        place: where it is.
        create: whether to make it where there is none.

    Raises:
        ConfigError: library, token or key cannot be used.
    """
    try:
        import pkcs11  # noqa: PLC0415 - the extra [pkcs11], where it is asked for
        from pkcs11.exceptions import PKCS11Error  # noqa: PLC0415 - as above
    except ModuleNotFoundError as error:
        raise ConfigError(
            "A key in a token needs the package 'python-pkcs11', which is not installed.",
            "Run: pip install 'joulemark[pkcs11]'",
        ) from error
    try:
        token = pkcs11.lib(str(place.module)).get_token(token_label=place.token)
        session = _opened(token, place.pin, rw=create)
        found = list(session.get_objects(_wanted(place, pkcs11.ObjectClass.PUBLIC_KEY)))
        if not found and create:
            _generate(session, place.label)
            found = list(session.get_objects(_wanted(place, pkcs11.ObjectClass.PUBLIC_KEY)))
        private = list(session.get_objects(_wanted(place, pkcs11.ObjectClass.PRIVATE_KEY)))
    except (PKCS11Error, RuntimeError, OSError) as error:  # RuntimeError: the library's path
        raise _unusable(place, f"{type(error).__name__} {error}".strip()) from error
    if len(found) != 1 or len(private) != 1:
        raise _unusable(place, f"it holds {len(found)} public and {len(private)} private keys so")
    held: Any = private[0]
    point: bytes = found[0][pkcs11.Attribute.EC_POINT]
    public = point[-_KEY_BYTES:]  # the whole is an OCTET STRING around it
    lock = threading.Lock()

    def sign(message: bytes) -> bytes:
        try:
            with lock:
                made: bytes = held.sign(message, mechanism=pkcs11.Mechanism.EDDSA)
        except PKCS11Error as error:
            raise StoreError(
                f"The token {place.token!r} does not sign: {type(error).__name__} {error}.",
                "Check that it is plugged in; the agent goes on when it is started again.",
                code="token_away",
            ) from error
        return made

    if not is_signed_by(public, b"joulemark", sign(b"joulemark")):
        raise _unusable(place, "what it signs is no Ed25519 signature of this key")
    return Key(HeldKey(public, sign), public)


def _opened(token: Any, pin: str, *, rw: bool) -> Any:
    """A session; who has logged in, is logged in for the whole process."""
    from pkcs11.exceptions import UserAlreadyLoggedIn  # noqa: PLC0415 - as above

    try:
        return token.open(user_pin=pin, rw=rw)
    except UserAlreadyLoggedIn:
        return token.open(rw=rw)


def _wanted(place: TokenPlace, kind: Any) -> dict[Any, Any]:
    from pkcs11 import Attribute, KeyType  # noqa: PLC0415 - as above

    return {
        Attribute.CLASS: kind,
        Attribute.LABEL: place.label,
        Attribute.KEY_TYPE: KeyType.EC_EDWARDS,
    }


def _generate(session: Any, label: str) -> None:
    """A key pair that stays in the token: sensitive, and not to be extracted."""
    from pkcs11 import Attribute, KeyType, Mechanism  # noqa: PLC0415 - as above
    from pkcs11.util.ec import encode_named_curve_parameters  # noqa: PLC0415 - as above

    curve = {Attribute.EC_PARAMS: encode_named_curve_parameters(_ED25519)}
    parameters = session.create_domain_parameters(KeyType.EC_EDWARDS, curve, local=True)
    parameters.generate_keypair(
        mechanism=Mechanism.EC_EDWARDS_KEY_PAIR_GEN,
        store=True,
        label=label,
        private_template={Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False},
    )


def _unusable(place: TokenPlace, why: str) -> ConfigError:
    return ConfigError(
        f"The key {place.label!r} in the token {place.token!r} cannot be used: {why}.",
        "Check 'evidence_key' in the site file (module, token, label), the PIN, and that the token"
        " is plugged in; 'joulemark agent enroll' makes the key where there is none.",
    )
