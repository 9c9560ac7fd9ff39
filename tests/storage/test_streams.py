"""What a person's actor starts from."""

from datetime import UTC, date, datetime
from typing import Any

from storage import streams
from storage.ids import new_id


async def person(pool: Any, status: str = "active") -> str:
    user = new_id()
    await pool.execute(
        "INSERT INTO users (id, handle, birth_date, status) VALUES ($1, $2, $3, $4)",
        user, f"u{user[-12:]}", date(1990, 1, 1), status,
    )  # fmt: skip
    return user


async def test_many_are_loaded_as_each_by_itself(pool: Any) -> None:
    """Blocks, matches, group mates, visits and grants of each stay each one's own."""
    ann, bob, eve = [await person(pool) for _ in range(3)]
    gone = await person(pool, "suspended")
    for one, other, state, blocks in ((ann, bob, "matched", False), (bob, eve, "none", True)):
        low, high = sorted((one, other))
        await pool.execute(
            "INSERT INTO connections (low_id, high_id, state, low_blocks) VALUES ($1, $2, $3, $4)",
            low, high, state, blocks,
        )  # fmt: skip
    room, fence = new_id(), new_id()
    await pool.execute(
        "INSERT INTO rooms (id, name, kind, durability, owner_id, epoch)"
        " VALUES ($1, 'r', 'group', 'durable', $2, 'e')",
        room, ann,
    )  # fmt: skip
    for member in (ann, eve):
        await pool.execute("INSERT INTO room_members (room_id, user_id) VALUES ($1, $2)", room, member)
    await pool.execute(
        "INSERT INTO fences (id, owner_id, name, shape) VALUES ($1, $2, 'f', '{}')", fence, ann
    )
    await pool.execute(
        "INSERT INTO fence_grants (fence_id, user_id, auto_join) VALUES ($1, $2, true)", fence, bob
    )
    at = datetime(2026, 1, 1, tzinfo=UTC)
    for user, visit, exited_at in ((ann, 1, at), (ann, 2, None), (eve, 1, at)):
        await pool.execute(
            "INSERT INTO fence_visits (user_id, fence_id, visit, entered_at, exited_at)"
            " VALUES ($1, $2, $3, $4, $5)",
            user, fence, visit, at, exited_at,
        )  # fmt: skip
    async with pool.acquire() as connection:
        found = await streams.load_users(connection, [ann, bob, eve, gone, new_id()])
        for user in (ann, bob, eve):
            assert found[user] == await streams.load_user(connection, user)
    assert found.keys() == {ann, bob, eve}
    assert (found[ann].matched, found[bob].matched, found[eve].matched) == ({bob}, {ann}, frozenset())
    assert (found[ann].blocked, found[bob].blocked, found[eve].blocked) == (frozenset(), {eve}, {bob})
    assert (found[ann].group_mates, found[eve].group_mates, found[bob].group_mates) == ({eve}, {ann}, set())
    assert (found[ann].visits, found[eve].visits, found[bob].visits) == ({fence: 2}, {fence: 1}, {})
    entered_ms = int(at.timestamp() * 1000)
    assert found[ann].open_visits == {fence: streams.OpenVisit(2, entered_ms)}
    assert (found[eve].open_visits, found[eve].left_at_ms) == ({}, {fence: entered_ms})
    assert (found[bob].auto_join, found[ann].auto_join) == ({fence}, frozenset())
