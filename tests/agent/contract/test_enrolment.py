"""Messages of an enrolment: what is taken back as it was sent, and what is none."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulemark_agent.contract.canonical import canonical_bytes, parse_canonical
from joulemark_agent.contract.enrolment import (
    MAX_BYTES,
    MAX_DEVICES,
    Application,
    Token,
    parse_message,
    parse_token,
    proof_message,
)
from joulemark_agent.contract.errors import EvidenceError
from joulemark_agent.contract.signature import new_private_key, public_key, sign

KEY = new_private_key()
CSR = b"-----BEGIN CERTIFICATE REQUEST-----\n"


def application(**changes) -> Application:
    made = Application(
        site="plant", agent="edge-1", devices=("meter",), key=public_key(KEY), csr=CSR,
        proof=sign(KEY, proof_message("plant", "edge-1", CSR)), secret=bytes(32),
    )  # fmt: skip
    return replace(made, **changes)


def test_what_is_sent_is_what_is_read():
    made = application()
    assert Application.parsed(made.data()) == made
    assert made.is_proven
    token = Token(bytes(range(32)), "ab" * 32)
    assert parse_token(f"  {token.text}\n") == token
    assert token.secret.hex() not in repr(token)


@pytest.mark.parametrize(
    "changes", [{"site": "other"}, {"agent": "edge-2"}, {"csr": b"other"}, {"proof": bytes(64)}]
)
def test_a_proof_is_for_one_agent_and_one_request(changes):
    assert not application(**changes).is_proven


def test_many_devices_fit_into_one_message():
    names = tuple(f"{number:064d}" for number in range(MAX_DEVICES))
    assert Application.parsed(application(devices=names).data()).devices == names
    with pytest.raises(EvidenceError):
        Application.parsed(application(devices=(*names, "one-more")).data())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("agent", "joulemark.collector"), ("agent", "+"), ("agent", "edge/1"), ("site", "#"),
        ("devices", "meter"), ("devices", [1]), ("devices", ["$SYS"]), ("secret", "00"),
        ("key", "?"), ("proof", None), ("v", 2), ("more", "x"),
    ],
)  # fmt: skip
def test_a_field_that_is_not_as_it_must_be_is_refused(field, value):
    content = parse_canonical(application().data())
    with pytest.raises(EvidenceError):
        Application.parsed(canonical_bytes({**content, field: value}))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(sorted(json.loads(application().data()))), inner, max_size=8
        )
    ),
    max_leaves=6,
)


@given(VALUES)
def test_nothing_else_comes_out_of_nonsense_than_a_refusal(value):
    with pytest.raises(EvidenceError):
        Application.parsed(canonical_bytes(value))


@given(st.binary(max_size=200))
def test_nor_out_of_bytes(data):
    with pytest.raises(EvidenceError):
        Application.parsed(data)
    with pytest.raises(EvidenceError):
        parse_token(data.decode("latin-1"))


def test_a_message_has_a_largest_size():
    with pytest.raises(EvidenceError, match=str(MAX_BYTES)):
        parse_message(bytes(MAX_BYTES + 1))
