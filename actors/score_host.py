"""Hosts what a shard's people are told of how they fit with others: the channel `scores`, and the scores of
`near` (MATCH-17).
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import asyncpg

from actors import messages as wire
from actors import near_people
from actors.activation import Activation, Stage, Waiting
from actors.effects import Asker, Refuse
from actors.host import Hosting
from actors.near import SCORED_LIMIT
from actors.near_host import NearHost
from actors.person import UserState
from actors.protocol import ErrorCode
from actors.score_book import ScoreBook
from actors.scores import ASK_AGAIN_MS, CHANNEL, LIMIT, READ_AGAIN_MS, RETRY_MS, ScoresState, Suggested
from actors.scoring import ANSWER_S, Scoring
from geo.proximity import LIMIT_MAX
from storage import decisions
from storage.ids import UserId, new_id
from storage.postgres import UNREACHABLE
from storage.recommendations import may_be_shown, rows_of
from storage.suggestions import going_on

log = logging.getLogger("hereabouts.user")

ASKING_LIMIT = 200
"""People for whom the recommender is asked at once; who comes then is looked at again within seconds."""

LOOK_S = 1.0
"""So long a single look at who is near waits for scores."""

LOOKING_LIMIT = 200
"""Looks that wait; one more is told what is known at once."""

AT_ONCE = 4
"""Of these so many at the same time."""


class ScoreHost:
    """Of the people of one shard."""

    def __init__(self, shard: Hosting, near: NearHost, chance: random.Random) -> None:
        self._shard = shard
        self._near = near
        self.scoring = Scoring(shard, wanted, self._told, chance)
        self._asking: set[str] = set()
        self._looking: dict[asyncio.Event, str] = {}
        """Single looks that wait for scores, and whose they are."""
        self._turns = asyncio.Semaphore(AT_ONCE)

    # -- turns -------------------------------------------------------------------------------------------

    async def look(self, activation: Activation, message: wire.NearQuery, asker: Asker) -> None:
        """One look at who is near, with scores: those known within LOOK_S. No turn waits for them."""
        state: UserState = activation.state
        shown = await self._near.around(
            state, message, LIMIT_MAX if message.min_score is None else SCORED_LIMIT
        )
        book = state.book = state.book or ScoreBook()

        def answer() -> None:
            rows = (near_people.with_score(book, data, message.min_score) for data in shown.values())
            items = [row for row in rows if row is not None and row["user"] not in state.record.blocked]
            asker.answer({"items": items[: min(message.limit, LIMIT_MAX)]})

        if not book.lacks(shown) or self.scoring.port is None or len(self._looking) >= LOOKING_LIMIT:
            answer()
        else:
            self._shard.spawn(self._wait(activation, tuple(shown), answer))

    async def _wait(self, activation: Activation, users: tuple[str, ...], answer: Callable[[], None]) -> None:
        state: UserState = activation.state
        state.looks.append(users)
        told = asyncio.Event()
        self._looking[told] = activation.key
        self.scoring.want(activation)
        try:
            async with asyncio.timeout(LOOK_S):
                while state.book is not None and state.book.lacks(users):
                    told.clear()
                    await told.wait()
        except TimeoutError:
            pass  # what is known by now
        finally:
            del self._looking[told]
            if users in state.looks:
                state.looks.remove(users)
            answer()

    def is_about(self, message: wire.Request) -> bool:
        """Whether this is who handles the message."""
        if isinstance(message, wire.Subscribe | wire.Unsubscribe):
            return message.ch.startswith(CHANNEL)
        return isinstance(message, wire.TallyChanged)

    def handle(self, activation: Activation, waiting: Waiting) -> Awaitable[None] | None:
        """One of these messages."""
        message, state = waiting.message, activation.state
        if isinstance(message, wire.TallyChanged):
            return self._counted(activation, waiting)
        if isinstance(message, wire.Unsubscribe):
            if state.scores is not None:
                state.scores.maps.unsubscribed(message, waiting.gateway, self._shard.now_ms())
            waiting.asker.answer({})
            return None
        assert isinstance(message, wire.Subscribe)
        if message.user != activation.key:
            refusal = Refuse(waiting.asker, ErrorCode.DENIED, "no such channel, or not yours")
        elif message.mode != "map":
            refusal = Refuse(waiting.asker, ErrorCode.BAD_REQUEST, "scores is a map")
        else:
            return self._subscribe(activation, waiting)
        self._shard.run([refusal])
        return None

    async def _subscribe(self, activation: Activation, waiting: Waiting) -> None:
        state: UserState = activation.state
        message = waiting.message
        assert isinstance(message, wire.Subscribe)
        state.book, state.scores = state.book or ScoreBook(), state.scores or ScoresState()
        async with self._shard.pool.acquire() as connection:
            await self._read(connection, state)
            if message.shadow is not None and state.book.lacks(message.shadow):
                # Of an activation that is lost: until there are scores, rows stay as the client has them.
                there = await going_on(connection, state.user, message.shadow)
                state.scores.holds(there, self._shard.now_ms())
        now_ms, rows = self._shard.now_ms(), _rows(state)
        effects = state.scores.maps.subscribed(
            message, waiting.asker, waiting.gateway, rows, now_ms, new_id, _kept(state)
        )
        self._shard.run(list(effects))
        self._look(activation)

    async def _counted(self, activation: Activation, waiting: Waiting) -> None:
        """A decision counts: one's own at once (MATCH-4), and who was decided on is recommended no more."""
        state: UserState = activation.state
        async with self._shard.pool.acquire() as connection:
            found = await decisions.tallies(connection, [state.user])
        before, tally = state.record.tally, found.get(state.user, decisions.TallyRow())
        state.record = replace(state.record, tally=tally)
        if tally.given != before.given:  # else it was about this person, and changes nothing that is shown
            await self.refreshed(activation)
        waiting.asker.answer({})

    async def _read(self, connection: asyncpg.Connection, state: UserState) -> None:
        """Whom the last batch run recommends; without one, those whom the recommender did. Who is new must be
        fit to be shown, who is shown already goes on while that may be.
        """
        mine = state.scores
        assert mine is not None
        mine.read_at_ms = self._shard.now_ms()
        stored = await rows_of(connection, UserId(state.user), "people", limit=2 * LIMIT)
        new = [row.subject for row in stored if row.subject not in mine.rows]
        allowed = await may_be_shown(connection, UserId(state.user), new, self._today())
        if mine.rows:
            allowed |= await going_on(connection, state.user, mine.rows)
        if mine.is_batch or any(row.subject in allowed for row in stored):
            mine.suggests(
                (row.subject, Suggested(row.score, row.model, str(row.detail.get("source", ""))))
                for row in stored
                if row.subject in allowed
            )
        else:
            mine.leaves(allowed)

    def _today(self) -> date:
        return datetime.fromtimestamp(self._shard.now_ms() / 1000, UTC).date()

    # -- life --------------------------------------------------------------------------------------------

    async def refreshed(self, activation: Activation) -> None:
        """The person's record was read anew; a batch run may have written. Who was blocked goes at once."""
        state: UserState = activation.state
        if state.book is not None:
            state.book.without(state.record.blocked)
            counted = state.book.counted
            if counted is not None and counted.given != state.record.tally.given:
                self.scoring.renew(activation)
        if state.scores is None or not state.scores.is_wanted:
            return
        self._show(activation)
        await self._read_again(activation)

    async def _read_again(self, activation: Activation) -> None:
        try:
            async with self._shard.pool.acquire() as connection:
                await self._read(connection, activation.state)
        except (asyncpg.PostgresError, *UNREACHABLE) as error:
            log.warning("recommendations can't be read now: %s", type(error).__name__)
            activation.state.scores.read_at_ms = 0  # soon
        self._show(activation)
        self._look(activation)

    def erased(self, user: str) -> None:
        """Somebody is no more: they are recommended to nobody from now on (ML-11)."""
        for activation in self.scoring.erased(user):
            mine: ScoresState | None = activation.state.scores
            if mine is not None and user in mine.rows:
                mine.forgets(user)
                self._show(activation)

    def withdrawn(self, user: str) -> None:
        """Somebody is not to be recommended any more: a hidden ghost, unlisted, or about to be erased."""
        for activation in self.scoring.listening():
            mine: ScoresState | None = activation.state.scores
            if mine is not None and user in mine.rows:
                mine.forgets(user)
                self._show(activation)

    def arrived(self, activation: Activation) -> None:
        """The state came from another shard; what was asked there is not answered here."""
        activation.state.looks.clear()
        self.scoring.renew(activation)
        self._look(activation)

    def expire(self, activation: Activation, now_ms: int) -> None:
        """Once a second."""
        self.scoring.expire(activation, now_ms)
        mine: ScoresState | None = activation.state.scores
        if mine is not None:
            mine.maps.kept.expire(now_ms)
            if 0 < mine.held_until_ms <= now_ms:
                mine.lets_go()
                self._show(activation)
            if mine.is_wanted:
                self._look(activation)
                if now_ms >= mine.read_at_ms + READ_AGAIN_MS:
                    mine.read_at_ms = now_ms
                    self._shard.turn(activation, self._read_again(activation))
            elif now_ms >= mine.ask_at_ms:
                activation.state.scores = None

    def gateway_lost(self, activation: Activation, gateway: str) -> None:
        """A gateway's link is gone."""
        if activation.state.scores is not None:
            activation.state.scores.maps.gateway_lost(gateway, self._shard.now_ms())

    def ended(self, activation: Activation) -> None:
        """The person's actor is not here any more."""
        self.scoring.leaves(activation.key)

    # -- what is shown -----------------------------------------------------------------------------------

    def _told(self, activation: Activation) -> None:
        """There are scores: everything that shows some is looked at."""
        state: UserState = activation.state
        for told, user in self._looking.items():
            if user == activation.key:
                told.set()
        if state.scores is not None and state.book is not None:
            state.scores.held -= state.book.known.keys()
        self._near.rescored(activation)
        self._show(activation)

    def _show(self, activation: Activation) -> None:
        state: UserState = activation.state
        if state.scores is not None and state.scores.maps.views:
            rows = _rows(state)
            self._shard.run(list(state.scores.maps.show(lambda _: rows, _kept(state))))

    def _look(self, activation: Activation) -> None:
        """Asks for what there is none of."""
        state: UserState = activation.state
        mine, book = state.scores, state.book
        if mine is None or book is None or not mine.maps.views:
            return
        if book.lacks(mine.rows):
            self.scoring.want(activation)
        user, port = activation.key, self.scoring.port
        if port is None or user in self._asking or len(self._asking) >= ASKING_LIMIT:
            return
        now_ms = self._shard.now_ms()
        if mine.wants_more(now_ms):
            mine.ask_at_ms = now_ms + RETRY_MS
            self._asking.add(user)
            self._shard.spawn(self._recommend(activation, port.recommend))

    async def _recommend(self, activation: Activation, recommend: Callable[..., Awaitable[Any]]) -> None:
        """Asks the recommender, which knows no more of where people are than the viewer (GEO-20)."""
        state: UserState = activation.state
        try:
            async with self._turns:
                near = await self._near.bands(state)
                async with asyncio.timeout(ANSWER_S):
                    answer = await recommend(state.user, near, LIMIT)
                async with self._shard.pool.acquire() as connection:
                    users = [row.user for row in answer.rows]
                    allowed = await may_be_shown(connection, UserId(state.user), users, self._today())
        except (asyncpg.PostgresError, *UNREACHABLE) as error:
            log.warning("nobody can be recommended now: %s", type(error).__name__)
        except Exception as error:  # noqa: BLE001 - whatever the Matcher has, it is asked again
            log.warning("the Matcher recommends nobody now: %s", type(error).__name__)
        else:
            if state.scores is not None:
                state.scores.ask_at_ms = self._shard.now_ms() + ASK_AGAIN_MS
            if activation.stage is Stage.ACTIVE and state.scores is not None and not state.scores.is_batch:
                state.scores.adds(
                    (row.user, Suggested(row.score, answer.model, row.source))
                    for row in answer.rows
                    if row.user in allowed
                )
        finally:
            self._asking.discard(activation.key)
        if activation.stage is Stage.ACTIVE:
            self._show(activation)
            self._look(activation)


def wanted(state: UserState) -> list[str]:
    """Whose scores the person's views want, nearest and best first."""
    users = dict.fromkeys(user for near in state.views.values() if near.scores for user in near.wants)
    if state.scores is not None:
        users |= dict.fromkeys(state.scores.rows)
    users |= dict.fromkeys(user for look in state.looks for user in look)
    return [user for user in users if user not in state.record.blocked]


def _rows(state: UserState) -> dict[str, Any]:
    assert state.scores is not None
    return state.scores.shown(state.book or ScoreBook(), state.record.blocked)


def _kept(state: UserState) -> set[str]:
    """Whose rows stay as clients have them."""
    assert state.scores is not None
    return state.scores.held - state.record.blocked
