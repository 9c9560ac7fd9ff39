"""Episodes in which two matches are near each other, one row a pair (GEO-10). No place is ever in them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from storage.connections import BLOCKED_WITH
from storage.messages import assert_epoch, moment
from storage.outbox import append_user_event, write_event
from storage.reminders import Reminder, put, remove

_BLOCKED = f"SELECT {BLOCKED_WITH.format(one='$1::uuid', other='$2::uuid')}"


@dataclass(slots=True)
class Episode:
    """The newest one of a pair: its number, whether it goes on, since when it does or not, and who knows."""

    number: int = 0
    is_near: bool = False
    changed_at_ms: int = 0
    low_told: bool = False
    high_told: bool = False


@dataclass(frozen=True, slots=True)
class EpisodeChange:
    """An episode begins or ends. `reason` is of an end: apart, or gone; empty where nobody is told of it.

    `due_ms`: when the low one's actor is to look again whether one that begins has ended.
    """

    low: str
    high: str
    episode: Episode
    reason: str
    due_ms: int = 0


async def load_episodes(connection: Any, lows: Sequence[str]) -> dict[str, dict[str, Episode]]:
    """All pairs of which one of these people is the low one: by that one, then by the high one."""
    rows = await connection.fetch(
        "SELECT low_id::text, high_id::text, episode, is_near, changed_at, low_told, high_told "
        "FROM near_episodes WHERE low_id = ANY($1::uuid[])",
        lows,
    )
    found: dict[str, dict[str, Episode]] = {}
    for row in rows:
        found.setdefault(row["low_id"], {})[row["high_id"]] = Episode(
            row["episode"],
            row["is_near"],
            round(row["changed_at"].timestamp() * 1000),
            row["low_told"],
            row["high_told"],
        )
    return found


async def record(connection: Any, slot: int, epoch: int, change: EpisodeChange) -> bool:
    """Stores the change and tells both of it on `me`, once, in the caller's transaction; whether it was news.

    Fenced by the slot of the low one, who decides for the pair.
    """
    await assert_epoch(connection, slot, epoch)
    low, high, episode = change.low, change.high, change.episode
    if episode.is_near:
        applied = await connection.fetchval(
            """INSERT INTO near_episodes AS e
            (low_id, high_id, episode, is_near, changed_at, low_told, high_told)
            VALUES ($1, $2, $3, true, $4, $5, $6) ON CONFLICT (low_id, high_id) DO UPDATE SET
            episode = excluded.episode, is_near = true, changed_at = excluded.changed_at,
            low_told = excluded.low_told, high_told = excluded.high_told
            WHERE e.episode < excluded.episode RETURNING true""",
            low,
            high,
            episode.number,
            moment(episode.changed_at_ms),
            episode.low_told,
            episode.high_told,
        )
    else:
        applied = await connection.fetchval(
            """UPDATE near_episodes SET is_near = false, changed_at = $4
            WHERE low_id = $1 AND high_id = $2 AND episode = $3 AND is_near RETURNING true""",
            low,
            high,
            episode.number,
            moment(episode.changed_at_ms),
        )
    if not applied:
        return False
    name = f"near:{high}"
    if episode.is_near:
        await put(connection, Reminder("user", low, name, slot, change.due_ms), epoch)
    else:
        await remove(connection, "user", low, name)
    told = [(low, high)] if episode.low_told else []
    told += [(high, low)] if episode.high_told else []
    if not change.reason or await connection.fetchval(_BLOCKED, low, high):
        told = []  # after a block nothing is said, also where its news is still on the way to the actors
    for user, other in told:  # low before high
        await append_user_event(connection, user, _event(other, change))
    await write_event(
        connection,
        type=_type(episode),
        aggregate=f"connection:{low}:{high}",
        payload={"episode": episode.number, "at_ms": episode.changed_at_ms},
        touches=[("user", user) for user, _ in told],
    )
    return True


async def erase(connection: Any, user: str, at_ms: int) -> None:
    """Forgets with whom somebody was near who is no more; who still is, and knows, is told of the end. In the
    caller's transaction.
    """
    rows = await connection.fetch(
        """DELETE FROM near_episodes WHERE low_id = $1 OR high_id = $1
        RETURNING low_id::text AS low, high_id::text AS high, episode, is_near, low_told, high_told""",
        user,
    )
    ended = [
        (other, row["episode"])
        for row in rows
        for other, knows in ((row["low"], row["low_told"]), (row["high"], row["high_told"]))
        if row["is_near"] and knows and other != user
    ]
    for other, number in sorted(ended):
        change = EpisodeChange(user, other, Episode(number, False, at_ms), "gone")
        await append_user_event(connection, other, _event(user, change))
        await write_event(
            connection,
            type=_type(change.episode),
            aggregate=f"connection:{':'.join(sorted((user, other)))}",
            payload={"episode": number, "at_ms": at_ms},
            touches=[("user", other)],
        )


def _type(episode: Episode) -> str:
    return "near.enter" if episode.is_near else "near.leave"


def _event(other: str, change: EpisodeChange) -> dict[str, Any]:
    episode = change.episode
    body: dict[str, Any] = {"type": _type(episode), "v": 1, "user": other, "at_ms": episode.changed_at_ms}
    return body if episode.is_near else body | {"reason": change.reason}
