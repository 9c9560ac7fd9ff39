"""A shard's way to the scorer of texts: bounded, in batches, and every question ends by its deadline (NLP-2).

Whatever goes wrong with the scorer (there is none, it died, it hangs, too much waits) is the same to whoever
asks: no verdict.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from actors.metrics import count, histogram
from nlp.conversation import Verdict

log = logging.getLogger("hereabouts.reading")

WAITING_LIMIT = 1_000
"""Texts of a shard that wait to be sent; past it the newest gets no verdict."""

BATCH = 8
WINDOW_S = 0.005
"""A text waits so long for others to be sent with."""

CROWD = 4 * BATCH
"""With more texts waiting the newest are sent first: the oldest are those that would be late anyway, and who
serves them serves nobody."""

CALLS_LIMIT = 2
"""Batches that may be under way at once: one is read, one is on its way. With a scorer that hangs the rest
waits for its deadline."""

CALL_LIMIT_S = 15.0
"""After this a call is given up, whoever hangs."""

_seconds = histogram("reading_s")


class Scorer(Protocol):
    """Whoever reads."""

    async def score(self, texts: list[str], heads: tuple[str, ...]) -> Sequence[Verdict | None]:
        """A verdict for each text, None for what can't be read now."""


class _Ask:
    __slots__ = ("asked_s", "done", "text", "timer")

    def __init__(self, text: str, asked_s: float, done: Callable[[Verdict | None], None]) -> None:
        self.text = text
        self.asked_s = asked_s
        self.done: Callable[[Verdict | None], None] | None = done
        self.timer: asyncio.TimerHandle


class VerdictQueue:
    """Of one shard."""

    def __init__(self, scorer: Callable[[], Scorer | None]) -> None:
        self._scorer = scorer
        self._waiting: dict[tuple[str, ...], dict[_Ask, None]] = {}
        self._count = 0
        self._calls: set[asyncio.Task[None]] = set()
        self._is_pumping = False

    def ask(
        self, text: str, heads: tuple[str, ...], limit_s: float, done: Callable[[Verdict | None], None]
    ) -> None:
        """`done` is called once, later and within `limit_s`."""
        loop = asyncio.get_running_loop()
        ask = _Ask(text, loop.time(), done)
        if self._count >= WAITING_LIMIT:
            count("drops", reason="too much to read")
            loop.call_soon(self._finish, ask, None, "dropped")
            return
        if self._scorer() is None:
            loop.call_soon(self._finish, ask, None, "failed")
            return
        ask.timer = loop.call_later(limit_s, self._expire, heads, ask)
        waiting = self._waiting.setdefault(heads, {})
        waiting[ask] = None
        self._count += 1
        if len(waiting) >= BATCH:
            self._pump()
        elif not self._is_pumping:
            self._is_pumping = True
            loop.call_later(WINDOW_S, self._pump)

    def warm(self, heads: tuple[str, ...]) -> None:
        """There will be something to read: the scorer may get ready."""
        if self._scorer() is not None and len(self._calls) < CALLS_LIMIT:
            self._call(heads, [])

    def _expire(self, heads: tuple[str, ...], ask: _Ask) -> None:
        if self._waiting.get(heads, {}).pop(ask, ask) is None:
            self._count -= 1
        self._finish(ask, None, "late")

    def _finish(self, ask: _Ask, verdict: Verdict | None, outcome: str) -> None:
        done, ask.done = ask.done, None
        if done is None:
            return
        count("readings", outcome=outcome)
        if verdict is not None:
            _seconds.observe(asyncio.get_running_loop().time() - ask.asked_s)
        done(verdict)

    def _pump(self) -> None:
        self._is_pumping = False
        while len(self._calls) < CALLS_LIMIT and self._waiting:
            heads = next(iter(self._waiting))
            waiting = self._waiting.pop(heads)
            batch = list(waiting)[-BATCH:] if len(waiting) > CROWD else list(waiting)[:BATCH]
            for ask in batch:
                del waiting[ask]
            self._count -= len(batch)
            if waiting:
                self._waiting[heads] = waiting  # behind the others
            if batch:
                self._call(heads, batch)

    def _call(self, heads: tuple[str, ...], batch: list[_Ask]) -> None:
        task = asyncio.get_running_loop().create_task(self._read(heads, batch))
        self._calls.add(task)
        task.add_done_callback(self._called)

    def _called(self, task: asyncio.Task[None]) -> None:
        self._calls.discard(task)
        if not task.cancelled():
            self._pump()

    async def _read(self, heads: tuple[str, ...], batch: list[_Ask]) -> None:
        scorer = self._scorer()
        verdicts: Sequence[Verdict | None] = [None] * len(batch)
        try:
            async with asyncio.timeout(CALL_LIMIT_S):
                if scorer is not None:
                    verdicts = await scorer.score([ask.text for ask in batch], heads)
        except Exception as error:  # noqa: BLE001 - a process that died says so in many ways
            log.warning("nothing was read: %s", type(error).__name__)
        for ask, verdict in zip(batch, verdicts, strict=False):
            ask.timer.cancel()
            outcome = "failed" if verdict is None else "abstained" if verdict.abstains else "scored"
            self._finish(ask, verdict, outcome)

    def stop(self) -> None:
        """Nothing is asked any more, and nobody is told."""
        for task in self._calls:
            task.cancel()
        for waiting in self._waiting.values():
            for ask in waiting:
                ask.timer.cancel()
        self._waiting.clear()
        self._count = 0
