"""Crossings of fences by the people of one shard: decided in the order of each one's fixes, stored once.

A tick's fixes are asked of the index in one batch. Who is in no fence, or stays in just those where nothing
is pending, costs a comparison; only the others are stepped (geo/crossings.py).
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import asyncpg
import msgspec

from actors import messages as wire
from actors import visits
from actors.activation import Activation, Stage
from actors.crossing_log import WAITING_LIMIT, CrossingLog
from actors.fence_book import REMOVED, FenceBook, is_hidden, why_not
from actors.host import Hosting
from actors.moves import Moves
from actors.person import UserState
from actors.visits import REMIND_AFTER_MS
from geo.crossings import Crossing, Event, Told, close, due_ms, follow
from storage import crossings as crossing_table
from storage import fences as fence_table
from storage.accounts import is_leaving
from storage.crossings import CrossingRow
from storage.ids import new_id
from storage.postgres import UNREACHABLE
from storage.streams import UserRecord

log = logging.getLogger("hereabouts.crossings")

VISIT = "visit:"
"""What the reminder of a visit is called, before the fence."""

REMIND_AGAIN_MS = 30_000
"""An exit that is decided and not stored is looked at again after this."""

EXPIRY_S = 1.0
_RETRY_S = 0.5
_ENDED_SINCE = timedelta(days=1)


@dataclass(slots=True)
class _Changes:
    """Fences that are to be read anew; `everything` where it is not known which."""

    fences: set[str]
    everything: bool = False


class _Moving:
    """Those whose fixes are in a batch."""

    __slots__ = ("_activations",)

    def __init__(self, activations: list[Activation]) -> None:
        self._activations = activations

    def is_particular(self, index: int) -> bool:
        found: bool = self._activations[index].state.visiting.is_particular
        return found

    def person(self, index: int) -> tuple[str, UserRecord]:
        state: UserState = self._activations[index].state
        return state.user, state.record


class Crossings:
    """The fences that all people of a shard are measured against, and what comes of it."""

    def __init__(
        self,
        shard: Hosting,
        tell: Callable[[Activation], Awaitable[None]],
        stored: Callable[[Activation], None],
    ) -> None:
        self._shard = shard
        self._log = CrossingLog(shard, tell, stored)
        self._book = FenceBook(shard.config.position_ttl_ms / 1_000)
        self._changes = _Changes(set())
        self._reading = asyncio.Lock()

    # -- the book -----------------------------------------------------------------------------------------

    async def reload(self) -> None:
        """Reads all fences that stand; whoever was inside one that is gone, left it (GEO-17)."""
        await self.read("*")

    async def read(self, fence: str) -> None:
        """Reads a fence that changed anew, or all; back when everybody here is judged by it."""
        if fence == "*":
            self._changes.everything = True
        else:
            self._changes.fences.add(fence)
        async with self._reading:  # whoever had it before may have read this one, too
            if self._changes.everything or self._changes.fences:
                await self._read_once()

    async def _read_once(self) -> None:
        """All that is asked for by now, in one go."""
        changes, self._changes = self._changes, _Changes(set())
        since = datetime.fromtimestamp(self._shard.now_ms() / 1_000, UTC) - _ENDED_SINCE
        try:
            async with self._shard.pool.acquire() as connection:
                wanted = None if changes.everything else sorted(changes.fences)
                rows = await fence_table.live_fences(connection, wanted)
                ended = dict(await fence_table.ended_fences(connection, since, wanted))
        except BaseException:
            self._changes.fences |= changes.fences
            self._changes.everything |= changes.everything
            raise
        if changes.everything:
            self._book.replace_all(rows, ended)
            self._book.expire(self._shard.now_ms())
            self._review_all()
        else:
            known = self._book.change(changes.fences, rows, ended)
            self._review_all(known | self._book.expire(self._shard.now_ms()))

    def changed(self, fence: str) -> None:
        """Postgres tells of a fence that changed, or of all."""
        self._shard.spawn(self._read_until_done(fence))

    async def _read_until_done(self, fence: str) -> None:
        while True:
            try:
                await self.read(fence)
            except (asyncpg.PostgresError, *UNREACHABLE) as error:
                log.warning("fences can't be read yet: %s", type(error).__name__)
                await asyncio.sleep(_RETRY_S)
            else:
                return

    async def run(self) -> None:
        """Takes out fences that have expired, until cancelled."""
        while True:
            await asyncio.sleep(EXPIRY_S)
            self._review_all(self._book.expire(self._shard.now_ms()))

    # -- fixes ----------------------------------------------------------------------------------------------

    def follow(self, moves: Moves, now_ms: int) -> None:
        """Takes a tick's accepted fixes, in order."""
        activations = moves.activations
        held = self._book.holding(moves.lats(), moves.lons(), _Moving(activations))
        times_ms = moves.times_ms().tolist()
        for index, activation in enumerate(activations):
            covering = held.get(index, ())
            state: UserState = activation.state
            if not covering and not state.fences:
                continue
            visiting, t_ms = state.visiting, times_ms[index]
            if (
                visiting.settled
                and covering == visiting.settled
                and t_ms - visiting.last_ms <= visiting.gap_ms
                and t_ms < visiting.dwells_at_ms
            ):
                visiting.last_ms, visiting.arrived_ms = max(t_ms, visiting.last_ms), now_ms
            else:
                self._step(activation, moves, index, covering, now_ms)

    def _step(
        self, activation: Activation, moves: Moves, index: int, covering: tuple[str, ...], now_ms: int
    ) -> None:
        if len(activation.crossings) >= WAITING_LIMIT:
            return
        state: UserState = activation.state
        visiting, book, fix = state.visiting, self._book, moves.fix(index)
        state.fences, told = follow(
            visits.synced(state.fences, visiting), fix, covering, book.index, book.rules,
            first_ever=bool(moves.is_first[index]),
        )  # fmt: skip
        visiting.last_ms, visiting.arrived_ms = max(fix.t_ms, visiting.last_ms), now_ms
        self._decided(activation, told)

    # -- time and changes -----------------------------------------------------------------------------------

    def activated(self, activation: Activation) -> None:
        """The person's state is here, from the stores or from another shard."""
        state: UserState = activation.state
        visits.noted(state.fences, state.visiting, self._book.rules)
        self.review(activation)

    def expire(self, activation: Activation, now_ms: int) -> None:
        """What time alone has decided, by a timer."""
        state: UserState = activation.state
        if now_ms >= state.visiting.wakes_at_ms:
            state.fences, told = visits.passed(state.fences, state.visiting, self._book.rules, now_ms)
            self._decided(activation, told)

    async def remind(self, activation: Activation, fence: str, _data: str) -> None:
        """The reminder of a visit: time has passed, and whoever was to notice may be gone. It stays until the
        visit's end is stored.
        """
        state: UserState = activation.state
        now_ms = self._shard.now_ms()
        self.review(activation)
        self.expire(activation, now_ms)
        if activation.stage is Stage.GONE:
            return
        at_ms = now_ms + REMIND_AGAIN_MS
        if fence in state.fences and state.fences[fence].is_inside:
            at_ms = max(self._due_ms(state, fence) or at_ms, now_ms + 1_000)
        elif not any(row.fence == fence for row in activation.crossings):
            return
        await self._shard.reminders.set("user", state.user, VISIT + fence, at_ms)

    def _review_all(self, fences: frozenset[str] | None = None) -> None:
        """These fences changed, or (None) any may have: whoever is inside of one that is gone has left it."""
        if fences is not None and not fences:
            return  # new ones: nobody is inside yet
        for activation in list(self._shard.activations.values()):
            if activation.kind != "user" or activation.stage is not Stage.ACTIVE:
                continue
            inside = activation.state.fences
            if inside and (fences is None or not fences.isdisjoint(inside)):
                self.review(activation)

    def review(self, activation: Activation) -> None:
        """Ends visits to fences that are gone, or may not notice this person any more (GEO-14, GEO-17)."""
        state: UserState = activation.state
        state.visiting.is_particular = bool(state.record.blocked) or is_hidden(state.record)
        if not state.fences:
            return
        reasons = {}
        for fence in state.fences:
            known = self._book.fences.get(fence)
            if known is None:
                open_visit = state.record.open_visits.get(fence)
                why = self._book.ended.get(fence) or (open_visit.ended if open_visit is not None else "")
                reasons[fence] = why or REMOVED
            elif why := why_not(known, state.user, state.record):
                reasons[fence] = why
        self._close(activation, reasons)

    async def see_off(self, user: str) -> None:
        """An account is no more, or not active: its visits end, once each, whoever was to notice. Of one that
        is no more no fence's log keeps the name, and its own fences are removed.
        """
        now_ms = self._shard.now_ms()
        async with self._shard.pool.acquire() as connection, connection.transaction():
            fences = await crossing_table.close_visits(connection, user, now_ms)
            if await is_leaving(connection, user):
                await crossing_table.erase(connection, user, now_ms)
        for fence in fences:
            self._shard.router.cast("fence", fence, wire.FenceMoved(0, fence))

    def _close(self, activation: Activation, reasons: dict[str, str]) -> None:
        if not reasons:
            return
        state: UserState = activation.state
        state.fences = visits.synced(state.fences, state.visiting)
        at_ms = state.visiting.now_ms(self._shard.now_ms())
        told: list[Told] = []
        for fence, reason in sorted(reasons.items()):
            standing, crossing = close(state.fences[fence], at_ms, reason)
            if fence in self._book.fences:
                state.fences[fence] = standing
            else:
                del state.fences[fence]
            if crossing is not None:
                told.append((fence, crossing))
        self._decided(activation, told)

    # -- what comes of it -----------------------------------------------------------------------------------

    def _decided(self, activation: Activation, told: Iterable[Told]) -> None:
        """The person's standings are new, and this is what happened."""
        state: UserState = activation.state
        visits.noted(state.fences, state.visiting, self._book.rules)
        for fence, crossing in told:
            self._log.put(activation, self._row(activation, fence, crossing))

    def _row(self, activation: Activation, fence_id: str, crossing: Crossing) -> CrossingRow:
        state: UserState = activation.state
        fence, rooms = self._book.fences.get(fence_id), state.visiting.rooms
        if crossing.event in (Event.ENTER, Event.INSIDE):
            state.visits[fence_id] = state.visits.get(fence_id, 0) + 1
            opted_in = fence is not None and (fence.by_app or fence_id in state.record.auto_join)
            if fence is not None and fence.room and opted_in:
                rooms[fence_id] = fence.room
        is_exit = crossing.event is Event.EXIT
        body = {"fence": fence_id, **msgspec.to_builtins(crossing), "v": 1}
        return CrossingRow(
            state.user,
            activation.slot,
            fence_id,
            state.visits.get(fence_id, 0),
            str(crossing.event),
            crossing.at_ms,
            msgspec.json.encode(body).decode(),
            new_id(),
            crossing.confidence,
            None if is_exit else self._due_ms(state, fence_id),
            (rooms.pop(fence_id, "") if is_exit else rooms.get(fence_id, "")) or "",
        )

    def _due_ms(self, state: UserState, fence: str) -> int | None:
        """When the visit's reminder is due, by our clock."""
        standing, rules = state.fences.get(fence), self._book.rules.get(fence)
        at_ms = None if standing is None or rules is None else due_ms(standing, rules)
        return None if at_ms is None else state.visiting.moment_ms(at_ms) + REMIND_AFTER_MS
