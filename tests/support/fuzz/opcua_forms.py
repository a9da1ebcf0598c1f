"""Targets: parts of OPC UA by themselves, which whole conversations reach too seldom."""

from __future__ import annotations

import struct
import warnings
from functools import cache

from cryptography.utils import CryptographyDeprecationWarning

from joulemark_agent import opcua_certificate
from joulemark_agent.contract.profile import NodePoint
from joulemark_agent.kernels import datavalue
from joulemark_agent.kernels.decode import decode_point
from joulemark_agent.opcua_binary import Cursor, MalformedError
from joulemark_agent.opcua_certificate import CertificateError, TrustList
from joulemark_agent.opcua_security import POLICIES, Mode, NotAuthenticError, Pair, conversation
from joulemark_agent.opcua_subscription import numeric
from support.certificates import NOW, PLANT_URI, certificate, der
from support.fuzz.harness import Target

NUMBER = "nsu=urn:example:furnace;s=x"
_POINTS = tuple(
    NodePoint(
        name="x_unstated" if not name.startswith("bool") else "x_state", node=NUMBER, type=name
    )
    for name in datavalue.NUMBERS
)
_HEAD, _BODY = b"MSGF" + bytes(12), bytes(range(40))


def _values() -> list[bytes]:
    """A number of each type with all that may stand beside it, and all kinds that are none."""
    beside = (
        b"\x00\x00\x92\x40"
        + struct.pack("<q", 1 << 57)
        + b"\1\0"
        + struct.pack("<q", 1 << 57)
        + b"\2\0"
    )
    numbers = [
        bytes((0x3F, kind)) + bytes(range(struct.calcsize(form))) + beside
        for kind, form in datavalue.NUMBERS.values()
    ]
    others = (
        "0180ffffff7f", "0118181801 01", "01c304000000616263640200000002000000 02000000",
        "011601004101010300000061 6263", "0112c300000100000061010000007507000000",
        "0114020001000000 61",
        "0195020000000301000000610100000062 00", "01170306070000000000 0080", "011f020000006162",
        "01197f00000000000000000000000000000000010000006100000080 00",
        "010e0101010101010101010101010101 0101", "00", "02000092 40",
    )  # fmt: skip
    return [*numbers, *(bytes.fromhex(other.replace(" ", "")) for other in others)]


def _value(data: bytes) -> None:
    cursor = Cursor(data)
    variable = cursor.variable()
    assert variable.data == data[: cursor.at], "another value than was received"
    kept = numeric(variable)
    assert datavalue.parse(kept) is not None, "a reading would keep what nobody can read"
    for point in _POINTS:
        decode_point(point, kept)


@cache
def _certificates() -> tuple[bytes, ...]:
    own = der(certificate("plant", now=NOW))
    signed = der(certificate("other", issuer="authority", now=NOW))
    above = der(certificate("authority", is_authority=True, now=NOW))
    return own, signed + above, above


def _certificate(data: bytes) -> None:
    warnings.simplefilter("ignore", CryptographyDeprecationWarning)  # what it will refuse one day
    chain = opcua_certificate.parsed(data)
    trusted = TrustList(tuple(opcua_certificate.parsed(one)[0] for one in _certificates()))
    opcua_certificate.check(chain, trusted, application_uri=PLANT_URI, host="127.0.0.1", now=NOW)
    known = {one.tbs_certificate_bytes for one in trusted.certificates}
    assert chain[0].tbs_certificate_bytes in known, "a certificate that nobody signed"


@cache
def _pairs() -> tuple[Pair, ...]:
    ours, theirs = bytes(32), bytes([1]) * 32
    return tuple(
        conversation(policy, mode, ours, theirs)
        for policy in POLICIES.values()
        for mode in (Mode.SIGN, Mode.SIGN_AND_ENCRYPT)
    )


def _sealed() -> list[bytes]:
    """What the other side seals: it has the two secrets the other way round."""
    ours, theirs = bytes(32), bytes([1]) * 32
    return [
        bytes((number,)) + conversation(policy, mode, theirs, ours).out.seal(_HEAD, _BODY)
        for number, (policy, mode) in enumerate(
            (policy, mode)
            for policy in POLICIES.values()
            for mode in (Mode.SIGN, Mode.SIGN_AND_ENCRYPT)
        )
    ]


def _open(data: bytes) -> None:
    pair = _pairs()[(data[0] if data else 0) % len(_pairs())]
    assert pair.back.open(_HEAD, data[1:]) == _BODY, "opened what nobody sealed"


OPCUA_FORMS = (
    Target("opcua_value", _values, _value, refusals=(MalformedError,)),
    Target("opcua_certificate", _certificates, _certificate, refusals=(CertificateError,)),
    Target("opcua_sealed", _sealed, _open, refusals=(NotAuthenticError,)),
)
