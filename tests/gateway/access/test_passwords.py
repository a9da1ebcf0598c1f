"""Passwords: what is kept gives nothing away, what is guessed first is refused."""

import hashlib
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulemark_agent.contract.errors import ConfigError
from joulemark_gateway.access import passwords
from joulemark_gateway.access.passwords import hashed, matches, require_good

GOOD = "rusty bucket seven cranes"


def test_the_password_matches_what_was_kept_of_it_and_no_other_does():
    kept = hashed(GOOD)
    assert matches(GOOD, kept)
    assert not matches(GOOD + " ", kept)
    assert not matches("", kept)
    assert GOOD not in kept
    assert hashed(GOOD) != kept, "the same password of two users is not seen to be the same"


@pytest.mark.parametrize("text", ["비밀번호 열두자리 예시", "Ålesund ½ ﬁsh market"])
def test_another_keyboard_may_compose_the_same_letters_otherwise(text):
    assert matches(unicodedata.normalize("NFD", text), hashed(unicodedata.normalize("NFC", text)))


@given(st.text(max_size=40), st.text(max_size=40))
def test_whatever_is_typed_is_judged_and_never_an_error(one, other):
    same = unicodedata.normalize("NFKC", one) == unicodedata.normalize("NFKC", other)
    assert matches(one, hashed(other)) == same


def test_what_is_kept_costs_as_much_to_guess_as_is_recommended(monkeypatch):
    """OWASP: at least N = 2^15, r = 8, p = 3 for scrypt; a user who is none takes the same."""
    monkeypatch.undo()
    asked = []
    scrypt = hashlib.scrypt

    def watched(*args, **values):
        asked.append({name: values[name] for name in ("n", "r", "p")})
        return scrypt(*args, **values)

    monkeypatch.setattr(hashlib, "scrypt", watched)
    assert matches(GOOD, hashed(GOOD))
    assert not matches(GOOD, None)
    assert asked == [{"n": 2**15, "r": 8, "p": 3}] * 3


def test_what_was_kept_with_other_costs_still_matches(monkeypatch):
    kept = hashed(GOOD)
    monkeypatch.setattr(passwords, "_COST", 2**5)
    assert matches(GOOD, kept)
    assert "$32$" in hashed(GOOD)


@pytest.mark.parametrize(
    "text",
    ["short", "", "a" * 12, "abababababab", "anna has a long one", "Passw0rd12345678", "x" * 300],
)
def test_what_is_guessed_first_is_refused_without_being_shown(text):
    with pytest.raises(ConfigError) as refused:
        require_good(text, "anna")
    assert refused.value.code == "weak_password"
    assert not text or text not in str(refused.value)
    require_good(GOOD, "anna")
