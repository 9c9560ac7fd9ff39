"""Group commit: a tick's messages of all rooms of a shard go to Postgres in one statement (CHAT-5).

One batch is under way at a time; what arrives meanwhile is the next one, so the busier the shard, the
larger the batches. A publication is pushed, and a durable ack given, only after its commit (D7).
"""

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg
import msgspec

from actors import messages as wire
from actors import room as rooms
from actors.commit_beside import Besides, besides
from actors.commit_beside import write as write_besides
from actors.effects import NOBODY, Asker, Draft, Effect
from actors.metrics import counter
from actors.placement import slot_of
from actors.protocol import EngineError, ErrorCode
from actors.room import Ack, RoomState
from actors.stream import Publication
from storage import crossings as crossing_table
from storage import messages as log_table
from storage.crossings import CrossingRow, Place
from storage.ids import new_id
from storage.postgres import UNREACHABLE

log = logging.getLogger("hereabouts.commit")

QUEUE_LIMIT = 10_000
"""Drafts that wait for a commit; past it a sender gets 120 (ACT-6)."""

BATCH_LIMIT = 2_000
_RETRY_S = 0.1
_commits, _committed = counter("commits"), counter("committed")


@dataclass(frozen=True, slots=True)
class CrossingDraft:
    """A crossing of a fence that is bound to a room of this shard."""

    message: wire.Crossing
    asker: Asker


class Fenced(Exception):  # noqa: N818 - a fact about a write, not a fault
    """Another activation owns the slot: what was not committed is not ours to commit."""


@dataclass(slots=True)
class _Batch:
    """One transaction: what is appended to which rooms, and who is told."""

    stored: dict[str, list[tuple[Publication, Draft]]]
    crossings: list[tuple[CrossingDraft, CrossingRow]]
    fences: list[tuple[int, int]]
    advances: list[log_table.Advance]
    rows: list[log_table.Row]
    offsets: dict[int, int]
    """Index of a crossing → offset in the person's stream, once it is stored."""
    besides: Besides
    now_ms: int


class Committer:
    """Turns drafts into committed publications, in the order they came."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        *,
        room: Callable[[str], RoomState | None],
        epoch: Callable[[int], int],
        run: Callable[[list[Effect]], None],
        lost: Callable[[str], None],
        now_ms: Callable[[], int],
    ) -> None:
        self._pool = pool
        self._room = room
        self._epoch = epoch
        self._run = run
        self._lost = lost
        self._now_ms = now_ms
        self._queue: list[Draft | CrossingDraft] = []
        self._wake = asyncio.Event()
        self._under_way: list[Draft | CrossingDraft] = []
        self._watched: list[tuple[str, set[str]]] = []
        self.commits = 0
        self.committed = 0

    def put(self, item: Draft | CrossingDraft) -> None:
        """Queues for the next commit, or refuses when too many wait. What the engine itself says follows from
        what was taken, and has no other bound.
        """
        if len(self._queue) >= QUEUE_LIMIT and item.asker is not NOBODY:
            item.asker.refuse(EngineError(ErrorCode.OVERLOADED, "the log is behind", 500))
            return
        self._queue.append(item)
        self._wake.set()
        if isinstance(item, CrossingDraft):
            for room, users in self._watched:
                if room == item.message.room:
                    users.add(item.message.user)

    @contextmanager
    def crossing(self, room: str) -> Iterator[set[str]]:
        """Whose crossings of a room's fence are under way at some time in the block: of them what Postgres
        says may be older or newer than what the room knows, which the commit itself brings together.
        """
        under_way = (item for item in (*self._under_way, *self._queue) if isinstance(item, CrossingDraft))
        watched = room, {item.message.user for item in under_way if item.message.room == room}
        self._watched.append(watched)
        try:
            yield watched[1]
        finally:
            self._watched = [each for each in self._watched if each is not watched]

    async def run(self) -> None:
        """Commits until cancelled."""
        while True:
            await self._wake.wait()
            batch, self._queue = self._queue[:BATCH_LIMIT], self._queue[BATCH_LIMIT:]
            if not self._queue:
                self._wake.clear()
            self._under_way = batch
            try:
                await self._commit(batch)
            except Exception:
                # Whoever asked is told to try again; the rooms start over from what the log holds.
                log.exception("a commit failed")
                self._give_up(batch, ErrorCode.INTERNAL, "this was not stored")
            self._under_way = []

    def rooms(self) -> set[str]:
        """The rooms of which something waits to be stored, or is being stored."""
        return {_room_of(item) for item in (*self._under_way, *self._queue)}

    async def _commit(self, items: list[Draft | CrossingDraft]) -> None:
        known = await self._retried(lambda: self._look_up(items))
        batch = self._assign(items, known)
        try:
            await self._write(batch)
        except Fenced:
            self._give_up(items, ErrorCode.MOVED, "another shard has this room now")
            return
        self.commits += 1
        _commits.n += 1
        for room, stored in batch.stored.items():
            state = self._room(room)
            if state is not None:
                self.committed += len(stored)
                _committed.n += len(stored)
                self._run(rooms.committed(state, stored))
        leaving: dict[str, set[str]] = {}
        for index, (crossing, row) in enumerate(batch.crossings):
            state = self._room(row.room)
            if state is not None and row.membership == "join":
                state.members.setdefault(row.user, "member")
            elif row.membership == "leave":
                leaving.setdefault(row.room, set()).add(row.user)
            crossing.asker.answer({"applied": True, "offset": batch.offsets.get(index, 0)})

        for room, users in leaving.items():
            state = self._room(room)
            if state is not None:
                self._run(_without(state, users))

    # -- before: what the log knows, and the offsets --------------------------------------------------

    async def _look_up(self, items: list[Draft | CrossingDraft]) -> dict[Any, Any]:
        """(room, user, cid) → Ack of repeated sendings, and crossing → Place in its room."""
        keys = []
        crossings = []
        for item in items:
            if isinstance(item, CrossingDraft):
                crossings.append(item)
                continue
            state = self._room(item.room)
            if item.cid and state is not None and not state.knows_all_cids and not state.knows(item):
                keys.append((item.room, item.user, item.cid))
        if not keys and not crossings:
            return {}
        known: dict[Any, Any] = {}
        async with self._pool.acquire() as connection:
            if keys:
                for key, (offset, at_ms, id_) in (await log_table.find_cids(connection, keys)).items():
                    known[key] = Ack(offset, at_ms, id_)
            if crossings:
                rows = [_row(crossing.message, "") for crossing in crossings]
                places = await crossing_table.places(connection, rows)
                known |= {id(crossing): at for crossing, at in zip(crossings, places, strict=True)}
        return known

    def _assign(self, items: list[Draft | CrossingDraft], known: dict[Any, Any]) -> _Batch:
        now_ms = self._now_ms()
        batch = _Batch({}, [], [], [], [], {}, Besides(), now_ms)
        slots: dict[int, int] = {}
        for item in items:
            if isinstance(item, CrossingDraft):
                place: Place = known[id(item)]
                if place.applied:
                    item.asker.answer({"applied": False})
                    continue
                if self._room(item.message.room) is None:
                    item.asker.refuse(EngineError(ErrorCode.INTERNAL, "the room is starting over", 200))
                    continue
                self._assign_crossing(batch, item, place, slots, now_ms)
                continue
            state = self._room(item.room)
            if state is None:
                item.asker.refuse(EngineError(ErrorCode.INTERNAL, "the room is starting over", 200))
                continue
            stored = known.get((item.room, item.user, item.cid)) if item.cid else None
            effects, publication = rooms.assign(state, item, stored, now_ms, new_id)
            self._run(effects)
            if publication is not None:
                batch.stored.setdefault(item.room, []).append((publication, item))
        self._beside(batch, slots)
        for room, stored in batch.stored.items():
            state = self._room(room)
            if state is not None and not state.durable:
                continue  # what a fence says in a room in memory is told when the crossing is stored
            self._advance(batch, room, [p for p, _ in stored if p.d], slots)
        batch.fences = sorted(slots.items())
        return batch

    def _beside(self, batch: _Batch, slots: dict[int, int]) -> None:
        batch.besides = besides(batch.stored)
        for room, *_ in batch.besides.refused:
            slot = slot_of("room", room)
            slots[slot] = self._epoch(slot)

    def _assign_crossing(
        self, batch: _Batch, item: CrossingDraft, place: Place, slots: dict[int, int], now_ms: int
    ) -> None:
        message = item.message
        state = self._room(message.room)
        membership = _membership(message, place)
        if state is not None and membership in ("join", "leave"):
            d = msgspec.json.encode(
                {"type": membership, "v": 1, "user": message.user, "fence": message.fence}
            )
            draft = Draft(message.room, message.user, "", d, "none", NOBODY)
            _, publication = rooms.assign(state, draft, None, now_ms, new_id)
            assert publication is not None
            batch.stored.setdefault(message.room, []).append((publication, draft))
        slots[message.user_slot] = message.user_epoch
        batch.crossings.append((item, _row(message, membership)))

    def _advance(self, batch: _Batch, room: str, fresh: list[Publication], slots: dict[int, int]) -> None:
        if not fresh:
            return
        slot = slot_of("room", room)
        slots[slot] = self._epoch(slot)
        first, last = fresh[0].offset, fresh[-1].offset
        batch.advances.append(log_table.Advance(room, first - 1, last, new_id()))
        batch.rows += [
            log_table.Row(room, p.offset, p.t_ms, p.id, p.user, p.cid, p.d.decode()) for p in fresh
        ]

    # -- the transaction ------------------------------------------------------------------------------

    async def _write(self, batch: _Batch) -> None:
        if not batch.advances and not batch.crossings and not batch.besides:
            return
        first = True

        async def attempt() -> None:
            nonlocal first
            if not first and batch.advances and await self._is_stored(batch):
                return
            first = False
            async with self._pool.acquire() as connection:
                if not batch.crossings and not batch.besides:
                    await log_table.append(connection, batch.fences, batch.advances, batch.rows)
                    return
                async with connection.transaction():
                    if batch.advances or batch.besides:
                        await log_table.append(connection, batch.fences, batch.advances, batch.rows)
                        await write_besides(connection, batch.besides, batch.now_ms)
                    if not batch.crossings:
                        return
                    rows = [row for _, row in batch.crossings]
                    batch.offsets = await crossing_table.record(connection, batch.fences, rows)

        try:
            await self._retried(attempt)
        except asyncpg.PostgresError as error:
            if error.sqlstate in (log_table.FENCED, log_table.MOVED_ON):
                raise Fenced from error
            raise

    async def _is_stored(self, batch: _Batch) -> bool:
        """After a cut connection: did the commit happen? All of a batch did, or none of it."""
        advance = batch.advances[0]
        async with self._pool.acquire() as connection:
            return await log_table.last_offset(connection, advance.room) == advance.after

    async def _retried(self, work: Callable[[], Any]) -> Any:
        """Runs `work` until the database answers: it may be restarting."""
        while True:
            try:
                return await work()
            except UNREACHABLE as error:
                log.warning("the database does not answer, trying again: %s", type(error).__name__)
                await asyncio.sleep(_RETRY_S)

    def _give_up(self, items: list[Draft | CrossingDraft], code: ErrorCode, message: str) -> None:
        for item in items:
            item.asker.refuse(EngineError(code, message, 200))
        for room in {_room_of(item) for item in items}:
            self._lost(room)


def _room_of(item: Draft | CrossingDraft) -> str:
    return item.message.room if isinstance(item, CrossingDraft) else item.room


def _membership(message: wire.Crossing, place: Place) -> str:
    """What a crossing does to the room: it takes in who is not a member, and puts out whom this fence took
    in, unless another fence of the room holds them. Who is a member by hand stays, and so do the banned out.
    """
    if message.event in ("enter", "inside"):
        return "join" if place.state not in ("member", "banned") else ""
    owed = place.state == "member" and place.role == "member" and place.by_fence == message.fence
    if message.event != "exit" or not owed:
        return ""
    return "pass" if place.heir else "leave"


def _row(message: wire.Crossing, membership: str) -> CrossingRow:
    return CrossingRow(
        message.user,
        message.user_slot,
        message.fence,
        message.visit,
        message.event,
        message.at_ms,
        message.body.decode(),
        message.id,
        message.confidence,
        message.due_ms,
        message.room,
        membership,
    )


def _without(state: RoomState, users: set[str]) -> list[Effect]:
    """Members left by crossings: the room's log says so already, so only subscriptions end."""
    members = {user: role for user, role in state.members.items() if user not in users}
    return [e for e in rooms.membership_changed(state, members, state.blocked) if not isinstance(e, Draft)]
