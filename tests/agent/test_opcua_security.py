"""What OPC UA's policies seal opens for the right keys only, and only whole."""

from __future__ import annotations

import pytest
from asyncua.crypto import security_policies, uacrypto
from asyncua.ua import MessageSecurityMode
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from hypothesis import given
from hypothesis import strategies as st

from joulemark_agent.opcua_security import (
    POLICIES,
    UNSEALED,
    Mode,
    NotAuthenticError,
    Opener,
    Pair,
    Policy,
    conversation,
    encrypted_secret,
    handshake,
    thumbprint,
)
from support.certificates import certificate, der, key

HEAD = b"MSGF\x40\0\0\0\1\0\0\0\2\0\0\0"
AGENT_NONCE, SERVER_NONCE = b"a" * 32, b"s" * 32
SECURED = [Mode.SIGN, Mode.SIGN_AND_ENCRYPT]
FOREIGN = {
    "Basic256Sha256": security_policies.SecurityPolicyBasic256Sha256,
    "Aes128_Sha256_RsaOaep": security_policies.SecurityPolicyAes128Sha256RsaOaep,
    "Aes256_Sha256_RsaPss": security_policies.SecurityPolicyAes256Sha256RsaPss,
}
policies = pytest.mark.parametrize("policy", POLICIES.values(), ids=list(POLICIES))


def both(policy: Policy, mode: Mode) -> tuple[Pair, Pair]:
    """The agent's and the server's side."""
    return (
        conversation(policy, mode, AGENT_NONCE, SERVER_NONCE),
        conversation(policy, mode, SERVER_NONCE, AGENT_NONCE),
    )


def wide_key() -> RSAPrivateKey:
    """One for which the length of a padding has two bytes."""
    return key("wide", 3072)


@given(
    policy=st.sampled_from(list(POLICIES.values())),
    mode=st.sampled_from(SECURED),
    body=st.binary(max_size=200),
)
def test_a_sealed_chunk_opens_to_what_was_sealed_and_has_the_size_that_was_told(
    policy: Policy, mode: Mode, body: bytes
) -> None:
    agent, server = both(policy, mode)
    sealed = agent.out.seal(HEAD, body)

    assert len(sealed) == agent.out.size(len(body))
    assert server.back.open(HEAD, sealed) == body
    assert UNSEALED.back.open(HEAD, UNSEALED.out.seal(HEAD, body)) == body


@given(policy=st.sampled_from(list(POLICIES.values())), mode=st.sampled_from(SECURED),
       sealed_bytes=st.integers(64, 600))  # fmt: skip
def test_what_fits_into_a_chunk_fits_just(policy: Policy, mode: Mode, sealed_bytes: int) -> None:
    sealer = both(policy, mode)[0].out
    room = sealer.room(sealed_bytes)

    assert sealer.size(room) <= sealed_bytes < sealer.size(room + 1)


@policies
@pytest.mark.parametrize("mode", SECURED)
def test_any_flipped_byte_of_a_sealed_chunk_is_found(policy: Policy, mode: Mode) -> None:
    agent, server = both(policy, mode)
    body = bytes(range(100))
    chunk = HEAD + server.out.seal(HEAD, body)
    for at in range(len(chunk)):
        for mask in (1, 0x80, 0xFF):
            bad = chunk[:at] + bytes([chunk[at] ^ mask]) + chunk[at + 1 :]
            with pytest.raises(NotAuthenticError):
                agent.back.open(bad[: len(HEAD)], bad[len(HEAD) :])
    for end in range(len(HEAD), len(chunk)):
        with pytest.raises(NotAuthenticError):
            agent.back.open(HEAD, chunk[len(HEAD) : end])


def test_without_a_policy_a_flipped_byte_is_another_value() -> None:
    """The control."""
    body = bytearray(UNSEALED.out.seal(HEAD, b"1500.0 W"))
    body[0] ^= 8

    assert UNSEALED.back.open(HEAD, bytes(body)) == b"9500.0 W"


@policies
@pytest.mark.parametrize("mode", SECURED)
def test_what_we_sent_ourselves_is_not_taken_for_an_answer(policy: Policy, mode: Mode) -> None:
    agent, _ = both(policy, mode)
    with pytest.raises(NotAuthenticError):
        agent.back.open(HEAD, agent.out.seal(HEAD, b"question"))


@policies
@pytest.mark.parametrize("peer", ["server", "wide"])
def test_the_opening_of_a_channel_is_for_one_key_and_from_one_key(
    policy: Policy, peer: str
) -> None:
    theirs = key("server") if peer == "server" else wide_key()
    agent = handshake(policy, key("agent"), theirs.public_key())
    server = handshake(policy, theirs, key("agent").public_key())
    for size in (0, 1, 132, 300, 700):
        body = bytes(size)
        sealed = agent.out.seal(HEAD, body)
        assert len(sealed) == agent.out.size(size)
        assert server.back.open(HEAD, sealed) == body
        answer = server.out.seal(HEAD, body)
        assert agent.back.open(HEAD, answer) == body
    impostor = handshake(policy, key("user"), key("agent").public_key())
    with pytest.raises(NotAuthenticError):
        agent.back.open(HEAD, impostor.out.seal(HEAD, b"x"))
    for at in (0, 100, len(answer) - 1):
        with pytest.raises(NotAuthenticError):
            agent.back.open(HEAD, answer[:at] + bytes([answer[at] ^ 1]) + answer[at + 1 :])
    with pytest.raises(NotAuthenticError):
        agent.back.open(b"other", answer)


@pytest.mark.parametrize(
    "clear",
    [b"\x05" * 5, b"body\x02\x02", b"body\x03\x03\x02\x03", b"body\xff", b""],
    ids=["longer than all", "too few", "not all the same", "claims 256", "none"],
)
def test_a_wrong_padding_is_refused_like_a_wrong_signature(clear: bytes) -> None:
    with pytest.raises(NotAuthenticError):
        Opener(sealed_block=16, decrypt=lambda _: clear).open(HEAD, bytes(16))
    with pytest.raises(NotAuthenticError):
        Opener(sealed_block=384, decrypt=lambda _: clear + b"\1").open(HEAD, bytes(384))


@policies
@pytest.mark.parametrize("mode", SECURED)
def test_a_foreign_implementation_opens_what_we_seal_and_we_what_it_seals(
    policy: Policy, mode: Mode
) -> None:
    theirs = FOREIGN[policy.name](
        certificate("agent"), certificate("server"), key("server"), MessageSecurityMode(mode)
    )
    theirs.make_local_symmetric_key(AGENT_NONCE, SERVER_NONCE)
    theirs.make_remote_symmetric_key(SERVER_NONCE, AGENT_NONCE, 3_600_000)
    foreign, (ours, _), body = theirs.symmetric_cryptography, both(policy, mode), b"b" * 77

    padded = body + foreign.padding(len(body))
    sealed = foreign.encrypt(padded + foreign.signature(HEAD + padded))
    assert ours.back.open(HEAD, sealed) == body
    clear = foreign.decrypt(ours.out.seal(HEAD, body))
    foreign.verify(HEAD + clear[:-32], clear[-32:])
    assert foreign.remove_padding(clear[:-32]) == body


@policies
@given(secret=st.binary(max_size=500))
def test_a_password_is_read_by_its_server_only(policy: Policy, secret: bytes) -> None:
    sealed = encrypted_secret(policy, key("server").public_key(), secret, SERVER_NONCE)
    clear = policy.decrypt(key("server"), sealed)

    assert int.from_bytes(clear[:4], "little") == len(secret) + 32
    assert clear[4:] == secret + SERVER_NONCE
    with pytest.raises(NotAuthenticError):
        policy.decrypt(key("agent"), sealed)


@policies
def test_a_signature_is_that_of_the_policy(policy: Policy) -> None:
    foreign = FOREIGN[policy.name]
    assert policy.signature_uri == foreign.AsymmetricSignatureURI
    assert policy.secret_uri == foreign.AsymmetricEncryptionURI
    assert policy.uri == foreign.URI
    signed = policy.sign(key("agent"), b"data")
    policy.verify(key("agent").public_key(), b"data", signed)
    for data, owner in ((b"date", "agent"), (b"data", "server")):
        with pytest.raises(NotAuthenticError):
            policy.verify(key(owner).public_key(), data, signed)
    with pytest.raises(NotAuthenticError):
        policy.verify(key("agent").public_key(), b"data", b"")


def test_a_thumbprint_is_what_others_compute() -> None:
    found = certificate("server")
    assert thumbprint(der(found)) == found.fingerprint(uacrypto.hashes.SHA1())
