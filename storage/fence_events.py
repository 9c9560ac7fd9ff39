"""What happened at a fence, as its owner and apps may read it (GEO-14): offsets per fence, without a gap.

Only visits of people who said that they may be counted (or be named: `exact`) stand here; of an app's fence,
everybody's. Who it was is told only where the person grants the owner `exact` now, and no block stands
between them and whoever reads; so what is withdrawn later is hidden in history, too.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg

from storage.connections import BLOCKED_WITH

_PRIVATE = frozenset({"not_in_audience", "hidden", "account_erased"})
"""Reasons that would tell what the person did; to others it is an exit like any."""

_IS_NAMED = f"""EXISTS (SELECT 1 FROM fence_grants g WHERE g.fence_id = $1 AND g.user_id = {{user}}
    AND g."grant" = 'exact'
    AND NOT {BLOCKED_WITH.format(one="{user}", other="f.owner_id")}
    AND NOT {BLOCKED_WITH.format(one="{user}", other="coalesce($2, f.owner_id)")})"""


@dataclass(frozen=True, slots=True)
class FenceHead:
    """What a fence's actor starts from. `viewers` may look: the owner; apps are asked for."""

    owner: str
    epoch: str
    top: int
    inside: int


@dataclass(frozen=True, slots=True)
class FenceEvent:
    """One event. `user` is empty where nobody may know, `person` is who it was whatever they may know, empty
    only if erased. `body` is JSON text for whoever reads it.
    """

    offset: int
    at_ms: int
    id: str
    event: str
    user: str
    person: str
    inside: int
    body: str


async def head(connection: asyncpg.Connection, fence: str) -> FenceHead | None:
    """Where the fence's stream is, which begins to exist when it is first asked for; None without a fence."""
    row = await connection.fetchrow(
        """WITH f AS (SELECT id, owner_id::text AS owner FROM fences WHERE id = $1),
        made AS (INSERT INTO fence_streams AS s (fence_id, epoch)
            SELECT id, replace(gen_random_uuid()::text, '-', '') FROM f
            ON CONFLICT (fence_id) DO UPDATE SET epoch = s.epoch RETURNING epoch, last_offset, inside)
        SELECT owner, epoch, last_offset, inside FROM f, made""",
        fence,
    )
    return None if row is None else FenceHead(*row)


async def is_app(connection: asyncpg.Connection, user: str) -> bool:
    """Whether this is an active person with the role `app`, who may look at every fence."""
    return bool(
        await connection.fetchval(
            "SELECT 'app' = ANY(roles) FROM users WHERE id = $1 AND status = 'active'", user
        )
    )


async def events(
    connection: asyncpg.Connection,
    fence: str,
    viewer: str | None,
    *,
    after: int,
    before: int,
    limit: int,
    newest_first: bool = False,
) -> list[FenceEvent]:
    """Up to `limit` events with after < offset < before, from either end, as `viewer` may see them; None:
    as the owner may.
    """
    order = "DESC" if newest_first else "ASC"
    rows = await connection.fetch(
        f"""SELECT e."offset", e.at, e.id, e.event, e.inside, e.body,
            coalesce(e.user_id::text, '') AS person,
            CASE WHEN {_IS_NAMED.format(user="e.user_id")} THEN e.user_id::text ELSE '' END AS user
        FROM fence_events e JOIN fences f ON f.id = e.fence_id
        WHERE e.fence_id = $1 AND e."offset" > $3 AND e."offset" < $4 ORDER BY e."offset" {order} LIMIT $5""",
        fence,
        viewer,
        after,
        before,
        limit,
    )
    return [_event(row) for row in rows]


async def named_inside(connection: asyncpg.Connection, fence: str, viewer: str | None) -> dict[str, int]:
    """Person → entered_at_ms of those inside whom `viewer` (None: the owner) may know."""
    rows = await connection.fetch(
        f"""SELECT v.user_id::text AS user, v.entered_at
        FROM fence_visits v JOIN fences f ON f.id = v.fence_id
        WHERE v.fence_id = $1 AND v.exited_at IS NULL AND v.counted
        AND {_IS_NAMED.format(user="v.user_id")}""",
        fence,
        viewer,
    )
    return {row["user"]: _ms(row["entered_at"]) for row in rows}


async def blocked_pairs(
    connection: asyncpg.Connection, viewers: Sequence[str], users: Sequence[str]
) -> dict[str, frozenset[str]]:
    """User → those of `viewers` with whom a block stands, either way."""
    rows = await connection.fetch(
        f"""SELECT u.id::text AS user, array_agg(w.id::text) AS viewers
        FROM unnest($1::uuid[]) AS w (id), unnest($2::uuid[]) AS u (id)
        WHERE {BLOCKED_WITH.format(one="w.id", other="u.id")} GROUP BY u.id""",
        list(viewers),
        list(users),
    )
    return {row["user"]: frozenset(row["viewers"]) for row in rows}


async def people_inside(connection: asyncpg.Connection, fence: str, limit: int) -> list[str]:
    """Some of those whose visit has not ended."""
    rows = await connection.fetch(
        "SELECT user_id::text AS user FROM fence_visits WHERE fence_id = $1 AND exited_at IS NULL LIMIT $2",
        fence,
        limit,
    )
    return [row["user"] for row in rows]


def _event(row: Any) -> FenceEvent:
    told = json.loads(row["body"])
    if told.get("reason") in _PRIVATE:
        del told["reason"]
    told["inside"] = row["inside"]
    if row["user"]:
        told["user"] = row["user"]
    body = json.dumps(told, separators=(",", ":"))
    return FenceEvent(
        row["offset"], _ms(row["at"]), str(row["id"]), row["event"], row["user"], row["person"],
        row["inside"], body,
    )  # fmt: skip


def _ms(at: datetime) -> int:
    return round(at.timestamp() * 1000)
