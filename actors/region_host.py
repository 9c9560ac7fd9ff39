"""Hosts regions: who is within reach of whom, told once a tick."""

from collections.abc import Awaitable
from typing import Any

from actors import messages as wire
from actors import region
from actors.activation import Activation, Stage, Waiting
from actors.effects import NOBODY
from actors.host import Hosting
from actors.protocol import EngineError, ErrorCode
from actors.region import RegionState
from actors.region_keeping import RegionKeeping
from geo.cells import RES_REGION, Cell, resolution_of


class RegionHost:
    """A region that begins anew starts from its snapshot, so nobody needs to be activated for it (ACT-9)."""

    def __init__(self, shard: Hosting) -> None:
        self._shard = shard
        self._regions: dict[str, Activation] = {}
        self.keeping = RegionKeeping(shard)
        self._changed: set[str] = set()
        """People whose settings changed while regions were being loaded."""
        self._loading = 0

    async def load(self, activation: Activation) -> RegionState:
        config = self._shard.config
        state = RegionState(activation.key, config.privacy_k, position_ttl_ms=config.position_ttl_ms)
        self._loading += 1
        try:
            await self.keeping.restore(activation, state)
        finally:
            self._loading -= 1
        if activation.key in self._shard.splits.regions:
            state.split_at_ms = self._shard.now_ms()
        return state

    def activated(self, activation: Activation) -> None:
        self._regions[activation.key] = activation
        if activation.state.changed or activation.state.unsaved:
            self._shard.tick_soon()
        for user in self._changed & activation.state.places.keys():
            self._check(activation, user)
        if not self._loading:
            self._changed.clear()

    def changed(self, user: str) -> None:
        """A person's settings changed, or they are gone: theirs is the word on whether they are here."""
        if self._loading:
            self._changed.add(user)
        for activation in self._regions.values():
            if activation.is_live:
                known = activation.state.places
                for each in [user] if user != "*" else list(known):
                    if each in known:
                        self._check(activation, each)

    def _check(self, activation: Activation, user: str) -> None:
        """The person's actor takes itself off this region if it is not here, whether it was live or not."""

        def answered(_: Any, error: EngineError | None) -> None:
            if error is not None and error.code is ErrorCode.DENIED:
                self._shard.deliver(wire.RegionLeave(0, activation.key, user), NOBODY, "")

        self._shard.router.call("user", user, wire.RegionCheck(0, activation.key, user), answered)

    def handle(self, activation: Activation, waiting: Waiting) -> Awaitable[None] | None:
        message = waiting.message
        if isinstance(message, wire.Refresh):
            waiting.asker.answer({})
            return None
        self._shard.run(region.step(activation.state, message, waiting.asker))
        if activation.state.changed or activation.state.unsaved:
            self._shard.tick_soon()
        return None

    def gateway_lost(self, activation: Activation, gateway: str) -> None:
        pass

    def tick(self, now_ms: int) -> None:
        for key, activation in list(self._regions.items()):
            if activation.stage is Stage.GONE:
                del self._regions[key]
            elif activation.stage is Stage.ACTIVE:
                self.expire(activation, now_ms)

    def expire(self, activation: Activation, now_ms: int) -> None:
        state: RegionState = activation.state
        for told in region.tick(state, now_ms):
            self._shard.router.cast("user", told.user, told)
        self.keeping.keep(activation)
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
        if activation.key in regions and not activation.state.split_at_ms:
            activation.state.split_at_ms = self._shard.now_ms()

    def size_bytes(self, activation: Activation) -> int:
        state: RegionState = activation.state
        told = sum(len(watch.told or ()) for watch in state.watches.values())
        return 1_000 + len(state.places) * 700 + len(state.watches) * 200 + told * 200

    def is_quiet(self, activation: Activation) -> bool:
        return not self.keeping.is_saving(activation)

    def leaving(self, activation: Activation) -> None:
        pass

    def ended(self, activation: Activation) -> None:
        pass

    def arrived(self, activation: Activation) -> None:
        self._regions[activation.key] = activation
        self.regions_split(activation, self._shard.splits.regions)
        if activation.state.changed or activation.state.unsaved:
            self._shard.tick_soon()
