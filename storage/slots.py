"""Who owns which slot: the Directory's only durable state (ACT-3, ACT-4).

A port and its two adapters: Postgres, and memory for simulations. Every change is made in a *term*: the
Directory that took office last has the newest one, and the changes of any other fail.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol

import asyncpg

from storage.placement import SLOTS


class DeposedError(Exception):
    """Another Directory has taken office since; nothing was changed."""


class StaleEpochError(Exception):
    """A slot is no longer under the epoch that the change was planned for; nothing was changed."""


class ReplacedError(Exception):
    """A newer process of this shard has announced itself before; nothing was changed."""

    def __init__(self, incarnation: str) -> None:
        super().__init__(incarnation)
        self.incarnation = incarnation
        """The newer one's."""


@dataclass(frozen=True)
class Ownership:
    """One version of the map: `owners[slot]` is a shard number, `epochs[slot]` counts its assignments."""

    version: int
    owners: list[int]
    epochs: list[int]
    incarnations: dict[int, str] = field(default_factory=dict)
    """The process that each shard is: it was admitted when its slots' epochs were raised for it."""


class Assignment(NamedTuple):
    """A slot's next owner, and the epoch that the slot has now."""

    shard: int
    epoch: int


class SlotStore(Protocol):
    """What the Directory asks of its store. Versions rise with every change and every term."""

    async def take_office(self, address: str, shards: int) -> tuple[int, Ownership]:
        """Begins a new term and says where its Directory is dialled. Slots that have no owner yet are spread
        over the shards 0 … `shards` - 1. Returns the term and the map.
        """

    async def current_term(self) -> int:
        """The newest term."""

    async def read(self) -> Ownership:
        """The map as it is."""

    async def admit_shard(self, term: int, shard: int, incarnation: str, address: str) -> Ownership:
        """A shard's process announced itself. A new incarnation raises the epoch of all its slots, so that
        nothing which its predecessor still writes is accepted. Raises DeposedError, and ReplacedError where
        the successor came first: incarnations are UUIDv7, a later process has a higher one.
        """

    async def assign(self, term: int, assignments: Mapping[int, Assignment]) -> Ownership:
        """Gives slots to other shards, all or none, each under its next epoch. Raises DeposedError, and
        StaleEpochError where a slot's epoch is not the one named.
        """

    async def raise_version(self, term: int) -> Ownership:
        """A new version of the same map: a shard went away, a gateway came. Raises DeposedError."""

    async def close(self) -> None:
        """Lets the store go."""


_LOCK, _IN_ORDER = "SELECT 1 FROM slots", "ORDER BY slot FOR NO KEY UPDATE"
"""Rows are locked in the order in which fenced writes lock them, so that no two wait for each other."""


class PostgresSlots:
    """The store of a real engine."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    @classmethod
    async def open(cls, database_url: str) -> "PostgresSlots":
        """Opens connections of its own."""
        return cls(await asyncpg.create_pool(database_url, min_size=1, max_size=2))

    async def take_office(self, address: str, shards: int) -> tuple[int, Ownership]:
        async with self._pool.acquire() as connection, connection.transaction():
            term: int = await connection.fetchval(
                "UPDATE directory SET term = term + 1, version = version + 1, address = $1 RETURNING term",
                address,
            )
            await connection.execute(
                "INSERT INTO slots (slot, shard, epoch) SELECT s, s % $1, 1 FROM generate_series(0, $2) s"
                " ON CONFLICT DO NOTHING",
                shards,
                SLOTS - 1,
            )
            return term, await read_ownership(connection)

    async def current_term(self) -> int:
        async with self._pool.acquire() as connection:
            term: int = await connection.fetchval("SELECT term FROM directory")
            return term

    async def read(self) -> Ownership:
        async with self._pool.acquire() as connection, connection.transaction(isolation="repeatable_read"):
            return await read_ownership(connection)

    async def admit_shard(self, term: int, shard: int, incarnation: str, address: str) -> Ownership:
        async with self._pool.acquire() as connection, connection.transaction():
            await _raise_version(connection, term)
            known = await connection.fetchval("SELECT incarnation FROM shards WHERE shard = $1", shard)
            if known is not None and known > incarnation:
                raise ReplacedError(known)
            if known != incarnation:
                await connection.execute(f"{_LOCK} WHERE shard = $1 {_IN_ORDER}", shard)
                await connection.execute("UPDATE slots SET epoch = epoch + 1 WHERE shard = $1", shard)
            await connection.execute(
                """INSERT INTO shards (shard, incarnation, address) VALUES ($1, $2, $3)
                ON CONFLICT (shard) DO UPDATE SET incarnation = $2, address = $3""",
                shard,
                incarnation,
                address,
            )
            return await read_ownership(connection)

    async def assign(self, term: int, assignments: Mapping[int, Assignment]) -> Ownership:
        async with self._pool.acquire() as connection, connection.transaction():
            await _raise_version(connection, term)
            await connection.execute(f"{_LOCK} WHERE slot = ANY($1) {_IN_ORDER}", list(assignments))
            moved = await connection.fetch(
                """UPDATE slots s SET shard = w.shard, epoch = s.epoch + 1
                FROM unnest($1::integer[], $2::integer[], $3::bigint[]) AS w (slot, shard, epoch)
                WHERE s.slot = w.slot AND s.epoch = w.epoch RETURNING s.slot""",
                list(assignments),
                [each.shard for each in assignments.values()],
                [each.epoch for each in assignments.values()],
            )
            if len(moved) != len(assignments):
                raise StaleEpochError
            return await read_ownership(connection)

    async def raise_version(self, term: int) -> Ownership:
        async with self._pool.acquire() as connection, connection.transaction():
            await _raise_version(connection, term)
            return await read_ownership(connection)

    async def close(self) -> None:
        await self._pool.close()


async def read_ownership(connection: asyncpg.Connection) -> Ownership:
    """The current map. Before a Directory ever took office it has no owners."""
    row = await connection.fetchrow(
        """SELECT version,
            (SELECT array_agg(shard ORDER BY slot) FROM slots) AS owners,
            (SELECT array_agg(epoch ORDER BY slot) FROM slots) AS epochs,
            (SELECT array_agg(shard ORDER BY shard) FROM shards) AS shards,
            (SELECT array_agg(incarnation ORDER BY shard) FROM shards) AS incarnations
        FROM directory"""
    )  # one statement, one state of affairs
    incarnations = dict(zip(row["shards"] or (), row["incarnations"] or (), strict=True))
    return Ownership(row["version"], row["owners"] or [], row["epochs"] or [], incarnations)


async def _raise_version(connection: asyncpg.Connection, term: int) -> None:
    """The row lock puts changes one after the other."""
    if not await connection.fetchval(
        "UPDATE directory SET version = version + 1 WHERE term = $1 RETURNING version", term
    ):
        raise DeposedError


@dataclass
class MemorySlots:
    """The store of a simulation: outlives its Directories, not the process."""

    ownership: Ownership = field(default_factory=lambda: Ownership(1, [], []))
    term: int = 0
    address: str = ""

    async def take_office(self, address: str, shards: int) -> tuple[int, Ownership]:
        self.term += 1
        self.address = address
        if not self.ownership.owners:
            self.ownership = Ownership(
                self.ownership.version, [s % shards for s in range(SLOTS)], [1] * SLOTS
            )
        return self.term, await self.raise_version(self.term)

    async def current_term(self) -> int:
        return self.term

    async def read(self) -> Ownership:
        return self.ownership

    async def admit_shard(self, term: int, shard: int, incarnation: str, address: str) -> Ownership:  # noqa: ARG002
        self._assert_in_office(term)
        known = self.ownership.incarnations.get(shard)
        if known is not None and known > incarnation:
            raise ReplacedError(known)
        if known != incarnation:
            own = self.ownership
            epochs = [e + (o == shard) for o, e in zip(own.owners, own.epochs, strict=True)]
            admitted = {**own.incarnations, shard: incarnation}
            self.ownership = replace(own, epochs=epochs, incarnations=admitted)
        return await self.raise_version(term)

    async def assign(self, term: int, assignments: Mapping[int, Assignment]) -> Ownership:
        self._assert_in_office(term)
        owners, epochs = list(self.ownership.owners), list(self.ownership.epochs)
        for slot, (shard, epoch) in assignments.items():
            if epochs[slot] != epoch:
                raise StaleEpochError
            owners[slot], epochs[slot] = shard, epoch + 1
        self.ownership = replace(self.ownership, owners=owners, epochs=epochs)
        return await self.raise_version(term)

    async def raise_version(self, term: int) -> Ownership:
        self._assert_in_office(term)
        self.ownership = replace(self.ownership, version=self.ownership.version + 1)
        return self.ownership

    async def close(self) -> None:
        pass

    def _assert_in_office(self, term: int) -> None:
        if term != self.term:
            raise DeposedError
