"""A person's own durable streams, `me` and `fences`, and what their actor starts from."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from storage.decisions import TallyRow
from storage.ghosts import Ghost, ghost_of
from storage.places import StayRow, open_stays
from storage.shares import GivenShare, given_shares

STREAMS = ("me", "fences")
_NO_TALLY = TallyRow()
TALLY = ("given", "given_yes", "received", "received_yes", "surprise")


@dataclass(frozen=True, slots=True)
class UserEvent:
    """One event of a person's stream. `body` is JSON text."""

    offset: int
    at_ms: int
    id: str
    body: str


@dataclass(frozen=True, slots=True)
class OpenVisit:
    """A visit of a fence that has not ended. `room` is the one that it may have joined, `ended` why the fence
    is no more; both may be empty.
    """

    visit: int
    entered_at_ms: int
    dwelled_at_ms: int | None = None
    confidence: float = 1.0
    room: str = ""
    ended: str = ""


@dataclass(frozen=True, slots=True)
class UserRecord:
    """What a user actor starts from."""

    visibility_audience: str
    visibility_precision: str
    blocked: frozenset[str]
    matched: frozenset[str]
    group_mates: frozenset[str]
    open_visits: dict[str, OpenVisit]
    """Fence → visit of those whose inside this person is."""
    visits: dict[str, int]
    """Fence → number of visits so far."""
    left_at_ms: dict[str, int]
    """Fence → when its last visit ended, where it has."""
    auto_join: frozenset[str]
    """Fences whose bound room may take this person in."""
    shares: tuple[GivenShare, ...] = ()
    """What this person shares."""
    ghost: Ghost | None = None
    keeps_places: bool = True
    """Whether they want their own places kept."""
    open_stay: StayRow | None = None
    """Where they stay, as it was stored last."""
    tally: TallyRow = _NO_TALLY
    """What they decided, and what was decided about them (MATCH-4)."""


async def load_user(connection: asyncpg.Connection, user: str) -> UserRecord | None:
    """The facts about one person that their actor decides by; None where there is no such active person."""
    return (await load_users(connection, [user])).get(user)


async def load_users(connection: asyncpg.Connection, users: Sequence[str]) -> dict[str, UserRecord]:
    """The same about many, in as many queries; who is not an active person is left out."""
    found = await connection.fetch(
        """SELECT id::text, visibility_audience, visibility_precision, ghost_mode, ghost_since, ghost_until,
            keeps_places, coalesce(given, 0) AS given, coalesce(given_yes, 0) AS given_yes,
            coalesce(received, 0) AS received, coalesce(received_yes, 0) AS received_yes,
            coalesce(surprise, 0) AS surprise FROM users LEFT JOIN match_tallies ON user_id = id
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
    open_visits: dict[str, dict[str, OpenVisit]] = defaultdict(dict)
    left: dict[str, dict[str, int]] = defaultdict(dict)
    for row in await connection.fetch(
        """SELECT DISTINCT ON (v.user_id, v.fence_id) v.user_id::text AS one, v.fence_id::text AS fence,
            v.visit, v.entered_at, v.exited_at, v.dwelled_at, v.confidence,
            coalesce(v.room_id::text, '') AS room,
            CASE WHEN f.removed_at IS NULL THEN '' ELSE coalesce(f.removed_why, 'fence_removed') END AS ended
        FROM fence_visits v LEFT JOIN fences f ON f.id = v.fence_id
        WHERE v.user_id = ANY($1::uuid[]) ORDER BY v.user_id, v.fence_id, v.visit DESC""",
        users,
    ):
        visits[row["one"]][row["fence"]] = row["visit"]
        if row["exited_at"] is not None:
            left[row["one"]][row["fence"]] = _ms(row["exited_at"])
            continue
        open_visits[row["one"]][row["fence"]] = OpenVisit(
            row["visit"],
            _ms(row["entered_at"]),
            None if row["dwelled_at"] is None else _ms(row["dwelled_at"]),
            row["confidence"],
            row["room"],
            row["ended"],
        )
    grants: dict[str, set[str]] = defaultdict(set)
    for row in await connection.fetch(
        """SELECT user_id::text AS one, fence_id::text AS fence FROM fence_grants
        WHERE user_id = ANY($1::uuid[]) AND auto_join""",
        users,
    ):
        grants[row["one"]].add(row["fence"])
    shares = await given_shares(connection, users)
    stays = {stay.user: stay for stay in await open_stays(connection, users)}
    return {
        one: UserRecord(
            row["visibility_audience"],
            row["visibility_precision"],
            frozenset(blocked.get(one, ())),
            frozenset(matched.get(one, ())),
            frozenset(mates.get(one, ())),
            open_visits.get(one, {}),
            visits.get(one, {}),
            left.get(one, {}),
            frozenset(grants.get(one, ())),
            shares.get(one, ()),
            ghost_of(row),
            row["keeps_places"],
            stays.get(one),
            TallyRow(*(row[each] for each in TALLY)) if row["given"] + row["received"] else _NO_TALLY,
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
    return [UserEvent(r["offset"], _ms(r["at"]), str(r["id"]), r["body"]) for r in rows]


def _ms(at: datetime) -> int:
    return round(at.timestamp() * 1000)
