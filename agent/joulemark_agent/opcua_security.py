"""The security policies of OPC UA: keys, signatures, and chunks that are sealed and opened. Pure.

A chunk is opened in one order: decrypt, compare the signature, and only then look at its padding;
whatever is wrong, the error is the same and says nothing of where. Policies that have been
withdrawn (Basic128Rsa15, Basic256) are not spoken.
Source: OPC UA specification (1.05), part 6, sections 6.7.2 (chunks), 6.7.4 and 6.7.5 (keys); part
7, the profiles of the policies; part 4, sections 7.36 (signatures) and 7.40 (secrets).
"""

from __future__ import annotations

import hmac
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from hashlib import sha1

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

NONE = "None"
URI = "http://opcfoundation.org/UA/SecurityPolicy#"
NONCE_BYTES = 32
MIN_KEY_BITS, MAX_KEY_BITS = 2048, 4096
_MAC_BYTES, _AES_BLOCK = 32, 16
_EXTRA_OVER = 256  # bytes of a key from which on the padding's length has two bytes


class NotAuthenticError(Exception):
    """These bytes are not what the peer's key signed, whatever it is that shows it."""


class Mode(IntEnum):
    """What is done to every message."""

    NONE = 1
    SIGN = 2
    SIGN_AND_ENCRYPT = 3


@dataclass(frozen=True)
class Policy:
    """The algorithms that go by one name."""

    name: str
    aes_bytes: int
    signature: padding.AsymmetricPadding
    signature_uri: str
    secret: padding.OAEP
    secret_uri: str
    secret_overhead: int  # bytes of an encrypted block that carry nothing

    @property
    def uri(self) -> str:
        """What it is called on the wire."""
        return URI + self.name

    def sign(self, key: RSAPrivateKey, data: bytes) -> bytes:
        """The key's signature."""
        return key.sign(data, self.signature, hashes.SHA256())

    def verify(self, key: RSAPublicKey, data: bytes, signature: bytes) -> None:
        """Raise `NotAuthenticError` unless it is the key's signature."""
        try:
            key.verify(signature, data, self.signature, hashes.SHA256())
        except (InvalidSignature, ValueError) as error:
            raise NotAuthenticError from error

    def encrypt(self, key: RSAPublicKey, data: bytes) -> bytes:
        """What only the key's owner can read, in blocks of the key's size."""
        room = key.key_size // 8 - self.secret_overhead
        parts = [data[at : at + room] for at in range(0, len(data), room)]
        return b"".join(key.encrypt(part, self.secret) for part in parts)

    def decrypt(self, key: RSAPrivateKey, data: bytes) -> bytes:
        """What was encrypted for the key."""
        size = key.key_size // 8
        parts = [data[at : at + size] for at in range(0, len(data), size)]
        try:
            return b"".join(key.decrypt(part, self.secret) for part in parts)
        except ValueError as error:
            raise NotAuthenticError from error


@dataclass(frozen=True)
class Identity:
    """The agent's or a user's own certificate and its key."""

    certificate: bytes  # DER
    key: RSAPrivateKey = field(repr=False, compare=False)
    application_uri: str


def _oaep(kind: hashes.HashAlgorithm) -> padding.OAEP:
    return padding.OAEP(padding.MGF1(kind), kind, None)


_RSA_SHA256 = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"
_RSA_OAEP = "http://www.w3.org/2001/04/xmlenc#rsa-oaep"
# OAEP with SHA-1 is what the first two say; its hash need not resist collisions.
_OAEP_SHA1, _OAEP_SHA256 = _oaep(hashes.SHA1()), _oaep(hashes.SHA256())  # noqa: S303
_PSS = padding.PSS(padding.MGF1(hashes.SHA256()), hashes.SHA256.digest_size)
POLICIES = {
    policy.name: policy
    for policy in (
        Policy("Basic256Sha256", 32, padding.PKCS1v15(), _RSA_SHA256, _OAEP_SHA1, _RSA_OAEP, 42),
        Policy(
            "Aes128_Sha256_RsaOaep", 16, padding.PKCS1v15(), _RSA_SHA256, _OAEP_SHA1, _RSA_OAEP, 42
        ),
        Policy(
            "Aes256_Sha256_RsaPss",
            32,
            _PSS,
            "http://opcfoundation.org/UA/security/rsa-pss-sha2-256",
            _OAEP_SHA256,
            "http://opcfoundation.org/UA/security/rsa-oaep-sha2-256",
            66,
        ),
    )
}
BY_URI = {policy.uri: policy for policy in POLICIES.values()}


@dataclass(frozen=True)
class Sealer:
    """What is done to each chunk before it is sent; without arguments, nothing."""

    signature_bytes: int = 0
    sign: Callable[[bytes], bytes] = field(default=lambda _: b"", repr=False)
    clear_block: int = 1  # bytes that are encrypted at once
    sealed_block: int = 1  # and what becomes of them; 1: nothing is encrypted
    encrypt: Callable[[bytes], bytes] = field(default=bytes, repr=False)

    def size(self, body_bytes: int) -> int:
        """The bytes that a body becomes."""
        blocks = -(-(body_bytes + self._overhead) // self.clear_block)
        return blocks * self.sealed_block

    def room(self, sealed_bytes: int) -> int:
        """The longest body that becomes no more than so many bytes."""
        return sealed_bytes // self.sealed_block * self.clear_block - self._overhead

    def seal(self, head: bytes, body: bytes) -> bytes:
        """What follows the head, which is signed and stays readable."""
        if self.sealed_block > 1:
            pad = -(len(body) + self._overhead) % self.clear_block
            body += bytes([pad & 0xFF]) * (pad + 1)
            if self.sealed_block > _EXTRA_OVER:
                body += bytes([pad >> 8])
        return self.encrypt(body + self.sign(head + body))

    @property
    def _overhead(self) -> int:
        return self.signature_bytes + (self.sealed_block > 1) + (self.sealed_block > _EXTRA_OVER)


@dataclass(frozen=True)
class Opener:
    """What is done to each chunk that was received; without arguments, nothing."""

    signature_bytes: int = 0
    verify: Callable[[bytes, bytes], None] = field(default=lambda *_: None, repr=False)
    sealed_block: int = 1
    decrypt: Callable[[bytes], bytes] = field(default=bytes, repr=False)

    def open(self, head: bytes, sealed: bytes) -> bytes:
        """The body.

        Raises:
            NotAuthenticError: it is not what the peer sealed.
        """
        if len(sealed) % self.sealed_block:
            raise NotAuthenticError
        clear = self.decrypt(sealed)
        end = len(clear) - self.signature_bytes
        if end < 0:
            raise NotAuthenticError
        self.verify(head + clear[:end], clear[end:])
        return clear[:end] if self.sealed_block == 1 else self._without_padding(clear[:end])

    def _without_padding(self, clear: bytes) -> bytes:
        is_wide = self.sealed_block > _EXTRA_OVER
        if len(clear) < 1 + is_wide:
            raise NotAuthenticError
        pad, pads = clear[-1 - is_wide], clear[: len(clear) - is_wide]
        count = 1 + pad + (clear[-1] << 8 if is_wide else 0)
        if count > len(pads) or pads[-count:] != bytes([pad]) * count:
            raise NotAuthenticError
        return pads[:-count]


@dataclass(frozen=True)
class Pair:
    """How both directions of a channel are sealed."""

    out: Sealer = Sealer()
    back: Opener = Opener()


UNSEALED = Pair()


def handshake(policy: Policy, own: RSAPrivateKey, peer: RSAPublicKey) -> Pair:
    """How the messages that open a channel are sealed: signed and encrypted, whatever its mode."""
    own_bytes, peer_bytes = own.key_size // 8, peer.key_size // 8
    return Pair(
        Sealer(
            own_bytes,
            lambda data: policy.sign(own, data),
            peer_bytes - policy.secret_overhead,
            peer_bytes,
            lambda data: policy.encrypt(peer, data),
        ),
        Opener(
            peer_bytes,
            lambda data, signature: policy.verify(peer, data, signature),
            own_bytes,
            lambda data: policy.decrypt(own, data),
        ),
    )


def conversation(policy: Policy, mode: Mode, own_nonce: bytes, peer_nonce: bytes) -> Pair:
    """How all other messages are sealed, with keys from both sides' secrets."""
    out, back = _keys(policy, peer_nonce, own_nonce), _keys(policy, own_nonce, peer_nonce)
    if mode == Mode.SIGN:
        return Pair(Sealer(_MAC_BYTES, out.mac), Opener(_MAC_BYTES, back.check))
    return Pair(
        Sealer(_MAC_BYTES, out.mac, _AES_BLOCK, _AES_BLOCK, out.encrypt),
        Opener(_MAC_BYTES, back.check, _AES_BLOCK, back.decrypt),
    )


@dataclass(frozen=True)
class _Keys:
    """The keys of one direction; every chunk begins with the same vector: part 6, 6.7.5."""

    signing: bytes = field(repr=False)
    aes: bytes = field(repr=False)
    vector: bytes = field(repr=False)

    def mac(self, data: bytes) -> bytes:
        return hmac.digest(self.signing, data, "sha256")

    def check(self, data: bytes, mac: bytes) -> None:
        if not hmac.compare_digest(self.mac(data), mac):
            raise NotAuthenticError

    def encrypt(self, data: bytes) -> bytes:
        cipher = Cipher(algorithms.AES(self.aes), modes.CBC(self.vector)).encryptor()
        return cipher.update(data) + cipher.finalize()

    def decrypt(self, data: bytes) -> bytes:
        cipher = Cipher(algorithms.AES(self.aes), modes.CBC(self.vector)).decryptor()
        return cipher.update(data) + cipher.finalize()


def _keys(policy: Policy, secret: bytes, seed: bytes) -> _Keys:
    made = _p_sha256(secret, seed, _MAC_BYTES + policy.aes_bytes + _AES_BLOCK)
    end = _MAC_BYTES + policy.aes_bytes
    return _Keys(made[:_MAC_BYTES], made[_MAC_BYTES:end], made[end:])


def _p_sha256(secret: bytes, seed: bytes, size: int) -> bytes:
    """P_SHA256 of RFC 5246, section 5."""
    made, link = b"", seed
    while len(made) < size:
        link = hmac.digest(secret, link, "sha256")
        made += hmac.digest(secret, link + seed, "sha256")
    return made[:size]


def encrypted_secret(policy: Policy, key: RSAPublicKey, secret: bytes, nonce: bytes) -> bytes:
    """A password as a user's token carries it: part 4, section 7.40.2.2."""
    data = secret + nonce
    return policy.encrypt(key, struct.pack("<I", len(data)) + data)


def thumbprint(certificate: bytes) -> bytes:
    """What OPC UA calls a certificate by: part 6, section 6.2.2. It proves nothing."""
    return sha1(certificate, usedforsecurity=False).digest()


def shown(certificate: bytes) -> str:
    """Its thumbprint, as the tools of servers show it."""
    return thumbprint(certificate).hex().upper()
