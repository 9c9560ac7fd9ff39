"""The Matcher: a process that holds everybody in memory and says who suits whom (MATCH-1 to 8).

It reads the truth from Postgres: all of it at start, then by offset (ML-12). NOTIFY says when; a slow look
makes up for what a NOTIFY missed. Only `build_matcher` imports Ray.
"""

import asyncio
import gc
import logging
import random
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import asyncpg
import numpy as np

from actors import metrics
from actors.metrics_export import Exporter
from actors.site import HERE, Site
from matching.answers import NO_SCORE, InterestMap, Recommended, Scores
from matching.live import People, yyyymmdd
from matching.tastes import Rows
from matching.telling import Telling
from matching.two_stage import PairModel, Wish, recommend, scores_of
from serve_app.match_feed import take
from serve_app.match_link import MatchListener
from serve_app.match_models import NAME as MODEL
from serve_app.match_models import Models
from serve_app.match_places import MatchPlaces
from serve_app.match_sources import MatchSources
from storage import feed
from storage.decisions import TallyRow
from storage.hearing import hear
from storage.postgres import UNREACHABLE, open_pool

if TYPE_CHECKING:
    from ray.serve import Application

log = logging.getLogger("hereabouts.matcher")

NAME, APP = "Matcher", "hereabouts-matcher"
"""Deployment and Serve app, for `serve.get_deployment_handle`."""

LOOK_S = 5.0
"""How often the logs are looked at although nobody told of anything."""
GATHER_S = 0.2
"""How long news are let come together before they are read."""
HELD_S = 0.4
"""And again, where a transaction that still runs holds some of them back."""
RETRY_S = 0.5
GC_THRESHOLD = 50_000
SHADOW_WAIT_S = 0.01
"""Lets the answer go out first."""
START_LIMIT_S = 300.0
"""Statements of the start may take this long: it reads everything."""
MOST_NEAR = 1_000
MOST_ASKED = 1_000
"""People in one ask; those beyond have no score."""
MOST_STRANGERS = 10_000
"""How many ids are remembered as nobody's; then they are asked for again."""

_HEARD = ("user", "preferences", "decision", "connection")


def _today() -> date:
    return datetime.now(UTC).date()


@dataclass(frozen=True)
class MatcherConfig:
    """`run_dir` is where a replica has its socket."""

    database_url: str
    redis_url: str = ""
    privacy_k: int = 1
    site: Site = HERE
    run_dir: str = ""


def spare_the_collector() -> None:
    """The table stays for as long as the process: the collector need not look through it again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD, 20, 20)


class MatcherService:
    """The table, what feeds it, and the answers. All calls on its event loop."""

    def __init__(
        self,
        config: MatcherConfig,
        today: Callable[[], date] = _today,
        clock_s: Callable[[], float] = time.monotonic,
        chance: random.Random | None = None,
    ) -> None:
        self.config = config
        self.people = People()
        self.telling = Telling(chance or random.SystemRandom())
        self._clock_s = clock_s
        self.models = Models()
        self.sources = MatchSources(self.people, config.privacy_k)
        self.places = MatchPlaces(self.people, config.redis_url, config.privacy_k)
        self._today = today
        self._pool: Any = None
        self._cursor: feed.Cursor
        self._news = asyncio.Event()
        self._moved = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._strangers: set[str] = set()
        self._reading = asyncio.Lock()
        self._request_s = metrics.histogram("match_request_s")
        self._scores = metrics.counter("match_scores")
        self._shadow_gap = metrics.histogram("match_shadow_gap")
        self._is_comparing = False

    async def start(self) -> None:
        """Reads everything, then keeps up. Raises what Postgres raises if it is not there."""
        self._pool = await open_pool(
            self.config.database_url,
            application_name="hereabouts-matcher",
            max_connections=2,
            statement_timeout_s=START_LIMIT_S,
        )
        began_s = time.monotonic()
        async with self._pool.acquire() as connection:
            # In a thread, so that the replica goes on saying that it lives.
            self._cursor = await feed.everything(connection, lambda part: asyncio.to_thread(self._take, part))
        await self.models.follow(self._pool)
        spare_the_collector()
        log.info("%d people in %.1f s", len(self.people), time.monotonic() - began_s)
        metrics.gauge("match_people", lambda: len(self.people.row_of))
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(each()) for each in (self._listen, self._follow, self._follow_models)]

    async def stop(self) -> None:
        self.sources.stop()
        await self.places.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._pool is not None:
            await self._pool.close()

    # -- answers -----------------------------------------------------------------------------------------

    async def score(
        self, asks: Sequence[tuple[str, Sequence[str]]], tallies: Mapping[str, TallyRow] | None = None
    ) -> Scores:
        """The pair scores of each viewer with people whom they see, all by one model version. `tallies` are
        what some viewers count with now, in place of what the log says so far.
        """
        await self._meet({who for viewer, users in asks for who in (viewer, *users)})
        with self._timed():
            model, today = self.models.champion, yyyymmdd(self._today())
            said = []
            for viewer, users in asks:
                tally = (tallies or {}).get(viewer)
                with self.people.counting(viewer, None if tally is None else astuple(tally)):
                    found = scores_of(self.people, model, viewer, users[:MOST_ASKED], today)
                said.append(found + [NO_SCORE] * max(0, len(users) - MOST_ASKED))
            self._scores.n += sum(map(len, said))
            return Scores(model.version, said)

    async def recommend(
        self, viewer: str, near: Sequence[tuple[str, float]], limit: int, alias: str = "champion"
    ) -> Recommended:
        """Up to 2 × `limit` people for the viewer, best first. `near` is what the viewer's own actor lets
        them see, with the upper bound of each distance in metres.
        """
        near = near[:MOST_NEAR]
        self.places.refresh()
        await self._meet({viewer, *(user for user, _ in near)})
        with self._timed():
            wish = Wish(viewer, near, limit, yyyymmdd(self._today()), self._clock_s())
            model, sources = self.models.named(alias), self.sources.sources()
            answer, rows = recommend(self.people, model, wish, sources, self.telling)
        if self.models.shadow is not None and len(rows):
            self._compare(self.models.champion, self.models.shadow, wish, rows)
        return answer

    async def interest_map(self) -> InterestMap:
        """The map of interests, a little old."""
        return await self.sources.interest_map()

    def model(self) -> str:
        """The version that serves."""
        return self.models.champion.version

    def _compare(self, champion: PairModel, shadow: PairModel, wish: Wish, rows: Rows) -> None:
        """Scores the same pairs by the shadow too, after the answer; one request at a time, others are left
        out.
        """
        if self._is_comparing:
            return
        self._is_comparing = True

        def compare() -> None:
            self._is_comparing = False
            me = self.people.row_of.get(wish.viewer)
            if me is None:
                return
            said = [model.score(self.people, me, rows, wish.today).pair for model in (champion, shadow)]
            self._shadow_gap.observe(float(np.abs(said[0] - said[1]).mean()))

        asyncio.get_running_loop().call_later(SHADOW_WAIT_S, compare)

    def _timed(self) -> "_Timed":
        return _Timed(self._request_s)

    # -- keeping up --------------------------------------------------------------------------------------

    async def catch_up(self) -> bool:
        """Reads what came since; False if there may be more already."""
        async with self._reading:
            async with self._pool.acquire() as connection:
                found = await feed.changes(connection, self._cursor, self.people.row_of)
            self._take(found)
            self._cursor = found.cursor
            return found.is_all

    async def _meet(self, users: Collection[str]) -> None:
        """Reads people who came without a word: rows that were made outside the API."""
        strangers = [user for user in users if user not in self.people.row_of and user not in self._strangers]
        if not strangers:
            return
        async with self._reading:
            async with self._pool.acquire() as connection:
                found = await feed.people(connection, strangers[:MOST_NEAR])
            self._take(found)
        if len(self._strangers) > MOST_STRANGERS:
            self._strangers.clear()
        self._strangers.update(user for user in strangers if user not in self.people.row_of)

    def _take(self, found: feed.Feed) -> None:
        for row in take(self.people, found):
            self._forget_row(row)
        self._strangers.difference_update(person.user for person in found.people)

    async def _follow(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):  # wait_for can lose the cancellation that ends this
                    await self._news.wait()
                await asyncio.sleep(GATHER_S)
            self._news.clear()
            try:
                if not await self.catch_up():
                    await asyncio.sleep(HELD_S)
                    self._news.set()
            except (asyncpg.PostgresError, *UNREACHABLE) as error:
                log.warning("the logs can't be read now, trying again: %s", error)
                await asyncio.sleep(RETRY_S)

    async def _follow_models(self) -> None:
        while True:
            await self._moved.wait()
            self._moved.clear()
            try:
                await self.models.follow(self._pool)
            except (asyncpg.PostgresError, *UNREACHABLE) as error:
                log.warning("the registry can't be read now, trying again: %s", error)
                await asyncio.sleep(RETRY_S)
                self._moved.set()

    async def _listen(self) -> None:
        def connected() -> None:
            self._news.set()
            self._moved.set()

        await hear(self.config.database_url, self.heard, connected)

    def _forget(self, user: str) -> None:
        row = self.people.remove(user)
        if row is not None:
            self._forget_row(row)

    def _forget_row(self, row: int) -> None:
        self.sources.forget(row)
        self.telling.forgets(row)

    def heard(self, kind: str, key: str) -> None:
        """What a NOTIFY told of."""
        if kind == "erased":
            self._forget(key)
        elif kind == "model" and key == MODEL:
            self._moved.set()
        elif kind in _HEARD:
            self._news.set()


class _Timed:
    """Observes how long a block took, in seconds."""

    __slots__ = ("_began_s", "_into")

    def __init__(self, into: metrics.Histogram) -> None:
        self._into = into

    def __enter__(self) -> None:
        self._began_s = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._into.observe(time.perf_counter() - self._began_s)


class Matcher:
    """The Serve replica around the service. Requests wait while it reads everything."""

    def __init__(self, config: MatcherConfig) -> None:
        loop = asyncio.get_running_loop()
        self._config = config
        self._service = MatcherService(config)
        self._links = MatchListener(self)
        self._address = ""
        self._started = loop.create_task(self._start())
        self._exporting = loop.create_task(Exporter("matcher", config.site.node).run())

    async def _start(self) -> None:
        while True:
            try:
                await self._service.start()
            except (asyncpg.PostgresError, *UNREACHABLE) as error:
                log.warning("the Matcher can't start yet, trying again: %s", error)
                await self._service.stop()
                await asyncio.sleep(RETRY_S)
                self._service = MatcherService(self._config)  # nothing of half a table stays
            else:
                break
        try:
            self._address = await self._links.listen(self._config.run_dir, self._config.site)
        except OSError as error:
            log.warning("no links are taken, Serve carries all: %s", error)

    async def _ready(self) -> MatcherService:
        if not self._started.done():
            await asyncio.shield(self._started)
        return self._service

    async def score(
        self, asks: list[tuple[str, list[str]]], tallies: dict[str, TallyRow] | None = None
    ) -> Scores:
        """See MatcherService."""
        return await (await self._ready()).score(asks, tallies)

    async def recommend(
        self, viewer: str, near: Sequence[tuple[str, float]], limit: int, alias: str = "champion"
    ) -> Recommended:
        """See MatcherService."""
        return await (await self._ready()).recommend(viewer, near, limit, alias)

    async def interest_map(self) -> InterestMap:
        """See MatcherService."""
        return await (await self._ready()).interest_map()

    async def model(self) -> str:
        """See MatcherService."""
        return (await self._ready()).model()

    async def address(self) -> str:
        """Where this replica takes links (match_link.py)."""
        await self._ready()
        return self._address

    async def __del__(self) -> None:
        self._links.close()
        await self._service.stop()


def build_matcher(config: MatcherConfig) -> "Application":
    """The Serve application `hereabouts-matcher`; it has no route."""
    from ray import serve  # noqa: PLC0415 - importing Ray takes a second, and tests do without it

    deployment = serve.deployment(
        name=NAME,
        max_ongoing_requests=1_000,
        ray_actor_options={"num_cpus": 0, **config.site.placement},
        health_check_period_s=1.0,  # how soon a killed one is missed
        health_check_timeout_s=10.0,
        graceful_shutdown_wait_loop_s=0.1,
        graceful_shutdown_timeout_s=5.0,
    )(Matcher)
    return deployment.bind(config)
