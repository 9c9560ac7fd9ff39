"""Postgres and Valkey of one engine: the embedded ones, or those that the settings name."""

import asyncio
import contextlib
import datetime as dt
import random
from collections.abc import Callable

import asyncpg

from cluster.embedded.account import open_folder, server_account
from cluster.embedded.keeper import Keeper
from cluster.embedded.postgres import Postgres
from cluster.embedded.valkey import Valkey
from cluster.errors import OperatorError
from cluster.layout import Layout
from cluster.processes import Identity, Reaper
from cluster.settings import Settings
from storage import places, schema
from storage.postgres import NotDurableError, assert_durable

PARTITION_CHECK_S = 43_200.0
CONNECT_TIMEOUT_S = 10.0


class Databases:
    """`start`, then `database_url` and `redis_url` answer; `stop` ends the embedded ones."""

    def __init__(
        self,
        *,
        settings: Settings,
        place: Layout,
        reaper: Reaper,
        chance: random.Random,
        tell: Callable[[str], None],
        changed: Callable[[], None],
    ) -> None:
        self._tell = tell
        self._folders = contextlib.ExitStack()
        self._keepers: dict[str, Keeper] = {}
        self._partitions: asyncio.Task[None] | None = None
        self.database_url = settings.database_url or ""
        self.redis_url = settings.redis_url or ""
        secrets = place.data / "secrets"
        account = server_account() if settings.database_url is None or settings.redis_url is None else None
        if settings.database_url is None:
            folder = self._folders.enter_context(open_folder(place.data / "postgres", account))
            postgres = Postgres(folder, secrets, place.logs / "postgres.log", reaper, chance)
            self.database_url = postgres.url
            self._keepers["postgres"] = Keeper(postgres, tell, changed)
        if settings.redis_url is None:
            folder = self._folders.enter_context(open_folder(place.data / "valkey", account))
            valkey = Valkey(folder, secrets, place.logs / "valkey.log", reaper, chance)
            self.redis_url = valkey.url
            self._keepers["valkey"] = Keeper(valkey, tell, changed)

    def identities(self) -> dict[str, Identity]:
        return {
            name: keeper.identity for name, keeper in self._keepers.items() if keeper.identity is not None
        }

    async def start(self) -> None:
        """Start the servers and bring the schema up to date. Raises OperatorError."""
        try:
            async with asyncio.TaskGroup() as group:  # one that fails cancels the other
                for keeper in self._keepers.values():
                    group.create_task(keeper.start())
        except* OperatorError as several:
            raise several.exceptions[0] from None
        version = await self._migrate()
        kinds = ["embedded" if name in self._keepers else "external" for name in ("postgres", "valkey")]
        self._tell(f"Postgres ({kinds[0]}, schema {version}) and Valkey ({kinds[1]}) run")
        self._partitions = asyncio.create_task(self._keep_partitions())

    async def _connect(self) -> "asyncpg.Connection":
        return await asyncpg.connect(self.database_url, timeout=CONNECT_TIMEOUT_S)

    async def _migrate(self) -> int:
        try:
            connection = await self._connect()
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as wrong:
            raise OperatorError(
                f"cannot connect to the database: {wrong}", "check HEREABOUTS_DATABASE_URL"
            ) from wrong
        try:
            await assert_durable(connection)
            version = await schema.migrate(connection)
            await _keep_house(connection)
        except NotDurableError as wrong:
            raise OperatorError(str(wrong), "switch it on in the server's configuration") from None
        except schema.SchemaError as wrong:
            raise OperatorError(str(wrong)) from None
        finally:
            await connection.close()
        return version

    async def _keep_partitions(self) -> None:
        """Months pass while the engine runs."""
        while True:
            await asyncio.sleep(PARTITION_CHECK_S)
            try:
                connection = await self._connect()
                try:
                    await _keep_house(connection)
                finally:
                    await connection.close()
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as wrong:
                self._tell(f"message partitions and retention not looked after: {wrong}")

    async def stop(self) -> None:
        if self._partitions is not None:
            self._partitions.cancel()
        await asyncio.gather(*(keeper.stop() for keeper in self._keepers.values()))
        self._folders.close()


async def _keep_house(connection: "asyncpg.Connection") -> None:
    """Makes room for what comes, and lets go of what is older than its retention."""
    now = dt.datetime.now(dt.UTC)
    await schema.ensure_partitions(connection, now)
    await places.forget_old(connection, now)
    await places.erase_of_the_gone(connection)
