"""A world of one seed: an engine of several processes, its clients, and what befalls them.

It goes through rounds. In each, everything that can go wrong goes wrong for some seconds while clients talk,
come and go; then it stops, the engine settles, and what must hold then is asked for (invariants.py).
"""

import asyncio
import contextvars
import hashlib
import itertools
import logging
import random
import tempfile
from collections import Counter
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from simulated.client import Client
from simulated.database import Database
from simulated.engine import DirectoryProcess, Gateway, ShardProcess
from simulated.invariants import Invariants
from simulated.loop import Process, VirtualLoop
from simulated.network import Network
from simulated.room_log import Room
from simulated.trouble import Trouble

from actors import hand_off, mover, router
from actors import messages as wire
from actors.link import Link
from actors.probe import ask
from actors.protocol import EngineError
from actors.site import address_of
from actors.workload import Workload
from storage import placement, slots

SLOTS = 64
"""So many, of which few are moved at once, are as good as the real 1,024 and cost less."""

ROUNDS = 2
TROUBLE_S = 4.0
RETIRE_TRIES = 5
RESTARTS_S = 0.5
"""How long it takes until a process that ended by itself is there again."""
SETTLES_S = 15.0
"""After the last trouble: restarts, takeovers, timeouts of requests, resubscriptions."""

RESTS_S = 50.0
"""After this, whoever is gone has left every presence, and empty channels are given up as well."""
QUIET_S = 3.0


class Broken(AssertionError):  # noqa: N818 - a fact about a world
    """Something that may not be. The message says what, and how to see it again."""


class World:
    """Everything of one seed."""

    def __init__(self, seed: int, patch: pytest.MonkeyPatch, run_dir: str) -> None:
        self.seed = seed
        self.run_dir = run_dir
        self.chance = random.Random(seed)
        self.loop = VirtualLoop()
        self.network = Network(self.loop, self.chance)
        self.database = Database(self.loop, self.chance)
        self.invariants = Invariants(self)
        self.counts: Counter[str] = Counter()
        self.context = contextvars.Context()
        self.shards_at_start = self.chance.randint(2, 3)
        self.directory: DirectoryProcess | None = None
        self.shards: dict[int, ShardProcess] = {}
        self.gateways: dict[str, Gateway] = {}
        self.clients: list[Client] = []
        self.rooms: list[str] = []
        self.memory: set[str] = set()
        self.in_trouble = False
        self.retiring: set[int] = set()
        self._ids = random.Random(seed ^ 0x5EED)
        self._ids_made = 0
        self._gateways_made = 0
        self.trace = hashlib.blake2b(digest_size=16)
        patch.setattr("storage.ids.uuid_utils", self)
        patch.setattr(Link, "__init__", self._numbering(Link.__init__))
        patch.setattr(Link, "__hash__", lambda link: link.made)
        for module in (placement, router, hand_off, slots):
            patch.setattr(module, "SLOTS", SLOTS)
        patch.setattr(mover, "BATCH_SLOTS", SLOTS // 16)
        patch.setattr(router, "_EMPTY_VIEW", wire.View(0, {}, [0] * SLOTS, [0] * SLOTS, {}))
        patch.setattr(Workload, "report", self._reporting(Workload.report))
        self.database.stand_in(patch)
        self.invariants.watch(patch)

    @staticmethod
    def _numbering(begin: Callable[..., None]) -> Callable[..., None]:
        """Links are told apart by number, so that sets of them are walked in the same order in every run."""
        numbers = itertools.count(1)

        def begun(link: Any, *given: Any, **named: Any) -> None:
            link.made = next(numbers)
            begin(link, *given, **named)

        return begun

    def _reporting(self, report: Callable[[Workload], Any]) -> Callable[[Workload], Any]:
        """One shard says that it is hot, whatever simulating it costs: slots move away from it."""
        hot = self.seed % 3

        def reported(workload: Workload) -> Any:
            load = report(workload)
            load.cpu = 0.95 if load.shard == hot else 0.1
            return load

        return reported

    # -- what processes use --------------------------------------------------------------------------

    def uuid7(self) -> UUID:
        """Stands in for uuid_utils: later ones are higher."""
        self._ids_made += 1
        high = (self.now_ms() << 80) | (7 << 76) | ((self._ids_made & 0xFFF) << 64)
        return UUID(int=high | (1 << 63) | self._ids.getrandbits(62))

    def new_id(self) -> str:
        """An id."""
        return str(self.uuid7())

    def now_ms(self) -> int:
        """Unix milliseconds."""
        return int(self.loop.wall_s() * 1000)

    def count(self, what: str) -> None:
        """Something happened that is worth counting."""
        self.counts[what] += 1

    def note(self, *what: Any) -> None:
        """Puts something into the trace, by which two runs of a seed are compared."""
        self.trace.update(repr((round(self.loop.time(), 9), *what)).encode())

    # -- time as seen from outside the processes -----------------------------------------------------------

    def soon(self, work: Callable[..., None], *args: Any) -> None:
        """At once, but not within the caller."""
        self.loop.call_soon(work, *args, context=self.context.copy())

    def after(self, seconds: float, work: Callable[..., None], *args: Any) -> None:
        """After a while."""
        self.later(self.loop.time() + seconds, work, *args)

    def later(self, at_s: float, work: Callable[..., None], *args: Any) -> None:
        """At a time of the loop's clock."""
        self.loop.call_at(at_s, work, *args, context=self.context.copy())

    async def passes(self, seconds: float) -> None:
        """Lets time pass."""
        await asyncio.sleep(seconds)

    # -- processes ------------------------------------------------------------------------------------------

    def some_gateway(self) -> Gateway | None:
        """One that would answer a client now."""
        ready = [each for _, each in sorted(self.gateways.items()) if each.process.alive and each.is_ready]
        return self.chance.choice(ready) if ready else None

    def start_directory(self) -> None:
        """A Directory, or the next after one that was killed."""
        self.directory = DirectoryProcess(self)

    def directory_ended(self, which: DirectoryProcess) -> None:
        """By itself, as another term has begun: it comes back if it is the one that is kept."""
        which.process.kill()
        if which is self.directory:
            self.after(RESTARTS_S, self.start_directory)

    def start_shard(self, number: int) -> None:
        """A shard, or its next incarnation."""
        self.shards[number] = ShardProcess(self, number)

    def start_shard_again(self, number: int) -> None:
        """Unless it went for good meanwhile."""
        if number in self.shards and not self.shards[number].process.alive:
            self.start_shard(number)

    def retire(self, number: int) -> None:
        """What `hereabouts scale` does: asks the Directory until the shard has no slots, then kills it."""
        self.retiring.add(number)
        operator = Process("operator")

        async def ask_until_done() -> None:
            for _ in range(RETIRE_TRIES):
                try:
                    address = address_of(self.run_dir, "directory")
                    await ask(address, wire.Retire(0, number), timeout_s=5.0)
                except (OSError, TimeoutError, EngineError):
                    await asyncio.sleep(0.3)
                else:
                    self.soon(retired)
                    return
            self.soon(self.retiring.discard, number)

        def retired() -> None:
            self.retiring.discard(number)
            self.count("retired")
            self.note("retired", number)
            self.shards.pop(number).process.kill()

        operator.spawn(ask_until_done())

    def start_gateway(self) -> None:
        """A new one: each life has a name of its own."""
        self._gateways_made += 1
        gateway = Gateway(self, f"gateway-{self._gateways_made}")
        self.gateways[gateway.process.name] = gateway

    def kill_gateway(self, gateway: Gateway) -> None:
        """Its sockets are gone with it."""
        gateway.process.kill()
        del self.gateways[gateway.process.name]
        for socket in gateway.sockets:
            self.after(self.chance.uniform(0.001, 0.1), socket.client.lost, socket)

    # -- the course of things --------------------------------------------------------------------------

    async def begin(self) -> None:
        """Processes, rooms, clients; everybody follows something."""
        chance = self.chance
        names = [self.new_id() for _ in range(chance.randint(3, 5))]
        for number in range(chance.randint(2, 4)):
            room = self.new_id()
            durable = number == 0 or chance.random() < 0.7
            self.database.log.rooms[room] = Room(durable, f"epoch-{number}", dict.fromkeys(names, "member"))
            self.rooms.append(f"room:{room}")
            if not durable:
                self.memory.add(f"room:{room}")
        self.start_directory()
        for number in range(self.shards_at_start):
            self.start_shard(number)
        for _ in range(chance.randint(2, 3)):
            self.start_gateway()
        await self.passes(2.0)
        for name in names:
            client = Client(self, name, self.memory)
            self.clients.append(client)
            for ch in self.rooms:
                if chance.random() < 0.8:
                    client.follow(ch)
                if chance.random() < 0.3:
                    client.follow(f"presence:{ch}")
            client.connect()
        await self.passes(1.0)

    def talks(self) -> None:
        """Somebody says something somewhere, again and again while there is trouble."""
        if not self.in_trouble:
            return
        ch = self.chance.choice(self.rooms)
        ack = "relay" if ch in self.memory else self.chance.choice(("durable", "durable", "relay"))
        self.chance.choice(self.clients).publish(ch, ack)
        self.after(self.chance.expovariate(25), self.talks)

    async def run(self) -> None:
        """All rounds. Raises Broken."""
        await self.begin()
        self.invariants.settled("at the start")
        for number in range(ROUNDS):
            self.in_trouble = True
            self.talks()
            trouble = Trouble(self)
            trouble.begin()
            await self.passes(TROUBLE_S)
            self.in_trouble = False
            trouble.end()
            rests = self.chance.random() < 0.5
            await self.passes(RESTS_S if rests else SETTLES_S)
            self.invariants.settled(f"after round {number}")
            if rests:
                self.invariants.rested(f"after round {number}")
            for ch in self.rooms:
                self.chance.choice(self.clients).publish(ch, "relay")
            await self.passes(QUIET_S)
            self.invariants.settled(f"after one more publication in round {number}")
        self.invariants.judged()

    def broken(self, what: str) -> Broken:
        """The failure, with how to see it again."""
        return Broken(f"seed {self.seed}, at {self.loop.time():.3f} s: {what}")


def live(seed: int, plant: Callable[[pytest.MonkeyPatch, World], None] | None = None) -> World:
    """One whole world. `plant` may break something beforehand. Raises Broken."""
    logging.getLogger("hereabouts").setLevel(logging.CRITICAL)
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory(dir="/dev/shm") as run_dir:
        world = World(seed, patch, run_dir)
        if plant is not None:
            plant(patch, world)
        try:
            world.loop.run_until_complete(world.run())
        finally:
            world.loop.close()
    return world


def seeds(first: int, count: int) -> Counter[str]:
    """Lives so many worlds; what happened in all of them."""
    counts: Counter[str] = Counter()
    for seed in range(first, first + count):
        counts += live(seed).counts
    return counts
