"""What a shard does once a second: what time alone changes, who is not needed any more, how much memory there
is left (ACT-1).
"""

import asyncio
from collections.abc import Iterable
from typing import Any, Protocol

from actors.activation import Activation, Stage
from actors.fanout import FanOut
from actors.hand_off import HandOff
from actors.host import Host
from actors.metrics import count
from actors.online_host import OnlineHost
from actors.placement import owner_of

SWEEP_S = 1.0
WEIGH_EVERY = 5
"""Sweeps between two looks at the memory."""

AT_REST_MS = 60_000
"""A person who took no turn for so long has nothing left that time alone changes to the second..."""

REST_SWEEPS = 5
"""...and is looked at every fifth time: reminders come to the second all the same."""

SLICE = 1_000
"""Activations that are looked at in one go, which takes under a millisecond."""

SHED_ABOVE = 0.80
SHED_UNTIL = 0.75

ACTIVATION_BYTES = 1_200
"""An activation with its dictionary entries, before its state."""


class Shard(Protocol):
    """The shard, as this sees it."""

    config: Any
    activations: dict[tuple[str, str], Activation]
    hosts: dict[str, Host]
    moving: HandOff
    fan_out: FanOut
    online: OnlineHost

    def now_ms(self) -> int:
        """Unix milliseconds."""

    def deactivate(self, activation: Activation) -> None:
        """Forgets an activation."""

    def spawn(self, work: Any) -> None:
        """Runs work in the background."""


class Housekeeping:
    """One shard's."""

    def __init__(self, shard: Shard) -> None:
        self._shard = shard
        self._sweeps = 0
        self.memory_bytes = 0
        """What all activations hold, about, when they were weighed last."""
        self.shed = 0

    async def run(self) -> None:
        """Sweeps until cancelled."""
        while True:
            await asyncio.sleep(SWEEP_S)
            self._shard.spawn(self._shard.moving.look_after())
            self._shard.fan_out.relays.look_after(lambda ch: owner_of(ch) in self._shard.activations)
            await self.sweep(is_routine=True)

    async def sweep(self, *, is_routine: bool = False) -> None:
        """Once through all activations, a slice at a time: those that are sent something do not wait. A
        routine one leaves out most of the people who are at rest.
        """
        shard = self._shard
        idle_ms = shard.config.idle_deactivate_s * 1000
        everybody = list(shard.activations.values())
        for start in range(0, len(everybody), SLICE):
            now_ms = shard.now_ms()
            for activation in everybody[start : start + SLICE]:
                if activation.stage is not Stage.ACTIVE or activation.busy:
                    continue
                is_their_turn = (activation.slot + self._sweeps) % REST_SWEEPS == 0
                if is_routine and not is_their_turn and is_at_rest(activation, now_ms):
                    continue
                host = shard.hosts[activation.kind]
                host.expire(activation, now_ms)
                if now_ms - activation.used_at_ms > idle_ms and host.is_idle(activation):
                    shard.deactivate(activation)
            await asyncio.sleep(0)
        await shard.online.sweep()
        self._sweeps += 1
        if self._sweeps % WEIGH_EVERY == 0:
            await self.weigh()

    async def weigh(self) -> None:
        """Takes the coldest that nobody would miss out of memory when it is short."""
        shard = self._shard
        budget = shard.config.memory_budget_mib * 2**20
        weights: dict[tuple[str, str], int] = {}
        everybody = list(shard.activations.items())
        for start in range(0, len(everybody), SLICE):
            for identity, each in everybody[start : start + SLICE]:
                if each.is_live:
                    weights[identity] = ACTIVATION_BYTES + shard.hosts[each.kind].size_bytes(each)
            await asyncio.sleep(0)
        self.memory_bytes = sum(weights.values())
        if self.memory_bytes <= SHED_ABOVE * budget:
            return
        idle = (
            each
            for identity, each in shard.activations.items()
            if identity in weights
            and each.stage is Stage.ACTIVE
            and not each.busy
            and shard.hosts[each.kind].is_idle(each)
        )
        for activation in coldest(idle, weights, self.memory_bytes - int(SHED_UNTIL * budget)):
            self.memory_bytes -= weights[activation.kind, activation.key]
            self.shed += 1
            count("sheds")
            shard.deactivate(activation)


def is_at_rest(activation: Activation, now_ms: int) -> bool:
    """Whether this is a person to whom nothing has happened for a while but that they moved."""
    return activation.kind == "user" and now_ms - activation.turned_at_ms > AT_REST_MS


def coldest(
    activations: Iterable[Activation], weights: dict[tuple[str, str], int], wanted_bytes: int
) -> list[Activation]:
    """Those that were used longest ago, so many that `wanted_bytes` come free; all if that is less."""
    chosen = []
    for activation in sorted(activations, key=lambda each: each.used_at_ms):
        if wanted_bytes <= 0:
            break
        chosen.append(activation)
        wanted_bytes -= weights[activation.kind, activation.key]
    return chosen
