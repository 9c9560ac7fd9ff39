"""Pages of a room's log as one reader may see them."""

from datetime import UTC, datetime

import pytest

from identity.accounts import create_ready_users
from storage.history import messages_after, messages_before
from storage.ids import new_id

AT = datetime(2026, 11, 22, 12, 0, 0, 123_000, UTC)


@pytest.fixture
async def log(pool):
    """(room, reader, blocked sender): ten messages, every third by somebody blocked with the reader."""
    (reader, _), (friend, _), (blocked, _) = await create_ready_users(pool, 3, "u")
    room = new_id()
    for offset in range(1, 11):
        sender = blocked if offset % 3 == 0 else reader if offset % 3 == 1 else friend
        await pool.execute(
            'INSERT INTO messages (room_id, "offset", sent_at, id, sender_id, cid, body) '
            "VALUES ($1, $2, $3, $4, $5, $6, $7)",
            room, offset, AT, new_id(), sender, f"c{offset}", '{"text":"x"}',
        )  # fmt: skip
    low, high = sorted((reader, blocked))
    await pool.execute(
        "INSERT INTO connections (low_id, high_id, low_blocks, high_blocks) VALUES ($1, $2, $3, $4)",
        low, high, low == blocked, high == blocked,
    )  # fmt: skip
    return room, reader, blocked


async def test_pages_go_both_ways_and_leave_out_the_blocked(pool, log):
    room, reader, blocked = log
    assert [row.offset for row in await messages_after(pool, room, reader, 0, 4)] == [1, 2, 4, 5]
    assert [row.offset for row in await messages_after(pool, room, reader, 5, 9)] == [7, 8, 10]
    assert [row.offset for row in await messages_before(pool, room, reader, 2**53, 3)] == [7, 8, 10]
    assert [row.offset for row in await messages_before(pool, room, reader, 7, 2)] == [4, 5]
    assert [row.offset for row in await messages_after(pool, room, blocked, 0, 9)] == [2, 3, 5, 6, 8, 9]


async def test_a_cid_is_shown_to_its_sender_only(pool, log):
    room, reader, _ = log
    first, second = await messages_after(pool, room, reader, 0, 2)
    assert (first.sender, first.cid) == (reader, "c1")
    assert second.cid is None
    assert first.sent_at_ms == round(AT.timestamp() * 1000)
    assert first.body == '{"text":"x"}'
