"""Business changes, as Postgres tells of them when they commit (docs/decisions/0003)."""

import asyncio
from contextlib import suppress
from typing import Any, Protocol

import asyncpg

from storage.postgres import UNREACHABLE

_RETRY_S = 0.2
_PROBE_S = 5.0


class Caching(Protocol):
    """A shard: its actors cache what may change."""

    config: Any
    activations: dict[tuple[str, str], Any]

    def changed(self, kind: str, key: str) -> None:
        """Something changed."""


async def listen_to_changes(shard: Caching) -> None:
    """Tells the shard of each change; after a gap, of everything. Runs until cancelled."""

    def notified(_connection: Any, _pid: int, _channel: str, payload: object) -> None:
        kind, _, key = str(payload).partition(":")
        shard.changed(kind, key)

    first = True
    while True:
        with suppress(asyncpg.PostgresError, *UNREACHABLE):
            connection = await asyncpg.connect(shard.config.database_url, timeout=5)
            try:
                await connection.add_listener("hereabouts", notified)
                if not first:
                    for kind, key in list(shard.activations):
                        shard.changed(kind, key)
                    shard.changed("fences", "*")
                    shard.changed("user", "*")
                    shard.changed("split", "*")
                    shard.changed("matcher", "*")
                first = False
                while not connection.is_closed():
                    await connection.execute("SELECT 1", timeout=5)
                    await asyncio.sleep(_PROBE_S)
            finally:
                with suppress(Exception):
                    await connection.close(timeout=1)
        await asyncio.sleep(_RETRY_S)
