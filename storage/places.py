"""Rows of people's own places and of their stays there (GEO-19). What tells where is sealed before it comes
here (identity/places.py).
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from storage.messages import moment

RETENTION = timedelta(days=90)
"""Single stays older than this go; the places that they made stay."""


@dataclass(frozen=True, slots=True)
class PlaceRow:
    place: str
    user: str
    sealed: bytes


@dataclass(frozen=True, slots=True)
class StayRow:
    """A stay, by who and since when (Unix ms)."""

    user: str
    since_ms: int
    is_over: bool
    place: str
    sealed: bytes


async def assert_epochs(connection: Any, slots: Sequence[int], epochs: Sequence[int]) -> None:
    """Fails with FENCED unless each slot still has its epoch; they keep it until the transaction ends."""
    await connection.execute("SELECT assert_epochs($1, $2)", list(slots), list(epochs))


async def lock(connection: Any, users: Collection[str]) -> None:
    """Until the transaction ends, nobody else changes these people's places."""
    assert connection.is_in_transaction(), "the lock ends with the transaction"
    await connection.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended('places:' || one, 0)) FROM ("
        "SELECT DISTINCT one FROM unnest($1::text[]) AS w (one) ORDER BY one) people",
        list(users),
    )


async def places_of(connection: Any, users: Collection[str]) -> list[PlaceRow]:
    """All their places, oldest first."""
    rows = await connection.fetch(
        "SELECT id::text, user_id::text, sealed FROM places WHERE user_id = ANY($1::uuid[]) ORDER BY id",
        list(users),
    )
    return [PlaceRow(*row) for row in rows]


async def load_place(connection: Any, user: str, place: str) -> PlaceRow | None:
    """One place, if it is this person's."""
    row = await connection.fetchrow(
        "SELECT id::text, user_id::text, sealed FROM places WHERE id = $2 AND user_id = $1", user, place
    )
    return None if row is None else PlaceRow(*row)


_STAY = "user_id::text, round(extract(epoch FROM since) * 1000)::bigint, is_over, place_id::text, sealed"


async def stays_of(connection: Any, user: str) -> list[StayRow]:
    """A person's stays within the retention, oldest first."""
    rows = await connection.fetch(f"SELECT {_STAY} FROM stays WHERE user_id = $1 ORDER BY since", user)
    return [StayRow(*row) for row in rows]


async def open_stays(connection: Any, users: Collection[str]) -> list[StayRow]:
    """Those that go on."""
    rows = await connection.fetch(
        f"SELECT {_STAY} FROM stays WHERE user_id = ANY($1::uuid[]) AND NOT is_over", list(users)
    )
    return [StayRow(*row) for row in rows]


async def stays_at(connection: Any, stays: Sequence[tuple[str, int]]) -> list[StayRow]:
    """Those of these (user, since_ms) that are stored."""
    rows = await connection.fetch(
        f"SELECT {_STAY} FROM stays JOIN unnest($1::uuid[], $2::timestamptz[]) AS w (of_user, at) "
        "ON user_id = of_user AND since = at",
        [user for user, _ in stays],
        [moment(since_ms) for _, since_ms in stays],
    )
    return [StayRow(*row) for row in rows]


async def put_places(connection: Any, places: Sequence[PlaceRow]) -> None:
    """Stores them, or replaces what they were."""
    await connection.executemany(
        "INSERT INTO places (id, user_id, sealed) VALUES ($1, $2, $3) "
        "ON CONFLICT (id) DO UPDATE SET sealed = excluded.sealed",
        [(row.place, row.user, row.sealed) for row in places],
    )


async def put_stays(connection: Any, stays: Sequence[StayRow]) -> None:
    """Stores them, or replaces what they were; those that end first, for a person has one that goes on."""
    await connection.executemany(
        "INSERT INTO stays (user_id, since, is_over, place_id, sealed) VALUES ($1, $2, $3, $4, $5) "
        "ON CONFLICT (user_id, since) DO UPDATE SET is_over = excluded.is_over, sealed = excluded.sealed",
        [
            (row.user, moment(row.since_ms), row.is_over, row.place, row.sealed)
            for row in sorted(stays, key=lambda row: not row.is_over)
        ],
    )


async def erase_of_the_gone(connection: Any, user: str | None = None) -> None:
    """Erases what is known of people whose account is erased, or is to be; of one, or of all such. Who only
    pauses keeps it.
    """
    for table in ("stays", "places"):
        await connection.execute(
            f"DELETE FROM {table} t WHERE ($1::uuid IS NULL OR t.user_id = $1) AND NOT EXISTS ("
            "SELECT 1 FROM users u WHERE u.id = t.user_id AND u.status NOT IN ('deleting', 'erased'))",
            user,
        )


async def forget_old(connection: Any, now: datetime) -> None:
    """Removes everybody's stays that are older than the retention."""
    await connection.execute("DELETE FROM stays WHERE is_over AND since < $1", now - RETENTION)


async def remove_places(connection: Any, places: Collection[str]) -> None:
    """Removes these places, and the stays there."""
    await connection.execute("DELETE FROM places WHERE id = ANY($1::uuid[])", list(places))


async def erase(connection: Any, user: str) -> int:
    """Removes all that is known of where a person stays; returns how many places that were."""
    await connection.execute("DELETE FROM stays WHERE user_id = $1", user)
    done: str = await connection.execute("DELETE FROM places WHERE user_id = $1", user)
    return int(done.rpartition(" ")[2])
