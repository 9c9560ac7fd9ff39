"""The regions that a shard follows for its viewers: each tells what changed once a tick (GEO-7).

A region's word is numbered, so what was lost on the way is seen and asked for again; a region that begins
anew somewhere tells everything, and until it has, what it told before stays.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from actors import messages as wire
from actors.host import Hosting
from actors.placement import slot_of
from actors.protocol import EngineError
from actors.vicinity import Vicinity

log = logging.getLogger("hereabouts.region")

PATIENCE_S = 2.0
RENEW_MS = 10_000
UNUSED_MS = 30_000
"""A region that nobody looks at is followed for so long, in case that somebody soon does."""

EARLY_LIMIT = 64
"""Ticks that wait for an answer under way; past it, all is asked for again."""


@dataclass(slots=True)
class Followed:
    """One region."""

    epoch: str = ""
    version: int = 0
    is_complete: bool = False
    used_at_ms: int = 0
    asked_at_ms: int = 0
    waiting: list["asyncio.Future[None]"] | None = None
    """Who waits for the answer under way; None: nothing was asked."""
    next: list["asyncio.Future[None]"] = field(default_factory=list)
    """Who asked since: that answer may have left before."""
    early: list[wire.RegionNews] = field(default_factory=list)


class Following:
    """Of one shard. `changed` is called when there is news."""

    def __init__(self, shard: Hosting, changed: Callable[[], None]) -> None:
        self._shard = shard
        self._changed = changed
        self.people = Vicinity()
        self._regions: dict[str, Followed] = {}

    def follow(self, regions: Iterable[str]) -> None:
        """Somebody looks there."""
        now_ms = self._shard.now_ms()
        for region in regions:
            followed = self._regions.get(region)
            if followed is None:
                followed = self._regions[region] = Followed()
                self._ask(region, followed)
            followed.used_at_ms = now_ms

    def is_complete(self, regions: Iterable[str]) -> bool:
        """Whether all of them have told who is there."""
        found = [self._regions.get(region) for region in regions]
        return all(each is not None and each.is_complete for each in found)

    async def caught_up(self, regions: Iterable[str]) -> None:
        """Back when all is here that these regions were told before now, or after 2 s."""
        loop, waiting = asyncio.get_running_loop(), []
        self.follow(regions)
        for region in regions:
            followed = self._regions[region]
            future: asyncio.Future[None] = loop.create_future()
            waiting.append(future)
            if followed.waiting is not None and not followed.is_complete:
                followed.waiting.append(future)  # nothing has been told before
                continue
            followed.next.append(future)
            if followed.waiting is None:
                self._ask(region, followed)
        if waiting:
            await asyncio.wait(waiting, timeout=PATIENCE_S)

    def heard(self, news: wire.RegionNews) -> None:
        """A region tells what its tick changed."""
        followed = self._regions.get(news.region)
        if followed is None:
            return  # nobody looks there any more: the region will notice
        if self._take(followed, news):
            self._changed()
        elif followed.waiting is None:
            self._ask(news.region, followed)
        elif len(followed.early) < EARLY_LIMIT:
            followed.early.append(news)

    def slots_moved(self, slots: set[int]) -> None:
        """Regions of these slots begin anew somewhere."""
        for region, followed in self._regions.items():
            if slot_of("region", region) in slots and followed.waiting is None:
                self._ask(region, followed)

    def look_after(self, wanted: set[str]) -> None:
        """Once a second. `wanted` are the regions that viewers look at."""
        now_ms = self._shard.now_ms()
        for region, followed in list(self._regions.items()):
            if region in wanted:
                followed.used_at_ms = now_ms
            if now_ms - followed.used_at_ms > UNUSED_MS:
                del self._regions[region]
                self.people.forget(region)
            elif followed.waiting is None and (
                not followed.is_complete or now_ms - followed.asked_at_ms > RENEW_MS
            ):
                self._ask(region, followed)
        self.people.expire(now_ms)
        self._changed()

    def _ask(self, region: str, followed: Followed) -> None:
        """For what changed since what is here; or all."""
        followed.waiting, followed.next = followed.next, []
        followed.asked_at_ms = self._shard.now_ms()

        def answered(reply: Any, error: EngineError | None) -> None:
            waiting, followed.waiting = followed.waiting or [], None
            early, followed.early = followed.early, []
            if self._regions.get(region) is followed:
                if error is None:
                    news = msgspec.convert(reply, wire.RegionNews)
                    missing = [each for each in [news, *early] if not self._take(followed, each)]
                    if followed.next or missing:
                        self._ask(region, followed)
                    self._changed()
                else:
                    log.info("a region does not answer yet: %s", error.code.name)
                    waiting += followed.next
                    followed.next = []
            for each in waiting:
                if not each.done():
                    each.set_result(None)

        known = followed.epoch if followed.is_complete else ""
        message = wire.RegionFollow(0, region, self._shard.config.shard, known, followed.version)
        self._shard.router.call("region", region, message, answered)

    def _take(self, followed: Followed, news: wire.RegionNews) -> bool:
        """Applies it if it goes on from what is here; false where something in between is missing."""
        if news.since < 0:
            if news.epoch == followed.epoch and news.version < followed.version:
                return True
        elif news.epoch != followed.epoch or not followed.is_complete or news.since > followed.version:
            return False
        elif news.version <= followed.version:
            return True
        followed.epoch, followed.version, followed.is_complete = news.epoch, news.version, True
        self.people.apply(news, self._shard.now_ms())
        return True
