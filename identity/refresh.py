"""Refresh tokens: opaque, one use each, replaced at every use (AUTH-4, RFC 9700 §4.14).

A token is the session id, 256 secret bits and a tag, in URL-safe base64; the database knows its SHA-256. The
tag proves that this engine issued it, so an old one is told from a forgery without keeping old hashes. The
successor is derived from the token and a key: a device whose answer got lost is given the same one again.
"""

import hmac
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from hashlib import sha256
from uuid import UUID

from storage.ids import SessionId

_SECRET_BYTES, _TAG_BYTES = 32, 12
_LENGTH = 16 + _SECRET_BYTES + _TAG_BYTES
_TEXT_LENGTH = _LENGTH * 4 // 3


@dataclass(frozen=True, slots=True)
class RefreshToken:
    session: SessionId
    text: str

    @property
    def sha256(self) -> bytes:
        return sha256(self.text.encode()).digest()


class RefreshTokens:
    """Issues, reads and succeeds tokens under one key."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def issue(self, session: SessionId) -> RefreshToken:
        """The first token of a session."""
        return self._build(session, secrets.token_bytes(_SECRET_BYTES))

    def read(self, text: str) -> RefreshToken | None:
        """The token if this engine issued it, whether or not it is still the current one."""
        if len(text) != _TEXT_LENGTH or not text.isascii():
            return None
        try:
            raw = urlsafe_b64decode(text)
        except ValueError:
            return None
        if len(raw) != _LENGTH or not hmac.compare_digest(raw[-_TAG_BYTES:], self._tag(raw[:-_TAG_BYTES])):
            return None
        token = RefreshToken(SessionId(str(UUID(bytes=raw[:16]))), text)
        return token if urlsafe_b64encode(raw).decode() == text else None

    def successor(self, token: RefreshToken) -> RefreshToken:
        """The token that replaces this one: always the same."""
        return self._build(token.session, self._mac(b"successor", token.text.encode()))

    def _build(self, session: SessionId, secret: bytes) -> RefreshToken:
        raw = UUID(session).bytes + secret
        return RefreshToken(session, urlsafe_b64encode(raw + self._tag(raw)).decode())

    def _tag(self, raw: bytes) -> bytes:
        return self._mac(b"tag", raw)[:_TAG_BYTES]

    def _mac(self, purpose: bytes, message: bytes) -> bytes:
        return hmac.digest(self._key, purpose + b"\0" + message, "sha256")
