"""Business changes, as Postgres tells of them when they commit (docs/decisions/0003)."""

from typing import Any, Protocol

from storage.hearing import hear


class Caching(Protocol):
    """A shard: its actors cache what may change."""

    config: Any
    activations: dict[tuple[str, str], Any]

    def changed(self, kind: str, key: str) -> None:
        """Something changed."""


async def listen_to_changes(shard: Caching) -> None:
    """Tells the shard of each change; after a gap, of everything. Runs until cancelled."""
    first = True

    def connected() -> None:
        nonlocal first
        if not first:
            for kind, key in list(shard.activations):
                shard.changed(kind, key)
            shard.changed("fences", "*")
            shard.changed("user", "*")
            shard.changed("split", "*")
            shard.changed("matcher", "*")
        first = False

    await hear(shard.config.database_url, shard.changed, connected)
