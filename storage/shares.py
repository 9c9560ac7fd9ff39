"""Rows of live location shares and of whom they are with (GEO-22). No position is ever in them."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from storage.connections import BLOCKED_WITH
from storage.ids import ShareId, UserId
from storage.outbox import append_user_event, write_event


@dataclass(frozen=True, slots=True)
class Receiver:
    """Somebody a share is with; the times are None until they looked."""

    user: str
    viewed_at: datetime | None = None
    last_viewed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ShareRow:
    """A share that goes on."""

    share: ShareId
    sharer: UserId
    precision: str
    created_at: datetime
    ends_at: datetime
    receivers: tuple[Receiver, ...]


@dataclass(frozen=True, slots=True)
class GivenShare:
    """What the sharer's actor decides by."""

    share: str
    precision: str
    ends_at_ms: int
    receivers: frozenset[str]


_GOES_ON = "s.ended_at IS NULL AND s.ends_at > $1"


async def insert_share(connection: Any, row: ShareRow) -> None:
    """Stores a share with its receivers; in the caller's transaction."""
    await connection.execute(
        "INSERT INTO shares (id, sharer_id, precision, created_at, ends_at) VALUES ($1, $2, $3, $4, $5)",
        row.share,
        row.sharer,
        row.precision,
        row.created_at,
        row.ends_at,
    )
    await connection.execute(
        "INSERT INTO share_receivers (share_id, user_id) SELECT $1, unnest($2::uuid[])",
        row.share,
        [receiver.user for receiver in row.receivers],
    )


async def shares_given(connection: Any, user: str, now: datetime) -> int:
    """How many shares of this person go on."""
    count: int = await connection.fetchval(
        f"SELECT count(*) FROM shares s WHERE {_GOES_ON} AND sharer_id = $2", now, user
    )
    return count


async def load_share(connection: Any, share: str, viewer: str, now: datetime) -> ShareRow | None:
    """The share, for who shares it or whom it is with and no block stands; only the sharer gets its
    receivers. None for everybody else, and once it has ended.
    """
    found = await _rows(connection, viewer, now, share=share, after=None, limit=1)
    return found[0] if found else None


async def shares_page(
    connection: Any, viewer: str, now: datetime, *, after: str | None, limit: int
) -> list[ShareRow]:
    """Those that this person gives and gets, as `load_share`, by id past `after`."""
    return await _rows(connection, viewer, now, share=None, after=after, limit=limit)


async def _rows(
    connection: Any, viewer: str, now: datetime, *, share: str | None, after: str | None, limit: int
) -> list[ShareRow]:
    blocked = BLOCKED_WITH.format(one="s.sharer_id", other="$2::uuid")
    found = await connection.fetch(
        f"""SELECT s.id::text, s.sharer_id::text, s.precision, s.created_at, s.ends_at FROM shares s
        JOIN users u ON u.id = s.sharer_id AND u.status = 'active'
        WHERE {_GOES_ON} AND ($3::uuid IS NULL OR s.id = $3) AND ($4::uuid IS NULL OR s.id > $4)
        AND (s.sharer_id = $2 OR (s.id IN (
            SELECT share_id FROM share_receivers WHERE user_id = $2 AND left_at IS NULL) AND NOT {blocked}))
        ORDER BY s.id LIMIT $5""",
        now,
        viewer,
        share,
        after,
        limit,
    )
    own = [row["id"] for row in found if row["sharer_id"] == viewer]
    receivers: dict[str, list[Receiver]] = defaultdict(list)
    for row in await connection.fetch(
        """SELECT share_id::text, user_id::text, viewed_at, last_viewed_at FROM share_receivers
        WHERE share_id = ANY($1::uuid[]) AND left_at IS NULL ORDER BY user_id""",
        own,
    ):
        receivers[row["share_id"]].append(Receiver(row["user_id"], row["viewed_at"], row["last_viewed_at"]))
    return [
        ShareRow(
            row["id"],
            row["sharer_id"],
            row["precision"],
            row["created_at"],
            row["ends_at"],
            tuple(receivers[row["id"]]),
        )
        for row in found
    ]


async def sharer_of(connection: Any, share: str, viewer: str, now: datetime) -> str | None:
    """Whose share it is, if `viewer` may see it."""
    row = await load_share(connection, share, viewer, now)
    return None if row is None else row.sharer


async def given_shares(connection: Any, users: Sequence[str]) -> dict[str, tuple[GivenShare, ...]]:
    """The shares of many that have not ended; whose time is over may still be among them."""
    given: dict[str, list[GivenShare]] = defaultdict(list)
    for row in await connection.fetch(
        """SELECT s.sharer_id::text AS sharer, s.id::text, s.precision, s.ends_at,
            array_agg(r.user_id::text) FILTER (WHERE r.left_at IS NULL) AS receivers
        FROM shares s JOIN share_receivers r ON r.share_id = s.id
        WHERE s.sharer_id = ANY($1::uuid[]) AND s.ended_at IS NULL GROUP BY s.id""",
        users,
    ):
        ends_at_ms = round(row["ends_at"].timestamp() * 1000)
        share = GivenShare(row["id"], row["precision"], ends_at_ms, frozenset(row["receivers"] or ()))
        given[row["sharer"]].append(share)
    return {sharer: tuple(shares) for sharer, shares in given.items()}


Told = tuple[str, dict[str, Any]]
"""Whose `me` stream, and the event that it gets."""


async def tell(connection: Any, told: Sequence[Told]) -> list[str]:
    """Appends events to the `me` streams of several people and has their actors read them. Returns who they
    are.
    """
    for user, body in sorted(told, key=lambda each: each[0]):
        await append_user_event(connection, user, body)
    users = sorted({user for user, _ in told})
    for share in sorted({body["share"] for _, body in told}):
        concerned = [(user, body) for user, body in told if body["share"] == share]
        await write_event(
            connection,
            type=concerned[0][1]["type"],
            aggregate=f"share:{share}",
            payload={"told": len(concerned)},
            touches=[("user", user) for user, _ in concerned],
        )
    return users


async def end_share(connection: Any, share: str, sharer: str, reason: str) -> list[Told]:
    """Ends a share of `sharer`'s, in the caller's transaction. Returns what to `tell`: nothing where there is
    none that goes on.
    """
    ended = await connection.fetchval(
        "UPDATE shares SET ended_at = now() WHERE id = $1 AND sharer_id = $2 AND ended_at IS NULL "
        "RETURNING true",
        share,
        sharer,
    )
    if not ended:
        return []
    rows = await connection.fetch(
        "SELECT user_id::text FROM share_receivers WHERE share_id = $1 AND left_at IS NULL", share
    )
    return [(user, _ended(share, sharer, reason)) for user in (sharer, *(row["user_id"] for row in rows))]


async def leave_share(connection: Any, share: str, user: str) -> list[Told]:
    """A receiver goes: the sharer hears `share.left`; the last one's going ends the share. As `end_share`."""
    sharer = await connection.fetchval(
        """UPDATE share_receivers r SET left_at = now() FROM shares s
        WHERE r.share_id = $1 AND r.user_id = $2 AND r.left_at IS NULL AND s.id = r.share_id
        AND s.ended_at IS NULL RETURNING s.sharer_id::text""",
        share,
        user,
    )
    if sharer is None:
        return []
    left = {"type": "share.left", "v": 1, "share": share, "user": user}
    mine = _ended(share, sharer, "left")
    return [(sharer, left), (user, mine), *await _end_empty(connection, [share])]


async def end_between(connection: Any, one: str, other: str) -> list[Told]:
    """A block or the end of a match takes each out of the other's shares, for good. To the receiver it looks
    as if the share had been ended. As `end_share`.
    """
    rows = await connection.fetch(
        """UPDATE share_receivers r SET left_at = now() FROM shares s
        WHERE s.id = r.share_id AND r.left_at IS NULL AND s.ended_at IS NULL
        AND (s.sharer_id, r.user_id) IN (($1::uuid, $2::uuid), ($2::uuid, $1::uuid))
        RETURNING s.id::text AS share, s.sharer_id::text AS sharer, r.user_id::text AS receiver""",
        one,
        other,
    )
    told: list[Told] = [(row["receiver"], _ended(row["share"], row["sharer"], "revoked")) for row in rows]
    told += [
        (row["sharer"], {"type": "share.left", "v": 1, "share": row["share"], "user": row["receiver"]})
        for row in rows
    ]
    return [*told, *await _end_empty(connection, [row["share"] for row in rows])]


async def _end_empty(connection: Any, shares: Sequence[str]) -> list[Told]:
    """Ends those of `shares` that are with nobody any more."""
    rows = await connection.fetch(
        """SELECT id::text, sharer_id::text FROM shares s WHERE id = ANY($1::uuid[]) AND ended_at IS NULL
        AND NOT EXISTS (SELECT 1 FROM share_receivers r WHERE r.share_id = s.id AND r.left_at IS NULL)""",
        list(shares),
    )
    told: list[Told] = []
    for row in rows:
        told += await end_share(connection, row["id"], row["sharer_id"], "left")
    return told


async def viewed(connection: Any, share: str, viewer: str) -> list[Told]:
    """The viewer looks, or has looked until now. At the first look the sharer is to hear so."""
    row = await connection.fetchrow(
        """UPDATE share_receivers r SET viewed_at = coalesce(r.viewed_at, now()), last_viewed_at = now()
        FROM share_receivers before, shares s
        WHERE r.share_id = $1 AND r.user_id = $2 AND r.left_at IS NULL AND s.id = r.share_id
        AND before.share_id = r.share_id AND before.user_id = r.user_id
        RETURNING before.viewed_at IS NULL AS is_first, s.sharer_id::text AS sharer""",
        share,
        viewer,
    )
    if row is None or not row["is_first"]:
        return []
    return [(row["sharer"], {"type": "share.viewed", "v": 1, "share": share, "user": viewer})]


async def erase(connection: Any, user: str) -> None:
    """Ends all shares of somebody who is no more, and takes them out of others', who are told. In the
    caller's transaction.
    """
    told: list[Told] = []
    for row in await connection.fetch(
        "SELECT id::text FROM shares WHERE sharer_id = $1 AND ended_at IS NULL", user
    ):
        told += await end_share(connection, row["id"], user, "revoked")
    for row in await connection.fetch(
        "SELECT share_id::text FROM share_receivers WHERE user_id = $1 AND left_at IS NULL", user
    ):
        told += await leave_share(connection, row["share_id"], user)
    await tell(connection, [each for each in told if each[0] != user])


def _ended(share: str, sharer: str, reason: str) -> dict[str, Any]:
    return {"type": "share.ended", "v": 1, "share": share, "user": sharer, "reason": reason}
