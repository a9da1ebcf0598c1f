"""A certificate of a version that there is not: the library's word for it is no ValueError."""

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from joulemark_agent import enrolment
from joulemark_agent.contract.canonical import canonical_bytes
from joulemark_agent.contract.errors import ConfigError, EvidenceError
from joulemark_agent.contract.signature import encode64
from joulemark_agent.tls import own_certificate
from joulemark_gateway.evidence.timestamps import certificates_in
from joulemark_gateway.pki.authority import requested_key
from joulemark_gateway.verify.policy import parse_policy
from support import joining
from support.bundles import policy_mapping
from support.certificates import certificate, der

VERSION_3, VERSION_14 = b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x0d"


def in_pem(data: bytes, kind: str = "CERTIFICATE") -> bytes:
    """As text."""
    return f"-----BEGIN {kind}-----\n{encode64(data)}\n-----END {kind}-----\n".encode()


@pytest.fixture(scope="module")
def odd() -> bytes:
    """A certificate, in DER."""
    made = der(certificate("plant")).replace(VERSION_3, VERSION_14, 1)
    with pytest.raises(x509.InvalidVersion):
        x509.load_der_x509_certificate(made)
    return made


def test_a_request_for_a_certificate_is_refused():
    key = ec.generate_private_key(ec.SECP256R1())
    made = x509.CertificateSigningRequestBuilder(x509.Name([])).sign(key, hashes.SHA256())
    data = made.public_bytes(Encoding.DER)
    at = data.index(b"\x02\x01\x00")
    with pytest.raises(EvidenceError, match="cannot be read"):
        requested_key(in_pem(data[: at + 2] + b"\x0d" + data[at + 3 :], "CERTIFICATE REQUEST"))


def test_a_policy_is_refused(odd):
    mapping = policy_mapping() | {"authorities": [{"name": "tsa", "certificates": [encode64(odd)]}]}
    with pytest.raises(ConfigError, match="DER in base64"):
        parse_policy(canonical_bytes(mapping))


def test_a_file_of_an_authority_is_refused(odd):
    with pytest.raises(ConfigError, match="no certificate in these"):
        certificates_in(in_pem(odd))


def test_what_a_collector_gives_or_a_person_brings_is_refused(odd, tmp_path):
    settings = joining.site(tmp_path)
    own = ec.generate_private_key(ec.SECP256R1())
    given = {"certificate": in_pem(odd).decode(), "ca": "", "collector": "x", "key": ""}
    with pytest.raises(EvidenceError, match="cannot be used"):
        enrolment._given(settings, own, given, "https://192.0.2.1:8443")
    enrolment.request_by_hand(settings, tmp_path / "edge-1.csr")
    (tmp_path / "edge-1.pem").write_bytes(in_pem(odd) * 2)
    with pytest.raises(ConfigError, match="cannot be used"):
        enrolment.take_by_hand(settings, tmp_path / "edge-1.pem")
    with pytest.raises(ConfigError, match="certificate"):
        own_certificate(tmp_path / "edge-1.pem")
