"""Hosts rooms: loads them from their logs, commits what is said, reads back what is asked for."""

import asyncio
import logging
from collections.abc import Awaitable
from typing import Any

import asyncpg

from actors import messages as wire
from actors import room
from actors.activation import Activation, Waiting
from actors.attendance import EPOCH_BITS
from actors.commit import Committer, CrossingDraft
from actors.effects import NOBODY, Asker, ReadHistory, Score
from actors.host import Hosting
from actors.protocol import EngineError, ErrorCode
from actors.reading_host import ReadingHost
from actors.room import RoomState
from actors.stream import WINDOW, Publication, Stream
from storage import messages as log_table
from storage.ids import is_id, new_id
from storage.postgres import UNREACHABLE

log = logging.getLogger("hereabouts.room")

_RETRY_S = 0.1
_SAME_MOMENT_S = 0.001

_AGAIN_S = 2.0
"""After people crossed while members were read, one looks once more: somebody may have moved them, too."""


class RoomHost:
    """Rooms of one shard and the committer that they share."""

    def __init__(self, shard: Hosting) -> None:
        self._shard = shard
        self._storing: tuple[float, set[str]] = (0.0, set())
        """When it was asked last, and which rooms had something to be stored then."""
        self.readings = ReadingHost(shard, self._run_silently, _publication)
        self.committer = Committer(
            shard.pool,
            room=self._state,
            epoch=shard.router.epoch_of,
            run=self._run_silently,
            lost=self._lost,
            now_ms=shard.now_ms,
        )

    def _state(self, key: str) -> RoomState | None:
        activation = self._shard.activations.get(("room", key))
        if activation is None or not activation.is_live:
            return None
        state: RoomState = activation.state
        return None if state.starting_over else state

    async def load(self, activation: Activation) -> RoomState | None:
        if not is_id(activation.key):
            return None
        async with self._shard.pool.acquire() as connection:
            record = await log_table.load_room(connection, activation.key, WINDOW)
            if record is None:
                return None
            state = _room(activation.key, record)
            state.attendance.said = self._shard.router.epoch_of(activation.slot) << EPOCH_BITS
            if record.is_read:
                await self.readings.load(connection, state, record.last_offset)
            return state

    def activated(self, activation: Activation) -> None:
        activation.state.attendance.moved(self._shard.now_ms())
        self.readings.activated(activation.state)

    def handle(self, activation: Activation, waiting: Waiting) -> Awaitable[None] | None:
        message, state = waiting.message, activation.state
        if isinstance(message, wire.Refresh):
            return self._refresh(activation, waiting.asker)
        if isinstance(message, wire.Crossing):
            self.committer.put(CrossingDraft(message, waiting.asker))
            return None
        now_ms = self._shard.now_ms()
        self._run(state, room.step(state, message, waiting.asker, waiting.gateway, now_ms))
        return None

    def _run(self, state: RoomState, effects: list[Any]) -> None:
        for effect in self._shard.run(effects):
            if isinstance(effect, Score):
                self.readings.ask(effect)
                continue
            assert isinstance(effect, ReadHistory)
            self._shard.spawn(self._read_history(state, effect))

    def _run_silently(self, effects: list[Any]) -> None:
        for effect in self._shard.run(effects):
            assert isinstance(effect, Score)
            self.readings.ask(effect)

    async def _refresh(self, activation: Activation, asker: Asker) -> None:
        state: RoomState = activation.state
        with self.committer.crossing(activation.key) as crossing:
            async with self._shard.pool.acquire() as connection:
                members, blocked = await log_table.load_members(connection, activation.key)
        for user in crossing:
            # Their crossing says itself in the log what it did; said from here it would stand there twice.
            members.pop(user, None)
            if user in state.members:
                members[user] = state.members[user]
        self._run(state, room.membership_changed(state, members, blocked))
        if crossing:
            again = wire.Refresh(0, "room", activation.key)
            asyncio.get_running_loop().call_later(_AGAIN_S, self._shard.deliver, again, NOBODY, "")
        asker.answer({})

    def _lost(self, key: str) -> None:
        """A commit of this room was refused: go on from what the log holds, if the room is still ours."""
        activation = self._shard.activations.get(("room", key))
        if activation is None or not activation.is_live or activation.state.starting_over:
            return
        activation.state.starting_over = True
        self._shard.turn(activation, self._start_over(activation))

    async def _start_over(self, activation: Activation) -> None:
        record = None
        while activation.is_live:
            try:
                async with self._shard.pool.acquire() as connection:
                    record = await log_table.load_room(connection, activation.key, WINDOW)
                    if record is not None and (record.is_read or activation.state.read is not None):
                        await self.readings.load(connection, activation.state, record.last_offset)
                break
            except (asyncpg.PostgresError, *UNREACHABLE) as error:
                log.warning("a room can't start over yet: %s", type(error).__name__)
                await asyncio.sleep(_RETRY_S)
        if record is None:
            self._shard.deactivate(activation)
            return
        self._run(activation.state, room.uncommitted(activation.state, _stream(record)))
        if record.has_refusals:
            activation.state.knows_all_cids = False
        self.readings.activated(activation.state)

    async def _read_history(self, state: RoomState, read: ReadHistory) -> None:
        if read.limit == 0:
            rows: list[log_table.Row] = []
        else:
            try:
                async with self._shard.pool.acquire() as connection:
                    rows = await log_table.page(
                        connection,
                        state.room,
                        after=read.after,
                        before=read.before,
                        limit=read.limit + 1,
                        newest_first=read.reverse or read.newest,
                    )
            except Exception as error:  # noqa: BLE001 - whatever it was, the client may ask again
                read.asker.refuse(EngineError(ErrorCode.INTERNAL, f"history: {type(error).__name__}", 500))
                return
        more = len(rows) > read.limit
        rows = rows[: read.limit]
        if read.newest and not read.reverse:
            rows = rows[::-1]
        hidden = state.blocked.get(read.viewer, frozenset())
        pubs = [_publication(row).seen_by(read.viewer) for row in rows if row.sender not in hidden]
        read.asker.answer(
            {"pubs": pubs, "epoch": state.stream.epoch, "offset": state.stream.top, "more": more}
        )

    def gateway_lost(self, activation: Activation, gateway: str) -> None:
        activation.state.attendance.gateway_lost(gateway, self._shard.now_ms())

    def tick(self, now_ms: int) -> None:
        pass

    def expire(self, activation: Activation, now_ms: int) -> None:
        self._run(activation.state, room.expire(activation.state, now_ms, self._shard.fan_out.is_dead))
        self.readings.expire(activation, now_ms)

    def is_idle(self, activation: Activation) -> bool:
        return bool(activation.state.is_idle)

    def regions_split(self, activation: Activation, regions: frozenset[str]) -> None:
        pass

    def size_bytes(self, activation: Activation) -> int:
        state: RoomState = activation.state
        window = state.stream.window
        said = len(window[-1].d) if window else 0
        people = 2 * len(state.members) + 8 * len(state.attendance.presence.by_conn)
        read = 0 if state.read is None else 30_000 + 1_000 * len(state.read.pending)
        return 4_000 + read + len(window) * (400 + said) + len(state.acks) * 300 + people * 100

    def is_quiet(self, activation: Activation) -> bool:
        now_s = asyncio.get_running_loop().time()
        if now_s - self._storing[0] > _SAME_MOMENT_S:
            self._storing = now_s, self.committer.rooms()
        state: RoomState = activation.state
        waits = state.read is not None and bool(state.read.held)
        return not waits and not state.starting_over and activation.key not in self._storing[1]

    def leaving(self, activation: Activation) -> None:
        pass

    def ended(self, activation: Activation) -> None:
        self.readings.ended(activation.key, activation.state)

    def arrived(self, activation: Activation) -> None:
        activation.state.is_new = False
        self.readings.arrived(activation.state)


def _room(key: str, record: log_table.RoomRecord) -> RoomState:
    """What an activation starts from."""
    stream = _stream(record) if record.durable else Stream(new_id())
    state = RoomState(key, record.durable, stream, record.members, record.blocked)
    state.is_new = not record.durable
    state.is_direct, state.is_encrypted = record.is_direct, record.is_encrypted
    room.restore(state, stream)
    state.knows_all_cids = state.knows_all_cids and not record.has_refusals
    return state


def _stream(record: log_table.RoomRecord) -> Stream:
    stream = Stream(record.epoch, record.last_offset)
    stream.window.extend(_publication(row) for row in record.newest)
    return stream


def _publication(row: log_table.Row) -> Publication:
    return Publication(row.offset, row.sent_at_ms, row.id, row.sender, row.cid, row.body.encode())
