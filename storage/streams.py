"""A person's own durable streams, `me` and `fences`, and the crossings that feed the latter."""

from dataclasses import dataclass

import asyncpg

from storage.messages import moment

STREAMS = ("me", "fences")


@dataclass(frozen=True, slots=True)
class UserEvent:
    """One event of a person's stream. `body` is JSON text."""

    offset: int
    at_ms: int
    id: str
    body: str


@dataclass(frozen=True, slots=True)
class UserRecord:
    """What a user actor starts from."""

    visibility_audience: str
    visibility_precision: str
    blocked: frozenset[str]
    matched: frozenset[str]
    group_mates: frozenset[str]
    open_visits: dict[str, tuple[int, int]]
    """Fence → (visit, entered_at_ms) of those whose inside this person is."""
    visits: dict[str, int]
    """Fence → number of visits so far."""
    auto_join: frozenset[str]
    """Fences whose bound room may take this person in."""


@dataclass(frozen=True, slots=True)
class CrossingRow:
    """A crossing as it is stored. `membership` is join, leave or empty."""

    user: str
    fence: str
    visit: int
    event: str
    at_ms: int
    body: str
    event_id: str
    room: str = ""
    membership: str = ""


async def load_user(connection: asyncpg.Connection, user: str) -> UserRecord | None:
    """The facts about one person that their actor decides by; None where there is no such active person."""
    found = await connection.fetchrow(
        "SELECT visibility_audience, visibility_precision FROM users WHERE id = $1 AND status = 'active'",
        user,
    )
    if found is None:
        return None
    blocked: set[str] = set()
    matched: set[str] = set()
    for row in await connection.fetch(
        """SELECT low_id, high_id, state, low_blocks OR high_blocks AS blocked FROM connections
        WHERE (low_id = $1 OR high_id = $1) AND (low_blocks OR high_blocks OR state = 'matched')""",
        user,
    ):
        other = str(row["high_id"]) if str(row["low_id"]) == user else str(row["low_id"])
        (blocked if row["blocked"] else matched).add(other)
    mates = await connection.fetch(
        """SELECT DISTINCT o.user_id FROM room_members m JOIN rooms r ON r.id = m.room_id AND r.kind = 'group'
        JOIN room_members o ON o.room_id = m.room_id AND o.state = 'member'
        WHERE m.user_id = $1 AND m.state = 'member' AND o.user_id <> $1 LIMIT 100000""",
        user,
    )
    visits = await connection.fetch(
        """SELECT fence_id, max(visit) AS visits,
            max(visit) FILTER (WHERE exited_at IS NULL) AS open,
            max(extract(epoch FROM entered_at) * 1000) FILTER (WHERE exited_at IS NULL) AS entered_ms
        FROM fence_visits WHERE user_id = $1 GROUP BY fence_id""",
        user,
    )
    grants = await connection.fetch(
        "SELECT fence_id FROM fence_grants WHERE user_id = $1 AND auto_join", user
    )
    return UserRecord(
        found["visibility_audience"],
        found["visibility_precision"],
        frozenset(blocked),
        frozenset(matched),
        frozenset(str(r["user_id"]) for r in mates),
        {str(r["fence_id"]): (r["open"], int(r["entered_ms"])) for r in visits if r["open"] is not None},
        {str(r["fence_id"]): r["visits"] for r in visits},
        frozenset(str(r["fence_id"]) for r in grants),
    )


async def head(connection: asyncpg.Connection, user: str, stream: str) -> tuple[str, int]:
    """(epoch, last offset) of a stream; it begins to exist when first asked for."""
    row = await connection.fetchrow(
        """INSERT INTO user_streams AS s (user_id, stream, epoch)
        VALUES ($1, $2, replace(gen_random_uuid()::text, '-', ''))
        ON CONFLICT (user_id, stream) DO UPDATE SET epoch = s.epoch RETURNING epoch, last_offset""",
        user,
        stream,
    )
    return row["epoch"], row["last_offset"]


async def events(
    connection: asyncpg.Connection,
    user: str,
    stream: str,
    *,
    after: int,
    before: int,
    limit: int,
    newest_first: bool,
) -> list[UserEvent]:
    """Up to `limit` events with after < offset < before, from either end."""
    order = "DESC" if newest_first else "ASC"
    rows = await connection.fetch(
        f"""SELECT "offset", at, id, body FROM user_events WHERE user_id = $1 AND stream = $2
        AND "offset" > $3 AND "offset" < $4 ORDER BY "offset" {order} LIMIT $5""",
        user,
        stream,
        after,
        before,
        limit,
    )
    return [UserEvent(r["offset"], round(r["at"].timestamp() * 1000), str(r["id"]), r["body"]) for r in rows]


async def record_crossing(
    connection: asyncpg.Connection, fences: list[tuple[int, int]], crossing: CrossingRow
) -> int | None:
    """Applies a crossing once (migration 0002); the event's offset, or None if it was applied before."""
    offset: int | None = await connection.fetchval(
        "SELECT record_crossing($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11)",
        [slot for slot, _ in fences],
        [epoch for _, epoch in fences],
        crossing.user,
        crossing.fence,
        crossing.visit,
        crossing.event,
        moment(crossing.at_ms),
        crossing.body,
        crossing.event_id,
        crossing.room or None,
        crossing.membership,
    )
    return offset


async def is_applied(connection: asyncpg.Connection, crossing: CrossingRow) -> bool:
    """Whether this crossing is in the visits already."""
    applied: bool = await connection.fetchval(
        """SELECT EXISTS (SELECT 1 FROM fence_visits WHERE user_id = $1 AND fence_id = $2 AND visit = $3
        AND ($4 <> 'exit' OR exited_at IS NOT NULL))""",
        crossing.user,
        crossing.fence,
        crossing.visit,
        crossing.event,
    )
    return applied
