"""Scripts for Valkey, gathered into pipelines in the order of asking.

A single command costs this process three times what one of fifty does, so while it is busy it gathers.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError

log = logging.getLogger("hereabouts.valkey")

BATCH = 500
QUEUE_LIMIT = 50_000
"""Operations that wait; past it the oldest is lost and told so."""

REST_FACTOR = 4
REST_LIMIT_S = 0.005
"""After a pipeline the next gathers for so many times what it took, at most so long; an idle one does not."""

RETRY_S = 1.0

Operation = tuple[str, int, *tuple[Any, ...]]
"""A script's text, how many of its arguments are keys, and the arguments."""

Done = Callable[[Any], None]
Entry = tuple[Callable[[], Operation | None], Done]


class Batches:
    """Runs scripts until `run` is cancelled."""

    def __init__(self, valkey: Redis) -> None:
        self.is_away = False
        """Valkey did not answer last time."""
        self._valkey = valkey
        self._queue: dict[object, Entry] = {}
        self._wanted = asyncio.Event()
        self._names: dict[str, str] = {}
        """Script → the name by which Valkey knows it."""
        self._rests_until_s = 0.0

    def put(self, key: object, operation: Callable[[], Operation | None], done: Done) -> None:
        """Asks for what `operation` says when its turn comes; None is nothing. An older one of the same key
        is dropped without a word. `done` gets the reply, or None if there is none.
        """
        queue = self._queue
        queue.pop(key, None)
        queue[key] = (operation, done)
        if len(queue) > QUEUE_LIMIT:
            queue.pop(next(iter(queue)))[1](None)
        self._wanted.set()

    def drop(self, key: object) -> None:
        """Asks no more for this."""
        self._queue.pop(key, None)

    async def ask(self, operation: Operation | None) -> Any:
        """The reply; None while Valkey is away."""
        if self.is_away:
            return None
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.put(future, lambda: operation, lambda reply: None if future.done() else future.set_result(reply))
        return await future

    async def run(self) -> None:
        """Works until it is cancelled."""
        own = asyncio.current_task()
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            while self._queue:
                rest_s = self._rests_until_s - time.monotonic()
                if rest_s > 0:
                    await asyncio.sleep(rest_s)
                started_s = time.monotonic()
                await self._flush()
                if own is not None and own.cancelling():  # redis-py may swallow it where it meets a reply
                    raise asyncio.CancelledError
                ended_s = time.monotonic()
                self._rests_until_s = ended_s + min(REST_LIMIT_S, REST_FACTOR * (ended_s - started_s))

    async def _flush(self) -> None:
        queue, batch = self._queue, list[tuple[object, Entry]]()
        operations: list[Operation | None] = []
        for key in list(queue)[:BATCH]:
            entry = queue.pop(key)
            batch.append((key, entry))
            operations.append(entry[0]())
        try:
            replies = await self._execute([each for each in operations if each is not None])
        except (RedisError, OSError, TimeoutError) as error:
            self._wait(batch, type(error).__name__)
            await asyncio.sleep(RETRY_S)
            return
        if self.is_away:
            self.is_away = False
            log.info("Valkey answers again")
        following = iter(replies)
        for (key, (operation, done)), asked in zip(batch, operations, strict=True):
            reply = None if asked is None else next(following)
            if isinstance(reply, NoScriptError):  # it was restarted
                self._names.clear()
                if key not in queue:
                    self.put(key, operation, done)
                continue
            if isinstance(reply, Exception):
                log.warning("an operation failed: %s", reply)
                reply = None
            done(reply)

    async def _execute(self, operations: list[Operation]) -> list[Any]:
        if not operations:
            return []
        names = self._names
        for text in {operation[0] for operation in operations} - names.keys():
            names[text] = str(await self._valkey.script_load(text))
        pipe = self._valkey.pipeline(transaction=False)
        for text, keys, *arguments in operations:
            pipe.evalsha(names[text], keys, *arguments)
        replies: list[Any] = await pipe.execute(raise_on_error=False)
        return replies

    def _wait(self, batch: list[tuple[object, Entry]], reason: str) -> None:
        """Who awaits an answer gets none; the rest is tried again."""
        if not self.is_away:
            self.is_away = True
            log.warning("Valkey does not answer: %s", reason)
        waiting = dict(batch)
        newer = self._queue
        self._queue = {}
        for key, entry in (waiting | newer).items():
            if isinstance(key, asyncio.Future):
                entry[1](None)
            else:
                self._queue[key] = entry
        self._wanted.set()
