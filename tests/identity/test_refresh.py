"""Refresh tokens prove their origin and have one successor."""

from hypothesis import given
from hypothesis import strategies as st

from identity.refresh import RefreshTokens
from storage.ids import SessionId, new_id

SESSION = SessionId(new_id())


def test_a_token_reads_back_and_has_always_the_same_successor():
    issuer = RefreshTokens(b"k" * 32)
    token = issuer.issue(SESSION)
    assert issuer.read(token.text) == token
    assert issuer.successor(token) == issuer.successor(token) != token
    assert issuer.read(issuer.successor(token).text).session == SESSION


def test_two_sign_ins_have_different_tokens():
    issuer = RefreshTokens(b"k" * 32)
    assert issuer.issue(SESSION) != issuer.issue(SESSION)


def test_another_engines_token_is_not_read():
    assert RefreshTokens(b"k" * 32).read(RefreshTokens(b"l" * 32).issue(SESSION).text) is None


@given(st.integers(0, 79), st.sampled_from("ABCabc012-_+/= é"))
def test_a_changed_token_is_not_read(index, character):
    issuer = RefreshTokens(b"k" * 32)
    text = issuer.issue(SESSION).text
    changed = text[:index] + character + text[index + 1 :]
    assert issuer.read(changed) is None or changed == text


@given(st.text())
def test_any_text_is_read_as_nothing(text):
    assert RefreshTokens(b"k" * 32).read(text) is None
