"""PostGIS from Debian, in a private folder as an unprivileged user; nothing of it needs to survive."""

import asyncio
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg

from benchmarks.peers.postgres import Database, ready
from benchmarks.peers.processes import NotInstalledError, answers, running
from benchmarks.servers import free_port
from cluster.embedded.account import server_account
from cluster.embedded.binaries import clean_environment

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "512MB",
    "work_mem": "256MB",
    "jit": "off",
    "max_parallel_workers_per_gather": "0",
    "autovacuum": "off",
}
"""As fast as one core allows: no durability, all in memory, no time spent on compiling."""


def programs() -> Path:
    """Where Debian's newest Postgres with PostGIS has its programs; NotInstalledError without one."""
    found = sorted(Path("/usr/share/postgresql").glob("*/extension/postgis.control"))
    if not found:
        raise NotInstalledError("PostGIS")
    return Path("/usr/lib/postgresql", found[-1].parts[4], "bin")


@contextmanager
def postgis() -> Iterator[Database]:
    """One server for the length of the block; its database `postgres` has the extension."""
    bin_folder, account = programs(), server_account()
    user = account.uid if account else None
    folder = Path(tempfile.mkdtemp(prefix="hb-postgis-"))
    try:
        if account is not None:
            os.chown(folder, account.uid, account.gid)
        subprocess.run(
            [bin_folder / "initdb", f"--pgdata={folder}/data", "--username=postgres", "--auth=trust",
             "--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"],
            env=clean_environment(), cwd="/", user=user, group=user, stdout=subprocess.DEVNULL, check=True,
            extra_groups=None if user is None else [],
        )  # fmt: skip
        port = free_port()
        options = [f"-c{name}={value}" for name, value in (SETTINGS | {"port": str(port)}).items()]
        log = Path(tempfile.gettempdir(), folder.name + ".log")
        with running(
            [bin_folder / "postgres", "-D", folder / "data", *options],
            log,
            environment=clean_environment(),
            user=user,
        ) as process:
            answers(port, process)
            database = Database(process.pid, port)
            asyncio.run(_prepare(database.url))
            yield database
        log.unlink()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _prepare(url: str) -> None:
    await ready(url)
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("CREATE EXTENSION postgis")
    finally:
        await connection.close()
