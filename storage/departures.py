"""Accounts that are given up: from `active` over `deleting` to `erased`."""

from datetime import datetime, timedelta
from typing import Any

from storage.ids import UserId

TOMBSTONE = "#"
"""What the handle of the erased begins with, which nobody's can; their id follows."""


async def begin(connection: Any, user: UserId, now: datetime, due_at: datetime) -> bool:
    """The account is `deleting` from now on and its sign-ins have ended; false where it takes no part."""
    left = await connection.fetchval(
        "UPDATE users SET status = 'deleting', version = version + 1, ghost_mode = NULL, "
        "ghost_since = NULL, ghost_until = NULL "
        "WHERE id = $1 AND status IN ('active', 'paused') RETURNING true",
        user,
    )
    if not left:
        return False
    await connection.execute(
        "INSERT INTO departures (user_id, at, due_at) VALUES ($1, $2, $3)", user, now, due_at
    )
    await connection.execute(
        "UPDATE sessions SET revoked_at = $2 WHERE user_id = $1 AND revoked_at IS NULL", user, now
    )
    return True


async def departed_since(connection: Any, since: datetime) -> set[str]:
    """Whose account was given up after that."""
    rows = await connection.fetch("SELECT user_id::text FROM departures WHERE at > $1", since)
    return {row[0] for row in rows}


async def due(connection: Any, user: str, now: datetime) -> bool:
    """Whether this account is to be erased now; locked until the transaction ends."""
    return bool(
        await connection.fetchval(
            "SELECT true FROM departures WHERE user_id = $1 AND due_at <= $2 AND erased_at IS NULL "
            "FOR UPDATE",
            user,
            now,
        )
    )


async def remaining(connection: Any, user: str, now: datetime) -> timedelta | None:
    """How long until this account is to be erased; None where it is not, or is already."""
    due_at = await connection.fetchval(
        "SELECT due_at FROM departures WHERE user_id = $1 AND erased_at IS NULL", user
    )
    return None if due_at is None else due_at - now


async def bury(connection: Any, user: str, now: datetime) -> None:
    """Leaves of the account an id that is nobody's: others' logs name it. The handle is free again. In the
    caller's transaction.
    """
    for statement in (
        "DELETE FROM sessions WHERE user_id = $1",
        "DELETE FROM connections WHERE low_id = $1 OR high_id = $1",
        "DELETE FROM room_members WHERE user_id = $1",
        "DELETE FROM user_events WHERE user_id = $1",
        "DELETE FROM user_streams WHERE user_id = $1",
    ):
        await connection.execute(statement, user)
    await connection.execute(
        "UPDATE users SET status = 'erased', handle = $2 || id::text, password_hash = NULL, mail = NULL, "
        "birth_date = '1900-01-01', roles = '{}', visibility_audience = 'nobody', "
        "visibility_precision = 'hidden', who_can_add_me = 'nobody', keeps_places = false, "
        "version = version + 1 WHERE id = $1",
        user,
        TOMBSTONE,
    )
    await connection.execute("UPDATE departures SET erased_at = $2 WHERE user_id = $1", user, now)
