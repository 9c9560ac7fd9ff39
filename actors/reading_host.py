"""Hosts the reading of a shard's rooms: loads what was counted, asks for verdicts, keeps the figures (NLP-8).

Figures are saved every few seconds with the offset up to which they count. What the log holds past it is
counted again from there after a restart, so each message counts once.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import asyncpg

from actors import messages as wire
from actors import reading
from actors.activation import Activation, Stage
from actors.effects import NOBODY, Effect, Score
from actors.host import Hosting
from actors.placement import slot_of
from actors.reading import ReadState
from actors.reading_terms import decoded
from actors.room import RoomState
from actors.stream import Publication
from actors.verdict_queue import VerdictQueue
from nlp.conversation import Conversation, Verdict
from storage import readings as table
from storage.messages import Row
from storage.postgres import UNREACHABLE

log = logging.getLogger("hereabouts.reading")

SAVE_EVERY_MS = 10_000
SAVE_BEHIND = 200
"""So many messages past what is saved, it is saved at the next second."""

PAGE = 1_000
_SEALED_AGAIN_S = 0.05

Run = Callable[[list[Effect]], None]


class ReadingHost:
    """Of one shard."""

    def __init__(self, shard: Hosting, run: Run, publication: Callable[[Row], Publication]) -> None:
        self._shard = shard
        self._run = run
        self._publication = publication
        self._verdicts = VerdictQueue(lambda: shard.scorer)
        self._first: dict[str, list[Effect]] = {}
        """Room → what is to be done once it is active."""
        self._saving: set[str] = set()

    async def load(self, connection: Any, state: RoomState, top: int) -> None:
        """Takes up what is counted of a room that is read, and what its log holds past that, up to `top`.
        What waits to be published waits on.
        """
        record = await table.load(connection, state.room)
        if record is None:
            before, state.read = state.read, None
            if before is not None:
                self._first[state.room] = reading.ended(before, state.hears)
            return
        figures = Conversation(record.last_offset)
        if record.state is not None:
            figures = Conversation.decoded(record.state)
        rows: list[Row] = []
        while True:
            after = rows[-1].offset if rows else figures.last_offset
            more = await table.rows_after(connection, state.room, after, PAGE)
            rows += [row for row in more if row.offset <= top]
            if len(more) < PAGE:
                break
        read = ReadState(state.room, decoded(record.terms), figures, saved_offset=record.last_offset)
        if state.read is not None:
            reading.goes_on(read, state.read)
        log_past = [self._publication(row) for row in rows]
        marked = {of for said in log_past if (of := reading.marked_by(said)) is not None}
        self._first[state.room] = reading.replay(read, log_past, marked)
        state.read = read

    def activated(self, state: RoomState) -> None:
        """What was loaded is live now."""
        effects = self._first.pop(state.room, None)
        if effects is not None:
            self._run(effects)

    async def came(self, slots: set[int]) -> None:
        """These slots came without their states: rooms whose verdicts were lost with them ask again at once,
        not when somebody comes to read what is to be taken back.
        """
        try:
            async with self._shard.pool.acquire() as connection:
                rooms = await table.unjudged(connection)
        except (asyncpg.PostgresError, *UNREACHABLE) as error:
            log.warning("rooms ask for lost verdicts when they are used: %s", type(error).__name__)
            return
        for room in rooms:
            if slot_of("room", room) in slots:
                self._shard.deliver(wire.PresenceQuery(0, f"room:{room}", ""), NOBODY, "")

    def arrived(self, state: RoomState) -> None:
        """It came from another shard, with questions that are still open."""
        if state.read is not None:
            self._run(reading.asked_again(state.read))

    def ask(self, score: Score) -> None:
        """Wants a verdict; of key 0 there will be something to read only."""
        if not score.key:
            self._verdicts.warm(score.heads)
            return
        limit_s = score.limit_ms / 1000
        self._verdicts.ask(
            score.text, score.heads, limit_s, lambda verdict: self._scored(score.room, score.key, verdict)
        )

    def _scored(self, room: str, key: int, verdict: Verdict | None) -> None:
        activation = self._shard.activations.get(("room", room))
        if activation is None or not activation.is_live or activation.state.read is None:
            return
        read: ReadState = activation.state.read
        if activation.stage is Stage.SEALED and not reading.is_held(read, key):
            # Its state may be on its way already: the next owner asks again, or this one goes on.
            asyncio.get_running_loop().call_later(_SEALED_AGAIN_S, self._scored, room, key, verdict)
            return
        self._run(reading.scored(read, key, verdict, activation.state.hears))

    def ended(self, room: str, state: RoomState | None) -> None:
        """It is forgotten here: whoever waits is sent to its next activation."""
        self._first.pop(room, None)
        if state is not None and state.read is not None:
            for held in state.read.held:
                held.draft.asker.refuse(reading.MOVED)
            state.read.held.clear()

    # -- figures --------------------------------------------------------------------------------------

    def expire(self, activation: Activation, now_ms: int) -> None:
        """Once a second: saves what is worth it."""
        read: ReadState | None = activation.state.read
        if read is None or read.room in self._saving:
            return
        behind = read.conversation.last_offset - read.saved_offset
        if behind >= SAVE_BEHIND or (behind > 0 and now_ms - read.saved_at_ms >= SAVE_EVERY_MS):
            self._saving.add(read.room)
            self._shard.spawn(self._save(read, now_ms))

    async def _save(self, read: ReadState, now_ms: int) -> None:
        slot = slot_of("room", read.room)
        offset = read.conversation.last_offset
        state = read.conversation.encoded().decode()
        try:
            async with self._shard.pool.acquire() as connection:
                fence = slot, self._shard.router.epoch_of(slot)
                await table.save(connection, read.room, fence, offset, state)
            read.saved_offset, read.saved_at_ms = max(read.saved_offset, offset), now_ms
        except (asyncpg.PostgresError, *UNREACHABLE) as error:
            log.warning("a room's figures are saved later: %s", type(error).__name__)
        finally:
            self._saving.discard(read.room)

    def forget(self, user: str) -> None:
        """An erased person is named in no figures any more."""
        for activation in self._shard.activations.values():
            if activation.kind == "room" and activation.is_live and activation.state.read is not None:
                reading.forget(activation.state.read, user)

    def stop(self) -> None:
        """The shard ends."""
        self._verdicts.stop()
