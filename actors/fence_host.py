"""Hosts fences: who may look, what their logs say, and what is done when one ends (ACT-1, GEO-14, GEO-17)."""

import asyncio
import logging
from collections.abc import Awaitable
from contextlib import suppress

import asyncpg

from actors import fence
from actors import messages as wire
from actors.activation import Activation, Waiting
from actors.effects import Asker, Refuse
from actors.fence import FenceState
from actors.fence_book import EXPIRED
from actors.host import Hosting
from actors.protocol import RECOVERY_LIMIT, EngineError, ErrorCode
from actors.stream import WINDOW
from storage import crossings as crossing_table
from storage import fence_events as log_table
from storage import fences as table
from storage.ids import is_id, new_id
from storage.messages import assert_epoch
from storage.postgres import UNREACHABLE

log = logging.getLogger("hereabouts.fence")

EXPIRE, CLOSE = "expire", "close"
"""A fence's reminders (storage/fences.py): its time is over; it is no more, and somebody may be inside."""

LOOK_AGAIN_MS = 5_000
"""What was told while the word of it got lost is found after this."""

CLOSE_AFTER_MS = 2_000
"""So long after a fence ended it is looked who is still inside."""

_AT_ONCE = 200
_DENIED = EngineError(ErrorCode.DENIED, "no such channel, or not yours")


class FenceHost:
    """Fences of one shard that somebody looks at."""

    def __init__(self, shard: Hosting) -> None:
        self._shard = shard
        self._looked_at_ms: dict[str, int] = {}

    async def load(self, activation: Activation) -> FenceState | None:
        if not is_id(activation.key):
            return None
        async with self._shard.pool.acquire() as connection:
            head = await log_table.head(connection, activation.key)
        return None if head is None else FenceState.of(activation.key, head)

    def activated(self, activation: Activation) -> None:
        pass

    def handle(self, activation: Activation, waiting: Waiting) -> Awaitable[None] | None:
        message, asker, state = waiting.message, waiting.asker, activation.state
        if isinstance(message, wire.FenceMoved):
            self._look(activation)
        elif isinstance(message, wire.Unsubscribe):
            fence.unsubscribed(state, message, waiting.gateway, self._shard.now_ms())
            asker.answer({})
        elif isinstance(message, wire.Refresh):
            return self._refresh(state, asker)
        elif isinstance(message, wire.Subscribe):
            return self._subscribe(state, message, asker, waiting.gateway)
        elif isinstance(message, wire.History):
            return self._history(state, message, asker)
        elif isinstance(message, wire.Publish | wire.Ephemeral):
            self._shard.run([Refuse(asker, ErrorCode.DENIED, "only the engine writes here")])
        else:
            self._shard.run([Refuse(asker, ErrorCode.NOT_AVAILABLE, "a fence does not do this")])
        return None

    # -- looking --------------------------------------------------------------------------------------

    async def _admit(self, connection: asyncpg.Connection, state: FenceState, user: str) -> None:
        """Raises EngineError 103 for everybody but the owner and apps."""
        if user != state.owner and not await log_table.is_app(connection, user):
            raise _DENIED

    async def _subscribe(
        self, state: FenceState, message: wire.Subscribe, asker: Asker, gateway: str
    ) -> None:
        async with self._shard.pool.acquire() as connection:
            await self._admit(connection, state, message.user)
            await self._read(connection, state)
            if message.mode == "map":
                await self._look_inside(connection, state, message.user)
                effects = fence.map_subscribed(state, message, asker, gateway, self._shard.now_ms(), new_id)
                self._shard.run(effects)
                return
            head = log_table.FenceHead(state.owner, state.epoch, state.top, state.inside)
            count = fence.wanted_events(message, head, WINDOW)
            found = await log_table.events(
                connection, state.fence, message.user,
                after=0, before=state.top + 1, limit=count, newest_first=True,
            )  # fmt: skip
        self._shard.run(fence.subscribed(state, message, asker, gateway, head, found[::-1]))

    async def _history(self, state: FenceState, message: wire.History, asker: Asker) -> None:
        if message.epoch and message.epoch != state.epoch:
            raise EngineError(ErrorCode.UNRECOVERABLE, "the stream has another epoch")
        limit = max(0, min(message.limit, RECOVERY_LIMIT))
        async with self._shard.pool.acquire() as connection:
            await self._admit(connection, state, message.user)
            await self._read(connection, state)
            before, after = state.top + 1, max(message.offset, 0)
            if message.reverse:
                before, after = (message.offset if message.offset >= 0 else before), 0
            found = await log_table.events(
                connection, state.fence, message.user,
                after=after, before=before, limit=limit + 1, newest_first=message.reverse,
            )  # fmt: skip
        head = log_table.FenceHead(state.owner, state.epoch, state.top, state.inside)
        asker.answer(fence.page(head, found, limit))

    async def _refresh(self, state: FenceState, asker: Asker) -> None:
        """Somebody's consent changed: the maps show whom they may."""
        async with self._shard.pool.acquire() as connection:
            await self._read(connection, state)
            if state.maps.views:
                await self._look_inside(connection, state)
        asker.answer({})

    async def _look_inside(
        self, connection: asyncpg.Connection, state: FenceState, newcomer: str = ""
    ) -> None:
        """Reads who is inside, and may be known to whom."""
        named = await log_table.named_inside(connection, state.fence, None)
        viewers = (state.viewers() | {newcomer}) - {state.owner, ""}
        hidden = await log_table.blocked_pairs(connection, sorted(viewers), list(named)) if viewers else {}
        self._shard.run(fence.map_changed(state, named, hidden))

    # -- what is new ----------------------------------------------------------------------------------

    def _look(self, activation: Activation) -> None:
        """Reads what is new, in a turn, soon: one that is on its way finds this, too."""
        state: FenceState = activation.state
        if not state.is_behind and not state.is_idle:
            state.is_behind = True
            self._shard.turn(activation, self._catch_up(state))

    async def _catch_up(self, state: FenceState) -> None:
        state.is_behind = False
        with suppress(asyncpg.PostgresError, *UNREACHABLE):  # it is looked at again
            async with self._shard.pool.acquire() as connection:
                await self._read(connection, state)

    async def _read(self, connection: asyncpg.Connection, state: FenceState) -> None:
        """Tells what the log has beyond what was told."""
        changed = False
        while True:
            new = await log_table.events(
                connection, state.fence, None, after=state.top, before=2**53, limit=RECOVERY_LIMIT
            )
            users, viewers = {event.user for event in new} - {""}, state.viewers()
            hidden = dict[str, frozenset[str]]()
            if users and viewers:
                hidden = await log_table.blocked_pairs(connection, sorted(viewers), sorted(users))
            self._shard.run(fence.happened(state, new, hidden))
            changed = changed or bool(new)
            state.hidden |= hidden
            if len(new) < RECOVERY_LIMIT:
                break
        if changed:
            self._shard.run(fence.map_changed(state))

    # -- the end --------------------------------------------------------------------------------------

    async def remind(self, activation: Activation, name: str, _data: str) -> None:
        """The fence's time is over, or it is gone: everybody inside is let out, once each. Whoever is live
        has left with the fence; the others' actors are woken, and close what is open.
        """
        key, shard = activation.key, self._shard
        people = []
        if name == EXPIRE:
            epoch = shard.router.epoch_of(activation.slot)
            async with shard.pool.acquire() as connection, connection.transaction():
                await assert_epoch(connection, activation.slot, epoch)
                if not await table.expire_fence(connection, key, shard.now_ms(), EXPIRED):
                    return  # it was removed, or given more time
        else:
            async with shard.pool.acquire() as connection:
                people = await log_table.people_inside(connection, key, _AT_ONCE)
            if not people:
                return
            await asyncio.gather(*(self._wake(user, key) for user in people))
        await shard.reminders.set("fence", key, CLOSE, shard.now_ms() + CLOSE_AFTER_MS)

    async def _wake(self, user: str, key: str) -> None:
        reminder = wire.Remind(0, "user", user, f"visit:{key}", "null")
        try:
            await self._shard.router.request("user", user, reminder)
        except EngineError as error:
            if error.code == ErrorCode.DENIED:  # no such person any more
                async with self._shard.pool.acquire() as connection, connection.transaction():
                    await crossing_table.close_visits(connection, user, self._shard.now_ms())

    # -- life -----------------------------------------------------------------------------------------

    def gateway_lost(self, activation: Activation, gateway: str) -> None:
        fence.gateway_lost(activation.state, gateway, self._shard.now_ms())

    def tick(self, now_ms: int) -> None:
        pass

    def expire(self, activation: Activation, now_ms: int) -> None:
        activation.state.maps.kept.expire(now_ms)
        if now_ms - self._looked_at_ms.get(activation.key, 0) > LOOK_AGAIN_MS:
            self._looked_at_ms[activation.key] = now_ms
            self._look(activation)

    def is_idle(self, activation: Activation) -> bool:
        return bool(activation.state.is_idle)

    def regions_split(self, activation: Activation, regions: frozenset[str]) -> None:
        pass

    def size_bytes(self, activation: Activation) -> int:
        state: FenceState = activation.state
        views = sum(len(view.seen.rows) for view in state.maps.views.values())
        return 1_000 + len(state.named) * 150 + views * 300

    def is_quiet(self, activation: Activation) -> bool:
        return not activation.state.is_behind

    def leaving(self, activation: Activation) -> None:
        self._looked_at_ms.pop(activation.key, None)

    def ended(self, activation: Activation) -> None:
        self._looked_at_ms.pop(activation.key, None)

    def arrived(self, activation: Activation) -> None:
        activation.state.is_behind = False
        self._look(activation)
