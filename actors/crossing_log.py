"""Stores the crossings of a shard's people: many in one statement, each person's in order, each once.

A crossing of a fence that is bound to a room goes to the room's shard instead, which moves membership and
says so in the room in the same transaction (CHAT-19); the person's next one waits for it.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from itertools import takewhile

import asyncpg

from actors import messages as wire
from actors.activation import Activation, Stage
from actors.host import Hosting
from actors.own_streams import heard
from actors.protocol import EngineError, ErrorCode
from actors.stream import Publication
from storage import crossings as table
from storage.crossings import CrossingRow
from storage.messages import FENCED
from storage.postgres import UNREACHABLE

log = logging.getLogger("hereabouts.crossings")

BATCH = 2_000
"""Crossings in one statement."""

WAITING_LIMIT = 1_000
"""Crossings of one person that are not stored yet; past it fences take no notice of their fixes."""

_RETRY_S = 0.2

Share = tuple[Activation, list[CrossingRow]]


class CrossingLog:
    """Of one shard."""

    def __init__(
        self,
        shard: Hosting,
        tell: Callable[[Activation], Awaitable[None]],
        stored: Callable[[Activation], None],
    ) -> None:
        self._shard = shard
        self._tell = tell
        self._stored = stored
        self._ready: deque[Activation] = deque()
        """People whose first crossing can be stored now."""
        self._working = False

    def put(self, activation: Activation, row: CrossingRow) -> None:
        """Stores it after those that came before."""
        activation.crossings.append(row)
        if not activation.recording:
            activation.recording = True
            self._next(activation)

    def _next(self, activation: Activation) -> None:
        """The person's next crossings, if there are any."""
        if activation.stage is Stage.GONE:
            activation.recording = False
        elif not activation.crossings:
            activation.recording = False
            self._stored(activation)
        elif activation.crossings[0].room:
            self._shard.spawn(self._in_room(activation))
        else:
            self._ready.append(activation)
            if not self._working:
                self._working = True
                self._shard.spawn(self._work())

    async def _work(self) -> None:
        """Stores until nothing is left; what comes meanwhile is the next batch."""
        await asyncio.sleep(0)  # all of this tick are one batch
        try:
            while self._ready:
                shares: list[Share] = []
                count = 0
                while self._ready and count < BATCH:
                    activation = self._ready.popleft()
                    rows = list(takewhile(lambda row: not row.room, activation.crossings))[: BATCH - count]
                    shares.append((activation, rows))
                    count += len(rows)
                await self._store(shares)
        finally:
            self._working = False

    async def _store(self, shares: list[Share]) -> None:
        while True:
            shares = [share for share in shares if not self._is_gone(share[0])]
            if not shares:
                return
            try:
                async with self._shard.pool.acquire() as connection:
                    rows = [row for _, rows in shares for row in rows]
                    fences = {activation.slot: self._epoch(activation) for activation, _ in shares}
                    offsets = await table.record(connection, sorted(fences.items()), rows)
                break
            except asyncpg.PostgresError as error:
                if len(shares) > 1:  # one of them is at fault, and none was stored
                    for share in shares:
                        self._shard.spawn(self._store([share]))
                    return
                if error.sqlstate == FENCED:
                    self._lose(shares[0][0])
                    return
                log.warning("a crossing waits: %s", type(error).__name__)
            except UNREACHABLE as error:
                log.warning("crossings wait: %s", type(error).__name__)
            await asyncio.sleep(_RETRY_S)
        first = 0
        for activation, own in shares:
            told = {row.event_id: offsets.get(first + index, 0) for index, row in enumerate(own)}
            first += len(own)
            self._done(activation, own, told)
        self._tell_fences(rows)

    async def _in_room(self, activation: Activation) -> None:
        """One crossing, until it is stored."""
        row: CrossingRow = activation.crossings[0]
        while not self._is_gone(activation):
            crossing = wire.Crossing(
                0,
                row.room,
                row.user,
                activation.slot,
                self._epoch(activation),
                row.fence,
                row.visit,
                row.event,
                row.body.encode(),
                row.at_ms,
                row.event_id,
                row.confidence,
                row.due_ms,
            )
            try:
                reply = await self._shard.router.request("room", row.room, crossing)
            except EngineError as error:
                if error.code == ErrorCode.DENIED:  # the room is no more
                    await self._store([(activation, [row])])
                    return
                log.warning("a crossing waits: %s", error.code.name)
            else:
                self._done(activation, [row], {row.event_id: reply.get("offset", 0)})
                self._tell_fences([row])
                return
            await asyncio.sleep(_RETRY_S)

    def _done(self, activation: Activation, rows: list[CrossingRow], offsets: dict[str, int]) -> None:
        """These are stored; `offsets` of those that were not before."""
        if activation.stage is Stage.GONE:
            return
        for _ in rows:
            activation.crossings.popleft()
        stream = activation.state.streams.get("fences")
        if stream is not None:
            told = [
                Publication(offsets[row.event_id], row.at_ms, row.event_id, "", "", row.body.encode())
                for row in rows
            ]
            if [each.offset for each in told] == list(range(stream.top + 1, stream.top + 1 + len(told))):
                self._shard.run(list(heard(activation.state, "fences", told)))
            else:
                self._shard.turn(activation, self._tell(activation))
        self._next(activation)

    def _tell_fences(self, rows: list[CrossingRow]) -> None:
        """Whoever looks at a fence looks again; its log has what is new."""
        for fence in {row.fence for row in rows}:
            self._shard.router.cast("fence", fence, wire.FenceMoved(0, fence))

    def _is_gone(self, activation: Activation) -> bool:
        if activation.stage is not Stage.GONE:
            return False
        activation.recording = False
        return True

    def _lose(self, activation: Activation) -> None:
        """Another activation decides for this person now, from what is stored."""
        activation.recording = False
        self._shard.deactivate(activation)

    def _epoch(self, activation: Activation) -> int:
        return self._shard.router.epoch_of(activation.slot)
