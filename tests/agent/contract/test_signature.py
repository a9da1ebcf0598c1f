"""Signed notes: what is signed is found changed after any flipped bit."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from joulemark_agent.contract import signature as s
from joulemark_agent.contract.errors import EvidenceError

KEY, OTHER = bytes(range(32)), bytes(range(1, 33))
HEAD = s.Checkpoint("joulemark/gwangyang/main-meter/1", 97, bytes(range(32)))
WITNESS = "joulemark/collector"


def note():
    return s.cosign(OTHER, WITNESS, s.sign_checkpoint(KEY, HEAD), 1_795_000_000)


def test_a_checkpoint_comes_back_whole():
    text, signatures = s.parse_note(note())

    assert s.parse_checkpoint(text) == HEAD
    assert [x.name for x in signatures] == [HEAD.origin, WITNESS]
    assert s.is_log_signed(note(), s.public_key(KEY))
    assert s.cosigned_at(note(), WITNESS, s.public_key(OTHER)) == 1_795_000_000


def test_rfc_8032_test_1_is_reproduced():
    secret = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")

    assert s.public_key(secret).hex().startswith("d75a980182b10ab7")
    assert s.sign(secret, b"").hex().startswith("e5564300c360ac729086e2cc806e828a")


def test_the_key_of_another_signs_nothing():
    assert not s.is_log_signed(note(), s.public_key(OTHER))
    assert s.cosigned_at(note(), WITNESS, s.public_key(KEY)) is None
    assert s.cosigned_at(note(), "joulemark/other", s.public_key(OTHER)) is None


def test_every_flipped_bit_of_a_note_is_found():
    """The control looks only whether a signature line is there; it accepts most damaged notes."""
    whole = note().encode()
    slipped = naive = 0
    for bit in range(8 * len(whole)):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            text = damaged.decode()
        except UnicodeDecodeError:
            continue
        naive += WITNESS in text
        try:
            good = s.is_log_signed(text, s.public_key(KEY))
            good = good and s.cosigned_at(text, WITNESS, s.public_key(OTHER)) is not None
            slipped += good
        except EvidenceError:
            continue

    assert slipped == 0
    assert naive > 1000


@given(st.binary(max_size=80))
def test_base64_has_one_form(data):
    assert s.decode64(s.encode64(data)) == data


@pytest.mark.parametrize("text", ["QQ", "QR==", "QQ==\n", "Q Q=", "-_==", "Q==="])
def test_base64_in_another_form_is_refused(text):
    with pytest.raises(EvidenceError):
        s.decode64(text)


@pytest.mark.parametrize(
    "text",
    [
        "joulemark/a/b/1\n097\n" + s.encode64(bytes(32)) + "\n",
        "joulemark/a/b/1\n-1\n" + s.encode64(bytes(32)) + "\n",
        "joulemark/a/b/1\n1\n" + s.encode64(bytes(31)) + "\n",
        "joulemark/a/b/1\n1\n" + s.encode64(bytes(32)) + "\nmore\n",
        "\n1\n" + s.encode64(bytes(32)) + "\n",
    ],
)
def test_a_malformed_checkpoint_is_refused(text):
    with pytest.raises(EvidenceError):
        s.parse_checkpoint(text)


def test_a_note_with_too_many_signatures_is_refused():
    full = s.sign_checkpoint(KEY, HEAD)
    for i in range(15):
        full = s.cosign(OTHER, f"w{i}", full, 1)

    with pytest.raises(EvidenceError):
        s.cosign(OTHER, "w16", full, 1)


def test_signatures_are_those_of_the_library():
    signature = s.sign(KEY, b"x")

    Ed25519PrivateKey.from_private_bytes(KEY).public_key().verify(signature, b"x")
    assert not s.is_signed_by(s.public_key(KEY), b"y", signature)
    assert not s.is_signed_by(b"short", b"x", signature)
