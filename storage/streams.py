"""A person's own durable streams, `me` and `fences`, and the crossings that feed the latter."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

from storage.ghosts import Ghost, ghost_of
from storage.messages import moment
from storage.shares import GivenShare, given_shares

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
    shares: tuple[GivenShare, ...] = ()
    """What this person shares."""
    ghost: Ghost | None = None


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
    return (await load_users(connection, [user])).get(user)


async def load_users(connection: asyncpg.Connection, users: Sequence[str]) -> dict[str, UserRecord]:
    """The same about many, in as many queries; who is not an active person is left out."""
    found = await connection.fetch(
        """SELECT id::text, visibility_audience, visibility_precision, ghost_mode, ghost_since, ghost_until
        FROM users
        WHERE id = ANY($1::uuid[]) AND status = 'active'""",
        users,
    )
    blocked: dict[str, set[str]] = defaultdict(set)
    matched: dict[str, set[str]] = defaultdict(set)
    for row in await connection.fetch(
        """SELECT w.id::text AS one, low_blocks OR high_blocks AS blocked,
            CASE WHEN c.low_id = w.id THEN c.high_id ELSE c.low_id END::text AS other
        FROM unnest($1::uuid[]) AS w (id) CROSS JOIN LATERAL (
            SELECT * FROM connections WHERE low_id = w.id
            UNION ALL SELECT * FROM connections WHERE high_id = w.id) c
        WHERE low_blocks OR high_blocks OR c.state = 'matched'""",
        users,
    ):
        (blocked if row["blocked"] else matched)[row["one"]].add(row["other"])
    mates: dict[str, set[str]] = defaultdict(set)
    for row in await connection.fetch(
        """SELECT w.id::text AS one, c.mate::text FROM unnest($1::uuid[]) AS w (id) CROSS JOIN LATERAL (
            SELECT DISTINCT o.user_id AS mate FROM room_members m
            JOIN rooms r ON r.id = m.room_id AND r.kind = 'group'
            JOIN room_members o ON o.room_id = m.room_id AND o.state = 'member'
            WHERE m.user_id = w.id AND m.state = 'member' AND o.user_id <> w.id LIMIT 100000) c""",
        users,
    ):
        mates[row["one"]].add(row["mate"])
    visits: dict[str, dict[str, int]] = defaultdict(dict)
    open_visits: dict[str, dict[str, tuple[int, int]]] = defaultdict(dict)
    for row in await connection.fetch(
        """SELECT user_id::text AS one, fence_id::text AS fence, max(visit) AS visits,
            max(visit) FILTER (WHERE exited_at IS NULL) AS open,
            max(extract(epoch FROM entered_at) * 1000) FILTER (WHERE exited_at IS NULL) AS entered_ms
        FROM fence_visits WHERE user_id = ANY($1::uuid[]) GROUP BY user_id, fence_id""",
        users,
    ):
        visits[row["one"]][row["fence"]] = row["visits"]
        if row["open"] is not None:
            open_visits[row["one"]][row["fence"]] = (row["open"], int(row["entered_ms"]))
    grants: dict[str, set[str]] = defaultdict(set)
    for row in await connection.fetch(
        """SELECT user_id::text AS one, fence_id::text AS fence FROM fence_grants
        WHERE user_id = ANY($1::uuid[]) AND auto_join""",
        users,
    ):
        grants[row["one"]].add(row["fence"])
    shares = await given_shares(connection, users)
    return {
        one: UserRecord(
            row["visibility_audience"],
            row["visibility_precision"],
            frozenset(blocked.get(one, ())),
            frozenset(matched.get(one, ())),
            frozenset(mates.get(one, ())),
            open_visits.get(one, {}),
            visits.get(one, {}),
            frozenset(grants.get(one, ())),
            shares.get(one, ()),
            ghost_of(row),
        )
        for row in found
        for one in (row["id"],)
    }


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
