"""Crossings of fences by the people of one shard: decided in the order of each one's fixes, stored once.

A fence that is bound to a room hands the crossing to the room's shard, which moves membership and says so
in the room in the same transaction (CHAT-19).
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

import asyncpg
import msgspec

from actors import messages as wire
from actors.activation import Activation, Stage
from actors.fence import Fence, FenceBook
from actors.host import Hosting
from actors.moves import Moves
from actors.person import UserState
from actors.protocol import EngineError, ErrorCode
from geo.crossings import Crossing, follow
from storage import fences as fence_table
from storage import streams
from storage.ids import new_id
from storage.messages import FENCED
from storage.postgres import UNREACHABLE

log = logging.getLogger("hereabouts.crossings")

_RETRY_S = 0.2


class Crossings:
    """The fences that all people of a shard are measured against, and what comes of it."""

    def __init__(
        self,
        shard: Hosting,
        tell: Callable[[Activation], Awaitable[None]],
        stored: Callable[[Activation], None],
    ) -> None:
        self._shard = shard
        self._tell = tell
        self._stored = stored
        self._book = FenceBook()

    async def reload(self) -> None:
        """Reads all live fences; whoever was inside one that is gone, left it (GEO-17)."""
        async with self._shard.pool.acquire() as connection:
            self._book = FenceBook.of(await fence_table.live_fences(connection))
        for activation in list(self._shard.activations.values()):
            if activation.kind == "user" and activation.stage is Stage.ACTIVE:
                self.close_removed(activation)

    def follow(self, moves: Moves, now_ms: int) -> None:  # noqa: ARG002 - fixes carry their own time
        """Takes a tick's accepted fixes, in order."""
        book = self._book
        is_first = moves.is_first
        for index, held in enumerate(book.holding(moves.lats(), moves.lons())):
            activation = moves.activations[index]
            state: UserState = activation.state
            if not held and not state.fences:
                continue
            state.fences, crossings = follow(
                state.fences, moves.fix(index), held, book.index, book.rules,
                first_ever=bool(is_first[index]),
            )  # fmt: skip
            for fence_id, crossing in crossings:
                self._crossed(activation, fence_id, book.fences.get(fence_id), crossing)

    def close_removed(self, activation: Activation) -> None:
        """Ends this person's visits to fences that are gone (GEO-17)."""
        for fence, crossing in self._book.closed(activation.state.fences, self._shard.now_ms()):
            self._crossed(activation, fence, None, crossing)

    def _crossed(
        self, activation: Activation, fence_id: str, fence: Fence | None, crossing: Crossing
    ) -> None:
        state: UserState = activation.state
        if crossing.event != "exit":
            state.visits[fence_id] = state.visits.get(fence_id, 0) + 1
        visit = state.visits.get(fence_id, 0)
        body = {"fence": fence_id, **msgspec.to_builtins(crossing), "v": 1}
        room = fence.room if fence is not None and fence_id in state.record.auto_join else ""
        row = streams.CrossingRow(
            state.user,
            fence_id,
            visit,
            str(crossing.event),
            crossing.at_ms,
            msgspec.json.encode(body).decode(),
            new_id(),
            room,
        )
        activation.crossings.append(row)
        if not activation.recording:
            activation.recording = True
            self._shard.spawn(self._record(activation))

    async def _record(self, activation: Activation) -> None:
        """Stores a person's crossings one after the other, each until it is stored."""
        try:
            await self._record_all(activation)
        finally:
            activation.recording = False
        self._stored(activation)

    async def _record_all(self, activation: Activation) -> None:
        while activation.crossings and activation.stage is not Stage.GONE:
            row: streams.CrossingRow = activation.crossings[0]
            try:
                await self._record_one(activation, row)
            except asyncpg.PostgresError as error:
                if error.sqlstate == FENCED:
                    # Another activation decides for this person now, from what is stored.
                    self._shard.deactivate(activation)
                    return
                log.warning("a crossing waits: %s", type(error).__name__)
                await asyncio.sleep(_RETRY_S)
            except (EngineError, *UNREACHABLE) as error:
                log.warning("a crossing waits: %s", type(error).__name__)
                await asyncio.sleep(_RETRY_S)
            else:
                activation.crossings.popleft()
                if activation.state.streams:
                    self._shard.turn(activation, self._tell(activation))

    async def _record_one(self, activation: Activation, row: streams.CrossingRow) -> None:
        epoch = self._shard.router.epoch_of(activation.slot)
        if row.room:
            crossing = wire.Crossing(
                0,
                row.room,
                row.user,
                activation.slot,
                epoch,
                row.fence,
                row.visit,
                row.event,
                row.body.encode(),
                row.at_ms,
                moves_membership=True,
            )
            try:
                await self._shard.router.request("room", row.room, crossing)
            except EngineError as error:
                if error.code != ErrorCode.DENIED:
                    raise
            else:
                return
        async with self._shard.pool.acquire() as connection:
            await streams.record_crossing(connection, [(activation.slot, epoch)], row)
