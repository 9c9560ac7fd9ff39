"""A shard: one Ray actor that hosts thousands of virtual actors (decision D1).

It routes each message to its activation, runs the effects of steps, commits, and serves links. What an
actor decides is in room.py, user.py and region.py.
"""

import asyncio
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from actors import messages as wire
from actors.activation import LinkAsker
from actors.changes import listen_to_changes
from actors.effects import NOBODY, Answer, Asker, Draft, Fan, Refuse, Send
from actors.fanout import RELAY_ABOVE
from actors.fence_host import FenceHost
from actors.hand_off import SLOT_MESSAGES
from actors.housekeeping import Housekeeping
from actors.intake import PositionIntake
from actors.link import Link, Listener, listen
from actors.messages import Message
from actors.metrics import histogram
from actors.online_host import OnlineHost
from actors.protocol import EngineError
from actors.region import POSITION_TTL_MS
from actors.region_host import RegionHost
from actors.retention_keeping import RetentionKeeping
from actors.room_host import RoomHost
from actors.router import Router, RouterConfig
from actors.scoring import Matching
from actors.shard_metrics import counters
from actors.site import HERE, Site, address_of
from actors.splits import Splits
from actors.turns import Turns
from actors.user_host import UserHost
from actors.verdict_queue import Scorer
from storage.positions import open_valkey
from storage.postgres import open_pool

log = logging.getLogger("hereabouts.shard")

TICK_S = 0.1
"""Positions and regions are worked through this often while there is something to do (GEO-4)."""

TICK_LEAST_S = 0.005
"""So long the first one after a rest waits for others: who is alone is not kept waiting."""

_ticks = histogram("shard_tick_s")


@dataclass(frozen=True)
class ShardConfig:
    """What a shard needs: where to listen, its stores, its number, and the times a test may change."""

    run_dir: str
    database_url: str
    redis_url: str
    shard: int
    idle_deactivate_s: float = 900.0
    memory_budget_mib: int = 512
    """For activations. Above 80 % of it the coldest go that nobody would miss."""
    privacy_k: int = 1
    places_key: str = field(default="", repr=False)
    """Seals people's own places, 64 hexadecimal digits; none are kept without it."""
    position_ttl_ms: int = POSITION_TTL_MS
    """Without a newer fix a person is nowhere after this."""
    position_history_ms: int = 86_400_000
    """How long the history of positions is; 0: there is none."""
    models_kept: int = 10
    datasets_kept_ms: int = 2_592_000_000
    """How many versions of a model, and for how long datasets, stay that nothing needs."""
    rate_limits: bool = True
    near_per_s: float = 1.0
    near_burst: int = 120
    """How often one person may look around, on average and at once, where there are limits."""
    region_split_users: int = 2_000
    region_split_updates: float = 2_000.0
    """Beyond so many users, or updates per second, a region is split into its children."""
    site: Site = HERE
    relay_above: int = RELAY_ABOVE


class Shard(Turns):
    """Hosts activations; single-threaded, on its process's event loop."""

    def __init__(self, config: ShardConfig, matching: Matching | None = None) -> None:
        self.config = config
        self._matching = matching
        self.valkey: Any
        name = str(config.shard)
        super().__init__(config.shard, Router(RouterConfig(config.run_dir, "shard", name, "", config.site)))
        self.router.local = (config.shard, self.deliver_local)
        self.online = OnlineHost(self)
        self.housekeeping = Housekeeping(self)
        self.splits = Splits(self)
        self.scorer: Scorer | None = None
        self.router.on_slots_moved = self._slots_moved
        self.router.accepts = self._is_admitted
        self.router.on_view = self._view_changed
        self.router.on_directory = self.moving.told
        self.router.on_directory_found = self.moving.directory_found
        self.fan_out.relay_above = config.relay_above
        self.router.on_unrelayed = self.fan_out.relays.heard
        self._links: set[Link] = set()
        self._stopping = False
        self._peers: dict[Link, wire.Hello] = {}
        self._serving = False
        self._server: Listener
        self.intake: PositionIntake
        self.on_replaced: Callable[[], None] = lambda: None
        """A newer process is this shard: this one has let go of everything and is to end."""
        self._tick_scheduled = False
        self._ticked_s = 0.0
        self._started_at = time.time()

    async def start(self) -> None:
        """Opens the stores, announces itself to the Directory and serves."""
        name = f"hereabouts-shard-{self.config.shard}"
        self.pool = await open_pool(
            self.config.database_url, application_name=name, counts_everybody=self.config.privacy_k <= 1
        )
        self.valkey = open_valkey(self.config.redis_url)
        rooms = RoomHost(self)
        users, fences = UserHost(self), FenceHost(self)
        self.intake = users.intake
        users.scores.scoring.port = self._matching
        self.settle = users.intake.settle
        self.hosts = {"room": rooms, "user": users, "region": RegionHost(self), "fence": fences}
        await self.splits.reload()
        self.reminders.handlers |= {"user": users.remind, "fence": fences.remind}
        self.reminders.gone["user"] = users.departing.see_off
        await users.crossings.reload()
        site = self.config.site
        address = address_of(self.config.run_dir, f"shard-{self.config.shard}", site)
        self._server = await listen(address, self, site)
        self.router.listens_at(self._server.address)
        await self.router.start()
        if self._stopping:
            return
        self._serving = True
        for link in self._peers:
            link.send(self.router.view)
        for work in (
            rooms.committer.run(),
            self.housekeeping.run(),
            users.history.run(),
            RetentionKeeping(self).run(),
            self.reminders.run(),
            self.workload.run(),
            users.crossings.run(),
            users.near.look_after(),
            users.scores.scoring.run(),
            listen_to_changes(self),
        ):
            self.spawn(work)

    async def stop(self) -> None:
        """Lets everything go; durable state is in the stores."""
        self._stopping = True
        self._server.close()
        for link in list(self._links):
            link.abort()
        ending = list(self._tasks)
        for task in ending:
            task.cancel()
        if "room" in self.hosts:
            self._rooms().readings.stop()
        await asyncio.gather(*ending, return_exceptions=True)
        await self.router.stop()
        await self.pool.close()
        await self.valkey.aclose()

    # -- links ------------------------------------------------------------------------------------

    def link_opened(self, link: Link) -> None:
        self._links.add(link)
        if self._stopping:
            link.abort()

    def link_received(self, link: Link, view_version: int, messages: list[Message]) -> None:
        self.router.heard_of(view_version)
        peer = self._peers.get(link)
        gateway = peer.incarnation if peer is not None else ""
        silent = LinkAsker(link, 0)
        for message in messages:
            if isinstance(message, wire.Hello):
                self._hello(link, message)
                gateway = message.incarnation
            elif isinstance(message, wire.Told):
                # Rooms that are on their way here come with the view that the gateway knows already.
                self.moving.when_known(view_version, partial(self._told, gateway, message))
            elif isinstance(message, wire.Relayed | wire.RelayFence | wire.Reply):
                self.fan_out.relays.took(link, message)
            elif isinstance(message, wire.Positions):
                self.intake.received(link, message, gateway)
            elif isinstance(message, wire.RegionNews):
                self.tell_shard(self.number, message)
            elif isinstance(message, wire.Mates):
                self._mates(message)
            elif isinstance(message, wire.StatusQuery):
                link.send(wire.Reply(message.rid, self.status()))
            else:
                rid = message.rid  # type: ignore[union-attr]
                asker = LinkAsker(link, rid) if rid else silent
                if type(message) in SLOT_MESSAGES:
                    self.moving.asked(message, asker, gateway)
                else:
                    self.deliver(message, asker, gateway)  # type: ignore[arg-type]

    def tell_shard(self, shard: int, news: wire.RegionNews) -> None:
        """A region's news, to a shard that follows it. Lost while that is down: it will ask."""
        users = self.hosts.get("user")
        if shard != self.number:
            if shard in self.router.view.addresses:
                self.router.tell(shard, news)
        elif isinstance(users, UserHost):
            users.near.heard(news)

    def _hello(self, link: Link, hello: wire.Hello) -> None:
        self._peers[link] = hello
        if hello.role == "gateway":
            self.fan_out.opened(hello, link)
        if self._serving:
            link.send(self.router.view)

    def link_closed(self, link: Link) -> None:
        self._links.discard(link)
        peer = self._peers.pop(link, None)
        if peer is None or peer.role != "gateway" or not self.fan_out.closed(peer.incarnation, link):
            return
        self.online.gateway_lost(peer.incarnation)
        now_ms = self.now_ms()
        for activation in list(self.activations.values()):
            if activation.is_live:
                activation.turned_at_ms = now_ms
                self.hosts[activation.kind].gateway_lost(activation, peer.incarnation)

    def _mates(self, message: wire.Mates) -> None:
        users = self.hosts.get("user")
        if isinstance(users, UserHost):
            users.mates.received(message)

    def _told(self, gateway: str, told: wire.Told) -> None:
        """Each room of these slots takes it in its turn, behind the subscriptions that came before."""
        self.fan_out.told(gateway, told)
        self.online.told(gateway, told)
        slots = set(told.slots)
        for kind, key in [(a.kind, a.key) for a in self.activations.values() if a.slot in slots]:
            if kind == "room":
                self.deliver(wire.RowsTold(0, f"room:{key}", told.settled), NOBODY, gateway)

    # -- messages ---------------------------------------------------------------------------------

    def run(self, effects: list[Any]) -> list[Any]:
        """Runs the effects that all kinds share; returns the others."""
        rest = []
        for effect in effects:
            kind = type(effect)
            if kind is Fan:
                self.fan_out.fan(effect)
            elif kind is Send:
                self.fan_out.send(effect)
            elif kind is Answer:
                effect.asker.answer(effect.ok)
            elif kind is Refuse:
                effect.asker.refuse(EngineError(effect.code, effect.message))
            elif kind is Draft:
                self.hosts["room"].committer.put(effect)  # type: ignore[attr-defined]
            else:
                rest.append(effect)
        return rest

    # -- views and changes ------------------------------------------------------------------------

    def _is_admitted(self, view: wire.View) -> bool:
        """Until its slots' epochs are raised for it, this process is not the shard, whoever was (ACT-4)."""
        return view.incarnations.get(self.number, "") >= self.router.incarnation

    def _view_changed(self, before: wire.View, view: wire.View) -> None:
        own = self.router.incarnation
        if view.incarnations.get(self.number, own) > own:
            self._replaced()
            return
        for link in self._peers:
            link.view_version = view.version
        came = self.moving.view_changed(before, view)
        self.reminders.look()
        users = self.hosts.get("user")
        if came and isinstance(users, UserHost):
            users.restoring.begin(came)
            self.spawn(self._rooms().readings.came(came))

    def _replaced(self) -> None:
        """A newer process is this shard: nothing may be done under the epochs that it was given (ACT-4)."""
        log.error("another process is shard %d now: this one ends", self.number)
        self._stopping, self.router.local = True, None
        for activation in list(self.activations.values()):
            self.deactivate(activation)
        for link in list(self._links):
            link.abort()
        for task in list(self._tasks):
            task.cancel()
        self.on_replaced()

    def _slots_moved(self, slots: set[int]) -> None:
        users = self.hosts.get("user")
        if isinstance(users, UserHost):
            users.slots_moved(slots)
            self.online.slots_moved(slots)

    def changed(self, kind: str, key: str) -> None:
        """Postgres tells of a business change; it is read anew by whom it touches."""
        if kind == "fences":
            users = self.hosts["user"]
            assert isinstance(users, UserHost)
            users.crossings.changed(key)
        elif kind == "split":
            self.spawn(self.splits.reload())
        elif kind == "reminder":
            self.reminders.look()
        elif kind == "erased":
            self._rooms().readings.forget(key)
            self._matched(kind, key)
        elif kind in ("matcher", "decision", "withdrawn"):
            self._matched(kind, key)
        elif (kind, key) in self.activations:
            self.deliver(wire.Refresh(0, kind, key), NOBODY, "")
        else:
            self.moving.changed(kind, key)
            if kind == "user":
                self.online.changed(key)
        if kind == "user":
            regions = self.hosts["region"]
            assert isinstance(regions, RegionHost)
            regions.changed(key)

    def _matched(self, kind: str, key: str) -> None:
        users = self.hosts["user"]
        assert isinstance(users, UserHost)
        if kind == "matcher":
            users.scores.scoring.swapped(key)
        elif kind == "erased":
            users.scores.erased(key)
        elif kind == "withdrawn":
            users.scores.withdrawn(key)
        elif ("user", key) in self.activations:
            self.deliver(wire.TallyChanged(0, key), NOBODY, "")
        else:
            self.moving.changed("user", key)

    @property
    def score_queue(self) -> int:
        """People whose views wait for scores."""
        users = self.hosts.get("user")
        return users.scores.scoring.waiting if isinstance(users, UserHost) else 0

    def _rooms(self) -> RoomHost:
        rooms = self.hosts["room"]
        assert isinstance(rooms, RoomHost)
        return rooms

    async def refresh_fences(self, fence: str, asker: Asker) -> None:
        users = self.hosts["user"]
        assert isinstance(users, UserHost)
        await users.crossings.read(fence)
        asker.answer({})

    # -- time -------------------------------------------------------------------------------------

    def tick_soon(self) -> None:
        """Positions or places changed: works them through at the next tick. Idle is no tick."""
        if not self._tick_scheduled:
            self._tick_scheduled = True
            loop = asyncio.get_running_loop()
            wait_s = self._ticked_s + TICK_S - loop.time()
            loop.call_later(max(wait_s, TICK_LEAST_S), self._tick)

    def _tick(self) -> None:
        self._tick_scheduled = False
        self._ticked_s = asyncio.get_running_loop().time()
        started_s = time.perf_counter()
        now_ms = self.now_ms()
        for host in self.hosts.values():
            try:
                host.tick(now_ms)
            except Exception:
                log.exception("a tick failed")
        _ticks.observe(time.perf_counter() - started_s)

    def status(self) -> dict[str, Any]:
        """Counters for `hereabouts status`."""
        rooms = self.hosts.get("room")
        committed = rooms.committer.committed if isinstance(rooms, RoomHost) else 0
        uptime_s = round(time.time() - self._started_at, 1)
        return {"pid": os.getpid(), "uptime_s": uptime_s, "committed": committed, **counters(self)}
