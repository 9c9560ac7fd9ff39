"""One contract for rooms' logs: Postgres (storage/messages.py) and the log of simulated worlds."""

from collections.abc import Callable
from typing import Any

import asyncpg
import pytest
from simulated.room_log import Room, RoomLog

from storage import messages
from storage.ids import new_id
from storage.messages import FENCED, MOVED_ON, Advance, Row
from storage.slots import SLOTS

AT_MS = 1_795_000_000_000
SLOT, EPOCH = 5, 3


class Postgres:
    """The real one."""

    def __init__(self, pool: Any, room: str, sender: str) -> None:
        self._pool = pool
        self.room = room
        self.sender = sender

    async def append(self, *what: Any) -> None:
        async with self._pool.acquire() as connection:
            await messages.append(connection, *what)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        async def call(*arguments: Any, **named: Any) -> Any:
            async with self._pool.acquire() as connection:
                return await getattr(messages, name)(connection, *arguments, **named)

        return call


class Memory:
    """The simulated one."""

    def __init__(self, room: str, sender: str) -> None:
        self.room = room
        self.sender = sender
        self._log = RoomLog(lambda slot: EPOCH if slot == SLOT else 1)
        self._log.rooms[room] = Room(True, "e", {sender: "owner"})

    async def append(self, *what: Any) -> None:
        self._log.append("somebody", *what)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        async def call(*arguments: Any, **named: Any) -> Any:
            return self._log.calls()[name](*arguments, **named)

        return call


@pytest.fixture(params=["postgres", "memory"])
async def log(request: pytest.FixtureRequest, pool: Any) -> Any:
    """A log with one empty room, whose slot is under an epoch."""
    room, sender = new_id(), new_id()
    if request.param == "memory":
        yield Memory(room, sender)
        return
    await pool.execute(
        "INSERT INTO users (id, handle, birth_date) VALUES ($1, 'u', '1990-01-01'::date)", sender
    )
    await pool.execute(
        "INSERT INTO rooms (id, name, kind, owner_id, epoch) VALUES ($1, 'r', 'group', $2, 'e')", room, sender
    )
    await pool.execute(
        "INSERT INTO room_members (room_id, user_id, role) VALUES ($1, $2, 'owner')", room, sender
    )
    await pool.execute(
        "INSERT INTO slots (slot, shard, epoch) SELECT s, 0, CASE WHEN s = $1 THEN $2 ELSE 1 END::bigint"
        " FROM generate_series(0, $3) s",
        SLOT, EPOCH, SLOTS - 1,
    )  # fmt: skip
    yield Postgres(pool, room, sender)


def rows(log: Any, first: int, last: int, cid: str = "c") -> tuple[list[Advance], list[Row]]:
    """An append of publications `first` … `last`."""
    found = [Row(log.room, o, AT_MS, new_id(), log.sender, f"{cid}{o}", "{}") for o in range(first, last + 1)]
    return [Advance(log.room, first - 1, last, new_id())], found


async def refused(log: Any, fences: list[tuple[int, int]], what: Any) -> str:
    """The SQLSTATE with which an append is refused; nothing is written."""
    before = await log.last_offset(log.room)
    with pytest.raises(asyncpg.PostgresError) as error:
        await log.append(fences, *what)
    assert await log.last_offset(log.room) == before
    assert len(await log.page(log.room, after=0, before=100, limit=100, newest_first=False)) == before
    return str(error.value.sqlstate)


async def test_a_batch_is_appended_whole_and_read_back(log: Any) -> None:
    what = rows(log, 1, 3)
    await log.append([(SLOT, EPOCH)], *what)
    assert await log.last_offset(log.room) == 3
    assert await log.page(log.room, after=1, before=4, limit=9, newest_first=False) == what[1][1:]
    assert await log.page(log.room, after=0, before=4, limit=2, newest_first=True) == what[1][:0:-1]
    record = await log.load_room(log.room, 2)
    assert (record.durable, record.epoch, record.last_offset) == (True, "e", 3)
    assert record.newest == what[1][1:]
    assert record.members == {log.sender: "owner"}
    assert await log.load_members(log.room) == ({log.sender: "owner"}, {})


async def test_another_epoch_is_fenced_older_or_newer(log: Any) -> None:
    assert await refused(log, [(SLOT, EPOCH - 1)], rows(log, 1, 1)) == FENCED
    assert await refused(log, [(SLOT, EPOCH + 1)], rows(log, 1, 1)) == FENCED
    assert await refused(log, [(4, 1), (SLOT, EPOCH - 1)], rows(log, 1, 1)) == FENCED
    await log.append([(4, 1), (SLOT, EPOCH)], *rows(log, 1, 1))


async def test_a_log_that_moved_on_takes_nothing(log: Any) -> None:
    await log.append([(SLOT, EPOCH)], *rows(log, 1, 2))
    assert await refused(log, [(SLOT, EPOCH)], rows(log, 1, 2, "d")) == MOVED_ON
    assert await refused(log, [(SLOT, EPOCH)], rows(log, 2, 3, "d")) == MOVED_ON
    assert await refused(log, [(SLOT, EPOCH)], rows(log, 4, 4, "d")) == MOVED_ON
    await log.append([(SLOT, EPOCH)], *rows(log, 3, 3))


async def test_a_cid_is_stored_once_and_found(log: Any) -> None:
    what = rows(log, 1, 1)
    await log.append([(SLOT, EPOCH)], *what)
    again = rows(log, 2, 2)
    clash = [*again[1][:0], Row(log.room, 2, AT_MS, again[1][0].id, log.sender, "c1", "{}")]
    assert await refused(log, [(SLOT, EPOCH)], (again[0], clash)) == asyncpg.UniqueViolationError.sqlstate
    key = (log.room, log.sender, "c1")
    assert await log.find_cids([key, (log.room, log.sender, "c9")]) == {key: (1, AT_MS, what[1][0].id)}


async def test_there_is_no_room_but_those_that_are(log: Any) -> None:
    other = new_id()
    assert await log.last_offset(other) is None
    assert await log.load_room(other, 9) is None
