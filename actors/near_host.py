"""A shard's part in `near`: its people's views, reviewed when something around them has changed."""

import asyncio
import logging
import time
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

from redis.exceptions import RedisError

from actors import messages as wire
from actors import near_people
from actors.activation import Activation, Stage, Waiting
from actors.effects import Asker
from actors.following import Following
from actors.gathering import Gathered
from actors.host import Hosting
from actors.near import near_filter
from actors.near_people import Around
from actors.person import UserState
from actors.protocol import EngineError, ErrorCode
from actors.viewers import Viewer, Viewers
from geo.cells import Cell, regions_within
from geo.privacy import Audience, coarse
from geo.proximity import LIMIT_MAX, RADIUS_MAX_M, metres_of
from storage import probing
from storage.ids import new_id

log = logging.getLogger("hereabouts.user")

EVERY_S = 1.0
SLICE_S = 0.005
"""Views are reviewed for so long, then others have their turn."""


class NearHost:
    """Of the people of one shard. `run` does what a step of one of them wants done."""

    def __init__(self, shard: Hosting, run: Callable[[Activation, list[Any]], None]) -> None:
        self._shard = shard
        self._run = run
        self.following = Following(shard, self._review_soon)
        self._viewers = Viewers()
        self._due: set[str] = set()
        """Viewers whose views are to be reviewed."""
        self._scheduled = False
        self._limited: Gathered[str, int] = Gathered(shard.spawn, partial(probing.load, shard.valkey))
        """Until when people see others at city precision, of those who do."""

    async def look_after(self) -> None:
        """Looks after what is followed, until cancelled."""
        while True:
            await asyncio.sleep(EVERY_S)
            wanted = {region for viewer in self._viewers.by_user.values() for region in viewer.regions}
            self.following.look_after(wanted)

    # -- viewers --------------------------------------------------------------------------------------

    async def subscribe(self, activation: Activation, waiting: Waiting) -> None:
        """A subscription starts from what the regions know now, so its first page is complete."""
        state: UserState = activation.state
        message = waiting.message
        assert isinstance(message, wire.Subscribe)
        if message.shadow is None:
            self._count(state)
        regions = self._regions(near_people.looks_from(state))
        if message.mode == "map" and message.shadow is None:
            try:
                near_filter(message.filter)
                await self.following.caught_up(regions)
            except ValueError:
                pass  # the step says what is wrong
        around = Around(self.following.people, self.following.is_complete(regions))
        effects = near_people.subscribed(
            state, message, waiting.asker, waiting.gateway, self._shard.now_ms(), new_id, around
        )
        self._run(activation, effects)

    def rescored(self, activation: Activation) -> None:
        """The person's scores changed."""
        if any(near.scores for near in activation.state.views.values()):
            self._due.add(activation.key)
            self._review_soon()

    async def bands(self, state: UserState) -> list[tuple[str, float]]:
        """Whom this person sees near them, each with the upper end of their band in metres."""
        await self.following.caught_up(self._regions(near_people.looks_from(state)))
        shown, _ = near_people.visible_rows(state, self.following.people, RADIUS_MAX_M, Audience.EVERYONE)
        return [(user, metres_of(row["band"])) for user, row in shown.items()]

    async def look(self, activation: Activation, message: wire.NearQuery, asker: Asker) -> None:
        """One look at who is near."""
        shown = await self.around(activation.state, message)
        asker.answer({"items": list(shown.values())[: min(message.limit, LIMIT_MAX)]})

    async def around(
        self, state: UserState, message: wire.NearQuery, limit: int = LIMIT_MAX
    ) -> dict[str, dict[str, Any]]:
        """The nearest `limit` whom this person may see now; it counts as a look."""
        self._count(state)
        await self.following.caught_up(self._regions(near_people.looks_from(state)))
        shown, _ = near_people.visible_rows(
            state, self.following.people, message.radius_m, Audience(message.audience), limit,
            online=message.online,
        )  # fmt: skip
        return shown

    def _count(self, state: UserState) -> None:
        """Raises EngineError 111 for who looks too often, on whatever connections (GEO-23)."""
        config = self._shard.config
        if config.rate_limits:
            wait_ms = state.probing.look(self._shard.now_ms(), config.near_per_s, config.near_burst)
            if wait_ms:
                raise EngineError(ErrorCode.TOO_MANY_REQUESTS, "too many looks around", wait_ms)

    async def restore(self, state: UserState) -> None:
        """The state was loaded anew: whether the person sees others at city precision."""
        try:
            until_ms = await self._limited.get(state.user) or 0
        except (RedisError, OSError, TimeoutError) as error:
            log.warning("what speaks against a viewer is not known: %s", type(error).__name__)
        else:
            state.probing.restore(until_ms, self._shard.now_ms())

    async def _save(self, user: str, until_ms: int) -> None:
        try:
            await probing.save(self._shard.valkey, user, until_ms)
        except (RedisError, OSError, TimeoutError) as error:
            log.warning("what speaks against a viewer is not kept: %s", type(error).__name__)

    def looks(self, activation: Activation, cell: str) -> None:
        """Somebody looks around from this cell from now on, or not any more."""
        user = activation.key
        if not cell:
            self._viewers.remove(user)
            self._due.discard(user)
            return
        regions = self._regions(Cell(cell))
        self._viewers.put(user, Viewer(activation, Cell(cell), regions, RADIUS_MAX_M))
        self.following.follow(regions)
        self._due.add(user)
        self._review_soon()

    def leaving(self, activation: Activation) -> None:
        """The person's actor is somewhere else now."""
        self._viewers.remove(activation.key)

    def regions_split(self, activation: Activation) -> None:
        """The person looks at the children instead."""
        viewer = self._viewers.by_user.get(activation.key)
        if viewer is not None:
            viewer.regions = self._regions(viewer.cell)
            self.following.follow(viewer.regions)

    def _regions(self, cell: Cell | None) -> frozenset[str]:
        return frozenset() if cell is None else _regions_around(cell, self._shard.splits.regions)

    # -- reviews ----------------------------------------------------------------------------------------

    def refreshed(self, activation: Activation) -> None:
        """Relations changed: who was blocked is taken off at once."""
        state: UserState = activation.state
        around = Around(self.following.people, self._is_complete(activation.key))
        self._run(activation, near_people.reviewed(state, self._shard.now_ms(), around))

    def expire(self, activation: Activation, now_ms: int) -> None:
        """Once a second: views that were handed over show from now on just what is there; an hour may begin
        or end in which the person sees others at city precision.
        """
        state: UserState = activation.state
        was_limited = state.probing.is_limited
        state.probing.expire(now_ms)
        is_news = state.probing.unsaved or was_limited is not state.probing.is_limited
        if state.probing.unsaved:
            state.probing.unsaved = False
            self._shard.spawn(self._save(state.user, state.probing.until_ms))
        if is_news and state.views:
            self._run(activation, near_people.rewatch(state))
        for near in state.views.values():
            if 0 < near.holds_until_ms <= now_ms:
                near.holds_until_ms = 0
                self.rescored(activation)
            if 0 < near.settles_at_ms <= now_ms:
                near.settles_at_ms = 0
                self._due.add(activation.key)
                self._review_soon()

    def heard(self, news: wire.RegionNews) -> None:
        """A region tells what changed."""
        self.following.heard(news)

    def _is_complete(self, user: str) -> bool:
        viewer = self._viewers.by_user.get(user)
        return viewer is not None and self.following.is_complete(viewer.regions)

    def _review_soon(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._review)

    def _review(self) -> None:
        self._scheduled = False
        cells, people = self.following.people.take_changes()
        self._due |= self._viewers.concerned(cells)
        if people:
            self._due |= self._viewers.far_sighted
            for user, viewer in self._viewers.by_user.items():
                record = viewer.activation.state.record
                if not (record.matched.isdisjoint(people) and record.group_mates.isdisjoint(people)):
                    self._due.add(user)
        self._work()

    def _work(self) -> None:
        until_s = time.perf_counter() + SLICE_S
        due, self._due = self._due, set()
        while due:
            user = due.pop()
            viewer = self._viewers.by_user.get(user)
            if viewer is None:
                continue
            activation = viewer.activation
            if activation.stage is Stage.GONE:
                self._viewers.remove(user)
            elif activation.stage is not Stage.ACTIVE or not self.following.is_complete(viewer.regions):
                self._due.add(user)  # its slot is being handed over, or a region is on its way
            else:
                around = Around(self.following.people, is_complete=True)
                state: UserState = activation.state
                effects = near_people.reviewed(state, self._shard.now_ms(), around)
                viewer.reach_m = max((near.reach_m for near in state.views.values()), default=0.0)
                self._run(activation, effects)
                if time.perf_counter() > until_s:
                    self._due |= due
                    self._review_soon()
                    return


@lru_cache(maxsize=8_192)
def _regions_around(cell: Cell, split: frozenset[str]) -> frozenset[str]:
    """The regions in which somebody may be who is shown within reach of a cell."""
    place = coarse(cell)
    return frozenset(map(str, regions_within(place.lat, place.lon, RADIUS_MAX_M, split)))
