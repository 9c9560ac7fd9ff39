"""The Reader: a process that is there while rooms want it, and reads messages with the registry's champions
(NLP-2).

Texts of all shards wait in one bounded queue and are read at most eight at a time. What it can't read now,
for lack of a model or of room, it says at once. Only `build_reader` imports Ray.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import asyncpg

from actors.metrics import count, counter, histogram
from actors.metrics_export import Exporter
from actors.reader_port import APP, NAME
from actors.site import HERE, Site
from nlp.conversation import Verdict
from nlp.encoder import MissingExtraError
from nlp.models import Head, Heads
from nlp.verdicts import verdict_of
from storage import registry
from storage.hearing import hear
from storage.postgres import UNREACHABLE, open_pool

if TYPE_CHECKING:
    from ray.serve import Application

__all__ = ["APP", "NAME", "ReaderConfig", "ReaderService", "build_reader"]

log = logging.getLogger("hereabouts.reader")

MODELS = ("sentiment", "emotion", "offence")
"""Names in the registry, each with the head of that name."""

QUEUE_LIMIT = 256
"""Texts that wait to be read; past it the newest is not."""

BATCH = 8
WINDOW_S = 0.005
LOOK_S = 15.0
"""How often the registry is looked at although nobody told of anything."""

RETRY_S = 0.5
IDLE_S = 600.0
"""So long after the last text the process ends."""


@dataclass(frozen=True)
class ReaderConfig:
    """What a Reader needs; `threads` is how many cores a batch may use."""

    database_url: str
    threads: int = 1
    site: Site = HERE


@dataclass(frozen=True, slots=True)
class _Champions:
    """What serves: loaded together, swapped together."""

    versions: dict[str, str]
    heads: Heads | None

    @property
    def all(self) -> Sequence[Head]:
        return () if self.heads is None else tuple(self.heads.heads.values())


@dataclass(slots=True)
class _Text:
    text: str
    heads: tuple[str, ...]
    done: "asyncio.Future[Verdict | None]"


class ReaderService:
    """Heads, their queue, and what keeps them the champions. All calls on its event loop."""

    def __init__(self, config: ReaderConfig) -> None:
        self.config = config
        self.champions = _Champions({}, None)
        self._unfit: set[str] = set()
        """Versions that could not be loaded."""
        self._pool: Any = None
        self._queue: list[_Text] = []
        self._wanted = asyncio.Event()
        self._moved = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "reads")
        self._tasks: list[asyncio.Task[None]] = []
        self._read = counter("texts_read")
        self._batch_s = histogram("reader_batch_s")

    async def start(self) -> None:
        """Loads what serves, then reads and keeps up. Raises what Postgres raises if it is not there."""
        if self._pool is None:
            self._pool = await open_pool(
                self.config.database_url, application_name="hereabouts-reader", max_connections=1
            )
        await self.catch_up()
        loop = asyncio.get_running_loop()
        for work in (self._work(), self._follow(), self._listen()):
            self._tasks.append(loop.create_task(work))

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._thread.shutdown(wait=False, cancel_futures=True)
        if self._pool is not None:
            await self._pool.close()

    # -- answers ------------------------------------------------------------------------------------------

    async def score(self, texts: Sequence[str], heads: Sequence[str]) -> list[Verdict | None]:
        """A verdict for each text by these heads; None where it is not read."""
        wanted = tuple(heads)
        waiting = [self._put(text, wanted) for text in texts]
        return list(await asyncio.gather(*waiting))

    def _put(self, text: str, heads: tuple[str, ...]) -> "asyncio.Future[Verdict | None]":
        done: asyncio.Future[Verdict | None] = asyncio.get_running_loop().create_future()
        if not any(head.name in heads for head in self.champions.all):
            done.set_result(None)
        elif len(self._queue) >= QUEUE_LIMIT:
            count("drops", reason="reader full")
            done.set_result(None)
        else:
            self._queue.append(_Text(text, heads, done))
            self._wanted.set()
        return done

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._wanted.wait()
            if len(self._queue) < BATCH:
                await asyncio.sleep(WINDOW_S)
            batch, self._queue = self._queue[:BATCH], self._queue[BATCH:]
            if not self._queue:
                self._wanted.clear()
            batch = [each for each in batch if not each.done.done()]  # whoever asked may be gone
            if not batch:
                continue
            champions = self.champions  # those that this batch is read with, whatever is swapped meanwhile
            try:
                verdicts = await loop.run_in_executor(self._thread, self._score, champions, batch)
            except Exception as error:
                log.exception("a batch was not read: %s", type(error).__name__)
                verdicts = [None] * len(batch)
            for each, verdict in zip(batch, verdicts, strict=True):
                if not each.done.done():
                    each.done.set_result(verdict)

    def _score(self, champions: _Champions, batch: list[_Text]) -> list[Verdict | None]:
        if champions.heads is None:
            return [None] * len(batch)
        began_s = time.perf_counter()
        readings = champions.heads.score([each.text for each in batch], BATCH)
        self._batch_s.observe(time.perf_counter() - began_s)
        self._read.n += len(batch)
        return [
            verdict_of(reading, champions.all, each.heads, champions.versions)
            for each, reading in zip(batch, readings, strict=True)
        ]

    def model(self) -> dict[str, str]:
        """Head to the version that serves."""
        return dict(self.champions.versions)

    # -- keeping up ---------------------------------------------------------------------------------------

    async def catch_up(self) -> None:
        """Loads what the aliases name now. What can't be loaded leaves the version before it serving."""
        async with self._pool.acquire() as connection:
            rows = [row for name in MODELS if (row := await registry.champion(connection, name)) is not None]
            versions, heads = dict[str, str](), list[Head]()
            for row in rows:
                found = await self._head(connection, row)
                if found is not None:
                    versions[row.name], head = found
                    heads.append(head)
        if versions != self.champions.versions:
            self.champions = _Champions(versions, Heads(heads) if heads else None)
            log.info("serves %s", versions or "nothing: no model is promoted")

    async def _head(self, connection: Any, row: registry.ModelRow) -> tuple[str, Head] | None:
        serving = self.champions.versions.get(row.name)
        before = None
        if serving is not None and self.champions.heads is not None:
            before = serving, self.champions.heads.heads[row.name]
        if serving == row.version or row.version in self._unfit:
            return before
        stored = await registry.blob(connection, row.blob_sha256)
        loop = asyncio.get_running_loop()
        try:
            if stored is None:
                raise ValueError("its bytes are gone")  # noqa: TRY301 - as any other fault of a model
            heads = await loop.run_in_executor(self._thread, Heads.load, stored, self.config.threads)
            return row.version, heads.heads[row.name]
        except (ValueError, KeyError, MissingExtraError) as error:
            log.warning("%s can't be served: %s", row.version, error)
            self._unfit.add(row.version)
            return before

    async def _follow(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):  # wait_for can lose the cancellation that ends this
                    await self._moved.wait()
            self._moved.clear()
            try:
                await self.catch_up()
            except (asyncpg.PostgresError, *UNREACHABLE) as error:
                log.warning("the registry can't be read now: %s", type(error).__name__)
                await asyncio.sleep(RETRY_S)

    async def _listen(self) -> None:
        def heard(kind: str, key: str) -> None:
            if kind == "model" and key in MODELS:
                self._moved.set()

        await hear(self.config.database_url, heard, self._moved.set)


class Reader:
    """The deployment."""

    def __init__(self, config: ReaderConfig) -> None:
        self._service = ReaderService(config)
        loop = asyncio.get_running_loop()
        self._started = loop.create_task(self._start())
        self._exporting = loop.create_task(Exporter("reader", "0").run())

    async def _start(self) -> None:
        while True:
            try:
                await self._service.start()
            except (asyncpg.PostgresError, *UNREACHABLE) as error:
                log.warning("the Reader can't start yet, trying again: %s", type(error).__name__)
                await asyncio.sleep(RETRY_S)
            else:
                return

    async def score(self, texts: Sequence[str], heads: Sequence[str]) -> list[Verdict | None]:
        """See ReaderService."""
        await asyncio.shield(self._started)
        return await self._service.score(texts, heads)

    async def model(self) -> dict[str, str]:
        """See ReaderService."""
        await asyncio.shield(self._started)
        return self._service.model()


def build_reader(config: ReaderConfig) -> "Application":
    """The Serve application `hereabouts-reader`; it has no route, and no process until it is asked."""
    from ray import serve  # noqa: PLC0415 - importing Ray takes a second, and tests do without it

    deployment = serve.deployment(
        name=NAME,
        max_ongoing_requests=64,
        max_queued_requests=256,
        autoscaling_config={
            "min_replicas": 0,
            "initial_replicas": 0,
            "max_replicas": 1,
            "target_ongoing_requests": 32,
            "upscale_delay_s": 0.0,
            "downscale_delay_s": IDLE_S,
        },
        ray_actor_options={"num_cpus": 0, **config.site.placement},
        health_check_period_s=1.0,  # how soon a killed one is missed
        health_check_timeout_s=5.0,
        graceful_shutdown_wait_loop_s=0.1,
        graceful_shutdown_timeout_s=2.0,
    )(Reader)
    return deployment.bind(config)
