"""The database goes away in the middle of whatever is under way, again and again (CHAT-3)."""

import asyncio
from typing import Any

from actors import messages as wire
from actors import room
from actors.effects import NOBODY, Fan
from actors.protocol import EngineError
from actors.room import RoomState
from actors.stream import Publication, Stream
from storage.ids import new_id


async def test_cut_connections_lose_no_acknowledged_message_and_double_none(small: Any) -> None:
    """Ten writers who resend under the same cid, while 30 of the shards' connections are cut."""
    writers = [await small.person() for _ in range(5)]
    chats = [await small.room(*writers) for _ in range(4)]
    acked: dict[str, dict[str, int]] = {chat: {} for chat in chats}
    cutting, cuts = True, 0

    async def write(chat: str, writer: str) -> None:
        number = 0
        while cutting or number < 40:
            cid = f"{writer}-{number}"
            try:
                answer = await asyncio.wait_for(small.publish(chat, writer, "x", cid), 10)
            except EngineError as refused:
                if not refused.code.temporary:
                    raise
                await asyncio.sleep(0.02)
                continue
            acked[chat][cid] = answer["o"]
            number += 1

    async def cut() -> None:
        nonlocal cutting, cuts
        while cuts < 30:
            await asyncio.sleep(0.1)
            cuts += await small.pool.fetchval(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                " WHERE datname = current_database()"
                " AND pid <> pg_backend_pid() AND application_name LIKE 'hereabouts-shard%'"
            )
        cutting = False

    async with asyncio.timeout(60):
        await asyncio.gather(cut(), *[write(chat, writer) for chat in chats for writer in writers[:3]])
    for chat in chats:
        rows = await small.pool.fetch(
            'SELECT "offset", sender_id, cid FROM messages WHERE room_id = $1 ORDER BY "offset"', chat
        )
        assert [row["offset"] for row in rows] == list(range(1, len(rows) + 1))
        assert {row["cid"]: row["offset"] for row in rows} == acked[chat]


def _said(offset: int) -> Publication:
    return Publication(offset, 1, new_id(), "a", f"c{offset}", b"{}")


def test_a_room_that_starts_over_knows_the_cids_of_its_log_and_tells_what_nobody_was_told() -> None:
    """A commit whose answer was cut off: the publications are in the log, and no gateway has them."""
    state = RoomState("r", True, Stream("e"), {"a": "member"})
    state.stream.append(_said(1))
    room.step(state, wire.Subscribe(1, "room:r", "a", "c", "d", 0), NOBODY, "g", 1)
    state.starting_over, state.assigned = True, 5
    log = Stream("e", 3)
    log.window.extend(_said(offset) for offset in (1, 2, 3))
    pushes = [effect.message.offset for effect in room.uncommitted(state, log) if isinstance(effect, Fan)]
    assert pushes == [2, 3]
    assert (state.assigned, state.starting_over, state.knows_all_cids) == (3, False, True)
    assert state.acks["a", "c3"].offset == 3


def test_a_room_whose_window_is_not_its_whole_log_asks_the_log_about_cids() -> None:
    state = RoomState("r", True, Stream("e"), {"a": "member"})
    state.knows_all_cids = True
    log = Stream("e", 9)
    log.window.extend(_said(offset) for offset in (8, 9))
    room.uncommitted(state, log)
    assert not state.knows_all_cids
