"""The embedded Postgres 18 with the engine's own configuration, for a peer that keeps its archive in it."""

import asyncio
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from benchmarks.peers.processes import answers, running
from benchmarks.servers import free_port
from cluster.embedded.account import server_account
from cluster.embedded.binaries import clean_environment, postgres_programs
from cluster.embedded.postgres import CONFIGURATION


@dataclass(frozen=True, slots=True)
class Database:
    """A running server. `psql` scripts are fed through a connection of asyncpg."""

    pid: int
    port: int

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"


async def ready(url: str, tries: int = 200) -> None:
    """Waits until the server takes connections."""
    for left in range(tries - 1, -1, -1):
        try:
            connection = await asyncpg.connect(url)
        except (OSError, asyncpg.PostgresError):
            if left == 0:
                raise
            await asyncio.sleep(0.05)
        else:
            await connection.close()
            return


@contextmanager
def postgres() -> Iterator[Database]:
    """One server for the length of the block: the same programs, durability and memory as the engine's."""
    account = server_account()
    programs = postgres_programs(account)
    user = account.uid if account else None
    folder = Path(tempfile.mkdtemp(prefix="hb-peer-pg-"))
    try:
        if account is not None:
            os.chown(folder, account.uid, account.gid)
        subprocess.run(
            [programs / "initdb", f"--pgdata={folder}/data", "--username=postgres", "--auth=trust",
             "--encoding=UTF8", "--locale=C", "--data-checksums", "--no-instructions"],
            env=clean_environment(), cwd="/", user=user, group=user, stdout=subprocess.DEVNULL, check=True,
            extra_groups=None if user is None else [],
        )  # fmt: skip
        port = free_port()
        options = [f"-c{name}={value}" for name, value in (CONFIGURATION | {"port": str(port)}).items()]
        log = Path(tempfile.gettempdir(), folder.name + ".log")
        with running(
            [programs / "postgres", "-D", folder / "data", *options],
            log,
            environment=clean_environment(),
            user=user,
        ) as process:
            answers(port, process)
            asyncio.run(ready(f"postgresql://postgres@127.0.0.1:{port}/postgres"))
            yield Database(process.pid, port)
        log.unlink()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
