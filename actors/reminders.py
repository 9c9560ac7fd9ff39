"""Reminders: an actor is told at a time, whichever shard hosts it by then, at least once (ACT-8).

They are rows in Postgres, owned by the slot: a shard looks after those of its slots and is idle until the
next one is due. A reminder is a turn of its actor, which is activated for it; its row goes when the turn has
succeeded. A turn that failed, or whose shard died, comes again.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import asyncpg
from redis.exceptions import RedisError

from actors import messages as wire
from actors.activation import Activation, LocalAsker
from actors.effects import Asker
from actors.placement import slot_of
from actors.protocol import EngineError, ErrorCode
from actors.router import Router
from storage import reminders as table
from storage.postgres import UNREACHABLE
from storage.reminders import Reminder

log = logging.getLogger("hereabouts.shard")

GRANULARITY_S = 1.0
"""How late a reminder may come on a machine at rest."""

POLL_S = 30.0
"""How late at most one comes that was set by another process."""

AT_ONCE = 200
RETRY_LIMIT_S = 60.0

Handler = Callable[[Activation, str, Any], Awaitable[None]]
"""What an actor does when it is reminded: (activation, name, data as JSON text)."""


class Shard(Protocol):
    """The shard, as this sees it."""

    number: int
    pool: Any
    router: Router

    def now_ms(self) -> int:
        """Unix milliseconds."""

    def deliver(self, message: wire.Request, asker: Asker, gateway: str) -> None:
        """Gives a message to its virtual actor."""

    def spawn(self, work: Any) -> None:
        """Runs work in the background."""


class Reminders:
    """Those of one shard's slots."""

    def __init__(self, shard: Shard) -> None:
        self._shard = shard
        self.handlers: dict[str, Handler] = {}
        """Kind → what its actors do."""
        self.gone: dict[str, Callable[[str], Awaitable[None]]] = {}
        """Kind → what is done for an actor that can't be any more, whose reminders end."""
        self._wake = asyncio.Event()
        self._under_way: set[tuple[str, str, str]] = set()
        self._failures: dict[tuple[str, str, str], int] = {}

    async def set(self, kind: str, key: str, name: str, due_ms: int, data: str = "null") -> None:
        """Durable when this returns; one of the same name is replaced. Raises asyncpg's error FENCED if the
        actor is not this shard's any more.
        """
        slot = slot_of(kind, key)
        async with self._shard.pool.acquire() as connection:
            reminder = Reminder(kind, key, name, slot, due_ms, data)
            await table.put(connection, reminder, self._shard.router.epoch_of(slot))
        self._wake.set()

    async def cancel(self, kind: str, key: str, name: str) -> None:
        """The actor does not want it any more. One that is under way may still come."""
        async with self._shard.pool.acquire() as connection:
            await table.remove(connection, kind, key, name)

    def look(self) -> None:
        """Slots have come, or something was set."""
        self._wake.set()

    async def run(self) -> None:
        """Reminds until cancelled."""
        while True:
            self._wake.clear()
            wait_s = POLL_S
            try:
                wait_s = await self._remind()
            except (asyncpg.PostgresError, *UNREACHABLE) as error:
                log.warning("reminders wait: %s", type(error).__name__)
                wait_s = GRANULARITY_S
            try:
                async with asyncio.timeout(wait_s):
                    await self._wake.wait()
            except TimeoutError:
                continue
            await asyncio.sleep(GRANULARITY_S / 2)

    async def _remind(self) -> float:
        """Begins what is due; returns for how long nothing else is."""
        shard = self._shard
        slots = [slot for slot, owner in enumerate(shard.router.view.owners) if owner == shard.number]
        now_ms = shard.now_ms()
        async with shard.pool.acquire() as connection:
            due = await table.due(connection, slots, now_ms, AT_ONCE)
            next_ms = None if due else await table.next_due_ms(connection, slots)
        for reminder in due:
            at = (reminder.kind, reminder.key, reminder.name)
            if at not in self._under_way and reminder.kind in self.handlers:
                self._under_way.add(at)
                self._begin(at, reminder)
        if due:
            return GRANULARITY_S
        return POLL_S if next_ms is None else min(POLL_S, max(GRANULARITY_S, (next_ms - now_ms) / 1000))

    def _begin(self, at: tuple[str, str, str], reminder: Reminder) -> None:
        def done(_: Any, error: EngineError | None) -> None:
            self._shard.spawn(self._ended(at, reminder, error))

        message = wire.Remind(0, reminder.kind, reminder.key, reminder.name, reminder.data)
        self._shard.deliver(message, LocalAsker(done), "")

    async def _ended(self, at: tuple[str, str, str], reminder: Reminder, error: EngineError | None) -> None:
        if error is not None and error.code == ErrorCode.DENIED and reminder.kind in self.gone:
            error = await self._see_off(reminder)
        if error is None:
            self._failures.pop(at, None)
            try:
                async with self._shard.pool.acquire() as connection:
                    await table.remove(connection, *at, reminder.due_ms)
            except (asyncpg.PostgresError, *UNREACHABLE) as wrong:
                log.warning("a reminder comes again: %s", type(wrong).__name__)
        else:
            failures = self._failures[at] = self._failures.get(at, 0) + 1
            log.warning("a reminder of a %s failed: %s", reminder.kind, error.message)
            await asyncio.sleep(min(RETRY_LIMIT_S, GRANULARITY_S * 2 ** min(failures, 6)))
        self._under_way.discard(at)

    async def _see_off(self, reminder: Reminder) -> EngineError | None:
        """There is no such actor: its person is no more. Returns what went wrong."""
        try:
            await self.gone[reminder.kind](reminder.key)
        except (asyncpg.PostgresError, RedisError, *UNREACHABLE) as wrong:
            return EngineError(ErrorCode.INTERNAL, type(wrong).__name__)
        return None

    async def turn(self, activation: Activation, message: wire.Remind, asker: Asker) -> None:
        """A turn of the actor."""
        await self.handlers[activation.kind](activation, message.name, message.data)
        asker.answer({})
