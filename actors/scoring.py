"""A shard's way to the Matcher: what viewers want scored is gathered for a moment and asked for at once
(MATCH-17).

A viewer waits in a queue, not a pair: what is asked is what their views want when their turn comes. While
the Matcher can't be asked, or says nothing in time, rows stay as they are, those that are new without a
score, and it is asked again, at longer and longer intervals. Nobody else waits for it.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from actors.activation import Activation, Stage
from actors.host import Hosting
from actors.metrics import count, counter, histogram
from actors.person import UserState
from actors.score_book import BOOK_LIMIT, RENEW_MS, ScoreBook
from matching.answers import Recommended, Scores
from storage.decisions import TallyRow

log = logging.getLogger("hereabouts.user")

GATHER_S = 0.1
"""So long others may join a batch."""

PAIRS_AT_ONCE = 2_000
"""In one batch; a single viewer never wants more."""

QUEUE_LIMIT = 10_000
"""Viewers who wait. Past it the newcomer is not put in: they are looked at again within seconds."""

ANSWER_S = 2.0
"""What is not answered by then has failed."""

RETRY_S, RETRY_MOST_S = 0.25, 15.0
SWAP_S = 15.0
"""So long after a swap answers of another version are not taken: not all replicas may have it yet."""

_waits, _pairs = histogram("score_wait_s"), counter("scored_pairs")

Ask = tuple[str, list[str]]


class Matching(Protocol):
    """Whoever knows how people fit: the Matcher behind Serve, or one in this process."""

    async def score(self, asks: list[Ask], tallies: dict[str, TallyRow]) -> Scores:
        """The pair scores of each viewer with the others, NO_SCORE where there is none, all by one model.
        `tallies` are the viewers' own, in place of what the Matcher knows. Any exception: not now.
        """

    async def recommend(self, viewer: str, near: list[tuple[str, float]], limit: int) -> Recommended:
        """Who fits the viewer best, at most twice `limit`. `near` are those whom the viewer sees near, with
        the upper bound of the band in metres.
        """


class Scoring:
    """One shard's. `wanted` says whose scores a person's views want, nearest first; `told` is called when
    there is something new to show.
    """

    def __init__(
        self,
        shard: Hosting,
        wanted: Callable[[UserState], list[str]],
        told: Callable[[Activation], None],
        chance: random.Random,
    ) -> None:
        self.port: Matching | None = None
        self._shard = shard
        self._wanted = wanted
        self._told = told
        self._chance = chance
        self._queue: dict[str, float] = {}
        """Viewer → since when (seconds, any clock); first come, first asked."""
        self._viewers: set[str] = set()
        """Everybody who has asked for scores and is live here."""
        self._something = asyncio.Event()
        self._failures = 0
        self._version = ""
        """What the Matcher serves, as far as it has said so."""
        self._swapped_s = 0.0

    @property
    def waiting(self) -> int:
        """Viewers in the queue."""
        return len(self._queue)

    # -- who wants what ----------------------------------------------------------------------------------

    def want(self, activation: Activation) -> None:
        """A person's views want scores that they do not have."""
        if self.port is None:
            return
        user = activation.key
        self._viewers.add(user)
        if user in self._queue:
            return
        if len(self._queue) >= QUEUE_LIMIT:
            count("drops", reason="score queue full")
            return
        self._queue[user] = time.perf_counter()
        self._something.set()

    def renew(self, activation: Activation) -> None:
        """All that this person is shown is to be asked anew."""
        book: ScoreBook | None = activation.state.book
        if book is not None:
            book.is_stale = True
            self.want(activation)

    def swapped(self, version: str) -> None:
        """The Matcher serves another model; "*": perhaps. All is asked anew."""
        self._version = "" if version == "*" else version
        self._swapped_s = time.perf_counter()
        for user in list(self._viewers):
            activation = self._shard.activations.get(("user", user))
            if activation is None or not activation.is_live:
                self._viewers.discard(user)
            else:
                self.renew(activation)

    def expire(self, activation: Activation, now_ms: int) -> None:
        """Once a second: whoever was not put in the queue, or whose scores are old, is."""
        state: UserState = activation.state
        if state.book is None:
            return
        wanted = self._wanted(state)
        if wanted and (state.book.is_due(now_ms) or state.book.lacks(wanted)):
            self.want(activation)

    def erased(self, user: str) -> list[Activation]:
        """Somebody is no more: nobody's book knows of them. Returns whose did, or may have shown them."""
        found = self.listening()
        for activation in found:
            activation.state.book.without({user})
        return found

    def listening(self) -> list[Activation]:
        """Whoever has asked for scores and is live here."""
        live = [self._shard.activations.get(("user", each)) for each in self._viewers]
        return [each for each in live if each is not None and each.is_live and each.state.book is not None]

    def leaves(self, user: str) -> None:
        """The person's actor is not here any more."""
        self._viewers.discard(user)
        self._queue.pop(user, None)

    # -- asking ------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Asks, until cancelled: one batch at a time."""
        while True:
            if not self._queue:
                self._something.clear()
                await self._something.wait()
                await asyncio.sleep(GATHER_S)
            if self._failures:
                await asyncio.sleep(self._pause_s())
            await self._ask()

    def _pause_s(self) -> float:
        return min(RETRY_S * 2.0 ** (self._failures - 1), RETRY_MOST_S) * self._chance.uniform(0.5, 1.0)

    async def _ask(self) -> None:
        batch = self._batch()
        if not batch or self.port is None:
            return
        asks = [(each.activation.key, each.others) for each in batch]
        tallies = {each.activation.key: each.tally for each in batch}
        try:
            async with asyncio.timeout(ANSWER_S):
                answer = await self.port.score(asks, tallies)
            self._check(answer, asks)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is not now
            self._failed(batch, error)
            return
        self._failures = 0
        count("score_batches", outcome="answered")
        now_s, now_ms = time.perf_counter(), self._shard.now_ms()
        for each, scores in zip(batch, answer.scores, strict=True):
            _pairs.n += len(scores)
            _waits.observe(now_s - each.since_s)
            due_ms = now_ms + round(RENEW_MS * self._chance.uniform(0.5, 1.5))
            each.book.told(
                answer.model, dict(zip(each.others, scores, strict=True)), due_ms, is_all=each.is_all
            )
            if each.activation.stage is Stage.ACTIVE:
                self._told(each.activation)
            if each.book.is_stale:
                self.want(each.activation)

    def _batch(self) -> list["_Turn"]:
        """Whose turn it is, and what they want by now."""
        batch, pairs = list["_Turn"](), 0
        for user in list(self._queue):
            if pairs >= PAIRS_AT_ONCE:
                break
            since_s = self._queue.pop(user)
            activation = self._shard.activations.get(("user", user))
            if activation is None or activation.stage is not Stage.ACTIVE:
                continue  # it wants again where it goes on
            state: UserState = activation.state
            if state.book is None:
                continue
            others, is_all = state.book.asks(self._wanted(state)[:BOOK_LIMIT])
            if others:
                tally = state.book.counts(state.record.tally)
                batch.append(_Turn(activation, state.book, others, is_all, tally, since_s))
                pairs += len(others)
        return batch

    def _check(self, answer: Scores, asks: list[Ask]) -> None:
        """Raises LookupError for what can't be taken."""
        if self._version and time.perf_counter() - self._swapped_s > SWAP_S:
            self._version = ""
        if self._version not in ("", answer.model):
            raise LookupError(f"scores of {answer.model}, and not of {self._version} yet")
        if [len(others) for _, others in asks] != [len(scores) for scores in answer.scores]:
            raise LookupError("scores of others than were asked about")

    def _failed(self, batch: list["_Turn"], error: Exception) -> None:
        if not self._failures:
            log.warning("the Matcher gives no scores now: %s", type(error).__name__)
        self._failures += 1
        count("score_batches", outcome="failed")
        for each in batch:
            each.book.is_stale = each.book.is_stale or each.is_all
            self._queue.setdefault(each.activation.key, each.since_s)


@dataclass(frozen=True, slots=True)
class _Turn:
    """A viewer's part of a batch."""

    activation: Activation
    book: ScoreBook
    others: list[str]
    is_all: bool
    tally: TallyRow
    since_s: float
