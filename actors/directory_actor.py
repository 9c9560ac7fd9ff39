"""The Ray actor around a Directory."""

import asyncio
import logging
import os
from typing import Any

import asyncpg

from actors.directory import Directory, DirectoryConfig
from actors.metrics import gauge
from actors.metrics_export import Exporter
from storage.postgres import UNREACHABLE

log = logging.getLogger("hereabouts.directory")

_RETRY_S = 0.2


class DirectoryActor:
    """The Ray actor around a Directory. Ray restarts it; state is in Postgres."""

    def __init__(self, config: DirectoryConfig) -> None:
        self._directory: Directory | None = None
        self._started = asyncio.get_running_loop().create_task(self._start(config))
        self._exporting = asyncio.get_running_loop().create_task(Exporter("directory", "0").run())

    async def _start(self, config: DirectoryConfig) -> None:
        while True:
            directory = self._directory = Directory(config)
            directory.on_deposed = lambda: os._exit(1)  # Ray begins the one that it knows again, and no other
            try:
                await directory.start()
            except (asyncpg.PostgresError, *UNREACHABLE) as error:
                log.warning("the Directory can't start yet, trying again: %s", error)
                await directory.stop()
                await asyncio.sleep(_RETRY_S)
            else:
                break
        gauge("view_version", lambda: directory.view().version)

    async def ready(self) -> dict[str, Any]:
        """Back when views are served."""
        await asyncio.shield(self._started)
        assert self._directory is not None
        return {"pid": os.getpid(), "view": self._directory.view().version}
