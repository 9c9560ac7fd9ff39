"""Rows of sign-ins: one session a device, its refresh token known by SHA-256 only (AUTH-4, AUTH-5)."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from storage.ids import SessionId, UserId


@dataclass(frozen=True, slots=True)
class SessionRow:
    session: SessionId
    user: UserId
    device: str
    refresh_sha256: bytes
    rotated_at: datetime | None
    expires_at: datetime
    revoked_at: datetime | None


async def insert_session(
    connection: Any,
    *,
    session: SessionId,
    user: UserId,
    device: str,
    refresh_sha256: bytes,
    created_at: datetime,
    expires_at: datetime,
) -> None:
    await connection.execute(
        "INSERT INTO sessions (id, user_id, device, refresh_sha256, created_at, expires_at) "
        "VALUES ($1, $2, $3, $4, $5, $6)",
        session,
        user,
        device,
        refresh_sha256,
        created_at,
        expires_at,
    )


async def rotate_refresh(
    connection: Any,
    session: SessionId,
    *,
    presented: bytes,
    successor: bytes,
    now: datetime,
    expires_at: datetime,
) -> UserId | None:
    """Replaces the hash `presented` by `successor` in one compare-and-set. None: it is not the current one,
    or the session has ended or its owner may not sign in.
    """
    user = await connection.fetchval(
        "UPDATE sessions s SET refresh_sha256 = $3, refresh_generation = refresh_generation + 1, "
        "rotated_at = $4, expires_at = $5 FROM users u "
        "WHERE s.id = $1 AND s.refresh_sha256 = $2 AND s.revoked_at IS NULL AND s.expires_at > $4 "
        "AND u.id = s.user_id AND u.status IN ('active', 'paused') RETURNING s.user_id::text",
        session,
        presented,
        successor,
        now,
        expires_at,
    )
    return None if user is None else UserId(user)


async def load_session(connection: Any, session: SessionId) -> SessionRow | None:
    row = await connection.fetchrow(
        "SELECT id::text, user_id::text, device, refresh_sha256, rotated_at, expires_at, revoked_at "
        "FROM sessions WHERE id = $1",
        session,
    )
    return None if row is None else SessionRow(*row)


async def revoke_session(connection: Any, session: SessionId, now: datetime) -> bool:
    """Whether this ended it (false: it had ended, or never was)."""
    ended = await connection.fetchval(
        "UPDATE sessions SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL RETURNING true",
        session,
        now,
    )
    return bool(ended)
