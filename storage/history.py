"""Reading a room's log page by page (writing it is the room's shard's, storage/messages.py)."""

from dataclasses import dataclass
from typing import Any

from storage.connections import BLOCKED_WITH
from storage.ids import RoomId, UserId
from storage.messages import ENGINE


@dataclass(frozen=True, slots=True)
class MessageRow:
    """`body` is JSON text; `cid` is there for the reader's own messages only."""

    offset: int
    sent_at_ms: int
    message: str
    sender: UserId
    body: str
    cid: str | None


_MESSAGE = (
    'm."offset", (extract(epoch FROM m.sent_at) * 1000)::bigint, m.id::text, '
    f"CASE WHEN m.sender_id = '{ENGINE}' THEN '' ELSE m.sender_id::text END, m.body, "
    "CASE WHEN m.sender_id = $2 THEN m.cid END"
)
_VISIBLE = "NOT " + BLOCKED_WITH.format(one="$2::uuid", other="m.sender_id")


async def messages_after(
    connection: Any, room: RoomId, reader: UserId, after: int, limit: int
) -> list[MessageRow]:
    """Up to `limit` messages past the offset, ascending, without those of people blocked with the reader."""
    rows = await connection.fetch(
        f'SELECT {_MESSAGE} FROM messages m WHERE m.room_id = $1 AND m."offset" > $3 AND {_VISIBLE} '
        'ORDER BY m."offset" LIMIT $4',
        room,
        reader,
        after,
        limit,
    )
    return [MessageRow(*row) for row in rows]


async def messages_before(
    connection: Any, room: RoomId, reader: UserId, before: int, limit: int
) -> list[MessageRow]:
    """The `limit` newest such messages below the offset, ascending."""
    rows = await connection.fetch(
        f'SELECT {_MESSAGE} FROM messages m WHERE m.room_id = $1 AND m."offset" < $3 AND {_VISIBLE} '
        'ORDER BY m."offset" DESC LIMIT $4',
        room,
        reader,
        before,
        limit,
    )
    return [MessageRow(*row) for row in reversed(rows)]
