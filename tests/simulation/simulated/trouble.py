"""What befalls an engine: kills, cuts, partitions, a slow or cut database, people who come and go."""

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from simulated.world import World


SHARDS_MOST = 5

ORPHANS = 0.3
"""Which part of killed shards lives on for a while beside its successor."""


class Trouble:
    """One round of it."""

    def __init__(self, world: "World") -> None:
        self._world = world
        chance = world.chance
        self._pause_s = chance.choice((0.1, 0.3, 0.8))
        self._kinds: list[Callable[[], None]] = [
            *[self.kill_shard] * 2,
            self.add_shard,
            self.retire_shard,
            self.kill_gateway,
            self.kill_directory,
            *[self.partition] * 3,
            *[self.reset] * 2,
            self.stall_database,
            *[self.drop_client] * 2,
            *[self.follow_or_leave] * 3,
        ]
        world.network.slow = chance.choice((0.0, 0.02, 0.1))
        world.network.split = chance.choice((0.0, 0.1, 0.5))
        world.database.cut_rate = chance.choice((0.0, 0.0, 0.02))

    def begin(self) -> None:
        """Until `end`."""
        self._world.after(self._world.chance.expovariate(1 / self._pause_s), self._next)

    def _next(self) -> None:
        if not self._world.in_trouble:
            return
        kind = self._world.chance.choice(self._kinds)
        self._world.count(kind.__name__)
        self._world.note(kind.__name__)
        kind()
        self.begin()

    def end(self) -> None:
        """Nothing is in the way any more; who was killed is started again by then."""
        world = self._world
        world.network.heal()
        world.network.slow = 0.02
        world.database.cut_rate = 0.0

    # -- processes ------------------------------------------------------------------------------------

    def _downtime_s(self) -> float:
        return self._world.chance.choice((0.05, 0.5, 2.0))

    def kill_shard(self) -> None:
        """It comes back, sooner or later; now and then before its orphan is dead."""
        world = self._world
        shard = world.chance.choice([each for _, each in sorted(world.shards.items())])
        if not shard.process.alive:
            return
        if world.chance.random() < ORPHANS:
            world.count("orphaned shard")
            world.start_shard(shard.number)
            world.after(world.chance.uniform(0.1, 2.0), shard.process.kill)
            return
        shard.process.kill()
        world.after(self._downtime_s(), world.start_shard_again, shard.number)

    def add_shard(self) -> None:
        """Scale out."""
        world = self._world
        if len(world.shards) < SHARDS_MOST:
            world.start_shard(min(set(range(SHARDS_MOST)) - world.shards.keys()))

    def retire_shard(self) -> None:
        """Scale in: its slots are handed over, then it is killed."""
        world = self._world
        if len(world.shards) > 1 and not world.retiring:
            world.retire(world.chance.choice(sorted(world.shards)))

    def kill_gateway(self) -> None:
        """Another one starts."""
        world = self._world
        world.kill_gateway(world.chance.choice([each for _, each in sorted(world.gateways.items())]))
        if len(world.gateways) < 2:
            world.start_gateway()
        else:
            world.after(self._downtime_s(), world.start_gateway)

    def kill_directory(self) -> None:
        """It comes back."""
        world = self._world
        if world.directory is not None and world.directory.process.alive:
            world.directory.process.kill()
            world.after(self._downtime_s(), world.start_directory)

    # -- the network and the database -------------------------------------------------------------------

    def _pair(self) -> tuple[str, str]:
        world = self._world
        shards = [f"shard-{number}" for number in sorted(world.shards)]
        names = ["directory", *shards, *sorted(world.gateways)]
        one = world.chance.choice(names)
        return one, world.chance.choice([name for name in names if name != one])

    def partition(self) -> None:
        """Two don't reach each other for a while; what connects them may be reset as well."""
        world = self._world
        one, other = self._pair()
        world.network.block(one, other, world.chance.choice((0.05, 0.5, 2.0)))
        if world.chance.random() < 0.5:
            world.network.reset(one, other)
            world.network.reset(other, one)

    def reset(self) -> None:
        """A connection is cut."""
        one, other = self._pair()
        self._world.network.reset(one, other)
        self._world.network.reset(other, one)

    def stall_database(self) -> None:
        """It answers nobody for a while."""
        self._world.database.stall(self._world.chance.choice((0.1, 1.0)))

    # -- people --------------------------------------------------------------------------------------------

    def drop_client(self) -> None:
        """Somebody loses the socket."""
        self._world.chance.choice(self._world.clients).drop()

    def follow_or_leave(self) -> None:
        """Somebody joins a room that nobody of this gateway may be in, or leaves one."""
        world = self._world
        client, ch = world.chance.choice(world.clients), world.chance.choice(world.rooms)
        if ch in client.views:
            client.unfollow(ch)
        else:
            client.follow(ch)
