"""Access tokens are ours, fresh and signed, or refused."""

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from identity import tokens
from identity.keys import _generate
from identity.tokens import TokenExpired, TokenInvalid, TokenVerifier, UnknownKey, issue_access_token
from storage.ids import SessionId, UserId, new_id

NOW_S = 1_800_000_000.0
KEY = _generate()
USER = UserId(new_id())


def verifier() -> TokenVerifier:
    return TokenVerifier({KEY.kid: KEY.public_jwk})


def claims(**changes):
    good = {"iss": "hereabouts", "aud": "hereabouts", "sub": USER, "sid": new_id(), "iat": int(NOW_S),
            "exp": int(NOW_S) + 600, "jti": new_id()}  # fmt: skip
    return {name: value for name, value in {**good, **changes}.items() if value is not None}


def signed(payload, key=KEY.private_key, algorithm="ES256", **header):
    return jwt.encode(payload, key, algorithm, headers={"kid": KEY.kid, **header})


def test_an_issued_token_names_its_user_session_and_end():
    session = SessionId(new_id())
    token = issue_access_token(KEY, user=USER, session=session, now_s=NOW_S, lifetime_s=90)
    found = verifier().verify(token, NOW_S)
    assert (found.user, found.session, found.expires_at_s) == (USER, session, NOW_S + 90)


def test_the_header_names_the_key_and_es256():
    header = jwt.get_unverified_header(issue_access_token(KEY, user=USER, now_s=NOW_S))
    assert (header["alg"], header["kid"]) == ("ES256", KEY.kid)


def test_the_default_lifetime_is_ten_minutes():
    token = issue_access_token(KEY, user=USER, now_s=NOW_S)
    assert verifier().verify(token, NOW_S).expires_at_s == NOW_S + 600


def test_a_token_ends_at_its_second_also_when_it_was_seen_before():
    token, checker = issue_access_token(KEY, user=USER, now_s=NOW_S, lifetime_s=30), verifier()
    checker.verify(token, NOW_S + 29)
    with pytest.raises(TokenExpired):
        checker.verify(token, NOW_S + 30)


def test_replaced_keys_are_forgotten_at_once():
    token, checker = issue_access_token(KEY, user=USER, now_s=NOW_S), verifier()
    checker.verify(token, NOW_S)
    checker.replace_keys({})
    with pytest.raises(UnknownKey):
        checker.verify(token, NOW_S)


def test_a_verified_token_is_not_verified_again_for_a_minute(monkeypatch):
    token, checker = issue_access_token(KEY, user=USER, now_s=NOW_S), verifier()
    checker.verify(token, NOW_S)
    calls = []
    decode = jwt.decode
    monkeypatch.setattr(tokens.jwt, "decode", lambda *a, **k: calls.append(1) or decode(*a, **k))
    checker.verify(token, NOW_S + 59)
    assert calls == []
    checker.verify(token, NOW_S + 61)
    assert calls == [1]


@pytest.mark.parametrize("claim", ["iss", "aud", "sub", "sid", "iat", "exp", "jti"])
def test_every_claim_is_required(claim):
    with pytest.raises(TokenInvalid):
        verifier().verify(signed(claims(**{claim: None})), NOW_S)


@pytest.mark.parametrize(
    "changes",
    [{"iss": "another"}, {"aud": "another"}, {"sub": "not an id"}, {"sid": "not an id"}, {"exp": "soon"},
     {"exp": 1e300}, {"sub": USER.upper()}],
)  # fmt: skip
def test_a_wrong_claim_is_refused(changes):
    with pytest.raises(TokenInvalid):
        verifier().verify(signed(claims(**changes)), NOW_S)


def test_another_algorithm_is_refused():
    with pytest.raises(TokenInvalid):
        verifier().verify(signed(claims(), "x" * 32, "HS256"), NOW_S)
    with pytest.raises(TokenInvalid):
        verifier().verify(signed(claims(), None, "none"), NOW_S)


def test_a_forgery_under_a_known_kid_is_refused():
    with pytest.raises(TokenInvalid):
        verifier().verify(signed(claims(), ec.generate_private_key(ec.SECP256R1())), NOW_S)


def test_a_token_without_kid_is_refused():
    with pytest.raises(TokenInvalid):
        verifier().verify(jwt.encode(claims(), KEY.private_key, "ES256"), NOW_S)


@given(st.one_of(st.text(), st.binary().map(lambda raw: raw.decode("latin1")), st.just("." * 5000)))
def test_any_text_is_a_verdict_and_no_crash(text):
    with pytest.raises(TokenInvalid):
        verifier().verify(text, NOW_S)


def test_the_cache_is_bounded(monkeypatch):
    monkeypatch.setattr(tokens, "CACHE_LIMIT", 3)
    checker = verifier()
    for _ in range(9):
        checker.verify(issue_access_token(KEY, user=USER, now_s=NOW_S), NOW_S)
    assert len(checker._cache) == 3
