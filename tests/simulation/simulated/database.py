"""The one database of a simulated world: late, cut off now and then before or after a commit, never wrong.

A statement that was sent happens whether or not its sender lives to hear of it.
"""

import asyncio
import contextvars
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import numpy as np
import pytest
from simulated.loop import VirtualLoop, current
from simulated.room_log import RoomLog

from storage import fences, messages, positions
from storage.slots import MemorySlots


class Connection:
    """A connection of some process. Tables but those of rooms and slots are empty."""

    def __init__(self, database: "Database") -> None:
        process = current()
        self.database = database
        self.who = process.life if process is not None else ""

    async def add_listener(self, *_: Any) -> None:
        """Nothing is notified here."""

    def is_closed(self) -> bool:
        """Never, until it is cut."""
        return False

    async def execute(self, *_: Any, **__: Any) -> str:
        """Nothing is changed by it."""
        return "UPDATE 0"

    async def fetch(self, *_: Any, **__: Any) -> list[Any]:
        """Nothing is there."""
        return []

    async def fetchrow(self, *_: Any, **__: Any) -> None:
        """Nothing is there."""

    async def fetchval(self, *_: Any, **__: Any) -> None:
        """Nothing is there."""

    @asynccontextmanager
    async def transaction(self, **_: Any) -> AsyncIterator[None]:
        """Nothing is changed in it."""
        yield

    async def close(self, **_: Any) -> None:
        """Nothing is held."""


class Pool:
    """As asyncpg's, without a bound."""

    def __init__(self, database: "Database") -> None:
        self._database = database

    @asynccontextmanager
    async def acquire(self, **_: Any) -> AsyncIterator[Connection]:
        yield Connection(self._database)

    async def close(self) -> None:
        """Nothing is held."""


class Database:
    """What survives every kill."""

    def __init__(self, loop: VirtualLoop, chance: random.Random) -> None:
        self._loop = loop
        self._chance = chance
        self._context = contextvars.Context()
        self._stalled_until_s = 0.0
        self.cut_rate = 0.0
        """Which part of all statements loses its connection, before or after it happened."""
        self.slots = MemorySlots()
        self.log = RoomLog(lambda slot: self.slots.ownership.epochs[slot])

    def stall(self, seconds: float) -> None:
        """Answers nobody for so long."""
        self._stalled_until_s = max(self._stalled_until_s, self._loop.time() + seconds)

    def _latency_s(self) -> float:
        wait_s = max(0.0, self._stalled_until_s - self._loop.time())
        if self._chance.random() < 0.05:
            return wait_s + self._chance.uniform(0.01, 0.3)
        return wait_s + self._chance.uniform(0.0003, 0.004)

    async def perform(self, work: Callable[[], Any]) -> Any:
        """Does `work` at one moment between now and the answer. Raises what it raises, or that the
        connection was cut: then it may have happened or not.
        """
        answer: asyncio.Future[Any] = self._loop.create_future()
        asker = contextvars.copy_context()
        cut = self._chance.random() < self.cut_rate
        is_late = self._chance.random() < 0.5

        def settle(result: Any, error: BaseException | None) -> None:
            if answer.done():
                return
            if error is not None:
                answer.set_exception(error)
            else:
                answer.set_result(result)

        def happen() -> None:
            result, error = None, None
            try:
                if cut and not is_late:
                    raise ConnectionResetError("cut before")  # noqa: TRY301
                result = work()
                if cut:
                    raise ConnectionResetError("cut after")  # noqa: TRY301
            except Exception as raised:  # noqa: BLE001 - the asker's
                error = raised
            self._loop.call_later(self._latency_s() / 2, settle, result, error, context=asker)

        self._loop.call_later(self._latency_s() / 2, happen, context=self._context)
        return await answer

    def stand_in(self, patch: pytest.MonkeyPatch) -> None:
        """Takes the place of Postgres and Valkey in the modules that use them."""
        for name, call in self.log.calls().items():
            patch.setattr(messages, name, self._as_query(call))

        async def append(connection: Connection, *what: Any) -> None:
            await self.perform(lambda: self.log.append(connection.who, *what))

        async def connect(*_: Any, **__: Any) -> Connection:
            return Connection(self)

        async def open_pool(*_: Any, **__: Any) -> Pool:
            return Pool(self)

        async def nothing(*_: Any, **__: Any) -> list[Any]:
            return []

        async def no_rows(*_: Any, **__: Any) -> Any:
            return np.empty(0, dtype=positions.LOGGED)

        patch.setattr(messages, "append", append)
        patch.setattr(asyncpg, "connect", connect)
        patch.setattr(asyncpg, "create_pool", open_pool)
        patch.setattr("actors.hand_off.read_ownership", self._as_query(lambda: self.slots.ownership))
        patch.setattr("actors.shard.open_pool", open_pool)
        patch.setattr("actors.shard.open_valkey", lambda _: Valkey())
        patch.setattr(fences, "live_fences", nothing)
        patch.setattr(fences, "ended_fences", nothing)
        patch.setattr(positions, "read_logs", no_rows)

    def _as_query(self, call: Callable[..., Any]) -> Callable[..., Any]:
        async def query(_: Connection, *arguments: Any, **named: Any) -> Any:
            return await self.perform(lambda: call(*arguments, **named))

        return query


class Valkey:
    """Nobody has a position here."""

    async def aclose(self) -> None:
        """Nothing is held."""


class Slots:
    """The Directory's store (storage/slots.py), as far away as everything else in the database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def close(self) -> None:
        """Nothing is held."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def now(*given: Any) -> Any:
            work = getattr(self._database.slots, name)(*given)
            try:
                work.send(None)
            except StopIteration as done:
                return done.value
            raise AssertionError(f"{name} waits")

        async def call(*given: Any) -> Any:
            return await self._database.perform(lambda: now(*given))

        return call
