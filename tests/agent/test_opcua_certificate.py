"""A server's certificate is believed when all of it holds; otherwise it is said what does not."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st

from joulemark_agent.opcua_certificate import (
    CertificateError,
    TrustList,
    application_uri_of,
    check,
    new_certificate,
    parsed,
)
from joulemark_agent.opcua_security import shown
from support.certificates import (
    AGENT_URI,
    NOW,
    PLANT_URI,
    certificate,
    der,
    key,
    revocations,
)


def server(**changed: Any) -> x509.Certificate:
    return certificate("server", now=NOW, **changed)


def authority(owner: str = "authority", **changed: Any) -> x509.Certificate:
    return certificate(owner, is_authority=True, now=NOW, **changed)


GOOD = server()
SIGNED = server(issuer="authority")
BETWEEN = authority("between", issuer="authority")
BELOW = server(issuer="between")


def looked_at(
    *chain: x509.Certificate,
    trusted: tuple[x509.Certificate, ...] = (),
    lists: tuple[x509.CertificateRevocationList, ...] = (),
    uri: str = PLANT_URI,
    host: str = "127.0.0.1",
) -> None:
    found = check(
        chain, TrustList(trusted, lists), application_uri=uri, host=host, now=NOW
    )  # fmt: skip
    assert found == key("server").public_key()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST"])
def test_a_certificate_in_the_trust_list_is_believed(host: str) -> None:
    looked_at(GOOD, trusted=(certificate("user"), GOOD), host=host)


def test_one_that_a_trusted_authority_signed_is_believed() -> None:
    looked_at(SIGNED, trusted=(authority(),))
    looked_at(BELOW, BETWEEN, trusted=(authority(),))
    looked_at(BELOW, trusted=(authority(), BETWEEN))
    looked_at(SIGNED, trusted=(authority(),), lists=(revocations("authority", now=NOW),))


@dataclass(frozen=True)
class Wrong:
    """A certificate that is not believed."""

    code: str
    says: str
    chain: tuple[x509.Certificate, ...]
    trusted: tuple[x509.Certificate, ...] | None = None  # None: the certificate itself
    lists: tuple[x509.CertificateRevocationList, ...] = ()
    more: dict[str, str] = field(default_factory=dict)


DAY = timedelta(days=1)
ROOT = authority()
WRONG = {
    "expired": Wrong("expired", "expired on 2026-05-31 00:00 UTC", (server(end=NOW - DAY),)),
    "not yet": Wrong("not_yet_valid", "from 2026-06-02", (server(begin=NOW + DAY),)),
    "short key": Wrong("key", "1024 bits", (server(bits=1024),)),
    "another host": Wrong("host", "not of 192.0.2.7", (GOOD,), more={"host": "192.0.2.7"}),
    "part of a host": Wrong("host", "not of host", (GOOD,), more={"host": "host"}),
    "no host": Wrong("host", "no host", (server(hosts=()),)),
    "another application": Wrong("uri", "urn:example:plant", (GOOD,), more={"uri": "urn:other"}),
    "no application": Wrong("uri", "", (server(uri=""),), more={"uri": ""}),
    "for clients": Wrong("use", "serverAuth", (server(purpose=ExtendedKeyUsageOID.CODE_SIGNING),)),
    "for signing": Wrong("use", "keyEncipherment", (server(encipherment=False),)),
    "nobody trusts it": Wrong("untrusted", shown(der(GOOD)), (GOOD,), ()),
    "same name, other key": Wrong("untrusted", "", (GOOD,), (certificate("server"),)),
    "an unknown authority": Wrong("untrusted", "", (SIGNED, ROOT), (authority("other"),)),
    "an authority without one between": Wrong("untrusted", "", (BELOW,), (ROOT,)),
    "signed by who is no authority": Wrong(
        "untrusted", "", (server(issuer="user"),), (certificate("user", now=NOW),)
    ),
    "an expired authority": Wrong("untrusted", "", (SIGNED,), (authority(end=NOW - DAY),)),
    "a longer path than allowed": Wrong(
        "untrusted", "", (BELOW, BETWEEN), (authority(path_length=0),)
    ),
    "revoked": Wrong(
        "revoked", "", (SIGNED,), (ROOT,), (revocations("authority", SIGNED, now=NOW),)
    ),
    "one between revoked": Wrong(
        "revoked", "", (BELOW, BETWEEN), (ROOT,), (revocations("authority", BETWEEN, now=NOW),)
    ),
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG.values(), ids=list(WRONG))
def test_a_wrong_certificate_is_refused_with_its_reason(wrong: Wrong) -> None:
    trusted = wrong.chain[:1] if wrong.trusted is None else wrong.trusted
    with pytest.raises(CertificateError) as caught:
        looked_at(*wrong.chain, trusted=trusted, lists=wrong.lists, **wrong.more)

    assert caught.value.code == wrong.code
    assert wrong.says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_list_that_somebody_else_signed_revokes_nothing() -> None:
    forged = revocations("authority", SIGNED, now=NOW)
    assert forged.is_signature_valid(key("authority").public_key())
    other = revocations("other", SIGNED, now=NOW)
    looked_at(SIGNED, trusted=(ROOT,), lists=(other,))


def test_what_a_server_sends_may_hold_its_authorities_too() -> None:
    chain = (BELOW, BETWEEN, ROOT)
    assert parsed(b"".join(map(der, chain))) == chain


@pytest.mark.parametrize("blob", [b"", b"\x30", b"\x30\x80", b"0" * 500, der(GOOD)[:-1],
                                  b"\x30\x84\xff\xff\xff\xff" + b"a" * 50])  # fmt: skip
def test_what_is_no_certificate_is_said_to_be_none(blob: bytes) -> None:
    with pytest.raises(CertificateError) as caught:
        parsed(blob)
    assert caught.value.code == "invalid"


@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
@given(st.integers(0, 10_000), st.integers(1, 255), st.booleans())
def test_no_changed_byte_makes_a_certificate_anything_but_refused(
    place: int, mask: int, is_trusted: bool
) -> None:
    """Neither another error nor a key that is believed, trusted though it may seem."""
    blob = bytearray(der(GOOD))
    blob[place % len(blob)] ^= mask
    try:
        chain = parsed(bytes(blob))
        trusted = TrustList(chain if is_trusted else (GOOD,))
        check(chain, trusted, application_uri=PLANT_URI, host="127.0.0.1", now=NOW)
    except CertificateError:
        return
    assert is_trusted


def test_our_own_certificate_holds_what_servers_look_for() -> None:
    made = new_certificate(
        key("agent"), application_uri=AGENT_URI, host="edge-1", now=NOW, days=30
    )  # fmt: skip
    [found] = parsed(made)

    found.verify_directly_issued_by(found)
    assert application_uri_of(found) == AGENT_URI
    assert found.not_valid_before_utc < NOW < found.not_valid_after_utc
    use = found.extensions.get_extension_for_class(x509.KeyUsage).value
    assert use.digital_signature
    assert use.key_encipherment
    assert use.data_encipherment
