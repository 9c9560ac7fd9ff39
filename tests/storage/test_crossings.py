"""Crossings are applied once, in order, many at a time, with all that belongs to them or not at all."""

import json
from datetime import UTC, date, datetime
from typing import Any

import asyncpg
import pytest

from actors.placement import slot_of
from storage import crossings, reminders
from storage.crossings import CrossingRow
from storage.ids import new_id
from storage.messages import FENCED, MOVED_ON

FENCE, OTHER = new_id(), new_id()
T0_MS = 1_790_000_000_000


@pytest.fixture
async def connection(pool: Any) -> Any:
    async with pool.acquire() as connection:
        await connection.execute("INSERT INTO slots SELECT n, 0, 7 FROM generate_series(0, 1023) AS s (n)")
        yield connection


def crossing(
    user: str, event: str, visit: int = 1, at_s: int = 0, fence: str = FENCE, **more: Any
) -> CrossingRow:
    body = json.dumps({"fence": fence, "event": event, "at": at_s})
    at_ms = T0_MS + at_s * 1000
    return CrossingRow(user, slot_of("user", user), fence, visit, event, at_ms, body, new_id(), **more)


async def record(connection: Any, *rows: CrossingRow, epoch: int = 7) -> dict[int, int]:
    return await crossings.record(connection, [(slot, epoch) for slot in {row.slot for row in rows}], rows)


async def told(connection: Any, user: str) -> list[str]:
    rows = await connection.fetch(
        """SELECT body->>'event' AS event FROM user_events WHERE user_id = $1 AND stream = 'fences'
        ORDER BY "offset" """,
        user,
    )
    return [row["event"] for row in rows]


async def at_fence(connection: Any, fence: str = FENCE) -> list[tuple[int, str, int]]:
    rows = await connection.fetch(
        """SELECT "offset", event, inside FROM fence_events WHERE fence_id = $1 ORDER BY "offset" """, fence
    )
    return [tuple(row) for row in rows]


async def counted(connection: Any, *people: str) -> None:
    """A fence of somebody's, who may count these people."""
    for user in (owner := new_id(), *people):
        await connection.execute(
            "INSERT INTO users (id, handle, birth_date) VALUES ($1, $2, $3)",
            user, f"u{user[-12:]}", date(1990, 1, 1),
        )  # fmt: skip
    await connection.execute(
        "INSERT INTO fences (id, owner_id, name, shape) VALUES ($1, $2, 'f', '{}')", FENCE, owner
    )
    for user in people:
        await connection.execute("INSERT INTO fence_grants VALUES ($1, $2, 'count')", user, FENCE)


async def test_a_batch_is_stored_in_order_with_a_running_count(connection: Any) -> None:
    ann, bob, eve = new_id(), new_id(), new_id()
    await counted(connection, ann, bob)
    assert await record(connection, crossing(eve, "enter")) == {0: 1}
    assert await record(connection, crossing(eve, "exit", at_s=9)) == {0: 2}
    await connection.execute("DELETE FROM outbox")
    rows = [
        crossing(ann, "enter"), crossing(bob, "inside"), crossing(ann, "dwell", at_s=300),
        crossing(ann, "exit", at_s=310), crossing(ann, "enter", 2, at_s=320),
    ]  # fmt: skip
    assert await record(connection, *rows) == {0: 1, 1: 1, 2: 2, 3: 3, 4: 4}
    assert await told(connection, ann) == ["enter", "dwell", "exit", "enter"]
    assert await at_fence(connection) == [
        (1, "enter", 1), (2, "inside", 2), (3, "dwell", 2), (4, "exit", 1), (5, "enter", 2),
    ]  # fmt: skip
    assert await connection.fetchval("SELECT inside FROM fence_streams WHERE fence_id = $1", FENCE) == 2
    assert await connection.fetchval("SELECT count(*) FROM outbox") == 5
    open_visits = await connection.fetch(
        "SELECT user_id::text, visit FROM fence_visits WHERE exited_at IS NULL"
    )
    assert {tuple(row) for row in open_visits} == {(ann, 2), (bob, 1)}


async def test_what_was_applied_is_not_applied_again_alone_or_among_others(connection: Any) -> None:
    ann = new_id()
    enter, dwell, leave = crossing(ann, "enter"), crossing(ann, "dwell"), crossing(ann, "exit", at_s=9)
    await record(connection, enter)
    assert await record(connection, enter, dwell) == {1: 2}
    assert await record(connection, enter, dwell, leave) == {2: 3}
    assert await record(connection, enter, dwell, leave) == {}
    again = [crossing(ann, event) for event in ("enter", "dwell", "exit")]
    assert await record(connection, *again) == {}
    assert await record(connection, *again, crossing(ann, "enter", 2)) == {3: 4}
    assert await told(connection, ann) == ["enter", "dwell", "exit", "enter"]


async def test_a_writer_that_was_replaced_stores_nothing(connection: Any) -> None:
    ann, bob = new_id(), new_id()
    with pytest.raises(asyncpg.PostgresError) as refused:
        await record(connection, crossing(ann, "enter"), crossing(bob, "enter"), epoch=6)
    assert refused.value.sqlstate == FENCED
    assert await at_fence(connection) == []


async def test_a_visit_has_one_reminder_until_it_ends(connection: Any) -> None:
    ann = new_id()

    async def due() -> list[tuple[str, int]]:
        rows = await reminders.due(connection, [slot_of("user", ann)], T0_MS + 10**9, 10)
        return [(row.name, row.due_ms - T0_MS) for row in rows if row.key == ann]

    await record(connection, crossing(ann, "enter", due_ms=T0_MS + 5000))
    assert await due() == [(f"visit:{FENCE}", 5000)]
    await record(connection, crossing(ann, "dwell", due_ms=T0_MS + 9000))
    assert await due() == [(f"visit:{FENCE}", 9000)]
    await record(
        connection,
        crossing(ann, "exit"),
        crossing(ann, "enter", fence=OTHER),
    )
    assert await due() == []
    await record(connection, crossing(ann, "enter", 2, due_ms=T0_MS + 1), crossing(ann, "exit", 2))
    assert await due() == []


async def a_room(connection: Any) -> tuple[str, str]:
    owner, room = new_id(), new_id()
    await connection.execute(
        "INSERT INTO users (id, handle, birth_date) VALUES ($1, 'owner', $2)", owner, date(1990, 1, 1)
    )
    await connection.execute(
        "INSERT INTO rooms (id, name, kind, owner_id, epoch) VALUES ($1, 'r', 'place', $2, 'e')", room, owner
    )
    return room, owner


async def test_a_membership_comes_and_goes_with_its_crossing_or_nothing_does(connection: Any) -> None:
    """CHAT-19: all or nothing; what the table does not admit by now is refused whole."""
    room, ann = await a_room(connection)

    async def place(row: CrossingRow) -> tuple[bool, str, str]:
        (found,) = await crossings.places(connection, [row])
        return found.applied, found.state, found.by_fence

    enter = crossing(ann, "enter", room=room, membership="join")
    assert await place(enter) == (False, "", "")
    await record(connection, enter)
    leave = crossing(ann, "exit", at_s=5, room=room, membership="leave")
    assert await place(leave) == (False, "member", FENCE)
    # Meanwhile they left, and came again by hand: no exit may put them out.
    await connection.execute("UPDATE room_members SET by_fence = NULL")
    with pytest.raises(asyncpg.PostgresError) as refused:
        await record(connection, leave)
    assert refused.value.sqlstate == MOVED_ON
    assert await told(connection, ann) == ["enter"]
    await record(connection, crossing(ann, "exit", at_s=5, room=room))
    assert await connection.fetchval("SELECT state FROM room_members") == "member"
    with pytest.raises(asyncpg.PostgresError) as refused:
        await record(connection, crossing(ann, "enter", 2, room=room, membership="join"))
    assert refused.value.sqlstate == MOVED_ON
    with pytest.raises(asyncpg.PostgresError):  # applied before: its membership is not moved again
        await record(connection, crossing(ann, "exit", at_s=6, room=room, membership="leave"))


async def test_of_two_fences_of_one_room_the_last_left_ends_the_membership(connection: Any) -> None:
    room, ann = await a_room(connection)
    await record(connection, crossing(ann, "enter", room=room, membership="join"))
    await record(connection, crossing(ann, "enter", fence=OTHER, room=room))
    first = crossing(ann, "exit", room=room, membership="pass")
    assert (await crossings.places(connection, [first]))[0].heir == OTHER
    await record(connection, first)
    (last,) = await crossings.places(connection, [crossing(ann, "exit", fence=OTHER, room=room)])
    assert (last.state, last.by_fence, last.heir) == ("member", OTHER, "")
    at = datetime.fromtimestamp(T0_MS / 1000, UTC)
    assert await connection.fetchval("SELECT joined_at FROM room_members") == at


async def test_who_never_said_anything_is_counted_where_no_crowd_is_asked_for(connection: Any) -> None:
    """GEO-14, GEO-20: with a k of 1 everybody, else nobody who did not say that they may."""
    ann, bob, eve = new_id(), new_id(), new_id()
    await counted(connection, ann)
    await record(connection, crossing(ann, "enter"), crossing(bob, "enter"))
    async with connection.transaction():
        await connection.execute("SET LOCAL hereabouts.counts_everybody = 'on'")
        await record(connection, crossing(eve, "enter"))
    assert await at_fence(connection) == [(1, "enter", 1), (2, "enter", 2)]
