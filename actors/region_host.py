"""Hosts regions: who is in each, told once a tick to the shards that follow it."""

from collections.abc import Awaitable
from typing import Any

from actors import messages as wire
from actors import region
from actors.activation import Activation, Stage, Waiting
from actors.effects import NOBODY, Asker
from actors.host import Hosting
from actors.placement import addressee
from actors.protocol import EngineError, ErrorCode
from actors.region import RegionState
from actors.region_keeping import RegionKeeping
from geo.cells import RES_REGION, Cell, resolution_of
from geo.crowd import Crowd
from storage.ids import new_id


class RegionHost:
    """A region that begins anew starts from its snapshot, so nobody needs to be activated for it (ACT-9)."""

    def __init__(self, shard: Hosting) -> None:
        self._shard = shard
        self._regions: dict[str, Activation] = {}
        self.keeping = RegionKeeping(shard)
        self._asking: dict[str, list[tuple[wire.RegionFollow, Asker]]] = {}
        """Who wants to know what changed, in regions whose next tick will tell."""
        self._changed: set[str] = set()
        """People whose settings changed while regions were being loaded."""
        self._loading = 0

    async def load(self, activation: Activation) -> RegionState:
        config = self._shard.config
        state = RegionState(
            activation.key,
            config.privacy_k,
            config.position_ttl_ms,
            epoch=new_id(),
            crowd=Crowd(config.privacy_k),
        )
        self._loading += 1
        try:
            await self.keeping.restore(activation, state)
        finally:
            self._loading -= 1
        return state

    def activated(self, activation: Activation) -> None:
        self._begins(activation)
        for user in self._changed & activation.state.places.keys():
            self._check(activation, user)
        if not self._loading:
            self._changed.clear()

    def arrived(self, activation: Activation) -> None:
        self._begins(activation)

    def _begins(self, activation: Activation) -> None:
        self._regions[activation.key] = activation
        self.regions_split(activation, self._shard.splits.regions)
        if activation.state.is_due:
            self._shard.tick_soon()

    def changed(self, user: str) -> None:
        """A person's settings changed, or they are gone: theirs is the word on whether they are here."""
        if self._loading:
            self._changed.add(user)
        for activation in self._regions.values():
            if activation.is_live and user == "*":
                self._shard.spawn(self._check_all(activation))
            elif activation.is_live and user in activation.state.places:
                self._check(activation, user)

    async def _check_all(self, activation: Activation) -> None:
        """Changes may have been missed: asks those whose wishes are others than the region knows."""
        known: dict[str, wire.RegionEnter] = activation.state.places
        for user in await self.keeping.other_wishes(activation.state):
            if user in known and activation.is_live:
                self._check(activation, user)

    def _check(self, activation: Activation, user: str) -> None:
        """The person's actor takes itself off this region if it is not here, whether it was live or not."""

        def answered(_: Any, error: EngineError | None) -> None:
            known = activation.state.places.get(user)
            if error is not None and error.code is ErrorCode.DENIED and known is not None:
                leave = wire.RegionLeave(0, activation.key, user, known.stamp)
                self._shard.deliver(leave, NOBODY, "")

        at = activation.state.places[user]
        check = wire.RegionCheck(0, activation.key, user, at.audience, at.precision)
        self._shard.router.call("user", user, check, answered)

    def handle(self, activation: Activation, waiting: Waiting) -> Awaitable[None] | None:
        message, state = waiting.message, activation.state
        if isinstance(message, wire.Refresh):
            waiting.asker.answer({})
            return None
        if isinstance(message, wire.RegionFollow) and state.is_due:
            # Whoever asks learns of changes on a tick, like everybody else.
            self._asking.setdefault(activation.key, []).append((message, waiting.asker))
        else:
            self._shard.run(region.step(state, message, waiting.asker, self._shard.now_ms()))
        if state.is_due:
            self._shard.tick_soon()
        return None

    def gateway_lost(self, activation: Activation, gateway: str) -> None:
        pass

    def tick(self, now_ms: int) -> None:
        for key, activation in list(self._regions.items()):
            if activation.stage is Stage.GONE:
                del self._regions[key]
            elif activation.is_live:
                self._tick(activation, now_ms)

    def _tick(self, activation: Activation, now_ms: int) -> None:
        state: RegionState = activation.state
        if state.is_due:
            news, passed_on = region.tick(state)
            for message in passed_on:
                self._shard.router.cast(*addressee(message), message)
            if news is not None:
                for shard in state.followers:
                    self._shard.tell_shard(shard, news)
            self.keeping.keep(activation)
        for message, asker in self._asking.pop(activation.key, ()):
            self._shard.run(region.step(state, message, asker, now_ms))

    def expire(self, activation: Activation, now_ms: int) -> None:
        state: RegionState = activation.state
        region.expire(state, now_ms)
        self.keeping.keep(activation)
        if state.is_due:
            self._shard.tick_soon()
        config = self._shard.config
        if (
            not state.split_at_ms
            and region.is_too_much(state, now_ms, config.region_split_users, config.region_split_updates)
            and resolution_of(Cell(activation.key)) == RES_REGION
        ):
            self._shard.spawn(self._shard.splits.split(activation.key, activation.slot))

    def is_idle(self, activation: Activation) -> bool:
        return bool(activation.state.is_idle)

    def regions_split(self, activation: Activation, regions: frozenset[str]) -> None:
        state: RegionState = activation.state
        if activation.key in regions and not state.split_at_ms:
            state.split_at_ms = self._shard.now_ms()
            self._shard.tick_soon()

    def size_bytes(self, activation: Activation) -> int:
        state: RegionState = activation.state
        return 1_000 + len(state.places) * 1_000 + len(state.crowd.seen) * 400

    def is_quiet(self, activation: Activation) -> bool:
        return not self.keeping.is_saving(activation) and activation.key not in self._asking

    def leaving(self, activation: Activation) -> None:
        for _, asker in self._asking.pop(activation.key, ()):
            asker.refuse(EngineError(ErrorCode.MOVED, "this region has moved", 50))

    def ended(self, activation: Activation) -> None:
        pass
