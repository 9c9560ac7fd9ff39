"""Of rooms that are read (NLP): on which terms, the figures that are kept, what was refused or taken back.

All of it is written in transactions of a room's shard, fenced by its slot as its log is.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

from storage.messages import Row, assert_epoch, moment, page

REFUSED_OFFSET = 0
"""What `message_cids` gives as the offset of a publication that was refused: nothing else of it is stored."""


@dataclass(frozen=True, slots=True)
class ReadingRecord:
    """`terms` and `state` are JSON text; `state` is None where nothing is counted yet."""

    terms: str
    last_offset: int
    state: str | None


async def load(connection: asyncpg.Connection, room: str) -> ReadingRecord | None:
    """None where the room is not read."""
    row = await connection.fetchrow(
        """SELECT r.reading, d.last_offset, d.state FROM rooms r JOIN room_dynamics d ON d.room_id = r.id
        WHERE r.id = $1 AND r.reading IS NOT NULL""",
        room,
    )
    if row is None:
        return None
    state = None if row["state"] == "null" else row["state"]
    return ReadingRecord(row["reading"], row["last_offset"], state)


async def unjudged(connection: asyncpg.Connection) -> list[str]:
    """Rooms whose newest messages may have to be taken back: there was no verdict when figures were saved."""
    rows = await connection.fetch(
        """SELECT r.id::text FROM room_dynamics d JOIN rooms r ON r.id = d.room_id
        WHERE d.last_offset < r.last_offset AND r.reading->>'policy' = 'retract'"""
    )
    return [row["id"] for row in rows]


async def rows_after(connection: asyncpg.Connection, room: str, after: int, limit: int) -> list[Row]:
    """The next messages of the log."""
    return await page(connection, room, after=after, before=2**62, limit=limit, newest_first=False)


# -- within the transaction that appends to the log -------------------------------------------------------


async def set_terms(connection: asyncpg.Connection, room: str, terms: str | None, offset: int) -> None:
    """From the event at `offset` on. Figures begin there, unless the room was read already; when it is read
    no more they are deleted.
    """
    await connection.execute(
        "UPDATE rooms SET reading = $2::json, version = version + 1 WHERE id = $1", room, terms
    )
    if terms is None:
        await connection.execute("DELETE FROM room_dynamics WHERE room_id = $1", room)
        return
    await connection.execute(
        "INSERT INTO room_dynamics (room_id, last_offset, state) VALUES ($1, $2, 'null') "
        "ON CONFLICT DO NOTHING",
        room,
        offset,
    )


async def retract(
    connection: asyncpg.Connection, room: str, retracted: Sequence[tuple[int, int]], tombstone: str
) -> None:
    """What was said at (offset, sent_at_ms) is deleted; `tombstone` (JSON) stands in its place."""
    await connection.execute(
        """UPDATE messages m SET body = $4::json FROM unnest($2::bigint[], $3::timestamptz[]) AS w (o, at)
        WHERE m.room_id = $1 AND m."offset" = w.o AND m.sent_at = w.at""",
        room,
        [offset for offset, _ in retracted],
        [moment(at_ms) for _, at_ms in retracted],
        tombstone,
    )


async def refuse(
    connection: asyncpg.Connection, refused: Sequence[tuple[str, str, str, str]], now_ms: int
) -> None:
    """Remembers (room, sender, cid, id) for ever, as the cids of what was published."""
    await connection.execute(
        """INSERT INTO message_cids (room_id, sender_id, cid, "offset", id, sent_at)
        SELECT room, sender, cid, 0, id, $5
        FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::uuid[]) AS w (room, sender, cid, id)
        ON CONFLICT DO NOTHING""",
        [each[0] for each in refused],
        [each[1] for each in refused],
        [each[2] for each in refused],
        [each[3] for each in refused],
        moment(now_ms),
    )


# -- figures -------------------------------------------------------------------------------------------------


async def save(
    connection: asyncpg.Connection, room: str, fence: tuple[int, int], last_offset: int, state: str
) -> None:
    """Figures up to `last_offset`; older ones never take the place of newer. `fence` is the room's slot and
    its epoch: raises with sqlstate FENCED.
    """
    async with connection.transaction():
        await assert_epoch(connection, *fence)
        await connection.execute(
            "UPDATE room_dynamics SET last_offset = $2, state = $3::json, updated_at = now() "
            "WHERE room_id = $1 AND last_offset <= $2",
            room,
            last_offset,
            state,
        )


async def forget(connection: asyncpg.Connection, user: str) -> None:
    """No figures name this person any more; counts stay. Live rooms are told by `erased:<user>`."""
    await connection.execute(
        "UPDATE room_dynamics SET state = replace(state::text, $1, '')::json "
        "WHERE state::text LIKE '%' || $1 || '%'",
        user,
    )
