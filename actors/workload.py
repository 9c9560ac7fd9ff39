"""What a shard tells the Directory of its load (ACT-10)."""

import asyncio
import time
from collections import Counter
from typing import Protocol

from actors import messages as wire
from actors.activation import Activation
from actors.pulses import PULSE_S
from actors.relief import REPORT_S
from actors.router import Router

SAMPLE_MASK = 31
"""Every 32nd message is looked at: which slot it is for."""


class Shard(Protocol):
    """The shard, as this sees it."""

    number: int
    router: Router
    activations: dict[tuple[str, str], Activation]


class Workload:
    """One shard's."""

    def __init__(self, shard: Shard) -> None:
        self._shard = shard
        self.slots: Counter[int] = Counter()
        """Slot → messages sampled since the last report."""
        self._cpu_s = time.process_time()
        self._at_s = time.monotonic()

    def report(self) -> wire.Load:
        """What was since the last one."""
        cpu_s, at_s = time.process_time(), time.monotonic()
        share = (cpu_s - self._cpu_s) / max(at_s - self._at_s, 0.001)
        self._cpu_s, self._at_s = cpu_s, at_s
        slots, self.slots = self.slots, Counter()
        waiting = sum(len(each.mailbox) for each in self._shard.activations.values())
        return wire.Load(self._shard.number, share, dict(slots), len(self._shard.activations), waiting)

    async def run(self) -> None:
        """Reports, and says that it runs, until cancelled."""
        while True:
            for _ in range(round(REPORT_S / PULSE_S)):
                await asyncio.sleep(PULSE_S)
                self._shard.router.tell_directory(wire.Pulse())
            self._shard.router.tell_directory(self.report())
